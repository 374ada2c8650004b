"""Readings: the words of a passage that are read together, with what its headings lend them or silence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from driftbound.domains.chest_xray.clauses import VERBS
from driftbound.domains.chest_xray.cues import ABSENT, UNCERTAIN, cues_of, headings_lexicon
from driftbound.domains.chest_xray.mentions import Mention, mentions_of
from driftbound.domains.chest_xray.modifiers import modifiers_of
from driftbound.domains.chest_xray.passages import Passage
from driftbound.domains.chest_xray.words import Token

NOTHING = "nothing"
_YES = frozenset(
    {"yes", "present", "seen", "noted", "evident", "visible", "identified", "positive", "confirmed",
     "observed", "there", "visualized", "detected", "demonstrated", "suggested", "likely", "possible"}
)  # fmt: skip
"""Words by which a sentence without a finding speaks of its heading's."""
_ANSWERS = frozenset(
    {"yes", "no", "present", "absent", "uncertain", "possible", "likely", "none", "negative"}
)
_AFTER_ANSWER = frozenset({",", "(", "dash", "."})
_PERSON = frozenset(
    {"patient", "he", "she", "year", "yo", "who", "man", "woman", "male", "female", "suspected", "concern",
     "evaluate", "assess", "rule", "known", "history"}
)  # fmt: skip
"""Words of sentences that tell a history, not a film."""
_ADVICE = frozenset(
    {"recommendation", "recommendations", "recommended", "suggested", "next", "follow", "advice", "plan",
     "management", "disclaimer", "caveat", "limitations", "definition", "definitions", "background"}
)  # fmt: skip


@dataclass(slots=True)
class Reading:
    """Words that are read together."""

    tokens: Sequence[Token]
    mentions: list[Mention]
    number: int
    """Of the passage."""
    lent: dict[str, str] = field(default_factory=dict)
    """Side and zone that the headings lend."""
    possible: bool = False
    """Whether it stands under a heading of possibilities."""
    of_heading: int = 0
    """So many words in front are a heading's, and the rest speaks of it; 0: none are."""


def readings(listed: Sequence[Passage]) -> Iterator[Reading]:
    """What there is to read in the passages of a text, in order."""
    begun: set[int] = set()
    speaking: set[int] = set()
    spoken: set[int] = set()
    known: dict[tuple[int, int], dict[str, str]] = {}  # what headings lend: a paragraph has the same
    for passage in listed:
        if passage.asks:
            continue
        headings = id(passage.heading), id(passage.above)
        heading = passage.heading or passage.above
        kind = _kind(heading)
        if kind == NOTHING and id(heading) not in speaking:
            first = id(heading) not in begun
            begun.add(id(heading))
            if first or not _describes(heading, passage.tokens):
                continue
            speaking.add(id(heading))
        for reading in _of(passage, spoken):
            if headings not in known:
                known[headings] = _lent(passage)
            reading.lent = known[headings]
            reading.possible = UNCERTAIN in (kind, _kind(passage.above))
            yield reading


def _kind(heading: Sequence[Token]) -> str:
    """What a heading makes of the sentences under it; empty: nothing special."""
    if not heading:
        return ""
    words = [token.word for token in heading]
    found = headings_lexicon().at(words, 0)[1]
    return found[0] if found else ""


def _describes(heading: Sequence[Token], tokens: Sequence[Token]) -> bool:
    """Whether a later sentence under a heading such as HISTORY describes the film nevertheless."""
    words = {token.word for token in tokens}
    if heading[0].word in _ADVICE or words & _PERSON:
        return False
    return tokens[0].word in ("no", "there", "lungs") or not VERBS.isdisjoint(words)


def _of(passage: Passage, spoken: set[int]) -> Iterator[Reading]:
    """A sentence, with its heading where it speaks of that; or both apart."""
    tokens, number = passage.tokens, passage.number
    if passage.first and passage.heading and _is_statement(passage.heading, tokens):
        colon = Token(":", passage.heading[-1].end, passage.heading[-1].end + 1)
        tokens = [*passage.heading, colon, *tokens]
        yield Reading(tokens, mentions_of([token.word for token in tokens]), number)
        return
    mentions = mentions_of([token.word for token in tokens])
    if mentions:
        if passage.first and len(passage.heading) > 1 and passage.heading[-1].word in _ANSWERS:
            own = mentions_of([token.word for token in passage.heading])
            if own:
                yield Reading(passage.heading, own, number)
        answers = len(tokens) > 1 and tokens[0].word in _ANSWERS and tokens[1].word in _AFTER_ANSWER
        if answers and passage.first and passage.heading:
            named = mentions_of([token.word for token in passage.heading])
            if named:
                yield Reading([*passage.heading, tokens[0]], named, number, of_heading=len(passage.heading))
                mentions = mentions_of(["", *[token.word for token in tokens[1:]]])
        yield Reading(tokens, mentions, number)
        return
    headings = [passage.heading] if passage.first else []
    for heading in headings or ([passage.above] if not passage.heading else []):
        if not heading or id(heading) in spoken:
            continue
        words = [token.word for token in (*heading, *tokens)]
        whole = mentions_of(words)
        if not whole:
            continue
        crossing = any(mention.end > len(heading) for mention in whole)
        if crossing or _speaks(words[len(heading) :]):
            spoken.add(id(heading))
            of_heading = 0 if crossing else len(heading)
            yield Reading([*heading, *tokens], whole, number, of_heading=of_heading)
        return


def _is_statement(heading: Sequence[Token], tokens: Sequence[Token]) -> bool:
    """Whether a heading says more of a finding than its name, and what follows does not deny it: "left basal
    opacity: atelectasis or pneumonia"."""
    words = [token.word for token in heading]
    named = mentions_of(words)
    if words[0] == "evidence":
        return False
    if any(cue.ahead and any(cue.end <= one.start for one in named) for cue in cues_of(words)):
        return True
    if not modifiers_of(words) or not named:
        return False
    return not any(cue.ahead == ABSENT or cue.back == ABSENT for cue in cues_of([t.word for t in tokens]))


def _speaks(words: Sequence[str]) -> bool:
    """Whether a sentence that names no finding says something of its heading's."""
    cued = any(cue.ahead or cue.back for cue in cues_of(words))
    return cued or not _YES.isdisjoint(words) or bool(modifiers_of(words))


def _lent(passage: Passage) -> dict[str, str]:
    """Side and zone that the headings lend; the nearer heading first."""
    lent: dict[str, str] = {}
    for heading in (passage.heading, passage.above):
        if not heading:
            continue
        said = modifiers_of([token.word for token in heading])
        for name in ("side", "zone"):
            values = list(dict.fromkeys(each.value for each in said if each.attribute == name))
            if values and name not in lent:
                lent[name] = values[0] if len(values) == 1 else "both" if name == "side" else ""
    return {name: value for name, value in lent.items() if value}
