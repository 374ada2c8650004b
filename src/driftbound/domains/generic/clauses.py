"""Clauses: which words of a sentence speak of which mention, and what they together make of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from driftbound.domains.generic import cues
from driftbound.domains.generic.words import polarity_of
from driftbound.records import Polarity

_PLURAL = re.compile(
    r"^\W*(?:are|were|may|might|could|cannot|can['’]t|can not)\b|^[\s*_]*(?::|=|absent\b|present\b)"
)
_SINGULAR = re.compile(r"^\W*(?:is|was|has)\b")
_OR = re.compile(r"\b(?:or|nor)\b")
_INLINE = re.compile(r"[\s*_`]{0,9}(?:\([^)]*\))?[\s*_`]{0,9}[:=—–][\s*_`]{0,9}(?P<value>[^,;.|(]*)")
"""A label in the middle of a sentence: "effusion: no, edema: yes"."""
_IMMEDIATE = re.compile(r"[\s*_]{0,9}(?:\([^)]*\))?[\s*_]{0,9}:")


@dataclass(slots=True)
class Mention:
    """A finding as a sentence names it, with the part of the sentence that speaks of it."""

    finding: str
    first: int
    last: int
    """Where its name begins and ends."""
    start: int = 0
    end: int = 0
    """Where its part begins and ends."""
    link: str = ""
    """How its part hangs on the one before: ``,``, ``and``, ``or``, ``as``; empty where it does not."""
    before: str = ""
    after: str = ""
    polarity: Polarity | None = None
    own: bool = False
    """The polarity is by words of its own part."""
    leads: bool = False
    """Those words stand before the name, where they may hold for what follows."""
    skipped: bool = False
    """It is spoken of, but not as a finding of this case."""
    sides: list[str] = field(default_factory=list)
    side_span: tuple[int, int] = (0, 0)


def judge(text: str, start: int, end: int, mentions: Sequence[Mention]) -> None:
    """Give each mention of a sentence (lower case, asides masked) its part, polarity and sides.

    A denial or hedge before an enumeration holds for all of it, one behind "a, b and c are" or "a or b"
    too; "a or b" without either leaves both open.
    """
    _cut(text, start, end, mentions)
    for mention in mentions:
        mention.before, mention.after = text[mention.start : mention.first], text[mention.last : mention.end]
        _judge_alone(mention)
        _find_sides(text, mention)
    _spread_back(mentions)
    _carry_on(mentions)
    _leave_open(mentions)


def _cut(text: str, start: int, end: int, mentions: Sequence[Mention]) -> None:
    begin, link = start, ""
    for place, mention in enumerate(mentions):
        if place == 0 or link == "":
            begin = _clause_start(text, begin, mention.first)
        mention.start, mention.link = begin, link
        following = mentions[place + 1].first if place + 1 < len(mentions) else end
        mention.end, link = _between(text, mention.last, following, last=place + 1 == len(mentions))
        begin = mention.end


def _clause_start(text: str, start: int, first: int) -> int:
    """Where the clause begins in which a mention stands."""
    breaks = list(cues.BREAK.finditer(text, start, first))
    if not breaks:
        return start
    return breaks[-1].end() if breaks[-1].group() in (":", ",", "and") else breaks[-1].start()


def _between(text: str, start: int, end: int, *, last: bool) -> tuple[int, str]:
    """Where the part of a mention that ends at ``start`` ends, and how the next one hangs on it."""
    label = _IMMEDIATE.match(text, start, end)
    broken = cues.BREAK.search(text, label.end() if label else start, end)
    if broken:
        return broken.start(), ""
    if last:
        return end, ""
    links = list(cues.LINK.finditer(text, start, end))
    if not links:
        return end, "as" if cues.AS.search(text, start, end) else ""
    turns = [link for link in links if cues.TURN.match(text, link.end(), end)]
    chosen = turns[0] if turns else links[-1]
    return chosen.start(), chosen.group()


def _judge_alone(mention: Mention) -> None:
    before = mention.before
    if cues.ASSERTED_AFTER.match(mention.after):
        # "The heart is not large and effusion is seen": the denial is of something else.
        links = [link for link in cues.LINK.finditer(before) if not _OR.match(link.group())]
        before = before[links[-1].end() :] if links and not _OR.search(before) else before
    fresh = [link for link in cues.LINK.finditer(before) if cues.FRESH.match(before, link.end())]
    if fresh and not _OR.search(before, fresh[-1].start()):
        before = before[fresh[-1].end() :]
    polarity = cues.polarity_before(before)
    inline = _INLINE.match(mention.after)
    behind = polarity_of(inline["value"]) if inline else None
    behind = behind or cues.polarity_after(mention.after)
    skipped = cues.SKIPPED.search(before)
    asked = (
        behind is Polarity.UNCERTAIN and skipped and skipped.group() == "whether"
    )  # "whether ... is unclear"
    if skipped and polarity is not Polarity.UNCERTAIN and not asked:
        mention.skipped = mention.own = mention.leads = True
        return
    if polarity is not Polarity.UNCERTAIN and behind is Polarity.UNCERTAIN:
        polarity = behind
    elif polarity is None or inline:
        polarity = behind or polarity
    else:
        mention.leads = True
    mention.polarity, mention.own = polarity, polarity is not None


def _find_sides(text: str, mention: Mention) -> None:
    """Words for sides around a mention; those of an earlier clause give way to those behind it."""
    behind = list(cues.SIDE.finditer(text, mention.last, mention.end))
    clause = text.rfind(",", mention.start, mention.first) + 1 if behind else 0
    found = list(cues.SIDE.finditer(text, max(mention.start, clause), mention.first)) + behind
    if found:
        mention.sides = [side.group() for side in found]
        mention.side_span = (found[0].start(), found[-1].end())


def _spread_back(mentions: Sequence[Mention]) -> None:
    """Give the polarity of the last of an enumeration to its bare members before it."""
    for place, mention in enumerate(mentions):
        if not mention.own or mention.leads or mention.link not in ("or", "nor", "and", "/", "&", ","):
            continue
        if mention.link not in ("or", "nor") and (
            _SINGULAR.match(mention.after) or not _PLURAL.match(mention.after)
        ):
            continue
        for earlier in range(place - 1, -1, -1):
            bare = not mentions[earlier].own and not mentions[earlier].after.strip(" ,*_/&")
            if not bare or not mentions[earlier + 1].link:
                break
            mentions[earlier].polarity, mentions[earlier].own = mention.polarity, True


def _carry_on(mentions: Sequence[Mention]) -> None:
    """Let a cue that leads hold for the members of its enumeration behind it."""
    carried: Mention | None = None
    for place, mention in enumerate(mentions):
        if mention.own:
            carried = mention if mention.leads else None
        elif carried is not None and _continues(mentions, place):
            mention.polarity, mention.skipped = carried.polarity, carried.skipped
        else:
            carried = None


def _continues(mentions: Sequence[Mention], place: int) -> bool:
    """Whether a mention without a cue goes on with the enumeration that it stands in.

    It does up to the last "or"; else a side, an article or "is seen" begins something new.
    """
    mention = mentions[place]
    if not mention.link:
        return False
    if mention.link == "as":
        return True
    for other in mentions[place:]:
        if other.own or not other.link:
            break
        if other.link in ("or", "nor"):
            return True
    fresh = cues.FRESH.match(mention.before[len(mention.link) :])
    return not mention.sides and not fresh and not cues.ASSERTED_AFTER.match(mention.after)


def _leave_open(mentions: Sequence[Mention]) -> None:
    """ "A or b" without any cue asserts neither."""
    for one, other in pairwise(mentions):
        if other.link not in ("or", "vs", "versus") or one.finding == other.finding:
            continue
        if {one.polarity, other.polarity} <= {None, Polarity.UNCERTAIN}:
            one.polarity = other.polarity = Polarity.UNCERTAIN
