"""Figures of the report: small SVGs of our own, styled by the page, each with a title and a description."""

import math
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup, escape

from driftbound.records import Estimate
from driftbound.report.tables import ScoreRow, between, digits

LEFT, RIGHT = 38.0, 86.0
"""Per cent of the width between which horizontal figures draw; names stand left of it, numbers right."""
_NAME_LENGTH = 17
"""Characters of a name that fit left of a figure on a phone."""


def dots(rows: Sequence[ScoreRow], split: str) -> Markup:
    """Balanced accuracy of every row as a dot with its 95 % interval as a whisker."""
    drawn = [row for row in rows if math.isfinite(row.balanced_accuracy.mean)]
    if not drawn:
        return Markup("")
    lows = [_or(row.balanced_accuracy.low, row.balanced_accuracy.mean) for row in drawn]
    highs = [_or(row.balanced_accuracy.high, row.balanced_accuracy.mean) for row in drawn]
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
    alt = "; ".join(
        f"{row.label} {digits(row.balanced_accuracy.mean)}, {between(row.balanced_accuracy)}" for row in drawn
    )
    title = f"Balanced accuracy with 95 % intervals, split {split}"
    return _svg(title, alt, [*grid, *parts], f'class="fluid" height="{height + 26:.0f}"')


def stacked(shares: Mapping[str, Mapping[str, float]]) -> Markup:
    """Share of agreed, conflicting and undecided claims per finding, as one bar each."""
    if not shares:
        return Markup("")
    parts: list[Markup] = []
    for index, (finding, share) in enumerate(shares.items()):
        y = 12.0 + index * 32
        parts.append(_name(finding, y + 8))
        left = LEFT
        for status, mark in (
            ("agreed", "agreement"),
            ("conflicting", "conflict"),
            ("undecided", "uncertainty"),
        ):
            width = _or(share.get(status, math.nan), 0.0) * (100 - LEFT)
            if width > 0:
                parts.append(_bar(left, width, y, mark, f"{finding}: {status} {share[status]:.0%}"))
            left += width
    alt = "; ".join(
        f"{finding}: " + ", ".join(f"{status} {share:.0%}" for status, share in each.items())
        for finding, each in shares.items()
    )
    size = f'class="fluid" height="{len(shares) * 32 + 4}"'
    return _svg("Agreement of the teachers per finding", alt, parts, size)


def bands(name: str, steps: Sequence[Estimate], low: float, high: float) -> Markup:
    """Agreement by part of the answer: a line with its interval as a band; one small multiple."""
    width, top, bottom, left, right = 200, 10, 112, 34, 194
    count = max(len(steps) - 1, 1)

    def at(index: int, value: float) -> tuple[float, float]:
        return left + (right - left) * index / count, bottom - (bottom - top) * (value - low) / (high - low)

    levels = (low, (low + high) / 2, high)  # the middle one may need the second decimal
    parts = [_level(value, at(0, value)[1], left, right, places=2) for value in levels]
    known = [(index, step) for index, step in enumerate(steps) if math.isfinite(step.mean)]
    upper = [at(index, _or(step.high, step.mean)) for index, step in known]
    lower = [at(index, _or(step.low, step.mean)) for index, step in known]
    parts.append(Markup('<polygon class="band" points="{}"/>').format(_points([*upper, *reversed(lower)])))
    line = [at(index, step.mean) for index, step in known]
    parts.append(Markup('<polyline class="line" points="{}"/>').format(_points(line)))
    parts += [Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y) for x, y in line]
    for index in range(len(steps)):
        x = at(index, low)[0]
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="130" text-anchor="middle">{}</text>').format(
                x, index + 1
            )
        )
    alt = ", ".join(f"part {i + 1} {digits(step.mean)} ({between(step)})" for i, step in known)
    return _svg(
        f"Agreement of {name} with the others by part of the answer", alt, parts, f'viewBox="0 0 {width} 136"'
    )


