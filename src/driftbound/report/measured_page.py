"""What the page says of the measure: every row, figure and sentence of its three sections."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from driftbound.records import Measured
from driftbound.report import measured, measured_panel
from driftbound.report.figures import stacked
from driftbound.report.measured_figures import changes, multiples, nats
from driftbound.report.measured_summary import named, numbers_in, percent, read, single, why_missing, within
from driftbound.report.tables import number

SPLIT = {
    "total": "together",
    "history": "history: it speaks of other things",
    "instant": "instant: it says other things of the same",
    "claims_left_out": "claims on points that one version never names",
}
"""Names of the parts of a change between versions."""
FLOOR = {
    "between_teachers": "two teachers",
    "within_teachers": "a teacher with itself",
    "excess": "excess of the first over the second",
    "excess_change": "change of the excess along the answer",
}
SHOWN_AT_ONCE = ""
"""Key of the rows of ``reliable`` that are not folded away."""


def view(summary: Mapping[str, Any], teachers: Sequence[str], findings: Sequence[str]) -> dict[str, Any]:
    """Everything that the template prints; ``summary`` may lack any part."""
    return {
        "there": any(within(summary, name) for name in ("about", "along", "agreement")),
        "about": _about(summary),
        "gold": measured.gold_of(summary),
        **_settings(summary),
        **_drift(summary, teachers),
        **_changes(summary, teachers),
        **_divergence(summary),
        **_agreement(summary, teachers, findings),
        **_trust(summary, teachers, findings),
        "notes": [*_list(within(summary, "about").get("notes")), *measured_panel.notes_of(summary)],
    }


def _about(summary: Mapping[str, Any]) -> str:
    """On what the numbers of every table rest."""
    splits = _list(within(summary, "about").get("fitted_on"))
    counts = numbers_in(within(summary, "about", "counts"))
    cases, clusters = (counts.get(name) for name in ("cases", "clusters"))
    where = f"Split {', '.join(splits)}" if splits else "All cases"
    if cases is None:
        return f"{where}."
    of = f" in {clusters.value:,.0f} clusters" if clusters is not None else ""
    return f"{where}: {cases.value:,.0f} cases{of}."


def _settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    settings = within(summary, "about", "settings")
    level, share = number(settings.get("alpha")), number(settings.get("alpha_of_each_family"))
    margin = number(settings.get("margin"))
    return {
        "level": _percent(level) or "5 %",
        "share": _percent(share),
        "margin": f"{margin:g}" if math.isfinite(margin) else "",
        "decisive": _percent(number(settings.get("decisive"))),
        "fdr": _percent(number(settings.get("fdr"))),
        "families": _list(within(summary, "about").get("families")),
    }


def _drift(summary: Mapping[str, Any], teachers: Sequence[str]) -> dict[str, Any]:
    along = measured.along_of(summary, teachers)
    margin = number(within(summary, "about", "settings").get("margin"))
    floor = within(summary, "along", "noise_floor")
    told = numbers_in(floor, *FLOOR)
    panel = within(summary, "along")
    return {
        "alarms": measured.alarms_of(summary),
        "along": along,
        "bands": multiples(along),
        "most_parts": max((len(row.parts) for row in along), default=0),
        "changes": changes(along, margin),
        "panel": read(panel.get("panel")),
        "panel_begins": read(panel.get("panel_split")).value,
        "laws": read(panel.get("laws")),
        "halves": numbers_in(panel.get("alpha"), "early", "late", "change"),
        "peeled": _list(panel.get("peeled_off")),
        "floor": {FLOOR[name]: each for name, each in told.items()},
        "own_noise": _ordered(numbers_in(within(floor, "teachers")), teachers),
        "no_floor": measured.no_floor_of(summary),
    }


def _changes(summary: Mapping[str, Any], teachers: Sequence[str]) -> dict[str, Any]:
    monitors = measured.monitors_of(summary, teachers)
    refusals = measured.refusals_of(summary, teachers)
    return {
        "monitors": monitors,
        "watched": list(dict.fromkeys(habit for each in monitors.values() for habit in each)),
        "adwin": measured.adwin_of(summary, teachers),
        "shifts": measured.shifts_of(summary, teachers),
        "versions": measured.versions_of(summary, teachers),
        "split_words": SPLIT,
        "refusals": refusals,
        "statuses": list(dict.fromkeys(status for row in refusals for status in row.answers)),
        "cases": numbers_in(within(summary, "cases"), "flagged", "judged"),
    }


def _divergence(summary: Mapping[str, Any]) -> dict[str, Any]:
    """In nats, of claims and of tokens; what is undefined is a sentence."""
    parts, totals = measured_panel.divergence_of(summary)
    known = {name: each for name, each in parts.items() if any(math.isfinite(one.value) for one in each)}
    undefined = [one for each in parts.values() for one in each if not math.isfinite(one.value)]
    missing = [each for each in totals.values() if not math.isfinite(each.value)]
    return {
        "nats": known,
        "nats_figures": {name: figure for name, each in known.items() if (figure := nats(name, each))},
        "nats_parts": max((len(each) for each in known.values()), default=0),
        "nats_totals": {name: each for name, each in totals.items() if math.isfinite(each.value)},
        "no_nats": why_missing([*missing, *(undefined if not known else ())]),
    }


def _agreement(
    summary: Mapping[str, Any], teachers: Sequence[str], findings: Sequence[str]
) -> dict[str, Any]:
    rows = measured_panel.agreement_of(summary, findings)
    table = within(summary, "agreement")
    shares = {
        row.label: {name: row.numbers[name].value for name in measured_panel.STATUSES if name in row.numbers}
        for row in rows
        if not row.attribute
    }
    pairs = measured_panel.pairs_of(summary, teachers)
    alike = [each.value for row in pairs.values() for each in row.values() if math.isfinite(each.value)]
    ends = (min(alike), max(alike)) if alike else (math.nan, math.nan)
    claims, presence = numbers_in(within(table, "claims")), numbers_in(within(table, "presence"))
    return {
        "agreement": rows,
        "agreement_numbers": [each for row in rows for each in row.numbers.values()],
        "stacked": stacked({name: share for name, share in shares.items() if share}),
        "presence": {name: each for name, each in presence.items() if math.isfinite(each.value)},
        "claims": {name: int(each.value) for name, each in claims.items() if math.isfinite(each.value)},
        "pairs": pairs,
        "alike": ends,
        "heat": _heat(*ends),
        "with_others": numbers_in(within(table, "teachers")),
    }


def _trust(summary: Mapping[str, Any], teachers: Sequence[str], findings: Sequence[str]) -> dict[str, Any]:
    rows = measured_panel.trust_of(summary, findings, teachers)
    judged = [row for row in rows if row.teachers]
    names = {name: None for row in judged for name in row.teachers}
    difficulty = within(summary, "reliability").get("difficulty")
    return {
        "trust": rows,
        "reliable": {
            SHOWN_AT_ONCE: [row for row in judged if measured_panel.plainly(row.attribute)],
            "Sides and other attributes": [
                row for row in judged if not measured_panel.plainly(row.attribute)
            ],
        },
        "judged": named(teachers, names),
        "difficulty": [(measured_panel.spelt(path), each) for path, each in single(difficulty)],
        "leak": measured.LEAK,
    }


def _heat(low: float, high: float) -> Callable[[float], str]:
    """How dark a cell is, from 0 at the least agreement to 1 at the most."""
    span = high - low

    def dark(value: float) -> str:
        if not math.isfinite(value) or not span > 0:
            return "0"
        return f"{min(max((value - low) / span, 0.0), 1.0):.3f}"

    return dark


def _percent(share: float) -> str:
    """Empty where there is none: then the page leaves it out."""
    return percent(share) if math.isfinite(share) else ""


def _list(given: Any) -> list[str]:
    return [str(each) for each in given] if isinstance(given, list) else []


def _ordered(found: Mapping[str, Measured], order: Sequence[str]) -> dict[str, Measured]:
    return {name: found[name] for name in named(order, found)}
