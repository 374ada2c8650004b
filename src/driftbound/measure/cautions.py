"""Cautions: what cannot be known of a panel, in sentences."""

from collections.abc import Sequence

from driftbound.measure.dependence import SIGNIFICANT, Dependence
from driftbound.measure.patterns import Lineages
from driftbound.measure.trust import Method
from driftbound.statistics.calibration import Calibration

SHARED = (
    "An error that all teachers share (a prompt that leaks, flipped images, a claim extractor that errs) "
    "cannot be seen without gold claims; every posterior here is too sure by its share."
)
RARE = 10.0
"""Expected claims of a value below which the reliability on it is a guess."""


def cautions(
    *,
    method: Method,
    lineages: Lineages,
    rivals: Sequence[Lineages],
    disputed: int,
    dependence: Dependence,
    expected: Sequence[float],
    gold: int,
    judged: Calibration | None,
) -> tuple[str, ...]:
    """Sentences for what the votes do not tell. ``expected`` are the expected claims of each value."""
    said = []
    several = [members for members in lineages if len(members) > 1]
    if judged is None:
        given = f" The {gold} gold claims given are too few to judge by." if gold else ""
        said.append(SHARED + given)
    elif judged.over_confidence.low > 0:
        said.append(
            f"On gold claims the posterior is too sure by {judged.over_confidence.value:.3f} "
            f"({judged.over_confidence.low:.3f} to {judged.over_confidence.high:.3f}): teachers share errors "
            "that their votes do not show."
        )
    if len(lineages) < 3:
        said.append(
            f"Only {len(lineages)} independent voices: with fewer than three, who is right among them rests "
            "on assumptions and not on the votes."
        )
    if rivals:
        said.append(
            f"{len(rivals)} other grouping(s) of the teachers explain the votes as well and decide "
            f"{disputed} claims otherwise; these are left open. Gold claims would tell."
        )
    if dependence.p <= SIGNIFICANT and not several:
        said.append(
            "Teachers agree more than their reliability explains, yet no lineage explains it: weak copying, "
            "or cases that are hard for all. Posteriors are somewhat too sure."
        )
    if method == "majority":
        said.append(
            "Votes are only counted: on panels simulated from the fitted model nothing clearly beats the "
            "majority."
        )
    rare = [str(value) for value, count in enumerate(expected) if count < RARE]
    if rare:
        said.append(
            f"Fewer than {RARE:.0f} claims of value {', '.join(rare)} are expected: reliability there is a "
            "guess."
        )
    return tuple(said)
