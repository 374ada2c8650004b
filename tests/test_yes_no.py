"""Yes or no: AUROC by hand and against scikit-learn, its laws, its intervals, and the asking."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftbound.errors import MeasureError
from driftbound.evaluation.yes_no import ask_yes_no, auroc, ranking, sampled
from driftbound.protocols import Policy
from driftbound.statistics.intervals import Resamples, difference, resample

NAN = math.nan


def draws(clusters, n=200):
    return resample(clusters, rng=np.random.default_rng(0), draws=n)


def by_pairs(scores, positive):
    """The definition, pair by pair."""
    own = [s for s, p in zip(scores, positive, strict=True) if p]
    other = [s for s, p in zip(scores, positive, strict=True) if not p]
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in own for b in other]
    return sum(won) / len(won) if won else NAN


# ---------------------------------------------------------------- one area


def test_auroc_by_hand():
    """Positives 0.8 and 0.4 against negatives 0.6, 0.4 and 0.1: 3 + (0 + 1/2 + 1) of 6 pairs."""
    scores, positive = np.array([0.8, 0.4, 0.6, 0.4, 0.1]), np.array([True, True, False, False, False])
    assert auroc(scores, positive) == 0.75


def test_auroc_of_one_score_for_all_is_a_half():
    assert auroc(np.full(4, 0.3), np.array([True, False, True, False])) == 0.5


def test_infinite_scores_tie_with_each_other():
    assert auroc(np.array([np.inf, np.inf, -np.inf]), np.array([True, False, False])) == 0.75


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_auroc_of_one_class_is_undefined(positive):
    assert math.isnan(auroc(np.arange(len(positive), dtype=float), np.array(positive, dtype=bool)))


RANKED = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=30)


@given(RANKED)
def test_auroc_is_the_share_of_pairs_in_order(rows):
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    found, expected = auroc(scores.astype(float), positive), by_pairs(scores, positive)
    assert found == pytest.approx(expected, nan_ok=True)


@given(RANKED)
def test_auroc_looks_at_the_order_alone_and_negated_at_its_reverse(rows):
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    scores = scores.astype(float)
    found = auroc(scores, positive)
    for same in (3 * scores - 7, np.exp(scores), scores**3):
        assert auroc(same, positive) == pytest.approx(found, nan_ok=True)
    assert auroc(-scores, positive) == pytest.approx(1 - found, nan_ok=True)
    assert auroc(scores, ~positive) == pytest.approx(1 - found, nan_ok=True)


def test_auroc_is_scikit_learn_s():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for n in (10, 200, 3000):
        positive = rng.random(n) < 0.2
        positive[:2] = (True, False)
        scores = np.round(rng.random(n) + 0.3 * positive, 2)  # with ties
        assert auroc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)
        weights = rng.integers(0, 3, n).astype(float)
        weights[:2] = 1
        own = Resamples(np.arange(n), weights[None], n)
        drawn = sampled(scores[:, None], positive[:, None].astype(float), own).drawn[0, 0]
        assert drawn == pytest.approx(
            metrics.roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12
        )


# ---------------------------------------------------------------- findings and patients


def test_findings_and_their_mean_by_hand():
    """A: 0.75 as above, B: both positives above the negative, case 3 not known and case 4 not asked; C has
    no positive and is no part of the mean."""
    probabilities = np.array(
        [[0.8, 0.9, 0.1], [0.4, 0.7, 0.2], [0.6, 0.5, 0.3], [0.4, 0.99, 0.4], [0.1, NAN, 0.5]]
    )
    truth = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, NAN, 0], [0, 0, 0]], dtype=float)
    found = ranking(probabilities, truth, ("A", "B", "C"), draws(list("pqrst")))
    assert [one.mean for one in found.per_finding[:2]] == [0.75, 1.0]
    assert math.isnan(found.per_finding[2].mean)
    assert found.mean.mean == 0.875
    assert found.averaged == 2
    assert found.cases == (5, 3, 5)
    assert found.positives == (2, 2, 0)


def test_patients_are_resampled_with_all_their_cases():
    """Patient p has a positive 0.3 and a negative 0.5: 0; q has 0.9 and 0.1: 1; all: 3 of 4 pairs. Twice p
    and once q: 0.3 loses twice twice against 0.5, wins against 0.1 twice; 0.9 wins 3 times: 5 of 9."""
    probabilities, truth = np.array([[0.3], [0.5], [0.9], [0.1]]), np.array([[1.0], [0.0], [1.0], [0.0]])
    drawn = Resamples(np.array([0, 0, 1, 1]), np.array([[2.0, 0], [0, 2], [1, 1], [2, 1]]), 2)
    assert sampled(probabilities, truth, drawn).drawn[:, 0].tolist() == pytest.approx([0, 1, 0.75, 5 / 9])


def test_a_draw_with_one_class_only_is_left_out_of_the_interval():
    probabilities, truth = np.array([[0.9], [0.1]]), np.array([[1.0], [0.0]])
    found = ranking(probabilities, truth, ("A",), draws(["p", "q"]))
    assert (found.per_finding[0].low, found.per_finding[0].high) == (1, 1)


def test_draws_in_chunks_are_the_draws_at_once(monkeypatch):
    from driftbound.evaluation import yes_no

    rng = np.random.default_rng(2)
    probabilities, truth = rng.random((40, 2)), (rng.random((40, 2)) < 0.4).astype(float)
    resamples = draws([str(c // 2) for c in range(40)], 50)
    at_once = sampled(probabilities, truth, resamples).drawn
    monkeypatch.setattr(yes_no, "_AT_ONCE", 90)
    np.testing.assert_array_equal(sampled(probabilities, truth, resamples).drawn, at_once)


def test_the_interval_of_a_useless_model_holds_a_half():
    """Under chance the variance of the area is (n + 1) / (12 * 200 * 200) with 200 of each class."""
    rng = np.random.default_rng(3)
    truth = (rng.random((400, 1)) < 0.5).astype(float)
    found = ranking(rng.random((400, 1)), truth, ("A",), draws([str(c) for c in range(400)], 500))
    assert found.mean.low < 0.5 < found.mean.high
    assert found.mean.high - found.mean.low == pytest.approx(
        2 * 1.96 * math.sqrt(401 / (12 * 200 * 200)), abs=0.03
    )


def test_two_models_are_compared_in_pairs():
    rng = np.random.default_rng(4)
    truth, resamples = np.array([[0.0], [1.0]] * 20), draws([str(c) for c in range(40)])
    scores = rng.random((40, 1))
    apart = difference(sampled(scores, truth, resamples), sampled(scores**2, truth, resamples))
    assert (apart.mean, apart.low, apart.high) == (0, 0, 0)


def test_wrong_shapes_and_values_are_refused():
    resamples = draws(["p", "q"])
    good = np.zeros((2, 1))
    with pytest.raises(MeasureError, match=r"cases by findings"):
        ranking(np.zeros((3, 1)), good, ("A",), resamples)
    with pytest.raises(MeasureError, match=r"cases by findings"):
        ranking(good, np.zeros((2, 2)), ("A",), resamples)
    with pytest.raises(MeasureError, match=r"other values than 0, 1"):
        ranking(good, np.array([[1.0], [-1.0]]), ("A",), resamples)


# ---------------------------------------------------------------- asking


class Oracle:
    """A policy whose probability of an answer is told per question."""

    def __init__(self, told):
        self.told = told
        self.calls = []

    def generate(self, questions, images, *, max_new_tokens, temperature=0.0, seeds=None):
        raise AssertionError("nothing is to be generated")

    def score(self, questions, images, answers):
        self.calls.append((list(questions), [list(each) for each in images], list(answers)))
        return [self.told[question][answer] for question, answer in zip(questions, answers, strict=True)]


def test_the_probability_is_the_softmax_of_two_scores():
    """yes 0.3 and no 0.1: 3/4; yes impossible: 0; both all but impossible, ln 2 apart: 2/3."""
    oracle = Oracle(
        {
            "edema?": {"yes": math.log(0.3), "no": math.log(0.1)},
            "mass?": {"yes": -math.inf, "no": -0.5},
            "rib?": {"yes": -2000.0 + math.log(2), "no": -2000.0},
        }
    )
    assert isinstance(oracle, Policy)
    images = [[Path("a.png")], [Path("a.png")], [Path("b.png"), Path("c.png")]]
    found = ask_yes_no(oracle, ["edema?", "mass?", "rib?"], images, batch_size=2)
    assert found.tolist() == pytest.approx([0.75, 0, 2 / 3])
    assert [len(call[0]) for call in oracle.calls] == [2, 2, 1, 1]
    assert oracle.calls[2] == (["rib?"], [images[2]], ["yes"])


def test_the_answers_can_be_the_model_s_own():
    oracle = Oracle({"edema?": {"Ja.": 0.0, "Nein.": 0.0}})
    assert ask_yes_no(oracle, ["edema?"], [[]], yes="Ja.", no="Nein.").tolist() == [0.5]


@pytest.mark.parametrize("told", [(-math.inf, -math.inf), (NAN, -1.0)])
def test_answers_that_a_model_cannot_give_are_refused(told):
    oracle = Oracle({"edema?": dict(zip(("yes", "no"), told, strict=True))})
    with pytest.raises(MeasureError, match=r"'edema\?'.*Choose answers"):
        ask_yes_no(oracle, ["edema?"], [[]])


def test_every_question_has_its_images():
    with pytest.raises(MeasureError, match="1 questions and 2 lists of images"):
        ask_yes_no(Oracle({}), ["edema?"], [[], []])


def test_no_question_no_probability():
    assert ask_yes_no(Oracle({}), [], []).shape == (0,)
