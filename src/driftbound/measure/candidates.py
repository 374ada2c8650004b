"""Candidates: fitted models of one panel side by side, for rivals to dispute and for gold to choose from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.copying import default_starts, fit_copying
from driftbound.measure.dawid_skene import Model, fit, posterior
from driftbound.measure.gold import cross_fitted, prefer, sharpened
from driftbound.measure.lineages import Grouping, tree_cuts
from driftbound.measure.patterns import Array, Lineages, Patterns, one_voice
from driftbound.measure.trust import Method, Voice, majority_posterior
from driftbound.statistics.calibration import Calibration, calibration
from driftbound.statistics.intervals import resample

RIVAL = 10.0
"""Nats within which another grouping explains the votes as well."""
RIVALS = 4
"""Other groupings that are fitted to the end, at most."""
DISPUTED = 0.01
"""Share of claims that a grouping must decide otherwise to be called a rival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to believe the votes."""

    method: Method
    voice: Voice
    lineages: Lineages
    model: Model
    """Of a majority the model that its shares were turned into probabilities by."""
    worlds: tuple[Model, ...]
    """Models that explain the votes as well, the best first."""
    q: Array
    """(P, K) posterior of each row of votes."""

    def sharpened(self, power: float) -> Array:
        """(P, K) posterior to a power, normalised."""
        return self.q if power == 1 else sharpened(self.q, power)


def candidate(found: Patterns, worlds: Sequence[Model], method: Method, voice: Voice) -> Candidate:
    """A method on the lineages of the first world, the fitted copying model; fitted from all starts.

    A majority is turned into probabilities by all ``worlds`` that explain the votes as well, on average.
    """
    world = worlds[0]
    if method == "majority":
        return Candidate(
            method=method,
            voice=voice,
            lineages=world.lineages,
            model=world,
            worlds=tuple(worlds),
            q=majority_of(worlds, found),
        )
    model = world
    if method == "dawid_skene":
        model = fit(found)
    elif voice == "tempered":
        model = fit(found, lineages=world.lineages, omega=one_voice(world.lineages))
    return Candidate(
        method=method,
        voice=voice,
        lineages=world.lineages,
        model=model,
        worlds=tuple(worlds),
        q=posterior(model, found),
    )


def _of_world(found: Patterns, world: Model) -> Candidate:
    """The world itself, as a way to believe the votes: another truth that explains them as well."""
    alone = all(len(members) == 1 for members in world.lineages)
    return Candidate(
        method="dawid_skene" if alone else "one_voice",
        voice="" if alone else "copying",
        lineages=world.lineages,
        model=world,
        worlds=(world,),
        q=posterior(world, found),
    )


def majority_of(worlds: Sequence[Model], found: Patterns) -> Array:
    """(P, K) probability of each value given only how many name each, on average over ``worlds``."""
    mean: Array = np.mean([majority_posterior(world, found) for world in worlds], axis=0)
    return mean


def others(found: Patterns, groupings: Sequence[Grouping], worlds: Sequence[Model]) -> list[Candidate]:
    """What gold may prefer: plain Dawid-Skene, majority, the other truths that explain the votes as well, and
    one voice, copying and tempered, for the best ``groupings`` and every cut of the kappa tree but one."""
    wanted = dict.fromkeys([grouping.lineages for grouping in groupings[: RIVALS + 1]])
    wanted |= dict.fromkeys(cut for cut in tree_cuts(found) if len(cut) > 1)
    pool = [candidate(found, worlds, "majority", ""), candidate(found, worlds, "dawid_skene", "")]
    pool += [_of_world(found, world) for world in worlds[1:]]
    for lineages in wanted:
        if all(len(members) == 1 for members in lineages):
            continue
        tempered = default_starts(found, lineages)[-1:]
        model = fit_copying(found, lineages, starts=tempered, limit=200, tolerance=1e-4)
        pool.append(candidate(found, [model], "one_voice", "copying"))
        pool.append(candidate(found, [model], "one_voice", "tempered"))
    return pool


def by_gold(
    found: Patterns,
    pool: Sequence[Candidate],
    claims: NDArray[np.intp],
    truth: NDArray[np.intp],
    clusters: NDArray[np.intp],
    rng: np.random.Generator,
) -> tuple[Candidate, float, Calibration]:
    """The candidate and power that m gold ``claims`` prefer, and the calibration of that way of choosing on
    gold claims that took no part in the choice."""
    rows = found.index[claims]
    posteriors = [each.q[rows] for each in pool]
    choice = prefer(posteriors, truth, clusters)
    held = cross_fitted(posteriors, truth, clusters, rng)
    resamples = resample([str(cluster) for cluster in clusters], rng=rng, draws=1000)
    return pool[choice.best], choice.power, calibration(held, truth, resamples)


def disputes(
    found: Patterns, groupings: Sequence[Grouping], chosen: Candidate, least: float
) -> tuple[NDArray[np.bool_], tuple[Lineages, ...]]:
    """(P,) whether another grouping that explains the votes as well decides a claim otherwise that would be
    decided (at ``least``), and those groupings."""
    disputed = np.zeros(len(found.codes), dtype=np.bool_)
    rivals = []
    q = np.nan_to_num(chosen.q)
    near = [each for each in groupings[1:] if groupings[0].score - each.score <= RIVAL]
    for each in near[:RIVALS]:
        other = posterior(fit_copying(found, each.lineages, limit=200, tolerance=1e-4), found)
        against = (np.nan_to_num(other).argmax(axis=1) != q.argmax(axis=1)) & (q.max(axis=1) >= least)
        if found.counts @ against > DISPUTED * found.counts.sum():
            rivals.append(each.lineages)
            disputed |= against
    return disputed, tuple(rivals)
