"""Results: the raw numbers of a job, a Parquet file of claims and a JSON file that says it is whole."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from driftbound.store.manifest import atomic_write_text, code_version, package_versions, replacing
from driftbound.study.plan import Job, slug

_WORD = pa.dictionary(pa.int32(), pa.string())
ROWS = pa.schema([(name, _WORD) for name in ("case_id", "cluster", "split", "finding", "truth", "said")])
"""One row per held-out case and finding: ``truth`` is absent, present, left, right or both; ``said`` may be
uncertain, omitted (nothing is said of it) or refused (the whole case has no usable answer) besides."""
DONE, STOPPED = "done", "stopped"
TEACHER, CONSENSUS = "teacher ", "consensus "
"""How the names of rows begin that are no students: a teacher itself, and a consensus of the teachers."""
PRIOR, SIGNS = "always prior", "signs"
"""Rows that no teaching makes: the more frequent answer, and the base's own eye with the textbook's rule."""
SHUFFLED = ", images shuffled"
"""Behind a split's name: each question came with another patient's image."""

Row = Mapping[str, str]


def result_path(out: Path, job: Job, arm: str = "") -> Path:
    """The JSON file of a job's result, or of another arm on its seed and setting; rows lie beside it."""
    return out / slug(job.phase) / f"{job.where}--{slug(arm or job.arm)}--seed-{job.seed}.json"


def finished(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """What a result says, if it is whole and of this very job; else ``None``: to be made (again)."""
    found = read_result(path)
    if found is None or found.get("fingerprint") != fingerprint:
        return None
    return found if found["status"] == STOPPED or path.with_suffix(".parquet").is_file() else None


def read_result(path: Path) -> dict[str, Any] | None:
    """A result file, whatever job it is of; ``None`` where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("status") in (DONE, STOPPED) else None


def write_result(
    out: Path,
    job: Job,
    rows: Sequence[Row],
    said: Mapping[str, Any],
    *,
    arm: str = "",
    fingerprint: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Write a job's rows (if any) and then its JSON, each whole or not at all.

    ``arm`` is another arm on the job's seed and setting, for rows that need no training.
    """
    path = result_path(out, job, arm)
    path.unlink(missing_ok=True)
    columns = {name: pa.array([row[name] for row in rows], _WORD) for name in ROWS.names}
    if rows:
        with replacing(path.with_suffix(".parquet")) as partial:
            pq.write_table(pa.table(columns, schema=ROWS), partial, compression="zstd")
    else:
        path.with_suffix(".parquet").unlink(missing_ok=True)
    whole = {
        "study": job.study,
        "phase": job.phase,
        "sweep": job.sweep,
        "setting": job.setting,
        "arm": arm or job.arm,
        "seed": job.seed,
        "status": DONE,
        "reason": "",
        "recipe_overrides": dict(job.overrides if overrides is None else overrides),
        "fingerprint": fingerprint or job.fingerprint,
        "chosen": job.chosen,
        "seconds": {},
        "shared_seconds": {},
        "splits": {},
        "versions": {"driftbound": code_version(), **package_versions()},
        **said,
    }
    atomic_write_text(path, json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_again(out: Path, job: Job, source: Path, *, arm: str = "") -> None:
    """The result of a job (or of another arm on its seed and setting) that a finished one has already."""
    found = read_result(source)
    assert found is not None
    rows = source.with_suffix(".parquet")
    given = pq.read_table(rows).to_pylist() if rows.is_file() else []
    own = ("study", "phase", "sweep", "setting", "arm", "seed", "recipe_overrides", "fingerprint", "chosen")
    said = {key: value for key, value in found.items() if key not in own} | {"same_as": source.name}
    mark = str(found["fingerprint"])
    write_result(out, job, given, said, arm=arm, fingerprint=mark, overrides={} if arm else None)
