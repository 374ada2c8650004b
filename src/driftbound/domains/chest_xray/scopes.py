"""Scopes: what the cues of a sentence deny or doubt, mention by mention."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftbound.domains.chest_xray.clauses import BEING, VERBS
from driftbound.domains.chest_xray.cues import ABSENT, PRESENT, UNCERTAIN, Cue
from driftbound.domains.chest_xray.groups import EITHER, Sentence, alternatives, beside_or, groups

_SUGGEST = frozenset(
    {"suggest", "suggests", "suggesting", "suggestive", "suggested", "concerning", "suspicious", "worrisome",
     "indicative", "indicate", "concern", "suspicion", "compatible", "consistent", "convincing", "represent",
     "support", "possible", "diagnosis"}
)  # fmt: skip
"""Doubts that a denial before them denies too: "no opacity to suggest pneumonia"."""
_NOT_GOVERNED = frozenset({",", "and", ")", "over", "because", "given", "although", "in", "at", "on", "as"})
"""Words behind a cue that speaks of what stands before it, and not of what follows."""
_SHOWING = frozenset({"shows", "show", "demonstrates", "demonstrate", "reveals", "showing"})
_ADVERBS = frozenset({"likely", "probably", "possibly", "presumably", "perhaps"})
_GONE = frozenset({"removed", "resolved", "cleared", "disappeared", "gone", "withdrawn"})
_QUALITIES = frozenset({"chronic", "old", "acute", "accentuated", "exaggerated", "technical", "positional"})
_BEHIND_ADVERBS = frozenset(
    {",", "(", ")", "and", "but", "in", "at", "on", "given", "because", "present", "there", "here", "too",
     "as", "although", "though", "with", "considering", "based", "dash", "since", "underlying",
     "superimposed"}
)  # fmt: skip
"""What may follow a doubt such as "likely" that is about the finding before it."""


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
    explains: int = -1
    """The first word of the cue by which it explains what stands before it; -1: it explains nothing."""


def rulings(said: Sentence) -> list[Ruling]:
    """What is said of each mention."""
    places = said.places
    stops = _stops(said)
    ahead: list[Cue | None] = [None] * len(places)
    used: set[int] = set()
    for number, cue in enumerate(said.cues):
        if not cue.ahead:
            continue
        for m in _governed(said, cue, stops):
            before = ahead[m]
            if before is not None and before.ahead == ABSENT and _only_suggests(said.words, before, cue):
                continue
            ahead[m] = cue
            used.add(number)
    found: list[Ruling] = []
    for group in groups(said, stops):
        back = _behind(said, group, used)
        doubted = alternatives(said, group)
        for m in group:
            alone = beside_or(said, m)
            found.append(_ruling(said, m, ahead[m], back, m in doubted or alone))
    return found


def _ruling(said: Sentence, m: int, ahead: Cue | None, back: Cue | None, alternatives: bool) -> Ruling:
    places = said.places
    start, end = places[m]
    before = ahead.ahead if ahead else ""
    after = back.back if back else ""
    if after in (PRESENT, ABSENT) or (after == UNCERTAIN and _of_absence(said, m, ahead, back)):
        value, cue = after, back
    elif before in (ABSENT, PRESENT):
        value, cue = before, ahead
    elif after == UNCERTAIN:
        value, cue = after, back
    else:
        value, cue = before or (UNCERTAIN if alternatives else PRESENT), ahead
    if cue is not None:
        low, high = min(cue.start, start), max(cue.end, end)
        if not any(n != m and low <= s < high for n, (s, _) in enumerate(places)):
            start, end = low, high
    unchanged = value == PRESENT and cue is not None and "affirmed" not in cue.values
    explains = ahead.start if ahead is not None and before == UNCERTAIN and ahead.explains else -1
    return Ruling(value, start, end, unchanged, explains)


def _of_absence(said: Sentence, m: int, ahead: Cue | None, back: Cue | None) -> bool:
    """Whether it is an absence that is doubted: "the absence of pneumothorax cannot be assured"."""
    if ahead is None or back is None or back.start != said.places[m][1]:
        return False
    return "absence" in said.words[ahead.start : ahead.end]


def _stops(said: Sentence) -> list[bool]:
    """Where no scope of a cue before it goes on: colons, dashes, and words such as "with"."""
    found = [word in (":", "dash") for word in said.words]
    for cue in said.cues:
        if "ends" in cue.values or "parts" in cue.values:
            found[cue.start] = True
    return found


def _governed(said: Sentence, cue: Cue, stops: Sequence[bool]) -> list[int]:
    """Numbers of the mentions that a cue before them governs."""
    words = said.words
    starts = {start: (number, end) for number, (start, end) in enumerate(said.places)}
    others = {other.start: other for other in said.cues if other is not cue}
    found: list[int] = []
    at, clause, depth = cue.end, said.clause[cue.end - 1], 0
    at = next((start for start, end in said.places if cue.start < start < at < end), at)
    spoken = any(end <= cue.start and said.clause[start] == clause for start, end in said.places)
    if spoken and cue.back and words[at : at + 1] and words[at] in _NOT_GOVERNED:
        return []
    while at < len(words):
        if said.clause[at] != clause:
            break
        if at in starts:
            number, end = starts[at]
            if found and said.verbal[number]:
                break  # a statement of its own: "no effusion and the heart is enlarged"
            found.append(number)
            at = end
            continue
        word = words[at]
        depth += (word == "(") - (word == ")")
        if depth < 0 or (word == "(" and found):
            break
        other = others.get(at)
        layered = word == "superimposed" and cue.ahead == UNCERTAIN
        layered |= word == "there" and not found
        if stops[at] and not layered and (found or not _open(words, at, cue)):
            break
        if other is not None and other.ahead:
            if cue.ahead != ABSENT or not _only_suggests(words, cue, other):
                break
            at = other.end
            continue
        if word in VERBS and (found or (spoken and cue.ahead == UNCERTAIN and word in BEING)):
            break
        if (
            word == ","
            and not found
            and cue.ahead == ABSENT
            and (at == cue.end or words[cue.start] == "without")
        ):
            break
        if word in (",", "and") and found and not _goes_on(said, at, cue, stops):
            break
        at += 1
    return found


def _open(words: Sequence[str], at: int, cue: Cue) -> bool:
    """Whether a denial without a finding yet goes on over a verb: "neither lung shows a nodule"."""
    return words[at] in _SHOWING


def _only_suggests(words: Sequence[str], denial: Cue, doubt: Cue) -> bool:
    """Whether a doubt is one that the denial before it denies too."""
    return (
        denial.end <= doubt.start
        and doubt.ahead == UNCERTAIN
        and not _SUGGEST.isdisjoint(words[doubt.start : doubt.end])
        and "," not in words[denial.end : doubt.start]
    )


def _goes_on(said: Sentence, at: int, cue: Cue, stops: Sequence[bool]) -> bool:
    """Whether a list that a cue governs goes on behind a comma or an "and"."""
    words = said.words
    limit = next(
        (n for n in range(at + 1, len(words)) if stops[n] or said.clause[n] != said.clause[at]), len(words)
    )
    rest = words[at + 1 : limit]
    if cue.lists:
        return True
    if words[at] == "," and rest[:1] in (["or"], ["nor"], ["versus"]):
        return True
    comma = words[at] == ","
    if comma and rest[:1] == ["and"]:
        at, rest = at + 1, rest[1:]
    if words[at] == "and" and rest[:1] == ["or"]:
        return True
    either = any(word in EITHER or word == "nor" for word in rest)
    if cue.ahead == UNCERTAIN and comma:
        return either
    if either or not rest:
        return True
    first = at + 1 + (rest[0] in ("a", "an", "the"))
    own = first < len(words) and said.modifying[first]
    return not own and not (rest[0] in ("a", "an") and words[cue.start] == "no")


def _of_a_verb(words: Sequence[str], cue: Cue) -> bool:
    """Whether a doubt is about what a finding does, not about the finding: "likely ends in the stomach"."""
    word = words[cue.end] if cue.end < len(words) else ","
    adverb = words[cue.end - 1] in _ADVERBS and word not in _BEHIND_ADVERBS
    quality = words[cue.end - 1] == "be" and word in _QUALITIES
    return cue.back == UNCERTAIN and (adverb or quality or (word in VERBS and word not in BEING))


def _past_relative(words: Sequence[str], start: int, end: int) -> int:
    """Where what stands behind a mention goes on after a relative clause: "effusion, which ..., is small"."""
    if end < start + 2 or words[start] != "," or words[start + 1] not in ("which", "that", "who"):
        return start
    return next((n for n in range(end - 1, start + 1, -1) if words[n] == ","), start)


def _behind(said: Sentence, group: Sequence[int], used: set[int]) -> Cue | None:
    """The cue behind a group that speaks of it: before the next mention, with no other verb in between."""
    words, last = said.words, group[-1]
    start = said.places[last][1]
    limit = said.places[last + 1][0] if last + 1 < len(said.places) else len(words)
    for number, cue in enumerate(said.cues):
        if cue.start < start:
            continue
        relative = words[cue.start] in ("which", "that") and cue.start <= start + 1 and not cue.back
        after = words[cue.end : cue.end + 4]
        if relative and after[:1] in (["has"], ["have"]) and not _GONE.isdisjoint(after):
            continue  # "the line, which has been removed"
        between = range(_past_relative(words, start, cue.start), cue.start)
        if cue.start >= limit or said.clause[cue.start] != said.clause[start - 1]:
            return None
        if not cue.back and "ends" not in cue.values:
            continue
        if words[cue.start] != "if" and any(words[n] in VERBS or words[n] == ":" for n in between):
            return None
        if (
            cue.back
            and (number not in used or words[cue.end - 1] in ("over", "than"))
            and not _of_a_verb(words, cue)
        ):
            return cue
        if "ends" in cue.values:
            return None
    return None
