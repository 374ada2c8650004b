"""Multiple tests: adjusted p-values (Holm, Benjamini-Hochberg, -Yekutieli) and adjusted evidence (e-BH)."""

from collections.abc import Callable
from math import ceil

import numpy as np
from scipy import stats

from driftbound.errors import MeasureError
from driftbound.statistics.intervals import Array


def benjamini_hochberg(ps: Array) -> Array:
    """Adjusted p-values: rejecting those up to q keeps the false discovery rate at q.

    For independent or positively dependent tests (Benjamini and Hochberg 1995). ``ps`` may have any shape;
    ``nan`` is a test that was not made: it stays ``nan`` and does not count. Raises ``MeasureError`` for a
    p outside [0, 1].

    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03, 0.5])).round(4)
    array([0.04  , 0.0533,    nan, 0.0533, 0.5   ])
    """
    return _adjusted(ps, lambda known: np.asarray(stats.false_discovery_control(known, method="bh")))


def benjamini_yekutieli(ps: Array) -> Array:
    """As ``benjamini_hochberg``, whatever the dependence of the tests (Benjamini and Yekutieli 2001)."""
    return _adjusted(ps, lambda known: np.asarray(stats.false_discovery_control(known, method="by")))


def holm(ps: Array) -> Array:
    """Adjusted p-values: rejecting those up to a makes any false rejection at most a likely (Holm 1979).

    Whatever the dependence. ``nan`` and errors as ``benjamini_hochberg``.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(4)
    array([0.03, 0.06, 0.06])
    """

    def step_down(known: Array) -> Array:
        order = np.argsort(known)
        factors = len(known) - np.arange(len(known))
        stepped: Array = np.empty_like(known)
        stepped[order] = np.minimum(np.maximum.accumulate(known[order] * factors), 1.0)
        return stepped

    return _adjusted(ps, step_down)


def e_benjamini_hochberg(log_evidence: Array) -> Array:
    """Adjusted e-values, as q: rejecting those up to q keeps the false discovery rate at q (e-BH).

    ``log_evidence`` holds logarithms of e-values (wealth of a martingale, at any time); the k-th largest of m
    is rejected at q if k times it is at least m / q, and then all larger ones are (Wang and Ramdas 2022).
    Whatever the dependence. ``nan`` stays ``nan`` and does not count.

    >>> e_benjamini_hochberg(np.log([40.0, 1.0, 30.0, 0.5])).round(4)
    array([0.0667, 1.    , 0.0667, 1.    ])
    """

    def step_up(known: Array) -> Array:
        order = np.argsort(-known)
        m = len(known)
        needed = np.log(m) - np.log(np.arange(1, m + 1)) - known[order]
        least = np.minimum.accumulate(needed[::-1])[::-1]
        adjusted: Array = np.empty_like(known)
        adjusted[order] = np.exp(np.minimum(least, 0.0))
        return adjusted

    return _known(np.asarray(log_evidence, dtype=np.float64), step_up)


def selected_level(q: float, selected: int, families: int) -> float:
    """Level inside each of the ``selected`` families of tests that a global test has let through.

    Keeps the expected average of the false discovery proportion over the selected families at q (Benjamini
    and Bogomolov 2014).

    >>> selected_level(0.1, 2, 8)
    0.025
    """
    if not 0 <= selected <= families:
        raise MeasureError(f"{selected} of {families} families cannot be selected")
    return q * selected / families if families else 0.0


def draws_for(tests: int, q: float) -> int:
    """Resamples per test that leave a step-up over ``tests`` tests at q enough room: 10 tests / q.

    >>> draws_for(63, 0.05)
    12600
    """
    return ceil(10 * tests / q - 1e-9)


def _adjusted(ps: Array, adjust: Callable[[Array], Array]) -> Array:
    given = np.asarray(ps, dtype=np.float64)
    if ((given < 0) | (given > 1)).any():
        raise MeasureError("a p-value lies outside [0, 1]; give p-values, not statistics")
    return _known(given, adjust)


def _known(given: Array, adjust: Callable[[Array], Array]) -> Array:
    found = np.full(given.shape, np.nan)
    known = ~np.isnan(given)
    if known.any():
        found[known] = adjust(given[known])
    return found
