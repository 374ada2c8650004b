"""Passages: a text as sentences of words with their places, and under which heading each stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?|\d+(?:\.\d+)?|[.,;:!?()/&+]")
_BULLET = re.compile(r"[ \t]*(?:[-*•+–]|\d{1,2}[.)]|[a-z][.)])[ \t]+(?=\S)")
_MARKED = re.compile(r"[ \t]*(?:#{1,6}[ \t]|(?:[-*•+][ \t]+)?\*\*[^*\n]{1,80}\*\*[ \t]*:?[ \t]*$)")
_WORDS = {"&": "and", "+": "and", "/": "or"}
_DOTTED = frozenset({"vs", "dr", "e", "g", "i", "approx", "st", "mr", "ms", "cf"})
"""Words whose full stop ends no sentence."""
_VERBS = frozenset(
    {
        "is",
        "are",
        "was",
        "were",
        "there",
        "has",
        "have",
        "shows",
        "show",
        "demonstrates",
        "may",
        "see",
        "seen",
    }
)
HEADING_WORDS = 7
"""A heading has at most so many words."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word in lower case, or a mark of punctuation, and where it stands."""

    word: str
    start: int
    end: int


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


def passages(text: str) -> list[Passage]:
    """The sentences of a text. A line break inside a sentence does not end it; a bullet does."""
    found: list[Passage] = []
    above: list[Token] = []
    inline: list[Token] = []
    for line, starts_paragraph in _lines(text):
        if starts_paragraph:
            inline = []
        if line.marked or (line.tokens and _only_heading(line.tokens)):
            above, inline = [token for token in line.tokens if token.word != ":"], []
            continue
        if line.bullet:
            inline = []
        for tokens, asks in _sentences(line.tokens):
            cut = _heading_end(tokens)
            if cut:
                inline, tokens = tokens[:cut], tokens[cut + 1 :]
            passage = Passage(len(found), tokens, inline, above, asks)
            if passage.tokens:
                found.append(passage)
    return found


@dataclass(slots=True)
class _Line:
    tokens: list[Token]
    bullet: bool
    marked: bool


def _lines(text: str) -> Iterator[tuple[_Line, bool]]:
    """Lines, those that a sentence runs over joined; each with whether a paragraph begins with it."""
    held: _Line | None = None
    first, fresh = True, True
    for start, end in _spans(text):
        row = text[start:end]
        if not row.strip():
            fresh = True
            continue
        bullet = _BULLET.match(row)
        marked = _MARKED.match(row) is not None
        tokens = _tokens(text, start + (bullet.end() if bullet and not marked else 0), end)
        line = _Line(tokens, bullet is not None and not marked, marked)
        if held is not None and not fresh and _runs_on(held, line):
            held.tokens += line.tokens
            continue
        if held is not None:
            yield held, first
            first = False
        first = first or fresh
        held, fresh = line, False
    if held is not None:
        yield held, first


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in re.finditer(r"\n|\Z", text):
        yield start, match.start()
        start = match.end()


def _runs_on(above: _Line, line: _Line) -> bool:
    """Whether a line goes on with the sentence of the line above it."""
    if line.bullet or line.marked or above.marked or not above.tokens or not line.tokens:
        return False
    if above.tokens[-1].word in ".!?:;" or _heading_end(line.tokens):
        return False
    return not (above.bullet and line.tokens[0].word[:1].isupper())


def _tokens(text: str, start: int, end: int) -> list[Token]:
    return [
        Token(_WORDS.get(match.group(), match.group().lower().replace("’", "'")), match.start(), match.end())
        for match in _TOKEN.finditer(text, start, end)
    ]


def _sentences(tokens: list[Token]) -> Iterator[tuple[list[Token], bool]]:
    """Sentences without their last mark, each with whether it asks."""
    start = 0
    for at, token in enumerate(tokens):
        if token.word not in (".", "!", "?"):
            continue
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        touches = after is not None and after.start == token.end
        if token.word == "." and (touches or (at > start and tokens[at - 1].word in _DOTTED)):
            continue
        yield tokens[start:at], token.word == "?"
        start = at + 1
    yield tokens[start:], False


def _heading_end(tokens: list[Token]) -> int:
    """Number of the colon that ends the heading with which a sentence begins; 0: it has none."""
    for at, token in enumerate(tokens[: HEADING_WORDS + 1]):
        if token.word == ":":
            return at
        if token.word in _VERBS or token.word in (";", "?"):
            return 0
    return 0


def _only_heading(tokens: list[Token]) -> bool:
    end = _heading_end(tokens)
    return end > 0 and end == len(tokens) - 1
