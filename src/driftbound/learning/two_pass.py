"""Going backward row by row: all rewards first, without gradients, then each row times its coefficient."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from driftbound.learning.logprobs import Scores, together


def backward_in_parts(
    parts: Sequence[dict[str, Any]],
    score: Callable[[dict[str, Any]], Scores],
    loss_of: Callable[[Scores], Tensor],
    backward: Callable[[Tensor], None],
    *,
    linear: bool,
    forwards: int = 0,
    unsynchronised: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Scores:
    """Add to the gradients what the whole loss would add, with the activations of one part at a time.

    By the chain rule the gradient is the sum over candidates of the loss's derivative by their
    log-probability times the gradient of that; under the preference of arXiv 2510.04142 the derivatives are
    beta times the softmax of all rewards. So the parts are scored once to know them all, and once more, each
    by itself and with the random numbers of the first time, to go backward. A ``linear`` loss, whose
    derivatives are known beforehand, is spared the first pass.

    Parts have ``valid`` (B, C) of the whole; ``score`` gives 0 where a part has no answer. ``forwards``: go
    through at least so many, where processes must keep step; the last one again then counts nothing. All
    backward passes but the last are ``unsynchronised``. Returns the scores of the whole, detached.
    """
    steps = [*parts, *[parts[-1]] * (forwards - len(parts))]
    before: list[list[Tensor]] = []
    found: list[Scores] = []
    if linear:
        nothing = torch.zeros(parts[0]["valid"].shape, device=parts[0]["valid"].device)
        whole = Scores(nothing, nothing, nothing)
    else:
        with torch.no_grad():
            for part in steps:
                before.append(_random_states())
                found.append(score(part))
        whole = together(found[: len(parts)])
    leaf = whole.logps.detach().requires_grad_()
    (derivative,) = torch.autograd.grad(loss_of(whole._replace(logps=leaf)), leaf)
    again: list[Scores] = []
    for n, part in enumerate(steps):
        with nullcontext() if n == len(steps) - 1 else unsynchronised():
            if before:
                _set_random_states(before[n])
            scores = score(part)
            share = (scores.logps * derivative).sum()
            backward(share if n < len(parts) else 0.0 * share)
        again.append(scores._replace(logps=scores.logps.detach()))
    return together(again[: len(parts)])


def _random_states() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]


def _set_random_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])
