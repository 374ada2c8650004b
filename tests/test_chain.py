"""Chain rules against enumeration of all texts, splits that add up, errors that cover."""

import itertools
import math

import numpy as np
import pytest

from driftbound.errors import MeasureError
from driftbound.measure.chain import (
    Scored,
    along,
    chain,
    drawn_information,
    information,
    posterior_weights,
    step_means,
    version_split,
)
from driftbound.measure.divergence import gjs, kl

N, K, J = 3, 3, 5


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


ROWS = softmax(1.5 * np.eye(K) + np.random.default_rng(0).normal(0, 1, (N, K, K)))
"""Next token by teacher and last token; the first token is drawn evenly."""
TEXTS = np.array(list(itertools.product(range(K), repeat=J)))


def next_token(text: np.ndarray) -> np.ndarray:
    """(J, N, K) before each token of a text."""
    return np.concatenate([np.full((1, N, K), 1 / K), ROWS[:, text[:-1]].swapaxes(0, 1)])


def logps_of(text: np.ndarray) -> np.ndarray:
    """(J, N) of a text's tokens."""
    return np.log(next_token(text)[np.arange(J), :, text])


LAWS = np.exp([logps_of(text).sum(0) for text in TEXTS]).T
"""(N, texts) how likely each teacher finds each whole text."""


def prefix_laws(length: int) -> np.ndarray:
    """(N, prefixes), by adding up the texts that begin alike."""
    names = TEXTS[:, :length] @ K ** np.arange(length)
    return np.stack([np.bincount(names, law, minlength=K**length) for law in LAWS])


# --- N-way


def test_information_by_steps_adds_up_to_the_divergence_of_whole_texts():
    """Expectations over all 243 texts, each weighted by the teachers' mean probability of it."""
    steps = np.array([information(next_token(t), posterior_weights(logps_of(t))) for t in TEXTS])
    by_step = LAWS.mean(0) @ steps
    whole = [0.0, *(float(gjs(prefix_laws(length))) for length in range(1, J + 1))]
    assert by_step == pytest.approx(np.diff(whole), abs=1e-10)
    assert by_step.sum() == pytest.approx(gjs(LAWS), abs=1e-10)


def test_constant_weights_ask_at_every_step_anew():
    even = np.full((J, N), 1 / N)
    steps = LAWS.mean(0) @ np.array([information(next_token(t), even) for t in TEXTS])
    assert steps.sum() > gjs(LAWS) + 0.05


def test_drawn_information_has_the_same_mean_and_telescopes():
    drawn = np.array([[drawn_information(logps_of(t), u) for t in TEXTS] for u in range(N)])
    by_step = np.einsum("ut,utj->j", LAWS, drawn) / N
    exact = LAWS.mean(0) @ np.array(
        [information(next_token(t), posterior_weights(logps_of(t))) for t in TEXTS]
    )
    assert by_step == pytest.approx(exact, abs=1e-10)
    assert drawn.sum(-1) == pytest.approx(np.log(LAWS / LAWS.mean(0)), abs=1e-10)


def test_a_teacher_who_could_not_have_written_it_is_out():
    logps = np.log([[0.5, 0.5, 0.5], [0.5, 1e-320, 0.5], [0.5, 0.5, 1.0]])
    logps[1, 1] = -np.inf
    assert posterior_weights(logps) == pytest.approx(
        np.array([[1, 1, 1], [1, 1, 1], [1.5, 0, 1.5]]) / 3, abs=1e-15
    )
    assert drawn_information(logps, 0).sum() == pytest.approx(math.log(0.125 / ((0.125 + 0.25) / 3)))
    nobody = np.full((2, 2), -np.inf)
    assert np.isnan(posterior_weights(nobody)[1]).all()


# --- pairwise


def test_exact_steps_add_up_to_the_kl_of_whole_texts():
    """A_j is the divergence of the prefixes before step j, 0 before the first, the whole at the end."""
    steps = np.array([kl(next_token(t)[:, 0], next_token(t)[:, 1]) for t in TEXTS])
    exact = LAWS[0] @ steps
    cumulative = np.r_[0, np.cumsum(exact)]
    whole = [0.0, *(float(kl(*prefix_laws(length)[:2])) for length in range(1, J + 1))]
    assert cumulative == pytest.approx(whole, abs=1e-10)


def test_chain_takes_the_error_of_sums_case_by_case():
    """Two steps that undo each other: each varies, their sum does not."""
    steps = np.array([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])
    found = chain(steps, np.arange(3, dtype=np.intp))
    assert found.instantaneous.value.tolist() == [2, 2]
    assert found.instantaneous.se == pytest.approx([1 / math.sqrt(3)] * 2)
    assert found.cumulative.value.tolist() == [0, 2, 4]
    assert found.cumulative.se == pytest.approx([0, 1 / math.sqrt(3), 0])
    assert found.cumulative.high[1] == pytest.approx(2 + 1.96 / math.sqrt(3))


