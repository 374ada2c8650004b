"""Trust: the one rule that says whom to believe without ground truth, and which claims to leave open."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.copying import draw, fit_copying
from driftbound.measure.dawid_skene import Model, fit, posterior
from driftbound.measure.patterns import Array, Lineages, Patterns, one_voice, patterns, shares

Method = Literal["majority", "dawid_skene", "one_voice"]
Voice = Literal["", "copying", "tempered"]
"""How a lineage gets one voice: as copies of a hidden source, or by the power 1 / size of its evidence."""

SETS = 12
"""Simulated panels."""
SIMULATED = 800
"""Claims of a simulated panel at most: what is learnt of more differs little."""
CLEAR = 2.0
"""Monte-Carlo standard errors by which a method must beat the majority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """What a method would get wrong if the fitted panel were the world."""

    method: Method
    voice: Voice
    error: float
    """Mean share of claims whose forced decision is wrong, over the simulated panels."""
    gain: float
    """Majority's error minus its own, on the same panels."""
    gain_se: float
    """Monte-Carlo standard error of ``gain``."""
    sets: int
    claims: int
    """Claims of each simulated panel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is believed of n claims, and what is left open."""

    forced: NDArray[np.intp]
    """(n,) value that is believed if one has to be; -1 without any vote."""
    decided: NDArray[np.intp]
    """(n,) the same where it is decided, else -1."""
    no_vote: int
    """Claims left open because nobody voted."""
    doubtful: int
    """Because the posterior is too low, or the expected share of errors among the decided would be."""
    disputed: int
    """Because another grouping that explains the votes as well decides otherwise."""


def simulated_risks(
    world: Model, found: Patterns, rng: np.random.Generator, *, sets: int = SETS
) -> tuple[Risk, ...]:
    """Share of wrong forced decisions of every method on panels simulated from ``world``.

    Each panel has as many claims as ``found`` (at most ``SIMULATED``) and its missing votes; every method is
    fitted to it from the votes alone, as it would be to real ones. This weighs dependence by its size:
    copying too weak to mislead plain Dawid-Skene costs it nothing here, however significant it is. The
    lineages are taken as known.
    """
    n = int(min(found.counts.sum(), SIMULATED))
    several = any(len(members) > 1 for members in world.lineages)
    names: list[tuple[Method, Voice]] = [("majority", ""), ("dawid_skene", "")]
    names += [("one_voice", "copying"), ("one_voice", "tempered")] if several else []
    share = found.counts / found.counts.sum()
    errors = np.empty((sets, len(names)))
    for s in range(sets):
        truth, codes = draw(world, n, rng)
        missing = found.codes[rng.choice(len(share), size=n, p=share)] < 0
        drawn = patterns(
            np.where(missing, -1, codes), found.values, refusals=found.categories > found.values + 2
        )
        for m, (_, voice) in enumerate(names):
            q = shares(drawn) if m == 0 else _quick(drawn, world.lineages, voice)
            errors[s, m] = (q[drawn.index].argmax(axis=1) != truth).mean()
    gains = errors[:, :1] - errors
    return tuple(
        Risk(
            method=method,
            voice=voice,
            error=float(errors[:, m].mean()),
            gain=float(gains[:, m].mean()),
            gain_se=float(gains[:, m].std(ddof=1) / np.sqrt(sets)),
            sets=sets,
            claims=n,
        )
        for m, (method, voice) in enumerate(names)
    )


def choose(risks: tuple[Risk, ...]) -> Risk:
    """The rule: the smallest simulated risk; the majority unless it is beaten beyond Monte-Carlo error."""
    best = min(risks, key=lambda risk: risk.error)
    return best if best.gain > CLEAR * best.gain_se else risks[0]


def majority_posterior(world: Model, found: Patterns) -> Array:
    """(P, K) probability of each value given only how many teachers name each, under ``world``.

    The posterior of ``world``, averaged over the claims with the same numbers.
    """
    named = np.stack([(found.codes == value).sum(axis=1) for value in range(found.values)], axis=1)
    _, where = np.unique(named, axis=0, return_inverse=True)
    where = where.reshape(-1)
    q = posterior(world, found)
    weights = found.counts * found.voted
    q = np.where(found.voted[:, None], q, 0.0)
    total = np.bincount(where, weights=weights)
    sums = np.stack(
        [np.bincount(where, weights=weights * q[:, k]) for k in range(found.values)],
        axis=1,
    )
    mean = np.divide(sums, total[:, None], out=np.full(sums.shape, np.nan), where=total[:, None] > 0)
    return np.where(found.voted[:, None], mean[where], np.nan)


def dissent(found: Patterns, lineages: Lineages) -> Array:
    """(P, N) share of the other lineages' named values that contradict what a teacher asserts.

    One voice per lineage, half a vote added to each value; ``nan`` as in ``wrong``.
    """
    N, K = found.codes.shape[1], found.values
    omega = one_voice(lineages)
    weights = (found.codes[:, :, None] == np.arange(K)) * omega[None, :, None]
    voted = found.codes >= 0
    result = np.full(found.codes.shape, np.nan)
    for members in lineages:
        outside = np.setdiff1d(np.arange(N), members)
        named = weights[:, outside].sum(axis=1) + 0.5
        against = 1 - named / named.sum(axis=1, keepdims=True)
        others = voted[:, outside].any(axis=1)
        for u in members:
            said = np.flatnonzero(others & voted[:, u] & (found.codes[:, u] < K))
            result[said, u] = against[said, found.codes[said, u]]
    return result


def decide(
    q: Array, forced: NDArray[np.intp], disputed: NDArray[np.bool_], *, least: float, level: float
) -> Decision:
    """Which claims are decided: those whose posterior ``q`` (n, K) of the ``forced`` value is at least
    ``least``, fewer where their expected share of errors, mean(1 - q), would exceed ``level`` (Bayesian FDR:
    the largest such set, surest first); never a ``disputed`` one.
    """
    n = len(q)
    voted = ~np.isnan(q).any(axis=1)
    forced = np.where(voted, forced, -1)
    sure = np.where(voted, q[np.arange(n), np.maximum(forced, 0)], 0.0)
    sure = np.where(disputed, 0.0, sure)
    order = np.argsort(-sure, kind="stable")
    running = np.cumsum(1 - sure[order]) / np.arange(1, n + 1)
    within = np.flatnonzero((running <= level) & (sure[order] >= least))
    # Ties stand or fall together, so that equal votes are treated equally.
    edge = sure[order][within[-1]] if within.size else np.inf
    if within.size and within[-1] + 1 < n and sure[order][within[-1] + 1] == edge:
        edge = np.nextafter(edge, 2.0)
    taken = sure >= edge
    return Decision(
        forced=forced.astype(np.intp),
        decided=np.where(taken, forced, -1).astype(np.intp),
        no_vote=int((~voted).sum()),
        doubtful=int((voted & ~taken & ~disputed).sum()),
        disputed=int((voted & disputed).sum()),
    )


def _quick(found: Patterns, lineages: Lineages, voice: Voice) -> Array:
    if voice == "copying":
        return posterior(fit_copying(found, lineages, limit=100, tolerance=1e-3), found)
    omega = one_voice(lineages) if voice == "tempered" else None
    return posterior(fit(found, omega=omega, limit=200, tolerance=1e-3), found)
