"""The study's page: numbers by hand, coverage by simulation, and what it says of incomplete results."""

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from driftbound.domains.phantom.findings import HEADLINE
from driftbound.errors import StoreError
from driftbound.evaluation.classification import Graded, make_key, score
from driftbound.records import Estimate
from driftbound.statistics.intervals import resample
from driftbound.study.compare import (
    METRICS,
    OverSeeds,
    adjusted,
    drawing,
    mean_over,
    over_seeds,
    paired,
    sample,
)
from driftbound.study.goals import goals
from driftbound.study.material import Asked, Material, Run, main_arms
from driftbound.study.page import write_page
from driftbound.study.reading import LABELS, read_results
from driftbound.study.tables import arm_rows, comparisons, dispersions, finding_rows, look_rows, sweep_rows

FIRST, SECOND = HEADLINE[:2]
TRUTH = {
    # case: patient, {finding: truth}
    "1": ("ann", {FIRST: "left", SECOND: "absent"}),
    "2": ("ann", {FIRST: "right", SECOND: "both"}),
    "3": ("bob", {FIRST: "absent", SECOND: "left"}),
    "4": ("cid", {FIRST: "both", SECOND: "absent"}),
}
RIGHT = {case: dict(values) for case, (_, values) in TRUTH.items()}
MIXED = {
    "1": {FIRST: "right", SECOND: "uncertain"},  # there, on the wrong side; absent, hence right
    "2": {FIRST: "omitted", SECOND: "both"},  # missed; there, on the right sides
    "3": {FIRST: "present", SECOND: "left"},  # false alarm; there, on the right side
    "4": {FIRST: "refused", SECOND: "refused"},  # both wrong
}
SILENT = {case: dict.fromkeys((FIRST, SECOND), "absent") for case in TRUTH}


class Results:
    """Writes raw results as the study's runner does."""

    def __init__(self, folder):
        self.folder = folder / "phantom_study"

    def add(self, arm, seed, splits, *, phase="test", setting="main", sweep=None, numbers=None, **said):
        self.folder.joinpath(phase).mkdir(parents=True, exist_ok=True)
        path = self.folder / phase / f"{setting}--{arm.replace(' ', '-')}--seed-{seed}.json"
        table = {name: [] for name in ("case_id", "cluster", "split", "finding", "truth", "said")}
        for split, answers in splits.items():
            for case, values in answers.items():
                for finding, word in values.items():
                    row = (case, TRUTH[case][0], split, finding, TRUTH[case][1][finding], word)
                    for column, value in zip(table.values(), row, strict=True):
                        column.append(value)
        given = {
            "study": "phantom_study",
            "phase": phase,
            "sweep": sweep,
            "setting": setting,
            "arm": arm,
            "seed": seed,
            "status": "done",
            "reason": None,
            "recipe_overrides": None,
            "seconds": {"align": 2.0, "evaluate": None},
            "steps": None,
            "groups": None,
            "splits": {split: numbers or {} for split in splits},
            "versions": {"driftbound": "9.9"},
        }
        path.write_text(json.dumps(given | said))
        if splits:
            pq.write_table(pa.table(table), path.with_suffix(".parquet"))
        return self


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def material(results, **asked):
    return Material.read(results.folder, Asked(**{"name": "phantom_study", "default": "ours"} | asked))


def test_metrics_by_hand(results):
    """First finding: hit, miss, false alarm, miss (refused). Second: right, hit, hit, false alarm."""
    results.add("ours", 5, {"test": MIXED})
    found = read_results(results.folder)[0].splits["test"]
    assert found.counts.sum(axis=0)[:2].tolist() == [[1, 1, 0, 2], [2, 1, 1, 0]]
    assert found.sides.sum(axis=0).tolist() == [1, 3]
    assert found.clusters == ("ann", "bob", "cid")
    point = dict(zip(METRICS, sample(found).point.tolist(), strict=True))
    assert point["accuracy"] == pytest.approx((1 / 4 + 3 / 4) / 2)
    assert point["balanced_accuracy"] == pytest.approx(((1 / 3 + 0) / 2 + (1 + 1 / 2) / 2) / 2)
    assert point["macro_f1"] == pytest.approx((2 / 5 + 4 / 5) / 2)
    assert point["wrong_side"] == pytest.approx(1 / 3)


