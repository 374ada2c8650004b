"""Progress bars: one way to show that something is going on, on a terminal or in a log."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]
"""``advance(n=1, note="")``: n more units are done; the note stands at the end of the bar."""


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


def say(text: str) -> None:
    """One line to the person at the terminal (standard error, so that pipes stay clean)."""
    if not _speaks():
        return
    from rich.console import Console

    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
