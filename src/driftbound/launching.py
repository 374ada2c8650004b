"""Launching: a training starts itself in several processes, through accelerate, and its errors come back."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from driftbound import errors
from driftbound.config import LaunchConfig
from driftbound.errors import ConfigError, DriftboundError, TrainingError
from driftbound.stages.context import Context

VERBS = ("bootstrap", "align")
"""Stages that can be launched."""
SHIPPED = ("ddp", "fsdp2", "zero2", "zero3")
"""Configurations of accelerate that lie in the package."""
JOB, FACTS, FAILURE = "job.json", "facts.json", "failure.{rank}.json"
"""In the folder of a launch: what is to be done, what came out, what went wrong in a process."""
_ANYWHERE = ("MULTI_GPU", "MULTI_CPU")
"""Kinds of distribution that accelerate does without a GPU as it does with one."""


def launched(launch: LaunchConfig, verb: str) -> bool:
    """Whether a stage runs in processes of its own."""
    return verb in VERBS and launch.config != ""


def check(launch: LaunchConfig) -> str:
    """What of accelerate is asked for (``MULTI_GPU``, ``FSDP``, ``DEEPSPEED``); empty without ``launch:``.

    Raises ``ConfigError`` for a configuration that is none, or that needs what is not installed.
    """
    if not launch.config:
        return ""
    where = f"launch.config: {launch.config}"
    try:
        given = yaml.safe_load(config_file(launch).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        shipped = ", ".join(SHIPPED)
        raise ConfigError(f"{where} cannot be read. Give {shipped}, or a YAML file of accelerate.") from None
    kind = given.get("distributed_type") if isinstance(given, dict) else None
    if kind not in (*_ANYWHERE, "FSDP", "DEEPSPEED"):
        raise ConfigError(f"{where} has distributed_type {kind}. Give MULTI_GPU, FSDP or DEEPSPEED.")
    if (given.get("fsdp_config") or {}).get("fsdp_cpu_ram_efficient_loading"):
        raise ConfigError(
            f"{where}: fsdp_cpu_ram_efficient_loading leaves all processes but one without weights. "
            "Set it to false."
        )
    if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise ConfigError(f"{where} needs DeepSpeed. Install it: pip install 'driftbound[deepspeed]'.")
    return str(kind)


def config_file(launch: LaunchConfig) -> Path:
    """The accelerate configuration, in the package or the user's own."""
    if launch.config in SHIPPED:
        return Path(__file__).parent / "accelerate" / f"{launch.config}.yaml"
    return Path(launch.config)


def run(verb: str, context: Context) -> dict[str, Any]:
    """Do a stage's work in ``launch.processes`` processes; returns what the stage returns.

    The first of them speaks on this process's standard error. What else is said goes to ``launch/log`` in
    the stage's folder. Raises the ``DriftboundError`` that ended a process, else ``TrainingError`` naming
    the log. The processes end with this one, however it ends.
    """
    launch, folder = context.recipe.launch, context.folder.stage(verb) / "launch"
    kind = check(launch)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = {
        "verb": verb,
        "recipe": context.recipe.model_dump(mode="json"),
        "root": str(context.folder.root),
        "round": context.folder.round,
        "needs_gpu": kind not in _ANYWHERE,
        "starter": os.getpid(),
    }
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    code = _accelerate(config_file(launch), launch.processes, folder)
    if code or not (folder / FACTS).exists():
        raise _failure(verb, folder, code)
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return facts


def _accelerate(config: Path, processes: int, folder: Path) -> int:
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(config), "--num_processes", str(processes), "--main_process_port", "0"),
        *("-m", "driftbound.launched", str(folder)),
    ]
    with (folder / "log").open("wb") as log:
        # Standard error goes in as standard input, the one descriptor that torch's launcher hands on
        # untouched: the launcher itself floods its standard error when a process fails.
        quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # DDP warns of what is wanted
        started = subprocess.Popen(command, stdin=2, stdout=log, stderr=log, env=quiet | os.environ)
        try:
            return started.wait()
        finally:
            started.terminate()  # does nothing to one that has ended
            started.wait()


def _failure(verb: str, folder: Path, code: int) -> DriftboundError:
    """The first error that a process named: what came later may have come of it."""
    named = sorted(folder.glob(FAILURE.format(rank="*")), key=lambda path: path.stat().st_mtime_ns)
    for path in named:
        given = json.loads(path.read_text(encoding="utf-8"))
        kind = getattr(errors, given["kind"], TrainingError)
        return kind(given["said"])
    return TrainingError(
        f"{verb}: the launched processes ended with exit code {code}; {folder / 'log'} says why. "
        "Then run the same command: it goes on from the last checkpoint."
    )
