"""The study's runner: arms become recipes and jobs, stages are shared, what is done is not done again."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from driftbound.cli import app
from driftbound.config import Recipe
from driftbound.errors import ConfigError, StoreError, TrainingError
from driftbound.evaluation.answers import Answer
from driftbound.recipe_files import SHIPPED, STUDIES
from driftbound.records import Belief, Case, Status
from driftbound.store import manifest
from driftbound.store.folder import RunFolder
from driftbound.store.tables import write_cases, write_truth
from driftbound.study import arms, course, pool, run, trials
from driftbound.study.arms import BASE, Bench, make_arm, make_base
from driftbound.study.course import rounds_of
from driftbound.study.estimate import clock, estimate, summary, table
from driftbound.study.identity import LATER, fingerprint
from driftbound.study.plan import MAIN, Choice, changes_of, jobs_of, read_study, slug, steps_of
from driftbound.study.pool import Task, work_off
from driftbound.study.results import PRIOR, SIGNS, finished, read_result, result_path, write_result
from driftbound.study.run import plan_study, run_study
from driftbound.study.sharing import shared_stages, take_over
from driftbound.study.trials import grid, make_trial, support_of, sweep, table_of
from driftbound.study.work import described, job_of

STUDY = """
name: tiny
jobs: 2
default: "anchor, strong"
rivals: [bootstrapped, plain]
base:
  domain: {train: 4, validation: 2, test: 2, test_scanner: 1, findings: headline}
  teachers: [{name: gpt-5, model: gpt-5}, {name: grok-4, model: grok-4}, {name: glm-4.5v, model: glm-4.5v}]
  align: {anchor: 0.0, nca: 0.0}
phases:
  tuning: {seeds: [0, 1], splits: [validation], set: {domain.test: 1}}
  report: {seeds: [5], splits: [test, test_scanner], arms: [bootstrapped, "anchor, strong"], after: CHOICE.md}
arms:
  bootstrapped: {stop: bootstrap}
  plain: {consensus: true}
  anchor: {like: plain, set: {align.anchor: 1.0}}
  "anchor, strong": {like: anchor, shuffled: true, set: {align.anchor: 3.0}}
  longer: {set: {bootstrap.epochs: 2}}
sweeps:
  teachers:
    phase: tuning
    seeds: [0]
    arms: [anchor]
    settings: {"2": {teachers: [glm-4.5v, gpt-5]}, "3": {}}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(manifest, "code_version", lambda: "test")  # a git process per manifest is slow
    monkeypatch.setattr("driftbound.study.results.code_version", lambda: "test")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny_study.yaml"
    path.write_text(STUDY)
    return path


def jobs(file, **choice):
    return jobs_of(read_study(file), str(file), Choice(**choice))


# ---- from the file to the jobs -----------------------------------------------------------------


def test_every_arm_is_a_recipe_of_its_own(file):
    found = {job.arm: job for job in jobs(file, seeds=(1,))}
    assert list(found) == ["bootstrapped", "plain", "anchor", "anchor, strong", "longer"]
    strong = found["anchor, strong"]
    assert strong.recipe.align.anchor == 3.0
    assert strong.overrides == {"domain.test": 1, "align.anchor": 3.0}
    assert strong.recipe.seed == 1
    assert strong.recipe.name == "anchor-strong"
    assert strong.recipe.domain.test == 1  # of the phase
    assert strong.base.align.anchor == 0.0
    assert (strong.shuffled, strong.consensus) == (True, False)  # an arm's changes are passed on, no more


def test_phases_and_sweeps(file):
    found = [(j.phase, j.sweep, j.setting, j.seed, j.arm) for j in jobs(file)]
    assert len(found) == 10 + 2 + 2
    assert found[:2] == [("tuning", "", "main", 0, "bootstrapped"), ("tuning", "", "main", 0, "plain")]
    assert found[10] == ("report", "", "main", 5, "bootstrapped")
    assert found[-2:] == [("tuning", "teachers", n, 0, "anchor") for n in ("2", "3")]
    two = jobs(file)[-2]
    assert [t.name for t in two.recipe.teachers] == ["glm-4.5v", "gpt-5"]
    assert two.splits == ("validation",)
    assert two.place == "tuning/teachers-2/seed-0"


