"""Pipeline: prepares the cases, runs the stages in order, skips what is finished, resumes what is not."""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from driftbound import launching, rounds
from driftbound.config import Recipe
from driftbound.domains.registry import load_domain
from driftbound.errors import ConfigError, StoreError
from driftbound.phantom_base import resolve_base
from driftbound.progress import say
from driftbound.records import Case
from driftbound.removing import clear, clear_halves, remove, remove_all
from driftbound.stages.context import Context
from driftbound.stages.gather import check_trackers, sensitivity_of
from driftbound.stages.writers import check_writer
from driftbound.store.checkpoint import check_checkpoint
from driftbound.store.disk import disk_errors
from driftbound.store.exchange import strictest
from driftbound.store.folder import ROUNDED, VERBS, RunFolder
from driftbound.store.manifest import Manifest, sha256_file, sha256_tree
from driftbound.store.plan import FILE, Plan, check_same, made_of
from driftbound.store.tables import read_cases
from driftbound.teacher_config import CONNECTION

CASES = "cases"
"""What the domain does before the first stage; its manifest lies in the root of the run."""

READS: dict[str, tuple[str, ...]] = {
    CASES: ("domain",),
    "collect": ("domain", "teachers", "collect"),
    "measure": ("domain", "teachers", "measure"),
    "bootstrap": ("domain", "teachers", "bootstrap"),
    "synthesize": ("domain", "teachers", "synthesize"),
    "align": ("domain", "teachers", "align"),
    "evaluate": ("domain", "teachers", "evaluate"),
    "report": ("name", "rounds", "domain", "teachers", *VERBS),
}
"""Which tables of the recipe each stage reads (and the seed, which all do)."""

HOW = frozenset(
    {
        "teachers.api_key_env",
        "teachers.base_url",
        "teachers.vendor",
        "teachers.local",
        "teachers.limits",
        "teachers.price",
        "teachers.path",
        "collect.anchors",
        "collect.concurrency",
        "collect.timeout_s",
        "collect.retries",
        "collect.max_failed",
        *(f"{verb}.{key}" for verb in ("bootstrap", "align") for key in ("save_steps", "report_to")),
        *(f"synthesize.{writer}.{key}" for writer in ("server", "judge") for key in CONNECTION),
    }
)
"""Keys that say how the work is done, not what comes out: changing them (or ``threads``, or ``launch``)
redoes nothing."""

_READ_CLAIMS = frozenset({"measure", "synthesize", "evaluate", "report"})
"""Stages that read texts: to the others it is all the same how (``domain.claims``)."""


class Stage(Protocol):
    """What every module in ``stages/`` offers; ``WORK`` besides, where it leaves names in its folder that
    only serve to go on after a kill: they stay until the manifest stands."""

    def inputs(self, context: Context) -> dict[str, str]:
        """Content hashes of what the stage reads, by name."""

    def run(self, context: Context) -> dict[str, Any]:
        """Do the work, going on where a killed run stopped; returns facts for the manifest."""


def run(
    recipe: Recipe,
    runs: Path,
    *,
    name: str = "",
    start: str = "",
    only: str = "",
    until: str = "",
    force: bool = False,
) -> RunFolder:
    """Run a recipe in ``runs/<name>`` (``name`` defaults to the recipe's) and return the run folder.

    ``start`` redoes from this stage on, ``only`` runs just this one, ``until`` none behind this one,
    ``force`` redoes everything (with ``only``: that stage). Raises a ``DriftboundError``: ``ConfigError``
    for impossible options, ``ModelError`` for a base that is none, ``StoreError`` for a folder that is
    another recipe's, in use, unwritable or full, and what a stage raises.
    """
    _check_options(name, start, only, force)
    launching.check(recipe.launch)
    check_checkpoint(resolve_base(recipe.bootstrap.base))  # now, not when the teachers have been paid
    with opened(recipe, runs, name=name, redo=force and not only) as context:
        read_cases(context.folder.cases)  # what is wrong with them is told now, not by the third stage
        check_trackers(context)
        if only in ("", "synthesize") or (only == "align" and recipe.rounds > 1):
            check_writer(context)
        for verb in VERBS:
            if verb in ROUNDED and recipe.rounds > 1:
                if verb == ROUNDED[0]:
                    rounds.run(context, _run_stage, recipe_part, start=start, only=only, force=force)
                if verb in (only, until):
                    break
                continue
            if verb == start:
                remove(context.folder, VERBS[VERBS.index(verb) :])
            if verb == only and force:
                remove(context.folder, (verb,))
            _run_stage(context, verb, only=only)
            if verb in (only, until):
                break
    return context.folder


@contextmanager
def opened(recipe: Recipe, runs: Path, *, name: str = "", redo: bool = False) -> Iterator[Context]:
    """The run of a recipe, its cases prepared, held for this process while the block runs.

    ``redo`` draws the cases anew and removes what was made of the old ones, the teachers' answers
    excepted.
    """
    _check_options(name, "", "", False)
    domain = load_domain(recipe.domain, recipe.seed)
    context = Context(recipe, RunFolder(runs / (name or recipe.name)), domain)
    with working_on(context.folder):
        _prepare_cases(context, redo=redo)
        yield context


@contextmanager
def working_on(folder: RunFolder) -> Iterator[None]:
    """Hold a run folder for this process; what the disk refuses meanwhile is one line."""
    with disk_errors(folder.root), locked(folder.root):
        yield


