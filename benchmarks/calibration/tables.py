"""Tables: cells of one block, filled from what its simulations gave."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from benchmarks.calibration.cells import Cell

EXACT = 10**9
"""Runs behind a bar that is no simulation's."""


class Table:
    """Collects the cells of a block; ``nan`` results are left out of a share or a mean."""

    def __init__(self, block: str) -> None:
        self.block = block
        self.cells: list[Cell] = []

    def level(self, setting: str, what: str, hits: ArrayLike, nominal: float = 0.05) -> None:
        """Share of null runs that reject: within the band around the nominal level."""
        share, runs = _mean(hits)
        self._add(setting, what, kind="level", value=share, bar=nominal, runs=runs)

    def share(
        self,
        setting: str,
        what: str,
        hits: ArrayLike,
        bar: float,
        bar_runs: int = EXACT,
        *,
        wrong_way: bool = False,
    ) -> None:
        """Share of runs: agrees with the bar's share of ``bar_runs`` runs."""
        share, runs = _mean(hits)
        cell: dict[str, Any] = {"value": share, "bar": bar, "runs": runs, "bar_runs": max(bar_runs, 1)}
        self._add(setting, what, kind="proportion", wrong_way=wrong_way, **cell)

    def mean(
        self,
        setting: str,
        what: str,
        values: ArrayLike,
        bar: float,
        bar_runs: int = EXACT,
        *,
        tolerance: float = 0.0,
        of_one: bool = False,
        wrong_way: bool = False,
    ) -> None:
        """Mean over runs: agrees with the bar's within Monte-Carlo error, and ``tolerance``.

        Of numbers between 0 and 1 (``of_one``) the error is at least that of a share as large as the bar.
        """
        mean, runs = _mean(values)
        known = np.asarray(values, dtype=float)
        se = float(np.nanstd(known, ddof=1) / np.sqrt(runs)) if runs > 1 else 0.0
        if of_one:
            se = max(se, float(np.sqrt(bar * (1 - bar) / max(runs, 1))))
        cell: dict[str, Any] = {"value": mean, "bar": bar, "runs": runs, "bar_runs": bar_runs, "se": se}
        self._add(setting, what, kind="mean", tolerance=tolerance, wrong_way=wrong_way, **cell)

    def exact(self, setting: str, what: str, value: float, bar: float, tolerance: float = 0.0) -> None:
        """A number that no chance is in."""
        self._add(setting, what, kind="exact", value=float(value), bar=bar, tolerance=tolerance)

    def bound(
        self, setting: str, what: str, value: float, *, least: float, runs: int = 1, wrong_way: bool = False
    ) -> None:
        """A number that has to reach ``least``."""
        cell: dict[str, Any] = {"value": float(value), "bar": least, "runs": runs, "wrong_way": wrong_way}
        self._add(setting, what, kind="at_least", **cell)

    def limit(
        self, setting: str, what: str, value: float, *, most: float, runs: int = 1, wrong_way: bool = False
    ) -> None:
        """A number that must not pass ``most``."""
        cell: dict[str, Any] = {"value": float(value), "bar": most, "runs": runs, "wrong_way": wrong_way}
        self._add(setting, what, kind="at_most", **cell)

    def shown(self, setting: str, what: str, value: float, *, runs: int = 1) -> None:
        """A number that nothing is asked of."""
        self._add(setting, what, kind="shown", value=float(value), runs=runs)

    def uniform(self, setting: str, what: str, ps: ArrayLike) -> None:
        """p-values of null runs: Kolmogorov and Smirnov cannot tell them from uniform ones."""
        known = np.asarray(ps, dtype=float)
        value = float(stats.kstest(known, "uniform").pvalue)
        self.bound(setting, f"{what}: KS p", value, least=0.001, runs=len(known))

    def _add(self, setting: str, what: str, **cell: Any) -> None:
        self.cells.append(Cell(block=self.block, setting=setting, what=what, **cell))


def repeated(
    run: Callable[[np.random.Generator], tuple[Any, ...]], runs: int, seed: int
) -> Iterator[np.ndarray]:
    """Columns of ``runs`` results of ``run``, all drawn from one generator of ``seed``."""
    rng = np.random.default_rng(seed)
    rows = np.array([run(rng) for _ in range(runs)], dtype=float)
    return iter(rows.T)


def _mean(values: ArrayLike) -> tuple[float, int]:
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    return (float(known.mean()), len(known)) if len(known) else (float("nan"), 0)