def test_a_part_is_chosen(file):
    assert {j.phase for j in jobs(file, phase="report")} == {"report"}
    assert {(j.arm, j.seed) for j in jobs(file, arms=("plain",), seeds=(0,))} == {("plain", 0)}
    with pytest.raises(ConfigError, match="did you mean 'report'"):
        jobs(file, phase="reprot")
    with pytest.raises(ConfigError, match="nothing is left"):
        jobs(file, seeds=(9,))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "align.anchor: 3.0",
            "align.ancor: 3.0",
            "arm 'anchor, strong': unknown key 'ancor' in 'align'; d",
        ),
        ("bootstrap.epochs: 2", "bootstrp.epochs: 2", "unknown key 'bootstrp'; did you mean 'bootstrap'"),
        ("align.anchor: 3.0", "align.anchor: -3.0", "align.anchor: Input should be greater"),
        ("align.anchor: 3.0", "align.anchor.much: 3.0", "is no table of the recipe|valid number"),
        ("domain.test: 1", "domain.tset: 1", "unknown key 'tset' in 'domain'; did you mean 'test'"),
        ("like: plain", "like: plane", "no arm is called 'plane'; did you mean 'plain'"),
        ("plain: {consensus: true}", "plain: {like: anchor}", "a circle"),
        ("arms: [anchor]", "arms: [ancor]", "sweeps.teachers: no arm is called 'ancor'; did you mean"),
        ("[glm-4.5v, gpt-5]", "[glm-4.5v, gpt-4]", "no teacher is called 'gpt-4'; did you mean 'gpt-5'"),
        ("phase: tuning", "phase: tunning", "no phase is called 'tunning'; did you mean 'tuning'"),
        ("stop: bootstrap", "stops: bootstrap", "unknown key 'stops' in 'arms.bootstrapped'; did you"),
        ("jobs: 2", "job: 2", "unknown key 'job'; did you mean 'jobs'"),
        (
            'default: "anchor, strong"',
            "default: anchors",
            "default: no arm is called 'anchors'; did you mean 'anch",
        ),
        ("[bootstrapped, plain]", "[bootstrapped, plane]", "rivals: no arm is called 'plane'; did you mean"),
        ("[bootstrapped, plain]", '["anchor, strong"]', "rivals: 'anchor, strong' is the default itself"),
        ("seeds: [0, 1], splits", "seeds: [], splits", "phases.tuning.seeds"),
        ("  longer:", '  "Anchor; strong": {}\n  longer:', "would share their files"),
        ('"3": {}', '"2 !": {}', "settings 'teachers 2' and 'teachers 2 !' would share their files"),
    ],
)
def test_what_is_wrong_in_a_study_is_said(file, old, new, said):
    assert old in STUDY
    file.write_text(STUDY.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said):
        read_study(file)


def test_a_job_survives_the_way_to_its_process(file):
    for job in jobs(file):
        again = job_of(json.loads(json.dumps(described(job))))
        assert again == job
        assert again.fingerprint == job.fingerprint


def test_fingerprints_tell_jobs_apart_and_twins_together(file):
    found = jobs(file)
    by_place = {(j.phase, j.sweep, j.setting, j.seed, j.arm): j.fingerprint for j in found}
    twin = by_place["tuning", "teachers", "3", 0, "anchor"]
    assert twin == by_place["tuning", "", "main", 0, "anchor"]  # all three teachers: the same recipe
    assert len(set(by_place.values())) == len(found) - 1


def test_a_younger_key_that_changes_nothing_makes_no_result_stale(file):
    """As before: no difference; another value of the same key: another job."""
    recipe = jobs(file)[0].recipe
    asked = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"samples": 2})})
    assert ("evaluate", "samples") in LATER
    assert fingerprint(asked) != fingerprint(recipe)
    given = recipe.model_dump(mode="json", exclude={"name"})
    given["evaluate"] = {k: v for k, v in given["evaluate"].items() if ("evaluate", k) not in LATER}
    told = json.dumps([given], sort_keys=True).encode()
    assert fingerprint(recipe) == hashlib.sha256(told).hexdigest()[:16]


# ---- the study that ships ----------------------------------------------------------------------


def test_the_results_that_are_kept_are_of_the_study_that_ships():
    """A key or a default that changed what was run would leave them without a study."""
    folder = Path(__file__).parents[1] / "studies" / "phantom_study"
    asked = {
        (job.phase, job.sweep, job.setting, job.arm, job.seed): job.fingerprint
        for job in jobs_of(read_study(STUDIES["phantom_study"]), "shipped")
    }
    kept = [json.loads(path.read_text()) for path in folder.glob("*/*.json")]
    found = {(k["phase"], k["sweep"], k["setting"], k["arm"], k["seed"]): k["fingerprint"] for k in kept}
    stale = [place for place in asked if place in found and found[place] != asked[place]]
    assert stale == []
    assert any(place in found for place in asked)


SCALED = {"confidence on both sides, per length"}
"""A reward per token is an answer's length times smaller: its beta goes along."""


def test_the_shipped_study_changes_one_thing_at_a_time():
    study = read_study(STUDIES["phantom_study"])
    assert "phantom_study" not in SHIPPED
    for name, arm in study.arms.items():
        if arm.like:
            tables = {key.rpartition(".")[0] for key in arm.set}
            assert len(arm.set) == 1 or tables == {"synthesize.constraints"} or name in SCALED, name
    assert sum(name.startswith("distil ") for name in study.arms) == 7
    assert set(study.phases["tuning"].seeds) <= {0, 1, 2, 3, 4}
    assert study.phases["tuning"].splits == ("validation",)
    assert study.phases["report"].seeds == (5, 6, 7, 8, 9)
    assert study.phases["report"].splits == ("test", "test_scanner")
    for sweep_ in study.sweeps.values():
        assert (len(sweep_.arms), len(sweep_.seeds)) == (3, 3)
    assert all(job.recipe.threads == 1 for job in jobs_of(study, "study"))


