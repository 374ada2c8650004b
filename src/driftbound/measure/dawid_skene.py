"""Dawid-Skene: what is true and how reliable each teacher is, from the votes alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from driftbound.measure.patterns import (
    Array,
    Lineages,
    Patterns,
    default_prior,
    normalised,
    shares,
    singles,
    softmax,
)

FEW = 100
"""Votes of the least busy teacher below which a full table per teacher cannot be learnt."""
POOLED = 30.0
"""Votes that the panel's common table counts for in each teacher's, where there are few."""

Table = Literal["full", "pooled", "one_coin"]
"""What is learnt per teacher: K x L probabilities; the same, drawn to the panel's; one probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What was learnt of a panel: with it the votes on a claim have a likelihood under each truth."""

    lineages: Lineages
    prevalence: Array
    """(K,) share of each true value."""
    theta: Array
    """(N, K, L) probability of each vote given the truth; of a copying teacher, of its own votes."""
    omega: Array
    """(N,) power of each teacher's likelihood: 1, or 1 / size where a lineage has one voice by tempering."""
    rate: Array
    """(N,) probability that a teacher votes as its lineage's source does; 0 without copying."""
    sources: tuple[Array | None, ...]
    """Per lineage (K, L) what the common source says given the truth; ``None`` without copying."""
    log_likelihood: float
    """Nats, of all n claims."""
    penalised: float
    """Log-likelihood plus log prior, what the fit climbs."""
    iterations: int
    converged: bool

    @property
    def marginal(self) -> Array:
        """(N, K, L) probability of each vote given the truth, the source's share among it."""
        found = self.theta.copy()
        for members, source in zip(self.lineages, self.sources, strict=True):
            if source is not None:
                for u in members:
                    found[u] = self.rate[u] * source + (1 - self.rate[u]) * self.theta[u]
        return found


def table_for(found: Patterns) -> Table:
    """How much can be learnt of a teacher. With ``FEW`` votes or more each: everything. With fewer: one
    number (one coin) where nearly all votes name a value, else a table drawn to the panel's, because hedges
    and omissions then say much that one coin throws away."""
    votes = found.counts @ (found.codes >= 0)
    if votes.min() >= FEW:
        return "full"
    named = found.counts @ ((found.codes >= 0) & (found.codes < found.values))
    return "one_coin" if named.sum() >= 0.9 * votes.sum() else "pooled"


def fit(
    found: Patterns,
    *,
    lineages: Lineages | None = None,
    omega: Array | None = None,
    prior: Array | None = None,
    table: Table | None = None,
    starts: Sequence[Array] | None = None,
    limit: int = 500,
    tolerance: float = 1e-6,
) -> Model:
    """Dawid and Skene (1979) with K true values and L >= K vote categories, by expectation-maximisation.

    q_k(z) ~ pi_z prod_u theta_u[z, x_ku]^omega_u; theta_u[z, x] ~ prior[z, x] + sum_k q_k(z) 1[x_ku = x];
    pi_z ~ 1 + sum_k q_k(z). A teacher without a vote contributes nothing. ``prior`` is (K, L) or (N, K, L)
    counts; ``table`` is chosen by ``table_for``. ``starts`` are posteriors (P, K), by default the shares of
    the votes; the one that ends at the highest penalised likelihood is kept. ``lineages`` are only
    remembered, for ``wrong``. Stops when no posterior moves by more than ``tolerance``.
    """
    N, K, L = found.codes.shape[1], found.values, found.categories
    power = np.ones(N) if omega is None else omega
    counts = np.broadcast_to(default_prior(K, L) if prior is None else prior, (N, K, L))
    kind = table or table_for(found)
    begun = [shares(found)] if starts is None else list(starts)
    if kind == "pooled":
        common = _climb(found, begun[0], power, counts, _shared, limit, tolerance).theta
        counts = counts + POOLED * common
    tie = _one_coin if kind == "one_coin" else normalised
    fits = [_climb(found, start, power, counts, tie, limit, tolerance) for start in begun]
    best = max(fits, key=lambda each: each.penalised)
    return best if lineages is None else replace(best, lineages=lineages, sources=(None,) * len(lineages))


