"""Agreement of several raters: Krippendorff's alpha for nominal values, with missing votes."""

import numpy as np
from numpy.typing import NDArray


def coincidences(votes: NDArray[np.integer], values: int) -> NDArray[np.float64]:
    """Coincidence matrix of each unit, (units, values, values); they add up over units.

    ``votes`` is (units, raters) with codes in 0..values-1 and -1 where a rater is missing. Each
    ordered pair of votes on a unit with m votes counts 1 / (m - 1); units with one vote count nothing.
    """
    counts = (votes[:, :, None] == np.arange(values)).sum(axis=1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(values)
    others = counts.sum(axis=1) - 1
    share = np.divide(1.0, others, out=np.zeros_like(others), where=others > 0)
    found: NDArray[np.float64] = pairs * share[:, None, None]
    return found


def krippendorff_alpha(votes: NDArray[np.integer], values: int) -> float:
    """1 - observed / expected disagreement: 1 is agreement, 0 is chance.

    ``nan`` where no two raters meet, or where all votes are one value (nothing to disagree on).

    >>> krippendorff_alpha(np.array([[0, 0], [1, 1]]), 2)
    1.0
    >>> krippendorff_alpha(np.array([[0, -1], [1, -1]]), 2)
    nan
    """
    total = coincidences(votes, values).sum(axis=0)
    marginal = total.sum(axis=0)
    n = marginal.sum()
    expected = n * n - (marginal**2).sum()
    if n < 2 or expected == 0:
        return float("nan")
    observed = n - np.trace(total)
    return float(1 - (n - 1) * observed / expected)
