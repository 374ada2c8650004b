"""Where teachers agree and conflict: by claim slot, case, finding, teacher, pair of teachers and step."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.meeting import contradiction, known_mean, mean_where
from driftbound.measure.votes import Votes
from driftbound.records import ClaimStatus, Estimate
from driftbound.statistics.intervals import Array, Resamples, cluster_mean, estimate, ratios

STATUSES = (ClaimStatus.AGREED, ClaimStatus.CONFLICTING, ClaimStatus.UNDECIDED)
"""What a code of ``SlotStatus.status`` means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """What the teachers together say of A slots of n cases; all arrays are (n, A)."""

    status: NDArray[np.int8]
    """Index into ``STATUSES``."""
    leading: NDArray[np.int16]
    """Index into the slot's values of the one named most often; -1 on a tie and without explicit votes."""
    share: Array
    """Share of the explicit votes that the value named most often has; ``nan`` without any."""
    explicit: NDArray[np.int64]
    """Number of explicit votes."""

    def real(self, votes: Votes) -> NDArray[np.bool_]:
        """Whether a slot is one: a side is a slot only of cases where somebody names a side."""
        own = np.array([attribute in ("presence", "value") for _, attribute in votes.slots])
        found: NDArray[np.bool_] = own[None, :] | (self.explicit > 0)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An estimate and what it rests on."""

    estimate: Estimate
    n: int


def slot_status(votes: Votes, *, decisive: float) -> SlotStatus:
    """Agreed, conflicting or undecided, per case and slot.

    Agreed: at least two explicit votes, and the leading value has a share of ``decisive`` or more.
    Conflicting: below that, at least two different explicit values (present and absent; of sides
    any two, as ``both`` says something else than ``left``). Undecided: the rest.
    """
    most = max((len(values) for values in votes.values), default=1) or 1
    counts = np.stack([(votes.codes == value).sum(axis=1) for value in range(most)], axis=2)
    explicit = counts.sum(axis=2)
    top = counts.max(axis=2)
    share = np.divide(top, explicit, out=np.full(top.shape, np.nan), where=explicit > 0)
    agreed = (explicit >= 2) & (np.nan_to_num(share) >= decisive - 1e-9)
    conflicting = ~agreed & ((counts > 0).sum(axis=2) >= 2)
    status = np.where(agreed, 0, np.where(conflicting, 1, 2)).astype(np.int8)
    alone = (counts == top[:, :, None]).sum(axis=2) == 1
    leading = np.where((explicit > 0) & alone, counts.argmax(axis=2), -1).astype(np.int16)
    return SlotStatus(status=status, leading=leading, share=share, explicit=explicit)


def by_teacher(votes: Votes, resamples: Resamples) -> dict[str, Told]:
    """Each teacher against the others, leaving itself out.

    Of a slot: the share of the other teachers' explicit votes that equal this teacher's explicit
    vote; averaged over the slots of a case, then over cases. Slots on which the teacher or all others
    say nothing explicit are not compared. n counts claims.
    """
    met = contradiction(votes)
    found = cluster_mean(1 - known_mean(met, axis=2), resamples)
    counts = (~np.isnan(met)).sum(axis=(0, 2))
    return {name: Told(estimate=found[t], n=int(counts[t])) for t, name in enumerate(votes.teachers)}


def by_step(votes: Votes, resamples: Resamples, *, parts: int) -> dict[str, tuple[Told, ...]]:
    """As ``by_teacher``, in each of the equal parts of the teacher's own answer, first to last."""
    met = contradiction(votes)
    told: dict[str, list[Told]] = {name: [] for name in votes.teachers}
    for part in range(parts):
        here = (votes.parts == part) & ~np.isnan(met)
        found = cluster_mean(1 - mean_where(met, here, axis=2), resamples)
        counts = here.sum(axis=(0, 2))
        for t, name in enumerate(votes.teachers):
            told[name].append(Told(estimate=found[t], n=int(counts[t])))
    return {name: tuple(parts) for name, parts in told.items()}


def by_pair(votes: Votes, resamples: Resamples) -> dict[tuple[str, str], Told]:
    """Two teachers: the share of the slots that both name a value of on which they name the same; n counts
    such slots."""
    pairs = list(combinations(range(len(votes.teachers)), 2))
    same = np.zeros((len(votes.case_ids), len(pairs)))
    both = np.zeros_like(same)
    for p, (u, v) in enumerate(pairs):
        one, other = votes.codes[:, u], votes.codes[:, v]
        compared = (one >= 0) & (other >= 0)
        both[:, p] = compared.sum(axis=1)
        same[:, p] = (compared & (one == other)).sum(axis=1)
    found = ratios(same, both, resamples)
    return {
        (votes.teachers[u], votes.teachers[v]): Told(
            estimate=estimate(float(found.point[p]), found.drawn[:, p]), n=int(both[:, p].sum())
        )
        for p, (u, v) in enumerate(pairs)
    }


def by_slot(votes: Votes, found: SlotStatus, resamples: Resamples) -> list[dict[ClaimStatus, Told]]:
    """Per slot the share of the cases in which it is agreed, conflicting and undecided; n counts cases."""
    real = found.real(votes)
    told: list[dict[ClaimStatus, Told]] = []
    for a in range(len(votes.slots)):
        here = real[:, a]
        is_so = np.stack([(found.status[:, a] == code) & here for code in range(len(STATUSES))], axis=1)
        known = np.repeat(here[:, None], len(STATUSES), axis=1)
        shares = ratios(is_so.astype(np.float64), known.astype(np.float64), resamples)
        told.append(
            {
                status: Told(
                    estimate=estimate(float(shares.point[code]), shares.drawn[:, code]), n=int(here.sum())
                )
                for code, status in enumerate(STATUSES)
            }
        )
    return told


def by_case(votes: Votes, found: SlotStatus) -> Array:
    """(n,) share of a case's slots with an explicit vote on which the teachers conflict; ``nan`` without."""
    explicit = found.real(votes) & (found.explicit > 0)
    return mean_where((found.status == 1).astype(np.float64), explicit, axis=1)
