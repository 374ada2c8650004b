"""The identification bound: below the truth, near it with much text, nothing where there is nothing."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp

from driftbound.errors import MeasureError
from driftbound.measure.divergence import gjs
from driftbound.measure.identification import identification_bound, logistic, multinomial, one_hot

RATES = np.array([[0.9, 0.2, 0.5], [0.3, 0.6, 0.5], [0.1, 0.2, 0.5]])
"""How often each of three teachers asserts each of three findings, independently."""


def claims(n: int, rng: np.random.Generator, rates: np.ndarray = RATES) -> np.ndarray:
    return (rng.random((n, *rates.shape)) < rates).astype(int)


def truth(rates: np.ndarray = RATES) -> float:
    """Over all eight claim vectors."""
    vectors = np.array(list(np.ndindex(2, 2, 2)))
    return float(gjs(np.where(vectors, rates[:, None], 1 - rates[:, None]).prod(-1)))


@pytest.mark.parametrize("kind", ["logistic", "multinomial"])
def test_much_text_comes_close_to_the_truth_from_below(kind):
    rng = np.random.default_rng(0)
    x, groups = one_hot(claims(1500, rng), 2)
    fit = logistic() if kind == "logistic" else multinomial(groups)
    found = identification_bound(x, np.arange(1500, dtype=np.intp), rng, fit=fit)
    assert truth() - 0.02 < found.value < truth() + 0.02
    assert found.low < truth()
    assert found.n == 1500


def test_little_text_gives_a_bound_and_not_more():
    """Mean over 40 corpora of 30 cases: held out below the truth, on the cases of the fit above it."""
    rng = np.random.default_rng(1)
    held_out, in_sample = [], []
    for _ in range(40):
        x, groups = one_hot(claims(30, rng), 2)
        found = identification_bound(x, np.arange(30, dtype=np.intp), rng, fit=multinomial(groups), folds=2)
        held_out.append(found.value)
        flat, teacher = x.reshape(90, -1), np.tile(np.arange(3), 30)
        logp = multinomial(groups)(flat, teacher, 3)(flat)
        in_sample.append(math.log(3) + logp[np.arange(90), teacher].mean())
    assert np.mean(held_out) < truth() < np.mean(in_sample)


def test_teachers_that_say_the_same_are_not_told_apart():
    """The test is at level: among 20 panels of equal teachers hardly more than one in ten is called apart; a
    panel of different ones is."""
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(20):
        x, groups = one_hot(claims(20, rng, np.full((3, 3), 0.4)), 2)
        found = identification_bound(
            x, np.arange(20, dtype=np.intp), rng, fit=multinomial(groups), folds=2, draws=19
        )
        rejected += found.p <= 0.05
    assert rejected <= 5  # P(more) < 0.001 at a level of 0.05
    x, groups = one_hot(claims(20, rng), 2)
    found = identification_bound(x, np.arange(20, dtype=np.intp), rng, fit=multinomial(groups), draws=19)
    assert found.p == 0.05


def test_cases_of_one_patient_are_never_on_both_sides():
    """What a teacher says of a patient's first film it says of all: were they split, the classifier would
    recognise the patient. Features name the patient; between patients they tell nothing."""
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(30, dtype=np.intp), 4)
    who = rng.permuted(np.tile(np.arange(3), (30, 1)), axis=1)[patient]
    x = np.zeros((120, 3, 90))
    for u in range(3):
        x[np.arange(120), u, patient * 3 + who[:, u]] = 1
    fit = logistic(0.01)
    assert identification_bound(x, patient, rng, fit=fit).value < 0.01
    assert identification_bound(x, np.arange(120, dtype=np.intp), rng, fit=fit).value > 0.5


def test_logistic_is_at_its_own_optimum():
    """At the minimum the penalty's pull is the residuals' sum, feature by feature."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 2))
    teacher = rng.integers(0, 3, 60)
    logp = logistic(2.0)(x, teacher, 3)
    base = logp(np.zeros((1, 2)))[0]
    weights = np.stack([logp(np.eye(2)[[i]])[0] - base for i in range(2)])
    weights -= weights.mean(1, keepdims=True)
    residual = x.T @ (np.eye(3)[teacher] - np.exp(logp(x)))
    assert residual - residual.mean(1, keepdims=True) == pytest.approx(2.0 * weights, abs=1e-2)
    assert logsumexp(logp(x), axis=1) == pytest.approx(np.zeros(60), abs=1e-12)


def test_cases_without_every_answer_are_left_out():
    rng = np.random.default_rng(5)
    x, _ = one_hot(claims(30, rng), 2)
    x[:4, 1] = np.nan
    assert identification_bound(x, np.arange(30, dtype=np.intp), rng).n == 26
    found = identification_bound(x, np.zeros(30, np.intp), rng)
    assert np.isnan(found.value)
    assert "two clusters" in found.reason


def test_shapes_that_do_not_fit_are_refused():
    for x, folds in ((np.zeros((4, 3)), 5), (np.zeros((3, 2, 2)), 5), (np.zeros((4, 2, 2)), 1)):
        with pytest.raises(MeasureError, match="teacher identification from features"):
            identification_bound(x, np.arange(4, dtype=np.intp), np.random.default_rng(0), folds=folds)
