"""Figures of the measure: contradiction by part of the answer, changes beside their margin."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from driftbound.records import Measured
from driftbound.report.drawing import (
    LEFT,
    NO_FIGURE,
    RIGHT,
    Figure,
    across,
    figure,
    known_or,
    level_line,
    name_at,
    nice_ticks,
    points_of,
    text,
)
from driftbound.report.measured import Along
from driftbound.report.saying import of_changes, of_parts
from driftbound.report.tables import digits

MOST_TICKS = 10
"""Numbers of parts that fit below a small multiple."""
ROW = 44.0
"""Height of a row of the changes."""


def interval(found: Measured, places: int = 3, *, signed: bool = False) -> str:
    """The interval in words, or an en dash.

    >>> interval(Measured(estimator="", n=1, value=0.5, low=0.4, high=0.6))
    '0.400 to 0.600'
    """
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return "–"
    return f"{digits(found.low, places, signed=signed)} to {digits(found.high, places, signed=signed)}"


def multiples(rows: Sequence[Along]) -> dict[str, Figure]:
    """Contradiction by part of the answer of every teacher who speaks in two of them, all on one scale."""
    ends = [end for row in rows for each in row.parts for end in (each.value, each.low, each.high)]
    known = [end for end in ends if math.isfinite(end)]
    if not known:
        return {}
    low, high = math.floor(min(known) * 10) / 10, math.ceil(max(known) * 10) / 10
    high = high if high > low else low + 0.1
    return {
        row.teacher: bands(
            f"Share of the others' votes that contradict {row.teacher}, by part of its answer",
            row.parts,
            low,
            high,
            row.begins if row.drifts else math.nan,
        )
        for row in rows
        if sum(math.isfinite(each.value) for each in row.parts) > 1
    }


def nats(name: str, parts: Sequence[Measured]) -> Figure:
    """A divergence by part of the answer, on a scale of its own; empty for a single part."""
    ends = [end for each in parts for end in (each.value, each.low, each.high) if math.isfinite(end)]
    if len(parts) < 2 or not ends:
        return NO_FIGURE
    ticks = nice_ticks(min(0.0, *ends), max(ends))
    return bands(f"{name}, in nats, by part of the answer", parts, ticks[0], ticks[-1])


def bands(title: str, parts: Sequence[Measured], low: float, high: float, begins: float = math.nan) -> Figure:
    """A number by part of the answer: a line with its interval as a band; one small multiple.

    ``begins`` is the share of the answer at which a change was found: a dashed line stands there.
    """
    width, top, bottom, left, right = 200, 10, 112, 34, 194
    count = max(len(parts) - 1, 1)

    def at(index: float, value: float) -> tuple[float, float]:
        return left + (right - left) * index / count, bottom - (bottom - top) * (value - low) / (high - low)

    levels = (low, (low + high) / 2, high)  # the middle one may need the second decimal
    drawn = [level_line(value, at(0, value)[1], left, right, places=2) for value in levels]
    if math.isfinite(begins):
        x = at(begins * len(parts) - 0.5, low)[0]
        drawn.append(
            Markup('<line class="limit" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(x, x, top, bottom)
        )
    known = [(index, each) for index, each in enumerate(parts) if math.isfinite(each.value)]
    upper = [at(index, known_or(each.high, each.value)) for index, each in known]
    lower = [at(index, known_or(each.low, each.value)) for index, each in known]
    drawn.append(Markup('<polygon class="band" points="{}"/>').format(points_of([*upper, *reversed(lower)])))
    line = [at(index, each.value) for index, each in known]
    drawn.append(Markup('<polyline class="line" points="{}"/>').format(points_of(line)))
    drawn += [
        Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(*point) for point in line
    ]
    every = math.ceil(len(parts) / MOST_TICKS)
    drawn += [
        text("tick", at(index, low)[0], 130, str(index + 1), "middle")
        for index in range(0, len(parts), max(every, 1))
    ]
    return figure(
        title,
        title,
        of_parts(parts, begins),
        ("part", "value", "low", "high"),
        [(index + 1, each.value, each.low, each.high) for index, each in enumerate(parts)],
        drawn,
        f'viewBox="0 0 {width} 136"',
    )


def changes(rows: Sequence[Along], margin: float) -> Figure:
    """Each teacher's change with its interval, the one measured apart hollow below it, and the margin."""
    drawn = [row for row in rows if math.isfinite(row.change.value)]
    if not drawn:
        return NO_FIGURE
    both = [each for row in drawn for each in (row.change, row.apart)]
    room = [margin, -margin] if math.isfinite(margin) else [0.0]
    ends = [end for each in both for end in (each.value, each.low, each.high) if math.isfinite(end)]
    ticks = nice_ticks(min(*ends, *room), max(*ends, *room))
    low, high = ticks[0], ticks[-1]
    height = 8 + ROW * len(drawn)
    parts = [_margin(margin, low, high, height)] if math.isfinite(margin) else []
    parts += [_tick(tick, low, high, height, ticks[1] - ticks[0]) for tick in ticks]
    for index, row in enumerate(drawn):
        y = 8 + ROW * (index + 0.4)
        look = "student" if row.drifts else "teacher"
        parts.append(name_at(row.teacher, y + 5))
        parts.append(_mark(row.change, look, y, low, high, "at the split found"))
        parts.append(_mark(row.apart, "together", y + 14, low, high, "measured apart"))
        number = Markup('<text class="value" x="100%" y="{}" text-anchor="end">{}</text>')
        parts.append(number.format(y + 9.5, digits(row.change.value, signed=True)))
    title = "Change of contradiction along the answer, per teacher, with 95 % intervals"
    apart = ("measured apart", "measured apart, low", "measured apart, high")
    return figure(
        "change per teacher",
        title,
        of_changes(drawn),
        ("teacher", "change", "low", "high", *apart),
        [
            (
                row.teacher,
                *(end for each in (row.change, row.apart) for end in (each.value, each.low, each.high)),
            )
            for row in drawn
        ],
        parts,
        f'class="fluid" height="{height + 26:.0f}"',
    )


