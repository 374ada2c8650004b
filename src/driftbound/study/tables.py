"""Tables: rows of the study's page, computed from the results."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftbound.study.compare import METRICS, OverSeeds, adjusted, mean_over, over_seeds, paired
from driftbound.study.material import UNTRAINED, Material, finding_rates, kind_of, main_arms
from driftbound.study.reading import LABELS, NUMBERS
from driftbound.study.results import PRIOR, SHUFFLED

CLAIMED = ("accuracy", "balanced_accuracy")
"""The metrics that the goals are about."""
_SAME = 1e-9
"""Rates that differ by less are one rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm on one split: means over seeds; ``nan``: unknown."""

    arm: str
    kind: str
    metrics: dict[str, OverSeeds]
    numbers: dict[str, float]
    seconds: float
    """Per seed."""
    groups: float
    """Training cases with a consensus, per seed."""
    probe: float
    """How well a text alone tells the consensus from a teacher's; 0.5 is chance."""
    probe_teachers: float
    """How well a text alone tells which teacher wrote it; chance is 1 / number of teachers."""
    kept: tuple[int, ...]
    """Per seed the round that was kept, of several; empty where the recipe has one round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm minus another, paired by seeds and patients."""

    one: str
    other: str
    differences: dict[str, OverSeeds]
    holm: dict[str, float]
    """Adjusted p per metric of ``CLAIMED``; empty where it belongs to no family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """One finding: the default arm among the teachers, by balanced accuracy as a mean over seeds."""

    finding: str
    student: float
    rank: int | None
    """1 plus the number of teachers that are better; ``None`` where the student's is undefined."""
    teachers: int
    best: str
    top: float
    median: float
    lowest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRow:
    """Does an arm look? With its own images and with another patient's; the differences are paired."""

    arm: str
    own: dict[str, OverSeeds]
    shuffled: dict[str, OverSeeds]
    drop: dict[str, OverSeeds]
    """Own minus shuffled."""
    over_prior: dict[str, OverSeeds]
    """Shuffled minus always the more frequent answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One arm in one setting of a sweep."""

    setting: str
    arm: str
    kind: str
    metrics: dict[str, OverSeeds]
    against: OverSeeds | None
    """Balanced accuracy of the default arm minus this one; ``None`` where that is missing or this one."""
    over_last: OverSeeds | None
    """Balanced accuracy of this setting minus the last one's; ``None`` for the last, and on other cases."""
    stopped: int


def arm_rows(material: Material, phase: str, split: str) -> list[ArmRow]:
    """Main arms, one row each; a row for an arm without numbers too."""
    rows = []
    for arm in material.arms(main_arms(phase)):
        samples = [*material.samples(main_arms(phase), arm, split).values()]
        scored = material.scored(main_arms(phase), arm, split).values()
        runs = [run for run in material.runs(main_arms(phase), arm) if not run.reason]
        rows.append(
            ArmRow(
                arm=arm,
                kind=kind_of(arm),
                metrics={metric: mean_over(samples, metric) for metric in METRICS},
                numbers={
                    name: known_mean(one.numbers.get(name, math.nan) for one in scored) for name in NUMBERS
                },
                seconds=known_mean(run.seconds for run in runs),
                groups=known_mean(run.groups for run in runs),
                probe=known_mean(run.probe for run in runs),
                probe_teachers=known_mean(run.probe_teachers for run in runs),
                kept=tuple(run.kept for run in runs if run.kept is not None),
            )
        )
    return rows


def compared(material: Material, phase: str, split: str, one: str, other: str) -> Comparison:
    """``one`` minus ``other`` among the main arms."""
    mine, theirs = (material.samples(main_arms(phase), arm, split) for arm in (one, other))
    differences = {metric: paired(mine, theirs, metric) for metric in METRICS}
    return Comparison(one=one, other=other, differences=differences, holm={})


def comparisons(material: Material, phase: str, split: str) -> list[Comparison]:
    """The default arm minus every other; every teacher and rival forms one family with both metrics."""
    default = material.asked.default
    rows = [
        compared(material, phase, split, default, arm)
        for arm in material.arms(main_arms(phase))
        if arm != default
    ]
    family = [row for row in rows if in_family(material, row.other)]
    ps = adjusted([row.differences[metric] for row in family for metric in CLAIMED])
    holm = {
        row.other: dict(zip(CLAIMED, ps[2 * place : 2 * place + 2], strict=True))
        for place, row in enumerate(family)
    }
    return [replace(row, holm=holm.get(row.other, {})) for row in rows]


