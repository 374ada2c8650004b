"""Rows of CXR-MAX: what one row says of its case, whatever its shape."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftbound.domains.chest_xray.cxr_max_columns import (
    LONG,
    NAMING,
    ONE,
    TABLE,
    WIDE,
    WORDS,
    Place,
    finding_of,
    like_a_teacher,
)
from driftbound.domains.chest_xray.names import unknown
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, UNCERTAIN
from driftbound.errors import CaseError
from driftbound.store.foreign_columns import SPEAKERS, value_at
from driftbound.store.rowfiles import Row

CHOSEN, REJECTED = "chosen", "rejected"
"""Who has said the texts of a chat that names no teacher and has something rejected."""
ASSISTANT = "assistant"
"""Who has said the text of a chat that names no teacher."""

_MIMIC = re.compile(r"p(\d{8})/s(\d{8})/([0-9a-f]{8}(?:-[0-9a-f]{8}){4})")
_MARK = "<image>"
_INNER = (*WORDS["text"], "value")
"""Where a table holds its text."""
_VALUES = (POSITIVE, NEGATIVE, UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Said:
    """What one row says of its case."""

    fields: Mapping[str, str]
    """``case_id``, ``subject``, ``study``, ``dicom``, ``image``, ``prompt``, ``report``; empty: not said."""
    answers: tuple[tuple[str, str], ...]
    """Teacher and text."""
    labels: Mapping[str, float]
    notes: tuple[str, ...]


def said_by(row: Row, place: Place, where: str) -> Said:
    """What a row says. Raises ``CaseError`` for a value that makes no sense."""
    value = {ours: value_at(row, theirs) for ours, theirs in place.columns.items()}
    fields = {ours: _word(value.get(ours), where, ours) for ours in (*NAMING, "subject")}
    path = _MIMIC.search(fields["image"].replace("\\", "/"))
    if path:
        for ours, found in zip(("subject", "study", "dicom"), path.groups(), strict=True):
            fields[ours] = fields[ours] or found
    for ours in ("prompt", "report"):
        fields[ours] = _text(value.get(ours), where, ours) or ""
    chat = value.get("messages")
    if chat is not None and not fields["prompt"]:
        asked = [text for who, text in _turns(chat, where) if who in ("user", "human")]
        fields["prompt"] = asked[-1] if asked else ""
    fields["prompt"] = fields["prompt"].replace(_MARK, "").strip()
    labels, notes = _labels(value.get("labels"), row, place, where)
    return Said(fields, tuple(_answers(row, value, place, where)), labels, notes)


def _answers(row: Row, value: Mapping[str, Any], place: Place, where: str) -> Iterator[tuple[str, str]]:
    """Teacher and text, of each answer in a row."""
    if place.teachers:
        pairs: list[tuple[Any, Any]] = [(name, value_at(row, at)) for name, at in place.teachers.items()]
    elif place.shape == WIDE:
        taken = place.columns.values()
        pairs = [(name, row[name]) for name in row if like_a_teacher(name) and name not in taken]
    elif place.shape == TABLE:
        pairs = _pairs(value["answers"], where)
    elif place.shape == LONG:
        pairs = [(_word(value["teacher"], where, "teacher"), value["text"])]
    else:
        pairs = _of_chat(value, where)
    for teacher, said in pairs:
        text = _text(said, where, f"the answer of {teacher!r}")
        if text is not None and not teacher:
            raise CaseError(f"{where}: an answer without its teacher. Correct the row.")
        if text is not None:
            yield str(teacher), text


def _pairs(value: Any, where: str) -> list[tuple[Any, Any]]:
    """Teachers and texts of one cell: a table, or a list of tables with a teacher and a text each."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list) and all(isinstance(each, tuple) and len(each) == 2 for each in value):
        return value  # a map of Parquet's
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        names = [next((each[word] for word in WORDS["teacher"] if word in each), None) for each in value]
        texts = [next((each[word] for word in WORDS["text"] if word in each), None) for each in value]
        return [(_word(name, where, "teacher"), text) for name, text in zip(names, texts, strict=True)]
    raise CaseError(
        f"{where}: the answers are {_kind(value)}, not a table of teachers and texts. "
        f"Give each teacher's column: columns: {{{ONE}NAME: COLUMN}}."
    )


