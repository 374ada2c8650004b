"""Trust: the rule, what is left open, and what is said where nothing can be known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from simulated_panels import tables, votes

from driftbound.errors import MeasureError
from driftbound.measure.cautions import SHARED
from driftbound.measure.copying import fit_copying
from driftbound.measure.dawid_skene import Model, posterior
from driftbound.measure.lineages import find_lineages
from driftbound.measure.patterns import patterns
from driftbound.measure.reliability import reliability
from driftbound.measure.trust import Risk, choose, decide, dissent, majority_posterior, simulated_risks
from driftbound.statistics.calibration import auroc


def world_of(rng, teachers=3):
    return Model(
        lineages=tuple((u,) for u in range(teachers)),
        prevalence=np.array([0.6, 0.4]),
        theta=tables(rng, teachers, 2, 4),
        omega=np.ones(teachers),
        rate=np.zeros(teachers),
        sources=(None,) * teachers,
        log_likelihood=0.0,
        penalised=0.0,
        iterations=0,
        converged=True,
    )


def nobody(n):
    return np.zeros(n, dtype=bool)


def test_decided_are_the_surest_whose_expected_errors_stay_at_the_level():
    """Errors expected: 0.02, 0.04, 0.10, 0.12: means 0.02, 0.03, 0.0533, 0.07. At 0.06 three are decided."""
    sure = np.array([0.90, 0.98, 0.88, 0.96])
    q = np.stack([1 - sure, sure], axis=1)
    found = decide(q, np.ones(4, dtype=int), nobody(4), least=0.8, level=0.06)
    assert found.decided.tolist() == [1, 1, -1, 1]
    assert (found.doubtful, found.no_vote, found.disputed) == (1, 0, 0)
    assert decide(q, np.ones(4, dtype=int), nobody(4), least=0.95, level=0.06).decided.tolist() == [
        -1,
        1,
        -1,
        1,
    ]


def test_equal_claims_are_decided_equally():
    """Two of three claims at 0.9 would fit below 0.08 behind one at 0.99; all three would not."""
    sure = np.array([0.99, 0.9, 0.9, 0.9])
    q = np.stack([1 - sure, sure], axis=1)
    assert decide(q, np.ones(4, dtype=int), nobody(4), least=0.5, level=0.072).decided.tolist() == [
        1,
        -1,
        -1,
        -1,
    ]
    assert decide(q, np.ones(4, dtype=int), nobody(4), least=0.5, level=0.08).decided.tolist() == [1, 1, 1, 1]


def test_disputed_and_unvoted_claims_are_counted_apart():
    q = np.array([[0.01, 0.99], [0.99, 0.01], [np.nan, np.nan], [0.5, 0.5]])
    found = decide(q, np.array([1, 0, 0, 0]), np.array([True, False, False, False]), least=0.8, level=0.05)
    assert found.decided.tolist() == [-1, 0, -1, -1]
    assert found.forced.tolist() == [1, 0, -1, 0]
    assert (found.no_vote, found.doubtful, found.disputed) == (1, 1, 1)


def risk(method, error, gain, gain_se, voice=""):
    return Risk(method=method, voice=voice, error=error, gain=gain, gain_se=gain_se, sets=16, claims=800)


def test_majority_stays_unless_it_is_clearly_beaten():
    counted = risk("majority", 0.10, 0.0, 0.0)
    assert choose((counted, risk("dawid_skene", 0.09, 0.01, 0.006))).method == "majority"
    assert choose((counted, risk("dawid_skene", 0.09, 0.01, 0.004))).method == "dawid_skene"
    voice = risk("one_voice", 0.05, 0.05, 0.004, "copying")
    assert choose((counted, risk("dawid_skene", 0.2, -0.1, 0.01), voice)) is voice


def test_simulated_risk_of_the_majority_is_its_true_one():
    """All rows of three teachers' votes, weighed by their probability."""
    rng = np.random.default_rng(0)
    world = world_of(rng)
    error = 0.0
    for z in (0, 1):
        for row in itertools.product(range(4), repeat=3):
            chance = world.prevalence[z] * np.prod([world.theta[u, z, x] for u, x in enumerate(row)])
            says = int(row.count(1) > row.count(0))
            error += chance * (says != z)
    found = patterns(rng.integers(4, size=(800, 3)), 2)
    risks = simulated_risks(world, found, rng)
    assert [each.method for each in risks] == ["majority", "dawid_skene"]
    assert risks[0].error == pytest.approx(error, abs=0.015)
    assert (risks[0].gain, risks[0].claims) == (0.0, 800)


