"""Copying: teachers of one lineage who vote as a hidden common source does, or for themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.dawid_skene import Model, evidence, fit
from driftbound.measure.patterns import (
    Array,
    Lineages,
    Patterns,
    default_prior,
    normalised,
    one_voice,
    shares,
    softmax,
)

RATE_PRIOR = 0.5
"""Prior counts of a copied and of an own vote: keeps a rate off 0 and 1."""
FIRST_RATE = 0.5
"""Rate of copying that every climb starts from."""
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class _Block:
    """One copying lineage of m members: its distinct rows of votes."""

    members: list[int]
    codes: NDArray[np.intp]
    """(m, U) the members' votes in each distinct row; 0 where there is none."""
    hot: Array
    """(m, U, L) one where the vote is the category; zeros without a vote."""
    voted: NDArray[np.bool_]
    """(m, U)"""
    index: NDArray[np.intp]
    """(P,) which of them each row of the whole panel has."""


@dataclass(slots=True)
class _State:
    """Parameters on the way; ``theta`` (N, K, L), per block a source (K, L) and rates (m,)."""

    prevalence: Array
    theta: Array
    sources: list[Array]
    rates: list[Array]


def fit_copying(
    found: Patterns,
    lineages: Lineages,
    *,
    prior: Array | None = None,
    starts: Sequence[Array] | None = None,
    limit: int = 500,
    tolerance: float = 1e-6,
) -> Model:
    """Dawid-Skene in which the members of a lineage copy a common source, by expectation-maximisation.

    A lineage g of more than one teacher has a hidden vote s ~ source_g[z, .]; each member votes s with
    probability rate_u, else for itself by theta_u[z, .]:
    P(x_g | z) = sum_s source_g[z, s] prod_u (rate_u 1[x_u = s] + (1 - rate_u) theta_u[z, x_u]).
    Copied hedges and omissions show who copies, and the source is one witness however many repeat it, so that
    the truth does not lock onto a clique. All steps are closed: z, s and who copied are integrated out.

    ``starts`` are posteriors (P, K); by default the shares of all votes, the shares with one voice per
    lineage and the tempered Dawid-Skene. The one that ends at the highest penalised likelihood is kept. A
    climb stops when no posterior moves by more than ``tolerance`` and the objective rises by less than ten
    times as many nats. ``prior`` is (K, L) or (N, K, L) counts for the teachers' own votes.
    """
    if all(len(members) == 1 for members in lineages):
        return fit(found, prior=prior, starts=starts, limit=limit, tolerance=tolerance)
    N, K, L = found.codes.shape[1], found.values, found.categories
    counts = np.broadcast_to(default_prior(K, L) if prior is None else prior, (N, K, L))
    climb = _Climb(found, lineages, counts)
    begun = default_starts(found, lineages) if starts is None else starts
    fits = [climb.run(start, limit, tolerance) for start in begun]
    return max(fits, key=lambda each: each.penalised)


def default_starts(found: Patterns, lineages: Lineages) -> list[Array]:
    """Posteriors (P, K) to start from: shares of all votes, one voice per lineage, tempered Dawid-Skene."""
    omega = one_voice(lineages)
    voices = shares(found, omega)
    tempered = fit(found, omega=omega, starts=[voices], limit=60, tolerance=1e-3)
    q, _ = softmax(evidence(tempered, found).sum(axis=1) + np.log(tempered.prevalence))
    return [shares(found), voices, q]


