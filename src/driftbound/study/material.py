"""Material: a study's results by setting, arm and split, and what was asked for."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from driftbound.errors import StoreError
from driftbound.statistics.intervals import Array
from driftbound.study.compare import Sample, rates, sample
from driftbound.study.plan import MAIN
from driftbound.study.reading import Result, Scored, read_results
from driftbound.study.results import CONSENSUS, PRIOR, SIGNS, TEACHER

UNTRAINED = ("base", "bootstrapped")
VALIDATION, TEST, SCANNER = "validation", "test", "test_scanner"
KINDS = ("arm", "student", "teacher", "consensus", "control")


Where = tuple[str, str, str]
"""Phase, sweep (empty for the main arms) and setting: arms of one place are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One result that a study asks for."""

    phase: str
    arm: str
    seed: int
    sweep: str = ""
    setting: str = MAIN

    @property
    def where(self) -> Where:
        """Beside which others it stands."""
        return self.phase, self.sweep, self.setting


class Job(Protocol):
    """What the page has to know of a job of the study."""

    @property
    def phase(self) -> str:
        """Its phase."""

    @property
    def sweep(self) -> str:
        """Empty for a main arm."""

    @property
    def setting(self) -> str:
        """Within the sweep."""

    @property
    def arm(self) -> str:
        """Whose job it is."""

    @property
    def seed(self) -> int:
        """On which seed."""

    @property
    def splits(self) -> Sequence[str]:
        """On which it is scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the study file says that the page needs."""

    name: str
    default: str
    """The arm that the goals are about."""
    rivals: tuple[str, ...] = ()
    """Arms and rows that it has to beat, beside every teacher."""
    steps: tuple[tuple[str, str], ...] = ()
    """Pairs of arms, the second without the one thing that the first has more."""
    expected: tuple[Run, ...] = ()
    """Empty: what is missing cannot be said. Its order is the order of arms and settings on the page."""
    tuning: str = "tuning"
    test: str = "test"
    """Names of the two phases."""
    chosen: str = ""
    """Mark of the file in which the choice stands now."""
    stale: frozenset[Run] = frozenset()
    """Results of another recipe than the study file has now."""

    @classmethod
    def of(
        cls,
        name: str,
        default: str,
        jobs: Iterable[Job],
        *,
        rivals: Sequence[str] = (),
        like: Mapping[str, str] | None = None,
    ) -> "Asked":
        """From all jobs of a study; the phase that is scored on the test split is the test.

        ``like``: arm -> the arm whose recipe it changes in one thing (its step), empty for none.
        """
        given = [*jobs]
        told = [(job.phase, TEST in job.splits) for job in given]
        return cls(
            name=name,
            default=default,
            rivals=tuple(rivals),
            steps=tuple((arm, other) for arm, other in (like or {}).items() if other),
            expected=tuple(map(run_of, given)),
            tuning=next((phase for phase, tested in told if not tested), "tuning"),
            test=next((phase for phase, tested in told if tested), "test"),
        )


def run_of(job: Job) -> Run:
    """The result that a job asks for."""
    return Run(phase=job.phase, sweep=job.sweep, setting=job.setting, arm=job.arm, seed=job.seed)


def main_arms(phase: str) -> Where:
    """Where a phase's main arms stand."""
    return phase, "", MAIN


def kind_of(arm: str) -> str:
    """One of ``KINDS``: ``arm`` was trained by the study, ``student`` is what the arms began with.

    >>> kind_of("teacher A"), kind_of("base"), kind_of("signs"), kind_of("both")
    ('teacher', 'student', 'control', 'arm')
    """
    if arm.startswith(TEACHER):
        return "teacher"
    if arm.startswith(CONSENSUS):
        return "consensus"
    return "student" if arm in UNTRAINED else "control" if arm in (PRIOR, SIGNS) else "arm"


