"""Stage 3, bootstrap: the student learns from all teachers at once, one branch per teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftbound.errors import TrainingError
from driftbound.phantom_base import resolve_base
from driftbound.records import Case, Trajectory
from driftbound.stages.context import Context
from driftbound.stages.gather import beside_student, image_paths, open_trackers, training_trajectories
from driftbound.stages.leaving_out import candidate_of, leave_one_out_rows
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases

if TYPE_CHECKING:
    from driftbound.learning.collator import Example


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases, the streams and the base checkpoint."""

    base = Path(resolve_base(context.recipe.bootstrap.base))
    with Streams.open_readonly(context.folder.streams) as streams:
        digest = streams.digest()
    return {
        "cases": sha256_file(context.folder.cases),
        "streams": digest,
        "base": sha256_tree(base) if base.is_dir() else str(base),
    }


def run(context: Context) -> dict[str, Any]:
    """Write ``student/`` and ``metrics.jsonl``; returns counts.

    Only the training split is trained on (arXiv 2510.04142, supervised bootstrapping: the forward
    KL to every teacher, in practice next-token NLL on the pooled trajectories); ``leave_one_out`` adds
    rows of the same cases that are none of the paper's.
    """
    from driftbound.learning import models, processes
    from driftbound.learning.examining import examine
    from driftbound.learning.families import collator_for
    from driftbound.learning.goals import Bootstrapping
    from driftbound.learning.tower import kept_features
    from driftbound.learning.training import train

    config, folder = context.recipe.bootstrap, context.folder.stage("bootstrap")
    folder.mkdir(parents=True, exist_ok=True)
    answers = training_trajectories(context)
    cases = read_cases(context.folder.cases)
    training = [case for case in cases if case.split == "train"]
    examples = _examples(context, training, answers)
    if not examples:
        raise TrainingError("bootstrap: no teacher gave a usable answer to a training case. Look at collect.")
    models.set_threads(context.recipe.threads)
    student = models.load(resolve_base(config.base), for_training=True, dtype=config.weights)
    collate = collator_for(student, config, "bootstrap")
    collate.columns = tuple(teacher.name for teacher in context.recipe.teachers)
    validation = _examples(context, [case for case in cases if case.split == "validation"], answers)
    left_out, too_long = leave_one_out_rows(context, training, answers, collate)
    learned = sum(candidate is not None for example in examples for candidate in example.candidates)
    examples += left_out
    examples, validation, measured = examine(student.model, collate, examples, validation, verb="bootstrap")
    again = models.tower_is_frozen(config) and config.epochs > 1
    if processes.leads():
        open_trackers(context, "bootstrap", config)
    with kept_features(student.model, config.tower_cache_mb if again else 0):
        facts = train(
            student,
            collate,
            examples,
            validation,
            Bootstrapping(),
            config,
            seed=context.recipe.seed,
            folder=folder,
            beside=beside_student(context, "bootstrap", config),
        )
    rows = {"leave_one_out": len(left_out), "leave_one_out_too_long": too_long}
    return {**facts, **measured, "answers": learned, **rows}


def _examples(
    context: Context, cases: Sequence[Case], answers: Mapping[tuple[str, str], Trajectory]
) -> list["Example"]:
    """Cases with at least one usable answer; one column per teacher, in the recipe's order."""
    from driftbound.learning.collator import Example

    found = []
    for case in cases:
        columns = tuple(candidate_of(answers.get((case.case_id, t.name))) for t in context.recipe.teachers)
        if any(columns):
            found.append(
                Example(
                    case_id=case.case_id,
                    question=context.domain.question(case),
                    images=image_paths(context, case),
                    candidates=columns,
                )
            )
    return found
