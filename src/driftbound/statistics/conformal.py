"""Conformal: is one case unusual beside others, and does a stream of scores stay the same while it runs?"""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from driftbound.errors import MeasureError
from driftbound.statistics.intervals import Array
from driftbound.statistics.localising import Change, locate
from driftbound.statistics.multiple import benjamini_hochberg

BETS = (-1.6, -0.8, 0.0, 0.8, 1.6)
"""How much the jumper's arms stake on small (negative) or large ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Which of m cases are unusual beside calibration cases. It does not say that they drift."""

    p: Array
    """(m,) share of the calibration cases that score as high, the case itself counted among them."""
    adjusted: Array
    """(m,) by Benjamini-Hochberg."""
    flagged: NDArray[np.bool_]
    """(m,) false discovery rate at most q."""
    q: float
    calibration: int
    """Calibration cases."""
    fewest: int
    """A smaller number of cases than this cannot be flagged at once, however unusual they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """What a stream's martingale says of T calls."""

    log_wealth: Array
    """(T,) evidence against "nothing changes", in nats; valid at any time, however often one looks."""
    alarm: int | None
    """First call at which the wealth reached 1 / alpha."""
    p: float
    """1 / largest wealth, at most 1: valid although the largest was looked for."""
    peak: int | None
    """Call at which the wealth was largest."""
    n: int
    """Calls with a score."""
    change: Change | None
    """Where the stream changed and by how much; only after an alarm."""


def conformal_p(scores: Array, calibration: Array) -> Array:
    """(m,) p of each score against the calibration's: (1 + as high) / (calibration + 1) (Vovk et al. 2005).

    Scores are large where a case is unusual. Exact where a case and the calibration cases are exchangeable:
    take one case of each cluster (``one_per_cluster``). ``nan`` scores stay ``nan``, ``nan`` calibration is
    left out.

    >>> conformal_p(np.array([3.0, 0.5]), np.array([1.0, 2.0, 4.0]))
    array([0.5, 1. ])
    """
    known = np.sort(calibration[~np.isnan(calibration)])
    as_high = len(known) - np.searchsorted(known, scores, side="left")
    return np.where(np.isnan(scores), np.nan, (1 + as_high) / (len(known) + 1))


def flag_cases(scores: Array, calibration: Array, *, q: float = 0.1) -> Flags:
    """Cases that score unusually high, with a false discovery rate of at most ``q``.

    Conformal p-values on one calibration set depend positively, so Benjamini-Hochberg holds (Bates et al.
    2023). Raises ``MeasureError`` without calibration cases.
    """
    n = int((~np.isnan(calibration)).sum())
    if not n:
        raise MeasureError("no calibration case has a score; cases are unusual only beside others")
    p = conformal_p(scores, calibration)
    adjusted = benjamini_hochberg(p)
    m = int((~np.isnan(p)).sum())
    return Flags(
        p=p,
        adjusted=adjusted,
        flagged=adjusted <= q,
        q=q,
        calibration=n,
        fewest=ceil(m / (q * (n + 1)) - 1e-9),
    )


def calibration_needed(flagged: int, cases: int, q: float) -> int:
    """Calibration cases with which ``flagged`` of ``cases`` can be flagged at ``q`` at all.

    The smallest p, 1 / (n + 1), has to reach q times ``flagged`` / ``cases``.

    >>> calibration_needed(10, 500, 0.1)
    499
    """
    return max(0, ceil(cases / (q * flagged) - 1e-9) - 1)


