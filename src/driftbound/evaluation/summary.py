"""The results table as JSON and rows: one entry per teacher, student, consensus and baseline."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftbound.evaluation.answers import ALIGNED_SHUFFLED, ALWAYS_PRIOR, CONSENSUS, MAJORITY, SHUFFLED, SIGNS
from driftbound.evaluation.classification import Key, Rates, RowScore, best
from driftbound.evaluation.ranks import ranks
from driftbound.evaluation.yes_no import sampled
from driftbound.records import Estimate
from driftbound.statistics.intervals import (
    Resamples,
    Sampled,
    difference,
    estimate,
    mean_of,
    plain,
    plain_estimate,
)

SCORES = pa.schema(
    [(name, pa.string()) for name in ("row", "split", "finding")]
    + [(name, pa.int64()) for name in ("tp", "fp", "tn", "fn")]
    + [
        (name, pa.float64())
        for name in (
            *("accuracy", "accuracy_low", "accuracy_high"),
            *("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"),
            *("f1", "f1_low", "f1_high"),
            *("sensitivity", "specificity", "prevalence"),
        )
    ]
)
"""Counts and rates per row and finding: ``scores.parquet``."""
_ALIGNED = "student:aligned"
_COMPARED = (
    (_ALIGNED, "student:bootstrapped"),
    (_ALIGNED, MAJORITY),
    (_ALIGNED, CONSENSUS),
    (_ALIGNED, ALIGNED_SHUFFLED),
    (ALIGNED_SHUFFLED, ALWAYS_PRIOR),
    (_ALIGNED, SIGNS),
)
"""Pairs of rows, the one minus the other; a pair of which one is missing is left out."""


def split_tables(
    rows: Mapping[str, RowScore],
    facts: Mapping[str, Mapping[str, Estimate]],
    notes: Mapping[str, str],
    findings: Sequence[str],
    headline: Sequence[str],
) -> dict[str, Any]:
    """Everything about one split: rows by kind, paired comparisons, ranks, and which teacher leads.

    ``facts`` are what ``facts.estimates`` says of each row. ``best_teacher`` has the highest balanced
    accuracy on these cases. ``one_class`` lists findings of which truth holds one class only: they have no
    balanced accuracy and no part in its means. ``draws_left_out`` is the share of the draws of patients on
    which one of the headline's other findings has one class only: the mean's interval is of the rest.
    """
    lead = [findings.index(name) for name in headline]
    tables = {
        name: table(row, findings, headline, notes[name])
        | {fact: plain_estimate(value) for fact, value in facts[name].items()}
        for name, row in rows.items()
    }
    teachers = {name.partition(":")[2]: row for name, row in rows.items() if name.startswith("teacher:")}
    students = {name.partition(":")[2]: row for name, row in rows.items() if name.startswith("student:")}
    leader = best(teachers, lead)
    pairs = {name: (rows[one], rows[other]) for name, (one, other) in _pairs(rows, leader).items()}
    baselines = _of_kind("baseline", tables)
    for shuffled in (name for name in (SHUFFLED, ALIGNED_SHUFFLED) if name not in rows):
        empty = _blank(tables[MAJORITY]) | {"note": "not possible: the images of one patient only"}
        baselines[_short(shuffled)] = empty
    return {
        "teachers": _of_kind("teacher", tables),
        "students": _of_kind("student", tables),
        "consensus": tables[CONSENSUS],
        "baselines": baselines,
        "comparisons": {name: comparison(*pair, lead) for name, pair in pairs.items()},
        "ranks": {name: ranks(row, teachers, findings) for name, row in students.items()},
        "best_teacher": leader,
        "draws_left_out": plain(_undefined(mean_of(rows[ALWAYS_PRIOR].rates.balanced, lead))),
        "one_class": [
            name for f, name in enumerate(findings) if not 0 < rows[ALWAYS_PRIOR].prevalence[f] < 1
        ],
    }


def extend(tables: dict[str, Any], word: str, found: Mapping[str, Mapping[str, Sampled]]) -> None:
    """Add further numbers under ``word`` to every row of one split's tables, and to its comparisons.

    ``found`` is row -> metric -> its value on all cases and on each draw (one column), of the draws that
    all rows share.
    """
    for row, metrics in found.items():
        made = {metric: plain_estimate(_column(one, 0)) for metric, one in metrics.items()}
        _entry(tables, row).setdefault(word, {}).update(made)
    for name, (one, other) in _pairs(found, tables["best_teacher"]).items():
        both = found[one].keys() & found[other].keys()
        made = {
            metric: plain_estimate(difference(found[one][metric], found[other][metric]))
            for metric in found[one]
            if metric in both
        }
        tables["comparisons"][name].setdefault(word, {}).update(made)


def extend_auroc(
    tables: dict[str, Any],
    chances: Mapping[str, NDArray[np.float64]],
    key: Key,
    headline: Sequence[str],
    resamples: Resamples,
) -> None:
    """Put ``auroc`` into the rows with probabilities (n, F) of the key's findings, and into comparisons.

    ``mean`` is over the headline findings of which the truth has both classes, ``mean_14`` over all such, and
    that of ``zero_shot`` over its own. What is not scored, or not known, has no part.
    """
    truth = np.where(key.scored, key.present.astype(np.float64), np.nan)
    found = {row: sampled(one, truth, resamples) for row, one in chances.items()}
    lead, every = [key.findings.index(name) for name in headline], range(len(key.findings))
    for row, areas in found.items():
        _entry(tables, row)["auroc"] = {
            "mean": plain_estimate(_column(mean_of(areas, lead), 0)),
            "mean_14": plain_estimate(_column(mean_of(areas, every), 0)),
            "mean_findings": int((~np.isnan(areas.point[lead])).sum()),
            "per_finding": {name: plain_estimate(_column(areas, f)) for f, name in enumerate(key.findings)},
        }
        if "zero_shot" in tables:
            own = [key.findings.index(name) for name in tables["zero_shot"]["findings"]]
            tables["zero_shot"]["rows"][row]["auroc"] = plain_estimate(_column(mean_of(areas, own), 0))
    for name, (one, other) in _pairs(found, tables["best_teacher"]).items():
        tables["comparisons"][name]["auroc"] = plain_estimate(_difference(found[one], found[other], lead))


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
                "f1": plain_estimate(_column(row.rates.f1, f)),
                "prevalence": plain(row.prevalence[f]),
            }
            for f, name in enumerate(findings)
        },
        "mean_14": _means(row.rates, every),
        "answered_only": _means(row.answered, lead),
        "side_accuracy": plain_estimate(row.side_accuracy),
        "wrong_side_rate": plain_estimate(row.wrong_side),
        "parsable": plain(row.parsable),
        "note": note,
    }


def comparison(one: RowScore, other: RowScore, columns: Sequence[int]) -> dict[str, Any]:
    """One minus other, paired on the same draws of patients, mean over ``columns``."""
    return {
        "accuracy": plain_estimate(_difference(one.rates.accuracy, other.rates.accuracy, columns)),
        "balanced_accuracy": plain_estimate(_difference(one.rates.balanced, other.rates.balanced, columns)),
        "macro_f1": plain_estimate(_difference(one.rates.f1, other.rates.f1, columns)),
    }


def score_rows(scores: Mapping[str, RowScore], findings: Sequence[str], split: str) -> list[dict[str, Any]]:
    """One row per table row and finding, with counts; ``nan`` where a rate is undefined."""
    rows = []
    for name, row in scores.items():
        for f, finding in enumerate(findings):
            tp, fp, tn, fn = (int(n) for n in row.counts[f])
            accuracy = _column(row.rates.accuracy, f)
            balanced = _column(row.rates.balanced, f)
            f1 = _column(row.rates.f1, f)
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
                    "f1": f1.mean,
                    "f1_low": f1.low,
                    "f1_high": f1.high,
                    "prevalence": float(row.prevalence[f]),
                }
            )
    return rows


def _means(rates: Rates, columns: Sequence[int]) -> dict[str, Any]:
    return {
        "accuracy": plain_estimate(_column(mean_of(rates.accuracy, columns), 0)),
        "balanced_accuracy": plain_estimate(_column(mean_of(rates.balanced, columns), 0)),
        "macro_f1": plain_estimate(_column(mean_of(rates.f1, columns), 0)),
        "macro_f1_findings": int((~np.isnan(rates.f1.point[list(columns)])).sum()),
    }


def _undefined(sampled: Sampled) -> float:
    """Share of the draws without a number; ``nan`` where nothing was drawn."""
    return float(np.isnan(sampled.drawn[:, 0]).mean()) if len(sampled.drawn) else float("nan")


def _column(sampled: Sampled, column: int) -> Estimate:
    return estimate(float(sampled.point[column]), sampled.drawn[:, column])


def _difference(one: Sampled, other: Sampled, columns: Sequence[int]) -> Estimate:
    """Of the means over those columns that both rows have a number for: else they are of other findings."""
    both = [c for c in columns if not (np.isnan(one.point[c]) or np.isnan(other.point[c]))]
    return difference(mean_of(one, both), mean_of(other, both))


def _entry(tables: dict[str, Any], row: str) -> dict[str, Any]:
    kind, _, name = row.partition(":")
    entry: dict[str, Any] = tables[f"{kind}s"][name] if name else tables[row]
    return entry


def _pairs(rows: Collection[str], leader: str | None) -> dict[str, tuple[str, str]]:
    """Name of a comparison -> its two rows, of those that are there."""
    compared = {f"{_short(one)}_minus_{_short(other)}": (one, other) for one, other in _COMPARED}
    if leader is not None:
        compared["aligned_minus_best_teacher"] = _ALIGNED, f"teacher:{leader}"
    return {name: pair for name, pair in compared.items() if pair[0] in rows and pair[1] in rows}


def _short(row: str) -> str:
    return row.rpartition(":")[2]


def _of_kind(kind: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    return {name.partition(":")[2]: one for name, one in tables.items() if name.startswith(kind + ":")}


def _blank(entry: Any) -> Any:
    """The same table with every number null."""
    return {key: _blank(value) for key, value in entry.items()} if isinstance(entry, dict) else None
