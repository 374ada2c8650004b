"""Trainings on the page: what the trainers logged, as curves with their numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from driftbound.report.figures import curves
from driftbound.report.tables import number

FALL = "logp_consensus_change_per_token"
SINGLE = {
    FALL: "log p(consensus) against the reference, nats per token",
    "logp_consensus_per_token": "log p(consensus) per token, nats",
    "rewards/margin": "margin over the hardest negative",
    "rewards/accuracy": "accuracy against the hardest negative",
}
"""Quantities with a plot of their own; the floor is a limit of the first."""
CONSENSUS = "the consensus"
REJECTED = "rewards/rejected/"
"""What stands before a teacher's name in the name of its reward."""
NOT_SHOWN = ("step", "epoch", "validation", "cases")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One plot and a sentence about how to read it."""

    title: str
    note: str
    figure: Markup


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
        shown = {f"held-out answers/{key}": value for key, value in look.items() if key not in NOT_SHOWN}
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
        charts=tuple(_charts(points, floor)),
        changes=tuple(changes),
        points=points,
    )


def _charts(points: Mapping[str, list[tuple[float, float]]], floor: float) -> list[Chart]:
    charts: list[Chart] = []
    if "loss" in points:
        charts.append(Chart(title="loss", note="", figure=curves("loss", {"loss": points["loss"]})))
    for key, title in SINGLE.items():
        if key in points:
            limited = key == FALL and math.isfinite(floor)
            note = f"training stops below the dashed floor, {floor:g}" if limited else ""
            figure = curves(title, {key: points[key]}, level=floor if limited else math.nan)
            charts.append(Chart(title=title, note=note, figure=figure))
    rewards = {key.removeprefix(REJECTED): line for key, line in points.items() if key.startswith(REJECTED)}
    if "rewards/consensus" in points:
        rewards[CONSENSUS] = points["rewards/consensus"]
    if rewards:
        note = "consensus in colour, one grey line per teacher"
        charts.append(Chart(title="rewards", note=note, figure=curves("rewards", rewards, strong=CONSENSUS)))
    return charts
