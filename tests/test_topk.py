"""Intervals from top-k lists: they hold the truth, their lower end is the least possible; reading."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from driftbound.errors import MeasureError
from driftbound.measure.divergence import gjs
from driftbound.measure.topk import (
    Bounds,
    TopK,
    bounded_means,
    by_part,
    by_position,
    js_bounds,
    read_lists,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def key(token: int) -> bytes:
    return str(token).encode()


def listed(p: np.ndarray, k: int, sampled: int | None = None) -> TopK:
    """The k likeliest of a distribution, and a token that was drawn from outside of them."""
    best = np.argsort(-p)[:k].tolist()
    known = best if sampled is None else [*best, sampled]
    return TopK(known={key(i): float(p[i]) for i in known}, cap=float(p[best[-1]]))


# --- the interval


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    teachers=st.integers(2, 5),
    k=st.integers(1, 6),
    spread=st.floats(0.0, 4.0),
    rounds=st.sampled_from([1, 2, 7, 300]),
    outside=st.booleans(),
)
def test_the_truth_lies_between(seed, teachers, k, spread, rounds, outside):
    """However alike the teachers, however soon the search ends, with a sampled token from outside or not."""
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(0, 2, 12) + rng.normal(0, spread, (teachers, 12)))
    sampled = [int(rng.choice(np.argsort(-row)[k:])) if outside else None for row in p]
    found = js_bounds([[listed(row, k, s) for row, s in zip(p, sampled, strict=True)]], rounds=rounds)
    truth = gjs(p)
    assert found.lower[0] - 1e-9 <= truth <= found.upper[0] + 1e-9
    assert 0 <= found.lower[0] <= found.upper[0] <= math.log(teachers) + 1e-9


def test_whole_distributions_leave_no_doubt():
    p = softmax(np.random.default_rng(0).normal(0, 1, (40, 4, 6)))
    found = js_bounds([[listed(row, 6) for row in case] for case in p])
    assert found.lower == pytest.approx(gjs(p), abs=1e-9)
    assert found.upper == pytest.approx(gjs(p), abs=1e-9)


def least_by_slsqp(lists: list[TopK]) -> float:
    """The least divergence over all fill-ins, by another method on the definition."""
    tokens = sorted(set().union(*(one.known for one in lists)))
    known = np.array([[one.known.get(token, 0.0) for token in tokens] for one in lists])
    free = [(u, i) for u, one in enumerate(lists) for i, token in enumerate(tokens) if token not in one.known]
    mass = 1 - known.sum(1)

    def filled(x: np.ndarray) -> np.ndarray:
        q = np.hstack([known, mass[:, None]])
        for value, (u, i) in zip(x, free, strict=True):
            q[u, i] += value
            q[u, -1] -= value
        return q

    def value(x: np.ndarray) -> float:
        return float(gjs(np.clip(filled(x), 1e-15, None)))

    def slope(x: np.ndarray) -> np.ndarray:
        q = np.clip(filled(x), 1e-15, None)
        log = np.log(q / q.mean(0)) / len(lists)
        return np.array([log[u, i] - log[u, -1] for u, i in free])

    starts = (np.array([min(lists[u].cap, mass[u] / 20) * share for u, _ in free]) for share in (0.3, 0.9))
    return min(
        minimize(
            value,
            start,
            jac=slope,
            bounds=[(1e-10, lists[u].cap) for u, _ in free],
            constraints=[{"type": "ineq", "fun": lambda x: filled(x)[:, -1]}],
            method="SLSQP",
            options={"maxiter": 400, "ftol": 1e-14},
        ).fun
        for start in starts
    )


@pytest.mark.parametrize("seed", range(4))
def test_lower_end_is_the_least_that_another_method_finds(seed):
    p = softmax(np.random.default_rng(seed).normal(0, 1.5, (3, 12)))
    lists = [listed(row, 3) for row in p]
    assert js_bounds([lists]).lower[0] == pytest.approx(least_by_slsqp(lists), abs=2e-5)


def test_caps_come_from_the_list_and_not_from_a_token_added_to_it():
    """Two teachers list the same token; one drew an improbable one. Its probability is no cap: the other's
    tail could be there."""
    one = TopK(known={b"a": 0.6, b"z": 0.01}, cap=0.6)
    other = TopK(known={b"a": 0.6}, cap=0.6)
    loose = js_bounds([[one, other]]).lower[0]
    tight = js_bounds([[TopK(known=one.known, cap=0.01), other]]).lower[0]
    assert loose == pytest.approx(0, abs=1e-4)
    assert tight == loose  # nothing to gain here: all of it fits into the rest
    apart = js_bounds([[TopK(known={b"a": 0.6, b"z": 0.01}, cap=0.01), TopK(known={b"b": 0.9}, cap=0.9)]])
    free = js_bounds([[TopK(known={b"a": 0.6, b"z": 0.01}, cap=0.6), TopK(known={b"b": 0.9}, cap=0.9)]])
    assert apart.lower[0] > free.lower[0] + 0.1


def test_upper_end_by_hand():
    """Each teacher lists 0.7 on a token of its own: with private tails the two never meet."""
    lists = [TopK(known={b"a": 0.7}, cap=0.7), TopK(known={b"b": 0.7}, cap=0.7)]
    assert js_bounds([lists]).upper[0] == pytest.approx(math.log(2))
    same = [TopK(known={b"a": 0.7}, cap=0.7)] * 2
    assert js_bounds([same]).upper[0] == pytest.approx(0.3 * math.log(2))
    assert js_bounds([same]).lower[0] == pytest.approx(0, abs=1e-12)


def test_positions_of_any_width_keep_their_places():
    rng = np.random.default_rng(1)
    positions = [[listed(row, int(k)) for row in softmax(rng.normal(0, 2, (3, 30)))] for k in
                 rng.integers(1, 9, 60)]  # fmt: skip
    together = js_bounds(positions)
    for t in (0, 17, 59):
        alone = js_bounds([positions[t]])
        assert together.lower[t] == pytest.approx(alone.lower[0], abs=2e-5)
        assert together.upper[t] == pytest.approx(alone.upper[0], abs=1e-12)


def test_no_positions_have_no_bounds():
    assert js_bounds([]).lower.shape == (0,)
    one = TopK(known={b"a": 0.5}, cap=0.5)
    with pytest.raises(MeasureError, match="unequal numbers"):
        js_bounds([[one, one], [one]])


# --- reading


def entry(token, logp, others=(), spelt=None) -> dict:
    return {
        "token": token,
        "logprob": logp,
        "bytes": spelt,
        "top_logprobs": [{"token": t, "logprob": lp, "bytes": None} for t, lp in others],
    }


def test_a_stored_list_is_read():
    text = json.dumps(
        [
            entry("a", math.log(0.6), [("a", math.log(0.6)), ("b", math.log(0.3))]),
            entry("z", math.log(0.01), [("a", math.log(0.6)), ("b", math.log(0.3)), ("c", -9999.0)]),
            entry("q", -9999.0, [("a", math.log(0.5)), ("b", None)]),
            entry("only", math.log(0.2)),
        ]
    )
    found = read_lists(text)
    assert found[0].known == pytest.approx({b"a": 0.6, b"b": 0.3})
    assert found[1].known == pytest.approx({b"a": 0.6, b"b": 0.3, b"z": 0.01})
    assert found[2].known == pytest.approx({b"a": 0.5})
    assert found[3].known == pytest.approx({b"only": 0.2})
    assert [one.cap for one in found] == pytest.approx([0.3, 0.3, 0.5, 1.0])
    assert read_lists("") == []


def test_parts_of_characters_are_told_apart_by_their_bytes():
    text = json.dumps([entry("\ufffd", -0.1, spelt=[0xE8]), entry("\ufffd", -0.1, spelt=[0xE9])])
    assert [list(one.known) for one in read_lists(text)] == [[b"\xe8"], [b"\xe9"]]


def test_sums_above_one_are_rounding_only_so_far():
    near = json.dumps([entry("a", math.log(0.7005), [("a", math.log(0.7005)), ("b", math.log(0.3))])])
    assert sum(read_lists(near)[0].known.values()) == pytest.approx(1)
    with pytest.raises(MeasureError, match=r"the answer of one, token 0: the listed .* add up to 1\.2"):
        read_lists(json.dumps([entry("a", math.log(0.6), [("b", math.log(0.6))])]), "the answer of one")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no list of tokens"),
        ("[3]", "no list of tokens"),
        ('[{"token": "a"}]', "no list of tokens"),
        (json.dumps([entry("a", 0.5)]), "is no log-probability"),
        ('[{"token": "a", "logprob": NaN, "top_logprobs": []}]', "is no log-probability"),
        (json.dumps([entry("z", math.log(0.4), [("a", math.log(0.1))])]), "likeliest"),
    ],
)
def test_what_is_no_list_is_refused(text, said):
    with pytest.raises(MeasureError, match=said):
        read_lists(text)


# --- along the answers


def one_token(p: float) -> TopK:
    return TopK(known={b"a": p, b"b": 1 - p}, cap=1 - p)


def test_answers_of_unequal_length_are_compared_at_the_same_share_of_their_ways():
    """The short answer's two tokens meet tokens 0 and 2 of the long one."""
    short = [one_token(0.5), one_token(0.9)]
    long = [one_token(p) for p in (0.5, 0.1, 0.9, 0.1)]
    assert by_part([short, long], 2).upper == pytest.approx([0, 0], abs=1e-12)
    assert by_part([short, long], 1).upper == pytest.approx([0], abs=1e-12)
    three = by_part([short, long], 3)
    assert np.isnan(three.upper).tolist() == [False, False, True]
    assert np.isnan(by_part([short, []], 2).lower).all()


