"""Lineages: the copying model against enumeration, who is found to copy, and how much a panel is worth."""

import itertools

import numpy as np
import pytest
from simulated_panels import tables, votes

from driftbound.measure.copying import draw, fit_copying
from driftbound.measure.dawid_skene import Model, evidence, fit, posterior
from driftbound.measure.dependence import (
    dependence_test,
    effective_teachers,
    error_correlation,
    no_consensus,
)
from driftbound.measure.lineages import complete, find_lineages, kappa_tree, score, tree_cuts
from driftbound.measure.patterns import patterns, shares

TRIO = ((0,), (1,), (2,), (3,), (4, 5, 6))


def small_world(rng):
    """Four teachers; the last three copy with rates of their own."""
    source = tables(rng, 1, 2, 3)[0]
    return Model(
        lineages=((0,), (1, 2, 3)),
        prevalence=np.array([0.6, 0.4]),
        theta=tables(rng, 4, 2, 3),
        omega=np.ones(4),
        rate=np.array([0.0, 0.9, 0.5, 0.2]),
        sources=(None, source),
        log_likelihood=0.0,
        penalised=0.0,
        iterations=0,
        converged=True,
    )


def chance(world, row, z):
    """P(votes of the copying lineage | z), summed over what the source says and who copies it."""
    total = 0.0
    for s in range(3):
        for copies in itertools.product((True, False), repeat=3):
            term = world.sources[1][z, s]
            for u, copied in zip((1, 2, 3), copies, strict=True):
                rate = world.rate[u]
                if row[u] < 0:
                    term *= rate if copied else 1 - rate
                elif copied:
                    term *= rate * (row[u] == s)
                else:
                    term *= (1 - rate) * world.theta[u, z, row[u]]
            total += term
    return total


def test_likelihood_of_copies_is_the_sum_over_all_that_is_hidden():
    world = small_world(np.random.default_rng(0))
    rows = np.array(list(itertools.product((-1, 0, 1, 2), repeat=4)))
    found = patterns(rows, 2)
    said = evidence(world, found)[found.index]
    q = posterior(world, found)[found.index]
    for row, each, got in zip(rows, said, q, strict=True):
        wanted = np.array([chance(world, row, z) for z in (0, 1)])
        assert np.exp(each[1]) == pytest.approx(wanted, abs=1e-12)
        if row.max() >= 0:
            own = world.theta[0, :, row[0]] if row[0] >= 0 else 1.0
            joint = world.prevalence * own * wanted
            assert got == pytest.approx(joint / joint.sum(), abs=1e-12)


def test_all_votes_of_a_lineage_together_have_probability_one():
    world = small_world(np.random.default_rng(1))
    rows = np.array([(-1, *row) for row in itertools.product((0, 1, 2), repeat=3)])
    found = patterns(rows, 2)
    assert np.exp(evidence(world, found)[:, 1]).sum(axis=0) == pytest.approx(1.0)


def test_drawn_votes_have_the_model_s_frequencies():
    rng = np.random.default_rng(2)
    world = small_world(rng)
    truth, codes = draw(world, 40000, rng)
    assert truth.mean() == pytest.approx(0.4, abs=0.01)
    for row in ((0, 0, 0), (1, 1, 1), (2, 0, 1)):
        for z in (0, 1):
            share = (codes[truth == z][:, 1:] == row).all(axis=1).mean()
            assert share == pytest.approx(chance(world, (-1, *row), z), abs=0.01)
    assert np.bincount(codes[truth == 1, 2], minlength=3) / (truth == 1).sum() == pytest.approx(
        world.marginal[2, 1], abs=0.015
    )


def test_objective_of_the_copying_model_never_falls():
    _, codes = votes(300, np.random.default_rng(3), copiers=(4, 5, 6), rate=0.7)
    codes[np.random.default_rng(3).random(codes.shape) < 0.1] = -1
    found = patterns(codes, 2)
    start = [shares(found)]
    climbed = [
        fit_copying(found, TRIO, starts=start, limit=limit, tolerance=0.0).penalised
        for limit in range(1, 40, 3)
    ]
    assert np.diff(climbed).min() > -1e-8
    assert climbed[-1] > climbed[0] + 1


