"""Section versions: what changed between versions that an endpoint has named, and between rounds."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.meeting import HABITS, contradiction, habits
from driftbound.measure.panel import FAMILIES, Alarm, Panel, Section
from driftbound.measure.sheet import DriftRow, count, from_test, measured, undefined
from driftbound.measure.versions import LEAST, difference, kitagawa, segments
from driftbound.records import Measured
from driftbound.statistics.intervals import Array, estimate, ratios
from driftbound.statistics.kernels import two_sample_mmd
from driftbound.statistics.multiple import holm
from driftbound.statistics.permuting import permuted_difference
from driftbound.statistics.signs import flip_test

APART = "later version less earlier, on different cases, errors by clusters, p by permuted clusters"
SPLIT = "Kitagawa split of the change of the rate of contradiction, cluster bootstrap"
CHANGED = "share of values named in both rounds that differ, cluster bootstrap"
AGAIN = "later round less first, same cases, sign flips of clusters"
DRAWS = 500
"""Resamples of the Kitagawa split."""
LAWS = "all votes of two versions on different cases, two-sample MMD, permuted clusters"
LIMIT = 600
"""Clusters of that test, at most, drawn by the seed."""
ONE_VERSION = "one version answered all"


def section(panel: Panel) -> Section:
    """Changes of each teacher's habits between its versions, and between waves."""
    votes = panel.votes
    met = contradiction(votes)
    whole = habits(votes.codes, votes.slots, met, panel.words)
    table: dict[str, Any] = {}
    tests: list[tuple[str, str, Measured]] = []
    rows: list[DriftRow] = []
    spoken = [_named(panel, t) for t in range(len(votes.teachers))]
    changes = sum(max(len(known) - 1, 0) for known in spoken)
    draws = _draws(panel, 2 * changes + len(panel.waves) * len(votes.teachers))
    for t, name in enumerate(votes.teachers):
        labels, known = panel.versions[:, t], spoken[t]
        entry: dict[str, Any] = {
            "versions": {version: count(int((labels == version).sum())) for version in known},
            "changes": [],
        }
        for before, after in pairwise(known):
            told, best = _between(panel, t, whole[:, t], met[:, t], before, after, draws)
            laws = _laws(panel, t, labels, before, after, draws)
            entry["changes"].append({"from": before, "to": after, **told, "laws": laws})
            tests.append((name, f"answers otherwise as {after} than as {before}: {best[0]}", best[1]))
            tests.append((name, f"claims otherwise as {after} than as {before}", laws))
            rows += [
                DriftRow(phi=habit, kind="change", teacher=name, other=f"{before} > {after}", measured=value)
                for habit, value in told["habits"].items()
            ]
        if not entry["changes"]:
            entry["why_none"] = undefined(APART, ONE_VERSION)
        table[name] = entry
    waves = {str(wave): _wave(panel, wave, tests, rows, draws) for wave in panel.waves}
    adjusted = holm(np.array([test.p for _, _, test in tests]))
    alarms = [
        Alarm(family=FAMILIES[2], teacher=name, what=what, effect=test, p_adjusted=float(adjusted[i]))
        for i, (name, what, test) in enumerate(tests)
        if adjusted[i] <= panel.alpha
    ]
    return Section(summary={"teachers": table, "waves": waves}, rows=rows, alarms=alarms)


def _named(panel: Panel, t: int) -> list[str]:
    """A teacher's versions in the order in which they answered."""
    at = np.argsort(panel.order[:, t], kind="stable")
    return segments([str(panel.versions[c, t]) for c in at if panel.order[c, t] >= 0])


def _draws(panel: Panel, tests: int) -> int:
    """Resamples per test: the smallest p, for all habits and all ``tests``, is half of the level."""
    return max(panel.draws, ceil(2 * len(HABITS) * tests / panel.alpha))


