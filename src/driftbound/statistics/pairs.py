"""Pairs: a betting test of "new answers score like old ones", valid at any time, on fresh pairs only."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from driftbound.errors import MeasureError
from driftbound.statistics.conformal import first_alarm
from driftbound.statistics.flips import interval
from driftbound.statistics.intervals import Array

STAKE = 0.5
"""Largest share of the wealth at stake: a difference of 1 then costs no more than half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What T fresh pairs say."""

    log_wealth: Array
    """(T,) evidence against "both have the same mean", in nats."""
    alarm: int | None
    """First pair at which the wealth reached 1 / alpha."""
    p: float
    """1 / largest wealth, at most 1: valid although the largest was looked for."""
    effect: float
    """Mean of score minus reference."""
    low: float
    high: float
    """95 % interval of the effect after all T pairs (Student's t); not for a pair that was waited for."""
    n: int


class PairBetting:
    """Wealth from betting on the sign of score minus reference, pair by pair.

    The stake on the next difference d is mean over mean square of the differences so far, at most half
    of the wealth; the average of a bettor with it and one against it is an e-process for "the mean of
    d is zero given the past" (Waudby-Smith and Ramdas 2024). That needs a reference drawn anew for every
    pair: a stored sample has a mean of its own, off by chance and always in the same direction, and against
    it the wealth grows without any change. So each reference answer has a key and is taken once.
    """

    def __init__(self) -> None:
        self.log_wealth = 0.0
        """Evidence so far, in nats."""
        self._with = self._against = 0.0
        self._stake = 0.0
        self._sum, self._squares = 0.0, 1.0
        self._used: set[Hashable] = set()

    def update(self, score: float, reference: float, *, key: Hashable) -> float:
        """Take the next pair, both in [0, 1]; returns the logarithm of the wealth.

        ``key`` names the reference answer (its request, sample and wave). Raises ``MeasureError`` where it
        was taken before, or where a score lies outside [0, 1].
        """
        if key in self._used:
            raise MeasureError(
                f"reference answer {key!r} is used a second time; the test holds for fresh pairs only: "
                "ask the reference anew for every pair"
            )
        if not (0 <= score <= 1 and 0 <= reference <= 1):
            raise MeasureError(f"scores {score} and {reference} of {key!r}: both have to lie in [0, 1]")
        self._used.add(key)
        difference = float(score) - float(reference)
        self._with += log(1 + self._stake * difference)
        self._against += log(1 - self._stake * difference)
        self._sum += difference
        self._squares += difference * difference
        self._stake = min(max(self._sum / self._squares, -STAKE), STAKE)
        self.log_wealth = float(np.logaddexp(self._with, self._against)) - log(2)
        return self.log_wealth


def bet_on_pairs(
    scores: Array, references: Array, keys: Sequence[Hashable], *, alpha: float = 0.05
) -> Paired:
    """``PairBetting`` along T pairs: ``scores``, ``references`` (T,) and one key per reference answer.

    Raises ``MeasureError`` as ``update`` does, where lengths differ, and where the references are a fixed
    sample used over and over: one value spread over all pairs, or a shorter sample repeated.
    """
    if not np.shape(scores) == np.shape(references) == (len(keys),):
        raise MeasureError(
            f"{np.shape(scores)} scores, {np.shape(references)} references and {len(keys)} keys; "
            "give a fresh reference, with a key, for every score"
        )
    _refuse_fixed(np.asarray(scores), np.asarray(references))
    betting = PairBetting()
    path = np.array(
        [
            betting.update(score, reference, key=key)
            for score, reference, key in zip(scores, references, keys, strict=True)
        ]
    )
    n, differences = len(path), np.asarray(scores) - np.asarray(references)
    effect = float(differences.mean()) if n else float("nan")
    se = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    low, high = interval(effect, se, n)
    return Paired(
        log_wealth=path,
        alarm=first_alarm(path, alpha),
        p=min(1.0, float(np.exp(-path.max()))) if n else float("nan"),
        effect=effect,
        low=low,
        high=high,
        n=n,
    )


def _refuse_fixed(scores: Array, references: Array) -> None:
    n = len(references)
    if n < 2:
        return
    spread = references.strides == (0,)
    one = bool((references == references[0]).all()) and not (scores == references[0]).any()
    if spread or one:
        raise MeasureError(
            "all references are one value, such as a stored mean; ask the reference anew for every pair"
        )
    for period in np.flatnonzero(references[: n // 2 + 1] == references[0])[1:].tolist():
        part = references[:period]
        if len(np.unique(part)) > 2 and (references[period:] == references[:-period]).all():
            raise MeasureError(
                f"the references are {period} values over and over; ask the reference anew for every pair"
            )
