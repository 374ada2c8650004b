"""Listing: a page of the list of cases, and the comparison of two runs, as plain rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.viewer.marks import Mark, Marks
from driftbound.viewer.opened import ACCEPTED, REJECTED, STANDS, Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case of the list."""

    case_id: str
    split: str
    stands: tuple[str, ...]
    """By headline finding; empty: nobody speaks of it."""
    conflict: float
    unusual: bool
    consensus: str
    support: float
    right: Mapping[str, str]
    """Student or consensus -> "4/5"; what was not judged is not there."""
    mark: Mark


def rows_of(run: Opened, places: Sequence[int], marks: Marks) -> list[Row]:
    """The rows of some cases."""
    counts = {name: right.count() for name, right in run.right.items()}
    said = {ACCEPTED: "accepted", REJECTED: "rejected"}
    return [
        Row(
            case_id=run.cases[n].case_id,
            split=run.cases[n].split,
            stands=tuple(STANDS[s] if s >= 0 else "" for s in run.stands[n]),
            conflict=float(run.conflict[n]),
            unusual=bool(run.unusual[n]),
            consensus=said.get(int(run.consensus[n]), ""),
            support=float(run.supported[n]),
            right={name: f"{good[n]}/{all_[n]}" for name, (good, all_) in counts.items() if all_[n]},
            mark=marks.of(run.cases[n].case_id),
        )
        for n in places
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How two runs' answerer did on one finding, over the cases that both have judged."""

    finding: str
    both: int
    here: int
    """Right in this run alone."""
    there: int
    neither: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs of the same cases: contrasts by finding, and the cases in which they differ."""

    contrasts: tuple[Contrast, ...]
    differing: tuple[int, ...]
    """Places in this run, those with most differences first."""
    shared: int
    """Cases that both runs have."""


def compare(run: Opened, other: Opened, who: str) -> Compared:
    """``who`` is a student or ``consensus``; findings that both runs have in their headline."""
    pairs = [
        (n, other.place[case.case_id]) for n, case in enumerate(run.cases) if case.case_id in other.place
    ]
    here, there = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    findings = [name for name in run.headline if name in other.headline]
    if who not in run.right or who not in other.right or not len(here):
        return Compared((), (), len(here))
    one = _columns(run, who, findings)[here]
    two = _columns(other, who, findings)[there]
    judged = (one >= 0) & (two >= 0)
    differs = judged & (one != two)
    counts = differs.sum(axis=1)
    order = np.argsort(-counts, kind="stable")
    return Compared(
        tuple(
            Contrast(
                finding=finding,
                both=int((judged & (one == 1) & (two == 1))[:, f].sum()),
                here=int((differs & (one == 1))[:, f].sum()),
                there=int((differs & (two == 1))[:, f].sum()),
                neither=int((judged & (one == 0) & (two == 0))[:, f].sum()),
            )
            for f, finding in enumerate(findings)
        ),
        tuple(int(here[k]) for k in order if counts[k]),
        len(here),
    )


def _columns(run: Opened, who: str, findings: Sequence[str]) -> NDArray[np.int8]:
    return run.right[who].values[:, [run.headline.index(name) for name in findings]]
