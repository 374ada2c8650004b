"""Saying: what a figure shows, in sentences with its numbers, for who cannot see it."""

import math
from collections.abc import Mapping, Sequence

from driftbound.records import Measured
from driftbound.report.measured import Along
from driftbound.report.tables import ScoreRow, between, digits


def of_dots(rows: Sequence[ScoreRow]) -> str:
    """Where the aligned student stands among the others; all rows have a number."""
    mean = {(row.kind, row.name): row.balanced_accuracy.mean for row in rows}
    told = []
    own = next((row for row in rows if (row.kind, row.name) == ("student", "aligned")), None)
    teachers = [row for row in rows if row.kind == "teacher"]
    if own is not None:
        value = own.balanced_accuracy
        told.append(f"The aligned student stands at {digits(value.mean)} ({between(value)})")
        if teachers:
            above = sum(row.balanced_accuracy.mean < value.mean for row in teachers)
            told[-1] += f", above {above} of {len(teachers)} teachers"
        told[-1] += "."
    if teachers:
        best = max(teachers, key=lambda row: row.balanced_accuracy.mean)
        told.append(f"The best teacher is {best.label} with {digits(best.balanced_accuracy.mean)}.")
    consensus = mean.get(("together", "consensus"), math.nan)
    if math.isfinite(consensus):
        told.append(f"The consensus has {digits(consensus)}.")
    return " ".join(told) or f"{len(rows)} answerers, the highest at {digits(max(mean.values()))}."


def of_shares(shares: Mapping[str, Mapping[str, float]]) -> str:
    """On which finding teachers agree most, and on which they contradict each other most."""
    told = []
    for status, words in (("agreed", "agree most on"), ("conflicting", "contradict each other most on")):
        known = {
            name: own[status] for name, own in shares.items() if math.isfinite(own.get(status, math.nan))
        }
        if known:
            most = max(known, key=lambda name: known[name])
            told.append(f"They {words} {most} ({known[most]:.0%} of the cases)")
    return "; ".join(told) + "." if told else ""


def of_line(points: Sequence[tuple[float, float]], unit: str) -> str:
    """How one curve goes: from where to where, and its extremes where they lie inside.

    >>> of_line([(1, 3.0), (5, 0.5), (9, 1.0)], "step")
    'falls from 3.000 at step 1 to 1.000 at step 9, lowest 0.500 at step 5'
    """
    (first, start), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"is {digits(start)} at {unit} {first:g}, the only value"
    way = "falls" if end < start else "rises" if end > start else "goes"
    told = f"{way} from {digits(start)} at {unit} {first:g} to {digits(end)} at {unit} {last:g}"
    low, high = min(points, key=lambda each: each[1]), max(points, key=lambda each: each[1])
    if low[1] < min(start, end):
        told += f", lowest {digits(low[1])} at {unit} {low[0]:g}"
    if high[1] > max(start, end):
        told += f", highest {digits(high[1])} at {unit} {high[0]:g}"
    return told


def of_lines(lines: Mapping[str, Sequence[tuple[float, float]]], strong: str, unit: str) -> str:
    """How the curves of one figure go; of several the strong one, and where the others end."""
    if len(lines) == 1:
        said = of_line(next(iter(lines.values())), unit)
        return f"It {said}."
    told = f"{strong[:1].upper()}{strong[1:]} {of_line(lines[strong], unit)}. " if strong in lines else ""
    ends = sorted(
        ((name, line[-1][1]) for name, line in lines.items() if name != strong), key=lambda e: -e[1]
    )
    return told + f"At the end: {', '.join(f'{name} {digits(value)}' for name, value in ends)}."


def of_parts(parts: Sequence[Measured], begins: float) -> str:
    """How a number goes along the answer, from the first part that has one to the last."""
    known = [(place, each.value) for place, each in enumerate(parts, start=1) if math.isfinite(each.value)]
    told = f"It {of_line(known, 'part')}."
    return told + (
        f" A change begins at {100 * begins:.0f} % of the answer." if math.isfinite(begins) else ""
    )


def of_changes(rows: Sequence[Along]) -> str:
    """How many teachers drift, and who changes most."""
    drifting = [row.teacher for row in rows if row.drifts]
    most = max(rows, key=lambda row: abs(row.change.value))
    who = f": {', '.join(drifting)}" if drifting else ""
    return (
        f"{len(drifting)} of {len(rows)} teachers drift{who}. The largest change is "
        f"{digits(most.change.value, signed=True)}, of {most.teacher}."
    )
