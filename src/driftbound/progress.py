"""Progress bars: one way to show that something is going on, on a terminal or in a log."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Advance = Callable[..., None]
"""``advance(n=1, note="")``: n more units are done; the note stands at the end of the bar."""


AdvanceRow = Callable[[str, int, str], None]
"""``advance(row, n, note)``: n more units of a row are done; the note stands at its end."""
LOG_EVERY_S = 60.0
"""Where the output is no terminal, how often the rows are told in a line."""


def _speaks() -> bool:
    """Whether this process may: of several that a launcher has started, the first alone does."""
    return os.environ.get("RANK", "0") == "0" or "LOCAL_RANK" not in os.environ


@contextmanager
def bar(title: str, total: int) -> Iterator[Advance]:
    """A progress bar of ``total`` units with time left.

    Where the output is no terminal, one line at the end instead of a moving bar. What is written to
    ``sys.stdout`` meanwhile stands above the bar on a terminal, and goes its own way in a pipe.
    """
    if not _speaks():
        yield lambda n=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        task = progress.add_task(title, total=total, note="")

        def advance(n: int = 1, note: str = "") -> None:
            if note:
                progress.update(task, advance=n, note=note)
            else:
                progress.update(task, advance=n)

        yield advance


@contextmanager
def rows(title: str, totals: Mapping[str, int], done: Mapping[str, int]) -> Iterator[AdvanceRow]:
    """Several progress bars below each other, by name, each with time left; fits 80 columns.

    Where the output is no terminal, a line with all of them every ``LOG_EVERY_S`` and at the end.
    """
    if not _speaks():
        yield lambda row, n, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", table_column=Column(max_width=16, no_wrap=True)),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {
            name: progress.add_task(name, total=total, completed=done[name], note="")
            for name, total in totals.items()
        }
        told = time.monotonic()

        def line() -> str:
            each = (f"{task.description} {task.completed:.0f}/{task.total:.0f}" for task in progress.tasks)
            return f"{title}: {', '.join(each)}"

        def advance(row: str, n: int, note: str) -> None:
            nonlocal told
            progress.update(tasks[row], advance=n, note=note)
            if not console.is_terminal and time.monotonic() - told >= LOG_EVERY_S:
                told = time.monotonic()
                console.print(line(), highlight=False, soft_wrap=True)

        try:
            yield advance
        finally:
            if not console.is_terminal:
                console.print(line(), highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line to the person at the terminal (standard error, so that pipes stay clean)."""
    if not _speaks():
        return
    from rich.console import Console

    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
