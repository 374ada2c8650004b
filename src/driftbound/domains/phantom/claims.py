"""Reading phantom texts: which findings a free text asserts, denies or leaves open, and where."""

import re
from dataclasses import dataclass

from driftbound.domains.phantom.findings import SIDED
from driftbound.domains.phantom.language import PHRASES
from driftbound.records import Claim, Polarity

_STEP = re.compile(r"[^.;\n]+[.;]?")
_NUMBERING = re.compile(r"^\s*\d+\s*\.\s*$")
_SILENT = re.compile(r"\b(?:in general|generally|typically|usually|classically|as a rule)\b|\?\s*\Z")
"""A step that speaks of films as such, or asks: it says nothing of this film."""


def _plural(phrase: str) -> str:
    for ending, plural in (("y", "ies"), ("thorax", "thoraces"), ("sis", "ses"), ("s", "s")):
        if phrase.endswith(ending):
            return phrase.removesuffix(ending) + plural
    return phrase + "s"


_FINDING = {
    form: name
    for name, phrases in PHRASES.items()
    if name != "No Finding"
    for phrase in phrases
    for form in (phrase, _plural(phrase))
}
_MENTION = re.compile(r"\b(?:" + "|".join(map(re.escape, sorted(_FINDING, key=len)[::-1])) + r")\b")
_FILM = r"(?:study|film|radiograph|x-?ray|exam|examination|image|chest)"
_NORMAL = re.compile(
    rf"\b((?:ab)?normal)\s+(?:chest\s+)?{_FILM}\b"
    rf"|\b{_FILM}\W*?(?::|\b(?:is|was|looks|appears|seems)\b)\W*(?:\w+\s+){{0,2}}?((?:ab)?normal)\b"
    r"|\A(?:\W*impression)?\W*((?:ab)?normal)\W*\Z"
)
"""The whole film called normal; a heart of normal size is another matter."""

_ASIDE = re.compile(
    r"\b(?:no|without|beyond)(?: a| any)? (?:doubt|question)\b|\bnot (?:only|just)\b"
    r"|(?:(?<=, )|(?<=\band )|(?<=\bbut ))not (?:on|in) the (?:left|right)\b"
)
"""Words that look like a negation, or a side, of the finding beside them and are none."""
_OPEN = re.compile(
    r"\b(?:possible|possibly|questionable|unclear|uncertain|may|might|could|perhaps|equivocal|suspected"
    r"|probable|probably|likely|unlikely|suspicious for|suspicion of|concerning for|concern for"
    r"|(?:cannot|can't|can’t|can not|not|hard to|difficult to)(?: be)? (?:excluded?|ruled? out))\b"
)
_DENIED_BEFORE = re.compile(r"\b(?:no|not|without|neither|nor|free of|negative for|denies)\b")
_DENIED_AFTER = re.compile(r"^\W*no\b|^[^,]*\b(?:not|absent|ruled out|excluded)\b")
_ASSERTED_AFTER = re.compile(
    r"^\W*(?:is|are|was|were)\s+(?:\w+ly\s+)?(?:present|seen|noted|visible|evident)\b"
)
_OF_SEVERAL = re.compile(r"^\W*(?:are|were)\b")
_SIDE = re.compile(
    r"\b(?:left|right|bilateral(?:ly)?|both(?=\s+(?:sides|lungs|bases|apices|hemithoraces)))\b"
)
_BREAK = re.compile(r":|\b(?:but|with|without|except|while|whereas|however|although|though|yet)\b")
_LINK = re.compile(r",|\b(?:and|or|nor)\b")
_TURN = re.compile(
    r"\s*(?:no|not|without|neither|nor|possible|possibly|probable|questionable|perhaps|likely"
    r"|free of|negative for|cannot)\b"
)
_REFUSAL = re.compile(
    r"\bas an ai\b|\b(?:i (?:cannot|can['’]t|can not)|(?:unable|not able) to)"
    r" (?:interpret|provide|assist|help|read|analy[sz]e|diagnose)\b"
)


@dataclass(slots=True)
class _Segment:
    """The part of a step that speaks of one mention."""

    finding: str
    start: int
    mention_start: int
    mention_end: int
    end: int
    link: str
    """How it hangs on the segment before: ``,``, ``and``, ``or``, ``nor``; empty where it does not."""
    inverse: bool
    """Whether the mention names the opposite of the finding ("abnormal")."""
    sides: list[re.Match[str]]
    after: str = ""
    polarity: Polarity | None = None
    """By words of its own; filled in from its neighbours in an enumeration, then by default."""
    leads: bool = False
    """Whether the cue stands before the mention, where it may hold for what follows."""


def is_refusal(text: str) -> bool:
    """Whether the text declines to read the film.

    >>> is_refusal("As an AI I cannot interpret medical images."), is_refusal("Pneumonia cannot be excluded.")
    (True, False)
    """
    return _REFUSAL.search(text.lower()) is not None


def claims(text: str) -> list[Claim]:
    """Presence and side claims in order of the text; spans in code points.

    A step is a sentence or a line of a list. Within a step a negation or a hedge that stands
    before an enumeration holds for all of it, and one after "a, b and c are" or "a or b" too.
    Questions, and sentences on films in general, claim nothing.

    >>> [(c.finding, c.value) for c in claims("No fracture or edema. Opacity on the left.")]
    [('Fracture', 'absent'), ('Edema', 'absent'), ('Lung Opacity', 'present'), ('Lung Opacity', 'left')]
    """
    lower = text.lower()
    if len(lower) != len(text):  # a letter whose lower case is longer would shift the spans
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    lower = _ASIDE.sub(lambda aside: "_" * len(aside.group()), lower)
    found: list[Claim] = []
    step = 0
    for match in _STEP.finditer(lower):
        if not match.group().strip() or _NUMBERING.match(match.group()):
            continue
        if not _SILENT.search(match.group()):
            for segment in _judged(_segments(lower, match.start(), match.end()), lower):
                found += _claims_of(segment, step)
        step += 1
    return found


