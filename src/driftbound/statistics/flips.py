"""Flips: random signs of whole clusters, and the largest studentised mean under them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftbound.errors import MeasureError
from driftbound.statistics.intervals import Array

AT_ONCE = 4_000_000
"""Signs held in memory at a time."""


def checked(values: Array, clusters: NDArray[np.intp]) -> tuple[Array, NDArray[np.intp]]:
    """Values (n, ...) as floats and clusters (n,) as numbers, or ``MeasureError``."""
    numbers = np.asarray(values, dtype=np.float64)
    named = np.asarray(clusters)
    if numbers.ndim < 2 or named.shape != numbers.shape[:1]:
        raise MeasureError(
            f"values of shape {numbers.shape} and clusters of shape {named.shape} do not belong together; "
            "give one row of values and one cluster number per case"
        )
    if np.isinf(numbers).any():
        raise MeasureError("a value is infinite; leave it out as nan or bound the score")
    if named.size and (named.dtype.kind not in "iu" or named.min() < 0):
        raise MeasureError("clusters have to be whole numbers from 0; number them with np.unique")
    return numbers, named.astype(np.intp)


def interval(effect: float, se: float, clusters: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a mean: Student's t with one degree of freedom less than clusters.

    >>> [round(end, 3) for end in interval(0.0, 1.0, 2)], interval(0.0, 1.0, 1)
    ([-12.706, 12.706], (nan, nan))
    """
    if clusters < 2:
        return float("nan"), float("nan")
    half = se * float(stats.t.ppf(0.5 + level / 2, clusters - 1))
    return effect - half, effect + half


def signs(rng: np.random.Generator, draws: int, clusters: int) -> Iterator[Array]:
    """``draws`` rows of random signs (b, G), in blocks that fit into memory."""
    at_once = max(1, AT_ONCE // max(clusters, 1))
    for start in range(0, draws, at_once):
        size = (min(at_once, draws - start), clusters)
        yield rng.integers(0, 2, size, dtype=np.int8).astype(np.float64) * 2.0 - 1.0


def share_as_large(found: Array, null: Array) -> Array:
    """(1 + draws that are as large) / (draws + 1), for each number found; equal up to rounding is as large.

    >>> share_as_large(np.array([2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    array([0.75, 0.25])
    """
    bound = found - 1e-9 * np.abs(np.where(np.isinf(found), 0.0, found))
    as_large: Array = (1 + (null >= bound[..., None]).sum(axis=-1)) / (len(null) + 1)
    return as_large


def studentised(totals: Array, counts: Array, rng: np.random.Generator, draws: int) -> tuple[Array, Array]:
    """|t| of each column (K,), and the largest over the columns under each draw of signs.

    ``totals`` and ``counts`` are (G, K): sum over a cluster's cases, and how many there are. With a sign e_g
    per cluster the mean is m = sum_g e_g S_g / n, and the square of its error G / (G - 1) times
    sum_g (e_g S_g - n_g m)^2 / n^2, where e_g^2 = 1 leaves sums of products to be taken.
    """
    n = counts.sum(axis=0)
    groups = (counts > 0).sum(axis=0)
    products, squares = totals * counts, (totals**2).sum(axis=0)
    sizes = (counts**2).sum(axis=0)

    def size(flipped: Array) -> Array:
        mean = flipped @ totals / n
        rest = squares - 2 * mean * (flipped @ products) + mean**2 * sizes
        se = np.sqrt(groups / (groups - 1) * np.where(rest > 1e-13 * squares, rest, 0.0)) / n
        t: Array = np.divide(np.abs(mean), se, out=np.where(mean == 0, 0.0, np.inf), where=se > 0)
        return t

    found = size(np.ones((1, len(totals))))[0]
    null = [size(flipped).max(axis=1) for flipped in signs(rng, draws, len(totals))]
    return found, np.concatenate(null) if null else np.empty(0)


def per_cluster(values: Array, clusters: NDArray[np.intp]) -> tuple[Array, Array]:
    """(G, K) sums over the cases of each cluster, and numbers of cases; ``nan`` values count nothing."""
    names, index = np.unique(clusters, return_inverse=True)
    known = ~np.isnan(values)
    totals, counts = (np.zeros((len(names), values.shape[1])) for _ in range(2))
    np.add.at(totals, index, np.where(known, values, 0.0))
    np.add.at(counts, index, known.astype(np.float64))
    return totals, counts
