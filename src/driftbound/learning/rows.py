"""Rows as users have them (prompt, chosen, rejected, images), checked and turned into examples."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from driftbound.errors import CaseError
from driftbound.learning.collator import Candidate, Example, Picture

Row = Mapping[str, Any]


class Rows(Sequence[Example]):
    """Examples made of rows when they are asked for, so that decoded images are not kept.

    ``rows`` is anything with a length and integer indexing: a list of dicts, a ``datasets.Dataset``.
    All are checked at once; raises ``CaseError`` naming ``where`` and the row, counted from ``first``.
    ``alone``: only the chosen answer is wanted; rejected ones are not looked at, and need not be there.
    """

    def __init__(self, rows: Any, where: str, *, width: int = 0, first: int = 0, alone: bool = False) -> None:
        self.rows, self.where, self.first, self.alone = rows, where, first, alone
        self.width = width
        """Columns of every example: the chosen answer and the most rejected ones of any row."""
        if not hasattr(rows, "__len__") or not hasattr(rows, "__getitem__"):
            raise CaseError(f"{where}: is {_kind(rows)}. Give a list of rows or a datasets.Dataset.")
        if not len(rows):
            raise CaseError(f"{where}: there are no rows. Give at least one.")
        self.width = max(width, *(len(self[n].candidates) for n in range(len(rows))))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, n: int) -> Example: ...

    @overload
    def __getitem__(self, n: slice) -> list[Example]: ...

    def __getitem__(self, n: int | slice) -> Example | list[Example]:
        if isinstance(n, slice):
            return [self[each] for each in range(*n.indices(len(self)))]
        if not 0 <= n < len(self):
            raise IndexError(n)
        return _example(self.rows[n], f"{self.where}, row {n + self.first}", self.width, alone=self.alone)

    def __iter__(self) -> Iterator[Example]:
        return (self[n] for n in range(len(self)))


def _example(row: Any, where: str, width: int, *, alone: bool) -> Example:
    if not isinstance(row, Mapping):
        raise CaseError(f"{where}: is {_kind(row)}. Give a table with prompt, chosen, rejected and images.")
    for column in ("prompt", "chosen") if alone else ("prompt", "chosen", "rejected"):
        if row.get(column) is None:
            raise CaseError(f"{where}: {column!r} is missing. Columns: {', '.join(map(str, row))}.")
    chosen = _answer(row["chosen"], "chosen", where)
    own = _spans(row.get("chosen_spans"), len(chosen), "chosen_spans", where)
    candidates = (Candidate(text=chosen, spans=own), *(() if alone else _rejected(row, where)))
    candidates += (None,) * (width - len(candidates))
    question, images = _prompt(row, where)
    return Example(case_id=where, question=question, images=images, candidates=candidates)


def _rejected(row: Row, where: str) -> tuple[Candidate | None, ...]:
    """The rejected answers; none in the place of one that weighs nothing."""
    rejected = row["rejected"]
    if not isinstance(rejected, list | tuple):
        raise CaseError(f"{where}: 'rejected' is {_kind(rejected)}. Give a list of answers.")
    weights = _beside(row, "rejected_weights", len(rejected), where)
    spans = _beside(row, "rejected_spans", len(rejected), where)
    ends = _beside(row, "rejected_end_weights", len(rejected), where)
    candidates: list[Candidate | None] = []
    for k, answer in enumerate(rejected):
        text = _answer(answer, f"rejected[{k}]", where)
        weight = _weight(weights, k, "rejected_weights", where)
        given = () if spans is None else _spans(spans[k], len(text), f"rejected_spans[{k}]", where)
        end = _weight(ends, k, "rejected_end_weights", where)
        kept = (
            Candidate(text=text, log_weight=math.log(weight), spans=given, end_weight=end) if weight else None
        )
        candidates.append(kept)
    if not any(candidates):
        raise CaseError(f"{where}: no rejected answer with a weight above 0. Leave the row out.")
    return tuple(candidates)


def _beside(row: Row, column: str, n: int, where: str) -> Sequence[Any] | None:
    """A column with an entry per rejected answer, if it is there."""
    values = row.get(column)
    if values is None:
        return None
    if not isinstance(values, list | tuple):
        raise CaseError(f"{where}: {column!r} is {_kind(values)}. Give a list, an entry per rejected answer.")
    if len(values) != n:
        raise CaseError(f"{where}: {column!r} has {len(values)} entries for {n} rejected answers.")
    return values


def _answer(value: Any, column: str, where: str) -> str:
    """A string, a message, or a conversation of one message."""
    if isinstance(value, Mapping):
        if value.get("role") != "assistant":
            raise CaseError(f"{where}: {column!r} is said by {value.get('role')!r}, not by the assistant.")
        value = [value]
    if isinstance(value, list | tuple):
        if len(value) != 1 or not isinstance(value[0], Mapping):
            raise CaseError(f"{where}: {column!r} has {len(value)} messages. Give a string or one message.")
        text, images = _content(value[0].get("content"), column, where)
        if images:
            raise CaseError(f"{where}: {column!r} has an image. Answers are text.")
    elif isinstance(value, str):
        text = value
    else:
        raise CaseError(f"{where}: {column!r} is {_kind(value)}. Give a string or one message.")
    if not text.strip():
        raise CaseError(f"{where}: {column!r} is empty. Give an answer, or leave it out.")
    return text


def _prompt(row: Row, where: str) -> tuple[str, tuple[Picture, ...]]:
    """The question and the images, from the row's columns and its prompt's own parts."""
    prompt, column = row["prompt"], "images" if row.get("images") is not None else "image"
    given = row.get(column)
    given = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    if isinstance(prompt, list | tuple):
        if len(prompt) != 1 or not isinstance(prompt[0], Mapping) or prompt[0].get("role") != "user":
            raise CaseError(f"{where}: 'prompt' must be a string or one message of the user.")
        question, parts = _content(prompt[0].get("content"), "prompt", where)
        inside = [part[key] for part in parts for key in ("image", "path") if part.get(key) is not None]
        if parts and not inside and len(parts) != len(given):
            raise CaseError(f"{where}: 'prompt' has {len(parts)} places for {len(given)} images.")
        given = inside + given
    elif isinstance(prompt, str):
        question = prompt
    else:
        raise CaseError(f"{where}: 'prompt' is {_kind(prompt)}. Give a string or one message of the user.")
    if not question.strip():
        raise CaseError(f"{where}: 'prompt' is empty. Give a question.")
    return question, tuple(_picture(image, where) for image in given)


def _content(content: Any, column: str, where: str) -> tuple[str, list[Row]]:
    """Text of a message and its image parts, which must stand before the text."""
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    images: list[Row] = []
    for given in content if isinstance(content, list | tuple) else [None]:
        part: Row = given if isinstance(given, Mapping) else {}
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image" and not texts:
            images.append(part)
        elif kind == "image":
            raise CaseError(f"{where}: {column!r} has an image behind text. Put images first.")
        else:
            raise CaseError(f"{where}: {column!r} has a part that is neither text nor image.")
    return "".join(texts), images


def _picture(value: Any, where: str) -> Picture:
    """An image file that is there, or an image in memory (also as bytes, as Parquet holds it)."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            try:
                return Image.open(io.BytesIO(value["bytes"]))
            except (UnidentifiedImageError, TypeError):
                raise CaseError(f"{where}: the bytes of an image cannot be read. Write it as PNG.") from None
        value = value.get("path")
    if isinstance(value, Image.Image):
        return value
    if not isinstance(value, str | Path):
        raise CaseError(f"{where}: an image is {_kind(value)}. Give a path or a PIL image.")
    if not Path(value).is_file():
        raise CaseError(f"{where}: image {value} is missing. Check the path or restore the file.")
    return Path(value)


def _spans(given: Any, length: int, column: str, where: str) -> tuple[tuple[int, int, float], ...]:
    """``[start, end, weight]`` in characters of the answer."""
    found = []
    for span in given or ():
        if not isinstance(span, list | tuple) or len(span) != 3:
            raise CaseError(f"{where}: {column} must be a list of [start, end, weight].")
        start, end, weight = (_number(value, column, where) for value in span)
        if not (0 <= start < end <= length and start == int(start) and end == int(end)) or weight < 0:
            raise CaseError(f"{where}: {column} has {list(span)}; the answer has {length} characters.")
        found.append((int(start), int(end), weight))
    return tuple(found)


def _weight(weights: Sequence[Any] | None, k: int, column: str, where: str) -> float:
    """An entry of a column of weights; 1 where there is no such column."""
    weight = 1.0 if weights is None else _number(weights[k], f"{column}[{k}]", where)
    if weight < 0:
        raise CaseError(f"{where}: {column}[{k}] is {weight:g}. Give 0 or more.")
    return weight


def _number(value: Any, column: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CaseError(f"{where}: {column} has {value!r}. Give a number.")
    return float(value)


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"
