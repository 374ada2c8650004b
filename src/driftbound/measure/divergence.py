"""Divergence between N teachers' distributions, in nats: N-way and pairwise, per teacher, and from counts."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from driftbound.errors import MeasureError
from driftbound.records import Measured
from driftbound.statistics.intervals import standard_errors

Array = NDArray[np.float64]


def entropy(p: Array) -> Array:
    """Shannon entropy of each distribution on the last axis of ``p`` (..., K), in nats.

    >>> bool(np.isclose(entropy(np.array([0.5, 0.5])), np.log(2)))
    True
    """
    found: Array = -xlogy(p, p).sum(axis=-1)
    return found


def kl(p: Array, q: Array) -> Array:
    """Kullback-Leibler divergence of ``p`` from ``q`` over the last axis, in nats; infinite where ``q``
    rules out what ``p`` allows."""
    found: Array = (xlogy(p, p) - xlogy(p, q)).sum(axis=-1)
    return np.maximum(found, 0.0)


def gjs(p: Array, weights: Array | None = None) -> Array:
    """Generalised Jensen-Shannon divergence of N distributions ``p`` (..., N, K), in nats.

    H(sum_u w_u p_u) - sum_u w_u H(p_u) (Lin 1991): the mutual information between a teacher drawn by ``w``
    and a token drawn from it, between 0 and H(w). ``weights`` (..., N) sum to one; without, 1 / N. With two
    distributions it is the square of scipy's ``jensenshannon``. It shrinks with the entropy of what is
    compared: beside it look at ``normalised``.

    >>> gjs(np.eye(3)).round(4)
    np.float64(1.0986)
    """
    w = _weights(p, weights)
    found: Array = entropy((w[..., None] * p).sum(axis=-2)) - (w * entropy(p)).sum(axis=-1)
    return np.maximum(found, 0.0)  # rounding


def normalised(p: Array, weights: Array | None = None) -> Array:
    """``gjs`` as a share of the entropy of the mixture, in [0, 1]; ``nan`` where that entropy is 0."""
    mixture = entropy((_weights(p, weights)[..., None] * p).sum(axis=-2))
    found: Array = np.divide(gjs(p, weights), mixture, out=np.full(mixture.shape, np.nan), where=mixture > 0)
    return found


def shares(p: Array, weights: Array | None = None) -> Array:
    """What each teacher adds to ``gjs``: w_u KL(p_u || mixture), (..., N); their sum is ``gjs``.

    One teacher that moves away moves the mixture, and with it the share of everybody: to say *who* has
    changed take ``robust_scores``.
    """
    part = _weights(p, weights)[..., None] * p
    found: Array = (xlogy(part, p) - xlogy(part, part.sum(axis=-2, keepdims=True))).sum(axis=-1)
    return np.maximum(found, 0.0)


def pairwise_js(p: Array) -> Array:
    """Jensen-Shannon divergence of every two of N distributions ``p`` (..., N, K): (..., N, N), in nats."""
    size = p.shape[-2]
    found = np.zeros((*p.shape[:-1], size))
    own = entropy(p)
    for u in range(size):
        for v in range(u + 1, size):
            mixed = entropy((p[..., u, :] + p[..., v, :]) / 2) - (own[..., u] + own[..., v]) / 2
            found[..., u, v] = found[..., v, u] = np.maximum(mixed, 0.0)
    return found


def robust_scores(pairs: Array) -> Array:
    """How far each teacher stands from the typical other: the median over v != u of JS(p_u, p_v), (..., N).

    ``pairs`` (..., N, N) is of ``pairwise_js``, or a mean of such. While fewer than half of the others have
    changed, a teacher that has not hardly moves. Raises ``MeasureError`` below two teachers.
    """
    size = pairs.shape[-1]
    if size < 2:
        raise MeasureError("a teacher's distance from the others needs two teachers. Compare more of them.")
    others = pairs[..., ~np.eye(size, dtype=bool)].reshape(*pairs.shape[:-1], size - 1)
    found: Array = np.median(others, axis=-1)
    return found


def plug_in_js(counts: Array) -> Array:
    """``gjs`` of the relative frequencies of ``counts`` (..., N, K): biased up, by about
    (K - 1)(N - 1) / (2 N n) at n draws per teacher. Take ``jackknife_js``.

    ``nan`` where a teacher has no draw. Every teacher weighs the same, however often it was drawn from.
    """
    n = counts.sum(axis=-1, keepdims=True)
    empty = np.full(counts.shape, np.nan)
    return gjs(np.divide(counts, n, out=empty, where=n > 0))


def jackknife_js(counts: Array) -> Array:
    """N-way Jensen-Shannon divergence from ``counts`` (..., N, K), in nats, its bias of first order removed.

    Delete-1 jackknife over all draws of all teachers (Quenouille 1956, for several samples):
    J - sum_u (n_u - 1) / n_u sum_i (J without draw i of teacher u - J). Every teacher keeps the weight 1 / N
    while a draw of its own is left out. Can be negative where the truth is near 0. ``nan`` where a teacher
    has fewer than two draws. Draws are taken as independent given their teacher.
    """
    size = counts.shape[-2]
    n = counts.sum(axis=-1, keepdims=True)
    enough = (n > 1).all(axis=(-2, -1))
    n = np.where(n > 1, n, np.nan)
    p = counts / n
    own, mixture = entropy(p), p.mean(axis=-2, keepdims=True)
    whole = entropy(mixture[..., 0, :]) - own.mean(axis=-1)
    # without one draw of u in cell k every other cell of u is counts / (n - 1), and cell k a draw less
    less, step = counts / (n - 1), 1 / (n - 1)
    alone = _without_one(less, step)
    among = _without_one(np.maximum(mixture + (less - p) / size, 0.0), step / size)
    rest = (own.sum(axis=-1)[..., None] - own)[..., None]
    change = among - (alone + rest) / size - whole[..., None, None]
    found: Array = whole - ((n - 1) / n * counts * np.where(counts > 0, change, 0.0)).sum(axis=(-2, -1))
    return np.where(enough, found, np.nan)


def js_from_counts(tables: Array, clusters: NDArray[np.intp]) -> Measured:
    """``jackknife_js`` of n cases' tables (n, N, K) added up, with a 95 % interval over clusters.

    The interval is J -+ 1.96 SE, SE^2 = (G - 1) / G sum_g (J_g - mean)^2 with J_g the plug-in value without
    cluster g (Efron and Stein 1981). Percentiles of a bootstrap would be centred at the plug-in value, which
    is biased. Undefined, with a reason, where a teacher has too few draws or below two clusters. Near J = 0
    the law of J is skewed and the interval a rough one.
    """
    estimator = "N-way JSD from counts, delete-1 jackknife; SE by leaving out clusters"
    total, n = tables.sum(axis=0), len(tables)
    value = float(jackknife_js(total))
    if np.isnan(value):
        reason = "a teacher has fewer than two draws"
        return Measured(estimator=estimator, n=n, value=value, reason=reason)
    size = int(clusters.max()) + 1
    if size < 2:
        return Measured(estimator=estimator, n=n, value=value, reason="one cluster has no interval")
    own = np.zeros((size, *total.shape))
    np.add.at(own, clusters, tables)
    without = plug_in_js(total - own)
    if np.isnan(without).any():
        reason = "all draws of a teacher come from one cluster"
        return Measured(estimator=estimator, n=n, value=value, reason=reason)
    spread = 1.96 * float(np.sqrt((size - 1) * without.var()))
    return Measured(estimator=estimator, n=n, value=value, low=value - spread, high=value + spread)


def mean_measured(estimator: str, values: Array, clusters: NDArray[np.intp]) -> Measured:
    """Mean over cases of ``values`` (n,) with its 95 % interval, mean -+ 1.96 SE by clusters.

    ``nan`` values are left out; undefined, with a reason, where none is left or only one cluster.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return Measured(estimator=estimator, n=0, value=float("nan"), reason="no case has a value")
    error = float(standard_errors(values[:, None], clusters)[0])
    reason = "one cluster has no interval" if np.isnan(error) else ""
    value = float(known.mean())
    return Measured(
        estimator=estimator,
        n=len(known),
        value=value,
        low=value - 1.96 * error,
        high=value + 1.96 * error,
        reason=reason,
    )


