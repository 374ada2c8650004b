"""Cells of the calibration's tables: what a simulation gave, beside what it has to be, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from scipy.stats import binom

Kind = Literal["level", "proportion", "mean", "exact", "at_least", "at_most", "shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of a table."""

    block: str
    """``T1`` .. ``T14``, or a word of its own."""
    setting: str
    """Which simulation: ``n=100 sticky=2``."""
    what: str
    """What was counted or computed: ``scan, common prefix``."""
    kind: Kind
    """How value and bar are compared, see ``verdict``."""
    value: float
    bar: float = float("nan")
    """What it has to agree with; of ``level`` the nominal level."""
    runs: int = 1
    """Simulations behind the value."""
    bar_runs: int = 1
    """Simulations behind the bar."""
    se: float = 0.0
    """Monte-Carlo standard error of a ``mean``."""
    tolerance: float = 0.0
    """Of ``exact``; of ``mean`` what is added to the Monte-Carlo error."""
    wrong_way: bool = False
    """A method that is known to be wrong, shown so that one sees that the check can fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything is simulated."""

    null: int
    """Simulations per cell that asks for a level."""
    power: int
    """Simulations per other cell."""
    draws: int
    """Resamples per test."""


FULL = Size(null=500, power=200, draws=499)
QUICK = Size(null=60, power=20, draws=199)

Block = Callable[[Size], list[Cell]]
"""A table: declares its seeds itself, before anything is drawn."""


def verdict(cell: Cell, levels: int) -> str:
    """``holds``, ``fails``, ``conservative`` (a level below its band: reported, no failure) or ``shown``.

    A level's band is the binomial one around the nominal level at 1 - 0.05 / ``levels``, the number of
    level cells of the whole run. A proportion agrees when it is within three standard errors of the
    difference; a mean likewise.

    >>> verdict(Cell(block="T1", setting="", what="", kind="level", value=0.06, bar=0.05, runs=500), 20)
    'holds'
    >>> verdict(Cell(block="T1", setting="", what="", kind="level", value=0.10, bar=0.05, runs=500), 20)
    'fails'
    """
    if cell.kind == "shown":
        return "shown"
    if cell.kind == "level":
        low, high = band(cell.bar, cell.runs, levels)
        if cell.value > high:
            return "fails"
        return "conservative" if cell.value < low else "holds"
    if cell.kind == "at_least":
        return "holds" if cell.value >= cell.bar else "fails"
    if cell.kind == "at_most":
        return "holds" if cell.value <= cell.bar else "fails"
    allowed = cell.tolerance
    if cell.kind == "proportion":
        pooled = (cell.value * cell.runs + cell.bar * cell.bar_runs) / (cell.runs + cell.bar_runs)
        allowed += 3 * sqrt(pooled * (1 - pooled) * (1 / cell.runs + 1 / cell.bar_runs))
    elif cell.kind == "mean":
        allowed += 3 * cell.se * sqrt(1 + cell.runs / cell.bar_runs)
    return "holds" if abs(cell.value - cell.bar) <= allowed + 1e-12 else "fails"


def band(level: float, runs: int, levels: int) -> tuple[float, float]:
    """Binomial acceptance band of a share of ``runs`` at ``level``, for ``levels`` such cells together.

    >>> band(0.05, 500, 1)
    (0.032, 0.07)
    """
    alpha = 0.05 / max(levels, 1)
    low, high = binom.ppf([alpha / 2, 1 - alpha / 2], runs, level) / runs
    return float(low), float(high)


def failures(cells: Sequence[Cell]) -> list[Cell]:
    """Cells that do not hold; a ``wrong_way`` is judged like any other (its bar says how it has to fail)."""
    levels = sum(cell.kind == "level" for cell in cells)
    return [cell for cell in cells if verdict(cell, levels) == "fails"]
