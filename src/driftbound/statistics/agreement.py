"""Agreement of several raters with missing votes: alpha, AC1, kappa, and whether alpha changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.records import Estimate
from driftbound.statistics.flips import share_as_large, signs
from driftbound.statistics.intervals import Array, Resamples, estimate

Metric = Literal["nominal", "ordinal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelAgreement:
    """How far a panel agrees; intervals from resampled clusters, all on the same draws."""

    alpha: Estimate
    """Krippendorff's."""
    ac1: Estimate
    """Gwet's: hardly moved by how common a value is, where alpha falls with rare values."""
    raw: Estimate
    """Share of pairs of votes on a unit that are equal, averaged over units."""
    n: int
    """Cases."""
    units: int
    """Units with at least two votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaChange:
    """Alpha of late steps against alpha of early steps of the same cases."""

    early: Estimate
    late: Estimate
    effect: Estimate
    """Late minus early, with the interval of paired draws of clusters."""
    p: float
    """Two-sided, from swapping early and late in whole clusters; ``nan`` where alpha is."""
    n: int
    """Cases."""
    reason: str = ""
    """Why something of the above is ``nan``; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairKappas:
    """Cohen's kappa of every two of R raters; ``nan`` on the diagonal and where it is undefined."""

    kappa: Array
    """(R, R)"""
    low: Array
    high: Array
    """(R, R) ends of the 95 % intervals from resampled clusters."""
    units: NDArray[np.int64]
    """(R, R) units on which both vote."""


