"""Planted facts: does the measure find what is planted in the demo's teachers, and nothing where nothing is.

    python -m benchmarks.measure_demo [--seeds N] [--train N] [--out FILE.json]

Seeds 0..N-1, declared here and nowhere chosen. Per seed the demo's seven teachers answer the training cases
(a third of them twice), once as the demo plants them and once with nothing planted, and both panels are
measured. In the demo five teachers drift along their answers, from a place that is known; one changes in the
middle of the collection and its endpoint says so; three refuse now and then. Ends with 1 where more than a
fifth of the control runs raise any alarm.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from driftbound.config import DomainConfig
from driftbound.domains.phantom import claims as reading
from driftbound.domains.phantom.findings import FINDINGS, SIDED
from driftbound.domains.phantom.planted import CHANGED, PLANTED, Planted, calm
from driftbound.domains.phantom.population import population
from driftbound.domains.phantom.reliability import TEACHERS
from driftbound.domains.phantom.teachers import answer
from driftbound.measure.panel import FAMILIES, Alarm, Panel, Settings
from driftbound.measure.reading import Read, panel_of, read_all, votes_of
from driftbound.measure.sections import along, collection, refusals, versions
from driftbound.records import Status, Trajectory
from driftbound.stances import slots_of

ASKED_TWICE = 0.3
"""Share of the cases, as in the demo's recipe."""
DRIFTS = {name: plan.change for name, plan in PLANTED.items() if plan.change < 1}
"""Teacher -> share of its answer after which it errs more."""


def panel(seed: int, train: int, plan: Callable[[str], Planted | None]) -> Panel:
    """The demo's panel of one seed; ``plan`` says what is planted in a teacher, ``None`` for the usual."""
    config = DomainConfig(train=train, validation=60, test=240, test_scanner=120)
    asked = population(config, seed)
    twice = np.random.default_rng([seed, 99]).random(len(asked)) < ASKED_TWICE
    cases, answers = [], []
    for place, phantom in enumerate(asked):
        if phantom.case.split != "train":
            continue
        cases.append(phantom.case)
        for sample in range(2 if twice[place] else 1):
            for name in TEACHERS:
                said = answer(name, phantom, place, len(asked), seed, sample, plan(name))
                status = Status.REFUSED if reading.is_refusal(said.text) else Status.OK
                answers.append(
                    Trajectory(
                        case_id=phantom.case.case_id,
                        teacher=name,
                        status=status,
                        text=said.text,
                        version=said.version,
                        sample=sample,
                    )
                )
    read = Read()
    for _ in read_all(reading.claims, cases, answers, spans={}, into=read):
        pass
    settings = Settings(seed=seed)
    ids = [case.case_id for case in cases]
    votes = votes_of(read, ids, TEACHERS, slots_of(FINDINGS, SIDED), parts=settings.steps)
    return panel_of(read, cases, votes, settings)


def alarms(given: Panel) -> tuple[list[Alarm], dict[str, Any]]:
    """All alarms of a panel, and what is said of each teacher along its answers."""
    found = [each.section(given) for each in (refusals, along, collection, versions)]
    return [alarm for section in found for alarm in section.alarms], dict(found[1].summary)


def of_seed(seed: int, train: int) -> dict[str, Any]:
    """What was found in the planted and in the control run of one seed."""
    planted, told = alarms(panel(seed, train, lambda name: None))
    control, _ = alarms(panel(seed, train, calm))
    drifting = sorted(a.teacher for a in planted if a.family == FAMILIES[0])
    places = {name: told["teachers"][name]["split"].value for name in drifting if name in DRIFTS}
    return {
        "seed": seed,
        "drift_found_in": drifting,
        "places": places,
        "changed_in_collection": sorted(a.teacher for a in planted if a.family == FAMILIES[1]),
        "version_change": sorted(a.teacher for a in planted if a.family == FAMILIES[2]),
        "refuses_more": sorted(a.teacher for a in planted if a.family == FAMILIES[3]),
        "control_alarms": [f"{a.family}: {a.teacher} {a.what}" for a in control],
    }


def main() -> int:
    """Measure every seed and say what was found."""
    parser = argparse.ArgumentParser(description="What the measure finds in the demo's teachers.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--train", type=int, default=700)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/measure_demo.json"))
    given = parser.parse_args()
    start = time.monotonic()
    seeds = []
    for seed in range(given.seeds):
        seeds.append(of_seed(seed, given.train))
        print(json.dumps(seeds[-1]), flush=True)
    named = Counter(name for each in seeds for name in each["drift_found_in"])
    changed, refused = ("changed_in_collection", "refuses_more")
    near = [
        abs(place - DRIFTS[name]) <= 0.1 + 1e-9 for each in seeds for name, place in each["places"].items()
    ]
    result = {
        "seeds": given.seeds,
        "training_cases": given.train,
        "planted_drift": DRIFTS,
        "drift_found": {name: named[name] for name in TEACHERS},
        "place_within_a_tenth": f"{sum(near)} of {len(near)}",
        "planted_version_change": sorted(CHANGED),
        "version_change_found": dict(Counter(n for each in seeds for n in each["version_change"])),
        "change_found_without_the_version": dict(Counter(n for each in seeds for n in each[changed])),
        "planted_refusals": {name: plan.refusal for name, plan in PLANTED.items() if plan.refusal},
        "refuses_more_found": dict(Counter(n for each in seeds for n in each[refused])),
        "control_runs_with_any_alarm": sum(bool(each["control_alarms"]) for each in seeds),
        "seconds": round(time.monotonic() - start, 1),
        "runs": seeds,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=2))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(5 * result["control_runs_with_any_alarm"] > given.seeds)


if __name__ == "__main__":
    sys.exit(main())
