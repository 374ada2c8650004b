"""Steps: where the sentences and lines of a text begin and end, and which only repeat the prompt."""

import re
from bisect import bisect_right
from collections.abc import Sequence

Span = tuple[int, int]
"""``(start, end)`` in code points of the text."""

_LINE = re.compile(r"[^\n\r]+")
_END = re.compile(r"(?<![.!?;])[.!?;]++[\"'”’)\]*_`]*+(?=\s)|[。！？；]+")
_MARKS = re.compile(r"[\s>#*_\-•+|()\[\]`]*")
_NUMBER = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})\Z", re.IGNORECASE)
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|dr|mr|mrs|ms|prof|fig|figs|approx|cf|st)\Z", re.IGNORECASE)
_COUNTED = re.compile(r"\bno\Z", re.IGNORECASE)
_INITIAL = re.compile(r"(?<!\w)\w\Z")
_WORD = re.compile(r"[^\W_]")
_ECHO = re.compile(
    r"[\s>*_#]*\b(?:question|prompt|user|task|instructions?|(?:clinical )?(?:history|indication))"
    r"\b[*_\s]*:|\s*>",
    re.IGNORECASE,
)


def steps(text: str) -> list[Span]:
    """Spans of the text's steps in order: sentences, each line having its own; none without a word.

    A number or letter that counts it ("1. ", "B. "), an abbreviation and a genus ("E. coli") end no
    sentence.

    >>> text = "1. Small effusion, e.g. left. No edema; clear."
    >>> [text[start:end] for start, end in steps(text)]
    ['1. Small effusion, e.g. left.', 'No edema;', 'clear.']
    """
    found: list[Span] = []
    for line in _LINE.finditer(text):
        start = line.start()
        for mark in _END.finditer(text, line.start(), line.end()):
            if _ends(text, start, mark.start(), mark.end()):
                found.append((start, mark.end()))
                start = mark.end()
        found.append((start, line.end()))
    spans = ((_first(text, start, end), end) for start, end in found)
    return [(start, len(text[:end].rstrip())) for start, end in spans if _WORD.search(text, start, end)]


def step_at(spans: Sequence[Span], position: int) -> int:
    """Number of the step at a position of the text; what lies before or between belongs to the one before."""
    return max(0, bisect_right(spans, position, key=lambda span: span[0]) - 1)


def repeats_prompt(step: str) -> bool:
    """Whether a step only repeats what was asked: a quoted line, or one that is headed so.

    >>> repeats_prompt("> Is there an effusion?"), repeats_prompt("**Question:** effusion or not"), (
    ...     repeats_prompt("Effusion: present"))
    (True, True, False)
    """
    return _ECHO.match(step) is not None


def lowered(text: str) -> str:
    """The text in lower case, every letter in its place: one that would grow stays as it is.

    >>> len(lowered("İ")), lowered("ÄB")
    (1, 'äb')
    """
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _first(text: str, start: int, end: int) -> int:
    while start < end and text[start].isspace():
        start += 1
    return start


def _ends(text: str, start: int, mark: int, after: int) -> bool:
    """Whether the mark at ``mark`` ends the sentence that begins at ``start``."""
    if text[mark] != "." or after - mark > 1:
        return True
    before = text[max(start, mark - 12) : mark]
    if _ABBREVIATION.search(before):
        return False
    counts = _MARKS.match(text, start, mark)
    if counts and _NUMBER.match(text[counts.end() : mark]):
        return False
    following = text[_first(text, after, len(text)) :][:1]
    if _INITIAL.search(before) and following.islower():
        return False
    return not (_COUNTED.search(before) and following.isdigit())
