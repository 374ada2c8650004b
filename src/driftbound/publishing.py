"""Publishing: of several rounds the one that is kept, left where the later stages look."""

import os
import shutil
from dataclasses import replace
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.removing import drop
from driftbound.stages.context import Context
from driftbound.stages.gather import sensitivity_of
from driftbound.stages.judging import LOOKS
from driftbound.store.folder import ROUNDS, RunFolder
from driftbound.store.manifest import NAME, Manifest, sha256_file
from driftbound.store.plan import FILE, Plan, made_of


def leave(context: Context, plan: Plan, *, kept: int, ran: int, reason: str) -> None:
    """Leave what round ``kept`` has made in the folder of its stage; the manifest comes last.

    Files are linked where the file system can, else copied. With ``kept`` 0 the student is the
    bootstrapped one, and the rest what round 1 made. What was left before of the same rounds stays.
    """
    stage = context.folder.stage(plan.stage)
    made = {number: _manifest(context.folder, plan.stage, number) for number in range(1, ran + 1)}
    rounds = {f"round-{number}": _identity(manifest) for number, manifest in made.items()}
    outcome = sha256_file(context.folder.stage("align") / ROUNDS)
    plan = replace(plan, inputs={**rounds, "outcome": outcome})
    before = made_of(stage)
    if before is not None and before.finished and before.plan == plan:
        return
    plan.write(stage, seconds=0.0)
    (stage / NAME).unlink(missing_ok=True)
    ours = (FILE, ROUNDS, LOOKS)
    for path in stage.iterdir():
        if path.name not in ours and not path.name.startswith("round-"):
            drop(path)
    shown = RunFolder(context.folder.root, max(kept, 1))
    for path in shown.stage(plan.stage).iterdir():
        if path.name != NAME:
            _link(path, stage / path.name)
    if plan.stage == "align" and kept == 0:
        drop(stage / "student")
        _link(context.folder.student("bootstrap"), stage / "student")
    facts: dict[str, Any] = {**made[shown.round].facts, "rounds": ran, "kept": kept, "reason": reason}
    seconds = sum(float(manifest.facts.get("seconds", 0.0)) for manifest in made.values())
    Manifest.of(
        plan.stage,
        config=plan.config,
        inputs=plan.inputs,
        seed=plan.seed,
        outputs=_hashes(stage),
        facts={**facts, "seconds": round(seconds, 3)},
        sensitivity=sensitivity_of(context, plan.stage),
    ).write(stage)
    (stage / FILE).unlink(missing_ok=True)


def _manifest(folder: RunFolder, verb: str, number: int) -> Manifest:
    stage = RunFolder(folder.root, number).stage(verb)
    found = Manifest.read(stage)
    if found is None:
        raise StoreError(f"{stage}: has not finished. Run the same command again.")
    return found


def _identity(manifest: Manifest) -> str:
    """What a round was asked for and what it left, times apart."""
    left = [manifest.fingerprint(), manifest.outputs]
    return sha256(dumps(left, sort_keys=True).encode()).hexdigest()


def _hashes(stage: Path) -> dict[str, str]:
    """Content hash of every file in a stage's folder; those of its rounds stand in their own manifests."""
    files = sorted(path for path in stage.rglob("*") if path.is_file() and path != stage / FILE)
    names = {path.relative_to(stage).as_posix(): path for path in files}
    return {name: sha256_file(path) for name, path in names.items() if not name.startswith("round-")}


def _link(source: Path, target: Path) -> None:
    """The same files under another name: a link where that can be, else a copy."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            _link(path, target / path.name)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
