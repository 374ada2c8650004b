"""Scopes: what the cues of a sentence deny, doubt or set aside, mention by mention."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from driftbound.domains.chest_xray.passages import Token
from driftbound.domains.chest_xray.phrases import Phrases, lexicon

ABSENT, UNCERTAIN, PRESENT = "absent", "uncertain", "present"
VERBS = frozenset(
    {"is", "are", "was", "were", "has", "have", "had", "remains", "remain", "appears", "appear", "persists"}
)
"""Finite verbs: after a mention, what a denial before it governs is over."""
_LIST = frozenset({"and", "or", "nor", ",", "versus", "vs"})
_EITHER = frozenset({"or", "versus", "vs"})
_SUGGEST = frozenset(
    {"suggest", "suggests", "suggesting", "suggestive", "suggested", "concerning", "suspicious", "worrisome",
     "indicative", "concern", "suspicion", "compatible", "consistent"}
)  # fmt: skip
"""Doubts that a denial before them denies too: "no opacity to suggest pneumonia"."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a cue does."""

    value: str
    """``absent``, ``uncertain``, ``present``, ``stable``, ``ends``, ``sentence``, ``from``, ``aside``,
    ``echo``."""
    behind: bool = False
    """Whether it stands behind what it governs."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue in a sentence."""

    start: int
    end: int
    roles: Sequence[Role]

    def ahead(self) -> str:
        """What it says of what follows; empty: nothing."""
        return next((r.value for r in self.roles if not r.behind and r.value in _GOVERNS), "")

    def back(self) -> str:
        """What it says of what comes before it; empty: nothing."""
        return next((r.value for r in self.roles if r.behind), "")

    def has(self, value: str) -> bool:
        """Whether one of its roles is this."""
        return any(role.value == value for role in self.roles)


