"""The losses, as pure functions of rewards. This APO is not TRL's `apo_zero` (Anchored PO)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus


def implicit_rewards(logps: Tensor, reference_logps: Tensor, beta: float) -> Tensor:
    """``beta * log(pi / pi_reference)`` of each candidate, (B, C), in at least float32.

    arXiv 2510.04142, constraint-aware optimisation: the reference is the frozen bootstrapped student.
    """
    return beta * (_at_least_float32(logps) - _at_least_float32(reference_logps))


def plackett_luce_loss(
    rewards: Tensor, valid: Tensor | None = None, log_weights: Tensor | None = None
) -> Tensor:
    """Negative log-probability that the consensus is the first choice among all candidates, (B,).

    Shapes: ``rewards`` (B, C), column 0 the consensus, the other C - 1 = K columns the teachers.
    ``valid`` (B, C), bool: False takes a negative out, exactly as if its column did not exist; what it
    says of column 0 does not matter. ``log_weights`` (B, C) or (C,): logarithms of the negatives'
    weights, column 0 ignored; -inf takes a negative out.

        -log( exp r_0 / (exp r_0 + sum_k w_k exp r_k) )

    (arXiv 2510.04142, the preference over all N source trajectories at once; with K = 1 this is DPO,
    with one-hot targets InfoNCA, and the same as S-DPO.) Through logsumexp, in float32 or better. A
    group without a valid negative has loss 0 and gradient 0: exclude it from the mean and count it
    (``has_negative``).

    >>> plackett_luce_loss(torch.zeros(1, 8)).item() == torch.tensor(8.0).log().item()
    True
    """
    scores = _with_negatives(rewards, valid, log_weights)
    return torch.logsumexp(scores, dim=1) - scores[:, 0]


def pairwise_loss(rewards: Tensor, valid: Tensor | None = None, log_weights: Tensor | None = None) -> Tensor:
    """Weighted mean over the negatives of DPO's ``softplus(r_k - r_0)``, (B,); arguments as above.

    What a pairwise trainer does with one row per negative. A group without a valid negative has loss 0.
    """
    scores = _with_negatives(torch.zeros_like(rewards), valid, log_weights)[:, 1:]
    weight = scores.exp()
    rewards = _at_least_float32(rewards)
    terms = softplus(torch.where(weight > 0, rewards[:, 1:] - rewards[:, :1], 0.0))
    return (weight * terms).sum(1) / weight.sum(1).clamp_min(torch.finfo(weight.dtype).tiny)


def with_floor(rewards: Tensor, weight: float) -> Tensor:
    """Rewards (B, C) with that of the consensus lowered by ``weight`` times how far it is below zero.

    DPOP (Smaug, arXiv 2402.13228): beta * (D_0 - weight * max(0, -D_0)) in place of beta * D_0. Inside a
    preference loss it makes a consensus that falls below its reference cost more than a margin can win.
    """
    first = rewards[:, :1]
    return torch.cat([first - weight * (-first).clamp_min(0), rewards[:, 1:]], dim=1)


def absolute_term(rewards: Tensor, valid: Tensor | None = None, log_weights: Tensor | None = None) -> Tensor:
    """NCA's loss with the consensus as the one good answer, (B,); arguments as of ``plackett_luce_loss``.

        -log s(r_0) - 1/C [ log s(-r_0) + sum_k w_k log s(-r_k) ],    s the sigmoid, C the candidates there

    (arXiv 2402.05369, with one-hot targets; C = 2: -log s(r_0) - 1/2 log s(-r_0) - 1/2 log s(-r_1).)
    Its minimum depends on each reward alone, not on margins: it keeps the consensus from falling.
    """
    scores = _with_negatives(torch.zeros_like(rewards), valid, log_weights)
    weight = scores.exp()
    rewards = _at_least_float32(rewards)
    there = weight > 0
    down = weight * softplus(torch.where(there, rewards, 0.0))
    return softplus(-rewards[:, 0]) + down.sum(1) / there.sum(1)


def negative_shares(loss: Callable[[Tensor], Tensor], rewards: Tensor) -> Tensor:
    """How the pressure on the negatives is shared out among them, (B, K); sums to 1; without gradient.

    That is the derivative of ``loss`` (rewards (B, C) to (B,), each group's of its own rewards alone) by each
    negative's reward, over their sum. Where nothing presses any more, and where there is no negative: zeros.
    """
    with torch.enable_grad():
        leaf = _at_least_float32(rewards.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    pressure = gradient[:, 1:]
    return pressure / pressure.sum(1, keepdim=True).clamp_min(torch.finfo(pressure.dtype).tiny)


def has_negative(valid: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """Which groups have at least one negative that counts, (B,) bool."""
    scores = _with_negatives(
        torch.zeros(valid.shape), valid.cpu(), None if log_weights is None else log_weights.cpu()
    )
    return torch.isfinite(scores[:, 1:]).any(1).to(valid.device)


class Ranking(NamedTuple):
    """How the consensus stands against its negatives; without gradient."""

    margin: Tensor
    """(B,) its reward minus the hardest negative's; +inf without a negative."""
    accuracy: Tensor
    """(B,) 1.0 where the margin is above zero."""


def ranking(rewards: Tensor, valid: Tensor) -> Ranking:
    """Margin and accuracy against the hardest valid negative."""
    scores = _with_negatives(rewards.detach(), valid, None)
    margin = scores[:, 0] - scores[:, 1:].amax(dim=1)
    return Ranking(margin, (margin > 0).to(scores.dtype))


def _with_negatives(rewards: Tensor, valid: Tensor | None, log_weights: Tensor | None) -> Tensor:
    """Rewards plus log-weights, -inf where a negative does not count; column 0 untouched."""
    scores = _at_least_float32(rewards)
    if scores.dim() != 2 or scores.shape[1] < 1:
        raise ValueError(f"rewards must be (groups, candidates), got {tuple(rewards.shape)}")
    first, others = scores[:, :1], scores[:, 1:]
    if log_weights is not None:
        others = others + log_weights.to(others).expand_as(scores)[:, 1:]
    if valid is not None:
        others = others.masked_fill(~valid.bool()[:, 1:], -torch.inf)
    return torch.cat([first, others], dim=1)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
