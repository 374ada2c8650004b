"""Answers on the page: how long they are and whether they hold together, before and after each training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from driftbound.quality import answer_quality
from driftbound.records import Claim, Status
from driftbound.report.choice import CaseRecord, Prediction
from driftbound.report.tables import GROUPS, LABELS, STUDENTS

_KINDS = {"student": "student", "teacher": "teacher", "consensus": "together"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRow:
    """One answerer's held-out answers; shares lie in [0, 1]."""

    kind: str
    """A key of ``GROUPS``."""
    label: str
    answers: int
    words: float
    """Per answer."""
    repeated: float
    """Share of an answer's sentences that it has said before."""
    unparsable: float
    """Share without any claim, or without an end."""
    refused: int
    """Refused, empty or missing: counted here, and not in the rest."""


def form_rows(
    records: Sequence[CaseRecord], split: str, teachers: Sequence[str], claims: Callable[[str], list[Claim]]
) -> tuple[FormRow, ...]:
    """Students in the order of the method, then teachers, then the consensus, on the cases of one split."""
    rows = [f"student:{name}" for name in STUDENTS] + [f"teacher:{name}" for name in teachers] + ["consensus"]
    own = [record.predictions for record in records if record.case.split == split]
    found = [_row(row, [each[row] for each in own if row in each], claims) for row in rows]
    return tuple(sorted((row for row in found if row.answers or row.refused), key=_place))


def _row(row: str, given: Sequence[Prediction], claims: Callable[[str], list[Claim]]) -> FormRow:
    kind, _, name = row.partition(":")
    texts, ended = list[str](), list[bool]()
    for each in given:
        if each.status in (str(Status.OK), str(Status.TRUNCATED)):
            texts.append(each.text)
            ended.append(each.status == str(Status.OK))
    quality = answer_quality(texts, ended, claims) if texts else None
    return FormRow(
        kind=_KINDS[kind],
        label=name if kind == "teacher" else LABELS[name or kind],
        answers=len(texts),
        words=quality.words if quality else math.nan,
        repeated=quality.repeated if quality else math.nan,
        unparsable=quality.unparsable if quality else math.nan,
        refused=len(given) - len(texts),
    )


def _place(row: FormRow) -> int:
    return list(GROUPS).index(row.kind)
