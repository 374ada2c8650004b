"""Tests of change by sign flips, who changed, many tests at once: against enumeration, scipy and by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from driftbound.errors import MeasureError
from driftbound.measure.divergence import gjs, pairwise_js, robust_scores
from driftbound.measure.noise import excess_by_part
from driftbound.measure.peel import peel, peel_distributions
from driftbound.statistics.equivalence import equivalence, equivalence_of_mean
from driftbound.statistics.multiple import (
    benjamini_hochberg,
    benjamini_yekutieli,
    draws_for,
    e_benjamini_hochberg,
    holm,
    selected_level,
)
from driftbound.statistics.signs import contrast_at, contrasts, flip_test, scan, split_half
from driftbound.statistics.sizes import (
    cases_needed,
    design_effect,
    detectable_effect,
    intraclass_correlation,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def monte_carlo(p, draws):
    """Four standard errors of a p that was drawn."""
    return 4 * np.sqrt(p * (1 - p) / draws) + 1 / draws


def test_flip_test_is_the_permutation_test_of_paired_samples():
    """scipy swaps x and y within pairs, all 2^12 ways; the statistic is studentised by hand."""
    x = rng(1).exponential(size=12) - 0.6

    def t(a, b, axis):
        d = a - b
        return np.abs(d.mean(axis)) / d.std(axis, ddof=1)

    exact = stats.permutation_test(
        (x, np.zeros(12)), t, permutation_type="samples", alternative="greater", n_resamples=np.inf
    ).pvalue
    found = flip_test(x, np.arange(12), rng=rng(2), draws=40_000)
    assert found.p == pytest.approx(exact, abs=monte_carlo(exact, 40_000))
    assert 0.01 < exact < 0.5


def enumerated(values, clusters, splits):
    """p of the scan from all 2^G signs, each t written out with the formula of the standard error."""
    changes = [contrasts(values, k) for k in splits]

    def largest(signs):
        ts = []
        for change in changes:
            known = ~np.isnan(change)
            x, g = (change * signs[clusters])[known], clusters[known]
            groups = np.unique(g)
            sums = sum((x[g == c] - x.mean()).sum() ** 2 for c in groups)
            ts.append(abs(x.mean()) / np.sqrt(len(groups) / (len(groups) - 1) * sums / len(x) ** 2))
        return max(ts)

    null = [largest(np.array(signs)) for signs in product([1.0, -1.0], repeat=clusters.max() + 1)]
    return np.mean(np.array(null) >= null[0] - 1e-9)


def test_scan_is_the_enumeration_of_all_signs_of_clusters():
    """Nine clusters of one to three cases, some steps missing, three splits."""
    r = rng(3)
    clusters = np.repeat(np.arange(9), [1, 2, 3, 1, 2, 3, 1, 2, 3])
    values = r.normal(size=(18, 6)) + 0.2 * (np.arange(6) >= 3) * r.exponential(size=(18, 1))
    values[r.random(values.shape) < 0.15] = np.nan
    values[:, :2] = np.where(np.isnan(values[:, :2]), 0.0, values[:, :2])
    exact = enumerated(values, clusters, [2, 3, 4])
    found = scan(values, clusters, rng=rng(4), draws=20_000)
    assert found.splits.tolist() == [2, 3, 4]
    assert found.p == pytest.approx(exact, abs=monte_carlo(exact, 20_000))
    assert 0.005 < exact < 0.5


def test_scan_with_one_split_is_the_flip_test_of_its_contrasts():
    values = rng(5).normal(size=(25, 4)) + 0.4 * (np.arange(4) >= 2)
    whole = scan(values, np.arange(25), rng=rng(6))
    alone = flip_test(contrasts(values, 2), np.arange(25), rng=rng(6))
    assert whole.splits.tolist() == [2]
    assert (whole.p, whole.effect, whole.se, whole.low) == (alone.p, alone.effect, alone.se, alone.low)
    fixed = contrast_at(values, np.arange(25), 2)
    assert (fixed.effect, fixed.se, fixed.high) == (alone.effect, alone.se, alone.high)
    assert np.isnan(fixed.p)


def test_two_copies_of_every_case_tell_nothing_new():
    values = rng(7).normal(size=(30, 8)).cumsum(axis=1)
    once = scan(values, np.arange(30), rng=rng(8))
    twice = scan(np.repeat(values, 2, axis=0), np.repeat(np.arange(30), 2), rng=rng(8))
    assert twice.p == once.p
    assert twice.se == pytest.approx(once.se, rel=1e-12)
    assert (twice.n, twice.clusters, once.n) == (60, 30, 30)
    blind = scan(np.repeat(values, 2, axis=0), np.arange(60), rng=rng(8))
    assert blind.se == pytest.approx(once.se / np.sqrt(2), rel=0.02)


def test_contrast_by_hand():
    """Contrasts 2 and 4: mean 3, sd sqrt(2), error 1; t with one degree of freedom at 0.975 is 12.706."""
    found = contrast_at(np.array([[0.0, 0, 2, 2], [1.0, np.nan, np.nan, 5]]), np.array([0, 1]), 2)
    assert (found.effect, found.n, found.clusters) == (3.0, 2, 2)
    assert found.se == pytest.approx(1.0)
    assert found.low == pytest.approx(3 - 12.7062, abs=1e-4)


def test_a_split_that_few_cases_reach_is_left_out():
    """20 answers of 3 steps and 3 of 6: everybody has both sides of split 2, three those of 3 and 4."""
    values = rng(9).normal(size=(23, 6))
    values[:20, 3:] = np.nan
    found = scan(values, np.arange(23), rng=rng(0), draws=99)
    assert found.splits.tolist() == [2]
    assert found.cases.tolist() == [23]


def test_values_that_never_change_are_no_change():
    found = scan(np.full((20, 8), 0.1), np.arange(20), rng=rng())
    assert (found.p, found.effect, found.se) == (1.0, 0.0, 0.0)


def test_the_same_rise_in_every_case_is_the_strongest_change():
    """No spread: t is infinite, and only the two draws with all signs equal are as large."""
    values = np.tile(np.array([0.1, 0.1, 0.3, 0.3]), (16, 1))
    assert scan(values, np.arange(16), rng=rng(), draws=999).p <= 0.003


def test_too_little_says_why():
    one = scan(rng().normal(size=(5, 6)), np.zeros(5, int), rng=rng())
    short = scan(rng().normal(size=(5, 3)), np.arange(5), rng=rng())
    alone = flip_test(np.array([0.5, np.nan]), np.arange(2), rng=rng())
    for found in (one, short, alone):
        assert np.isnan([found.p, found.se, found.low]).all()
        assert found.reason
    assert (one.split, short.split, alone.effect) == (None, None, 0.5)


def test_bad_input_is_refused():
    values = np.zeros((4, 6))
    with pytest.raises(MeasureError, match="do not belong together"):
        scan(values, np.arange(3), rng=rng())
    with pytest.raises(MeasureError, match="whole numbers"):
        scan(values, np.array([0.0, 1.0, 2.0, 3.0]), rng=rng())
    with pytest.raises(MeasureError, match="infinite"):
        scan(np.full((4, 6), np.inf), np.arange(4), rng=rng())
    with pytest.raises(MeasureError, match="one side empty"):
        contrast_at(values, np.arange(4), 6)


def test_level_and_power_of_the_scan():
    """Random walks that start anywhere have no contrast on average; 150 runs, band 0.05 + 3 errors."""
    r = rng(11)
    null, found, near = 0, 0, 0
    for _ in range(150):
        walk = r.normal(size=(40, 8)).cumsum(axis=1) * np.where(r.random((40, 1)) < 0.5, 1, -1)
        null += scan(walk, np.arange(40), rng=r, draws=99).p <= 0.05
        shifted = r.normal(size=(40, 8)) + 0.6 * (np.arange(8) >= 5)
        one = scan(shifted, np.arange(40), rng=r, draws=99)
        found += one.p <= 0.05
        near += abs(one.split - 5) <= 1
    assert null / 150 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert found > 140
    assert near > 135


def test_split_is_found_on_one_half_and_measured_on_the_other():
    """Half of the clusters rise at step 3, all by 1: the other half's effect is about 1, on its own cases."""
    values = 0.1 * rng(12).normal(size=(60, 6)) + (np.arange(6) >= 3)
    found = split_half(values, np.repeat(np.arange(30), 2), rng(13))
    assert found.split == 3
    assert (found.change.n, found.change.clusters) == (30, 15)
    assert found.change.effect == pytest.approx(1, abs=0.05)
    assert found.change.p < 0.01


