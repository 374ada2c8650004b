"""Drawing tokens, each row by a seed of its own, and what was likely at each step."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

from driftbound.errors import ModelError


class Likely(NamedTuple):
    """A token that was taken, and what was likely in its place; log-probabilities in nats."""

    token: int
    logp: float
    best: tuple[tuple[int, float], ...]
    """``(token, log-probability)``, falling."""


class Steps(LogitsProcessor):
    """Takes the tokens in ``generate``: to the model's own loop it leaves nothing but the token taken.

    At temperature 0 that is the likeliest, else one drawn from the ``top_p`` likeliest by the row's own
    generator: one number a step, on the CPU, so that neither neighbours nor the device change it.
    """

    def __init__(
        self,
        rows: int,
        *,
        temperature: float,
        top_p: float,
        seeds: Sequence[int] | None,
        logprobs: int | None,
    ) -> None:
        """``logprobs``: how many alternatives ``likely`` shall give. Raises ``ModelError``."""
        if not (0 <= temperature < math.inf and 0 < top_p <= 1):
            raise ModelError(
                f"sampling with temperature {temperature} and top_p {top_p}: a temperature is finite and not "
                "below 0, top_p above 0 and at most 1. Change them."
            )
        if temperature and (seeds is None or len(seeds) != rows):
            raise ModelError(
                f"sampling at temperature {temperature}: {len(seeds or ())} seeds for {rows} questions. Give "
                "each question a seed."
            )
        self._temperature, self._top_p, self._logprobs = temperature, top_p, logprobs
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds or ()]
        self._raw = torch.empty(0)
        self._taken: list[tuple[Tensor, Tensor, Tensor]] = []

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Within, the model's own logits are seen, before generation settings change them."""
        if self._logprobs is None:
            yield
            return

        def see(_module: Any, _given: Any, output: Any) -> None:
            self._raw = output.logits[:, -1].to(torch.float32, copy=True)

        handle = model.register_forward_hook(see)
        try:
            yield
        finally:
            handle.remove()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._temperature == 0:
            taken = scores.argmax(-1)
        else:
            numbers = [torch.rand((), generator=g, dtype=torch.float64) for g in self._generators]
            taken = draw(scores, self._temperature, self._top_p, torch.stack(numbers).to(scores.device))
        if self._logprobs is not None:
            logps = self._raw.to(scores.device).log_softmax(-1)
            self._taken.append((logps.gather(1, taken[:, None])[:, 0], *logps.topk(self._logprobs)))
        return torch.full_like(scores, -torch.inf).scatter(1, taken[:, None], 0.0)

    def likely(self, row: int, tokens: Sequence[int]) -> list[Likely]:
        """For each of a row's tokens, at temperature 1 and before anything was ruled out; none unless asked.

        ``generate`` may have looked some steps beyond them.
        """
        if not self._taken:
            return []
        by_kind = zip(*self._taken, strict=True)
        own, best, ids = (torch.stack([each[row] for each in some]).tolist() for some in by_kind)
        steps = zip(tokens, own, best, ids, strict=False)
        return [Likely(t, logp, tuple(zip(i, b, strict=True))) for t, logp, b, i in steps]


def draw(scores: Tensor, temperature: float, top_p: float, numbers: Tensor) -> Tensor:
    """One token for each row of logits (B, V), by a number in [0, 1) each.

    The token is where the cumulative probability, in order of the vocabulary, passes the number: no
    rounding error in a logit can make two tokens change places, as it could in order of probability.
    Raises ``ModelError`` for logits that are no numbers.
    """
    probabilities = (scores.double() / temperature).softmax(-1)
    if not bool(probabilities.isfinite().all()):
        raise ModelError("sampling: the model's logits are not finite. Load it in bfloat16 or float32.")
    if top_p < 1:
        falling, order = probabilities.sort(descending=True, stable=True)
        beyond = falling.cumsum(-1) - falling >= top_p
        probabilities = probabilities.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), 0.0)
    reached = probabilities.cumsum(-1)
    total = reached[:, -1:]
    below = torch.minimum(numbers[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(reached, below, right=True)[:, 0]
