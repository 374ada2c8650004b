"""Log-probabilities of answers: one sum per candidate, in float32."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint

from driftbound.learning.attention import BRANCHES, branch_layout
from driftbound.learning.families import check_head, check_scorable
from driftbound.learning.packing import branch_mask
from driftbound.learning.tower import showing

_OURS = frozenset(
    {
        "at",
        "target",
        "token_weights",
        "slot",
        "segment",
        "branch",
        "shown",
        "valid",
        "log_weights",
        "reference",
    }
)
"""What the collator adds for us; everything else of a batch goes to the model."""
_LOGITS = 2**24
"""How many logits are held at once; more are computed in parts, and again when going backward."""


class Scores(NamedTuple):
    """What a policy thinks of B x C candidates; 0 where there is none."""

    logps: Tensor
    """(B, C) sum of token log-probabilities, in nats, each times its token's weight."""
    plain: Tensor
    """(B, C) the same without token weights, detached."""
    tokens: Tensor
    """(B, C) number of answer tokens, end token included."""


def score(model: Any, batch: dict[str, Any]) -> Scores:
    """Score every candidate of a batch; with gradient where enabled.

    Logits are computed for the tokens that are scored, never for prompts, images or padding. Raises
    ``ModelError`` for a model that cannot be scored this way, or not when packed (see ``families``).
    """
    if "parts" in batch:
        found = [score(model, part | {"valid": batch["valid"]}) for part in batch["parts"]]
        return Scores(*(torch.stack(each).sum(0) for each in zip(*found, strict=True)))
    check_scorable(model, batch)
    inputs = {name: value for name, value in batch.items() if name not in _OURS}
    if "branch" in batch:
        blocks = model.get_decoder().config._attn_implementation == BRANCHES
        make = branch_layout if blocks else branch_mask
        inputs["attention_mask"] = make(batch["segment"], batch["branch"])
    with showing(model, batch.get("shown")):
        hidden, logits = _forward(model, inputs)
    head = model.get_output_embeddings()
    check_head(model, head(hidden[:1, -1]), logits[:1, -1])
    row, position = batch["at"].unbind(1)
    # not hidden[row, position]: a prompt's last token is there for every answer, and going backward threads
    # would add them up in any order
    foretelling = embedding(row * hidden.shape[1] + position, hidden.flatten(0, 1))
    token = _token_logps(head, foretelling, batch["target"])
    shape, slot = batch["valid"].shape, batch["slot"]

    def sums(values: Tensor) -> Tensor:
        return values.new_zeros(shape.numel()).index_add(0, slot, values).view(shape)

    return Scores(sums(token * batch["token_weights"]), sums(token.detach()), sums(torch.ones_like(slot)))


def _forward(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What the decoder hands to the head, (R, T, D), from one ordinary forward of the whole model.

    With it the model's own logits of the last tokens, (R, 1, V), where it can leave out the others.
    """
    caught: list[Tensor] = []

    def catch(module: Any, given: Any, output: Any) -> None:
        caught.append(output.last_hidden_state)

    handle = model.get_decoder().register_forward_hook(catch)
    try:
        logits = model(**inputs, use_cache=False, logits_to_keep=1).logits
    finally:
        handle.remove()
    return caught[0], logits


def _token_logps(head: Callable[[Tensor], Tensor], hidden: Tensor, target: Tensor) -> Tensor:
    """Log-probability of each target under its hidden state, (S,), in float32 or better."""

    def part(some: Tensor, wanted: Tensor) -> Tensor:
        logits = head(some)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return torch.gather(logits, 1, wanted[:, None])[:, 0] - torch.logsumexp(logits, dim=1)

    size = max(1, _LOGITS // head.weight.shape[0])  # type: ignore[attr-defined]
    if len(target) <= size or not torch.is_grad_enabled():
        parts = [part(h, t) for h, t in zip(hidden.split(size), target.split(size), strict=True)]
    else:
        parts = [
            checkpoint(part, h, t, use_reentrant=False)
            for h, t in zip(hidden.split(size), target.split(size), strict=True)
        ]
    return torch.cat(parts)
