"""Stage 5, align: the consensus is preferred over all N trajectories at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from math import exp, fsum, inf, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from driftbound.errors import HarmError
from driftbound.phantom_base import resolve_base
from driftbound.progress import say
from driftbound.records import Case, Group, Negative, Status
from driftbound.stages.context import Context
from driftbound.stages.gather import beside_student, image_paths, open_trackers
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.tables import read_cases, read_groups

if TYPE_CHECKING:
    from driftbound.learning.collator import Candidate, Example, MultiStreamCollator

AT_START = "logp_consensus_per_token_at_start"


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases, the groups and the student that is aligned."""
    start = _start(context)
    return {
        "cases": sha256_file(context.folder.cases),
        "groups": sha256_file(context.folder.groups),
        "student": sha256_tree(start) if start.is_dir() else str(start),
    }


def run(context: Context) -> dict[str, Any]:
    """Write ``student/``, ``metrics.jsonl`` and the reference log-probabilities; returns counts.

    The reference is the student as it is before the first step, frozen: its log-probabilities are computed
    once. A group without a valid negative is left out and counted, and so is one whose consensus would
    have to be cut.
    """
    from driftbound.learning import models, processes
    from driftbound.learning.examining import examine
    from driftbound.learning.families import collator_for
    from driftbound.learning.goals import preference
    from driftbound.learning.looks import watching_of
    from driftbound.learning.tower import kept_features
    from driftbound.learning.training import train

    config, folder = context.recipe.align, context.folder.stage("align")
    folder.mkdir(parents=True, exist_ok=True)
    cases = {case.case_id: case for case in read_cases(context.folder.cases)}
    groups = read_groups(context.folder.groups)
    examples, without = _examples(context, cases, groups, "train")
    validation, _ = _examples(context, cases, groups, "validation")
    if not examples:
        raise HarmError("align: no training group has a valid negative. Look at synthesize and collect.")
    if without:
        say(f"align: {without} groups without a valid negative are left out")
    models.set_threads(context.recipe.threads)
    student = models.load(_start(context), for_training=True, dtype=config.weights)
    collate = collator_for(student, config, "align")
    teachers = tuple(teacher.name for teacher in context.recipe.teachers)
    collate.columns, collate.first_is_whole = ("consensus", *teachers), True
    collate.common_length = config.common_length
    examples, validation, measured = examine(student.model, collate, examples, validation, verb="align")
    claims, seed, size = context.domain.claims, context.recipe.seed, config.groups_per_forward
    watching = watching_of(config.watch, validation, claims, batch_size=size, seed=seed)
    if processes.leads():
        open_trackers(context, "align", config)
    with kept_features(student.model, config.tower_cache_mb if models.tower_is_frozen(config) else 0):
        start = _refer(context, student.model, collate, examples, validation)
        facts = train(
            student,
            collate,
            examples,
            validation,
            preference(config, teachers),
            config,
            seed=seed,
            folder=folder,
            beside=beside_student(context, "align", config),
            floor=-inf if config.objective == "sft" else config.floor,
            watching=watching,
        )
    return {**facts, **measured, **start, "groups_without_negative": without}


def _start(context: Context) -> Path:
    """The checkpoint that is aligned, and is the reference; ``start: base`` holds for the first round."""
    if context.recipe.align.start == "base" and context.folder.round < 2:
        return Path(resolve_base(context.recipe.bootstrap.base))
    return context.folder.former


def _refer(
    context: Context,
    model: Any,
    collate: "MultiStreamCollator",
    examples: Sequence["Example"],
    validation: Sequence["Example"],
) -> dict[str, float]:
    """Reference log-probabilities into the collator; returns the consensus's mean per token, for the record.

    Fine-tuning on the consensus alone has no reward, no reference and no floor.
    """
    from driftbound.learning.reference import identity_of, reference_logps

    config = context.recipe.align
    if config.objective == "sft":
        return {}
    plain: dict[str, float] = {}
    collate.reference = reference_logps(
        model,
        collate,
        [*examples, *validation],
        batch_size=config.groups_per_forward,
        path=context.folder.stage("align") / "reference.jsonl",
        identity=identity_of(model, collate),
        plain=plain,
    )
    collate.reference_plain = plain
    return {AT_START: _logp_per_token(collate, examples, plain)}


def _examples(
    context: Context, cases: dict[str, Case], groups: Sequence[Group], split: str
) -> tuple[list["Example"], int]:
    """Examples of a split, the consensus in column 0, and how many groups had no valid negative."""
    from driftbound.learning.collator import Candidate, Example

    config = context.recipe.align
    found, without = [], 0
    for group in groups:
        if group.split != split:
            continue
        case = cases[group.case_id]
        negatives = [_candidate(negative, config.keep_refusals) for negative in group.negatives]
        if config.negatives:
            negatives = _drawn(negatives, config.negatives, context.recipe.seed, group.case_id)
        if config.objective == "sft":
            negatives = []
        elif not any(negatives):
            without += 1
            continue
        found.append(
            Example(
                case_id=case.case_id,
                question=context.domain.question(case),
                images=image_paths(context, case),
                candidates=(Candidate(text=group.consensus, spans=group.spans), *negatives),
            )
        )
    return found, without


def _drawn(negatives: "list[Candidate | None]", n: int, seed: int, case_id: str) -> "list[Candidate | None]":
    """At most ``n`` of the negatives, drawn by seed and case; the others are no rivals. The mean weight of
    those that are drawn is one."""
    there = [k for k, negative in enumerate(negatives) if negative is not None]
    digest = hashlib.sha256(f"{seed}:{case_id}:negatives".encode()).digest()
    kept = set(np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(there)[:n].tolist())
    drawn = [negative if k in kept else None for k, negative in enumerate(negatives)]
    weights = [exp(negative.log_weight) for negative in drawn if negative is not None]
    shift = log(fsum(weights) / len(weights)) if weights else 0.0
    return [each and replace(each, log_weight=each.log_weight - shift) for each in drawn]


def _candidate(negative: Negative, keep_refusals: bool) -> "Candidate | None":
    from driftbound.learning.collator import Candidate

    refused = keep_refusals and negative.status is Status.REFUSED and negative.text != ""
    if not (negative.valid or refused) or negative.weight <= 0:
        return None
    return Candidate(
        text=negative.text,
        ended=negative.status is not Status.TRUNCATED,
        log_weight=log(negative.weight),
        spans=negative.spans,
        end_weight=negative.end_weight,
    )


def _logp_per_token(
    collate: "MultiStreamCollator", examples: Sequence["Example"], plain: dict[str, float]
) -> float:
    """Mean log p(consensus) per token under the reference: where the training starts."""
    total = sum(plain[example.case_id] for example in examples)
    tokens = sum(collate.answer_tokens(example)[0] for example in examples)
    return float(total / tokens)
