"""Commands about collecting: collect with its parts and forecasts, merge."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftbound.errors import ConfigError
from driftbound.recipe_files import find_recipe
from driftbound.telling import AsJson, tell

if TYPE_CHECKING:
    from driftbound.collecting import Ahead
    from driftbound.stages.context import Asking

_Plain: Any = partial(typer.Option, show_default=False)
_Batch: Any = partial(typer.Option, show_default=False, rich_help_panel="Batch files")
RecipeFile = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE", help="A recipe file, or the name of one that ships.", show_default=False
    ),
]
Files = Annotated[list[Path] | None, _Batch(metavar="FILE", help="Take in the vendor's output file.")]


def collect(
    recipe: RecipeFile,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    name: Annotated[str, _Plain(help="Name of the run; else the recipe's.")] = "",
    force: Annotated[bool, _Plain("--force", help="Look at all again; no answer is thrown away.")] = False,
    dry_run: Annotated[bool, _Plain("--dry-run", help="Say what it would take; send nothing.")] = False,
    as_json: AsJson = False,
    shard: Annotated[str, _Plain(metavar="I/N", help="Only this part of the cases; see merge.")] = "",
    wave: Annotated[int, _Plain(min=0, help="Ask the anchor cases once more, as this round.")] = 0,
    batch: Annotated[Path | None, _Batch(metavar="FOLDER", help="Write batch files; send nothing.")] = None,
    batch_results: Files = None,
    forget_batches: Annotated[bool, _Batch("--forget-batches", help="Wait for them no more.")] = False,
) -> None:
    """Ask every teacher about every case; nothing that was answered is lost."""
    alone = {
        "--batch": batch is not None,
        "--batch-results": bool(batch_results),
        "--forget-batches": forget_batches,
        "--force": force,
    }
    _refuse_together(alone, {"--dry-run": dry_run, "--shard": bool(shard), "--wave": bool(wave)})
    if batch is not None or batch_results or forget_batches:
        tell(as_json, *_by_batch(recipe, runs, name, batch, batch_results or []))
    elif dry_run:
        _rehearse(recipe, runs, name, wave, shard, as_json)
    elif wave or shard:
        tell(as_json, *_partly(recipe, runs, name, wave, shard))
    else:
        tell(as_json, *_wholly(recipe, runs, name, force))


def _wholly(recipe: Path, runs: Path, name: str, force: bool) -> tuple[Any, Any]:
    from driftbound import collecting, pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(Recipe.read(find_recipe(recipe)), runs, name=name, only="collect", force=force)
    return collecting.facts(folder), [str(folder.stage("collect"))]


def _rehearse(recipe: Path, runs: Path, name: str, wave: int, shard: str, as_json: bool) -> None:
    """Show what collect would send, then complain of what would keep it from that."""
    from driftbound import collecting
    from driftbound.config import Recipe

    given = Recipe.read(find_recipe(recipe))
    ahead = collecting.look_ahead(given, runs, name, _asking(wave, shard))
    tell(as_json, collecting.as_json(ahead), [_forecast(ahead)])
    collecting.check(given, runs, name, ahead)


def _partly(recipe: Path, runs: Path, name: str, wave: int, shard: str) -> tuple[Any, Any]:
    """A shard or a wave."""
    from driftbound import collecting
    from driftbound.config import Recipe

    facts = collecting.part(Recipe.read(find_recipe(recipe)), runs, name, _asking(wave, shard))
    return facts, _answers(facts)


def _asking(wave: int, shard: str) -> "Asking":
    from driftbound import collecting
    from driftbound.stages.context import Asking

    part, parts = collecting.shard_of(shard) if shard else (0, 1)
    return Asking(wave=wave, shard=part, shards=parts)


def _by_batch(
    recipe: Path, runs: Path, name: str, folder: Path | None, results: Sequence[Path]
) -> tuple[Any, Any]:
    """Write batch files, take in results, or give both up."""
    from driftbound import batching, collecting
    from driftbound.config import Recipe

    given = Recipe.read(find_recipe(recipe))
    if folder is not None:
        written = batching.write(given, runs, name, folder)
        return collecting.as_json(written), [each.line() for each in written]
    if results:
        taken = batching.take(given, runs, name, results)
        return collecting.as_json(taken), [each.line() for each in taken]
    n = batching.forget(given, runs, name)
    return {"forgotten": n}, [f"{n} requests in batch files are given up"]


def merge(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run that takes in.", show_default=False)],
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...", help="Run folders or streams.sqlite of others.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Take in what other machines have collected with --shard."""
    from driftbound import collecting, merging

    merged = merging.merge(run, sources)
    lines = [each.line() for each in merged]
    lines.append("now run 'driftbound collect' with the recipe: it asks what is still missing")
    tell(as_json, collecting.as_json(merged), lines)


def _refuse_together(alone: dict[str, bool], others: dict[str, bool]) -> None:
    """Raise ``ConfigError`` where an option that goes alone does not."""
    first = [option for option, there in alone.items() if there]
    given = first + [option for option, there in others.items() if there]
    if first and len(given) > 1:
        raise ConfigError(f"{given[0]} cannot be combined with {given[1]}. Give one of them.")


def _answers(facts: dict[str, Any]) -> list[str]:
    lines = [] if facts["cases"] else ["no case is in this part"]
    for name, told in facts["teachers"].items():
        answers = ", ".join(f"{n} {status}" for status, n in told["answers"].items()) or "nothing asked"
        lines.append(f"{name}: {answers}; {told['asked']} asked now")
    return lines


def _forecast(ahead: Sequence["Ahead"]) -> Any:
    """The table of a dry run; fits 80 columns."""
    from rich.table import Table

    table = Table(title="What collect would send. Nothing was sent.", title_justify="left")
    columns = (
        ("requests", "left", ",.0f"),
        ("tokens in", "prompt_tokens", ",.0f"),
        ("out at most", "completion_tokens_at_most", ",.0f"),
        ("US$ at most", "money_at_most", ",.2f"),
    )
    table.add_column("teacher", overflow="fold", footer="all")
    table.add_column("to", overflow="fold")
    for heading, key, form in columns:
        numbers = [getattr(each, key) for each in ahead]
        total = None if None in numbers else sum(numbers)
        table.add_column(heading, justify="right", footer=_number(total, form))
    table.show_footer = True
    for each in ahead:
        shown = [_number(getattr(each, key), form) for _, key, form in columns]
        table.add_row(each.teacher, each.to, *shown)
    return table


def _number(value: float | None, form: str) -> str:
    return "no limit" if value is None else format(value, form)
