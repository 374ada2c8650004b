"""Meeting: what a teacher's claims meet among the others, by case and by part of its own answer.

The step of a claim is the part of the answer of the teacher that makes it; what the others say of the same
slot counts wherever they say it. So a change in one teacher's late claims moves its own late parts, and
nobody else's late parts more than their early ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.votes import NO_VOTE, OMITTED, PRESENCE, REFUSED, UNCERTAIN, Votes
from driftbound.stances import Slot
from driftbound.statistics.intervals import Array


def contradiction(votes: Votes, own: NDArray[np.int16] | None = None) -> Array:
    """(n, T, A) share of the other teachers' explicit votes that differ from this teacher's.

    ``own`` (n, T, A) are the teachers' answers of another sample or wave, held against the others' of the
    panel; else those of the panel. ``nan`` where this teacher, or every other one, names no value.
    """
    mine = votes.codes if own is None else own
    found = np.full(mine.shape, np.nan)
    for a, values in enumerate(votes.values):
        panel, said = votes.codes[:, :, a], mine[:, :, a]
        counts = np.stack([(panel == k).sum(axis=1) for k in range(max(len(values), 1))], axis=1)
        explicit = said >= 0
        code = np.where(explicit, said, 0).astype(np.intp)
        same = np.take_along_axis(counts, code, axis=1) - (panel == said)
        others = counts.sum(axis=1)[:, None] - (panel >= 0)
        compared = explicit & (others > 0)
        found[:, :, a] = 1 - np.divide(same, others, out=np.full(same.shape, np.nan), where=compared)
    return found


def beyond_composition(met: Array, votes: Votes, fitted: NDArray[np.bool_] | None = None) -> Array:
    """``met`` (n, T, A) less its mean over the cases in which the teacher names the same value of the slot.

    Early and late parts may hold other findings, or more denials; that is no drift of what is claimed
    there. What is left has mean zero over a teacher's claims. The means are those of the ``fitted``
    cases (n,), else of all; a value that those never name is held against zero.
    """
    left = np.full(met.shape, np.nan)
    for a, values in enumerate(votes.values):
        for k in range(len(values)):
            here = (votes.codes[:, :, a] == k) & ~np.isnan(met[:, :, a])
            among = here if fitted is None else here & fitted[:, None]
            n = among.sum(axis=0)
            total = np.where(among, met[:, :, a], 0.0).sum(axis=0)
            mean = np.divide(total, n, out=np.zeros(n.shape), where=n > 0)
            left[:, :, a] = np.where(here, met[:, :, a] - mean, left[:, :, a])
    return left


def by_part(met: Array, parts: NDArray[np.int16], count: int) -> Array:
    """(n, T, J) mean of ``met`` (n, T, A) over the claims in each of the J parts of the answer.

    ``nan`` where a teacher claims nothing comparable in a part.
    """
    found = np.full((*met.shape[:2], count), np.nan)
    for part in range(count):
        found[:, :, part] = mean_where(met, parts == part, axis=2)
    return found


def mean_where(values: Array, chosen: NDArray[np.bool_], axis: int | tuple[int, ...]) -> Array:
    """Mean over ``axis`` of the chosen values that are known; ``nan`` where there are none."""
    chosen = chosen & ~np.isnan(values)
    n = chosen.sum(axis=axis)
    total = np.where(chosen, values, 0.0).sum(axis=axis)
    mean: Array = np.divide(total, n, out=np.full(np.shape(n), np.nan), where=n > 0)
    return mean


def known_mean(values: Array, axis: int) -> Array:
    """Mean over an axis of what is known there; ``nan`` where nothing is."""
    return mean_where(values, np.ones(values.shape, dtype=bool), axis)


HABITS = ("contradicted", "omits", "hedges", "asserts", "words", "refuses")
"""What is watched of every answer, in the order of ``habits``."""


def habits(codes: NDArray[np.int16], slots: Sequence[Slot], met: Array, words: Array | None = None) -> Array:
    """(n, T, 6) per answer: how often its claims are contradicted (``met``), the shares of the slots that it
    leaves out, hedges and, of presences, asserts, its length in words, and whether it refuses.

    ``codes`` and ``met`` are (n, T, A), ``words`` (n, T), ``nan`` without a text. Of a refusal only the
    last is known; all is ``nan`` where a teacher has no vote.
    """
    own = np.array([attribute in ("presence", "value") for _, attribute in slots], dtype=bool)
    presence = np.array([attribute == "presence" for _, attribute in slots], dtype=bool)
    answered = (codes != NO_VOTE).any(axis=2)
    refused = answered & (codes == REFUSED).all(axis=2)
    spoken = answered & ~refused

    def share(which: NDArray[np.bool_], among: NDArray[np.bool_]) -> Array:
        slots_there = int(among.sum())
        part = which[:, :, among].sum(axis=2) / slots_there if slots_there else np.nan
        return np.where(spoken, part, np.nan)

    length = np.full(spoken.shape, np.nan) if words is None else words
    return np.stack(
        [
            known_mean(met, axis=2),
            share(codes == OMITTED, own),
            share(codes == UNCERTAIN, own),
            share(codes == PRESENCE.index("present"), presence),
            np.where(spoken, length, np.nan),
            np.where(answered, refused.astype(np.float64), np.nan),
        ],
        axis=2,
    )
