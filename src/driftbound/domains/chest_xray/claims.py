"""Claims: what a report or a rationale asserts of the 14 findings (docs/chest-xray-claims.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from driftbound.domains.chest_xray.clauses import VERBS, clauses
from driftbound.domains.chest_xray.cues import ABSENT, PRESENT, UNCERTAIN, Cue, cues_of, silenced
from driftbound.domains.chest_xray.definitions import defines
from driftbound.domains.chest_xray.explained import explained
from driftbound.domains.chest_xray.following import joined
from driftbound.domains.chest_xray.groups import Sentence
from driftbound.domains.chest_xray.mentions import DENIED, DEVICES, NOT, SIGN, Mention
from driftbound.domains.chest_xray.modifiers import ATTRIBUTES, Modifier, modifiers_of, shared_out
from driftbound.domains.chest_xray.places import Values, told
from driftbound.domains.chest_xray.readings import Reading, readings
from driftbound.domains.chest_xray.scopes import Ruling, rulings
from driftbound.records import Claim, Polarity

NO_FINDING = "No Finding"
_WITHOUT_PLACE = frozenset({"Cardiomegaly", "Enlarged Cardiomediastinum", NO_FINDING})
_WITHOUT_ZONE = frozenset({"Fracture", DEVICES})
_UNSAID = {"Fracture": ("subtle",), "Lung Lesion": ("subtle",), "Cardiomegaly": ("large",)}
"""Words that are no size of such a finding: a large heart is an enlarged one."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of one mention."""

    mention: Mention
    value: str
    ruling: Ruling
    told: Sequence[Values]


def claims(text: str) -> list[Claim]:
    """What a text asserts, in order of the text; spans are code points.

    >>> [(c.finding, c.attribute, c.value) for c in claims("Small left pleural effusion. No edema.")][:2]
    [('Pleural Effusion', 'presence', 'present'), ('Pleural Effusion', 'side', 'left')]
    """
    return [claim for reading in readings(joined(text)) for claim in _of(reading)]


def _of(reading: Reading) -> Iterator[Claim]:
    words = [token.word for token in reading.tokens]
    cues = cues_of(words)
    quiet = silenced(words, cues)
    mentions = [mention for mention in reading.mentions if not quiet[mention.start]]
    if all(mention.kind == NOT for mention in mentions) or defines(words, reading.mentions):
        return
    echo = any("echo" in cue.values for cue in cues)
    for said in _judged(words, mentions, cues, quiet, reading):
        yield from _claims(said, reading, echo)


def _judged(
    words: Sequence[str],
    mentions: Sequence[Mention],
    cues: Sequence[Cue],
    quiet: Sequence[bool],
    reading: Reading,
) -> Iterator[_Said]:
    places = sorted({(mention.start, mention.end) for mention in mentions})
    verbal = [not VERBS.isdisjoint(words[start:end]) for start, end in places]
    modifiers = _modifiers(words, cues, quiet)
    clause = clauses(words, places, cues, modifiers)
    modifying = [False] * len(words)
    for modifier in modifiers:
        modifying[modifier.start : modifier.end] = [True] * (modifier.end - modifier.start)
    opaque = {(each.start, each.end) for each in mentions if each.finding == "Lung Opacity"}
    shadows = [place in opaque for place in places]
    sentence = Sentence(words, places, verbal, cues, clause, modifying, shadows)
    at = {place: n for n, place in enumerate(places)}
    ruled = rulings(sentence)
    shared = shared_out(words, places, modifiers, clause, cues)
    numbers = [at[mention.start, mention.end] for mention in mentions]
    own = [list(shared[n]) for n in numbers]
    for mention, n, mine in zip(mentions, numbers, own, strict=True):
        if mention.finding == DEVICES and n:
            mine[:] = [each for each in mine if each.attribute != "side" or each.end > places[n - 1][1]]
    explained(words, mentions, [ruled[n] for n in numbers], own)
    for mention, n, mine in zip(mentions, numbers, own, strict=True):
        if mention.kind == NOT:
            continue
        value = _value(mention, ruled[n], cues, reading)
        if value == ABSENT and mention.finding == DEVICES and _of_its_tip(words, mention, ruled[n]):
            value = PRESENT
        if value:
            yield _Said(mention, value, ruled[n], told(words, _fitting(words, mention, mine), places[n]))


def _of_its_tip(words: Sequence[str], mention: Mention, ruling: Ruling) -> bool:
    """Whether only the tip of a tube is denied: "tip of the NG tube not seen"."""
    return ruling.end > mention.end and "tip" in words[max(0, mention.start - 3) : mention.end + 1]


