"""Progress: how much is done, how fast and how long it will take, as a moving bar or as lines of a log."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.text import Text

Advance = Callable[..., None]
"""``advance(n=1, note="")``: n more units are done; the note stands at the end of the bar."""
AdvanceRow = Callable[[str, int, str], None]
"""``advance(row, n, note)``: n more units of a row are done; the note stands at its end."""
Item = TypeVar("Item")
LOG_EVERY_S = 60.0
"""Where the output is no terminal, how often the rows are told in a line."""
RECENT_S, RECENT = 30.0, 10
"""The pace is that of the last so many seconds, and at least of so many steps."""
_LIVE: list[Any] = []
"""Consoles on which bars are moving now: what is said meanwhile goes above them."""
NAME, NAMES, BAR = 38, 20, 20
"""Columns of a name, of one of several names, and of a bar, at most."""


@dataclass
class Pace:
    """What is done of ``total`` units (0: nobody knows how many), and how fast it goes at last."""

    total: int
    done: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.first = self.done
        self._seen.append((self.began, self.done))

    def add(self, n: int) -> None:
        """So many more are done, now."""
        if n:
            now = time.monotonic()
            self.done += n
            self._seen.append((now, self.done))
            while len(self._seen) > RECENT and self._seen[1][0] < now - RECENT_S:
                self._seen.popleft()

    def speed(self) -> float | None:
        """Units per second at last; ``None`` before the first one is done. It falls when one takes long."""
        return self._pace()[0]

    def left_s(self) -> float | None:
        """Seconds that the rest will take at this speed; ``None``: not known."""
        speed, waited = self._pace()
        return max(0.0, (self.total - self.done) / speed - waited) if speed and self.total else None

    def _pace(self) -> tuple[float | None, float]:
        """Speed, and since when the next unit is under way, as far as that is no longer than they take."""
        (at, before), (last, _) = self._seen[0], self._seen[-1]
        done, passed, waited = self.done - before, last - at, time.monotonic() - last
        if done and waited > passed / done:
            passed, waited = passed + waited, 0.0
        return (done / passed if done and passed > 0 else None), waited

    def passed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


def rate(speed: float | None) -> str:
    """A speed as a person reads it: units per second, or how long one takes.

    >>> rate(1234.5), rate(12.34), rate(1.234), rate(0.04), rate(None)
    ('1,234/s', '12/s', '1.2/s', '25 s each', '')
    """
    if speed is None:
        return ""
    return (
        f"{1 / speed:.0f} s each" if speed < 0.1 else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"
    )


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss or m:ss.

    >>> clock(7.4), clock(754), clock(4000), clock(None)
    ('0:07', '12:34', '1:06:40', '')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figures(pace: Pace) -> str:
    """Done of how many, speed, and time left; of what is finished the time that it took.

    >>> figures(Pace(total=8, done=0))
    '0/8'
    """
    whole = f"{pace.done}/{pace.total}" if pace.total else f"{pace.done}"
    if pace.total and pace.done >= pace.total:
        speed = (pace.done - pace.first) / pace.passed_s() if pace.done > pace.first else None
        return " ".join(filter(None, (whole, rate(speed), f"in {clock(pace.passed_s())}")))
    left = clock(pace.left_s())
    return " ".join(filter(None, (whole, rate(pace.speed()), left and f"{left} left")))


@contextmanager
def bar(title: str, total: int, *, moving: bool = True, brief: bool = False) -> Iterator[Advance]:
    """A progress bar of ``total`` units (0: nobody knows how many) with speed and time left, in one line.

    Where the output is no terminal, or the bar is not to be ``moving``, a line every ``LOG_EVERY_S`` and one
    at the end, of what is ``brief`` only if there was one before. What is written to ``sys.stdout`` meanwhile
    stands above the bar on a terminal, and goes its own way in a pipe.
    """
    with _shown({title: Pace(total)}, title, moving=moving, brief=brief) as moved:
        yield lambda n=1, note="": moved(title, n, note)


@contextmanager
def rows(title: str, totals: Mapping[str, int], done: Mapping[str, int]) -> Iterator[AdvanceRow]:
    """Several progress bars below each other, by name, each with speed and time left.

    Where the output is no terminal, a line with all of them every ``LOG_EVERY_S`` and at the end.
    """
    paces = {name: Pace(total, done[name]) for name, total in totals.items()}
    with _shown(paces, title, moving=True, brief=False) as moved:
        yield moved


def counted(title: str, items: Iterable[Item], total: int = 0) -> Iterator[Item]:
    """The items, with a bar that counts them as they pass; a log hears of them if it takes long."""
    with bar(title, total, brief=True) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def _shown(paces: Mapping[str, Pace], title: str, *, moving: bool, brief: bool) -> Iterator[AdvanceRow]:
    if not _speaks():
        yield lambda row, n, note: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    moving = moving and console.is_terminal and not console.is_dumb_terminal
    with _moving(console, paces) if moving else _logged(console, paces, title, brief) as moved:
        yield moved


@contextmanager
def _moving(console: Any, paces: Mapping[str, Pace]) -> Iterator[AdvanceRow]:
    """On a terminal: every row is one line of it, however narrow it is."""
    from rich.progress import Progress, ProgressColumn, Task
    from rich.table import Column

    notes = dict.fromkeys(paces, "")
    names = min(max(map(len, paces), default=0), NAMES if len(paces) > 1 else NAME)

    class Row(ProgressColumn):
        max_refresh = None

        def render(self, task: Task) -> "Text":
            name = task.description
            return line(name, names, paces[name], notes[name], console.width - 1)

    with Progress(
        Row(table_column=Column(no_wrap=True)), console=console, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        for name, pace in paces.items():
            progress.add_task(name, total=pace.total or None)
        _LIVE.append(console)

        def moved(row: str, n: int, note: str) -> None:
            paces[row].add(n)
            notes[row] = note or notes[row]

        try:
            yield moved
        finally:
            _LIVE.remove(console)


def line(name: str, width: int, pace: Pace, note: str, columns: int) -> "Text":
    """One row of at most ``columns``: name, bar, figures, note. The bar shrinks, then the note is cut."""
    from rich.text import Text

    shown = f"{name[: width - 1]}…" if len(name) > width else name.ljust(width)
    said = figures(pace)
    size = max(6, min(BAR, columns - len(shown) - len(said) - len(note) - 3)) if pace.total else 0
    full = min(size, size * pace.done // pace.total) if pace.total else 0
    text = Text.assemble(
        shown, " ", ("━" * full, "magenta"), ("━" * (size - full), "bright_black"), " ", said
    )
    text.append(f" {note}" if note else "", "dim")
    text.truncate(columns, overflow="ellipsis")
    return text


@contextmanager
def _logged(console: Any, paces: Mapping[str, Pace], title: str, brief: bool) -> Iterator[AdvanceRow]:
    """Where nothing can move: a line now and then, and the last one at the end or where it was broken off."""
    alone = list(paces) == [title]
    notes = dict.fromkeys(paces, "")
    told, last = time.monotonic(), ""

    def tell() -> None:
        nonlocal last
        each = [
            " ".join(filter(None, ("" if alone else name, figures(pace), notes[name])))
            for name, pace in paces.items()
        ]
        said = f"{title}: {', '.join(each)}"
        if said != last:
            console.print(said, highlight=False, markup=False, soft_wrap=True)
        last = said

    def moved(row: str, n: int, note: str) -> None:
        nonlocal told
        paces[row].add(n)
        notes[row] = note or notes[row]
        if n and time.monotonic() - told >= LOG_EVERY_S:
            told = time.monotonic()
            tell()

    try:
        yield moved
    finally:
        if last or not brief:
            tell()


def say(text: str) -> None:
    """One line to the person at the terminal (standard error, so that pipes stay clean)."""
    if not _speaks():
        return
    from rich.console import Console

    console = _LIVE[-1] if _LIVE else Console(stderr=True)
    console.print(text, highlight=False, soft_wrap=True)


def _speaks() -> bool:
    """Whether this process may: of several that a launcher has started, the first alone does."""
    return os.environ.get("RANK", "0") == "0" or "LOCAL_RANK" not in os.environ
