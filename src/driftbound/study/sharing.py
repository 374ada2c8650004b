"""Sharing: an arm's run takes over the stages that it has in common with the base run, as hard links."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from driftbound.config import Recipe
from driftbound.pipeline import CASES, recipe_part
from driftbound.store.folder import STREAMS, VERBS, RunFolder
from driftbound.store.manifest import NAME

SHARED = (CASES, *VERBS[:3])
"""What a base run is made of, in order: up to the bootstrapped student."""


def shared_stages(base: Recipe, recipe: Recipe) -> tuple[str, ...]:
    """The first stages that two recipes have in common.

    >>> teachers = [{"name": "a", "model": "a"}]
    >>> one = Recipe.parse({"name": "one", "teachers": teachers}, where="")
    >>> two = Recipe.parse({"name": "two", "teachers": teachers, "bootstrap": {"epochs": 2}}, where="")
    >>> shared_stages(one, two)
    ('cases', 'collect', 'measure')
    """
    found: list[str] = []
    for stage in SHARED:
        if base.seed != recipe.seed or recipe_part(base, stage) != recipe_part(recipe, stage):
            break
        found.append(stage)
    return tuple(found)


def take_over(base: RunFolder, own: RunFolder, stages: tuple[str, ...]) -> None:
    """Link the given stages of a finished base run into a run of one's own; what is there stays.

    Each folder appears whole, so that a killed take-over is done again. The truth stays with the base.
    """
    own.root.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        if stage == CASES:
            _whole(base.root / "images", own.root / "images")
            for name in ("cases.parquet", NAME):  # the manifest last
                if not (own.root / name).exists():
                    _link(str(base.root / name), str(own.root / name))
        else:
            _whole(base.stage(stage), own.stage(stage))


def discard(path: Path) -> None:
    """Remove a folder so that, killed half-way, it does not pass for a finished one."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    if path.exists():
        path.rename(doomed)
        shutil.rmtree(doomed)


def _whole(source: Path, target: Path) -> None:
    if target.exists():
        return
    half = target.with_name(f".{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    copy: Callable[[str, str], object] = _link
    shutil.copytree(source, half, copy_function=copy)
    half.rename(target)


def _link(source: str, target: str) -> None:
    """A hard link, or a copy where there can be none; the teachers' answers, a database, are copied."""
    if not Path(source).name.startswith(STREAMS):
        try:
            os.link(source, target)
        except OSError:
            pass  # another file system
        else:
            return
    shutil.copy2(source, target)