def curves(
    title: str, lines: Mapping[str, Sequence[tuple[float, float]]], strong: str = "", level: float = math.nan
) -> Markup:
    """Values over training steps; ``strong`` names the line to stand out, ``level`` a limit to draw."""
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in lines.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return Markup("")
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points] + ([level] if math.isfinite(level) else [])
    ticks = nice_ticks(min(ys), max(ys))
    left, right, top, bottom = 46, 352, 12, 168
    first, span = min(xs), (max(xs) - min(xs)) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (right - left) * (x - first) / span
        return across, bottom - (bottom - top) * (y - ticks[0]) / (ticks[-1] - ticks[0])

    places = max(0, min(4, -math.floor(math.log10(ticks[1] - ticks[0]))))
    parts = [_level(tick, at(first, tick)[1], left, right, places) for tick in ticks]
    for x in sorted({min(xs), max(xs)}):
        anchor = "start" if x == min(xs) else "end"
        parts.append(_text("tick", at(x, ticks[0])[0], 188, f"step {x:g}", anchor))
    if math.isfinite(level):
        y = at(first, level)[1]
        parts.append(
            Markup('<line class="limit" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(left, right, y, y)
        )
    for name, points in sorted(kept.items(), key=lambda item: item[0] == strong):
        look = "line" if len(kept) == 1 or name == strong else "line faint"
        body = Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>')
        parts.append(body.format(look, _points([at(x, y) for x, y in points]), name))
        if len(points) == 1:
            x, y = at(*points[0])
            parts.append(Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y))
    alt = "; ".join(f"{name} from {digits(p[0][1])} to {digits(p[-1][1])}" for name, p in kept.items())
    return _svg(f"{title} over training steps", alt, parts, 'viewBox="0 0 360 196"')


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven round values that enclose ``[low, high]``.

    >>> nice_ticks(0.13, 0.88)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> nice_ticks(2.0, 2.0)
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-6):
        pad = max(abs(low) / 2, 1e-3)
        low, high = low - pad, high + pad
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [
        round(step * n, 12) for n in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
    ]


def _dot(row: ScoreRow, y: float, low: float, high: float) -> Markup:
    value = row.balanced_accuracy
    x = _across(value.mean, low, high)
    x1, x2 = (_across(_or(end, value.mean), low, high) for end in (value.low, value.high))
    body = Markup(
        '<g class="mark {}"><title>{}: {} ({})</title>'
        '<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>'
        '<circle cx="{:.2f}%" cy="{}" r="5.5"/></g>'
    ).format(row.kind, row.label, digits(value.mean), between(value), x1, x2, y, y, x, y)
    number = Markup('<text class="value" x="100%" y="{}" text-anchor="end">{}</text>')
    return _name(row.label, y) + body + number.format(y + 4.5, digits(value.mean))


def _grid(value: float, low: float, high: float, height: float) -> Markup:
    x = _across(value, low, high)
    chance = " chance" if abs(value - 0.5) < 1e-9 else ""
    return Markup(
        '<line class="grid{}" x1="{:.2f}%" x2="{:.2f}%" y1="0" y2="{:.0f}"/>'
        '<text class="tick" x="{:.2f}%" y="{:.0f}" text-anchor="middle">{:.1f}</text>'
    ).format(chance, x, x, height, x, height + 18, value)


def _bar(left: float, width: float, y: float, mark: str, tip: str) -> Markup:
    body = '<rect class="{}" x="{:.2f}%" width="{:.2f}%" y="{}" height="16"><title>{}</title></rect>'
    return Markup(body).format(mark, left, max(width - 0.3, 0.1), y, tip)


def _level(value: float, y: float, left: float, right: float, places: int) -> Markup:
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(left, right, y, y)
    return line + _text("tick", left - 5, y + 4, digits(value, places), "end")


def _name(label: str, y: float) -> Markup:
    """A name of one or two lines left of a horizontal figure; ``y`` is the middle."""
    lines = _wrap(label)
    first = y + 4.5 - 7.5 * (len(lines) - 1)
    return Markup("").join(
        Markup('<text class="name" x="0" y="{}">{}</text>').format(first + 15 * index, line)
        for index, line in enumerate(lines)
    )


def _wrap(label: str) -> list[str]:
    if len(label) <= _NAME_LENGTH:
        return [label]
    cut = max(label.rfind(sign, 0, _NAME_LENGTH + 1) for sign in " -_/")
    if cut < 4:
        cut = _NAME_LENGTH - 1
    head, rest = label[: cut + 1].strip(), label[cut + 1 :].strip()
    return [head, rest if len(rest) <= _NAME_LENGTH else rest[: _NAME_LENGTH - 1] + "…"]


def _text(look: str, x: float, y: float, text: str, anchor: str) -> Markup:
    body = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return body.format(look, x, y, anchor, text)


def _across(value: float, low: float, high: float) -> float:
    return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _svg(title: str, alt: str, parts: Sequence[Markup], size: str) -> Markup:
    """Wrap ``parts``; the title and the numbers in words are the figure's alternative text."""
    head = f"<title>{escape(title)}</title><desc>{escape(alt)}</desc>"
    label = escape(f"{title}. {alt}")
    return Markup(f'<svg role="img" aria-label="{label}" {size}>{head}{Markup("").join(parts)}</svg>')
