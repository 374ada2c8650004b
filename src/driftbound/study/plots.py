"""Plots: arms as dots with intervals and sweeps as lines, SVG files readable in light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from driftbound.records import Estimate
from driftbound.report.drawing import known_or, nice_ticks, points_of, svg, text
from driftbound.report.tables import between, digits
from driftbound.study.goals import WORDS
from driftbound.study.tables import ArmRow, SweepRow

_WIDTH = 820
_ROW, _TOP = 23.0, 40.0
_NAMES = 216.0
"""Pixels left of the panels."""
_LONGEST = 32
"""Characters of a name that fit there."""
_SHAPES = 4
"""Lines that a sweep can tell apart; further arms stand in the table alone."""
_PANELS = ("balanced_accuracy", "accuracy")
_INKS = {
    "paper": ("#ffffff", "#0d1117"),
    "band": ("#f3eef5", "#2a1d30"),
    "ink": ("#1f2428", "#e6e4df"),
    "soft": ("#57606a", "#a3abb3"),
    "grid": ("#e4e7eb", "#2b3138"),
    "arm": ("#0b62a8", "#6cb2f2"),
    "student": ("#2f6f4f", "#6fcf9f"),
    "teacher": ("#6e7781", "#9aa4ae"),
    "consensus": ("#8a5a00", "#e8b85c"),
    "control": ("#6e7781", "#9aa4ae"),
    "strong": ("#8b2a9b", "#dda2ea"),
    "l0": ("#8b2a9b", "#dda2ea"),
    "l1": ("#0b62a8", "#6cb2f2"),
    "l2": ("#b45309", "#f0a35e"),
    "l3": ("#2f6f4f", "#6fcf9f"),
}
"""Class -> its colour in light and in dark."""


def _inks(dark: bool) -> str:
    return "".join(f".{name}{{fill:{both[dark]};stroke:{both[dark]}}}" for name, both in _INKS.items())


_STYLE = Markup(
    "<style>"
    "text{font-size:13px;font-family:'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif}"
    f"{_inks(False)}@media(prefers-color-scheme:dark){{{_inks(True)}}}"
    "text.ink,text.soft{stroke:none}text.soft,text.value{font-size:12px}text.bold{font-weight:600}"
    "text.value{font-variant-numeric:tabular-nums}polyline{fill:none!important;stroke-width:2}"
    ".whisker{stroke-width:1.8}.chance{stroke-dasharray:3 3}"
    "</style>"
)
"""Plain classes, no variables: viewers that are no browsers draw them too."""
_KINDS = {
    "arm": "arms of the study",
    "student": "what they start from",
    "teacher": "teachers",
    "consensus": "consensus (needs the teachers)",
    "control": "controls",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG file and what it says in words."""

    name: str
    alt: str
    body: str


@dataclass(frozen=True, slots=True)
class _Panel:
    """A horizontal scale of one metric."""

    left: float
    right: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.ticks[0]) / (
            self.ticks[-1] - self.ticks[0]
        )


def dots(name: str, title: str, rows: Sequence[ArmRow], default: str) -> Picture | None:
    """Balanced accuracy and accuracy of every arm with intervals; the default stands out."""
    drawn = [row for row in rows if math.isfinite(row.metrics["accuracy"].estimate.mean)]
    if not drawn:
        return None
    places, headings, height = _places(drawn)
    panels = {
        metric: _Panel(left, left + 226, _ticks([row.metrics[metric].estimate for row in drawn]))
        for metric, left in zip(_PANELS, (_NAMES + 8, _NAMES + 318), strict=True)
    }
    parts = [*_paper(height + 30), *headings]
    if default in places:
        band = Markup('<rect class="band" x="0" width="{}" y="{:.1f}" height="{}"/>')
        parts.append(band.format(_WIDTH, places[default] - _ROW / 2, _ROW))
    for metric, panel in panels.items():
        parts += _scale(panel, WORDS[metric], height)
    for row in drawn:
        strong = row.arm == default
        y = places[row.arm]
        look = "ink bold" if strong else "ink"
        parts.append(text(look, 8, y + 4.5, _short(row.arm), "start"))
        for metric, panel in panels.items():
            parts.append(
                _dot(panel, row.metrics[metric].estimate, y, "strong" if strong else row.kind, row.arm)
            )
    alt = "; ".join(f"{row.arm} {digits(row.metrics['balanced_accuracy'].estimate.mean)}" for row in drawn)
    return _picture(name, title, f"Balanced accuracy: {alt}", parts, height + 30)


