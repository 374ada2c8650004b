"""Rounds: whether a round's student may stand in for the one before it, on held-out cases without truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from driftbound.quality import Quality, what_broke, widened
from driftbound.statistics.intervals import standard_errors
from driftbound.training_config import WatchConfig

ACCEPTED, NO_GAIN, REFUSED = "accepted", "no further gain", "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A student's own answers to n held-out cases."""

    support: tuple[float, ...]
    """(n,) how far the measure believes each answer, 0 to 1; ``nan``: it believes nothing of the case."""
    quality: Quality

    @property
    def mean(self) -> float:
        """Mean support of the cases that can be judged; ``nan`` where none can."""
        known = [value for value in self.support if not isnan(value)]
        return sum(known) / len(known) if known else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a round."""

    word: str
    """``accepted``, ``no further gain`` or ``refused``; a further round is worth while after the first."""
    kept: bool
    """Whether its student takes the place of the one before."""
    reason: str
    gain: float = float("nan")
    """Mean support less that of the round before, on the same cases."""
    standard_error: float = float("nan")
    """Of the gain, by clusters."""


def judge(before: Look, after: Look, first: Look, clusters: Sequence[str], limits: WatchConfig) -> Verdict:
    """Compare a round with the one before it, case by case; ``first`` is the student before any round.

    Refused is a round whose answers have broken (``limits``; where the answers before were above a limit
    already, they must not have become worse), or that lost more support than the gain's standard error.
    Within plus or minus one standard error there is no further gain, and the better of the two is kept.
    Where a single patient's support is known, there is no further gain either. Where support tells nothing,
    the answers' quality alone decides.
    """
    difference = np.array(after.support) - np.array(before.support)
    known = difference[~np.isnan(difference)]
    gain = float(known.mean()) if known.size else float("nan")
    _, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    error = float(standard_errors(difference[:, None], numbers.astype(np.intp))[0])
    broken = what_broke(after.quality, first.quality, widened(limits, before.quality, first.quality))
    told = f"support changed by {gain:+.4f} (standard error {error:.4f})"
    if broken:
        word, kept, told = REFUSED, False, broken
    elif not isnan(gain) and isnan(error):
        word, kept = NO_GAIN, gain >= 0
        told = f"support changed by {gain:+.4f}, of a single patient: there is no standard error"
    elif isnan(gain):
        word, kept, told = (
            ACCEPTED,
            True,
            "its answers hold together; support tells nothing here",
        )
    elif gain < -error:
        word, kept = REFUSED, False
    elif gain <= error:
        word, kept = NO_GAIN, gain >= 0
    else:
        word, kept = ACCEPTED, True
    return Verdict(word=word, kept=kept, reason=told, gain=gain, standard_error=error)