def test_the_shipped_study_compares_like_with_like():
    """A step changes just what it says, in the whole recipe; another teacher is an alternative, no step."""
    study = read_study(STUDIES["phantom_study"])
    whole = {"tuning": study.phases["tuning"].model_copy(update={"arms": ()})}  # no phase has all arms
    study = study.model_copy(update={"sweeps": {}, "phases": whole})
    recipes = {
        job.arm: job.recipe.model_dump(exclude={"name"})
        for job in jobs_of(study, "study", Choice(seeds=(0,)))
    }

    def leaves(table, path=""):
        for key, value in table.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{path}{key}.")
            else:
                yield f"{path}{key}", value

    for name, arm in study.arms.items():
        if arm.like:
            mine, theirs = (dict(leaves(recipes[each])) for each in (name, arm.like))
            assert {key for key in mine if mine[key] != theirs.get(key)} == set(arm.set), name
    wanted = {name: arm.like for name, arm in study.arms.items() if arm.like}
    wanted = {name: like for name, like in wanted.items() if not like.startswith("distil")}
    del wanted["confidence on both sides, anchor 3"]  # another value of a weight that is there
    assert steps_of(study, "study") == wanted
    kinds = ("bootstrapped", "pairwise", "paper as it is", "reliability SFT", "confidence SFT")
    assert all(any(rival.startswith(kind) for rival in study.rivals) for kind in kinds)
    assert set(changes_of(study, "reliability SFT", "")) == {"align.objective"}  # the default's consensus
    assert recipes["reliability SFT"]["synthesize"]["synthesizer"] == "reliability"
    assert recipes[study.default]["synthesize"]["synthesizer"] == "reliability"


def test_tuning_looks_at_validation_patients_alone():
    study = read_study(STUDIES["phantom_study"])
    tuning, report = (jobs_of(study, "study", Choice(phase=name)) for name in ("tuning", "report"))
    for job in tuning:
        assert job.splits == ("validation",)
        for recipe in (job.base, job.recipe):
            assert (recipe.domain.test, recipe.domain.test_scanner) == (1, 0)
            assert recipe.domain.validation >= 100
    assert not any("validation" in job.splits for job in report)
    assert not {job.seed for job in tuning} & {job.seed for job in report}
    assert study.phases["report"].after


def test_base_and_bootstrapped_student_are_asked_once_per_base_run():
    study = read_study(STUDIES["phantom_study"])
    for stop in ("base", "bootstrap"):
        jobs = [job for job in jobs_of(study, "study") if job.stop == stop]
        asked = [job.place for job in jobs if job.recipe.bootstrap == job.base.bootstrap]
        assert len(asked) == len(set(asked)) >= 5, stop


# ---- shared stages -----------------------------------------------------------------------------


def test_what_two_recipes_share():
    def recipe(**more):
        given = {"name": "x", "teachers": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}]} | more
        return Recipe.parse(given, where="test")

    whole = ("cases", "collect", "measure", "bootstrap")
    assert shared_stages(recipe(), recipe(name="y", threads=1, align={"beta": 0.3})) == whole
    assert shared_stages(recipe(), recipe(bootstrap={"epochs": 2})) == whole[:3]
    assert shared_stages(recipe(), recipe(measure={"steps": 5})) == whole[:2]
    assert shared_stages(recipe(), recipe(teachers=[{"name": "a", "model": "a"}])) == whole[:1]
    assert shared_stages(recipe(), recipe(domain={"drift": 2.0})) == ()
    assert shared_stages(recipe(), recipe(seed=1)) == ()


@pytest.fixture
def base(tmp_path):
    folder = RunFolder(tmp_path / "place" / BASE)
    for name in ("images/a.png", "cases.parquet", "manifest.json", "1-collect/streams.sqlite"):
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name in ("manifest.json", "student/model.safetensors"):
        path = folder.stage("bootstrap") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    folder.truth.write_text("truth")
    return folder


def test_stages_are_linked_and_the_truth_stays(base, tmp_path):
    own = RunFolder(tmp_path / "place" / "arm")
    take_over(base, own, ("cases", "collect", "bootstrap"))
    for name in ("images/a.png", "cases.parquet", "manifest.json", "3-bootstrap/student/model.safetensors"):
        assert (base.root / name).samefile(own.root / name)
    assert not base.streams.samefile(own.streams)  # a database is no matter for two names
    assert own.streams.read_text() == base.streams.read_text()
    assert not own.truth.exists()


def test_a_killed_take_over_is_done_again(base, tmp_path):
    own = RunFolder(tmp_path / "place" / "arm")
    half = own.root / ".3-bootstrap.half"
    half.mkdir(parents=True)
    (half / "manifest.json").write_text("old")
    take_over(base, own, ("bootstrap",))
    assert sorted(path.name for path in own.stage("bootstrap").iterdir()) == ["manifest.json", "student"]
    assert not half.exists()
    assert not own.cases.exists()


# ---- results -----------------------------------------------------------------------------------

ROW = {"case_id": "c", "cluster": "p", "split": "test", "finding": "Edema", "truth": "left", "said": "absent"}


def test_a_result_is_taken_only_whole_and_of_the_same_job(file, tmp_path):
    job = jobs(file)[1]
    path = result_path(tmp_path, job)
    assert path.name == "main--plain--seed-0.json"
    assert finished(path, job.fingerprint) is None
    write_result(tmp_path, job, [ROW, ROW], {"steps": 3})
    found = finished(path, job.fingerprint)
    assert (found["status"], found["steps"], found["arm"], found["phase"]) == ("done", 3, "plain", "tuning")
    rows = pq.read_table(path.with_suffix(".parquet"))
    assert rows.to_pylist() == [ROW, ROW]
    assert "dictionary" in str(rows.schema.field("said").type)
    assert pq.ParquetFile(path.with_suffix(".parquet")).metadata.row_group(0).column(0).compression == "ZSTD"
    assert finished(path, "another recipe") is None
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert finished(path, job.fingerprint) is None
    path.write_text(whole)
    path.with_suffix(".parquet").unlink()
    assert finished(path, job.fingerprint) is None


