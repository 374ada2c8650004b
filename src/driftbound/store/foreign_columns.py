"""Columns of foreign rows: which of them is the case, the teacher and the text, in each shape of row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from driftbound.errors import ConfigError, StoreError
from driftbound.store.rowfiles import Row

Found = dict[str, Any]
"""Our word -> value, as it stands in the file."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "case_id": ("case_id", "sample_id", "image_id", "study_id", "dicom_id", "id"),
    "teacher": ("teacher", "source", "model", "model_name"),
    "text": (
        *("text", "answer", "response", "rationale", "output", "completion"),
        *("content", "generated_text", "prediction", "trajectory"),
    ),
    "sample": ("sample", "sample_index"),
    "finish_reason": ("finish_reason", "stop_reason"),
    "refused": ("refused", "refusal", "is_refusal"),
    "version": ("version", "model_version", "model"),
    "image": ("image", "images", "image_path", "image_file", "file_name"),
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "error": ("error",),
}
"""Our word -> the file's words for it, whatever their case; a column serves the first of our words that
takes it. Of several that a file has, our own word counts; without it the recipe must say which."""
CHATS = ("messages", "conversations")
"""Columns of chats; a turn is ``role`` and ``content`` or ``from`` and ``value``."""
SPEAKERS = ("assistant", "gpt")
"""What a chat calls the one whose last turn is the answer."""
_BATCH = ("custom_id", "response")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a file keeps what."""

    place: Mapping[str, str]
    """Our word -> column, or path within one."""
    shape: str
    """``rows``, ``chat`` or ``batch``."""
    read: frozenset[str]
    """Columns that are needed."""

    def answers(self, row: Row, where: str) -> Iterator[Found]:
        """What a row says of each answer in it. Raises ``StoreError``."""
        found = {ours: value_at(row, theirs) for ours, theirs in self.place.items()}
        if self.shape == "batch":
            yield from _of_batch(row, found)
            return
        if self.shape == "chat":
            found["text"] = _last_turn(found["text"], where)
        yield found


def resolve(path: Path, names: Sequence[str], stream: str, given: Mapping[str, str]) -> Columns:
    """Where a file with these columns keeps what, by the recipe's word or else the usual ones.

    Raises ``ConfigError`` for a word that is none of ours, ``StoreError`` when a column cannot be told.
    """
    for ours in given:
        if ours not in SYNONYMS:
            near = get_close_matches(ours, SYNONYMS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(SYNONYMS)}."
            raise ConfigError(f"columns: no {ours!r} is read; {hint}")
    chat = [name for name in CHATS if name in names]
    if "text" not in given and set(_BATCH) <= set(names):
        place = {"case_id": "custom_id"} | {ours: theirs for ours, theirs in given.items() if theirs}
        return Columns(place, "batch", frozenset((*_BATCH, "error", *_tops(place, names))))
    place = dict(given)
    if "text" not in given and (stream in names or chat):  # said here, so that no usual word takes its place
        place["text"] = stream if stream in names else chat[0]
        if stream in names:
            place.setdefault("teacher", "")
    for ours in SYNONYMS:
        if ours not in place:
            place[ours] = _usual(path, names, ours, place)
    place = {ours: theirs for ours, theirs in place.items() if theirs}
    for ours, theirs in given.items():
        if theirs and not _tops({ours: theirs}, names):
            raise _refusal(path, names, f"no column {theirs!r}", ours)
    if "text" not in place:
        raise _refusal(path, names, f"no column for the text, and none called {stream!r}", "text")
    if "case_id" not in place and "image" not in place:
        raise _refusal(path, names, "no column for the case", "case_id")
    shape = "chat" if "text" not in given and place["text"] in chat else "rows"
    return Columns(place, shape, frozenset(_tops(place, names)))


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or at a path of keys joined by dots; ``None`` where there is none.

    Keys may hold dots themselves.

    >>> value_at({"answers": {"glm-4.5v": "clear"}}, "answers.glm-4.5v")
    'clear'
    """
    if path in row:
        return row[path]
    for at, mark in enumerate(path):
        inner = row.get(path[:at]) if mark == "." else None
        if isinstance(inner, Mapping):
            found = value_at(inner, path[at + 1 :])
            if found is not None:
                return found
    return None


def _usual(path: Path, names: Sequence[str], ours: str, place: Mapping[str, str]) -> str:
    """The file's column for one of our words; empty where it has none."""
    free = {name.lower(): name for name in names if name not in place.values()}
    if ours in free:
        return free[ours]
    found = [free[word] for word in SYNONYMS[ours] if word in free]
    if len(found) > 1:
        raise _refusal(path, names, f"{' or '.join(map(repr, found))} may be the {ours}", ours)
    return found[0] if found else ""


def _tops(place: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """The columns in which the places lie."""
    return [name for name in names for at in place.values() if at == name or at.startswith(f"{name}.")]


def _refusal(path: Path, names: Sequence[str], why: str, ours: str) -> StoreError:
    shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    return StoreError(
        f"{path}: {why}. Its columns: {shown}. "
        f"Write columns: {{{ours}: COLUMN}} in the recipe (--column {ours}=COLUMN)."
    )


def _last_turn(turns: Any, where: str) -> Any:
    """What the model says last in a chat."""
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise StoreError(f"{where}: the chat is no list of turns. Correct the row.")
    last = turns[-1] if turns else {}
    if (last.get("role") or last.get("from")) not in SPEAKERS:
        raise StoreError(f"{where}: the last turn is none of {' or '.join(SPEAKERS)}. Correct the row.")
    return last.get("content") if "content" in last else last.get("value")


def _of_batch(row: Row, found: Found) -> Iterator[Found]:
    """The answers in one line of an OpenAI batch's results, one for each choice."""
    response = row.get("response")
    response = response if isinstance(response, Mapping) else {}
    body = response.get("body")
    body = body if isinstance(body, Mapping) else {}
    choices = body.get("choices")
    usage = {"prompt_tokens": "usage.prompt_tokens", "completion_tokens": "usage.completion_tokens"}
    said = {ours: value_at(body, path) for ours, path in ({"version": "model"} | usage).items()}
    if not isinstance(choices, list) or not choices:
        error = row.get("error") or body.get("error") or f"status {response.get('status_code', 'unknown')}"
        yield found | {"error": error}
        return
    for place, choice in enumerate(choices):
        inner = choice if isinstance(choice, Mapping) else {}
        yield {
            **said,
            "sample": inner.get("index", place),
            "finish_reason": inner.get("finish_reason"),
            "text": value_at(inner, "message.content") or "",
            "refused": value_at(inner, "message.refusal"),
            **found,
        }
