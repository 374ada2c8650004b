"""A textbook rule from the signs that somebody sees on a film to findings: no teacher, nothing learnt."""

import re
from collections.abc import Mapping

from driftbound.domains.phantom.findings import FINDINGS, SIDED, SIDED_SIGNS, SIGN_NAMES, SIGNS

_STATED = re.compile(
    r"\b(" + "|".join(map(re.escape, SIGN_NAMES)) + r"): (absent|present|left|right|bilateral)\b"
)
_EVERYWHERE = frozenset({"left", "right"})


def read_signs(text: str) -> dict[str, str]:
    """The signs that a report in the student's format states, each with its last value.

    >>> read_signs("Haze: bilateral. Patch: absent. Dark apex")
    {'haze': 'both', 'patch': 'absent'}
    """
    stated = dict(_STATED.findall(text.lower()))
    return {sign: "both" if value == "bilateral" else value for sign, value in stated.items()}


def from_signs(text: str) -> dict[str, str] | None:
    """What a report of signs means for each finding; ``None`` where it states no sign.

    A finding is there where all its signs are seen, on the side (or sides) that they share; a sign that is
    not stated is not seen, and one without a side may lie on any. A sign that a finding with more signs
    explains on that side speaks for no other: a patch with dark branches is a consolidation, a patch
    alone an opacity.

    >>> found = from_signs("Patch: bilateral. Dark branches: left.")
    >>> found["Consolidation"], found["Lung Opacity"], found["No Finding"]
    ('left', 'right', 'absent')
    """
    signs = read_signs(text)
    if not signs:
        return None
    places = {finding: _common(signs, needed) for finding, needed in SIGNS.items()}
    seen = {
        finding: places[finding]
        - frozenset().union(*(places[more] for more in SIGNS if set(needed) < set(SIGNS[more])))
        for finding, needed in SIGNS.items()
    }
    said = {finding: _value(finding, where, signs) for finding, where in seen.items()}
    abnormal = any(value != "absent" for finding, value in said.items() if finding != "Support Devices")
    said["No Finding"] = "absent" if abnormal else "present"
    return {finding: said[finding] for finding in FINDINGS}


def _common(signs: Mapping[str, str], needed: tuple[str, ...]) -> frozenset[str]:
    """The sides on which all of some signs are seen."""
    return _EVERYWHERE.intersection(*(_sides(signs.get(sign, "absent")) for sign in needed))


def _sides(value: str) -> frozenset[str]:
    if value == "absent":
        return frozenset()
    return frozenset({value}) if value in _EVERYWHERE else _EVERYWHERE


def _value(finding: str, where: frozenset[str], signs: Mapping[str, str]) -> str:
    if not where:
        return "absent"
    told = any(sign in SIDED_SIGNS and signs[sign] != "present" for sign in SIGNS[finding])
    if finding not in SIDED or not told:
        return "present"
    return "both" if where == _EVERYWHERE else next(iter(where))
