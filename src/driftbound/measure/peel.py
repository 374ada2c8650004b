"""Peel: which teachers changed along the steps? Take away the most changed until the rest stands still."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.divergence import gjs, pairwise_js, robust_scores
from driftbound.statistics.intervals import Array, standard_errors
from driftbound.statistics.signs import Contrast, Scan, contrast_at, contrasts, scan

SMALLEST = 3
"""Teachers without whom nobody can be blamed: of two that part, either may have moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A teacher that was taken away."""

    teacher: int
    """Its number in the panel."""
    panel: Scan
    """Test of the panel that still had it; its split is where the change was found."""
    change: Contrast
    """Its own distance from the typical other (a median), later minus earlier at that split. Without a p: it
    was chosen because it changed most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peeled:
    """Who changed, and what is left."""

    changed: tuple[Changed, ...]
    """In the order in which they were taken away."""
    rest: tuple[int, ...]
    """Teachers of whom no change was shown."""
    last: Scan | None
    """Test of the rest; ``None`` where the rest is too small to blame anybody, ``reason`` says so."""
    reason: str = ""


def peel(
    panel_values: Callable[[Sequence[int]], Array],
    teacher_values: Callable[[Sequence[int]], Array],
    teachers: int,
    clusters: NDArray[np.intp],
    *,
    rng: np.random.Generator,
    draws: int = 999,
    trim: int = 2,
    level: float = 0.05,
) -> Peeled:
    """Test the panel; while it changes, take away who changed most at the split found, and test the rest.

    ``panel_values`` gives for a subset of the ``teachers`` the panel's statistic per case and step (n, J),
    such as its divergence or its excess of disagreement; ``teacher_values`` gives the distances of every two
    of the subset, (n, J, m, m), or each one's from the others, (n, J, m), a median over them. Who changed
    most has the largest |mean / standard error by clusters| of its change at that split: of pairs, the median
    over the others, which hardly moves when others change. It ends at p above ``level``, or with two
    teachers left. Testing every teacher against the mixture of the others instead blames the innocent, for
    one that moves moves every mixture. That any innocent one is named has about the level's probability in
    simulations (from pairs; from medians up to twice of it); no proof is known.

    Raises ``MeasureError`` below three teachers, and where ``signs.scan`` does.
    """
    if teachers < SMALLEST:
        raise MeasureError(f"{teachers} teachers: who of them changed can be said of three or more")
    left = list(range(teachers))
    changed: list[Changed] = []
    while len(left) >= SMALLEST:
        found = scan(panel_values(left), clusters, rng=rng, draws=draws, trim=trim)
        if found.split is None or not found.p <= level:
            return Peeled(changed=tuple(changed), rest=tuple(left), last=found, reason=found.reason)
        own = teacher_values(left)
        worst = int(np.argmax(_sizes(contrasts(own, found.split), clusters)))
        distance = robust_scores(own)[:, :, worst] if own.ndim == 4 else own[:, :, worst]
        change = contrast_at(distance, clusters, found.split)
        changed.append(Changed(teacher=left.pop(worst), panel=found, change=change))
    return Peeled(
        changed=tuple(changed),
        rest=tuple(left),
        last=None,
        reason="two teachers are left: if they part, either may have moved",
    )


def peel_distributions(
    distributions: Array,
    clusters: NDArray[np.intp],
    *,
    rng: np.random.Generator,
    draws: int = 999,
    trim: int = 2,
    level: float = 0.05,
) -> Peeled:
    """As ``peel``, of distributions (n, J, T, K) on a common prefix, aligned by step.

    The panel's statistic is the generalised Jensen-Shannon divergence, the distance of two teachers the
    pairwise one. ``nan`` rows are missing steps.
    """
    pairs = pairwise_js(distributions)
    return peel(
        lambda subset: gjs(distributions[:, :, list(subset)]),
        lambda subset: pairs[:, :, list(subset)][:, :, :, list(subset)],
        distributions.shape[2],
        clusters,
        rng=rng,
        draws=draws,
        trim=trim,
        level=level,
    )


def _sizes(changes: Array, clusters: NDArray[np.intp]) -> Array:
    """(m,) |t| of each teacher's change, from changes (n, m) or of pairs (n, m, m); -1 where unknown."""
    columns = changes.reshape(len(changes), -1)
    known = ~np.isnan(columns)
    total = np.where(known, columns, 0.0).sum(axis=0)
    mean = np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0))
    se = standard_errors(columns, clusters)
    t = np.divide(np.abs(mean), se, out=np.where(mean == 0, 0.0, np.inf), where=~(se == 0))
    if changes.ndim == 3:
        m = changes.shape[1]
        t = np.median(t.reshape(m, m)[~np.eye(m, dtype=bool)].reshape(m, m - 1), axis=1)
    sizes: Array = np.where(np.isnan(t), -1.0, t)
    return sizes
