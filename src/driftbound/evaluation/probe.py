"""Who wrote it? How well a text alone gives its writer away: what style could win the loss by itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from driftbound.records import Estimate
from driftbound.statistics.intervals import (
    Resamples,
    estimate,
    mean_of,
    plain,
    plain_estimate,
    ratios,
    resample,
)

_TOKEN = re.compile(r"\w+|[^\w ]")
_NOTHING = Estimate(mean=float("nan"), low=float("nan"), high=float("nan"))

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a classifier that sees nothing but texts makes of their writers, on patients new to it."""

    writers: tuple[str, ...]
    n: int
    accuracy: Estimate
    """Balanced: the mean over writers of the share of their texts that are told. ``nan``: one writer or one
    patient."""
    chance: float
    """What guessing gives: 1 / number of writers."""
    auroc: Estimate
    """Of two writers: the chance that a text of one looks more like that one's than a text of the other;
    0.5 is chance. ``nan`` with more."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "writers": list(self.writers),
            "n": self.n,
            "accuracy": plain_estimate(self.accuracy),
            "chance": plain(self.chance),
            "auroc": plain_estimate(self.auroc),
        }


def probe(
    texts: Sequence[str],
    writers: Sequence[str],
    clusters: Sequence[str],
    *,
    rng: np.random.Generator,
    folds: int = 5,
    draws: int = 1000,
) -> Probe:
    """Tell writers apart by words, pairs of neighbouring words and length; n texts of n cases' answers.

    Multinomial naive Bayes with add-one smoothing and equal priors, each patient's texts judged by a
    classifier that was made without this patient. Intervals resample patients.
    """
    names = tuple(sorted(set(writers)))
    resamples = resample(clusters, rng=rng, draws=draws)
    chance = 1 / len(names) if names else float("nan")
    if len(names) < 2 or resamples.clusters < 2:
        return Probe(writers=names, n=len(texts), accuracy=_NOTHING, chance=chance, auroc=_NOTHING)
    own = np.array([names.index(writer) for writer in writers])
    fold = (rng.permutation(resamples.clusters) % min(folds, resamples.clusters))[resamples.index]
    scores = _held_out_scores(_counts(texts), own, fold, len(names))
    asked = np.eye(len(names))[own]
    told = asked * (scores.argmax(axis=1) == own)[:, None]
    accuracy = mean_of(ratios(told, asked, resamples), range(len(names)))
    return Probe(
        writers=names,
        n=len(texts),
        accuracy=estimate(float(accuracy.point[0]), accuracy.drawn[:, 0]),
        chance=chance,
        auroc=_auroc(scores[:, 1] - scores[:, 0], own == 1, resamples) if len(names) == 2 else _NOTHING,
    )


def _held_out_scores(counts: csr_array, own: NDArray[np.intp], fold: NDArray[np.intp], writers: int) -> Array:
    """Log-likelihood (n, W) of each text under each writer's words, learnt on the other folds."""
    scores = np.zeros((len(own), writers))
    for number in range(int(fold.max()) + 1):
        seen, new = fold != number, fold == number
        totals = np.stack([counts[seen & (own == w)].sum(axis=0) for w in range(writers)]) + 1.0
        scores[new] = counts[new] @ np.log(totals / totals.sum(axis=1, keepdims=True)).T
    return scores


def _counts(texts: Sequence[str]) -> csr_array:
    """How often each text (row) has each token, pair of neighbours and class of length."""
    known: dict[tuple[str, ...], int] = {}
    columns, starts = list[int](), [0]
    for text in texts:
        tokens = _TOKEN.findall(text.lower())
        length = ("", "words", str(round(2 * np.log2(len(tokens) + 1))))
        for each in [*((t,) for t in tokens), *pairwise(tokens), length]:
            columns.append(known.setdefault(each, len(known)))
        starts.append(len(columns))
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(texts), len(known)))


def _auroc(scores: Array, positive: NDArray[np.bool_], resamples: Resamples) -> Estimate:
    """Share of (positive, negative) pairs in the right order, ties half; patients drawn with their texts."""
    size = resamples.clusters
    own, other = scores[positive], scores[~positive]
    won = (own[:, None] > other[None]) + 0.5 * (own[:, None] == other[None])
    at, against = resamples.index[positive], resamples.index[~positive]
    wins = np.zeros((size, size))
    np.add.at(wins, (at[:, None], against[None]), won)
    sides = np.bincount(at, minlength=size), np.bincount(against, minlength=size)

    def share(weights: Array) -> Array:
        pairs = (weights @ sides[0]) * (weights @ sides[1])
        top = np.einsum("dg,gh,dh->d", weights, wins, weights, optimize=True)
        divided: Array = np.divide(top, pairs, out=np.full(len(top), np.nan), where=pairs > 0)
        return divided

    return estimate(float(share(np.ones((1, size)))[0]), share(resamples.weights))
