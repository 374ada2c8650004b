"""Log-probabilities of answers: one sum per candidate, in float32."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint

from driftbound.learning.attention import BRANCHES, FLEX, block_mask, branch_layout
from driftbound.learning.families import check_head, check_scorable
from driftbound.learning.packing import branch_mask
from driftbound.learning.tower import showing

OURS = frozenset(
    {
        *("at", "target", "token_weights", "slot", "segment", "branch", "shown"),
        *("valid", "log_weights", "reference", "reference_plain", "counts"),
    }
)
"""What collator and loader add for us; everything else of a batch is the model's own."""
_INSIDE = frozenset({"at", "target", "segment", "branch", "shown", "read"})
"""What of that the forward needs. No fractions: wrappers cast those to bfloat16."""
_EARLIER = "forward_without_scoring"
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

    ``model`` may be wrapped (DDP, FSDP2, DeepSpeed, adapters); then ``install`` came before the wrapping.
    Logits are computed for the tokens that are scored, never for prompts, images or padding. Raises
    ``ModelError`` for a model that cannot be scored this way, or not when packed (see ``families``).
    """
    if "parts" in batch:
        return together([score(model, part | {"valid": batch["valid"]}) for part in batch["parts"]])
    install(model)
    token = model(**{name: value for name, value in batch.items() if name in _INSIDE or name not in OURS})
    shape, slot = batch["valid"].shape, batch["slot"]

    def sums(values: Tensor) -> Tensor:
        return values.new_zeros(shape.numel()).index_add(0, slot, values).view(shape)

    return Scores(sums(token * batch["token_weights"]), sums(token.detach()), sums(torch.ones_like(slot)))


@torch.no_grad()
def distributions(model: Any, batch: dict[str, Any]) -> NDArray[np.float32]:
    """Log-probabilities of every next token at each of a batch's S targets, (S, V), in nats.

    On the device there is never more than a part of them. Raises ``ModelError`` as ``score`` does.
    """
    found: list[NDArray[np.float32]] = []

    def read(head: Callable[[Tensor], Tensor], hidden: Tensor, target: Tensor, size: int) -> Tensor:
        own = torch.empty(len(target), device=hidden.device)
        for start in range(0, len(target), size):
            part = slice(start, start + size)
            logps = _wide(head(hidden[part])).log_softmax(1)
            own[part] = logps.gather(1, target[part, None])[:, 0]
            if not found:
                found.append(np.empty((len(target), logps.shape[1]), np.float32))
            found[0][part] = logps.cpu().numpy()
        return own

    install(model)
    model(**{name: value for name, value in batch.items() if name in _INSIDE or name not in OURS}, read=read)
    return found[0]


def together(scores: Sequence[Scores]) -> Scores:
    """Of parts of one batch: each candidate stands in one, and has 0 in the others."""
    return Scores(*(torch.stack(each).sum(0) for each in zip(*scores, strict=True)))


def install(model: Any) -> None:
    """Teach the model's own forward to score, once: a call that brings ``at`` returns log-probabilities.

    Parameters are whole, gathered and cast only inside the forward that a wrapper calls. Every other call
    is the stock one. Copies, ``save_pretrained`` and ``generate`` do not see the difference.
    """
    inner = inner_of(model)
    if _EARLIER not in vars(inner):
        setattr(inner, _EARLIER, vars(inner).get("forward"))  # of accelerate, where layers are spread out
        kind: Any = type(inner)
        inner.forward = MethodType(_scoring(kind), inner)


def inner_of(model: Any) -> Any:
    """The model itself, without what wraps it for training on several devices or for adapters."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "peft_config") else model


@functools.cache
def _scoring(kind: Any) -> Callable[..., Any]:
    """The forward of a class, with its signature, which ``generate`` looks at. Holds no model."""

    @functools.wraps(kind.forward)
    def forward(self: Any, *args: Any, **given: Any) -> Any:
        if "at" not in given:
            return _stock(self)(*args, **given)
        return _scored(self, {name: value for name, value in given.items() if value is not None})

    return forward


def _stock(model: Any) -> Callable[..., Any]:
    return vars(model)[_EARLIER] or MethodType(type(model).forward, model)


def _scored(model: Any, given: dict[str, Any]) -> Tensor:
    """Log-probability of each of S targets, (S,): one stock forward whose head does not make logits.

    The head is called once, by the model, as wrappers of it expect; what it is handed is (R, T, D).
    ``read`` in ``given`` makes more of the head and the hidden states than ``_token_logps`` does.
    """
    check_scorable(model, given)
    inputs = {name: value for name, value in given.items() if name not in _INSIDE}
    if "branch" in given:
        attention = model.config.get_text_config(decoder=True)._attn_implementation
        mask = {BRANCHES: branch_layout, FLEX: block_mask}.get(attention, branch_mask)
        inputs["attention_mask"] = mask(given["segment"], given["branch"])
    head = model.get_output_embeddings()
    row, position = given["at"].unbind(1)
    # from the configuration: a head that is sharded (ZeRO-3) has no shape
    size = max(1, _LOGITS // model.config.get_text_config(decoder=True).vocab_size)
    read = given.get("read", _token_logps)
    found: list[Tensor] = []

    def instead(hidden: Tensor, *_: Any) -> Tensor:
        # not hidden[row, position]: a prompt's last token is there for every answer, and going backward
        # threads would add them up in any order
        foretelling = embedding(row * hidden.shape[1] + position, hidden.flatten(0, 1))
        found.append(read(logits_of, foretelling, given["target"], size)[None, :, None])
        return found[0]

    with showing(model, given.get("shown")), _in_place_of_forward(head, instead) as logits_of:
        own = _stock(model)(**inputs, use_cache=False).logits
    check_head(model, found, own)
    return found[0][0, :, 0]


@contextmanager
def _in_place_of_forward(module: Any, function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Have a module do something else where its forward is called; yields what it did before."""
    before = vars(module).get("forward")
    stock = module.forward
    module.forward = function
    try:
        yield stock
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def _token_logps(head: Callable[[Tensor], Tensor], hidden: Tensor, target: Tensor, size: int) -> Tensor:
    """Log-probability of each target under its hidden state, (S,), in float32 or better; ``size`` at once."""

    def part(some: Tensor, wanted: Tensor) -> Tensor:
        logits = _wide(head(some))
        return torch.gather(logits, 1, wanted[:, None])[:, 0] - torch.logsumexp(logits, dim=1)

    if len(target) <= size or not torch.is_grad_enabled():
        parts = [part(h, t) for h, t in zip(hidden.split(size), target.split(size), strict=True)]
    else:
        parts = [
            checkpoint(part, h, t, use_reentrant=False)
            for h, t in zip(hidden.split(size), target.split(size), strict=True)
        ]
    return torch.cat(parts)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
