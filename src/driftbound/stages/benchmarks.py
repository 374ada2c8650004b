"""Benchmarks: what ``evaluate`` adds for a field with further data sets: always no, and zero-shot means."""

from collections.abc import Mapping
from typing import Any

from driftbound.evaluation.answers import ALWAYS_NO, Answers, Text
from driftbound.evaluation.classification import RowScore
from driftbound.evaluation.summary import table
from driftbound.protocols import Benchmarked, Domain
from driftbound.stages.answering import answer_of
from driftbound.stages.context import Context
from driftbound.stages.held_out import HeldOut

_MEANS = ("balanced_accuracy", "accuracy", "macro_f1", "macro_f1_findings")


def course_splits(domain: Domain) -> tuple[str, ...]:
    """Splits that ask what has become of findings; none in most fields."""
    return domain.course_splits if isinstance(domain, Benchmarked) else ()


def table_splits(context: Context) -> list[str]:
    """The evaluated splits that have a results table, in the recipe's order."""
    return [name for name in context.recipe.evaluate.splits if name not in course_splits(context.domain)]


def always_no(context: Context, split: HeldOut) -> Answers:
    """The row that denies everything whatever is shown, on splits of a benchmark that asks for it."""
    domain = context.domain
    if not isinstance(domain, Benchmarked) or split.name not in domain.always_no:
        return {}
    text = Text(domain.render(dict.fromkeys(domain.findings, "absent")), False)
    return {ALWAYS_NO: [answer_of(context, case, text) for case in split.cases]}


def zero_shot(context: Context, split: str, rows: Mapping[str, RowScore]) -> dict[str, Any]:
    """``zero_shot``: every row's means over the findings of the published protocol of a split's data set."""
    domain = context.domain
    own = domain.zero_shot(split) if isinstance(domain, Benchmarked) else ()
    if not own:
        return {}
    means = {name: table(row, domain.findings, own, "") for name, row in rows.items()}
    return {
        "zero_shot": {
            "findings": list(own),
            "rows": {name: {key: one[key] for key in _MEANS} for name, one in means.items()},
        }
    }
