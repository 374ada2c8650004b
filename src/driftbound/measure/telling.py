"""Telling: asks all sections, and writes what they say into one summary and one table of drift."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.measure.panel import FAMILIES, Alarm, Panel, Section
from driftbound.measure.sections import agreement, along, collection, identification, refusals, versions
from driftbound.measure.sheet import DriftRow, count, jsonable
from driftbound.progress import Advance

ASKED: Mapping[str, Callable[[Panel], Section]] = {
    "agreement": agreement.section,
    "refusals": refusals.section,
    "along": along.section,
    "identification": identification.section,
    "collection": collection.section,
    "versions": versions.section,
}
"""Sections that need nothing but the panel, in the order of the summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the numbers are about."""

    fitted_on: Sequence[str]
    """Splits that the numbers are taken over; empty: all cases."""
    gold: str = ""
    """Which checked claims were used; empty: none, nothing but the teachers' answers was read."""
    counts: Mapping[str, int]
    notes: Sequence[str] = ()


def ask_all(panel: Panel, advance: Advance) -> dict[str, Section]:
    """Every section of ``ASKED``, in order."""
    told = {}
    for name, ask in ASKED.items():
        told[name] = ask(panel)
        advance(1, name)
    return told


def summary_of(about: About, panel: Panel, sections: Mapping[str, Section]) -> dict[str, Any]:
    """``summary.json``: every number with its estimator, n and interval, see ``sheet.unexplained``."""
    settings = panel.settings
    alarms = [alarm for section in sections.values() for alarm in section.alarms]
    summary: dict[str, Any] = jsonable(
        {
            "about": {
                "fitted_on": list(about.fitted_on),
                "gold": about.gold or "none",
                "counts": {name: count(n) for name, n in about.counts.items()},
                "notes": [*about.notes, *(note for section in sections.values() for note in section.notes)],
                "settings": {
                    "steps": settings.steps,
                    "decisive": settings.decisive,
                    "alpha": settings.alpha,
                    "alpha_of_each_family": panel.alpha,
                    "draws": panel.draws,
                    "margin": settings.margin,
                    "fdr": settings.fdr,
                    "seed": settings.seed,
                },
                "families": list(FAMILIES),
            },
            "alarms": [_alarm(alarm) for alarm in alarms],
            **{name: section.summary for name, section in sections.items()},
        }
    )
    return summary


def rows_of(sections: Mapping[str, Section]) -> list[DriftRow]:
    """Rows of ``drift.parquet``, section by section."""
    return [row for section in sections.values() for row in section.rows]


def _alarm(alarm: Alarm) -> dict[str, Any]:
    effect = jsonable(alarm.effect) | {"p_adjusted": float(f"{alarm.p_adjusted:.4g}")}
    return {"family": alarm.family, "teacher": alarm.teacher, "what": alarm.what, "effect": effect}
