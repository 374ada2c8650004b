"""Reading a summary of the measure: numbers at their places, whatever is missing or nested otherwise."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from driftbound.records import Measured
from driftbound.report.tables import digits, number

NO_NUMBER = Measured(estimator="", n=0, value=math.nan)


def read(table: Any) -> Measured:
    """The number that ``{"value", "low", "high", "n", "estimator"}`` describes, or ``NO_NUMBER``."""
    if not is_number(table):
        return NO_NUMBER
    n = number(table.get("n"))
    return Measured(
        estimator=str(table.get("estimator", "")),
        n=int(n) if math.isfinite(n) else 0,
        value=number(table.get("value")),
        low=number(table.get("low")),
        high=number(table.get("high")),
        p=number(table.get("p")),
        reason=str(table.get("reason") or ""),
    )


def within(table: Any, *path: str) -> Mapping[str, Any]:
    """The table that lies at a path; empty where there is none, or something else.

    >>> within({"a": {"b": {"c": 1}}}, "a", "b"), within({"a": None}, "a", "b")
    ({'c': 1}, {})
    """
    for step in path:
        table = table.get(step) if isinstance(table, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def numbers_in(table: Any, *names: str) -> dict[str, Measured]:
    """The named numbers of a table, those that are there; without names all."""
    given = within(table)
    return {name: read(given[name]) for name in names or given if is_number(given.get(name))}


def named(order: Sequence[str], *tables: Mapping[str, Any]) -> list[str]:
    """Names of the tables, those of ``order`` first.

    >>> named(["b", "z"], {"a": 1, "b": 2})
    ['b', 'a']
    """
    there = dict.fromkeys(str(name) for table in tables for name in table)
    return [name for name in order if name in there] + [name for name in there if name not in order]


def probability(p: float) -> str:
    """A p-value as one prints it.

    >>> probability(0.0301), probability(1e-9), probability(math.nan)
    ('0.030', '<0.001', '–')
    """
    return "<0.001" if p < 0.001 else digits(p)


def by_part(table: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Measured]]]:
    """All lists of numbers below a table by their paths, part by part; a list of tables is one per name.

    >>> [(path, len(parts)) for path, parts in by_part({"a": [{"low": {"value": 2, "estimator": "x"}}]})]
    [(('a', 'low'), 1)]
    """
    if isinstance(table, list):
        if table and all(is_number(each) for each in table):
            yield path, [read(each) for each in table]
            return
        for name in dict.fromkeys(name for each in table for name in within(each)):
            yield from by_part([within(each).get(name) for each in table], (*path, str(name)))
    elif isinstance(table, Mapping) and not is_number(table):
        for name, inner in table.items():
            yield from by_part(inner, (*path, str(name)))


def single(table: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Measured]]:
    """All numbers below a table by their paths, those in lists apart."""
    if is_number(table):
        yield path, read(table)
    elif isinstance(table, Mapping):
        for name, inner in table.items():
            yield from single(inner, (*path, str(name)))


def percent(share: float) -> str:
    """A share in per cent; an en dash where there is none.

    >>> percent(0.0125), percent(math.nan)
    ('1.25 %', '–')
    """
    return f"{100 * share:.4g} %" if math.isfinite(share) else "–"


def why_missing(found: Sequence[Measured]) -> list[str]:
    """The different reasons of the numbers that are not there.

    >>> why_missing([Measured(estimator="x", n=0, value=math.nan, reason="no claim")])
    ['no claim']
    """
    return list(dict.fromkeys(each.reason for each in found if each.reason and not math.isfinite(each.value)))


def is_number(table: Any) -> bool:
    """Whether a table is one measured number."""
    return isinstance(table, Mapping) and "value" in table and "estimator" in table