def test_counts_are_those_of_evaluate(results):
    rng = np.random.default_rng(0)
    words = ["absent", "present", "left", "right", "both", "uncertain", "omitted"]
    answers = {case: {f: str(rng.choice(words)) for f in (FIRST, SECOND)} for case in TRUTH}
    answers["2"] = dict.fromkeys((FIRST, SECOND), "refused")
    results.add("ours", 5, {"test": answers})
    found = read_results(results.folder)[0].splits["test"]
    findings = (FIRST, SECOND)
    key = make_key([values for _, values in TRUTH.values()], findings, frozenset(findings), [()] * len(TRUTH))
    graded = [Graded(stances=None if c == "2" else answers[c], parsable=True) for c in TRUTH]
    draws = resample([patient for patient, _ in TRUTH.values()], rng=rng)
    assert found.counts.sum(axis=0)[:2].tolist() == score(graded, key, draws).counts.tolist()


def test_the_mean_over_seeds_is_students_t_where_patients_agree():
    """No draw of patients changes anything: t with K - 1 degrees of freedom on the seeds' numbers."""
    points = np.array([0.6, 0.7, 0.5, 0.8, 0.9])
    found = over_seeds(points, np.tile(points, (50, 1)), clusters=30)
    t = stats.ttest_1samp(points, 0)
    low, high = t.confidence_interval(0.95)
    assert found.estimate.mean == pytest.approx(0.7)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(t.pvalue)


def test_seeds_that_agree_leave_the_patients_error():
    """The seeds differ in nothing and share patients: the bootstrap's standard error, t of 39 degrees."""
    drawn = np.random.default_rng(1).normal(0.7, 0.03, (4000, 1)).repeat(3, axis=1)
    found = over_seeds(np.full(3, 0.7), drawn, clusters=40).estimate
    half = stats.t.ppf(0.975, 39) * drawn[:, 0].std(ddof=1)
    assert (found.low, found.high) == pytest.approx((0.7 - half, 0.7 + half))


@pytest.mark.parametrize("shared", [True, False], ids=["same patients", "new patients"])
@pytest.mark.parametrize("seeds_part", [0.0, 0.045, 0.2])
def test_coverage_at_five_seeds_and_120_patients(shared, seeds_part):
    """The interval holds the truth in 90 to 99 of 100 studies; a patient's number has sd 0.5, the mean's
    0.045, so that the seeds' own part is nothing, as much, and most of it."""
    rng = np.random.default_rng(7)
    held, naive = [], []
    for _ in range(300):
        own = rng.normal(0, seeds_part, 5)
        patients = rng.normal(0, 0.35, (120, 5)) + rng.normal(0, 0.35, (120, 1 if shared else 5))
        draws = [
            rng.multinomial(120, np.full(120, 1 / 120), size=100) / 120 for _ in range(1 if shared else 5)
        ]
        drawn = np.stack([draws[k % len(draws)] @ patients[:, k] for k in range(5)], axis=1) + own
        found = over_seeds(patients.mean(axis=0) + own, drawn, 120).estimate
        held.append(found.low <= 0 <= found.high)
        picked = np.take_along_axis(drawn, rng.integers(5, size=(100, 5)), axis=1).mean(axis=1)
        low, high = np.quantile(picked, [0.025, 0.975])
        naive.append(low <= 0 <= high)
    assert 0.90 <= np.mean(held) <= 0.99
    if seeds_part == 0.2:
        assert np.mean(naive) < 0.90, "resampled seeds alone would do, then"


