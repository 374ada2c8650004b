"""Agreement by cases: alpha, AC1 and kappa against their definitions, intervals and change over clusters."""

from itertools import product

import numpy as np
import pytest

from driftbound.errors import MeasureError
from driftbound.statistics.agreement import (
    ac1,
    alpha_change,
    alpha_of,
    case_coincidences,
    coincidences,
    krippendorff_alpha,
    pair_kappas,
    panel_agreement,
)
from driftbound.statistics.intervals import resample


def rng(seed=0):
    return np.random.default_rng(seed)


def names(clusters):
    return [str(c) for c in clusters]


def alpha_by_definition(votes, distance):
    """1 - observed / expected: pairs within units by 1 / (m - 1), against all pairs of pairable votes."""
    rows = [row[row >= 0] for row in votes]
    rows = [row for row in rows if len(row) > 1]
    everything = np.concatenate(rows)
    n = len(everything)
    observed = sum(sum(distance(a, b) for a in row for b in row) / (len(row) - 1) for row in rows) / n
    expected = sum(distance(a, b) for a in everything for b in everything) / (n * (n - 1))
    return 1 - observed / expected


def test_alpha_is_its_definition_with_a_third_missing():
    votes = np.minimum(rng(1).integers(-1, 3, (30, 5)), 2)
    nominal = alpha_by_definition(votes, lambda a, b: float(a != b))
    assert krippendorff_alpha(votes, 3) == pytest.approx(nominal, abs=1e-12)
    paired = np.concatenate([row[row >= 0] for row in votes if (row >= 0).sum() > 1])
    count = [int((paired == value).sum()) for value in range(3)]

    def ordinal(a, b):
        low, high = sorted((int(a), int(b)))
        return (sum(count[low : high + 1]) - (count[low] + count[high]) / 2) ** 2 if low < high else 0.0

    found = float(alpha_of(coincidences(votes, 3).sum(axis=0), "ordinal"))
    assert found == pytest.approx(alpha_by_definition(votes, ordinal), abs=1e-12)
    assert found != pytest.approx(nominal, abs=1e-3)


def test_cases_add_up():
    votes = rng(2).integers(-1, 3, (12, 4, 5))
    cases = case_coincidences(votes, 3)
    assert cases.shape == (12, 3, 3)
    assert cases.sum(axis=0) == pytest.approx(coincidences(votes.reshape(48, 5), 3).sum(axis=0))


def test_ac1_by_hand():
    """Units 000, 001, 01., 1..: p_a = (1 + 1/3 + 0) / 3; q_1 = (0 + 1/3 + 1/2 + 1) / 4; p_e = 2 q (1 - q)."""
    votes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, -1], [1, -1, -1]])
    agreed, q = 4 / 9, 11 / 24
    chance = 2 * q * (1 - q)
    assert ac1(votes, 2) == pytest.approx((agreed - chance) / (1 - chance))
    assert ac1(np.zeros((5, 2), int), 2) == 1.0
    assert np.isnan(ac1(np.array([[0, -1]]), 2))
    assert np.isnan(ac1(np.zeros((5, 2), int), 1))


def test_ac1_stands_where_alpha_falls_with_a_rare_value():
    """Of 100 units two are disputed and nobody agrees on a 1: 98 % agree, alpha is about 0, AC1 about 1."""
    votes = np.zeros((100, 2), int)
    votes[0, 0] = votes[1, 1] = 1
    assert abs(krippendorff_alpha(votes, 2)) < 0.02
    assert ac1(votes, 2) > 0.97


def noisy(n, r, wrong=0.2, units=4, raters=5):
    truth = r.integers(0, 3, (n, units, 1))
    votes = np.where(r.random((n, units, raters)) < wrong, r.integers(0, 3, (n, units, raters)), truth)
    return np.where(r.random(votes.shape) < 0.2, -1, votes)


def test_panel_agreement_has_intervals_over_clusters():
    votes = noisy(60, rng(3))
    flat = votes.reshape(240, 5)
    found = panel_agreement(votes, 3, resample(names(range(60)), rng=rng(4), draws=400))
    assert found.alpha.mean == pytest.approx(krippendorff_alpha(flat, 3))
    assert found.ac1.mean == pytest.approx(ac1(flat, 3))
    pairs = [(a == b) for row in flat if (row >= 0).sum() > 1 for a, b in [row[row >= 0][:2]]]
    assert 0 < np.mean(pairs) < 1
    by_hand = [
        np.mean([row[i] == row[j] for i in range(len(row)) for j in range(i)])
        for row in (unit[unit >= 0] for unit in flat)
        if len(row) > 1
    ]
    assert found.raw.mean == pytest.approx(np.mean(by_hand))
    assert found.units == len(by_hand)
    assert found.n == 60
    for each in (found.alpha, found.ac1, found.raw):
        assert each.low < each.mean < each.high


