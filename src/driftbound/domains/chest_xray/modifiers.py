"""Modifiers: side, zone, severity and course, and to which mention of a sentence each belongs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from driftbound.domains.chest_xray.phrases import Phrases, lexicon
from driftbound.domains.chest_xray.scopes import VERBS

ATTRIBUTES = ("side", "zone", "severity", "course")
_DEGREES = ("mild", "moderate", "severe")
_JOINERS = frozenset({"and", "or", ",", "versus", "vs", "nor", ";", "with", "without", "(", ")"})
_PREPOSITIONS = frozenset(
    {"in", "at", "on", "within", "of", "along", "overlying", "involving", "over", "throughout"}
)


@dataclass(frozen=True, slots=True)
class Modifier:
    """A word, or some, that say one value of an attribute."""

    attribute: str
    value: str
    start: int
    end: int


@cache
def modifiers_lexicon() -> tuple[Phrases[tuple[str, str]], ...]:
    """(attribute, value) by phrase: for sides, zones, severities and courses one lexicon each."""
    table, made = lexicon("modifiers"), []
    for attribute in ATTRIBUTES:
        phrases = Phrases[tuple[str, str]]()
        for value, lines in table[attribute].items():
            phrases.add_all(lines, (attribute, value))
        phrases.add_all(table.get(f"not_{attribute}", ()), (attribute, ""))
        made.append(phrases)
    return tuple(made)


def modifiers_of(words: Sequence[str], quiet: Sequence[bool]) -> list[Modifier]:
    """The modifiers of a sentence."""
    found = []
    for phrases in modifiers_lexicon():
        for start, end, meanings in phrases.all(words):
            if any(value == "" for _, value in meanings) or quiet[start]:
                continue
            found += [Modifier(attribute, value, start, end) for attribute, value in meanings]
    return sorted(found, key=lambda each: each.start)


def shared_out(
    words: Sequence[str], mentions: Sequence[tuple[int, int]], modifiers: Sequence[Modifier]
) -> list[list[Modifier]]:
    """The modifiers of each mention, ``(start, end)`` in words and in order.

    Between two mentions, what stands before the last joining word (or verb) belongs to the first, the rest
    to the second. What stands behind a list of mentions is said of all of it that have nothing of their own.
    """
    own: list[list[Modifier]] = [[] for _ in mentions]
    if not mentions:
        return own
    spans = sorted(set(mentions))
    index = {span: [n for n, other in enumerate(mentions) if other == span] for span in spans}
    for modifier in modifiers:
        span = _owner(words, spans, modifier)
        if span is not None:
            for n in index[span]:
                own[n].append(modifier)
    _lend(words, spans, index, own)
    return own


def values_of(own: Sequence[Modifier], attribute: str, span: tuple[int, int]) -> list[str]:
    """What a mention's modifiers say of an attribute: one value, but several for zones."""
    said = [each for each in own if each.attribute == attribute]
    if not said:
        return []
    values = list(dict.fromkeys(each.value for each in said))
    if attribute == "zone":
        return values
    if attribute == "side":
        return values[:1] if len(values) == 1 else ["both"]
    if attribute == "severity":
        near = min(said, key=lambda each: _distance(each, span))
        ranged = [each for each in said if abs(each.start - near.end) <= 1 or abs(near.start - each.end) <= 1]
        return [max((each.value for each in [near, *ranged]), key=_DEGREES.index)]
    return [min(said, key=lambda each: _distance(each, span)).value]


def _distance(each: Modifier, span: tuple[int, int]) -> int:
    return max(span[0] - each.end, each.start - span[1], 0)


def _owner(
    words: Sequence[str], spans: Sequence[tuple[int, int]], modifier: Modifier
) -> tuple[int, int] | None:
    before = [span for span in spans if span[0] < modifier.end and span[0] <= modifier.start]
    after = [span for span in spans if span[0] > modifier.start]
    if not before or not after:
        return before[-1] if before else after[0]
    last, following = before[-1], after[0]
    if modifier.start < last[1]:
        return last
    between = range(last[1], following[0])
    joints = [n for n in between if words[n] in _JOINERS or words[n] in VERBS]
    cut = _cut(words, joints, last[1], following[0])
    return last if modifier.start < cut else following


def _cut(words: Sequence[str], joints: Sequence[int], start: int, end: int) -> int:
    """Where what belongs to the mention before ends: at the last joining word; at the first one, where a
    preposition stands behind it and no mention's own noun phrase begins ("in the left and right lung")."""
    if not joints:
        return end if any(word in _PREPOSITIONS for word in words[start:end]) else start
    last = joints[-1]
    if words[last] in VERBS and last == joints[0]:
        return end
    return last


def _lend(
    words: Sequence[str],
    spans: Sequence[tuple[int, int]],
    index: dict[tuple[int, int], list[int]],
    own: list[list[Modifier]],
) -> None:
    """Give what stands behind a list of mentions to all of them that have no such word of their own."""
    for number in range(len(spans) - 1, 0, -1):
        span, left = spans[number], spans[number - 1]
        between = words[left[1] : span[0]]
        if not between or not any(word in ("and", "or", ",") for word in between):
            continue
        if any(word in VERBS or word in ("with", "without", ";", "but", "no") for word in between):
            continue
        if any(word in _PREPOSITIONS for word in between):
            continue
        behind = [each for each in own[index[span][0]] if each.start >= span[1]]
        for n in index[left]:
            has = {each.attribute for each in own[n]}
            own[n] += [each for each in behind if each.attribute not in has]
