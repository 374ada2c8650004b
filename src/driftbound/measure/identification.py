"""Identification: how much of the divergence between teachers shows in their texts alone: a lower bound, from
how well a classifier tells them apart."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from driftbound.errors import MeasureError
from driftbound.measure.divergence import Array, mean_measured
from driftbound.records import Measured

Labels: TypeAlias = NDArray[np.intp]
Predict: TypeAlias = Callable[[Array], Array]
"""Features (m, F) -> log-probabilities of the N teachers, (m, N)."""
Fit: TypeAlias = Callable[[Array, Labels, int], Predict]
"""Features (m, F), each one's teacher (m,) and N -> what it has learnt."""


def one_hot(codes: NDArray[np.integer], values: int) -> tuple[Array, Labels]:
    """Claims as features: (..., A) codes in 0..values-1 -> (..., A values) zeros and ones, and the number of
    the slot (A values,) that each column belongs to, for ``multinomial``.

    >>> one_hot(np.array([[0, 2]]), 3)[0]
    array([[1., 0., 0., 0., 0., 1.]])
    """
    hot = (codes[..., None] == np.arange(values)).astype(np.float64)
    return hot.reshape(*codes.shape[:-1], -1), np.repeat(np.arange(codes.shape[-1]), values)


def logistic(penalty: float = 1.0) -> Fit:
    """Multinomial logistic regression with half the ``penalty`` times the weights' squares: takes into
    account that claims go together. Features should be of one scale."""

    def fit(x: Array, teacher: Labels, teachers: int) -> Predict:
        wide = np.column_stack([x, np.ones(len(x))])
        target = np.eye(teachers)[teacher]
        shape = (wide.shape[1], teachers)

        def loss(flat: Array) -> tuple[float, Array]:
            w = flat.reshape(shape)
            logits = wide @ w
            logp = logits - logsumexp(logits, axis=1, keepdims=True)
            shrunk = np.vstack([w[:-1], np.zeros(teachers)])
            slope = wide.T @ (np.exp(logp) - target) + penalty * shrunk
            return float(-(target * logp).sum() + penalty / 2 * (shrunk**2).sum()), slope.ravel()

        found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B")
        weights = found.x.reshape(shape)

        def predict(new: Array) -> Array:
            logits = np.column_stack([new, np.ones(len(new))]) @ weights
            logp: Array = logits - logsumexp(logits, axis=1, keepdims=True)
            return logp

        return predict

    return fit


def multinomial(groups: Labels, smoothing: float = 0.5) -> Fit:
    """Relative frequencies per teacher within each of the ``groups`` (F,) of columns that exclude each other
    (values of one slot), taken as independent between groups: fast, and too sure where claims go together."""

    def fit(x: Array, teacher: Labels, teachers: int) -> Predict:
        counts = np.stack([x[teacher == u].sum(axis=0) for u in range(teachers)]) + smoothing
        totals = np.stack([np.bincount(groups, row)[groups] for row in counts])
        table = np.log(counts / totals)

        def predict(new: Array) -> Array:
            logits = new @ table.T
            logp: Array = logits - logsumexp(logits, axis=1, keepdims=True)
            return logp

        return predict

    return fit


def identification_bound(
    features: Array,
    clusters: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    fit: Fit | None = None,
    folds: int = 5,
    draws: int = 0,
) -> Measured:
    """Lower bound of the N-way Jensen-Shannon divergence of what teachers write, from texts alone, in nats.

    JS = I(U; X) >= log N - CE for the cross-entropy CE of any classifier of the teacher U from features X of
    its text (Barber and Agakov 2003), on cases it has not seen: ``features`` (n, N, F) of n cases are
    cross-fitted in ``folds`` of whole clusters. ``fit``: ``logistic`` unless given. On the cases it was
    fitted on, a classifier says too much. Cases that lack an answer (``nan``) are left out. Below 0 it says
    nothing. The bound holds for the divergence, not for differences of divergences: one minus another bounds
    nothing. Give it claims: from whole texts it tells style, and near log N it tells no more.

    The interval is that of the mean over cases of log N less their loss, given the classifiers. With draws
    p is the share of relabellings of the teachers within cases, refitted, that reach the bound. Undefined,
    with a reason, below two clusters.
    """
    estimator = f"teacher identification, {folds} folds: lower bound of the N-way JSD"
    if features.ndim != 3 or len(features) != len(clusters) or folds < 2:
        raise MeasureError(
            f"teacher identification from features {features.shape} with {len(clusters)} clusters in {folds} "
            "folds: give (cases, teachers, features), a cluster per case and two folds or more."
        )
    whole = ~np.isnan(features).any(axis=(1, 2))
    x, names = features[whole], clusters[whole]
    groups, place = np.unique(names, return_inverse=True)
    if len(groups) < 2:
        reason = "teacher identification needs two clusters in which every teacher answered"
        return Measured(estimator=estimator, n=len(x), value=float("nan"), reason=reason)
    fold = rng.permutation(np.arange(len(groups)) % min(folds, len(groups)))[place]
    using = fit or logistic()
    found = mean_measured(estimator, _gains(x, fold, using), place.astype(np.intp))
    if not draws:
        return found
    reached = 0
    for _ in range(draws):
        order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
        again = np.take_along_axis(x, order[:, :, None], axis=1)
        reached += bool(_gains(again, fold, using).mean() >= found.value)
    return Measured(
        estimator=estimator,
        n=found.n,
        value=found.value,
        low=found.low,
        high=found.high,
        p=(1 + reached) / (1 + draws),
    )


def _gains(x: Array, fold: Labels, fit: Fit) -> Array:
    """(n,) log N less each case's mean loss over its N answers, by the classifier of the other folds."""
    n, teachers, width = x.shape
    found = np.empty(n)
    for each in range(int(fold.max()) + 1):
        out = fold == each
        inside = x[~out]
        teacher = np.tile(np.arange(teachers), len(inside))
        logp = fit(inside.reshape(-1, width), teacher, teachers)(x[out].reshape(-1, width))
        own = logp.reshape(-1, teachers, teachers).diagonal(axis1=1, axis2=2)
        found[out] = np.log(teachers) + own.mean(axis=1)
    return found