def drifting(who, n=120, seed=0):
    """Distributions (n, 8, 5, 4) of five teachers; those of ``who`` change at step 4."""
    r = rng(seed)
    logits = r.normal(size=(n, 1, 1, 4)) + 0.3 * r.normal(size=(n, 8, 5, 4)) + 0.3 * r.normal(size=(5, 4))
    for u in who:
        logits[:, 4:, u] += np.array([1.5, -1.0, 0.5, 0.0])
    grown = np.exp(logits)
    return grown / grown.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("who", [(), (1,), (3, 0)])
def test_peel_names_those_who_changed(who):
    p = drifting(who)
    found = peel_distributions(p, np.arange(120), rng=rng(1))
    assert {changed.teacher for changed in found.changed} == set(who)
    assert set(found.rest) == set(range(5)) - set(who)
    assert found.last.p > 0.05
    for changed in found.changed:
        assert changed.panel.split in (3, 4, 5)
        own = robust_scores(pairwise_js(p))[:, :, changed.teacher]
        if changed is found.changed[0]:
            assert changed.change.effect == pytest.approx(
                (own[:, changed.panel.split :].mean() - own[:, : changed.panel.split].mean()), rel=1e-9
            )


def test_peel_takes_any_statistic_of_a_panel():
    """Texts alone: share of the others whose word differs; teacher 2 of 4 starts to say another word."""
    said = np.zeros((80, 6, 4), int)
    said[rng(2).random(said.shape) < 0.1] = 1
    said[:, 3:, 2] = 1

    def differ(left):
        words = said[:, :, left]
        return (words[:, :, :, None] != words[:, :, None]).mean(axis=3)

    found = peel(lambda left: differ(left).mean(axis=2), differ, 4, np.arange(80), rng=rng(3))
    assert [changed.teacher for changed in found.changed] == [2]
    assert found.last.split is not None