def _claims_of(segment: _Segment, step: int) -> list[Claim]:
    polarity = segment.polarity or Polarity.PRESENT
    if segment.inverse and polarity is not Polarity.UNCERTAIN:
        polarity = Polarity.ABSENT if polarity is Polarity.PRESENT else Polarity.PRESENT
    presence = Claim(
        finding=segment.finding,
        attribute="presence",
        value=str(polarity),
        polarity=polarity,
        start=segment.start,
        end=segment.end,
        step=step,
    )
    if polarity is not Polarity.PRESENT or not segment.sides or segment.finding not in SIDED:
        return [presence]
    words = {side.group() for side in segment.sides}
    side = Claim(
        finding=segment.finding,
        attribute="side",
        value=words.pop() if words in ({"left"}, {"right"}) else "both",
        polarity=Polarity.PRESENT,
        start=segment.sides[0].start(),
        end=segment.sides[-1].end(),
        step=step,
    )
    return [presence, side]


def _segments(text: str, start: int, end: int) -> list[_Segment]:
    named = [(_FINDING[m.group()], m.start(), m.end()) for m in _MENTION.finditer(text, start, end)]
    for match in _NORMAL.finditer(text[start:end]):
        first, last = match.span(match.lastindex or 0)
        named.append(("No Finding", start + first, start + last))
    named.sort(key=lambda mention: mention[1])
    segments: list[_Segment] = []
    begin, link = start, ""
    for index, (finding, first, last) in enumerate(named):
        stop, following = end, ""
        if index + 1 < len(named):
            stop, following = _cut(text, last, named[index + 1][1])
        inverse = text.startswith("abnormal", first)
        sides = _sides(text, begin, first, last, stop)
        segments.append(_Segment(finding, begin, first, last, stop, link, inverse, sides))
        begin, link = stop, following
    return segments


def _cut(text: str, start: int, end: int) -> tuple[int, str]:
    """Where, between two mentions, the first one's segment ends, and how the second hangs on it."""
    broken = _BREAK.search(text, start, end)
    if broken:
        return broken.start(), ""
    links = list(_LINK.finditer(text, start, end))
    if not links:
        return end, ""
    turns = [link for link in links if _TURN.match(text, link.end(), end)]
    chosen = turns[0] if turns else links[-1]
    return chosen.start(), chosen.group()


def _sides(text: str, start: int, first: int, last: int, end: int) -> list[re.Match[str]]:
    """Words for sides around a mention; those of an earlier clause give way to those behind it."""
    behind = list(_SIDE.finditer(text, last, end))
    clause = text.rfind(",", start, first) + 1 if behind else 0
    return list(_SIDE.finditer(text, max(start, clause), first)) + behind


def _judged(segments: list[_Segment], text: str) -> list[_Segment]:
    """The segments of a step with their polarities, where they or their neighbours give one."""
    for segment in segments:
        segment.after = text[segment.mention_end : segment.end]
        before = text[segment.start : segment.mention_start]
        segment.polarity, segment.leads = _polarity(before, segment.after)
    own = [segment.polarity is not None for segment in segments]
    for index, segment in enumerate(segments):
        if own[index] and not segment.leads and (segment.link in ("or", "nor") or _several(segment)):
            _spread_back(segments, own, index)
    carried: Polarity | None = None
    for index, segment in enumerate(segments):
        if own[index]:
            carried = segment.polarity if segment.leads and segment.finding != "No Finding" else None
        elif segment.polarity is None and carried is not None and _continues(segments, own, index):
            segment.polarity = carried
        else:
            carried = None
    return segments


def _several(segment: _Segment) -> bool:
    return _OF_SEVERAL.match(segment.after) is not None


def _spread_back(segments: list[_Segment], own: list[bool], index: int) -> None:
    """Give the polarity of the last of an enumeration to its bare members before it."""
    for earlier in range(index - 1, -1, -1):
        bare = not own[earlier] and not segments[earlier].after.strip(" ,*")
        if not bare or not segments[earlier + 1].link or segments[earlier].finding == "No Finding":
            return
        segments[earlier].polarity = segments[index].polarity


def _continues(segments: list[_Segment], own: list[bool], index: int) -> bool:
    """Whether a segment without a cue goes on with the enumeration that it stands in.

    It does up to the last "or"; after a comma or "and" a side or "is seen" begins something new.
    """
    segment = segments[index]
    if segment.finding == "No Finding" or not segment.link:
        return False
    for later, other in enumerate(segments[index:], start=index):
        if own[later] or not other.link:
            break
        if other.link in ("or", "nor"):
            return True
    return not segment.sides and not _ASSERTED_AFTER.match(segment.after)


def _polarity(before: str, after: str) -> tuple[Polarity | None, bool]:
    """Polarity by the words around a mention, and whether its cue stands before it."""
    if _OPEN.search(before):
        return Polarity.UNCERTAIN, True
    if _OPEN.search(after):
        return Polarity.UNCERTAIN, False
    if _DENIED_BEFORE.search(before):
        return Polarity.ABSENT, True
    if _DENIED_AFTER.search(after):
        return Polarity.ABSENT, False
    return None, False
