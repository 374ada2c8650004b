"""Intervals and agreement: against hand-derived numbers, formulas and published examples."""

import numpy as np
import pytest

from driftbound.statistics.agreement import coincidences, krippendorff_alpha
from driftbound.statistics.intervals import (
    Resamples,
    cluster_mean,
    difference,
    estimate,
    mean_of,
    ratios,
    resample,
)


def column(values):
    return np.array(values, dtype=float)[:, None]


def codes(rows: str) -> np.ndarray:
    """Units x raters from lines of votes per rater; ``.`` is a missing vote."""
    raters = [[-1 if v == "." else int(v) for v in row.split()] for row in rows.strip().splitlines()]
    return np.array(raters).T


def test_alpha_of_the_published_examples():
    """Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), parts A and C.

    A: two observers, ten units, binary: 0.095. C: four observers, twelve units, five values,
    missing votes: 0.743.
    """
    two = codes("""
        0 1 0 0 0 0 0 0 1 0
        1 1 1 0 0 1 0 0 0 0
    """)
    four = codes("""
        1 2 3 3 2 1 4 1 2 . . .
        1 2 3 3 2 2 4 1 2 5 . 3
        . 3 3 3 2 3 4 2 2 5 1 .
        1 2 3 3 2 4 4 1 2 5 1 .
    """)
    assert krippendorff_alpha(two, 2) == pytest.approx(0.095, abs=5e-4)
    assert krippendorff_alpha(four, 6) == pytest.approx(0.743, abs=5e-4)


def test_coincidences_by_hand():
    """Votes 0, 0, 1: pairs (0,0) twice, (0,1) and (1,0) twice each, all over m - 1 = 2. One vote: nothing."""
    found = coincidences(np.array([[0, 0, 1], [1, -1, -1]]), 2)
    assert found[0].tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert found[1].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_alpha_has_nothing_to_say_when_everybody_always_says_the_same():
    assert np.isnan(krippendorff_alpha(np.ones((5, 3), dtype=int), 2))


def test_interval_has_the_width_of_the_analytic_cluster_error():
    """Half width / 1.96 against SE^2 = G/(G-1) sum_g (sum_{c in g} (x_c - mean))^2 / n^2; the naive
    sd / sqrt(n) is far too small here, as the cases of one patient resemble each other."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 4, size=300)
    clusters = np.repeat(np.arange(300), sizes)
    values = rng.normal(size=300)[clusters] + 0.3 * rng.normal(size=len(clusters))
    n, centred = len(values), values - values.mean()
    sums = np.bincount(clusters, weights=centred)
    analytic = np.sqrt(300 / 299 * (sums**2).sum()) / n
    resamples = resample([str(c) for c in clusters], rng=np.random.default_rng(2), draws=4000)
    [found] = cluster_mean(column(values), resamples)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(analytic, rel=0.06)
    assert analytic > 1.2 * values.std() / np.sqrt(n)


def test_repeating_every_case_of_a_patient_tells_nothing_new():
    values, clusters = [0.0, 1.0, 1.0, 0.0, 1.0], list("abcde")
    once = cluster_mean(column(values), resample(clusters, rng=np.random.default_rng(3)))
    thrice = cluster_mean(
        column(np.repeat(values, 3)), resample(np.repeat(clusters, 3), rng=np.random.default_rng(3))
    )
    assert once == thrice


def test_ratio_is_taken_after_summing():
    """Patient a: 1 of 1, patient b: 0 of 3. All: 1/4 (not the mean 1/2 of the ratios); draws aa, bb, ab."""
    resamples = Resamples(np.array([0, 1, 1, 1]), np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), 2)
    found = ratios(column([1, 0, 0, 0]), column([1, 1, 1, 1]), resamples)
    assert found.point.tolist() == [0.25]
    assert found.drawn[:, 0].tolist() == [1.0, 0.0, 0.25]


def test_draws_without_the_class_are_left_out():
    """Draw aa has no case of the class: undefined, and the interval is that of the other two."""
    resamples = Resamples(np.array([0, 1]), np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), 2)
    found = ratios(column([0, 1]), column([0, 1]), resamples)
    assert np.isnan(found.drawn[0, 0])
    got = estimate(found.point[0], found.drawn[:, 0])
    assert (got.mean, got.low, got.high) == (1.0, 1.0, 1.0)


def test_one_patient_has_a_mean_and_no_interval():
    [found] = cluster_mean(column([1.0, 0.0]), resample(["a", "a"], rng=np.random.default_rng(0)))
    assert found.mean == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_no_value_has_no_mean():
    [found] = cluster_mean(column([np.nan, np.nan]), resample(["a", "b"], rng=np.random.default_rng(0)))
    assert np.isnan([found.mean, found.low, found.high]).all()


def test_mean_skips_what_is_undefined_on_all_cases():
    """Columns 1/1, 0/0 and 0/1: the mean of the first and the last."""
    resamples = resample(["a", "b"], rng=np.random.default_rng(0))
    found = ratios(np.array([[1.0, 0, 0], [1, 0, 0]]), np.array([[1.0, 0, 1], [1, 0, 1]]), resamples)
    assert mean_of(found, [0, 1, 2]).point.tolist() == [0.5]
    assert np.isnan(mean_of(found, [1]).point[0])


def test_paired_difference_uses_the_same_draws():
    """One row is the other plus 0.25 on every case: the difference is exactly that on every draw,
    however wide both intervals are; a row minus itself is zero."""
    rng = np.random.default_rng(5)
    clusters = [str(c) for c in rng.integers(20, size=60)]
    values = rng.random(60)
    resamples = resample(clusters, rng=np.random.default_rng(6))
    one = ratios(column(values + 0.25), column(np.ones(60)), resamples)
    other = ratios(column(values), column(np.ones(60)), resamples)
    shift = difference(one, other)
    assert (shift.mean, shift.low, shift.high) == pytest.approx((0.25, 0.25, 0.25))
    same = difference(one, one)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    alone = estimate(one.point[0], one.drawn[:, 0])
    assert alone.high - alone.low > 0.05


def test_same_generator_same_interval_other_generator_another():
    clusters, values = [str(c) for c in range(30)], np.random.default_rng(0).random(30)
    first, again, other = (
        cluster_mean(column(values), resample(clusters, rng=np.random.default_rng(seed)))[0]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
