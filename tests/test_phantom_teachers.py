"""Scripted teachers: the paper's accuracies are delivered, and what is planted can be found again."""

from dataclasses import dataclass

import numpy as np
import pytest

from driftbound.config import DomainConfig
from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, PREVALENCE, SIDED
from driftbound.domains.phantom.language import REFUSALS
from driftbound.domains.phantom.planted import CHANGED, PLANTED, WORDS, error_rate, planted
from driftbound.domains.phantom.population import Phantom, population
from driftbound.domains.phantom.reliability import (
    ACCURACY,
    OTHERS,
    TEACHERS,
    before_and_after,
    expected,
    feasible_pair,
    pair,
    rates,
    target,
    unreached,
)
from driftbound.domains.phantom.teachers import answer, opinions, shared_uniforms, tell

N = 4000
SEED = 5
DRIFTING = ("gpt-5", "sonnet-4", "qwen-vl-max", "grok-4", "glm-4.5v")
STEADY = ("gemini-2.5", "moonshot-v1")


@dataclass(slots=True)
class Reading:
    """One answer as the scorer sees it."""

    phantom: Phantom
    text: str
    version: str
    refused: bool
    presence: tuple[tuple[str, str], ...]
    """Finding and value, in order of the text; nothing of a refusal."""
    sides: tuple[tuple[str, str], ...]

    @property
    def asserted(self) -> set[str]:
        return {finding for finding, value in self.presence if value == "present"}

    def right(self, finding: str) -> bool:
        """Omitted and uncertain count as absent, a refusal as wrong."""
        there = self.phantom.findings[finding] != "absent"
        return not self.refused and there == (finding in self.asserted)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    config = DomainConfig(train=N - 1, validation=0, test=1, test_scanner=0)
    return population(config, SEED)


@pytest.fixture(scope="module")
def readings(phantoms) -> dict[str, list[Reading]]:
    def read(teacher: str, position: int) -> Reading:
        text, version, _ = answer(teacher, phantoms[position], position, N, SEED)
        refused = is_refusal(text)
        found = [] if refused else claims(text)
        presence, sides = (
            tuple((c.finding, c.value) for c in found if c.attribute == attribute)
            for attribute in ("presence", "side")
        )
        return Reading(phantoms[position], text, version, refused, presence, sides)

    return {teacher: [read(teacher, position) for position in range(N)] for teacher in TEACHERS}


def test_pairs_reach_the_table_in_all_but_three_cells():
    """Every pair has sum >= 1; 32 of the 35 give the paper's accuracy exactly, the others have sum 1."""
    reached = 0
    for teacher in TEACHERS:
        for finding in HEADLINE:
            sensitivity, specificity = pair(teacher, finding)
            share = PREVALENCE[finding]
            assert 0 <= sensitivity <= 1
            assert 0 <= specificity <= 1
            assert sensitivity + specificity >= 1 - 1e-9
            if (teacher, finding) in unreached():
                assert sensitivity + specificity == pytest.approx(1)
            else:
                given = share * sensitivity + (1 - share) * specificity
                assert given == pytest.approx(target(teacher, finding), abs=1e-9)
                reached += 1
    assert reached == 32


@pytest.mark.parametrize(
    ("accuracy", "prevalence"), [(0.75, 0.88), (0.28, 0.88), (0.41, 0.60), (0.15, 0.12), (0.48, 0.36)]
)
def test_feasible_pair_is_the_nearest_to_equal(accuracy, prevalence):
    """Against a search over a grid of sensitivities along the line of constant accuracy."""
    best = min(
        (abs(s - t), s, t)
        for s in np.linspace(0.02, 0.98, 9601)
        if 0.02 <= (t := (accuracy - prevalence * s) / (1 - prevalence)) <= 0.98 and s + t >= 1 - 1e-9
    )
    assert feasible_pair(accuracy, prevalence) == pytest.approx(best[1:], abs=1e-3)


