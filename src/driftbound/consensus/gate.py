"""The gate: which synthesized texts may be a consensus, which of them is the best, and why others may not."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from driftbound.consensus.support import Support, lacking, support_of
from driftbound.protocols import Domain
from driftbound.store.measures import Beliefs

NO_ANSWER = "no usable answer"
ONE_ANSWER = "one usable answer"
NOTHING_DECIDED = "nothing decided"
_LOW = re.compile(r"support [\d.]+ below ")
_SHOWN = 4
"""So many lacks are told in a reason; the tables have all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A text that wants to be a case's consensus, judged."""

    number: int
    """0 is the greedy one."""
    refined: bool
    text: str
    ended: bool
    note: str
    """What the writer or the context has to say: a digest, or why there is no text."""
    support: Support
    reason: str
    """Why its form bars it, whatever its support; empty where it does not."""


def reason_to_reject(domain: Domain, text: str, *, ended: bool) -> str:
    """Why a synthesized text cannot serve by its form; empty when it can.

    What is rejected is kept with its reason, never repaired.
    """
    if not text.strip():
        return "empty"
    if not ended:
        return "truncated"
    if domain.is_refusal(text):
        return "refusing"
    if domain.mentions_sources(text):
        return "mentions its sources"
    if not domain.claims(text):
        return "no claim in it"
    return ""


def judged(
    domain: Domain,
    text: str,
    beliefs: Beliefs,
    *,
    ended: bool,
    number: int = 0,
    refined: bool = False,
    note: str = "",
    originals: Mapping[str, str] | None = None,
) -> Candidate:
    """A text with its support and what its form says.

    ``originals`` are the teachers' usable texts by name, which a written candidate must not repeat word for
    word (white space aside); ``None`` for texts that are rendered, or a teacher's by intention.
    """
    reason = reason_to_reject(domain, text, ended=ended)
    if reason == "empty" and note:
        reason = f"nothing written: {note}"
    if not reason:
        copied = next((u for u, told in (originals or {}).items() if _plain(told) == _plain(text)), "")
        reason = f"copies {copied}" if copied else ""
    support = support_of(domain.claims(text) if text.strip() else [], beliefs)
    return Candidate(
        number=number, refined=refined, text=text, ended=ended, note=note, support=support, reason=reason
    )


def best(candidates: Sequence[Candidate]) -> int:
    """Place of the candidate with the highest score among those of good form; ties: the first.

    Where none has good form: the first of all. At least one must be given.
    """
    places = [place for place, each in enumerate(candidates) if not each.reason]
    return max(places, key=lambda place: _score(candidates[place]), default=0)


def verdict(candidate: Candidate, threshold: float) -> str:
    """Why a candidate may not be the consensus; empty where it may.

    By its form, or as its score is below ``threshold``; where nothing was measured, by its form alone.
    """
    score = candidate.support.score
    if candidate.reason or math.isnan(score) or score >= threshold:
        return candidate.reason
    lacks = lacking(candidate.support)
    more = [f"{len(lacks) - _SHOWN} more"] if len(lacks) > _SHOWN else []
    told = ", ".join([*lacks[:_SHOWN], *more]) or "no claim to judge"
    places = next((n for n in range(2, 16) if _down(score, n) < round(threshold, n)), 16)
    return f"support {_down(score, places):.{places}f} below {threshold:.{places}f}: {told}"


def _down(score: float, places: int) -> float:
    """Rounded, but never up to the threshold that it misses.

    >>> _down(0.29, 2), _down(0.2999, 2)
    (0.29, 0.29)
    """
    scale = 10.0**places
    return math.floor(round(score * scale, 9)) / scale


def kind_of(reason: str) -> str:
    """The kind of a reason, for counting.

    >>> kind_of("support 0.41 below 0.50: left out is Edema present"), kind_of("copies gpt-5")
    ('low support', 'copies a teacher')
    """
    if _LOW.match(reason):
        return "low support"
    if reason.startswith("copies "):
        return "copies a teacher"
    return reason.partition(":")[0]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _score(candidate: Candidate) -> float:
    score = candidate.support.score
    return 0.0 if math.isnan(score) else score