def test_the_fit_is_a_summit():
    """Small moves of any parameter lower the objective: compared with a likelihood written out here."""
    rng = np.random.default_rng(4)
    _, codes = votes(250, rng, copiers=(4, 5, 6), rate=0.6)
    found = patterns(codes, 2)
    model = fit_copying(found, TRIO, tolerance=1e-9, limit=3000)

    def objective(theta, source, rate, prevalence):
        total = 0.0
        for row, count in zip(found.codes, found.counts, strict=True):
            weights = prevalence.copy()
            for u in range(4):
                weights = weights * theta[u, :, row[u]]
            product = source.copy()
            for u in (4, 5, 6):
                own = (1 - rate[u]) * theta[u, :, row[u]][:, None]
                product = product * (own + rate[u] * (np.arange(4) == row[u]))
            total += count * np.log((weights * product.sum(axis=1)).sum())
        prior = np.array([[4, 1, 1.5, 1.5], [1, 4, 1.5, 1.5]])
        total += (prior * np.log(theta)).sum() + (prior * np.log(source)).sum() + np.log(prevalence).sum()
        return total + 0.5 * np.log(rate[4:] * (1 - rate[4:])).sum()

    args = [model.theta, model.sources[-1], model.rate, model.prevalence]
    best = objective(*args)
    assert best == pytest.approx(model.penalised, abs=1e-6)
    for k in range(4):
        for _ in range(6):
            moved = [each.copy() for each in args]
            if k == 2:
                moved[2][4:] = np.clip(moved[2][4:] + rng.normal(0, 0.03, 3), 0.01, 0.99)
            else:
                moved[k] = moved[k] * np.exp(rng.normal(0, 0.1, moved[k].shape))
                moved[k] /= moved[k].sum(axis=-1, keepdims=True)
            assert objective(*moved) < best


def test_without_lineages_it_is_dawid_skene():
    _, codes = votes(300, np.random.default_rng(5))
    found = patterns(codes, 2)
    alone = tuple((u,) for u in range(7))
    assert fit_copying(found, alone).theta == pytest.approx(fit(found).theta)


def test_copies_are_found_and_do_not_win():
    """Three of seven copy a poor source at 0.8: plain Dawid-Skene falls below the majority, this does not."""
    rng = np.random.default_rng(6)
    truth, codes = votes(800, rng, copiers=(4, 5, 6), rate=0.8)
    found = patterns(codes, 2)
    groupings = find_lineages(found, rng)
    assert groupings[0].lineages == TRIO
    assert groupings[0].score > groupings[1].score
    model = fit_copying(found, TRIO)
    right, plain, counted = (
        (each[found.index].argmax(axis=1) == truth).mean()
        for each in (posterior(model, found), posterior(fit(found), found), shares(found))
    )
    assert plain < counted < right - 0.05
    assert model.rate[4:] == pytest.approx(0.8, abs=0.08)
    assert (model.rate[:4] == 0).all()


def test_two_lineages_are_told_apart():
    rng = np.random.default_rng(7)
    _, codes = votes(800, rng, copiers=(4, 5, 6), rate=0.8)
    codes[:, 2] = np.where(rng.random(800) < 0.8, codes[:, 1], codes[:, 2])
    assert find_lineages(patterns(codes, 2), rng)[0].lineages == ((0,), (1, 2), (3,), (4, 5, 6))


def test_independent_teachers_have_no_lineage():
    for seed in range(2):
        rng = np.random.default_rng(seed)
        _, codes = votes(400, rng)
        assert all(len(members) == 1 for members in find_lineages(patterns(codes, 2), rng)[0].lineages)


def test_hard_cases_are_no_lineage_however_many():
    """Agreement because some cases are hard for all is significant in 6000 claims, and small."""
    rng = np.random.default_rng(8)
    truth = rng.random(6000) < 0.4
    logit = np.log(np.linspace(0.82, 0.6, 7) / (1 - np.linspace(0.82, 0.6, 7)))
    right = 1 / (1 + np.exp(-logit * np.exp(0.8 * rng.normal(size=(6000, 1)))))
    codes = np.where(rng.random(right.shape) < right, truth[:, None], ~truth[:, None]).astype(int)
    assert all(len(members) == 1 for members in find_lineages(patterns(codes, 2), rng)[0].lineages)


