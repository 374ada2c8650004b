"""Pipeline with tiny stages: order, skipping, resuming, another recipe, redoing, the lock, the disk."""

import errno
import fcntl
import hashlib
from pathlib import Path

import pytest

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.errors import CaseError, ConfigError, ModelError, StoreError
from driftbound.store.folder import VERBS
from driftbound.teacher_config import WriterConfig


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_all_stages_run_in_order_and_leave_manifests(world):
    folder = world.run()
    assert folder == world.folder
    assert world.calls == ["cases", *VERBS]
    out = (folder.stage("measure") / "out.txt").read_bytes()
    assert out == b"measure of collect of pixels"
    written = world.manifest("measure")
    assert written["outputs"]["out.txt"] == hashlib.sha256(out).hexdigest()
    assert set(written["outputs"]) == {"half.txt", "out.txt"}
    assert written["inputs"] == {"upstream": "collect of pixels"}
    assert written["facts"] == {"lines": 1, "seconds": 0.0}
    assert set(written["config"]) == {"domain", "teachers", "measure"}
    assert not list(folder.root.rglob("plan.json"))


def test_manifest_comes_last_and_plan_first(world):
    """While a stage works there is its plan and no manifest: the presence of a manifest means finished."""
    world.run()
    assert all(world.seen[verb] == {"plan.json"} for verb in VERBS)


def test_finished_stages_are_skipped_and_said_so(world, capsys):
    world.run()
    before = world.bytes()
    capsys.readouterr()
    world.run()
    assert world.calls == []
    assert world.bytes() == before
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(VERBS)
    assert all("skipped" in line for line in lines)


@pytest.mark.parametrize("verb", VERBS)
def test_killed_stage_goes_on(world, verb):
    world.fails[verb] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run()
    assert not (world.folder.stage(verb) / "manifest.json").exists()
    world.run()
    assert world.calls == list(VERBS[VERBS.index(verb) :])
    assert "half.txt" in world.seen[verb]


def test_what_serves_to_go_on_stays_until_the_manifest_stands(world, monkeypatch):
    """Killed when all is made and nothing told yet; then when the manifest is there and the rest not gone."""
    world.tidy.add("synthesize")
    half = world.folder.stage("synthesize") / "half.txt"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_finish", dying_at("synthesize"))
        with pytest.raises(KeyboardInterrupt):
            world.run()
    assert half.exists()
    world.run()
    assert "half.txt" in world.seen["synthesize"]
    assert not half.exists()
    assert set(world.manifest("synthesize")["outputs"]) == {"out.txt"}
    half.write_text("half")
    world.run()
    assert world.calls == []
    assert not half.exists()


def dying_at(verb):
    """What finishes a stage, but for one: there it ends before anything is written."""
    whole = pipeline._finish

    def finish(folder, plan, *more):
        if plan.stage == verb:
            raise KeyboardInterrupt
        whole(folder, plan, *more)

    return finish


