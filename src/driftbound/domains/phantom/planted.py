"""What is planted in each scripted teacher: drift, contagion, sides, omissions, refusals, voice."""

from dataclasses import dataclass, replace
from math import ceil

from driftbound.domains.phantom.findings import FINDINGS
from driftbound.domains.phantom.language import STYLES, Style
from driftbound.domains.phantom.reliability import before_and_after, rates

WORDS = (20, 80)
"""Least and most words of any answer but a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What is dialled into one teacher, beside the accuracies in ``reliability``.

    A teacher goes through the 14 findings in a new random order in each answer; what it leaves
    unsaid it has gone through all the same. A position is a share of that order.
    """

    teacher: str
    version: str
    """What the endpoint gives as ``model``."""
    change: float = 1.0
    """Position after which errors are more frequent; 1 for a teacher that does not drift."""
    late_odds: float = 1.0
    """Odds of an error after the change over those before it; the mean stays where it was."""
    contagion: float
    """Chance that a claim goes right or wrong together with a random earlier one of the answer."""
    wrong_side: float
    """Chance that a finding that is there is put on a wrong side."""
    follow_side: float
    """Chance, per later sided finding, of following a wrong side once committed."""
    omission: float
    """Share of the findings held to be absent that go unsaid, before the answer is fitted to ``words``."""
    uncertainty: float
    """Share of the findings held to be absent that are hedged instead of denied."""
    refusal: float = 0.0
    """Share of the answers that are refusals."""
    lean: float = 0.0
    """Sensitivity gained and specificity lost on findings outside the headline."""
    words: tuple[int, int]
    """Least and most words of an answer."""
    findings: tuple[str, ...] = FINDINGS
    """What it goes through."""
    shared_error: float = 0.0
    """Share of its claims that are wrong because all teachers are wrong there; see ``dials``."""
    style: Style
    terse: Style
    """The same voice with its shortest phrases, for answers that would become too long."""


def _terse(teacher: str, sided: str, present: str, absent: str) -> Style:
    return replace(
        STYLES[teacher],
        sided=(sided,),
        present=(present,),
        absent=(absent,),
        openings=("",),
        closings=("",),
        synonyms=False,
    )


