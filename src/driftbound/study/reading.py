"""Reading: the raw results of a study, from its files to counts per patient."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftbound.domains.phantom.findings import FINDINGS, HEADLINE
from driftbound.errors import StoreError, boundary
from driftbound.statistics.intervals import Array
from driftbound.study.plan import MAIN

LABELS = (*HEADLINE, *(name for name in FINDINGS if name not in HEADLINE))
"""Findings in the order of all arrays: the headline first."""
NUMBERS = (
    *("parsable", "words", "repeated", "contradictions", "contradictions_mean"),
    *("unsupported", "dispersion"),
)
"""What a run says of a split beside its answers; ``nan`` where it says nothing."""

_SIDES = ("left", "right", "both")
_TRUTHS = frozenset({"absent", "present", *_SIDES})
_SAID = _TRUTHS | {"uncertain", "omitted", "refused"}
_COLUMNS = ["case_id", "cluster", "split", "finding", "truth", "said"]
_REPAIR = "Delete it and run the study again: it makes what is missing."


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One arm's answers on one split, counted per patient; G patients, F findings in ``LABELS``' order."""

    patients: str
    """Hash of cases, patients and truth: equal where the same questions were asked."""
    clusters: tuple[str, ...]
    cases: int
    counts: Array
    """(G, F, 4) true positives, false positives, true negatives, false negatives."""
    sides: Array
    """(G, 2) sided findings that are there and said to be on the wrong side, and on any side."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """``NUMBERS``."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One arm in one setting on one seed."""

    phase: str
    sweep: str
    """Which sweep the setting belongs to; empty for the main arms."""
    setting: str
    arm: str
    seed: int
    reason: str
    """Why it was stopped; empty where it ran to the end."""
    seconds: float
    """Of all stages of its own together; ``nan`` if unknown."""
    groups: float
    versions: Mapping[str, str]
    overrides: str
    """What its recipe changes, as JSON; empty if unknown."""
    numbers: Mapping[str, Mapping[str, float]]
    rows: Path

    probe: float
    """Balanced accuracy with which a text alone tells the consensus from a teacher's; ``nan`` if unknown."""
    probe_teachers: float
    """The same of which teacher wrote a trajectory."""
    chosen: str
    """Mark of the written choice that it came after; empty if it waited for none."""
    kept: int | None
    """The round whose student was asked, of several; ``None`` where the recipe has one round."""

    @property
    def where(self) -> tuple[str, str, str]:
        """Phase, sweep and setting."""
        return self.phase, self.sweep, self.setting

    @cached_property
    def splits(self) -> dict[str, Scored]:
        """Split -> what was scored; nothing for a run that was stopped before it answered."""
        return {} if self.reason else _scored(self.rows, self.numbers)


def read_results(folder: Path) -> list[Result]:
    """All results below ``folder``, one folder per phase, in the order of their names.

    Raises ``StoreError`` for a file that cannot be read or that has no partner.
    """
    found = []
    for path in sorted(folder.glob("*/*.json")):
        if "--seed-" in path.stem:
            with boundary(StoreError, f"reading {path}", then=_REPAIR):
                found.append(_result(path))
    return sorted(found, key=lambda one: (one.phase, one.sweep, one.setting, one.arm, one.seed))


def _result(path: Path) -> Result:
    said = json.loads(path.read_text())
    status, reason = said["status"], said.get("reason") or ""
    if status not in ("done", "stopped"):
        raise StoreError(f"{path}: status {status!r} is neither done nor stopped. {_REPAIR}")
    rows = path.with_suffix(".parquet")
    if status == "done" and not rows.exists():
        raise StoreError(f"{path} has no answers beside it ({rows.name}). {_REPAIR}")
    seconds = [value for value in (said.get("seconds") or {}).values() if value is not None]
    overrides = said.get("recipe_overrides")
    told = {key: (said.get(key) or {}).get("accuracy") or {} for key in ("probe", "probe_teachers")}
    return Result(
        phase=said.get("phase") or path.parent.name,
        sweep=said.get("sweep") or "",
        setting=said.get("setting") or MAIN,
        arm=said["arm"],
        seed=int(said["seed"]),
        reason=(reason or "no reason given") if status == "stopped" else "",
        seconds=float(sum(seconds)) if seconds else math.nan,
        groups=_number(said.get("groups")),
        probe=_number(told["probe"].get("mean")),
        probe_teachers=_number(told["probe_teachers"].get("mean")),
        chosen=str(said.get("chosen") or ""),
        kept=(said.get("rounds") or {}).get("kept"),
        versions={str(name): str(value) for name, value in (said.get("versions") or {}).items()},
        overrides=json.dumps(overrides, sort_keys=True) if overrides else "",
        numbers={
            split: {name: _number(each.get(name)) for name in NUMBERS}
            for split, each in (said.get("splits") or {}).items()
        },
        rows=rows,
    )


def _number(value: Any) -> float:
    return math.nan if value is None or isinstance(value, bool) else float(value)


def _scored(path: Path, numbers: Mapping[str, Mapping[str, float]]) -> dict[str, Scored]:
    with boundary(StoreError, f"reading {path}", then=_REPAIR):
        table = pq.read_table(path, columns=_COLUMNS).to_pydict()
        columns = {name: np.array(table[name], dtype=str) for name in _COLUMNS}
        for name, known in (("truth", _TRUTHS), ("said", _SAID), ("finding", frozenset(LABELS))):
            strange = set(np.unique(columns[name]).tolist()) - known
            if strange:
                raise StoreError(f"{path}: {name} {min(strange)!r} is unknown. {_REPAIR}")
        return {
            split: _counted(
                {name: values[columns["split"] == split] for name, values in columns.items()},
                numbers.get(split, {}),
            )
            for split in np.unique(columns["split"]).tolist()
        }


def _counted(rows: Mapping[str, NDArray[np.str_]], numbers: Mapping[str, float]) -> Scored:
    """Count one split's rows by the rules of evaluation/classification.py.

    Omitted and uncertain are absent; a refusal is wrong whatever the truth.
    """
    names, patient = np.unique(rows["cluster"], return_inverse=True)
    place = {name: number for number, name in enumerate(LABELS)}
    finding = np.array([place[name] for name in rows["finding"].tolist()])
    present = rows["truth"] != "absent"
    asserted = np.isin(rows["said"], ["present", *_SIDES])
    right = (rows["said"] != "refused") & (asserted == present)
    cell = np.select([present & right, ~present & ~right, ~present & right], [0, 1, 2], 3)
    counts = np.zeros((len(names), len(LABELS), 4))
    np.add.at(counts, (patient, finding, cell), 1.0)
    sided = np.isin(rows["truth"], _SIDES) & np.isin(rows["said"], _SIDES)
    sides = np.zeros((len(names), 2))
    np.add.at(sides[:, 0], patient, (sided & (rows["truth"] != rows["said"])).astype(np.float64))
    np.add.at(sides[:, 1], patient, sided.astype(np.float64))
    asked = np.stack([rows[name] for name in ("case_id", "cluster", "finding", "truth")], axis=1)
    asked = asked[np.lexsort((asked[:, 2], asked[:, 0]))]
    digest = hashlib.sha256("\n".join("\t".join(row) for row in asked.tolist()).encode())
    return Scored(
        patients=digest.hexdigest(),
        clusters=tuple(names.tolist()),
        cases=len(np.unique(rows["case_id"])),
        counts=counts,
        sides=sides,
        numbers=dict(numbers),
    )
