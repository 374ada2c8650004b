"""JSON answers: what the values of an object say, its keys being the findings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from driftbound.domains.generic.json_spans import Found, Leaf, Scalar, objects
from driftbound.domains.generic.steps import steps
from driftbound.domains.generic.words import OMITTED, SIDES, bare, polarity_of, without_hedge
from driftbound.records import Claim, Polarity

_PRESENCE = frozenset({"presence", "present", "status", "value", "finding", "detected", "polarity", "label"})
"""Keys below a declared finding that say whether it is there."""
_SIDE = frozenset({"side", "laterality", "location"})
_LABELS = {1: Polarity.PRESENT, 0: Polarity.ABSENT, -1: Polarity.UNCERTAIN}
"""What numbers say of a declared finding."""
_LONGEST = 40
"""Characters of a value; what is longer is prose."""

Said = tuple[str, str, Polarity]
"""Attribute, value, polarity."""


def json_answers(
    findings: Mapping[str, Sequence[str]] | None = None,
    *,
    sided: Sequence[str] = (),
    take: str = "last",
) -> Callable[[str], list[Claim]]:
    """An extractor of what the ``last`` or ``first`` JSON object of a text says, as far as it says something.

    Keys are findings (of objects within objects joined by dots, ``a.b``); with ``findings`` (name ->
    synonyms) only those count, wherever they stand. Booleans and words for yes, no and uncertain are
    claims on ``presence``; other short strings and numbers on ``value``; ``null``, empty and long texts
    none. Each string of a list is present as ``key.string``. Of a declared finding 1, 0 and -1 are
    present, absent and uncertain, and a side, as value or under ``side``, is one where it has sides.
    A step is a member of the object, counted on from the sentences before it.

    >>> read = json_answers()
    >>> [(c.finding, c.attribute, c.value) for c in read('{"edema": "no", "size": {"cm": 3.0}, "x": null}')]
    [('edema', 'presence', 'absent'), ('size.cm', 'value', '3')]
    """
    names = {_key(word): name for name, words in (findings or {}).items() for word in (name, *words)}
    reader = _Meaning(names, frozenset(sided))

    def claims(text: str) -> list[Claim]:
        found = objects(text)
        for each in found if take == "first" else reversed(found):
            said = list(_claims_of(text, each, reader))
            if said:
                return said
        return []

    return claims


def _claims_of(text: str, found: Found, reader: "_Meaning") -> Iterator[Claim]:
    before = sum(end <= found.start for _, end in steps(text[: found.start]))
    for number, leaf in enumerate(found.leaves):
        for finding, (attribute, value, polarity) in reader.of(leaf):
            yield Claim(
                finding=finding,
                attribute=attribute,
                value=value,
                polarity=polarity,
                start=leaf.start,
                end=leaf.end,
                step=before + number,
            )


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What keys and values mean."""

    names: Mapping[str, str]
    """Word -> finding that is declared; empty where none is."""
    sided: frozenset[str]

    def of(self, leaf: Leaf) -> Iterator[tuple[str, Said]]:
        """The findings that a value speaks of, and what it says of each."""
        values = leaf.value if isinstance(leaf.value, tuple) else None
        if values is not None:
            for item in values:
                yield from self._listed(leaf.path, item)
            return
        assert not isinstance(leaf.value, tuple)
        if not self.names:
            finding = ".".join(leaf.path)
            yield from ((finding, said) for said in _said(leaf.value, declared=False, sided=False))
            return
        for place in range(len(leaf.path) - 1, -1, -1):
            name = self.names.get(_key(leaf.path[place]))
            below = [_key(part) for part in leaf.path[place + 1 :]]
            if name is not None:
                yield from ((name, said) for said in self._of_declared(name, below, leaf.value))
                return

    def _of_declared(self, name: str, below: Sequence[str], value: Scalar) -> Iterator[Said]:
        sided = name in self.sided
        if len(below) == 1 and below[0] in _SIDE:
            side = SIDES.get(bare(str(value)))
            if sided and side:
                yield "side", side, Polarity.PRESENT
        elif not below or (len(below) == 1 and below[0] in _PRESENCE):
            yield from _said(value, declared=True, sided=sided)

    def _listed(self, path: tuple[str, ...], item: Scalar) -> Iterator[tuple[str, Said]]:
        """A list names what is there."""
        if not isinstance(item, str) or bare(item) in OMITTED or len(item) > _LONGEST:
            return
        finding = self.names.get(_key(item)) if self.names else ".".join((*path, bare(item)))
        if finding:
            yield finding, ("presence", str(Polarity.PRESENT), Polarity.PRESENT)


def _said(value: Scalar, *, declared: bool, sided: bool) -> Iterator[Said]:
    """What a value says of its finding."""
    if value is None:
        return
    if isinstance(value, bool):
        polarity: Polarity | None = Polarity.PRESENT if value else Polarity.ABSENT
    elif isinstance(value, str):
        side = SIDES.get(bare(value)) if sided else None
        if side:
            yield "presence", str(Polarity.PRESENT), Polarity.PRESENT
            yield "side", side, Polarity.PRESENT
            return
        if bare(value) in OMITTED or len(value) > _LONGEST:
            return
        polarity = polarity_of(value)
    else:
        polarity = _LABELS.get(int(value)) if declared and value == int(value) else None
    if polarity is not None:
        yield "presence", str(polarity), polarity
        return
    if isinstance(value, str):
        said, hedged = without_hedge(value)
        said = said.upper() if len(said) == 1 else said
        if said:
            yield "value", said, Polarity.UNCERTAIN if hedged else Polarity.PRESENT
    else:
        yield (
            "value",
            f"{value:g}" if value == int(value) and abs(value) < 1e6 else str(value),
            Polarity.PRESENT,
        )


def _key(word: str) -> str:
    return bare(word.replace("_", " ").replace("-", " "))
