"""The losses against numbers derived by hand, and against DPO written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.learning.objectives import (
    absolute_term,
    has_negative,
    implicit_rewards,
    pairwise_loss,
    plackett_luce_loss,
    ranking,
    with_floor,
)

DOUBLE = torch.float64
REWARDS = st.lists(st.floats(-50, 50), min_size=2, max_size=9)


def row(*rewards: float) -> torch.Tensor:
    return torch.tensor([rewards], dtype=DOUBLE, requires_grad=True)


def test_loss_at_start_is_the_log_of_the_number_of_candidates():
    """Policy and reference are one: every reward is 0, p = 1 / (N + 1); ln 8 = 2.0794 for seven teachers."""
    logps = torch.randn(3, 8, dtype=DOUBLE)
    loss = plackett_luce_loss(implicit_rewards(logps, logps, beta=0.1))
    torch.testing.assert_close(loss, torch.full((3,), math.log(8), dtype=DOUBLE))


def test_three_candidates_by_hand():
    """Rewards ln 6, ln 2, ln 1: the consensus owns 6 / (6 + 2 + 1) of the mass; margin ln 6 - ln 2 = ln 3."""
    rewards = row(math.log(6), math.log(2), 0.0)
    assert plackett_luce_loss(rewards).item() == pytest.approx(math.log(9 / 6))
    assert ranking(rewards, torch.ones(1, 3, dtype=torch.bool)).margin.item() == pytest.approx(math.log(3))


def test_one_negative_is_dpo_in_value_and_gradient():
    """DPO: -log sigmoid(r_0 - r_1), gradient -(1 - sigmoid) on the chosen and its opposite on the other."""
    for loss_of in (plackett_luce_loss, pairwise_loss):
        rewards = row(0.3, -0.9)
        loss = loss_of(rewards)
        loss.sum().backward()
        sigmoid = 1 / (1 + math.exp(-1.2))
        assert loss.item() == pytest.approx(-math.log(sigmoid))
        assert rewards.grad is not None
        torch.testing.assert_close(rewards.grad, torch.tensor([[sigmoid - 1, 1 - sigmoid]], dtype=DOUBLE))


def test_pairwise_is_the_mean_of_dpo_terms():
    """Rewards 0, ln 3, -ln 3: terms ln(1 + 3) and ln(1 + 1/3), mean (ln 4 + ln 4/3) / 2."""
    loss = pairwise_loss(row(0.0, math.log(3), -math.log(3)))
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


@given(REWARDS, st.randoms())
@settings(max_examples=50, deadline=None)
def test_order_of_negatives_does_not_matter(rewards, random):
    others = rewards[1:]
    random.shuffle(others)
    for loss_of in (plackett_luce_loss, pairwise_loss):
        torch.testing.assert_close(loss_of(row(*rewards)), loss_of(row(rewards[0], *others)))


@given(REWARDS, st.integers(1, 8), st.floats(-1e4, 1e4))
@settings(max_examples=50, deadline=None)
def test_masking_a_negative_equals_removing_it(rewards, where, junk):
    where = min(where, len(rewards) - 1)
    short = row(*rewards)
    longer = row(*rewards[:where], junk, *rewards[where:])
    valid = torch.ones(longer.shape, dtype=torch.bool)
    valid[0, where] = False
    for loss_of in (plackett_luce_loss, pairwise_loss):
        short.grad = longer.grad = None
        masked, removed = loss_of(longer, valid), loss_of(short)
        torch.testing.assert_close(masked, removed)
        masked.sum().backward()
        removed.sum().backward()
        assert longer.grad is not None
        assert short.grad is not None
        assert longer.grad[0, where] == 0
        torch.testing.assert_close(longer.grad[valid], short.grad[0])


def test_gradient_weights_are_the_softmax():
    """dL/dr_u = p_u and dL/dr_0 = -(1 - p_0) (arXiv 2510.04142; sections 1.5 and 1.6 of our notes)."""
    rewards = row(0.2, 1.0, -0.5, 0.0)
    plackett_luce_loss(rewards).sum().backward()
    weights = [math.exp(r) for r in (0.2, 1.0, -0.5, 0.0)]
    p = [w / sum(weights) for w in weights]
    torch.testing.assert_close(rewards.grad, torch.tensor([[p[0] - 1, *p[1:]]], dtype=DOUBLE))


def test_identical_negatives_act_as_one_with_a_head_start():
    """k times the same negative is one negative whose weight is k."""
    weighted = plackett_luce_loss(row(0.4, 0.1), log_weights=torch.tensor([0.0, math.log(3)], dtype=DOUBLE))
    torch.testing.assert_close(plackett_luce_loss(row(0.4, 0.1, 0.1, 0.1)), weighted)


def test_a_weight_of_zero_removes_and_column_zero_has_no_weight():
    weights = torch.tensor([[7.0, 0.0, -math.inf]], dtype=DOUBLE)
    for loss_of in (plackett_luce_loss, pairwise_loss):
        rewards = row(0.4, 0.1, 9.0)
        loss = loss_of(rewards, log_weights=weights)
        torch.testing.assert_close(loss, loss_of(row(0.4, 0.1)))
        loss.sum().backward()
        assert rewards.grad is not None
        assert torch.isfinite(rewards.grad).all()


@pytest.mark.parametrize("size", [1e3, 1e4])
def test_huge_rewards_do_not_overflow(size):
    """The loss of a beaten consensus is the distance itself, of a winning one zero; float32 and bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        rewards = torch.tensor([[-size, size], [size, -size]], dtype=dtype, requires_grad=True)
        for loss_of in (plackett_luce_loss, pairwise_loss):
            loss = loss_of(rewards)
            assert loss.dtype == torch.float32
            expected = float(rewards[0, 1] - rewards[0, 0])
            assert loss.tolist() == pytest.approx([expected, 0.0], rel=1e-2)
            (gradient,) = torch.autograd.grad(loss.sum(), rewards)
            assert torch.isfinite(gradient).all()


