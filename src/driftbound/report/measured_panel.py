"""Panel on the page: where the teachers agree, and whom to trust on which finding."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from driftbound.records import Measured
from driftbound.report.measured import OWN, Agreed, Trust
from driftbound.report.measured_summary import by_part, named, numbers_in, read, single, within
from driftbound.report.tables import number

STATUSES = ("agreed", "conflicting", "undecided")
WORDS = {
    "cumulative": "given away so far of who writes (cumulative)",
    "common_prefix": "common prefix: how they would go on (instantaneous)",
    "own_prefix": "own prefixes",
    "own_prefix_bounds": "own prefixes, from stored lists",
    "history": "history: own less common prefix (cumulative)",
    "information": "what the part adds to it",
    "pairwise_kl": "KL divergence",
    "change_of_lower_bound": "change of the lower bound",
    "rose_for_certain": "rose for certain",
}
"""What the measure calls its divergences -> what the page does."""
CLAIMS = "given away so far of who writes, by claims alone (cumulative, lower bound)"
AGREEMENT = (*STATUSES, "alpha", "ac1", "raw_agreement")


def agreement_of(summary: Mapping[str, Any], findings: Sequence[str]) -> tuple[Agreed, ...]:
    """Per finding, its further attributes (sides) directly below it."""
    table = within(summary, "agreement", "findings")
    found = []
    for name in named(findings, table):
        own = within(table, name)
        found.append(Agreed(finding=name, attribute="", numbers=numbers_in(own, *AGREEMENT)))
        for attribute, below in own.items():
            numbers = numbers_in(below, *AGREEMENT)
            if numbers:
                found.append(Agreed(finding=name, attribute=str(attribute), numbers=numbers))
    return tuple(each for each in found if each.numbers)


def pairs_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> dict[str, dict[str, Measured]]:
    """Agreement of every two teachers, both ways round; nobody with itself."""
    table = within(summary, "agreement", "pairs")
    found: dict[str, dict[str, Measured]] = {}
    for one in table:
        for other, each in numbers_in(within(table, one)).items():
            found.setdefault(str(one), {})[other] = each
            found.setdefault(other, {})[str(one)] = each
    return {name: found[name] for name in named(teachers, found)}


def trust_of(
    summary: Mapping[str, Any], findings: Sequence[str], teachers: Sequence[str]
) -> tuple[Trust, ...]:
    """Every table below ``reliability`` that tells of teachers or of a method, wherever it lies."""
    told = list(_entries(within(summary, "reliability"), ()))
    order = named(findings, {path[0]: None for path, _ in told})
    told.sort(key=lambda item: order.index(item[0][0]))
    return tuple(_trust(path, entry, teachers) for path, entry in told)


def _entries(table: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    given = within(table)
    if path and ("method" in given or isinstance(given.get("teachers"), Mapping)):
        yield path if path[0] != "findings" or len(path) == 1 else path[1:], given
        return
    for name, inner in given.items():
        yield from _entries(inner, (*path, str(name)))


def _trust(path: tuple[str, ...], entry: Mapping[str, Any], teachers: Sequence[str]) -> Trust:
    table = within(entry, "teachers")
    lineages = entry.get("lineages")
    groups = [each for each in lineages if isinstance(each, list)] if isinstance(lineages, list) else []
    dependence = within(entry, "dependence")
    shown = ("teachers", "lineages", "dependence", "effective_teachers", "undecided", "method", "why")
    rest = {name: inner for name, inner in entry.items() if name not in shown}
    return Trust(
        finding=path[0],
        attribute="" if len(path) == 1 else ", ".join(path[1:]),
        method=str(entry.get("method") or ""),
        why=str(entry.get("why") or ""),
        teachers={name: numbers_in(within(table, name)) for name in named(teachers, table)},
        lineages=tuple(tuple(map(str, each)) for each in groups if len(each) > 1),
        dependence=numbers_in(dependence),
        dependence_p=_dependence_p(entry),
        copying=numbers_in(dependence.get("copying")),
        pair=tuple(map(str, pair)) if isinstance(pair := dependence.get("pair"), list) else (),
        effective=read(entry.get("effective_teachers")),
        undecided=read(entry.get("undecided")),
        rest=tuple((spelt(path), each) for path, each in single(rest)),
    )


def _dependence_p(entry: Mapping[str, Any]) -> float:
    """Of the test of independence: told by itself, with the largest excess, or with the whole."""
    dependence = within(entry, "dependence")
    if "p" in dependence:
        return _p(dependence["p"])
    return read(dependence.get("largest_excess") or entry.get("dependence")).p


def _p(given: Any) -> float:
    """A p-value that is told as a number, as a measured one, or as the p of a measured one."""
    if isinstance(given, Mapping):
        return number(given.get("p", given.get("value")))
    return number(given)


def spelt(path: Sequence[str]) -> str:
    """A path of a summary as a person reads it.

    >>> spelt(("live", "common_prefix")), spelt(("risks", "dawid_skene"))
    ('common prefix: how they would go on (instantaneous)', 'risks, dawid skene')
    """
    return ", ".join(WORDS.get(name, name.replace("_", " ")) for name in path if name != "live")


def divergence_of(summary: Mapping[str, Any]) -> tuple[dict[str, list[Measured]], dict[str, Measured]]:
    """Divergences of what the teachers say: by part of the answers, and single ones, by what they are."""
    claims = within(summary, "identification").get("cumulative")
    tables = {"claims": {CLAIMS: claims}, "tokens": within(summary, "tokens")}
    parts = {spelt(path[1:]): each for path, each in by_part(tables)}
    return parts, {spelt(path[1:]): each for path, each in single(tables)}


def notes_of(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """What ``reliability`` wants a reader to know."""
    notes = within(summary, "reliability").get("notes")
    if isinstance(notes, str):
        return (notes,)
    return tuple(str(note) for note in notes) if isinstance(notes, list) else ()


def plainly(attribute: str) -> bool:
    """Whether an attribute is the finding itself."""
    return attribute in ("", *OWN)
