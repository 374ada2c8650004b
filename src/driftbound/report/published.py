"""Published figures beside a run's own, each table with what makes them another measurement."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.records import Estimate
from driftbound.report.tables import NOTHING, entries, estimate, score_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row; a published one has no interval."""

    label: str
    ours: bool
    values: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """One table: what was published, then this run."""

    title: str
    source: str
    differs: tuple[str, ...]
    """What is not the same, or not known to be; never empty."""
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


def published_tables(given: Mapping[str, Any] | None, table: Mapping[str, Any]) -> tuple[PublishedTable, ...]:
    """The tables that a field gives (``protocols.Published``) beside the results ``table`` of a run's first
    split; one of which the run itself knows nothing is left out.

    Each of ``tables`` has ``title``, ``source``, ``differs``, ``columns``, ``rows`` (a label, then a number
    or null per column) and ``ours``: per column the keys that lead to the run's own number in a row's scores.
    """
    found = []
    for one in (given or {}).get("tables", ()):
        own = [row for row in _ours(table, one["ours"]) if any(math.isfinite(v.mean) for v in row.values)]
        if own:
            rows = [
                PublishedRow(label=label, ours=False, values=tuple(_point(each) for each in values))
                for label, *values in one["rows"]
            ]
            here = f"here: {given['here']}" if given and given.get("here") else ""
            found.append(
                PublishedTable(
                    title=one["title"],
                    source=one["source"],
                    differs=tuple(each for each in (*one["differs"], here) if each),
                    columns=tuple(one["columns"]),
                    rows=(*rows, *own),
                )
            )
    return tuple(found)


def _point(value: float | None) -> Estimate:
    return NOTHING if value is None else Estimate(mean=value, low=math.nan, high=math.nan)


def _ours(table: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> list[PublishedRow]:
    given = {(kind, name): scores for kind, name, scores in entries(table)}
    return [
        PublishedRow(
            label=row.label,
            ours=True,
            values=tuple(_at(given[row.kind, row.name], path) for path in paths),
        )
        for row in score_rows(table, ())
        if row.kind in ("student", "teacher") or (row.kind, row.name) == ("together", "consensus")
    ]


def _at(scores: Mapping[str, Any], path: Sequence[str]) -> Estimate:
    value: Any = scores
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return estimate(value)
