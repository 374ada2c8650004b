"""Stances: which claim of a text counts, what it says of each finding, and what a majority says."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from driftbound.records import Claim, Polarity

Slot = tuple[str, str]
"""(finding, attribute); with a case, a claim slot. Presence and ``value`` stand for themselves, every other
attribute (side, zone, severity) counts only while its finding is claimed present."""

SIDES = ("both", "left", "right")
"""Values of a side, in the order that breaks ties of the majority."""
OF_ITSELF = frozenset({"presence", "value"})
"""Attributes that stand for themselves."""

_SIDE = ":side"
TOLD = "told"
"""Stance of an answer on a finding that its prompt gave away, for ``majority``."""

NORMAL = "No Finding"
"""CheXpert's convention, applied where a domain has it: present when nothing is, but ``NOT_ABNORMAL``."""
NOT_ABNORMAL = frozenset({"Support Devices"})


def disclosed(context: Mapping[str, str]) -> tuple[str, ...]:
    """What a prompt gives away that tells a case's context: every finding of it, and the sides it names.

    A finding whose value is ``unknown`` is given away too: that nobody has named it, says something.

    >>> disclosed({"Edema": "absent", "Pleural Effusion": "left", "Fracture": "unknown"})
    ('Edema', 'Fracture', 'Pleural Effusion', 'Pleural Effusion:side')
    """
    sides = (f"{name}{_SIDE}" for name, value in context.items() if value in SIDES)
    return tuple(sorted((*context, *sides)))


def told_by_either(one: str, other: str) -> str:
    """Of two trajectories' ``prompt_discloses`` what either gives away.

    >>> told_by_either('["Edema"]', ""), told_by_either("", "")
    ('["Edema"]', '')
    """
    names = {*disclosed_names(one), *disclosed_names(other)}
    return json.dumps(sorted(names)) if names else ""


def disclosed_names(prompt_discloses: str) -> tuple[str, ...]:
    """What a trajectory's ``prompt_discloses`` names, as it stands there."""
    return tuple(json.loads(prompt_discloses)) if prompt_discloses else ()


def slots_told(prompt_discloses: str) -> frozenset[Slot]:
    """The slots of which a trajectory's ``prompt_discloses`` (a JSON list, or empty) says that its prompt
    gave them away: nothing that the text says there is scored.

    >>> sorted(slots_told('["Edema", "Pleural Effusion:side"]'))
    [('Edema', 'presence'), ('Edema', 'value'), ('Pleural Effusion', 'side')]
    """
    found: set[Slot] = set()
    for name in disclosed_names(prompt_discloses):
        if name.endswith(_SIDE):
            found.add((name.removesuffix(_SIDE), "side"))
        else:
            found |= {(name, attribute) for attribute in OF_ITSELF}
    return frozenset(found)


def slots_of(findings: Sequence[str], sided: frozenset[str]) -> tuple[Slot, ...]:
    """Presence of every finding, then side of every sided one."""
    return tuple((name, "presence") for name in findings) + tuple(
        (name, "side") for name in findings if name in sided
    )


def counted(claims: Sequence[Claim]) -> dict[Slot, Claim]:
    """The claim that counts, per slot, of claims in order of the text.

    A text that claims one slot twice is taken at its last word; an echo of the prompt counts
    nothing, nor does what denies one of several values ("not B"); a side (zone, severity) counts
    only while the finding itself is claimed present.
    """
    last = {
        (claim.finding, claim.attribute): claim
        for claim in claims
        if not claim.echo and (claim.attribute == "presence" or claim.polarity is not Polarity.ABSENT)
    }
    return {
        (finding, attribute): claim
        for (finding, attribute), claim in last.items()
        if attribute in OF_ITSELF
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


def told(claims: Sequence[Claim], findings: Sequence[str]) -> dict[str, str]:
    """All that a text says, as ``Domain.render`` takes it: of the ``findings`` and of others that it names,
    and what values it asserts. What it omits is left out, and so is a value that it only may mean.
    """
    said = counted(claims)
    names = dict.fromkeys((*findings, *(finding for finding, attribute in said if attribute == "presence")))
    found = {name: value for name, value in stances(claims, [*names]).items() if value != "omitted"}
    return found | {
        finding: claim.value
        for (finding, attribute), claim in said.items()
        if attribute == "value" and claim.polarity is Polarity.PRESENT
    }


def majority_of(
    answers: Sequence[Sequence[Claim]],
    findings: Sequence[str],
    given_away: Sequence[frozenset[Slot]] = (),
) -> dict[str, str]:
    """What more than half of the answers say, given their claims: ``majority``, and values.

    ``given_away`` are the slots that each answer's prompt told (``slots_told``), where any did: it has no
    vote there. Of a finding that answers give values, the value that more than half of them give; none,
    where they do not agree so far. Of one that is none of the ``findings``, what more than half assert, or
    deny.
    """
    read = [told(claims, findings) for claims in answers]
    for each, slots in zip(read, given_away, strict=bool(given_away)):
        for name in {finding for finding, attribute in slots if attribute in OF_ITSELF}:
            side = each.get(name, "") if (name, "side") not in slots else ""
            each[name] = f"{TOLD} {side}" if side in SIDES else TOLD
    valued = {slot[0] for claims in answers for slot in counted(claims) if slot[1] == "value"}
    voted = {name: value for name, value in majority(read, findings).items() if name not in valued}
    named = dict.fromkeys(name for each in read for name in each)
    for name in [name for name in named if name in valued or name not in findings]:
        said = [each.get(name, "uncertain") for each in read]
        said = [value for value in said if not value.startswith(TOLD)]
        counts = Counter(
            value if name in valued or value not in SIDES else "present"
            for value in said
            if value != "uncertain"
        )
        value, number = counts.most_common(1)[0] if counts else ("", 0)
        if 2 * number > len(said):
            voted[name] = value
    return voted


def majority(answers: Sequence[Mapping[str, str]], findings: Sequence[str]) -> dict[str, str]:
    """What more than half of the answers assert, per finding; the rest is ``absent``.

    ``answers`` are the stances of the teachers that gave a usable answer; hedges and omissions count as not
    asserting; ``told`` and ``told left`` are those of answers whose prompt gave the finding away: they count
    for the side alone, and a finding of which all were told is left out. The side is the one named most often
    by those who assert (ties: both, then left, then right), plain ``present`` where nobody names one. ``No
    Finding`` is not voted on: it is present when nothing else, save support devices, is. No answers, no
    majority: ``{}``.

    >>> three = [{"Edema": "present", "Pneumonia": side} for side in ("left", "right", "absent")]
    >>> majority(three, ["Edema", "Pneumonia"])
    {'Edema': 'present', 'Pneumonia': 'left'}
    """
    if not answers:
        return {}
    asserting = {"present", *SIDES}
    voted: dict[str, str] = {}
    for name in findings:
        given = [answer.get(name, "") for answer in answers]
        free = [value for value in given if not value.startswith(TOLD)]
        said = [value for value in free if value in asserting]
        sides = Counter(side for value in given if (side := value.removeprefix(f"{TOLD} ")) in SIDES)
        if not free:
            continue
        if 2 * len(said) <= len(free):
            voted[name] = "absent"
        else:
            voted[name] = max(SIDES, key=lambda side: sides[side]) if sides else "present"
    if NORMAL in voted:
        abnormal = any(
            value != "absent" for name, value in voted.items() if name != NORMAL and name not in NOT_ABNORMAL
        )
        voted[NORMAL] = "absent" if abnormal else "present"
    return voted
