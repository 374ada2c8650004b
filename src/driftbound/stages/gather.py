"""What several stages look up in the same way: images, trajectories, sensitivity, a student's card."""

from collections.abc import Mapping
from pathlib import Path

from driftbound.config import TrainingConfig
from driftbound.endpoints import trackers
from driftbound.phantom_base import resolve_base
from driftbound.records import Case, Trajectory
from driftbound.stages.context import Context
from driftbound.stages.roster import gate_of
from driftbound.stances import Slot, slots_told
from driftbound.store.exchange import imported_sensitivity, sensitivity_beside, strictest
from driftbound.store.folder import VERBS
from driftbound.store.sensitivity import MARK, mark_text, marked
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases


def training_trajectories(context: Context) -> Mapping[tuple[str, str], Trajectory]:
    """Sample 0 of every teacher for every case, the first wave's."""
    with Streams.open_readonly(context.folder.streams) as streams:
        answers = list(streams.current())
    first: dict[tuple[str, str], Trajectory] = {}
    for answer in answers:
        if answer.sample == 0:
            first.setdefault((answer.case_id, answer.teacher), answer)
    return first


def told_slots(context: Context) -> dict[tuple[str, str], frozenset[Slot]]:
    """(case, teacher) -> what the prompt of that stream gave away; whom nothing was told is not there."""
    answers = training_trajectories(context)
    return {key: slots_told(each.prompt_discloses) for key, each in answers.items() if each.prompt_discloses}


def image_paths(context: Context, case: Case) -> tuple[Path, ...]:
    """Where the images of a case lie."""
    return tuple(context.folder.root / image for image in case.images)


def sensitivity_of(context: Context, verb: str) -> str:
    """The strictest of what a stage's work is made of.

    That is the cases, answers from elsewhere (imported or recorded), local teachers and, from bootstrap
    on, the base: a model that was made of credentialed data is to be treated as such data.
    """
    recipe = context.recipe
    found = [case.sensitivity for case in read_cases(context.folder.cases)]
    found.append(imported_sensitivity(context.folder.stage("collect")))
    found += [sensitivity_beside(Path(each.path)) for each in recipe.teachers if each.kind == "recorded"]
    checkpoints = [each.model for each in recipe.teachers if each.kind == "local"]
    if VERBS.index(verb) >= VERBS.index("bootstrap"):
        checkpoints.append(recipe.bootstrap.base)
    found += [marked(Path(resolve_base(name))) or "public" for name in checkpoints]
    return strictest(found)


def check_trackers(context: Context) -> None:
    """Raise what would keep the trainings' metrics from their trackers, before anybody is asked."""
    for verb, config in (("bootstrap", context.recipe.bootstrap), ("align", context.recipe.align)):
        if config.report_to:
            trackers.check(config.report_to, verb, gate_of(context), sensitivity_of(context, verb))


def open_trackers(context: Context, verb: str, config: TrainingConfig) -> None:
    """Let the metrics of a training go to its trackers: through the gate, into the audit log."""
    if config.report_to:
        trackers.begin(config.report_to, verb, gate_of(context), sensitivity_of(context, verb))


def beside_student(context: Context, verb: str, config: TrainingConfig) -> dict[str, str]:
    """Files that a student's folder gets beside its weights, name -> text: its card and its sensitivity."""
    from driftbound.learning.card import student_card

    sensitivity = sensitivity_of(context, verb)
    card = student_card(
        f"{context.recipe.name}: {verb}",
        verb,
        base=context.recipe.bootstrap.base,
        settings={**config.model_dump(mode="json"), "seed": context.recipe.seed},
        sensitivity=sensitivity,
    )
    return {"README.md": card, MARK: mark_text(sensitivity)}
