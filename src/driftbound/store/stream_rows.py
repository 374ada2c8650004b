"""Stream rows: what the columns of a table of answers are called, and the trajectory that a row makes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from sys import intern
from typing import Any

from driftbound.errors import ConfigError, StoreError
from driftbound.records import SPLITS, Status, Trajectory
from driftbound.store.foreign import as_text, as_whole, as_word, refusal_of
from driftbound.store.foreign_columns import SYNONYMS, value_at

Key = tuple[str, str, int, int]
"""Case, teacher, sample, wave: what one trajectory is."""
StepSpans = tuple[tuple[int, int, int], ...]
"""``(step, start, end)`` in code points of a text, in its order."""

_OF_ANSWERS = ("case_id", "teacher", "text", "sample", "finish_reason", "refused", "version", "error")
WORDS: dict[str, tuple[str, ...]] = {
    **{ours: SYNONYMS[ours] for ours in _OF_ANSWERS},
    "status": ("status",),
    "wave": ("wave",),
    "step": ("step", "step_index"),
    "created_at": ("created_at", "timestamp", "date"),
    "logprobs": ("logprobs",),
    "cluster": ("cluster", "patient_id", "subject_id"),
    "split": ("split",),
}
"""Our word -> a file's words for it, whatever their case; a column serves the first of our words that
takes it, and of several that a file has, our own word counts."""
NEEDED = ("case_id", "teacher", "text")
_YEAR_3000 = 32_503_680_000
CUT = ("length", "max_tokens")
"""Finish reasons of an answer that was cut off."""
_SPLITS = {name: name for name in SPLITS} | dict.fromkeys(("val", "valid", "dev"), "validation")


def places(path: Path, names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Our word -> the file's column, or path within one; ``given`` goes before the usual names.

    Raises ``ConfigError`` for a word that is none of ``WORDS``, ``StoreError`` for a column that is not
    there or cannot be told.
    """
    for ours, theirs in given.items():
        if ours not in WORDS:
            near = get_close_matches(ours, WORDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(WORDS)}."
            raise ConfigError(f"columns: no {ours!r} is read; {hint}")
        if theirs and not columns_needed(names, {ours: theirs}):
            raise StoreError(f"{path}: no column {theirs!r}. Its columns: {listed(names)}. Correct the name.")
    place = dict(given)
    for ours, words in WORDS.items():
        free = {name.lower(): name for name in names if name not in place.values()}
        found = [free[word] for word in words if word in free]
        if ours in place or not found:
            continue
        if len(found) > 1 and ours not in free:
            raise StoreError(
                f"{path}: {' or '.join(map(repr, found))} may be the {ours}. "
                f"Its columns: {listed(names)}. Rename the one to {ours!r}."
            )
        place[ours] = free.get(ours, found[0])
    place = {ours: theirs for ours, theirs in place.items() if theirs}
    missing = [name for name in NEEDED if name not in place]
    if missing:
        raise StoreError(
            f"{path}: no column for {' and '.join(missing)}. Its columns: {listed(names)}. "
            f"Needed are {', '.join(NEEDED)}: rename or add what is missing."
        )
    return place


def columns_needed(names: Sequence[str], place: Mapping[str, str]) -> list[str]:
    """The columns in which the places lie."""
    return [name for name in names if any(at == name or at.startswith(f"{name}.") for at in place.values())]


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    return ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")


def values_of(row: Mapping[str, Any], place: Mapping[str, str]) -> dict[str, Any]:
    """Our word -> what the row has there."""
    return {ours: value_at(row, theirs) for ours, theirs in place.items()}


def key_of(values: Mapping[str, Any], where: str) -> Key:
    """What the row answers. Raises ``StoreError`` where that is nothing."""
    case_id, teacher = (as_word(values.get(name), where, name) for name in ("case_id", "teacher"))
    if not case_id or not teacher:
        raise StoreError(f"{where}: names no {'teacher' if case_id else 'case'}. Correct the row.")
    sample, wave = (as_whole(values.get(name), where, name) for name in ("sample", "wave"))
    return intern(case_id), intern(teacher), sample, wave  # a file repeats them: one copy of each is held


def trajectory_of(key: Key, values: Mapping[str, Any], where: str) -> Trajectory:
    """The trajectory that a row tells. Raises ``StoreError`` for a value that makes no sense."""
    case_id, teacher, sample, wave = key
    refused, instead = refusal_of(values.get("refused"))
    error = " ".join(as_word(values.get("error"), where, "error").split())
    text = as_text(values.get("text") or instead or "", where)
    finish_reason = as_word(values.get("finish_reason"), where, "finish_reason")
    status = _status(values.get("status"), text, finish_reason, refused, error, where)
    return Trajectory(
        case_id=case_id,
        teacher=teacher,
        status=status,
        text=text,
        sample=sample,
        wave=wave,
        finish_reason=intern(finish_reason),
        version=intern(as_word(values.get("version"), where, "version")),
        logprobs=_logprobs(values.get("logprobs"), where),
        created_at=_time(values.get("created_at"), where),
        error=error if status is Status.FAILED else "",
    )