class _Climb:
    """Expectation-maximisation from several starts, what they share computed once."""

    def __init__(self, found: Patterns, lineages: Lineages, prior: Array) -> None:
        self.found, self.lineages, self.prior = found, lineages, prior
        self.alone = [members[0] for members in lineages if len(members) == 1]
        self.blocks = [_block(found, members) for members in lineages if len(members) > 1]
        self.hot = found.onehot.reshape(len(found.codes), -1, found.categories)
        self.hot = np.ascontiguousarray(self.hot[:, self.alone].reshape(len(found.codes), -1))
        self.source_prior = default_prior(found.values, found.categories)

    def run(self, start: Array, limit: int, tolerance: float) -> Model:
        state, q = self._begin(start), start
        moved, gained, iteration = np.inf, np.inf, 0
        new, likelihood, insides = self._expect(state)
        penalised = likelihood + self._log_prior(state)
        path = [state]
        for iteration in range(1, limit + 1):
            moved = float(np.abs(new - q).max())
            if iteration > 1 and moved < tolerance and gained < 10 * tolerance:
                break
            q, before = new, penalised
            state = self._maximise(state, q, insides)
            path.append(state)
            new, likelihood, insides = self._expect(state)
            penalised = likelihood + self._log_prior(state)
            gained = penalised - before
            if len(path) == 3:
                leap = _extrapolated(*path)
                there, ahead, inner = self._expect(leap)
                if ahead + self._log_prior(leap) > penalised:
                    state, new, likelihood, insides = leap, there, ahead, inner
                    penalised = ahead + self._log_prior(leap)
                path = [state]
        return self._model(state, likelihood, penalised, iteration, moved < tolerance)

    def _model(
        self, state: _State, likelihood: float, penalised: float, iterations: int, converged: bool
    ) -> Model:
        rate = np.zeros(len(self.prior))
        by_members = {tuple(block.members): j for j, block in enumerate(self.blocks)}
        for block, rates in zip(self.blocks, state.rates, strict=True):
            rate[block.members] = rates
        return Model(
            lineages=self.lineages,
            prevalence=state.prevalence,
            theta=state.theta,
            omega=np.ones(len(self.prior)),
            rate=rate,
            sources=tuple(
                state.sources[by_members[members]] if members in by_members else None
                for members in self.lineages
            ),
            log_likelihood=likelihood,
            penalised=penalised,
            iterations=iterations,
            converged=converged,
        )

    def _begin(self, start: Array) -> _State:
        """Own votes as in Dawid-Skene, the source their mean, half of the votes copied."""
        found = self.found
        mass = start * found.counts[:, None]
        tallies = (found.onehot.T @ mass).reshape(-1, found.categories, found.values).transpose(0, 2, 1)
        theta = normalised(tallies + self.prior)
        return _State(
            prevalence=normalised(mass.sum(axis=0) + 1),
            theta=theta,
            sources=[theta[block.members].mean(axis=0) for block in self.blocks],
            rates=[np.full(len(block.members), FIRST_RATE) for block in self.blocks],
        )

    def _expect(self, state: _State) -> tuple[Array, float, list[tuple[Array, Array]]]:
        """Posterior (P, K), log-likelihood, and per block the share of each source vote, (K, U, L), and of
        a member's own vote under each, (m, K, U, L)."""
        K = self.found.values
        scores = np.broadcast_to(np.log(state.prevalence), (len(self.found.codes), K)).copy()
        if self.alone:
            scores += self.hot @ np.log(state.theta[self.alone]).transpose(0, 2, 1).reshape(-1, K)
        insides = []
        for block, source, rates in zip(self.blocks, state.sources, state.rates, strict=True):
            theta = state.theta[block.members]
            own = np.take_along_axis(theta, block.codes[:, None, :], axis=2) * (1 - rates)[:, None, None]
            own = np.where(block.voted[:, None, :], own, 1.0)[..., None]
            factor = own + rates[:, None, None, None] * block.hot[:, None]
            joint = source[:, None, :] * factor.prod(axis=0)
            total = joint.sum(axis=2)
            insides.append((joint / total[..., None], own / factor))
            scores += np.log(total).T[block.index]
        q, total = softmax(scores)
        return q, float(self.found.counts @ total), insides

    def _maximise(self, state: _State, q: Array, insides: list[tuple[Array, Array]]) -> _State:
        K, L = self.found.values, self.found.categories
        mass = q * self.found.counts[:, None]
        counts = np.zeros_like(self.prior)
        if self.alone:
            counts[self.alone] = (self.hot.T @ mass).reshape(-1, L, K).transpose(0, 2, 1)
        sources, rates = [], []
        for block, (inside, ownership) in zip(self.blocks, insides, strict=True):
            size = block.codes.shape[1]
            held = np.stack([np.bincount(block.index, weights=mass[:, z], minlength=size) for z in range(K)])
            spread = held[..., None] * inside
            own = (spread[None] * ownership).sum(axis=3) * block.voted[:, None, :]
            counts[block.members] = own @ block.hot
            sources.append(normalised(spread.sum(axis=1) + self.source_prior))
            voted = block.voted @ held.sum(axis=0)
            copied = voted - own.sum(axis=(1, 2))
            rates.append((np.maximum(copied, 0) + RATE_PRIOR) / (voted + 2 * RATE_PRIOR))
        return _State(normalised(mass.sum(axis=0) + 1), normalised(counts + self.prior), sources, rates)

    def _log_prior(self, state: _State) -> float:
        """Up to a constant, what the prior counts of ``_maximise`` stand for."""
        total = (self.prior * np.log(state.theta)).sum() + np.log(state.prevalence).sum()
        for source, rates in zip(state.sources, state.rates, strict=True):
            total += (self.source_prior * np.log(source)).sum()
            total += RATE_PRIOR * np.log(rates * (1 - rates)).sum()
        return float(total)


