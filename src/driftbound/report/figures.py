"""Figures of the report: small SVGs of our own, styled by the page, each with a title and a description."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from driftbound.report.drawing import (
    LEFT,
    NO_FIGURE,
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
from driftbound.report.saying import of_dots, of_lines, of_shares
from driftbound.report.tables import GROUPS, ScoreRow, between, digits

STATUSES = {"agreed": "agreement", "conflicting": "conflict", "undecided": "uncertainty"}
"""Status of a claim -> how it is coloured."""


def dots(rows: Sequence[ScoreRow], split: str) -> Figure:
    """Balanced accuracy of every row as a dot with its 95 % interval as a whisker."""
    drawn = [row for row in rows if math.isfinite(row.balanced_accuracy.mean)]
    if not drawn:
        return NO_FIGURE
    lows = [known_or(row.balanced_accuracy.low, row.balanced_accuracy.mean) for row in drawn]
    highs = [known_or(row.balanced_accuracy.high, row.balanced_accuracy.mean) for row in drawn]
    low = min(0.4, math.floor(min(lows) * 10) / 10)
    high = max(0.8, math.ceil(max(highs) * 10) / 10)
    parts: list[Markup] = []
    height, y, kind = 0.0, 18.0, drawn[0].kind
    for row in drawn:
        y, kind = y + (14 if row.kind != kind else 0), row.kind
        parts.append(_dot(row, y, low, high))
        y += 36
    height = y
    grid = [_grid(tick / 10, low, high, height) for tick in range(round(low * 10), round(high * 10) + 1)]
    numbers = [
        (GROUPS[row.kind], row.label, value.mean, value.low, value.high)
        for row in drawn
        if (value := row.balanced_accuracy)
    ]
    return figure(
        f"balanced accuracy {split}",
        f"Balanced accuracy with 95 % intervals, split {split}",
        of_dots(drawn),
        ("group", "who", "balanced accuracy", "low", "high"),
        numbers,
        [*grid, *parts],
        f'class="fluid" height="{height + 26:.0f}"',
    )


def stacked(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Share of agreed, conflicting and undecided claims per finding, as one bar each."""
    if not shares:
        return NO_FIGURE
    parts: list[Markup] = []
    for index, (finding, share) in enumerate(shares.items()):
        y = 12.0 + index * 32
        parts.append(name_at(finding, y + 8))
        left = LEFT
        for status, mark in STATUSES.items():
            width = known_or(share.get(status, math.nan), 0.0) * (100 - LEFT)
            if width > 0:
                parts.append(_bar(left, width, y, mark, f"{finding}: {status} {share[status]:.0%}"))
            left += width
    return figure(
        "agreement per finding",
        "Agreement of the teachers per finding",
        of_shares(shares),
        ("finding", *STATUSES),
        [(name, *(own.get(status, math.nan) for status in STATUSES)) for name, own in shares.items()],
        parts,
        f'class="fluid" height="{len(shares) * 32 + 4}"',
    )


def curves(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    strong: str = "",
    level: float = math.nan,
    *,
    name: str = "",
    unit: str = "step",
) -> Figure:
    """Values over training steps, or whatever ``unit`` counts; ``strong`` names the line to stand out,
    ``level`` a limit to draw, and ``name`` the file of the numbers (else the title does)."""
    kept = {
        who: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for who, points in lines.items()
    }
    kept = {who: points for who, points in kept.items() if points}
    if not kept:
        return NO_FIGURE
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points] + ([level] if math.isfinite(level) else [])
    ticks = nice_ticks(min(ys), max(ys))
    left, right, top, bottom = 46, 352, 12, 168
    first, span = min(xs), (max(xs) - min(xs)) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        place = left + (right - left) * (x - first) / span
        return place, bottom - (bottom - top) * (y - ticks[0]) / (ticks[-1] - ticks[0])

    places = max(0, min(4, -math.floor(math.log10(ticks[1] - ticks[0]))))
    parts = [level_line(tick, at(first, tick)[1], left, right, places) for tick in ticks]
    for x in sorted({min(xs), max(xs)}):
        anchor = "start" if x == min(xs) else "end"
        parts.append(text("tick", at(x, ticks[0])[0], 188, f"{unit} {x:g}", anchor))
    if math.isfinite(level):
        y = at(first, level)[1]
        parts.append(
            Markup('<line class="limit" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(left, right, y, y)
        )
    for who, points in sorted(kept.items(), key=lambda item: item[0] == strong):
        look = "line" if len(kept) == 1 or who == strong else "line faint"
        body = Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>')
        parts.append(body.format(look, points_of([at(x, y) for x, y in points]), who))
        if len(points) == 1:
            x, y = at(*points[0])
            parts.append(Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y))
    limit = f" The dashed limit is {level:g}." if math.isfinite(level) else ""
    return figure(
        name or title,
        f"{title}, by {unit}",
        of_lines(kept, strong, unit) + limit,
        ("line", unit, title),
        [(who, x, y) for who, points in kept.items() for x, y in points],
        parts,
        'viewBox="0 0 360 196"',
    )


def _dot(row: ScoreRow, y: float, low: float, high: float) -> Markup:
    value = row.balanced_accuracy
    x = across(value.mean, low, high)
    x1, x2 = (across(known_or(end, value.mean), low, high) for end in (value.low, value.high))
    body = Markup(
        '<g class="mark {}"><title>{}: {} ({})</title>'
        '<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>'
        '<circle cx="{:.2f}%" cy="{}" r="5.5"/></g>'
    ).format(row.kind, row.label, digits(value.mean), between(value), x1, x2, y, y, x, y)
    number = Markup('<text class="value" x="100%" y="{}" text-anchor="end">{}</text>')
    return name_at(row.label, y) + body + number.format(y + 4.5, digits(value.mean))


def _grid(value: float, low: float, high: float, height: float) -> Markup:
    x = across(value, low, high)
    chance = " chance" if abs(value - 0.5) < 1e-9 else ""
    return Markup(
        '<line class="grid{}" x1="{:.2f}%" x2="{:.2f}%" y1="0" y2="{:.0f}"/>'
        '<text class="tick" x="{:.2f}%" y="{:.0f}" text-anchor="middle">{:.1f}</text>'
    ).format(chance, x, x, height, x, height + 18, value)


def _bar(left: float, width: float, y: float, mark: str, tip: str) -> Markup:
    body = '<rect class="{}" x="{:.2f}%" width="{:.2f}%" y="{}" height="16"><title>{}</title></rect>'
    return Markup(body).format(mark, left, max(width - 0.3, 0.1), y, tip)
