"""Pool: so many processes side by side, each with one job and one thread; none outlives this one."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftbound.store.manifest import atomic_write_text

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Task:
    """One process: where its files lie, what it is told, and which task it waits for."""

    name: str
    file: Path
    """Where the job is written; ``.log`` and ``.failure`` come to lie beside it."""
    given: str
    """The job, as JSON."""
    needs: str = ""
    title: str = ""


def work_off(
    tasks: Sequence[Task],
    processes: int,
    done: Callable[[Task, str], Any],
    command: Sequence[str] = (sys.executable, "-m", "driftbound.study.work"),
) -> dict[str, str]:
    """Run all tasks, at most ``processes`` at a time, each after the one it needs; returns the failures.

    ``done`` is called with each task that has ended and what went wrong (empty: nothing). A task whose
    need failed is not begun. Interrupted, all processes end.
    """
    waiting, running, failed = list(tasks), dict[str, tuple[Task, Any]](), dict[str, str]()
    open_ = {task.name for task in tasks}

    def end(task: Task, why: str) -> None:
        open_.discard(task.name)
        if why:
            failed[task.name] = why
        done(task, why)

    try:
        while waiting or running:
            for task in [each for each in waiting if each.needs in failed]:
                waiting.remove(task)
                end(task, f"{task.needs}: {failed[task.needs]}")
            for task in [each for each in waiting if each.needs not in open_]:
                if len(running) < processes:
                    waiting.remove(task)
                    running[task.name] = (task, _start(task, command))
            for name, (task, process) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    process.stdin.close()
                    end(task, _why(task, process.returncode))
            if running:
                time.sleep(_LOOK_EVERY_S)
    finally:
        for _, process in running.values():
            process.kill()
            process.wait()
    return failed


def _start(task: Task, command: Sequence[str]) -> Any:
    atomic_write_text(task.file, task.given)
    task.file.with_suffix(".failure").unlink(missing_ok=True)
    with task.file.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(task.file)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | ONE_THREAD,
        )


def _why(task: Task, code: int) -> str:
    """Why a process failed; empty where it did not."""
    if code == 0:
        return ""
    failure = task.file.with_suffix(".failure")
    if failure.exists():
        return failure.read_text(encoding="utf-8")
    return f"ended with exit code {code}; {task.file.with_suffix('.log')} says why"
