"""The collector: every teacher is asked about every case, side by side, and no answer is lost."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from driftbound.errors import TeacherError
from driftbound.progress import Advance
from driftbound.protocols import Teacher
from driftbound.records import Case, Status, Trajectory
from driftbound.store.streams import Streams

LEAD = 64
"""How many cases a teacher may be ahead of the slowest one, so that an interruption leaves complete cases."""
STALLED_S = 10.0
"""A teacher silent for so long holds nobody up."""
BATCH = 50
"""Answers that are committed together, at the latest after ``BATCH_S``."""
BATCH_S = 1.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Session:
    """What one teacher did while it was asked this time."""

    asked: int
    seconds: float
    stopped: str
    """Why it was given up; empty when it was asked to the end."""


@dataclass(slots=True, eq=False)
class _Stream:
    """One teacher at work."""

    teacher: Teacher
    cases: Sequence[tuple[int, Case]]
    """Unfinished cases with their place in the order of asking."""
    at: int = 0
    """How many of them have been taken."""
    asked: int = 0
    answered_at: float = float("-inf")
    stopped: str = ""
    workers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def place(self) -> int | None:
        """Place of the next case, ``None`` at the end."""
        return self.cases[self.at][0] if self.at < len(self.cases) else None


class Collector:
    """Asks and stores; one use per session."""

    def __init__(
        self,
        streams: Streams,
        *,
        question: Callable[[Case], str],
        images: Callable[[Case], Sequence[bytes]],
        concurrency: int,
        advance: Advance,
    ) -> None:
        self._streams = streams
        self._question = question
        self._images = images
        self._concurrency = concurrency
        self._advance = advance
        self._waiting: list[Trajectory] = []
        self._began = self._flushed = time.monotonic()
        self._stored = self._refused = self._failed = 0

    async def collect(self, work: Sequence[tuple[Teacher, Sequence[tuple[int, Case]]]]) -> dict[str, Session]:
        """Ask each teacher about its ``(place, case)`` pairs, which are in the order of asking.

        A teacher that raises ``TeacherError`` is asked no more and does not hold up the others.
        Any other error (an unreadable image, a full disk) stops everything; what was answered
        until then is stored. Returns teacher -> what it did.
        """
        self._began = self._flushed = time.monotonic()
        streams = [_Stream(teacher, cases) for teacher, cases in work]
        for _ in range(self._concurrency):
            for stream in streams:
                if len(stream.workers) < len(stream.cases):
                    stream.workers.append(asyncio.create_task(self._work(stream, streams)))
        workers = [worker for stream in streams for worker in stream.workers]
        clock = asyncio.create_task(self._tick())
        try:
            await _all_well(workers, clock)
        finally:
            for task in (*workers, clock):
                task.cancel()
            await asyncio.gather(*workers, clock, return_exceptions=True)
            self._flush()
        return {
            stream.teacher.name: Session(
                asked=stream.asked,
                seconds=max(0.0, stream.answered_at - self._began),
                stopped=stream.stopped,
            )
            for stream in streams
        }

    async def _work(self, stream: _Stream, streams: Sequence[_Stream]) -> None:
        while stream.place is not None:
            if self._ahead(stream.place, streams):
                await asyncio.sleep(_POLL_S)
                continue
            _, case = stream.cases[stream.at]
            stream.at += 1
            try:
                trajectory = await stream.teacher.answer(case, self._question(case), self._images(case))
            except TeacherError as error:
                self._give_up(stream, error)
                return
            stream.asked += 1
            stream.answered_at = time.monotonic()
            self._waiting.append(trajectory)
            if len(self._waiting) >= BATCH:
                self._flush()

    @staticmethod
    def _ahead(place: int, streams: Sequence[_Stream]) -> bool:
        """Whether a teacher about to take the case at ``place`` would leave a living one behind."""
        awake = time.monotonic() - STALLED_S
        return any(
            other.place is not None
            and place > other.place + LEAD
            and other.answered_at > awake
            and not other.stopped
            for other in streams
        )

    @staticmethod
    def _give_up(stream: _Stream, error: TeacherError) -> None:
        stream.stopped = str(error)
        for worker in stream.workers:
            if worker is not asyncio.current_task():
                worker.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(BATCH_S / 4)
            if time.monotonic() - self._flushed >= BATCH_S:
                self._flush()

    def _flush(self) -> None:
        """Commit what waits; only now does it count as done."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._streams.put_many(batch)
        self._stored += len(batch)
        self._refused += sum(each.status is Status.REFUSED for each in batch)
        self._failed += sum(each.status is Status.FAILED for each in batch)
        rate = self._stored / max(1e-9, self._flushed - self._began)
        lost = f", {self._failed} failed" if self._failed else ""
        self._advance(len(batch), note=f"{rate:.0f}/s, {self._refused} refused{lost}")


async def _all_well(workers: Sequence[asyncio.Task[None]], clock: asyncio.Task[None]) -> None:
    """Wait for all workers, but no longer than until one of them, or the clock, has failed."""
    left: set[asyncio.Task[None]] = set(workers)
    while left:
        done, _ = await asyncio.wait({*left, clock}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        left -= done
