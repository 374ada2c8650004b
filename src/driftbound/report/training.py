"""Trainings on the page: what the trainers logged, as curves with their numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.report.drawing import Figure
from driftbound.report.figures import curves
from driftbound.report.tables import digits, number

FALL = "logp_consensus_change_per_token"
HELD_OUT = "held-out answers/"
"""What stands before the name of what a look at held-out answers found."""
LOSS = {"bootstrap": "loss, nats per token of the answers", "align": "loss, nats per group"}
SINGLE = {
    FALL: "log p(consensus) against the reference, nats per token",
    "logp_consensus_per_token": "log p(consensus), nats per token",
    "logp_per_token": "log p of the teachers’ answers, nats per token",
    "rewards/margin": "margin over the hardest negative, nats",
    "rewards/accuracy": "share of groups whose consensus beats the hardest negative",
    f"{HELD_OUT}words": "length of held-out answers, words per answer",
    f"{HELD_OUT}repeated": "repetition in held-out answers, share of sentences said before",
    f"{HELD_OUT}unparsable": "unparsable held-out answers, share",
}
"""Quantities with a plot of their own and their unit; the floor is a limit of the first."""
CONSENSUS = "the consensus"
REJECTED = "rewards/rejected/"
"""What stands before a teacher's name in the name of its reward."""
NOT_SHOWN = ("step", "epoch", "validation", "cases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One plot and a sentence about how to read it."""

    title: str
    note: str
    figure: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """First and last logged value of one quantity, and its value on the validation cases (or ``nan``)."""

    name: str
    first: float
    last: float
    validation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training, ready to print."""

    verb: str
    title: str
    steps: int
    charts: tuple[Chart, ...]
    changes: tuple[Change, ...]
    points: dict[str, list[tuple[float, float]]]
    """The logged numbers behind the plots: quantity -> (step, value)."""
    unwatched: bool
    """No answer was looked at meanwhile: what became of their length and form is not known."""


def training(
    verb: str, title: str, rows: Sequence[Mapping[str, Any]], *, floor: float = math.nan
) -> Training:
    """Charts of whatever the rows of ``metrics.jsonl`` hold; a row without ``step`` counts by its place.

    The value of a row's ``validation``, a table, stands beside the last value trained on. A row's ``watch``
    is a look: what held-out answers were like at its own step.
    """
    watched: dict[str, Any] = {}
    points: dict[str, list[tuple[float, float]]] = {}
    for place, row in enumerate(rows):
        step = number(row.get("step"))
        step = step if math.isfinite(step) else float(place)
        watched |= row.get("validation") or {}
        look = row.get("watch") or {}
        step = number(look["step"]) if look else step
        shown = {f"{HELD_OUT}{key}": value for key, value in look.items() if key not in NOT_SHOWN}
        for key, value in {**row, **shown}.items():
            if key not in NOT_SHOWN and math.isfinite(number(value)):
                points.setdefault(str(key), []).append((step, number(value)))
    steps = max((step for line in points.values() for step, _ in line), default=0)
    changes = [
        Change(name=name, first=line[0][1], last=line[-1][1], validation=number(watched.get(name)))
        for name, line in points.items()
    ]
    return Training(
        verb=verb,
        title=title,
        steps=round(steps),
        charts=tuple(_charts(verb, points, floor)),
        changes=tuple(changes),
        points=points,
        unwatched=f"{HELD_OUT}words" not in points,
    )


def _charts(verb: str, points: Mapping[str, list[tuple[float, float]]], floor: float) -> list[Chart]:
    charts: list[Chart] = []
    if "loss" in points:
        title = LOSS.get(verb, "loss")
        drawn = curves(title, {"loss": points["loss"]}, name=f"{verb} loss")
        charts.append(Chart(title=title, note="", figure=drawn))
    for key, title in SINGLE.items():
        if key in points:
            limited = key == FALL and math.isfinite(floor)
            note = f"training stops below the dashed floor, {floor:g}" if limited else ""
            level = floor if limited else math.nan
            drawn = curves(title, {key: points[key]}, level=level, name=f"{verb} {key}")
            charts.append(Chart(title=title, note=note, figure=drawn))
    rewards = {key.removeprefix(REJECTED): line for key, line in points.items() if key.startswith(REJECTED)}
    if "rewards/consensus" in points:
        rewards[CONSENSUS] = points["rewards/consensus"]
    if rewards:
        title, note = "rewards, nats", f"consensus in colour, one grey line per teacher; {_ends(rewards)}"
        drawn = curves(title, rewards, strong=CONSENSUS, name=f"{verb} rewards")
        charts.append(Chart(title=title, note=note, figure=drawn))
    return charts


def _ends(lines: Mapping[str, list[tuple[float, float]]]) -> str:
    """Who ends where, highest first: grey lines cannot be told apart by their colour."""
    last = sorted(((name, line[-1][1]) for name, line in lines.items()), key=lambda each: -each[1])
    return "at the end " + ", ".join(f"{name} {digits(value, 2)}" for name, value in last)