def test_a_lineage_has_its_price():
    """(log n) / 2 for 2 x 3 parameters of the source and 3 rates, where that is above the price by size."""
    _, codes = votes(100, np.random.default_rng(9), copiers=(4, 5, 6), rate=0.8)
    found = patterns(codes, 2)
    model = fit_copying(found, TRIO)
    assert model.log_likelihood - score(model, found) == pytest.approx(0.5 * 9 * np.log(100))


def test_tree_of_kappas_and_its_cuts():
    """Teachers 0 and 1 are equal (kappa 1), 2 and 3 nearly, the pairs independent."""
    rng = np.random.default_rng(10)
    a, b = rng.integers(2, size=300), rng.integers(2, size=300)
    near = np.where(rng.random(300) < 0.1, 1 - b, b)
    found = patterns(np.stack([a, a, b, near], axis=1), 2)
    assert kappa_tree(found) == [(0, 1), (2, 3), (0, 1, 2, 3)]
    assert tree_cuts(found) == [
        ((0,), (1,), (2,), (3,)),
        ((0, 1), (2,), (3,)),
        ((0, 1), (2, 3)),
        ((0, 1, 2, 3),),
    ]
    assert kappa_tree(patterns(a[:, None], 2)) == []
    assert complete([(3, 1)], 4) == ((0,), (1, 3), (2,))


def test_dependence_test_rejects_copies_and_names_them():
    rng = np.random.default_rng(11)
    _, codes = votes(400, rng, copiers=(3, 6), rate=0.7)
    found = dependence_test(patterns(codes, 2), rng, draws=39)
    assert found.p == 1 / 40
    assert found.top_pair == (3, 6)
    assert found.excess[3, 6] > 0.15
    assert np.array_equal(found.excess, found.excess.T, equal_nan=True)
    assert np.isnan(np.diag(found.excess)).all()


def test_an_error_that_all_share_is_not_seen():
    rejected = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        _, codes = votes(400, rng, shared=0.1)
        rejected.append(dependence_test(patterns(codes, 2), rng, draws=19).p <= 0.05)
    assert sum(rejected) <= 2


def test_one_teacher_cannot_be_tested():
    found = dependence_test(patterns(np.zeros((50, 1), int), 2), np.random.default_rng(0))
    assert np.isnan(found.p)
    assert found.top_pair is None


def test_correlation_of_errors_with_known_truth_is_pearson_s():
    rng = np.random.default_rng(12)
    truth = rng.integers(2, size=500)
    common = rng.random(500) < 0.2
    codes = np.stack([np.where(common | (rng.random(500) < 0.1), 1 - truth, truth) for _ in range(3)], axis=1)
    found = patterns(np.column_stack([codes, truth]), 2)  # the fourth column makes the truth part of the row
    errors = (codes != truth[:, None]).astype(float)
    pearson = np.corrcoef(errors.T)[np.triu_indices(3, 1)].mean()
    rows = patterns(np.column_stack([codes, np.where(truth == 1, 1, 0)]), 2)
    q = np.eye(2)[rows.codes[:, 3]]
    three = type(found)(codes=rows.codes[:, :3], counts=rows.counts, index=rows.index, values=2, categories=4)
    assert error_correlation(three, q) == pytest.approx(pearson, abs=1e-9)


def test_when_a_panel_may_speak_of_consensus():
    assert effective_teachers(7, 1.0) == 1.0
    assert effective_teachers(7, -0.1) == 7.0
    assert effective_teachers(5, 0.25) == pytest.approx(2.5)
    assert "1.5 independent votes" in no_consensus(1.5, 0.9, gold=True)
    assert "p = 0.010" in no_consensus(4.0, 0.01, gold=False)
    assert no_consensus(4.0, 0.01, gold=True) == no_consensus(4.0, 0.2, gold=False) == ""
    assert no_consensus(float("nan"), float("nan"), gold=False)
