"""Rendering: tables and lists of the study's page, as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from driftbound.report.tables import between, digits
from driftbound.study import tables
from driftbound.study.compare import ABOVE, BELOW, OPEN, UNKNOWN, OverSeeds
from driftbound.study.goals import FAILED, MET, chance, difference, goals
from driftbound.study.material import Material, kind_of
from driftbound.study.results import CONSENSUS, PRIOR, SIGNS
from driftbound.study.tables import ArmRow, Comparison

_NUMBERS = (
    *(("unsupported", 3), ("contradictions", 3), ("parsable", 3), ("repeated", 3)),
    *(("words", 1), ("dispersion", 3)),
)


def arm_table(rows: Sequence[ArmRow], material: Material) -> str:
    """All main arms on one split."""
    head = (
        *("arm", "balanced accuracy", "accuracy", "macro-F1", "wrong side"),
        *(name for name, _ in _NUMBERS),
        *("consensus told", "teacher told", "cases", "seconds", "seeds"),
    )
    lines = [
        [
            _named(row, material),
            _interval(row.metrics["balanced_accuracy"]),
            _interval(row.metrics["accuracy"]),
            digits(row.metrics["macro_f1"].estimate.mean),
            digits(row.metrics["wrong_side"].estimate.mean),
            *(digits(row.numbers[name], places) for name, places in _NUMBERS),
            digits(row.probe),
            digits(row.probe_teachers),
            digits(row.groups, 0),
            digits(row.seconds, 0),
            str(row.metrics["accuracy"].seeds),
        ]
        for row in rows
    ]
    return table(head, lines)


def comparison_table(rows: Sequence[Comparison]) -> str:
    """The default arm minus each other."""
    head = (
        "minus",
        "balanced accuracy",
        "verdict",
        "Holm p",
        "accuracy",
        "verdict",
        "Holm p",
        "macro-F1",
        "seeds",
    )
    lines = []
    for row in rows:
        line = [row.other]
        for metric in ("balanced_accuracy", "accuracy"):
            one = row.differences[metric]
            line += [difference(one), one.verdict, chance(row.holm[metric]) if row.holm else ""]
        f1, seeds = row.differences["macro_f1"], row.differences["accuracy"].seeds
        lines.append([*line, digits(f1.estimate.mean, signed=True), str(seeds)])
    note = (
        "Holm p stands for the comparisons that the goals name, accuracy and balanced accuracy together one "
        "family; all intervals are unadjusted."
    )
    return f"{table(head, lines)}\n\n{note}"


def goal_table(material: Material, rows: Sequence[Comparison], looks: Sequence[tables.LookRow]) -> str:
    """The goals and what came of them."""
    found = goals(material, rows, looks)
    count = {outcome: sum(goal.outcome == outcome for goal in found) for outcome in (MET, FAILED, UNKNOWN)}
    said = listed(f"{number} {outcome}" for outcome, number in count.items() if number)
    intro = f"Of the student of the arm `{material.asked.default}`, on the test patients: {said}."
    lines = [[goal.text, f"**{goal.outcome}**", goal.by] for goal in found]
    return f"{intro}\n\n{table(('goal', 'outcome', 'by how much'), lines)}"


def helped(material: Material, phase: str, split: str, rows: Sequence[Comparison]) -> str:
    """Lists by verdict: what one more part brings, then the default against every other arm."""
    steps = [tables.compared(material, phase, split, *pair) for pair in material.asked.steps]
    others = [row for row in rows if kind_of(row.other) in ("arm", "student")]
    body = []
    if steps:
        body.append(
            f"By balanced accuracy on {split} patients, of one arm minus the one that lacks one part of it:"
        )
        words = {ABOVE: "Helped", BELOW: "Harmed", OPEN: "Cannot be told apart", UNKNOWN: "Not known"}
        body.append(_by_verdict(steps, words, lambda row: f"`{row.one}` over `{row.other}`"))
    default = material.asked.default
    body.append(f"Of `{default}` minus every other arm, by balanced accuracy on {split} patients:")
    words = {
        ABOVE: f"`{default}` is above",
        BELOW: f"`{default}` is below",
        OPEN: "Cannot be told apart from",
        UNKNOWN: "Not compared with",
    }
    body.append(_by_verdict(others, words, lambda row: f"`{row.other}`"))
    return "\n\n".join(body)


def _by_verdict(
    rows: Sequence[Comparison], words: Mapping[str, str], name: Callable[[Comparison], str]
) -> str:
    lines = []
    for verdict, word in words.items():
        told = [
            f"{name(row)} {difference(row.differences['balanced_accuracy'])}"
            if verdict != UNKNOWN
            else name(row)
            for row in rows
            if row.differences["balanced_accuracy"].verdict == verdict
        ]
        lines.append(f"- **{word}:** {'; '.join(told) or 'none'}.")
    return "\n".join(lines)


def finding_table(material: Material, phase: str, split: str) -> str:
    """The default arm among the teachers."""
    rows = tables.finding_rows(material, phase, split)
    if not rows:
        return "No seed on which the default and all teachers have a result."
    head = (
        "finding",
        "student",
        "rank",
        "best teacher",
        "its value",
        "median teacher",
        "worst teacher",
        "spread",
    )
    lines = [
        [
            row.finding,
            digits(row.student),
            "–" if row.rank is None else f"{row.rank} of {row.teachers + 1}",
            row.best.removeprefix("teacher "),
            *(digits(value) for value in (row.top, row.median, row.lowest, row.top - row.lowest)),
        ]
        for row in rows
    ]
    first = sum(row.rank == 1 for row in rows)
    intro = (
        f"Balanced accuracy of `{material.asked.default}`, mean over seeds, and its rank among the teachers: "
        f"first on {first} of {len(rows)} findings. The first five are the headline."
    )
    return f"{intro}\n\n{table(head, lines)}"


def look_table(rows: Sequence[tables.LookRow]) -> str:
    """Arms with their own images and with others'."""
    if not rows:
        return "No arm was shown other patients' images."
    head = ("arm", "balanced accuracy", "images shuffled", "accuracy", "images shuffled", f"minus {PRIOR}")
    lines = [
        [
            row.arm,
            _interval(row.own["balanced_accuracy"]),
            _interval(row.shuffled["balanced_accuracy"]),
            _interval(row.own["accuracy"]),
            _interval(row.shuffled["accuracy"]),
            difference(row.over_prior["accuracy"]),
        ]
        for row in rows
    ]
    intro = (
        "Each question with the image of another patient. A student that looks falls to a balanced accuracy "
        "of 0.5, and in accuracy to at most what the more frequent answer gives."
    )
    return f"{intro}\n\n{table(head, lines)}"


