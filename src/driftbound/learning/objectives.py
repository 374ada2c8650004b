"""The losses, as pure functions of rewards. This APO is not TRL's `apo_zero` (Anchored PO)."""

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
