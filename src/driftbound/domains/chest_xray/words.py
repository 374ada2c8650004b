"""Words: a stretch of text as words in lower case, their spelling mended, and marks, each with its place."""

import re
from typing import NamedTuple

from driftbound.domains.chest_xray.spelling import spelt

_TOKEN = re.compile(
    r"[wW]/[oO]?(?![A-Za-z])|[A-Za-z]+(?:['’][A-Za-z]+)?|[0-9]+(?:\.[0-9]+)?|[.,;:!?()/&+|%<>\[\]]|(?<=\s)(?:--?|[–—])(?=\s)|—"
)
_MARKS = {
    "&": "and",
    "+": "and",
    "/": "or",
    "|": ",",
    "[": "(",
    "]": ")",
    ">": "greater",
    "<": "less",
    "-": "dash",
    "--": "dash",
    "–": "dash",
    "—": "dash",
    "w/": "with",
    "W/": "with",
    "w/o": "without",
    "W/O": "without",
}


class Token(NamedTuple):
    """A word in lower case, or a mark of punctuation, and where it stands."""

    word: str
    start: int
    end: int


_KEPT = 50_000
"""So many different words are remembered."""
_read: dict[str, str] = {}
_token = tuple.__new__


def tokens_of(text: str, start: int, end: int) -> list[Token]:
    """The words and marks between two places of a text.

    >>> [token.word for token in tokens_of("Small plueral effusion/edema", 0, 28)]
    ['small', 'pleural', 'effusion', 'or', 'edema']
    """
    found: list[Token] = []
    add, known, make = found.append, _read.get, _token
    for match in _TOKEN.finditer(text, start, end):
        raw = match.group()
        low, high = match.span()
        word = known(raw)
        if word is None:
            word = _word(raw)
        if word == "?" and _asks_of_next(text, high, end):
            word = "query"
        add(make(Token, (word, low, high)))
    return found


def _word(raw: str) -> str:
    word = _MARKS.get(raw, raw)
    if word[0].isalpha() and word == raw:
        word = spelt(raw.lower().replace("’", "'"))
    if len(_read) < _KEPT:
        _read[raw] = word
    return word


def _asks_of_next(text: str, at: int, end: int) -> bool:
    """Whether a question mark stands before what it doubts ("? pneumonia", "(?edema)")."""
    before = text[at - 2] if at > 1 else " "
    after = text[at : at + 2]
    if at >= end or before not in " ,(\n":
        return False
    return after[:1].isalpha() or after.lstrip(" ")[:1].islower()
