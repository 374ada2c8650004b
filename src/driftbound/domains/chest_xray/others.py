"""Others: further data sets for evaluation alone; a patient of theirs is never in the training too."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from driftbound.data_config import COLLECTIONS, DataConfig, OtherConfig
from driftbound.domains.chest_xray import sources
from driftbound.domains.chest_xray.ms_cxr_t import exclude_subjects
from driftbound.domains.chest_xray.splits import drawn
from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError
from driftbound.progress import say

LEARNT_FROM = ("train", "validation")
"""Splits that no patient of an evaluation may be in."""


def chosen(name: str, other: OtherConfig, seed: int) -> list[Study]:
    """The studies of the split ``name``: of the part that the recipe says, at most ``cases``, whole patients.

    Raises ``CaseError`` where the set cannot be read, has no such part, or no patient fits.
    """
    key = f"domain.data.others.{name}"
    studies = sources.read(other, key)
    parts = sorted({study.split for study in studies if study.split})
    part = other.part or ("test" if parts else "all")
    if part != "all" and part not in parts:
        there = f"has {', '.join(parts)}" if parts else "has no split of its own"
        raise CaseError(f"{other.root}: {other.set} as it lies there {there}. Set {key}.part, such as all.")
    own = [replace(study, split=name) for study in studies if part in ("all", study.split)]
    found = drawn(own, seed=seed, most={name: other.cases})
    if not found:
        raise CaseError(f"{other.root}: no patient has {other.cases} studies or fewer. Raise {key}.cases.")
    say(f"{name}: {len(found)} of {len(own)} studies of {other.set}, {part}; nothing is trained on them")
    return found


def kept_out(
    studies: Sequence[Study], data: DataConfig, others: Mapping[str, Sequence[Study]]
) -> list[Study]:
    """The studies of the learnt-from set without those of evaluated patients in training and validation.

    Patients are the same where the sets are taken from one collection and call it alike; sets of which
    nobody can tell are refused by ``DataConfig``, and films of which nobody can tell with a ``CaseError``.
    How many are left out is said.
    """
    kept = list(studies)
    for name, own in others.items():
        other = data.others[name]
        if _collection(other.set) != _collection(data.set):
            continue
        if other.set != data.set:
            _refuse_nameless(name, [*own, *(each for each in kept if each.split in LEARNT_FROM)])
        patients = frozenset(study.patient for study in own)
        kept, gone, number = exclude_subjects(kept, patients, splits=LEARNT_FROM)
        say(
            f"{data.set}: {gone} studies of {number} patients of {name} are left out of training and "
            "validation"
        )
    return kept


def _refuse_nameless(name: str, studies: Sequence[Study]) -> None:
    """Some films of ChestX-Det10 do not say of which patient of ChestX-ray14 they are."""
    nameless = [study.study_id for study in studies if study.study_id == study.patient]
    if nameless:
        raise CaseError(
            f"domain.data.others.{name}: {len(nameless)} films, such as {nameless[0]}, do not say whose they "
            "are: nobody can keep their patients out of the training. Take another set."
        )


def _collection(set_name: str) -> str:
    return COLLECTIONS.get(set_name, set_name)
