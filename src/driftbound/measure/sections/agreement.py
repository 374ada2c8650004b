"""Section agreement: consistent, conflicting and uncertain, by finding, teacher, pair and step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from driftbound.measure.agreement import Told, by_case, by_pair, by_slot, by_step, by_teacher, slot_status
from driftbound.measure.panel import Panel, Section
from driftbound.measure.sheet import DriftRow, because, count, measured, share, undefined
from driftbound.measure.votes import Votes
from driftbound.records import ClaimStatus, Measured
from driftbound.statistics.agreement import panel_agreement
from driftbound.statistics.intervals import Resamples, cluster_mean

SHARE = "share of cases, cluster bootstrap; at 0 or 1 exact by clusters"
NO_SLOT = "the field has no finding that is present or absent"
ALIKE = "no two teachers name a value, or all name the same everywhere"
MATCH = "share of the others' explicit votes that are equal, mean over cases, cluster bootstrap"
PAIR = "share of equal votes among those both explicit, cluster bootstrap"
ALPHA = "Krippendorff's alpha, nominal, explicit votes, cluster bootstrap"
AC1 = "Gwet's AC1, explicit votes, cluster bootstrap"
RAW = "share of equal pairs of explicit votes, cluster bootstrap"


def section(panel: Panel) -> Section:
    """Status shares and alpha per finding, agreement per teacher, pair and step."""
    votes, resamples = panel.votes, panel.resamples
    found = slot_status(votes, decisive=panel.settings.decisive)
    real = found.real(votes)
    shares = by_slot(votes, found, resamples)
    findings: dict[str, Any] = {}
    for a, (finding, attribute) in enumerate(votes.slots):
        entry: dict[str, Any] = {
            str(status): share(told.estimate, SHARE, told.n, min(told.n, resamples.clusters))
            for status, told in shares[a].items()
        }
        entry |= _panel(votes, [a], resamples)
        main = findings.setdefault(finding, {})
        if attribute in ("presence", "value"):
            main.update(entry)
        else:
            main[attribute] = entry
    conflict = cluster_mean(by_case(votes, found)[:, None], resamples)[0]
    pairs: dict[str, dict[str, Measured]] = {}
    for (one, other), told in by_pair(votes, resamples).items():
        pairs.setdefault(one, {})[other] = _told(told, PAIR)
    steps = by_step(votes, resamples, parts=panel.settings.steps)
    return Section(
        summary={
            "claims": {
                str(status): count(int((real & (found.status == code)).sum()), of=int(real.sum()))
                for code, status in enumerate(ClaimStatus)
            },
            "presence": _panel(votes, _presences(votes), resamples),
            "conflict_per_case": measured(
                conflict, "mean share of a case's claims, cluster bootstrap", len(real)
            ),
            "findings": findings,
            "teachers": {name: _told(told, MATCH) for name, told in by_teacher(votes, resamples).items()},
            "steps": {name: [_told(told, MATCH) for told in parts] for name, parts in steps.items()},
            "pairs": pairs,
        },
        rows=[
            DriftRow(
                phi="agreement with the others",
                kind="level",
                teacher=name,
                step=j,
                measured=_told(told, MATCH),
            )
            for name, parts in steps.items()
            for j, told in enumerate(parts)
        ],
    )


def _presences(votes: Votes) -> list[int]:
    return [a for a, (_, attribute) in enumerate(votes.slots) if attribute == "presence"]


def _panel(votes: Votes, slots: Sequence[int], resamples: Resamples) -> dict[str, Measured]:
    """Chance-corrected agreement of the explicit votes on some slots that have the same values."""
    if not slots:
        names = {"alpha": ALPHA, "ac1": AC1, "raw_agreement": RAW}
        return {name: undefined(estimator, NO_SLOT) for name, estimator in names.items()}
    codes = np.where(votes.explicit, votes.codes, -1)[:, :, list(slots)].transpose(0, 2, 1)
    most = max((len(votes.values[a]) for a in slots), default=1)
    found = panel_agreement(codes, max(most, 1), resamples)
    return {
        "alpha": because(measured(found.alpha, ALPHA, found.units), ALIKE),
        "ac1": because(measured(found.ac1, AC1, found.units), ALIKE),
        "raw_agreement": because(measured(found.raw, RAW, found.units), ALIKE),
    }


def _told(told: Told, estimator: str) -> Measured:
    return measured(told.estimate, estimator, told.n)
