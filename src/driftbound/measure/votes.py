"""Votes: which claim of a text counts, how a teacher stands on each slot, and what the majority says."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.records import Claim, Status, Trajectory

Slot = tuple[str, str]
"""(finding, attribute), the attribute ``presence`` or ``side``; with a case, a claim slot."""

SIDES = ("both", "left", "right")
"""Values of a side, in the order that breaks ties of the majority."""
EXPLICIT = ("absent", "present", "left", "right", "both")
"""Values that agree or conflict; a hedge, an omission and a refusal do neither."""
VALUES = (*EXPLICIT, "uncertain", "omitted", "refused")
"""What a code of ``Votes.codes`` means."""
NO_VOTE = -1
"""Code of a teacher that was not asked, failed or answered nothing: no stand at all."""

NORMAL = "No Finding"
"""CheXpert's convention, applied where a domain has it: present when nothing is, but ``NOT_ABNORMAL``."""
NOT_ABNORMAL = frozenset({"Support Devices"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A trajectory as it was read."""

    status: Status
    counted: Mapping[Slot, Claim]
    """The claim that counts, per slot."""
    n_steps: int
    """As ``steps_of``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """The stand of T teachers on A slots of n cases."""

    case_ids: tuple[str, ...]
    teachers: tuple[str, ...]
    slots: tuple[Slot, ...]
    codes: NDArray[np.int8]
    """(n, T, A) index into ``VALUES``, or ``NO_VOTE``."""
    parts: NDArray[np.int8]
    """(n, T, A) part of the answer in which an explicit vote was said, from 0; -1 without one."""


def slots_of(findings: Sequence[str], sided: frozenset[str]) -> tuple[Slot, ...]:
    """Presence of every finding, then side of every sided one."""
    return tuple((name, "presence") for name in findings) + tuple(
        (name, "side") for name in findings if name in sided
    )


def counted(claims: Sequence[Claim]) -> dict[Slot, Claim]:
    """The claim that counts, per slot, of claims in order of the text.

    A text that claims one slot twice is taken at its last word; an echo of the prompt counts
    nothing; a side counts only while the finding itself is claimed present.
    """
    last = {(claim.finding, claim.attribute): claim for claim in claims if not claim.echo}
    return {
        (finding, attribute): claim
        for (finding, attribute), claim in last.items()
        if attribute != "side"
        or ((finding, "presence") in last and last[finding, "presence"].value == "present")
    }


def stances(claims: Sequence[Claim], findings: Sequence[str]) -> dict[str, str]:
    """What a text says of each finding: ``absent``, ``uncertain``, ``omitted``, ``present`` or its side."""
    said = counted(claims)
    found: dict[str, str] = {}
    for name in findings:
        presence = said.get((name, "presence"))
        value = "omitted" if presence is None else presence.value
        side = said.get((name, "side"))
        found[name] = side.value if value == "present" and side is not None else value
    return found


def majority(answers: Sequence[Mapping[str, str]], findings: Sequence[str]) -> dict[str, str]:
    """What more than half of the answers assert, per finding; the rest is ``absent``.

    ``answers`` are the stances of the teachers that gave a usable answer; hedges and omissions
    count as not asserting. The side is the one named most often by those who assert (ties:
    both, then left, then right), plain ``present`` where nobody names one. ``No Finding`` is not
    voted on: it is present when nothing else, save support devices, is. No answers, no majority: ``{}``.

    >>> three = [{"Edema": "present", "Pneumonia": side} for side in ("left", "right", "absent")]
    >>> majority(three, ["Edema", "Pneumonia"])
    {'Edema': 'present', 'Pneumonia': 'left'}
    """
    if not answers:
        return {}
    asserting = {"present", *SIDES}
    voted: dict[str, str] = {}
    for name in findings:
        said = [answer[name] for answer in answers if answer.get(name) in asserting]
        sides = Counter(value for value in said if value in SIDES)
        if 2 * len(said) <= len(answers):
            voted[name] = "absent"
        else:
            voted[name] = max(SIDES, key=lambda side: sides[side]) if sides else "present"
    if NORMAL in voted:
        abnormal = any(
            value != "absent" for name, value in voted.items() if name != NORMAL and name not in NOT_ABNORMAL
        )
        voted[NORMAL] = "absent" if abnormal else "present"
    return voted


def steps_of(claims: Sequence[Claim]) -> int:
    """Steps of a text up to and with the last one that claims something; 0 without claims."""
    return max((claim.step for claim in claims), default=-1) + 1


def read(trajectory: Trajectory, claims: Sequence[Claim], disclosed: Collection[str] = ()) -> Reading:
    """A trajectory with the claims of its text; findings that its prompt discloses give no vote."""
    own = [claim for claim in claims if claim.finding not in disclosed]
    return Reading(status=trajectory.status, counted=counted(own), n_steps=steps_of(claims))


def cast(
    case_ids: Sequence[str],
    teachers: Sequence[str],
    slots: Sequence[Slot],
    readings: Mapping[tuple[str, str], Reading],
    *,
    parts: int,
) -> Votes:
    """Votes of every (case, teacher) in ``readings``; who is not there, failed or was empty gives none.

    An explicit vote lies in part ``floor(parts * step / n_steps)`` of its answer, 0..parts-1.
    """
    shape = (len(case_ids), len(teachers), len(slots))
    codes = np.full(shape, NO_VOTE, dtype=np.int8)
    where = np.full(shape, -1, dtype=np.int8)
    code = {value: number for number, value in enumerate(VALUES)}
    for c, case_id in enumerate(case_ids):
        for t, teacher in enumerate(teachers):
            reading = readings.get((case_id, teacher))
            if reading is None or reading.status in (Status.FAILED, Status.EMPTY):
                continue
            if reading.status is Status.REFUSED:
                codes[c, t] = code["refused"]
                continue
            for a, slot in enumerate(slots):
                claim = reading.counted.get(slot)
                value = "omitted" if claim is None else claim.value
                codes[c, t, a] = code[value]
                if claim is not None and value in EXPLICIT:
                    where[c, t, a] = parts * claim.step // reading.n_steps
    return Votes(
        case_ids=tuple(case_ids), teachers=tuple(teachers), slots=tuple(slots), codes=codes, parts=where
    )