def one_per_cluster(clusters: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Index of one random case of each cluster, in order of the cases."""
    order = rng.permutation(len(clusters))
    _, first = np.unique(clusters[order], return_index=True)
    return np.sort(order[first]).astype(np.intp)


class SimpleJumper:
    """Conformal test martingale of one stream, fed call by call.

    Each score is ranked among those so far; while nothing changes the ranks are uniform and independent
    (with random ties), so no betting on them wins. Five arms stake on small or large ranks and share a
    ``jump`` of their wealth at each call (Vovk et al. 2021). Rejecting when the wealth reaches 1 / alpha is
    wrong with probability at most alpha, whenever one stops. Time must be independent of the case: ask in
    random order. One update costs a search in the sorted scores and an insertion.
    """

    def __init__(self, rng: np.random.Generator, *, jump: float = 0.01) -> None:
        self.log_wealth = 0.0
        """Evidence so far, in nats."""
        self._rng, self._jump = rng, jump
        self._sorted: list[float] = []
        self._arms = [1 / len(BETS)] * len(BETS)

    def update(self, score: float) -> float:
        """Take the next call's score; returns the logarithm of the wealth.

        Raises ``MeasureError`` for a score that is no number.
        """
        if not np.isfinite(score):
            raise MeasureError(f"score {score} cannot be ranked; leave such calls out")
        p = _rank(self._sorted, float(score), self._rng.random())
        even = self._jump * sum(self._arms) / len(BETS)
        staked = [
            ((1 - self._jump) * arm + even) * (1 + bet * (p - 0.5))
            for arm, bet in zip(self._arms, BETS, strict=True)
        ]
        total = sum(staked)
        self._arms = [arm / total for arm in staked]
        self.log_wealth += log(total)
        return self.log_wealth


def monitor(
    scores: Array, rng: np.random.Generator, *, alpha: float = 0.05, jump: float = 0.01
) -> Monitoring:
    """The martingale of ``SimpleJumper`` along a whole stream (T,), and where it changed after an alarm.

    ``nan`` scores are calls without one: nothing is staked. Raises ``MeasureError`` for an infinite score.
    """
    [found] = monitor_all(np.asarray(scores, dtype=np.float64)[None], rng, alpha=alpha, jump=jump)
    return found


def monitor_all(
    scores: Array, rng: np.random.Generator, *, alpha: float = 0.05, jump: float = 0.01
) -> list[Monitoring]:
    """As ``monitor``, for S streams (S, T) at once; end shorter ones with ``nan``.

    Over many streams judge by ``multiple.e_benjamini_hochberg`` of their largest evidence so far.
    """
    if np.isinf(scores).any():
        raise MeasureError("a score is infinite and cannot be ranked; leave such calls out as nan")
    if not len(scores):
        return []
    paths = log_wealth(np.stack([_ranks(row, rng) for row in scores]), jump=jump)
    return [_judged(path, row, alpha, rng) for path, row in zip(paths, scores, strict=True)]


def log_wealth(ps: Array, *, jump: float = 0.01) -> Array:
    """(S, T) wealth of the simple jumper, in nats, from p-values (S, T) that are uniform unless something
    changes; ``nan``: no call."""
    streams, calls = ps.shape
    bets = np.array(BETS)
    arms, path = np.full((streams, len(bets)), 1 / len(bets)), np.zeros((streams, calls))
    stakes = 1 + bets * (np.where(np.isnan(ps), 0.5, ps)[:, :, None] - 0.5)
    for t in range(calls):
        arms = ((1 - jump) * arms + jump / len(bets) * arms.sum(axis=1, keepdims=True)) * stakes[:, t]
        total = arms.sum(axis=1, keepdims=True)
        arms /= total
        path[:, t] = np.log(total[:, 0])
    return np.cumsum(path, axis=1)


def average_wealth(log_wealths: Array) -> Array:
    """(T,) logarithm of the average wealth of S martingales (S, T) of one stream.

    An average of e-processes is one where all know the same past. Martingales of several scores know each
    its own ranks only: what holds for them without more is S times weaker, the largest wealth / S
    (Choe and Ramdas 2024 treat this).
    """
    averaged: Array = logsumexp(log_wealths, axis=0) - log(len(log_wealths))
    return averaged


def first_alarm(path: Array, alpha: float) -> int | None:
    """First call at which a path of log wealth (T,) reaches 1 / ``alpha``.

    >>> first_alarm(np.log([1.0, 30.0, 2.0]), 0.05)
    1
    """
    reached = np.flatnonzero(path >= log(1 / alpha) - 1e-12)
    return int(reached[0]) if reached.size else None


def _judged(path: Array, scores: Array, alpha: float, rng: np.random.Generator) -> Monitoring:
    alarm = first_alarm(path, alpha)
    known = np.flatnonzero(~np.isnan(scores))
    peak = int(np.argmax(path)) if known.size else None
    return Monitoring(
        log_wealth=path,
        alarm=alarm,
        p=float("nan") if peak is None else min(1.0, float(np.exp(-path[peak]))),
        peak=peak,
        n=len(known),
        change=None if alarm is None else locate(scores, rng),
    )


def _ranks(scores: Array, rng: np.random.Generator) -> Array:
    """(T,) share of the scores so far that are higher, the own place among equals drawn at random."""
    ordered: list[float] = []
    found = np.full(len(scores), np.nan)
    known = np.flatnonzero(~np.isnan(scores))
    places = rng.random(len(known)).tolist()
    found[known] = [
        _rank(ordered, score, place) for score, place in zip(scores[known].tolist(), places, strict=True)
    ]
    return found


def _rank(ordered: list[float], score: float, place: float) -> float:
    insort(ordered, score)
    higher = len(ordered) - bisect_right(ordered, score)
    equal = len(ordered) - higher - bisect_left(ordered, score)
    return (higher + place * equal) / len(ordered)
