"""Dependence: do teachers agree more than their reliability explains, and how many votes they are worth."""

from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.copying import draw
from driftbound.measure.dawid_skene import Model, fit
from driftbound.measure.patterns import Array, Patterns, patterns, subsample

TESTED = 2000
"""Claims that the test uses at most; beyond, it finds what is too small to matter."""
SIGNIFICANT = 0.05
LEAST_EFFECTIVE = 2.0
"""Independent votes that a consensus needs at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """Excess agreement of pairs of teachers under plain Dawid-Skene, and its test."""

    p: float
    """Of the largest standardised excess, by a parametric bootstrap that refits; ``nan`` for one teacher."""
    excess: Array
    """(N, N) agreement minus what the reliabilities explain, on claims that both voted on; ``nan`` on the
    diagonal and without such claims."""
    standardised: Array
    """(N, N) the same, minus its bootstrap mean and over its bootstrap deviation."""
    n: int
    """Claims tested."""
    draws: int

    @property
    def top_pair(self) -> tuple[int, int] | None:
        """The two teachers with the largest standardised excess."""
        if np.isnan(self.standardised).all():
            return None
        u, v = np.unravel_index(int(np.nanargmax(self.standardised)), self.standardised.shape)
        return (int(min(u, v)), int(max(u, v)))


def dependence_test(found: Patterns, rng: np.random.Generator, *, draws: int = 79) -> Dependence:
    """Whether votes are independent given the truth: excess agreement against that of simulated panels.

    Of each pair: the share of claims on which both give one vote, minus
    sum_z pi_z sum_x theta_u[z, x] theta_v[z, x]. The largest over pairs, each standardised over the observed
    and all simulated panels; p = (1 + #{simulated >= observed}) / (draws + 1). Simulated panels come from
    the fitted model with as many claims and the same missing votes, and are fitted anew, as the observed
    was. It sees dependence of any kind that pairs show; not an error that all teachers share.
    """
    tested = subsample(found, TESTED, rng)
    N = found.codes.shape[1]
    n = int(tested.counts.sum())
    if N < 2:
        return untested(found)
    model = fit(tested)
    pairs = np.triu_indices(N, 1)
    stack = [_excess(tested, model)[pairs]]
    missing = np.repeat(tested.codes < 0, tested.counts.astype(np.intp), axis=0)
    for _ in range(draws):
        _, codes = draw(model, n, rng)
        drawn = patterns(np.where(missing, -1, codes), found.values, refusals=_has_refusals(found))
        stack.append(_excess(drawn, fit(drawn, limit=30, tolerance=1e-4))[pairs])
    every = np.stack(stack)
    spread = np.where(every.std(axis=0) > 0, every.std(axis=0), 1.0)
    largest = _largest((every - every.mean(axis=0)) / spread)
    simulated = every[1:]
    scale = np.where(simulated.std(axis=0) > 0, simulated.std(axis=0), 1.0)
    return Dependence(
        p=float("nan") if isnan(largest[0]) else float((largest >= largest[0]).mean()),
        excess=_square(every[0], N),
        standardised=_square((every[0] - simulated.mean(axis=0)) / scale, N),
        n=n,
        draws=draws,
    )


def untested(found: Patterns) -> Dependence:
    """Where there are too few teachers or claims."""
    N = found.codes.shape[1]
    blank = np.full((N, N), np.nan)
    return Dependence(p=float("nan"), excess=blank, standardised=blank, n=int(found.counts.sum()), draws=0)


def error_correlation(found: Patterns, q: Array) -> float:
    """Mean over pairs of the correlation of two teachers' errors, judged by the posterior ``q`` (P, K).

    An error is a named value that is not the truth; of each pair only claims on which both name a value.
    ``nan`` where no pair both names values and errs.
    """
    named = (found.codes >= 0) & (found.codes < found.values)
    N = found.codes.shape[1]
    right = np.where(named[:, :, None], found.codes[:, :, None] == np.arange(found.values), False)
    q = np.where(found.voted[:, None], q, 0.0)
    single = np.einsum("puk,pk->pu", right, q)
    values = []
    for u in range(N):
        for v in range(u + 1, N):
            weights = found.counts * (named[:, u] & named[:, v])
            total = weights.sum()
            if total == 0:
                continue
            a, b = 1 - (weights @ single[:, u]) / total, 1 - (weights @ single[:, v]) / total
            agreed = weights @ ((right[:, u] & right[:, v]) * q).sum(axis=1) / total
            both = agreed - 1 + a + b
            spread = a * (1 - a) * b * (1 - b)
            if spread > 0:
                values.append((both - a * b) / np.sqrt(spread))
    return float(np.mean(values)) if values else float("nan")


def effective_teachers(teachers: int, correlation: float) -> float:
    """Kish's N / (1 + (N - 1) rho): independent votes that the panel is worth; rho below 0 counts as 0.

    >>> effective_teachers(7, 0.0), effective_teachers(7, 1.0)
    (7.0, 1.0)
    """
    return teachers / (1 + (teachers - 1) * max(correlation, 0.0))


def no_consensus(effective: float, p: float, *, gold: bool) -> str:
    """Why the word consensus may not be used of what this panel agrees on; empty where it may."""
    if isnan(effective):
        return "nobody can tell how many independent votes the panel is worth"
    if effective < LEAST_EFFECTIVE:
        return f"the panel is worth {effective:.1f} independent votes, fewer than {LEAST_EFFECTIVE:.0f}"
    if not gold and p <= SIGNIFICANT:
        return (
            f"teachers agree more than their reliability explains (p = {p:.3f}) and no gold claims are given"
        )
    return ""


def _has_refusals(found: Patterns) -> bool:
    return found.categories == found.values + 3


def _excess(found: Patterns, model: Model) -> Array:
    """(N, N) observed minus expected share of equal votes, over claims that both voted on."""
    expected = np.einsum("z,uzx,vzx->uv", model.prevalence, model.theta, model.theta)
    hot = found.onehot
    N = found.codes.shape[1]
    voted = (found.codes >= 0).astype(np.float64)
    met = (voted * found.counts[:, None]).T @ voted
    whole = (hot * found.counts[:, None]).T @ hot
    same = np.einsum("uxvx->uv", whole.reshape(N, found.categories, N, found.categories))
    share = np.divide(same, met, out=np.full((N, N), np.nan), where=met > 0)
    return np.asarray(share - expected)


def _largest(rows: Array) -> Array:
    """(R,) largest of each row; ``nan`` where the pair is never met is left out."""
    met = ~np.isnan(rows).all(axis=0)
    result: Array = np.nanmax(rows[:, met], axis=1) if met.any() else np.full(len(rows), np.nan)
    return result


def _square(pairs: NDArray[np.float64], teachers: int) -> Array:
    square = np.full((teachers, teachers), np.nan)
    square[np.triu_indices(teachers, 1)] = pairs
    return np.where(np.isnan(square), square.T, square)