def test_table_rows_have_the_averages_of_the_paper():
    """The paper prints 0.75, 0.53, 0.47, 0.64, 0.56, 0.69, 0.48."""
    means = [sum(row) / 5 for row in ACCURACY.values()]
    assert means == pytest.approx([0.75, 0.53, 0.47, 0.64, 0.56, 0.69, 0.48], abs=0.0101)
    assert set(PLANTED) == set(TEACHERS)


def test_majority_of_undrifted_votes_is_the_designs():
    """The design's figures for votes drawn from the pairs: majority 0.63 accuracy, 0.73 balanced."""
    rng = np.random.default_rng(1)
    accuracy, balanced = [], []
    for finding in HEADLINE:
        truth = rng.random(40_000) < PREVALENCE[finding]
        yes = np.zeros(len(truth))
        for teacher in TEACHERS:
            sensitivity, specificity = pair(teacher, finding)
            yes += rng.random(len(truth)) < np.where(truth, sensitivity, 1 - specificity)
        said = yes > 3.5
        accuracy.append((said == truth).mean())
        balanced.append((said[truth].mean() + (~said[~truth]).mean()) / 2)
    assert np.mean(accuracy) == pytest.approx(0.63, abs=0.01)
    assert np.mean(balanced) == pytest.approx(0.73, abs=0.01)


@pytest.mark.parametrize("teacher", TEACHERS)
def test_delivered_accuracy_is_the_papers(readings, teacher):
    """Read back from texts, with drift, omissions, hedges and refusals; also in the three cells of sum 1."""
    for finding in HEADLINE:
        delivered = np.mean([reading.right(finding) for reading in readings[teacher]])
        assert delivered == pytest.approx(expected(teacher, finding), abs=0.02), finding
        assert delivered == pytest.approx(target(teacher, finding), abs=0.03), finding


def test_other_findings_are_near_the_teachers_average(readings):
    """Offsets are at most 0.08, leans at most 0.08 either way of a middle of at least 0.55; qwen's
    second version leans 0.15."""
    for teacher in set(TEACHERS) - set(CHANGED):
        middle = max(0.55, sum(ACCURACY[teacher]) / 5)
        for finding in OTHERS:
            answered = [r for r in readings[teacher] if not r.refused]
            assert np.mean([r.right(finding) for r in answered]) == pytest.approx(middle, abs=0.19), finding


@pytest.mark.parametrize("teacher", TEACHERS)
def test_texts_are_read_back_exactly(phantoms, teacher):
    """Whatever was held present is asserted with its side; nothing held absent is."""
    for plan in {
        PLANTED[teacher].version: PLANTED[teacher],
        **{p.version: p for p in CHANGED.values()},
    }.values():
        for index, phantom in enumerate(phantoms[:150]):
            rng = np.random.default_rng(index)
            stances = opinions(phantom.findings, plan, rng)
            said = claims(tell(stances, plan, rng))
            held = {s.finding: s.value for s in stances}
            presence = [(c.finding, c.value) for c in said if c.attribute == "presence"]
            assert len(dict(presence)) == len(presence)
            yes = {finding for finding, value in presence if value == "present"}
            assert yes == {finding for finding, value in held.items() if value != "absent"}
            sides = {c.finding: c.value for c in said if c.attribute == "side"}
            assert sides == {f: held[f] for f in yes & SIDED}


@pytest.mark.parametrize("teacher", TEACHERS)
def test_length_and_refusals(readings, teacher):
    plan = PLANTED[teacher]
    lengths = [len(r.text.split()) for r in readings[teacher] if not r.refused]
    assert WORDS[0] <= plan.words[0] <= min(lengths)
    assert max(lengths) <= plan.words[1] <= WORDS[1]
    refused = np.mean([r.refused for r in readings[teacher]])
    assert refused == pytest.approx(plan.refusal, abs=0.012)
    assert {r.text for r in readings[teacher] if r.refused} <= set(REFUSALS)