def _of_chat(value: Mapping[str, Any], where: str) -> list[tuple[Any, Any]]:
    """What a chat says last, and what was rejected for it."""
    chat, rejected = value.get("messages"), value.get("rejected")
    spoken = [text for who, text in _turns(chat, where) if who in SPEAKERS] if chat is not None else []
    if chat and not spoken:
        raise CaseError(f"{where}: no turn of the chat is of {' or '.join(SPEAKERS)}. Correct the row.")
    teacher = _word(value.get("teacher"), where, "teacher")
    first = teacher or (ASSISTANT if rejected is None else CHOSEN)
    if isinstance(rejected, list) and rejected and all(isinstance(each, Mapping) for each in rejected):
        rejected = [text for who, text in _turns(rejected, where) if who in SPEAKERS][-1:]
    others = rejected if isinstance(rejected, list) else [rejected]
    return [*((first, text) for text in spoken[-1:]), *((REJECTED, text) for text in others)]


def _turns(chat: Any, where: str) -> list[tuple[str, str]]:
    """Who says what, in order."""
    if not isinstance(chat, list) or not all(isinstance(turn, Mapping) for turn in chat):
        raise CaseError(f"{where}: the chat is {_kind(chat)}, not a list of turns. Correct the row.")
    said = [turn["content"] if "content" in turn else turn.get("value") for turn in chat]
    speakers = [str(turn.get("role") or turn.get("from") or "") for turn in chat]
    return [(who, _text(text, where, "a turn") or "") for who, text in zip(speakers, said, strict=True)]


def _labels(value: Any, row: Row, place: Place, where: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """Labels of a table, a list or a text of words, and of columns that are called like findings."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise CaseError(f"{where}: the labels are no JSON ({error}). Correct the row.") from error
    if isinstance(value, str):
        value = [word for word in re.split(r"[,;|]", value) if word.strip()]
    if isinstance(value, list):
        value = dict.fromkeys((_word(word, where, "a label") for word in value), POSITIVE)
    if value is not None and not isinstance(value, Mapping):
        raise CaseError(f"{where}: the labels are {_kind(value)}. Give words, or a table of findings.")
    taken = place.columns.values()
    beside = {name: cell for name, cell in row.items() if finding_of(name) and name not in taken}
    labels, strange = {}, []
    for name, cell in {**(value or {}), **beside}.items():
        finding = finding_of(str(name))
        if not finding:
            strange.append(str(name))
        elif cell is not None and cell != "" and not (isinstance(cell, float) and math.isnan(cell)):
            labels[finding] = _value(cell, where, str(name))
    return labels, unknown(strange)


def _value(cell: Any, where: str, name: str) -> float:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if number not in _VALUES:
        raise CaseError(f"{where}: label {name!r} is {str(cell)[:40]!a}, none of 1, 0, -1. Correct the row.")
    return number


def _word(value: Any, where: str, name: str) -> str:
    """A name, or a number that serves as one; of several images the first, by its path."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, Mapping):
        value = value.get("path")
    if isinstance(value, float) and (math.isnan(value) or value.is_integer()):
        value = None if math.isnan(value) else int(value)  # whole numbers of a column with gaps
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CaseError(f"{where}: {name} is {_kind(value)} ({str(value)[:40]!a}). Give a name.")
    return str(value).strip()


def _text(value: Any, where: str, name: str) -> str | None:
    """A text, also of a table that has one or of a message's parts; ``None`` where there is none."""
    if isinstance(value, Mapping):
        value = next((value[word] for word in _INNER if word in value), value)
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        value = "".join(str(part["text"]) for part in value if part.get("text") is not None)
    if value is None or isinstance(value, str):
        return value
    raise CaseError(f"{where}: {name} is {_kind(value)}, not text. Correct the row, or name another column.")


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"
