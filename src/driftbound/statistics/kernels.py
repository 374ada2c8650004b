"""Kernels: did a whole law change? Maximum mean discrepancy with swapped cases, or permuted clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.statistics.flips import checked, interval, share_as_large, signs
from driftbound.statistics.intervals import Array

ROWS = 2000
"""Rows of a kernel matrix in memory at a time, and points that the bandwidth is taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """Squared maximum mean discrepancy between two laws, without bias, and its test."""

    effect: float
    """U-statistic over pairs of cases of different clusters; 0 where the laws are equal, at most 2."""
    se: float
    """Jackknife over clusters; too large rather than too small where the laws are equal."""
    low: float
    high: float
    """95 % interval from the jackknife."""
    p: float
    """One-sided: is the discrepancy larger than chance makes it?"""
    n: int
    """Cases that it rests on."""
    clusters: int
    """Clusters that it rests on."""
    of_clusters: int
    """Clusters there were: more than ``clusters`` where a random part was taken."""
    bandwidth: float
    """Median squared distance of two points, in the square of the features' unit."""
    reason: str = ""
    """Why something of the above is ``nan``; empty otherwise."""


def swap_mmd(
    early: Array,
    late: Array,
    clusters: NDArray[np.intp],
    *,
    rng: np.random.Generator,
    draws: int = 999,
    limit: int = 1500,
) -> Discrepancy:
    """Test whether two measurements of the same cases have the same law, whatever in it may change.

    ``early`` and ``late`` are (n, d) features of a case at two steps or dates, ``clusters`` (n,). With the
    kernel k(a, b) = exp(-|a - b|^2 / bandwidth) a pair of cases c, c' has h = k(x_c, x_c') + k(y_c, y_c')
    - k(x_c, y_c') - k(y_c, x_c'), whose mean over pairs of different clusters is the squared discrepancy
    (Gretton et al. 2012). Swapping early and late in whole clusters turns h into e_g e_g' h: with
    random signs e that is the null law, also where a case's two measurements depend on each other.
    Blind to small shifts of a mean, where ``signs.scan`` is not. At most ``limit`` clusters, drawn by
    ``rng``, are used. Cases with a ``nan`` are left out.

    Raises ``MeasureError`` where shapes do not fit or a value is infinite.
    """
    early, named = checked(early, clusters)
    late, _ = checked(late, clusters)
    if early.shape != late.shape or early.ndim != 2:
        raise MeasureError(
            f"early and late have shapes {early.shape} and {late.shape}; give the same features (n, d)"
        )
    known = ~np.isnan(np.hstack([early, late])).any(axis=1)
    total = len(np.unique(named[known]))
    kept = known & np.isin(named, _some(np.unique(named[known]), limit, rng))
    index, size = _numbered(named[kept])
    if size < 2:
        return _nothing("fewer than two clusters have a value on both sides", int(kept.sum()), size, total)
    x, y = early[kept], late[kept]
    bandwidth = _bandwidth(np.stack([x, y]), index, rng)
    if np.isnan(bandwidth):
        return _nothing("all features are equal: nothing could change", len(x), size, total)
    across = _sums(x, y, index, size, bandwidth)
    h = _sums(x, x, index, size, bandwidth) + _sums(y, y, index, size, bandwidth) - across - across.T
    np.fill_diagonal(h, 0.0)
    counts = np.bincount(index, minlength=size).astype(np.float64)
    pairs = counts.sum() ** 2 - (counts**2).sum()
    null = np.concatenate([((e @ h) * e).sum(axis=1) for e in signs(rng, draws, size)]) / pairs
    effect = h.sum() / pairs
    rest = _divide(h.sum() - 2 * h.sum(axis=0), pairs - 2 * counts * (counts.sum() - counts))
    return _found(effect, null, np.sqrt(_spread(rest)), len(x), size, total, bandwidth)


def two_sample_mmd(
    one: Array,
    other: Array,
    clusters_one: NDArray[np.intp],
    clusters_other: NDArray[np.intp],
    *,
    rng: np.random.Generator,
    draws: int = 999,
    limit: int = 1500,
) -> Discrepancy:
    """Test whether two sets of different cases have the same law: two versions that answered other cases.

    ``one`` is (n_1, d), ``other`` (n_2, d); cluster numbers mean the same in both. Whole clusters are
    permuted between the sets. A cluster that is in both keeps its cases of the set in which it has more (of
    ``one`` at a tie). Where both versions answered the same cases, ``swap_mmd`` sees far more. At most
    ``limit`` clusters, drawn by ``rng`` from both sets alike, are used; cases with a ``nan`` are left out.

    Raises ``MeasureError`` where shapes do not fit or a value is infinite.
    """
    one, named_one = checked(one, clusters_one)
    other, named_other = checked(other, clusters_other)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise MeasureError(f"features have shapes {one.shape} and {other.shape}; give (n, d) with one d")
    points = np.concatenate([one, other])
    second = np.repeat([False, True], [len(one), len(other)])
    known = ~np.isnan(points).any(axis=1)
    points, second = points[known], second[known]
    index, total = _numbered(np.concatenate([named_one, named_other])[known])
    more = np.bincount(index, np.where(second, 1.0, -1.0), minlength=total) > 0
    chosen = _from_both(more, limit, rng)
    used = np.isin(index, chosen) & (second == more[index])
    points, sides = points[used], more[chosen]
    index, size = _numbered(index[used])
    if min(sides.sum(), size - sides.sum()) < 2:
        return _nothing("one of the sets has fewer than two clusters", len(points), size, total)
    bandwidth = _bandwidth(points[None], index, rng)
    if np.isnan(bandwidth):
        return _nothing("all features are equal: nothing could differ", len(points), size, total)
    sums = _sums(points, points, index, size, bandwidth)
    np.fill_diagonal(sums, 0.0)
    counts = np.bincount(index, minlength=size).astype(np.float64)
    found = sides.astype(np.float64)
    effect = float(_between(found[None], sums, counts)[0])
    shuffled = np.stack([rng.permutation(found) for _ in range(draws)])
    se = _two_sample_error(found, sums, counts)
    return _found(effect, _between(shuffled, sums, counts), se, len(points), size, total, bandwidth)


