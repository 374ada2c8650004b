"""Progression: what teachers and students say has become of findings between two films, scored."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from driftbound.errors import CaseError
from driftbound.evaluation import progression
from driftbound.evaluation.answers import STUDENTS, Answer, Answers, Job, generate, note
from driftbound.evaluation.progression import COURSES, Codes
from driftbound.progress import say
from driftbound.protocols import Benchmarked
from driftbound.records import UNKNOWN, Case
from driftbound.stages.answering import HeldOut, Loader, answer_of, checkpoint, stored_answers
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths
from driftbound.statistics.intervals import Resamples, resample
from driftbound.store.tables import write_rows

ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("case_id", "split", "row", "text", "status", "said", "truth")]
)
TABLE = "progression.parquet"
STABLE, FREQUENT, PLURALITY = "baseline:always_stable", "baseline:most_frequent", "baseline:plurality"
SWAPPED = "swapped:"
"""Before the row of a student: the same, shown the films in the other order."""
_NOTES = {
    STABLE: "says stable of everything; sees no film",
    FREQUENT: "says of each finding what is most frequent on these very pairs; sees no film",
    PLURALITY: "what most teachers say; uses teachers at test time",
}
_ALIGNED, _BOOTSTRAPPED = "student:aligned", "student:bootstrapped"
_QUALITY = " label_quality"
_DISPUTED = "disagreement"

Truth = Mapping[str, Mapping[str, str]]


def scored(
    context: Context, cases: Sequence[Case], truth: Truth, load: Loader, folder: Path
) -> dict[str, Any]:
    """``progression``: a table for every evaluated split that asks for the course of findings; none without.

    Asks the students, the films in order and swapped, and writes ``progression.parquet`` into ``folder``.
    Raises ``CaseError`` where the truth does not cover the cases.
    """
    domain = context.domain
    if not isinstance(domain, Benchmarked):
        return {}
    asked = [name for name in context.recipe.evaluate.splits if name in domain.course_splits]
    tables: dict[str, Any] = {}
    written: list[dict[str, str]] = []
    for number, name in enumerate(asked):
        own = [case for case in cases if case.split == name]
        if not own:
            say(f"evaluate: no case in split {name}, nothing to score there")
            continue
        told = [_told(context, case, truth) for case in own]
        split = HeldOut(name, own, None)
        answers = _teachers(context, split) | _students(context, split, load, folder / "partial")
        rng = np.random.default_rng([context.recipe.seed, 9, number])
        draws = resample([case.cluster for case in own], rng=rng, draws=context.recipe.evaluate.resamples)
        tables[name], said = _table(context, domain, answers, told, draws)
        written += _rows(name, answers, said, told, domain.course_findings)
        _tell(name, tables[name])
    if tables:
        write_rows(folder / TABLE, written, ANSWERS)
    return {"progression": tables} if tables else {}


def _told(context: Context, case: Case, truth: Truth) -> Mapping[str, str]:
    if case.case_id not in truth:
        raise CaseError(
            f"{context.folder.root}: nothing is said of what is true in case {case.case_id}. Put the truth "
            "file of these cases back."
        )
    return truth[case.case_id]


def _teachers(context: Context, split: HeldOut) -> Answers:
    stored = stored_answers(context, [split])[split.name]
    return {row: said for row, said in stored.items() if row.startswith("teacher:")}


def _students(context: Context, split: HeldOut, load: Loader, kept: Path) -> Answers:
    """Rows ``student:NAME``, and ``swapped:student:NAME`` with the films in the other order."""
    config = context.recipe.evaluate
    found: Answers = {}
    for name in STUDENTS:
        rows = (f"student:{name}", f"{SWAPPED}student:{name}")
        texts = generate(
            [_job(context, split, row, swapped=row.startswith(SWAPPED)) for row in rows],
            partial(load, checkpoint(context, name), context.recipe.threads),
            kept,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            title=f"evaluate: asking the {name} student about pairs",
        )
        for row, said in zip(rows, texts, strict=True):
            found[row] = [
                answer_of(context, case, text) for case, text in zip(split.cases, said, strict=True)
            ]
    return found


def _job(context: Context, split: HeldOut, row: str, *, swapped: bool) -> Job:
    shown = [image_paths(context, case) for case in split.cases]
    return Job(
        row=row,
        split=split.name,
        case_ids=tuple(case.case_id for case in split.cases),
        questions=tuple(context.domain.question(case) for case in split.cases),
        images=tuple(each[::-1] if swapped else each for each in shown),
    )


def _table(
    context: Context,
    domain: Benchmarked,
    answers: Answers,
    told: Sequence[Mapping[str, str]],
    draws: Resamples,
) -> tuple[dict[str, Any], dict[str, Codes]]:
    """One split's results, and by row what was read of the answers."""
    findings = domain.course_findings
    true = progression.codes(told, findings)
    said = {row: _read(domain, own) for row, own in answers.items()}
    teachers = [own for row, own in said.items() if row.startswith("teacher:")]
    shown = {row: own for row, own in said.items() if not row.startswith(SWAPPED)} | {
        PLURALITY: progression.plurality(teachers, (len(true), len(findings))),
        STABLE: progression.always("stable", (len(true), len(findings))),
        FREQUENT: progression.most_frequent(true),
    }
    rows = {row: progression.score(own, true, draws) for row, own in shown.items()}
    undisputed = _without(true, told, findings)
    tables = {}
    for row, one in rows.items():
        words = _NOTES[row] if row in _NOTES else note(row, answers[row])
        sure = progression.score(shown[row], undisputed, draws)
        tables[row] = progression.table(one, findings, words)
        tables[row]["without_disagreement"] = {
            key: value for key, value in progression.table(sure, findings, "").items() if "accuracy" in key
        }
        if SWAPPED + row in said:
            swapped = said[SWAPPED + row]
            tables[row]["flip_consistency"] = progression.flip_consistency(shown[row], swapped, true, draws)
    leader = progression.best({row: one for row, one in rows.items() if row.startswith("teacher:")})
    pairs = {
        "best_teacher": leader,
        "bootstrapped": _BOOTSTRAPPED,
        "most_frequent": FREQUENT,
        "plurality": PLURALITY,
    }
    qualities = [{name: one[name + _QUALITY] for name in findings if name + _QUALITY in one} for one in told]
    return {
        "n_cases": len(true),
        "n_clusters": draws.clusters,
        "classes": list(COURSES),
        "judged": progression.shares(true, findings),
        "label_quality": progression.qualities(qualities, findings),
        "rows": tables,
        "best_teacher": None if leader is None else leader.partition(":")[2],
        "comparisons": {
            f"aligned_minus_{word}": progression.comparison(rows[_ALIGNED], rows[row])
            for word, row in pairs.items()
            if row is not None
        },
    }, said


