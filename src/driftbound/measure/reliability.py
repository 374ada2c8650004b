"""Reliability: whom to trust on one finding, what is true of each claim, and what cannot be known."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.candidates import Candidate, by_gold, candidate, disputes, others
from driftbound.measure.cautions import cautions
from driftbound.measure.copying import fit_copying
from driftbound.measure.dawid_skene import wrong
from driftbound.measure.dependence import Dependence, dependence_test, no_consensus, untested
from driftbound.measure.lineages import find_lineages
from driftbound.measure.modes import find_modes, shows_truth, worst_risks
from driftbound.measure.patterns import Array, Lineages, Patterns, patterns, shares, singles
from driftbound.measure.precision import Precision, precision, unknown
from driftbound.measure.trust import (
    Decision,
    Method,
    Risk,
    Voice,
    choose,
    decide,
    dissent,
    simulated_risks,
)
from driftbound.records import Estimate, Measured
from driftbound.statistics.calibration import Calibration

LEAST_TEACHERS = 3
"""Of two teachers who disagree nobody can tell which is the better."""
LEAST_CLAIMS = 30
"""Claims that two teachers or more give a value, below which nothing is learnt: votes are only counted."""
HIDDEN = (
    "The votes hang together no more than those of teachers who vote on nothing: no truth can be read from "
    "them, whoever is right. Votes are only counted, and every claim is left open."
)
LEAST_GOLD = 20
"""Below, gold claims neither choose nor judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """What is believed of n claims of one kind, and of the N teachers who made them; K values."""

    method: Method
    voice: Voice
    chosen_by: str
    """``risk``, ``gold``, or ``counting`` where nothing could be learnt."""
    posterior: Array
    """(n, K) probability of each value; ``nan`` without any vote."""
    decision: Decision
    wrong: Array
    """(n, N) probability that what a teacher asserts is wrong, from the other lineages' votes only; ``nan``
    where it names no value or no other lineage voted."""
    correct: tuple[tuple[Estimate, ...], ...]
    """Per teacher and value: probability that it names the value where that is the truth, of all its votes
    (sensitivity and specificity; hedges and omissions count as not naming)."""
    theta: Array
    """(N, K, L) probability of each vote given each truth; ``nan`` where nothing could be learnt."""
    prevalence: Array
    """(K,)"""
    lineages: Lineages
    rates: Array
    """(N,) probability that a teacher votes as its lineage's common source; 0 without one."""
    modes: int
    """Other truths that explain the votes as well, see ``modes``; the rule fears the worst of them."""
    rivals: tuple[Lineages, ...]
    """Other groupings that explain the votes as well and decide claims otherwise."""
    dependence: Dependence
    correlation: Measured
    """Mean correlation of two teachers' errors."""
    effective: Measured
    """Independent votes that the panel is worth."""
    no_consensus: str
    """Why what they agree on may not be called a consensus; empty where it may."""
    risks: tuple[Risk, ...]
    """Simulated, of every method; empty where nothing was simulated."""
    calibration: Calibration | None
    """On gold claims, cross-fitted; ``None`` without enough gold."""
    power: float
    """What gold has the posterior raised to; 1 without."""
    gold: int
    """Gold claims given on which anybody voted."""
    warnings: tuple[str, ...]
    """What cannot be known here, one sentence each."""
    candidate: Candidate | None
    """The chosen way to believe votes, for ``judging.judge``; ``None`` where votes are counted."""


