"""The measure in a terminal of 80 columns: alarms, teachers, findings, and what they come to in sentences."""

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from driftbound.records import Measured
from driftbound.report.measured import (
    LEAK,
    Agreed,
    Along,
    alarms_of,
    along_of,
    gold_of,
    no_floor_of,
    refusals_of,
)
from driftbound.report.measured_figures import interval
from driftbound.report.measured_panel import agreement_of, trust_of
from driftbound.report.measured_summary import (
    named,
    numbers_in,
    percent,
    probability,
    read,
    why_missing,
    within,
)
from driftbound.report.spans import displayable
from driftbound.report.tables import digits, number

NAME = 16
"""Columns of a name; of a longer one the middle is left out."""
MOST = 20
"""Findings in the table; of more the most conflicting."""
SHARES = ("agreed", "conflicting", "undecided")


def measured_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Alarms, teachers and findings of ``2-measure/summary.json``; a table without a row is left out."""
    tables = [_alarms(summary), _teachers(summary), _findings(summary)]
    return [table for table in tables if table.row_count]


def headline_sentences(summary: Mapping[str, Any]) -> list[str]:
    """What the measure found, in a few sentences."""
    return [
        *_said_of_alarms(summary),
        *_said_of_tests(summary),
        *_said_of_claims(summary),
        *_said_of_noise(summary),
        f"{gold_of(summary)} {LEAK}",
    ]


def fitted(name: str, columns: int = NAME) -> str:
    """A name on at most so many columns of a terminal, its middle left out.

    >>> fitted("mistral-large-2411-instruct"), fitted("gpt-5")
    ('mistral-…nstruct', 'gpt-5')
    """
    name = " ".join(displayable(name).split())
    if cell_len(name) <= columns:
        return name
    head, tail = "", ""
    while cell_len(head + name[len(head)]) <= columns // 2:
        head += name[len(head)]
    while cell_len(name[-len(tail) - 1] + tail) <= columns - cell_len(head) - 1:
        tail = name[-len(tail) - 1] + tail
    return f"{head}…{tail}"


def _alarms(summary: Mapping[str, Any]) -> Table:
    table = _table("Alarms", f"adjusted p; at most {_level(summary)} for any false alarm in the run")
    table.add_column("who", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("effect", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    for alarm in alarms_of(summary):
        table.add_row(
            Text(fitted(alarm.who)),
            Text(" ".join(displayable(alarm.what).split())),
            _cell(alarm.effect, 3, signed=True),
            probability(alarm.p_adjusted),
        )
    return table


def _teachers(summary: Mapping[str, Any]) -> Table:
    refusals = {row.teacher: row for row in refusals_of(summary, ())}
    along = {row.teacher: row for row in along_of(summary, ())}
    agree = numbers_in(within(summary, "agreement", "teachers"))
    table = _table(
        "Teachers",
        "change: later less earlier parts of the answers, * where the teacher drifts",
    )
    table.add_column("teacher", no_wrap=True)
    for name in ("answers", "refused", "agreement", "change", "p", "version\nchanges"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in named(list(refusals), refusals, along, agree):
        row, own = refusals.get(name), along.get(name)
        table.add_row(
            Text(fitted(name)),
            f"{sum(row.answers.values()):,}" if row else "–",
            _share(row.rate) if row else "–",
            _cell(agree[name], 2) if name in agree else "–",
            _change(own),
            probability(own.change.p) if own else "–",
            _versions(summary, name),
        )
    return table


def _findings(summary: Mapping[str, Any]) -> Table:
    rows = [row for row in agreement_of(summary, ()) if not row.attribute]
    trust = {(each.finding, each.label): each for each in trust_of(summary, (), ())}
    shown = rows
    if len(rows) > MOST:
        shown = sorted(rows, key=lambda row: -_known(row, "conflicting"))[:MOST]
    cut = "" if len(shown) == len(rows) else f"{MOST} of {len(rows)}, most conflicting first; "
    table = _table("Findings", f"{cut}% of cases; open: claims that the method leaves undecided")
    table.add_column("finding", no_wrap=True)
    for name in ("agreed", "confl.", "undec."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("alpha", justify="right", no_wrap=True)
    table.add_column("method", no_wrap=True)
    table.add_column("open", justify="right", no_wrap=True)
    for row in shown:
        how = trust.get((row.finding, row.finding))
        table.add_row(
            Text(fitted(row.finding)),
            *(_share(row.numbers[name]) if name in row.numbers else "–" for name in SHARES),
            _cell(row.numbers["alpha"], 2) if "alpha" in row.numbers else "–",
            Text(fitted(how.method.replace("_", " "), 12) if how else "–"),
            f"{how.undecided.value:,.0f}" if how and math.isfinite(how.undecided.value) else "–",
        )
    return table


def _said_of_alarms(summary: Mapping[str, Any]) -> list[str]:
    alarms = alarms_of(summary)
    if not alarms:
        return [f"No alarm at the {_level(summary)} level for the whole run."] if "alarms" in summary else []
    families: dict[str, list[str]] = {}
    for alarm in alarms:
        families.setdefault(alarm.family, []).append(displayable(alarm.who))
    told = "; ".join(f"{family}: {', '.join(dict.fromkeys(who))}" for family, who in families.items())
    word = "alarm" if len(alarms) == 1 else "alarms"
    return [f"{len(alarms)} {word} at the {_level(summary)} level for the whole run. {told}."]


def _said_of_claims(summary: Mapping[str, Any]) -> list[str]:
    claims = numbers_in(within(summary, "agreement", "claims"), *SHARES)
    total = sum(each.value for each in claims.values())
    if not total > 0:
        return []
    told = ", ".join(f"{name} {percent(round(each.value / total, 3))}" for name, each in claims.items())
    alpha = numbers_in(within(summary, "agreement", "presence")).get("alpha")
    known = alpha is not None and math.isfinite(alpha.value)
    beyond = f"; alpha of presence {digits(alpha.value)} ({interval(alpha)})" if alpha and known else ""
    return [f"Of {total:,.0f} claims: {told}{beyond}."]


def _said_of_noise(summary: Mapping[str, Any]) -> list[str]:
    floor = within(summary, "along", "noise_floor")
    excess = read(floor.get("excess"))
    if math.isfinite(excess.value):
        within_one = read(floor.get("within_teachers"))
        return [
            f"Asked again, a teacher differs from itself on {percent(round(within_one.value, 3))} of its "
            f"votes; beyond that two teachers differ on {percent(round(excess.value, 3))} "
            f"({percent(round(excess.low, 3))} to {percent(round(excess.high, 3))})."
        ]
    reason = no_floor_of(summary)
    return [f"No noise floor: {reason}."] if reason else []


def _said_of_tests(summary: Mapping[str, Any]) -> list[str]:
    """Where nothing could be tested, silence is no all-clear."""
    changes = [row.change for row in along_of(summary, ())]
    reasons = why_missing([*changes, read(within(summary, "along").get("panel"))])
    if any(math.isfinite(each.p) for each in changes) or not reasons:
        return []
    return [f"Drift along the answers could not be tested: {'; '.join(reasons)}."]


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE,
        padding=0, show_edge=False,
    )  # fmt: skip


def _cell(found: Measured, places: int, *, signed: bool = False) -> Text:
    if not math.isfinite(found.value):
        return Text("–")
    value = digits(found.value, places, signed=signed)
    between = interval(found, places, signed=signed)
    if not signed and not between.startswith("−"):
        between = between.replace(" to ", "–")
    return Text.assemble(value, (f" {between}", "dim"))


def _share(found: Measured) -> str:
    return f"{100 * found.value:.1f} %" if math.isfinite(found.value) else "–"


def _change(own: Along | None) -> str:
    if own is None or not math.isfinite(own.change.value):
        return "–"
    half = (own.change.high - own.change.low) / 2
    within_half = f" ±{digits(half)}" if math.isfinite(half) else ""
    return digits(own.change.value, signed=True) + within_half + ("*" if own.drifts else " ")


def _versions(summary: Mapping[str, Any], teacher: str) -> str:
    changes = within(summary, "versions", "teachers", teacher).get("changes")
    return str(len(changes)) if isinstance(changes, list) else "–"


def _known(row: Agreed, name: str) -> float:
    value = row.numbers[name].value if name in row.numbers else math.nan
    return value if math.isfinite(value) else -1.0


def _level(summary: Mapping[str, Any]) -> str:
    level = number(within(summary, "about", "settings").get("alpha"))
    return percent(level) if math.isfinite(level) else "5 %"