def test_of_two_that_part_nobody_is_named():
    """Three teachers of whom one leaves: two remain, who agree; and a panel of two is refused."""
    found = peel_distributions(drifting((0,))[:, :, :3], np.arange(120), rng=rng(4))
    assert [changed.teacher for changed in found.changed] == [0]
    assert found.rest == (1, 2)
    assert found.last is None
    assert "two teachers" in found.reason
    with pytest.raises(MeasureError, match="three or more"):
        peel_distributions(drifting(())[:, :, :2], np.arange(120), rng=rng(4))


def test_excess_takes_every_pair_of_answers_when_all_parts_are_known():
    """Words of two samples on aligned steps: between any two teachers, less within each, by loops."""
    words = rng(5).integers(0, 3, (2, 20, 3, 4)).astype(np.int16)  # samples, cases, teachers, steps
    parts = np.broadcast_to(np.arange(4, dtype=np.int16), words.shape)
    pairs = [(0, 1), (0, 2), (1, 2)]
    between = np.mean(
        [words[r, :, u] != words[s, :, v] for u, v in pairs for r in (0, 1) for s in (0, 1)], axis=0
    )
    within = (words[0] != words[1]).mean(axis=1)
    assert excess_by_part(list(words), parts, 4) == pytest.approx(between - within)


def test_panel_statistic_is_the_divergence():
    p = drifting((1,))
    first = peel_distributions(p, np.arange(120), rng=rng(1)).changed[0].panel
    assert first.p == scan(gjs(p), np.arange(120), rng=rng(1)).p