def test_a_stopped_result_needs_no_rows(file, tmp_path):
    job = jobs(file)[1]
    write_result(tmp_path, job, [], {"status": "stopped", "reason": "fell"})
    assert finished(result_path(tmp_path, job), job.fingerprint)["reason"] == "fell"


# ---- an arm ------------------------------------------------------------------------------------


class Says:
    """A student that says the same of every film; notes what it was shown."""

    def __init__(self, text="Edema: present. Consolidation: left."):
        self.text, self.shown, self.asked = text, [], []

    def generate(self, questions, images, *, max_new_tokens):
        self.shown += [tuple(path.name for path in each) for each in images]
        self.asked += questions
        return [(self.text, True) for _ in questions]

    def score(self, questions, images, answers):
        raise AssertionError


@pytest.fixture
def bench(file, tmp_path, monkeypatch):
    """A finished base run with three held-out cases of two patients; ``bench(arm)`` is where it is made."""

    def made(arm, reason=""):
        job = next(
            j for j in jobs(file, phase="report" if arm == "anchor, strong" else "tuning") if j.arm == arm
        )
        found = Bench(tmp_path / "runs", tmp_path / "out", job)
        folder = RunFolder(found.place / BASE)
        (folder.root / "images").mkdir(parents=True, exist_ok=True)
        (folder.root / "manifest.json").write_text("{}")
        cases = [
            Case(case_id=f"c{n}", cluster=f"p{n % 2}", split=split, prompt="?", images=(f"images/{n}.png",))
            for n, split in enumerate(("validation", "validation", "test", "test", "test_scanner"))
        ]
        write_cases(folder.cases, cases)
        known = dict.fromkeys(("Consolidation", "Pleural Effusion", "Pneumonia", "Pneumothorax"), "absent")
        write_truth(
            folder.truth, {c.case_id: known | {"Edema": "present", "Consolidation": "right"} for c in cases}
        )
        for verb in ("collect", "measure", "bootstrap"):
            folder.stage(verb).mkdir(exist_ok=True)
        (folder.stage("bootstrap") / "student").mkdir(exist_ok=True)
        (folder.stage("bootstrap") / "student" / "config.json").write_text("{}")
        found.__dict__["beliefs"] = {}
        calls = []

        def pipeline_run(recipe, runs, *, name, until):
            calls.append((recipe.name, until))
            own = RunFolder(runs / name)
            own.stage("align").mkdir(parents=True, exist_ok=True)
            (own.stage("align") / "metrics.jsonl").write_text('{"step": 7, "loss": 1.0}\n')
            if reason:
                raise TrainingError(reason)
            own.student("align").mkdir(exist_ok=True)
            (own.student("align") / "config.json").write_text("{}")

        monkeypatch.setattr(arms.pipeline, "run", pipeline_run)
        monkeypatch.setattr(course, "made_of", lambda folder: None)
        return found, calls

    return made


def outcome(bench):
    path = result_path(bench.out, bench.job)
    found = finished(path, bench.job.fingerprint)
    rows = (
        pq.read_table(path.with_suffix(".parquet")).to_pylist()
        if path.with_suffix(".parquet").exists()
        else []
    )
    return found, rows


def test_an_arm_is_run_scored_and_cleared_away(bench):
    place, calls = bench("anchor")
    loaded = []
    make_arm(place, lambda path, threads: loaded.append(Path(path)) or Says())
    said, rows = outcome(place)
    assert calls == [("anchor", "align")]
    assert loaded == [place.place / "anchor" / "5-align" / "student"]
    assert (said["status"], said["steps"], list(said["splits"])) == ("done", 7, ["validation"])
    assert len(rows) == 2 * 5  # cases and findings: the headline alone
    of = {row["finding"]: (row["truth"], row["said"]) for row in rows if row["case_id"] == "c0"}
    assert of == {
        "Edema": ("present", "present"),
        "Consolidation": ("right", "left"),
        "Pneumonia": ("absent", "omitted"),
        "Pneumothorax": ("absent", "omitted"),
        "Pleural Effusion": ("absent", "omitted"),
    }
    assert sorted(p.name for p in place.place.iterdir() if not p.name.startswith("_")) == [
        "anchor.metrics.jsonl",
        "anchor.yaml",
    ]
    recipe = Recipe.parse(yaml.safe_load((place.place / "anchor.yaml").read_text()), where="beside the run")
    assert recipe == place.job.recipe


def test_with_keep_the_run_stays(bench):
    place, _ = bench("anchor")
    make_arm(place, lambda path, threads: Says(), keep=True)
    assert (place.place / "anchor" / "5-align" / "student" / "config.json").exists()


def test_a_stopped_arm_is_a_result(bench):
    place, _ = bench("anchor", reason="align stopped at step 7: log p(consensus) fell")
    make_arm(place, lambda path, threads: pytest.fail("there is no student"))
    said, rows = outcome(place)
    assert (said["status"], said["steps"], said["splits"], rows) == ("stopped", 7, {}, [])
    assert said["reason"] == "align stopped at step 7: log p(consensus) fell"


