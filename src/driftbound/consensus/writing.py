"""Writing: what a writer is asked for and what it gives, whoever it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from driftbound.records import Case


@dataclass(frozen=True, slots=True)
class Ask:
    """One text that is wanted."""

    key: str
    """Identifies it, for going on after a kill: ``case_id/candidate`` or the like."""
    case: Case
    question: str
    """The whole request, as ``Domain.merge_question`` makes it."""
    images: tuple[Path, ...]
    seed: int
    """Of a drawn text; candidates of a case have seeds of their own."""
    temperature: float
    """0: greedy."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it."""

    text: str
    """Empty where nothing came."""
    ended: bool
    """Whether it came to its end by itself."""
    note: str = ""
    """Why there is no text: a refusal, or what went wrong."""


class Writer(Protocol):
    """Someone who writes: the student in this process or behind a server, or a judge."""

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One text per ask, in the order asked; what was written before a kill is not written again.

        A bad answer is a ``Written`` with a note. Raises ``TeacherError`` where a server does not answer at
        all, ``DataUseError`` where the cases may not go there, ``ModelError`` for a student that cannot be
        loaded, ``StoreError`` for the file of what was written.
        """