def recipe_part(recipe: Recipe, stage: str) -> dict[str, Any]:
    """The keys of the recipe that decide what ``stage`` produces, the seed apart."""
    whole = recipe.model_dump(mode="json")
    whole["domain"].pop("cases", None)  # a place: what lies there is among the inputs
    if stage not in _READ_CLAIMS:
        whole["domain"].pop("claims", None)
    return {table: _without_how(whole[table], table) for table in READS[stage]}


def stage_module(verb: str) -> Stage:
    """The module of a stage, imported when it is needed."""
    return cast(Stage, import_module(f"driftbound.stages.{verb}"))


def _check_options(name: str, start: str, only: str, force: bool) -> None:
    if name and (name in (".", "..") or "/" in name):
        raise ConfigError(f"--name {name!r} is no plain folder name. Put the folder into --runs.")
    for option, verb in (("--from", start), ("--only", only)):
        if verb and verb not in VERBS:
            near = get_close_matches(verb, VERBS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"stages: {', '.join(VERBS)}."
            raise ConfigError(f"{option}: no stage is called {verb!r}; {hint}")
    if start and (only or force):
        raise ConfigError("--from cannot be combined with --only or --force. Give one of them.")


def _without_how(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        kept = [key for key in value if f"{path}.{key}" not in HOW]
        return {key: _without_how(value[key], f"{path}.{key}") for key in kept}
    if isinstance(value, list):
        return [_without_how(item, path) for item in value]
    return value


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock dies with the process, however it ends."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another driftbound is working on {root}. Wait for it, or choose another --name."
            ) from None
        yield


def _prepare_cases(context: Context, *, redo: bool) -> None:
    """Have the domain write its cases unless they are there."""
    folder = context.folder
    read: dict[str, str] = getattr(context.domain, "inputs", dict)()  # files of the user's own, by content
    plan = Plan(CASES, recipe_part(context.recipe, CASES), read, context.recipe.seed)
    made = made_of(folder.root)
    if made is not None and redo:
        remove_all(folder, plan)
        made = None
    if made is not None:
        check_same(folder.root, made.plan, plan, redo="--force")
        if made.finished:
            read_cases(folder.cases)  # what cannot be read is told now
            return
    say(f"cases: {context.domain.name}")
    started = time.monotonic()
    spent = made.seconds if made is not None else 0.0
    clear_halves(folder.root)
    plan.write(folder.root, seconds=spent)
    context.domain.write_cases(folder.root, folder.truth)
    cases = read_cases(folder.cases)
    outputs = {"cases.parquet": sha256_file(folder.cases), "images": sha256_tree(folder.root / "images")}
    facts = {"cases": len(cases), "seconds": round(spent + time.monotonic() - started, 3)}
    _finish(folder.root, plan, outputs, facts, _sensitivity(cases))


def _run_stage(context: Context, verb: str, *, only: str) -> None:
    """Skip, run or resume one stage; with ``only``, every other one must be finished already."""
    folder, module = context.folder.stage(verb), stage_module(verb)
    called = f"{verb}: round {context.folder.round}" if context.folder.round else verb
    plan = Plan(verb, recipe_part(context.recipe, verb), module.inputs(context), context.recipe.seed)
    made = made_of(folder)
    if made is not None:
        rounds.refuse_other_kind(folder, made.plan, plan)
        check_same(folder, made.plan, plan, redo=f"--from {verb} or --force")
    work: tuple[str, ...] = getattr(module, "WORK", ())
    if made is not None and made.finished:
        clear(folder, work)
        if only in ("", verb):
            say(f"{called}: finished before (took {made.seconds:.0f} s), skipped")
        return
    if only not in ("", verb):
        raise StoreError(
            f"{folder}: {only} needs {verb}, which has not finished. "
            f"Run `driftbound {verb}` first, or `driftbound run` without --only."
        )
    say(f"{called}: {'goes on' if made is not None else 'starts'}")
    spent = made.seconds if made is not None else 0.0
    clear_halves(folder)
    plan.write(folder, seconds=spent)
    started = time.monotonic()
    try:
        launched = launching.launched(context.recipe.launch, verb)
        facts = launching.run(verb, context) if launched else module.run(context)
    except BaseException as error:
        if isinstance(error, ConfigError) and made is None:
            (folder / FILE).unlink()  # nothing was done: the corrected recipe is no other one
        else:
            plan.write(folder, seconds=spent + time.monotonic() - started)
        raise
    seconds = round(spent + time.monotonic() - started, 3)
    outputs = _hashes(folder, work)
    _finish(folder, plan, outputs, {**facts, "seconds": seconds}, sensitivity_of(context, verb))
    clear(folder, work)
    say(f"{called}: done in {seconds:.0f} s")


def _finish(
    folder: Path, plan: Plan, outputs: dict[str, str], facts: dict[str, Any], sensitivity: str
) -> None:
    """The manifest, written last; then the plan has served."""
    manifest = Manifest.of(
        plan.stage,
        config=plan.config,
        inputs=plan.inputs,
        seed=plan.seed,
        outputs=outputs,
        facts=facts,
        sensitivity=sensitivity,
    )
    manifest.write(folder)
    (folder / FILE).unlink(missing_ok=True)


def _sensitivity(cases: Sequence[Case]) -> str:
    """The strictest of all cases: it travels on with whatever is made of them."""
    return strictest(case.sensitivity for case in cases)


def _hashes(folder: Path, work: Sequence[str]) -> dict[str, str]:
    """Content hash of every file that the stage left, by path within its folder."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    left = [path for path in files if path.parts[0] not in (FILE, *work)]
    return {path.as_posix(): sha256_file(folder / path) for path in left}
