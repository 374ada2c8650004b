"""Drawing phantoms: a schematic frontal chest film with the signs that a phantom carries.

Seen as radiographs are: the patient's right is on the left of the picture, marked "R".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from driftbound.domains.phantom.canvas import (
    SIZE,
    Canvas,
    Point,
    add_ellipse,
    dots,
    ellipse,
    fill,
    line,
)


@dataclass(frozen=True, slots=True)
class Lung:
    """Where one lung lies; ``out`` is -1 where lateral is to the left of the picture, else 1."""

    cx: float
    cy: float
    rx: float
    ry: float
    out: int

    def at(self, lateral: float, down: float) -> Point:
        """Point by position in the lung: -1 medial or top, 1 lateral or bottom."""
        return self.cx + self.out * lateral * self.rx, self.cy + down * self.ry


def draw(signs: Mapping[str, str], seed: int, scanner: str = "first") -> Image.Image:
    """The film (256 x 256, 8-bit grey) of a phantom that carries ``signs``.

    ``seed`` settles anatomy, placement and noise; ``scanner`` is ``first`` or ``other`` (less
    contrast, more noise and blur, rotated, half the resolution).
    """
    rng = np.random.default_rng([seed, 77])
    lungs = _anatomy(rng)
    canvas = _body(lungs, signs, rng)
    for sign, paint in _SIGNS.items():
        value = signs[sign]
        for name in ("right", "left"):
            if value in (name, "both", "present"):
                paint(canvas, lungs[name], rng)
            if value == "present":
                break
    _mark(canvas)
    return _expose(canvas, scanner, rng)


def _anatomy(rng: np.random.Generator) -> dict[str, Lung]:
    middle = SIZE / 2 + rng.uniform(-4, 4)
    cy = 128 + rng.uniform(-4, 4)
    rx, ry = 42 * rng.uniform(0.95, 1.05), 88 * rng.uniform(0.96, 1.04)
    return {
        "right": Lung(middle - 60, cy, rx, ry, -1),
        "left": Lung(middle + 60, cy, rx, ry, 1),
    }


def _body(lungs: Mapping[str, Lung], signs: Mapping[str, str], rng: np.random.Generator) -> Canvas:
    canvas = np.full((SIZE, SIZE), 12, np.float32)
    middle = (lungs["left"].cx + lungs["right"].cx) / 2
    fill(
        canvas,
        [
            (middle - 122, 262),
            (middle - 116, 70),
            (middle - 70, 26),
            (middle - 24, 14),
            (middle + 24, 14),
            (middle + 70, 26),
            (middle + 116, 70),
            (middle + 122, 262),
        ],
        122,
        5,
    )
    air = rng.uniform(66, 78)
    for lung in lungs.values():
        outline = [
            lung.at(np.cos(a) * (0.62 + 0.38 * min(1.0, (np.sin(a) + 1) / 0.9)), np.sin(a))
            for a in np.linspace(0, 2 * np.pi, 60)
        ]
        fill(canvas, [p for p in outline if p[1] < lung.cy + 0.86 * lung.ry], air, 2)
        for k in range(7):
            _rib(canvas, lung, -0.82 + 0.26 * k, 13)
        line(canvas, [lung.at(-1.15, -0.78), lung.at(0.1, -0.98), lung.at(1.0, -0.8)], 6, 22, 1.5)
    half = 30 if signs["wide mediastinum"] == "present" else 13
    top, low = lungs["left"].cy - 92, lungs["left"].cy - 5
    fill(
        canvas,
        [(middle - half, top), (middle + half, top), (middle + half, low), (middle - half, low)],
        176,
        2.5,
    )
    wide = 1.0 if signs["wide heart"] == "present" else 0.0
    ellipse(canvas, (middle + 12 + 4 * wide, lungs["left"].cy + 44), 34 + 30 * wide, 36 + 6 * wide, 180, 2.5)
    line(canvas, [(middle, 14), (middle, 250)], 12, 14, 3)
    return canvas


def _rib(canvas: Canvas, lung: Lung, down: float, strength: float) -> None:
    points = [lung.at(x, down + 0.16 * x * x - 0.05 * x) for x in np.linspace(-0.95, 1.08, 12)]
    line(canvas, points, 5, strength, 1.2)


def _round_spot(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    centre = lung.at(rng.uniform(-0.1, 0.5), rng.uniform(-0.5, -0.1))
    ellipse(canvas, centre, 9, 9, 190, 1.2)


def _patch(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    x, y = lung.at(rng.uniform(-0.05, 0.3), rng.uniform(0.0, 0.22))
    for _ in range(7):
        add_ellipse(canvas, (x + rng.normal(0, 9), y + rng.normal(0, 9)), 15, 13, 24, 4)


def _haze(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    add_ellipse(canvas, lung.at(-0.1, -0.05), 0.85 * lung.rx, 0.72 * lung.ry, rng.uniform(36, 44), 13)


def _fine_lines(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    start = rng.uniform(0.02, 0.1)
    for k in range(6):
        down = start + 0.1 * k
        line(canvas, [lung.at(0.42, down), lung.at(0.98, down)], 3, 75, 0.5)


def _dark_branches(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    root = lung.at(-0.75, -0.08)
    for target in ((0.35, -0.12), (0.38, 0.16), (0.2, 0.36)):
        x, y = lung.at(target[0] + rng.uniform(-0.08, 0.08), target[1] + rng.uniform(-0.04, 0.04))
        bend = ((root[0] + x) / 2, (root[1] + y) / 2 - 5)
        line(canvas, [root, bend, (x, y)], 5, -75, 0.7)


def _mottled_dots(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    angles, radii = rng.uniform(0, 2 * np.pi, 26), np.sqrt(rng.random(26))
    centres = [
        lung.at(0.1 + 0.62 * r * np.cos(a), -0.3 + 0.32 * r * np.sin(a))
        for a, r in zip(angles, radii, strict=True)
    ]
    dots(canvas, centres, (3.4, 3.4), 0.6, lambda old, cover: old + cover * 85)


def _white_base(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    top = 0.5 + rng.uniform(-0.03, 0.03)
    fill(canvas, [lung.at(-0.95, top), lung.at(1.0, top), lung.at(0.9, 0.95), lung.at(-0.95, 0.95)], 178, 3)


def _curved_edge(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    low = 0.5 + rng.uniform(-0.03, 0.03)
    points = [lung.at(x, low - 0.42 * max(0.0, (x + 0.2) / 1.2) ** 2) for x in np.linspace(-0.9, 1.0, 14)]
    fill(canvas, [*points, lung.at(1.0, low + 0.05), lung.at(-0.9, low + 0.05)], 205, 1.5)
    line(canvas, points, 4, 45, 0.8)


def _raised_diaphragm(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    low = 0.74 + rng.uniform(-0.03, 0.03)
    points = [lung.at(x, low - 0.34 * np.sqrt(max(0.0, 1 - x * x))) for x in np.linspace(-0.95, 0.95, 24)]
    fill(canvas, [*points, lung.at(0.95, 0.95), lung.at(-0.95, 0.95)], 150, 1)
    line(canvas, points, 4, 85, 0.6)


def _dark_apex(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    ellipse(canvas, lung.at(0.12, -0.7), 0.6 * lung.rx, 0.26 * lung.ry, 8, 2.5)


def _thin_edge_line(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    inset = 0.66 + rng.uniform(-0.03, 0.03)
    points = [lung.at(inset * np.cos(a), -0.1 + 0.62 * np.sin(a)) for a in np.linspace(-1.45, 0.1, 14)]
    line(canvas, points, 3, 110, 0.5)


def _pleural_band(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    points = [lung.at(1.0, d) for d in np.linspace(-0.34, 0.26, 8)]
    line(canvas, points, 13, 85, 1.0)


def _broken_rib(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    down = -0.56 + 0.26 * int(rng.integers(0, 2))
    for x0, x1, shift in ((-0.3, 0.3, 0.0), (0.42, 1.08, 0.12)):
        points = [lung.at(x, down + shift + 0.16 * x * x - 0.05 * x) for x in np.linspace(x0, x1, 8)]
        line(canvas, points, 8, 95, 0.8)


def _wire_and_box(canvas: Canvas, lung: Lung, rng: np.random.Generator) -> None:
    x, y = lung.at(0.75, -0.62 + rng.uniform(-0.05, 0.05))
    fill(canvas, [(x - 15, y - 11), (x + 15, y - 11), (x + 15, y + 11), (x - 15, y + 11)], 250, 0.6)
    end = (SIZE / 2 + rng.uniform(0, 16), lung.cy + 50)
    line(canvas, [(x, y), lung.at(-0.9, -0.55), (SIZE / 2 - 4, lung.cy - 10), end], 4, 110, 0.5)


_SIGNS: dict[str, Callable[[Canvas, Lung, np.random.Generator], None]] = {
    "haze": _haze,
    "patch": _patch,
    "dark branches": _dark_branches,
    "mottled dots": _mottled_dots,
    "white base": _white_base,
    "raised diaphragm": _raised_diaphragm,
    "curved edge": _curved_edge,
    "fine lines": _fine_lines,
    "dark apex": _dark_apex,
    "thin edge line": _thin_edge_line,
    "pleural band": _pleural_band,
    "round spot": _round_spot,
    "broken rib": _broken_rib,
    "wire and box": _wire_and_box,
}
"""In the order of painting; the wide heart and mediastinum are part of the body."""


def _mark(canvas: Canvas) -> None:
    plate = Image.new("L", (SIZE, SIZE))
    pen = ImageDraw.Draw(plate)
    pen.line([(8, 30), (8, 12), (16, 12), (18, 16), (16, 21), (8, 21)], fill=255, width=2)
    pen.line([(12, 21), (18, 30)], fill=255, width=2)
    canvas[:] = np.maximum(canvas, np.asarray(plate, np.float32) * 0.9)


def _expose(canvas: Canvas, scanner: str, rng: np.random.Generator) -> Image.Image:
    film = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    noise = 4.0
    gain, offset = rng.uniform(0.95, 1.05), rng.uniform(-5, 5)
    if scanner == "other":
        film = film.rotate(rng.uniform(-6, 6), Image.Resampling.BILINEAR, fillcolor=12)
        film = film.filter(ImageFilter.GaussianBlur(0.8))
        film = film.resize((SIZE // 2, SIZE // 2), Image.Resampling.BILINEAR)
        film = film.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        noise, gain, offset = 8.0, gain * 0.78, offset + 24
    values = np.asarray(film, np.float32) * gain + offset
    values += rng.normal(0, noise, (SIZE, SIZE)).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
