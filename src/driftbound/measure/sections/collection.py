"""Section collection: did a teacher change while it was being asked, without saying so."""

from typing import Any

import numpy as np

from driftbound.measure.meeting import HABITS, contradiction, habits
from driftbound.measure.panel import FAMILIES, Alarm, Panel, Section
from driftbound.measure.sheet import DriftRow, undefined
from driftbound.records import Measured
from driftbound.statistics.adwin import adwin
from driftbound.statistics.conformal import Monitoring, monitor_all
from driftbound.statistics.intervals import Array
from driftbound.statistics.multiple import holm

MARTINGALE = "largest log wealth of a conformal martingale (simple jumper) over the order of asking"
PLACE = "place of the largest standardised difference of mean ranks, resampled calls"
SHIFT = "mean after less before the place found, resampled calls"
ADWIN = "first answer at which ADWIN (delta 0.002) cuts its window"
QUIET = "no change was found"
WATCHED = tuple(habit for habit in HABITS if habit != "contradicted")
"""A teacher's own ways. How often it is contradicted moves with the others as well: one changing teacher
would raise its neighbours' alarms."""


def section(panel: Panel) -> Section:
    """A running monitor of each teacher's habits over the order of asking, and where a change began."""
    votes = panel.votes
    own = habits(votes.codes, votes.slots, contradiction(votes), panel.words)
    watched = [HABITS.index(habit) for habit in WATCHED]
    found: dict[str, list[Monitoring]] = {}
    for t, name in enumerate(votes.teachers):
        asked = np.argsort(panel.order[:, t], kind="stable")[int((panel.order[:, t] < 0).sum()) :]
        found[name] = monitor_all(own[asked][:, t, watched].T, panel.rng(f"collection {name}"))
    ps = np.array([_together(each) for each in found.values()])
    adjusted = holm(ps)
    table: dict[str, Any] = {}
    rows: list[DriftRow] = []
    alarms: list[Alarm] = []
    for t, (name, each) in enumerate(found.items()):
        scores = own[:, t, watched]
        alarmed = bool(adjusted[t] <= panel.alpha) and panel.ordered
        best = min(range(len(each)), key=lambda h: 2.0 if np.isnan(each[h].p) else each[h].p)
        table[name] = {habit: _told(one, alarmed) for habit, one in zip(WATCHED, each, strict=True)}
        if panel.settings.adwin:
            _add_adwin(table[name], scores[np.argsort(panel.order[:, t], kind="stable")])
        rows += [
            DriftRow(phi=habit, kind="collection", teacher=name, measured=_evidence(one))
            for habit, one in zip(WATCHED, each, strict=True)
        ]
        if alarmed:
            change = table[name][WATCHED[best]]
            alarms.append(
                Alarm(
                    family=FAMILIES[1],
                    teacher=name,
                    what=f"{WATCHED[best]} otherwise from answer {_at(each[best])} of {each[best].n} on",
                    effect=change["shift"],
                    p_adjusted=float(adjusted[t]),
                )
            )
    return Section(summary=table, rows=rows, alarms=alarms, notes=[_note(panel)])


def _together(each: list[Monitoring]) -> float:
    """p of "nothing changed" over all habits of a teacher (Bonferroni)."""
    ps: Array = np.array([one.p for one in each])
    known = ps[~np.isnan(ps)]
    return float(min(1.0, known.min() * len(known))) if known.size else float("nan")


def _told(found: Monitoring, alarmed: bool) -> dict[str, Measured]:
    told = {"evidence": _evidence(found)}
    change = found.change if alarmed else None
    if change is None:
        return told | {"at": undefined(PLACE, QUIET, n=found.n), "shift": undefined(SHIFT, QUIET, n=found.n)}
    at = Measured(estimator=PLACE, n=change.n, value=change.at, low=change.low, high=change.high, p=found.p)
    shift = Measured(
        estimator=SHIFT,
        n=change.n,
        value=change.shift,
        low=change.shift_low,
        high=change.shift_high,
        p=found.p,
    )
    return told | {"at": at, "shift": shift}


def _add_adwin(table: dict[str, dict[str, Measured]], scores: Array) -> None:
    """Where ADWIN first cuts its window; of habits that are shares, (n, habits) in the order of asking."""
    for h, habit in enumerate(WATCHED):
        if habit == "words":
            continue
        found = adwin(scores[:, h])
        if found.alarms:
            at, reason = float(found.alarms[0]), "ADWIN gives an alarm, no interval"
        else:
            at, reason = float("nan"), QUIET
        table[habit]["adwin"] = Measured(estimator=ADWIN, n=found.n, value=at, reason=reason)


def _evidence(found: Monitoring) -> Measured:
    if found.peak is None:
        return undefined(MARTINGALE, "no answer to watch")
    return Measured(
        estimator=MARTINGALE,
        n=found.n,
        value=float(found.log_wealth[found.peak]),
        p=found.p,
        reason="a martingale's wealth is evidence, it has no interval",
    )


def _at(found: Monitoring) -> str:
    return "?" if found.change is None else str(found.change.at)


def _note(panel: Panel) -> str:
    order = "their times" if panel.timed else "the order of the cases"
    if not panel.ordered:
        return (
            "The answers bear no times: whether a teacher changed while it was asked is looked at in the "
            "order of the file, and raises no alarm: neighbours in a file may be alike (created_at helps)."
        )
    return (
        f"The order of asking is taken from {order}. The monitor holds where the cases were asked in random "
        "order; a corpus that was asked sorted, by date of the film say, raises false alarms."
    )
