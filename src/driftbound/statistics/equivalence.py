"""Equivalence: is an effect shown to be smaller than what would matter? Two one-sided tests."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftbound.errors import MeasureError
from driftbound.statistics.flips import checked, interval
from driftbound.statistics.intervals import Array, standard_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """An effect beside the margin within which it does not matter."""

    effect: float
    se: float
    low: float
    high: float
    """95 % interval."""
    margin: float
    p: float
    """Of "the effect is at least as large as the margin, on one side or the other"."""
    verdict: Literal["equivalent", "not shown"]
    """``equivalent`` where p is at most the level: for 0.05, where the 90 % interval lies inside the margin.
    ``not shown`` says neither that there is an effect nor that there is none."""
    n: int
    """Cases; 0 where only effect and error were given."""
    reason: str = ""
    """Why p is ``nan``; empty otherwise."""


def equivalence(
    effect: float, se: float, margin: float, *, clusters: int | None = None, level: float = 0.05, n: int = 0
) -> Equivalence:
    """Two one-sided tests of |effect| >= ``margin`` (Schuirmann 1987), from an effect and its error.

    With ``clusters`` Student's t with one degree of freedom less than clusters, else the normal law. A
    margin is decided before looking at the data. Raises ``MeasureError`` for a margin that is not positive
    or a negative error.

    >>> found = equivalence(0.01, 0.005, 0.02)
    >>> found.verdict, round(found.p, 4)
    ('equivalent', 0.0228)
    """
    if not margin > 0 or se < 0:
        raise MeasureError(
            f"margin {margin} and standard error {se}: give a positive margin, and no negative error"
        )
    undefined = bool(np.isnan(effect) or np.isnan(se) or (clusters is not None and clusters < 2))
    if undefined:
        p, low, high = float("nan"), float("nan"), float("nan")
    else:
        p = max(_beyond(margin - effect, se, clusters), _beyond(margin + effect, se, clusters))
        low, high = interval(effect, se, clusters) if clusters else (effect - 1.96 * se, effect + 1.96 * se)
    return Equivalence(
        effect=effect,
        se=se,
        low=low,
        high=high,
        margin=margin,
        p=p,
        verdict="equivalent" if p <= level else "not shown",
        n=n,
        reason="the effect has no standard error" if undefined else "",
    )


def equivalence_of_mean(
    values: Array, clusters: NDArray[np.intp], margin: float, *, level: float = 0.05
) -> Equivalence:
    """As ``equivalence``, of the mean of one value per case (n,); ``nan`` values are left out.

    Raises ``MeasureError`` also where shapes do not fit or a value is infinite.
    """
    given, named = checked(np.asarray(values)[:, None], clusters)
    known = ~np.isnan(given[:, 0])
    n = int(known.sum())
    return equivalence(
        float(given[known].mean()) if n else float("nan"),
        float(standard_errors(given, named)[0]),
        margin,
        clusters=len(np.unique(named[known])),
        level=level,
        n=n,
    )


def _beyond(room: float, se: float, clusters: int | None) -> float:
    """One-sided p of an effect that lies ``room`` inside one end of the margin."""
    if se == 0:
        return 0.0 if room > 0 else 1.0
    t = room / se
    return float(stats.norm.sf(t) if clusters is None else stats.t.sf(t, clusters - 1))