def test_killed_writing_of_cases_goes_on(world):
    world.fails["cases"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run()
    world.run()
    assert world.calls == ["cases", *VERBS]


def test_seconds_add_up_over_restarts(world):
    """5 s until it is stopped, 3 s when it goes on: 8."""
    world.seconds, world.fails["measure"] = 5.0, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run()
    world.seconds = 3.0
    world.run()
    assert world.manifest("measure")["facts"]["seconds"] == 8.0
    assert world.manifest("bootstrap")["facts"]["seconds"] == 3.0


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_other_recipe_is_refused_and_nothing_is_touched(world, finished):
    first = world.recipe(bootstrap={"learning_rate": 0.0003})
    if finished:
        world.run(first)
    else:
        world.fails["bootstrap"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            world.run(first)
    before = world.bytes()
    with pytest.raises(StoreError) as caught:
        world.run(world.recipe(bootstrap={"learning_rate": 0.0001}))
    said = one_line(caught)
    assert said.startswith(
        f"{world.folder.stage('bootstrap')}: this run directory was made by another recipe"
    )
    assert "bootstrap.learning_rate: 0.0003 there, 0.0001 here" in said
    assert "--name" in said
    assert "--from bootstrap or --force" in said
    assert world.bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 3}, "seed: 0 there, 3 here"),
        ({"domain": {"test": 5}}, "domain.test: 240 there, 5 here"),
        ({"teachers": [{"name": "a", "model": "a"}]}, "teachers: 2 there, 1 here"),
        (
            {"teachers": [{"name": "a", "model": "a"}, {"name": "b", "model": "c"}]},
            "teachers[1].model: b there",
        ),
        ({"collect": {"temperature": 0}}, "collect.temperature: 1.0 there, 0.0 here"),
        ({"evaluate": {"splits": ["test"]}}, "evaluate.splits: 2 there, 1 here"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_first_differing_key_is_named(world, changes, said):
    world.run()
    with pytest.raises(StoreError) as caught:
        world.run(world.recipe(**changes))
    assert said in one_line(caught)


def test_how_the_work_is_done_redoes_nothing(world):
    world.run()
    keyed = [{"name": "a", "model": "a", "api_key_env": "KEY"}, {"name": "b", "model": "b"}]
    collect = {"concurrency": 1, "timeout_s": 9, "retries": 0, "max_failed": 0.5}
    steps = {"save_steps": 10}
    world.run(world.recipe(threads=3, teachers=keyed, collect=collect, bootstrap=steps, align=steps))
    assert world.calls == []


def test_every_key_is_read_by_a_stage_or_says_how(world):
    """A key outside both lists could change without anything being redone."""
    assert set(Recipe.model_fields) - set(pipeline.READS["report"]) == {
        "seed",
        "threads",
        "launch",
        "data_use",
    }
    whole = world.recipe().model_dump()
    for key in pipeline.HOW:
        table, name, *inner = key.split(".")
        first = whole[table][0] if table == "teachers" else whole[table]
        assert name in first, f"{key} is no key of a recipe"
        assert set(inner) <= set(WriterConfig.model_fields), f"{key} is no key of a writer"


def test_from_redoes_this_stage_and_the_later_ones(world):
    world.run()
    before = world.bytes()
    world.run(world.recipe(align={"beta": 0.5}), start="align")
    assert world.calls == ["align", "evaluate", "report"]
    assert world.seen["align"] == world.seen["report"] == {"plan.json"}
    after = world.bytes()
    earlier = [name for name in before if name.startswith(("tiny/1", "tiny/2", "tiny/3", "tiny/4"))]
    assert len(earlier) == 4 * len(("half.txt", "out.txt", "manifest.json"))
    assert all(before[name] == after[name] for name in earlier)


def test_from_removes_nothing_when_an_earlier_stage_refuses(world):
    world.run()
    before = world.bytes()
    with pytest.raises(StoreError, match=r"measure\.steps"):
        world.run(world.recipe(measure={"steps": 9}), start="align")
    assert world.bytes() == before


def test_only_needs_what_comes_before(world):
    with pytest.raises(StoreError) as caught:
        world.run(only="measure")
    assert "measure needs collect, which has not finished" in one_line(caught)
    assert world.calls == ["cases"]
    world.run(only="collect")
    assert world.calls == ["collect"]
    world.run(only="measure")
    assert world.calls == ["measure"]
    world.run(only="measure")
    assert world.calls == []
    world.run(only="measure", force=True)
    assert world.calls == ["measure"]
    assert not world.folder.stage("bootstrap").exists()


def test_force_redoes_everything(world):
    world.run()
    (world.folder.root / "images" / "stale.png").write_bytes(b"old")
    world.run(world.recipe(seed=4), force=True)
    assert world.calls == ["cases", *VERBS]
    assert all(seen == {"plan.json"} for seen in world.seen.values())
    assert not (world.folder.root / "images" / "stale.png").exists()
    world.run(world.recipe(seed=4))
    assert world.calls == []


def test_changed_input_is_named(world):
    world.run()
    (world.folder.stage("measure") / "out.txt").write_text("tampered")
    with pytest.raises(StoreError) as caught:
        world.run()
    said = one_line(caught)
    assert said.startswith(
        f"{world.folder.stage('bootstrap')}: was made from other inputs (upstream changed since)"
    )
    assert "--from bootstrap" in said


def test_one_process_per_run_folder(world):
    world.folder.root.mkdir(parents=True)
    with (world.folder.root / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError) as caught:
            world.run()
        assert f"another driftbound is working on {world.folder.root}" in one_line(caught)
        assert world.calls == []
        world.run(name="beside")
    world.run()
    assert world.calls == ["cases", *VERBS]


@pytest.mark.parametrize("force", [False, True])
def test_folder_of_somebody_else_is_left_alone(world, force):
    world.folder.root.mkdir(parents=True)
    (world.folder.root / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="holds files that no run of driftbound made"):
        world.run(force=force)
    assert {path.name for path in world.folder.root.iterdir()} == {"thesis.tex", ".lock"}


def test_unreadable_plan_is_named(world):
    world.fails["measure"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.run()
    (world.folder.stage("measure") / "plan.json").write_text("{")
    with pytest.raises(StoreError) as caught:
        world.run()
    assert str(world.folder.stage("measure") / "plan.json") in one_line(caught)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "student/model.safetensors"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        PermissionError(errno.EACCES, "Permission denied", "2-measure"),
        OSError(errno.EROFS, "Read-only file system"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_disk_trouble_is_one_line_and_what_was_made_stays(world, error):
    world.fails["measure"] = error
    with pytest.raises(StoreError) as caught:
        world.run()
    assert str(world.folder.root) in one_line(caught)
    assert (world.folder.stage("collect") / "out.txt").exists()
    world.run()
    assert world.calls == list(VERBS[1:])


def test_faults_of_a_stage_are_not_hidden(world):
    world.fails["measure"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        world.run()


def test_runs_folder_that_is_a_file(world):
    world.runs.write_text("not a folder")
    with pytest.raises(StoreError) as caught:
        world.run()
    assert "Not a directory" in one_line(caught)


def test_a_base_that_is_no_checkpoint_is_found_before_anything_is_asked(world, tmp_path):
    mute = tmp_path / "mute"
    mute.mkdir()
    (mute / "config.json").write_text("{}")
    for base, said in ((tmp_path / "nope", "config.json is missing"), (mute, "has no chat template")):
        with pytest.raises(ModelError) as caught:
            world.run(world.recipe(bootstrap={"base": str(base)}))
        assert one_line(caught).startswith(f"{base}: ")
        assert said in str(caught.value)
    assert world.calls == []
    assert not world.runs.exists()
    world.run(world.recipe(bootstrap={"base": "owner/model"}), only="collect")
    assert world.calls == ["cases", "collect"]


def test_no_cases(world):
    world.n_cases = 0
    with pytest.raises(CaseError) as caught:
        world.run()
    assert str(world.folder.cases) in one_line(caught)
    assert world.calls == ["cases"]


@pytest.mark.parametrize("sensitivity", ["public", "credentialed"])
def test_sensitivity_travels(world, sensitivity):
    world.sensitivity = sensitivity
    world.run()
    assert {world.manifest(verb)["sensitivity"] for verb in VERBS} == {sensitivity}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": "allign"}, "--from: no stage is called 'allign'; did you mean 'align'?"),
        ({"only": "zzz"}, "--only: no stage is called 'zzz'; stages: collect, measure"),
        ({"start": "align", "only": "align"}, "--from cannot be combined"),
        ({"start": "align", "force": True}, "--from cannot be combined"),
        ({"name": "../elsewhere"}, "is no plain folder name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_options(world, options, said):
    with pytest.raises(ConfigError) as caught:
        world.run(**options)
    assert said in one_line(caught)
    assert not world.runs.exists()


def test_truth_lies_outside_of_the_run_and_is_not_missed(world):
    world.run(only="collect")
    truth = world.runs / "tiny.truth.parquet"
    assert truth.exists()
    truth.unlink()
    world.run()
    assert world.calls == list(VERBS[1:])
    assert not truth.exists()


def test_stage_modules_are_found_by_their_verb():
    assert Path(str(pipeline.stage_module("measure").__file__)).name == "measure.py"


def test_until_stops_behind_a_stage_and_the_rest_follows(world):
    world.run(until="bootstrap")
    assert world.calls == ["cases", "collect", "measure", "bootstrap"]
    world.run(until="bootstrap")
    assert world.calls == []
    world.run()
    assert world.calls == list(VERBS[3:])
