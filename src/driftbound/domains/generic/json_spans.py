"""JSON in a text: every object with where its values stand, read as leniently as models write it."""

import json
import math
import re
from dataclasses import dataclass, field

Scalar = str | int | float | bool | None

_SPACE = re.compile(r"(?:\s+|//[^\n]*)*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_BARE = re.compile(r"[A-Za-z_][\w-]*|[+-]?[\d.][\w.+-]*")
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None, "none": None, "nan": None}
_DEEPEST = 32
"""Objects within objects; what is deeper is no answer."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is no object, and the keys that lead to it."""

    path: tuple[str, ...]
    value: Scalar | tuple[Scalar, ...]
    """A tuple for a list; of a list only what is neither list nor object."""
    start: int
    """Where its innermost key begins, in code points of the text."""
    end: int


@dataclass(frozen=True, slots=True)
class Found:
    """An object that lies in no other one."""

    start: int
    end: int
    leaves: tuple[Leaf, ...]


class _BrokenError(Exception):
    """Not JSON, or (``cut``) JSON that the end of the text cut off."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.cut = cut


def objects(text: str) -> list[Found]:
    """The objects of a text in order, in code fences or bare, whatever stands around them.

    Trailing commas, single quotes, bare keys and words, Python's literals and comments are taken; of an
    object that the end of the text cuts off, the members that are whole. What is broken otherwise is no
    object. Takes time in proportion to the text.

    >>> [(leaf.path, leaf.value) for leaf in objects('So: {"a": {"b": True,}, "c": [1, "x"],}')[0].leaves]
    [(('a', 'b'), True), (('c',), (1, 'x'))]
    """
    found: list[Found] = []
    broken: set[int] = set()
    at = text.find("{")
    while at >= 0:
        reader = _Reader(text, broken)
        end = reader.whole_or_cut(at)
        if end is not None and reader.leaves:
            found.append(Found(at, end, tuple(reader.leaves)))
        at = text.find("{", end or at + 1)
    return found


@dataclass(slots=True)
class _Reader:
    text: str
    broken: set[int]
    """Where objects begin that are none: nobody tries them again."""
    leaves: list[Leaf] = field(default_factory=list)

    def whole_or_cut(self, at: int) -> int | None:
        """Where the object at a position ends; ``None`` where there is none."""
        if at in self.broken:
            return None
        try:
            return self.object(at, ())
        except _BrokenError as error:
            return len(self.text) if error.cut and self.leaves else None

    def object(self, at: int, path: tuple[str, ...]) -> int:
        """Read the object at a position; returns where it ends."""
        self.broken.add(at)
        if len(path) >= _DEEPEST:
            raise _BrokenError(cut=False)
        start, at = at, self._skip(at + 1)
        while self.text[at] != "}":
            key_at = at
            key, at = self._scalar(at)
            at = self._skip(at)
            if self.text[at] != ":" or key is None:
                raise _BrokenError(cut=False)
            at = self._member((*path, str(key)), key_at, self._skip(at + 1))
            if self.text[at] == ",":
                at = self._skip(at + 1)
            elif self.text[at] != "}":
                raise _BrokenError(cut=False)
        self.broken.discard(start)
        return at + 1

    def _member(self, path: tuple[str, ...], key_at: int, at: int) -> int:
        """Read a value; returns where what follows it begins."""
        if self.text[at] == "{":
            return self._skip(self.object(at, path))
        value: Scalar | tuple[Scalar, ...]
        if self.text[at] == "[":
            value, end = self._list(at, path)
        else:
            value, end = self._scalar(at)
        at = self._skip(end)  # a value counts once it is seen to be whole
        self.leaves.append(Leaf(path, value, key_at, end))
        return at

    def _list(self, at: int, path: tuple[str, ...]) -> tuple[tuple[Scalar, ...], int]:
        items: list[Scalar] = []
        at = self._skip(at + 1)
        while self.text[at] != "]":
            if self.text[at] == "{":
                at = _Reader(self.text, self.broken).object(at, (*path, ""))  # its values are nobody's
            elif self.text[at] == "[":
                if len(path) >= _DEEPEST:
                    raise _BrokenError(cut=False)
                _, at = self._list(at, (*path, ""))
            else:
                item, at = self._scalar(at)
                items.append(item)
            at = self._skip(at)
            if self.text[at] == ",":
                at = self._skip(at + 1)
            elif self.text[at] != "]":
                raise _BrokenError(cut=False)
        return tuple(items), at + 1

    def _scalar(self, at: int) -> tuple[Scalar, int]:
        quoted = self.text[at] in "\"'"
        match = (_STRING if quoted else _BARE).match(self.text, at)
        if match is None:
            raise _BrokenError(cut=quoted)
        return (_unquoted(match.group()) if quoted else _word(match.group())), match.end()

    def _skip(self, at: int) -> int:
        """Go past white space; raises where the text ends."""
        space = _SPACE.match(self.text, at)
        at = space.end() if space else at
        if at >= len(self.text):
            raise _BrokenError(cut=True)
        return at


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text[1:-1]  # LaTeX in it, perhaps


def _word(text: str) -> Scalar:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return text
