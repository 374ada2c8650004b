"""Noise: how far a teacher differs from itself when asked again, and how far the teachers differ beyond that.

Disagreement between teachers minus disagreement of each teacher with itself is half the mean pairwise
energy distance of their laws (Székely and Rizzo); for the 0/1 distance the mean of half the squared Euclidean
distance of their vote distributions. It is zero where all teachers are the same, however noisy they are, and
unbiased at any number of repeats of two or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from driftbound.statistics.intervals import Array, Resamples, Sampled, mean_of, ratios

Codes = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Disagreement of explicit votes on the same slot, over the cases that were asked repeatedly."""

    between: Sampled
    """Two teachers: chance that they name different values, mean over pairs (R = 1)."""
    within: Sampled
    """The same teacher twice, mean over teachers (R = 1)."""
    excess: Sampled
    """Between less within: what is not the teachers' own noise."""
    teachers: Sampled
    """Each teacher with itself (R = T)."""
    cases: int
    """Cases with at least one teacher that was asked twice."""


def noise(samples: Sequence[Codes], resamples: Resamples) -> Noise | None:
    """The noise floor, from the codes (n, T, A) of R samples; ``None`` below two samples or repeated cases.

    Only (case, teacher) pairs that were asked twice count, on both sides, so that between and within
    are taken on the same questions.
    """
    if len(samples) < 2:
        return None
    stack = np.stack(samples)  # R, n, T, A
    asked = (stack != -1).any(axis=3)  # R, n, T
    twice = asked.sum(axis=0) >= 2
    if not twice.any():
        return None
    stack = np.where(twice[None, :, :, None], stack, -1)
    own = ratios(*_within(stack), resamples)
    pairs = ratios(*_between(stack), resamples)
    within = mean_of(own, range(own.point.size))
    between = mean_of(pairs, range(pairs.point.size))
    excess = Sampled(between.point - within.point, between.drawn - within.drawn)
    return Noise(
        between=between, within=within, excess=excess, teachers=own, cases=int(twice.any(axis=1).sum())
    )


def excess_by_part(samples: Sequence[Codes], parts: NDArray[np.int16], count: int) -> Array:
    """(n, J) excess by part of the answers: between less within, mean over teachers and samples.

    Both are taken of the claims that an answer makes in that part, so that an answer that grows noisier
    along its way raises both. ``parts`` are those of the first sample's votes (n, T, A) or of all
    samples' (R, n, T, A), which uses every pair of answers and so errs less. ``nan`` where one is unknown.
    """
    stack = np.stack(samples)
    each = parts if parts.ndim == 4 else parts[None]
    found = [_excess_of(stack, r, own, count) for r, own in enumerate(each)]
    return _known_mean(np.stack(found, axis=2))


def _excess_of(stack: Codes, sample: int, parts: NDArray[np.int16], count: int) -> Array:
    """(n, J) excess by part of one sample's answers, against all samples of the others and its own rest."""
    R, n, T, A = stack.shape
    first = stack[sample]
    own = _mean_difference(first[None], np.delete(stack, sample, axis=0))  # n, T, A
    others = np.full((n, T, A), np.nan)
    for t in range(T):
        rest = np.delete(stack, t, axis=2).transpose(0, 2, 1, 3).reshape(R * (T - 1), n, 1, A)
        others[:, t] = _mean_difference(first[None, :, t : t + 1], rest)[:, 0]
    both = others - own
    found = [_known_mean(_known_mean(np.where(parts == part, both, np.nan))) for part in range(count)]
    return np.stack(found, axis=1)


def _known_mean(values: Array) -> Array:
    """Mean over the last axis of what is known; ``nan`` where nothing is."""
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    mean: Array = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    return mean


def _mean_difference(one: Codes, many: Codes) -> Array:
    """Mean over ``many`` (M, ...) of whether an explicit vote differs from ``one`` (1, ...)."""
    compared = (one >= 0) & (many >= 0)
    n = compared.sum(axis=0)
    differ = (compared & (one != many)).sum(axis=0)
    mean: Array = np.divide(differ, n, out=np.full(n.shape, np.nan), where=n > 0)
    return mean


def _within(stack: Codes) -> tuple[Array, Array]:
    """(n, T) pairs of a teacher's samples that differ, and pairs compared, over slots."""
    differ = np.zeros(stack.shape[1:3])
    met = np.zeros(stack.shape[1:3])
    for r, s in combinations(range(len(stack)), 2):
        both = (stack[r] >= 0) & (stack[s] >= 0)
        met += both.sum(axis=2)
        differ += (both & (stack[r] != stack[s])).sum(axis=2)
    return differ, met


def _between(stack: Codes) -> tuple[Array, Array]:
    """(n, pairs) pairs of votes of two teachers that differ, and pairs compared, over slots and samples."""
    n, T = stack.shape[1:3]
    which = list(combinations(range(T), 2))
    apart, faced = np.zeros((n, len(which))), np.zeros((n, len(which)))
    for p, (u, v) in enumerate(which):
        for r in range(len(stack)):
            for s in range(len(stack)):
                one, other = stack[r, :, u], stack[s, :, v]
                both = (one >= 0) & (other >= 0)
                faced[:, p] += both.sum(axis=1)
                apart[:, p] += (both & (one != other)).sum(axis=1)
    return apart, faced
