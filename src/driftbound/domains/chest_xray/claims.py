"""Claims: what a report or a rationale asserts of the 14 findings (docs/chest-xray-claims.md)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from driftbound.domains.chest_xray.mentions import DENIED, DEVICES, SIGN, Mention, mentions_of
from driftbound.domains.chest_xray.modifiers import (
    ATTRIBUTES,
    Modifier,
    modifiers_of,
    shared_out,
    values_of,
)
from driftbound.domains.chest_xray.passages import Passage, Token, passages
from driftbound.domains.chest_xray.scopes import (
    ABSENT,
    PRESENT,
    UNCERTAIN,
    Cue,
    Ruling,
    cues_of,
    headings_lexicon,
    rulings,
    silenced,
)
from driftbound.records import Claim, Polarity

NO_FINDING = "No Finding"
_YES = frozenset(
    {"yes", "present", "seen", "noted", "evident", "visible", "identified", "positive", "confirmed",
     "observed", "there", "visualized", "detected", "demonstrated", "suggested", "likely", "possible"}
)  # fmt: skip
"""Words by which a sentence without a finding speaks of its heading's."""
_SIDE_HEADINGS = re.compile(r"\b(left|right|bilateral|both)\b")


@dataclass(frozen=True, slots=True)
class _Said:
    """One claim before it has its place in the text."""

    mention: Mention
    value: str
    first: int
    last: int
    unchanged: bool
    modifiers: Sequence[Modifier]
    echo: bool


def claims(text: str) -> list[Claim]:
    """What a text asserts, in order of the text; spans are code points.

    >>> [(c.finding, c.attribute, c.value) for c in claims("Small left pleural effusion. No edema.")][:2]
    [('Pleural Effusion', 'presence', 'present'), ('Pleural Effusion', 'side', 'left')]
    """
    found: list[Claim] = []
    for passage in passages(text):
        found += _of(passage)
    return found


def _of(passage: Passage) -> list[Claim]:
    tokens, mentions = _with_heading(passage)
    if not mentions or passage.asks or _is_silent(passage):
        return []
    words = [token.word for token in tokens]
    cues = cues_of(words)
    quiet = silenced(words, cues)
    mentions = [mention for mention in mentions if not quiet[mention.start]]
    cued = {n for cue in cues for n in range(cue.start, cue.end)}
    modifiers = [each for each in modifiers_of(words, quiet) if each.start not in cued]
    modifiers += [
        Modifier("course", "stable", cue.start, cue.end)
        for cue in cues
        if cue.has("stable") and not cue.ahead() and not quiet[cue.start]
    ]
    echo = any(cue.has("echo") for cue in cues)
    said = _judged(tokens, mentions, cues, modifiers, echo)
    lent = _lent_side(passage)
    return [claim for one in said for claim in _claims(one, tokens, passage.number, lent)]


def _with_heading(passage: Passage) -> tuple[list[Token], list[Mention]]:
    """The words that are read and their mentions: the heading's too where the sentence names none itself."""
    tokens = passage.tokens
    mentions = mentions_of([token.word for token in tokens])
    if mentions:
        return tokens, mentions
    for heading in (passage.heading, passage.above):
        words = [*heading, *tokens]
        whole = mentions_of([token.word for token in words])
        if not whole:
            continue
        speaks = {token.word for token in tokens}
        plain = [mention for mention in whole if mention.end <= len(heading)]
        if not plain:
            return words, whole
        own = [token.word for token in tokens]
        cued = any(cue.ahead() or cue.back() for cue in cues_of(own))
        if cued or not _YES.isdisjoint(speaks) or modifiers_of(own, [False] * len(own)):
            return words, whole
        return tokens, []
    return tokens, []


def _is_silent(passage: Passage) -> bool:
    """Whether it stands under a heading that claims nothing."""
    heading = passage.heading or passage.above
    return bool(heading) and bool(headings_lexicon().at([token.word for token in heading], 0)[1])


def _judged(
    tokens: Sequence[Token],
    mentions: Sequence[Mention],
    cues: Sequence[Cue],
    modifiers: Sequence[Modifier],
    echo: bool,
) -> list[_Said]:
    places = sorted({(mention.start, mention.end) for mention in mentions})
    modifying = [False] * len(tokens)
    for modifier in modifiers:
        modifying[modifier.start : modifier.end] = [True] * (modifier.end - modifier.start)
    ruled = dict(zip(places, rulings(tokens, places, cues, modifying), strict=True))
    shared = dict(zip(places, shared_out([t.word for t in tokens], places, modifiers), strict=True))
    found = []
    for mention in mentions:
        place = (mention.start, mention.end)
        value = _value(mention, ruled[place])
        if value:
            ruling = ruled[place]
            own = shared[place]
            found.append(_Said(mention, value, ruling.start, ruling.end, ruling.unchanged, own, echo))
    return found


def _value(mention: Mention, ruling: Ruling) -> str:
    """What a mention claims; empty: nothing."""
    if mention.kind == DENIED:
        if ruling.value != ABSENT:
            return ""
        return PRESENT if mention.finding == NO_FINDING else ABSENT
    if mention.finding == NO_FINDING:
        return ruling.value if ruling.value != ABSENT else ""
    if mention.value:
        return mention.value
    if mention.kind == SIGN and ruling.value == PRESENT:
        return UNCERTAIN
    return ruling.value


def _claims(said: _Said, tokens: Sequence[Token], number: int, lent: str) -> list[Claim]:
    """The claim of presence and, unless it is absent, those of side, zone, severity, course and device."""
    mention = said.mention
    start, end = tokens[said.first].start, tokens[said.last - 1].end

    def claim(attribute: str, value: str, low: int, high: int, polarity: Polarity) -> Claim:
        return Claim(
            finding=mention.finding,
            attribute=attribute,
            value=value,
            polarity=polarity,
            start=low,
            end=high,
            step=number,
            echo=said.echo,
        )

    made = [claim("presence", said.value, start, end, Polarity(said.value))]
    if said.value == ABSENT or mention.finding == NO_FINDING:
        return made
    place = (mention.start, mention.end)
    for attribute in ATTRIBUTES:
        values = values_of(said.modifiers, attribute, place)
        if attribute == "side" and not values and lent:
            made.append(claim("side", lent, tokens[mention.start].start, end, Polarity.PRESENT))
        if attribute == "course" and said.unchanged:
            values = ["stable"]
        for value in values:
            words = next((m for m in said.modifiers if (m.attribute, m.value) == (attribute, value)), None)
            low, high = (words.start, words.end) if words else place
            span = tokens[low].start, tokens[high - 1].end
            made.append(claim(attribute, value, *span, Polarity.PRESENT))
    if mention.finding == DEVICES and mention.device:
        span = tokens[mention.start].start, tokens[mention.end - 1].end
        made.append(claim("device", mention.device, *span, Polarity.PRESENT))
    return made


def _lent_side(passage: Passage) -> str:
    """The side that a heading lends to what stands under it; empty: none."""
    for heading in (passage.heading, passage.above):
        found = _SIDE_HEADINGS.search(" ".join(token.word for token in heading))
        if found:
            return {"left": "left", "right": "right"}.get(found.group(1), "both")
    return ""
