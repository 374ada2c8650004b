"""Foreign answers: what teachers have said elsewhere, read from whatever kind of rows it was recorded in."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.records import Status, Trajectory
from driftbound.store.exchange import is_ours, is_unicode, read_trajectories
from driftbound.store.foreign_columns import Columns, Found, resolve, value_at
from driftbound.store.rowfiles import CSV, STREAMS, columns_of, kind_of, read_rows
from driftbound.store.streams import Streams

_CUT = "length"
"""Finish reason of an answer that was cut off."""
_NO = ("", "0", "0.0", "false", "no", "none", "null", "nan")
_YES = ("1", "1.0", "true", "yes")
_SHOWN = 12
"""So many names are listed in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One teacher's answer to one case, as a file made elsewhere tells it."""

    case_id: str
    """Empty where the file names images alone."""
    teacher: str
    """What the file calls it."""
    text: str
    sample: int = 0
    finish_reason: str = ""
    version: str = ""
    """Model that has answered."""
    refused: bool = False
    """The file says so; what the text says is not judged here."""
    image: str = ""
    """Name or path of the (first) image, as it stands in the file."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    """Why there is no answer."""
    prompt_discloses: str = ""
    """As the trajectory's; only driftbound's own files tell."""


def read_answers(path: Path, *, stream: str, columns: Mapping[str, str]) -> Iterator[Answer]:
    """Answers of the teacher that the file calls ``stream``, in the file's order.

    Read are driftbound's own trajectories (JSON lines, Parquet, ``streams.sqlite``: of that the
    answers to its present recipe) and rows of JSON lines, a JSON array, Parquet or CSV:

    - long, a row per answer, with a column for the case and one for the text; where there is one for
      the teacher, rows of others are passed over;
    - wide, a row per case with a column called ``stream``;
    - chats (ms-swift, ShareGPT), the answer being the last turn;
    - results of an OpenAI batch, ``custom_id`` being the case.

    ``columns`` maps ``Answer``'s words to the file's: a column, or a path such as ``answers.gpt-5``;
    an empty name says that the file has none. Else the words in ``foreign_columns.SYNONYMS`` count.
    A row without text, refusal or error is no answer. Raises ``ConfigError`` for a word that
    ``Answer`` does not have, ``StoreError`` when nothing maps, a value makes no sense or no row is an
    answer of ``stream``.
    """
    kind = kind_of(path)
    names = columns_of(path) if kind != STREAMS else []
    if kind == STREAMS:
        found = _of_run(path)
    elif kind != CSV and not columns and is_ours(names):
        found = of_trajectories(read_trajectories(path))
    else:
        found = _of_rows(path, resolve(path, names, stream, columns), stream)
    return of_stream(path, found, stream)


def of_stream(path: Path, found: Iterable[Answer], stream: str) -> Iterator[Answer]:
    """Those of a file's answers that are of the teacher that it calls ``stream``.

    Raises ``StoreError`` where there is none, naming the teachers that the file has.
    """
    others: dict[str, None] = {}
    n = 0
    for answer in found:
        if answer.teacher == stream:
            n += 1
            yield answer
        elif len(others) < _SHOWN:
            others[answer.teacher] = None
    if not n and others:
        raise StoreError(
            f"{path}: no answer of {stream!r}, but of {', '.join(others)}. "
            "Write stream: NAME in the recipe (--stream NAME)."
        )
    if not n:
        raise StoreError(f"{path}: no answer of {stream!r} in it. Give another file.")


def _of_run(path: Path) -> Iterator[Answer]:
    with Streams.open_readonly(path) as streams:
        yield from of_trajectories(streams.current())


def of_trajectories(trajectories: Iterable[Trajectory]) -> Iterator[Answer]:
    """Trajectories of the first wave as answers that were given elsewhere."""
    for each in trajectories:
        if each.wave:
            continue
        cut = each.status is Status.TRUNCATED
        yield Answer(
            case_id=each.case_id,
            teacher=each.teacher,
            text=each.text,
            sample=each.sample,
            finish_reason=_CUT if cut else each.finish_reason,
            version=each.version or each.model,
            refused=each.status is Status.REFUSED,
            prompt_tokens=each.prompt_tokens,
            completion_tokens=each.completion_tokens,
            error=(each.error or "failed") if each.status is Status.FAILED else "",
            prompt_discloses=each.prompt_discloses,
        )


def _of_rows(path: Path, columns: Columns, stream: str) -> Iterator[Answer]:
    for place, row in read_rows(path, columns.read):
        where = f"{path}, {place}"
        for found in columns.answers(row, where):
            answer = _answer(found, stream, where)
            if answer is not None:
                yield answer


def _answer(found: Found, stream: str, where: str) -> Answer | None:
    """The answer that a row's values make; ``None`` where they make none."""
    teacher = as_word(found.get("teacher", stream), where, "teacher")
    refused, instead = refusal_of(found.get("refused"))
    error = _said(found.get("error"))
    text = found.get("text")
    if text is None and not refused and not error:
        return None
    text = text or instead
    case_id, image = (as_word(found.get(name), where, name) for name in ("case_id", "image"))
    if not case_id and not image:
        raise StoreError(f"{where}: names neither its case nor an image. Correct the row.")
    return Answer(
        case_id=case_id,
        teacher=teacher,
        text=as_text(text, where),
        sample=as_whole(found.get("sample"), where, "sample"),
        finish_reason=as_word(found.get("finish_reason"), where, "finish_reason"),
        version=as_word(found.get("version"), where, "version"),
        refused=refused,
        image=image,
        prompt_tokens=as_whole(found.get("prompt_tokens"), where, "prompt_tokens"),
        completion_tokens=as_whole(found.get("completion_tokens"), where, "completion_tokens"),
        error=error,
    )