def test_one_seed_or_one_patient_gives_no_interval():
    one = over_seeds(np.array([0.5]), np.full((9, 1), 0.5), clusters=30)
    assert one.estimate.mean == 0.5
    assert math.isnan(one.estimate.low)
    assert one.verdict == "not known"
    assert math.isnan(over_seeds(np.array([0.5, 0.6]), np.full((9, 2), 0.5), clusters=1).estimate.low)
    assert math.isnan(over_seeds(np.zeros(0), np.zeros((0, 0)), clusters=0).estimate.mean)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "above"),
        (-0.2, -0.01, "below"),
        (-0.1, 0.1, "not told apart"),
        (0.0, 0.1, "not told apart"),
    ],
)
def test_verdicts(low, high, verdict):
    mean = (low + high) / 2
    assert OverSeeds(estimate=Estimate(mean=mean, low=low, high=high), p=0.5, seeds=5).verdict == verdict


def test_paired_differences_use_common_seeds_and_the_same_draws(results):
    """Ours is right on all seeds; theirs silent on seed 5, as right as ours on 6, stopped on 7."""
    for seed in (5, 6, 7):
        results.add("ours", seed, {"test": RIGHT})
    results.add("theirs", 5, {"test": SILENT}).add("theirs", 6, {"test": RIGHT})
    results.add("theirs", 7, {}, status="stopped", reason="the loss is nan")
    found = material(results)
    mine, theirs = (found.samples(main_arms("test"), arm, "test") for arm in ("ours", "theirs"))
    # silent: first finding 1 of 4 right, second 2 of 4; balanced accuracy 1/2 each
    accuracy = paired(mine, theirs, "accuracy")
    assert accuracy.estimate.mean == pytest.approx((1 - 3 / 8 + 0) / 2)
    assert accuracy.seeds == 2
    assert paired(mine, theirs, "balanced_accuracy").estimate.mean == pytest.approx((1 / 2 + 0) / 2)
    itself = paired(mine, mine, "accuracy")
    assert (itself.estimate.low, itself.estimate.high, itself.p) == (0, 0, 1)
    assert mean_over([*theirs.values()], "accuracy").seeds == 2


def test_arms_on_other_cases_are_not_compared(results):
    results.add("ours", 5, {"test": RIGHT})
    results.add("theirs", 5, {"test": {case: RIGHT[case] for case in "123"}})
    with pytest.raises(StoreError, match="different cases"):
        comparisons(material(results), "test", "test")


def test_holm_over_both_metrics_of_the_family_alone(results):
    for seed in (5, 6, 7):
        results.add("ours", seed, {"test": RIGHT}).add("teacher A", seed, {"test": MIXED})
        results.add("rival", seed, {"test": SILENT}).add("extra", seed, {"test": SILENT})
    rows = {row.other: row for row in comparisons(material(results, rivals=("rival",)), "test", "test")}
    family = [rows[arm].differences[metric] for arm in ("rival", "teacher A") for metric in METRICS[:2]]
    found = [rows[arm].holm[metric] for arm in ("rival", "teacher A") for metric in METRICS[:2]]
    assert found == adjusted(family)
    smallest = min(one.p for one in family)
    assert min(found) == pytest.approx(4 * smallest)
    assert rows["extra"].holm == {}


def test_null_numbers_are_dashes_and_means_are_over_the_known(results):
    results.add("ours", 5, {"test": RIGHT}, numbers={"words": 30, "parsable": None}, groups=10)
    results.add("ours", 6, {"test": RIGHT}, numbers={"words": 50}, seconds={"align": None})
    row = arm_rows(material(results), "test", "test")[0]
    assert row.numbers["words"] == 40
    assert math.isnan(row.numbers["parsable"])
    assert (row.seconds, row.groups) == (2, 10)


def test_rank_among_the_teachers(results):
    """First finding, balanced accuracy: A 1, ours (1/3 + 0) / 2, B 1/2. A tie would share the rank."""
    for seed in (5, 6):
        results.add("ours", seed, {"test": MIXED})
        results.add("teacher A", seed, {"test": RIGHT}).add("teacher B", seed, {"test": SILENT})
    first, second = finding_rows(material(results), "test", "test")
    assert (first.finding, first.rank, first.teachers, first.best) == (FIRST, 3, 2, "teacher A")
    assert (first.student, first.top, first.lowest) == pytest.approx((1 / 6, 1, 1 / 2))
    assert second.rank == 2
    assert (second.student, second.median) == pytest.approx((3 / 4, 3 / 4))