def test_refusals_and_nothing_are_refused(bench):
    place, _ = bench("anchor")
    make_arm(place, lambda path, threads: Says("As an AI I cannot interpret medical images."))
    assert {row["said"] for row in outcome(place)[1]} == {"refused"}
    make_arm(place, lambda path, threads: Says(" "))
    assert {row["said"] for row in outcome(place)[1]} == {"refused"}


def test_an_arm_shown_other_patients_images(bench):
    place, _ = bench("anchor, strong")
    student = Says()
    make_arm(place, lambda path, threads: student)
    said, rows = outcome(place)
    assert list(said["splits"]) == [
        "test",
        "test, images shuffled",
        "test_scanner",
    ]  # one patient: none other
    assert student.shown == [("2.png",), ("3.png",), ("3.png",), ("2.png",), ("4.png",)]
    assert {row["split"] for row in rows} == set(said["splits"])


def test_the_bootstrapped_student_is_the_base_runs(bench):
    place, calls = bench("bootstrapped")
    loaded = []
    make_arm(place, lambda path, threads: loaded.append(path) or Says())
    assert calls == [("bootstrapped", "bootstrap")]
    assert loaded == [str(place.place / "bootstrapped" / "3-bootstrap" / "student")]


@pytest.mark.parametrize("sweep_", ["", "teachers"])
def test_the_base_run_has_rows_of_signs_teachers_and_last_the_prior(bench, monkeypatch, sweep_):
    """The base is asked for signs alone; a patch with dark branches on the left is a consolidation there."""
    place, calls = bench("anchor")
    job = replace(place.job, sweep=sweep_, setting="3" if sweep_ else MAIN)
    if sweep_:
        shutil.copytree(place.place, place.runs / job.place)
        shutil.copy(RunFolder(place.place / BASE).truth, RunFolder(place.runs / job.place / BASE).truth)
    place = Bench(place.runs, place.out, job)
    silent = {"grok-4": [Answer(case_id=f"c{n}", text="", status=Status.FAILED) for n in range(2)]}
    monkeypatch.setattr(arms, "_renew", lambda *given: None)
    monkeypatch.setattr(arms, "teachers_answers", lambda context, split: silent)
    place.__dict__["beliefs"] = {}
    student, written = Says("Patch: left. Dark branches: left."), []
    write = arms.write_result
    monkeypatch.setattr(arms, "write_result", lambda *a, **kw: written.append(kw["arm"]) or write(*a, **kw))
    make_base(place, lambda path, threads: student)
    assert calls == [("base", "bootstrap")]
    assert written == ["teacher grok-4", PRIOR] if sweep_ else [SIGNS, "teacher grok-4", PRIOR]
    assert student.shown == ([] if sweep_ else [("0.png",), ("1.png",)])
    if not sweep_:
        assert set(student.asked) == {place.base.domain.sign_question}
        rows = pq.read_table(result_path(place.out, job, SIGNS).with_suffix(".parquet")).to_pylist()
        said = {row["finding"]: row["said"] for row in rows if row["case_id"] == "c0"}
        assert said == dict.fromkeys(said, "absent") | {"Consolidation": "left"}
        make_base(place, lambda path, threads: pytest.fail("the signs are there already"))


def test_the_round_that_was_kept_is_noted(tmp_path):
    own = RunFolder(tmp_path / "arm")
    own.stage("align").mkdir(parents=True)
    assert rounds_of(own) == {}
    table = [{"round": 0, "support": 0.7}, {"round": 1, "verdict": "accepted"}, {"round": 2}]
    said = {"cases": 9, "kept": 1, "reason": "round 2: refused", "rounds": table}
    (own.stage("align") / "rounds.json").write_text(json.dumps(said))
    assert rounds_of(own) == {"rounds": {"kept": 1, "ran": 2, "reason": "round 2: refused"}}


def test_what_another_recipe_left_is_not_gone_on_with(bench):
    place, _ = bench("anchor")
    old = place.place / "anchor" / "5-align" / "checkpoints"
    old.mkdir(parents=True)
    (place.place / "anchor.yaml").write_text("name: other")
    make_arm(place, lambda path, threads: Says(), keep=True)
    assert not old.exists()


# ---- the whole ---------------------------------------------------------------------------------


@pytest.fixture
def study(file, tmp_path, monkeypatch):
    """Runs the study with jobs that only write results; ``fails`` are those that do not."""

    class World:
        out, runs, made, fails = tmp_path / "out", tmp_path / "runs", [], set()

        def plan(self, **options):
            return plan_study(file, self.out, self.runs, **options)[0]

        def run(self, **options):
            self.made.clear()
            plan, out, runs = plan_study(file, self.out, self.runs, **options)
            run_study(plan, out, runs)
            return list(self.made)

    world = World()

    def work(tasks, processes, done):
        failed = {}
        for task in tasks:
            if task.needs in failed or task.name in world.fails:
                failed[task.name] = "no"
                done(task, failed[task.name])
                continue
            given = json.loads(task.given)
            job = job_of(given["job"])
            world.made.append(task.name)
            if given["kind"] == "base":
                mark = Bench(Path(), world.out, job).fingerprint
                write_result(world.out, job, [ROW], {}, arm="always prior", fingerprint=mark)
                (world.runs / "tiny" / job.place / BASE).mkdir(parents=True, exist_ok=True)
            else:
                write_result(world.out, job, [ROW], {"seconds": {"align": 60.0, "score": 4.0}})
            done(task, "")
        return failed

    monkeypatch.setattr(run, "work_off", work)
    return world


