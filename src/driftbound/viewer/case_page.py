"""Case page: all that is known of one case, read from disk when it is looked at."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.errors import StoreError, boundary
from driftbound.protocols import Domain
from driftbound.records import Case, Trajectory
from driftbound.report.cases import Answer, Exhibit, exhibit
from driftbound.report.choice import CaseRecord, Chosen, Prediction
from driftbound.report.spans import Piece, Slot
from driftbound.store.schema import COLUMNS
from driftbound.store.streams import CURRENT, trajectory_of
from driftbound.viewer.opened import OTHER, Opened

_ANSWERS = (
    f"SELECT {', '.join(f't.{name}' for name in COLUMNS)} FROM {CURRENT} "
    "WHERE t.case_id = ? AND t.wave = 0 AND t.sample = 0"
)
STEPS = 10
"""Shades of the heat."""
Spans = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heated:
    """A stretch of text with its colour and how much its tokens count in the preference."""

    piece: Piece
    shade: int
    """0 (nothing) to ``STEPS`` (most of this text); -1: no constraint is known."""
    weight: float
    """``nan`` where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One answer, ready to print."""

    answer: Answer
    pieces: tuple[Heated, ...]
    weight: float | None = None
    """Of the whole trajectory."""
    end_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePage:
    """One case."""

    case: Case
    exhibit: Exhibit
    consensus: Text | None
    students: tuple[Text, ...]
    teachers: tuple[Text, ...]
    rejected: str
    """Why the case has no consensus; empty where it has one, or none was asked for."""
    support: tuple[Mapping[str, Any], ...]
    """Rows of ``support.parquet``."""


def record_of(run: Opened, case_id: str) -> CaseRecord:
    """What the stages have left of a case. Raises ``KeyError`` for an unknown one."""
    case = run.cases[run.place[case_id]]
    with boundary(StoreError, f"{case_id}: what the stages have left of it cannot be shown", then=OTHER):
        return _record(run, case)


def _record(run: Opened, case: Case) -> CaseRecord:
    case_id = case.case_id
    answers = _answers(run, case_id)
    slots = {
        (row["finding"], row["attribute"]): Slot(
            status=row["status"], leading=row["leading"] or "", votes=json.loads(row["votes"])
        )
        for row in (run.slots.rows(case_id) if run.slots else ())
    }
    group = _group(run, case_id)
    predicted = run.predictions.rows(case_id) if run.predictions else []
    known: dict[str, str] = next((json.loads(row["truth"]) for row in predicted if row.get("truth")), {})
    return CaseRecord(
        case=case,
        teachers={name: answers[name] for name in run.teachers if name in answers},
        slots=slots,
        consensus=group["consensus"] if group else None,
        predictions={
            row["row"]: Prediction(
                text=row["text"], status=row["status"], correct=json.loads(row.get("correct") or "{}")
            )
            for row in predicted
        },
        truth=known,
    )


def case_page(run: Opened, domain: Domain, case_id: str) -> CasePage:
    """The page of a case. Raises ``KeyError`` for an unknown one, ``StoreError`` for what cannot be read."""
    record = record_of(run, case_id)
    with boundary(StoreError, f"{case_id}: what the stages have left of it cannot be shown", then=OTHER):
        return _page(run, domain, record)


def _page(run: Opened, domain: Domain, record: CaseRecord) -> CasePage:
    case_id = record.case.case_id
    shown = exhibit(0, Chosen(record=record, reason="", why=""), domain, (), run.teachers)
    group = _group(run, case_id) or {}
    negatives = {negative["teacher"]: negative for negative in group.get("negatives", ())}
    rejected = run.rejected.rows(case_id) if run.rejected else []
    return CasePage(
        case=record.case,
        exhibit=shown,
        consensus=None if shown.consensus is None else _text(shown.consensus, group),
        students=tuple(_text(answer, None) for answer in shown.students),
        teachers=tuple(_text(answer, negatives.get(answer.name)) for answer in shown.teachers),
        rejected=rejected[0]["reason"] if rejected else "",
        support=tuple(run.support.rows(case_id) if run.support else ()),
    )


def heated(pieces: Sequence[Piece], spans: Spans | None, *, counts: bool = True) -> tuple[Heated, ...]:
    """Pieces cut further at the ends of the weighed spans; joined they are the same text.

    A later span goes before an earlier one, other text weighs 1. Shades are relative to the largest weight.
    Where the text does not ``count`` at all, all is 0; ``spans`` ``None``: nothing is known.
    """
    if spans is None:
        return tuple(Heated(piece=piece, shade=-1, weight=float("nan")) for piece in pieces)
    total = sum(len(piece.text) for piece in pieces)
    cuts = sorted({min(int(span[end]), total) for span in spans for end in ("start", "end")})
    weighed = [(int(span["start"]), int(span["end"]), float(span["weight"])) for span in spans]
    most = max([1.0, *(weight for _, _, weight in weighed)])
    found: list[Heated] = []
    at = 0
    for piece in pieces:
        ends = [cut for cut in cuts if at < cut < at + len(piece.text)]
        for start, end in zip([at, *ends], [*ends, at + len(piece.text)], strict=True):
            weight = next((w for a, b, w in reversed(weighed) if a <= start and end <= b), 1.0) * counts
            text = piece.text[start - at : end - at]
            part = Piece(text=text, mark=piece.mark, tip=piece.tip, about=piece.about)
            found.append(Heated(piece=part, shade=round(STEPS * weight / most), weight=weight))
        at += len(piece.text)
    return tuple(found)


def _text(answer: Answer, constraint: Mapping[str, Any] | None) -> Text:
    if not constraint:
        return Text(answer=answer, pieces=heated(answer.pieces, None))
    counts = bool(constraint.get("valid", True))
    return Text(
        answer=answer,
        pieces=heated(answer.pieces, constraint["spans"], counts=counts),
        weight=constraint.get("weight", 1.0) * counts,
        end_weight=constraint.get("end_weight"),
    )


def _answers(run: Opened, case_id: str) -> dict[str, Trajectory]:
    found = [trajectory_of(row) for row in run.answers(_ANSWERS, (case_id,))]
    return {each.teacher: each for each in found}


def _group(run: Opened, case_id: str) -> dict[str, Any] | None:
    rows = run.groups.rows(case_id) if run.groups else []
    return rows[0] if rows else None