def study(results):
    """Two seeds: ours is always right, its rival silent; other patients' images make ours silent."""
    for seed in (5, 6):
        results.add("ours", seed, {"test": RIGHT, "test, images shuffled": SILENT})
        results.add("rival", seed, {"test": SILENT}).add("always prior", seed, {"test": SILENT})
        results.add("teacher A", seed, {"test": MIXED}).add("bootstrapped", seed, {"test": RIGHT})
        for share in (5, 100):
            given = {"setting": f"cases-{share}", "sweep": "cases", "phase": "tuning"}
            results.add("ours", seed, {"validation": MIXED if share == 5 else RIGHT}, **given)
    results.add("ours", 0, {"validation": RIGHT}, phase="tuning")
    return results


LOOKS = (
    "with other patients' images accuracy falls, to less than 0.05 above what the more frequent answer gets"
)


def test_goals_say_met_or_not_and_by_how_much(results):
    given = material(study(results), rivals=("bootstrapped", "rival", "absent arm"))
    found = {
        goal.text: goal
        for goal in goals(given, comparisons(given, "test", "test"), look_rows(given, "test", "test"))
    }
    assert found["mean accuracy at least 0.05 above the best teacher's"].outcome == "met"
    assert "+0.500" in found["mean accuracy at least 0.05 above the best teacher's"].by
    same = found["above bootstrapped in accuracy, interval above zero"]
    assert (same.outcome, "not told apart" in same.by) == ("not met", True)
    assert found["above rival in accuracy, interval above zero"].outcome == "met"
    assert "+0.625" in found["above rival in accuracy, interval above zero"].by
    assert found["above absent arm in accuracy, interval above zero"].outcome == "not known"
    looks = found[LOOKS]
    assert looks.outcome == "met"
    assert "1.000 falls to 0.375" in looks.by


def test_goals_are_not_known_without_the_default(results):
    results.add("rival", 5, {"test": RIGHT}).add("teacher A", 5, {"test": RIGHT})
    given = material(results, rivals=("rival",))
    assert {goal.outcome for goal in goals(given, comparisons(given, "test", "test"), [])} == {"not known"}


def goal_about(results, text, **asked):
    given = material(results, **asked)
    found = goals(given, comparisons(given, "test", "test"), look_rows(given, "test", "test"))
    return next(goal for goal in found if goal.text == text)


def test_a_student_that_never_looks_does_not_meet_the_goal(results):
    """It says the same with any image: nothing falls, though that is no better than the prior."""
    for seed in (5, 6):
        results.add("ours", seed, {"test": SILENT, "test, images shuffled": SILENT})
        results.add("always prior", seed, {"test": SILENT})
    assert goal_about(results, LOOKS).outcome == "not met"


def test_a_wide_interval_of_the_look_is_not_known(results):
    """Falls in both seeds, from 1 to 3/8 or to 1/2; over the prior's 3/8 by 0 or 1/8, +0.06 with t of 1."""
    for seed, blind in ((5, SILENT), (6, MIXED)):
        results.add("ours", seed, {"test": RIGHT, "test, images shuffled": blind})
        results.add("always prior", seed, {"test": SILENT})
    assert goal_about(results, LOOKS).outcome == "not known"


def test_seeds_that_are_left_out_leave_a_goal_open(results):
    """Ours was stopped on one seed of two, or its rival was not run there: what is left does not count."""
    text = "above rival in accuracy, interval above zero"
    for seed in (5, 6, 7):
        results.add("rival", seed, {"test": SILENT})
        results.add(
            "ours", seed, {"test": RIGHT} if seed < 7 else {}, status="stopped" if seed == 7 else "done"
        )
    expected = tuple(Run(phase="test", arm=arm, seed=seed) for arm in ("ours", "rival") for seed in (5, 6))
    assert goal_about(results, text, rivals=("rival",), expected=expected).outcome == "met"
    third = Run(phase="test", arm="ours", seed=7), Run(phase="test", arm="rival", seed=7)
    found = goal_about(results, text, rivals=("rival",), expected=(*expected, *third))
    assert found.outcome == "not known"
    assert found.by.endswith("seeds with numbers: ours 2 of 3")
    more = goal_about(results, text, rivals=("rival",), expected=(*expected, third[1]))
    assert (more.outcome, "rival" in more.by) == ("met", False)


