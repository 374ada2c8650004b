"""Section along: does what a teacher says drift along its own reasoning, from where on, and who drifts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from driftbound.measure.meeting import beyond_composition, by_part, contradiction, known_mean
from driftbound.measure.noise import excess_by_part, noise
from driftbound.measure.panel import FAMILIES, Alarm, Panel, Section
from driftbound.measure.peel import SMALLEST, peel
from driftbound.measure.sheet import DriftRow, because, from_test, measured, undefined
from driftbound.measure.votes import PRESENCE, Votes
from driftbound.records import Measured
from driftbound.statistics.agreement import alpha_change, case_coincidences
from driftbound.statistics.equivalence import equivalence
from driftbound.statistics.intervals import Array, cluster_mean, estimate
from driftbound.statistics.kernels import swap_mmd
from driftbound.statistics.multiple import holm
from driftbound.statistics.signs import Scan, contrast_at, scan, split_half

PHI = "contradicted"
SCAN = "later less earlier parts at the split found, sign-flip scan over splits, clusters"
HALF = "later less earlier parts; split found on half of the clusters, measured on the other"
LEVEL = "share of the others' votes that contradict, less the mean for the same value of the slot"
"""Of ``contradicted``: what its level is taken beyond."""
MMD = "early against late parts of the same cases, case-swap MMD, clusters"
FLOOR = "explicit votes that differ, cases asked twice, cluster bootstrap"
ALPHA = "Krippendorff's alpha of presence claims in one half of the answers, cluster bootstrap"
ALPHA_CHANGE = "alpha of late less that of early claims, cluster bootstrap, p by swapping halves of clusters"
ALIKE = "no two teachers name a value there, or all name the same everywhere"
FEWEST = 20
"""Cases asked twice below which no noise floor is told."""
ONE = "one teacher alone contradicts nobody"


def section(panel: Panel) -> Section:
    """The panel's scan, each teacher's, laws, noise floor.

    Who drifts is told by each teacher's own scan (Holm over teachers): another's change moves its own parts
    and not this teacher's, so no innocent one is drawn in. Peel-off tells the same from the panel's
    statistic alone, in the order in which it takes them out.
    """
    votes = panel.votes
    if len(votes.teachers) < 2:
        gone = undefined(SCAN, ONE)
        return Section(summary={"panel": gone, "noise_floor": undefined(FLOOR, ONE), "teachers": {}})
    values = _values(votes, panel.settings.steps)
    whole = scan(known_mean(values, axis=1), panel.clusters, rng=panel.rng("along"), draws=panel.draws)
    told = [_teacher(panel, values[:, t], name) for t, name in enumerate(votes.teachers)]
    adjusted = holm(np.array([found.p for _, found in told]))
    rows: list[DriftRow] = []
    teachers: dict[str, Any] = {}
    alarms: list[Alarm] = []
    for t, (name, (table, found)) in enumerate(zip(votes.teachers, told, strict=True)):
        drifts = bool(adjusted[t] <= panel.alpha)
        teachers[name] = table | {"drifts": drifts, "p_adjusted": _adjusted(found, float(adjusted[t]))}
        rows.append(_row(name, found, table["change"], float(adjusted[t])))
        rows += _levels(panel, values[:, t], name)
        if drifts:
            what = _what(found, panel.settings.steps)
            alarms.append(
                Alarm(
                    family=FAMILIES[0],
                    teacher=name,
                    what=what,
                    effect=table["change"],
                    p_adjusted=float(adjusted[t]),
                )
            )
    change = from_test(whole, SCAN)
    rows.append(_row("", whole, change, whole.p))
    summary = {
        "phi": f"{PHI}: {LEVEL}; a step is a part of the teacher's own answer",
        "panel": change,
        "panel_split": _place(whole, panel.settings.steps),
        "laws": _laws(panel, values),
        "alpha": _alpha(panel),
        "peeled_off": list(_peeled(panel)) if whole.p <= panel.alpha else [],
        "teachers": teachers,
        "noise_floor": _floor(panel, rows),
    }
    return Section(summary=summary, rows=rows, alarms=alarms)


def _values(votes: Votes, steps: int) -> Array:
    """(n, T, J) how much more the claims of a part are contradicted than such claims are elsewhere."""
    return by_part(beyond_composition(contradiction(votes), votes), votes.parts, steps)


def _teacher(panel: Panel, values: Array, name: str) -> tuple[dict[str, Any], Scan]:
    """Change, split, honest effect and equivalence of one teacher; ``values`` is (n, J)."""
    rng = panel.rng(f"along {name}")
    found = scan(values, panel.clusters, rng=rng, draws=panel.draws)
    steps = panel.settings.steps
    middle = contrast_at(values, panel.clusters, steps // 2)
    same = equivalence(middle.effect, middle.se, panel.settings.margin, clusters=middle.clusters)
    honest = split_half(values, panel.clusters, rng, draws=panel.draws).change
    return {
        "change": from_test(found, SCAN),
        "split": _place(found, steps),
        "change_measured_apart": from_test(honest, HALF),
        "no_meaningful_drift": Measured(
            estimator=f"two one-sided tests of +-{panel.settings.margin:g} at the middle split, clusters",
            n=middle.n,
            value=middle.effect,
            low=middle.low,
            high=middle.high,
            p=same.p,
            reason=middle.reason,
        ),
    }, found


def _adjusted(found: Scan, p: float) -> Measured:
    """The scan's p for all teachers together: at most the family's level for a teacher that drifts."""
    reason = "a p-value has no interval" if p == p else found.reason
    return Measured(estimator="p of the scan, Holm over teachers", n=found.n, value=p, reason=reason)


def _peeled(panel: Panel) -> tuple[str, ...]:
    """The worst is taken out until the rest of the panel is steady."""
    votes, steps = panel.votes, panel.settings.steps
    if len(votes.teachers) < SMALLEST:
        return ()

    def values(left: Sequence[int]) -> Array:
        return _values(votes.among(left), steps)

    found = peel(
        lambda left: known_mean(values(left), axis=1),
        lambda left: values(left).transpose(0, 2, 1),
        len(votes.teachers),
        panel.clusters,
        rng=panel.rng("peel"),
        draws=panel.draws,
        level=panel.alpha,
    )
    return tuple(votes.teachers[each.teacher] for each in found.changed)


def _levels(panel: Panel, values: Array, name: str) -> list[DriftRow]:
    found = cluster_mean(values, panel.resamples)
    counts = (~np.isnan(values)).sum(axis=0)
    return [
        DriftRow(phi=PHI, kind="level", teacher=name, step=j, measured=measured(each, LEVEL, int(counts[j])))
        for j, each in enumerate(found)
    ]


def _laws(panel: Panel, values: Array) -> Measured:
    """Do the teachers' laws differ between early and late, though their mean may not?

    Each case is the vector of all teachers' means, early against late; what is missing on either side is the
    mean of both, which a swap leaves as it is.
    """
    half = panel.settings.steps // 2
    early, late = known_mean(values[:, :, :half], axis=2), known_mean(values[:, :, half:], axis=2)
    both = np.stack([early, late])
    fill = np.nan_to_num(known_mean(both.reshape(-1, both.shape[2]), axis=0))
    early, late = (np.where(np.isnan(side), fill, side) for side in (early, late))
    found = swap_mmd(
        early,
        late,
        panel.clusters,
        rng=panel.rng("laws"),
        draws=panel.draws,
    )
    return from_test(found, MMD)


def _alpha(panel: Panel) -> dict[str, Measured]:
    """Alpha of the claims that the teachers make early against that of those they make late."""
    votes, half = panel.votes, panel.settings.steps // 2
    presence = [a for a, (_, attribute) in enumerate(votes.slots) if attribute == "presence"]
    if not presence:
        return dict.fromkeys(("early", "late", "change"), undefined(ALPHA, "no finding is present or absent"))
    sides = []
    for which in (False, True):
        here = votes.explicit & ((votes.parts >= half) == which)
        codes = np.where(here, votes.codes, -1)[:, :, presence].transpose(0, 2, 1)
        sides.append(case_coincidences(codes, len(PRESENCE)))
    early, late = sides
    rng, draws = panel.rng("alpha"), panel.settings.draws
    found = alpha_change(early, late, panel.resamples, rng=rng, draws=draws)
    return {
        "early": because(measured(found.early, ALPHA, found.n), ALIKE),
        "late": because(measured(found.late, ALPHA, found.n), ALIKE),
        "change": because(measured(found.effect, ALPHA_CHANGE, found.n, p=found.p), found.reason or ALIKE),
    }


def _floor(panel: Panel, rows: list[DriftRow]) -> dict[str, Any] | Measured:
    """How noisy the teachers are, and how far they differ beyond that, also along the answer."""
    found = noise(panel.repeats, panel.resamples) if panel.repeats else None
    if found is None or found.cases < FEWEST:
        n = 0 if found is None else found.cases
        return undefined(FLOOR, f"{n} cases were asked twice, {FEWEST} are needed (collect.repeats)", n=n)

    def told(sampled: Any, column: int = 0) -> Measured:
        return measured(estimate(float(sampled.point[column]), sampled.drawn[:, column]), FLOOR, found.cases)

    beyond = excess_by_part(panel.repeats, panel.votes.parts, panel.settings.steps)
    change = scan(beyond, panel.clusters, rng=panel.rng("excess"), draws=panel.draws)
    rows.append(
        DriftRow(
            phi="excess",
            kind="change",
            step=-1 if change.split is None else change.split,
            measured=from_test(change, SCAN),
        )
    )
    return {
        "between_teachers": told(found.between),
        "within_teachers": told(found.within),
        "excess": told(found.excess),
        "teachers": {name: told(found.teachers, t) for t, name in enumerate(panel.votes.teachers)},
        "excess_change": from_test(change, SCAN),
    }


def _row(teacher: str, found: Scan, change: Measured, p_adjusted: float) -> DriftRow:
    split = -1 if found.split is None else found.split
    return DriftRow(
        phi=PHI, kind="change", teacher=teacher, step=split, measured=change, p_adjusted=p_adjusted
    )


def _place(found: Scan, steps: int) -> Measured:
    """Where the later part begins, as a share of the answer."""
    if found.split is None:
        return undefined("split of the largest studentised change", found.reason or ONE)
    return Measured(
        estimator="split of the largest studentised change, as a share of the answer",
        n=found.n,
        value=found.split / steps,
        reason="a place found by search has no interval here",
    )


def _what(found: Scan, steps: int) -> str:
    way = "more" if found.effect > 0 else "less"
    at = "?" if found.split is None else f"{found.split / steps:.0%}"
    return f"is contradicted {way} after {at} of its answers"
