"""Doctor: what this machine and a recipe can do, found out without loading a model library."""

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from driftbound import launching
from driftbound.config import LaunchConfig, Recipe
from driftbound.domains.registry import load_domain
from driftbound.errors import ConfigError, ModelError
from driftbound.phantom_base import resolve_base
from driftbound.stages.roster import address_of
from driftbound.store.checkpoint import check_checkpoint, is_hub_name
from driftbound.teacher_config import TeacherConfig

if TYPE_CHECKING:
    from rich.table import Table

GIB = 2**30
_QWEN_VL = re.compile(r"qwen[\d._]*[-_]?vl", re.IGNORECASE)
"""Families whose processors (their part for videos) cannot be made without torchvision."""
DEMO_MEMORY = 3 * GIB
"""Bytes that the demo recipe needs, what the system keeps for itself apart."""
DEMO_DISK = GIB
"""Bytes of checkpoints, images and tables that the demo recipe leaves, generously."""


@dataclass(frozen=True)
class Check:
    """One thing looked at: ``ok`` is False if it must be put right, None if it only informs."""

    name: str
    said: str
    ok: bool | None
    cure: str = ""

    @property
    def line(self) -> str:
        """What was found and, where something must be put right, how."""
        return f"{self.said}. {self.cure}" if self.ok is False and self.cure else self.said


def examine(recipe: Path | None, runs: Path) -> list[Check]:
    """Look at the machine, the packages and, where one is given, the recipe."""
    checks = [*_machine(runs), *_packages()]
    if recipe is not None:
        checks += _recipe(recipe)
    return checks


def as_tables(checks: list[Check]) -> list[dict[str, Any]]:
    """The checks as tables with ``name``, ``said``, ``ok`` and ``cure``."""
    return [asdict(check) for check in checks]


