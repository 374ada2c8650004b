"""How reliable the scripted teachers are: the paper's accuracy table turned into rates of error."""

from functools import cache

from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, PREVALENCE

ACCURACY: dict[str, tuple[float, ...]] = {
    "gpt-5": (0.75, 0.68, 0.89, 0.90, 0.52),
    "gemini-2.5": (0.28, 0.61, 0.40, 0.94, 0.42),
    "sonnet-4": (0.89, 0.69, 0.48, 0.15, 0.15),
    "qwen-vl-max": (0.54, 0.65, 0.40, 0.95, 0.64),
    "grok-4": (0.43, 0.41, 0.36, 0.97, 0.61),
    "glm-4.5v": (0.59, 0.67, 0.52, 0.96, 0.72),
    "moonshot-v1": (0.13, 0.46, 0.77, 0.88, 0.19),
}
"""The paper's teachers on MS-CXR-T (arXiv 2510.04142), columns in the order of ``HEADLINE``."""

TEACHERS = tuple(ACCURACY)

BOUNDS = (0.02, 0.98)
"""No teacher says "yes" to fewer or more than these shares of the cases with, or without, a finding."""

OTHERS = tuple(name for name in FINDINGS if name not in HEADLINE and name != "No Finding")
"""Findings for which the paper has no number. "No Finding" has no rates: it follows from the rest."""

_OFFSETS = (0.08, -0.06, 0.04, -0.02, 0.0, 0.06, -0.08, 0.02)
_LEAST = 0.55

Pair = tuple[float, float]
"""Sensitivity and specificity."""


def target(teacher: str, finding: str) -> float:
    """Accuracy that the paper's table gives for a headline finding."""
    return ACCURACY[teacher][HEADLINE.index(finding)]


def feasible_pair(accuracy: float, prevalence: float) -> Pair | None:
    """Sensitivity and specificity nearest to equal, with sum at least 1, that give ``accuracy``.

    Equal where that is no worse than chance, else on the line of chance, where only the share of
    "yes" is left to choose. ``None`` if either would leave ``BOUNDS``.

    >>> feasible_pair(0.75, 0.88), feasible_pair(0.46, 0.60), feasible_pair(0.13, 0.88)
    ((0.75, 0.75), (0.3, 0.7), None)
    """
    if accuracy >= 0.5:
        pair = (accuracy, accuracy)
    else:
        sensitivity = (accuracy - (1 - prevalence)) / (2 * prevalence - 1)
        pair = (round(sensitivity, 12), round(1 - sensitivity, 12))
    return pair if all(BOUNDS[0] <= rate <= BOUNDS[1] for rate in pair) else None


def pair(teacher: str, finding: str) -> Pair:
    """Sensitivity and specificity of a teacher on a headline finding; see ``unreached``."""
    accuracy, prevalence = target(teacher, finding), PREVALENCE[finding]
    found = feasible_pair(accuracy, prevalence)
    if found is not None:
        return found
    sensitivity = (accuracy - (1 - prevalence)) / (2 * prevalence - 1)
    sensitivity = min(max(sensitivity, BOUNDS[0]), BOUNDS[1])
    return sensitivity, 1 - sensitivity


def unreached() -> dict[tuple[str, str], float]:
    """The cells of the table that no feasible pair gives, with the accuracy of the pair of sum 1
    that they take instead.

    >>> sorted(unreached())
    [('grok-4', 'Pneumonia'), ('moonshot-v1', 'Consolidation'), ('sonnet-4', 'Edema')]
    """
    return {
        (teacher, finding): expected(teacher, finding)
        for teacher in TEACHERS
        for finding in HEADLINE
        if feasible_pair(target(teacher, finding), PREVALENCE[finding]) is None
    }


def expected(teacher: str, finding: str) -> float:
    """Accuracy that ``pair`` gives: the table's, except in the cells of ``unreached``."""
    sensitivity, specificity = pair(teacher, finding)
    return PREVALENCE[finding] * sensitivity + (1 - PREVALENCE[finding]) * specificity


@cache
def rates(teacher: str, finding: str, refusal: float, lean: float) -> Pair:
    """Sensitivity and specificity among the answers that are no refusal.

    Headline: the feasible pair for ``expected / (1 - refusal)``, so that with refusals counted as
    wrong the accuracy is ``expected``. Others: the teacher's mean accuracy in the paper (at least
    0.55) plus an offset that makes each teacher better at some findings than at others; ``lean``
    is added to the sensitivity and taken from the specificity.

    Raises ``ValueError`` when a teacher refuses so often that its table cannot be reached.
    """
    if finding in HEADLINE:
        found = feasible_pair(expected(teacher, finding) / (1 - refusal), PREVALENCE[finding])
        if found is None and refusal:
            raise ValueError(f"{teacher} cannot refuse {refusal:.0%}: {finding} would miss its accuracy")
        return found or pair(teacher, finding)
    mean = max(_LEAST, sum(ACCURACY[teacher]) / len(HEADLINE))
    turn = OTHERS.index(finding) + 3 * TEACHERS.index(teacher)
    middle = mean + _OFFSETS[turn % len(_OFFSETS)]
    low, high = BOUNDS
    return min(max(middle + lean, low), high), min(max(middle - lean, low), high)


@cache
def before_and_after(error: float, early_share: float, odds: float) -> Pair:
    """Error rates before and after a change whose mean stays ``error``.

    ``early_share`` of the claims stand before it; after it the odds of an error are ``odds`` times
    those before.

    >>> early, late = before_and_after(0.3, 2 / 3, 4.0)
    >>> round(early, 9), round(late, 9)
    (0.2, 0.5)
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        early = (low + high) / 2
        if early_share * early + (1 - early_share) * _times_odds(early, odds) < error:
            low = early
        else:
            high = early
    return early, _times_odds(early, odds)


def _times_odds(rate: float, odds: float) -> float:
    return odds * rate / (1 + (odds - 1) * rate)
