"""Measured: what the measure stage's summary says, row by row; what is missing is left out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from driftbound.records import Measured
from driftbound.report.measured_summary import NO_NUMBER, is_number, named, numbers_in, read, within
from driftbound.report.tables import number

LEVEL = 0.05
"""Of each test of equivalence."""
OWN = ("presence", "value")
"""Attributes that are the finding itself; a side is told below it."""
LEAK = (
    "An error that all teachers share (a prompt that names the answer, images that are flipped) looks like "
    "agreement and cannot be seen here."
)
NO_GOLD = "No gold was used: nothing but the teachers' answers was read."


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that is not chance, at the level of the whole run."""

    who: str
    what: str
    family: str
    effect: Measured
    p_adjusted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Along:
    """One teacher along its own answers."""

    teacher: str
    parts: tuple[Measured, ...]
    """Share of the others' votes that contradict it, by part of its answer."""
    change: Measured
    """Later less earlier, at the split found, with the scan's p."""
    begins: float
    """Share of the answer at which the later part begins; ``nan`` where no split was tested."""
    apart: Measured
    """The same change, its split found on other cases than it is measured on."""
    same: Measured
    """At the middle split, with the p of equivalence within the margin."""
    drifts: bool
    p_adjusted: float = math.nan
    """Of ``change``, over all teachers."""

    @property
    def verdict(self) -> str:
        """What both tests together say."""
        small = self.same.p <= LEVEL
        if self.drifts:
            return "drifts, by less than the margin" if small else "drifts"
        return "no change that matters" if small else "nothing shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A change of one habit of a teacher."""

    teacher: str
    habit: str
    effect: Measured
    at: Measured = NO_NUMBER
    """First answer after it, where that was looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """One teacher between two versions, or in a later round (then ``split`` is empty)."""

    teacher: str
    between: str
    habits: Mapping[str, Measured]
    split: Mapping[str, Measured] = field(default_factory=dict)
    laws: Measured = NO_NUMBER
    """All its votes together, whatever in them may have changed."""
    reason: str = ""
    """Why there is no number; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """How one teacher answered."""

    teacher: str
    answers: Mapping[str, int]
    rate: Measured
    above: Measured
    """Its rate less the mean of the others'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """How far the teachers agree on one finding, or on one attribute of it."""

    finding: str
    attribute: str
    """Empty: the finding itself."""
    numbers: Mapping[str, Measured]
    """``agreed``, ``conflicting``, ``undecided``, ``alpha``, ``ac1``, ``raw_agreement``."""

    @property
    def label(self) -> str:
        """Name of the row."""
        return f"{self.finding}, {self.attribute}" if self.attribute else self.finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe on one finding."""

    finding: str
    attribute: str
    method: str
    why: str
    teachers: Mapping[str, Mapping[str, Measured]]
    """Teacher -> value -> chance that it says the value where it holds."""
    lineages: tuple[tuple[str, ...], ...]
    """Only those of more than one teacher: who copies whom, or from the same source."""
    dependence: Mapping[str, Measured]
    dependence_p: float
    copying: Mapping[str, Measured]
    """Teacher of a lineage -> chance that it votes as the lineage's common source."""
    pair: tuple[str, ...]
    """The two whose votes go together most beyond what the truth explains; empty where nobody was named."""
    effective: Measured
    undecided: Measured
    rest: tuple[tuple[str, Measured], ...]
    """Whatever else was measured: path -> number."""

    @property
    def label(self) -> str:
        """Name of the row."""
        return self.finding if self.attribute in ("", *OWN) else f"{self.finding}, {self.attribute}"

    @property
    def values(self) -> tuple[str, ...]:
        """All values that a teacher has a number for, in their order."""
        return tuple(dict.fromkeys(value for each in self.teachers.values() for value in each))


def gold_of(summary: Mapping[str, Any]) -> str:
    """Whether checked claims were used, in a sentence."""
    gold = str(within(summary, "about").get("gold") or "none")
    return NO_GOLD if gold == "none" else f"Gold was used: {gold}."


