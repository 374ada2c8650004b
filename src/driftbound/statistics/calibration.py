"""Calibration: do probabilities mean what they say, and do scores rank; with intervals over clusters."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from driftbound.errors import MeasureError
from driftbound.records import Measured
from driftbound.statistics.intervals import Array, Resamples, estimate

BINS = 10
LEAST_PROBABILITY = 1e-9
"""What a probability of the truth is raised to before its logarithm: no single claim counts infinitely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far the posteriors of claims whose truth is known can be believed."""

    ece: Measured
    """Expected calibration error of the most probable value."""
    log_loss: Measured
    """Mean -log of the probability of the truth, nats."""
    brier: Measured
    """Mean squared distance of the posterior from the truth, over two: 0 to 1."""
    accuracy: Measured
    """Share of claims whose most probable value is the truth."""
    over_confidence: Measured
    """Mean probability of the most probable value minus ``accuracy``: above 0 is too sure."""


def calibration_error(
    confidence: Array, right: Array, weights: Array | None = None, bins: int = BINS
) -> float:
    """Expected calibration error: mean distance of confidence and share right over ``bins`` equal bins.

    ``confidence`` (n,) in 0..1, ``right`` (n,) 0 or 1, ``weights`` (n,) counts. ``nan`` without claims.

    >>> calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1.0, 1.0, 1.0, 0.0])).__round__(6)
    0.1
    """
    weights = np.ones(len(confidence)) if weights is None else weights
    total = weights.sum()
    if total == 0:
        return float("nan")
    where = np.clip((confidence * bins).astype(np.intp), 0, bins - 1)
    gaps = np.bincount(where, weights=weights * (confidence - right), minlength=bins)
    return float(np.abs(gaps).sum() / total)


def log_losses(posterior: Array, truth: NDArray[np.intp]) -> Array:
    """(n,) -log of each claim's probability of its truth, nats."""
    told = posterior[np.arange(len(truth)), truth]
    losses: Array = -np.log(np.clip(told, LEAST_PROBABILITY, 1.0))
    return losses


def brier_scores(posterior: Array, truth: NDArray[np.intp]) -> Array:
    """(n,) half the squared distance of each posterior (K,) from its truth; with two values (1 - p)^2."""
    told = np.zeros_like(posterior)
    told[np.arange(len(truth)), truth] = 1.0
    scores: Array = ((posterior - told) ** 2).sum(axis=1) / 2
    return scores


def auroc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive has the higher score than a negative, ties half; by ranks.

    ``nan`` scores are left out; ``nan`` where one of the two kinds is empty.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    known = ~np.isnan(scores)
    ranks, yes = rankdata(scores[known]), positive[known]
    ones, zeros = int(yes.sum()), int((~yes).sum())
    if ones == 0 or zeros == 0:
        return float("nan")
    return float((ranks[yes].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def calibration(posterior: Array, truth: NDArray[np.intp], resamples: Resamples) -> Calibration:
    """Calibration of ``posterior`` (n, K) against ``truth`` (n,), intervals by resampling whole clusters.

    Raises ``MeasureError`` for a posterior that is undefined or a truth outside 0..K-1.
    """
    if len(posterior) != len(truth) or np.isnan(posterior).any():
        raise MeasureError("calibration needs a posterior, defined, for every claim whose truth is known")
    if len(truth) and (truth.min() < 0 or truth.max() >= posterior.shape[1]):
        raise MeasureError(f"truths lie in {truth.min()}..{truth.max()}, not in 0..{posterior.shape[1] - 1}")
    confidence = posterior.max(axis=1)
    right = (posterior.argmax(axis=1) == truth).astype(np.float64)
    losses, squares = log_losses(posterior, truth), brier_scores(posterior, truth)

    def measured(name: str, statistic: Callable[[Array], float]) -> Measured:
        return _resampled(name, len(truth), statistic, resamples)

    def mean(values: Array) -> Callable[[Array], float]:
        return lambda weights: float(weights @ values / weights.sum()) if weights.sum() else float("nan")

    return Calibration(
        ece=measured(
            f"expected calibration error, {BINS} bins",
            lambda weights: calibration_error(confidence, right, weights),
        ),
        log_loss=measured("log-loss in nats", mean(losses)),
        brier=measured("Brier score", mean(squares)),
        accuracy=measured("accuracy", mean(right)),
        over_confidence=measured("confidence minus accuracy", mean(confidence - right)),
    )


def _resampled(name: str, n: int, statistic: Callable[[Array], float], resamples: Resamples) -> Measured:
    """A statistic of claim weights (n,), with its 95 % interval over draws of clusters."""
    point = statistic(np.ones(n))
    drawn = np.array([statistic(weights[resamples.index]) for weights in resamples.weights])
    found = estimate(point, drawn)
    reason = ""
    if n == 0:
        reason = "no claim whose truth is known"
    elif np.isnan(found.low):
        reason = "fewer than two clusters: no interval"
    return Measured(
        estimator=f"{name}; percentile bootstrap of clusters",
        n=n,
        value=found.mean,
        low=found.low,
        high=found.high,
        reason=reason,
    )
