"""Versions: what changed between two versions of a model, or between two dates on the same cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.records import Estimate
from driftbound.statistics.intervals import Array, Resamples, estimate, resample, standard_errors

NORMAL_95 = 1.959963984540054
"""Standard errors on either side of a normal 95 % interval."""
LEAST = 10
"""Cases that a version must have answered to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A change of how often claims are contradicted, in two parts that add up (Kitagawa 1955).

    With the share P_v(h) of version v's claims that fall to slot h, and the rate f_v(h) at which those are
    contradicted: ``history`` = sum_h (P_2 - P_1)(f_1 + f_2) / 2, what the versions choose to speak of, and
    ``instant`` = sum_h (P_1 + P_2) / 2 (f_2 - f_1), what they then say of it. Both versions' rates are
    known at every slot that both speak of, so nothing needs to be scored again; slots that one of them never
    names belong to neither part and are counted.
    """

    total: Estimate
    history: Estimate
    instant: Estimate
    left_out: int
    """Claims on slots that only one version names."""


def segments(labels: Sequence[str]) -> list[str]:
    """The versions with at least ``LEAST`` cases, by first appearance; empty labels are none."""
    counts: dict[str, int] = {}
    for label in labels:
        if label:
            counts[label] = counts.get(label, 0) + 1
    return [label for label, n in counts.items() if n >= LEAST]


def difference(values: Array, second: NDArray[np.bool_], clusters: NDArray[np.intp]) -> list[Estimate]:
    """Mean of ``values`` (n, R) over the cases of the second set minus over those of the first, per column.

    ``second`` is (n,); ``nan`` values are left out. The standard error is that of the two means' linear
    terms, summed within clusters: a cluster may have cases in both sets.
    """
    found = []
    for column in values.T:
        known = ~np.isnan(column)
        one, two = known & ~second, known & second
        if not one.any() or not two.any():
            found.append(Estimate(mean=np.nan, low=np.nan, high=np.nan))
            continue
        means = column[one].mean(), column[two].mean()
        effect = float(means[1] - means[0])
        terms = np.zeros(len(column))
        terms[one] = -(column[one] - means[0]) / one.sum()
        terms[two] = (column[two] - means[1]) / two.sum()
        n = known.sum()
        scaled = np.where(known, terms * n, np.nan)  # their mean is zero, its error that of the difference
        error = float(standard_errors(scaled[:, None], clusters)[0])
        found.append(Estimate(mean=effect, low=effect - NORMAL_95 * error, high=effect + NORMAL_95 * error))
    return found


def kitagawa(
    met: Array, second: NDArray[np.bool_], clusters: NDArray[np.intp], *, rng: np.random.Generator, draws: int
) -> Split:
    """Split the change of the rate of contradiction between two sets of cases.

    ``met`` is (n, A), one teacher's. Intervals are from resampling clusters; ``nan`` where a set has no
    claim.
    """
    known = ~np.isnan(met)
    sides = (~second, second)
    common = known[~second].any(axis=0) & known[second].any(axis=0)
    left_out = int(known[:, ~common].sum())
    resamples = resample([str(g) for g in clusters], rng=rng, draws=draws)
    tops, counts = [], []
    for side in sides:
        here = known[:, common] & side[:, None]
        tops.append(_drawn(np.where(here, met[:, common], 0.0), resamples))
        counts.append(_drawn(here.astype(np.float64), resamples))
    total, history, instant = _parts(tops, counts)
    return Split(
        total=estimate(float(total[0]), total[1:]),
        history=estimate(float(history[0]), history[1:]),
        instant=estimate(float(instant[0]), instant[1:]),
        left_out=left_out,
    )


def _drawn(values: Array, resamples: Resamples) -> Array:
    """(1 + D, H) sums over cases, on all of them and on each draw."""
    totals = np.zeros((resamples.clusters, values.shape[1]))
    np.add.at(totals, resamples.index, values)
    drawn: Array = np.vstack([totals.sum(axis=0), resamples.weights @ totals])
    return drawn


def _parts(tops: list[Array], counts: list[Array]) -> tuple[Array, Array, Array]:
    """(1 + D,) total, history and instant, from sums and counts (1 + D, H) of the two sides."""
    shape = tops[0].shape
    rates = [
        np.divide(t, n, out=np.full(shape, np.nan), where=n > 0) for t, n in zip(tops, counts, strict=True)
    ]
    both = ~np.isnan(rates[0]) & ~np.isnan(rates[1])  # a draw may lose a slot of one side
    shares = []
    for n in counts:
        kept = np.where(both, n, 0.0)
        whole = kept.sum(axis=1, keepdims=True)
        shares.append(np.divide(kept, whole, out=np.full(shape, np.nan), where=whole > 0))
    f1, f2 = (np.where(both, rate, 0.0) for rate in rates)
    history = ((shares[1] - shares[0]) * (f1 + f2) / 2).sum(axis=1)
    instant = ((shares[1] + shares[0]) / 2 * (f2 - f1)).sum(axis=1)
    return history + instant, history, instant
