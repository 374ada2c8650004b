"""Intervals: resampling whole clusters (patients), for means and for ratios of sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.records import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Resamples:
    """Draws of whole clusters; share one between rows that are to be compared."""

    index: NDArray[np.intp]
    """(n,) number of each case's cluster, in 0..G-1."""
    weights: Array
    """(D, G) how often each draw took each cluster; no rows where there are fewer than two clusters."""
    clusters: int
    """G."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A statistic on all cases and on each draw; sampled statistics of one ``Resamples`` are paired."""

    point: Array
    """(R,) on all cases; ``nan`` where the denominator is empty."""
    drawn: Array
    """(D, R) on each draw; ``nan`` where the draw's denominator is empty."""


def resample(clusters: Sequence[str], *, rng: np.random.Generator, draws: int = 2000) -> Resamples:
    """Draw as many clusters as there are, with replacement, ``draws`` times.

    Below two clusters there are no draws: one patient says nothing about the next.

    >>> resample(["a", "a", "b"], rng=np.random.default_rng(0), draws=5).weights.sum(axis=1)
    array([2., 2., 2., 2., 2.])
    """
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    size = len(names)
    if size < 2:
        return Resamples(index.astype(np.intp), np.zeros((0, size)), size)
    weights = rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.float64)
    return Resamples(index.astype(np.intp), weights, size)


def ratios(numerators: Array, denominators: Array, resamples: Resamples) -> Sampled:
    """Ratio of sums over cases, for R columns at once.

    ``numerators`` and ``denominators`` are (n, R) and hold each case's contribution; the ratio is
    taken after summing, so that a sensitivity (hits over positives) is resampled as the ratio it is.
    """
    tops = _per_cluster(numerators, resamples)
    bottoms = _per_cluster(denominators, resamples)
    return Sampled(
        _divide(tops.sum(axis=0), bottoms.sum(axis=0)),
        _divide(resamples.weights @ tops, resamples.weights @ bottoms),
    )


def estimate(point: float, drawn: Array) -> Estimate:
    """Point with the 95 % percentile interval of ``drawn`` (D,).

    Draws that are ``nan`` (a class without a case) are left out: the interval is conditional on
    the statistic being defined. A point that is ``nan`` has no interval.

    >>> estimate(0.5, np.array([0.0, np.nan, 1.0]))
    Estimate(mean=0.5, low=0.025, high=0.975)
    """
    said = drawn[~np.isnan(drawn)]
    if np.isnan(point) or said.size == 0:
        return Estimate(mean=float(point), low=float("nan"), high=float("nan"))
    low, high = np.quantile(said, [0.025, 0.975])
    return Estimate(mean=float(point), low=float(low), high=float(high))


def cluster_mean(values: Array, resamples: Resamples) -> list[Estimate]:
    """Mean over cases of each column of ``values`` (n, R), with intervals; ``nan`` values are left out."""
    known = ~np.isnan(values)
    sampled = ratios(np.where(known, values, 0.0), known.astype(np.float64), resamples)
    return [estimate(sampled.point[r], sampled.drawn[:, r]) for r in range(values.shape[1])]


def standard_errors(values: Array, clusters: NDArray[np.intp]) -> Array:
    """Standard error of the mean over cases of each column of ``values`` (n, R), by clusters; ``nan`` values
    are left out.

    With G clusters among the m known values, SE^2 = G / (G - 1) * sum_g (sum_{c in g} (x_c - mean))^2 / m^2:
    sd / sqrt(m) where every case is a cluster of its own. ``nan`` below two clusters.

    >>> standard_errors(np.array([[1.0], [3.0], [5.0]]), np.array([0, 1, 2])).round(6)
    array([1.154701])
    """
    known = ~np.isnan(values)
    m = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    mean = np.divide(filled.sum(axis=0), m, out=np.full(m.shape, np.nan), where=m > 0)
    size = int(clusters.max()) + 1 if len(clusters) else 0
    totals = np.zeros((size, values.shape[1]))
    np.add.at(totals, clusters, np.where(known, values - mean, 0.0))
    present = np.zeros((size, values.shape[1]))
    np.add.at(present, clusters, known.astype(np.float64))
    groups = (present > 0).sum(axis=0).astype(np.float64)
    inflation = np.divide(groups, groups - 1, out=np.full(m.shape, np.nan), where=groups > 1)
    errors: Array = np.sqrt(inflation * (totals**2).sum(axis=0)) / np.where(m > 0, m, np.nan)
    return errors


def mean_of(sampled: Sampled, columns: Sequence[int]) -> Sampled:
    """Mean over those of ``columns`` that are defined on all cases, as one column (R = 1).

    A draw on which one of them is undefined is undefined.
    """
    defined = [column for column in columns if not np.isnan(sampled.point[column])]
    if not defined:
        return Sampled(np.full(1, np.nan), np.full((len(sampled.drawn), 1), np.nan))
    return Sampled(
        sampled.point[defined].mean(keepdims=True), sampled.drawn[:, defined].mean(axis=1, keepdims=True)
    )


def difference(one: Sampled, other: Sampled) -> Estimate:
    """One minus other, paired: both (R = 1) come from the same draws of the same clusters."""
    return estimate(float(one.point[0] - other.point[0]), one.drawn[:, 0] - other.drawn[:, 0])


def _per_cluster(values: Array, resamples: Resamples) -> Array:
    totals = np.zeros((resamples.clusters, values.shape[1]))
    np.add.at(totals, resamples.index, values)
    return totals


def _divide(tops: Array, bottoms: Array) -> Array:
    quotient: Array = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return quotient


def plain(number: float) -> float | None:
    """A number for JSON: six decimals (beyond them sums differ between machines), ``nan`` as null.

    >>> plain(2 / 3), plain(float("nan"))
    (0.666667, None)
    """
    return None if np.isnan(number) else round(float(number), 6)


def plain_estimate(given: Estimate) -> dict[str, float | None]:
    """An estimate for JSON.

    >>> plain_estimate(Estimate(mean=1.0, low=float("nan"), high=float("nan")))
    {'mean': 1.0, 'low': None, 'high': None}
    """
    return {"mean": plain(given.mean), "low": plain(given.low), "high": plain(given.high)}