def _climb(
    found: Patterns,
    start: Array,
    omega: Array,
    prior: Array,
    tables: Callable[[Array], Array],
    limit: int,
    tolerance: float,
) -> Model:
    N, K, L = prior.shape
    hot, n = found.onehot, found.counts.sum()
    q = start
    moved, taken = np.inf, 0
    for taken in range(1, limit + 1):  # noqa: B007 - told to the caller
        mass = q * found.counts[:, None]
        pi = (mass.sum(axis=0) + 1) / (n + K)
        tallies = (hot.T @ mass).reshape(N, L, K).transpose(0, 2, 1)
        theta = tables(tallies + prior)
        log_theta = np.log(theta)
        said = hot @ (omega[:, None, None] * log_theta).transpose(0, 2, 1).reshape(N * L, K)
        new, total = softmax(said + np.log(pi))
        moved = float(np.abs(new - q).max())
        q = new
        if moved < tolerance:
            break
    likelihood = float(found.counts @ total)
    return Model(
        lineages=singles(N),
        prevalence=pi,
        theta=theta,
        omega=omega,
        rate=np.zeros(N),
        sources=(None,) * N,
        log_likelihood=likelihood,
        penalised=likelihood + float((prior * omega[:, None, None] * log_theta).sum() + np.log(pi).sum()),
        iterations=taken,
        converged=moved < tolerance,
    )


def evidence(model: Model, found: Patterns) -> Array:
    """(P, G, K) log-likelihood of each lineage's votes given each truth, in nats; 0 without a vote."""
    tables = []
    for members, source in zip(model.lineages, model.sources, strict=True):
        said = np.zeros((len(found.codes), model.theta.shape[1]))
        if source is None:
            for u in members:
                voted = found.codes[:, u] >= 0
                said[voted] += model.omega[u] * np.log(model.theta[u][:, found.codes[voted, u]].T)
        else:
            said = np.log(
                copied(model.theta[list(members)], model.rate[list(members)], source, found, members)
            )
        tables.append(said)
    return np.stack(tables, axis=1)


def copied(theta: Array, rate: Array, source: Array, found: Patterns, members: Sequence[int]) -> Array:
    """(P, K) probability of a copying lineage's votes given the truth z:
    sum_s source[z, s] prod_u (rate_u 1[x_u = s] + (1 - rate_u) theta_u[z, x_u])."""
    product = np.broadcast_to(source[None], (len(found.codes), *source.shape)).copy()
    for j, u in enumerate(members):
        voted = np.flatnonzero(found.codes[:, u] >= 0)
        said = found.codes[voted, u]
        factor = np.repeat((1 - rate[j]) * theta[j][:, said].T[:, :, None], source.shape[1], axis=2)
        factor[np.arange(len(voted)), :, said] += rate[j]
        product[voted] *= factor
    total: Array = product.sum(axis=2)
    return total


def posterior(model: Model, found: Patterns) -> Array:
    """(P, K) probability of each value for each row of votes; ``nan`` for a row without any vote."""
    q, _ = softmax(evidence(model, found).sum(axis=1) + np.log(model.prevalence))
    q[~found.voted] = np.nan
    return q


def wrong(model: Model, found: Patterns) -> Array:
    """(P, N) probability that what a teacher asserts is wrong, from the votes of the other lineages only.

    A teacher's own vote, and those of its lineage, would vouch for themselves. ``nan`` where the teacher
    names no value, or where no other lineage has a vote.
    """
    tables = evidence(model, found)
    whole = tables.sum(axis=1) + np.log(model.prevalence)
    voted = found.codes >= 0
    result = np.full(found.codes.shape, np.nan)
    for g, members in enumerate(model.lineages):
        q, _ = softmax(whole - tables[:, g])
        others = np.delete(voted, list(members), axis=1).any(axis=1)
        for u in members:
            said = others & voted[:, u] & (found.codes[:, u] < found.values)
            result[said, u] = 1 - q[said, found.codes[said, u]]
    return result


def _shared(counts: Array) -> Array:
    """(N, K, L) the same for all teachers."""
    return np.broadcast_to(normalised(counts.sum(axis=0)), counts.shape)


def _one_coin(counts: Array) -> Array:
    """(N, K, L) where a teacher is right with one probability, and its other votes do not know the truth."""
    N, K, L = counts.shape
    hits = np.einsum("ukk->u", counts[:, :, :K])
    misses = counts[:, :, :K].sum(axis=(1, 2)) - hits
    total = counts.sum(axis=(1, 2))
    theta = np.empty((N, K, L))
    theta[:, :, :K] = (misses / total / (K - 1))[:, None, None]
    theta[:, range(K), range(K)] = (hits / total)[:, None]
    theta[:, :, K:] = (counts[:, :, K:].sum(axis=1) / total[:, None])[:, None, :]
    return theta