def _sums(x: Array, y: Array, index: NDArray[np.intp], size: int, bandwidth: float) -> Array:
    """(G, G) sums of the kernel of rows of ``x`` and ``y``, over the cases of two clusters."""
    order = np.argsort(index, kind="stable")
    x, y, index = x[order], y[order], index[order]
    starts = np.searchsorted(index, np.arange(size))
    found = np.zeros((size, size))
    for start in range(0, len(x), ROWS):
        part = np.exp(-_distances(x[start : start + ROWS], y) / bandwidth)
        if size == len(x):  # every case is its own cluster
            found[start : start + ROWS] = part
        else:
            np.add.at(found, index[start : start + ROWS], np.add.reduceat(part, starts, axis=1))
    return found


def _distances(x: Array, y: Array) -> Array:
    """(n, m) squared distances of rows."""
    centre = y.mean(axis=0)
    a, b = x - centre, y - centre
    squares: Array = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.maximum(squares, 0.0)


def _bandwidth(sets: Array, index: NDArray[np.intp], rng: np.random.Generator) -> float:
    """Median squared distance of points of different clusters; of those apart where most are equal.

    ``sets`` is (s, n, d): a case is taken with all its s points, so that swapping them changes nothing.
    ``nan`` where all points are equal.
    """
    cases = ROWS // len(sets)
    chosen = np.arange(len(index))
    if len(chosen) > cases:
        chosen = rng.choice(len(index), cases, replace=False)
    points = np.concatenate(list(sets[:, chosen]))
    named = np.tile(index[chosen], len(sets))
    apart = _distances(points, points)[named[:, None] > named]
    apart = apart[apart > 1e-12 * np.max(np.abs(points), initial=0.0) ** 2] if not np.median(apart) else apart
    return float(np.median(apart)) if apart.size else float("nan")


def _between(sides: Array, sums: Array, counts: Array) -> Array:
    """(B,) squared discrepancy of two sets of clusters, in B ways to part them; ``sides`` (B, G): 0 or 1."""
    others = 1 - sides
    n_one, n_other = others @ counts, sides @ counts
    one = ((others @ sums) * others).sum(axis=1) / (n_one**2 - others @ counts**2)
    other = ((sides @ sums) * sides).sum(axis=1) / (n_other**2 - sides @ counts**2)
    across = ((others @ sums) * sides).sum(axis=1) / (n_one * n_other)
    found: Array = one + other - 2 * across
    return found


def _two_sample_error(sides: Array, sums: Array, counts: Array) -> float:
    """Jackknife over the clusters of each set, added up."""
    variance = 0.0
    for own in (sides == 1, sides == 0):
        mine, theirs = counts[own], counts[~own].sum()
        within, across = sums[np.ix_(own, own)], sums[np.ix_(own, ~own)]
        apart = sums[np.ix_(~own, ~own)].sum() / (theirs**2 - (counts[~own] ** 2).sum())
        pairs = mine.sum() ** 2 - (mine**2).sum() - 2 * mine * (mine.sum() - mine)
        rest = _divide(within.sum() - 2 * within.sum(axis=0), pairs)
        met = (across.sum() - across.sum(axis=1)) / ((mine.sum() - mine) * theirs)
        variance += _spread(rest + apart - 2 * met)
    return float(np.sqrt(variance))


def _spread(left_out: Array) -> float:
    """Jackknife variance from the G values with one cluster left out."""
    size = len(left_out)
    return float((size - 1) / size * ((left_out - left_out.mean()) ** 2).sum())


def _divide(tops: Array, bottoms: Array) -> Array:
    quotient: Array = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return quotient


def _numbered(names: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    unique, index = np.unique(names, return_inverse=True)
    return index.astype(np.intp), len(unique)


def _some(names: NDArray[np.intp], limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most ``limit`` of the names, in order."""
    return names if len(names) <= limit else np.sort(rng.choice(names, limit, replace=False))


def _from_both(second: NDArray[np.bool_], limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most ``limit`` clusters, half of each set where both have so many."""
    one, other = np.flatnonzero(~second), np.flatnonzero(second)
    few = min(len(one), len(other), limit // 2)
    take = (few, limit - few) if len(one) <= len(other) else (limit - few, few)
    return np.sort(np.concatenate([_some(one, take[0], rng), _some(other, take[1], rng)]))


def _found(
    effect: float, null: Array, se: float, n: int, clusters: int, of_clusters: int, bandwidth: float
) -> Discrepancy:
    low, high = interval(float(effect), float(se), clusters)
    return Discrepancy(
        effect=float(effect),
        se=float(se),
        low=low,
        high=high,
        p=float(share_as_large(np.asarray(effect), null)),
        n=n,
        clusters=clusters,
        of_clusters=of_clusters,
        bandwidth=bandwidth,
        reason="too few clusters for an interval" if np.isnan(se) else "",
    )


def _nothing(reason: str, n: int, clusters: int, of_clusters: int) -> Discrepancy:
    nan = float("nan")
    return Discrepancy(
        effect=nan,
        se=nan,
        low=nan,
        high=nan,
        p=nan,
        n=n,
        clusters=clusters,
        of_clusters=of_clusters,
        bandwidth=nan,
        reason=reason,
    )
