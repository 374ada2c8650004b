"""Stage 3, bootstrap: the student learns from all teachers at once, one branch per teacher."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftbound.errors import TrainingError
from driftbound.phantom_base import resolve_base
from driftbound.records import Status, Trajectory
from driftbound.stages.context import Context
from driftbound.stages.gather import beside_student, image_paths, open_trackers, training_trajectories
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases

if TYPE_CHECKING:
    from driftbound.learning.collator import Candidate, Example


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
    KL to every teacher, in practice next-token NLL on the pooled trajectories).
    """
    from driftbound.learning import models, processes
    from driftbound.learning.examining import examine
    from driftbound.learning.families import collator_for
    from driftbound.learning.goals import Bootstrapping
    from driftbound.learning.tower import kept_features
    from driftbound.learning.training import train

    config, folder = context.recipe.bootstrap, context.folder.stage("bootstrap")
    folder.mkdir(parents=True, exist_ok=True)
    examples = _examples(context, "train")
    if not examples:
        raise TrainingError("bootstrap: no teacher gave a usable answer to a training case. Look at collect.")
    models.set_threads(context.recipe.threads)
    student = models.load(resolve_base(config.base), for_training=True, dtype=config.weights)
    collate = collator_for(student, config, "bootstrap")
    collate.columns = tuple(teacher.name for teacher in context.recipe.teachers)
    validation = _examples(context, "validation")
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
    answers = sum(candidate is not None for example in examples for candidate in example.candidates)
    return {**facts, **measured, "answers": answers}


def _examples(context: Context, split: str) -> list["Example"]:
    """Cases of a split with at least one usable answer; one column per teacher, in the recipe's order."""
    from driftbound.learning.collator import Example

    answers = training_trajectories(context)
    found = []
    for case in read_cases(context.folder.cases):
        columns = tuple(_candidate(answers.get((case.case_id, t.name))) for t in context.recipe.teachers)
        if case.split == split and any(columns):
            found.append(
                Example(
                    case_id=case.case_id,
                    question=context.domain.question(case),
                    images=image_paths(context, case),
                    candidates=columns,
                )
            )
    return found


def _candidate(answer: Trajectory | None) -> "Candidate | None":
    from driftbound.learning.collator import Candidate

    if answer is None or not answer.status.usable:
        return None
    return Candidate(text=answer.text, ended=answer.status is not Status.TRUNCATED)
