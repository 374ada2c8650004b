"""Slots: the rows about every claim slot of every case, and about every vote on it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.agreement import STATUSES, SlotStatus
from driftbound.measure.votes import NO_VOTE, Votes
from driftbound.statistics.intervals import Array, plain


def slot_columns(
    votes: Votes,
    found: SlotStatus,
    splits: Mapping[str, str],
    posteriors: Sequence[Array | None],
    decided: NDArray[np.int16],
) -> dict[str, list[Any]]:
    """Columns of ``slots.parquet``: a row per claim slot, a side only of cases where somebody names one.

    ``posteriors`` has per slot the (n, K) chances of its values, or ``None``; ``decided`` (n, A) is the code
    of the decided value, negative where nothing is.
    """
    real = found.real(votes)
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "case_id",
            "split",
            "finding",
            "attribute",
            "votes",
            "status",
            "leading",
            "share",
            "explicit",
            "decided",
            "posterior",
        )
    }
    told: dict[tuple[int, bytes], str] = {}  # the same votes are cast again and again
    for c, a in np.argwhere(real).tolist():
        case_id, (finding, attribute), values = votes.case_ids[c], votes.slots[a], votes.values[a]
        row_codes = votes.codes[c, :, a]
        key = (a, row_codes.tobytes())
        if key not in told:
            each = zip(votes.teachers, row_codes.tolist(), strict=True)
            told[key] = json.dumps({t: votes.word(a, code) for t, code in each if code != NO_VOTE})
        posterior = posteriors[a]
        chances = None if posterior is None or np.isnan(posterior[c]).any() else posterior[c].tolist()
        leading, verdict = int(found.leading[c, a]), int(decided[c, a])
        row = (
            case_id,
            splits[case_id],
            finding,
            attribute,
            told[key],
            str(STATUSES[found.status[c, a]]),
            "" if leading < 0 else values[leading],
            float(found.share[c, a]),
            int(found.explicit[c, a]),
            "" if verdict < 0 else values[verdict],
            "" if chances is None else json.dumps(dict(zip(values, map(plain, chances), strict=True))),
        )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return columns


def vote_columns(votes: Votes, splits: Mapping[str, str], wrong: Array) -> dict[str, Any]:
    """Columns of ``reliability.parquet``: a row per vote that names a value, with the chance (n, T, A) that
    it is wrong."""
    c, t, a = np.nonzero(votes.explicit)
    ids = np.array(votes.case_ids, dtype=object)
    teachers = np.array(votes.teachers, dtype=object)
    findings = np.array([finding for finding, _ in votes.slots], dtype=object)
    attributes = np.array([attribute for _, attribute in votes.slots], dtype=object)
    split = np.array([splits[case_id] for case_id in votes.case_ids], dtype=object)
    most = max((len(values) for values in votes.values), default=0)
    words = np.array([[*values, *[""] * (most - len(values))] for values in votes.values], dtype=object)
    return {
        "case_id": ids[c],
        "split": split[c],
        "finding": findings[a],
        "attribute": attributes[a],
        "teacher": teachers[t],
        "vote": words[a, votes.codes[c, t, a]],
        "wrong": wrong[c, t, a],
    }
