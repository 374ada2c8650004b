"""Forms: the texts that the generic field writes itself, and the truth in its words."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic.choice import ANSWER
from driftbound.domains.generic.reading import findings_of
from driftbound.domains.generic.refusals import PANELIST
from driftbound.domains.generic.words import OMITTED, SIDES, bare, polarity_of
from driftbound.errors import CaseError
from driftbound.records import Case, Polarity

_MANY = f"{PANELIST.lower()}s"
_GIVE = (
    "Give one answer to that, in the form that was asked for: what the image and most of the "
    f"{_MANY} support. Do not speak of the {_MANY}."
)
_YES_NO = {"present": "yes", "absent": "no", "uncertain": "uncertain"}


def render(kind: str, claims: ClaimsConfig, stances: Mapping[str, str]) -> str:
    """A text that the extractor of ``kind`` reads as ``stances``; what it has no words for is left out.

    >>> claims = ClaimsConfig(findings={"Edema": (), "Mass": ()})
    >>> render("labelled", claims, {"Mass": "left", "Edema": "absent"})
    'Edema: absent. Mass: left.'
    >>> render("choice", claims, {"answer": "B"}), render("yes_no", claims, {"answer": "absent"})
    ('Answer: B.', 'Answer: no.')
    """
    said = {name: value for name, value in stances.items() if value not in ("omitted", "refused", "")}
    if kind == "json":
        return json.dumps(said, ensure_ascii=False) if said else ""
    if kind == "yes_no":
        return "".join(f"Answer: {_YES_NO[value]}." for value in said.values() if value in _YES_NO)
    if kind == "choice":
        return "".join(f"Answer: {value}." for value in said.values() if value in claims.options)
    return " ".join(f"{name}: {said[name]}." for name in claims.findings if name in said)


def merge_question(case: Case, answers: Sequence[str]) -> str:
    """Ask for one answer to the case's own question out of several anonymous ones."""
    return f"{_panel(case, answers)}{_GIVE}"


def guided_question(case: Case, answers: Sequence[str], believed: Sequence[str]) -> str:
    """Ask likewise, with what is believed of the findings, a line each."""
    if not believed:
        return merge_question(case, answers)
    told = "\n".join(believed)
    return f"{_panel(case, answers)}How likely each finding is by all {_MANY}:\n{told}\n\n{_GIVE}"


def refine_question(case: Case, answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
    """Ask for a better answer than ``draft``, shown what it lacks."""
    told = "\n".join(f"- {each}" for each in lacking) or "- it says nothing"
    return (
        f"{_panel(case, answers)}{PANELIST} draft, made of their answers:\n{draft}\n\n"
        f"What is wrong with the draft:\n{told}\n\nPut that right where the image agrees. {_GIVE}"
    )


def _panel(case: Case, answers: Sequence[str]) -> str:
    told = "\n\n".join(f"{PANELIST} {number}: {answer}" for number, answer in enumerate(answers, start=1))
    return f"{told}\n\nThe {_MANY} were asked:\n{case.prompt}\n\n"


def truth_of(kind: str, claims: ClaimsConfig, finding: str, cell: Any, where: str) -> str:
    """The truth that a cell says of a finding: ``present``, ``absent``, a side, an option or a value.

    Empty where it says nothing. Raises ``CaseError`` for what is none of the field's findings or options.
    """
    known = findings_of(kind, claims)
    if known and finding not in known:
        near = get_close_matches(finding, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
        raise CaseError(f"{where}: truth of {finding!r}, which is none of the findings; {hint}")
    if isinstance(cell, bool):
        return str(Polarity.PRESENT if cell else Polarity.ABSENT)
    said = bare(str(int(cell)) if isinstance(cell, float) and cell == int(cell) else str(cell))
    if said in OMITTED:
        return ""
    if kind == "choice":
        option = next((each for each in claims.options if bare(each) == said), "")
        if not option:
            raise CaseError(
                f"{where}: truth {cell!r} is none of {', '.join(claims.options)}. Correct the row."
            )
        return option
    if finding in claims.sided and said in SIDES:
        return SIDES[said]
    polarity = {"1": Polarity.PRESENT, "0": Polarity.ABSENT}.get(said) if known else None
    polarity = polarity or polarity_of(said)
    if polarity is Polarity.UNCERTAIN or (polarity is None and kind in ("yes_no", "labelled")):
        sides = ", left, right or both" if finding in claims.sided else ""
        raise CaseError(
            f"{where}: truth {cell!r} of {finding!r} is neither present nor absent{sides}. Correct it."
        )
    if polarity is not None:
        return str(polarity)
    return said.upper() if len(said) == 1 else said


def answer_of(kind: str, claims: ClaimsConfig) -> str:
    """The finding that a cell called just ``truth`` is of: the only one, or ``answer``."""
    known = findings_of(kind, claims)
    return known[0] if len(known) == 1 else ANSWER
