"""What the two trainings minimise over the scores of a batch, and what they log of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from driftbound.learning.logprobs import Scores
from driftbound.learning.objectives import (
    absolute_term,
    has_negative,
    implicit_rewards,
    negative_shares,
    pairwise_loss,
    plackett_luce_loss,
    ranking,
    with_floor,
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


@dataclass(frozen=True, slots=True)
class FineTuning:
    """NLL of the consensus (column 0) per token, mean over cases: ``Alignment``'s anchor alone."""

    linear: ClassVar[bool] = False

    def size(self, batch: Batch) -> int:
        """What the loss is averaged over: cases."""
        return len(batch["valid"])

    def __call__(self, scores: Scores, batch: Batch) -> tuple[Tensor, Stats]:
        """Summed loss and what to log."""
        loss = -scores.logps[:, 0] / scores.tokens[:, 0].clamp_min(1)
        return loss.sum(), _of_consensus(scores, batch["valid"][:, 0], batch)


CHANGE = "logp_consensus_change_per_token"
"""How far log p(consensus) stands above (below: negative) the reference's, of the same cases, in nats per
token; what a floor looks at."""


def _of_consensus(scores: Scores, counted: Tensor, batch: Batch) -> Stats:
    """What is logged of the consensus's own probability, token weights apart."""
    total, tokens = float(scores.plain[counted, 0].sum()), float(scores.tokens[counted, 0].sum())
    stats: Stats = {
        "logp_consensus": (total, float(counted.sum())),
        "logp_consensus_per_token": (total, tokens),
    }
    if "reference_plain" in batch:
        stats[CHANGE] = (total - float(batch["reference_plain"][counted].sum()), tokens)
    return stats


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "plackett_luce": plackett_luce_loss,
    "pairwise": pairwise_loss,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The consensus (column 0) preferred over all trajectories at once, with optional anchors.

    The whole loss of a case, r its rewards (``implicit_rewards``; with ``dpop`` that of the consensus is
    lowered by ``with_floor``): preference + ``anchor`` * NLL of the consensus per token + ``nca`` *
    ``absolute_term``. Token weights enter rewards and NLL alike; the NLL is divided by all its tokens.
    """

    objective: str
    beta: float
    anchor: float
    length_normalised: bool
    teachers: tuple[str, ...]
    """Names of columns 1 to K, for the log."""
    nca: float = 0.0
    dpop: float = 0.0
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
        loss, terms = self._of_rewards(rewards, batch)
        if self.anchor:
            loss = loss - self.anchor * scores.logps[:, 0] / scores.tokens[:, 0].clamp_min(1)
        return loss[counted].sum(), self._stats(scores, rewards.detach(), terms, counted, batch)

    def _of_rewards(self, rewards: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What of the loss depends on the rewards alone, (B,), and its terms, without gradient."""
        valid, log_weights = batch["valid"], batch["log_weights"]
        preferred = with_floor(rewards, self.dpop) if self.dpop else rewards
        loss = LOSSES[self.objective](preferred, valid, log_weights)
        terms = {"preference_loss": loss.detach()}
        if self.dpop:
            terms["dpop"] = (rewards - preferred).detach()[:, 0]
        if self.nca:
            absolute = absolute_term(rewards, valid, log_weights)
            terms["nca"] = absolute.detach()
            loss = loss + self.nca * absolute
        return loss, terms

    def _stats(
        self, scores: Scores, rewards: Tensor, terms: dict[str, Tensor], counted: Tensor, batch: Batch
    ) -> Stats:
        valid, n = batch["valid"], float(counted.sum())
        rank = ranking(rewards, valid)
        stats: Stats = {name: (float(term[counted].sum()), n) for name, term in terms.items()}
        stats |= {
            "rewards/consensus": (float(rewards[counted, 0].sum()), n),
            "rewards/margin": (float(rank.margin[counted].sum()), n),
            "rewards/accuracy": (float(rank.accuracy[counted].sum()), n),
        } | _of_consensus(scores, counted, batch)
        share = negative_shares(lambda own: self._of_rewards(own, batch)[0], rewards)
        for k, teacher in enumerate(self.teachers, start=1):
            there = counted & valid[:, k]
            stats[f"rewards/rejected/{teacher}"] = (float(rewards[there, k].sum()), float(there.sum()))
            stats[f"share/rejected/{teacher}"] = (float(share[there, k - 1].sum()), float(there.sum()))
        return stats


Goal = Bootstrapping | FineTuning | Alignment
"""What a training minimises."""
SFT = "sft"
"""The objective that is ``FineTuning``."""


def preference(settings: Any, teachers: tuple[str, ...]) -> Alignment | FineTuning:
    """What ``align`` or ``MultiStreamConfig`` asks for; ``teachers`` are the names of columns 1 to K."""
    if settings.objective == SFT:
        return FineTuning()
    return Alignment(
        objective=settings.objective,
        beta=settings.beta,
        anchor=settings.anchor,
        nca=settings.nca,
        dpop=settings.dpop,
        length_normalised=settings.length_normalised,
        teachers=teachers,
    )
