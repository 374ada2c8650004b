"""Definitions: sentences that say what a finding is, and not that it is there."""

from collections.abc import Sequence

from driftbound.domains.chest_xray.mentions import Mention
from driftbound.domains.chest_xray.modifiers import modifiers_of

_OFTEN = frozenset({"usually", "often", "typically", "commonly", "generally", "basically", "simply", "also"})
_SAYS_WHAT = frozenset({"a", "an", "the", "when", "where", "any", "caused", "fluid", "air", "inflammation"})
_OF_THIS_FILM = frozenset(
    {"possibility", "possible", "concern", "consideration", "diagnosis", "likely", "explanation", "finding",
     "findings", "seen", "visible", "present", "noted", "question", "abnormality", "problem", "this", "here",
     "probable", "absent", "not", "cause", "most", "only", "main", "dominant", "alternative", "differential"}
)  # fmt: skip
"""Words that a definition has not."""


def defines(words: Sequence[str], mentions: Sequence[Mention]) -> bool:
    """Whether a sentence begins with a finding, whatever its place, and goes on to say what that is.

    >>> words = "pneumonia is an infection of the lung".split()
    >>> defines(words, [Mention("Pneumonia", 0, 1, "name")])
    True
    """
    if not mentions or mentions[0].start != int(words[0] in ("a", "an")):
        return False
    at = mentions[0].end
    if at >= len(words) or words[at] not in ("is", "are"):
        return False
    at += 1
    while at < len(words) and words[at] in _OFTEN:
        at += 1
    if at >= len(words) or words[at] not in _SAYS_WHAT or not _OF_THIS_FILM.isdisjoint(words):
        return False
    placed = modifiers_of(words)
    return not any(each.attribute in ("side", "zone", "course") for each in placed if each.start < at + 3)