def _modifiers(words: Sequence[str], cues: Sequence[Cue], quiet: Sequence[bool]) -> list[Modifier]:
    """The modifiers of a sentence: not those inside a cue; and denials of a change, which are a course."""
    cued = {n for cue in cues for n in range(cue.start, cue.end) if "affirmed" not in cue.values}
    cued |= {n for cue in cues if cue.ahead == ABSENT for n in _contrary(words, cue)}
    found = [
        each
        for each in modifiers_of(words)
        if (each.end - 1 if each.attribute == "side" else each.start) not in cued and not quiet[each.start]
    ]
    return found + [
        Modifier("course", "stable", cue.start, cue.end)
        for cue in cues
        if "stable" in cue.values and not cue.ahead and not quiet[cue.start]
    ]


def _contrary(words: Sequence[str], cue: Cue) -> range:
    """The words of a place that a denial denies: "on the left, not on the right"."""
    at = cue.end
    return range(at, at + 3) if words[at : at + 1] and words[at] in ("on", "in", "at") else range(0)


def _fitting(words: Sequence[str], mention: Mention, own: Sequence[Modifier]) -> list[Modifier]:
    """The modifiers that can be said of such a finding."""
    barred: set[str] = set()
    if mention.finding in _WITHOUT_PLACE:
        barred = {"side", "zone"}
    elif mention.finding in _WITHOUT_ZONE:
        barred = {"zone"} | ({"severity"} if mention.finding == DEVICES else set())
    elif mention.kind == SIGN and mention.finding == "Atelectasis":
        barred = {"severity"}  # how far a hemidiaphragm is raised
    unsaid = _UNSAID.get(mention.finding, ())
    return [each for each in own if each.attribute not in barred and words[each.start] not in unsaid]


def _value(mention: Mention, ruling: Ruling, cues: Sequence[Cue], reading: Reading) -> str:
    """What a mention claims; empty: nothing."""
    value = ruling.value
    if mention.end <= reading.of_heading and value == PRESENT and ruling.start == mention.start:
        free = (cue.ahead or cue.back for cue in cues if cue.start >= reading.of_heading)
        value = next((said for said in free if said in (ABSENT, UNCERTAIN)), value)
    if value == PRESENT and reading.possible:
        value = UNCERTAIN
    if mention.finding == NO_FINDING and "side" in reading.lent:
        return ""  # nothing is found on one side
    if mention.kind == DENIED:
        if value != ABSENT:
            return ""
        return PRESENT if mention.finding == NO_FINDING else ABSENT
    if mention.value:
        return mention.value
    if value == PRESENT and any(
        cue.ahead == UNCERTAIN and mention.start < cue.start and cue.end <= mention.end for cue in cues
    ):
        return UNCERTAIN
    if mention.kind == SIGN and value == PRESENT:
        return UNCERTAIN
    return value


def _claims(said: _Said, reading: Reading, echo: bool) -> Iterator[Claim]:
    """The claim of presence and, unless it is absent, those of side, zone, severity, course and device; once
    for each place."""
    mention, tokens = said.mention, reading.tokens
    start, end = tokens[said.ruling.start].start, tokens[said.ruling.end - 1].end
    place = tokens[mention.start].start, tokens[mention.end - 1].end

    def claim(attribute: str, value: str, span: tuple[int, int], polarity: Polarity) -> Claim:
        return Claim(
            finding=mention.finding,
            attribute=attribute,
            value=value,
            polarity=polarity,
            start=span[0],
            end=span[1],
            step=reading.number,
            echo=echo,
        )

    bare = said.value == ABSENT or mention.finding == NO_FINDING
    for values in said.told[:1] if bare else said.told:
        yield claim("presence", said.value, (start, end), Polarity(said.value))
        if bare:
            continue
        lent = {} if mention.finding in _WITHOUT_PLACE else dict(reading.lent)
        if "side" in values or "zone" in values or mention.finding in _WITHOUT_ZONE:
            lent.pop("zone", None)
        for attribute in ATTRIBUTES:
            modifier = values.get(attribute)
            if attribute == "course" and said.ruling.unchanged:
                yield claim("course", "stable", (start, end), Polarity.PRESENT)
            elif modifier is not None:
                span = tokens[modifier.start].start, tokens[modifier.end - 1].end
                yield claim(attribute, modifier.value, span, Polarity.PRESENT)
            elif attribute in lent:
                yield claim(attribute, lent[attribute], place, Polarity.PRESENT)
        if mention.device:
            yield claim("device", mention.device, place, Polarity.PRESENT)
