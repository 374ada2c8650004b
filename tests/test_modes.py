"""Truths that explain the votes as well as the best, and what fitted reliability says of further claims."""

import numpy as np
import pytest

from driftbound.measure import modes
from driftbound.measure.copying import fit_copying
from driftbound.measure.judging import judge
from driftbound.measure.modes import find_modes, shows_truth, worst_risks
from driftbound.measure.patterns import patterns, shares, singles
from driftbound.measure.reliability import HIDDEN, reliability
from driftbound.measure.trust import Risk, choose

CLEAR = [(0.9, 0.85), (0.8, 0.8), (0.85, 0.75), (0.75, 0.8), (0.7, 0.7)]
"""(sensitivity, specificity) of five teachers who know something."""
MURKY = [(0.52, 0.52), (0.39, 0.61), (0.03, 0.97), (0.64, 0.64), (0.61, 0.61), (0.72, 0.72), (0.07, 0.93)]
"""Of seven, three of whom say their word whatever is there, about something that nearly every case has."""


def votes(teachers, prevalence, n, seed):
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < prevalence).astype(np.intp)
    chance = np.array([[1 - specificity, sensitivity] for sensitivity, specificity in teachers])
    return truth, (rng.random((n, len(teachers))) < chance[:, truth].T).astype(np.int16)


def modes_of(codes):
    found = patterns(codes, 2)
    return found, find_modes(found, fit_copying(found, singles(codes.shape[1])))


def test_clear_votes_leave_one_truth():
    _, codes = votes(CLEAR, 0.4, 600, seed=1)
    _, told = modes_of(codes)
    assert told.rivals == ()
    assert not told.disputed.any()


def test_murky_votes_show_no_truth_and_every_claim_stays_open():
    """Nearly every case has it, and who knows something knows little."""
    _, codes = votes(MURKY, 0.86, 700, seed=1)
    found, _ = modes_of(codes)
    best = fit_copying(found, singles(codes.shape[1]))
    assert not shows_truth(found, best)
    told = reliability(codes, 2, np.arange(700), np.random.default_rng(0))
    assert (told.chosen_by, told.warnings) == ("counting", (HIDDEN,))
    assert (told.decision.decided == -1).all()
    assert told.decision.disputed == 700


def test_clear_votes_show_a_truth():
    _, codes = votes(CLEAR, 0.4, 600, seed=1)
    found = patterns(codes, 2)
    assert shows_truth(found, fit_copying(found, singles(5)))


def test_coins_show_none():
    """In at most one of twenty panels: Akaike's criterion is not a test, but five coins add eleven
    parameters."""
    rng = np.random.default_rng(4)
    shown = 0
    for _ in range(20):
        found = patterns(rng.integers(0, 2, (400, 5)).astype(np.int16), 2)
        shown += shows_truth(found, fit_copying(found, singles(5)))
    assert shown <= 1


def test_disputed_claims_stay_open(monkeypatch):
    """Were the truth turned round another one (from a start turned round, at any likelihood), every claim
    that is sure one way would be sure the other way: no model is trusted, and nothing is decided."""
    _, codes = votes(CLEAR, 0.4, 600, seed=1)
    monkeypatch.setattr(modes, "RIVAL", 1e6)
    monkeypatch.setattr(modes, "_starts", lambda found: [1 - shares(found)])
    told = reliability(codes, 2, np.arange(600), np.random.default_rng(0))
    assert (told.modes, told.method) == (1, "majority")
    assert told.decision.decided.max() == -1
    assert told.decision.disputed > 500


def risk(method, gain):
    return Risk(method=method, voice="", error=0.2 - gain, gain=gain, gain_se=0.001, sets=8, claims=100)


def test_a_method_is_as_good_as_in_the_worst_of_the_worlds():
    worlds = [
        (risk("majority", 0.0), risk("dawid_skene", 0.1)),
        (risk("majority", 0.0), risk("dawid_skene", -0.2)),
    ]
    assert choose(worst_risks(worlds)).method == "majority"
    assert choose(worst_risks(worlds[:1])).method == "dawid_skene"


@pytest.mark.parametrize("teachers", [CLEAR, CLEAR[:2], MURKY], ids=["Dawid-Skene", "too few", "hidden"])
def test_what_was_fitted_is_judged_alike(teachers):
    """The fitted claims, given again as further ones, get the same posterior and the same chance of being
    wrong."""
    _, codes = votes(teachers, 0.4 if teachers is not MURKY else 0.86, 600, seed=2)
    told = reliability(codes, 2, np.arange(600), np.random.default_rng(0))
    q, decided, wrong = judge(told, codes)
    np.testing.assert_allclose(q, told.posterior, atol=1e-12)
    np.testing.assert_allclose(wrong, told.wrong, atol=1e-12)
    open_only = told.decision.decided != decided
    assert (told.decision.decided[open_only] == -1).all()  # a dispute is known of fitted claims only


def test_nothing_further_is_judged_as_nothing():
    _, codes = votes(CLEAR, 0.4, 60, seed=3)
    told = reliability(codes, 2, np.arange(60), np.random.default_rng(0))
    assert [part.shape[0] for part in judge(told, codes[:0])] == [0, 0, 0]
