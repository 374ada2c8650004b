"""Kernel tests: against loops and enumeration by hand, and what whole clusters have to do with it."""

from itertools import combinations, product

import numpy as np
import pytest

from driftbound.errors import MeasureError
from driftbound.statistics.kernels import swap_mmd, two_sample_mmd


def rng(seed=0):
    return np.random.default_rng(seed)


def monte_carlo(p, draws):
    return 4 * np.sqrt(p * (1 - p) / draws) + 1 / draws


def median_distance(points, clusters):
    """Over pairs of points of different clusters, in a loop."""
    return np.median(
        [
            ((points[a] - points[b]) ** 2).sum()
            for a, b in combinations(range(len(points)), 2)
            if clusters[a] != clusters[b]
        ]
    )


def test_swap_is_the_loop_over_pairs_and_all_swaps():
    r = rng(1)
    clusters = np.repeat(np.arange(8), [1, 2, 1, 3, 1, 1, 2, 1])
    early = r.normal(size=(12, 3))
    late = 0.6 * early + 0.9 * r.normal(size=(12, 3)) + 0.3
    width = median_distance(np.concatenate([early, late]), np.concatenate([clusters, clusters]))

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / width)

    def u_statistic(x, y, kept):
        h = [
            k(x[c], x[d]) + k(y[c], y[d]) - k(x[c], y[d]) - k(y[c], x[d])
            for c, d in combinations(kept, 2)
            if clusters[c] != clusters[d]
        ]
        return np.mean(h)

    null = []
    for swapped in product([False, True], repeat=8):
        turned = np.array(swapped)[clusters][:, None]
        null.append(u_statistic(np.where(turned, late, early), np.where(turned, early, late), range(12)))
    exact = np.mean(np.array(null) >= null[0] - 1e-12)
    without = [u_statistic(early, late, np.flatnonzero(clusters != g)) for g in range(8)]
    found = swap_mmd(early, late, clusters, rng=rng(2), draws=20_000)
    assert found.bandwidth == pytest.approx(width)
    assert found.effect == pytest.approx(null[0])
    assert found.p == pytest.approx(exact, abs=monte_carlo(exact, 20_000))
    assert found.se == pytest.approx(np.sqrt(7 * np.var(without)))
    assert (found.n, found.clusters, found.of_clusters) == (12, 8, 8)


def test_two_samples_are_the_loop_over_pairs_and_all_permutations_of_clusters():
    r = rng(3)
    clusters = np.repeat(np.arange(7), [1, 2, 1, 1, 2, 1, 1])
    points = r.normal(size=(9, 2))
    second = clusters >= 4
    points[second] += 1.0
    width = median_distance(points, clusters)
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / width)
    apart = clusters[:, None] != clusters[None]

    def mmd(other, kept):
        one = ~other & kept
        both = other & kept
        same = [kernel[np.ix_(s, s)][apart[np.ix_(s, s)]].mean() for s in (one, both)]
        return sum(same) - 2 * kernel[np.ix_(one, both)].mean()

    everybody = np.ones(9, bool)
    null = [mmd(np.isin(clusters, chosen), everybody) for chosen in combinations(range(7), 3)]
    effect = mmd(second, everybody)
    exact = np.mean(np.array(null) >= effect - 1e-12)
    variance = 0
    for members in (range(4), range(4, 7)):
        rest = [mmd(second, clusters != g) for g in members]
        variance += (len(rest) - 1) * np.var(rest)
    found = two_sample_mmd(
        points[~second], points[second], clusters[~second], clusters[second], rng=rng(4), draws=20_000
    )
    assert found.effect == pytest.approx(effect)
    assert found.p == pytest.approx(exact, abs=monte_carlo(exact, 20_000))
    assert found.se == pytest.approx(np.sqrt(variance))


def test_copies_within_a_cluster_tell_nothing_new():
    r = rng(5)
    early, late = r.normal(size=(30, 4)), r.normal(size=(30, 4)) + 0.2
    once = swap_mmd(early, late, np.arange(30), rng=rng(6))
    copied = [np.repeat(x, 2, axis=0) for x in (early, late)]
    twice = swap_mmd(*copied, np.repeat(np.arange(30), 2), rng=rng(6))
    assert twice.p == once.p
    assert (twice.effect, twice.se) == pytest.approx((once.effect, once.se))


def test_a_law_that_changes_without_its_mean_is_found():
    """Two features that trade places between early and late; and nothing where they do not."""
    r = rng(7)
    rejected = {"same": 0, "traded": 0}
    for _ in range(60):
        own = r.normal(size=(50, 2)) * [2.0, 0.5]
        again = 0.5 * own + 0.87 * r.normal(size=(50, 2)) * [2.0, 0.5]
        for name, late in (("same", again), ("traded", again[:, ::-1])):
            rejected[name] += swap_mmd(own, late, np.arange(50), rng=r, draws=99).p <= 0.05
    assert rejected["same"] <= 8  # 60 at 0.05: 3 expected, 8 is three errors more
    assert rejected["traded"] >= 55


def test_a_corpus_is_measured_on_a_part_of_it_and_says_so():
    """24,426 cases of 20,000 patients: 500 of them are used, or both sets' halves of 500."""
    r = rng(8)
    clusters = r.integers(0, 20_000, 24_426)
    values = r.normal(size=(24_426, 2))
    found = swap_mmd(values, values + 1.0, clusters, rng=r, draws=99, limit=500)
    assert (found.clusters, found.of_clusters) == (500, len(np.unique(clusters)))
    assert found.p == 0.01
    sets = two_sample_mmd(
        values[:300], values[300:], np.arange(300), 300 + np.arange(24_126), rng=r, draws=99, limit=500
    )
    assert (sets.clusters, sets.n, sets.of_clusters) == (500, 500, 24_426)


def test_a_cluster_in_both_sets_stays_in_one():
    """Cluster 0 has two cases in the first set and one in the other: 1 + 2 + 3 = 6 cases remain."""
    one, other = rng(9).normal(size=(3, 2)), rng(10).normal(size=(4, 2))
    found = two_sample_mmd(one, other, np.array([0, 0, 1]), np.array([0, 2, 3, 4]), rng=rng(), draws=9)
    assert (found.n, found.clusters) == (6, 5)


def test_missing_and_equal_values():
    values = rng(11).normal(size=(10, 2))
    values[3, 1] = np.nan
    assert swap_mmd(values, np.ones((10, 2)), np.arange(10), rng=rng(), draws=9).n == 9
    equal = swap_mmd(np.ones((5, 2)), np.ones((5, 2)), np.arange(5), rng=rng())
    alone = swap_mmd(values[:3], values[4:7], np.zeros(3, int), rng=rng())
    for found in (equal, alone):
        assert np.isnan(found.p)
        assert found.reason
    # most points equal: the median distance is 0, and that of the points apart is taken
    rare = np.zeros((20, 1))
    rare[:3] = 1.0
    assert swap_mmd(rare, np.zeros((20, 1)), np.arange(20), rng=rng(), draws=9).bandwidth == 1.0


def test_bad_shapes_are_refused():
    with pytest.raises(MeasureError, match="same features"):
        swap_mmd(np.zeros((3, 2)), np.zeros((3, 1)), np.arange(3), rng=rng())
    with pytest.raises(MeasureError, match="one d"):
        two_sample_mmd(np.zeros((3, 2)), np.zeros((3, 1)), np.arange(3), np.arange(3), rng=rng())