def _read(domain: Benchmarked, answers: Sequence[Answer]) -> Codes:
    """What answers say; a refusal, or none, says nothing and is wrong everywhere."""
    read = [domain.courses(one.text) if one.status.usable else {} for one in answers]
    return progression.codes(read, domain.course_findings)


def _without(true: Codes, told: Sequence[Mapping[str, str]], findings: Sequence[str]) -> Codes:
    """The judgements without those that experts disagreed on."""
    disputed = np.array([[one.get(name + _QUALITY) == _DISPUTED for name in findings] for one in told])
    return np.where(disputed, progression.UNSAID, true).astype(np.int8)


def _rows(
    split: str,
    answers: Answers,
    said: Mapping[str, Codes],
    told: Sequence[Mapping[str, str]],
    findings: Sequence[str],
) -> list[dict[str, str]]:
    """Every answer with what was read of it, and what is true."""
    known = [json.dumps({name: value for name, value in one.items() if value != UNKNOWN}) for one in told]
    return [
        {
            "case_id": one.case_id,
            "split": split,
            "row": row,
            "text": one.text,
            "status": str(one.status),
            "said": json.dumps({f: COURSES[c] for f, c in zip(findings, read, strict=True) if c >= 0}),
            "truth": words,
        }
        for row, own in answers.items()
        for one, read, words in zip(own, said[row].tolist(), known, strict=True)
    ]


def _tell(split: str, table: Mapping[str, Any]) -> None:
    def macro(row: str) -> str:
        found = table["rows"][row]["macro_accuracy"]["mean"]
        return "none" if found is None else f"{found:.3f}"

    teacher = table["best_teacher"]
    against = f", best teacher ({teacher}) {macro(f'teacher:{teacher}')}" if teacher else ""
    say(
        f"{split}: macro accuracy over {len(COURSES)} classes on {table['n_cases']} pairs: aligned student "
        f"{macro(_ALIGNED)}{against}, always the most frequent {macro(FREQUENT)}"
    )
