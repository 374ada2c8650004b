"""Scoring of answers against truth: presence per finding, F1, side, refusals; intervals over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from driftbound.records import UNKNOWN, Estimate
from driftbound.statistics.intervals import Resamples, Sampled, estimate, mean_of, ratios

SIDES = ("left", "right", "both")
ASSERTING = frozenset({"present", *SIDES})
"""Stances that claim a finding."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Truth of n cases and F findings; arrays are (n, F)."""

    findings: tuple[str, ...]
    present: Bools
    sides: NDArray[np.int8]
    """Index into ``SIDES`` where a side is known and scored, else -1."""
    scored: Bools
    """False where the prompt discloses the finding: its presence is never scored."""


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
    f1: Sampled
    """2 TP / (2 TP + FP + FN); ``nan`` where neither truth nor any answer has the finding."""


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
    """Of the sided findings that are truly present and asserted: whose side is right; naming none is not."""
    wrong_side: Estimate
    """Of those of them that are asserted with a side: whose side is another one."""
    parsable: float


def make_key(
    truth: Sequence[Mapping[str, str]],
    findings: Sequence[str],
    sided: frozenset[str],
    disclosed: Sequence[Sequence[str]],
) -> Key:
    """Key of n cases from their truth values and what each one's prompt discloses.

    A finding is present when its value is not ``absent``; one that is ``unknown`` is not scored.
    """
    shape = (len(truth), len(findings))
    sides = np.full(shape, -1, dtype=np.int8)
    for c, values in enumerate(truth):
        for f, name in enumerate(findings):
            if name in sided and values[name] in SIDES and name not in disclosed[c]:
                sides[c, f] = SIDES.index(values[name])
    return Key(
        findings=tuple(findings),
        present=np.array([[v[name] not in ("absent", UNKNOWN) for name in findings] for v in truth]).reshape(
            shape
        ),
        sides=sides,
        scored=np.array(
            [
                [name not in d and v[name] != UNKNOWN for name in findings]
                for v, d in zip(truth, disclosed, strict=True)
            ]
        ).reshape(shape),
    )


def score(graded: Sequence[Graded], key: Key, resamples: Resamples) -> RowScore:
    """Score one row: n graded answers in the order of the key's cases.

    Omitted and uncertain count as absent. A refusal is wrong on every finding: a false negative
    where truth has it, a false positive where not.
    """
    answered = np.array([one.stances is not None for one in graded])[:, None]
    said = [one.stances or {} for one in graded]
    shape = key.present.shape
    asserted = np.array([[s.get(f) in ASSERTING for f in key.findings] for s in said]).reshape(shape)
    right = answered & (asserted == key.present)
    side_accuracy, wrong_side = _sides(said, asserted, key, resamples)
    return RowScore(
        right=right,
        counts=_confusion(right, key),
        rates=_rates(right, key, resamples),
        prevalence=_share(key.present & key.scored, key.scored),
        answered=_rates(right, replace(key, scored=key.scored & answered), resamples),
        side_accuracy=side_accuracy,
        wrong_side=wrong_side,
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
    return Rates(
        accuracy=accuracy,
        sensitivity=sensitivity,
        specificity=specificity,
        balanced=balanced,
        f1=_f1(right, key, resamples),
    )


def _f1(right: Bools, key: Key, resamples: Resamples) -> Sampled:
    hits = (right & key.present & key.scored).astype(np.float64)
    wrong = (~right & key.scored).astype(np.float64)  # false positives and false negatives
    return ratios(2 * hits, 2 * hits + wrong, resamples)


def _confusion(right: Bools, key: Key) -> NDArray[np.int64]:
    cells = (
        right & key.present,
        ~right & ~key.present,
        right & ~key.present,
        ~right & key.present,
    )
    return np.stack([(cell & key.scored).sum(axis=0) for cell in cells], axis=1)


def _sides(
    said: Sequence[Mapping[str, str]], asserted: Bools, key: Key, resamples: Resamples
) -> tuple[Estimate, Estimate]:
    """Side accuracy and wrong-side rate."""
    number = {side: n for n, side in enumerate(SIDES)}
    named = np.array([[number.get(s.get(f, ""), -1) for f in key.findings] for s in said]).reshape(
        key.sides.shape
    )
    asked = asserted & (key.sides >= 0)
    told = asked & (named >= 0)
    tops = np.stack([(asked & (named == key.sides)).sum(1), (told & (named != key.sides)).sum(1)], axis=1)
    bottoms = np.stack([asked.sum(1), told.sum(1)], axis=1)
    share = ratios(tops.astype(np.float64), bottoms.astype(np.float64), resamples)
    right, wrong = (estimate(float(share.point[r]), share.drawn[:, r]) for r in range(2))
    return right, wrong


def _share(part: Bools, whole: Bools) -> NDArray[np.float64]:
    n = whole.sum(axis=0)
    share: NDArray[np.float64] = np.divide(part.sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
    return share