@pytest.mark.parametrize("value", ["absent", "present"])
@pytest.mark.parametrize("teacher", TEACHERS)
def test_length_holds_at_the_extremes(teacher, value):
    """Nothing found, or all 13: the shortest and longest that a teacher could have to say."""
    plan = PLANTED[teacher]
    truth = {f: ("both" if f in SIDED else "present") if value == "present" else "absent" for f in FINDINGS}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        stances = opinions(truth, plan, rng)
        stances = [type(s)(s.finding, truth[s.finding]) for s in stances if s.finding != "No Finding"]
        assert plan.words[0] <= len(tell(stances, plan, rng).split()) <= plan.words[1]


def test_normal_means_nothing_but_devices(readings):
    said_normal = 0
    for teacher in TEACHERS:
        for reading in readings[teacher]:
            if reading.refused:
                continue
            abnormal = reading.asserted - {"Support Devices", "No Finding"}
            assert ("No Finding" in reading.asserted) == (not abnormal)
            if "No Finding" in reading.asserted:
                said_normal += 1
                assert "uncertain" not in dict(reading.presence).values()
    assert said_normal > 10


def test_copied_luck_leaves_each_number_uniform():
    """Deciles of every position hold a tenth each; the first two numbers correlate by the contagion
    (equal with that chance, else independent)."""
    rng = np.random.default_rng(3)
    drawn = np.array([shared_uniforms(14, 0.4, rng) for _ in range(20_000)])
    for position in range(14):
        counts = np.histogram(drawn[:, position], bins=10, range=(0, 1))[0]
        assert counts / len(drawn) == pytest.approx(np.full(10, 0.1), abs=0.01)
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(0.4, abs=0.03)
    alone = np.array([shared_uniforms(2, 0.0, rng) for _ in range(20_000)])
    assert np.corrcoef(alone.T)[0, 1] == pytest.approx(0.0, abs=0.03)


def test_contagion_leaves_the_marginal_of_a_finding(phantoms):
    """Sensitivity of sonnet on effusion, 0.69 / 0.96 among its answers, early and late together."""
    plan = PLANTED["sonnet-4"]
    truth = dict(phantoms[0].findings) | {"Pleural Effusion": "left"}
    rng = np.random.default_rng(8)
    said = [
        next(s.value for s in opinions(truth, plan, rng) if s.finding == "Pleural Effusion") != "absent"
        for _ in range(6000)
    ]
    assert np.mean(said) == pytest.approx(0.69 / 0.96, abs=0.02)


def test_a_change_leaves_the_mean():
    """Early 0.2 and late 0.5 are odds 1/4 and 1, a ratio of 4; the mean at shares 2/3 and 1/3 is 0.3."""
    assert before_and_after(0.3, 2 / 3, 4.0) == pytest.approx((0.2, 0.5))
    assert before_and_after(0.98, 0.5, 4.0)[1] < 1


@pytest.mark.parametrize("teacher", TEACHERS)
def test_drift_is_found_where_it_is_planted(readings, teacher):
    """Errors among the claims said after the change against those before, paired within an answer."""
    change = PLANTED[teacher].change if teacher in DRIFTING else 0.5
    contrasts = []
    for reading in readings[teacher]:
        told = [
            (finding, value) for finding, value in reading.presence
            if value != "uncertain" and finding != "No Finding"
        ]  # fmt: skip
        wrong = [(value == "present") != (reading.phantom.findings[f] != "absent") for f, value in told]
        late = [(index + 0.5) / len(told) >= change for index in range(len(told))]
        if any(late) and not all(late):
            after = np.mean([w for w, is_late in zip(wrong, late, strict=True) if is_late])
            before = np.mean([w for w, is_late in zip(wrong, late, strict=True) if not is_late])
            contrasts.append(after - before)
    mean, error = np.mean(contrasts), np.std(contrasts) / np.sqrt(len(contrasts))
    if teacher in DRIFTING:
        assert mean > 0.08
        assert mean > 8 * error
    else:
        assert abs(mean) < 3 * error
        assert PLANTED[teacher].late_odds == 1