def test_all_that_is_not_done_is_done_once(study):
    made = study.run()
    main = [f"tuning/main/seed-{s}/{a}" for s in (0, 1) for a in
            (BASE, "bootstrapped", "plain", "anchor", "anchor-strong", "longer")]  # fmt: skip
    assert made == [*main, f"tuning/teachers-2/seed-0/{BASE}", "tuning/teachers-2/seed-0/anchor"]
    assert study.run() == []
    copied = read_result(study.out / "tuning" / "teachers-3--anchor--seed-0.json")  # the same as main's
    assert (copied["setting"], copied["sweep"], copied["same_as"]) == (
        "3",
        "teachers",
        "main--anchor--seed-0.json",
    )
    prior = read_result(study.out / "tuning" / "teachers-3--always-prior--seed-0.json")
    assert (prior["arm"], prior["setting"]) == ("always prior", "3")
    assert (study.runs / "tiny" / "tuning/main/seed-0" / BASE).exists()
    assert not (study.runs / "tiny" / "tuning/teachers-2/seed-0" / BASE).exists()  # nothing more comes of it


def test_a_phase_waits_until_the_choice_is_written_down(study):
    study.run()
    assert not (study.out / "report").exists()
    assert study.plan().waiting == (
        f"report: waits for {study.out / 'CHOICE.md'} with a line `default: ARM`: the choice, written down "
        "before the test.",
    )
    choice = study.out / "CHOICE.md"
    choice.write_text("# It was a hard choice.\n\ndefault: plain\n")
    assert study.plan().waiting == (
        f"report: {choice} chooses 'plain', the study file's default is 'anchor, strong'. Make them agree.",
    )
    assert study.run() == []
    choice.write_text("# It was a hard choice.\n\ndefault: anchor, strong\n")
    assert study.run() == [f"report/main/seed-5/{name}" for name in (BASE, "bootstrapped", "anchor-strong")]
    assert study.plan().waiting == ()
    found = {path: json.loads(path.read_text())["chosen"] for path in study.out.glob("*/*.json")}
    mark = hashlib.sha256(choice.read_bytes()).hexdigest()
    assert {said for path, said in found.items() if path.parent.name == "report"} == {mark}
    assert {said for path, said in found.items() if path.parent.name == "tuning"} == {""}


def test_a_killed_study_goes_on(study):
    study.fails = {"tuning/main/seed-1/plain", f"tuning/teachers-2/seed-0/{BASE}"}
    with pytest.raises(TrainingError, match="3 jobs failed, first tuning/main/seed-1/plain"):
        study.run()
    assert len(study.made) == 11
    half = study.out / "tuning" / "main--anchor--seed-0.json"
    half.write_text(half.read_text()[:30])  # as if killed while writing, were it not atomic
    study.fails = set()
    assert study.run() == [
        f"tuning/main/seed-0/{BASE}",
        "tuning/main/seed-0/anchor",
        f"tuning/main/seed-1/{BASE}",
        "tuning/main/seed-1/plain",
        f"tuning/teachers-2/seed-0/{BASE}",
        "tuning/teachers-2/seed-0/anchor",
    ]


def test_an_arm_that_has_changed_is_made_anew(study, file):
    study.run()
    file.write_text(STUDY.replace("align.anchor: 3.0", "align.anchor: 2.0"))
    changed = [f"tuning/main/seed-{s}/{name}" for s in (0, 1) for name in (BASE, "anchor-strong")]
    assert study.run() == changed


# ---- the estimate ------------------------------------------------------------------------------


def test_a_twin_that_is_killed_between_its_rows_is_copied_again(study, monkeypatch):
    """Its own result comes last, so that it is not taken as done while rows beside it are missing."""
    written = []

    def killed(out, job, source, *, arm=""):
        written.append(arm or job.arm)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_again", killed)
    with pytest.raises(KeyboardInterrupt):
        study.run()
    assert written[0] != "anchor"
    own = study.out / "tuning" / "teachers-3--anchor--seed-0.json"
    assert not own.exists()


def test_the_estimate_by_the_table(study):
    """Tuning 2 x (1 asked + 4 trained), report 1 + 1, sweep 1 (its other setting is a twin); 4 base runs."""
    found = study.plan().estimate
    assert found.bases == 4
    assert found.seconds == pytest.approx((3 * 20.0 + (8 + 1 + 1) * 165.0 + 4 * 115.0) / 2)
    assert study.plan(processes=1).estimate.seconds == 2 * found.seconds
    assert [line.done for line in found.lines if line.part == "teachers"] == [1]


def test_the_estimate_by_earlier_results(study):
    """What has been done took 64 s for a job; only the report is left, and its base run by the table."""
    study.run()
    found = study.plan().estimate
    assert found.seconds == pytest.approx((2 * 64.0 + 115.0) / 2)
    assert {line.arm: (line.each, line.measured) for line in found.lines}["anchor"] == (64.0, True)


def test_the_estimate_is_told(study, file):
    from rich.console import Console

    console = Console(width=80, record=True, file=StringIO())
    console.print(table(study.plan().estimate))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "anchor, strong" in text
    lines = summary(study.plan().estimate, 2)
    assert lines[0].startswith("14 jobs (arm, seed, setting), 1 done or the same as another")
    assert lines[1].startswith("4 base runs to make")
    assert "2 processes" in lines[2]
    one = jobs(file)[:1]
    assert clock(estimate(one, one, 0, study.out, 1).seconds) == "20 s"


