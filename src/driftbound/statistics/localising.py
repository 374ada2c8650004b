"""Localising: where in a stream the change lies and how large it is, once a test has found one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from driftbound.statistics.flips import AT_ONCE
from driftbound.statistics.intervals import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change in a stream; intervals are 95 % percentiles over resampled calls."""

    at: int
    """First call (from 0) after the change."""
    low: int
    high: int
    shift: float
    """Mean after minus mean before."""
    shift_low: float
    shift_high: float
    n: int
    """Calls with a score."""


def locate(scores: Array, rng: np.random.Generator, *, draws: int = 199) -> Change | None:
    """The likeliest place of one change of level in a stream (T,), given that there is one.

    The split at which the standardised difference of mean ranks is largest, a tenth of the calls (at most
    10) left on each side. Its interval comes from resampling the calls before and those after the split, each
    among themselves, and searching again (Huskova and Kirch 2008): so calls must be independent given
    the level. ``nan`` scores are left out; ``None`` below four calls.
    """
    known = np.flatnonzero(~np.isnan(scores))
    n = len(known)
    if n < 4:
        return None
    values = scores[known]
    ranks = rankdata(values)
    at = int(_splits(ranks[None])[0])
    places, shifts = [np.empty(0, dtype=np.intp)], [np.empty(0)]
    at_once = max(1, AT_ONCE // n)
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        drawn = np.hstack([rng.integers(0, at, (rows, at)), rng.integers(at, n, (rows, n - at))])
        splits = _splits(ranks[drawn])
        sums = np.cumsum(values[drawn], axis=1)
        before = sums[np.arange(rows), splits - 1]
        places.append(splits)
        shifts.append((sums[:, -1] - before) / (n - splits) - before / splits)
    low, high = np.quantile(np.concatenate(places), [0.025, 0.975], method="inverted_cdf").astype(int)
    shift_low, shift_high = np.quantile(np.concatenate(shifts), [0.025, 0.975])
    return Change(
        at=int(known[at]),
        low=int(known[low]),
        high=int(known[high]),
        shift=float(values[at:].mean() - values[:at].mean()),
        shift_low=float(shift_low),
        shift_high=float(shift_high),
        n=n,
    )


def _splits(ranks: Array) -> NDArray[np.intp]:
    """(b,) calls before the split with the largest standardised difference of means, of rows (b, n)."""
    n = ranks.shape[1]
    before = np.arange(1, n)
    sums = np.cumsum(ranks - ranks.mean(axis=1, keepdims=True), axis=1)[:, :-1]
    size = np.abs(sums) / np.sqrt(before * (n - before))
    edge = max(1, min(10, n // 10))
    found: NDArray[np.intp] = np.argmax(size[:, edge - 1 : n - edge], axis=1) + edge
    return found
