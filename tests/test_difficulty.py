"""Difficulty: the maximum against a general optimiser, and what it can and cannot tell."""

import numpy as np
import pytest
from scipy.optimize import minimize

from driftbound.errors import MeasureError
from driftbound.measure.difficulty import ABILITY_SPREAD, SPREAD, difficulty, probability_right


def answers(rng, cases, teachers, kinds, spread=0.8):
    hard = rng.normal(0, spread, cases)
    hard -= hard.mean()
    ability = rng.uniform(0.5, 2.0, (teachers, kinds))
    p = 1 / (1 + np.exp(-ability[None] * np.exp(-hard)[:, None, None]))
    return hard, ability, (rng.random(p.shape) < p).astype(float)


def test_harder_cases_are_found_harder():
    rng = np.random.default_rng(0)
    hard, ability, right = answers(rng, 300, 7, 14)
    right[rng.random(right.shape) < 0.3] = np.nan
    found = difficulty(right)
    assert np.corrcoef(found.difficulty, hard)[0, 1] > 0.85
    assert np.abs(found.ability - ability).mean() < 0.2
    assert (np.abs(found.difficulty - hard) < 1.96 * found.error).mean() > 0.9
    assert found.iterations < 60
    assert (found.votes == (~np.isnan(right)).sum(axis=(1, 2))).all()


def test_it_is_the_penalised_maximum():
    """Difficulties given the abilities, case by case, by a general optimiser."""
    rng = np.random.default_rng(1)
    _, _, right = answers(rng, 40, 5, 3)
    found = difficulty(right, tolerance=1e-8, limit=1000)

    def loss(d, y):
        z = found.ability * np.exp(-d[0])
        return (np.log1p(np.exp(z)) - y * z).sum() + d[0] ** 2 / (2 * SPREAD**2)

    wanted = np.array(
        [
            min((minimize(loss, [s], args=(y,)) for s in (-1.0, 0.0, 1.0)), key=lambda m: m.fun).x[0]
            for y in right
        ]
    )
    # the mean is then set to 0, which moves all of them by the same small step
    shift = (wanted - found.difficulty).mean()
    assert np.abs(wanted - found.difficulty - shift).max() < 0.05
    assert abs(shift) < 0.15
    assert ABILITY_SPREAD > SPREAD


def test_copies_at_half_weight_count_as_one():
    rng = np.random.default_rng(2)
    _, _, right = answers(rng, 60, 4, 5)
    doubled = np.concatenate([right, right[:, [3]]], axis=1)
    once = difficulty(right, tolerance=1e-7, limit=500)
    twice = difficulty(doubled, np.array([1, 1, 1, 0.5, 0.5]), tolerance=1e-7, limit=500)
    assert twice.difficulty == pytest.approx(once.difficulty, abs=0.005)


def test_what_all_get_wrong_alike_is_not_known_to_be_hard():
    """Judged by a posterior that believes the panel, the wrong look right: the case seems easy."""
    believed = np.ones((20, 5, 2))
    believed[:5, :2] = 0.0
    found = difficulty(believed)
    assert found.difficulty[:5].min() > found.difficulty[5:].max() + 0.3


def test_a_case_without_named_values_has_no_difficulty():
    right = np.array([[[0.9], [0.8]], [[np.nan], [np.nan]], [[0.2], [0.4]]])
    found = difficulty(right)
    assert np.isnan(found.difficulty[1])
    assert np.isnan(found.error[1])
    assert found.difficulty[2] > found.difficulty[0]
    nothing = difficulty(np.full((2, 3, 1), np.nan))
    assert np.isnan(nothing.difficulty).all()
    assert np.isnan(nothing.ability).all()


def test_little_is_said_by_little():
    """One vote on a case: its difficulty stays near the middle, its error near the prior's."""
    right = np.ones((30, 6, 4))
    right[:15, :3] = 0.0
    right[0] = np.nan
    right[0, 0, 0] = 0.0
    found = difficulty(right)
    assert found.error[0] > 0.8 * SPREAD
    assert found.error[1] < found.error[0]


def test_probability_right_is_that_of_the_named_value():
    q = np.array([[0.2, 0.8], [0.7, 0.3]])
    codes = np.array([[1, 0, 2], [-1, 1, 3]])
    assert probability_right(q, codes) == pytest.approx(
        np.array([[0.8, 0.2, np.nan], [np.nan, 0.3, np.nan]]), nan_ok=True
    )


def test_other_shapes_and_numbers_are_refused():
    with pytest.raises(MeasureError, match="cases, teachers"):
        difficulty(np.ones((3, 2)))
    with pytest.raises(MeasureError, match="between 0 and 1"):
        difficulty(np.full((3, 2, 1), 1.5))
