"""What a claim meets among the others, noise floors, versions: by hand and by simulation with known laws."""

import numpy as np
import pytest
from panels import panel

from driftbound.measure.meeting import HABITS, beyond_composition, by_part, contradiction, habits
from driftbound.measure.noise import excess_by_part, noise
from driftbound.measure.versions import difference, kitagawa, segments
from driftbound.statistics.intervals import resample

P, A, U, NIL = "present", "absent", "uncertain", "omitted"


def resamples(n):
    return resample([str(i) for i in range(n)], rng=np.random.default_rng(0), draws=50)


def test_contradiction_by_hand():
    """P P A: t0 meets one of two, t1 likewise, t2 two of two. A hedge meets nothing and nothing meets it."""
    found = contradiction(panel([[P, P], [P, U], [A, NIL]]))
    assert found[0, :, 0].tolist() == [0.5, 0.5, 1.0]
    assert np.isnan(found[0, :, 1]).all()


def test_another_sample_is_held_against_the_panels_others():
    """t0 says A this time: both others of the panel say P and A; its own first answer does not count."""
    votes = panel([[P], [P], [A]])
    again = votes.codes.copy()
    again[0, 0, 0] = 0
    assert contradiction(votes, again)[0, 0, 0] == 0.5
    assert contradiction(votes, votes.codes)[0, 2, 0] == contradiction(votes)[0, 2, 0] == 1.0


def test_composition_is_taken_out():
    """A teacher whose P are contradicted half of the time and whose A never: what is left has mean zero for
    each."""
    votes = panel([[P], [A]], [[P], [P]], [[A], [A]])
    left = beyond_composition(contradiction(votes), votes)
    assert left[:, 0, 0].tolist() == [0.5, -0.5, 0.0]


def test_parts_average_a_teachers_claims():
    votes = panel([[P, P, A], [A, P, A]], parts=[[[0, 0, 1], [1, 1, 1]]])
    found = by_part(contradiction(votes), votes.parts, 2)[0]
    assert found[0].tolist() == [0.5, 0.0]
    assert np.isnan(found[1, 0])
    assert found[1, 1] == pytest.approx(1 / 3)


def test_habits_by_hand():
    votes = panel([[P, U, NIL, A], ["refused"] * 4, ["-"] * 4])
    found = habits(votes.codes, votes.slots, contradiction(votes), np.array([[7.0, 3.0, np.nan]]))
    first = dict(zip(HABITS, found[0, 0].tolist(), strict=True))
    assert np.isnan(first.pop("contradicted"))  # nobody else is explicit
    assert first == {"omits": 0.25, "hedges": 0.25, "asserts": 0.25, "words": 7.0, "refuses": 0.0}
    assert found[0, 1, -1] == 1.0
    assert np.isnan(found[0, 1, :-1]).all()
    assert np.isnan(found[0, 2]).all()


def draws(chances, n, rng):
    """Codes (n, T, 1) of teachers that say P with these chances."""
    return (rng.random((n, len(chances), 1)) < np.array(chances)[None, :, None]).astype(np.int16)


def test_excess_is_half_the_energy_distance():
    """Chances .8 and .4: between .8 * .6 + .2 * .4 = .56; within 2 * .8 * .2 = .32 and 2 * .4 * .6 = .48,
    mean .40; excess .16 = (.8 - .4)^2. Teachers that are alike have none, however noisy."""
    rng, n = np.random.default_rng(1), 20_000
    for chances, between, within in (([0.8, 0.4], 0.56, 0.40), ([0.5, 0.5], 0.5, 0.5)):
        found = noise([draws(chances, n, rng), draws(chances, n, rng)], resamples(n))
        assert found.between.point[0] == pytest.approx(between, abs=0.01)
        assert found.within.point[0] == pytest.approx(within, abs=0.01)
        assert found.excess.point[0] == pytest.approx(between - within, abs=0.012)
        assert found.cases == n


def test_noise_counts_only_whom_was_asked_twice():
    one, two = panel([[P], [P]], [[P], [A]]), panel([[A], [P]], [["-"], ["-"]])
    found = noise([one.codes, two.codes], resamples(2))
    assert (found.cases, found.teachers.point.tolist()) == (1, [1.0, 0.0])
    assert found.between.point[0] == 0.5  # P, A of t0 against P, P of t1; case 1 is left out
    assert noise([one.codes], resamples(2)) is None
    assert noise([one.codes, np.full_like(one.codes, -1)], resamples(2)) is None


def test_noise_that_grows_along_the_answer_is_no_excess():
    """Both teachers say P with chance .9 in part 0 and .5 in part 1; t0 alone turns to .1 in part 1 the
    second time. Excess of two Bernoulli laws p and q: (p - q)^2: 0, 0; then 0 and .16."""
    rng, n = np.random.default_rng(2), 20_000
    parts = np.broadcast_to(np.array([0, 1], dtype=np.int16), (n, 2, 2))
    for late, expected in (([0.5, 0.5], 0.0), ([0.1, 0.5], 0.16)):
        samples = [np.concatenate([draws([0.9, 0.9], n, rng), draws(late, n, rng)], axis=2) for _ in range(2)]
        found = excess_by_part(samples, parts, 2).mean(axis=0)
        assert found.tolist() == pytest.approx([0.0, expected], abs=0.015)


def test_segments_are_versions_with_enough_cases_in_order():
    assert segments(["b"] * 12 + ["rare"] * 3 + [""] * 20 + ["a"] * 10) == ["b", "a"]


def test_difference_of_sets_has_the_two_sample_error():
    """Where every case is its own cluster: the usual difference of means, variances with n / (n - 1) of
    all."""
    rng = np.random.default_rng(3)
    values = np.r_[rng.normal(0, 1, 300), rng.normal(0.5, 2, 200)]
    second = np.arange(500) >= 300
    found = difference(values[:, None], second, np.arange(500))[0]
    error = np.sqrt(values[:300].var() / 300 + values[300:].var() / 200) * np.sqrt(500 / 499)
    assert found.mean == pytest.approx(values[300:].mean() - values[:300].mean())
    assert found.high - found.low == pytest.approx(2 * 1.959964 * error, rel=1e-6)


def test_difference_of_copies_is_as_sure_as_of_the_single_cases():
    rng = np.random.default_rng(4)
    values, second = rng.normal(size=60), np.arange(60) >= 25
    once = difference(values[:, None], second, np.arange(60))[0]
    twice = difference(np.repeat(values, 2)[:, None], np.repeat(second, 2), np.repeat(np.arange(60), 2))[0]
    assert (twice.mean, twice.low, twice.high) == pytest.approx((once.mean, once.low, once.high))


def test_kitagawa_by_hand():
    """First set: slot 0 twice (contradicted once), slot 1 twice (never). Second: slot 0 three times (all),
    slot 1 once (never); slot 2 only there. P: (1/2, 1/2) and (3/4, 1/4); f: (1/2, 0) and (1, 0). history =
    1/4 * 3/4 = 3/16, instant = 5/8 * 1/2 = 5/16, total 1/2 = 3/4 - 1/4."""
    nil = np.nan
    met = np.array([[1, 0, nil], [0, 0, nil], [1, 0, 1.0], [1, nil, nil], [1, nil, nil]])
    second = np.array([False, False, True, True, True])
    found = kitagawa(met, second, np.arange(5), rng=np.random.default_rng(0), draws=50)
    assert found.history.mean == pytest.approx(3 / 16)
    assert found.instant.mean == pytest.approx(5 / 16)
    assert found.total.mean == pytest.approx(1 / 2)
    assert found.left_out == 1
