"""Groups: the findings of a sentence that are told together, and those that are alternatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from driftbound.domains.chest_xray.clauses import VERBS
from driftbound.domains.chest_xray.cues import Cue

_LIST = frozenset({"and", "or", "nor", ",", "versus", "vs"})
EITHER = frozenset({"or", "versus", "vs"})
_KINDS = frozenset({",", "and", "early", "acute", "chronic", "focal", "old", "recent", "one", "two", "more"})
"""What stands before an "or" between adjectives or numbers: "early or mild edema"."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as the scopes see it."""

    words: Sequence[str]
    places: Sequence[tuple[int, int]]
    """The words of each mention, in order."""
    verbal: Sequence[bool]
    """Whether a mention is a statement of its own ("heart is enlarged")."""
    cues: Sequence[Cue]
    clause: Sequence[int]
    modifying: Sequence[bool]
    """Which words say side, zone, size or course."""
    shadows: Sequence[bool]
    """Whether a mention is an opacity, which others explain."""


def groups(said: Sentence, stops: Sequence[bool]) -> list[list[int]]:
    """Mentions that are told together: "atelectasis, effusion and pneumonia"."""
    words, heads = said.words, {cue.start for cue in said.cues if cue.ahead or cue.back}
    groups: list[list[int]] = []
    for number, (start, _) in enumerate(said.places):
        last = said.places[number - 1][1] if number else 0
        between = range(last, start)
        gap = list(words[last:start])
        shadow = number > 0 and said.shadows[number - 1] and gap[-1:] == [","]
        apposed = shadow and (len(gap) > 1 or _LIST.isdisjoint(words[start:]))
        together = (
            number > 0
            and not apposed
            and (any(words[n] in _LIST for n in between) or _subject(said, number))
            and not said.verbal[number - 1]
            and said.clause[last - 1] == said.clause[start]
            and not any(
                n in heads or (stops[n] and words[n] != "with") or words[n] in VERBS or words[n] == "("
                for n in between
            )
        )
        if together:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _subject(said: Sentence, number: int) -> bool:
    """Whether a mention and the one before it are a subject: "pneumonia with effusion is suspected"."""
    words, (first, last), (start, end) = said.words, said.places[number - 1], said.places[number]
    if "with" not in words[last:start] or any(word in VERBS for word in words[:end]):
        return False
    return first < end < len(words) and words[end] in VERBS


def alternatives(said: Sentence, group: Sequence[int]) -> Sequence[int]:
    """Those of a group that are alternatives to each other; not the opacity that they explain
    ("opacity, atelectasis or pneumonia")."""
    gaps = [said.words[said.places[a][1] : said.places[b][0]] for a, b in pairwise(group)]
    if not any(not EITHER.isdisjoint(gap) for gap in gaps):
        return ()
    apposed = said.shadows[group[0]] and list(gaps[0]) == [","]
    return group[1:] if apposed else group


def beside_or(said: Sentence, m: int) -> bool:
    """Whether a mention is an alternative to something that is no finding: "skin fold or pneumothorax"."""
    words, (start, end) = said.words, said.places[m]
    if end + 1 < len(words) and words[end] in EITHER:
        return not words[end + 1].isdigit()
    at = start - 1
    while at > 0 and (said.modifying[at] or words[at] in ("a", "an", "the", "early", "simply", "merely")):
        at -= 1
    if at < 1 or words[at] not in EITHER:
        return False
    return not said.modifying[at - 1] and words[at - 1] not in _KINDS and not words[at - 1].isdigit()
