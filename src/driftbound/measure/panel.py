"""Panel: what the sections of the measure are taken from, and what each of them hands back."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.sheet import DriftRow
from driftbound.measure.votes import Votes
from driftbound.records import Measured
from driftbound.statistics.intervals import Array, Resamples

FAMILIES = ("along the reasoning", "over the collection", "between versions", "refusals")
"""Questions that may raise an alarm. Each gets an equal share of the level, so that all alarms of a run
together are false with at most the level's chance (Bonferroni)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the panel is measured."""

    steps: int = 10
    """J: equal parts into which each answer's claims are put."""
    decisive: float = 0.75
    """Share of the explicit votes from which a claim counts as agreed."""
    alpha: float = 0.05
    """Chance of any false alarm in the whole run."""
    draws: int = 999
    """Random sign flips per test."""
    margin: float = 0.05
    """Changes of the rate of contradiction within plus or minus this have no meaning."""
    fdr: float = 0.1
    """Expected share of false ones among flagged cases and among decided claims."""
    adwin: bool = False
    """Watch the collection with river's ADWIN too."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The fitted cases (n) of T teachers, as they were read."""

    votes: Votes
    """Sample 0 of the first wave."""
    clusters: NDArray[np.intp]
    """(n,) number of each case's cluster."""
    resamples: Resamples
    """Of the same clusters."""
    words: Array
    """(n, T) length of each answer; ``nan`` without a text."""
    statuses: NDArray[np.object_]
    """(n, T) status of each answer; empty where nothing was asked."""
    versions: NDArray[np.object_]
    """(n, T) version that the endpoint reported; empty where none."""
    order: NDArray[np.intp]
    """(n, T) place of each answer among its teacher's, by time, then by the cases' order; -1 without."""
    timed: bool
    """Whether the answers bear times; else ``order`` is the order of the cases."""
    repeats: tuple[NDArray[np.int16], ...] = ()
    """Codes (n, T, A) of samples 0, 1, ...; sample 0 among them; empty where nothing was asked twice."""
    waves: Mapping[int, NDArray[np.int16]] = field(default_factory=dict)
    """Codes (n, T, A) of the later waves."""
    settings: Settings = Settings()
    ordered: bool = True
    """Whether ``order`` is known to be that of asking: by times, or as a run asks in its cases' order."""

    @property
    def alpha(self) -> float:
        """Level of one family."""
        return self.settings.alpha / len(FAMILIES)

    @property
    def draws(self) -> int:
        """Random sign flips per test: enough that the smallest p is a tenth of a teacher's share."""
        return max(self.settings.draws, ceil(10 * len(self.votes.teachers) / self.alpha))

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of their own for each purpose, so that no section moves another's."""
        digest = hashlib.sha256(f"{self.settings.seed}:measure:{purpose}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that is not chance, at the level of the whole run."""

    family: str
    """One of ``FAMILIES``."""
    teacher: str
    """Empty: the panel."""
    what: str
    """In words."""
    effect: Measured
    """With the p-value of its test."""
    p_adjusted: float
    """Within its family; an alarm when it is at most the family's share of the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one question came to."""

    summary: Mapping[str, Any]
    """Tables of ``Measured``."""
    rows: Sequence[DriftRow] = ()
    alarms: Sequence[Alarm] = ()
    notes: Sequence[str] = ()
    """What a reader must know."""


def joined(*sections: Section) -> Section:
    """Several answers as one; their tables must have different names."""
    return Section(
        summary={name: table for section in sections for name, table in section.summary.items()},
        rows=[row for section in sections for row in section.rows],
        alarms=[alarm for section in sections for alarm in section.alarms],
        notes=[note for section in sections for note in section.notes],
    )