def as_table(checks: list[Check]) -> "Table":
    """The checks for a terminal of 80 columns."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    marks = {True: ("ok", "green"), False: ("wrong", "bold red"), None: ("", "")}
    table = Table(box=SIMPLE, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, max_width=24)
    table.add_column(overflow="fold")
    for check in checks:
        word, style = marks[check.ok]
        table.add_row(Text(word, style=style), Text(check.name), Text(check.line))
    return table


def total_memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or less if its group is limited."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        match = re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text(encoding="utf-8"))
        found += [int(match[1]) * 1024] if match else []
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(limit).read_text(encoding="utf-8").strip() if Path(limit).exists() else "max"
        found += [int(text)] if text.isdigit() else []
    return min(found) if found else None


def _machine(runs: Path) -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("python", platform.python_version(), True)
    yield Check("cores", str(cores), None)
    memory = total_memory()
    if memory is None:
        yield Check("memory", "unknown on this system", None)
    else:
        yield Check(
            "memory",
            f"{memory / GIB:.1f} GiB",
            memory >= DEMO_MEMORY,
            "The demo needs 3 GiB; use a machine with more.",
        )
    place = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    yield Check(
        "disk",
        f"{free / GIB:.1f} GiB free below {place}",
        free >= DEMO_DISK,
        "A run needs about 1 GiB; make room or choose another --runs folder.",
    )
    yield Check(
        "runs folder",
        f"{runs} can be written" if _writable(place) else f"{place} cannot be written",
        _writable(place),
        "Choose another --runs folder.",
    )
    yield Check("gpu", "found" if _has_gpu() else "none found; the demo needs none", None)


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _writable(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _packages() -> Iterator[Check]:
    """Every package that driftbound requires, and whether its version is in the range; by metadata alone."""
    for line in metadata.requires("driftbound") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, wanted = requirement.name, requirement.specifier
        cure = f"Install it: pip install '{name}{wanted}'."
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "not installed", False, cure)
            continue
        if wanted.contains(version, prereleases=True):
            yield Check(name, version, True)
        else:
            yield Check(name, f"{version} is installed, {wanted} is needed", False, cure)


def _recipe(path: Path) -> Iterator[Check]:
    try:
        recipe = Recipe.read(path)
        load_domain(recipe.domain, recipe.seed)
    except ConfigError as error:
        yield Check("recipe", str(error), False)
        return
    yield Check("recipe", f"{path} is valid", True)
    yield from _cases(recipe)
    for teacher in recipe.teachers:
        yield _teacher(teacher)
    yield _base(recipe.bootstrap.base)
    if recipe.launch.config:
        yield _launch(recipe.launch)
    yield from _training(recipe)


def _cases(recipe: Recipe) -> Iterator[Check]:
    """How many cases there are, and how often somebody is asked about one."""
    domain = recipe.domain
    if domain.cases:
        there = Path(domain.cases).is_file()
        yield Check("cases", f"those in {domain.cases}", there, "No such file. Correct domain.cases.")
        return
    cases = domain.train + domain.validation + domain.test + domain.test_scanner
    cases += sum(other.cases for other in domain.data.others.values())
    asked = sum(cases * teacher.samples for teacher in recipe.teachers if teacher.kind == "http")
    more = ", those of MS-CXR-T apart" if domain.data.ms_cxr_t else ""
    yield Check("cases", f"{cases} of {domain.name}, {domain.train} of them to train on{more}", None)
    over_http = sum(teacher.kind == "http" for teacher in recipe.teachers)
    yield Check("requests", f"{asked} that collect will send ({over_http} teachers, repeats apart)", None)


def _teacher(teacher: TeacherConfig) -> Check:
    """Where a teacher is asked, or what keeps it from being asked."""
    if teacher.kind == "recorded":
        there = Path(teacher.path).is_file()
        cure = "" if there else "Correct its path."
        return Check(teacher.name, f"recorded in {teacher.path}", there, cure)
    if teacher.kind == "local":
        return Check(teacher.name, f"{teacher.model}, in this process", None)
    try:
        address = address_of(teacher)
    except ConfigError as error:
        return Check(teacher.name, str(error), False)
    host = "this machine (scripted)" if address.scripted else urlsplit(address.destination.url).netloc
    if not host:
        return Check(teacher.name, f"no host in {teacher.base_url!r}", False, "Correct its base_url.")
    if not address.key_env:
        return Check(teacher.name, f"{host}, no key asked for", None)
    if os.environ.get(address.key_env):
        return Check(teacher.name, f"{host}, key set: yes", True)
    return Check(teacher.name, f"{host}, key set: no", False, f"Set the variable {address.key_env}.")


def _launch(launch: LaunchConfig) -> Check:
    """Whether the trainings can be started as the recipe says; by files, not by starting them."""
    try:
        kind = launching.check(launch)
    except ConfigError as error:
        return Check("launch", str(error), False)
    if kind in ("FSDP", "DEEPSPEED") and not _has_gpu():
        return Check("launch", f"{launch.config} needs GPUs", False, "Take launch.config: ddp.")
    return Check("launch", f"{launch.config} in {launch.processes} processes", True)


def _training(recipe: Recipe) -> Iterator[Check]:
    """What the recipe's trainings need of the machine, by the name or configuration of its base alone."""
    if _QWEN_VL.search(_kind_of(recipe.bootstrap.base)):
        there = find_spec("torchvision") is not None
        said = "found" if there else "not installed; the processor of this base needs it"
        yield Check("torchvision", said, there, "Install the build that goes with this torch.")
    wide = [verb for verb in ("bootstrap", "align") if getattr(recipe, verb).weights == "bfloat16"]
    if wide and not _has_gpu():
        yield Check(
            "trainings", f"{' and '.join(wide)} in bfloat16 without a GPU: they run, but very slowly", None
        )


def _kind_of(base: str) -> str:
    """``model_type`` of a checkpoint folder; of a hub checkpoint there is only the name."""
    config = Path(resolve_base(base)) / "config.json"
    try:
        return str(json.loads(config.read_text(encoding="utf-8")).get("model_type"))
    except (OSError, ValueError, AttributeError):
        return base


def _base(name: str) -> Check:
    """Whether the checkpoint to start from can serve; by its files, not by loading it."""
    place = resolve_base(name)
    try:
        check_checkpoint(place)
    except ModelError as error:
        return Check("base checkpoint", str(error), False)
    if is_hub_name(place):
        return Check("base checkpoint", f"{name}: no folder here, so a hub name", None)
    return Check("base checkpoint", f"{name} found, with a chat template", True)
