"""What the goals minimise and log, against a slow rewriting, finite differences and numbers by hand."""

import math

import numpy as np
import pytest
import torch
from test_learning import align

from driftbound.learning.goals import FineTuning
from driftbound.learning.logprobs import Scores
from driftbound.learning.objectives import negative_shares, plackett_luce_loss

DOUBLE = torch.float64


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def row(*rewards: float) -> torch.Tensor:
    return torch.tensor([rewards], dtype=DOUBLE, requires_grad=True)


def test_shares_are_the_derivatives_by_the_negatives_rewards():
    """By hand: w_k exp r_k; a masked one, and one that is alone and masked, have none."""
    log_weights = torch.tensor([[0.0, 0.3, -0.7, 0.1]], dtype=DOUBLE)
    valid = torch.tensor([[True, True, True, False]])
    found = negative_shares(lambda r: plackett_luce_loss(r, valid, log_weights), row(0.2, 1.0, -0.5, 3.0))
    pulls = [math.exp(0.3 + 1.0), math.exp(-0.7 - 0.5), 0.0]
    assert found.tolist()[0] == pytest.approx([pull / sum(pulls) for pull in pulls])
    alone = torch.tensor([[True, False]])
    assert negative_shares(lambda r: plackett_luce_loss(r, alone), row(0.0, 1.0)).tolist() == [[0.0]]


@pytest.mark.parametrize("objective", ["plackett_luce", "pairwise"])
@pytest.mark.parametrize("terms", [{}, {"nca": 0.7}, {"dpop": 3.0}, {"nca": 0.7, "dpop": 3.0, "anchor": 0.5}])
def test_logged_shares_are_of_the_whole_loss(objective, terms):
    """Case 0 has two negatives: by finite differences of the slow loss, with each term."""
    slopes = []
    for k in (1, 2):
        ends = []
        for step in (1e-6, -1e-6):
            moved = LOGPS.clone()
            moved[0, k] += step
            ends.append(slowly(moved, objective=objective, **terms))
        slopes.append(ends[0] - ends[1])
    stats = goal_of(LOGPS, objective=objective, **terms)[1]
    expected = slopes[1] / sum(slopes)  # case 1 has no second negative
    assert stats["share/rejected/two"] == (pytest.approx(expected, abs=1e-6), 1.0)


# ---- the whole goal -----------------------------------------------------------------------------

TOKENS = torch.tensor([[4, 8, 2], [5, 3, 0], [7, 0, 0]])
VALID = TOKENS > 0
LOG_WEIGHTS = torch.tensor([[0.0, 0.3, -0.7], [0.0, 0.1, 0.0], [0.0, 0.0, 0.0]], dtype=DOUBLE)
REFERENCE = torch.tensor([[-6.0, -8.0, -3.0], [-5.0, -4.0, 0.0], [-9.0, 0.0, 0.0]], dtype=DOUBLE)
LOGPS = torch.tensor([[-7.5, -7.0, -3.4], [-3.0, -6.0, 0.0], [-8.0, 0.0, 0.0]], dtype=DOUBLE)


def goal_of(logps, **changes):
    scores = Scores(logps, logps.detach() - 1, TOKENS)
    batch = {"valid": VALID, "log_weights": LOG_WEIGHTS, "reference": REFERENCE}
    return align(**({"beta": 0.5} | changes))(scores, batch)


def slowly(logps, *, objective="plackett_luce", beta=0.5, anchor=0.0, nca=0.0, dpop=0.0, per_token=False):
    """Case by case, answer by answer, in Python's floats."""
    total = 0.0
    for b in range(2):  # the third has no negative
        rivals = [k for k in (1, 2) if VALID[b, k]]
        weight = {k: math.exp(LOG_WEIGHTS[b, k]) for k in rivals}
        D = {c: float(logps[b, c] - REFERENCE[b, c]) for c in (0, *rivals)}
        if per_token:
            D = {c: value / int(TOKENS[b, c]) for c, value in D.items()}
        first = beta * (D[0] - dpop * max(0.0, -D[0]))
        if objective == "pairwise":
            terms = [weight[k] * math.log(1 + math.exp(beta * D[k] - first)) for k in rivals]
            total += sum(terms) / sum(weight.values())
        else:
            sums = sum(weight[k] * math.exp(beta * D[k]) for k in rivals)
            total -= math.log(math.exp(first) / (math.exp(first) + sums))
        total += anchor * -float(logps[b, 0]) / int(TOKENS[b, 0])
        down = math.log(sigmoid(-beta * D[0]))
        down += sum(weight[k] * math.log(sigmoid(-beta * D[k])) for k in rivals)
        total += nca * (-math.log(sigmoid(beta * D[0])) - down / (1 + len(rivals)))
    return total