def split_of(value: Any, where: str) -> str:
    """The split that a cell names; ``val``, ``valid`` and ``dev`` are ``validation``; empty stays empty.

    Raises ``StoreError`` for any other.
    """
    said = as_word(value, where, "split").strip().lower()
    if said and said not in _SPLITS:
        raise StoreError(f"{where}: split {value!r} is none of {', '.join(SPLITS)}. Correct the row.")
    return _SPLITS.get(said, "")


class Steps:
    """Trajectories that a file tells step by step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[Key, list[tuple[int, Trajectory, str]]] = {}

    def add(self, values: Mapping[str, Any], where: str) -> None:
        """Take in a row. Raises ``StoreError`` where its step does not go on from the one before."""
        at = f"{self._path}, {where}"
        if values.get("step") in (None, ""):
            raise StoreError(f"{at}: has no step. Number all rows, or take the column out.")
        step, key = as_whole(values["step"], at, "step"), key_of(values, at)
        rows = self._rows.setdefault(key, [])
        if rows and step <= rows[-1][0]:
            raise StoreError(
                f"{at}: step {step} of case {key[0]!r}, teacher {key[1]!r}, sample {key[2]}, wave {key[3]} "
                f"comes after step {rows[-1][0]} ({rows[-1][2]}). "
                "Sort the steps, or give another answer another sample."
            )
        rows.append((step, trajectory_of(key, values, at), where))

    def joined(self) -> Iterator[tuple[Key, tuple[Trajectory, StepSpans, str]]]:
        """Each trajectory, where its steps lie in its text, and where in the file its first one stands.

        Lets go of the rows on the way.
        """
        for key in list(self._rows):
            rows = self._rows.pop(key)
            spans, start = [], 0
            for step, each, _ in rows:
                spans.append((step, start, start + len(each.text)))
                start += len(each.text) + 1
            yield key, (_whole([each for _, each, _ in rows]), tuple(spans), rows[0][2])


def _whole(steps: Sequence[Trajectory]) -> Trajectory:
    """One trajectory of its steps: refused, failed or cut off where one of them is; empty where all are."""
    text = "\n".join(each.text for each in steps)
    found = {each.status for each in steps}
    told = (Status.FAILED, Status.REFUSED, Status.TRUNCATED, Status.OK, Status.EMPTY)
    last = steps[-1]
    return Trajectory(
        case_id=last.case_id,
        teacher=last.teacher,
        status=next(status for status in told if status in found),
        text=text,
        sample=last.sample,
        wave=last.wave,
        finish_reason=last.finish_reason,
        version=next((each.version for each in steps if each.version), ""),
        logprobs=_joined([each.logprobs for each in steps]),
        created_at=steps[0].created_at,
        error=next((each.error for each in steps if each.error), ""),
    )


def _joined(logprobs: Sequence[str]) -> str:
    """The steps' log-probabilities as one list; none where a step lacks them."""
    if not all(logprobs):
        return ""
    return json.dumps([token for each in logprobs for token in json.loads(each)])


def _status(said: Any, text: str, finish_reason: str, refused: bool, error: str, where: str) -> Status:
    """What the row says, else what its other columns make of it."""
    word = as_word(said, where, "status").strip().lower()
    if word:
        if word not in tuple(Status):
            raise StoreError(f"{where}: status {word!r} is none of {', '.join(Status)}. Correct the row.")
        return Status(word)
    if refused:
        return Status.REFUSED
    if not text.strip():
        return Status.FAILED if error else Status.EMPTY
    return Status.TRUNCATED if finish_reason.lower() in CUT else Status.OK


def _logprobs(value: Any, where: str) -> str:
    """Log-probabilities as the JSON of a list, whether they were given as text or as a list."""
    if value is None or value == "" or value == []:
        return ""
    try:
        given = json.loads(value) if isinstance(value, str) else value
        if not isinstance(given, list):
            raise ValueError("no list")
        return value if isinstance(value, str) else json.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{where}: logprobs are no JSON list ({error}). Correct the row.") from error


def _time(value: Any, where: str) -> str:
    """A date, a time or seconds since 1970 as ISO 8601; what the file has as text stays as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _YEAR_3000:
        return datetime.fromtimestamp(value, UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else as_word(value, where, "created_at")
