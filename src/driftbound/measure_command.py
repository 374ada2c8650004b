"""The command measure: of a run, or of a file of answers, with its tables."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from driftbound.errors import ConfigError
from driftbound.recipe_files import find_recipe
from driftbound.telling import AsJson, folded, tell

_Plain: Any = partial(typer.Option, show_default=False)
_File: Any = partial(typer.Option, show_default=False, rich_help_panel="Of a file of answers")


def measure(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE", help="A recipe file, or the name of one that ships.", show_default=False
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    name: Annotated[str, _Plain(help="Name of the run; else the recipe's.")] = "",
    force: Annotated[bool, _Plain("--force", help="Redo what is finished.")] = False,
    as_json: AsJson = False,
    streams: Annotated[
        Path | None,
        _File(metavar="FILE", help="Answers: JSONL, Parquet or CSV with case_id, teacher, text."),
    ] = None,
    out: Annotated[Path | None, _File(metavar="FOLDER", help="For the results; else FILE.measured.")] = None,
    claims: Annotated[
        str, _File(metavar="KIND", help="auto, choice, yes_no, json, or a YAML file that says more.")
    ] = "auto",
    domain: Annotated[
        str, _File(metavar="NAME", help="Field that reads the texts; else generic.")
    ] = "generic",
    column: Annotated[
        list[str] | None, _File(metavar="OURS=THEIRS", help="Column of FILE, e.g. case_id=id; repeat.")
    ] = None,
    gold: Annotated[
        Path | None, _File(metavar="CSV", help="Checked claims: case_id, finding, value.")
    ] = None,
    reader: Annotated[
        Path | None, _File(metavar="YAML", help="A model that reads the texts: model, base_url ...")
    ] = None,
    seed: Annotated[int, _File(min=0, help="Of the resampling.", metavar="N")] = 0,
) -> None:
    """See where the teachers agree, conflict and drift."""
    options: dict[str, Any] = {
        "out": out, "claims": claims, "domain": domain, "column": column, "gold": gold, "reader": reader,
        "seed": seed,
    }  # fmt: skip
    if streams is not None:
        if recipe is not None or name or force:
            raise ConfigError("--streams measures a file alone. Leave out RECIPE, --name and --force.")
        _tell(_of_file(streams, **options), as_json)
        return
    stray = [key for key, given in options.items() if given and given != _USUAL.get(key)]
    if recipe is None or stray:
        more = f" (--{stray[0]} belongs to --streams)" if stray else ""
        raise ConfigError(f"measure needs a RECIPE, or --streams FILE{more}.")
    _tell(_of_run(recipe, runs, name, force), as_json)


_USUAL = {"claims": "auto", "domain": "generic"}


def _of_file(streams: Path, *, out: Path | None, column: list[str] | None, **options: Any) -> Path:
    from driftbound.exchanging import columns_of
    from driftbound.measuring import measure_file

    folder = out or Path(f"{streams}.measured")
    measure_file(streams, folder, columns=columns_of(column), **options)
    return folder


def _of_run(recipe: Path, runs: Path, name: str, force: bool) -> Path:
    from driftbound import pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(Recipe.read(find_recipe(recipe)), runs, name=name, only="measure", force=force)
    return folder.stage("measure")


def _tell(folder: Path, as_json: bool) -> None:
    import json

    from driftbound.report.measured_terminal import headline_sentences, measured_tables

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    tell(as_json, summary, [*measured_tables(summary), *folded(headline_sentences(summary)), str(folder)])
