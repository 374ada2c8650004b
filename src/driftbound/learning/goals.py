"""What the two trainings minimise over the scores of a batch, and what they log of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from driftbound.learning.logprobs import Scores
from driftbound.learning.objectives import (
    has_negative,
    implicit_rewards,
    pairwise_loss,
    plackett_luce_loss,
    ranking,
)

Batch = dict[str, Any]
Stats = dict[str, tuple[float, float]]
"""Name to (sum, count), so that means over several batches are exact."""


@dataclass(frozen=True, slots=True)
class Bootstrapping:
    """Next-token NLL on all trajectories, per token (arXiv 2510.04142, supervised bootstrapping)."""

    linear: ClassVar[bool] = True
    """Whether the loss's derivatives do not depend on the scores."""

    def size(self, batch: Batch) -> int:
        """What the loss is averaged over: answer tokens."""
        return sum(len(part["target"]) for part in batch.get("parts", [batch]))

    def __call__(self, scores: Scores, batch: Batch) -> tuple[Tensor, Stats]:
        """Summed loss and what to log."""
        tokens = float(scores.tokens.sum())
        return -scores.logps.sum(), {"logp_per_token": (float(scores.plain.sum()), tokens)}


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "plackett_luce": plackett_luce_loss,
    "pairwise": pairwise_loss,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The consensus (column 0) preferred over all trajectories at once, with an optional NLL anchor."""

    objective: str
    beta: float
    anchor: float
    length_normalised: bool
    teachers: tuple[str, ...]
    """Names of columns 1 to K, for the log."""
    linear: ClassVar[bool] = False

    def size(self, batch: Batch) -> int:
        """What the loss is averaged over: groups with at least one negative."""
        return int(has_negative(batch["valid"], batch["log_weights"]).sum())

    def __call__(self, scores: Scores, batch: Batch) -> tuple[Tensor, Stats]:
        """Summed loss and what to log."""
        valid, reference = batch["valid"], batch["reference"]
        counted = has_negative(valid, batch["log_weights"])
        scale = scores.tokens.clamp_min(1) if self.length_normalised else 1
        rewards = implicit_rewards(scores.logps / scale, reference / scale, self.beta)
        loss = LOSSES[self.objective](rewards, valid, batch["log_weights"])
        preference = loss.detach()
        if self.anchor:
            loss = loss - self.anchor * scores.logps[:, 0] / scores.tokens[:, 0].clamp_min(1)
        return loss[counted].sum(), self._stats(scores, rewards.detach(), preference, counted, batch)

    def _stats(
        self, scores: Scores, rewards: Tensor, preference: Tensor, counted: Tensor, batch: Batch
    ) -> Stats:
        valid, n = batch["valid"], float(counted.sum())
        rank = ranking(rewards, valid)
        stats: Stats = {
            "preference_loss": (float(preference[counted].sum()), n),
            "rewards/consensus": (float(rewards[counted, 0].sum()), n),
            "rewards/margin": (float(rank.margin[counted].sum()), n),
            "rewards/accuracy": (float(rank.accuracy[counted].sum()), n),
            "logp_consensus": (float(scores.plain[counted, 0].sum()), n),
            "logp_consensus_per_token": (
                float(scores.plain[counted, 0].sum()),
                float(scores.tokens[counted, 0].sum()),
            ),
        }
        for k, teacher in enumerate(self.teachers, start=1):
            there = counted & valid[:, k]
            stats[f"rewards/rejected/{teacher}"] = (float(rewards[there, k].sum()), float(there.sum()))
        return stats
