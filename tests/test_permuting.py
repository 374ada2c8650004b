"""Permuted differences of two sets: p by enumeration, rare events, clusters, level."""

from itertools import combinations, product

import numpy as np
import pytest
from panels import panel as votes_of

from driftbound.errors import MeasureError
from driftbound.measure.panel import Panel, Settings
from driftbound.measure.sections import refusals, versions
from driftbound.statistics.intervals import resample
from driftbound.statistics.permuting import exchanged_above, permuted_difference


def test_p_is_the_share_of_all_ways_to_deal_the_cases_out():
    values = np.array([0.1, 0.9, 0.4, 2.0, 2.5, 1.7])
    second = np.array([False, False, False, True, True, True])
    ways = [
        abs(values[list(w)].mean() - np.delete(values, list(w)).mean()) for w in combinations(range(6), 3)
    ]
    exact = np.mean(np.array(ways) >= ways[-1] - 1e-12)
    found = permuted_difference(
        values[:, None], second, np.arange(6), rng=np.random.default_rng(0), draws=20000
    )
    assert found.p[0] == pytest.approx(exact, abs=0.01)
    assert found.together[0] == found.p[0]


def test_a_cluster_stays_together():
    # Two clusters of three against two: 2 of 6 ways are as large, however many cases the clusters have.
    clusters = np.repeat(np.arange(4), 3)
    values = np.repeat([0.0, 0.0, 1.0, 1.0], 3)[:, None]
    found = permuted_difference(values, clusters >= 2, clusters, rng=np.random.default_rng(0), draws=20000)
    assert found.p[0] == pytest.approx(2 / 6, abs=0.02)


def test_a_column_without_values_on_one_side_has_no_p_and_takes_none_from_the_others():
    rng = np.random.default_rng(0)
    second = np.arange(20) >= 10
    values = np.column_stack([second + rng.normal(size=20) / 10, np.where(second, np.nan, 1.0)])
    found = permuted_difference(values, second, np.arange(20), rng=rng)
    assert found.p[0] < 0.005
    assert np.isnan(found.p[1])
    assert np.isnan(found.together[1])


def test_marks_that_do_not_fit_are_refused():
    with pytest.raises(MeasureError, match="marks"):
        permuted_difference(np.zeros((3, 1)), np.zeros(2, bool), np.arange(3), rng=np.random.default_rng(0))


def test_a_rare_habit_that_a_few_answers_of_a_new_version_lack_is_no_change():
    # 18 of 180 old answers hedge, none of 12 new ones: chance does that in about a quarter of all versions.
    n = 192
    hedges = [c < 180 and c % 10 == 0 for c in range(n)]
    cases = [[["uncertain" if hedge else "present"], ["present"]] for hedge in hedges]
    votes = votes_of(*cases, slots=[("F0", "presence")])
    labels = np.array([["old" if c < 180 else "new", ""] for c in range(n)], dtype=object)
    panel = Panel(
        votes=votes,
        clusters=np.arange(n),
        resamples=resample([str(c) for c in range(n)], rng=np.random.default_rng(0), draws=10),
        words=np.full((n, 2), 9.0),
        statuses=np.full((n, 2), "ok", dtype=object),
        versions=labels,
        order=np.tile(np.arange(n)[:, None], (1, 2)),
        timed=True,
        settings=Settings(),
    )
    found = versions.section(panel)
    [change] = found.summary["teachers"]["t0"]["changes"]
    assert change["habits"]["hedges"].value == pytest.approx(-0.1)
    assert change["habits"]["hedges"].p > 0.2
    assert not found.alarms


def test_above_the_others_is_the_share_of_all_ways_to_exchange_the_teachers():
    refused = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]], dtype=float)
    above = refused - (refused.sum(axis=1, keepdims=True) - refused) / 2
    ways = np.array(
        [sum(row[u] for row, u in zip(above, way, strict=True)) for way in product(range(3), repeat=4)]
    )
    exact = [np.mean(ways >= own - 1e-9) for own in above.sum(axis=0)]
    found = exchanged_above(refused, np.arange(4), rng=np.random.default_rng(0), draws=20000)
    assert found == pytest.approx(exact, abs=0.015)


def test_a_cluster_is_exchanged_whole_and_who_was_not_asked_is_not_drawn():
    refused = np.array([[1, 0, np.nan], [1, 0, np.nan], [1, 0, np.nan], [np.nan, np.nan, 1]])
    found = exchanged_above(refused, np.array([0, 0, 1, 2]), rng=np.random.default_rng(0), draws=20000)
    assert found[:2] == pytest.approx(
        [1 / 4, 1.0], abs=0.015
    )  # two clusters of two teachers: one way in four
    assert np.isnan(found[2])


def test_a_teacher_that_happens_to_refuse_nothing_is_not_told_from_eleven_that_rarely_do():
    rng = np.random.default_rng(3)
    n, T = 60, 12
    refused = rng.random((n, T)) < 0.03
    refused[:, 0] = False
    cases = [[["refused"] if one else ["present"] for one in row] for row in refused]
    panel = Panel(
        votes=votes_of(*cases, slots=[("F0", "presence")]),
        clusters=np.arange(n),
        resamples=resample([str(c) for c in range(n)], rng=rng, draws=10),
        words=np.full((n, T), 9.0),
        statuses=np.where(refused, "refused", "ok").astype(object),
        versions=np.full((n, T), "", dtype=object),
        order=np.tile(np.arange(n)[:, None], (1, T)),
        timed=True,
        settings=Settings(),
    )
    told = refusals.section(panel).summary["t0"]["above_others"]
    assert told.value < 0 < told.p
    assert told.p > 0.05
