"""Signs: did a mean change, at which step and by how much, judged by flipping the signs of whole clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.statistics.flips import checked, interval, per_cluster, share_as_large, studentised
from driftbound.statistics.intervals import Array, standard_errors

ZERO = 1e-12
"""A contrast below this share of the largest value is rounding: no change at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """The mean of one number per case, with its error and its sign-flip test."""

    effect: float
    se: float
    """By clusters."""
    low: float
    high: float
    """95 % interval: Student's t with one degree of freedom less than clusters."""
    p: float
    """Two-sided; ``nan`` where no test was asked for."""
    n: int
    """Cases that it rests on."""
    clusters: int
    """Clusters of these cases."""
    reason: str = ""
    """Why something of the above is ``nan``; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A search for a change over all splits of the steps. K splits were tested."""

    p: float
    """Of "the law does not change with the step": the largest studentised contrast over all splits."""
    split: int | None
    """Step (from 0) at which the later part begins in the split found; ``None`` where none was tested."""
    effect: float
    """Later minus earlier mean at the split found. Chosen as the largest: away from zero by a little."""
    se: float
    low: float
    high: float
    """95 % interval at the split found, as if it had been fixed beforehand (see ``split_half``)."""
    n: int
    """Cases that have both parts at the split found."""
    clusters: int
    splits: NDArray[np.intp]
    """(K,) as ``split``."""
    effects: Array
    """(K,)"""
    errors: Array
    """(K,) standard errors by clusters."""
    ps: Array
    """(K,) p of each split, corrected for having looked at all K."""
    cases: NDArray[np.intp]
    """(K,) cases that have both parts."""
    reason: str = ""
    """Why something of the above is ``nan``; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """A change that was looked for in one half of the clusters and measured in the other."""

    split: int | None
    """Found in the first half."""
    change: Contrast
    """At that split, in the other half: its p, effect and interval owe nothing to the search."""


def contrasts(values: Array, split: int) -> Array:
    """(n, ...) mean of the steps from ``split`` on minus mean of the steps before, per case.

    ``values`` is (n, J, ...); ``nan`` is a missing step. A case without a value on one side is ``nan``.

    >>> contrasts(np.array([[1.0, 1.0, 4.0], [np.nan, np.nan, 2.0]]), 2)
    array([ 3., nan])
    """
    return _mean(values[:, split:]) - _mean(values[:, :split])


def scan(
    values: Array, clusters: NDArray[np.intp], *, rng: np.random.Generator, draws: int = 999, trim: int = 2
) -> Scan:
    """Test whether the law of a number changes with the step, over all splits of the steps at once.

    ``values`` is (n, J), ``nan`` where a case has no such step; ``clusters`` is (n,) in 0..G-1. A split
    leaves at least ``trim`` steps on each side; a case counts where it has values on both sides. A split is
    left out when fewer than ten clusters and fewer than half of them count. The largest |mean / standard
    error| over the splits is compared with its values when the contrasts of whole clusters change sign; the
    maximum bounds the error over all splits (Westfall and Young 1993). Exact where a cluster's contrasts are
    symmetric around zero, and, being studentised, asymptotically otherwise (Romano 1990).
    p = (1 + as large or larger) / (draws + 1).

    Raises ``MeasureError`` where shapes do not fit or a value is infinite.
    """
    values, clusters = checked(values, clusters)
    steps = values.shape[1]
    tried = range(trim, steps - trim + 1)
    if trim < 1 or not tried:
        return _no_scan(f"{steps} steps have no split with {trim} on each side")
    changes = _rounded(np.stack([contrasts(values, k) for k in tried], axis=1), values)
    totals, counts = per_cluster(changes, clusters)
    present = (counts > 0).sum(axis=0)
    least = max(2, min(10, -(-int((counts > 0).any(axis=1).sum()) // 2)))
    kept = np.flatnonzero(present >= least)
    if not kept.size:
        return _no_scan("fewer than two clusters have values on both sides of a split")
    changes, totals, counts = changes[:, kept], totals[:, kept], counts[:, kept]
    found, largest = studentised(totals, counts, rng, draws)
    ps = share_as_large(found, largest)
    at = int(np.argmax(found))
    splits = np.array(tried, dtype=np.intp)[kept]
    errors = standard_errors(changes, clusters)
    best = _contrast(changes[:, at], clusters, float(ps[at]))
    return Scan(
        p=best.p,
        split=int(splits[at]),
        effect=best.effect,
        se=best.se,
        low=best.low,
        high=best.high,
        n=best.n,
        clusters=best.clusters,
        splits=splits,
        effects=_mean(changes.T),
        errors=errors,
        ps=ps,
        cases=counts.sum(axis=0).astype(np.intp),
        reason=best.reason,
    )


def flip_test(
    differences: Array, clusters: NDArray[np.intp], *, rng: np.random.Generator, draws: int = 999
) -> Contrast:
    """Test whether the mean of ``differences`` (n,) is zero: paired answers of two dates, or contrasts.

    ``nan`` differences are left out. Signs are flipped for whole clusters, the mean is studentised by its
    cluster standard error. Raises ``MeasureError`` where shapes do not fit or a value is infinite.
    """
    values, clusters = checked(differences[:, None], clusters)
    values = _rounded(values, values)
    totals, counts = per_cluster(values, clusters)
    if (counts > 0).sum() < 2:
        return _contrast(values[:, 0], clusters, float("nan"))
    found, largest = studentised(totals, counts, rng, draws)
    return _contrast(values[:, 0], clusters, float(share_as_large(found, largest)[0]))


def contrast_of(differences: Array, clusters: NDArray[np.intp]) -> Contrast:
    """The mean of ``differences`` (n,) with its error and interval; p is ``nan``. As ``flip_test`` else."""
    values, clusters = checked(differences[:, None], clusters)
    return _contrast(_rounded(values, values)[:, 0], clusters, float("nan"))


def contrast_at(values: Array, clusters: NDArray[np.intp], split: int) -> Contrast:
    """Later minus earlier mean of ``values`` (n, J) at a split that was fixed beforehand; p is ``nan``.

    ``flip_test(contrasts(values, split), ...)`` is the same with a test. Raises ``MeasureError`` where a side
    of the split has no step, shapes do not fit or a value is infinite.
    """
    values, clusters = checked(values, clusters)
    if not 0 < split < values.shape[1]:
        raise MeasureError(f"split {split} of {values.shape[1]} steps leaves one side empty; choose another")
    changes = _rounded(contrasts(values, split)[:, None], values)
    return _contrast(changes[:, 0], clusters, float("nan"))


def split_half(
    values: Array, clusters: NDArray[np.intp], rng: np.random.Generator, *, draws: int = 999, trim: int = 2
) -> Halves:
    """Find the split on a random half of the clusters, estimate and test it on the other half.

    Arguments and errors as ``scan``. The price of an effect that the search has not inflated is half of the
    cases.
    """
    values, clusters = checked(values, clusters)
    named = np.unique(clusters)
    chosen = np.isin(clusters, rng.permutation(named)[: len(named) // 2])
    found = scan(values[chosen], clusters[chosen], rng=rng, draws=1, trim=trim)
    if found.split is None:
        return Halves(split=None, change=_nothing(found.reason))
    rest = contrasts(values[~chosen], found.split)
    return Halves(split=found.split, change=flip_test(rest, clusters[~chosen], rng=rng, draws=draws))


def _contrast(changes: Array, clusters: NDArray[np.intp], p: float) -> Contrast:
    known = ~np.isnan(changes)
    n, groups = int(known.sum()), len(np.unique(clusters[known]))
    if groups < 2:
        only = float(changes[known].mean()) if n else float("nan")
        return _nothing("fewer than two clusters have a value", effect=only, n=n, clusters=groups)
    effect = float(changes[known].mean())
    se = float(standard_errors(changes[:, None], clusters)[0])
    low, high = interval(effect, se, groups)
    return Contrast(effect=effect, se=se, low=low, high=high, p=p, n=n, clusters=groups)


def _nothing(reason: str, *, effect: float = float("nan"), n: int = 0, clusters: int = 0) -> Contrast:
    nan = float("nan")
    return Contrast(effect=effect, se=nan, low=nan, high=nan, p=nan, n=n, clusters=clusters, reason=reason)


def _no_scan(reason: str) -> Scan:
    nan, none, no_cases = float("nan"), np.empty(0), np.empty(0, dtype=np.intp)
    return Scan(
        p=nan,
        split=None,
        effect=nan,
        se=nan,
        low=nan,
        high=nan,
        n=0,
        clusters=0,
        splits=no_cases,
        effects=none,
        errors=none,
        ps=none,
        cases=no_cases,
        reason=reason,
    )


def _mean(values: Array) -> Array:
    """(n, ...) mean of the known values along the second axis; ``nan`` where there are none."""
    known = ~np.isnan(values)
    n = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Array = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    return mean


def _rounded(changes: Array, values: Array) -> Array:
    """Changes with zero for what is rounding beside the largest value: constant values do not change."""
    largest = np.max(np.abs(values), initial=0.0, where=~np.isnan(values))
    settled: Array = np.where(np.abs(changes) <= ZERO * largest, 0.0, changes)
    return settled
