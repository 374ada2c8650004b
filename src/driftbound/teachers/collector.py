"""The collector: every teacher is asked about every case, side by side, and no answer is lost."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from driftbound.errors import BudgetError, TeacherError
from driftbound.protocols import Teacher
from driftbound.records import Request, Trajectory

LEAD = 64
"""How many cases a teacher may be ahead of the slowest one, so that an interruption leaves complete cases."""
STALLED_S = 10.0
"""A teacher silent for so long holds nobody up, unless it is as slow as that: then for ``STALLED_GAPS`` times
the longest pause between its latest answers."""
STALLED_GAPS = 3.0
STALLED_MOST_S = 120.0
"""Nobody is waited for longer, however slow it was."""
GATHER_S = 0.01
"""Answers that come within so short a time are committed together; their askers wait for it."""
TOGETHER = 4
"""Nor do more than a quarter of all askers wait: if all did, they would all ask again at the same moment."""
_POLL_S = 0.02

Store = Callable[[Sequence[Trajectory]], None]
"""Commits answers; they are there when it returns."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to ask one teacher."""

    teacher: Teacher
    places: Sequence[int]
    """In the order of asking, which is the same for all teachers."""
    request: Callable[[int], Request]
    """The request at a place, made when it is needed."""
    concurrency: int


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

    work: Work
    at: int = 0
    """How many places have been taken."""
    asked: int = 0
    answered_at: float = float("-inf")
    gap: float = 0.0
    """Seconds between its answers, the longest of late."""
    stopped: str = ""
    workers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def place(self) -> int | None:
        """The next place, ``None`` at the end."""
        return self.work.places[self.at] if self.at < len(self.work.places) else None

    def answered(self) -> None:
        """An answer came."""
        now = time.monotonic()
        if self.asked:
            self.gap = max(now - self.answered_at, 0.9 * self.gap)
        self.asked += 1
        self.answered_at = now

    @property
    def stalled(self) -> bool:
        """Whether it has been silent for longer than it usually is."""
        silent = time.monotonic() - self.answered_at
        return silent > max(STALLED_S, min(STALLED_MOST_S, STALLED_GAPS * self.gap))


class Collector:
    """Asks and stores; one use per session."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Trajectory] = []
        self._enough = 1
        self._stored, self._came = asyncio.Event(), asyncio.Event()

    async def collect(self, work: Sequence[Work]) -> dict[str, Session]:
        """Ask each teacher what is left; an answer is stored before its asker goes on.

        A teacher that raises ``TeacherError`` is asked no more and does not hold up the others.
        Any other error (an unreadable image, a full disk) stops everything; what was answered
        until then is stored. Returns teacher -> what it did.
        """
        began = time.monotonic()
        streams = [_Stream(each) for each in work]
        for nth in range(max((each.concurrency for each in work), default=0)):
            for stream in streams:
                if nth < min(stream.work.concurrency, len(stream.work.places)):
                    stream.workers.append(asyncio.create_task(self._ask_on(stream, streams)))
        workers = [worker for stream in streams for worker in stream.workers]
        self._enough = max(1, len(workers) // TOGETHER)
        writer = asyncio.create_task(self._write())
        try:
            await _all_well(workers, writer)
        finally:
            for task in (*workers, writer):
                task.cancel()
            await asyncio.gather(*workers, writer, return_exceptions=True)
            self._flush()
        return {
            stream.work.teacher.name: Session(
                asked=stream.asked,
                seconds=max(0.0, stream.answered_at - began),
                stopped=stream.stopped,
            )
            for stream in streams
        }

    async def _ask_on(self, stream: _Stream, streams: Sequence[_Stream]) -> None:
        """One of a teacher's askers: the next place, until there is none."""
        while (place := stream.place) is not None:
            if self._ahead(place, streams):
                await asyncio.sleep(_POLL_S)
                continue
            stream.at += 1
            try:
                trajectory = await stream.work.teacher.answer(stream.work.request(place))
            except TeacherError as error:
                self._give_up(stream, error)
                return
            stream.answered()
            stored = self._stored
            self._waiting.append(trajectory)
            if len(self._waiting) >= self._enough:
                self._commit()
            else:
                self._came.set()
                await stored.wait()

    @staticmethod
    def _ahead(place: int, streams: Sequence[_Stream]) -> bool:
        """Whether a teacher about to take this place would leave a living one behind."""
        return any(
            other.place is not None and place > other.place + LEAD and not other.stalled and not other.stopped
            for other in streams
        )

    @staticmethod
    def _give_up(stream: _Stream, error: TeacherError) -> None:
        """Ask this teacher no more; where only its budget is used up, what is under way still counts."""
        stream.stopped = stream.stopped or str(error)
        stream.at = len(stream.work.places)
        for worker in stream.workers:
            if worker is not asyncio.current_task() and not isinstance(error, BudgetError):
                worker.cancel()

    async def _write(self) -> None:
        """Commit what has come, again and again, and let those go on who wait for it."""
        while True:
            await self._came.wait()
            await asyncio.sleep(GATHER_S)
            self._came.clear()
            self._commit()

    def _commit(self) -> None:
        """Store what has come, and let those go on who wait for it."""
        done, self._stored = self._stored, asyncio.Event()
        self._flush()
        done.set()

    def _flush(self) -> None:
        if self._waiting:
            self._store(self._waiting)
            self._waiting = []  # only now: what could not be committed is tried once more at the end


async def _all_well(workers: Sequence[asyncio.Task[None]], writer: asyncio.Task[None]) -> None:
    """Wait for all workers, but no longer than until one of them, or the writer, has failed."""
    left: set[asyncio.Task[None]] = set(workers)
    while left:
        done, _ = await asyncio.wait({*left, writer}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        left -= done