@pytest.mark.parametrize("objective", ["plackett_luce", "pairwise"])
@pytest.mark.parametrize("terms", [{}, {"nca": 0.7}, {"dpop": 3.0}, {"nca": 0.7, "dpop": 3.0, "anchor": 0.5}])
@pytest.mark.parametrize("per_token", [False, True])
def test_value_and_gradient_of_every_term(objective, terms, per_token):
    """Value against the slow one, gradient against its finite differences."""
    logps = LOGPS.clone().requires_grad_()
    loss, _ = goal_of(logps, objective=objective, length_normalised=per_token, **terms)
    assert loss.item() == pytest.approx(slowly(LOGPS, objective=objective, per_token=per_token, **terms))
    (gradient,) = torch.autograd.grad(loss, logps)
    for b, c in np.ndindex(3, 3):
        ends = []
        for step in (1e-6, -1e-6):
            moved = LOGPS.clone()
            moved[b, c] += step
            ends.append(slowly(moved, objective=objective, per_token=per_token, **terms))
        expected = (ends[0] - ends[1]) / 2e-6 if VALID[b, c] else 0.0
        assert float(gradient[b, c]) == pytest.approx(expected, abs=1e-7)


def test_terms_that_are_off_change_no_bit():
    whole = goal_of(LOGPS, anchor=0.5)
    assert torch.equal(whole[0], goal_of(LOGPS, anchor=0.5, nca=0.0, dpop=0.0)[0])
    rewards = 0.5 * (LOGPS - REFERENCE)
    bare = plackett_luce_loss(rewards, VALID, LOG_WEIGHTS)
    assert torch.equal(whole[0], (bare - 0.5 * LOGPS[:, 0] / TOKENS[:, 0])[:2].sum())
    assert not {"nca", "dpop"} & whole[1].keys()


def test_what_is_logged_of_the_terms():
    """By case 0: r_0 = 0.5 * -1.5 = -0.75, under a lambda of 2 down by 1.5; case 1: r_0 = 1, nothing."""
    stats = goal_of(LOGPS, dpop=2.0, nca=1.0)[1]
    assert stats["dpop"] == (pytest.approx(1.5), 2.0)
    absolute = slowly(LOGPS, nca=1.0) - slowly(LOGPS)
    assert stats["nca"] == (pytest.approx(absolute), 2.0)
    assert stats["rewards/consensus"] == (pytest.approx(-0.75 + 1.0), 2.0)
    stats = goal_of(LOGPS)[1]
    rivals = [math.exp(0.3 + 0.5 * 1.0), math.exp(-0.7 + 0.5 * -0.4)]
    assert stats["share/rejected/one"] == (pytest.approx(rivals[0] / sum(rivals) + 1.0), 2.0)
    assert stats["share/rejected/two"] == (pytest.approx(rivals[1] / sum(rivals)), 1.0)


def test_fine_tuning_is_the_anchor_alone():
    """Its gradient is what an anchor of 1 adds, and it wants no reference; every case counts."""
    logps = LOGPS.clone().requires_grad_()
    scores = Scores(logps, logps.detach() - 1, TOKENS)
    loss, stats = FineTuning()(scores, {"valid": VALID})
    assert loss.item() == pytest.approx(7.5 / 4 + 3.0 / 5 + 8.0 / 7)
    assert FineTuning().size({"valid": VALID}) == 3
    assert stats["logp_consensus_per_token"] == (pytest.approx(-18.5 - 3), 16.0)
    (alone,) = torch.autograd.grad(loss, logps)
    anchored, bare = (torch.autograd.grad(goal_of(logps, anchor=a)[0], logps)[0] for a in (1.0, 0.0))
    torch.testing.assert_close(alone[:2], (anchored - bare)[:2])
