"""Believed: what ``measure`` believes of a case, as stances to be rendered, and in plain words."""

from collections.abc import Sequence

from driftbound.consensus.support import explicit, probability
from driftbound.records import Belief
from driftbound.stances import NORMAL, NOT_ABNORMAL, SIDES
from driftbound.store.measures import Beliefs


def believed_stances(beliefs: Beliefs, findings: Sequence[str], *, omit: bool) -> dict[str, str]:
    """Stances that say of each finding what is decided; ``{}`` where nothing can be said of the case.

    Where a slot is left open, ``omit`` leaves it out; else its likelier value is said. Ties: ``absent``, the
    side that most teachers name, then the order of ``SIDES``, then that of the alphabet. Where nothing was
    learnt the explicit votes stand for the posterior, and a finding that nobody speaks of is absent (with
    ``omit``: left out). A side is said only where its finding is said to be present. ``No Finding`` is what
    follows (``stances.majority``): absent where anything else is present, support devices aside; with
    ``omit`` it is present only where nothing is left open.
    """
    if not any(belief.decided if omit else explicit(belief) for belief in beliefs.values()):
        return {}
    said: dict[str, str] = {}
    for name in findings:
        value = _value(beliefs.get((name, "presence")), ("absent", "present"), omit, "" if omit else "absent")
        if value == "present":
            value = _value(beliefs.get((name, "side")), SIDES, omit, "") or "present"
        if value:
            said[name] = value
    for (name, attribute), belief in beliefs.items():
        undeclared = attribute == "presence" and name not in findings
        order = ("absent", "present") if undeclared else sorted(_named(belief))
        if (undeclared or attribute == "value") and (value := _value(belief, order, omit, "")):
            said[name] = value
    if NORMAL in findings:
        said = _with_normal(said, findings)
    return said


def hints(beliefs: Beliefs) -> list[str]:
    """One short line per slot that is decided or in which anybody asserts something, likeliest value first.

    >>> hints({("Edema", "presence"): Belief(values={"present": 0.9, "absent": 0.1}, decided="present",
    ...                                      votes={"a": "present"}, wrong={})})
    ['Edema: present 90 %, absent 10 %']
    """
    lines = []
    for slot, belief in beliefs.items():
        votes = explicit(belief)
        if slot[0] == NORMAL or not (belief.decided or any(value != "absent" for value in votes)):
            continue
        name = slot[0] if slot[1] in ("presence", "value") else f"{slot[0]}, {slot[1]}"
        values = sorted(_named(belief), key=lambda value: (-probability(belief, value), value))
        told = ", ".join(f"{value} {100 * probability(belief, value):.0f} %" for value in values)
        lines.append(f"{name}: {told}")
    return lines


def _value(belief: Belief | None, order: Sequence[str], omit: bool, unknown: str) -> str:
    """The decided value, or the likelier; ties: most votes where it is a side, then ``order``."""
    if belief is None or belief.decided or omit:
        return belief.decided if belief is not None and belief.decided else unknown
    votes = explicit(belief)
    if not votes and not belief.values:
        return unknown
    frequent = votes if tuple(order) == SIDES else {}
    return max(order, key=lambda value: (probability(belief, value), frequent.get(value, 0)), default=unknown)


def _named(belief: Belief) -> set[str]:
    return {*belief.values, *explicit(belief)}


def _with_normal(said: dict[str, str], findings: Sequence[str]) -> dict[str, str]:
    rest = [name for name in findings if name != NORMAL and name not in NOT_ABNORMAL]
    found = {name: value for name, value in said.items() if name != NORMAL}
    if any(found.get(name, "absent") != "absent" for name in rest):
        found[NORMAL] = "absent"
    elif all(name in found for name in rest):
        found[NORMAL] = "present"
    return {name: found[name] for name in (*findings, *found) if name in found}