def lines(name: str, title: str, rows: Sequence[SweepRow], default: str) -> Picture | None:
    """A sweep: settings from left to right, marks with intervals for each trained arm, joined if numbers."""
    known = [row for row in rows if row.kind in ("arm", "student")]
    settings = list(dict.fromkeys(row.setting for row in known))
    arms = sorted(dict.fromkeys(row.arm for row in known), key=lambda arm: arm != default)[:_SHAPES]
    values = [each.estimate for row in known for each in row.metrics.values() if row.arm in arms]
    if len(settings) < 2 or not any(math.isfinite(value.mean) for value in values):
        return None
    top, bottom = _TOP + 26, 300.0
    parts = _paper(bottom + 34)
    for place, arm in enumerate(arms):
        x = 20 + place * (_WIDTH - 40) / _SHAPES
        parts += [
            _mark(place, x, 16),
            text("ink bold" if arm == default else "ink", x + 12, 20.5, arm, "start"),
        ]
    labels = settings_labels(settings)
    ordered = all(label.replace(".", "", 1).rstrip("% ").isdigit() for label in labels)
    for metric, left in zip(_PANELS, (44.0, 454.0), strict=True):
        right = left + 356
        ticks = _ticks([row.metrics[metric].estimate for row in known if row.arm in arms])
        parts.append(text("ink bold", left, top - 14, WORDS[metric], "start"))
        span = ticks[-1] - ticks[0]

        def up(value: float, ticks: tuple[float, ...] = ticks, span: float = span) -> float:
            return bottom - (bottom - top) * (value - ticks[0]) / span

        for tick in ticks:
            grid = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
            parts += [grid.format(left, right, up(tick), up(tick))]
            parts.append(text("soft", left - 6, up(tick) + 4, f"{tick:g}", "end"))
        step = (right - left) / len(settings)
        for number, label in enumerate(labels):
            parts.append(text("soft", left + step * (number + 0.5), bottom + 20, label, "middle"))
        for place, arm in reversed([*enumerate(arms)]):
            points = []
            for row in known:
                if row.arm == arm and math.isfinite(row.metrics[metric].estimate.mean):
                    dodge = (place - (len(arms) - 1) / 2) * min(9.0, step / 8)
                    x = left + step * (settings.index(row.setting) + 0.5) + dodge
                    points.append((x, row.metrics[metric].estimate))
            parts += _line(place, points, up, joined=ordered)
    alt = "; ".join(
        f"{row.arm}, {row.setting}: {digits(row.metrics['balanced_accuracy'].estimate.mean)}"
        for row in known
        if row.arm in arms
    )
    return _picture(name, title, f"Balanced accuracy: {alt}", parts, bottom + 34)


def settings_labels(settings: Sequence[str]) -> list[str]:
    """Settings without the words that all begin with.

    >>> settings_labels(["teachers-2", "teachers-3"]), settings_labels(["independent", "copies"])
    (['2', '3'], ['independent', 'copies'])
    """
    heads = {setting.rpartition("-")[0] for setting in settings}
    if len(heads) == 1 and heads != {""}:
        return [setting.rpartition("-")[2] for setting in settings]
    return list(settings)


