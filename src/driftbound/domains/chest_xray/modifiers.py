"""Modifiers: words that say side, zone, severity or course, and to which mention each belongs."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from driftbound.domains.chest_xray.clauses import BEING, VERBS
from driftbound.domains.chest_xray.cues import Cue
from driftbound.domains.chest_xray.phrases import Phrases, lexicon

ATTRIBUTES = ("side", "zone", "severity", "course")
_JOINERS = frozenset({"and", "or", ",", "versus", "vs", "nor", "with", "without", "(", ")", "dash", ":"})
_PREPOSITIONS = frozenset(
    {"in", "at", "on", "within", "of", "along", "overlying", "involving", "over", "throughout", "to"}
)
_LIGHT = frozenset(
    {"and", "or", ",", "versus", "vs", "over", "a", "an", "the", "possible", "probable", "also"}
)
"""What may stand between the members of a list that share what is said of the first."""


_PLACE_WORDS = frozenset(
    {"lobe", "lobes", "lung", "lungs", "zone", "zones", "field", "fields", "base", "bases", "upper", "lower",
     "middle", "mid", "apical", "basal", "basilar", "left", "right", "apex", "hemithorax", "side", "sided",
     "perihilar", "retrocardiac", "small", "moderate", "mild", "large", "severe", "stable", "new", "acute",
     "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"}
)  # fmt: skip
_EITHER = frozenset({"or", "versus", "vs", "over"})
_MORE = frozenset({"more", "most", "worse", "greater", "larger"})


class Modifier(NamedTuple):
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


@cache
def _heads() -> frozenset[str]:
    return frozenset().union(*(phrases.heads() for phrases in modifiers_lexicon()))


def modifiers_of(words: Sequence[str]) -> list[Modifier]:
    """The modifiers of a sentence."""
    found: list[Modifier] = []
    heads = _heads()
    among = [n for n, word in enumerate(words) if word in heads]
    if not among:
        return found
    compared: set[int] = set()
    for phrases in modifiers_lexicon():
        for start, end, meanings in phrases.all(words, among):
            if start in compared:
                continue
            if meanings[0][0] == "side" and end > start + 2 and meanings[0][1] in ("both", ""):
                more = 2 * (words[start] in _MORE)  # "most marked in the left upper lobe" is no zone, either
                compared.update(range(start, end + more))  # "worse on the left" is neither size nor course
            if all(value for _, value in meanings):
                found += [Modifier(attribute, value, start, end) for attribute, value in meanings]
    return sorted(found, key=lambda each: each.start)


def shared_out(
    words: Sequence[str],
    places: Sequence[tuple[int, int]],
    modifiers: Sequence[Modifier],
    clause: Sequence[int],
    cues: Sequence[Cue],
) -> list[list[Modifier]]:
    """The modifiers of each mention, ``(start, end)`` in words, in order and different.

    Between two mentions, what stands before the last joining word (or verb, or cue) belongs to the first, the
    rest to the second. What stands behind a list of mentions is said of all of it that have nothing of their
    own; so is a place that stands before it.
    """
    own: list[list[Modifier]] = [[] for _ in places]
    heads = {cue.start for cue in cues if cue.ahead in ("absent", "uncertain") or "ends" in cue.values}
    for modifier in modifiers:
        n = _owner(words, places, modifier, clause, heads)
        if n is not None:
            own[n].append(modifier)
            for other, place in enumerate(places):
                if other != n and place[0] <= modifier.start and modifier.end <= place[1]:
                    own[other].append(modifier)
    for n in range(len(places) - 1, 0, -1):
        _lend_back(words, places, own, n, clause)
    for n in range(1, len(places)):
        _lend_on(words, places, own, n, clause)
    return own


def _owner(
    words: Sequence[str],
    places: Sequence[tuple[int, int]],
    modifier: Modifier,
    clause: Sequence[int],
    heads: set[int],
) -> int | None:
    """The mention that a modifier belongs to."""
    before = [n for n, (start, _) in enumerate(places) if start <= modifier.start]
    after = [n for n, (start, _) in enumerate(places) if start > modifier.start]
    if not before:
        start = places[after[0]][0]
        same = clause[start] == clause[modifier.start]
        return after[0] if same and not _of_another(words, modifier, start) else None
    if not after:
        return before[-1]
    last, following = before[-1], after[0]
    if modifier.start < places[last][1]:
        return last
    here = clause[modifier.start]
    with_last, with_next = (clause[places[n][0]] == here for n in (last, following))
    if with_last != with_next:
        return last if with_last else following
    if not with_last:
        return following if words[modifier.start - 1] not in ("which", "that") else last
    cut = _cut(words, places[last][1], places[following][0], heads, modifier)
    return last if modifier.start < cut else following


def _of_another(words: Sequence[str], modifier: Modifier, start: int) -> bool:
    """Whether a modifier before the first mention belongs to something else: "left arm pain and edema"."""
    between = words[modifier.end : start]
    joint = next((n for n, word in enumerate(between) if word in ("and", "with")), 0)
    return (
        joint > 0
        and _PREPOSITIONS.isdisjoint(words[max(0, modifier.start - 2) : modifier.start])
        and VERBS.isdisjoint(between)
        and between[joint - 1] not in _PLACE_WORDS
    )


def _cut(words: Sequence[str], start: int, end: int, heads: set[int], modifier: Modifier) -> int:
    """Where what belongs to the mention before ends: at the last joining word, verb or cue."""
    joints = [n for n in range(start, end) if words[n] in _JOINERS or words[n] in VERBS or n in heads]
    if not joints:
        return end if any(word in _PREPOSITIONS for word in words[start:end]) else start
    if all(words[n] in BEING for n in joints):
        return end
    return joints[-1]


def _lend_back(
    words: Sequence[str],
    places: Sequence[tuple[int, int]],
    own: list[list[Modifier]],
    n: int,
    clause: Sequence[int],
) -> None:
    """Give what stands behind a list of mentions to the one before, too, where it has no such word."""
    (start, end), (first, last) = places[n], places[n - 1]
    between = words[last:start]
    if clause[last - 1] != clause[start] or not {"and", "or", ","} & set(between):
        return
    if any(word in VERBS or word in ("with", "without", "but", "no") for word in between):
        return
    if any(word in _PREPOSITIONS for word in between) or any(word in VERBS for word in words[first:last]):
        return
    has = {each.attribute for each in own[n - 1]}
    comma = next((at for at in range(end, len(words)) if words[at] == ","), len(words))
    sides = {each.value for each in own[n] if each.attribute == "side"}
    if "side" in has and not sides <= {each.value for each in own[n - 1] if each.attribute == "side"}:
        has.add("zone")  # of the other place: "fluid on both sides and atelectasis at the left base"
    own[n - 1] += [
        each
        for each in own[n]
        if each.start >= end
        and each.attribute not in has
        and (each.start < comma or each.attribute in ("course", "severity"))
    ]


def _lend_on(
    words: Sequence[str],
    places: Sequence[tuple[int, int]],
    own: list[list[Modifier]],
    n: int,
    clause: Sequence[int],
) -> None:
    """Give the side and the zone of a mention to the next of its list, where that has no place of its own."""
    (start, _), (first, last) = places[n], places[n - 1]
    between = words[last:start]
    if not between or clause[last - 1] != clause[start]:
        return
    has = {each.attribute for each in own[n]}
    wanted = {"side"} - has if "zone" in has else {"side", "zone"} - has
    own[n] += [
        each for each in own[n - 1] if each.attribute in wanted and _is_fronted(words, each, first, clause)
    ]
    if any(each.attribute in ("side", "zone") for each in own[n]):
        return
    if not _EITHER.isdisjoint(between):
        sizes = {w for each in own[n] if each.end <= start for w in words[each.start : each.end]}
        between = [word for word in between if word not in sizes]
    named = range(first, last) if _EITHER.isdisjoint(between) else ()
    placed = [each for each in own[n - 1] if each.attribute in ("side", "zone") and each.start not in named]
    rest = [word for w, word in enumerate(words[start:], start=start) if clause[w] == clause[start]]
    if set(between) <= _LIGHT and ({"and", *_EITHER} & {*between, *rest}):
        own[n] += [each for each in placed if each.end <= last]


def _is_fronted(words: Sequence[str], each: Modifier, first: int, clause: Sequence[int]) -> bool:
    """Whether a place stands before the verb of its clause: "on the left there is", "the left lung shows"."""
    if each.start >= first or clause[each.start] != clause[first]:
        return False
    return any(word in VERBS for word in words[each.end : first])
