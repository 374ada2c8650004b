"""Dawid-Skene: against Bayes by hand, a plain implementation on all claims, and what must not matter."""

import itertools

import numpy as np
import pytest
from simulated_panels import tables, votes

from driftbound.errors import MeasureError
from driftbound.measure.dawid_skene import Model, fit, posterior, table_for, wrong
from driftbound.measure.patterns import default_prior, one_voice, patterns, shares


def model_of(theta, prevalence, lineages=None):
    teachers = len(theta)
    lineages = lineages or tuple((u,) for u in range(teachers))
    return Model(
        lineages=lineages,
        prevalence=prevalence,
        theta=theta,
        omega=np.ones(teachers),
        rate=np.zeros(teachers),
        sources=(None,) * len(lineages),
        log_likelihood=0.0,
        penalised=0.0,
        iterations=0,
        converged=True,
    )


def bayes(theta, prevalence, row, leave=()):
    """Posterior of one row of votes, by multiplying what each teacher's vote is worth."""
    weights = prevalence.copy()
    for u, vote in enumerate(row):
        if vote >= 0 and u not in leave:
            weights = weights * theta[u, :, vote]
    return weights / weights.sum()


def test_posterior_is_bayes_rule():
    """Three teachers, three values, a hedge and an omission: every row of votes, missing ones among them."""
    rng = np.random.default_rng(0)
    theta, prevalence = tables(rng, 3, 3, 5), np.array([0.5, 0.3, 0.2])
    rows = np.array(list(itertools.product(range(-1, 5), repeat=3)))
    found = patterns(rows, 3)
    q = posterior(model_of(theta, prevalence), found)[found.index]
    for row, got in zip(rows, q, strict=True):
        if (row < 0).all():
            assert np.isnan(got).all()
        else:
            assert got == pytest.approx(bayes(theta, prevalence, row), abs=1e-12)


def test_wrong_hears_the_other_lineages_only():
    rng = np.random.default_rng(1)
    theta, prevalence = tables(rng, 4, 2, 4), np.array([0.6, 0.4])
    lineages = ((0,), (1, 3), (2,))
    rows = np.array(list(itertools.product((-1, 0, 1, 2), repeat=4)))
    found = patterns(rows, 2)
    got = wrong(model_of(theta, prevalence, lineages), found)[found.index]
    home = {0: (0,), 1: (1, 3), 2: (2,), 3: (1, 3)}
    for row, each in zip(rows, got, strict=True):
        for u in range(4):
            others = [row[v] for v in range(4) if v not in home[u]]
            if row[u] not in (0, 1) or max(others) < 0:
                assert np.isnan(each[u])
            else:
                q = bayes(theta, prevalence, row, leave=home[u])
                assert each[u] == pytest.approx(1 - q[row[u]], abs=1e-12)


def plain_em(codes, values, categories, steps):
    """Every claim by itself, teacher by teacher: posterior after so many steps."""
    n, teachers = codes.shape
    prior = default_prior(values, categories)
    q = np.stack([(codes == z).sum(axis=1) + 0.5 for z in range(values)], axis=1)
    q = q / q.sum(axis=1, keepdims=True)
    for _ in range(steps):
        pi = (q.sum(axis=0) + 1) / (n + values)
        theta = np.tile(prior, (teachers, 1, 1))
        for u in range(teachers):
            for x in range(categories):
                theta[u, :, x] += q[codes[:, u] == x].sum(axis=0)
        theta /= theta.sum(axis=2, keepdims=True)
        q = np.array([bayes(theta, pi, row) for row in codes])
    return q, theta


def test_distinct_rows_with_counts_are_all_claims():
    rng = np.random.default_rng(2)
    _, codes = votes(150, rng, teachers=4)
    codes[rng.random(codes.shape) < 0.1] = -1
    codes[(codes < 0).all(axis=1), 0] = 1
    found = patterns(codes, 2)
    assert len(found.codes) < 150
    model = fit(found, table="full", limit=7, tolerance=0.0)
    q, theta = plain_em(codes, 2, 4, 7)
    assert model.theta == pytest.approx(theta, abs=1e-12)
    assert posterior(model, found)[found.index] == pytest.approx(q, abs=1e-12)


@pytest.mark.parametrize("table", ["full", "one_coin"])
def test_objective_never_falls(table):
    _, codes = votes(300, np.random.default_rng(3))
    found = patterns(codes, 2)
    omega = one_voice(((0,), (1,), (2,), (3,), (4, 5, 6)))
    climbed = [
        fit(found, table=table, omega=omega, limit=limit, tolerance=0.0).penalised for limit in range(1, 30)
    ]
    assert np.diff(climbed).min() > -1e-9
    assert climbed[-1] > climbed[0]


def test_few_votes_are_drawn_to_the_panels_table():
    """The pooled table's rows lie between the teacher's own and the panel's, nearer to the panel's."""
    _, codes = votes(60, np.random.default_rng(3))
    found = patterns(codes, 2)
    own, drawn = (fit(found, table=table).theta for table in ("full", "pooled"))
    assert drawn.std(axis=0).mean() < 0.7 * own.std(axis=0).mean()