def test_majority_s_probability_knows_the_numbers_only():
    """Votes (present, absent) and (absent, present) have one probability: the mean of what the model says."""
    world = world_of(np.random.default_rng(1), teachers=2)
    found = patterns(np.array([[1, 0], [0, 1], [0, 1], [1, 1], [-1, -1]]), 2)
    q, own = majority_posterior(world, found)[found.index], posterior(world, found)[found.index]
    assert q[0] == pytest.approx(own[:3].mean(axis=0))
    assert q[1] == pytest.approx(q[0])
    assert q[3] == pytest.approx(own[3])
    assert np.isnan(q[4]).all()


def test_dissent_by_hand():
    """One voice for 1 and 2 together. Of teacher 0's "present": they say absent (half) and present (half):
    (0.5 + 0.5) / 2. Of teacher 1's "absent": teacher 0 says present: 1.5 of 2. Teacher 2 hedges below."""
    found = patterns(np.array([[1, 0, 1], [1, 0, 2]]), 2)
    said = dissent(found, ((0,), (1, 2)))[found.index]
    assert said[0] == pytest.approx([0.5, 0.75, 0.25])
    assert said[1] == pytest.approx([1.0 / 1.5, 0.75, np.nan], nan_ok=True)


@pytest.fixture(scope="module")
def copied():
    """Three of seven copy a poor source at 0.8."""
    rng = np.random.default_rng(2)
    truth, codes = votes(800, rng, copiers=(4, 5, 6), rate=0.8)
    return truth, codes, reliability(codes, 2, np.arange(800), rng, draws=20)


def test_the_rule_under_copying(copied):
    truth, codes, found = copied
    counted = ((codes == 1).sum(axis=1) > (codes == 0).sum(axis=1)) == truth
    assert (found.method, found.chosen_by) == ("one_voice", "risk")
    assert found.lineages == ((0,), (1,), (2,), (3,), (4, 5, 6))
    right = found.decision.forced == truth
    assert right.mean() > counted.mean() + 0.05
    decided = found.decision.decided >= 0
    assert right[decided].mean() > right.mean()
    assert (~decided).sum() == found.decision.doubtful + found.decision.disputed + found.decision.no_vote
    assert found.dependence.p <= 0.05
    by_name = {(each.method, each.voice): each for each in found.risks}
    assert (
        by_name["dawid_skene", ""].error
        > by_name["majority", ""].error
        > by_name["one_voice", "copying"].error
    )


def test_wrong_ranks_better_than_dissent(copied):
    truth, codes, found = copied
    said = codes < 2
    assert (np.isnan(found.wrong) == ~said).all()
    mistaken = (codes != truth[:, None])[said]
    plain = dissent(patterns(codes, 2), tuple((u,) for u in range(7)))[patterns(codes, 2).index]
    assert auroc(found.wrong[said], mistaken) > auroc(plain[said], mistaken) + 0.05


def test_reliabilities_come_with_intervals(copied):
    """True rates of naming: sensitivity 0.82 .. 0.55, the copiers' drawn to the source's 0.55."""
    _, _, found = copied
    sensitivity = [0.82, 0.775, 0.73, 0.685, 0.8 * 0.55 + 0.2 * 0.64, 0.8 * 0.55 + 0.2 * 0.595, 0.55]
    inside = [
        each[1].low <= wanted <= each[1].high for each, wanted in zip(found.correct, sensitivity, strict=True)
    ]
    assert sum(inside) >= 5
    assert all(0 < each[1].high - each[1].low < 0.3 for each in found.correct)
    assert found.theta.sum(axis=2) == pytest.approx(1.0)
    assert found.effective.low < found.effective.value < found.effective.high < 7


