"""The commands study and sweep: arms side by side, and a grid of settings on one run."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftbound.recipe_files import STUDIES, find_recipe
from driftbound.telling import AsJson, folded, tell

if TYPE_CHECKING:
    from driftbound.study.run import Plan

_Plain: Any = partial(typer.Option, show_default=False)
_JOBS = typer.Option("--jobs", min=0, help="Processes side by side; else the study's.", show_default=False)


def study(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY", help="A study file, or the name of one that ships.", show_default=False
        ),
    ],
    out: Annotated[Path | None, _Plain(metavar="FOLDER", help="For results; else studies/NAME.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    only: Annotated[str, _Plain(metavar="PHASE", help="Just this phase.")] = "",
    arms: Annotated[str, _Plain(metavar="A;B", help="Just these arms, by name or file name.")] = "",
    seeds: Annotated[str, _Plain(metavar="0,1", help="Just these seeds.")] = "",
    jobs: Annotated[int, _JOBS] = 0,
    dry_run: Annotated[bool, _Plain("--dry-run", help="Say how long it will take, and stop.")] = False,
    keep: Annotated[bool, _Plain("--keep", help="Keep every arm's run and checkpoint.")] = False,
    page: Annotated[
        Path | None, _Plain(metavar="FILE", help="Write the page from the results there are; run nothing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare arms, recipes that differ in one thing, over seeds and settings."""
    from driftbound.study.run import plan_study, run_study

    path = find_recipe(file, STUDIES, "study")
    if page is not None:
        elsewhere = runs != Path("runs")
        _refuse_with_page(
            only=only, arms=arms, seeds=seeds, jobs=jobs, dry_run=dry_run, keep=keep, runs=elsewhere
        )
        from driftbound.study.writing import write_study

        written = write_study(path, out, page)
        tell(as_json, {"written": written}, map(str, written))
        return
    plan, results, place = plan_study(
        path, out, runs, processes=jobs, choice=_choice(path, only, arms, seeds)
    )
    if not as_json:  # before hours of work, not behind them
        _forecast(plan)
    if not dry_run:
        run_study(plan, results, place, keep=keep)
    if not dry_run and as_json:  # what is left now
        plan = plan_study(path, out, runs, processes=jobs, choice=_choice(path, only, arms, seeds))[0]
    tell(as_json, _left(plan, results), [] if dry_run else [str(results)])


def sweep(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", help="A recipe, or the name of one that ships.", show_default=False),
    ],
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY=V1,V2 ...", help="Values to try, e.g. align.beta=0.1,0.3."),
    ],
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    name: Annotated[str, _Plain(help="Name of the run; else the recipe's.")] = "",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes side by side.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Try out settings of bootstrap, synthesize or align on one run, without any truth."""
    from driftbound.study.trials import sweep as try_out
    from driftbound.study.trials import table_of

    found = try_out(find_recipe(recipe), runs, keys, name=name, processes=jobs)
    value = {"file": found, **json.loads(found.read_text(encoding="utf-8"))} if as_json else None
    tell(as_json, value, [table_of(found), str(found)])


def _refuse_with_page(**given: Any) -> None:
    """Raise ``ConfigError`` for options of running beside ``--page``."""
    from driftbound.errors import ConfigError

    senseless = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if senseless:
        raise ConfigError(
            f"--page writes about the whole study and runs nothing: leave out {', '.join(senseless)}."
        )


def _forecast(plan: "Plan") -> None:
    """How long what is left will take, for a person."""
    from driftbound.study.estimate import summary, table

    lines = (*summary(plan.estimate, plan.processes), *plan.waiting)
    tell(False, None, [table(plan.estimate), *folded(lines)])


def _left(plan: "Plan", results: Path) -> dict[str, Any]:
    """What is left of a study, for machines; seconds of one job and of all that is left."""
    found = plan.estimate
    return {
        "results": results,
        "processes": plan.processes,
        "jobs": sum(line.jobs for line in found.lines),
        "done": sum(line.done for line in found.lines),
        "base_runs_left": found.bases,
        "seconds_left": found.seconds,
        "waiting": plan.waiting,
        "parts": [asdict(line) for line in found.lines],
    }


def _choice(path: Path, only: str, arms: str, seeds: str) -> Any:
    """Which part is meant; arms by their names or as their files are called."""
    from driftbound.errors import ConfigError
    from driftbound.study.plan import Choice, read_study, slug

    known = {slug(name): name for name in read_study(path).arms}
    words = [word.strip() for word in arms.split(";" if ";" in arms else ",") if word.strip()]
    try:
        numbers = tuple(int(word) for word in seeds.split(",") if word.strip())
    except ValueError:
        raise ConfigError(f"--seeds {seeds!r}: give whole numbers, e.g. 0,1.") from None
    return Choice(phase=only, arms=tuple(known.get(slug(word), word) for word in words), seeds=numbers)