def test_adjusted_ps_by_hand():
    """Sorted 0.01 0.02 0.03 0.5: BH times 4/k, downwards minimum; BY times 1 + 1/2 + 1/3 + 1/4 more; Holm."""
    ps = np.array([0.03, np.nan, 0.01, 0.5, 0.02])
    nan = np.nan
    bh = [0.04, nan, 0.04, 0.5, 0.04]
    assert benjamini_hochberg(ps) == pytest.approx(bh, nan_ok=True)
    by = [0.04 * 25 / 12, nan, 0.04 * 25 / 12, 1.0, 0.04 * 25 / 12]
    assert benjamini_yekutieli(ps) == pytest.approx(by, nan_ok=True)
    assert holm(ps) == pytest.approx([0.06, nan, 0.04, 0.5, 0.06], nan_ok=True)
    assert np.isnan(holm(np.array([nan, nan]))).all()
    with pytest.raises(MeasureError, match="outside"):
        holm(np.array([1.2]))


def test_e_bh_by_hand():
    """E-values 30, 50, 1, 8 at q = 0.1, m = 4: k e_(k) has to reach 40: 50 and 60 do, 24 and 4 do not."""
    log_evidence = np.log([30.0, 50.0, 1.0, 8.0])
    found = e_benjamini_hochberg(log_evidence)
    assert (found <= 0.1).tolist() == [True, True, False, False]
    assert found == pytest.approx([4 / 60, 4 / 60, 1.0, 4 / 24])
    alone = e_benjamini_hochberg(np.array([np.log(30.0), np.nan]))
    assert alone == pytest.approx([1 / 30, np.nan], nan_ok=True)
    assert e_benjamini_hochberg(np.array([5000.0, 0.0]))[0] == 0.0  # e to the 5000 is no number


def test_room_for_many_tests():
    assert (selected_level(0.1, 3, 6), selected_level(0.1, 0, 0)) == pytest.approx((0.05, 0.0))
    assert draws_for(7, 0.05) == 1400
    with pytest.raises(MeasureError):
        selected_level(0.1, 7, 6)


def test_equivalence_is_the_90_percent_interval_inside_the_margin():
    for effect in np.linspace(-0.03, 0.03, 61):
        inside = abs(effect) + 1.6448536 * 0.008 <= 0.02
        assert (equivalence(effect, 0.008, 0.02).verdict == "equivalent") == inside


def test_equivalence_by_hand():
    """Values -1, 0, 1, 0: mean 0, error sqrt(2/3)/2 = 0.408, t(3) of 2 / 0.408 = 4.899 is 0.0081."""
    found = equivalence_of_mean(np.array([-1.0, 0, 1, 0, np.nan]), np.arange(5), 2.0)
    assert (found.effect, found.n, found.verdict) == (0.0, 4, "equivalent")
    assert found.p == pytest.approx(stats.t.sf(4.898979, 3), rel=1e-6)
    assert equivalence_of_mean(np.array([1.0]), np.arange(1), 2.0).reason
    assert equivalence(0.01, 0.0, 0.02).p == 0.0
    with pytest.raises(MeasureError, match="margin"):
        equivalence(0.0, 1.0, 0.0)


def test_cases_needed_give_the_power_that_was_asked_for():
    """Power of the z-test at n: P(Z > z_{1 - a/2} - ES sqrt n) is 0.8, just."""
    for effect, m in ((0.1, 1), (0.3, 7), (0.5, 63)):
        n = cases_needed(effect, hypotheses=m)
        z = stats.norm.ppf(1 - 0.025 / m)
        assert stats.norm.sf(z - effect * np.sqrt(n)) >= 0.8
        assert stats.norm.sf(z - effect * np.sqrt(n - 1)) < 0.8
        assert detectable_effect(n, hypotheses=m) <= effect
        assert detectable_effect(n - 1, hypotheses=m) > effect
    with pytest.raises(MeasureError):
        cases_needed(0.0)


def test_correlation_within_clusters_is_recovered():
    """Pairs with shared variance 1 and own variance 1: correlation a half, design effect 1.5."""
    r = rng(20)
    clusters = np.repeat(np.arange(4000), 2)
    values = r.normal(size=4000)[clusters] + r.normal(size=8000)
    assert intraclass_correlation(values, clusters) == pytest.approx(0.5, abs=0.05)
    assert design_effect(clusters, 0.5) == 1.5
    assert design_effect(np.array([0, 0, 0, 1]), 1.0) == 2.5  # sizes 3 and 1: (9 + 1) / 4
    assert np.isnan(intraclass_correlation(values[:5], np.arange(5)))