def test_what_cannot_be_known_is_said(copied):
    _, _, found = copied
    assert found.calibration is None
    assert SHARED in found.warnings
    assert "no gold claims" in found.no_consensus


def test_nobody_s_order_matters(copied):
    _, codes, found = copied
    order = np.array([6, 2, 0, 5, 1, 4, 3])
    other = patterns(codes[:, order], 2)
    lineages = find_lineages(other, np.random.default_rng(3))[0].lineages
    assert {tuple(sorted(order[list(members)].tolist())) for members in lineages} == set(found.lineages)
    q = posterior(fit_copying(other, lineages), other)[other.index]
    assert found.voice == "copying"
    assert q == pytest.approx(found.posterior, abs=1e-3)


def nothing_learnt(codes, values=2):
    n = len(codes)
    return reliability(np.asarray(codes), values, np.arange(n), np.random.default_rng(0))


@pytest.mark.parametrize(
    "codes",
    [
        np.array([[1], [0], [1]] * 40),  # one teacher
        np.array([[1, 1], [0, 1]] * 40),  # two teachers
        np.array([[1, 0, 1, 1]]),  # one claim
        np.full((60, 4), 3),  # all omitted
        np.full((60, 4), 2),  # all hedge
        np.full((60, 4), 4),  # all refused
        np.full((60, 4), -1),  # nobody voted
    ],
    ids=["one teacher", "two teachers", "one claim", "omitted", "hedged", "refused", "no votes"],
)
def test_where_nothing_can_be_learnt_nothing_is_decided(codes):
    found = nothing_learnt(codes)
    assert found.chosen_by == "counting"
    assert (found.decision.decided == -1).all()
    assert np.isnan(found.theta).all()
    assert np.isnan(found.correct[0][0].mean)
    assert np.isnan(found.effective.value)
    assert found.effective.reason
    assert "Nothing can be learnt" in found.warnings[0]
    if codes.min() in (-1, 4):
        assert np.isnan(found.posterior).all()
        assert (found.decision.forced == -1).all()
        assert found.decision.no_vote == len(codes)


def test_claims_without_votes_stay_open_among_others():
    rng = np.random.default_rng(4)
    truth, codes = votes(200, rng)
    codes[:10] = -1
    codes[10:20] = 4
    found = reliability(codes, 2, np.arange(200), rng, draws=0)
    assert np.isnan(found.posterior[:20]).all()
    assert found.decision.no_vote == 20
    assert not np.isnan(found.posterior[20:]).any()
    assert (found.decision.forced[20:] == truth[20:]).mean() > 0.85


def test_input_that_does_not_fit_is_refused():
    codes, rng = np.zeros((5, 3), int), np.random.default_rng(0)
    with pytest.raises(MeasureError, match="clusters of shape"):
        reliability(codes, 2, np.arange(4), rng)
    with pytest.raises(MeasureError, match="gold claims must be 5"):
        reliability(codes, 2, np.arange(5), rng, gold=np.zeros(4, int))
    with pytest.raises(MeasureError, match=r"from -1 \(unknown\) to 1"):
        reliability(codes, 2, np.arange(5), rng, gold=np.full(5, 2))


def test_risks_fear_missing_votes_too():
    """A panel in which most votes are missing is simulated with most votes missing."""
    rng = np.random.default_rng(5)
    _, codes = votes(400, rng)
    thin = np.where(rng.random(codes.shape) < 0.7, -1, codes)
    thin[:, 0] = codes[:, 0]
    full, sparse = patterns(codes, 2), patterns(thin, 2)
    world = fit_copying(full, tuple((u,) for u in range(7)))
    many = simulated_risks(world, full, rng, sets=4)[0].error
    few = simulated_risks(replace(world), sparse, rng, sets=4)[0].error
    assert few > many + 0.02
