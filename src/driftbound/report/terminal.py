"""The headline table for a terminal of 80 columns."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from driftbound.records import Estimate
from driftbound.report.tables import GROUPS, between, digits, score_rows, splits_of


def headline(summary: Mapping[str, Any]) -> Table:
    """Balanced accuracy, accuracy (each with its 95 % interval) and parsable share of every row.

    ``summary`` is ``6-evaluate/summary.json``; the first split is shown.
    """
    split, results = next(iter(splits_of(summary).items()))
    table = Table(
        title=_title(split, results),
        caption="95 % intervals, resampling clusters (all cases of a patient or document)",
        box=SIMPLE,
        padding=(0, 1),
    )
    table.add_column("", overflow="fold", max_width=28)
    table.add_column("balanced accuracy", justify="right", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("pars-\nable", justify="right", no_wrap=True)
    for kind, rows in groupby(score_rows(results, ()), key=lambda row: row.kind):
        table.add_section()
        table.add_row(Text(GROUPS[kind], style="dim"))
        for row in rows:
            strong = "bold" if row.kind == "student" else ""
            table.add_row(
                Text(row.label, style=strong),
                _cell(row.balanced_accuracy),
                _cell(row.accuracy),
                digits(row.parsable, 2),
            )
    return table


def _cell(value: Estimate) -> Text:
    return Text.assemble(digits(value.mean), (f" {between(value)}".replace(" to ", "–"), "dim"))


def _title(split: str, results: Mapping[str, Any]) -> str:
    cases, clusters = results.get("n_cases"), results.get("n_clusters")
    return f"{split}: {cases} cases in {clusters} clusters" if cases and clusters else split
