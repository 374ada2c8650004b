"""Two processes do what one does; a launched stage's errors, kills and restarts; what cannot be launched."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from driftbound import doctor, launched, launching
from driftbound.config import LaunchConfig, Recipe
from driftbound.errors import ConfigError, TrainingError
from driftbound.learning import models, processes
from driftbound.learning.shares import Shares
from driftbound.stages import bootstrap
from tests import distributed_worker as worker

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    worker.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def two(folder) -> dict:
    """What two processes under DDP found, and left in ``two/``."""
    config = launching.config_file(LaunchConfig(config="ddp", processes=2))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)),
            *("--num_processes", "2", "--main_process_port", "0"),
            *(str(ROOT / "tests" / "distributed_worker.py"), str(folder)),
        ],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads((folder / f"found.{rank}.json").read_text()) for rank in (0, 1)]
    assert done.stderr.count("bootstrap: validation") == 2, "one process speaks, of two trainings"
    return {"one": found[0], "other": found[1]}


def metrics(folder: Path) -> list[dict]:
    """Without the epoch, which transformers counts in batches of one process."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "epoch"} for row in rows]


def assert_same(found: Path, expected: Path, tolerance=1e-5) -> None:
    """Loss, gradient and every mean of every step and of the validation; and the trained weights.

    But a key's bias: its gradient is 0 but for rounding, which Adam makes into steps of full length.
    """
    rows, wanted = metrics(found), metrics(expected)
    assert len(rows) == len(wanted) > 2
    assert rows[-1].pop("validation") == pytest.approx(wanted[-1].pop("validation"), rel=1e-4)
    for row, want in zip(rows, wanted, strict=True):
        assert row == pytest.approx(want, rel=tolerance, abs=tolerance)
    weights = load_file(expected / "student" / "model.safetensors")
    trained = load_file(found / "student" / "model.safetensors")
    assert weights.keys() == trained.keys()
    for name, value in weights.items():
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(trained[name], value, rtol=0, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def one(folder) -> dict:
    """The same, in this process."""
    return {"reference": worker.aligned(folder, folder / "one" / "1-align")}


def test_two_processes_align_as_one(folder, two, one):
    assert_same(folder / "two" / "1-align", folder / "one" / "1-align")


def test_two_processes_bootstrap_as_one(folder, two):
    worker.bootstrapped(folder, folder / "one" / "1-bootstrap")
    assert_same(folder / "two" / "1-bootstrap", folder / "one" / "1-bootstrap")


def test_trained_weights_have_moved(folder, one):
    """Else the two above would say nothing."""
    start = models.load(folder / "base").model.state_dict()
    moved = models.load(folder / "one" / "1-align" / "student").model.state_dict()
    assert max(float((moved[name] - start[name]).abs().max()) for name in start) > 1e-3


def test_the_trainer_for_everyone_in_two_processes(folder, two):
    """Same order of rows, same losses, same evaluation of three rows, of which nobody has two."""
    history = worker.with_everyones_trainer(folder, folder / "one" / "everyone")
    clocks = ("runtime", "per_second", "total_flos", "train_loss", "epoch")

    def numbers(rows):
        return [{k: v for k, v in row.items() if not any(word in k for word in clocks)} for row in rows]

    for given in (two["one"]["history"], two["other"]["history"]):
        assert len(given) == len(history) == 6
        for row, want in zip(numbers(given), numbers(history), strict=True):
            assert row == pytest.approx(want, rel=1e-5, abs=1e-5)
    one, other = (load_file(folder / name / "everyone" / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-5)


def test_the_reference_is_shared_out_and_known_to_all(folder, two, one):
    """Four batches: two lines in each file."""
    given = folder / "two" / "1-align"
    lines = [(given / name).read_text().splitlines() for name in ("reference.jsonl", "reference.rank1.jsonl")]
    assert [len(each) for each in lines] == [2, 2]
    for found in (two["one"], two["other"]):
        assert found["reference"].keys() == one["reference"].keys()
        for case, logps in one["reference"].items():
            assert found["reference"][case] == pytest.approx(logps, abs=1e-4)


def test_one_process_takes_up_the_reference_of_two(folder, two, tmp_path, monkeypatch):
    for name in ("reference.jsonl", "reference.rank1.jsonl"):
        (tmp_path / name).write_bytes((folder / "two" / "1-align" / name).read_bytes())
    with (tmp_path / "reference.rank1.jsonl").open("a") as half:
        half.write('{"key": "cut sh')
    monkeypatch.setattr("driftbound.learning.reference.score", None)
    monkeypatch.setattr(worker, "train", lambda *args, **more: None)
    assert worker.aligned(folder, tmp_path) == two["one"]["reference"]


def test_sharded_weights_give_the_same_scores(two):
    """FSDP2 itself, on DTensors, in packed rows: loss to 1e-5, gradients to 1e-5 of the largest."""
    for found in (two["one"]["sharded"], two["other"]["sharded"]):
        assert found["loss"] < 1e-5 * 100  # of a loss of some hundred nats
        assert found["gradients"] < 1e-5 * found["largest"]


# ---- a launched stage ---------------------------------------------------------------------------


def kill_when(there) -> threading.Thread:
    """Once a file is there, SIGKILL for the launcher and everything it has started."""
    others = set(psutil.Process().children(recursive=True))

    def watch():
        while not there():
            time.sleep(0.005)
        for process in set(psutil.Process().children(recursive=True)) - others:
            process.kill()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_launched_stage_that_is_killed_goes_on(folder, two, tmp_path, capfd):
    """Killed behind its first checkpoint; then as if nothing had been, and as one process does it."""
    context = worker.stage_context(tmp_path, folder)
    stage = context.folder.stage("bootstrap")
    watching = kill_when(lambda: list(stage.glob("checkpoints/checkpoint-*/complete")))
    with pytest.raises(TrainingError, match=r"bootstrap: the launched processes ended .*launch/log says why"):
        launching.run("bootstrap", context)
    watching.join()
    assert not (stage / "student").exists()
    capfd.readouterr()
    facts = launching.run("bootstrap", context)
    said = capfd.readouterr().err
    assert "bootstrap: validation" in said
    assert "warn" not in said.lower()
    assert facts["answers"] == 14
    assert not (stage / "launch").exists()
    assert_same(stage, folder / "two" / "run" / "3-bootstrap", 1e-6)
    alone = worker.stage_context(tmp_path / "alone", folder)
    own = bootstrap.run(alone)
    assert own.pop("validation") == pytest.approx(facts.pop("validation"), rel=1e-5)
    assert own == facts
    assert_same(stage, alone.folder.stage("bootstrap"), 1e-5)


def test_an_error_in_a_process_comes_back_as_its_one_line(folder, tmp_path, capfd):
    """And what shards over GPUs is refused without any: accelerate would do plain DDP."""
    context = worker.stage_context(tmp_path, folder, launch={"config": "fsdp2", "processes": 2})
    with pytest.raises(ConfigError) as caught:
        launching.run("bootstrap", context)
    assert str(caught.value).startswith("launch.config shards over GPUs, and this machine has none.")
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_processes_end_with_the_one_that_started_them(monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(launched.time, "sleep", lambda seconds: None)

    def ended(code):
        raise SystemExit(code)

    monkeypatch.setattr(launched.os, "_exit", ended)
    with pytest.raises(SystemExit):
        launched._end_with(gone.pid)


def test_fewer_processes_than_the_recipe_says_are_refused():
    with pytest.raises(ConfigError, match=r"launch.processes is 2, but accelerate started 1"):
        processes.join(2)


def test_the_pipeline_launches_the_trainings(world, monkeypatch):
    given = world.recipe(launch={"config": "ddp", "processes": 2}, **FOUR)
    calls = []

    def run(verb, context):
        calls.append(verb)
        return world.module(verb).run(context)

    monkeypatch.setattr(launching, "run", run)
    world.run(given)
    assert calls == ["bootstrap", "align"]
    world.run(world.recipe(**FOUR))
    assert world.calls == [], "launch says how, not what: nothing is redone"


FOUR = {"bootstrap": {"groups_per_forward": 4}, "align": {"groups_per_forward": 4}}


# ---- what can be launched -----------------------------------------------------------------------


@pytest.mark.parametrize("name", launching.SHIPPED)
def test_shipped_configurations_are_accelerates(name):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    path = str(launching.config_file(LaunchConfig(config=name, processes=2)))
    config = load_config_from_file(path)
    parser = launch_command_parser()
    args, _, _ = _validate_launch_command(
        parser.parse_args(["--config_file", path, "--num_processes", "2", "script.py"])
    )
    assert args.num_processes == 2
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed) == (
        name == "ddp",
        name == "fsdp2",
        name.startswith("zero"),
    )
    if name == "fsdp2":
        assert (args.fsdp_version, args.fsdp_state_dict_type) == (2, "SHARDED_STATE_DICT")
        assert not args.fsdp_cpu_ram_efficient_loading
    if name.startswith("zero"):
        assert args.zero_stage == int(name[-1])
        assert args.zero3_init_flag is False
    assert config.distributed_type.value in ("MULTI_GPU", "FSDP", "DEEPSPEED")


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({"config": "ddp"}, "launch: give both config and processes"),
        ({"processes": 2}, "launch: give both config and processes"),
        ({"config": "ddp", "processes": 0}, "launch.processes"),
        ({"config": "ddp", "proceses": 2}, "unknown key 'proceses' in 'launch'; did you mean 'processes'"),
        (
            {"config": "ddp", "processes": 2},
            r"launch.processes 2 x bootstrap.groups_per_forward 8",
        ),
    ],
)
def test_impossible_launch_tables_are_refused(launch, said):
    teachers = [{"name": "a", "model": "a"}]
    with pytest.raises(ConfigError, match=said):
        Recipe.parse({"name": "x", "teachers": teachers, "launch": launch}, where="recipe.yaml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read. Give ddp, fsdp2, zero2, zero3"),
        ("- ddp", "has distributed_type None"),
        ("distributed_type: 'NO'", "has distributed_type NO"),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_cpu_ram_efficient_loading: true}", "without weights"),
        ("distributed_type: DEEPSPEED", "pip install 'driftbound[deepspeed]'"),
    ],
)
def test_configurations_that_do_not_serve_are_refused_at_once(world, tmp_path, monkeypatch, content, said):
    """Before anything is asked of the teachers; doctor sees it too."""
    monkeypatch.setattr(launching, "find_spec", lambda name: None)
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_text(content)
    given = world.recipe(launch={"config": str(path), "processes": 2}, **FOUR)
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")) as caught:
        world.run(given)
    assert "\n" not in str(caught.value)
    assert world.calls == []
    assert doctor._launch(given.launch).ok is False


def test_doctor_looks_at_the_launch_table(monkeypatch):
    two = {"processes": 2}
    monkeypatch.setattr(doctor, "_has_gpu", lambda: False)
    assert doctor._launch(LaunchConfig(config="ddp", **two)).ok
    assert "needs GPUs" in doctor._launch(LaunchConfig(config="fsdp2", **two)).line


def test_shares_are_those_of_the_same_step():
    """11 cases, 2 a batch, 2 processes: together batch n of both is what one process has as batch n of 4."""
    shares = [list(Shares(range(11), 2, count=2, rank=rank)) for rank in (0, 1)]
    assert [len(each) for each in shares] == [3, 3] == [len(Shares(range(11), 2, count=2, rank=0))] * 2
    together = [sorted(one + other) for one, other in zip(*shares, strict=True)]
    assert together == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [list(Shares(range(1), 2, count=2, rank=rank)) for rank in (0, 1)] == [[[0]], [[]]]
