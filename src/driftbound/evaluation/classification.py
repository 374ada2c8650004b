"""Scoring of answers against truth: presence per finding, side, refusals; intervals over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftbound.records import Estimate
from driftbound.statistics.intervals import Resamples, Sampled, estimate, mean_of, ratios

SIDES = ("left", "right", "both")
_ASSERTING = frozenset({"present", *SIDES})

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Truth of n cases and F findings; arrays are (n, F)."""

    findings: tuple[str, ...]
    present: Bools
    sides: NDArray[np.int8]
    """Index into ``SIDES`` where a side is known, else -1."""
    scored: Bools
    """False where the prompt discloses the finding: never scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One answer, read."""

    stances: Mapping[str, str] | None
    """What it says of each finding; ``None`` for a refusal or no answer: wrong on every finding."""
    parsable: bool
    """At least one claim was read, and the text was not cut off by the token limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates of one row, F columns each, on all cases and on each draw."""

    accuracy: Sampled
    sensitivity: Sampled
    specificity: Sampled
    balanced: Sampled
    """Mean of sensitivity and specificity; ``nan`` where truth has one class only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """One row of the results table (teacher, student, consensus or baseline)."""

    right: Bools
    """(n, F)"""
    counts: NDArray[np.int64]
    """(F, 4) true positives, false positives, true negatives, false negatives."""
    rates: Rates
    prevalence: NDArray[np.float64]
    """(F,) share of the scored cases in which truth has the finding."""
    answered: Rates
    """As ``rates``, without refusals and missing answers."""
    side_accuracy: Estimate
    parsable: float


def make_key(
    truth: Sequence[Mapping[str, str]],
    findings: Sequence[str],
    sided: frozenset[str],
    disclosed: Sequence[Sequence[str]],
) -> Key:
    """Key of n cases from their truth values and what each one's prompt discloses.

    A finding is present when its value is not ``absent``.
    """
    shape = (len(truth), len(findings))
    sides = np.full(shape, -1, dtype=np.int8)
    for c, values in enumerate(truth):
        for f, name in enumerate(findings):
            if name in sided and values[name] in SIDES:
                sides[c, f] = SIDES.index(values[name])
    return Key(
        findings=tuple(findings),
        present=np.array([[v[name] != "absent" for name in findings] for v in truth]).reshape(shape),
        sides=sides,
        scored=np.array([[name not in d for name in findings] for d in disclosed]).reshape(shape),
    )


def score(graded: Sequence[Graded], key: Key, resamples: Resamples) -> RowScore:
    """Score one row: n graded answers in the order of the key's cases.

    Omitted and uncertain count as absent. A refusal is wrong on every finding: a false negative
    where truth has it, a false positive where not. ``side_accuracy`` is the share of the sided
    findings that are truly present and asserted whose side is right (naming none is not right).
    """
    answered = np.array([one.stances is not None for one in graded])[:, None]
    said = [one.stances or {} for one in graded]
    shape = key.present.shape
    asserted = np.array([[s.get(f) in _ASSERTING for f in key.findings] for s in said]).reshape(shape)
    right = answered & (asserted == key.present)
    return RowScore(
        right=right,
        counts=_confusion(right, key),
        rates=_rates(right, key, resamples),
        prevalence=_share(key.present & key.scored, key.scored),
        answered=_rates(right, replace(key, scored=key.scored & answered), resamples),
        side_accuracy=_side_accuracy(said, asserted, key, resamples),
        parsable=float(np.mean([one.parsable for one in graded])) if graded else float("nan"),
    )


def judged(scored: RowScore, key: Key) -> list[dict[str, bool]]:
    """Per case: finding -> right or wrong; what is not scored is missing."""
    return [
        {name: right for name, right, counts in zip(key.findings, row, used, strict=True) if counts}
        for row, used in zip(scored.right.tolist(), key.scored.tolist(), strict=True)
    ]


def best(scores: Mapping[str, RowScore], columns: Sequence[int]) -> str | None:
    """Name of the row with the highest balanced accuracy over ``columns``; the first one on a tie."""
    means = {name: float(mean_of(one.rates.balanced, columns).point[0]) for name, one in scores.items()}
    known = {name: mean for name, mean in means.items() if not np.isnan(mean)}
    return max(known, key=lambda name: known[name]) if known else None


def more_frequent(key: Key) -> dict[str, str]:
    """Per finding the more frequent answer on the key's cases: what looking at nothing can win."""
    shares = _share(key.present & key.scored, key.scored)
    return {
        name: "present" if share > 0.5 else "absent"
        for name, share in zip(key.findings, shares.tolist(), strict=True)
    }


def _rates(right: Bools, key: Key, resamples: Resamples) -> Rates:
    positive, negative = key.scored & key.present, key.scored & ~key.present
    bottoms = np.concatenate([key.scored, positive, negative], axis=1)
    tops = np.concatenate([right, right, right], axis=1) & bottoms
    all_three = ratios(tops.astype(np.float64), bottoms.astype(np.float64), resamples)
    accuracy, sensitivity, specificity = (
        Sampled(point, drawn)
        for point, drawn in zip(
            np.split(all_three.point, 3), np.split(all_three.drawn, 3, axis=1), strict=True
        )
    )
    balanced = Sampled(
        (sensitivity.point + specificity.point) / 2, (sensitivity.drawn + specificity.drawn) / 2
    )
    return Rates(accuracy=accuracy, sensitivity=sensitivity, specificity=specificity, balanced=balanced)


def _confusion(right: Bools, key: Key) -> NDArray[np.int64]:
    cells = (
        right & key.present,
        ~right & ~key.present,
        right & ~key.present,
        ~right & key.present,
    )
    return np.stack([(cell & key.scored).sum(axis=0) for cell in cells], axis=1)


def _side_accuracy(
    said: Sequence[Mapping[str, str]], asserted: Bools, key: Key, resamples: Resamples
) -> Estimate:
    number = {side: n for n, side in enumerate(SIDES)}
    named = np.array([[number.get(s.get(f, ""), -1) for f in key.findings] for s in said]).reshape(
        key.sides.shape
    )
    asked = asserted & (key.sides >= 0) & key.scored
    right = (asked & (named == key.sides)).sum(axis=1, keepdims=True).astype(np.float64)
    share = ratios(right, asked.sum(axis=1, keepdims=True).astype(np.float64), resamples)
    return estimate(float(share.point[0]), share.drawn[:, 0])


def _share(part: Bools, whole: Bools) -> NDArray[np.float64]:
    n = whole.sum(axis=0)
    share: NDArray[np.float64] = np.divide(part.sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
    return share
