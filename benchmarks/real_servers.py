"""Runs `driftbound collect` against two servers that others wrote, on this machine, downloading nothing.

    python -m benchmarks.real_servers

`transformers serve` serves the small student that ships with the package and is asked about images;
llama.cpp's server serves a tiny random model (`benchmarks/text_server.py`) and is asked without them. One
recipe has both as teachers, over the OpenAI-compatible schema. The table says what came back. The models are
toys: what is looked at is whether requests and answers fit.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks import text_server
from driftbound.errors import DriftboundError, TeacherError
from driftbound.phantom_base import PHANTOM_BASE, resolve_base
from driftbound.records import Trajectory
from driftbound.store.folder import RunFolder
from driftbound.store.streams import Streams

RUN = "real-servers"
MAX_TOKENS = 96
STUDENT = "phantom-student"
"""Folder of the checkpoint, hence what `transformers serve` calls it."""
START_S = 120.0
"""How long a server may take; `transformers serve` imports torch first."""
STOP_S = 10.0
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
"""Environment of the servers: they ask no hub for anything."""


@dataclass(frozen=True)
class Server:
    """How one server is started, and how it is asked."""

    name: str
    package: str
    """Whose version is printed."""
    needs: tuple[str, ...]
    """Modules without which it cannot run."""
    model: str
    prepare: Callable[[Path], list[str]]
    """Put the model into a folder; the command that serves it, to be run there, but for the port."""
    asked: dict[str, Any]
    """What the recipe says of this teacher besides name, model and address."""


@dataclass(frozen=True)
class Asked:
    """What one server did."""

    server: Server
    start_s: float
    answers: tuple[Trajectory, ...]


def _student(folder: Path) -> list[str]:
    """Every question is answered greedily: the recipe's temperature is 0."""
    shutil.copytree(resolve_base(PHANTOM_BASE), folder / STUDENT)
    serve = [sys.executable, "-m", "transformers.cli.transformers", "serve", STUDENT]
    return [*serve, "--host", "127.0.0.1", "--device", "cpu"]


def _text(folder: Path) -> list[str]:
    text_server.write_model(folder / "random.gguf")
    return [sys.executable, str(Path(text_server.__file__).resolve()), "serve", "random.gguf"]


SERVERS = {
    each.name: each
    for each in (
        Server(
            "transformers",
            "transformers",
            ("fastapi", "uvicorn"),
            STUDENT,
            _student,
            {"vendor": "transformers"},
        ),
        Server(
            "llama.cpp",
            "xllamacpp",
            ("xllamacpp", "gguf"),
            text_server.NAME,
            _text,
            {"vendor": "llama.cpp", "images": {"mode": "none"}},
        ),
    )
}


def missing(servers: Sequence[Server]) -> list[str]:
    """Modules that these servers need and that are not installed."""
    return [module for server in servers for module in server.needs if find_spec(module) is None]


def collect_from(servers: Sequence[Server], folder: Path) -> list[Asked]:
    """Start the servers, run ``collect`` against all of them at once, stop them; the run stays in ``folder``.

    Raises ``TeacherError`` for a server that does not come up and for a ``collect`` that fails.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(serving(server, folder)) for server in servers]
        answers = collect(servers, [url for url, _ in started], folder)
    return [
        Asked(server, start_s, answers[server.name])
        for server, (_, start_s) in zip(servers, started, strict=True)
    ]


def collect(
    servers: Sequence[Server], urls: Sequence[str], folder: Path
) -> dict[str, tuple[Trajectory, ...]]:
    """Run ``driftbound collect`` against servers that are up; name -> answers, sorted by case."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe_text(servers, urls), encoding="utf-8")
    command = [sys.executable, "-m", "driftbound.cli", "collect", str(recipe), "--runs", str(folder)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise TeacherError("collect failed, for the reason above. Put it right and run again.")
    with Streams.open_readonly(RunFolder(folder / RUN).streams) as streams:
        answers = streams.all()
    return {server.name: tuple(each for each in answers if each.teacher == server.name) for server in servers}


def recipe_text(servers: Sequence[Server], urls: Sequence[str]) -> str:
    """Few cases, and one teacher per server."""
    import yaml

    teachers = [
        {"name": server.name, "model": server.model, "base_url": f"{url}/v1"} | server.asked
        for server, url in zip(servers, urls, strict=True)
    ]
    recipe = {
        "name": RUN,
        "domain": {"name": "phantom", "train": 3, "validation": 1, "test": 1, "test_scanner": 1},
        "teachers": teachers,
        "collect": {"temperature": 0.0, "max_tokens": MAX_TOKENS, "concurrency": 2},
    }
    return yaml.safe_dump(recipe, sort_keys=False)


@contextmanager
def serving(server: Server, folder: Path) -> Iterator[tuple[str, float]]:
    """Run a server for the length of a block: its address, and the seconds it took to come up."""
    port = _free_port()
    command = [*server.prepare(folder), "--port", str(port)]
    log = folder / f"{server.name}.log"
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | QUIET,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() - began > START_S:
                lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
                said = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
                raise TeacherError(
                    f"{server.name}: did not come up ({said[:200]}). Run `{' '.join(command)}` to see why."
                )
            time.sleep(0.1)
        yield url, time.monotonic() - began
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(url: str) -> bool:
    """Both servers have this path; `/v1/models` of `transformers serve` fails where there is no hub cache."""
    try:
        with urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def print_table(results: Sequence[Asked]) -> None:
    """One line per server."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for title in ("server", "answers", "as", "tokens in", "tokens out", "s an answer", "s to start"):
        table.add_column(title, justify="left" if title in ("server", "answers", "as") else "right")
    for each in results:
        statuses = Counter(answer.status.value for answer in each.answers)
        table.add_row(
            f"{each.server.name} ({each.server.package} {metadata.version(each.server.package)})",
            ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())),
            ", ".join(sorted({answer.version for answer in each.answers})),
            str(sum(answer.prompt_tokens for answer in each.answers)),
            str(sum(answer.completion_tokens for answer in each.answers)),
            f"{mean(answer.latency_s for answer in each.answers):.2f}",
            f"{each.start_s:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main(arguments: list[str] | None = None) -> None:
    """Collect and print; ``arguments`` as on the command line, else those."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", choices=SERVERS, action="append", help="Only this one; may be repeated.")
    parser.add_argument("--runs", type=Path, help="Folder to keep run and logs in; must not exist.")
    given = parser.parse_args(arguments)
    if given.runs is not None and given.runs.exists():
        parser.error(f"--runs {given.runs}: is there already. Name a new folder.")
    servers = [SERVERS[name] for name in given.server or SERVERS]
    if absent := missing(servers):
        print(f"not installed: {', '.join(absent)}. Run pip install 'driftbound[servers]'.", file=sys.stderr)
        raise SystemExit(2)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = given.runs or Path(temporary) / "runs"
            folder.mkdir(parents=True)
            print_table(collect_from(servers, folder.resolve()))
    except DriftboundError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stopped benchmark stops its servers
    main()
