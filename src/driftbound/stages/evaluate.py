"""Stage 6, evaluate: scores teachers, students, consensus and baselines on the same held-out cases.

The only place that opens the truth.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from driftbound.errors import CaseError
from driftbound.evaluation.answers import (
    ALWAYS_PRIOR,
    CONSENSUS,
    MAJORITY,
    SHUFFLED,
    STUDENTS,
    Answer,
    Answers,
    Job,
    Text,
    generate,
    note,
    other_patients,
    prediction_rows,
)
from driftbound.evaluation.classification import Graded, Key, RowScore, judged, make_key, more_frequent, score
from driftbound.evaluation.summary import score_rows, split_tables
from driftbound.measure.votes import majority, stances
from driftbound.phantom_base import resolve_base
from driftbound.progress import bar, say
from driftbound.protocols import Policy
from driftbound.records import Case, Status
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths, training_trajectories
from driftbound.statistics.intervals import resample
from driftbound.store.manifest import atomic_write_text, sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, read_groups, read_truth, write_rows

PREDICTIONS = pa.schema(
    [(name, pa.string()) for name in ("case_id", "split", "row", "text", "status", "correct", "truth")]
)
SCORES = pa.schema(
    [(name, pa.string()) for name in ("row", "split", "finding")]
    + [(name, pa.int64()) for name in ("tp", "fp", "tn", "fn")]
    + [
        (name, pa.float64())
        for name in (
            *("accuracy", "accuracy_low", "accuracy_high"),
            *("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"),
            *("sensitivity", "specificity", "prevalence"),
        )
    ]
)
Loader = Callable[[str, int], Policy]


@dataclass(frozen=True, slots=True)
class _Split:
    """The held-out cases of one split."""

    name: str
    cases: list[Case]
    truth: list[dict[str, str]]
    key: Key
    shown: list[int] | None
    """Whose images the image-shuffled control is shown."""


def _load_policy(path: str, threads: int) -> Policy:
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads=threads)


def _student(context: Context, name: str) -> str:
    """Checkpoint folder of a student (or, for a base that the recipe names so, its hub name)."""
    if name == "base":
        return resolve_base(context.recipe.bootstrap.base)
    return str(context.folder.student("bootstrap" if name == "bootstrapped" else "align"))


def _content(checkpoint: str) -> str:
    return sha256_tree(Path(checkpoint)) if Path(checkpoint).is_dir() else checkpoint


def inputs(context: Context) -> dict[str, str]:
    """Content of cases, streams, consensus, the three students and the truth."""
    with Streams.open_readonly(context.folder.streams) as streams:
        digest = streams.digest()
    students = {f"student_{name}": _content(_student(context, name)) for name in STUDENTS}
    return {
        "cases": sha256_file(context.folder.cases),
        "streams": digest,
        "groups": sha256_file(context.folder.groups),
        "truth": _truth_hash(context),
        **students,
    }


def run(context: Context, *, load_policy: Loader = _load_policy) -> dict[str, Any]:
    """Write ``predictions.parquet``, ``scores.parquet`` and ``summary.json``; returns counts.

    Generated texts are kept batch by batch, so that a killed run goes on. Raises ``CaseError``
    where the truth is missing or does not cover the held-out cases.
    """
    folder = context.folder.stage("evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    splits = _splits(context, read_cases(context.folder.cases))
    found: dict[str, Answers] = {split.name: {} for split in splits}
    _add_teachers(context, splits, found)
    _add_students(context, splits, found, load_policy, folder / "partial")
    _add_baselines(context, splits, found)

    findings = context.domain.findings
    tables: dict[str, Any] = {}
    predictions: list[dict[str, str]] = []
    scores: list[dict[str, Any]] = []
    with bar("evaluate: scoring", sum(len(found[split.name]) for split in splits)) as advance:
        for number, split in enumerate(splits):
            answers = found[split.name]
            rng = np.random.default_rng([context.recipe.seed, 6, number])
            clusters = [case.cluster for case in split.cases]
            resamples = resample(clusters, rng=rng, draws=context.recipe.evaluate.resamples)
            rows: dict[str, RowScore] = {}
            for row, said in answers.items():
                rows[row] = score(_grade(context, said), split.key, resamples)
                advance()
            counts = {"n_cases": len(clusters), "n_clusters": resamples.clusters}
            said_of = {row: note(row, said) for row, said in answers.items()}
            tables[split.name] = split_tables(rows, said_of, findings, context.domain.headline) | counts
            scores.extend(score_rows(rows, findings, split.name))
            correct = {row: judged(one, split.key) for row, one in rows.items()}
            predictions.extend(prediction_rows(answers, split.name, correct, split.truth))
    write_rows(folder / "predictions.parquet", predictions, PREDICTIONS)
    write_rows(folder / "scores.parquet", scores, SCORES)
    summary = {
        **tables[splits[0].name],
        "split": splits[0].name,
        "splits": tables,
        "seed": context.recipe.seed,
        "resamples": context.recipe.evaluate.resamples,
        "headline": list(context.domain.headline),
        "findings": list(findings),
    }
    atomic_write_text(
        folder / "summary.json", json.dumps(summary, indent=2, sort_keys=True, allow_nan=False) + "\n"
    )
    shutil.rmtree(folder / "partial")
    return {"cases": {split.name: len(split.cases) for split in splits}, "rows": len(found[splits[0].name])}


def _truth_hash(context: Context) -> str:
    path = context.folder.truth
    if not path.is_file():
        raise CaseError(
            f"{path}: the truth is missing, and evaluate cannot score without it. Put the file back, or "
            "remove the run and prepare its cases again; everything up to align needs no truth."
        )
    return sha256_file(path)


def _splits(context: Context, cases: Sequence[Case]) -> list[_Split]:
    """Held-out cases with their key; a split without cases is left out, and said."""
    truth = read_truth(context.folder.truth)
    domain = context.domain
    splits = []
    for number, name in enumerate(context.recipe.evaluate.splits):
        own = [case for case in cases if case.split == name]
        if not own:
            say(f"evaluate: no case in split {name}, nothing to score there")
            continue
        for case in own:
            lacking = [f for f in domain.findings if f not in truth.get(case.case_id, {})]
            if lacking:
                raise CaseError(
                    f"{context.folder.truth}: says nothing of {lacking[0]!r} in case {case.case_id}. "
                    "Put the truth file of these cases back."
                )
        known = [truth[case.case_id] for case in own]
        key = make_key(
            known,
            domain.findings,
            domain.sided,
            [case.prompt_discloses for case in own],
        )
        rng = np.random.default_rng([context.recipe.seed, 7, number])
        shown = other_patients([case.cluster for case in own], rng)
        splits.append(_Split(name, own, known, key, shown))
    if not splits:
        raise CaseError(
            f"{context.folder.cases}: no case in {', '.join(context.recipe.evaluate.splits)}. "
            "Add held-out cases, or name other evaluate.splits."
        )
    return splits


def _add_teachers(context: Context, splits: Sequence[_Split], found: dict[str, Answers]) -> None:
    """Rows of the teachers, of their majority and of the consensus, from what earlier stages stored."""
    domain = context.domain
    stored = training_trajectories(context)
    consensus = {group.case_id: group.consensus for group in read_groups(context.folder.groups)}
    teachers = [teacher.name for teacher in context.recipe.teachers]
    for split in splits:
        rows: Answers = defaultdict(list)
        for case in split.cases:
            usable = []
            for name in teachers:
                own = stored.get((case.case_id, name))
                status = Status.FAILED if own is None else own.status
                text = "" if own is None else own.text
                rows[f"teacher:{name}"].append(Answer(case_id=case.case_id, text=text, status=status))
                if status.usable:
                    usable.append(stances(domain.claims(text), domain.findings))
            merged = consensus.get(case.case_id, "")
            rows[CONSENSUS].append(_answer(context, case, Text(merged, False)))
            voted = majority(usable, domain.findings)
            text = domain.render(voted) if voted else ""
            rows[MAJORITY].append(_answer(context, case, Text(text, False)))
        found[split.name].update(rows)


def _add_students(
    context: Context, splits: Sequence[_Split], found: dict[str, Answers], load: Loader, partial: Path
) -> None:
    """Rows of the students, and of the bootstrapped one that is shown other patients' images."""
    config = context.recipe.evaluate
    for name in STUDENTS:
        row = f"student:{name}"
        jobs = [_job(context, split, row, range(len(split.cases))) for split in splits]
        if name == "bootstrapped":
            jobs += [_job(context, split, SHUFFLED, split.shown) for split in splits if split.shown]
        texts = generate(
            jobs,
            lambda name=name: load(_student(context, name), context.recipe.threads),  # type: ignore[misc]
            partial,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            title=f"evaluate: asking the {name} student",
        )
        for job, said in zip(jobs, texts, strict=True):
            cases = next(split.cases for split in splits if split.name == job.split)
            pairs = zip(cases, said, strict=True)
            found[job.split][job.row] = [_answer(context, case, text) for case, text in pairs]


