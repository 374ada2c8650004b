"""Splits: whole patients go to one part; those of a benchmark, or too many, stay out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError


def by_patient(studies: Sequence[Study], *, seed: int, shares: Mapping[str, float]) -> list[Study]:
    """The studies with a split each, drawn by the seed and the patient's id: other patients change nothing.

    ``shares`` are those of the splits, in order, and sum to 1. Raises ``CaseError`` where a study has a split
    already: nobody overrules a data set's own.

    >>> made = by_patient([Study(study_id="a", patient="p", films=())], seed=0, shares={"test": 1.0})
    >>> made[0].split
    'test'
    """
    given = next((study for study in studies if study.split), None)
    if given is not None:
        raise CaseError(f"study {given.study_id} is in {given.split} already. Use the data set's own split.")
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise CaseError(f"shares {dict(shares)} do not sum to 1. Correct them.")
    return [replace(study, split=_drawn(study.patient, seed, shares)) for study in studies]


def drawn(studies: Sequence[Study], *, seed: int, most: Mapping[str, int]) -> list[Study]:
    """At most so many studies of each split, whole patients by the seed; in the order given.

    A patient whose studies would be too many is passed over. A split that ``most`` does not name is left out.
    """
    number = Counter((study.split, study.patient) for study in studies)
    kept: set[tuple[str, str]] = set()
    for split, limit in most.items():
        room = limit
        own = sorted((key for key in number if key[0] == split), key=lambda key: _rank(key[1], seed))
        for key in own:
            if number[key] <= room:
                kept.add(key)
                room -= number[key]
    return [study for study in studies if (study.split, study.patient) in kept]


def _rank(patient: str, seed: int) -> bytes:
    return sha256(f"{seed}:{patient}".encode()).digest()


def _drawn(patient: str, seed: int, shares: Mapping[str, float]) -> str:
    place = int.from_bytes(_rank(patient, seed)[:8], "big") / 2**64
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return [*shares][-1]
