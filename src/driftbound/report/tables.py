"""Tables of the report: what evaluate found, as rows to print, and the headline in words."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.records import Estimate

NOTHING = Estimate(mean=math.nan, low=math.nan, high=math.nan)

STUDENTS = ("base", "bootstrapped", "aligned")
"""In the order of the method."""

LABELS = {
    "base": "base",
    "bootstrapped": "bootstrapped student",
    "aligned": "aligned student",
    "majority": "majority of teachers",
    "consensus": "consensus",
    "always_prior": "always the more frequent answer",
    "always_no": "always no",
    "bootstrapped_images_shuffled": "bootstrapped, images shuffled",
    "aligned_images_shuffled": "aligned, images shuffled",
    "signs": "base's eye, textbook rule",
}
NOTES = {
    "base": "before it saw a case of this field",
    "majority": "uses teachers at test time",
    "consensus": "uses teachers at test time",
    "always_prior": "never looks",
    "bootstrapped_images_shuffled": "each question with another case's image",
    "aligned_images_shuffled": "each question with another case's image",
    "signs": "no teacher",
}
GROUPS = {
    "student": "Students",
    "teacher": "Teachers",
    "together": "With teachers at test time",
    "control": "Controls",
}
"""Kinds of row, in the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One answerer's scores on one split. Shares and accuracies lie in [0, 1]; ``nan``: unknown."""

    kind: str
    """A key of ``GROUPS``."""
    name: str
    label: str
    note: str
    balanced_accuracy: Estimate
    accuracy: Estimate
    findings: dict[str, Estimate]
    """Balanced accuracy per headline finding."""
    macro_f1: Estimate
    wrong_side: Estimate
    """Of the true findings that it asserts with a side: on the wrong one."""
    unsupported: Estimate
    """Of its claims: no teacher makes them."""
    contradictions: Estimate
    """Of its answers: assert and deny one thing."""
    parsable: float
    mean_14: Estimate
    """Balanced accuracy over all findings."""
    answered: Estimate
    """Balanced accuracy without refusals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One paired comparison in words. ``tone`` is ``better``, ``worse`` or ``open``."""

    against: str
    difference: Estimate
    tone: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What the page opens with."""

    sentence: str
    verdicts: tuple[Verdict, ...]
    parsable: str


def number(value: Any) -> float:
    """``value`` as a float, ``nan`` where it is missing.

    >>> number(None), number("0.5"), number(2)
    (nan, nan, 2.0)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def estimate(table: Any) -> Estimate:
    """The estimate that ``{"mean", "low", "high"}`` describes; ``NOTHING`` for anything else."""
    if not isinstance(table, Mapping):
        return NOTHING
    return Estimate(
        mean=number(table.get("mean")), low=number(table.get("low")), high=number(table.get("high"))
    )


def digits(value: float, places: int = 3, *, signed: bool = False) -> str:
    """A number as the page prints it; an en dash where there is none.

    >>> digits(0.61249), digits(-0.0004, signed=True), digits(0.05, 2, signed=True), digits(math.nan)
    ('0.612', '0.000', '+0.05', '–')
    """
    if not math.isfinite(value):
        return "–"
    text = f"{abs(value):.{places}f}"
    if float(text) == 0:
        return text
    sign = "−" if value < 0 else "+" if signed else ""
    return sign + text


def between(value: Estimate, *, signed: bool = False) -> str:
    """The interval in words: ``0.580 to 0.661``."""
    return f"{digits(value.low, signed=signed)} to {digits(value.high, signed=signed)}"


def score_rows(table: Mapping[str, Any], headline: Sequence[str]) -> list[ScoreRow]:
    """Rows of one split's results: students, teachers (best first), teachers together, controls."""
    rows = [_row(kind, name, scores, headline) for kind, name, scores in entries(table)]
    kinds = list(GROUPS)

    def place(row: ScoreRow) -> tuple[int, float, int]:
        mean = row.balanced_accuracy.mean
        best_first = -mean if row.kind == "teacher" and math.isfinite(mean) else 0.0
        known = STUDENTS.index(row.name) if row.name in STUDENTS else len(STUDENTS)
        return kinds.index(row.kind), best_first, known

    return sorted(rows, key=place)


def best_teacher(rows: Sequence[ScoreRow]) -> str:
    """Name of the teacher with the highest balanced accuracy, empty where there is none."""
    return next((row.name for row in rows if row.kind == "teacher"), "")


