"""Progression scoring: improving, stable or worsening of each finding; intervals over patients."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.statistics.intervals import (
    Resamples,
    Sampled,
    difference,
    estimate,
    mean_of,
    plain,
    plain_estimate,
    ratios,
)

COURSES = ("improving", "stable", "worsening")
UNSAID = -1
"""Place in arrays of courses of what nobody has judged, or an answer does not say."""

Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progression:
    """One row (teacher, student or baseline) on n pairs and F findings."""

    accuracy: Sampled
    """(F) Share of the judged pairs of a finding that are right; what is not said is wrong."""
    macro: Sampled
    """(F) Mean over the classes that the truth has on all cases of the share of them that is right: macro
    accuracy, or balanced accuracy; a draw of patients without one of them is left out."""
    said: NDArray[np.float64]
    """(F) Share of the judged pairs of which the row says a course at all."""
    confusion: NDArray[np.int64]
    """(F, 3, 4) pairs by true course and said one; the last column is nothing said."""


def codes(told: Sequence[Mapping[str, str]], findings: Sequence[str]) -> Codes:
    """(n, F) places in ``COURSES``; ``UNSAID`` for anything else, and where a finding is not there.

    >>> codes([{"A": "worsening"}, {"A": "unknown"}], ["A"]).tolist()
    [[2], [-1]]
    """
    place = {course: number for number, course in enumerate(COURSES)}
    return np.array(
        [[place.get(one.get(name, ""), UNSAID) for name in findings] for one in told], dtype=np.int8
    ).reshape(len(told), len(findings))


def score(said: Codes, true: Codes, resamples: Resamples) -> Progression:
    """Score n answers (n, F) against n judgements (n, F), both as ``codes`` makes them."""
    judged = true != UNSAID
    right = judged & (said == true)
    shares = ratios(right.astype(np.float64), judged.astype(np.float64), resamples)
    recalls = []
    for course in range(len(COURSES)):
        own = true == course
        recalls.append(ratios((right & own).astype(np.float64), own.astype(np.float64), resamples))
    by_finding = [
        mean_of(
            Sampled(
                np.array([each.point[f] for each in recalls]),
                np.stack([each.drawn[:, f] for each in recalls], axis=1),
            ),
            range(len(COURSES)),
        )
        for f in range(true.shape[1])
    ]
    return Progression(
        accuracy=shares,
        macro=Sampled(
            np.concatenate([each.point for each in by_finding]),
            np.concatenate([each.drawn for each in by_finding], axis=1),
        ),
        said=_share(judged & (said != UNSAID), judged),
        confusion=_confusion(said, true),
    )


def plurality(answers: Sequence[Codes], shape: tuple[int, int]) -> Codes:
    """(n, F) What most of the answers say that say anything; ``UNSAID`` where two courses lead."""
    counts = np.zeros((*shape, len(COURSES)), dtype=np.int64)
    for said in answers:
        for course in range(len(COURSES)):
            counts[..., course] += said == course
    most = counts.max(axis=-1)
    alone = (counts == most[..., None]).sum(axis=-1) == 1
    return np.where((most > 0) & alone, counts.argmax(axis=-1), UNSAID).astype(np.int8)


def always(course: str, shape: tuple[int, int]) -> Codes:
    """(n, F) One course of everything."""
    return np.full(shape, COURSES.index(course), dtype=np.int8)


def most_frequent(true: Codes) -> Codes:
    """(n, F) Per finding the course that is most frequent on these very pairs, the first one on a tie."""
    counts = np.stack([(true == course).sum(axis=0) for course in range(len(COURSES))])
    return np.broadcast_to(counts.argmax(axis=0).astype(np.int8), true.shape)


def flipped(said: Codes) -> Codes:
    """What the same pairs are with their films swapped: improving is worsening, stable stays.

    >>> flipped(np.array([[0, 1, 2, -1]], dtype=np.int8)).tolist()
    [[2, 1, 0, -1]]
    """
    return np.where(said == UNSAID, UNSAID, len(COURSES) - 1 - said).astype(np.int8)


def flip_consistency(said: Codes, swapped: Codes, true: Codes, resamples: Resamples) -> dict[str, Any]:
    """Share of the judged pairs and findings of which ``swapped``, said of the films in the other order, is
    what ``said`` means then; what is not said in either order counts as inconsistent."""
    judged = true != UNSAID
    same = judged & (said != UNSAID) & (swapped == flipped(said))
    share = ratios(
        same.sum(axis=1, keepdims=True).astype(np.float64),
        judged.sum(axis=1, keepdims=True).astype(np.float64),
        resamples,
    )
    return plain_estimate(estimate(float(share.point[0]), share.drawn[:, 0]))


def table(row: Progression, findings: Sequence[str], note: str) -> dict[str, Any]:
    """One row for JSON: means over the findings first, then finding by finding."""
    every = range(len(findings))
    return {
        "macro_accuracy": _mean(row.macro, every),
        "accuracy": _mean(row.accuracy, every),
        "findings_averaged": int((~np.isnan(row.macro.point)).sum()),
        "per_finding": {
            name: {
                "macro_accuracy": _column(row.macro, f),
                "accuracy": _column(row.accuracy, f),
                "said": plain(row.said[f]),
                "confusion": row.confusion[f].tolist(),
            }
            for f, name in enumerate(findings)
        },
        "note": note,
    }


def best(rows: Mapping[str, Progression]) -> str | None:
    """The row of the highest mean macro accuracy, the first one on a tie; ``None`` where none has any."""
    means = {name: _point(row) for name, row in rows.items()}
    known = {name: mean for name, mean in means.items() if not np.isnan(mean)}
    return max(known, key=lambda name: known[name]) if known else None


def comparison(one: Progression, other: Progression) -> dict[str, Any]:
    """One minus other, paired on the same draws of patients: means over the findings."""
    every = range(len(one.macro.point))
    return {
        "macro_accuracy": plain_estimate(difference(mean_of(one.macro, every), mean_of(other.macro, every))),
        "accuracy": plain_estimate(difference(mean_of(one.accuracy, every), mean_of(other.accuracy, every))),
    }


def shares(true: Codes, findings: Sequence[str]) -> dict[str, dict[str, int]]:
    """Finding -> course -> on how many pairs somebody judged it so."""
    return {
        name: {course: int((true[:, f] == number).sum()) for number, course in enumerate(COURSES)}
        for f, name in enumerate(findings)
    }


def qualities(told: Sequence[Mapping[str, str]], findings: Sequence[str]) -> dict[str, dict[str, int]]:
    """Finding -> quality of its label as the data set says it -> how many; nothing said is ``""``."""
    return {
        name: dict(sorted(Counter(one[name] for one in told if name in one).items())) for name in findings
    }


def _point(row: Progression) -> float:
    return float(mean_of(row.macro, range(len(row.macro.point))).point[0])


def _mean(sampled: Sampled, columns: Sequence[int]) -> dict[str, float | None]:
    return _column(mean_of(sampled, columns), 0)


def _column(sampled: Sampled, column: int) -> dict[str, float | None]:
    return plain_estimate(estimate(float(sampled.point[column]), sampled.drawn[:, column]))


def _confusion(said: Codes, true: Codes) -> NDArray[np.int64]:
    told = (*range(len(COURSES)), UNSAID)
    return np.array(
        [
            [
                [int(((true[:, f] == course) & (said[:, f] == word)).sum()) for word in told]
                for course in range(len(COURSES))
            ]
            for f in range(true.shape[1])
        ],
        dtype=np.int64,
    ).reshape(true.shape[1], len(COURSES), len(told))


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    n = whole.sum(axis=0)
    found: NDArray[np.float64] = np.divide(part.sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
    return found
