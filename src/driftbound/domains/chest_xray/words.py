"""Words: a stretch of text as words in lower case, their spelling mended, and marks, each with its place."""

import re
from typing import NamedTuple

from driftbound.domains.chest_xray.spelling import spelt

_TOKEN = re.compile(
    r"[A-Za-z]+(?:['’][A-Za-z]+)?|\d+(?:\.\d+)?|[.,;:!?()/&+|%<>\[\]]|(?<=\s)(?:--?|[–—])(?=\s)|—"
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
}


class Token(NamedTuple):
    """A word in lower case, or a mark of punctuation, and where it stands."""

    word: str
    start: int
    end: int


def tokens_of(text: str, start: int, end: int) -> list[Token]:
    """The words and marks between two places of a text.

    >>> [token.word for token in tokens_of("Small plueral effusion/edema", 0, 28)]
    ['small', 'pleural', 'effusion', 'or', 'edema']
    """
    found = []
    for match in _TOKEN.finditer(text, start, end):
        raw = match.group()
        if raw[0].isalpha():
            word = spelt(raw.lower().replace("’", "'"))
        elif raw == "?" and _asks_of_next(text, match.end(), end):
            word = "query"
        else:
            word = _MARKS.get(raw, raw)
        found.append(Token(word, match.start(), match.end()))
    return found


def _asks_of_next(text: str, at: int, end: int) -> bool:
    """Whether a question mark stands before what it doubts ("? pneumonia", "(?edema)")."""
    before = text[at - 2] if at > 1 else " "
    after = text[at : at + 2].lstrip(" ")
    return at < end and before in " ,(\n" and after[:1].isalpha() and after[:1].islower()