def test_copies_of_a_case_in_its_cluster_leave_the_interval():
    """Not the point of alpha: its small-sample term (n - 1) / n counts votes, twice as many."""
    votes = noisy(40, rng(5))
    once = panel_agreement(votes, 3, resample(names(range(40)), rng=rng(6), draws=300))
    twice = panel_agreement(
        np.repeat(votes, 2, axis=0), 3, resample(names(np.repeat(range(40), 2)), rng=rng(6), draws=300)
    )
    for one, other in ((once.ac1, twice.ac1), (once.raw, twice.raw)):
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))
    assert once.alpha.low == pytest.approx(twice.alpha.low, abs=0.002)


def test_change_of_alpha_is_the_enumeration_of_swaps():
    r = rng(7)
    clusters = np.repeat(np.arange(7), [1, 2, 1, 1, 2, 1, 1])
    early, late = (case_coincidences(noisy(9, r, wrong), 3) for wrong in (0.1, 0.5))

    def change(swapped):
        turned = np.array(swapped)[clusters][:, None, None]
        parts = [np.where(turned, a, b).sum(axis=0) for a, b in ((late, early), (early, late))]
        return abs(float(alpha_of(parts[1]) - alpha_of(parts[0])))

    null = [change(swapped) for swapped in product([False, True], repeat=7)]
    exact = np.mean(np.array(null) >= null[0] - 1e-12)
    resamples = resample(names(clusters), rng=r, draws=200)
    found = alpha_change(early, late, resamples, rng=rng(8), draws=10_000)
    assert found.effect.mean == pytest.approx(found.late.mean - found.early.mean)
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000) + 1e-4)
    assert found.early.mean == pytest.approx(float(alpha_of(early.sum(axis=0))))
    assert found.n == 9


def test_change_of_alpha_is_found_and_not_invented():
    r = rng(9)
    rejected = {0.2: 0, 0.5: 0}
    for _ in range(60):
        early = case_coincidences(noisy(40, r), 3)
        resamples = resample(names(range(40)), rng=r, draws=2)
        for wrong in rejected:
            late = case_coincidences(noisy(40, r, wrong), 3)
            rejected[wrong] += alpha_change(early, late, resamples, rng=r, draws=99).p <= 0.05
    assert rejected[0.2] <= 8  # 3 expected, 8 is three errors more
    assert rejected[0.5] >= 57


def test_alpha_change_that_cannot_be_said():
    same = case_coincidences(np.zeros((6, 2, 3), int), 2)
    found = alpha_change(same, same, resample(names(range(6)), rng=rng(), draws=9), rng=rng())
    assert np.isnan(found.p)
    assert "undefined" in found.reason
    votes = case_coincidences(noisy(4, rng(10)), 3)
    alone = alpha_change(votes, votes, resample(["a"] * 4, rng=rng(), draws=9), rng=rng())
    assert np.isnan(alone.p)
    assert alone.effect.mean == 0.0
    with pytest.raises(MeasureError, match="one matrix per case"):
        alpha_change(votes, votes[:2], resample(names(range(4)), rng=rng(), draws=9), rng=rng())


def test_kappa_by_hand():
    """Table 20 5 / 10 15 (the textbooks' grant proposals): p_o 0.7, p_e 0.5, kappa 0.4. A third rater says
    only 0, and only where the first does: nothing to disagree on."""
    one = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])
    other = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    third = np.where(one == 0, 0, -1)
    votes = np.stack([one, other, third], axis=1)[:, None, :]
    found = pair_kappas(votes, 2, resample(names(range(50)), rng=rng(11), draws=500))
    assert found.kappa[0, 1] == found.kappa[1, 0] == pytest.approx(0.4)
    assert found.low[0, 1] < 0.4 < found.high[0, 1]
    # the large-sample error of kappa here is sqrt(0.7 * 0.3 / 50) / 0.5 = 0.13
    assert found.high[0, 1] - found.low[0, 1] == pytest.approx(4 * 0.13, rel=0.15)
    assert np.isnan(found.kappa[0, 2])
    assert found.units.tolist() == [[0, 50, 25], [50, 0, 25], [25, 25, 0]]
    assert np.isnan(np.diag(found.kappa)).all()