PLANTED: dict[str, Planted] = {
    "gpt-5": Planted(
        teacher="gpt-5",
        version="gpt-5-phantom-1",
        change=0.6,
        late_odds=3.0,
        contagion=0.2,
        wrong_side=0.08,
        follow_side=0.4,
        omission=0.25,
        uncertainty=0.12,
        refusal=0.02,
        words=(20, 60),
        style=STYLES["gpt-5"],
        terse=_terse("gpt-5", "{F} {on}.", "{F} is present.", "No {f}."),
    ),
    "gemini-2.5": Planted(
        teacher="gemini-2.5",
        version="gemini-2.5-phantom-1",
        contagion=0.3,
        wrong_side=0.15,
        follow_side=0.5,
        omission=0.1,
        uncertainty=0.08,
        lean=-0.04,
        words=(25, 70),
        style=STYLES["gemini-2.5"],
        terse=_terse("gemini-2.5", "- {F}: present, {side}", "- {F}: present", "- {F}: absent"),
    ),
    "sonnet-4": Planted(
        teacher="sonnet-4",
        version="sonnet-4-phantom-1",
        change=0.5,
        late_odds=4.0,
        contagion=0.4,
        wrong_side=0.2,
        follow_side=0.6,
        omission=0.3,
        uncertainty=0.15,
        refusal=0.04,
        lean=0.03,
        words=(20, 65),
        style=STYLES["sonnet-4"],
        terse=_terse("sonnet-4", "**{F}** {on}.", "**{F}** is seen.", "No **{f}**."),
    ),
    "qwen-vl-max": Planted(
        teacher="qwen-vl-max",
        version="qwen-vl-max-phantom-1",
        change=0.6,
        late_odds=2.5,
        contagion=0.25,
        wrong_side=0.12,
        follow_side=0.4,
        omission=0.15,
        uncertainty=0.05,
        lean=-0.05,
        words=(20, 60),
        style=STYLES["qwen-vl-max"],
        terse=_terse("qwen-vl-max", "{n}. {side} {f}", "{n}. {f}", "{n}. no {f}"),
    ),
    "grok-4": Planted(
        teacher="grok-4",
        version="grok-4-phantom-1",
        change=0.4,
        late_odds=4.0,
        contagion=0.5,
        wrong_side=0.25,
        follow_side=0.8,
        omission=0.2,
        uncertainty=0.05,
        lean=0.08,
        words=(40, 80),
        style=STYLES["grok-4"],
        terse=_terse("grok-4", "I see {f} {on}.", "I see {f} here.", "I see no {f}."),
    ),
    "glm-4.5v": Planted(
        teacher="glm-4.5v",
        version="glm-4.5v-phantom-1",
        change=0.7,
        late_odds=4.0,
        contagion=0.3,
        wrong_side=0.1,
        follow_side=0.4,
        omission=0.3,
        uncertainty=0.2,
        words=(25, 80),
        style=STYLES["glm-4.5v"],
        terse=_terse("glm-4.5v", "{F} is noted {on}.", "{F} is noted.", "Without {f}."),
    ),
    "moonshot-v1": Planted(
        teacher="moonshot-v1",
        version="moonshot-v1-phantom-1",
        contagion=0.2,
        wrong_side=0.18,
        follow_side=0.5,
        omission=0.35,
        uncertainty=0.1,
        refusal=0.06,
        words=(20, 45),
        style=STYLES["moonshot-v1"],
        terse=_terse("moonshot-v1", "{f} yes ({side});", "{f} yes;", "{f} no;"),
    ),
}
"""One per teacher; of a teacher whose version changes, the first half of the collection."""

CHANGED: dict[str, Planted] = {
    "qwen-vl-max": replace(
        PLANTED["qwen-vl-max"],
        version="qwen-vl-max-phantom-2",
        omission=0.4,
        uncertainty=0.15,
        lean=0.15,
        style=replace(STYLES["qwen-vl-max"], openings=("Findings:",), sided=("{n}. {f} {on}",)),
    )
}
"""Teachers that are another version from the middle of the collection on. Headline rates stay."""


def planted(teacher: str, position_in_collection: int, n: int) -> Planted:
    """What is planted in ``teacher`` when it is asked for the case at a position of ``n``."""
    if teacher in CHANGED and 2 * position_in_collection >= n:
        return CHANGED[teacher]
    return PLANTED[teacher]


def calm(teacher: str) -> Planted:
    """The teacher with nothing planted that drifts, changes or refuses: for control runs.

    >>> calm("sonnet-4").late_odds, calm("sonnet-4").refusal
    (1.0, 0.0)
    """
    return replace(PLANTED[teacher], change=1.0, late_odds=1.0, refusal=0.0)


def early_positions(plan: Planted) -> int:
    """How many of the positions (14, of all findings) stand before the change.

    >>> early_positions(PLANTED["sonnet-4"]), early_positions(PLANTED["gemini-2.5"])
    (7, 14)
    """
    return ceil(len(plan.findings) * plan.change - 0.5)


def error_rate(plan: Planted, finding: str, there: bool, *, late: bool) -> float:
    """Chance that the teacher is wrong about ``finding``, given whether it is there.

    Where all teachers are wrong together on a share e of the claims, it is the chance on the others,
    (error - e) / (1 - e): in all the teacher is wrong as often as without, unless its error is below e.
    """
    sensitivity, specificity = rates(plan.teacher, finding, plan.refusal, plan.lean)
    error = 1 - (sensitivity if there else specificity)
    share = early_positions(plan) / len(plan.findings)
    own = before_and_after(error, share, plan.late_odds)[late]
    return max(0.0, (own - plan.shared_error) / (1 - plan.shared_error))
