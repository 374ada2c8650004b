"""Trackers: metrics go where the recipe says, through the gate; those of sensitive cases only with leave."""

import json
import os
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar, get_args

import pytest
import yaml
from test_data_use import FULL, RECIPE
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from driftbound import pipeline
from driftbound.config import Recipe, TrainingConfig
from driftbound.endpoints import trackers
from driftbound.endpoints.gate import AuditLog, Gate
from driftbound.endpoints.trackers import TRACKERS
from driftbound.errors import ConfigError, DataUseError
from driftbound.store.folder import VERBS

VARIABLES = [
    *("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI", "HF_MLFLOW_LOG_ARTIFACTS"),
    *("TRACKIO_SPACE_ID", "TRACKIO_DATASET_ID", "TRACKIO_BUCKET_ID", "TRACKIO_SERVER_URL"),
    *("WANDB_MODE", "WANDB_BASE_URL", "WANDB_LOG_MODEL", "WANDB_CONSOLE", "HF_ENDPOINT"),
    *("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No variable of a tracker is set, and none stays set."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: True)


def gate(*hosts, log=None):
    return Gate(replace(FULL, endpoints=hosts), log)


def test_names_are_those_that_transformers_knows():
    named = get_args(get_args(TrainingConfig.model_fields["report_to"].annotation)[0])
    assert set(named) == set(TRACKERS) <= set(integration_utils.INTEGRATION_TO_CALLBACK)


@pytest.mark.parametrize(
    ("name", "env", "address"),
    [
        ("tensorboard", {}, ""),
        ("tensorboard", {"TENSORBOARD_LOGGING_DIR": "/data/boards"}, ""),
        ("tensorboard", {"TENSORBOARD_LOGGING_DIR": "gs://bucket/boards"}, "gs://bucket/boards"),
        ("mlflow", {}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "runs/mlflow"}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "file:///tmp/mlruns"}, ""),
        ("mlflow", {"MLFLOW_TRACKING_URI": "https://ml.example.org"}, "https://ml.example.org"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "postgresql://db.example.org/x"}, "postgresql://db.example.org/x"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "databricks"}, "databricks"),
        ("trackio", {}, ""),
        ("trackio", {"TRACKIO_SPACE_ID": "me/space"}, "https://huggingface.co"),
        ("trackio", {"TRACKIO_DATASET_ID": "me/data"}, "https://huggingface.co"),
        ("trackio", {"TRACKIO_SERVER_URL": "http://127.0.0.1:7860"}, "http://127.0.0.1:7860"),
        ("wandb", {}, "https://api.wandb.ai"),
        ("wandb", {"WANDB_BASE_URL": "https://wandb.example.org"}, "https://wandb.example.org"),
        ("wandb", {"WANDB_MODE": "offline"}, ""),
        ("wandb", {"WANDB_MODE": "disabled"}, ""),
        ("wandb", {"WANDB_MODE": "online"}, "https://api.wandb.ai"),
    ],
)
def test_where_a_tracker_sends(name, env, address):
    assert TRACKERS[name].address(env) == address


def test_what_stays_here_needs_no_leave(installed):
    names = ("tensorboard", "mlflow", "trackio")
    assert trackers.check(names, "align", gate(), "credentialed") == []


@pytest.mark.parametrize(
    ("name", "env", "host"),
    [
        ("wandb", {}, "api.wandb.ai"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "https://ml.example.org"}, "ml.example.org"),
        ("trackio", {"TRACKIO_SPACE_ID": "me/space"}, "huggingface.co"),
        ("tensorboard", {"TENSORBOARD_LOGGING_DIR": "gs://bucket/boards"}, "bucket"),
    ],
)
def test_sensitive_metrics_leave_only_for_a_host_that_is_named(installed, monkeypatch, name, env, host):
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    (place,) = trackers.check([name], "align", gate(), "public")
    assert place.host == host
    with pytest.raises(DataUseError, match=f"metrics of align by {name}.*Missing: {host} among"):
        trackers.check([name], "align", gate("api.example.com"), "credentialed")
    assert trackers.check([name], "align", gate(host), "credentialed") == [place]


