"""The results for a terminal of 80 columns: the headline table, other splits, reports and consistency."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from driftbound.records import Estimate
from driftbound.report.further import further
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


def others(summary: Mapping[str, Any]) -> Iterator[Table]:
    """The same of the further splits, of students and of what needs teachers at test time."""
    for split, results in list(splits_of(summary).items())[1:]:
        table = Table(title=_title(split, results), box=SIMPLE, padding=(0, 1))
        table.add_column("", overflow="fold", max_width=28)
        table.add_column("balanced accuracy", justify="right", no_wrap=True)
        table.add_column("accuracy", justify="right", no_wrap=True)
        for row in score_rows(results, ()):
            if row.kind in ("student", "together"):
                strong = "bold" if row.kind == "student" else ""
                label = Text(row.label, style=strong)
                table.add_row(label, _cell(row.balanced_accuracy), _cell(row.accuracy))
        yield table


def reports(summary: Mapping[str, Any]) -> Table | None:
    """Answers against reference reports, on the first split; ``None`` where nothing was compared."""
    return _further(summary, "Reports", ("ROUGE-L", "clinical F1, micro"), ("BLEU-4", "CIDEr-D"))


def consistency(summary: Mapping[str, Any]) -> Table | None:
    """How answers hold together, on the first split; ``None`` where nothing is known."""
    return _further(
        summary, "Consistency", ("similarity (claim F1)", "contradict themselves"), ("samples agree",)
    )


def _further(
    summary: Mapping[str, Any], title: str, whole: Sequence[str], means: Sequence[str]
) -> Table | None:
    """Columns ``whole`` with their intervals, and of ``means`` the means alone, those there are."""
    split, results = next(iter(splits_of(summary).items()))
    found = next((one for one in further(results, ()) if one.title == title and one.rows), None)
    if found is None:
        return None
    place = {
        heading: found.columns.index(heading) for heading in (*whole, *means) if heading in found.columns
    }
    table = Table(title=f"{title}, {split}", caption=_CAPTIONS[title], box=SIMPLE, padding=(0, 1))
    table.add_column("", overflow="fold", min_width=20, max_width=20)
    for heading in place:
        narrow = (
            heading.replace(" ", "\n").replace("-", "-\n")
            if heading in means
            else heading.replace(", ", ",\n")
        )
        table.add_column(narrow, justify="right", no_wrap=True)
    for kind, rows in groupby(found.rows, key=lambda row: row.kind):
        table.add_section()
        table.add_row(Text(GROUPS[kind], style="dim"))
        for row in rows:
            cells = [
                _cell(row.values[at]) if heading in whole else Text(digits(row.values[at].mean, 2))
                for heading, at in place.items()
            ]
            table.add_row(Text(row.label, style="bold" if row.kind == "student" else ""), *cells)
    return table


_CAPTIONS = {
    "Reports": "every answer against its case's reference report; the report page has all metrics",
    "Consistency": "claims against the reference's; self-contradiction; agreement of repeated answers",
}


def _cell(value: Estimate) -> Text:
    return Text.assemble(digits(value.mean), (f" {between(value)}".replace(" to ", "–"), "dim"))


def _title(split: str, results: Mapping[str, Any]) -> str:
    cases, clusters = results.get("n_cases"), results.get("n_clusters")
    return f"{split}: {cases} cases in {clusters} clusters" if cases and clusters else split
