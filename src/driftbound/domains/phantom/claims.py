"""Reading phantom texts: which findings a free text asserts, denies or leaves open, and where."""

import re
from dataclasses import dataclass

from driftbound.domains.phantom.findings import SIDED
from driftbound.domains.phantom.language import PHRASES
from driftbound.records import Claim, Polarity

_STEP = re.compile(r"[^.;\n]+[.;]?")
_NUMBERING = re.compile(r"^\s*\d+\s*\.\s*$")
_MENTION = re.compile(
    r"\b(?:"
    + "|".join(
        re.escape(phrase)
        for phrase in sorted(
            (p for name, ps in PHRASES.items() if name != "No Finding" for p in ps), key=len
        )[::-1]
    )
    + r")\b"
)
_FINDING = {phrase: name for name, phrases in PHRASES.items() for phrase in phrases}
_NORMAL = re.compile(r"\b(not\s+)?(ab)?normal\b")
_DENIED_BEFORE = re.compile(r"\b(?:no|not|without|neither|nor|free of|negative for|denies)\b")
_DENIED_AFTER = re.compile(r"\b(?:no|not|absent|ruled out)\b")
_OPEN = re.compile(
    r"\b(?:possible|possibly|questionable|unclear|uncertain|may|might|perhaps|equivocal"
    r"|cannot be excluded|hard to rule out|suspected)\b"
)
_ASIDE = re.compile(r"\bno doubt\b")
_SIDE = re.compile(r"\b(left|right|bilateral|both)\b")
_SEPARATOR = re.compile(r",|\band\b|\bor\b|\bnor\b")
_REFUSAL = re.compile(
    r"\bas an ai\b|\bi (?:cannot|can't|can not) (?:interpret|provide|assist|help|read|analy[sz]e|diagnose)\b"
    r"|\b(?:unable|not able) to (?:interpret|provide|assist|help|read|analy[sz]e|diagnose)\b"
)


@dataclass(slots=True)
class _Segment:
    """The part of a step that speaks of one mention."""

    finding: str
    start: int
    mention_start: int
    mention_end: int
    end: int


def is_refusal(text: str) -> bool:
    """Whether the text declines to read the film.

    >>> is_refusal("As an AI I cannot interpret medical images."), is_refusal("Pneumonia cannot be excluded.")
    (True, False)
    """
    return _REFUSAL.search(text.lower()) is not None


def claims(text: str) -> list[Claim]:
    """Presence and side claims in order of the text; spans in code points.

    A step is a sentence or a line of a list. Within a step a negation or a hedge that stands
    before an enumeration holds for all of it.

    >>> [(c.finding, c.value) for c in claims("No fracture or edema. Opacity on the left.")]
    [('Fracture', 'absent'), ('Edema', 'absent'), ('Lung Opacity', 'present'), ('Lung Opacity', 'left')]
    """
    lower = text.lower()
    if len(lower) != len(text):  # a letter whose lower case is longer would shift the spans
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    found: list[Claim] = []
    step = 0
    for match in _STEP.finditer(lower):
        if not match.group().strip() or _NUMBERING.match(match.group()):
            continue
        said = _claims_of_step(lower, match.start(), match.end(), step)
        found.extend(said)
        step += 1
    return found


def _claims_of_step(text: str, start: int, end: int, step: int) -> list[Claim]:
    found: list[Claim] = []
    carried: Polarity | None = None
    for segment in _segments(text, start, end):
        before = _ASIDE.sub(" ", text[segment.start : segment.mention_start])
        after = _ASIDE.sub(" ", text[segment.mention_end : segment.end])
        sides = list(_SIDE.finditer(text, segment.start, segment.end))
        polarity, leads = _polarity(before, after)
        if polarity is None:
            polarity = carried if carried is not None and not sides else Polarity.PRESENT
        carried = polarity if leads or (carried is polarity and not sides) else None
        found.append(
            Claim(
                finding=segment.finding,
                attribute="presence",
                value=str(polarity),
                polarity=polarity,
                start=segment.start,
                end=segment.end,
                step=step,
            )
        )
        if polarity is Polarity.PRESENT and sides and segment.finding in SIDED:
            words = {side.group() for side in sides}
            both = words & {"both", "bilateral"} or {"left", "right"} <= words
            found.append(
                Claim(
                    finding=segment.finding,
                    attribute="side",
                    value="both" if both else sides[0].group(),
                    polarity=Polarity.PRESENT,
                    start=sides[0].start(),
                    end=sides[-1].end(),
                    step=step,
                )
            )
    normal = _NORMAL.search(text, start, end)
    if normal:
        present = (normal.group(1) is None) == (normal.group(2) is None)
        polarity = Polarity.PRESENT if present else Polarity.ABSENT
        found.append(
            Claim(
                finding="No Finding",
                attribute="presence",
                value=str(polarity),
                polarity=polarity,
                start=start,
                end=end,
                step=step,
            )
        )
    return found


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


def _segments(text: str, start: int, end: int) -> list[_Segment]:
    mentions = list(_MENTION.finditer(text, start, end))
    segments: list[_Segment] = []
    for index, mention in enumerate(mentions):
        begin = segments[-1].end if segments else start
        stop = end
        if index + 1 < len(mentions):
            following = mentions[index + 1].start()
            separators = list(_SEPARATOR.finditer(text, mention.end(), following))
            stop = separators[-1].start() if separators else following
        segments.append(_Segment(_FINDING[mention.group()], begin, mention.start(), mention.end(), stop))
    return segments