def _extrapolated(first: _State, second: _State, third: _State) -> _State:
    """Further along the way that two steps went (SQUAREM, Varadhan and Roland 2008, step length S3)."""
    parts = [_parts(state) for state in (first, second, third)]
    steps = [b - a for a, b in zip(parts[0], parts[1], strict=True)]
    bends = [c - b - step for b, c, step in zip(parts[1], parts[2], steps, strict=True)]
    size = sum(float((bend**2).sum()) for bend in bends)
    length = -np.sqrt(sum(float((step**2).sum()) for step in steps) / max(size, 1e-300))
    length = min(float(length), -1.0)
    leap = [
        np.clip(a - 2 * length * step + length**2 * bend, _FLOOR, 1 - _FLOOR)
        for a, step, bend in zip(parts[0], steps, bends, strict=True)
    ]
    sources = len(first.sources)
    tables = [normalised(part) for part in leap[: 2 + sources]]
    return _State(tables[0], tables[1], tables[2:], leap[2 + sources :])


def _parts(state: _State) -> list[Array]:
    return [state.prevalence, state.theta, *state.sources, *state.rates]


def _block(found: Patterns, members: Sequence[int]) -> _Block:
    rows, index = np.unique(found.codes[:, list(members)], axis=0, return_inverse=True)
    codes = rows.T
    voted = codes >= 0
    hot = (codes[:, :, None] == np.arange(found.categories)).astype(np.float64)
    return _Block(list(members), np.where(voted, codes, 0), hot, voted, index.reshape(-1).astype(np.intp))


def draw(model: Model, n: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Truth (n,) and votes (n, N) of n new claims from a model; its tempering is not part of the world."""
    N, K, _ = model.theta.shape
    truth = rng.choice(K, size=n, p=model.prevalence)
    codes = np.empty((n, N), dtype=np.intp)
    for members, source in zip(model.lineages, model.sources, strict=True):
        said = None if source is None else _choose(source[truth], rng)
        for u in members:
            codes[:, u] = _choose(model.theta[u][truth], rng)
            if said is not None:
                codes[:, u] = np.where(rng.random(n) < model.rate[u], said, codes[:, u])
    return truth, codes


def _choose(probabilities: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """One category per row of (n, L) probabilities."""
    above = rng.random(len(probabilities))[:, None] > probabilities.cumsum(axis=1)
    chosen: NDArray[np.intp] = np.minimum(above.sum(axis=1), probabilities.shape[1] - 1).astype(np.intp)
    return chosen
