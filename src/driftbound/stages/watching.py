"""Watching: what is shown while teachers are asked; per teacher done, speed, time left, refused and cost."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from driftbound.progress import AdvanceRow, rows
from driftbound.records import Status, Trajectory
from driftbound.stages.questions import Questions
from driftbound.teacher_config import TeacherConfig
from driftbound.teachers.metering import Account


@dataclass(slots=True)
class _Seen:
    """One teacher's answers in this session."""

    refused: int = 0
    failed: int = 0


@dataclass(slots=True)
class Watch:
    """Keeps the rows on the terminal up to date."""

    advance: AdvanceRow
    seen: dict[str, _Seen]

    @classmethod
    @contextmanager
    def over(cls, questions: Questions, teachers: Sequence[TeacherConfig]) -> Iterator[Self]:
        """Show these teachers while the block runs, with what they have answered before."""
        totals = {teacher.name: questions.count(teacher.name) for teacher in teachers}
        done = {name: total - len(questions.left(name)) for name, total in totals.items()}
        with rows("collect", totals, done) as advance:
            yield cls(advance, {name: _Seen() for name in totals})

    def stored(self, answers: Sequence[Trajectory], accounts: Mapping[str, Account]) -> None:
        """These answers are in the store."""
        for name in sorted({answer.teacher for answer in answers}):
            mine = [answer for answer in answers if answer.teacher == name]
            seen = self.seen[name]
            seen.refused += sum(answer.status is Status.REFUSED for answer in mine)
            seen.failed += sum(answer.status is Status.FAILED for answer in mine)
            self.advance(name, len(mine), self._note(seen, accounts.get(name)))

    def _note(self, seen: _Seen, account: Account | None) -> str:
        notes = [f"{seen.refused} refused"] if seen.refused else []
        notes += [f"{seen.failed} failed"] if seen.failed else []
        notes += [f"${account.money:.2f}"] if account is not None and account.money else []
        return " ".join(notes)
