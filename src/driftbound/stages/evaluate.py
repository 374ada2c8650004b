"""Stage 6, evaluate: scores teachers, students, consensus and baselines on the same held-out cases.

The only place that opens the truth.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from driftbound.errors import CaseError
from driftbound.evaluation.answers import (
    ALWAYS_PRIOR,
    PREDICTIONS,
    STUDENTS,
    Answers,
    Text,
    other_patients,
    prediction_rows,
)
from driftbound.evaluation.classification import judged, make_key, more_frequent
from driftbound.evaluation.facts import Beliefs
from driftbound.evaluation.summary import SCORES, extend_auroc, score_rows
from driftbound.progress import bar, say
from driftbound.protocols import Policy
from driftbound.records import Case
from driftbound.stages.answering import (
    Loader,
    answer_of,
    ask_students,
    checkpoint,
    further_answers,
    stored_answers,
)
from driftbound.stages.benchmarks import always_no, table_splits
from driftbound.stages.context import Context
from driftbound.stages.gather import told_slots
from driftbound.stages.grading import SplitRead, add_clinical, add_further, dispersions, probes
from driftbound.stages.held_out import HeldOut
from driftbound.stages.probabilities import teachers_probabilities
from driftbound.stages.progression import scored as progression_scored
from driftbound.stages.scoring import Split, graded, keys_of
from driftbound.statistics.intervals import resample
from driftbound.store.manifest import atomic_write_text, sha256_file, sha256_tree
from driftbound.store.measures import read_beliefs
from driftbound.store.references import read_references, references_beside
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, read_truth, write_rows

TOGETHER = 2_000
"""Rows of a row group of the predictions: who looks at one case need not decode all."""
WORK = ("partial",)
"""The texts generated so far: they go when the stage is finished."""
_BELIEFS = ("slots.parquet", "reliability.parquet")


def _load_policy(path: str, threads: int) -> Policy:
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads=threads)


def _content(checkpoint: str) -> str:
    return sha256_tree(Path(checkpoint)) if Path(checkpoint).is_dir() else checkpoint


def inputs(context: Context) -> dict[str, str]:
    """Content of cases, streams, consensus, the three students and truth; where there are, of beliefs and
    references."""
    with Streams.open_readonly(context.folder.streams) as streams:
        digest = streams.digest()
    students = {f"student_{name}": _content(checkpoint(context, name)) for name in STUDENTS}
    measured = context.folder.stage("measure")
    beliefs = {name: sha256_file(measured / name) for name in _BELIEFS if (measured / name).is_file()}
    written = references_beside(context.folder.truth)
    references = {"references": sha256_file(written)} if written.is_file() else {}
    return {
        "cases": sha256_file(context.folder.cases),
        "streams": digest,
        "groups": sha256_file(context.folder.groups),
        "truth": _truth_hash(context),
        **students,
        **beliefs,
        **references,
    }


def run(context: Context, *, load_policy: Loader = _load_policy) -> dict[str, Any]:
    """Write ``predictions.parquet``, ``scores.parquet`` and ``summary.json``; returns counts.

    Generated texts are kept batch by batch, so that a killed run goes on. Raises ``CaseError``
    where the truth is missing or does not cover the held-out cases, and for references that are none.
    """
    folder = context.folder.stage("evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    partial, cases = folder / WORK[0], read_cases(context.folder.cases)
    splits = _splits(context, cases)
    held_out = [split.held_out for split in splits]
    found, drawn = stored_answers(context, held_out), further_answers(context, held_out)
    asked = ask_students(context, held_out, load_policy, partial)
    chances = teachers_probabilities(context, held_out, load_policy, partial / "teachers")
    for split in splits:
        name = split.held_out.name
        found[name] |= asked.answers[name] | _prior(context, split)
        drawn[name] |= asked.drawn[name]
        chances[name] |= asked.chances[name]
    paired = progression_scored(context, cases, read_truth(context.folder.truth), load_policy, folder)

    beliefs, told = _beliefs(context), told_slots(context)
    tables: dict[str, Any] = {}
    predictions: list[dict[str, str]] = []
    scores: list[dict[str, Any]] = []
    read: list[SplitRead] = []
    with bar("evaluate: scoring", 2 * sum(len(each) for each in found.values())) as advance:
        for split in splits:
            name, answers = split.held_out.name, found[split.held_out.name]
            keys = keys_of(context, split, list(answers), told)
            rows, one = graded(context, split, keys, answers, drawn[name], beliefs, advance)
            add_further(context, one, advance)
            extend_auroc(one.tables, chances[name], split.key, context.domain.headline, split.resamples)
            tables[name] = one.tables
            read.append(one)
            scores.extend(score_rows(rows, context.domain.findings, name))
            correct = {row: judged(one, keys[row]) for row, one in rows.items()}
            predictions.extend(prediction_rows(answers, name, correct, split.truth))
    add_clinical(context, read, partial / "scorers")
    first = splits[0]
    tables[first.held_out.name] |= {
        "dispersion": dispersions(first.key, asked.features),
        "probe": probes(context, first.held_out, found[first.held_out.name]),
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


def _splits(context: Context, cases: Sequence[Case]) -> list[Split]:
    """Held-out cases with their key; a split without cases is left out, and said."""
    truth, written = read_truth(context.folder.truth), read_references(context.folder.truth)
    domain, seed = context.domain, context.recipe.seed
    splits: list[Split] = []
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
        references = [written.get(case.case_id, "") for case in own]
        disclosed = [case.prompt_discloses for case in own]
        key = make_key(known, domain.findings, domain.sided, disclosed)
        clusters = [case.cluster for case in own]
        shown = other_patients(clusters, np.random.default_rng([seed, 7, number]))
        rng = np.random.default_rng([seed, 6, len(splits)])
        resamples = resample(clusters, rng=rng, draws=context.recipe.evaluate.resamples)
        splits.append(Split(HeldOut(name, own, shown), known, references, key, resamples))
    if not splits:
        raise CaseError(
            f"{context.folder.cases}: no case in {', '.join(context.recipe.evaluate.splits)}. "
            "Add held-out cases, or name other evaluate.splits."
        )
    return splits


def _prior(context: Context, split: Split) -> Answers:
    """The rows that give one answer whatever is shown: the more frequent one, and in some splits no."""
    text = Text(context.domain.render(more_frequent(split.key)), False)
    always = {ALWAYS_PRIOR: [answer_of(context, case, text) for case in split.held_out.cases]}
    return always | always_no(context, split.held_out)


def _beliefs(context: Context) -> dict[str, Beliefs]:
    """What was measured of every case; nothing where nothing was."""
    slots, reliability = (context.folder.stage("measure") / name for name in _BELIEFS)
    return dict(read_beliefs(slots, reliability)) if slots.is_file() else {}
