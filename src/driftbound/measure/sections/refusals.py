"""Section refusals: who declines to answer more often than the rest of the panel."""

from dataclasses import replace
from typing import Any

import numpy as np

from driftbound.measure.panel import FAMILIES, Alarm, Panel, Section
from driftbound.measure.sheet import DriftRow, count, from_test, share
from driftbound.statistics.intervals import cluster_mean
from driftbound.statistics.multiple import holm
from driftbound.statistics.permuting import exchanged_above
from driftbound.statistics.signs import contrast_of

RATE = "share of answers, cluster bootstrap; at 0 or 1 exact by clusters"
ABOVE = "refuses less mean of the others on the same cases; one-sided p, teachers exchanged in clusters"
_ASKED = ("ok", "truncated", "refused")


def section(panel: Panel) -> Section:
    """Status counts and refusal rate of every teacher, and whether it refuses more than the others do."""
    statuses = panel.statuses
    asked = np.isin(statuses, _ASKED)
    refused = np.where(asked, statuses == "refused", np.nan).astype(np.float64)
    rates = cluster_mean(refused, panel.resamples)
    ps = exchanged_above(refused, panel.clusters, rng=panel.rng("refusals"), draws=panel.draws)
    table: dict[str, Any] = {}
    rows, tests = [], []
    for t, name in enumerate(panel.votes.teachers):
        own = statuses[:, t]
        rate = share(rates[t], RATE, int(asked[:, t].sum()), panel.resamples.clusters)
        table[name] = {
            "answers": {str(s): count(int((own == s).sum())) for s in sorted(set(own.tolist()) - {""})},
            "refusal_rate": rate,
        }
        rows.append(DriftRow(phi="refuses", kind="level", teacher=name, measured=rate))
        if len(panel.votes.teachers) < 2:
            continue
        others = np.delete(refused, t, axis=1)
        known = ~np.isnan(others)
        mean = np.divide(
            np.where(known, others, 0.0).sum(axis=1),
            known.sum(axis=1),
            out=np.full(len(others), np.nan),
            where=known.any(axis=1),
        )
        above = contrast_of(refused[:, t] - mean, panel.clusters)
        p = float("nan") if np.isnan(above.se) else float(ps[t])
        tests.append((name, from_test(replace(above, p=p), ABOVE)))
        table[name]["above_others"] = tests[-1][1]
    adjusted = holm(np.array([test.p for _, test in tests]))
    alarms = [
        Alarm(
            family=FAMILIES[3],
            teacher=name,
            what="refuses more often than the others do",
            effect=test,
            p_adjusted=float(adjusted[i]),
        )
        for i, (name, test) in enumerate(tests)
        if test.value > 0 and adjusted[i] <= panel.alpha
    ]
    return Section(summary=table, rows=rows, alarms=alarms)