def headline_of(table: Mapping[str, Any], rows: Sequence[ScoreRow]) -> Headline:
    """The result in one sentence, and the aligned student against each of its rivals."""
    named = {(row.kind, row.name): row for row in rows}
    aligned = named.get(("student", "aligned"))
    comparisons = table.get("comparisons", {})
    best = str(table.get("best_teacher") or "") or best_teacher(rows)
    rivals = {
        "aligned_minus_bootstrapped": "the bootstrapped student",
        "aligned_minus_best_teacher": f"the best teacher, {best}" if best else "the best teacher",
        "aligned_minus_majority": "the majority of the teachers",
        "aligned_minus_signs": "the base's eye with a textbook rule",
        "aligned_minus_aligned_images_shuffled": "itself when shown other patients' images",
    }
    verdicts = tuple(
        verdict(rival, estimate(comparisons[key].get("balanced_accuracy")))
        for key, rival in rivals.items()
        if isinstance(comparisons.get(key), Mapping)
    )
    if aligned is None or not math.isfinite(aligned.balanced_accuracy.mean):
        return Headline(sentence="There is no aligned student to report on.", verdicts=(), parsable="")
    value = aligned.balanced_accuracy
    cases, clusters = table.get("n_cases"), table.get("n_clusters")
    on = f"On {cases} held-out cases in {clusters} clusters, the" if cases and clusters else "The"
    sentence = (
        f"{on} aligned student reaches a balanced accuracy of {digits(value.mean)} "
        f"(95 % interval {between(value)})."
    )
    before = named.get(("student", "bootstrapped"))
    parsable = f"Parsable answers: {digits(aligned.parsable)} after alignment" + (
        f", {digits(before.parsable)} before." if before is not None else "."
    )
    return Headline(sentence=sentence, verdicts=verdicts, parsable=parsable)


def verdict(rival: str, difference: Estimate) -> Verdict:
    """Say a paired difference honestly: an interval that includes zero is no difference shown.

    >>> verdict("the majority", Estimate(mean=0.02, low=-0.01, high=0.05)).sentence
    'No clear difference from the majority: +0.020 (−0.010 to +0.050; the interval includes zero).'
    >>> verdict("the majority", Estimate(mean=-0.1, low=-0.2, high=-0.01)).sentence
    'Below the majority by 0.100 (paired difference −0.100, −0.200 to −0.010).'
    """
    mean, interval = difference.mean, between(difference, signed=True)
    if not all(math.isfinite(part) for part in (mean, difference.low, difference.high)):
        tone, sentence = "open", f"Not compared with {rival}."
    elif difference.low > 0 or difference.high < 0:
        tone, word = ("better", "Above") if mean > 0 else ("worse", "Below")
        signed = digits(mean, signed=True)
        sentence = f"{word} {rival} by {digits(abs(mean))} (paired difference {signed}, {interval})."
    else:
        tone = "open"
        signed = digits(mean, signed=True)
        sentence = f"No clear difference from {rival}: {signed} ({interval}; the interval includes zero)."
    return Verdict(against=rival, difference=difference, tone=tone, sentence=sentence)


def splits_of(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Result tables by split; the first, which the summary names, is the headline."""
    splits = summary.get("splits")
    if isinstance(splits, Mapping) and splits:
        tables = {str(name): table for name, table in splits.items() if isinstance(table, Mapping)}
        return dict(sorted(tables.items(), key=lambda item: item[0] != summary.get("split")))
    return {"test": summary}


def shortened(name: str, longest: int) -> str:
    """A name of at most ``longest`` characters, its middle left out: heads and versions tell names apart.

    >>> shortened("a-very-long-name-2025", 12), shortened("short", 12)
    ('a-very…-2025', 'short')
    """
    if len(name) <= longest:
        return name
    head = longest // 2
    return f"{name[:head]}…{name[len(name) - (longest - head - 1) :]}"


def entries(table: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Kind (of ``GROUPS``), name and scores of every row of one split's results."""
    for name, scores in (table.get("students") or {}).items():
        yield "student", name, scores
    for name, scores in (table.get("teachers") or {}).items():
        yield "teacher", name, scores
    if table.get("consensus"):
        yield "together", "consensus", table["consensus"]
    for name, scores in (table.get("baselines") or {}).items():
        yield ("together" if name == "majority" else "control"), name, scores


def _row(kind: str, name: str, scores: Mapping[str, Any], headline: Sequence[str]) -> ScoreRow:
    own = kind == "teacher"  # a teacher may carry the name of a baseline
    per_finding = scores.get("per_finding") or {}
    return ScoreRow(
        kind=kind,
        name=name,
        label=name if own else LABELS.get(name, name.replace("_", " ")),
        note=str(scores.get("note") or "") or ("" if own else NOTES.get(name, "")),
        balanced_accuracy=estimate(scores.get("balanced_accuracy")),
        accuracy=estimate(scores.get("accuracy")),
        findings={
            name: estimate((per_finding.get(name) or {}).get("balanced_accuracy")) for name in headline
        },
        macro_f1=estimate(scores.get("macro_f1")),
        wrong_side=estimate(scores.get("wrong_side_rate")),
        unsupported=estimate(scores.get("unsupported")),
        contradictions=estimate(scores.get("contradictions")),
        parsable=number(scores.get("parsable")),
        mean_14=estimate((scores.get("mean_14") or {}).get("balanced_accuracy")),
        answered=estimate((scores.get("answered_only") or {}).get("balanced_accuracy")),
    )