def _mark(found: Measured, look: str, y: float, low: float, high: float, how: str) -> Markup:
    if not math.isfinite(found.value):
        return Markup("")
    x = across(found.value, low, high)
    x1, x2 = (across(known_or(end, found.value), low, high) for end in (found.low, found.high))
    value, between = digits(found.value, signed=True), interval(found, signed=True)
    return Markup(
        '<g class="mark {}"><title>{}: {} ({})</title>'
        '<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="{:.1f}" y2="{:.1f}"/>'
        '<circle cx="{:.2f}%" cy="{:.1f}" r="4.5"/></g>'
    ).format(look, how, value, between, x1, x2, y, y, x, y)


def _margin(margin: float, low: float, high: float, height: float) -> Markup:
    left = max(across(-margin, low, high), LEFT)
    right = min(across(margin, low, high), RIGHT)
    body = '<rect class="margin" x="{:.2f}%" width="{:.2f}%" y="0" height="{:.0f}"/>'
    return Markup(body).format(left, right - left, height)


def _tick(value: float, low: float, high: float, height: float, step: float) -> Markup:
    x = across(value, low, high)
    zero = " chance" if abs(value) < step / 2 else ""
    places = max(0, min(4, -math.floor(math.log10(step) + 1e-9)))
    return Markup(
        '<line class="grid{}" x1="{:.2f}%" x2="{:.2f}%" y1="0" y2="{:.0f}"/>'
        '<text class="tick" x="{:.2f}%" y="{:.0f}" text-anchor="middle">{}</text>'
    ).format(zero, x, x, height, x, height + 18, digits(value, places, signed=True))
