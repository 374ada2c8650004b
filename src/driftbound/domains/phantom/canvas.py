"""Painting soft shapes on a film: polygons, ellipses and lines with blurred edges."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIZE = 256
"""Pixels per side of a film."""

Canvas = NDArray[np.float32]
"""Grey values (SIZE, SIZE), 0 black to 255 white."""
Point = tuple[float, float]


def _stamp(
    canvas: Canvas,
    box: tuple[float, float, float, float],
    blur: float,
    paint: Callable[[ImageDraw.ImageDraw, Point], None],
    mix: Callable[[Canvas, Canvas], Canvas],
) -> None:
    """Change the part of the canvas that a blurred shape covers.

    ``box`` bounds the sharp shape; ``paint(pen, origin)`` draws it relative to ``origin``;
    ``mix(old, cover)`` gives the new grey values for a coverage of 0 to 1.
    """
    margin = 3 * blur + 2
    left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, bottom = min(SIZE, int(box[2] + margin) + 1), min(SIZE, int(box[3] + margin) + 1)
    plate = Image.new("L", (right - left, bottom - top))
    paint(ImageDraw.Draw(plate), (left, top))
    cover = np.asarray(plate.filter(ImageFilter.GaussianBlur(blur)), np.float32) / np.float32(255)
    part = canvas[top:bottom, left:right]
    part[:] = mix(part, cover)


def _bounds(points: Sequence[Point], width: float = 0) -> tuple[float, float, float, float]:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs) - width, min(ys) - width, max(xs) + width, max(ys) + width


def _shift(points: Sequence[Point], origin: Point) -> list[Point]:
    return [(x - origin[0], y - origin[1]) for x, y in points]


def fill(canvas: Canvas, points: Sequence[Point], value: float, blur: float) -> None:
    """Cover a polygon with one grey value."""
    _stamp(
        canvas,
        _bounds(points),
        blur,
        lambda pen, origin: pen.polygon(_shift(points, origin), fill=255),
        lambda old, cover: old + cover * (value - old),
    )


def dots(
    canvas: Canvas,
    centres: Sequence[Point],
    radius: Point,
    blur: float,
    mix: Callable[[Canvas, Canvas], Canvas],
) -> None:
    """Mix all ellipses of one radius into the canvas as one shape."""
    rx, ry = radius

    def paint(pen: ImageDraw.ImageDraw, origin: Point) -> None:
        for x, y in _shift(centres, origin):
            pen.ellipse([x - rx, y - ry, x + rx, y + ry], fill=255)

    _stamp(canvas, _bounds(centres, max(rx, ry)), blur, paint, mix)


def ellipse(canvas: Canvas, centre: Point, rx: float, ry: float, value: float, blur: float) -> None:
    """Cover an ellipse with one grey value."""
    dots(canvas, [centre], (rx, ry), blur, lambda old, cover: old + cover * (value - old))


def add_ellipse(canvas: Canvas, centre: Point, rx: float, ry: float, amount: float, blur: float) -> None:
    """Brighten an ellipse by ``amount``."""
    dots(canvas, [centre], (rx, ry), blur, lambda old, cover: old + cover * amount)


def line(canvas: Canvas, points: Sequence[Point], width: int, amount: float, blur: float) -> None:
    """Brighten a line through ``points`` by ``amount``."""
    _stamp(
        canvas,
        _bounds(points, width),
        blur,
        lambda pen, origin: pen.line(_shift(points, origin), fill=255, width=width, joint="curve"),
        lambda old, cover: old + cover * amount,
    )