def alarms_of(summary: Mapping[str, Any]) -> tuple[Alarm, ...]:
    """What is not chance, by question, in the order in which the summary lists the questions."""
    given, listed = summary.get("alarms"), within(summary, "about").get("families")
    found = [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
    families = [*listed, *(each.get("family") for each in found)] if isinstance(listed, list) else []
    if families:
        found.sort(key=lambda each: families.index(each.get("family")))
    return tuple(
        Alarm(
            who=str(each.get("teacher") or "the panel"),
            what=str(each.get("what", "")),
            family=str(each.get("family", "")),
            effect=read(each.get("effect")),
            p_adjusted=number(within(each, "effect").get("p_adjusted")),
        )
        for each in found
    )


def along_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> tuple[Along, ...]:
    """Every teacher's drift along its answers. Contradiction is what agreement leaves."""
    table, steps = within(summary, "along", "teachers"), within(summary, "agreement", "steps")
    found = []
    for name in named(teachers, table, steps):
        own, parts = within(table, name), steps.get(name)
        found.append(
            Along(
                teacher=name,
                parts=tuple(_rest(read(each)) for each in parts) if isinstance(parts, list) else (),
                change=read(own.get("change")),
                begins=read(own.get("split")).value,
                apart=read(own.get("change_measured_apart")),
                same=read(own.get("no_meaningful_drift")),
                drifts=own.get("drifts") is True,
                p_adjusted=read(own.get("p_adjusted")).value,
            )
        )
    return tuple(found)


def shifts_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> tuple[Shift, ...]:
    """Changes that the monitors of the collection found."""
    table = within(summary, "collection")
    return tuple(
        Shift(teacher=name, habit=str(habit), effect=effect, at=read(found.get("at")))
        for name in named(teachers, table)
        for habit, found in within(table, name).items()
        if isinstance(found, Mapping) and math.isfinite((effect := read(found.get("shift"))).value)
    )


def no_floor_of(summary: Mapping[str, Any]) -> str:
    """Why there is no noise floor; empty where there is one."""
    return read(within(summary, "along", "noise_floor")).reason.removesuffix("; no noise floor")


def adwin_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> tuple[str, ...] | None:
    """Where ADWIN cuts its windows, in words; ``None`` where it did not watch."""
    table = within(summary, "collection")
    found = {
        (name, str(habit)): read(each["adwin"])
        for name in named(teachers, table)
        for habit, each in within(table, name).items()
        if isinstance(each, Mapping) and is_number(each.get("adwin"))
    }
    cuts = {key: each.value for key, each in found.items() if math.isfinite(each.value)}
    return tuple(f"{name}, {habit}: {at:.0f}" for (name, habit), at in cuts.items()) if found else None


def monitors_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> dict[str, dict[str, Measured]]:
    """Teacher -> habit -> evidence that it changed while it was asked, with its p."""
    table = within(summary, "collection")
    found = {
        name: {
            str(habit): read(each.get("evidence"))
            for habit, each in within(table, name).items()
            if isinstance(each, Mapping) and is_number(each.get("evidence"))
        }
        for name in named(teachers, table)
    }
    return {name: each for name, each in found.items() if each}


def versions_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> tuple[Versions, ...]:
    """Changes between versions, then between rounds."""
    found = []
    table = within(summary, "versions", "teachers")
    for name in named(teachers, table):
        changes = within(table, name).get("changes")
        for each in changes if isinstance(changes, list) else ():
            if isinstance(each, Mapping):
                found.append(
                    Versions(
                        teacher=name,
                        between=f"{each.get('from', '?')} → {each.get('to', '?')}",
                        habits=numbers_in(each.get("habits")),
                        split=numbers_in(each.get("contradicted_split")),
                        laws=read(each.get("laws")),
                    )
                )
    for wave, told in within(summary, "versions", "waves").items():
        for name in named(teachers, within(told)):
            own = within(told, name)
            why = read(own).reason if is_number(own) else ""
            habits = {} if why else numbers_in(own)
            found.append(Versions(teacher=name, between=f"round {wave}", habits=habits, reason=why))
    return tuple(found)


def refusals_of(summary: Mapping[str, Any], teachers: Sequence[str]) -> tuple[Refusals, ...]:
    """Every teacher's answers by status, and its refusals beside the others'."""
    table = within(summary, "refusals")
    return tuple(
        Refusals(
            teacher=name,
            answers={status: _whole(each) for status, each in numbers_in(within(own, "answers")).items()},
            rate=read(own.get("refusal_rate")),
            above=read(own.get("above_others")),
        )
        for name in named(teachers, table)
        if (own := within(table, name))
    )


def _whole(found: Measured) -> int:
    return int(found.value) if math.isfinite(found.value) else 0


def _rest(found: Measured) -> Measured:
    """What a share leaves of one."""
    return replace(found, value=1 - found.value, low=1 - found.high, high=1 - found.low)
