"""Divergences against scipy and by hand; counts against leaving out draws one by one; coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy

from driftbound.errors import MeasureError
from driftbound.measure.divergence import (
    check_distributions,
    entropy,
    gjs,
    jackknife_js,
    js_from_counts,
    kl,
    mean_measured,
    normalised,
    pairwise_js,
    plug_in_js,
    robust_scores,
    shares,
)


def dirichlet(seed: int, *shape: int) -> np.ndarray:
    """Random distributions, some with cells that are exactly 0."""
    rng = np.random.default_rng(seed)
    p = rng.gamma(0.4, size=shape) * (rng.random(shape) < 0.8)
    p[..., 0] += 1e-3 + (p.sum(-1) == 0)
    return p / p.sum(-1, keepdims=True)


def test_two_teachers_are_scipys_distance_squared():
    p = dirichlet(0, 300, 2, 9)
    expected = jensenshannon(p[:, 0], p[:, 1], axis=1) ** 2
    assert np.abs(gjs(p) - expected).max() < 1e-12
    assert np.abs(pairwise_js(p)[:, 0, 1] - expected).max() < 1e-12


def test_entropy_and_kl_are_scipys():
    p, q = dirichlet(1, 50, 6), np.full((50, 6), 1 / 6)
    assert np.abs(entropy(p) - scipy_entropy(p, axis=-1)).max() < 1e-12
    assert np.abs(kl(p, q) - scipy_entropy(p, q, axis=-1)).max() < 1e-12
    assert kl(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == math.inf


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 9))
def test_divergence_is_the_mean_distance_from_the_mixture(seed, teachers, tokens):
    """sum_u w_u KL(p_u || M), within [0, H(w)]; each share is its own term; order is nothing."""
    p = dirichlet(seed, teachers, tokens)
    w = dirichlet(seed + 1, teachers)
    mixture = w @ p
    by_hand = [w[u] * scipy_entropy(p[u], mixture) if w[u] else 0.0 for u in range(teachers)]
    assert gjs(p, w) == pytest.approx(sum(by_hand), abs=1e-12)
    assert shares(p, w) == pytest.approx(by_hand, abs=1e-12)
    assert -1e-12 <= gjs(p, w) <= scipy_entropy(w) + 1e-12
    assert gjs(p[::-1], w[::-1]) == pytest.approx(gjs(p, w), abs=1e-12)
    assert 0 <= normalised(p, w) <= 1 + 1e-12 or np.isnan(normalised(p, w))


def test_teachers_who_never_meet_are_as_far_apart_as_can_be():
    assert gjs(np.eye(5)) == pytest.approx(math.log(5))
    assert normalised(np.eye(5)) == pytest.approx(1)
    assert gjs(np.full((5, 3), 1 / 3)) == 0
    assert np.isnan(normalised(np.array([[1.0, 0.0], [1.0, 0.0]])))


def test_pairs_are_each_two_teachers_alone():
    p = dirichlet(2, 7, 4, 5)
    found = pairwise_js(p)
    assert found[:, 1, 3] == pytest.approx(gjs(p[:, [1, 3]]), abs=1e-14)
    assert (found == found.swapaxes(-1, -2)).all()
    assert (np.diagonal(found, axis1=-2, axis2=-1) == 0).all()


def test_one_who_moves_away_is_told_from_those_who_stay():
    """By the median over the others the one at the far end is far, the four that agree are not; shares of the
    mixture move for all."""
    p = np.array([[0.9, 0.1]] * 4 + [[0.0, 1.0]])
    scores = robust_scores(pairwise_js(p))
    assert scores[:4] == pytest.approx(np.zeros(4), abs=1e-15)
    assert scores[4] == pytest.approx(jensenshannon([0.9, 0.1], [0.0, 1.0]) ** 2)
    assert shares(p)[0] > 0.005
    with pytest.raises(MeasureError, match="two teachers"):
        robust_scores(np.zeros((1, 1)))


def test_an_undefined_distribution_has_no_divergence():
    p = np.full((2, 3, 4), 0.25)
    p[1, 0, 0] = np.nan
    assert gjs(p).tolist()[0] == 0
    assert np.isnan(gjs(p)[1])
    assert np.isnan(robust_scores(pairwise_js(p))[1]).all()


def test_what_is_no_distribution_is_refused():
    check_distributions(np.array([0.5, 0.5005]), "x")
    for p, said in (([0.5, 0.6], "add up"), ([1.5, -0.5], "negative"), ([np.nan, 1.0], "no number")):
        with pytest.raises(MeasureError, match=said):
            check_distributions(np.array(p), "case c1")
    with pytest.raises(MeasureError, match="3 weights for 2 teachers"):
        gjs(np.eye(2), np.full(3, 1 / 3))


# --- from counts


def leaving_out_each(counts: np.ndarray) -> float:
    """The jackknife from its definition, draw by draw."""
    whole = gjs(counts / counts.sum(1, keepdims=True))
    found = whole
    for u, row in enumerate(counts):
        n = row.sum()
        for k, c in enumerate(row):
            for _ in range(int(c)):
                less = counts.copy()
                less[u, k] -= 1
                found -= (n - 1) / n * (gjs(less / less.sum(1, keepdims=True)) - whole)
    return float(found)


def test_jackknife_leaves_out_every_draw_once():
    """Also with unequal numbers of draws, and many tables at once."""
    rng = np.random.default_rng(3)
    tables = rng.integers(0, 5, (20, 3, 6)).astype(float)
    tables[:, :, 0] += 1
    tables[:, 1] *= 3
    tables[:, :, 1] += 1
    expected = [leaving_out_each(table) for table in tables]
    assert jackknife_js(tables) == pytest.approx(expected, abs=1e-10)


def test_too_few_draws_say_nothing():
    counts = np.array([[5.0, 3.0], [1.0, 0.0], [2.0, 2.0]])
    assert np.isnan(jackknife_js(counts))
    assert np.isnan(plug_in_js(np.array([[5.0, 3.0], [0.0, 0.0]])))
    measured = js_from_counts(counts[None], np.zeros(1, dtype=np.intp))
    assert (np.isnan(measured.value), measured.reason) == (True, "a teacher has fewer than two draws")


def test_counts_are_biased_up_and_the_jackknife_takes_it_away():
    """Bias of the plug-in (K - 1)(N - 1) / (2 N n) = 13 * 4 / 500 at n = 50."""
    rng = np.random.default_rng(4)
    p = np.exp(rng.normal(0, 1, 14) + rng.normal(0, 0.35, (5, 14)))
    p /= p.sum(1, keepdims=True)
    counts = np.stack([rng.multinomial(50, row, size=600) for row in p], axis=1).astype(float)
    truth = gjs(p)
    assert (plug_in_js(counts) - truth).mean() == pytest.approx(0.104, abs=0.015)
    assert abs((jackknife_js(counts) - truth).mean()) < 0.006


def test_interval_from_counts_covers():
    """Corpora of 120 patients with two cases each that say the same: 95 % within binomial error."""
    rng = np.random.default_rng(5)
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.2, 0.3, 0.5]])
    truth, clusters = gjs(p), np.repeat(np.arange(120, dtype=np.intp), 2)
    inside = 0
    for _ in range(400):
        tables = np.stack([rng.multinomial(1, row, size=120) for row in p], axis=1).astype(float)
        found = js_from_counts(np.repeat(tables, 2, axis=0), clusters)
        inside += found.low <= truth <= found.high
        assert found.n == 240
    assert abs(inside / 400 - 0.95) < 3 * math.sqrt(0.05 * 0.95 / 400)


def test_an_interval_from_counts_needs_two_clusters_with_every_teacher():
    tables = np.tile(np.array([[3.0, 1.0], [1.0, 3.0]]), (2, 1, 1))
    assert js_from_counts(tables, np.zeros(2, np.intp)).reason == "one cluster has no interval"
    tables[0, 1] = 0
    assert "one cluster" in js_from_counts(tables, np.arange(2, dtype=np.intp)).reason


def test_mean_of_cases_says_what_it_rests_on():
    values = np.array([1.0, 3.0, np.nan, 5.0])
    found = mean_measured("mean", values, np.array([0, 1, 2, 3]))
    assert (found.value, found.n) == (3.0, 3)
    assert found.high - found.value == pytest.approx(1.96 * 2 / math.sqrt(3))
    assert mean_measured("mean", values, np.zeros(4, np.intp)).reason == "one cluster has no interval"
    assert mean_measured("mean", values[2:3], np.zeros(1, np.intp)).reason == "no case has a value"