def test_step_and_finding_are_not_confounded(readings):
    """Each finding stands, on average, in the middle of the order in which a teacher goes through them."""
    for teacher in STEADY:
        where: dict[str, list[float]] = {finding: [] for finding in FINDINGS}
        for reading in readings[teacher]:
            for index, (finding, _) in enumerate(reading.presence):
                where[finding].append((index + 0.5) / len(reading.presence))
        for finding, positions in where.items():
            assert np.mean(positions) == pytest.approx(0.5, abs=0.03), finding


@pytest.mark.parametrize("teacher", TEACHERS)
def test_wrong_sides_occur_and_are_followed(readings, teacher):
    """True one-sided findings on a wrong side: at least the planted rate, and more often once an
    earlier one of the answer already was."""
    first, later = [], []
    for reading in readings[teacher]:
        seen = False
        for finding, value in reading.sides:
            truth = reading.phantom.findings[finding]
            if truth in ("left", "right"):
                wrong = value != truth
                (later if seen else first).append(wrong)
                seen = seen or (wrong and value != "both")
    assert np.mean(first) == pytest.approx(PLANTED[teacher].wrong_side, abs=0.03)
    assert np.mean(later) > np.mean(first) + 0.05


def test_one_teacher_changes_its_version_half_way(readings):
    """Other string, other behaviour outside the headline; the headline stays in both halves."""
    for teacher in TEACHERS:
        versions = [reading.version for reading in readings[teacher]]
        assert len(set(versions[: N // 2])) == len(set(versions[N // 2 :])) == 1
        assert (versions[0] != versions[-1]) == (teacher in CHANGED)
    assert list(CHANGED) == ["qwen-vl-max"]
    halves = readings["qwen-vl-max"][: N // 2], readings["qwen-vl-max"][N // 2 :]
    asserted = [np.mean([len(r.asserted & set(OTHERS)) for r in half]) for half in halves]
    assert asserted[1] > asserted[0] + 0.8  # lean from -0.05 to 0.15 on eight findings: 1.6 more
    for finding in HEADLINE:
        for half in halves:
            share = np.mean([reading.right(finding) for reading in half])
            assert share == pytest.approx(expected("qwen-vl-max", finding), abs=0.04)


def test_the_halves_of_an_odd_collection():
    assert [planted("qwen-vl-max", i, 3).version[-1] for i in range(3)] == ["1", "1", "2"]
    assert [planted("gpt-5", i, 3).version[-1] for i in range(3)] == ["1", "1", "1"]


def test_answers_do_not_depend_on_the_order_of_asking(phantoms, readings):
    for teacher in TEACHERS:
        for position in (2001, 7, 0):
            text, version, finish = answer(teacher, phantoms[position], position, N, SEED)
            assert (text, version) == (readings[teacher][position].text, readings[teacher][position].version)
            assert finish == "stop"
    again = {answer("glm-4.5v", phantoms[3], 3, N, SEED, sample).text for sample in range(3)}
    assert len(again) == 3
    assert answer("glm-4.5v", phantoms[3], 3, N, SEED + 1).text not in again


def test_a_teacher_that_refuses_is_better_when_it_answers():
    """moonshot on pneumothorax: 0.88 of all is 0.88 / 0.94 of the answers."""
    assert rates("moonshot-v1", "Pneumothorax", 0.06, 0.0) == pytest.approx((0.88 / 0.94, 0.88 / 0.94))
    with pytest.raises(ValueError, match="grok-4 cannot refuse"):
        rates("grok-4", "Pneumothorax", 0.06, 0.0)
    early = error_rate(PLANTED["gpt-5"], "Edema", True, late=False)
    assert early < error_rate(PLANTED["gpt-5"], "Edema", True, late=True)
