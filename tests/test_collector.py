"""The collector: what has been answered is not lost with a commit that fails."""

import asyncio
from types import SimpleNamespace

import pytest

from driftbound.errors import StoreError
from driftbound.teachers.collector import Collector, Work


class Ready:
    """A teacher that answers at once with the request itself."""

    name = "ready"

    async def answer(self, request):
        return request


def test_a_commit_that_fails_once_loses_nothing():
    """A file that is locked for a moment stops collect; what was paid for is committed at its end."""
    kept, tries = [], SimpleNamespace(n=0)

    def store(answers):
        tries.n += 1
        if tries.n == 2:
            raise StoreError("locked")
        kept.extend(answers)

    work = Work(teacher=Ready(), places=range(9), request=lambda place: place, concurrency=3)
    with pytest.raises(StoreError, match="locked"):
        asyncio.run(Collector(store).collect([work]))
    assert kept == list(range(len(kept)))
    assert len(kept) > 1  # the commit that failed was tried again