class Material:
    """Results, looked up; metrics are computed once."""

    def __init__(self, results: Sequence[Result], asked: Asked, *, left_out: int = 0) -> None:
        self.results = results
        self.left_out = left_out
        self.asked = asked
        self._place = {(run.where, run.arm): n for n, run in reversed([*enumerate(asked.expected)])}
        self._by = {(one.where, one.arm, one.seed): one for one in results}
        self._sampled = cache(self._sample)

    @classmethod
    def read(cls, folder: Path, asked: Asked) -> "Material":
        """What is asked for of everything below ``folder``, and rows without training beside it.

        Results of arms and seeds that the study no longer has are left out. Raises ``StoreError`` for
        unreadable or no results.
        """
        results = read_results(folder)
        if not results:
            raise StoreError(f"{folder} holds no results. Run the study first.")
        if not asked.expected:
            return cls(results, asked)
        runs = {(run.where, run.arm, run.seed) for run in asked.expected}
        places = {(run.where, run.seed) for run in asked.expected}
        wanted = [
            one
            for one in results
            if (one.where, one.arm, one.seed) in runs
            or (kind_of(one.arm) not in ("arm", "student") and (one.where, one.seed) in places)
        ]
        return cls(wanted, asked, left_out=len(results) - len(wanted))

    def arms(self, where: Where) -> list[str]:
        """Arms with a result, by kind, then in the study's order, then by name."""
        last = len(self._place)
        return sorted(
            {one.arm for one in self.results if one.where == where},
            key=lambda arm: (KINDS.index(kind_of(arm)), self._place.get((where, arm), last), arm),
        )

    def sweeps(self) -> dict[tuple[str, str], list[str]]:
        """(phase, sweep) -> its settings in the study's order, else by the numbers in their names."""
        order: dict[Where, int] = {}
        for run in self.asked.expected:
            order.setdefault(run.where, len(order))

        def place(where: Where) -> tuple[int, float, str]:
            numbers = re.findall(r"\d+(?:\.\d+)?", where[2])
            return order.get(where, len(order)), float(numbers[-1]) if numbers else math.inf, where[2]

        found: dict[tuple[str, str], list[str]] = {}
        for where in sorted({one.where for one in self.results if one.sweep}, key=place):
            found.setdefault(where[:2], []).append(where[2])
        return dict(sorted(found.items()))

    def runs(self, where: Where, arm: str) -> list[Result]:
        """Results of one arm, by seed, stopped ones too."""
        return [one for one in self.results if (one.where, one.arm) == (where, arm)]

    def scored(self, where: Where, arm: str, split: str) -> dict[int, Scored]:
        """Seed -> what was scored on a split; stopped runs have nothing."""
        return {one.seed: one.splits[split] for one in self.runs(where, arm) if split in one.splits}

    def samples(self, where: Where, arm: str, split: str) -> dict[int, Sample]:
        """As ``scored``, as metrics."""
        return {seed: self._sampled(where, arm, seed, split) for seed in self.scored(where, arm, split)}

    def splits(self, phase: str) -> list[str]:
        """Splits of a phase that somebody was scored on."""
        return sorted({split for one in self.results if one.phase == phase for split in one.splits})

    @cached_property
    def seeds(self) -> dict[str, list[int]]:
        """Phase -> seeds with a result."""
        return {
            phase: sorted({one.seed for one in self.results if one.phase == phase})
            for phase in sorted({one.phase for one in self.results})
        }

    def missing(self) -> list[Run]:
        """What the study asks for and has no result."""
        return [run for run in self.asked.expected if (run.where, run.arm, run.seed) not in self._by]

    def seeds_asked(self, where: Where, arm: str) -> set[int]:
        """Seeds on which the study asks for an arm; of one that it does not know, those it asks for there."""
        own = {run.seed for run in self.asked.expected if (run.where, run.arm) == (where, arm)}
        return own or {run.seed for run in self.asked.expected if run.where == where}

    def stopped(self) -> list[Result]:
        """What was stopped, and has no numbers."""
        return [one for one in self.results if one.reason]

    def _sample(self, where: Where, arm: str, seed: int, split: str) -> Sample:
        return sample(self._by[where, arm, seed].splits[split])


def finding_rates(scored: Iterable[Scored]) -> Array:
    """(F,) balanced accuracy per finding, mean over seeds of what is defined; ``nan`` where nothing is."""
    each = np.stack([rates(one.counts.sum(axis=0))[1] for one in scored])
    known = ~np.isnan(each)
    mean: Array = np.divide(
        np.where(known, each, 0.0).sum(axis=0),
        known.sum(axis=0),
        out=np.full(each.shape[1], np.nan),
        where=known.any(axis=0),
    )
    return mean
