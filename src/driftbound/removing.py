"""Removing: what a stage is to make anew, so that at no moment a folder passes for another one."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from driftbound.store.folder import STREAMS, VERBS, RunFolder
from driftbound.store.manifest import PARTIAL
from driftbound.store.plan import Plan


def remove(folder: RunFolder, verbs: tuple[str, ...]) -> None:
    """What these stages have made, but for the teachers' answers: they were paid for, and stay."""
    for verb in verbs:
        if not folder.streams.exists() or folder.streams.parent != folder.stage(verb):
            drop(folder.stage(verb))
            continue
        for path in folder.stage(verb).iterdir():
            if not path.name.startswith(STREAMS):
                path.unlink()


def clear(folder: Path, names: Sequence[str]) -> None:
    """Files and folders of these names, if they are there."""
    for name in names:
        if (folder / name).exists():
            drop(folder / name)


def clear_halves(folder: Path) -> None:
    """Files at or below a folder that a process was writing when it was killed (``replacing``).

    Only for who holds the run's lock: nobody else is writing there.
    """
    for path in folder.rglob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def remove_all(folder: RunFolder, plan: Plan) -> None:
    """Everything that a run makes; at no moment does the folder look like one that is no run."""
    remove(folder, VERBS)
    plan.write(folder.root, seconds=0.0)
    (folder.root / "manifest.json").unlink(missing_ok=True)
    folder.cases.unlink(missing_ok=True)
    drop(folder.root / "images")


def drop(path: Path) -> None:
    """Remove a file, or a folder so that, killed half-way, it does not pass for a finished one."""
    doomed = path.with_name(f".{path.name}.removed")
    if doomed.exists():
        shutil.rmtree(doomed)
    if path.is_file():
        path.unlink()
    elif path.exists():
        path.rename(doomed)
        shutil.rmtree(doomed)