_GOVERNS = (ABSENT, UNCERTAIN, PRESENT)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the cues say of one mention."""

    value: str
    start: int
    """First word of the cue that says so, if nothing else is in between; else that of the mention."""
    end: int
    """One past the last word, likewise."""
    unchanged: bool = False
    """Whether the cue denies a change: it is there as it was."""


@cache
def cues_lexicon() -> Phrases[Role]:
    """The cues by their phrases."""
    table, made = lexicon("cues"), Phrases[Role]()
    for value in _GOVERNS:
        for place in ("before", "after"):
            made.add_all(table[value].get(place, ()), Role(value, place == "after"))
    made.add_all(table["stable"], Role("stable"))
    made.add_all(table["ends"], Role("ends"))
    for value in ("sentence", "from", "aside", "echo"):
        made.add_all(table["nothing"][value], Role(value))
    return made


@cache
def headings_lexicon() -> Phrases[str]:
    """Headings under which nothing is claimed."""
    made = Phrases[str]()
    made.add_all(lexicon("cues")["nothing"]["headings"], "nothing")
    return made


def cues_of(words: Sequence[str]) -> list[Cue]:
    """The cues of a sentence, from left to right."""
    return [Cue(start, end, roles) for start, end, roles in cues_lexicon().all(words)]


def silenced(words: Sequence[str], cues: Sequence[Cue]) -> list[bool]:
    """Which words speak of something else than what is seen."""
    quiet = [any(cue.has("sentence") for cue in cues)] * len(words)
    for cue in cues:
        if cue.has("from") and not cue.ahead():
            quiet[cue.end :] = [True] * (len(words) - cue.end)
        if cue.has("aside"):
            end = next((n for n in range(cue.end, len(words)) if words[n] == ","), len(words))
            quiet[cue.end : end] = [True] * (end - cue.end)
    return quiet


def rulings(
    tokens: Sequence[Token],
    mentions: Sequence[tuple[int, int]],
    cues: Sequence[Cue],
    modifying: Sequence[bool],
) -> list[Ruling]:
    """What is said of each mention, ``(start, end)`` in words and in order; ``modifying`` tells the words
    that say side, size or course."""
    words = [token.word for token in tokens]
    stops = _stops(words, cues)
    ahead: list[Cue | None] = [None] * len(mentions)
    used: set[int] = set()
    for number, cue in enumerate(cues):
        if cue.ahead():
            for m in _governed(words, cue, mentions, cues, stops, modifying):
                before = ahead[m]
                if before is not None and before.ahead() == ABSENT and _only_suggests(words, before, cue):
                    continue
                ahead[m] = cue
                used.add(number)
    groups = _groups(words, mentions, cues, stops)
    found = []
    for m in range(len(mentions)):
        group = next(group for group in groups if m in group)
        back = _behind(words, group, mentions, cues, stops, used)
        found.append(_ruling(m, mentions, ahead[m], back, _alternatives(words, group, mentions)))
    return found


def _ruling(
    m: int,
    mentions: Sequence[tuple[int, int]],
    ahead: Cue | None,
    back: Cue | None,
    alternatives: bool,
) -> Ruling:
    start, end = mentions[m]
    before = ahead.ahead() if ahead else ""
    after = back.back() if back else ""
    if after in (PRESENT, ABSENT):
        value, cue = after, back
    elif before in (ABSENT, PRESENT):
        value, cue = before, ahead
    elif after == UNCERTAIN:
        value, cue = after, back
    else:
        value, cue = before or (UNCERTAIN if alternatives else PRESENT), ahead
    if cue is not None:
        low, high = min(cue.start, start), max(cue.end, end)
        if not any(n != m and low <= s < high for n, (s, _) in enumerate(mentions)):
            start, end = low, high
    unchanged = PRESENT in (before, after) and value == PRESENT
    return Ruling(value, start, end, unchanged)


def _stops(words: Sequence[str], cues: Sequence[Cue]) -> list[bool]:
    """Where no scope goes beyond: semicolons, brackets, and words such as "but"."""
    found = [word in (";", ":", "(", ")") for word in words]
    for cue in cues:
        if cue.has("ends"):
            found[cue.start] = True
    return found


def _governed(
    words: Sequence[str],
    cue: Cue,
    mentions: Sequence[tuple[int, int]],
    cues: Sequence[Cue],
    stops: Sequence[bool],
    modifying: Sequence[bool],
) -> list[int]:
    """Numbers of the mentions that a cue before them governs."""
    starts = {start: (number, end) for number, (start, end) in enumerate(mentions)}
    inside = {n for start, end in mentions for n in range(start, end)}
    others = {other.start: other for other in cues if other is not cue}
    found: list[int] = []
    at = cue.end
    while at < len(words):
        if at in starts:
            number, end = starts[at]
            if found and not VERBS.isdisjoint(words[at:end]):
                break  # a sentence of its own: "no effusion and the heart is enlarged"
            found.append(number)
            at = end
            continue
        other = others.get(at)
        if stops[at] or (other is not None and other.ahead() and not _passes(words, cue, other, found)):
            break
        if at not in inside and found and words[at] in VERBS:
            break
        if words[at] in (",", "and") and found and not _goes_on(words, at, cue, stops, modifying):
            break
        at += 1
    return found


def _passes(words: Sequence[str], cue: Cue, other: Cue, found: Sequence[int]) -> bool:
    """Whether a cue reaches over another one: a denial over what only suggests."""
    return cue.ahead() == ABSENT and _only_suggests(words, cue, other)


def _only_suggests(words: Sequence[str], denial: Cue, doubt: Cue) -> bool:
    """Whether a doubt is one that the denial before it denies too."""
    return (
        denial.end <= doubt.start
        and doubt.ahead() == UNCERTAIN
        and not _SUGGEST.isdisjoint(words[doubt.start : doubt.end])
        and "," not in words[denial.end : doubt.start]
    )


def _goes_on(
    words: Sequence[str], at: int, cue: Cue, stops: Sequence[bool], modifying: Sequence[bool]
) -> bool:
    """Whether a list that a cue governs goes on behind a comma or an "and"."""
    limit = next((n for n in range(at + 1, len(words)) if stops[n]), len(words))
    rest = words[at + 1 : limit]
    if words[at] == "," and rest[:1] in (["or"], ["nor"]):
        return True
    if words[at] == "," and rest[:1] == ["and"]:
        at, rest = at + 1, rest[1:]
    if words[at] == "and" and rest[:1] == ["or"]:
        return True
    segment = rest[: next((n for n, word in enumerate(rest) if word == ","), len(rest))]
    either = next((n for n, word in enumerate(rest) if word in _EITHER or word == "nor"), None)
    verb = next((n for n, word in enumerate(segment) if word in VERBS), None)
    if verb is not None and (either is None or either > verb) and verb < len(segment) - 2:
        return False
    if cue.ahead() == UNCERTAIN and words[at] == ",":
        return either is not None
    return either is not None or not (at + 1 < len(words) and modifying[at + 1])


def _groups(
    words: Sequence[str],
    mentions: Sequence[tuple[int, int]],
    cues: Sequence[Cue],
    stops: Sequence[bool],
) -> list[list[int]]:
    """Mentions that are told together: "atelectasis, effusion and pneumonia"."""
    heads = {cue.start for cue in cues if cue.ahead() or cue.back()}
    groups: list[list[int]] = []
    for number, (start, _) in enumerate(mentions):
        last = mentions[number - 1][1] if number else 0
        between = range(last, start)
        joined = number > 0 and any(words[n] in _LIST for n in between)
        if joined and not any(n in heads or stops[n] or words[n] in VERBS for n in between):
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _alternatives(words: Sequence[str], group: Sequence[int], mentions: Sequence[tuple[int, int]]) -> bool:
    """Whether a group names alternatives."""
    low, high = mentions[group[0]][1], mentions[group[-1]][0]
    return len(group) > 1 and not _EITHER.isdisjoint(words[low:high])


def _behind(
    words: Sequence[str],
    group: Sequence[int],
    mentions: Sequence[tuple[int, int]],
    cues: Sequence[Cue],
    stops: Sequence[bool],
    used: set[int],
) -> Cue | None:
    """The cue behind a group that speaks of it: before the next mention, and within the clause."""
    start = mentions[group[-1]][1]
    limit = mentions[group[-1] + 1][0] if group[-1] + 1 < len(mentions) else len(words)
    for number, cue in enumerate(cues):
        if cue.start < start:
            continue
        if cue.start >= limit or any(stops[start : cue.start]):
            return None
        if cue.back() and number not in used:
            return cue
    return None
