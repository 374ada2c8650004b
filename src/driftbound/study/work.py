"""Work: one process of a study; does one job, and ends with the process that started it."""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from driftbound.config import Recipe
from driftbound.errors import DriftboundError
from driftbound.store.manifest import atomic_write_text
from driftbound.study.plan import Job


def main(path: Path) -> int:
    """Do the job that a file describes; 2, with the reason in a file beside it, where it cannot be done."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    given = json.loads(path.read_text(encoding="utf-8"))
    try:
        _do(given)
    except DriftboundError as error:
        atomic_write_text(path.with_suffix(".failure"), " ".join(str(error).split()))
        return 2
    return 0


def described(job: Job) -> dict[str, Any]:
    """A job as JSON; ``job_of`` reads it back."""
    recipes = {key: getattr(job, key).model_dump(mode="json") for key in ("base", "recipe")}
    return {key: getattr(job, key) for key in Job.__dataclass_fields__} | recipes


def job_of(given: dict[str, Any]) -> Job:
    """The job that ``described`` describes."""
    recipes = {key: Recipe.parse(given[key], where=key) for key in ("base", "recipe")}
    return Job(**(given | recipes | {"splits": tuple(given["splits"])}))


def _do(given: dict[str, Any]) -> None:
    from driftbound.study import arms, trials

    match given["kind"]:
        case "trial":
            trials.make_trial(given)
        case kind:
            bench = arms.Bench(Path(given["runs"]), Path(given["out"]), job_of(given["job"]))
            if kind == "base":
                arms.make_base(bench)
            else:
                arms.make_arm(bench, keep=given["keep"])


def _end_with_parent() -> None:
    """Leave at once when standard input ends: what is done is kept, and the next process goes on."""
    while sys.stdin is not None and os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
