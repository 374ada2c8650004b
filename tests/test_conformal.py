"""Unusual cases, streams and pairs: against definitions in loops, by hand, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from driftbound.errors import MeasureError
from driftbound.statistics import adwin as adwin_module
from driftbound.statistics.adwin import adwin
from driftbound.statistics.conformal import (
    BETS,
    SimpleJumper,
    average_wealth,
    calibration_needed,
    conformal_p,
    first_alarm,
    flag_cases,
    monitor,
    monitor_all,
    one_per_cluster,
)
from driftbound.statistics.localising import locate
from driftbound.statistics.pairs import PairBetting, bet_on_pairs


def rng(seed=0):
    return np.random.default_rng(seed)


def test_conformal_p_counts_who_scores_as_high():
    calibration = np.array([1.0, 2.0, 2.0, np.nan, 5.0])
    found = conformal_p(np.array([0.0, 2.0, 5.0, 6.0, np.nan]), calibration)
    assert found == pytest.approx([1.0, 4 / 5, 2 / 5, 1 / 5, np.nan], nan_ok=True)


def test_flags_are_benjamini_hochberg_of_the_p():
    scores, calibration = rng(1).normal(size=50) + np.repeat([0, 4], [40, 10]), rng(2).normal(size=300)
    found = flag_cases(scores, calibration, q=0.1)
    p = np.array([(1 + (calibration >= score).sum()) / 301 for score in scores])
    assert found.p == pytest.approx(p)
    assert found.flagged.tolist() == (stats.false_discovery_control(p) <= 0.1).tolist()
    assert found.flagged[40:].all()
    with pytest.raises(MeasureError, match="calibration"):
        flag_cases(scores, np.array([np.nan]))


@pytest.mark.parametrize(("k", "m", "q"), [(1, 20, 0.1), (3, 30, 0.05), (10, 10, 0.2), (7, 40, 0.1)])
def test_calibration_needed_is_just_enough(k, m, q):
    """k scores above all calibration cases, the rest below: k are flagged with n cases, none with n - 1."""
    n = calibration_needed(k, m, q)
    scores = np.repeat([1.0, -1.0], [k, m - k])
    enough = flag_cases(scores, np.zeros(n), q=q)
    assert enough.flagged.sum() == k
    assert enough.fewest <= k
    if n > 1:
        too_few = flag_cases(scores, np.zeros(n - 1), q=q)
        assert not too_few.flagged.any()
        assert too_few.fewest > k


def test_one_case_of_each_cluster():
    clusters = np.array([4, 0, 4, 0, 9])
    chosen = {tuple(clusters[one_per_cluster(clusters, rng(seed))]) for seed in range(20)}
    assert all(sorted(picked) == [0, 4, 9] for picked in chosen)
    assert len({tuple(one_per_cluster(clusters, rng(seed))) for seed in range(20)}) == 4


def martingale_by_definition(scores, places):
    """Wealth of each arm kept apart, unscaled; ranks counted anew at every call."""
    arms = np.full(len(BETS), 1 / len(BETS))
    path = []
    for t, score in enumerate(scores):
        past = scores[: t + 1]
        p = ((past > score).sum() + places[t] * (past == score).sum()) / (t + 1)
        arms = 0.99 * arms + 0.01 * arms.mean()
        arms = arms * (1 + np.array(BETS) * (p - 0.5))
        path.append(np.log(arms.sum()))
    return path


def test_martingale_call_by_call_is_the_whole_one_and_its_definition():
    scores = np.round(rng(3).normal(size=300) + (np.arange(300) >= 150), 1)  # with ties
    jumper = SimpleJumper(rng(4))
    one_by_one = [jumper.update(score) for score in scores]
    whole = monitor(scores, rng(4))
    assert whole.log_wealth == pytest.approx(one_by_one, abs=1e-10)
    assert one_by_one == pytest.approx(martingale_by_definition(scores, rng(4).random(300)), abs=1e-10)
    assert jumper.log_wealth == one_by_one[-1]


def test_first_calls_by_hand():
    """Two calls 1, 2: p is U, then U / 2. With U = 0.5 and 0.2: no win, then bets on -0.4."""

    class Places:
        def __init__(self, *places):
            self.places = iter(places)

        def random(self):
            return next(self.places)

    jumper = SimpleJumper(Places(0.5, 0.2))
    assert jumper.update(1.0) == pytest.approx(0.0)
    # arms stay at 0.2 each, and sum 0.2 (1 + e (0.1 - 0.5)) over symmetric e is 1
    assert jumper.update(2.0) == pytest.approx(0.0)
    # arms 0.2 (1 - 0.4 e), mixed with their mean 0.2: 0.2 (1 - 0.396 e); a third call highest, p = 0.1 again:
    # sum 0.2 (1 - 0.396 e)(1 - 0.4 e) = 1 + 0.2 * 0.1584 * sum e^2, sum e^2 = 2 (2.56 + 0.64) = 6.4
    third = SimpleJumper(Places(0.5, 0.2, 0.3))
    for score in (1.0, 2.0):
        third.update(score)
    assert third.update(3.0) == pytest.approx(np.log(1 + 0.2 * 0.1584 * 6.4))


def test_alarms_are_rare_without_a_change_and_soon_with_one():
    """200 null streams at 1/20: at most 0.05 + 3 errors; 50 streams that move by 1 sd in the middle. Null
    scores have four values: ties are drawn at random."""
    r = rng(5)
    null = r.integers(0, 4, (200, 250)).astype(float)
    alarms = sum(found.alarm is not None for found in monitor_all(null, r))
    assert alarms / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    moved = r.normal(size=(50, 400)) + (np.arange(400) >= 200)
    found = monitor_all(moved, r)
    assert sum(one.alarm is not None and one.alarm >= 200 for one in found) >= 45
    places = [one.change for one in found if one.change is not None]
    assert np.median([abs(place.at - 200) for place in places]) <= 5
    assert np.mean([place.low <= 200 <= place.high for place in places]) >= 0.85
    assert np.mean([place.shift_low <= 1 <= place.shift_high for place in places]) >= 0.85


def test_evidence_is_told_with_its_p_and_peak():
    scores = rng(6).normal(size=300) + 2 * (np.arange(300) >= 100)
    found = monitor(scores, rng(7))
    assert found.p == pytest.approx(np.exp(-found.log_wealth.max()))
    assert found.log_wealth[found.peak] == found.log_wealth.max()
    assert found.log_wealth[found.alarm] >= np.log(20) > found.log_wealth[found.alarm - 1]
    quiet = monitor(rng(8).normal(size=50), rng(9))
    assert (quiet.alarm, quiet.change) == (None, None)
    assert quiet.p <= 1


def test_calls_without_a_score_stake_nothing():
    scores = rng(10).normal(size=120) + (np.arange(120) >= 40)
    gaps = np.insert(scores, [10, 60, 60], np.nan)
    whole, broken = monitor(scores, rng(11)), monitor(gaps, rng(11))
    assert broken.n == 120
    known = ~np.isnan(gaps)
    assert broken.log_wealth[known][-1] == pytest.approx(whole.log_wealth[-1], abs=0.1)
    assert broken.log_wealth[10] == broken.log_wealth[9]
    empty = monitor(np.full(3, np.nan), rng())
    assert np.isnan(empty.p)
    assert empty.peak is None
    assert monitor_all(np.empty((0, 5)), rng()) == []
    with pytest.raises(MeasureError, match="infinite"):
        monitor(np.array([1.0, np.inf]), rng())
    with pytest.raises(MeasureError, match="cannot be ranked"):
        SimpleJumper(rng()).update(float("nan"))


def test_average_of_wealth_by_hand():
    found = average_wealth(np.log([[1.0, 30.0], [3.0, 20.0]]))
    assert found == pytest.approx(np.log([2.0, 25.0]))
    assert first_alarm(found, 0.05) == 1
    assert first_alarm(found, 0.01) is None


def test_a_step_is_located():
    """0 up to call 29, then 1, with four calls missing: the change is at call 30 and no resample differs."""
    scores = np.repeat([0.0, 1.0], [30, 20])
    scores[[3, 4, 29, 40]] = np.nan
    found = locate(scores, rng())
    assert (found.at, found.low, found.high) == (30, 30, 30)
    assert (found.shift, found.shift_low, found.n) == (1.0, 1.0, 46)
    assert locate(np.array([1.0, 2.0, np.nan, 4.0]), rng()) is None


def test_bets_on_pairs_by_hand():
    """Differences 0.4, 0.2: first no stake, then 0.4 / (1 + 0.16); with and against it, averaged."""
    betting = PairBetting()
    assert betting.update(0.9, 0.5, key="a") == pytest.approx(0.0)
    stake = 0.4 / 1.16
    expected = np.log(((1 + stake * 0.2) + (1 - stake * 0.2)) / 2)
    assert betting.update(0.5, 0.3, key="b") == pytest.approx(expected)
    found = bet_on_pairs(np.array([0.9, 0.5]), np.array([0.5, 0.3]), ["a", "b"])
    assert found.log_wealth[-1] == pytest.approx(expected)
    assert (found.effect, found.n) == (pytest.approx(0.3), 2)
    assert found.low == pytest.approx(0.3 - 12.7062 * 0.1, abs=1e-3)


def test_pairs_are_valid_when_fresh_and_see_a_change():
    r = rng(12)
    null = [bet_on_pairs(r.beta(2, 5, 200), r.beta(2, 5, 200), range(200)).alarm for _ in range(100)]
    assert sum(alarm is not None for alarm in null) <= 11  # 5 expected at most, 11 three errors more
    moved = [bet_on_pairs(r.beta(5, 3, 300), r.beta(2, 5, 300), range(300)) for _ in range(10)]
    assert all(found.alarm is not None and found.p < 0.05 for found in moved)


def test_a_reference_that_is_used_again_is_refused():
    """Without it the same scores would alarm: the stored mean is off by chance, always in one direction."""
    scores, stored = rng(13).beta(2, 5, 100), rng(14).beta(2, 5, 20)
    for references in (
        np.broadcast_to(stored.mean(), 100),
        np.full(100, stored.mean()),
        np.tile(stored, 5),
        np.resize(stored, 100),
    ):
        with pytest.raises(MeasureError, match="anew for every pair"):
            bet_on_pairs(scores, references, range(100))
    with pytest.raises(MeasureError, match="second time"):
        bet_on_pairs(scores, rng(15).beta(2, 5, 100), [*range(99), 0])
    betting = PairBetting()
    betting.update(0.5, 0.5, key=("case", 1))
    with pytest.raises(MeasureError, match="second time"):
        betting.update(0.5, 0.4, key=("case", 1))
    with pytest.raises(MeasureError, match=r"\[0, 1\]"):
        betting.update(1.5, 0.5, key=("case", 2))
    with pytest.raises(MeasureError, match="fresh reference"):
        bet_on_pairs(scores, stored, range(20))


def test_equal_votes_are_no_reused_reference():
    """Scores that are 0 or 1 repeat by nature; a reference that is 0 throughout, too."""
    votes = rng(16).integers(0, 2, 60).astype(float)
    assert bet_on_pairs(votes, np.zeros(60), range(60)).n == 60
    assert bet_on_pairs(votes, np.tile([0.0, 1.0], 30), range(60)).n == 60


def test_adwin_says_what_it_needs(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(adwin_module, "import_module", missing)
    with pytest.raises(MeasureError, match=r"pip install 'driftbound\[stream\]'"):
        adwin(np.zeros(3))


def test_adwin_finds_a_step():
    pytest.importorskip("river.drift")
    scores = rng(17).beta(2, 5, 1000)
    scores[500:] = rng(18).beta(5, 2, 500)
    found = adwin(np.insert(scores, 100, np.nan))
    assert 501 < found.alarms[0] < 620
    assert found.n == 1000
    with pytest.raises(MeasureError, match=r"\[0, 1\]"):
        adwin(np.array([0.5, 1.5]))
