"""Estimate: how long what is left of a study will take, by its own earlier results or else by a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftbound.study.plan import Job
from driftbound.study.results import read_result

USUAL = {"base": 115.0, "asked": 20.0, "sft": 65.0, "trained": 165.0}
"""Seconds of a base run, of an arm that is only asked, of one that is fine-tuned and of one that is trained
by preferences, where no result tells."""
LIMIT_S = 180.0
"""What an arm on one seed may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The jobs of one arm in a phase or a sweep."""

    part: str
    arm: str
    jobs: int
    done: int
    each: float
    """Seconds of one."""
    measured: bool
    """Whether ``each`` is of earlier results."""

    @property
    def left(self) -> float:
        """Seconds of those that are not done."""
        return (self.jobs - self.done) * self.each


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is left of a study."""

    lines: tuple[Line, ...]
    bases: int
    """Base runs that are to be made."""
    base_each: float
    seconds: float
    """Of all that is left, with so many processes side by side."""


def estimate(jobs: Sequence[Job], todo: Sequence[Job], bases: int, out: Path, processes: int) -> Estimate:
    """How long the jobs ``todo`` (the rest of ``jobs`` is done) and their base runs will take."""
    seen = _seen(out)
    left = {id(job) for job in todo}
    parts: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        parts.setdefault((job.sweep or job.phase, job.arm), []).append(job)
    lines = []
    for (part, arm), own in parts.items():
        kind = "asked" if own[0].stop else "sft" if own[0].recipe.align.objective == "sft" else "trained"
        lines.append(
            Line(
                part=part,
                arm=arm,
                jobs=len(own),
                done=sum(id(job) not in left for job in own),
                each=_mean(seen.get(arm, ()), USUAL[kind]),
                measured=bool(seen.get(arm)),
            )
        )
    base = _mean(seen.get("", ()), USUAL["base"])
    total = sum(line.left for line in lines) + bases * base
    return Estimate(lines=tuple(lines), bases=bases, base_each=base, seconds=total / processes)


def clock(seconds: float) -> str:
    """Seconds as a person reads them.

    >>> clock(42), clock(90), clock(5400)
    ('42 s', '1 min 30 s', '1 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(found: Estimate) -> Any:
    """The estimate for the terminal; fits 80 columns."""
    from rich.table import Table

    shown = Table(title="What is left of the study", title_justify="left")
    for name in ("part", "arm"):
        shown.add_column(name, overflow="fold")
    for name in ("jobs", "done", "each", "left"):
        shown.add_column(name, justify="right", no_wrap=True)
    for line in found.lines:
        each = clock(line.each) + ("" if line.measured else " ?") + (" !" if line.each > LIMIT_S else "")
        shown.add_row(line.part, line.arm, str(line.jobs), str(line.done), each, clock(line.left))
    return shown


def summary(found: Estimate, processes: int) -> list[str]:
    """What the table comes to, in lines."""
    jobs, done = (sum(getattr(line, name) for line in found.lines) for name in ("jobs", "done"))
    lines = [
        f"{jobs} jobs (arm, seed, setting), {done} done or the same as another.",
        f"{found.bases} base runs to make at {clock(found.base_each)} each.",
        f"Estimate: {clock(found.seconds)} with {processes} processes side by side.",
    ]
    if any(not line.measured for line in found.lines):
        lines.append("?: no result yet says how long; taken from a table.")
    slow = [line.arm for line in found.lines if line.each > LIMIT_S]
    if slow:
        lines.append(f"!: more than {clock(LIMIT_S)} for one job ({', '.join(dict.fromkeys(slow))}).")
    return lines


def _seen(out: Path) -> Mapping[str, list[float]]:
    """Seconds by arm of all results of the study; under the empty name those of the shared first stages."""
    found: dict[str, list[float]] = {}
    for path in sorted(out.glob("*/*--seed-*.json")):
        said = read_result(path)
        if said is None or "same_as" in said or not said.get("seconds"):
            continue
        found.setdefault(said["arm"], []).append(_sum(said["seconds"].values()))
        if {"collect", "bootstrap"} <= set(said.get("shared_seconds") or ()):
            found.setdefault("", []).append(_sum(said["shared_seconds"].values()))
    return found


def _sum(values: Iterable[Any]) -> float:
    return float(sum(value for value in values if value is not None))


def _mean(values: Sequence[float], usual: float) -> float:
    return sum(values) / len(values) if values else usual
