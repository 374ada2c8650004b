"""Wrong ways: tests that look right and are not, so that the calibration is seen to find them out."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftbound.measure.divergence import gjs
from driftbound.statistics.kernels import two_sample_mmd
from driftbound.statistics.multiple import benjamini_hochberg
from driftbound.statistics.signs import scan

Array = NDArray[np.float64]


def permuted_steps(values: Array, rng: np.random.Generator, draws: int = 99) -> float:
    """p from shuffling the steps within each case: takes steps as exchangeable, and they are correlated."""
    n, steps = values.shape

    def size(given: Array) -> Array:
        late, early = given[..., steps // 2 :].mean(axis=-1), given[..., : steps // 2].mean(axis=-1)
        return np.asarray(np.abs((late - early).mean(axis=-1)))

    order = rng.random((draws, n, steps)).argsort(axis=-1)
    null = size(np.take_along_axis(np.broadcast_to(values, order.shape), order, axis=-1))
    return float((1 + (null >= size(values)).sum()) / (draws + 1))


def t_test_of_steps(values: Array) -> float:
    """p of a t-test of all early against all late numbers, as if each step were a case of its own."""
    half = values.shape[1] // 2
    return float(stats.ttest_ind(values[:, :half].ravel(), values[:, half:].ravel()).pvalue)


def unpaired_mmd(early: Array, late: Array, rng: np.random.Generator, draws: int = 99) -> float:
    """p of a two-sample test of early against late, as if the late cases were other ones."""
    names = np.arange(len(early))
    return two_sample_mmd(early, late, names, names + len(early), rng=rng, draws=draws).p


def changed_from_mixture(
    p: Array, clusters: NDArray[np.intp], rng: np.random.Generator, draws: int
) -> set[int]:
    """Teachers whose divergence from the mixture of the others changes, by Benjamini-Hochberg at 0.05."""
    teachers = p.shape[2]
    ps = []
    for u in range(teachers):
        mixture = p[:, :, [v for v in range(teachers) if v != u]].mean(axis=2)
        ps.append(scan(gjs(np.stack([p[:, :, u], mixture], axis=2)), clusters, rng=rng, draws=draws).p)
    return set(np.flatnonzero(benjamini_hochberg(np.array(ps)) <= 0.05).tolist())
