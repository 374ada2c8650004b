"""How tightly a student's hidden features sit within each class: the method's "tighter feature space"."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.statistics.intervals import plain


def dispersion(
    features: NDArray[np.floating[Any]],
    labels: NDArray[np.bool_],
    findings: Sequence[str],
    known: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Within-class over total variance of n cases' features (n, D), per finding; ``labels`` (n, F).

    A finding's figure is of the cases in which its label is ``known`` (n, F), all without it. Each dimension
    is standardised over these (mean 0, variance 1; constant ones are left out), so that the total is D.
    With mu_c the mean over the cases of class c (finding present or absent),

        dispersion_f = sum_i |x_i - mu_{c(i)}|^2 / sum_i |x_i - mu|^2

    lies in [0, 1]: 0 where each class is one point, 1 where the class means coincide. ``mean`` is over the
    findings with both classes; the others are ``None``, as everything is where no dimension varies.

    >>> points = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> dispersion(points, np.array([[False], [False], [True], [True]]), ["A"])
    {'mean': 0.009901, 'per_finding': {'A': 0.009901}}
    """
    x = features.astype(np.float64)
    counted = np.ones(labels.shape, dtype=bool) if known is None else known
    columns = zip(counted.T, labels.T, strict=True)
    shares = np.array([_share(x[there], label[there]) for there, label in columns])
    found = shares[~np.isnan(shares)]
    return {
        "mean": plain(float(found.mean())) if found.size else None,
        "per_finding": {name: plain(share) for name, share in zip(findings, shares, strict=True)},
    }


def _share(x: NDArray[np.float64], present: NDArray[np.bool_]) -> float:
    if present.all() or not present.any():
        return float("nan")
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    if not x.size:
        return float("nan")
    within = sum(((x[own] - x[own].mean(axis=0)) ** 2).sum() for own in (present, ~present))
    return float(within / (x**2).sum())
