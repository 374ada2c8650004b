"""Sizes: how many cases a test needs, which effect it can find, and what clusters cost."""

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftbound.errors import MeasureError
from driftbound.statistics.flips import checked
from driftbound.statistics.intervals import Array, standard_errors

SCAN = 1.25
"""Cases that a scan over splits needs for one that a test at a fixed split needs."""


def cases_needed(
    effect_size: float,
    *,
    hypotheses: int = 1,
    level: float = 0.05,
    power: float = 0.8,
    scan: bool = False,
    design: float = 1.0,
) -> int:
    """Cases with which a two-sided test of a mean finds ``effect_size`` (effect / sd over cases).

    n = ((z_{1 - level / 2m} + z_power) / effect_size)^2 for m ``hypotheses`` (Bonferroni), a quarter more for
    a scan over splits, times the ``design`` effect of clusters. Raises ``MeasureError`` for no effect.

    >>> cases_needed(0.1), cases_needed(0.1, hypotheses=7), cases_needed(0.3, scan=True)
    (785, 1248, 110)
    """
    if not effect_size:
        raise MeasureError("no number of cases finds an effect of zero; say what would matter")
    plain = (_quantiles(hypotheses, level, power) / effect_size) ** 2
    return ceil(plain * (SCAN if scan else 1.0) * design - 1e-9)


def detectable_effect(
    cases: int,
    *,
    hypotheses: int = 1,
    level: float = 0.05,
    power: float = 0.8,
    scan: bool = False,
    design: float = 1.0,
) -> float:
    """Effect / sd over cases that ``cases`` cases find with ``power``; the inverse of ``cases_needed``.

    >>> round(detectable_effect(24426), 3)
    0.018
    """
    if cases < 1:
        raise MeasureError("no effect can be found without cases")
    return _quantiles(hypotheses, level, power) / sqrt(cases / (SCAN if scan else 1.0) / design)


def design_effect(clusters: NDArray[np.intp], correlation: float) -> float:
    """By how much clusters inflate the variance of a mean: 1 + (size - 1) x correlation.

    ``clusters`` is (n,), of cases that one has or plans; size is the mean size of a case's cluster
    (sum of squared sizes / n, Kish 1965), ``correlation`` that of two cases of one cluster.

    >>> design_effect(np.array([0, 0, 0, 1, 1, 1]), 0.5)
    2.0
    """
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    return float(1 + ((sizes**2).sum() / sizes.sum() - 1) * correlation) if sizes.size else float("nan")


def intraclass_correlation(values: Array, clusters: NDArray[np.intp]) -> float:
    """Correlation of two cases of one cluster, from the standard error by clusters of ``values`` (n,).

    The variance of the mean under clusters, over that of as many single cases, is the design effect; what
    it says of the correlation is returned. It can be negative. ``nan`` where no cluster has two cases, or
    below two clusters.
    """
    given, named = checked(np.asarray(values)[:, None], clusters)
    known = ~np.isnan(given[:, 0])
    given, named = given[known], named[known]
    more = design_effect(named, 1.0) - 1
    n = len(given)
    if n < 2 or not more > 0 or given.std() == 0:
        return float("nan")
    inflation = standard_errors(given, named)[0] ** 2 / (given.var(ddof=1) / n)
    return float((inflation - 1) / more)


def _quantiles(hypotheses: int, level: float, power: float) -> float:
    return float(stats.norm.ppf(1 - level / (2 * hypotheses)) + stats.norm.ppf(power))