def reliability(
    codes: NDArray[np.integer],
    values: int,
    clusters: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    gold: NDArray[np.intp] | None = None,
    refusals: bool = False,
    least: float = 0.8,
    level: float = 0.05,
    draws: int = 50,
) -> Reliability:
    """Whom to trust on one kind of claim (a finding's presence, a side, a multiple choice), without truth.

    ``codes`` (n, N): 0..K-1 for the K = ``values``, K uncertain, K + 1 omitted, K + 2 refused, -1 no vote.
    ``clusters`` (n,) numbers 0..G-1. ``gold`` (n,): a checked value, or -1.

    Lineages are found by the penalised likelihood of the copying model. Then the rule: plain Dawid-Skene,
    one voice per lineage or majority, whichever errs least on panels simulated from the fitted model; the
    majority unless it is clearly beaten. ``LEAST_GOLD`` gold claims or more may overrule the rule and the
    lineages (smaller log-loss by more than a standard error) and temper the posterior. A claim is decided
    at a posterior of ``least`` or more, as many as keep the expected share of errors at ``level``.
    Intervals of reliabilities are from ``draws`` bootstrap draws of clusters, see ``precision``.

    Raises ``MeasureError`` for codes, clusters or gold that do not fit.
    """
    found = patterns(codes, values, refusals=refusals)
    known = _checked(found, clusters, gold)
    if not _enough(found):
        return _counted(found, known, least, level)
    groupings = find_lineages(found, rng)
    world = fit_copying(found, groupings[0].lineages)
    if not shows_truth(found, world):
        return _hidden(found, known, least, level)
    modes = find_modes(found, world)
    worlds = (world, *modes.rivals)
    risks = worst_risks([simulated_risks(each, found, rng) for each in worlds])
    rule = choose(risks)
    chosen = candidate(found, worlds, rule.method, rule.voice)
    dependence = dependence_test(found, rng)
    gold_at = np.flatnonzero(known >= 0)
    gold_at = gold_at[~np.isnan(chosen.q[found.index[gold_at]]).any(axis=1)]
    heard = _Heard(chosen=chosen, disputed=np.zeros(len(found.codes), dtype=np.bool_), gold=len(gold_at))
    if len(gold_at) >= LEAST_GOLD and len(np.unique(clusters[gold_at])) > 1:
        pool = [chosen, *others(found, groupings, worlds)]
        best, power, judged = by_gold(found, pool, gold_at, known[gold_at], clusters[gold_at], rng)
        heard = replace(heard, chosen=best, power=power, judged=judged)
    else:
        disputed, rivals = disputes(found, groupings, chosen, least)
        heard = replace(heard, disputed=disputed | modes.disputed, rivals=rivals)
    spread = precision(found, heard.chosen.model, clusters, rng, draws=draws)
    told = _told(found, heard, spread, dependence, least, level)
    return replace(told, risks=risks, modes=len(modes.rivals))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What is believed after gold was heard, where there is some."""

    chosen: Candidate
    disputed: NDArray[np.bool_]
    """(P,)"""
    gold: int
    power: float = 1.0
    judged: Calibration | None = None
    rivals: tuple[Lineages, ...] = ()


def _told(
    found: Patterns, heard: _Heard, spread: Precision, dependence: Dependence, least: float, level: float
) -> Reliability:
    """All of it, but for what was simulated."""
    chosen = heard.chosen
    q, decision = _decide(found, chosen, heard.power, heard.disputed, least, level)
    by_claims = heard.judged is not None
    return Reliability(
        method=chosen.method,
        voice=chosen.voice,
        chosen_by="gold" if by_claims else "risk",
        posterior=q,
        decision=decision,
        wrong=wrong_by(found, chosen)[found.index],
        correct=spread.correct,
        theta=chosen.model.marginal,
        prevalence=chosen.model.prevalence,
        lineages=chosen.lineages,
        rates=chosen.model.rate,
        modes=0,
        rivals=heard.rivals,
        dependence=dependence,
        correlation=spread.correlation,
        effective=spread.effective,
        no_consensus=no_consensus(spread.effective.value, dependence.p, gold=by_claims),
        risks=(),
        calibration=heard.judged,
        power=heard.power,
        gold=heard.gold,
        candidate=chosen,
        warnings=cautions(
            method=chosen.method,
            lineages=chosen.lineages,
            rivals=heard.rivals,
            disputed=decision.disputed,
            dependence=dependence,
            expected=np.nansum(q, axis=0).tolist(),
            gold=heard.gold,
            judged=heard.judged,
        ),
    )


def _checked(found: Patterns, clusters: NDArray[np.intp], gold: NDArray[np.intp] | None) -> NDArray[np.intp]:
    """``gold``, -1 everywhere without any."""
    n = len(found.index)
    if clusters.shape != (n,) or clusters.min() < 0:
        raise MeasureError(f"clusters of shape {clusters.shape} for {n} claims: number each claim's from 0")
    if gold is None:
        return np.full(n, -1, dtype=np.intp)
    if gold.shape != (n,) or gold.min() < -1 or gold.max() >= found.values:
        raise MeasureError(f"gold claims must be {n} numbers from -1 (unknown) to {found.values - 1}")
    return gold


def _enough(found: Patterns) -> bool:
    """Whether three teachers name values, and two of them do so together often enough."""
    named = (found.codes >= 0) & (found.codes < found.values)
    teachers = int((found.counts @ named > 0).sum())
    return teachers >= LEAST_TEACHERS and bool(found.counts @ (named.sum(axis=1) > 1) >= LEAST_CLAIMS)


def _decide(
    found: Patterns,
    chosen: Candidate,
    power: float,
    disputed: NDArray[np.bool_],
    least: float,
    level: float,
) -> tuple[Array, Decision]:
    q = chosen.sharpened(power)
    forced = (shares(found) if chosen.method == "majority" else np.nan_to_num(q)).argmax(axis=1)
    where = found.index
    return q[where], decide(q[where], forced[where], disputed[where], least=least, level=level)


def wrong_by(found: Patterns, chosen: Candidate) -> Array:
    """(P, N), by the chosen method; lineages are left out as a whole even where each member has its voice."""
    if chosen.method == "majority":
        return dissent(found, chosen.lineages)
    if chosen.voice == "copying":
        return wrong(chosen.model, found)
    sources = (None,) * len(chosen.lineages)
    return wrong(replace(chosen.model, lineages=chosen.lineages, sources=sources), found)


def _hidden(found: Patterns, known: NDArray[np.intp], least: float, level: float) -> Reliability:
    """Votes that show no truth behind them: counted, and every claim is left open."""
    told = _counted(found, known, least, level)
    open_claims = np.ones(len(found.index), dtype=np.bool_)
    decision = decide(told.posterior, told.decision.forced, open_claims, least=least, level=level)
    return replace(told, decision=decision, warnings=(HIDDEN,))


def _counted(found: Patterns, known: NDArray[np.intp], least: float, level: float) -> Reliability:
    """Shares of the votes, where there are too few teachers or claims to learn from."""
    N, K = found.codes.shape[1], found.values
    q = shares(found)
    q[~found.voted] = np.nan
    spread: Precision = unknown(found)
    where = found.index
    disputed = np.zeros(len(where), dtype=np.bool_)
    alone = singles(N)
    named = ((found.codes >= 0) & (found.codes < K)).any(axis=0).sum()
    return Reliability(
        method="majority",
        voice="",
        chosen_by="counting",
        posterior=q[where],
        decision=decide(q[where], np.nan_to_num(q).argmax(axis=1)[where], disputed, least=least, level=level),
        wrong=dissent(found, alone)[where],
        correct=spread.correct,
        theta=np.full((N, K, found.categories), np.nan),
        prevalence=np.full(K, np.nan),
        lineages=alone,
        rates=np.zeros(N),
        modes=0,
        rivals=(),
        dependence=untested(found),
        correlation=spread.correlation,
        effective=spread.effective,
        no_consensus=no_consensus(spread.effective.value, float("nan"), gold=False),
        risks=(),
        calibration=None,
        power=1.0,
        gold=int((known >= 0).sum()),
        candidate=None,
        warnings=(
            f"Nothing can be learnt about reliability: {int(named)} of {N} teachers name values, on "
            f"{len(where)} claims; at least {LEAST_TEACHERS} teachers and {LEAST_CLAIMS} claims that two of "
            "them answer are needed. Votes are only counted.",
        ),
    )
