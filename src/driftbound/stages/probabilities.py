"""Probabilities: how likely a model with logits finds each finding of the held-out cases. No truth here."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftbound.evaluation.yes_no import ask_yes_no
from driftbound.phantom_base import resolve_base
from driftbound.progress import bar
from driftbound.protocols import Policy, YesNo
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths
from driftbound.stages.held_out import HeldOut
from driftbound.store.manifest import replacing

Chances = dict[str, NDArray[np.float64]]
"""Row -> the probabilities (n, F) that it gives to the findings of n cases."""


def probabilities(
    context: Context, splits: Sequence[HeldOut], load: Callable[[], Policy], kept: Path
) -> Chances:
    """By split the probabilities (n, F) of one model; empty where the recipe or the field has no such asking.

    Each finding of each split is a file below ``kept``, so that a killed run goes on.
    """
    domain, config = context.domain, context.recipe.evaluate
    if not config.auroc or not isinstance(domain, YesNo):
        return {}
    found: Chances = {}
    total = len(domain.findings) * sum(len(split.cases) for split in splits)
    with bar(f"evaluate: probabilities, {kept.name}", total) as advance:
        for split in splits:
            columns = []
            for number, finding in enumerate(domain.findings):
                path = kept / split.name / f"{number:03d}.npy"
                if not path.exists():
                    question, yes, no = domain.yes_no(finding)
                    asked = [question or context.domain.question(case) for case in split.cases]
                    images = [image_paths(context, case) for case in split.cases]
                    size = config.batch_size
                    made = ask_yes_no(load(), asked, images, yes=yes, no=no, batch_size=size)
                    with replacing(path) as half, half.open("wb") as file:
                        np.save(file, made)
                columns.append(np.load(path))
                advance(len(split.cases))
            found[split.name] = np.column_stack(columns)
    return found


def teachers_probabilities(
    context: Context, splits: Sequence[HeldOut], load: Callable[[str, int], Policy], kept: Path
) -> dict[str, Chances]:
    """By split the same of the teachers that are models in this process; the others show no logits."""
    found: dict[str, Chances] = {split.name: {} for split in splits}
    for number, teacher in enumerate(context.recipe.teachers):
        if teacher.kind == "local" and teacher.images.mode != "none":
            loaded = cache(partial(load, resolve_base(teacher.model), context.recipe.threads))
            own = probabilities(context, splits, loaded, kept / f"{number}")
            for split, one in own.items():
                found[split][f"teacher:{teacher.name}"] = one
    return found
