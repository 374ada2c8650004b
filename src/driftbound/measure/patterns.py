"""Patterns: votes on claims with each distinct row once, and what every panel needs to begin with."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError

Array = NDArray[np.float64]
Lineages = tuple[tuple[int, ...], ...]
"""Every teacher in exactly one lineage, members ascending, lineages by their first member."""

NO_VOTE = -1
OTHER_VOTES = ("uncertain", "omitted", "refused")
"""The categories behind the K values: codes K, K + 1, K + 2."""
MATCHING, CLASHING, OTHER = 4.0, 1.0, 1.5
"""Prior counts of a vote that names the truth, names another value, and names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Votes of N teachers on n claims, each distinct row of votes once."""

    codes: NDArray[np.intp]
    """(P, N) distinct rows; 0..K-1 a value, K.. another vote, -1 none."""
    counts: Array
    """(P,) claims with this row, n in all."""
    index: NDArray[np.intp]
    """(n,) row of each claim."""
    values: int
    """K."""
    categories: int
    """L >= K."""

    @property
    def onehot(self) -> Array:
        """(P, N * L) one where the teacher's vote is the category; no vote is a row of zeros."""
        hot: Array = (self.codes[:, :, None] == np.arange(self.categories)).astype(np.float64)
        return hot.reshape(len(self.codes), -1)

    @property
    def voted(self) -> NDArray[np.bool_]:
        """(P,) whether anybody has a vote."""
        voted: NDArray[np.bool_] = np.asarray((self.codes >= 0).any(axis=1))
        return voted


def patterns(codes: NDArray[np.integer], values: int, *, refusals: bool = False) -> Patterns:
    """Distinct rows of ``codes`` (n, N) with their counts: every estimate depends on nothing else.

    ``codes`` hold 0..K-1 for the K ``values``, then K uncertain, K + 1 omitted, K + 2 refused, and -1 for no
    vote. A refusal counts as no vote unless ``refusals``: see ``reliability`` for the evidence.

    Raises ``MeasureError`` for fewer than two values, no claims, no teachers and foreign codes.
    """
    codes = np.asarray(codes)
    if values < 2 or codes.ndim != 2 or 0 in codes.shape:
        raise MeasureError(
            f"votes of shape {codes.shape} on {values} values: claims x teachers with at least one of each, "
            "and at least two values, are needed"
        )
    if codes.min() < NO_VOTE or codes.max() >= values + len(OTHER_VOTES):
        raise MeasureError(
            f"votes hold codes {int(codes.min())}..{int(codes.max())}; with {values} values they go from "
            f"{NO_VOTE} (no vote) to {values + 2} (refused)"
        )
    kept = codes.astype(np.intp)
    if not refusals:
        kept = np.where(kept == values + 2, NO_VOTE, kept)
    rows, index, counts = np.unique(kept, axis=0, return_inverse=True, return_counts=True)
    return Patterns(
        codes=rows,
        counts=counts.astype(np.float64),
        index=index.reshape(-1).astype(np.intp),
        values=values,
        categories=values + 2 + int(refusals),
    )


def reweighted(found: Patterns, counts: Array) -> Patterns:
    """The same rows with other counts (P,), those of none left out; ``index`` is then of no use and empty."""
    kept = counts > 0
    return Patterns(
        codes=found.codes[kept],
        counts=counts[kept],
        index=np.empty(0, dtype=np.intp),
        values=found.values,
        categories=found.categories,
    )


def subsample(found: Patterns, claims: int, rng: np.random.Generator) -> Patterns:
    """A random ``claims`` of the claims, or all where there are no more."""
    if len(found.index) <= claims:
        return found
    chosen = rng.choice(found.index, size=claims, replace=False)
    return reweighted(found, np.bincount(chosen, minlength=len(found.codes)).astype(np.float64))


def default_prior(values: int, categories: int) -> Array:
    """(K, L) prior counts, heavier where the vote names the truth: no empty cells, no switched labels.

    >>> default_prior(2, 4)
    array([[4. , 1. , 1.5, 1.5],
           [1. , 4. , 1.5, 1.5]])
    """
    prior = np.full((values, categories), OTHER)
    prior[:, :values] = CLASHING
    np.fill_diagonal(prior, MATCHING)
    return prior


def singles(teachers: int) -> Lineages:
    """Everybody a lineage of its own."""
    return tuple((u,) for u in range(teachers))


def one_voice(lineages: Lineages) -> Array:
    """(N,) power 1 / (lineage size): with it, exact copies inside a lineage change no posterior."""
    omega = np.ones(sum(len(members) for members in lineages))
    for members in lineages:
        omega[list(members)] = 1 / len(members)
    return omega


def shares(found: Patterns, weights: Array | None = None) -> Array:
    """(P, K) start: each value's share of the explicit votes, half a vote added to each; rows sum to 1.

    ``weights`` (N,) count some teachers more than others.
    """
    weights = np.ones(found.codes.shape[1]) if weights is None else weights
    named = np.stack([(found.codes == value) @ weights for value in range(found.values)], axis=1) + 0.5
    start: Array = named / named.sum(axis=1, keepdims=True)
    return start


def normalised(counts: Array) -> Array:
    """Counts over their sum along the last axis."""
    share: Array = counts / counts.sum(axis=-1, keepdims=True)
    return share


def softmax(scores: Array) -> tuple[Array, Array]:
    """Probabilities along the last axis of (P, K) ``scores`` in nats, and the (P,) log of their sum."""
    # Column by column: along so short an axis numpy's own reductions are several times slower.
    top = reduce(np.maximum, scores.T)[:, None]
    raised = np.exp(scores - top)
    total = reduce(np.add, raised.T)[:, None]
    return raised / total, (top + np.log(total))[:, 0]