def _places(rows: Sequence[ArmRow]) -> tuple[dict[str, float], list[Markup], float]:
    """Middle of each arm's row, headings of the kinds, and the height."""
    places: dict[str, float] = {}
    headings: list[Markup] = []
    y, kind = _TOP, ""
    for row in rows:
        if row.kind != kind:
            y, kind = y + (8 if kind else 0), row.kind
            headings.append(text("soft", 8, y + 8, _KINDS[kind], "start"))
            y += 16
        places[row.arm] = y + _ROW / 2
        y += _ROW
    return places, headings, y


def _scale(panel: _Panel, label: str, height: float) -> list[Markup]:
    parts = [text("ink bold", panel.left, 20, label, "start")]
    for tick in panel.ticks:
        x = panel.at(tick)
        line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="30" y2="{:.1f}"/>')
        parts.append(line.format("soft chance" if abs(tick - 0.5) < 1e-9 else "grid", x, x, height + 4))
        parts.append(text("soft", x, height + 20, f"{tick:g}", "middle"))
    return parts


def _dot(panel: _Panel, value: Estimate, y: float, look: str, tip: str) -> Markup:
    if not math.isfinite(value.mean):
        return text("ink value", panel.right + 50, y + 4.5, "–", "end")
    x1, x2 = (panel.at(known_or(end, value.mean)) for end in (value.low, value.high))
    body = Markup(
        '<g class="{}"><title>{}: {} ({})</title>'
        '<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
        '<circle cx="{:.1f}" cy="{:.1f}" r="{}"/></g>'
    )
    size = 5 if look == "strong" else 4
    drawn = body.format(
        look, tip, digits(value.mean), between(value), x1, x2, y, y, panel.at(value.mean), y, size
    )
    return drawn + text("ink value", panel.right + 50, y + 4.5, digits(value.mean), "end")


def _line(
    place: int, points: Sequence[tuple[float, Estimate]], up: Callable[[float], float], *, joined: bool
) -> list[Markup]:
    """Marks with whiskers, joined where the settings are numbers."""
    path = points_of([(x, up(value.mean)) for x, value in points])
    parts = [Markup('<polyline class="l{}" points="{}"/>').format(place, path)] if joined else []
    whisker = Markup('<line class="l{} whisker" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    for x, value in points:
        low, high = (up(known_or(end, value.mean)) for end in (value.low, value.high))
        parts += [whisker.format(place, x, x, low, high), _mark(place, x, up(value.mean))]
    return parts


def _mark(place: int, x: float, y: float) -> Markup:
    """Circle, square, triangle or diamond: the colour is never the only difference."""
    if place == 0:
        return Markup('<circle class="l0" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(x, y)
    corners: dict[int, list[tuple[float, float]]] = {
        1: [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        2: [(0, -5.5), (5, 4), (-5, 4)],
        3: [(0, -6), (5, 0), (0, 6), (-5, 0)],
    }
    points = points_of([(x + right, y + down) for right, down in corners[place]])
    return Markup('<polygon class="l{}" points="{}"/>').format(place, points)


def _ticks(values: Sequence[Estimate]) -> tuple[float, ...]:
    """Round values that enclose the intervals, within 0 to 1 and a little around the means at most."""
    known = [value for value in values if math.isfinite(value.mean)]
    lows = [max(known_or(value.low, value.mean), 0.0) for value in known]
    highs = [min(known_or(value.high, value.mean), 1.0) for value in known]
    return tuple(nice_ticks(min(lows, default=0.0), max(highs, default=1.0)))


def _paper(height: float) -> list[Markup]:
    return [_STYLE, Markup('<rect class="paper" width="{}" height="{:.0f}"/>').format(_WIDTH, height)]


def _picture(name: str, title: str, alt: str, parts: Sequence[Markup], height: float) -> Picture:
    size = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}"'
    return Picture(name, f"{title}. {alt}", str(svg(title, alt, parts, size)) + "\n")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