def coincidences(votes: NDArray[np.integer], values: int) -> NDArray[np.float64]:
    """Coincidence matrix of each unit, (units, values, values); they add up over units.

    ``votes`` is (units, raters) with codes in 0..values-1 and -1 where a rater is missing. Each
    ordered pair of votes on a unit with m votes counts 1 / (m - 1); units with one vote count nothing.
    """
    counts = (votes[:, :, None] == np.arange(values)).sum(axis=1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(values)
    others = counts.sum(axis=1) - 1
    share = np.divide(1.0, others, out=np.zeros_like(others), where=others > 0)
    found: NDArray[np.float64] = pairs * share[:, None, None]
    return found


def case_coincidences(votes: NDArray[np.integer], values: int) -> Array:
    """(n, values, values) coincidence matrix of each case: sum over units of ``votes`` (n, units, raters)."""
    n, units, raters = votes.shape
    each = coincidences(votes.reshape(n * units, raters), values)
    found: Array = each.reshape(n, units, values, values).sum(axis=1)
    return found


def krippendorff_alpha(votes: NDArray[np.integer], values: int) -> float:
    """1 - observed / expected disagreement: 1 is agreement, 0 is chance.

    ``nan`` where no two raters meet, or where all votes are one value (nothing to disagree on).

    >>> krippendorff_alpha(np.array([[0, 0], [1, 1]]), 2)
    1.0
    >>> krippendorff_alpha(np.array([[0, -1], [1, -1]]), 2)
    nan
    """
    return float(alpha_of(coincidences(votes, values).sum(axis=0)))


def alpha_of(total: Array, metric: Metric = "nominal") -> Array:
    """Krippendorff's alpha of summed coincidence matrices (..., values, values); ``nan`` as above.

    ``ordinal`` takes the values in their order: two that lie far apart, with many votes between them,
    disagree more (Krippendorff 2011).
    """
    marginal = total.sum(axis=-1)
    n = marginal.sum(axis=-1)
    weight = _weights(marginal, metric)
    expected = (weight * marginal[..., :, None] * marginal[..., None, :]).sum(axis=(-2, -1))
    observed = (weight * total).sum(axis=(-2, -1))
    known = (n >= 2) & (expected > 1e-9)
    ratio = np.divide((n - 1) * observed, expected, out=np.full(n.shape, np.nan), where=known)
    return np.asarray(1 - ratio)


def ac1(votes: NDArray[np.integer], values: int) -> float:
    """Gwet's AC1 of ``votes`` (units, raters) as in ``coincidences``; ``nan`` where no two raters meet.

    (p_a - p_e) / (1 - p_e) (Gwet 2008): p_a is the mean over units with two votes or more of the share of
    equal pairs, p_e = sum_l q_l (1 - q_l) / (values - 1), q_l the mean over units with a vote of l's share.

    >>> round(ac1(np.array([[0, 0], [0, 0], [0, 1]]), 2), 4)
    0.5385
    """
    return float(_ac1(_unit_sums(votes, values).sum(axis=0)))


def panel_agreement(
    votes: NDArray[np.integer], values: int, resamples: Resamples, metric: Metric = "nominal"
) -> PanelAgreement:
    """Alpha, AC1 and raw agreement of ``votes`` (n, units, raters), with 95 % intervals over clusters.

    ``resamples`` draws the clusters of the n cases; all three are functions of sums over cases.
    """
    n, units, raters = votes.shape
    pairs = _sampled(case_coincidences(votes, values), resamples)
    sums = _unit_sums(votes.reshape(n * units, raters), values).reshape(n, units, -1).sum(axis=1)
    unit = _sampled(sums, resamples)
    alpha = _each(pairs, lambda total: alpha_of(total, metric))
    return PanelAgreement(
        alpha=_estimate(alpha),
        ac1=_estimate(_each(unit, _ac1)),
        raw=_estimate(_each(unit, _raw)),
        n=n,
        units=int(sums[:, 0].sum()),
    )


def alpha_change(
    early: Array,
    late: Array,
    resamples: Resamples,
    *,
    rng: np.random.Generator,
    draws: int = 999,
    metric: Metric = "nominal",
) -> AlphaChange:
    """Did the panel's alpha change between early and late steps of the same cases?

    ``early`` and ``late`` are (n, values, values) coincidence matrices of the cases (``case_coincidences``).
    If nothing changes, early and late of a cluster may be swapped; the difference of alphas is compared
    with its values under random swaps. A swap that leaves alpha undefined counts as large.
    Raises ``MeasureError`` where shapes do not fit.
    """
    if early.shape != late.shape or len(early) != len(resamples.index):
        raise MeasureError(
            f"coincidences of shapes {early.shape} and {late.shape} for {len(resamples.index)} cases; "
            "give one matrix per case for early and for late"
        )
    both = np.stack([early, late], axis=1)
    point, drawn = _each(_sampled(both, resamples), lambda total: alpha_of(total, metric))
    effect = estimate(float(point[1] - point[0]), drawn[:, 1] - drawn[:, 0])
    reason, p = "", float("nan")
    if resamples.clusters < 2:
        reason = "fewer than two clusters"
    elif np.isnan(effect.mean):
        reason = "alpha is undefined: no two votes on a unit, or all votes are one value"
    else:
        p = _swapped(both, effect.mean, resamples, rng, draws, metric)
    return AlphaChange(
        early=estimate(float(point[0]), drawn[:, 0]),
        late=estimate(float(point[1]), drawn[:, 1]),
        effect=effect,
        p=p,
        n=len(early),
        reason=reason,
    )


def pair_kappas(votes: NDArray[np.integer], values: int, resamples: Resamples) -> PairKappas:
    """Cohen's kappa of every two raters of ``votes`` (n, units, raters), over the units on which both vote.

    (p_o - p_e) / (1 - p_e), p_e from each rater's own shares (Cohen 1960); undefined where both only ever
    say one and the same value.
    """
    raters = votes.shape[2]
    kappa, low, high = (np.full((raters, raters), np.nan) for _ in range(3))
    units = np.zeros((raters, raters), dtype=np.int64)
    codes = np.arange(values)
    for u in range(raters):
        for v in range(u):
            one, other = votes[:, :, u, None] == codes, votes[:, :, v, None] == codes
            tables = np.einsum("cik,cil->ckl", one.astype(np.float64), other.astype(np.float64))
            found = _estimate(_each(_sampled(tables, resamples), _kappa))
            for a, b in ((u, v), (v, u)):
                kappa[a, b], low[a, b], high[a, b] = found.mean, found.low, found.high
                units[a, b] = round(tables.sum())
    return PairKappas(kappa=kappa, low=low, high=high, units=units)


def _weights(marginal: Array, metric: Metric) -> Array:
    """(..., values, values) how much two values disagree: 0 or 1, or squared distance of mid-ranks."""
    if metric == "nominal":
        return 1.0 - np.eye(marginal.shape[-1])
    middle = np.cumsum(marginal, axis=-1) - marginal / 2
    squared: Array = (middle[..., :, None] - middle[..., None, :]) ** 2
    return squared


def _unit_sums(votes: NDArray[np.integer], values: int) -> Array:
    """(units, 3 + values): has a pair, share of equal pairs, has a vote, share of each value."""
    counts = (votes[:, :, None] == np.arange(values)).sum(axis=1).astype(np.float64)
    m = counts.sum(axis=1)
    equal = (counts * (counts - 1)).sum(axis=1)
    pairs = np.divide(equal, m * (m - 1), out=np.zeros_like(m), where=m > 1)
    shares = np.divide(counts, m[:, None], out=np.zeros_like(counts), where=m[:, None] > 0)
    return np.column_stack([m > 1, pairs, m > 0, shares])


def _raw(sums: Array) -> Array:
    pairs, equal = sums[..., 0], sums[..., 1]
    return np.asarray(np.divide(equal, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))


def _ac1(sums: Array) -> Array:
    voted, shares = sums[..., 2], sums[..., 3:]
    q = np.divide(shares, voted[..., None], out=np.full(shares.shape, np.nan), where=voted[..., None] > 0)
    if q.shape[-1] < 2:
        return np.full(voted.shape, np.nan)
    chance = (q * (1 - q)).sum(axis=-1) / (q.shape[-1] - 1)
    return np.asarray((_raw(sums) - chance) / (1 - chance))


def _kappa(tables: Array) -> Array:
    n = tables.sum(axis=(-2, -1))
    shares = np.divide(
        tables, n[..., None, None], out=np.full(tables.shape, np.nan), where=n[..., None, None] > 0
    )
    same = np.trace(shares, axis1=-2, axis2=-1)
    chance = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    return np.asarray(
        np.divide(same - chance, 1 - chance, out=np.full(n.shape, np.nan), where=chance < 1 - 1e-12)
    )


def _swapped(
    both: Array, effect: float, resamples: Resamples, rng: np.random.Generator, draws: int, metric: Metric
) -> float:
    """p of a difference of alphas under swaps of early and late (n, 2, values, values) by clusters."""
    size = resamples.clusters
    clusters = np.zeros((size, *both.shape[1:]))
    np.add.at(clusters, resamples.index, both)
    early, late = clusters.sum(axis=0)
    move = (clusters[:, 1] - clusters[:, 0]).reshape(size, -1)
    null = []
    for flipped in signs(rng, draws, size):
        moved = ((1 - flipped) / 2 @ move).reshape(-1, *early.shape)
        null.append(alpha_of(late - moved, metric) - alpha_of(early + moved, metric))
    large = np.nan_to_num(np.abs(np.concatenate(null)), nan=np.inf)
    return float(share_as_large(np.abs(np.asarray(effect)), large))


def _sampled(values: Array, resamples: Resamples) -> tuple[Array, Array]:
    """Sums over cases of ``values`` (n, ...), on all cases (...) and on each draw (D, ...)."""
    size = resamples.clusters
    clusters = np.zeros((size, *values.shape[1:]))
    np.add.at(clusters, resamples.index, values)
    drawn = resamples.weights @ clusters.reshape(size, -1)
    return clusters.sum(axis=0), drawn.reshape(-1, *values.shape[1:])


def _each(sums: tuple[Array, Array], statistic: Callable[[Array], Array]) -> tuple[Array, Array]:
    return statistic(sums[0]), statistic(sums[1])


def _estimate(found: tuple[Array, Array]) -> Estimate:
    return estimate(float(found[0]), found[1])