def dispersion_table(material: Material, phase: str, split: str) -> str:
    """Dispersion of the default arm's features and of what it starts from."""
    rows = tables.dispersions(material, phase, split)
    if not rows:
        return "No result has a dispersion."
    default = material.asked.default
    lines = [
        [arm, _interval(own), *(("", "") if arm == default else (difference(minus), minus.verdict))]
        for arm, own, minus in rows
    ]
    intro = (
        "Variance of the hidden features within a class over their whole variance, mean over findings: 0 "
        "where each class is one point, 1 where classes lie on each other. Intervals are over seeds alone."
    )
    return f"{intro}\n\n{table(('student', 'dispersion', f'{default} minus it', 'verdict'), lines)}"


def sweep_table(rows: Sequence[tables.SweepRow]) -> str:
    """Settings and arms of a sweep; differences are of balanced accuracy."""
    head = ("setting", "arm", "balanced accuracy", "accuracy", "default minus this", "minus last setting")
    lines = [
        [
            row.setting,
            row.arm,
            _interval(row.metrics["balanced_accuracy"]),
            _interval(row.metrics["accuracy"]),
            difference(row.against) if row.against else "",
            difference(row.over_last) if row.over_last else "",
            str(row.metrics["accuracy"].seeds),
            str(row.stopped or ""),
        ]
        for row in rows
    ]
    note = (
        "The last two differences are of balanced accuracy, paired: the default arm minus this arm in "
        "the same setting, and this setting minus the last one for the same arm."
    )
    return f"{table((*head, 'seeds', 'stopped'), lines)}\n\n{note}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; an upright line within a cell is escaped.

    >>> print(table(("a", "b"), [["x|y", "1"]]))
    | a | b |
    | --- | --- |
    | x\\|y | 1 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def _named(row: ArmRow, material: Material) -> str:
    notes = [
        ("default", row.arm == material.asked.default),
        ("uses teachers at test time", row.arm.startswith(CONSENSUS)),
        ("knows the textbook; no rival", row.arm == SIGNS),
        (f"rounds kept: {listed(map(str, row.kept))}", bool(row.kept)),
    ]
    said = "; ".join(note for note, holds in notes if holds)
    name = f"**{row.arm}**" if row.arm == material.asked.default else row.arm
    return f"{name} ({said})" if said else name


def _interval(one: OverSeeds) -> str:
    return f"{digits(one.estimate.mean)} ({between(one.estimate)})" if one.seeds else "–"


def listed(words: Iterable[str]) -> str:
    """Words with commas."""
    return ", ".join(words)
