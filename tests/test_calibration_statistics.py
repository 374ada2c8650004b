"""Calibration and ranking: by hand, by counting pairs, and with intervals over clusters."""

import numpy as np
import pytest

from driftbound.errors import MeasureError
from driftbound.statistics.calibration import auroc, brier_scores, calibration, calibration_error, log_losses
from driftbound.statistics.intervals import resample


def each_alone(n, draws=400):
    return resample([str(c) for c in range(n)], rng=np.random.default_rng(0), draws=draws)


def test_calibration_error_by_hand():
    """Two claims said 0.9 and one is right, two said 0.65 on average and both are: (0.4 + 0.35) / 2."""
    confidence = np.array([0.9, 0.9, 0.61, 0.69])
    right = np.array([1.0, 0.0, 1.0, 1.0])
    assert calibration_error(confidence, right) == pytest.approx(0.375)
    doubled = calibration_error(np.tile(confidence, 2), np.tile(right, 2))
    assert calibration_error(confidence, right, np.full(4, 2.0)) == pytest.approx(doubled)
    assert np.isnan(calibration_error(confidence, right, np.zeros(4)))


def test_losses_by_hand():
    q, truth = np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([1, 0])
    assert log_losses(q, truth) == pytest.approx([-np.log(0.8), np.log(2)])
    assert brier_scores(q, truth) == pytest.approx([0.04, 0.25])
    three = np.array([[0.5, 0.3, 0.2]])
    assert brier_scores(three, np.array([0])) == pytest.approx([(0.25 + 0.09 + 0.04) / 2])


def test_auroc_counts_pairs():
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 6, 60) / 5, rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    assert auroc(np.append(scores, np.nan), np.append(positive, True)) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(scores, np.ones(60, dtype=bool)))


def test_what_is_calibrated_is_found_so():
    rng = np.random.default_rng(2)
    p = rng.random(3000)
    truth = (rng.random(3000) < p).astype(int)
    q = np.stack([1 - p, p], axis=1)
    found = calibration(q, truth, each_alone(3000))
    assert found.over_confidence.low < 0 < found.over_confidence.high
    assert found.ece.value < 0.04
    sure = q**3 / (q**3).sum(axis=1, keepdims=True)
    told = calibration(sure, truth, each_alone(3000))
    assert told.over_confidence.low > 0.05
    assert told.log_loss.value > found.log_loss.value
    assert told.brier.value > found.brier.value
    assert told.accuracy.value == found.accuracy.value == pytest.approx((q.argmax(axis=1) == truth).mean())


def test_interval_is_that_of_clusters():
    """Ten equal claims per cluster are worth one: the width is that of the hundred clusters, not of 1000."""
    rng = np.random.default_rng(3)
    right = rng.random(100) < 0.7
    q = np.tile([0.3, 0.7], (1000, 1))
    truth = np.repeat(right.astype(int), 10)
    clusters = resample(
        [str(c) for c in np.repeat(np.arange(100), 10)], rng=np.random.default_rng(4), draws=1000
    )
    found = calibration(q, truth, clusters).accuracy
    assert (found.high - found.low) / 3.92 == pytest.approx(right.std() / 10, rel=0.1)
    assert found.n == 1000


def test_one_cluster_has_no_interval_and_no_claim_no_value():
    q = np.array([[0.4, 0.6], [0.9, 0.1]])
    alone = resample(["a", "a"], rng=np.random.default_rng(0))
    found = calibration(q, np.array([1, 1]), alone)
    assert found.accuracy.value == 0.5
    assert np.isnan(found.accuracy.low)
    assert "cluster" in found.accuracy.reason
    nothing = calibration(
        np.empty((0, 2)), np.empty(0, dtype=int), resample([], rng=np.random.default_rng(0))
    )
    assert np.isnan(nothing.ece.value)
    assert nothing.ece.reason


def test_undefined_posteriors_and_foreign_truths_are_refused():
    q = np.array([[np.nan, np.nan]])
    with pytest.raises(MeasureError, match="defined"):
        calibration(q, np.array([0]), each_alone(1))
    with pytest.raises(MeasureError, match=r"0\.\.1"):
        calibration(np.array([[0.5, 0.5]]), np.array([2]), each_alone(1))
