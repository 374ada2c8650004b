"""Disclosure: what the prompts behind a row of the table gave away is not scored there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from driftbound.evaluation.answers import CONSENSUS, MAJORITY
from driftbound.evaluation.classification import Key
from driftbound.stances import Slot

Told = Mapping[tuple[str, str], frozenset[Slot]]
"""(case, teacher) -> the slots that its prompt gave away; whom nothing was told is not there."""
NOTHING: frozenset[Slot] = frozenset()


def row_keys(
    key: Key, case_ids: Sequence[str], rows: Sequence[str], teachers: Sequence[str], told: Told
) -> dict[str, Key]:
    """For each row of the table the key by which it is scored: ``key`` less what was given away.

    A teacher's row loses what the teacher was told, the consensus what any of the teachers was told whose
    answers it was made of, the majority what all of them were told, for then nobody has voted. A side that
    nobody told is scored also where its finding was told.
    """
    return {row: _less(key, case_ids, _of_row(row, case_ids, teachers, told)) for row in rows}


def unscored(key: Key, whole: Key) -> str:
    """What a reader must know of a row whose key is less than the ``whole``; empty where it is not.

    "not scored: presence of 2 findings in 3 of 4 cases ..."
    """
    presence = whole.scored & ~key.scored
    sides = (whole.sides >= 0) & (key.sides < 0)
    said = []
    for what, gone in (("presence", presence), ("side", sides)):
        if gone.any():
            findings, cases = int(gone.any(axis=0).sum()), int(gone.any(axis=1).sum())
            noun = "finding" if findings == 1 else "findings"
            said.append(f"{what} of {findings} {noun} in {cases} of {len(gone)} cases")
    return f"not scored, for the prompts gave it away: {' and '.join(said)}" if said else ""


def _of_row(row: str, case_ids: Sequence[str], teachers: Sequence[str], told: Told) -> list[frozenset[Slot]]:
    """Case by case the slots that a row loses."""
    kind, _, name = row.partition(":")
    if kind == "teacher":
        return [told.get((case_id, name), NOTHING) for case_id in case_ids]
    if row not in (CONSENSUS, MAJORITY) or not told:
        return [NOTHING] * len(case_ids)
    both = frozenset.union if row == CONSENSUS else frozenset.intersection
    return [reduce(both, [told.get((case_id, each), NOTHING) for each in teachers]) for case_id in case_ids]


def _less(key: Key, case_ids: Sequence[str], lost: Sequence[frozenset[Slot]]) -> Key:
    if not any(lost):
        return key

    def where(attribute: str) -> np.ndarray:
        return np.array([[(name, attribute) in own for name in key.findings] for own in lost], dtype=bool)

    sides = np.where(where("side"), np.int8(-1), key.sides)
    return replace(key, scored=key.scored & ~where("presence"), sides=sides)
