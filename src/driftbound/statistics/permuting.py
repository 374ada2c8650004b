"""Permuting: do two sets of cases, or one rater among others, differ in a mean? Clusters are dealt out again,
or the raters are exchanged within them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.statistics.flips import AT_ONCE, checked, share_as_large
from driftbound.statistics.intervals import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """Two-sided p of R differences of means."""

    p: Array
    """(R,) of each; ``nan`` where a set has no value, or nothing varies."""
    together: Array
    """(R,) corrected for having looked at all R."""


def permuted_difference(
    values: Array,
    second: NDArray[np.bool_],
    clusters: NDArray[np.intp],
    *,
    rng: np.random.Generator,
    draws: int = 999,
) -> Dealt:
    """Test whether the cases of the second set have other means than those of the first: ``values`` (n, R).

    ``second`` is (n,). The sets are dealt out again: clusters in random order are given the sets in the order
    in which the clusters had them, so that a cluster stays together as far as it was, whatever its size.
    Exact where clusters are of one size or cases came in random order. Unlike a normal law, which knows
    nothing of a set whose few cases all lack a rare event, it holds however rare an event and however small a
    set is. Each difference is measured by its spread over the draws; the largest bounds the error over all R
    (Westfall and Young 1993). ``nan`` values are left out; p = (1 + as large or larger) / (draws + 1).

    Raises ``MeasureError`` where shapes do not fit or a value is infinite.
    """
    values, clusters = checked(values, clusters)
    if second.shape != clusters.shape:
        raise MeasureError(f"{len(second)} marks of the second set for {len(clusters)} cases; give one each")
    R = values.shape[1]
    nothing = np.full(R, np.nan)
    if not second.any() or second.all():
        return Dealt(p=nothing, together=nothing.copy())
    found = _differences(second.astype(np.float64)[None], values)
    at_once = max(1, AT_ONCE // len(values))
    null = [
        _differences(_dealt(second, clusters, rng, min(at_once, draws - start)), values)
        for start in range(0, draws, at_once)
    ]
    both = np.abs(np.vstack([found, *null]))
    known = ~np.isnan(found[0])
    size = np.sqrt(np.nanmean(both[:, known] ** 2, axis=0))
    measured = np.divide(both[:, known], size, out=np.zeros_like(both[:, known]), where=size > 0)
    measured = np.nan_to_num(measured, nan=np.inf)  # a draw that empties a set counts as large
    p, together = nothing.copy(), nothing.copy()
    if measured.shape[1]:
        largest = measured[1:].max(axis=1)
        p[known] = [float(share_as_large(own[0], own[1:])) for own in measured.T]
        together[known] = share_as_large(measured[0], largest)
    return Dealt(p=p, together=together)


def exchanged_above(
    values: Array, clusters: NDArray[np.intp], *, rng: np.random.Generator, draws: int = 999
) -> Array:
    """(T,) one-sided p of each rater's mean of ``values`` (n, T) lying above that of the others, same cases.

    If a rater is like the others, any of those who were asked could have given its values of a cluster: the
    sum of its values less the others' mean is compared with that of a rater drawn anew in each cluster. Exact
    where all are asked of all, however rare an event: signs that are flipped would take a rare event that a
    rater happens to lack for a difference, since one of few is far above the mean and many are a little
    below. ``nan``: not asked; a rater that is never beside another has ``nan``.

    Raises ``MeasureError`` where shapes do not fit or a value is infinite.
    """
    values, clusters = checked(values, clusters)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    beside = known.sum(axis=1, keepdims=True) - known
    others = filled.sum(axis=1, keepdims=True) - filled
    there = known & (beside > 0)
    above = filled - np.divide(others, beside, out=np.zeros_like(others), where=there)
    names, index = np.unique(clusters, return_inverse=True)
    sums, asked = np.zeros((2, len(names), values.shape[1]))
    np.add.at(sums, index, np.where(there, above, 0.0))
    np.add.at(asked, index, there.astype(np.float64))
    kept = (asked > 0).any(axis=1)
    present = asked[kept] > 0
    order = np.argsort(~present, axis=1, kind="stable")
    sums, width = np.take_along_axis(sums[kept], order, axis=1), present.sum(axis=1)
    null = np.zeros(draws)
    for own, among in zip(sums, width, strict=True):
        null += own[rng.integers(0, among, draws)]
    found = np.where(there, above, 0.0).sum(axis=0)
    room = 1e-9 * max(1.0, float(np.abs(null).max(initial=0.0)))
    return np.where(there.any(axis=0), share_as_large(found - room, null), np.nan)


def _dealt(
    second: NDArray[np.bool_], clusters: NDArray[np.intp], rng: np.random.Generator, draws: int
) -> Array:
    """(b, n) the second set, dealt out again to whole clusters."""
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    share = np.bincount(index, second) / sizes
    order = np.lexsort((index, share[index]))
    labels = second[order].astype(np.float64)
    turn = rng.permuted(np.tile(np.arange(len(sizes)), (draws, 1)), axis=1)
    begin = np.empty_like(turn)
    np.put_along_axis(begin, turn, np.cumsum(sizes[turn], axis=1) - sizes[turn], axis=1)
    place = np.empty(len(index), dtype=np.intp)  # of each case within its cluster, at random
    by_cluster = np.lexsort((rng.random(len(index)), index))
    place[by_cluster] = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found: Array = labels[begin[:, index] + place]
    return found


def _differences(sides: Array, values: Array) -> Array:
    """(b, R) mean of the values (n, R) of the second set less that of the first; ``sides`` (b, n): 0 or 1."""
    known = (~np.isnan(values)).astype(np.float64)
    filled = np.where(known > 0, values, 0.0)
    filled = filled - filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1) * known
    n_two, two = sides @ known, sides @ filled
    n_one, one = known.sum(axis=0) - n_two, filled.sum(axis=0) - two
    missing = np.full(two.shape, np.nan)
    found: Array = np.divide(two, n_two, out=missing.copy(), where=n_two > 0) - np.divide(
        one, n_one, out=missing, where=n_one > 0
    )
    return found