def check_distributions(p: Array, what: str) -> None:
    """Raises ``MeasureError`` where ``p`` (..., K) holds something else than distributions: a sum more than
    1e-3 off one, a probability that is negative or no number."""
    off = np.abs(p.sum(axis=-1) - 1)
    if not bool((p >= 0).all()):
        raise MeasureError(f"{what}: a probability is negative or no number. Look at the model that gave it.")
    if bool((off > 1e-3).any()):
        raise MeasureError(
            f"{what}: probabilities add up to one only within {float(off.max()):.2g}. Give whole "
            "distributions; for top-k lists there are intervals (measure.topk)."
        )


def _weights(p: Array, weights: Array | None) -> Array:
    size = p.shape[-2]
    if weights is None:
        return np.full(size, 1.0 / size)
    if weights.shape[-1] != size:
        raise MeasureError(f"{weights.shape[-1]} weights for {size} teachers. Give each teacher one.")
    return weights


def _without_one(p: Array, step: Array) -> Array:
    """Entropy of ``p`` with cell k made smaller by ``step``, for each k: (..., N, K)."""
    terms = xlogy(p, p)
    smaller = np.maximum(p - step, 0.0)  # rounding; cells without a draw are not asked for
    found: Array = -(terms.sum(axis=-1, keepdims=True) - terms + xlogy(smaller, smaller))
    return found
