"""Section cases: which cases are unusual against the corpus, by conflict and by change along the answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.agreement import by_case, slot_status
from driftbound.measure.meeting import beyond_composition, by_part, contradiction, known_mean
from driftbound.measure.panel import Panel, Section
from driftbound.measure.sheet import count
from driftbound.measure.votes import Votes
from driftbound.statistics.conformal import conformal_p
from driftbound.statistics.intervals import Array
from driftbound.statistics.multiple import benjamini_hochberg

LEAST = 20
"""Calibration cases below which no case gets a p-value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScores:
    """Per case (n,): scores, conformal p-values, and whether it is flagged; ``nan`` where unknown."""

    conflict: Array
    change: Array
    p_conflict: Array
    p_change: Array
    flagged: NDArray[np.bool_]


def section(panel: Panel, votes: Votes, fitted: NDArray[np.bool_]) -> tuple[Section, CaseScores]:
    """Scores and p-values of all cases of ``votes``; only ``fitted`` ones (n,) calibrate.

    Fitted cases are judged against the other random half of their clusters, all others against both
    halves. Flagged are those that the false discovery rate allows (Benjamini and Hochberg). That says
    "unusual against the corpus", not "drifts".
    """
    settings = panel.settings
    conflict = by_case(votes, slot_status(votes, decisive=settings.decisive))
    values = by_part(beyond_composition(contradiction(votes), votes, fitted), votes.parts, settings.steps)
    half = settings.steps // 2
    mean = known_mean(values, axis=1)
    change = known_mean(mean[:, half:], axis=1) - known_mean(mean[:, :half], axis=1)
    rng = panel.rng("cases")
    groups = rng.integers(0, 2, size=int(panel.clusters.max()) + 1)[panel.clusters]
    fold = np.full(len(votes.case_ids), -1)
    fold[fitted] = groups
    ps = [_judged(score, fold, rng) for score in (conflict, np.abs(change))]
    both = np.concatenate(ps)
    adjusted = benjamini_hochberg(both)
    unusual = np.nan_to_num(adjusted, nan=1.0) <= settings.fdr
    flagged: NDArray[np.bool_] = np.logical_or(*np.split(unusual, 2))
    found = CaseScores(conflict=conflict, change=change, p_conflict=ps[0], p_change=ps[1], flagged=flagged)
    summary = {
        "flagged": count(int(flagged.sum()), of=len(flagged)),
        "judged": count(int((~np.isnan(ps[0])).sum()), of=len(flagged)),
    }
    return Section(summary=summary), found


def _judged(score: Array, fold: NDArray[np.intp], rng: np.random.Generator) -> Array:
    """Conformal p-values: of folds 0 and 1 against each other, of the rest (-1) against both together."""
    ps = np.full(score.shape, np.nan)
    known = ~np.isnan(score)
    for own, against in ((fold == 0, fold == 1), (fold == 1, fold == 0), (fold == -1, fold >= 0)):
        calibration = score[against & known]
        judged = own & known
        if len(calibration) >= LEAST and judged.any():
            ps[judged] = conformal_p(score[judged], calibration)
    return ps
