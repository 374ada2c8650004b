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
        temperature: float | Sequence[float],
        top_p: float,
        seeds: Sequence[int] | None,
        logprobs: int | None,
    ) -> None:
        """``temperature`` of all rows or of each; ``logprobs``: how many alternatives ``likely`` shall give.

        Raises ``ModelError``.
        """
        each = list(temperature) if isinstance(temperature, Sequence) else [temperature] * rows
        if len(each) != rows:
            raise ModelError(f"sampling: {len(each)} temperatures for {rows} questions. Give each one.")
        if not (all(0 <= one < math.inf for one in each) and 0 < top_p <= 1):
            raise ModelError(
                f"sampling with temperature {temperature} and top_p {top_p}: a temperature is finite and not "
                "below 0, top_p above 0 and at most 1. Change them."
            )
        if any(each) and (seeds is None or len(seeds) != rows):
            raise ModelError(
                f"sampling at temperature {temperature}: {len(seeds or ())} seeds for {rows} questions. Give "
                "each question a seed."
            )
        self._drawn = [row for row, one in enumerate(each) if one]
        self._temperatures = torch.tensor([[each[row]] for row in self._drawn], dtype=torch.float64)
        self._top_p, self._logprobs = top_p, logprobs
        self._generators = [torch.Generator().manual_seed((seeds or ())[row]) for row in self._drawn]
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
        taken = scores.argmax(-1)
        if self._drawn:
            numbers = [torch.rand((), generator=g, dtype=torch.float64) for g in self._generators]
            temperatures, points = (t.to(scores.device) for t in (self._temperatures, torch.stack(numbers)))
            taken[self._drawn] = draw(scores[self._drawn], temperatures, self._top_p, points)
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


def draw(scores: Tensor, temperature: float | Tensor, top_p: float, numbers: Tensor) -> Tensor:
    """One token for each row of logits (B, V), by a number in [0, 1) each; ``temperature`` one or (B, 1).

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
