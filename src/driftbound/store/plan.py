"""Plans: what a stage folder is being made of, written before its first byte and replaced by the manifest."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.store.folder import STREAMS
from driftbound.store.manifest import Manifest, atomic_write_text

FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What decides the content of a stage folder, in the manifest's words."""

    stage: str
    config: dict[str, Any]
    inputs: dict[str, str]
    seed: int

    def write(self, folder: Path, *, seconds: float) -> None:
        """Write ``plan.json``, creating the folder; ``seconds`` were spent on the stage so far."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**asdict(self), "seconds": round(seconds, 3)}, indent=2, sort_keys=True)
        atomic_write_text(folder / FILE, text + "\n")


@dataclass(frozen=True)
class Made:
    """What a folder holds: made of this plan, finished or not, in so many seconds."""

    plan: Plan
    finished: bool
    seconds: float


def made_of(folder: Path) -> Made | None:
    """What the folder was made of, by its manifest or else its plan; ``None`` if there is nothing in it.

    Raises ``StoreError`` for a folder with files but neither of them, and for an unreadable one.
    """
    manifest = Manifest.read(folder)
    if manifest is not None:
        plan = Plan(manifest.stage, manifest.config, manifest.inputs, manifest.seed)
        return Made(plan, True, float(manifest.facts.get("seconds", 0.0)))
    path = folder / FILE
    if path.exists():
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            plan = Plan(*(given[key] for key in ("stage", "config", "inputs", "seed")))
            return Made(plan, False, float(given["seconds"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: cannot be read ({error}). Remove {folder} and run again.") from None
    if folder.is_dir() and any(not _is_ours(entry.name) for entry in folder.iterdir()):
        raise StoreError(f"{folder}: holds files that no run of driftbound made. Choose another --name.")
    return None


def check_same(folder: Path, there: Plan, here: Plan, *, redo: str) -> None:
    """Raise ``StoreError`` when the folder was made of another plan; ``redo`` is the option that cures."""
    difference = first_difference(
        {"stage": there.stage, **there.config, "seed": there.seed},
        {"stage": here.stage, **here.config, "seed": here.seed},
    )
    if difference:
        raise StoreError(
            f"{folder}: this run directory was made by another recipe ({difference}). "
            f"Choose another --name, or redo with {redo}."
        )
    names = sorted({*there.inputs, *here.inputs})
    changed = [name for name in names if there.inputs.get(name) != here.inputs.get(name)]
    if changed:
        raise StoreError(
            f"{folder}: was made from other inputs ({', '.join(changed)} changed since). "
            f"Redo with {redo}, or choose another --name."
        )


def first_difference(there: Any, here: Any, path: str = "") -> str:
    """First key in which two recipes differ, with both values; empty if they agree.

    >>> first_difference({"align": {"beta": 0.1, "anchor": 0}}, {"align": {"beta": 0.3, "anchor": 0}})
    'align.beta: 0.1 there, 0.3 here'
    >>> first_difference({"teachers": ["a", "b"]}, {"teachers": ["a"]})
    'teachers: 2 there, 1 here'
    """
    found: list[str] = []
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list({**here, **there})
        found = [
            first_difference(there.get(key), here.get(key), f"{path}.{key}" if path else key) for key in keys
        ]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        found = [first_difference(there[n], here[n], f"{path}[{n}]") for n in range(len(here))]
    elif isinstance(there, list) and isinstance(here, list):
        found = [f"{path}: {len(there)} there, {len(here)} here"]
    elif there != here:
        found = [f"{path}: {there} there, {here} here"]
    return next((text for text in found if text), "")


def _is_ours(name: str) -> bool:
    """The lock, what a killed atomic write leaves behind, and answers that outlive their stage."""
    return name.startswith((".", STREAMS)) or name.endswith((".partial", ".tmp"))
