"""Judging: what fitted reliability says of further claims of the same kind, nothing being learnt of them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.candidates import majority_of
from driftbound.measure.dawid_skene import posterior
from driftbound.measure.patterns import Array, patterns, shares
from driftbound.measure.reliability import Reliability, wrong_by
from driftbound.measure.trust import dissent


def judge(
    fitted: Reliability, codes: NDArray[np.integer], *, refusals: bool = False
) -> tuple[Array, NDArray[np.intp], Array]:
    """Posterior (m, K), decided value (m,) (-1: open) and ``wrong`` (m, N) of further claims.

    ``codes`` (m, N) as ``reliability`` takes them. A claim is decided where its posterior is at least that
    of the least sure decided one among the fitted. Raises ``MeasureError`` for codes that do not fit.
    """
    K = fitted.posterior.shape[1]
    if not len(codes):
        return np.empty((0, K)), np.empty(0, dtype=np.intp), np.empty(codes.shape)
    found = patterns(codes, K, refusals=refusals)
    chosen = fitted.candidate
    if chosen is None:
        q = shares(found)
        q[(found.codes < 0).all(axis=1)] = np.nan
        wrong = dissent(found, fitted.lineages)
    else:
        if chosen.method == "majority":
            q = majority_of(chosen.worlds, found)
        else:
            q = posterior(chosen.model, found)
        here = replace(chosen, q=q)
        q, wrong = here.sharpened(fitted.power), wrong_by(found, here)
    sure = np.nan_to_num(q)
    decided = np.where(sure.max(axis=1) >= _edge(fitted), sure.argmax(axis=1), -1)
    where = found.index
    return q[where], decided[where].astype(np.intp), wrong[where]


def _edge(fitted: Reliability) -> float:
    """Posterior of the least sure decided claim; infinite where none is."""
    taken = np.flatnonzero(fitted.decision.decided >= 0)
    if not taken.size:
        return float("inf")
    return float(fitted.posterior[taken, fitted.decision.decided[taken]].min())
