"""Stage 6, evaluate: scores teachers, students, consensus and baselines on the same held-out cases.

The only place that opens the truth.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from driftbound.errors import CaseError
from driftbound.evaluation.answers import (
    ALWAYS_PRIOR,
    CONSENSUS,
    STUDENTS,
    Answer,
    Answers,
    Text,
    note,
    other_patients,
    prediction_rows,
)
from driftbound.evaluation.classification import Graded, Key, RowScore, judged, make_key, more_frequent, score
from driftbound.evaluation.dispersion import dispersion
from driftbound.evaluation.facts import Beliefs, estimates, gather
from driftbound.evaluation.probe import probe
from driftbound.evaluation.summary import score_rows, split_tables
from driftbound.progress import bar, say
from driftbound.protocols import Policy
from driftbound.records import Case, Claim, Estimate, Status
from driftbound.stages.answering import (
    Features,
    HeldOut,
    Loader,
    answer_of,
    ask_students,
    checkpoint,
    in_one_style,
    stored_answers,
)
from driftbound.stages.benchmarks import always_no, table_splits, zero_shot
from driftbound.stages.context import Context
from driftbound.stages.progression import scored as progression_scored
from driftbound.stances import stances
from driftbound.statistics.intervals import Resamples, resample
from driftbound.store.manifest import atomic_write_text, sha256_file, sha256_tree
from driftbound.store.measures import read_beliefs
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, read_truth, write_rows

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
            *("f1", "f1_low", "f1_high"),
            *("sensitivity", "specificity", "prevalence"),
        )
    ]
)
TOGETHER = 2_000
"""Rows of a row group of the predictions: who looks at one case need not decode all."""
MANY_DRAWS = 0.05
"""Share of draws left out above which it is said."""
WORK = ("partial",)
"""The texts generated so far: they go when the stage is finished."""
_BELIEFS = ("slots.parquet", "reliability.parquet")


@dataclass(frozen=True, slots=True)
class _Split:
    """One split, and the truth of it."""

    held_out: HeldOut
    truth: list[dict[str, str]]
    key: Key
    resamples: Resamples


def _load_policy(path: str, threads: int) -> Policy:
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads=threads)


def _content(checkpoint: str) -> str:
    return sha256_tree(Path(checkpoint)) if Path(checkpoint).is_dir() else checkpoint


def inputs(context: Context) -> dict[str, str]:
    """Content of cases, streams, consensus, the three students, truth and, where measured, beliefs."""
    with Streams.open_readonly(context.folder.streams) as streams:
        digest = streams.digest()
    students = {f"student_{name}": _content(checkpoint(context, name)) for name in STUDENTS}
    measured = context.folder.stage("measure")
    beliefs = {name: sha256_file(measured / name) for name in _BELIEFS if (measured / name).is_file()}
    return {
        "cases": sha256_file(context.folder.cases),
        "streams": digest,
        "groups": sha256_file(context.folder.groups),
        "truth": _truth_hash(context),
        **students,
        **beliefs,
    }


def run(context: Context, *, load_policy: Loader = _load_policy) -> dict[str, Any]:
    """Write ``predictions.parquet``, ``scores.parquet`` and ``summary.json``; returns counts.

    Generated texts are kept batch by batch, so that a killed run goes on. Raises ``CaseError``
    where the truth is missing or does not cover the held-out cases.
    """
    folder = context.folder.stage("evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    cases = read_cases(context.folder.cases)
    splits = _splits(context, cases)
    asked = [split.held_out for split in splits]
    found = stored_answers(context, asked)
    generated, features = ask_students(context, asked, load_policy, folder / WORK[0])
    for split in splits:
        found[split.held_out.name] |= generated[split.held_out.name] | _prior(context, split)
    paired = progression_scored(context, cases, read_truth(context.folder.truth), load_policy, folder)

    beliefs = _beliefs(context)
    tables: dict[str, Any] = {}
    predictions: list[dict[str, str]] = []
    scores: list[dict[str, Any]] = []
    with bar("evaluate: scoring", sum(len(each) for each in found.values())) as advance:
        for split in splits:
            name, answers = split.held_out.name, found[split.held_out.name]
            rows: dict[str, RowScore] = {}
            facts: dict[str, Mapping[str, Estimate]] = {}
            for row, said in answers.items():
                rows[row], facts[row] = _scored(context, split, said, beliefs)
                advance()
            notes = {row: note(row, said) for row, said in answers.items()}
            findings = context.domain.findings
            tables[name] = split_tables(rows, facts, notes, findings, context.domain.headline)
            tables[name] |= {"n_cases": len(split.truth), "n_clusters": split.resamples.clusters}
            tables[name] |= zero_shot(context, name, rows)
            if (tables[name]["draws_left_out"] or 0) > MANY_DRAWS:
                say(
                    f"evaluate: on {tables[name]['draws_left_out']:.0%} of the draws of {name}'s patients a "
                    "headline finding has one class only; the intervals are of the other draws"
                )
            scores.extend(score_rows(rows, findings, name))
            correct = {row: judged(one, split.key) for row, one in rows.items()}
            predictions.extend(prediction_rows(answers, name, correct, split.truth))
    first = splits[0]
    tables[first.held_out.name] |= {
        "dispersion": _dispersion(first.key, features),
        "probe": _probes(context, first, found[first.held_out.name]),
    }
    write_rows(folder / "predictions.parquet", predictions, PREDICTIONS, together=TOGETHER)
    write_rows(folder / "scores.parquet", scores, SCORES)
    summary = _summary(context, tables, first.held_out.name, bool(beliefs)) | paired
    written = json.dumps(summary, indent=2, sort_keys=True, allow_nan=False) + "\n"
    atomic_write_text(folder / "summary.json", written)
    return {
        "cases": {split.held_out.name: len(split.truth) for split in splits},
        "rows": len(found[first.held_out.name]),
    }


def _summary(context: Context, tables: dict[str, Any], first: str, measured: bool) -> dict[str, Any]:
    return {
        **tables[first],
        "split": first,
        "splits": tables,
        "seed": context.recipe.seed,
        "resamples": context.recipe.evaluate.resamples,
        "headline": list(context.domain.headline),
        "findings": list(context.domain.findings),
        "unsupported_reason": "" if measured else "nothing was measured: the teachers' votes are not known",
    }


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
    domain, seed = context.domain, context.recipe.seed
    splits: list[_Split] = []
    for number, name in enumerate(table_splits(context)):
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
        disclosed = [case.prompt_discloses for case in own]
        key = make_key(known, domain.findings, domain.sided, disclosed)
        clusters = [case.cluster for case in own]
        shown = other_patients(clusters, np.random.default_rng([seed, 7, number]))
        rng = np.random.default_rng([seed, 6, len(splits)])
        resamples = resample(clusters, rng=rng, draws=context.recipe.evaluate.resamples)
        splits.append(_Split(HeldOut(name, own, shown), known, key, resamples))
    if not splits:
        raise CaseError(
            f"{context.folder.cases}: no case in {', '.join(context.recipe.evaluate.splits)}. "
            "Add held-out cases, or name other evaluate.splits."
        )
    return splits


def _prior(context: Context, split: _Split) -> Answers:
    """The rows that give one answer whatever is shown: the more frequent one, and in some splits no."""
    text = Text(context.domain.render(more_frequent(split.key)), False)
    always = {ALWAYS_PRIOR: [answer_of(context, case, text) for case in split.held_out.cases]}
    return always | always_no(context, split.held_out)


def _beliefs(context: Context) -> dict[str, Beliefs]:
    """What was measured of every case; nothing where nothing was."""
    slots, reliability = (context.folder.stage("measure") / name for name in _BELIEFS)
    return dict(read_beliefs(slots, reliability)) if slots.is_file() else {}


def _scored(
    context: Context, split: _Split, answers: Sequence[Answer], beliefs: Mapping[str, Beliefs]
) -> tuple[RowScore, dict[str, Estimate]]:
    """One row: its answers against the truth, and what is to be said of them without it.

    Claims are read from free text; unusable answers are wrong on every finding, and have no facts.
    """
    texts = [answer.text if answer.status.usable else None for answer in answers]
    claims: list[list[Claim]] = [[] if text is None else context.domain.claims(text) for text in texts]
    graded = [
        Graded(
            stances=stances(own, context.domain.findings) if answer.status.usable else None,
            parsable=bool(own) and answer.status is Status.OK,
        )
        for answer, own in zip(answers, claims, strict=True)
    ]
    facts = gather(texts, claims, [beliefs.get(answer.case_id) for answer in answers])
    return score(graded, split.key, split.resamples), estimates(facts, split.resamples)


def _dispersion(key: Key, features: Mapping[str, Features]) -> dict[str, Any]:
    """Of each student with features; of each finding over the cases in which it is scored."""
    scored = np.broadcast_to(key.scored, key.present.shape)
    return {name: dispersion(own, key.present, key.findings, scored) for name, own in features.items()}


def _probes(context: Context, split: _Split, answers: Answers) -> dict[str, Any]:
    """Whether texts alone give away which teacher wrote them, and which is the consensus; as they are
    written, and all in one style."""
    clusters = {case.case_id: case.cluster for case in split.held_out.cases}
    teachers = {row: said for row, said in answers.items() if row.startswith("teacher:")}
    found: dict[str, Any] = {}
    for style in ("as_written", "one_style"):
        written = [
            (
                row,
                clusters[one.case_id],
                one.text if style == "as_written" else in_one_style(context, one.text),
            )
            for row, said in (teachers | {CONSENSUS: answers[CONSENSUS]}).items()
            for one in said
            if one.status.usable
        ]
        own = [each for each in written if each[0] != CONSENSUS]
        merged = [("consensus" if row == CONSENSUS else "teachers", *rest) for row, *rest in written]
        for name, rows in (("which_teacher", own), ("consensus_or_teacher", merged)):
            rng = np.random.default_rng([context.recipe.seed, 8])
            told = probe(
                [text for _, _, text in rows], [w for w, _, _ in rows], [c for _, c, _ in rows], rng=rng
            )
            found.setdefault(name, {})[style] = told.plain()
    return found
