"""Drawing: the pens that all figures of the report share."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from markupsafe import Markup, escape

from driftbound.report.tables import digits

LEFT, RIGHT = 38.0, 86.0
"""Per cent of the width between which horizontal figures draw; names stand left of it, numbers right."""
_NAME_LENGTH = 17
"""Characters of a name that fit left of a figure on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure and the numbers behind it; false where there is nothing to draw."""

    name: str
    """Unique on a page; the file of its numbers is called so."""
    title: str
    says: str
    """What is to be seen, in sentences with its numbers: what is read out to who cannot see it."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    """The numbers behind it, unrounded; ``nan`` where there is none."""
    svg: Markup

    def __bool__(self) -> bool:
        return bool(self.svg)

    def __html__(self) -> str:
        return self.svg


NO_FIGURE = Figure(name="", title="", says="", columns=(), rows=(), svg=Markup(""))


def figure(
    name: str,
    title: str,
    says: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | float]],
    parts: Sequence[Markup],
    size: str,
) -> Figure:
    """A figure of ``parts``; all its numbers in words are its longer description."""
    numbers = tuple(tuple(row) for row in rows)
    told = "; ".join(
        ", ".join(each if isinstance(each, str) else f"{each:.4g}" for each in row) for row in numbers
    )
    alt = f"{', '.join(columns)}: {told}"
    return Figure(
        name=name,
        title=title,
        says=says,
        columns=tuple(columns),
        rows=numbers,
        svg=svg(title, alt, parts, size, says=says),
    )


def figures_in(found: Any) -> list[Figure]:
    """All figures in a view, wherever in it they stand, in its order."""
    if isinstance(found, Figure):
        return [found] if found else []
    if isinstance(found, Mapping):
        inner: Iterable[Any] = found.values()
    elif isinstance(found, (list, tuple)):
        inner = found
    elif is_dataclass(found):
        inner = [getattr(found, each.name) for each in fields(found)]
    else:
        return []
    return [each for one in inner for each in figures_in(one)]


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


def svg(title: str, alt: str, parts: Sequence[Markup], size: str, *, says: str = "") -> Markup:
    """Wrap ``parts``; the title and what is to be seen (``says``, or else ``alt``, the numbers in words) are
    the figure's alternative text."""
    head = f"<title>{escape(title)}</title><desc>{escape(alt)}</desc>"
    label = escape(f"{title}. {says or alt}")
    return Markup(f'<svg role="img" aria-label="{label}" {size}>{head}{Markup("").join(parts)}</svg>')


def name_at(label: str, y: float) -> Markup:
    """A name of one or two lines left of a horizontal figure; ``y`` is the middle."""
    lines = _wrap(label)
    first = y + 4.5 - 7.5 * (len(lines) - 1)
    return Markup("").join(
        Markup('<text class="name" x="0" y="{}">{}</text>').format(first + 15 * index, line)
        for index, line in enumerate(lines)
    )


def text(look: str, x: float, y: float, words: str, anchor: str) -> Markup:
    """Words at a place of a figure with a view box."""
    body = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return body.format(look, x, y, anchor, words)


def level_line(value: float, y: float, left: float, right: float, places: int) -> Markup:
    """A line across a figure with its value left of it."""
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(left, right, y, y)
    return line + text("tick", left - 5, y + 4, digits(value, places), "end")


def across(value: float, low: float, high: float) -> float:
    """Per cent of the width at which a value of a horizontal figure stands."""
    return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)


def points_of(points: Iterable[tuple[float, float]]) -> str:
    """Points as an SVG writes them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def known_or(value: float, otherwise: float) -> float:
    """A value, or another where there is none."""
    return value if math.isfinite(value) else otherwise


def _wrap(label: str) -> list[str]:
    if len(label) <= _NAME_LENGTH:
        return [label]
    cut = max(label.rfind(sign, 0, _NAME_LENGTH + 1) for sign in " -_/")
    if cut < 4:
        cut = _NAME_LENGTH - 1
    head, rest = label[: cut + 1].strip(), label[cut + 1 :].strip()
    return [head, rest if len(rest) <= _NAME_LENGTH else rest[: _NAME_LENGTH - 1] + "…"]
