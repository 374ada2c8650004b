"""The measure's tables: one row per claim slot, and what the corpus says as a whole."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from driftbound.measure.agreement import STATUSES, SlotStatus, TeacherAgreement, alpha
from driftbound.measure.votes import EXPLICIT, NO_VOTE, VALUES, Votes
from driftbound.records import Trajectory
from driftbound.statistics.intervals import plain, plain_estimate


def slot_rows(votes: Votes, found: SlotStatus, splits: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row per claim slot: votes per teacher as JSON (who gave none is left out), status, leading value.

    A side is a slot only of cases where at least one teacher names a side.
    """
    rows = []
    for c, case_id in enumerate(votes.case_ids):
        for a, (finding, attribute) in enumerate(votes.slots):
            if attribute == "side" and not found.explicit[c, a]:
                continue
            said = {
                teacher: VALUES[code]
                for teacher, code in zip(votes.teachers, votes.codes[c, :, a].tolist(), strict=True)
                if code != NO_VOTE
            }
            leading = int(found.leading[c, a])
            rows.append(
                {
                    "case_id": case_id,
                    "split": splits[case_id],
                    "finding": finding,
                    "attribute": attribute,
                    "votes": json.dumps(said),
                    "status": str(STATUSES[found.status[c, a]]),
                    "leading": "" if leading < 0 else EXPLICIT[leading],
                    "share": float(found.share[c, a]),
                    "explicit": int(found.explicit[c, a]),
                }
            )
    return rows


def teacher_table(
    teachers: Sequence[str], answers: Sequence[Trajectory], agreement: Mapping[str, TeacherAgreement]
) -> dict[str, Any]:
    """Per teacher: what became of the questions, how long it writes, which versions answered, agreement."""
    table: dict[str, Any] = {}
    for name in teachers:
        own = [answer for answer in answers if answer.teacher == name]
        lengths = [len(answer.text.split()) for answer in own if answer.status.usable]
        table[name] = {
            "answers": dict(Counter(str(answer.status) for answer in own)),
            "words_mean": plain(float(np.mean(lengths))) if lengths else None,
            "versions": dict(Counter(answer.version for answer in own if answer.version)),
            "agreement_with_others": plain_estimate(agreement[name].overall),
            "by_step": [
                {**plain_estimate(part), "n": n}
                for part, n in zip(agreement[name].by_part, agreement[name].claims, strict=True)
            ],
        }
    return table


def claim_tables(votes: Votes, found: SlotStatus) -> tuple[dict[str, int], dict[str, Any]]:
    """Counts of slots by status, and the shares and alpha per finding (its side under ``side``)."""
    real = found.explicit > 0
    for a, (_, attribute) in enumerate(votes.slots):
        if attribute != "side":
            real[:, a] = True
    claims = {str(name): int((real & (found.status == code)).sum()) for code, name in enumerate(STATUSES)}
    per_finding: dict[str, Any] = {}
    for a, (finding, attribute) in enumerate(votes.slots):
        slots = found.status[real[:, a], a]
        entry: dict[str, Any] = {
            str(name): plain(float((slots == code).mean())) if slots.size else None
            for code, name in enumerate(STATUSES)
        }
        entry["alpha"] = plain(alpha(votes, a))
        entry["n"] = int(slots.size)
        if attribute == "presence":
            per_finding[finding] = entry
        else:
            per_finding[finding]["side"] = entry
    return claims, per_finding
