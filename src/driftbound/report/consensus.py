"""Consensus on the page: how well supported it is, what was rejected and why, and whom it agrees with."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from driftbound.records import ClaimStatus, Estimate, Group
from driftbound.report.consensus_figures import histogram
from driftbound.report.drawing import NO_FIGURE, Figure
from driftbound.report.spans import Slots
from driftbound.report.tables import NOTHING
from driftbound.statistics.intervals import estimate, ratios, resample

NO_STAND = ("", "omitted", "refused", "uncertain")
"""Votes that take no stand: nothing to agree or disagree with."""
EXAMPLES = 10
"""Rejected cases whose reason and text stand on the page; the tables of the run have all."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What synthesize left, as rows; a table that is not there is empty."""

    groups: Sequence[Group]
    rejected: Sequence[Row] = ()
    candidates: Sequence[Row] = ()
    support: Sequence[Row] = ()
    """A row per claim of a consensus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """What became of the cases of one split; supports are ``nan`` where nothing was measured."""

    split: str
    cases: int
    synthesized: int
    usable: int
    """With at least one teacher's answer to be preferred over."""
    rejected: int
    lowest: float
    median: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRow:
    """One kind of reason for which cases were rejected."""

    kind: str
    splits: dict[str, int]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One rejected case."""

    case_id: str
    split: str
    reason: str
    support: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandRow:
    """Claims of the consensus on points of one claim status, against what most teachers say."""

    status: str
    claims: int
    with_most: int
    against_most: int
    no_most: int
    """The teachers' votes are tied, or nobody takes a stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherRow:
    """One teacher beside the consensus."""

    teacher: str
    same: Estimate
    """Share of the points on which both take a stand that they say the same of; 95 % by clusters."""
    compared: int
    silent: int
    """Points of the consensus on which the teacher takes no stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """All that the page says of the consensus."""

    synthesizer: str
    threshold: float
    splits: tuple[SplitRow, ...]
    reasons: tuple[ReasonRow, ...]
    examples: tuple[Example, ...]
    candidates: int
    """Texts that were judged; 0 where the run has no record of them."""
    refined: int
    """Cases of which a refined text was judged."""
    refined_chosen: int
    lacks: dict[str, int]
    """Contradictions, inventions and omissions of the chosen texts, summed."""
    stands: tuple[StandRow, ...]
    teachers: tuple[TeacherRow, ...]
    cases_figure: Figure
    claims_figure: Figure


def consensus_of(
    tables: Tables,
    *,
    synthesizer: str,
    threshold: float,
    teachers: Sequence[str],
    slots: Mapping[str, Slots],
    clusters: Mapping[str, str],
    kind_of: Callable[[str], str],
    seed: int,
) -> Consensus | None:
    """The numbers of the consensus; ``None`` where synthesize left neither a group nor a rejected case.

    ``slots`` are the teachers' votes by case, ``clusters`` the cluster of every case, ``kind_of`` the kind of
    a reason. Intervals resample clusters by ``seed``.
    """
    if not tables.groups and not tables.rejected:
        return None
    chosen = [row for row in tables.candidates if row.get("chosen")]
    supports = [group.support for group in tables.groups]
    failed = [_number(row.get("support")) for row in tables.rejected]
    claims = [_number(row.get("support")) for row in tables.support]
    return Consensus(
        synthesizer=synthesizer,
        threshold=threshold,
        splits=_splits(tables),
        reasons=_reasons(tables, kind_of),
        examples=tuple(_example(row) for row in tables.rejected[:EXAMPLES]),
        candidates=len(tables.candidates),
        refined=len({row["case_id"] for row in tables.candidates if row.get("refined")}),
        refined_chosen=sum(bool(row.get("refined")) for row in chosen),
        lacks={
            name: sum(int(row.get(name) or 0) for row in chosen)
            for name in ("contradictions", "inventions", "omissions")
        }
        if chosen
        else {},
        stands=_stands(tables.support, slots),
        teachers=_agreement(tables.support, slots, clusters, teachers, seed),
        cases_figure=histogram("support per case", "case", supports, failed, threshold),
        claims_figure=histogram("support per claim", "claim", claims, (), math.nan) if claims else NO_FIGURE,
    )


def _splits(tables: Tables) -> tuple[SplitRow, ...]:
    names = dict.fromkeys([g.split for g in tables.groups] + [row["split"] for row in tables.rejected])
    found = []
    for name in names:
        own = [group for group in tables.groups if group.split == name]
        known = [group.support for group in own if math.isfinite(group.support)]
        rejected = sum(row["split"] == name for row in tables.rejected)
        found.append(
            SplitRow(
                split=name,
                cases=len(own) + rejected,
                synthesized=len(own),
                usable=sum(group.usable for group in own),
                rejected=rejected,
                lowest=min(known, default=math.nan),
                median=median(known) if known else math.nan,
                mean=fmean(known) if known else math.nan,
            )
        )
    return tuple(found)


def _reasons(tables: Tables, kind_of: Callable[[str], str]) -> tuple[ReasonRow, ...]:
    """Most frequent first; a reason that is not known is said to be so."""
    counts: dict[str, Counter[str]] = {}
    for row in tables.rejected:
        kind = kind_of(str(row.get("reason") or "")) or "no reason given"
        counts.setdefault(kind, Counter())[row["split"]] += 1
    rows = [
        ReasonRow(kind=kind, splits=dict(each), total=sum(each.values())) for kind, each in counts.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.total))


def _example(row: Row) -> Example:
    return Example(
        case_id=row["case_id"],
        split=row["split"],
        reason=str(row.get("reason") or ""),
        support=_number(row.get("support")),
        text=str(row.get("text") or ""),
    )


def _stands(support: Sequence[Row], slots: Mapping[str, Slots]) -> tuple[StandRow, ...]:
    counts: dict[str, Counter[str]] = {}
    for row in support:
        slot = slots.get(row["case_id"], {}).get((row["finding"], row["attribute"]))
        if slot is None or row["value"] in NO_STAND:
            continue
        how = "none" if not slot.leading else "with" if row["value"] == slot.leading else "against"
        counts.setdefault(slot.status, Counter())[how] += 1
    return tuple(
        StandRow(
            status=str(status),
            claims=sum(own.values()),
            with_most=own["with"],
            against_most=own["against"],
            no_most=own["none"],
        )
        for status in ClaimStatus
        if (own := counts.get(str(status)))
    )


def _agreement(
    support: Sequence[Row],
    slots: Mapping[str, Slots],
    clusters: Mapping[str, str],
    teachers: Sequence[str],
    seed: int,
) -> tuple[TeacherRow, ...]:
    """Every teacher against the consensus, point by point; nothing where either table is missing."""
    places = {case: place for place, case in enumerate(dict.fromkeys(row["case_id"] for row in support))}
    said = np.zeros((3, len(places), len(teachers)))  # the same, compared, silent
    for row in support:
        slot = slots.get(row["case_id"], {}).get((row["finding"], row["attribute"]))
        if slot is None or row["value"] in NO_STAND:
            continue
        for t, name in enumerate(teachers):
            vote = slot.votes.get(name, "")
            which = (2,) if vote in NO_STAND else (0, 1) if vote == row["value"] else (1,)
            for each in which:
                said[each, places[row["case_id"]], t] += 1
    if not said.any():
        return ()
    drawn = resample([clusters.get(case, case) for case in places], rng=np.random.default_rng([seed, 7]))
    shares = ratios(said[0], said[1], drawn)
    return tuple(
        TeacherRow(
            teacher=name,
            same=estimate(float(shares.point[t]), shares.drawn[:, t]) if said[1, :, t].any() else NOTHING,
            compared=int(said[1, :, t].sum()),
            silent=int(said[2, :, t].sum()),
        )
        for t, name in enumerate(teachers)
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