def refusal_of(value: Any) -> tuple[bool, str]:
    """Whether a cell says that an answer was declined, and what it says was said instead of one.

    >>> refusal_of("no"), refusal_of(1), refusal_of("I cannot read films.")
    ((False, ''), (True, ''), (True, 'I cannot read films.'))
    """
    flag = "" if value is None else str(value).strip().lower()
    if flag in _NO:
        return False, ""
    return True, value if isinstance(value, str) and flag not in _YES else ""


def as_text(value: Any, where: str) -> str:
    """A text, or the texts of a message's parts. Raises ``StoreError`` for anything else."""
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        value = "".join(str(part["text"]) for part in value if part.get("text") is not None)
    if not isinstance(value, str):
        raise StoreError(
            f"{where}: the answer is {_kind(value)}, not text. "
            "Write columns: {text: COLUMN.KEY} in the recipe (--column text=COLUMN.KEY)."
        )
    if not is_unicode(value):
        raise StoreError(f"{where}: the answer holds half a Unicode character. Correct the row.")
    return value


def as_word(value: Any, where: str, name: str) -> str:
    """A name, or a number that serves as one; of several images the first, by its path.

    Empty where there is none. Raises ``StoreError`` for anything else.
    """
    if value is None or (type(value) is str and value.isascii()):  # most are
        return value or ""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, Mapping):
        value = value_at(value, "path")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int) or not is_unicode(str(value)):
        raise StoreError(f"{where}: {name} is {_kind(value)} ({str(value)[:40]!a}). Give a name.")
    return str(value)


def as_whole(value: Any, where: str, name: str) -> int:
    """A whole number from 0, written as one or in digits; 0 where there is none. Raises ``StoreError``."""
    if value is None or value == "":
        return 0
    try:
        number = float(value)
        if isinstance(value, bool) or number != int(number) or not 0 <= number < 2**53:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise StoreError(f"{where}: {name} is {str(value)[:40]!a}. Give a whole number.") from None
    return int(number)


def _said(value: Any) -> str:
    """An error in one line: a text, or an object with a message."""
    if isinstance(value, Mapping):
        value = value.get("message") or dict(value)
    return "" if value is None else " ".join(str(value).encode("utf-8", "replace").decode().split())


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"
