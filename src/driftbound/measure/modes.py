"""Modes: other ways to explain the votes as well, that would decide claims otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.copying import fit_copying
from driftbound.measure.dawid_skene import Model, posterior
from driftbound.measure.patterns import Array, Patterns, shares
from driftbound.measure.trust import Risk

RIVAL = 10.0
"""Nats of penalised likelihood within which another mode explains the votes as well."""
DISPUTED = 0.01
"""Share of claims that a mode must decide otherwise to be another one."""
SHIFTS = (2.0, 4.0)
"""Log-odds by which a start favours a value: truths that are rarer or more common than the votes."""
MOST = 2
"""Other modes that are kept, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The fitted model and its rivals."""

    rivals: tuple[Model, ...]
    """Best first; empty where the votes leave no choice."""
    disputed: NDArray[np.bool_]
    """(P,) rows of votes that a rival decides otherwise."""


def shows_truth(found: Patterns, best: Model) -> bool:
    """Whether the votes hang together more than those of teachers who vote on nothing.

    With one kind of claim only, votes are independent; ``best`` with its K kinds must explain them better by
    more nats than it has further parameters (Akaike's criterion). Below that a fitted truth is drawn from
    noise: which it is, and even which way round, is chance.
    """
    alone, added = 0.0, found.values - 1
    for codes in found.codes.T:
        counts = np.array([found.counts[codes == code].sum() for code in range(found.categories)])
        counts = counts[counts > 0]
        alone += float((counts * np.log(counts / counts.sum())).sum())
        added += (found.values - 1) * max(len(counts) - 1, 0)
    return best.log_likelihood - alone > added


def worst_risks(per_world: Sequence[tuple[Risk, ...]]) -> tuple[Risk, ...]:
    """Of each method the simulated risk in the world, among those that explain the votes as well, in which it
    gains least over the majority."""
    return tuple(min(each, key=lambda risk: risk.gain) for each in zip(*per_world, strict=True))


def find_modes(found: Patterns, best: Model) -> Modes:
    """Local optima of the likelihood near ``best``, from starts that trust one teacher or favour one value.

    With few informative teachers the votes can be told as "common, and often missed" as well as "rare, and
    often imagined": the likelihood has several modes, and a prior that teachers beat chance hardly tells
    them apart. Which one EM ends in is no knowledge.
    """
    q = np.nan_to_num(posterior(best, found)).argmax(axis=1)
    weights = found.counts / found.counts.sum()
    kept: list[tuple[float, Model, NDArray[np.intp]]] = []
    for start in _starts(found):
        other = fit_copying(found, best.lineages, starts=[start], limit=100, tolerance=1e-3)
        if best.penalised - other.penalised > RIVAL:
            continue
        says = np.nan_to_num(posterior(other, found)).argmax(axis=1)
        if all(weights @ (says != known) > DISPUTED for known in (q, *(each for _, _, each in kept))):
            kept.append((other.penalised, other, says))
    kept.sort(key=lambda each: -each[0])
    kept = kept[:MOST]
    disputed = np.zeros(len(found.codes), dtype=np.bool_)
    for _, _, says in kept:
        disputed |= says != q
    return Modes(rivals=tuple(model for _, model, _ in kept), disputed=disputed)


def _starts(found: Patterns) -> Sequence[Array]:
    """(P, K) each: the votes' shares with one value favoured, and each teacher's word taken."""
    base = np.log(np.clip(shares(found), 1e-3, None))
    starts = []
    for value in range(found.values):
        for shift in SHIFTS:
            raised = base.copy()
            raised[:, value] += shift
            starts.append(_normalised(raised))
    for u in range(found.codes.shape[1]):
        taken = base.copy()
        said = np.flatnonzero((found.codes[:, u] >= 0) & (found.codes[:, u] < found.values))
        taken[said, found.codes[said, u]] += SHIFTS[0]
        starts.append(_normalised(taken))
    return starts


def _normalised(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    share: Array = weights / weights.sum(axis=1, keepdims=True)
    return share