def test_the_dry_run_of_the_command_does_nothing(file, tmp_path):
    words = [
        "study",
        str(file),
        "--out",
        str(tmp_path / "out"),
        "--runs",
        str(tmp_path / "runs"),
        "--dry-run",
    ]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "Estimate: " in result.stdout
    assert "report: waits for" in result.stdout
    paths = str(tmp_path / "out" / "CHOICE.md")
    assert max(len(line) for line in result.stdout.splitlines() if paths not in line) <= 80
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()
    one = CliRunner().invoke(app, [*words, "--arms", "anchor-strong", "--seeds", "1"])
    assert re.search(r"^1 jobs", one.stdout, re.MULTILINE)
    wrong = CliRunner().invoke(app, ["study", "fantom_study"])
    assert "no shipped study is called 'fantom_study'; did you mean 'phantom_study'" in wrong.stderr


# ---- the page ----------------------------------------------------------------------------------


def page_of(file, tmp_path, *more):
    words = ["study", str(file), "--out", str(tmp_path / "out"), "--page", str(tmp_path / "docs" / "page.md")]
    return CliRunner().invoke(app, [*words, *more])


def test_the_command_writes_the_page_and_runs_nothing(study, file, tmp_path, monkeypatch):
    monkeypatch.setitem(ROW, "split", "validation")
    study.run()
    monkeypatch.setattr(run, "work_off", lambda *_: pytest.fail("something is run"))
    result = page_of(file, tmp_path)
    assert result.exit_code == 0, result.output
    page = tmp_path / "docs" / "page.md"
    assert result.stdout.splitlines()[0] == str(page)
    text = page.read_text()
    assert "**Incomplete.** 2 of 14 results are missing" in text  # the report waits
    assert "`anchor, strong` over `anchor`" not in text  # another value of the same key is no step
    assert "`anchor` over `plain`" in text
    assert "driftbound study tiny --page" in text
    assert "older" not in result.stderr
    file.write_text(file.read_text().replace("align.anchor: 3.0", "align.anchor: 2.0"))
    assert "2 results are of another recipe than the study file has now" in page_of(file, tmp_path).stderr


def test_a_page_is_of_the_whole_study_with_a_default(file, tmp_path):
    wrong = page_of(file, tmp_path, "--only", "tuning", "--dry-run")
    assert wrong.exit_code == 2
    assert "leave out --only, --dry-run" in wrong.stderr
    assert "holds no results" in page_of(file, tmp_path).stderr
    file.write_text(STUDY.replace('default: "anchor, strong"', ""))
    assert "Name it: `default: ARM`" in page_of(file, tmp_path).stderr
    assert not (tmp_path / "docs").exists()


# ---- processes ---------------------------------------------------------------------------------

CHILD = """
import os, pathlib, sys
path = pathlib.Path(sys.argv[1])
said = path.read_text()
assert os.environ["OMP_NUM_THREADS"] == "1"
with open(path.parent / "order", "a") as order:
    order.write(path.name + " ")
if said == "wrong":
    path.with_suffix(".failure").write_text("it is wrong")
    sys.exit(2)
if said == "crash":
    raise RuntimeError
"""


def task(tmp_path, name, given="", needs=""):
    return Task(name=name, file=tmp_path / f"{name}.json", given=given, needs=needs)


def test_tasks_wait_for_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_LOOK_EVERY_S", 0.01)
    tasks = [
        task(tmp_path, "a", needs="b"),
        task(tmp_path, "b"),
        task(tmp_path, "c", "wrong"),
        task(tmp_path, "d", needs="c"),
        task(tmp_path, "e", "crash"),
    ]
    ended = []
    failed = work_off(
        tasks, 2, lambda t, why: ended.append((t.name, bool(why))), (sys.executable, "-c", CHILD)
    )
    assert failed["c"] == "it is wrong"
    assert failed["d"] == "c: it is wrong"
    assert failed["e"].startswith("ended with exit code 1")
    assert "RuntimeError" in (tmp_path / "e.log").read_text()
    assert sorted(ended) == [("a", False), ("b", False), ("c", True), ("d", True), ("e", True)]
    order = (tmp_path / "order").read_text().split()
    assert order.index("b.json") < order.index("a.json")
    assert "d.json" not in order


# ---- the sweep ---------------------------------------------------------------------------------


def test_the_grid():
    assert grid(["align.beta=0.1,0.3", "align.objective=pairwise"]) == [
        {"align.beta": 0.1, "align.objective": "pairwise"},
        {"align.beta": 0.3, "align.objective": "pairwise"},
    ]
    assert grid(["align.learning_rate=1e-4", "rounds=2", "align.train_vision=true"]) == [
        {"align.learning_rate": 1e-4, "rounds": 2, "align.train_vision": True}
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["align.beta"], "takes KEY=V1,V2"),
        (["align.beta="], "takes KEY=V1,V2"),
        (["domain.train=3"], "only keys of"),
        (["align.beta=1", "align.beta=2"], "stands twice"),
        ([], "takes KEY=V1,V2"),
    ],
)
def test_what_is_no_grid(words, said):
    with pytest.raises(ConfigError, match=said):
        grid(words)


def belief(present):
    return {
        ("Edema", "presence"): Belief(
            values={"present": present, "absent": 1 - present}, decided="", votes={}, wrong={}
        )
    }


