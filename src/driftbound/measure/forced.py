"""Forced: one text under N models with one tokenizer, each token's distributions reduced to numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.chain import information, posterior_weights
from driftbound.measure.divergence import Array, entropy, gjs, pairwise_js

LogProbs = NDArray[np.float32]

_NUMBERS = 4_000_000
"""Numbers (positions x teachers x vocabulary) that are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """What N teachers say of the T tokens of one host's text, in nats."""

    js: Array
    """(T,) N-way divergence on this common prefix."""
    mixture: Array
    """(T,) entropy of the teachers' mean distribution."""
    pairs: Array
    """(T, N, N) Jensen-Shannon divergence of every two."""
    kl: Array
    """(T, N) of the host from each teacher."""
    information: Array
    """(T,) about who is writing, given the text so far."""
    entropy: Array
    """(T,) of the host."""


def reduce_forced(logps: Sequence[LogProbs], ids: Sequence[int], host: int) -> Forced:
    """Per-token numbers from N teachers' log-probabilities, (T, V) each, of every next token along a text.

    ``ids`` are the T tokens of the text, ``host`` the number of the teacher who wrote it. Where vocabularies
    are of unequal size, tokens that one lacks have probability 0 there. In blocks of positions, each in
    float64. Raises ``MeasureError`` where rows do not fit or are no distributions (``probabilities``).
    """
    taken = token_logps(logps, ids)
    weights = posterior_weights(taken)
    size = max(1, _NUMBERS // sum(each.shape[1] for each in logps))
    found = [
        _block([each[start : start + size] for each in logps], weights[start : start + size], host)
        for start in range(0, len(ids), size)
    ]
    return Forced(
        js=np.concatenate([each.js for each in found]),
        mixture=np.concatenate([each.mixture for each in found]),
        pairs=np.concatenate([each.pairs for each in found]),
        kl=np.concatenate([each.kl for each in found]),
        information=np.concatenate([each.information for each in found]),
        entropy=np.concatenate([each.entropy for each in found]),
    )


def token_logps(logps: Sequence[LogProbs], ids: Sequence[int]) -> Array:
    """(T, N) log-probabilities of the tokens ``ids`` that were taken; raises ``MeasureError`` where a teacher
    has not one row per token."""
    for each in logps:
        if len(each) != len(ids) or each.ndim != 2:
            raise MeasureError(
                f"{len(each)} distributions for {len(ids)} tokens. The scorer does not cut the text as it "
                "says; leave it out."
            )
    return np.stack([each[np.arange(len(ids)), ids] for each in logps], axis=1).astype(np.float64)


def probabilities(logps: LogProbs) -> Array:
    """Distributions (T, V) in float64 from log-probabilities; what is off one by rounding is brought to one.

    Raises ``MeasureError`` where a row adds up to something else than one by more than 1e-3.
    """
    p = np.exp(logps.astype(np.float64))
    total = p.sum(axis=-1, keepdims=True)
    off = np.abs(total - 1)
    if not bool((off <= 1e-3).all()):  # nan is not either
        raise MeasureError(
            f"log-probabilities add up to {float(total.flat[np.argmax(off)]):.4g}, not to one. Take the "
            "model's own, before top-p and penalties, or leave the scorer out."
        )
    found: Array = p / total
    return found


def _block(logps: Sequence[LogProbs], weights: Array, host: int) -> Forced:
    width = max(each.shape[1] for each in logps)
    p = np.zeros((len(weights), len(logps), width))
    for u, each in enumerate(logps):
        p[:, u, : each.shape[1]] = probabilities(each)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(p)
        gap = np.where(p[:, host, None] > 0, p[:, host, None] * (log[:, host, None] - log), 0.0)
    return Forced(
        js=gjs(p),
        mixture=entropy(p.mean(axis=1)),
        pairs=pairwise_js(p),
        kl=np.maximum(gap.sum(axis=-1), 0.0),
        information=information(p, weights),
        entropy=entropy(p[:, host]),
    )