def test_a_case_that_stops_being_defined_is_left_out_from_there_on():
    steps = np.array([[1.0, np.nan, 3.0], [1.0, 1.0, 1.0], [1.0, 3.0, 5.0]])
    found = chain(steps, np.arange(3, dtype=np.intp))
    assert found.instantaneous.n.tolist() == [3, 2, 3]
    assert found.cumulative.n.tolist() == [3, 3, 2, 2]
    assert found.cumulative.value.tolist() == [0, 1, 3, 6]


def test_errors_are_by_cluster():
    """Two patients with two equal cases each are two observations."""
    values = np.array([[1.0], [1.0], [3.0], [3.0]])
    assert step_means(values, np.array([0, 0, 1, 1])).se[0] == pytest.approx(1.0)
    assert np.isnan(step_means(values, np.zeros(4, np.intp)).se[0])
    assert np.isnan(step_means(values * np.nan, np.arange(4, dtype=np.intp)).value[0])


def test_the_chains_interval_covers():
    """300 studies of 40 texts each of teacher 0, scored against teacher 1."""
    rng = np.random.default_rng(1)
    exact = float(kl(LAWS[0], LAWS[1]))
    steps = np.array([kl(next_token(t)[:, 0], next_token(t)[:, 1]) for t in TEXTS])
    inside = []
    for _ in range(300):
        drawn = steps[rng.choice(len(TEXTS), 40, p=LAWS[0])]
        total = chain(drawn, np.arange(40, dtype=np.intp)).cumulative
        inside.append(total.low[-1] <= exact <= total.high[-1])
    assert abs(np.mean(inside) - 0.95) < 3 * math.sqrt(0.05 * 0.95 / 300)


# --- along the reasoning, between versions


def test_free_is_forced_and_history_on_the_same_cases():
    rng = np.random.default_rng(2)
    forced, free = rng.random((2, 20, 4))
    forced[3, 1] = free[5, 2] = np.nan
    found = along(forced, free, np.arange(20, dtype=np.intp))
    assert found.free.value == pytest.approx(found.instantaneous.value + found.history.value, abs=1e-12)
    assert found.history.n.tolist() == found.free.n.tolist() == [20, 19, 19, 20]
    own = np.delete(free[:, 1] - forced[:, 1], 3)
    assert found.history.se[1] == pytest.approx(own.std(ddof=1) / math.sqrt(19))


def scored(rng: np.random.Generator, n: int) -> Scored:
    one, other = rng.normal(np.array([[0.0], [1.0]]), 1, (2, n))
    return Scored(by_first=one, by_second=other, clusters=np.arange(n, dtype=np.intp))


@pytest.mark.parametrize("same", [False, True])
def test_history_and_instantaneous_add_up_to_the_change(same):
    rng = np.random.default_rng(3)
    first, second = scored(rng, 30), scored(rng, 30 if same else 50)
    found = version_split(first, second, same_cases=same)
    assert found.total.value == pytest.approx(second.by_second.mean() - first.by_first.mean(), abs=1e-12)
    assert found.history.value + found.instantaneous.value == pytest.approx(found.total.value, abs=1e-12)
    assert found.total.n == (30 if same else 80)


def test_errors_of_the_split_are_those_of_its_design():
    rng = np.random.default_rng(4)
    first, second = scored(rng, 30), scored(rng, 30)
    mid = [(one.by_first + one.by_second) / 2 for one in (first, second)]
    gap = [one.by_second - one.by_first for one in (first, second)]

    def half(measured):
        return (measured.high - measured.low) / 2 / 1.96

    apart = version_split(first, second, same_cases=False)
    assert half(apart.history) ** 2 == pytest.approx((mid[0].var(ddof=1) + mid[1].var(ddof=1)) / 30)
    assert half(apart.instantaneous) ** 2 == pytest.approx((gap[0].var(ddof=1) + gap[1].var(ddof=1)) / 30 / 4)
    paired = version_split(first, second, same_cases=True)
    assert half(paired.history) ** 2 == pytest.approx((mid[1] - mid[0]).var(ddof=1) / 30)
    assert half(paired.instantaneous) ** 2 == pytest.approx((gap[0] + gap[1]).var(ddof=1) / 4 / 30)


def test_versions_that_score_alike_have_changed_their_prefixes_alone():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(2, 40))
    clusters = np.arange(40, dtype=np.intp)
    found = version_split(
        Scored(by_first=one, by_second=one, clusters=clusters),
        Scored(by_first=other, by_second=other, clusters=clusters),
        same_cases=False,
    )
    assert (found.instantaneous.value, found.instantaneous.low, found.instantaneous.high) == (0, 0, 0)
    assert found.history.value == pytest.approx(found.total.value)


def test_a_split_that_cannot_be_made_says_why():
    rng = np.random.default_rng(6)
    with pytest.raises(MeasureError, match="cases of the two versions differ"):
        version_split(scored(rng, 3), scored(rng, 4), same_cases=True)
    gone = Scored(by_first=np.full(3, np.nan), by_second=np.zeros(3), clusters=np.arange(3, dtype=np.intp))
    found = version_split(gone, scored(rng, 4), same_cases=False)
    assert np.isnan(found.total.value)
    assert found.total.reason == "no case has both scores"