def test_support_is_the_mean_belief_in_what_is_said():
    """Present is believed at 0.8 of the first case and 0.3 of the second; nothing of the third."""
    from driftbound.config import DomainConfig
    from driftbound.domains.phantom.domain import PhantomDomain

    domain = PhantomDomain(DomainConfig(findings="headline"), 0)
    cases = [Case(case_id=f"c{n}", cluster="p", split="validation", prompt="", images=()) for n in range(3)]
    beliefs = {"c0": belief(0.8), "c1": belief(0.3)}
    assert support_of(domain, cases, ["Edema: present."] * 3, beliefs) == pytest.approx((0.8 + 0.3) / 2)
    assert support_of(domain, cases, ["Edema: uncertain.", "", ""], beliefs) == pytest.approx((0.2 + 0.7) / 2)
    assert support_of(domain, cases[2:], ["Edema: present."], beliefs) is None


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(STUDY)["base"] | {"name": "mine"}))
    return path


@pytest.fixture
def trying(tmp_path, monkeypatch):
    """Trials whose student is worse the larger beta is, and is stopped at beta 9; notes the runs."""
    calls = []

    def pipeline_run(recipe, runs, *, name, until):
        calls.append((name, until))
        own = RunFolder(runs / name)
        if until == "bootstrap":
            own.root.mkdir(parents=True)
            (own.root / "images").mkdir()
            (own.root / "manifest.json").write_text("{}")
            cases = [
                Case(case_id="c0", cluster="p", split="validation", prompt="?", images=("images/0.png",))
            ]
            write_cases(own.cases, cases)
            for verb in ("collect", "measure", "bootstrap"):
                own.stage(verb).mkdir()
            return
        if recipe.align.beta == 9:
            raise TrainingError("align stopped at step 1")
        own.student("align").mkdir(parents=True)
        (own.student("align") / "config.json").write_text("{}")
        watched = {"preference_loss": 1.5, "logp_consensus_per_token": -recipe.align.beta}
        (own.stage("align") / "metrics.jsonl").write_text(json.dumps({"validation": watched}) + "\n")

    def load(path, threads):
        assert not RunFolder(Path(path).parents[1]).truth.exists()
        return Says("Edema: present." if "0-1" in path else "")

    def work(tasks, processes, done):
        for each in tasks:
            make_trial(json.loads(each.given), load)
            done(each, "")
        return {}

    monkeypatch.setattr(trials.pipeline, "run", pipeline_run)
    monkeypatch.setattr(trials, "read_beliefs", lambda slots, reliability: {"c0": belief(0.8)})
    monkeypatch.setattr(trials, "work_off", work)
    return calls


def test_a_sweep_ranks_by_support_and_goes_on(recipe_file, tmp_path, trying):
    from rich.console import Console

    found = sweep(recipe_file, tmp_path / "runs", ["align.beta=9,0.3,0.1"])
    ranked = json.loads(found.read_text())["trials"]
    assert [each["settings"]["align.beta"] for each in ranked] == [0.1, 0.3, 9]
    assert [each.get("support") for each in ranked] == [pytest.approx(0.8), pytest.approx(0.2), None]
    assert ranked[0] | {"support": 0.8} == {
        "fingerprint": ranked[0]["fingerprint"],
        "settings": {"align.beta": 0.1},
        "reason": "",
        "log p": -0.1,
        "loss": 1.5,
        "support": 0.8,
        "unparsable": 0.0,
        "words": 2.0,
    }
    assert ranked[1]["unparsable"] == 1.0
    assert ranked[2]["reason"] == "align stopped at step 1"
    assert len(trying) == 1 + 3
    console = Console(width=80, record=True, file=StringIO())
    console.print(table_of(found))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"0\.1 .*0\.800 .*-0\.100 .*1\.500 .*0\.000 .*2\.000", text)
    assert "stopped" in text
    trying.clear()
    (tmp_path / "runs" / "mine").rename(tmp_path / "runs" / "old")
    sweep(recipe_file, tmp_path / "runs", ["align.beta=0.1,0.5"])
    assert [name.partition("-")[0] for name, _ in trying] == ["mine", "align"]  # 0.1 is there already
    assert not [path for path in (tmp_path / "runs" / "mine.sweep").iterdir() if path.is_dir()]


def test_a_sweep_needs_validation_cases(recipe_file, tmp_path):
    recipe_file.write_text(recipe_file.read_text().replace("validation: 2", "validation: 0"))
    with pytest.raises(ConfigError, match=r"Set domain\.validation"):
        sweep(recipe_file, tmp_path / "runs", ["align.beta=0.1"])


def test_a_trial_that_cannot_be_read_is_said(recipe_file, tmp_path, trying):
    found = sweep(recipe_file, tmp_path / "runs", ["align.beta=0.1"])
    broken = next(path for path in found.parent.glob("align-beta*.json") if ".job" not in path.name)
    broken.write_text("{")
    (tmp_path / "runs" / "mine").rename(tmp_path / "runs" / "old")
    with pytest.raises(StoreError, match="Delete it and run again"):
        sweep(recipe_file, tmp_path / "runs", ["align.beta=0.1"])


def test_names_of_files():
    assert slug("Three of seven, copying") == "three-of-seven-copying"
    assert not slug("base").startswith("_")
    assert BASE.startswith("_")
