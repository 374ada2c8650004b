"""Section tokens: divergence token by token, from stored log-probabilities and from live teachers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.chain import StepMeans, along, chain
from driftbound.measure.live import (
    LiveScores,
    forced_mean,
    information_mean,
    panel_values,
    teacher_values,
)
from driftbound.measure.meeting import known_mean
from driftbound.measure.panel import Panel, Section
from driftbound.measure.peel import SMALLEST, peel
from driftbound.measure.sheet import DriftRow, count, from_test, undefined
from driftbound.measure.topk import Bounds, bounded_means, by_part, read_lists
from driftbound.records import Measured, Trajectory
from driftbound.statistics.signs import flip_test, scan

BOUND = "certified {} bound of the N-way Jensen-Shannon divergence, own prefixes, top-k lists, nats; interval"
NO_LISTS = "no case has stored log-probabilities of two teachers (sampling.logprobs)"
NO_LIVE = "no teachers at hand to score each other's answers (kind: local, measure.live_cases)"
FORCED = "N-way Jensen-Shannon divergence on a common prefix, mean over hosts, nats, errors by clusters"
FREE = "N-way Jensen-Shannon divergence on own prefixes, nats, errors by clusters"
HISTORY = "own less common prefixes, nats, errors by clusters"
ADDED = "information about the teacher that the part adds, posterior weights, nats, errors by clusters"
SO_FAR = "Jensen-Shannon divergence of the answers up to the part, nats, errors by clusters"
KL = "KL divergence of whole answers, exact at each prefix of the first teacher's, nats, errors by clusters"
SCAN = "later less earlier parts at the split found, sign-flip scan over splits, clusters"
ROSE = "lower bound of the later half less upper bound of the earlier half, sign flips of clusters"


def stored(panel: Panel, kept: Mapping[tuple[str, str], Trajectory]) -> Section:
    """Own-prefix divergence by part, between certified bounds, from the answers' stored lists.

    The teachers that have lists for at least half of the kept cases are compared, on the cases where all of
    them have one. They must share a tokenizer: tokens of different ones never meet.
    """
    having = {key: answer for key, answer in kept.items() if answer.logprobs}
    cases = sorted({case_id for case_id, _ in having})
    teachers = [
        t for t in panel.votes.teachers if 2 * sum((c, t) in having for c in cases) >= max(len(cases), 1)
    ]
    whole = [c for c in cases if all((c, t) in having for t in teachers)]
    if len(teachers) < 2 or not whole:
        return Section(summary={"own_prefix_bounds": undefined(BOUND.format("lower"), NO_LISTS)})
    steps = panel.settings.steps
    try:
        each = [
            by_part([read_lists(having[c, t].logprobs, f"{t} on {c}") for t in teachers], steps)
            for c in whole
        ]
    except MeasureError as error:
        return Section(summary={"own_prefix_bounds": undefined(BOUND.format("lower"), str(error))})
    bounds = Bounds(lower=np.stack([b.lower for b in each]), upper=np.stack([b.upper for b in each]))
    clusters = _clusters(panel, whole)
    means = bounded_means(bounds, clusters)
    table, rows = [], []
    for j in range(steps):
        told = {
            name: Measured(
                estimator=BOUND.format(name),
                n=int(means.n[j]),
                value=float(value[j]),
                low=float(means.low[j]),
                high=float(means.high[j]),
                reason="" if means.n[j] else "no answer has a token there",
            )
            for name, value in (("lower", means.lower), ("upper", means.upper))
        }
        table.append(told)
        rows += [
            DriftRow(phi=f"own prefix, top-k, {name} bound", kind="level", step=j, measured=one)
            for name, one in told.items()
        ]
    half = steps // 2
    rose = known_mean(bounds.lower[:, half:], axis=1) - known_mean(bounds.upper[:, :half], axis=1)
    rng = panel.rng("top-k")
    changed = scan(bounds.lower, clusters, rng=rng, draws=panel.draws)
    summary = {
        "teachers": teachers,
        "own_prefix_bounds": table,
        "change_of_lower_bound": from_test(changed, SCAN),
        "rose_for_certain": from_test(flip_test(rose, clusters, rng=rng, draws=panel.draws), ROSE),
    }
    note = (
        "Bounds from stored lists compare tokens by their text: teachers with different tokenizers seem to "
        "differ wherever they cut texts differently."
    )
    return Section(summary=summary, rows=rows, notes=[note])


def live(panel: Panel, scores: LiveScores | None) -> Section:
    """Common-prefix and own-prefix divergence, information chain and pairwise KL of live teachers.

    *Instantaneous* is what the paper's P(z | t_<j) can mean for fixed models: how differently they go on from
    one and the same prefix. *History* is what their different pasts add to that on their own prefixes.
    Cumulative is the information about who writes that the prefix has given away so far.
    """
    if scores is None:
        return Section(summary={"live": undefined(FORCED, NO_LIVE)})
    clusters = _clusters(panel, scores.case_ids)
    rows: list[DriftRow] = []
    split = along(forced_mean(scores), scores.free, clusters)
    information = chain(information_mean(scores), clusters)
    summary: dict[str, Any] = {
        "teachers": list(scores.teachers),
        "one_tokenizer": scores.exact,
        "cases": count(len(scores.case_ids)),
        "hosts_left_out": count(sum(reason != "" for each in scores.reasons for reason in each)),
        "why_left_out": sorted({reason for each in scores.reasons for reason in each if reason})[:5],
        "common_prefix": _steps(split.instantaneous, FORCED, "common prefix", rows),
        "own_prefix": _steps(split.free, FREE, "own prefix", rows),
        "history": _steps(split.history, HISTORY, "history", rows),
        "information": _steps(information.instantaneous, ADDED, "information", rows),
        "cumulative": _steps(information.cumulative, SO_FAR, "cumulative information", rows),
        "pairwise_kl": _pairs(scores, clusters, rows),
    }
    if scores.exact:
        rng = panel.rng("live")
        changed = scan(forced_mean(scores), clusters, rng=rng, draws=panel.draws)
        summary["change"] = from_test(changed, SCAN)
        summary["peeled_off"] = list(_peeled(panel, scores, clusters))
    note = (
        "Live divergences are of the teachers' laws at temperature 1; answers drawn otherwise make the "
        "information and the KL averages over other texts."
    )
    return Section(summary={"live": summary}, rows=rows, notes=[note])


def _steps(found: StepMeans, estimator: str, phi: str, rows: list[DriftRow]) -> list[Measured]:
    told = [
        Measured(
            estimator=estimator,
            n=int(found.n[j]),
            value=float(found.value[j]),
            low=float(found.low[j]),
            high=float(found.high[j]),
            reason="" if found.n[j] > 1 else "fewer than two cases have a token there",
        )
        for j in range(len(found.value))
    ]
    rows += [DriftRow(phi=phi, kind="level", step=j, measured=one) for j, one in enumerate(told)]
    return told


def _pairs(
    scores: LiveScores, clusters: NDArray[np.intp], rows: list[DriftRow]
) -> dict[str, dict[str, Measured]]:
    """KL of each teacher's answers from each other teacher, in nats per answer."""
    table: dict[str, dict[str, Measured]] = {}
    for u, one in enumerate(scores.teachers):
        for v, other in enumerate(scores.teachers):
            if u == v:
                continue
            whole = chain(scores.kl[:, u, v], clusters).cumulative
            told = _steps(whole, KL, "KL up to the part", [])[-1]
            table.setdefault(one, {})[other] = told
            rows.append(DriftRow(phi="KL", kind="total", teacher=one, other=other, measured=told))
    return table


def _peeled(panel: Panel, scores: LiveScores, clusters: NDArray[np.intp]) -> Sequence[str]:
    """Who changes along the answers: taken out one by one until the rest is steady."""
    if len(scores.teachers) < SMALLEST:
        return ()
    found = peel(
        lambda left: panel_values(scores, left),
        lambda left: teacher_values(scores, left),
        len(scores.teachers),
        clusters,
        rng=panel.rng("live peel"),
        draws=panel.draws,
        level=panel.alpha,
    )
    return [scores.teachers[each.teacher] for each in found.changed]


def _clusters(panel: Panel, case_ids: Sequence[str]) -> NDArray[np.intp]:
    place = {case_id: c for c, case_id in enumerate(panel.votes.case_ids)}
    own = panel.clusters[[place[case_id] for case_id in case_ids]]
    numbers: NDArray[np.intp] = np.unique(own, return_inverse=True)[1].astype(np.intp)
    return numbers
