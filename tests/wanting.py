"""Streams for tests of later stages: whatever was put into them is what the recipe asks for."""

from driftbound.store import wanted
from driftbound.store.streams import Streams
from driftbound.store.wanted import Wanted


def want_all(streams, rows=None):
    """Say that the present recipe asks for all of these rows, else for all there are."""
    rows = streams.all() if rows is None else rows
    for wave in {row.wave for row in rows}:
        mine = [row for row in rows if row.wave == wave]
        asked = [
            Wanted(
                teacher=row.teacher,
                place=place,
                case_id=row.case_id,
                sample=row.sample,
                wave=wave,
                request_hash=row.request_hash,
            )
            for place, row in enumerate(mine)
        ]
        wanted.want(streams, asked, wave=wave)


class WantedStreams(Streams):
    """As ``Streams``; what is put is wanted at once."""

    def put(self, trajectory):
        super().put(trajectory)
        want_all(self)