def _between(
    panel: Panel, t: int, own: Array, met: Array, before: str, after: str, draws: int
) -> tuple[dict[str, Any], tuple[str, Measured]]:
    """Habits (n, 6) and contradictions (n, A) of one teacher under two versions, and the clearest change.

    Its p is corrected for the habits that were looked at (largest over all).
    """
    name, labels = panel.votes.teachers[t], panel.versions[:, t]
    there = (labels == before) | (labels == after)
    second = (labels == after)[there]
    clusters = panel.clusters[there]
    found = difference(own[there], second, clusters)
    rng = panel.rng(f"habits {name} {before} {after}")
    dealt = permuted_difference(own[there], second, clusters, rng=rng, draws=draws)
    told: dict[str, Measured] = {}
    for h, (habit, column) in enumerate(zip(HABITS, own[there].T, strict=True)):
        n = int((~np.isnan(column)).sum())
        told[habit] = measured(found[h], APART, n, p=float(dealt.p[h]))
    split = kitagawa(met[there], second, clusters, rng=panel.rng(f"kitagawa {before} {after}"), draws=DRAWS)
    n = int(there.sum())
    parts = {
        "total": measured(split.total, SPLIT, n),
        "history": measured(split.history, SPLIT, n),
        "instant": measured(split.instant, SPLIT, n),
        "claims_left_out": count(split.left_out),
    }
    together = dict(zip(HABITS, dealt.together.tolist(), strict=True))
    habit = min(together, key=lambda name: 2.0 if np.isnan(together[name]) else together[name])
    best = replace(told[habit], p=together[habit])
    return {"habits": told, "contradicted_split": parts}, (habit, best)


def _laws(panel: Panel, t: int, labels: NDArray[np.object_], before: str, after: str, draws: int) -> Measured:
    """Whether a teacher's votes as a whole have another law, whatever in them may have changed."""
    codes = panel.votes.codes[:, t]
    states = [np.unique(codes[:, a]) for a in range(codes.shape[1])]
    features = np.concatenate([codes[:, a, None] == state for a, state in enumerate(states)], axis=1).astype(
        np.float64
    )
    first, second = labels == before, labels == after
    found = two_sample_mmd(
        features[first],
        features[second],
        panel.clusters[first],
        panel.clusters[second],
        rng=panel.rng(f"laws {before} {after}"),
        draws=draws,
        limit=LIMIT,
    )
    return from_test(found, LAWS)


def _wave(
    panel: Panel, wave: int, tests: list[tuple[str, str, Measured]], rows: list[DriftRow], draws: int
) -> dict[str, Any]:
    """Each teacher's habits in a later round less those in the first, on the same cases."""
    votes, codes = panel.votes, panel.waves[wave]
    first = habits(votes.codes, votes.slots, contradiction(votes))
    later = habits(codes, votes.slots, contradiction(votes, codes))
    table: dict[str, Any] = {}
    for t, name in enumerate(votes.teachers):
        both = int(((codes[:, t] != -1).any(axis=1) & (votes.codes[:, t] != -1).any(axis=1)).sum())
        if both < LEAST:
            why = f"{both} cases were asked in both rounds, {LEAST} are needed"
            table[name] = undefined(AGAIN, why, n=both)
            continue
        told: dict[str, Measured] = {}
        for h, habit in enumerate(HABITS):
            if habit == "words":
                continue
            rng = panel.rng(f"wave {wave} {name} {habit}")
            change = flip_test(later[:, t, h] - first[:, t, h], panel.clusters, rng=rng, draws=draws)
            told[habit] = from_test(change, AGAIN)
            rows.append(
                DriftRow(phi=habit, kind="change", teacher=name, other=f"wave {wave}", measured=told[habit])
            )
        habit, best = _clearest(told)
        tests.append((name, f"answers otherwise in round {wave}: {habit}", best))
        table[name] = told | {"votes_changed": _changed(panel, codes[:, t], t)}
    return table


def _clearest(told: Mapping[str, Measured]) -> tuple[str, Measured]:
    """The habit that has changed most clearly, its p corrected for having looked at all (Bonferroni)."""
    habit = min(told, key=lambda name: 2.0 if np.isnan(told[name].p) else told[name].p)
    best = told[habit]
    p = 1.0 if np.isnan(best.p) else min(1.0, best.p * len(told))
    return habit, replace(best, p=p)


def _changed(panel: Panel, later: NDArray[np.int16], t: int) -> Measured:
    """Share of the slots that a teacher names a value of in both rounds on which it names another one.

    A teacher asked twice within the first round differs from itself as well: see the noise floor.
    """
    first = panel.votes.codes[:, t]
    both = (first >= 0) & (later >= 0)
    differ = (both & (first != later)).sum(axis=1, keepdims=True).astype(np.float64)
    met = both.sum(axis=1, keepdims=True).astype(np.float64)
    found = ratios(differ, met, panel.resamples)
    told = estimate(float(found.point[0]), found.drawn[:, 0])
    return measured(told, CHANGED, int(met.sum()))