def _job(context: Context, split: _Split, row: str, shown: Sequence[int]) -> Job:
    return Job(
        row=row,
        split=split.name,
        case_ids=tuple(case.case_id for case in split.cases),
        questions=tuple(context.domain.question(case) for case in split.cases),
        images=tuple(image_paths(context, split.cases[index]) for index in shown),
    )


def _add_baselines(context: Context, splits: Sequence[_Split], found: dict[str, Answers]) -> None:
    for split in splits:
        text = Text(context.domain.render(more_frequent(split.key)), False)
        found[split.name][ALWAYS_PRIOR] = [_answer(context, case, text) for case in split.cases]


def _answer(context: Context, case: Case, said: Text) -> Answer:
    """A text of ours with its status, by the rules that hold for teachers."""
    if not said.text.strip():
        status = Status.EMPTY
    elif context.domain.is_refusal(said.text):
        status = Status.REFUSED
    else:
        status = Status.TRUNCATED if said.truncated else Status.OK
    return Answer(case_id=case.case_id, text=said.text, status=status)


def _grade(context: Context, answers: Sequence[Answer]) -> list[Graded]:
    """Answers as they are scored: claims from free text; unusable ones are wrong on every finding."""
    graded = []
    for answer in answers:
        claims = context.domain.claims(answer.text) if answer.status.usable else []
        said = stances(claims, context.domain.findings) if answer.status.usable else None
        graded.append(Graded(stances=said, parsable=bool(claims) and answer.status is Status.OK))
    return graded