def test_a_group_without_negative_has_no_loss_and_is_found():
    """Nothing to be preferred over: loss and gradient are zero, and has_negative says so."""
    rewards = torch.tensor([[3.0, 1.0], [3.0, 1.0]], dtype=DOUBLE, requires_grad=True)
    valid = torch.tensor([[True, False], [True, True]])
    for loss_of in (plackett_luce_loss, pairwise_loss):
        loss = loss_of(rewards, valid)
        (gradient,) = torch.autograd.grad(loss.sum(), rewards)
        assert loss[0] == 0
        assert gradient[0].tolist() == [0, 0]
        assert loss[1] > 0
    assert has_negative(valid).tolist() == [False, True]
    assert has_negative(torch.tensor([[True, True]]), torch.tensor([[0.0, -math.inf]])).tolist() == [False]


def test_what_the_mask_says_of_the_consensus_does_not_matter():
    valid = torch.tensor([[False, True]])
    torch.testing.assert_close(plackett_luce_loss(row(1.0, 2.0), valid), plackett_luce_loss(row(1.0, 2.0)))


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="groups, candidates"):
        plackett_luce_loss(torch.zeros(3))


def test_floor_under_the_consensus_by_hand():
    """Two below zero, three times that further down: -2 - 3 * 2; above zero nothing changes."""
    assert with_floor(row(-2.0, 1.0, -5.0), 3.0).tolist() == [[-8.0, 1.0, -5.0]]
    assert with_floor(row(2.0, 1.0), 3.0).tolist() == [[2.0, 1.0]]


def test_dpop_of_one_negative_is_smaugs():
    """-log sigmoid(beta (D_0 - D_1 - lambda max(0, -D_0))) with beta 0.5, D_0 = -1, D_1 = 2, lambda = 4."""
    rewards = 0.5 * torch.tensor([[-1.0, 2.0]], dtype=DOUBLE)
    margin = 0.5 * (-1.0 - 2.0 - 4.0 * 1.0)
    assert plackett_luce_loss(with_floor(rewards, 4.0)).item() == pytest.approx(math.log1p(math.exp(-margin)))


def test_absolute_term_by_hand():
    """s(ln 3) = 3/4, s(-ln 3) = 1/4: -log 3/4 - 1/2 (log 1/4 + log 3/4)."""
    found = absolute_term(row(math.log(3), -math.log(3))).item()
    assert found == pytest.approx(-math.log(3 / 4) - (math.log(1 / 4) + math.log(3 / 4)) / 2)


def test_absolute_term_leaves_out_what_is_not_there_and_weighs_the_rest():
    """Of three candidates; a negative of weight 2 counts twice."""
    valid = torch.tensor([[True, True, False, True]])
    weights = torch.tensor([[0.0, math.log(2), 0.0, 0.0]], dtype=DOUBLE)
    found = absolute_term(row(0.0, math.log(3), 1e6, 0.0), valid, weights).item()
    # -log 1/2 - 1/3 (log 1/2 + 2 log 1/4 + log 1/2)
    assert found == pytest.approx(math.log(2) + (math.log(2) + 2 * math.log(4) + math.log(2)) / 3)


def test_absolute_term_has_its_minimum_where_each_reward_does():
    """-log s(r) - 1/C log s(-r) is least where s(r) = C / (C + 1), at ln C; a margin does not move it."""
    rewards = row(math.log(2), -7.0)
    absolute_term(rewards).sum().backward()
    assert rewards.grad is not None
    assert rewards.grad[0, 0].item() == pytest.approx(0.0, abs=1e-12)
    assert rewards.grad[0, 1].item() > 0


@pytest.mark.parametrize(
    "loss_of", [absolute_term, lambda r: plackett_luce_loss(with_floor(r, 2.5))], ids=["nca", "dpop"]
)
def test_anchors_have_the_gradient_of_finite_differences(loss_of):
    rewards = torch.tensor([[0.4, -1.1, 2.0], [-0.7, 0.3, 0.2]], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(loss_of, (rewards,))


def test_absolute_term_does_not_overflow():
    rewards = row(-1e3, 1e3)
    absolute_term(rewards).sum().backward()
    assert absolute_term(rewards).item() == pytest.approx(1e3 + 1e3 / 2)
    assert rewards.grad is not None
    assert torch.isfinite(rewards.grad).all()
