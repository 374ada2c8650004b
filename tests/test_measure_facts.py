"""What is planted in the demo's teachers is found, and nothing where nothing is planted.

A reduced version of ``python -m benchmarks.measure_demo``: one seed of the demo's size, two control runs.
"""

import pytest

from benchmarks.measure_demo import DRIFTS, alarms, panel
from driftbound.domains.phantom.planted import CHANGED, PLANTED, calm
from driftbound.measure.panel import FAMILIES

ALONG, OVER, VERSIONS, REFUSALS = FAMILIES


@pytest.fixture(scope="module")
def planted():
    """All alarms of seed 0, and what is said of each teacher along its answers."""
    return alarms(panel(0, 700, lambda name: None))


def named(found, family):
    return {alarm.teacher for alarm in found[0] if alarm.family == family}


def test_the_drifting_teachers_are_named_and_nobody_else(planted):
    assert named(planted, ALONG) == set(DRIFTS)
    assert all(alarm.effect.low > 0 for alarm in planted[0] if alarm.family == ALONG)


def test_the_place_of_the_change_is_found_to_a_tenth_of_the_answer(planted):
    """For at least four of the five; each place is the split with the clearest change, and ten are looked
    at."""
    told = planted[1]["teachers"]
    near = [abs(told[name]["split"].value - place) <= 0.1 + 1e-9 for name, place in DRIFTS.items()]
    assert sum(near) >= 4


def test_peel_off_takes_out_drifting_teachers_alone(planted):
    peeled = planted[1]["peeled_off"]
    assert len(peeled) >= 3
    assert set(peeled) <= set(DRIFTS)


def test_the_version_change_is_found_with_and_without_its_name(planted):
    assert named(planted, VERSIONS) == named(planted, OVER) == set(CHANGED)


def test_the_most_refusing_teacher_is_found(planted):
    refusing = {name: plan.refusal for name, plan in PLANTED.items() if plan.refusal}
    found = named(planted, REFUSALS)
    assert max(refusing, key=refusing.get) in found
    assert found <= set(refusing)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_found_where_nothing_is_planted(seed):
    assert alarms(panel(seed, 300, calm))[0] == []
