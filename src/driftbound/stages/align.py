"""Stage 5, align: the consensus is preferred over all N trajectories at once."""

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, Any

from driftbound.config import AlignConfig
from driftbound.errors import TrainingError
from driftbound.progress import say
from driftbound.records import Case, Group, Negative, Status
from driftbound.stages.context import Context
from driftbound.stages.gather import beside_student, image_paths, open_trackers
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.tables import read_cases, read_groups

if TYPE_CHECKING:
    from driftbound.learning.collator import Candidate, Example
    from driftbound.learning.goals import Alignment


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases, the groups and the bootstrapped student."""
    return {
        "cases": sha256_file(context.folder.cases),
        "groups": sha256_file(context.folder.groups),
        "student": sha256_tree(context.folder.student("bootstrap")),
    }


def run(context: Context) -> dict[str, Any]:
    """Write ``student/``, ``metrics.jsonl`` and the reference log-probabilities; returns counts.

    The reference is the bootstrapped student, frozen: its log-probabilities are computed once, before
    anything moves. A group without a valid negative is left out and counted, and so is one whose
    consensus would have to be cut.
    """
    from driftbound.learning import models, processes
    from driftbound.learning.examining import examine
    from driftbound.learning.families import collator_for
    from driftbound.learning.reference import identity_of, reference_logps
    from driftbound.learning.tower import kept_features
    from driftbound.learning.training import train

    config, folder = context.recipe.align, context.folder.stage("align")
    folder.mkdir(parents=True, exist_ok=True)
    cases = {case.case_id: case for case in read_cases(context.folder.cases)}
    groups = read_groups(context.folder.groups)
    examples, without = _examples(context, cases, groups, "train")
    validation, _ = _examples(context, cases, groups, "validation")
    if not examples:
        raise TrainingError("align: no training group has a valid negative. Look at synthesize and collect.")
    if without:
        say(f"align: {without} groups without a valid negative are left out")
    models.set_threads(context.recipe.threads)
    student = models.load(context.folder.student("bootstrap"), for_training=True, dtype=config.weights)
    collate = collator_for(student, config, "align")
    teachers = tuple(teacher.name for teacher in context.recipe.teachers)
    collate.columns, collate.first_is_whole = ("consensus", *teachers), True
    examples, validation, measured = examine(student.model, collate, examples, validation, verb="align")
    if processes.leads():
        open_trackers(context, "align", config)
    with kept_features(student.model, config.tower_cache_mb if models.tower_is_frozen(config) else 0):
        collate.reference = reference_logps(
            student.model,
            collate,
            [*examples, *validation],
            batch_size=config.groups_per_forward,
            path=folder / "reference.jsonl",
            identity=identity_of(student.model, collate),
        )
        start = _logp_per_token(collate, examples)
        facts = train(
            student,
            collate,
            examples,
            validation,
            _objective(config, teachers),
            config,
            seed=context.recipe.seed,
            folder=folder,
            beside=beside_student(context, "align", config),
            floor=start + config.floor,
        )
    return {
        **facts,
        **measured,
        "groups_without_negative": without,
        "logp_consensus_per_token_at_start": start,
    }


def _objective(config: AlignConfig, teachers: tuple[str, ...]) -> "Alignment":
    from driftbound.learning.goals import Alignment

    return Alignment(
        objective=config.objective,
        beta=config.beta,
        anchor=config.anchor,
        length_normalised=config.length_normalised,
        teachers=teachers,
    )


def _examples(
    context: Context, cases: dict[str, Case], groups: Sequence[Group], split: str
) -> tuple[list["Example"], int]:
    """Examples of a split, the consensus in column 0, and how many groups had no valid negative."""
    from driftbound.learning.collator import Candidate, Example

    keep = context.recipe.align.keep_refusals
    found, without = [], 0
    for group in groups:
        if group.split != split:
            continue
        case = cases[group.case_id]
        negatives = tuple(_candidate(negative, keep) for negative in group.negatives)
        if not any(negatives):
            without += 1
            continue
        found.append(
            Example(
                case_id=case.case_id,
                question=context.domain.question(case),
                images=image_paths(context, case),
                candidates=(Candidate(text=group.consensus), *negatives),
            )
        )
    return found, without


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
    )


def _logp_per_token(collate: Any, examples: Sequence["Example"]) -> float:
    """Mean log p(consensus) per token under the reference: where the training starts."""
    total = sum(collate.reference[example.case_id][0] for example in examples)
    tokens = sum(collate.answer_tokens(example)[0] for example in examples)
    return float(total / tokens)