def test_a_server_of_ones_own_takes_them_but_not_behind_a_proxy(installed, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(trackers.check(["mlflow"], "align", gate(), "credentialed")) == 1
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    with pytest.raises(DataUseError, match="names a proxy"):
        trackers.check(["mlflow"], "align", gate(), "credentialed")


def test_an_address_without_a_host_is_told(installed, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    with pytest.raises(ConfigError, match=r"align\.report_to: mlflow would send to 'databricks'"):
        trackers.check(["mlflow"], "align", gate(), "public")


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [("wandb", "WANDB_LOG_MODEL", "end"), ("mlflow", "HF_MLFLOW_LOG_ARTIFACTS", "1")],
)
def test_weights_do_not_leave_as_metrics(installed, monkeypatch, name, variable, value):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://api.wandb.ai")
    monkeypatch.setenv(variable, "false")
    trackers.check([name], "align", gate("api.wandb.ai"), "credentialed")
    monkeypatch.setenv(variable, value)
    trackers.check([name], "align", gate("api.wandb.ai"), "public")
    with pytest.raises(DataUseError, match=f"{variable} would send the student itself"):
        trackers.check([name], "align", gate("api.wandb.ai"), "credentialed")


def test_a_passage_is_written_down_and_the_tracker_held_to_it(installed, monkeypatch, tmp_path):
    path = tmp_path / "audit.jsonl"
    trackers.begin(
        ["wandb", "tensorboard"], "align", gate("api.wandb.ai", log=AuditLog(path)), "credentialed"
    )
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["purpose"], line["to"]) == ("metrics of align by wandb", "https://api.wandb.ai")
    assert (line["what"], line["bytes"]) == ("metrics of align", 0)
    assert line["under"] == "acknowledged by A. Reader on 2026-03-01"
    assert os.environ["WANDB_BASE_URL"] == "https://api.wandb.ai"
    assert os.environ["WANDB_CONSOLE"] == "off"
    with pytest.raises(DataUseError):
        trackers.begin(["wandb"], "align", gate(log=AuditLog(tmp_path / "other.jsonl")), "credentialed")
    assert not (tmp_path / "other.jsonl").exists()


def test_an_unknown_tracker_is_told():
    given = {"name": "x", "teachers": [{"name": "a", "model": "a"}], "align": {"report_to": ["tensorbord"]}}
    with pytest.raises(ConfigError, match=r"align\.report_to.*'tensorboard'"):
        Recipe.parse(given, where="test")


# ---- in a run ------------------------------------------------------------------------------------


def test_a_missing_package_is_told_before_anybody_is_asked(world, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^align\.report_to: wandb is not installed.*pip install wandb\.$"):
        world.run(world.recipe(align={"report_to": ["wandb"]}))
    assert world.calls == ["cases"]


def test_a_run_on_sensitive_cases_is_stopped_before_anybody_is_asked(world, installed):
    world.sensitivity = "credentialed"
    with pytest.raises(DataUseError, match=r"metrics of bootstrap by wandb at https://api\.wandb\.ai"):
        world.run(world.recipe(bootstrap={"report_to": ["wandb"]}))
    assert world.calls == ["cases"]


def test_another_tracker_redoes_nothing(world, installed):
    world.run()
    world.run(world.recipe(bootstrap={"report_to": ["tensorboard"]}, align={"report_to": ["wandb"]}))
    assert world.calls == []


class Stub(TrainerCallback):
    """Stands for a tracker that is not installed."""

    seen: ClassVar[list] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen.append((args.run_name, state.global_step, dict(logs)))


def small(**changes):
    given = RECIPE | {
        "teachers": [{"name": "gpt-5", "model": "gpt-5"}, {"name": "grok-4", "model": "grok-4"}]
    }
    given = yaml.safe_load(yaml.safe_dump(given))
    for table in ("bootstrap", "align"):
        given[table] |= {"log_steps": 1, "save_steps": 1} | changes
    return Recipe.parse(given, where="test")


def test_both_trainings_tell_the_tracker_what_the_metrics_hold(tmp_path, installed, monkeypatch):
    """And the audit log, first, that they will."""
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Stub)
    Stub.seen.clear()
    folder = pipeline.run(small(report_to=["wandb"]), tmp_path)
    for verb in ("bootstrap", "align"):
        number = VERBS.index(verb) + 1
        told = [
            (step, logs) for run, step, logs in Stub.seen if run == f"tiny/{number}-{verb}" and "loss" in logs
        ]
        rows = [json.loads(line) for line in (folder.stage(verb) / "metrics.jsonl").read_text().splitlines()]
        assert [logs["loss"] for _, logs in told] == [row["loss"] for row in rows if "loss" in row]
        assert len(told) == 2  # four cases, two in a step
    audit = [json.loads(line) for line in folder.audit.read_text().splitlines()]
    assert [line["what"] for line in audit if line["purpose"].startswith("metrics")] == [
        "metrics of bootstrap",
        "metrics of align",
    ]
    marks = [(folder.student(verb) / "driftbound.json").read_text() for verb in ("bootstrap", "align")]
    assert marks == ['{"sensitivity": "public"}\n'] * 2


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_lies_beside_the_metrics(tmp_path):
    folder = pipeline.run(small(report_to=["tensorboard"]), tmp_path, only="")
    for verb in ("bootstrap", "align"):
        (events,) = (folder.stage(verb) / "tensorboard").iterdir()
        assert b"train/loss" in events.read_bytes()
    assert "metrics" not in folder.audit.read_text()


def test_without_tensorboard_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"bootstrap\.report_to: tensorboard is not installed"):
        pipeline.run(small(report_to=["tensorboard"]), tmp_path)
