"""The results table as JSON and rows: one entry per teacher, student, consensus and baseline."""

from collections.abc import Mapping, Sequence
from typing import Any

from driftbound.evaluation.answers import MAJORITY, SHUFFLED
from driftbound.evaluation.classification import Rates, RowScore, best
from driftbound.records import Estimate
from driftbound.statistics.intervals import Sampled, difference, estimate, mean_of, plain, plain_estimate


def split_tables(
    rows: Mapping[str, RowScore],
    notes: Mapping[str, str],
    findings: Sequence[str],
    headline: Sequence[str],
) -> dict[str, Any]:
    """Everything about one split: rows by kind, paired comparisons, and which teacher leads.

    ``best_teacher`` has the highest balanced accuracy on these cases. ``one_class`` lists findings
    of which truth holds one class only: they have no balanced accuracy and no part in its means.
    """
    lead = [findings.index(name) for name in headline]
    tables = {name: table(row, findings, headline, notes[name]) for name, row in rows.items()}
    teachers = {name.partition(":")[2]: row for name, row in rows.items() if name.startswith("teacher:")}
    leader = best(teachers, lead)
    against = {
        "aligned_minus_bootstrapped": rows["student:bootstrapped"],
        "aligned_minus_majority": rows[MAJORITY],
    }
    if leader is not None:
        against["aligned_minus_best_teacher"] = teachers[leader]
    baselines = _of_kind("baseline", tables)
    if SHUFFLED not in rows:
        empty = _blank(tables[MAJORITY]) | {"note": "not possible: the images of one patient only"}
        baselines[SHUFFLED.partition(":")[2]] = empty
    return {
        "teachers": _of_kind("teacher", tables),
        "students": _of_kind("student", tables),
        "consensus": tables["consensus"],
        "baselines": baselines,
        "comparisons": {
            name: comparison(rows["student:aligned"], other, lead) for name, other in against.items()
        },
        "best_teacher": leader,
        "one_class": [name for f, name in enumerate(findings) if not 0 < rows[MAJORITY].prevalence[f] < 1],
    }


def table(row: RowScore, findings: Sequence[str], headline: Sequence[str], note: str) -> dict[str, Any]:
    """One entry: headline means first, then per finding, all findings, side and answers only."""
    lead = [findings.index(name) for name in headline]
    every = range(len(findings))
    return {
        **_means(row.rates, lead),
        "per_finding": {
            name: {
                "accuracy": plain_estimate(_column(row.rates.accuracy, f)),
                "balanced_accuracy": plain_estimate(_column(row.rates.balanced, f)),
                "sensitivity": plain(row.rates.sensitivity.point[f]),
                "specificity": plain(row.rates.specificity.point[f]),
                "prevalence": plain(row.prevalence[f]),
            }
            for f, name in enumerate(findings)
        },
        "mean_14": _means(row.rates, every),
        "answered_only": _means(row.answered, lead),
        "side_accuracy": plain_estimate(row.side_accuracy),
        "parsable": plain(row.parsable),
        "note": note,
    }


def comparison(one: RowScore, other: RowScore, columns: Sequence[int]) -> dict[str, Any]:
    """One minus other, paired on the same draws of patients, mean over ``columns``."""
    return {
        "accuracy": plain_estimate(_difference(one.rates.accuracy, other.rates.accuracy, columns)),
        "balanced_accuracy": plain_estimate(_difference(one.rates.balanced, other.rates.balanced, columns)),
    }


def score_rows(scores: Mapping[str, RowScore], findings: Sequence[str], split: str) -> list[dict[str, Any]]:
    """One row per table row and finding, with counts; ``nan`` where a rate is undefined."""
    rows = []
    for name, row in scores.items():
        for f, finding in enumerate(findings):
            tp, fp, tn, fn = (int(n) for n in row.counts[f])
            accuracy = _column(row.rates.accuracy, f)
            balanced = _column(row.rates.balanced, f)
            rows.append(
                {
                    "row": name,
                    "split": split,
                    "finding": finding,
                    "tp": tp,
                    "fp": fp,
                    "tn": tn,
                    "fn": fn,
                    "accuracy": accuracy.mean,
                    "accuracy_low": accuracy.low,
                    "accuracy_high": accuracy.high,
                    "balanced_accuracy": balanced.mean,
                    "balanced_accuracy_low": balanced.low,
                    "balanced_accuracy_high": balanced.high,
                    "sensitivity": float(row.rates.sensitivity.point[f]),
                    "specificity": float(row.rates.specificity.point[f]),
                    "prevalence": float(row.prevalence[f]),
                }
            )
    return rows


def _means(rates: Rates, columns: Sequence[int]) -> dict[str, Any]:
    return {
        "accuracy": plain_estimate(_column(mean_of(rates.accuracy, columns), 0)),
        "balanced_accuracy": plain_estimate(_column(mean_of(rates.balanced, columns), 0)),
    }


def _column(sampled: Sampled, column: int) -> Estimate:
    return estimate(float(sampled.point[column]), sampled.drawn[:, column])


def _difference(one: Sampled, other: Sampled, columns: Sequence[int]) -> Estimate:
    return difference(mean_of(one, columns), mean_of(other, columns))


def _of_kind(kind: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    return {name.partition(":")[2]: one for name, one in tables.items() if name.startswith(kind + ":")}


def _blank(entry: Any) -> Any:
    """The same table with every number null."""
    return {key: _blank(value) for key, value in entry.items()} if isinstance(entry, dict) else None
