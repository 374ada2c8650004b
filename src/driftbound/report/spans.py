"""Spans: a text cut into pieces, each coloured by what the teachers together say of its claim."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from driftbound.records import Claim, ClaimStatus, Polarity

LONGEST = 4000
"""Code points of a text that the page shows; the rest is counted."""

MARKS = ("agreement", "settled", "uncertainty", "conflict")
"""From mild to strong: of two claims with the same span the stronger colours it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What the teachers together say of one (finding, attribute) of a case."""

    status: str
    """A ``ClaimStatus``."""
    leading: str
    """The value named most often; empty on a tie or without explicit votes."""
    votes: Mapping[str, str] = field(default_factory=dict)
    """Teacher -> its vote."""


_HIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tab and line ends, and lone surrogates."""

Slots = Mapping[tuple[str, str], Slot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of text with at most one colour."""

    text: str
    mark: str = ""
    """One of ``MARKS``, or empty."""
    tip: str = ""
    """Which claims stand here and who says what of them."""
    about: str = ""
    """Finding and attribute of the claim that colours it."""


def teacher_mark(claim: Claim, slot: Slot | None) -> str:
    """Colour of a teacher's claim.

    Agreement: it says what the teachers agree on. Uncertainty: it hedges, or too few say anything.
    Conflict: the teachers contradict each other, or they agree and this one says something else.
    """
    if slot is None or claim.echo:
        return ""
    if claim.polarity is Polarity.UNCERTAIN or slot.status == ClaimStatus.UNDECIDED:
        return "uncertainty"
    agreed = slot.status == ClaimStatus.AGREED and claim.value == slot.leading
    return "agreement" if agreed else "conflict"


def consensus_mark(claim: Claim, slot: Slot | None) -> str:
    """Colour of a consensus's claim: as a teacher's, but what the teachers left open is ``settled``."""
    if slot is None or claim.echo:
        return ""
    if claim.polarity is Polarity.UNCERTAIN:
        return "uncertainty"
    if slot.status != ClaimStatus.AGREED:
        return "settled"
    return "agreement" if claim.value == slot.leading else "conflict"


def pieces(
    text: str, claims: Sequence[Claim], slots: Slots, mark: Callable[[Claim, Slot | None], str] = teacher_mark
) -> list[Piece]:
    """Cut ``text`` at the ends of its claims' spans (code points); joined, the pieces are the text.

    Where claims overlap the shortest one colours, so that a side inside a sentence stands out;
    white space at the ends of a span stays plain. What cannot be displayed (control characters,
    lone surrogates) is replaced one to one.
    """
    text = displayable(text)
    spans = []
    for claim in claims:
        start, end = max(claim.start, 0), min(claim.end, len(text))
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        colour = mark(claim, slots.get((claim.finding, claim.attribute)))
        if start < end and colour:
            slot = slots[claim.finding, claim.attribute]
            spans.append((start, end, colour, _tip(claim, slot), _about(claim)))
    cuts = sorted({0, len(text), *(s[0] for s in spans), *(s[1] for s in spans)})
    found: list[Piece] = []
    for start, end in pairwise(cuts):
        here = [span for span in spans if span[0] <= start and end <= span[1]]
        here.sort(key=lambda span: (span[1] - span[0], -MARKS.index(span[2])))
        colour = here[0][2] if here else ""
        tip = "; ".join(dict.fromkeys(span[3] for span in here))
        about = here[0][4] if here else ""
        found.append(Piece(text=text[start:end], mark=colour, tip=tip, about=about))
    return found


def shortened(found: Sequence[Piece], longest: int = LONGEST) -> tuple[list[Piece], int]:
    """The first ``longest`` code points of the pieces, and how many are left out."""
    kept: list[Piece] = []
    room = longest
    for piece in found:
        if room > 0:
            kept.append(replace(piece, text=piece.text[:room]))
        room -= len(piece.text)
    return kept, max(-room, 0)


def displayable(text: str) -> str:
    """``text`` with what no page can show replaced by U+FFFD; its length stays."""
    return _HIDDEN.sub("\ufffd", text)


def _tip(claim: Claim, slot: Slot) -> str:
    sides: dict[str, list[str]] = {}
    for teacher, vote in slot.votes.items():
        sides.setdefault(vote, []).append(displayable(teacher))
    said = "; ".join(
        f"{vote} {len(names)}: {', '.join(names)}"
        for vote, names in sorted(sides.items(), key=lambda item: -len(item[1]))
    )
    return f"{_about(claim)}: {claim.value}; teachers {slot.status}" + (f" ({said})" if said else "")


def _about(claim: Claim) -> str:
    return claim.finding if claim.attribute == "presence" else f"{claim.finding}, {claim.attribute}"
