"""Section identification: how much of who is speaking the claims alone give away, part by part."""

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.identification import identification_bound, multinomial, one_hot
from driftbound.measure.panel import Panel, Section
from driftbound.measure.sheet import DriftRow, because, undefined
from driftbound.measure.votes import Votes
from driftbound.statistics.intervals import Array

LIMIT = 1000
"""Clusters that are looked at, at most, drawn by the seed."""
BOUND = "teacher identification: lower bound of the N-way Jensen-Shannon divergence of claims, nats"
FEW = "needs two teachers, and two clusters in which every teacher answered"


def section(panel: Panel) -> Section:
    """A lower bound of the divergence of the teachers' claims up to each part, by held-out identification.

    What an answer has claimed up to a part, without its wording, and a classifier of the teacher that has not
    seen the patient (arXiv 2510.04142 calls what the prefix holds cumulative drift). The bound grows along
    the answer; its steps bound nothing. log N would be full identification.
    """
    votes = panel.votes
    if len(votes.teachers) < 2 or not votes.slots:
        return Section(summary={"cumulative": undefined(BOUND, FEW)})
    rng = panel.rng("identification")
    clusters = int(panel.clusters.max()) + 1
    chosen = np.isin(panel.clusters, rng.permutation(clusters)[:LIMIT])
    told, rows = [], []
    for part in range(panel.settings.steps):
        features, groups = _features(votes.of(chosen), part)
        found = because(
            identification_bound(features, panel.clusters[chosen], rng, fit=multinomial(groups)), FEW
        )
        told.append(found)
        rows.append(DriftRow(phi="identification", kind="cumulative", step=part, measured=found))
    return Section(summary={"cumulative": told}, rows=rows)


def _features(votes: Votes, part: int) -> tuple[Array, NDArray[np.intp]]:
    """(n, T, F) claims up to and with a part as zeros and ones, and the slot of each column; ``nan`` where an
    answer names nothing at all."""
    most = max(len(values) for values in votes.values)
    said = np.where(votes.explicit & (votes.parts <= part), votes.codes, most)
    features, groups = one_hot(said, most + 1)
    features[~votes.explicit.any(axis=2)] = np.nan
    return features, groups
