"""Course: what an arm's run took, how its training went, and which of its rounds was kept."""

import json
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from driftbound.store.folder import ROUNDS, RunFolder
from driftbound.store.plan import made_of
from driftbound.study.sharing import discard


def seconds_of(folder: RunFolder, verbs: Sequence[str]) -> dict[str, float]:
    """What each stage took, one that was stopped too."""
    found = {verb: made_of(folder.stage(verb)) for verb in verbs if folder.stage(verb).is_dir()}
    return {verb: made.seconds for verb, made in found.items() if made is not None}


def training_of(own: RunFolder) -> dict[str, Any]:
    """Steps of the last training and what its metrics end with."""
    path = own.stage("align") / "metrics.jsonl"
    if not path.exists():
        return {"steps": 0, "metrics": {}}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps = max((int(row["step"]) for row in rows if "step" in row), default=0)
    last: dict[str, Any] = next((row["validation"] for row in rows[::-1] if "validation" in row), {})
    return {"steps": steps, "metrics": {name: value for name, value in last.items() if np.isfinite(value)}}


def rounds_of(own: RunFolder) -> dict[str, Any]:
    """Of several rounds which was kept (0: the bootstrapped student), how many ran, and why no more."""
    path = own.stage("align") / ROUNDS
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    ran = max(row["round"] for row in found["rounds"])
    return {"rounds": {"kept": found["kept"], "ran": ran, "reason": found["reason"]}}


def forget(own: RunFolder) -> None:
    """Remove an arm's run but for the course of its training: a checkpoint per arm and seed fills a disk."""
    metrics = own.stage("align") / "metrics.jsonl"
    if metrics.exists():
        shutil.copy2(metrics, own.root.with_name(f"{own.root.name}.metrics.jsonl"))
    discard(own.root)
