"""Passages: a text as sentences of words with their places, and under which heading each stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from driftbound.domains.chest_xray.words import Token, tokens_of

_BULLET = re.compile(r"[ \t]*(?:[-*•+–]|\d{1,2}[.)]|[a-z][.)])[ \t]+(?=\S)")
_MARKED = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]|"
    r"(?:(?:[-*•+]|\d{1,2}[.)])[ \t]+)?(?:\*\*|__)[^*\n]{1,80}(?<![.!])(?:\*\*|__)[ \t]*:?[ \t]*$)"
)
_ROW = re.compile(r"[ \t]*\|[^\n|]*\|")
_DOTTED = frozenset({"vs", "dr", "e", "g", "i", "approx", "st", "mr", "ms", "cf", "fig"})
"""Words whose full stop ends no sentence, where a word in lower case or a number goes on."""
_VERBS = frozenset(
    {"is", "are", "was", "were", "there", "has", "have", "shows", "show", "demonstrates", "may", "see",
     "seen", "suggests", "includes", "include", "represents", "seem", "seems", "appear", "appears", "looks",
     "remains", "can", "could", "might", "suggest", "had", "lies", "favors", "argues", "demonstrate",
     "reveals"}
)  # fmt: skip
_GOES_ON = frozenset(
    {"this", "it", "which", "likely", "possibly", "probably", "may", "might", "could", "suspicious",
     "concerning", "suggesting", "suggestive", "unchanged", "stable", "worse", "improved"}
)  # fmt: skip
"""Words behind a semicolon that still speak of what stands before it."""
_ENDS = frozenset(".!?:;")
_SHORT = 45
"""A line of fewer letters was not broken for want of room."""
HEADING_WORDS = 7
"""A heading has at most so many words."""


@dataclass(slots=True)
class Passage:
    """One sentence or bullet."""

    number: int
    tokens: list[Token] = field(default_factory=list)
    heading: list[Token] = field(default_factory=list)
    """Its own heading, in front of a colon on the same line; empty: none."""
    above: list[Token] = field(default_factory=list)
    """The heading of a line of its own under which it stands."""
    asks: bool = False
    """Whether it ends in a question mark."""
    first: bool = True
    """Whether it is the first sentence behind its own heading."""


def passages(text: str) -> list[Passage]:
    """The sentences of a text. A line break inside a sentence does not end it; a bullet does."""
    found: list[Passage] = []
    above: list[Token] = []
    inline: list[Token] = []
    listed = False
    for line, starts_paragraph in _lines(text):
        if starts_paragraph:
            inline = []
            if listed and not line.bullet:
                above, listed = [], False
        if line.marked or (line.tokens and _only_heading(line.tokens)):
            above, inline, listed = [token for token in line.tokens if token.word != ":"], [], False
            continue
        if line.bullet:
            inline, listed = [], True
        for tokens, asks in _sentences(line.tokens):
            cut = _heading_end(tokens)
            if cut:
                inline, tokens = tokens[:cut], tokens[cut + 1 :]
            if tokens:
                found.append(Passage(len(found), tokens, inline, above, asks, bool(cut)))
    return found


@dataclass(slots=True)
class _Line:
    tokens: list[Token]
    bullet: bool
    marked: bool
    capital: bool = False
    """Whether it begins with one capital letter."""
    length: int = 0


def _lines(text: str) -> Iterator[tuple[_Line, bool]]:
    """Lines, those that a sentence runs over joined; each with whether a paragraph begins with it."""
    held: _Line | None = None
    first, fresh = True, True
    at = 0
    for row in text.split("\n"):
        start, at = at, at + len(row) + 1
        if not row.strip():
            fresh = True
            continue
        line = _line(text, row, start)
        if held is not None and not fresh and _runs_on(held, line):
            held.tokens += line.tokens
            held.length = line.length
            continue
        if held is not None:
            yield held, first
            first = False
        first = first or fresh
        held, fresh = line, False
    if held is not None:
        yield held, first


def _line(text: str, row: str, start: int) -> _Line:
    end = start + len(row)
    if _ROW.match(row):
        return _Line(_cells(tokens_of(text, start, end)), True, False)
    bullet = _BULLET.match(row)
    marked = _MARKED.match(row) is not None
    tokens = tokens_of(text, start + (bullet.end() if bullet else 0), end)
    capital = bool(tokens) and text[tokens[0].start].isupper() and text[tokens[0].start + 1 :][:1].islower()
    return _Line(tokens, bullet is not None and not marked, marked, capital, len(row))


def _cells(tokens: list[Token]) -> list[Token]:
    """A table's row as a sentence: its first cell is the heading of the others."""
    while tokens and tokens[0].word == ",":
        tokens = tokens[1:]
    while tokens and tokens[-1].word == ",":
        tokens = tokens[:-1]
    for at, token in enumerate(tokens):
        if token.word == ",":
            return [*tokens[:at], token._replace(word=":"), *tokens[at + 1 :]]
    return tokens


def _runs_on(above: _Line, line: _Line) -> bool:
    """Whether a line goes on with the sentence of the line above it."""
    if line.bullet or line.marked or above.marked or not above.tokens or not line.tokens:
        return False
    if above.tokens[-1].word in _ENDS or _heading_end(line.tokens):
        return False
    return not (line.capital and (above.bullet or above.length < _SHORT))


def _sentences(tokens: list[Token]) -> Iterator[tuple[list[Token], bool]]:
    """Sentences without their last mark, each with whether it asks; a semicolon ends one, too."""
    start = 0
    for at, token in enumerate(tokens):
        word = token.word
        if word not in (".", "!", "?", ";"):
            continue
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if word == "." and after is not None and _no_end(tokens, at, start, after):
            continue
        if word == ";" and after is not None and after.word in _GOES_ON:
            continue
        yield tokens[start:at], word == "?"
        start = at + 1
    yield tokens[start:], False


def _no_end(tokens: list[Token], at: int, start: int, after: Token) -> bool:
    """Whether a full stop belongs to a word or a number."""
    if after.start == tokens[at].end and not (at > start and len(tokens[at - 1].word) > 3):
        return True
    before = tokens[at - 1].word if at > start else ""
    return before in _DOTTED


def _heading_end(tokens: list[Token]) -> int:
    """Number of the colon that ends the heading with which a sentence begins; 0: it has none."""
    for at, token in enumerate(tokens[: HEADING_WORDS + 1]):
        if token.word == ":":
            return at
        if token.word in _VERBS or token.word == "?":
            return 0
    return 0


def _only_heading(tokens: list[Token]) -> bool:
    end = _heading_end(tokens)
    return end > 0 and end == len(tokens) - 1