def test_one_coin_is_right_with_one_probability():
    _, codes = votes(80, np.random.default_rng(4))
    theta = fit(patterns(codes, 2), table="one_coin").theta
    assert theta[:, 0, 0] == pytest.approx(theta[:, 1, 1])
    assert theta[:, 0, 2:] == pytest.approx(theta[:, 1, 2:])
    assert theta.sum(axis=2) == pytest.approx(1.0)


def test_how_much_is_learnt_depends_on_how_much_there_is():
    _, codes = votes(99, np.random.default_rng(5))
    named = np.where(codes > 1, 0, codes)
    assert table_for(patterns(codes, 2)) == "pooled"
    assert table_for(patterns(named, 2)) == "one_coin"
    _, more = votes(100, np.random.default_rng(5))
    assert table_for(patterns(more, 2)) == "full"


def test_order_of_teachers_and_names_of_values_do_not_matter():
    rng = np.random.default_rng(6)
    _, codes = votes(400, rng)
    found = patterns(codes, 2)
    q = posterior(fit(found, tolerance=1e-10), found)[found.index]
    order = rng.permutation(7)
    other = patterns(codes[:, order], 2)
    assert posterior(fit(other, tolerance=1e-10), other)[other.index] == pytest.approx(q, abs=1e-8)
    swapped = patterns(np.where(codes < 2, 1 - codes, codes), 2)
    turned = posterior(fit(swapped, tolerance=1e-10), swapped)[swapped.index]
    assert turned[:, ::-1] == pytest.approx(q, abs=1e-8)


def test_confusions_are_those_of_the_known_truth():
    """Mean absolute error below 0.01 on 2000 claims, two values; and with three sides."""
    rng = np.random.default_rng(7)
    truth, codes = votes(2000, rng)
    theta = fit(patterns(codes, 2)).theta
    known = [
        [np.bincount(codes[truth == z, u], minlength=4) / (truth == z).sum() for z in (0, 1)]
        for u in range(7)
    ]
    assert np.abs(theta - known).mean() < 0.01
    sides = rng.integers(3, size=2000)
    tables3 = tables(rng, 7, 3, 5)
    said = np.stack(
        [
            (rng.random(2000)[:, None] > tables3[u][sides].cumsum(axis=1)).sum(axis=1).clip(0, 4)
            for u in range(7)
        ],
        axis=1,
    )
    found = patterns(said, 3)
    q = posterior(fit(found), found)[found.index]
    best = np.array([bayes(tables3, np.full(3, 1 / 3), row) for row in said])
    assert (q.argmax(axis=1) == sides).mean() > (best.argmax(axis=1) == sides).mean() - 0.03


def test_exact_copies_in_one_lineage_change_nothing():
    """And without one they are three witnesses: the posterior moves far."""
    _, codes = votes(400, np.random.default_rng(8))
    tripled = np.hstack([codes, codes[:, [6]], codes[:, [6]]])
    lineages = (*((u,) for u in range(6)), (6, 7, 8))
    once, thrice = patterns(codes, 2), patterns(tripled, 2)
    q = posterior(fit(once, limit=3000, tolerance=1e-13), once)[once.index]
    grouped = fit(thrice, lineages=lineages, omega=one_voice(lineages), limit=3000, tolerance=1e-13)
    assert posterior(grouped, thrice)[thrice.index] == pytest.approx(q, abs=1e-9)
    ungrouped = posterior(fit(thrice), thrice)[thrice.index]
    assert np.abs(ungrouped - q).max() > 0.5


def test_who_has_no_vote_says_nothing():
    _, codes = votes(300, np.random.default_rng(9))
    silent = np.hstack([codes, np.full((300, 1), -1)])
    found, more = patterns(codes, 2), patterns(silent, 2)
    q = posterior(fit(found, table="full"), found)[found.index]
    assert posterior(fit(more, table="full"), more)[more.index] == pytest.approx(q, abs=1e-12)


def test_refusals_are_no_votes_unless_asked_for():
    codes = np.array([[0, 4, 1], [1, 4, 4]])
    assert patterns(codes, 2).codes.min() == -1
    kept = patterns(codes, 2, refusals=True)
    assert kept.categories == 5
    assert kept.codes.min() == 0


def test_the_best_of_several_starts_is_kept():
    _, codes = votes(400, np.random.default_rng(10), copiers=(4, 5, 6), rate=0.9)
    found = patterns(codes, 2)
    starts = [shares(found), shares(found, np.array([1.0, 1, 1, 1, 0, 0, 0]))]
    alone = [fit(found, starts=[start]).penalised for start in starts]
    assert fit(found, starts=starts).penalised == max(alone)


@pytest.mark.parametrize(
    ("codes", "values", "said"),
    [
        (np.zeros((0, 3), int), 2, "claims x teachers"),
        (np.zeros((3, 0), int), 2, "claims x teachers"),
        (np.zeros(3, int), 2, "claims x teachers"),
        (np.zeros((3, 3), int), 1, "at least two values"),
        (np.full((3, 3), 5), 2, "codes 5..5"),
        (np.full((3, 3), -2), 2, "codes -2"),
    ],
)
def test_votes_that_are_none_are_refused(codes, values, said):
    with pytest.raises(MeasureError, match=said):
        patterns(codes, values)