def in_family(material: Material, arm: str) -> bool:
    """Whether the goals name this row."""
    return kind_of(arm) == "teacher" or arm in material.asked.rivals


def finding_rows(material: Material, phase: str, split: str) -> list[FindingRow]:
    """The default arm's rank per finding; over the seeds that it and each teacher have."""
    own = material.scored(main_arms(phase), material.asked.default, split)
    teachers = {
        arm: material.scored(main_arms(phase), arm, split)
        for arm in material.arms(main_arms(phase))
        if kind_of(arm) == "teacher"
    }
    seeds = set(own).intersection(*(set(each) for each in teachers.values()))
    if not seeds or not teachers:
        return []
    student = finding_rates(own[seed] for seed in sorted(seeds))
    rates = np.stack([finding_rates(each[seed] for seed in sorted(seeds)) for each in teachers.values()])
    rows = []
    for place, finding in enumerate(LABELS):
        known = {arm: float(rate) for arm, rate in zip(teachers, rates[:, place], strict=True)}
        known = {arm: rate for arm, rate in known.items() if not math.isnan(rate)}
        value = float(student[place])
        if not known:
            continue
        best = max(known, key=lambda arm: known[arm])
        better = sum(rate > value + _SAME for rate in known.values())
        rows.append(
            FindingRow(
                finding=finding,
                student=value,
                rank=None if math.isnan(value) else better + 1,
                teachers=len(known),
                best=best,
                top=known[best],
                median=float(np.median([*known.values()])),
                lowest=min(known.values()),
            )
        )
    return rows


def look_rows(material: Material, phase: str, split: str) -> list[LookRow]:
    """Every arm that was also shown other patients' images."""
    prior = material.samples(main_arms(phase), PRIOR, split)
    rows = []
    for arm in material.arms(main_arms(phase)):
        own = material.samples(main_arms(phase), arm, split)
        blind = material.samples(main_arms(phase), arm, split + SHUFFLED)
        if blind:
            rows.append(
                LookRow(
                    arm=arm,
                    own={metric: mean_over([*own.values()], metric) for metric in CLAIMED},
                    shuffled={metric: mean_over([*blind.values()], metric) for metric in CLAIMED},
                    drop={metric: paired(own, blind, metric) for metric in CLAIMED},
                    over_prior={metric: paired(blind, prior, metric) for metric in CLAIMED},
                )
            )
    return rows


def sweep_rows(
    material: Material, phase: str, sweep: str, settings: Sequence[str], split: str
) -> list[SweepRow]:
    """One row per setting and arm of a sweep."""
    rows = []
    default, end = material.asked.default, (phase, sweep, settings[-1])
    for setting in settings:
        where = (phase, sweep, setting)
        base = material.samples(where, default, split)
        for arm in material.arms(where):
            samples = material.samples(where, arm, split)
            last = {} if where == end else material.samples(end, arm, split)
            same = all(samples[seed].patients == last[seed].patients for seed in samples.keys() & last)
            against = arm != default and base
            rows.append(
                SweepRow(
                    setting=setting,
                    arm=arm,
                    kind=kind_of(arm),
                    metrics={metric: mean_over([*samples.values()], metric) for metric in CLAIMED},
                    against=paired(base, samples, "balanced_accuracy") if against else None,
                    over_last=paired(samples, last, "balanced_accuracy") if last and same else None,
                    stopped=sum(bool(run.reason) for run in material.runs(where, arm)),
                )
            )
    return rows


def dispersions(material: Material, phase: str, split: str) -> list[tuple[str, OverSeeds, OverSeeds]]:
    """Dispersion of the default and of what it starts from, and the default's minus it, over seeds alone."""
    default = material.asked.default

    def of(arm: str) -> dict[int, float]:
        scored = material.scored(main_arms(phase), arm, split)
        return {seed: one.numbers.get("dispersion", math.nan) for seed, one in scored.items()}

    def over(values: Sequence[float]) -> OverSeeds:
        points = np.array(values, dtype=np.float64)
        return over_seeds(points, np.tile(points, (2, 1)), clusters=2)

    own = of(default)
    rows = []
    for arm in (*UNTRAINED, default):
        theirs = of(arm)
        common = [own[seed] - theirs[seed] for seed in sorted(own.keys() & theirs.keys())]
        rows.append((arm, over([*theirs.values()]), over(common)))
    return [row for row in rows if not math.isnan(row[1].estimate.mean)]


def known_mean(values: Iterable[float]) -> float:
    """Mean of the known values.

    >>> known_mean([1.0, math.nan, 3.0]), known_mean([])
    (2.0, nan)
    """
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
