"""Goals: what the study set out to show, each met or not, and by how much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftbound.report.tables import between, digits
from driftbound.study.compare import ABOVE, UNKNOWN, OverSeeds
from driftbound.study.material import TEST, Material, kind_of, main_arms
from driftbound.study.tables import CLAIMED, Comparison, LookRow

MARGIN = 0.05
"""By how much the mean has to lie above the best teacher's."""
WORDS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
MET, FAILED = "met", "not met"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal and what came of it: ``met``, ``not met`` or ``not known``."""

    text: str
    outcome: str
    by: str
    """By how much, or by how much it was missed."""


def difference(one: OverSeeds) -> str:
    """A difference with its interval: ``+0.031 (+0.010 to +0.052)``."""
    return f"{digits(one.estimate.mean, signed=True)} ({between(one.estimate, signed=True)})"


def chance(p: float) -> str:
    """A p-value; never a zero.

    >>> chance(0.0002), chance(0.0314), chance(math.nan)
    ('< 0.001', '0.031', '–')
    """
    return "< 0.001" if p < 0.001 else digits(p)


def goals(material: Material, rows: Sequence[Comparison], looks: Sequence[LookRow]) -> list[Goal]:
    """All goals, in order, from the default arm's comparisons on the test split."""
    found = {row.other: row for row in rows}
    default = material.asked.default
    teachers = [row for row in rows if kind_of(row.other) == "teacher"]
    look = next((row for row in looks if row.arm == default), None)
    made = [
        _known(goal, material, default) for metric in CLAIMED for goal in _over_teachers(teachers, metric)
    ]
    for rival in material.asked.rivals:
        made += [
            _known(_over_rival(rival, found.get(rival), metric), material, default, rival)
            for metric in CLAIMED
        ]
    return [*made, *(_known(_looks(look, metric), material, default) for metric in CLAIMED)]


def _known(goal: Goal, material: Material, *arms: str) -> Goal:
    """A goal is not met by the seeds that are left, where on others an arm was stopped or not run."""
    where = main_arms(material.asked.test)
    lacking = [
        f"{arm} {len(have)} of {len(asked)}"
        for arm in arms
        if (asked := material.seeds_asked(where, arm)) > (have := {*material.scored(where, arm, TEST)})
    ]
    if not lacking or goal.outcome != MET:
        return goal
    return replace(goal, outcome=UNKNOWN, by=f"{goal.by}; seeds with numbers: {', '.join(lacking)}")


def _over_teachers(teachers: Sequence[Comparison], metric: str) -> list[Goal]:
    beats = f"above every single teacher in {WORDS[metric]}, intervals above zero"
    margin = f"mean {WORDS[metric]} at least {MARGIN:.2f} above the best teacher's"
    known = [row for row in teachers if not math.isnan(row.differences[metric].estimate.mean)]
    if not known:
        return [Goal(text=text, outcome=UNKNOWN, by="no result") for text in (beats, margin)]
    closest = min(known, key=lambda row: row.differences[metric].estimate.mean)
    least = closest.differences[metric]
    verdicts = [row.differences[metric].verdict for row in teachers]
    above = verdicts.count(ABOVE)
    nearest = f"closest: {closest.other}, {difference(least)}"
    decided = UNKNOWN if UNKNOWN in verdicts and above + verdicts.count(UNKNOWN) == len(verdicts) else FAILED
    over = least.estimate.mean - MARGIN
    return [
        Goal(
            text=beats,
            outcome=MET if above == len(teachers) else decided,
            by=f"{above} of {len(teachers)}; {nearest}",
        ),
        Goal(
            text=margin,
            outcome=MET if over >= 0 else FAILED,
            by=f"{nearest}; {digits(abs(over))} {'more than' if over >= 0 else 'short of'} the margin",
        ),
    ]


def _over_rival(rival: str, row: Comparison | None, metric: str) -> Goal:
    text = f"above {rival} in {WORDS[metric]}, interval above zero"
    if row is None:
        return Goal(text=text, outcome=UNKNOWN, by="no result")
    one = row.differences[metric]
    outcome = {ABOVE: MET, UNKNOWN: UNKNOWN}.get(one.verdict, FAILED)
    p = row.holm.get(metric, math.nan)
    return Goal(text=text, outcome=outcome, by=f"{difference(one)}; Holm p {chance(p)}; {one.verdict}")


def _looks(look: LookRow | None, metric: str) -> Goal:
    text = (
        f"with other patients' images {WORDS[metric]} falls, to less than {MARGIN:.2f} above what the more "
        "frequent answer gets"
    )
    if look is None or UNKNOWN in (look.over_prior[metric].verdict, look.drop[metric].verdict):
        return Goal(text=text, outcome=UNKNOWN, by="no result")
    drop, over = look.drop[metric], look.over_prior[metric]
    own, blind = look.own[metric].estimate.mean, look.shuffled[metric].estimate.mean
    if drop.verdict == ABOVE and over.estimate.high < MARGIN:
        outcome = MET
    else:
        outcome = FAILED if drop.verdict != ABOVE or over.verdict == ABOVE else UNKNOWN
    return Goal(
        text=text,
        outcome=outcome,
        by=f"{digits(own)} falls to {digits(blind)}, {difference(drop)}; over that answer {difference(over)}",
    )
