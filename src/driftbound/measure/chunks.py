"""Chunks: the shortest pieces of a text that several tokenizers all cut out whole, and their probabilities.

Tokens of different tokenizers cannot be matched by their strings: one and the same model read through two
tokenizers then seems as far from itself as can be. Between two places where every tokenizer ends a token,
though, each model gives the same piece of text a probability. It is that of the one way its tokenizer cuts
the text, a lower bound of the text's probability over all ways to cut it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.divergence import Array
from driftbound.records import Tokens


def common_boundaries(tokenisations: Sequence[Tokens], length: int) -> tuple[int, ...]:
    """Where chunks of a text of ``length`` code points end: places that no token of any tokenizer straddles.

    The last one is ``length``. White space that belongs to no token counts to the token behind it, at the
    end of the text to the last. A character of several tokens belongs to all of them, so that no chunk ends
    within it. Raises ``MeasureError`` where there is no text, or a tokenizer has no token for it.

    >>> one = Tokens((1, 2), ((0, 3), (4, 9)))
    >>> other = Tokens((7, 8, 9), ((0, 3), (3, 6), (6, 9)))
    >>> common_boundaries([one, other], 9)
    (3, 9)
    """
    straddled = np.zeros(length + 1, dtype=bool)
    for tokens in tokenisations:
        for start, end in _filled(tokens, length):
            straddled[start + 1 : end] = True
    return tuple((np.flatnonzero(~straddled[1:]) + 1).tolist())


def chunk_logps(tokens: Tokens, logps: Array, boundaries: Sequence[int]) -> Array:
    """Log-probability, in nats, of each of C chunks that end at ``boundaries``: (C,), or (C + 1,) where an
    end token (empty, behind the text) follows.

    ``logps`` (T,) are the tokens' own. The sum is that of ``logps``, whatever the boundaries.
    """
    length = boundaries[-1]
    filled = _filled(tokens, length)
    if len(logps) != len(tokens.ids):
        raise MeasureError(
            f"{len(logps)} log-probabilities for {len(tokens.ids)} tokens. Give each token its own."
        )
    # a token of no width stands before what follows it
    last = [max(start, end - 1) for start, end in filled]
    chunk = np.searchsorted(np.asarray(boundaries), last, side="right")
    found: Array = np.bincount(chunk, logps, minlength=len(boundaries)).astype(np.float64)
    return found


def chunk_parts(boundaries: Sequence[int], parts: int, *, ended: bool) -> NDArray[np.intp]:
    """Part 0..parts-1 of the text, by code points, in which each chunk begins; an end token's is the last."""
    starts = np.array([0, *boundaries[:-1]])
    found = (parts * starts // max(boundaries[-1], 1)).astype(np.intp)
    return np.append(found, parts - 1) if ended else found


def chunk_table(
    tokenisations: Sequence[Tokens], logps: Sequence[Array], length: int
) -> tuple[Array, tuple[int, ...]]:
    """Chunk log-probabilities (C, N) of one text as N teachers find them, and the C chunks' boundaries; with
    end tokens one row more.

    Put u's column less v's: with the text drawn from u, the sum over chunks is an unbiased (if noisy) value
    of KL(P^u || P^v). N-way: ``chain.drawn_information`` of the table. Both sums are the same however the
    tokenizers cut the text. A single chunk's is an increment of the divergence only where its boundary can be
    told from the text so far, as at white space. Raises ``MeasureError`` where some tokenisations end with
    an end token and others do not.
    """
    ended = {tokens.spans[-1:] == ((length, length),) for tokens in tokenisations}
    if len(ended) > 1:
        raise MeasureError("one teacher's tokens end with an end token, another's do not. Score all alike.")
    boundaries = common_boundaries(tokenisations, length)
    columns = [chunk_logps(tokens, own, boundaries) for tokens, own in zip(tokenisations, logps, strict=True)]
    return np.stack(columns, axis=1), boundaries


def _filled(tokens: Tokens, length: int) -> list[tuple[int, int]]:
    """Spans that leave no hole: what belongs to no token goes to the next one, at the end to the last."""
    filled: list[tuple[int, int]] = []
    reached, last = 0, -1
    for start, end in tokens.spans:
        if end > start:
            start, last = min(start, reached), len(filled)
        filled.append((start, end))
        reached = max(reached, end)
    if last < 0 or not 0 < reached <= length:
        raise MeasureError(
            "a tokenizer's tokens do not cover the text, or there is none. Leave the answer out."
        )
    filled[last] = (filled[last][0], length)
    return filled
