"""Votes: how each teacher stands on each slot, as numbers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftbound.records import Claim, Polarity, Status, Trajectory
from driftbound.stances import OF_ITSELF, Slot, counted, slots_told

PRESENCE = ("absent", "present")
"""Explicit values of a presence; those of another attribute are known or found, see ``values_of``."""
NO_VOTE, UNCERTAIN, OMITTED, REFUSED = -1, -2, -3, -4
"""Codes of ``Votes.codes`` that agree and conflict with nothing. ``NO_VOTE``: a teacher that was not asked,
failed or answered nothing has no stand at all."""
_WORDS = {UNCERTAIN: "uncertain", OMITTED: "omitted", REFUSED: "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A trajectory as it was read."""

    status: Status
    counted: Mapping[Slot, Claim]
    """The claim that counts, per slot."""
    places: Mapping[Slot, tuple[int, int]]
    """Where in the answer it stands: place i of m, from 0; see ``read``."""
    told: frozenset[Slot] = frozenset()
    """Slots that this answer's prompt gave away: it has no stand there, not even by omission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """The stand of T teachers on A slots of n cases."""

    case_ids: tuple[str, ...]
    teachers: tuple[str, ...]
    slots: tuple[Slot, ...]
    values: tuple[tuple[str, ...], ...]
    """Explicit values of each slot."""
    codes: NDArray[np.int16]
    """(n, T, A) index into the slot's ``values``, or ``NO_VOTE``, ``UNCERTAIN``, ``OMITTED``, ``REFUSED``."""
    parts: NDArray[np.int16]
    """(n, T, A) part of the answer in which an explicit vote was said, from 0; -1 without one."""

    def word(self, slot: int, code: int) -> str:
        """What a code says of a slot; empty for no vote."""
        return self.values[slot][code] if code >= 0 else _WORDS.get(code, "")

    @property
    def explicit(self) -> NDArray[np.bool_]:
        """(n, T, A) where a value is named."""
        found: NDArray[np.bool_] = self.codes >= 0
        return found

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Votes":
        """The votes on some of the cases, (n,) by mask or number."""
        return replace(
            self,
            case_ids=tuple(np.array(self.case_ids, dtype=object)[chosen].tolist()),
            codes=self.codes[chosen],
            parts=self.parts[chosen],
        )

    def among(self, teachers: Sequence[int]) -> "Votes":
        """The votes of some of the teachers, by number."""
        chosen = list(teachers)
        return replace(
            self,
            teachers=tuple(self.teachers[t] for t in chosen),
            codes=self.codes[:, chosen],
            parts=self.parts[:, chosen],
        )


def values_of(slots: Sequence[Slot], readings: Iterable["Reading"]) -> dict[Slot, tuple[str, ...]]:
    """The slots, behind them those that only the texts know, and the explicit values of each, sorted.

    Presence is absent or present whoever says it; the values of other slots are those that are named. The
    presence of a finding is no slot where texts only ever name its value (a choice, a grade).
    """
    named: dict[Slot, set[str]] = {slot: set() for slot in slots}
    more: dict[Slot, set[str]] = {}
    seen: set[Slot] = set()
    for reading in readings:
        seen |= reading.counted.keys()
        for slot, claim in reading.counted.items():
            said = named[slot] if slot in named else more.setdefault(slot, set())
            if claim.polarity is not Polarity.UNCERTAIN:
                said.add(claim.value)
    named |= {slot: more[slot] for slot in sorted(more)}
    idle = {(finding, "presence") for finding, attribute in named if attribute == "value"} - seen
    return {
        slot: PRESENCE if slot[1] == "presence" else tuple(sorted(said))
        for slot, said in named.items()
        if slot not in idle
    }


def steps_of(claims: Sequence[Claim]) -> int:
    """Steps of a text up to and with the last one that claims something; 0 without claims."""
    return max((claim.step for claim in claims), default=-1) + 1


def read(
    trajectory: Trajectory,
    claims: Sequence[Claim],
    disclosed: Collection[str] = (),
    *,
    n_steps: int = 0,
) -> Reading:
    """A trajectory with the claims of its text; findings that the case discloses give no vote, and those
    that this stream alone was told of have no stand. What it says of their side, where that was not told, is
    its own.

    A claim's place is its number among the m claims that stand for themselves, in order of the text, so
    that many denials in one sentence are as long a way as the same in several; a side stands where its
    finding stands. With ``n_steps``, the answer came in so many steps and a claim's place is its step.
    """
    said = counted([claim for claim in claims if claim.finding not in disclosed])
    heads = [slot for slot in said if slot[1] in OF_ITSELF]
    order = sorted(heads, key=lambda slot: (said[slot].start, slot))
    number = {slot: i for i, slot in enumerate(order)}
    places = {
        slot: (claim.step, n_steps) if n_steps else (number[_head(slot, number)], len(order))
        for slot, claim in said.items()
    }
    told = slots_told(trajectory.prompt_discloses)
    own = {slot: claim for slot, claim in said.items() if slot not in told}
    return Reading(status=trajectory.status, counted=own, places=places, told=told)


def _head(slot: Slot, among: Mapping[Slot, int]) -> Slot:
    """The claim on which a side hangs."""
    return slot if slot in among else (slot[0], "presence")


def cast(
    case_ids: Sequence[str],
    teachers: Sequence[str],
    slots: Mapping[Slot, tuple[str, ...]],
    readings: Mapping[tuple[str, str], Reading],
    *,
    parts: int,
) -> Votes:
    """Votes of every (case, teacher) in ``readings``; who is not there, failed or was empty gives none.

    ``slots`` are those of ``values_of``, with their values. An explicit vote at place i of m lies in part
    ``floor(parts * i / m)`` of its answer, 0..parts-1.
    """
    shape = (len(case_ids), len(teachers), len(slots))
    codes = np.full(shape, NO_VOTE, dtype=np.int16)
    where = np.full(shape, -1, dtype=np.int16)
    place = {slot: a for a, slot in enumerate(slots)}
    code = {(slot, value): k for slot, said in slots.items() for k, value in enumerate(said)}
    for c, case_id in enumerate(case_ids):
        for t, teacher in enumerate(teachers):
            reading = readings.get((case_id, teacher))
            if reading is None or reading.status in (Status.FAILED, Status.EMPTY):
                continue
            refused = reading.status is Status.REFUSED
            codes[c, t] = REFUSED if refused else OMITTED
            codes[c, t, [place[slot] for slot in reading.told if slot in place]] = NO_VOTE
            if refused:
                continue
            for slot, claim in reading.counted.items():
                a = place[slot]
                if claim.polarity is Polarity.UNCERTAIN:
                    codes[c, t, a] = UNCERTAIN
                else:
                    codes[c, t, a] = code[slot, claim.value]
                    at, of = reading.places[slot]
                    where[c, t, a] = parts * at // of
    return Votes(
        case_ids=tuple(case_ids),
        teachers=tuple(teachers),
        slots=tuple(slots),
        values=tuple(slots.values()),
        codes=codes,
        parts=where,
    )