def test_by_position_ends_with_the_shortest_answer():
    short = [one_token(0.5), one_token(0.9)]
    long = [one_token(p) for p in (0.5, 0.1, 0.9, 0.1)]
    found = by_position([short, long], 3)
    expected = gjs(np.array([[0.9, 0.1], [0.1, 0.9]]))
    assert found.lower[:2] == pytest.approx([0, expected], abs=1e-9)
    assert np.isnan(found.upper).tolist() == [False, False, True]


def test_the_interval_of_the_mean_reaches_beyond_both_ends():
    bounds = Bounds(
        lower=np.array([[1.0, np.nan], [3.0, 2.0], [5.0, np.nan]]),
        upper=np.array([[2.0, np.nan], [4.0, 3.0], [9.0, np.nan]]),
    )
    found = bounded_means(bounds, np.arange(3, dtype=np.intp))
    assert found.n.tolist() == [3, 1]
    assert (found.lower[0], found.upper[0]) == (3, 5)
    assert found.low[0] == pytest.approx(3 - 1.96 * 2 / math.sqrt(3))
    assert found.high[0] == pytest.approx(5 + 1.96 * math.sqrt(13) / math.sqrt(3))
    assert found.lower[1] == 2
    assert np.isnan(found.low[1])


def test_the_interval_covers_the_mean_over_cases():
    """100 studies of 25 cases; conservative: 95 % or more but for binomial error."""
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 1.5, (4000, 1, 10)) + rng.normal(0, 1, (4000, 3, 10))
    truth = gjs(softmax(logits)).mean()
    p = softmax(logits[:2500])
    bounds = js_bounds([[listed(row, 4) for row in case] for case in p], rounds=20)
    inside = []
    for study in np.split(np.arange(2500), 100):
        each = Bounds(lower=bounds.lower[study, None], upper=bounds.upper[study, None])
        found = bounded_means(each, np.arange(25, dtype=np.intp))
        inside.append(found.low[0] <= truth <= found.high[0])
    assert np.mean(inside) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 100)
