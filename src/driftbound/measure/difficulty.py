"""Difficulty: how hard each case is for its teachers, one shrunk number per case over all its claims."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.patterns import Array

SPREAD = 1.0
"""Standard deviation of the difficulties' prior, on the log scale."""
ABILITY_SPREAD = 3.0
"""Of the abilities' prior, on the logit scale: keeps a teacher who never errs finite."""
LARGEST = 4.0
"""Difficulties lie within +- this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """Cases and teachers on one scale: P(right) = sigmoid(ability * exp(-difficulty))."""

    difficulty: Array
    """(C,) mean 0; above it all teachers are nearer to guessing; ``nan`` without a named value."""
    error: Array
    """(C,) standard error; near ``SPREAD`` where the case's claims say nothing."""
    ability: Array
    """(N, A) log-odds of being right on a case of difficulty 0, per kind of claim; ``nan`` without claims."""
    votes: NDArray[np.intp]
    """(C,) named values that a case's difficulty rests on."""
    iterations: int


def difficulty(
    right: Array, weights: Array | None = None, *, limit: int = 100, tolerance: float = 1e-3
) -> Difficulty:
    """Difficulty of C cases from what N teachers got right on A kinds of claims.

    ``right`` (C, N, A): probability that the value a teacher names is the truth; ``nan`` where it names none.
    ``weights`` (N,) count a teacher's evidence, 1 / size for the members of a lineage. As in GLAD (Whitehill
    et al. 2009), log-odds of being right are ability times exp(-difficulty), but for several claims per case,
    and with the truth's posterior given instead of estimated along. Penalised likelihood, priors
    difficulty ~ N(0, SPREAD^2), ability ~ N(0, ABILITY_SPREAD^2), mean difficulty 0; scoring steps for
    abilities and difficulties in turn, halved where they begin to swing. A case that all teachers get wrong
    alike looks easy.

    Raises ``MeasureError`` for other shapes or probabilities outside 0..1.
    """
    if right.ndim != 3 or (weights is not None and weights.shape != (right.shape[1],)):
        raise MeasureError(f"difficulty needs (cases, teachers, kinds of claims), not {right.shape}")
    named = ~np.isnan(right)
    if named.any() and (np.nanmin(right) < 0 or np.nanmax(right) > 1):
        raise MeasureError("difficulty needs probabilities of being right between 0 and 1")
    case, teacher, kind = np.nonzero(named)
    y = right[named]
    C, N, A = right.shape
    cell = teacher * A + kind
    w = np.ones(len(y)) if weights is None else weights[teacher]
    mean = np.bincount(cell, w * y, N * A) + 0.5
    mean /= np.bincount(cell, w, N * A) + 1
    count = np.bincount(case, minlength=C)
    seen = count > 0
    ability, d = np.log(mean / (1 - mean)), np.zeros(C)
    hold = np.repeat(np.ones(N) if weights is None else weights, A) / ABILITY_SPREAD**2
    damped, before = np.ones(C), np.zeros(C)
    taken = 0
    for taken in range(1, limit + 1):  # noqa: B007 - told to the caller
        earlier = np.concatenate([ability, d])
        ease = np.exp(-d)[case]
        p = _sigmoid(ability[cell] * ease)
        slope = np.bincount(cell, w * (y - p) * ease, N * A) - ability * hold
        bend = np.bincount(cell, w * p * (1 - p) * ease**2, N * A) + hold
        ability = ability + np.clip(slope / bend, -1, 1)
        step = damped * _difficulty_step(d, ability[cell], y, w, case)
        damped = np.where(step * before < 0, damped / 2, damped)
        before = step
        d = np.clip(d + step, -LARGEST, LARGEST)
        middle = d[seen].mean() if seen.any() else 0.0
        d[seen] -= middle
        ability = ability * np.exp(-middle)
        if np.abs(np.concatenate([ability, d]) - earlier).max() < tolerance:
            break
    met = np.bincount(cell, minlength=N * A) > 0
    return Difficulty(
        difficulty=np.where(seen, d, np.nan),
        error=np.where(seen, 1 / np.sqrt(_information(d, ability[cell], w, case)), np.nan),
        ability=np.where(met, ability, np.nan).reshape(N, A),
        votes=count.astype(np.intp),
        iterations=taken,
    )


def probability_right(q: Array, codes: NDArray[np.integer]) -> Array:
    """(n, N) probability that the value a teacher names is the truth, by the posterior ``q`` (n, K); ``nan``
    where it names none or the posterior is undefined."""
    named = (codes >= 0) & (codes < q.shape[1])
    return np.where(named, np.take_along_axis(q, np.where(named, codes, 0).astype(np.intp), axis=1), np.nan)


def _difficulty_step(d: Array, ability: Array, y: Array, w: Array, case: NDArray[np.intp]) -> Array:
    """(C,) Fisher-scoring step, at most 1: its information is positive where Newton's need not be."""
    z = ability * np.exp(-d)[case]
    slope = np.bincount(case, w * (y - _sigmoid(z)) * -z, len(d)) - d / SPREAD**2
    return np.asarray(np.clip(slope / _information(d, ability, w, case), -1, 1))


def _information(d: Array, ability: Array, w: Array, case: NDArray[np.intp]) -> Array:
    """(C,) Fisher information about each difficulty, the prior's among it."""
    z = ability * np.exp(-d)[case]
    p = _sigmoid(z)
    return np.asarray(np.bincount(case, w * p * (1 - p) * z**2, len(d)) + 1 / SPREAD**2)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
