"""Figures of the consensus: how its support is distributed, over cases and over claims."""

import math
from collections.abc import Sequence
from statistics import median

from markupsafe import Markup

from driftbound.report.drawing import NO_FIGURE, Figure, figure, level_line, nice_ticks, text
from driftbound.report.tables import digits

BINS = 20
"""Of equal width over 0 to 1."""


def histogram(
    name: str, of: str, accepted: Sequence[float], rejected: Sequence[float], threshold: float
) -> Figure:
    """How often which support occurs; what was rejected stands on top, and ``threshold`` as a dashed line.

    Each bin holds its lower edge, the last one its upper edge too. ``nan``, where nothing was measured, is
    left out and told.
    """
    kept, lost = ([each for each in given if math.isfinite(each)] for given in (accepted, rejected))
    if not kept and not lost:
        return NO_FIGURE
    counts = [_counts(kept), _counts(lost)]
    most = max(sum(both) for both in zip(*counts, strict=True))
    ticks = nice_ticks(0, most)
    left, right, top, bottom = 46, 346, 12, 168
    parts = [
        level_line(tick, bottom - (bottom - top) * tick / ticks[-1], left, right, 0)
        for tick in ticks
        if tick == round(tick)
    ]
    parts += [
        text("tick", left + (right - left) * tenth / 10, 188, digits(tenth / 10, 1), "middle")
        for tenth in range(0, 11, 2)
    ]
    width = (right - left) / BINS
    for place in range(BINS):
        base = float(bottom)
        for look, own in zip(("bar", "bar rejected"), counts, strict=True):
            height = (bottom - top) * own[place] / ticks[-1]
            if own[place]:
                tip = f"{_edges(place)}: {own[place]} {'rejected' if 'rejected' in look else f'{of}s'}"
                parts.append(_bar(look, left + width * place + 1, base - height, width - 2, height, tip))
            base -= height
    if math.isfinite(threshold):
        x = left + (right - left) * min(max(threshold, 0.0), 1.0)
        parts.append(
            Markup('<line class="limit" x1="{:.1f}" x2="{:.1f}" y1="4" y2="{}"/>').format(x, x, bottom)
        )
    return figure(
        name,
        f"Support of the consensus, {of} by {of}",
        _says(of, kept, lost, threshold, len(accepted) - len(kept)),
        ("from", "to", f"{of}s", "rejected"),
        [(p / BINS, (p + 1) / BINS, counts[0][p], counts[1][p]) for p in range(BINS)],
        parts,
        'viewBox="0 0 360 196"',
    )


def _says(of: str, kept: Sequence[float], lost: Sequence[float], threshold: float, unknown: int) -> str:
    told = []
    if kept:
        half = sum(value >= 0.5 for value in kept)
        told.append(
            f"Of {len(kept):,} {of}s the median support is {digits(median(kept))}, the lowest "
            f"{digits(min(kept))}; {half:,} have 0.5 or more."
        )
    if math.isfinite(threshold):
        below = f"{len(lost):,} more were rejected" if lost else "None with a support was rejected"
        told.append(f"{below}; the threshold is {threshold:g}.")
    if unknown:
        told.append(f"Of {unknown:,} {of}s nothing was measured.")
    return " ".join(told)


def _counts(values: Sequence[float]) -> list[int]:
    found = [0] * BINS
    for value in values:
        found[min(max(math.floor(value * BINS), 0), BINS - 1)] += 1
    return found


def _edges(place: int) -> str:
    return f"{digits(place / BINS, 2)} to {digits((place + 1) / BINS, 2)}"


def _bar(look: str, x: float, y: float, width: float, height: float, tip: str) -> Markup:
    body = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
    return Markup(body).format(look, x, y, width, height, tip)
