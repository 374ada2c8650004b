"""Processes that the collect benchmark starts: driftbound's collect, and the bare loop over the SDK.

    python -m benchmarks.collecting collect FOLDER
    python -m benchmarks.collecting bare FOLDER

``FOLDER`` holds a run that ``make_run`` has laid out. The last line of the output is JSON: seconds,
answers and the peak of resident memory.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sayings import DECLINED
from driftbound.config import Recipe
from driftbound.errors import DriftboundError
from driftbound.records import Case
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_cases, write_cases

SIDE = 141
"""Pixels; the noise of so large an image makes a PNG of 20 KB."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Field:
    """The least of a domain that collect needs."""

    name: str = "benchmark"

    def question(self, case: Case) -> str:
        """Tells the cases apart, so that no answer fits two of them."""
        return f"{case.prompt} {case.case_id}"

    def is_refusal(self, text: str) -> bool:
        """Whether a teacher declines in plain words."""
        return text.startswith(DECLINED)

    def scripted_server(self, folder: Path) -> None:
        """None: every teacher has a URL."""


def make_run(
    root: Path, url: str, *, cases: int, teachers: int, pictures: int, settings: dict[str, Any]
) -> None:
    """Lay out a run: cases, ``pictures`` images that they share, and a recipe of teachers at ``url``."""
    import numpy as np
    from PIL import Image

    (root / "images").mkdir(parents=True)
    for number in range(pictures):
        noise = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"images/{number}.png")
    folder = RunFolder(root)
    write_cases(
        folder.cases,
        [
            Case(
                case_id=f"c{number:05d}",
                cluster=f"p{number:05d}",
                split="train",
                prompt="Look at",
                images=(f"images/{number % pictures}.png",),
            )
            for number in range(cases)
        ],
    )
    given = {
        "name": root.name,
        "teachers": [
            {"name": f"t{number}", "model": f"model-{number}", "base_url": url} for number in range(teachers)
        ],
        "collect": settings,
    }
    (root / "recipe.json").write_text(json.dumps(given))


def context_of(root: Path) -> Context:
    """The run that ``make_run`` laid out, as a stage sees it."""
    recipe = Recipe.parse(json.loads((root / "recipe.json").read_text()), where="recipe.json")
    return Context(recipe=recipe, folder=RunFolder(root), domain=Field())  # type: ignore[arg-type]


def memory_mb(pid: int | str, what: str = "VmHWM") -> float:
    """Resident memory of a process: ``VmHWM`` its peak, ``VmRSS`` that of now; 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what)), 0.0)


def stopwatch() -> Callable[[int], dict[str, float]]:
    """Starts; called with the number of answers, tells that, seconds, and those of this process's cores."""
    began, busy = time.perf_counter(), time.process_time()
    return lambda answers: {
        "answers": answers,
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - busy,
    }


def collect(root: Path) -> dict[str, float]:
    """driftbound's own way, from the cases on disk to the sealed store."""
    import openai  # noqa: F401  # what it takes to load is not counted, as in the bare loop

    from driftbound.stages import collect as stage

    context = context_of(root)
    told = stopwatch()
    facts = stage.run(context)
    return told(sum(sum(each["answers"].values()) for each in facts["teachers"].values()))


def bare(root: Path) -> dict[str, float]:
    """The SDK in a loop, as many requests at a time, answers thrown away.

    Clients are made, and images read and encoded, before the clock starts.
    """
    import openai

    context = context_of(root)
    settings = context.recipe.collect
    urls = {
        name: "data:image/png;base64," + base64.b64encode((root / name).read_bytes()).decode()
        for case in read_cases(context.folder.cases)
        for name in case.images
    }
    cases = [(context.domain.question(case), case.images) for case in read_cases(context.folder.cases)]

    async def ask(client: openai.AsyncOpenAI, model: str, left: Iterator[tuple[str, tuple[str, ...]]]) -> int:
        answers = 0
        for question, images in left:
            pictures = [{"type": "image_url", "image_url": {"url": urls[name]}} for name in images]
            content = [{"type": "text", "text": question}, *pictures]
            await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": content}],  # type: ignore[misc, list-item]
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
            )
            answers += 1
        return answers

    async def ask_all() -> dict[str, float]:
        clients = [
            (openai.AsyncOpenAI(base_url=teacher.base_url, api_key="none"), teacher.model, iter(cases))
            for teacher in context.recipe.teachers
        ]
        told = stopwatch()
        asking = (ask(*each) for _ in range(settings.concurrency) for each in clients)
        return told(sum(await asyncio.gather(*asking)))

    return asyncio.run(ask_all())


ARMS = {"collect": collect, "bare": bare}


def started(arm: str, root: Path) -> subprocess.Popen[str]:
    """A process of its own for one arm."""
    command = [sys.executable, "-m", "benchmarks.collecting", arm, str(root)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | ONE_THREAD)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What an arm told in the end; raises ``RuntimeError`` with its complaint when it failed."""
    said, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError(complaint.strip()[-2000:] or f"exit status {process.returncode}")
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    return told


def main() -> int:
    """Run one arm."""
    arm, root = sys.argv[1:]
    try:
        told = ARMS[arm](Path(root))
    except DriftboundError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(told | {"peak_mb": memory_mb("self")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