def test_the_page_tells_what_makes_results_doubtful(results, tmp_path):
    study(results).add("dropped", 5, {"test": RIGHT}, versions={"driftbound": "9.8"})
    results.add("ours", 6, {"test": RIGHT}, chosen="mark", versions={"driftbound": "9.8"})
    expected = tuple(Run(phase="test", arm=arm, seed=seed) for arm in ("ours", "rival") for seed in (5, 6))
    asked = Asked(
        name="phantom_study",
        default="ours",
        expected=expected,
        chosen="mark",
        stale=frozenset(expected[:1]),
    )
    page = tmp_path / "study.md"
    write_page(results.folder, page, asked)
    text = page.read_text()
    assert "**Not of one study file:** 1 results are of another recipe" in text
    assert "Left out: 8 results that the study file no longer asks for." in text  # 4 of cases, tuning, 3 arms
    assert "**Not of one code:** test was made by 2 versions of driftbound." in text
    assert "**Not chosen beforehand:** 7 of 8 results on test patients" in text
    assert "`dropped`" not in text
    write_page(results.folder, page, replace(asked, chosen=""))
    assert "**Not chosen beforehand:** 8 of 8 results" in page.read_text()


def test_a_sweep_is_compared_with_its_last_setting(results):
    given = material(study(results))
    assert given.sweeps() == {("tuning", "cases"): ["cases-5", "cases-100"]}
    small, whole = sweep_rows(given, "tuning", "cases", ["cases-5", "cases-100"], "validation")
    assert small.over_last.estimate.mean == pytest.approx((1 / 6 + 3 / 4) / 2 - 1)
    assert whole.over_last is None


def test_sweeps_may_name_their_settings_alike(results):
    for sweep, said in (("cases", MIXED), ("drift", RIGHT)):
        results.add("ours", 0, {"validation": said}, sweep=sweep, setting="2", phase="tuning")
        stem = results.folder / "tuning" / "2--ours--seed-0"
        for ending in (".json", ".parquet"):
            stem.with_suffix(ending).rename(stem.with_name(f"{sweep}-2--ours--seed-0{ending}"))
    given = material(results)
    assert given.sweeps() == {("tuning", "cases"): ["2"], ("tuning", "drift"): ["2"]}
    means = [
        sweep_rows(given, "tuning", sweep, ["2"], "validation")[0].metrics["accuracy"].estimate.mean
        for sweep in ("cases", "drift")
    ]
    assert means == pytest.approx([1 / 2, 1])


def test_what_is_asked_comes_from_the_jobs():
    jobs = [
        SimpleNamespace(phase="choose", sweep="", setting="main", arm="b", seed=0, splits=("validation",)),
        SimpleNamespace(phase="report", sweep="cases", setting="5 %", arm="a", seed=5, splits=("test",)),
    ]
    asked = Asked.of("phantom_study", "a", jobs, rivals=["b"], like={"a": "b", "b": ""})
    assert (asked.tuning, asked.test, asked.rivals, asked.steps) == (
        "choose",
        "report",
        ("b",),
        (("a", "b"),),
    )
    assert asked.expected[1] == Run(phase="report", sweep="cases", setting="5 %", arm="a", seed=5)


def test_dispersion_is_compared_over_seeds_alone(results):
    """Ours minus base: -0.1, -0.2, -0.3; t of 2 degrees, 4.303, times 0.1 / sqrt(3)."""
    for seed, own in zip((5, 6, 7), (0.6, 0.5, 0.4), strict=True):
        results.add(
            "ours",
            seed,
            {"test": RIGHT},
            numbers={"dispersion": own},
            probe={"accuracy": {"mean": own}},
            probe_teachers={"accuracy": {"mean": 2 * own - 0.9}},
        )
        results.add("base", seed, {"test": RIGHT}, numbers={"dispersion": 0.7})
        results.add("bootstrapped", seed, {"test": RIGHT}, numbers={"dispersion": None})
    given = material(results)
    (base, _, minus), (ours, own, _) = dispersions(given, "test", "test")
    assert (base, ours) == ("base", "ours")
    assert own.estimate.mean == pytest.approx(0.5)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (minus.estimate.low, minus.estimate.high) == pytest.approx((-0.2 - half, -0.2 + half))
    row = next(row for row in arm_rows(given, "test", "test") if row.arm == "ours")
    assert (row.probe, row.probe_teachers) == pytest.approx((0.5, 0.1))


