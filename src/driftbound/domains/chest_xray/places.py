"""Places: what the modifiers of one mention say together, as one claim, or several with a place each."""

from collections.abc import Sequence
from dataclasses import dataclass

from driftbound.domains.chest_xray.modifiers import Modifier

_DEGREES = ("mild", "moderate", "severe")
Values = dict[str, Modifier]
"""Attribute -> the modifier that says it."""


@dataclass(slots=True)
class _Part:
    """Modifiers that nothing joins: "left lower" of "left lower and right upper"."""

    modifiers: list[Modifier]
    joined_by_and: bool

    def said(self, attribute: str) -> list[Modifier]:
        return [each for each in self.modifiers if each.attribute == attribute]


def told(words: Sequence[str], own: Sequence[Modifier], place: tuple[int, int]) -> list[Values]:
    """What is said of a mention; several where two places are told apart by their zones or sizes.

    Without modifiers it is one that says nothing.
    """
    if not own:
        return [{}]
    parts = _parts(words, own, place)
    common = {
        name: _chosen(words, [each for each in own if each.attribute == name], name, place)
        for name in dict.fromkeys(each.attribute for each in own)
    }
    apart = _apart(parts)
    if len(apart) < 2:
        return [common]
    found, side = [], None
    zoned = sum(bool(part.said("zone")) for part in apart) > 1
    sizes = {each.value for part in apart for each in part.said("severity")}
    for part in apart:
        mine = dict(common)
        for name in ("side", "zone", "severity", "course"):
            said = part.said(name)
            if said:
                mine[name] = _chosen(words, said, name, place)
            elif (name == "zone" and zoned) or (name == "severity" and len(sizes) > 1):
                mine.pop(name, None)
        if not part.said("side") and side is not None:
            mine["side"] = side
        side = mine.get("side")
        found.append(mine)
    return found


def _parts(words: Sequence[str], own: Sequence[Modifier], place: tuple[int, int]) -> list[_Part]:
    """The modifiers in order, cut where "and", "or" or a comma stands between."""
    parts: list[_Part] = []
    last = 0
    for each in sorted(own, key=lambda one: one.start):
        between = [] if not parts else list(words[last : each.start])
        if parts and last <= place[0] < each.start:
            between = [word for n, word in enumerate(words[last : each.start], start=last) if n >= place[1]]
        joined = "and" in between or "or" in between
        if not parts or joined or "," in between:
            parts.append(_Part([], joined))
        parts[-1].modifiers.append(each)
        last = max(last, each.end)
    return parts


def _apart(parts: Sequence[_Part]) -> list[_Part]:
    """The parts that are claims of their own; none or one: they are one claim."""
    if len(parts) < 2:
        return []
    zoned = [part for part in parts if part.said("zone")]
    sides = [frozenset(each.value for each in part.said("side")) for part in zoned]
    if len(zoned) > 1:
        differ = len({side for side in sides if side}) > 1
        joined = any(part.joined_by_and for part in zoned[1:])
        zones = {each.value for part in zoned for each in part.said("zone")}
        if differ or (joined and len(zones) > 1):
            return zoned
    sized = [part for part in parts if part.said("side") and part.said("severity")]
    coursed = [part for part in parts if part.said("side") and part.said("course")]
    values = [{each.value for each in part.said("side")} for part in parts]
    if len(coursed) > 1 and not any("both" in value for value in values):
        courses = {each.value for part in coursed for each in part.said("course")}
        if len(courses) > 1 and len({each.value for part in coursed for each in part.said("side")}) > 1:
            return coursed
    if len(sized) > 1 and not any("both" in value for value in values):
        of_size = {each.value for part in sized for each in part.said("severity")}
        of_side = {each.value for part in sized for each in part.said("side")}
        if len(of_size) > 1 and len(of_side) > 1:
            return sized
    return []


def _chosen(words: Sequence[str], said: Sequence[Modifier], name: str, place: tuple[int, int]) -> Modifier:
    """The one value of several modifiers of an attribute."""
    values = {each.value for each in said}
    near = min(said, key=lambda each: max(place[0] - each.end, each.start - place[1], 0))
    if len(values) == 1:
        return near
    if name == "side":
        return next((each for each in said if each.value == "both"), near._replace(value="both"))
    if name == "zone":
        exact = [each for each in said if each.value != "diffuse"]
        return min(exact, key=lambda each: max(place[0] - each.end, each.start - place[1], 0))
    if name == "severity":
        ranged = [each for each in said if _ranges(words, each, near)]
        return max([near, *ranged], key=lambda each: _DEGREES.index(each.value))
    return near


def _ranges(words: Sequence[str], one: Modifier, other: Modifier) -> bool:
    """Whether two sizes are the ends of a range: "small to moderate"."""
    first, second = sorted((one, other), key=lambda each: each.start)
    between = words[first.end : second.start]
    return list(between) in (["to"], ["or"], [])
