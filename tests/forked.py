"""Commands in processes of their own that need not import torch and transformers anew.

A process that has imported them, and nothing of driftbound, is forked for every command. What comes off it
imports driftbound itself, has the environment and the arguments that it is given, and can be killed.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HEAVY = (
    *("torch.distributed.tensor", "torch.distributed.checkpoint.state_dict", "transformers.trainer", "peft"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.processing_auto"),
    *("transformers.models.llava.modeling_llava", "transformers.models.llava.processing_llava"),
    *("transformers.models.clip.modeling_clip", "transformers.models.clip.image_processing_pil_clip"),
    *("transformers.models.qwen2.modeling_qwen2", "scipy.optimize", "scipy.stats", "pyarrow.parquet"),
)
"""What takes most of a process's time to start."""
_START = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
"""Of the environment, what these packages read when they are imported."""


class Done(NamedTuple):
    """What a command left: as ``subprocess.CompletedProcess`` has it."""

    returncode: int | None
    stdout: str
    stderr: str


def start(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> multiprocessing.Process:
    """Begin ``driftbound words...``; its output goes to ``folder/stdout`` and ``folder/stderr``.

    The environment holds what ``_START`` says: those values count.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*HEAVY])
    own = {name: os.environ.get(name) for name in _START}
    os.environ.update(_START)
    try:
        process = context.Process(target=_command, args=([*words], str(folder), dict(environment) | _START))
        process.start()
    finally:
        for name, value in own.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return process


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str], *, seconds: float) -> Done:
    """A command, to its end; raises ``TimeoutError`` where it takes longer, and ends it."""
    process = start(words, folder, environment)
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"driftbound {' '.join(words)}: not done after {seconds} s")
    return Done(process.exitcode, *((folder / name).read_text() for name in ("stdout", "stderr")))


def _command(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """What a new process does: as ``python -m driftbound.cli words...``."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert "transformers" in loaded, "nothing was imported before"
    assert not loaded & {"driftbound", "openai"}, "what reads its environment must be imported anew"
    os.environ.clear()
    os.environ.update(environment)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate((Path(os.devnull), Path(folder, "stdout"), Path(folder, "stderr"))):
        with path.open("wb" if number else "rb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.argv = ["driftbound", *words]
    from driftbound.cli import main

    main()
