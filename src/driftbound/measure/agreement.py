"""Where teachers agree and conflict: status of each claim slot, and each teacher against the others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.votes import EXPLICIT, Votes
from driftbound.records import ClaimStatus, Estimate
from driftbound.statistics.agreement import krippendorff_alpha
from driftbound.statistics.intervals import Array, Resamples, cluster_mean

STATUSES = (ClaimStatus.AGREED, ClaimStatus.CONFLICTING, ClaimStatus.UNDECIDED)
"""What a code of ``SlotStatus.status`` means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """What the teachers together say of A slots of n cases; all arrays are (n, A)."""

    status: NDArray[np.int8]
    """Index into ``STATUSES``."""
    leading: NDArray[np.int8]
    """Index into ``EXPLICIT`` of the value named most often; -1 on a tie and without explicit votes."""
    share: Array
    """Share of the explicit votes that the value named most often has; ``nan`` without any."""
    explicit: NDArray[np.int64]
    """Number of explicit votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherAgreement:
    """How far the others say what one teacher says."""

    overall: Estimate
    by_part: tuple[Estimate, ...]
    """Per part of the teacher's own answer, first to last."""
    claims: tuple[int, ...]
    """Claims compared, per part."""


def slot_status(votes: Votes, *, decisive: float) -> SlotStatus:
    """Agreed, conflicting or undecided, per case and slot.

    Agreed: at least two explicit votes, and the leading value has a share of ``decisive`` or more.
    Conflicting: below that, at least two different explicit values (present and absent; of sides
    any two, as ``both`` says something else than ``left``). Undecided: the rest.
    """
    counts = _counts(votes)
    explicit = counts.sum(axis=2)
    most = counts.max(axis=2)
    share = np.divide(most, explicit, out=np.full(most.shape, np.nan), where=explicit > 0)
    agreed = (explicit >= 2) & (np.nan_to_num(share) >= decisive - 1e-9)
    conflicting = ~agreed & ((counts > 0).sum(axis=2) >= 2)
    status = np.where(agreed, 0, np.where(conflicting, 1, 2)).astype(np.int8)
    alone = (counts == most[:, :, None]).sum(axis=2) == 1
    leading = np.where((explicit > 0) & alone, counts.argmax(axis=2), -1).astype(np.int8)
    return SlotStatus(status=status, leading=leading, share=share, explicit=explicit)


def agreement_with_others(votes: Votes, resamples: Resamples, *, parts: int) -> dict[str, TeacherAgreement]:
    """Each teacher against the others, leaving itself out.

    Of a slot: the share of the other teachers' explicit votes that equal this teacher's explicit
    vote; averaged over the slots of a case, then over cases, with an interval over clusters. Slots
    on which the teacher or all others say nothing explicit are not compared. A share below its
    earlier parts in the later parts of an answer is drift along the reasoning.
    """
    match = _match(votes)
    compared = ~np.isnan(match)
    columns = [_case_mean(match, compared)]
    counts = []
    for part in range(parts):
        here = compared & (votes.parts == part)
        columns.append(_case_mean(match, here))
        counts.append(here.sum(axis=(0, 2)))
    teachers = len(votes.teachers)
    estimates = cluster_mean(np.concatenate(columns, axis=1), resamples)
    return {
        name: TeacherAgreement(
            overall=estimates[t],
            by_part=tuple(estimates[(1 + part) * teachers + t] for part in range(parts)),
            claims=tuple(int(counts[part][t]) for part in range(parts)),
        )
        for t, name in enumerate(votes.teachers)
    }


def alpha(votes: Votes, slot: int) -> float:
    """Krippendorff's nominal alpha of the explicit votes on one slot, over all cases."""
    codes = votes.codes[:, :, slot]
    return krippendorff_alpha(np.where(codes < len(EXPLICIT), codes, -1), len(EXPLICIT))


def _counts(votes: Votes) -> NDArray[np.int64]:
    """(n, A, explicit values) number of teachers who say each value."""
    return np.stack([(votes.codes == value).sum(axis=1) for value in range(len(EXPLICIT))], axis=2)


def _match(votes: Votes) -> Array:
    """(n, T, A) share of the others' explicit votes that equal the teacher's; ``nan`` if not compared."""
    counts = _counts(votes)
    explicit = (votes.codes >= 0) & (votes.codes < len(EXPLICIT))
    own = np.where(explicit, votes.codes, 0).astype(np.intp)
    same = np.take_along_axis(counts, own.transpose(0, 2, 1), axis=2).transpose(0, 2, 1) - 1
    others = np.broadcast_to(counts.sum(axis=2)[:, None, :] - 1, same.shape)
    compared = explicit & (others > 0)
    share: Array = np.divide(same, others, out=np.full(same.shape, np.nan), where=compared)
    return share


def _case_mean(match: Array, chosen: NDArray[np.bool_]) -> Array:
    """(n, T) mean over the chosen slots of each case; ``nan`` where there are none."""
    n = chosen.sum(axis=2)
    total = np.where(chosen, match, 0.0).sum(axis=2)
    mean: Array = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    return mean
