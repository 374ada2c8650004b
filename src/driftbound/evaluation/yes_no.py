"""Yes or no: how well the probability that a model gives to "yes" ranks the cases, finding by finding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.protocols import Policy
from driftbound.records import Estimate
from driftbound.statistics.intervals import Resamples, Sampled, estimate, mean_of

Array = NDArray[np.float64]
_AT_ONCE = 1 << 21
"""Numbers of draws times cases that are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Areas under the ROC curve of F findings."""

    findings: tuple[str, ...]
    per_finding: tuple[Estimate, ...]
    """``nan`` where the truth has one class only."""
    mean: Estimate
    """Over the findings that have both classes on all cases; a draw on which one of them lacks a class is
    left out."""
    averaged: int
    """How many findings that are."""
    cases: tuple[int, ...]
    """Per finding, how many cases count."""
    positives: tuple[int, ...]
    """Per finding, in how many of them it is present."""


def ask_yes_no(
    policy: Policy,
    questions: Sequence[str],
    images: Sequence[Sequence[Path]],
    *,
    yes: str | Sequence[str] = "yes",
    no: str | Sequence[str] = "no",
    batch_size: int = 8,
) -> Array:
    """P(yes) / (P(yes) + P(no)) (n,) of n questions, by the probabilities of whole answers.

    Each answer is scored with its end token: a score per question and answer; of several that mean the same
    ("left", "right") the probabilities are added. Give ``yes`` and ``no`` as the model would write them
    ("Yes."). Raises ``MeasureError`` where a model finds all of them impossible.
    """
    if len(questions) != len(images):
        raise MeasureError(f"{len(questions)} questions and {len(images)} lists of images: give one each")
    asserting, denying = ((each,) if isinstance(each, str) else tuple(each) for each in (yes, no))
    answers = (*asserting, *denying)
    scores = np.zeros((len(questions), len(answers)))
    for start in range(0, len(questions), batch_size):
        some = slice(start, start + batch_size)
        for column, answer in enumerate(answers):
            asked = questions[some]
            scores[some, column] = policy.score(asked, images[some], [answer] * len(asked))
    lost = np.flatnonzero(np.isnan(scores).any(axis=1) | np.isneginf(scores).all(axis=1))
    if len(lost):
        told = answers if len(answers) > 2 else f"{answers[0]!r} and {answers[1]!r}"
        raise MeasureError(
            f"{questions[lost[0]]!r}: log-probabilities {scores[lost[0]].tolist()} of {told} "
            "compare to nothing. Choose answers that the model can give."
        )
    own = np.logaddexp.reduce(scores[:, : len(asserting)], axis=1)
    chances: Array = np.exp(own - np.logaddexp.reduce(scores, axis=1))
    return chances


def ranking(probabilities: Array, truth: Array, findings: Sequence[str], resamples: Resamples) -> Ranking:
    """AUROC per finding and their mean, with intervals that resample patients.

    ``probabilities`` and ``truth`` are (n, F): of "yes", and 1 present, 0 absent; ``nan`` in either leaves a
    case out for that finding (not asked, not known). Raises ``MeasureError`` for other shapes or values.
    """
    shape = (len(resamples.index), len(findings))
    if probabilities.shape != shape or truth.shape != shape:
        raise MeasureError(
            f"probabilities {probabilities.shape}, truth {truth.shape}: both have to be {shape}, "
            "cases by findings"
        )
    known = ~np.isnan(probabilities) & ~np.isnan(truth)
    if not np.isin(truth[known], (0.0, 1.0)).all():
        raise MeasureError("truth holds other values than 0, 1 and nan: say which of them is present")
    found = sampled(probabilities, truth, resamples)
    mean = mean_of(found, range(len(findings)))
    return Ranking(
        findings=tuple(findings),
        per_finding=tuple(estimate(float(found.point[f]), found.drawn[:, f]) for f in range(shape[1])),
        mean=estimate(float(mean.point[0]), mean.drawn[:, 0]),
        averaged=int((~np.isnan(found.point)).sum()),
        cases=tuple(known.sum(axis=0).tolist()),
        positives=tuple((known & (truth == 1)).sum(axis=0).tolist()),
    )


def sampled(probabilities: Array, truth: Array, resamples: Resamples) -> Sampled:
    """AUROC of F findings on all cases and on each draw, as ``ranking`` takes them; R = F.

    Those of two models on the same cases, from the same ``resamples``, are paired.
    """
    draws, columns = len(resamples.weights), probabilities.shape[1]
    point, drawn = np.full(columns, np.nan), np.full((draws, columns), np.nan)
    for f in range(columns):
        known = ~np.isnan(probabilities[:, f]) & ~np.isnan(truth[:, f])
        scores, positive = probabilities[known, f], truth[known, f] == 1
        index = resamples.index[known]
        point[f] = _areas(scores, positive, np.ones((1, len(scores))))[0]
        step = max(1, _AT_ONCE // max(1, len(scores)))
        for start in range(0, draws, step):
            some = slice(start, start + step)
            drawn[some, f] = _areas(scores, positive, resamples.weights[some][:, index])
    return Sampled(point, drawn)


def auroc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive case scores higher than a negative one, ties half; ``nan`` with one class only.

    >>> auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875
    >>> auroc(np.array([0.9]), np.array([True]))
    nan
    """
    return float(_areas(scores, positive, np.ones((1, len(scores))))[0])


def _areas(scores: Array, positive: NDArray[np.bool_], weights: Array) -> Array:
    """AUROC (D,) of n cases that count ``weights`` (D, n) times."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # where a new score begins
    own = np.add.reduceat(np.where(positive, weights, 0.0)[:, order], starts, axis=1)
    other = np.add.reduceat(np.where(positive, 0.0, weights)[:, order], starts, axis=1)
    won = own * (np.cumsum(other, axis=1) - other / 2)
    pairs = own.sum(axis=1) * other.sum(axis=1)
    areas: Array = np.divide(won.sum(axis=1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return areas