def test_the_page_says_what_is_there_missing_and_stopped(results, tmp_path):
    study(results).add("failed", 5, {}, status="stopped", reason="repeats itself | 0.9")
    for seed, kept in ((5, 1), (6, 2)):
        results.add("two rounds", seed, {"test": RIGHT}, rounds={"kept": kept, "ran": 2, "reason": "..."})
        results.add("signs", seed, {"test": RIGHT})
    expected = tuple(Run(phase="test", arm=arm, seed=5) for arm in ("ours", "late", "later"))
    there = ("bootstrapped", "rival", "failed", "two rounds")
    expected += tuple(Run(phase="test", arm=arm, seed=seed) for arm in there for seed in (5, 6))
    expected += (Run(phase="test", arm="ours", seed=6),)
    asked = Asked(
        name="phantom_study",
        default="ours",
        rivals=("rival",),
        steps=(("ours", "rival"), ("ours", "bootstrapped")),
        expected=expected,
    )
    page = tmp_path / "docs" / "study.md"
    written = write_page(results.folder, page, asked)
    text = page.read_text()
    assert "3 of 12 results are missing" in text
    assert "- test, main, seeds 5: `late`, `later`" in text
    assert "| test | main | failed | 5 | repeats itself \\| 0.9 |" in text
    assert "- **Helped:** `ours` over `rival` +0.500" in text
    assert "- **Cannot be told apart:** `ours` over `bootstrapped` 0.000" in text
    assert "**ours** (default) | 1.000 (1.000 to 1.000)" in text
    assert "| two rounds (rounds kept: 1, 2) | 1.000" in text
    assert "| signs (knows the textbook; no rival) | 1.000" in text
    assert "4 cases of 3 patients per seed, the same in every seed" in text
    assert "nan" not in text
    for picture in written[1:]:
        assert f"(pictures/{picture.name})" in text
        assert ET.parse(picture).getroot().tag.endswith("svg")
        assert "prefers-color-scheme:dark" in picture.read_text()
    before = {path: path.read_bytes() for path in written}
    drawing.cache_clear()
    assert write_page(results.folder, page, asked) == written
    assert {path: path.read_bytes() for path in written} == before


def test_before_the_test_the_page_shows_tuning_alone(results, tmp_path):
    results.add("ours", 0, {"validation": RIGHT}, phase="tuning")
    write_page(results.folder, tmp_path / "study.md", Asked(name="phantom_study", default="ours"))
    text = (tmp_path / "study.md").read_text()
    assert "The test patients have not been looked at yet." in text
    assert "it is number 1 of the 1 arms there" in text


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("{"), "reading"),
        (lambda path: path.write_text(path.read_text().replace('"done"', '"perhaps"')), "neither done nor"),
        (lambda path: path.with_suffix(".parquet").unlink(), "no answers beside it"),
    ],
)
def test_broken_results_are_one_line(results, spoil, said):
    results.add("ours", 5, {"test": RIGHT})
    spoil(next(results.folder.glob("*/*.json")))
    with pytest.raises(StoreError, match=said):
        material(results)


def test_strange_words_and_empty_folders_are_refused(results, tmp_path):
    results.add("ours", 5, {"test": {"1": {FIRST: "perhaps"}}})
    with pytest.raises(StoreError, match="said 'perhaps' is unknown"):
        _ = read_results(results.folder)[0].splits
    with pytest.raises(StoreError, match="holds no results"):
        Material.read(tmp_path / "nothing", Asked(name="x", default="y"))


def test_headline_stands_first():
    assert LABELS[:5] == HEADLINE
    assert len(set(LABELS)) == 14
