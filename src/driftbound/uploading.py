"""Uploading: finds what is to go to a model hub, and how sensitive it is, and hands it to the gate."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from driftbound.asking import find_student
from driftbound.config import Recipe
from driftbound.endpoints.gate import Acknowledgement, AuditLog, Gate
from driftbound.endpoints.uploads import Upload, upload
from driftbound.errors import ConfigError, StoreError
from driftbound.stages.roster import acknowledgement_of
from driftbound.store.exchange import manifest_beside, sensitivity_beside, strictest
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, sha256_file, sha256_tree
from driftbound.store.sensitivity import MARK, marked, of_run

_REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FORMS = "Name RUN:bootstrapped, RUN:aligned, a checkpoint folder, an export or a report folder."


def push(what: str, repo: str, recipe: Recipe | None, *, public: bool = False) -> str:
    """Upload a student, an export or a report to ``owner/name``; returns the address on the hub.

    Credentialed ones need ``recipe``, for its acknowledgement. The passage is written down in the run's audit
    log, or in ``audit.jsonl`` beside what lies outside of any run. Raises ``ConfigError`` for what is none of
    these, ``StoreError`` for what does not say how sensitive it is, and as ``upload``.
    """
    if not _REPO.fullmatch(repo):
        raise ConfigError(f"{repo}: is no name of a repository. Write owner/name.")
    given, audit = find(what)
    acknowledgement = Acknowledgement() if recipe is None else acknowledgement_of(recipe)
    return upload(given, repo, gate=Gate(acknowledgement, AuditLog(audit)), public=public)


def find(what: str) -> tuple[Upload, Path]:
    """What a word of the command line means, and the audit log that its upload is written down in."""
    path = Path(what)
    if path.is_file():
        return _export(path)
    if path.is_dir():
        run = _run_around(path)
        audit = run.audit if run is not None else path.resolve().parent / "audit.jsonl"
        manifest = Manifest.read(path)
        if manifest is not None and manifest.stage in ("report", "export"):
            said = manifest.sensitivity
            return _folder(what, path, [said], run, kind="dataset"), audit
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ConfigError(f"{what}: is neither a checkpoint nor a finished report. {_FORMS}")
        mark = marked(path)
        if mark is None and run is None:
            raise StoreError(
                f"{what}: does not say how sensitive it is ({MARK} is missing). "
                "Push it from its run, as RUN:aligned, or restore the file."
            )
        return _folder(what, path, [mark or "public"], run, kind="model"), audit
    _, colon, which = what.rpartition(":")
    if not colon:
        raise ConfigError(f"{what}: is not there. {_FORMS}")
    folder, run = find_student(what)
    if which == "base" or run is None:
        raise ConfigError(f"{what}: was not made here. {_FORMS}")
    return _folder(what, Path(folder), [marked(Path(folder)) or "public"], run, kind="model"), run.audit


def _folder(what: str, path: Path, said: Sequence[str], run: RunFolder | None, *, kind: str) -> Upload:
    """A folder that is as sensitive as it says, or its run where that is stricter."""
    return Upload(
        title=what,
        folder=path,
        kind=kind,
        sensitivity=strictest([*said, *([] if run is None else [of_run(run)])]),
        sha256=sha256_tree(path),
        size=sum(each.stat().st_size for each in path.rglob("*") if each.is_file()),
    )


def _export(path: Path) -> tuple[Upload, Path]:
    beside = manifest_beside(path)
    if not beside.is_file():
        raise StoreError(
            f"{path}: does not say how sensitive it is ({beside.name} is missing). Export it again, or "
            "restore the file."
        )
    sensitivity, sha256 = sensitivity_beside(path), sha256_file(path)
    if json.loads(beside.read_text(encoding="utf-8")).get("outputs") != {path.name: sha256}:
        raise StoreError(f"{path}: is not the file that {beside.name} speaks of. Export it again.")
    given = Upload(
        title=path.name,
        folder=path.parent,
        files=(path.name, beside.name),
        kind="dataset",
        sensitivity=sensitivity,
        sha256=sha256,
        size=path.stat().st_size + beside.stat().st_size,
    )
    return given, path.resolve().parent / "audit.jsonl"


def _run_around(path: Path) -> RunFolder | None:
    """The run that a stage's folder, or a student's in it, belongs to."""
    for root in path.resolve().parents[:2]:
        if RunFolder(root).cases.exists() and Manifest.read(root) is not None:
            return RunFolder(root)
    return None
