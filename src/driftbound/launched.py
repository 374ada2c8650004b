"""Launched: one of the processes of a training that has started itself; see ``launching``."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from driftbound.config import Recipe
from driftbound.domains.registry import load_domain
from driftbound.errors import DriftboundError
from driftbound.launching import FACTS, FAILURE, JOB
from driftbound.stages.context import Context
from driftbound.store.disk import disk_errors
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import atomic_write_text


def main(folder: Path) -> None:
    """Do this process's share of the job in ``folder``; the first one writes the facts."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(job["starter"],), daemon=True).start()
    recipe = Recipe.parse(job["recipe"], where=str(folder / JOB))
    root = Path(job["root"])
    with _failures(folder), disk_errors(root):
        from driftbound.learning import processes

        processes.join(recipe.launch.processes, needs_gpu=job["needs_gpu"])
        context = Context(recipe, RunFolder(root, job["round"]), load_domain(recipe.domain, recipe.seed))
        facts: dict[str, Any] = import_module(f"driftbound.stages.{job['verb']}").run(context)
        if processes.leads():
            atomic_write_text(folder / FACTS, json.dumps(facts))
        processes.part()


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Speak through the starter's standard error; errors that the user can put right go into a file.

    All others, with their tracebacks, go where the launcher's own words go.
    """
    log, rank = os.dup(2), os.environ.get("RANK", "0")
    if rank == "0":
        os.dup2(0, 2)
    try:
        yield
    except DriftboundError as error:
        failure = json.dumps({"kind": type(error).__name__, "said": str(error)})
        atomic_write_text(folder / FAILURE.format(rank=rank), failure)
        sys.exit(2)
    finally:
        os.dup2(log, 2)


def _end_with(starter: int) -> None:
    """A starter that was killed tells nobody; without this its processes would train on, unseen."""
    while True:
        time.sleep(0.5)
        try:
            os.kill(starter, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:
            continue  # it lives, as somebody else


if __name__ == "__main__":
    main(Path(sys.argv[1]))
