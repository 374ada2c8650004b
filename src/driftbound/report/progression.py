"""Progression on the page: a table for every split whose cases ask what has become of findings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftbound.records import Estimate
from driftbound.report.tables import GROUPS, LABELS, STUDENTS, between, digits, estimate

_BASELINES = {
    "always_stable": "always stable",
    "most_frequent": "always the most frequent course",
    "plurality": "what most teachers say",
}
_KINDS = {"student": "student", "teacher": "teacher"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseRow:
    """One answerer on the pairs of one split; ``nan``: unknown."""

    kind: str
    """A key of ``GROUPS``."""
    label: str
    note: str
    macro_accuracy: Estimate
    accuracy: Estimate
    findings: dict[str, Estimate]
    """Macro accuracy per finding."""
    flip_consistency: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseTable:
    """One split."""

    split: str
    pairs: int
    patients: int
    findings: tuple[str, ...]
    """Those that somebody has judged on a pair."""
    rows: tuple[CourseRow, ...]
    against: str
    """The aligned student less the best teacher, in words; empty where there is none."""


def course_tables(summary: Mapping[str, Any]) -> list[CourseTable]:
    """The tables of ``progression`` in ``6-evaluate/summary.json``; none where nothing asked for it."""
    found = summary.get("progression")
    return [_table(name, own) for name, own in found.items()] if isinstance(found, Mapping) else []


def _table(split: str, own: Mapping[str, Any]) -> CourseTable:
    findings = tuple(name for name, counts in own["judged"].items() if any(counts.values()))
    rows = [_row(name, entry, findings) for name, entry in own["rows"].items()]
    kinds, students = list(GROUPS), [LABELS[name] for name in STUDENTS]

    def place(row: CourseRow) -> tuple[int, int, float]:
        """By kind; the students in the order of the method, the others best first."""
        mean = row.macro_accuracy.mean
        method = students.index(row.label) if row.kind == "student" else 0
        return kinds.index(row.kind), method, -mean if math.isfinite(mean) else math.inf

    return CourseTable(
        split=split,
        pairs=own["n_cases"],
        patients=own["n_clusters"],
        findings=findings,
        rows=tuple(sorted(rows, key=place)),
        against=_against(own),
    )


def _row(name: str, entry: Mapping[str, Any], findings: tuple[str, ...]) -> CourseRow:
    kind, _, word = name.partition(":")
    group = _KINDS.get(kind, "together" if word == "plurality" else "control")
    label = word if group == "teacher" else _BASELINES.get(word) or LABELS.get(word, word)
    return CourseRow(
        kind=group,
        label=label,
        note=str(entry["note"]),
        macro_accuracy=estimate(entry["macro_accuracy"]),
        accuracy=estimate(entry["accuracy"]),
        findings={each: estimate(entry["per_finding"][each]["macro_accuracy"]) for each in findings},
        flip_consistency=estimate(entry.get("flip_consistency")),
    )


def _against(own: Mapping[str, Any]) -> str:
    gap = estimate((own["comparisons"].get("aligned_minus_best_teacher") or {}).get("macro_accuracy"))
    if not math.isfinite(gap.mean):
        return ""
    return (
        f"Aligned student less the best teacher, {own['best_teacher']}: {digits(gap.mean, signed=True)} "
        f"(95 % interval {between(gap, signed=True)})."
    )
