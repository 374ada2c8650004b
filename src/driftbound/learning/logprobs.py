"""Log-probabilities of answers: one sum per candidate, in float32."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from driftbound.learning.collator import IGNORE

_OURS = frozenset({"labels", "token_weights", "row", "valid", "log_weights", "reference"})
"""What the collator adds for us; everything else of a batch goes to the model."""


class Scores(NamedTuple):
    """What a policy thinks of B x C candidates; 0 where there is none."""

    logps: Tensor
    """(B, C) sum of token log-probabilities, in nats, each times its token's weight."""
    plain: Tensor
    """(B, C) the same without token weights, detached."""
    tokens: Tensor
    """(B, C) number of answer tokens, end token included."""


def score(model: nn.Module, batch: dict[str, Tensor]) -> Scores:
    """Score every candidate of a batch; with gradient where enabled.

    Logits are computed from the last prompt token of the shortest prompt on, never for whole prompts.
    """
    labels = batch["labels"]
    scored = labels != IGNORE
    start = int(scored.int().argmax(1).min())
    inputs = {name: value for name, value in batch.items() if name not in _OURS}
    keep = labels.shape[1] - start + 1
    logits = model(**inputs, use_cache=False, logits_to_keep=keep).logits[:, :-1]
    target = labels[:, start:]
    kept = target != IGNORE
    token = torch.gather(logits, 2, target.clamp_min(0)[..., None])[..., 0].float()
    token = torch.where(kept, token - torch.logsumexp(logits.float(), dim=2), 0.0)
    weighted = (token * batch["token_weights"][:, start:]).sum(1)
    return Scores(
        _columns(weighted, batch["row"]),
        _columns(token.detach().sum(1), batch["row"]),
        _columns(kept.sum(1), batch["row"]),
    )


def _columns(values: Tensor, row: Tensor) -> Tensor:
    """(R,) per row to (B, C) per candidate."""
    return torch.where(
        row >= 0, values[row.clamp_min(0)], torch.zeros((), dtype=values.dtype, device=values.device)
    )
