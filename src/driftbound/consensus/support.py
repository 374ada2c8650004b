"""Support: how a text's claims stand to what ``measure`` believes of the case."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from driftbound.records import Belief, Claim, Polarity, Vote
from driftbound.stances import NORMAL, OF_ITSELF, Slot, counted
from driftbound.store.measures import Beliefs

_NO_VALUE = frozenset({str(Vote.UNCERTAIN), str(Vote.OMITTED), str(Vote.REFUSED)})
_LITTLE = 0.5
"""Support below which a claim is named as one that lacks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One claim of a text, held against what is believed."""

    slot: Slot
    value: str
    start: int
    """Span in code points of the text."""
    end: int
    support: float
    """Probability of its value, 0 to 1."""
    contradiction: bool
    """Whether another value is decided."""
    invention: bool
    """Whether no teacher names this value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """A text's claims, what it leaves out, and the one number of both."""

    claims: tuple[Judged, ...]
    omissions: tuple[tuple[Slot, str], ...]
    """Decided slots, with their value, on which the text is silent."""
    score: float
    """0 to 1; ``nan`` where nothing was measured of the case."""

    @property
    def contradictions(self) -> int:
        """Claims against which another value is decided."""
        return sum(claim.contradiction for claim in self.claims)

    @property
    def inventions(self) -> int:
        """Claims whose value no teacher names."""
        return sum(claim.invention for claim in self.claims)


def support_of(claims: Sequence[Claim], beliefs: Beliefs) -> Support:
    """Hold a text's claims against the beliefs of its case.

    Of the claims those that count are looked at (``stances.counted``), one per slot; a side is a slot of its
    own, judged as the side on which the finding would be. With J the judged claims, O the omissions, s the
    support and c = 1 for a contradiction:

        score = sum over J of (1 - c) * s / (|J| + |O|)

    - s is the posterior of the claim's value; where nothing was learnt of the slot, the value's share of the
      explicit votes for it; where nobody votes explicitly, 0. It accounts for the teachers' reliability on
      that kind of claim and for their lineages, as the posterior does.
    - A denial of a finding that nobody speaks of explicitly is the way to say nothing of it (what is omitted
      counts as absent in every score): it is judged by the posterior where there is one, else not at all.
    - Hedges are not judged. They are no omissions either.
    - Omissions are decided slots without a claim. A side counts as omitted only where the text claims the
      finding present, and its absence is not decided.
    - ``No Finding`` follows from the other findings; judging it would count them twice: it is left out.

    Without any belief the score is ``nan``. With beliefs and nothing to judge it is 0.

    >>> votes = {"a": "present"}
    >>> believed = Belief(values={"present": 0.9, "absent": 0.1}, decided="", votes=votes, wrong={})
    >>> edema = Claim(finding="Edema", attribute="presence", value="present", polarity=Polarity.PRESENT,
    ...               start=0, end=5, step=0)
    >>> support_of([edema], {("Edema", "presence"): believed}).score
    0.9
    """
    said = {slot: claim for slot, claim in counted(claims).items() if slot[0] != NORMAL}
    judged = [
        each
        for slot, claim in said.items()
        if claim.polarity is not Polarity.UNCERTAIN
        and (each := _judged(slot, claim, beliefs.get(slot))) is not None
    ]
    omitted = tuple(
        (slot, belief.decided)
        for slot, belief in beliefs.items()
        if belief.decided and slot[0] != NORMAL and slot not in said and _due(slot, said, beliefs)
    )
    n = len(judged) + len(omitted)
    total = math.fsum(claim.support for claim in judged if not claim.contradiction)
    score = total / n if n else 0.0
    return Support(claims=tuple(judged), omissions=omitted, score=score if beliefs else math.nan)


def explicit(belief: Belief) -> Counter[str]:
    """Votes that name a value, by value."""
    return Counter(vote for vote in belief.votes.values() if vote not in _NO_VALUE)


def probability(belief: Belief, value: str) -> float:
    """Posterior of a value, or its share of the explicit votes where nothing was learnt; 0 without any."""
    if belief.values:
        return belief.values.get(value, 0.0)
    votes = explicit(belief)
    return votes[value] / votes.total() if votes else 0.0


def lacking(support: Support) -> list[str]:
    """What a text lacks, a few words each: what it contradicts, invents, leaves out, or says unsupported."""
    found = []
    for claim in support.claims:
        told = _told(claim.slot, claim.value)
        if claim.contradiction:
            found.append(f"contradicted is {told}")
        elif claim.invention:
            found.append(f"nobody says {told}")
        elif claim.support < _LITTLE:
            found.append(f"little speaks for {told}")
    return found + [f"left out is {_told(slot, value)}" for slot, value in support.omissions]


def _told(slot: Slot, value: str) -> str:
    return f"{slot[0]} {value}" if slot[1] in OF_ITSELF else f"{slot[0]} {slot[1]} {value}"


def _judged(slot: Slot, claim: Claim, belief: Belief | None) -> Judged | None:
    votes = Counter[str]() if belief is None else explicit(belief)
    denial = slot[1] == "presence" and claim.polarity is Polarity.ABSENT
    if not votes and denial and not (belief is not None and belief.values):
        return None
    return Judged(
        slot=slot,
        value=claim.value,
        start=claim.start,
        end=claim.end,
        support=probability(belief, claim.value) if belief is not None else 0.0,
        contradiction=belief is not None and belief.decided not in ("", claim.value),
        invention=not votes[claim.value] and not (denial and not votes),
    )


def _due(slot: Slot, said: dict[Slot, Claim], beliefs: Beliefs) -> bool:
    """Whether a text that claims nothing of a decided slot leaves something out."""
    if slot[1] in OF_ITSELF:
        return True
    presence, believed = said.get((slot[0], "presence")), beliefs.get((slot[0], "presence"))
    claimed = presence is not None and presence.polarity is Polarity.PRESENT
    return claimed and (believed is None or believed.decided != "absent")
