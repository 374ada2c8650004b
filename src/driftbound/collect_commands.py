"""Commands about collecting: collect with its parts and forecasts, merge."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftbound.errors import ConfigError
from driftbound.looking import stdout
from driftbound.recipe_files import find_recipe

if TYPE_CHECKING:
    from driftbound.collecting import Ahead

_Plain: Any = partial(typer.Option, show_default=False)
_Batch: Any = partial(typer.Option, show_default=False, rich_help_panel="Batch files")
RecipeFile = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE", help="A recipe file, or the name of one that ships.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Results as JSON.")]
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
    _one_of(
        {
            "--batch": batch is not None,
            "--batch-results": bool(batch_results),
            "--forget-batches": forget_batches,
            "--dry-run": dry_run,
        }
    )
    if batch is not None or batch_results or forget_batches:
        value, shown = _by_batch(recipe, runs, name, batch, batch_results or [])
    elif dry_run or wave or shard:
        value, shown = _partly(recipe, runs, name, wave, shard, dry_run)
    else:
        value, shown = _wholly(recipe, runs, name, force)
    _tell(value, as_json, shown)
    if dry_run:
        from driftbound import collecting
        from driftbound.config import Recipe

        collecting.check(Recipe.read(find_recipe(recipe)), runs, name)  # what would keep it from asking


def _wholly(recipe: Path, runs: Path, name: str, force: bool) -> tuple[Any, Any]:
    from driftbound import collecting, pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(Recipe.read(find_recipe(recipe)), runs, name=name, only="collect", force=force)
    return collecting.facts(folder), [str(folder.stage("collect"))]


def _partly(recipe: Path, runs: Path, name: str, wave: int, shard: str, dry_run: bool) -> tuple[Any, Any]:
    """A shard, a wave, or only a look at what either would take."""
    from driftbound import collecting
    from driftbound.config import Recipe
    from driftbound.stages.context import Round

    part, parts = collecting.shard_of(shard) if shard else (0, 1)
    given, round_ = Recipe.read(find_recipe(recipe)), Round(wave=wave, shard=part, shards=parts)
    if dry_run:
        ahead = collecting.look_ahead(given, runs, name, round_)
        return collecting.as_json(ahead), _forecast(ahead)
    facts = collecting.part(given, runs, name, round_)
    return facts, _answers(facts)


def _by_batch(
    recipe: Path, runs: Path, name: str, folder: Path | None, results: Sequence[Path]
) -> tuple[Any, Any]:
    """Write batch files, take in results, or give both up."""
    from driftbound import batching
    from driftbound.config import Recipe

    given = Recipe.read(find_recipe(recipe))
    if folder is not None:
        written = batching.write(given, runs, name, folder)
        return [each.as_json() for each in written], [each.line() for each in written]
    if results:
        taken = batching.take(given, runs, name, results)
        return [each.as_json() for each in taken], [each.line() for each in taken]
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
    from driftbound import collecting

    taken = collecting.merge(run, sources)
    told = [{"source": source, "new": new, "there_before": there} for source, (new, there) in taken.items()]
    lines = [f"{each['source']}: {each['new']} new, {each['there_before']} there before" for each in told]
    _tell(
        told, as_json, [*lines, "now run 'driftbound collect' with the recipe: it asks what is still missing"]
    )


def _one_of(options: dict[str, bool]) -> None:
    given = [option for option, there in options.items() if there]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} cannot be combined with {given[1]}. Give one of them.")


def _tell(value: Any, as_json: bool, shown: Any) -> None:
    """A result as JSON, as lines or as a table."""
    if as_json:
        import json

        typer.echo(json.dumps(value, indent=2, default=str))
    elif isinstance(shown, list):
        for line in shown:
            typer.echo(line)
    else:
        stdout(shown)


def _answers(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, told in facts["teachers"].items():
        answers = ", ".join(f"{n} {status}" for status, n in told["answers"].items()) or "nothing asked"
        lines.append(f"{name}: {answers}; {told['asked']} asked now")
    return lines


def _forecast(ahead: Sequence["Ahead"]) -> Any:
    """The table of a dry run; fits 80 columns."""
    from rich.table import Table

    table = Table(title="What collect would send. Nothing was sent.", title_justify="left")
    table.add_column("teacher", overflow="fold", footer="all")
    table.add_column("to", overflow="fold")
    sums = [sum(each.left for each in ahead), *_sums(ahead)]
    for heading, total in zip(("requests", "tokens in", "out at most", "US$ at most"), sums, strict=True):
        shown = f"{total:,.2f}" if heading == "US$ at most" else f"{total:,.0f}"
        table.add_column(heading, justify="right", footer=shown)
    table.show_footer = True
    for each in ahead:
        table.add_row(
            each.teacher,
            each.to,
            f"{each.left:,}",
            f"{each.prompt_tokens:,}",
            f"{each.completion_tokens_at_most:,}",
            f"{each.money_at_most:,.2f}",
        )
    return table


def _sums(ahead: Sequence["Ahead"]) -> tuple[int, int, float]:
    return (
        sum(each.prompt_tokens for each in ahead),
        sum(each.completion_tokens_at_most for each in ahead),
        sum(each.money_at_most for each in ahead),
    )
