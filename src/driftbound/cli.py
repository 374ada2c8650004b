"""Command line: one verb per stage, and run, demo, doctor, ask, show. Nothing heavy is imported here."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from driftbound import (
    __version__,
    collect_commands,
    exchanging,
    looking,
    measure_command,
    pushing,
    study_command,
    view_command,
)
from driftbound.errors import ConfigError, DriftboundError
from driftbound.recipe_files import SHIPPED, find_recipe
from driftbound.store.folder import VERBS
from driftbound.telling import AsJson, of_run, of_stage, tell

HELP = {
    "collect": "Ask every teacher about every case; nothing that was answered is lost.",
    "measure": "See where the teachers agree, conflict and drift.",
    "bootstrap": "Train the student on all teachers' trajectories.",
    "synthesize": "Make one consensus trajectory per case; of several rounds, the first's.",
    "align": "Train the student to prefer the consensus over all N trajectories at once; all rounds.",
    "evaluate": "Compare teachers, students and consensus on held-out cases.",
    "report": "Make the page that shows it all.",
}


class OneLineErrors(TyperGroup):
    """A command group whose foreseeable failures are one line and an exit code, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command: 2 for what the user can put right, 130 for an interruption."""
        from driftbound.store.disk import disk_trouble

        try:
            return super().invoke(ctx)
        except DriftboundError as error:
            _complain(f"driftbound: {' '.join(str(error).split())}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            _complain("stopped; run the same command to go on")
            raise typer.Exit(130) from None
        except OSError as error:
            said = disk_trouble(error)
            if not said:
                raise
            _complain(f"driftbound: {said}. Make room or choose another folder, then run the same command.")
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

_RECIPE = typer.Argument(
    metavar="RECIPE", help="A recipe file, or the name of one that ships.", show_default=False
)
RecipeFile = Annotated[Path, _RECIPE]
RecipeOrNone = Annotated[Path | None, _RECIPE]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
Name = Annotated[str, typer.Option(help="Name of the run; else the recipe's.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Redo what is finished.")]
Rows: Any = partial(typer.Option, rich_help_panel="With --groups")


def main() -> None:
    """Entry point of the ``driftbound`` command."""
    app()


@app.callback(invoke_without_command=True)
def _driftbound(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say the version and stop.")] = False,
) -> None:
    """One trustworthy student from several conflicting, drifting teachers."""
    if version:
        typer.echo(f"driftbound {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.BadParameter("name a command; see driftbound --help", ctx=context)


@app.command(rich_help_panel="The whole method")
def run(
    recipe: RecipeFile,
    runs: Runs = Path("runs"),
    name: Name = "",
    start: Annotated[
        str, typer.Option("--from", metavar="STAGE", help="Redo from this stage on.", show_default=False)
    ] = "",
    only: Annotated[str, typer.Option(metavar="STAGE", help="Run just this stage.", show_default=False)] = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe, all seven stages; a finished stage is skipped, a killed one goes on."""
    from driftbound import pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(
        Recipe.read(find_recipe(recipe)), runs, name=name, start=start, only=only, force=force
    )
    page = folder.stage("report") / "report.html"
    tell(as_json, of_run(folder), [str(page)] if only in ("", "report") else [])


@app.command(rich_help_panel="The whole method")
def demo(
    runs: Runs = Path("runs"),
    short: Annotated[
        bool, typer.Option("--short", help="A few cases and steps, to see that it runs.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Run the recipe that ships with the package: phantoms, seven teachers, one student."""
    from driftbound import pipeline
    from driftbound.config import Recipe

    recipe = Recipe.read(SHIPPED["short" if short else "demo"])
    folder = pipeline.run(recipe, runs, force=force)
    if not as_json:
        looking.show_table(folder.root)
    tell(
        as_json,
        of_run(folder),
        [
            f"Report: {folder.stage('report') / 'report.html'}",
            f"Every case in a browser: driftbound view {folder.root}",
        ],
    )


def _run_stage(verb: str, recipe: Path, runs: Path, name: str, force: bool, as_json: bool) -> None:
    from driftbound import pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(Recipe.read(find_recipe(recipe)), runs, name=name, only=verb, force=force)
    value = {"run": folder.root, "stage": verb, **(of_stage(folder, verb) or {})}
    tell(as_json, value, [str(folder.stage(verb))])


def _stage_command(verb: str) -> None:
    """Register the command of one stage: ``run --only`` that stage."""

    def command(
        recipe: RecipeFile,
        runs: Runs = Path("runs"),
        name: Name = "",
        force: Force = False,
        as_json: AsJson = False,
    ) -> None:
        _run_stage(verb, recipe, runs, name, force, as_json)

    app.command(verb, help=HELP[verb], rich_help_panel="One stage")(command)


def _align(
    recipe: RecipeOrNone = None,
    runs: Runs = Path("runs"),
    name: Name = "",
    force: Force = False,
    as_json: AsJson = False,
    groups: Annotated[
        Path | None,
        Rows(
            help="Instead of a recipe: rows of prompt, chosen, rejected, images (JSONL, JSON, Parquet).",
            show_default=False,
        ),
    ] = None,
    base: Annotated[str, Rows(help="Checkpoint to train, or phantom-base.", show_default=False)] = "",
    out: Annotated[Path | None, Rows(help="Folder for the student.", show_default=False)] = None,
    beta: Annotated[float, Rows(help="How closely the reference is kept to.")] = 0.1,
    objective: Annotated[str, Rows(help="plackett_luce, pairwise, or sft: no rejected answers.")] = (
        "plackett_luce"
    ),
    anchor: Annotated[float, Rows(help="Weight of the chosen answer's NLL.")] = 0.0,
    nca: Annotated[float, Rows(help="Weight of NCA's absolute term.")] = 0.0,
    dpop: Annotated[float, Rows(help="Weight of DPOP's floor.")] = 0.0,
    epochs: Annotated[float, Rows()] = 1.0,
    learning_rate: Annotated[float, Rows()] = 1e-5,
    max_length: Annotated[int, Rows(help="Tokens of prompt, images and an answer.")] = 1024,
    row_tokens: Annotated[int, Rows(help="Tokens of a packed row; 0: a row per answer.")] = 4096,
    lora: Annotated[int, Rows(min=0, metavar="RANK", help="Train adapters; 0: all weights.")] = 0,
    weights: Annotated[str, Rows(help="float32, or bfloat16 with --lora.")] = "float32",
    gradient_checkpointing: Annotated[
        bool, Rows("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
) -> None:
    if groups is None:
        if recipe is None or base or out is not None:
            raise ConfigError("align needs a RECIPE, or --groups FILE with --base and --out.")
        _run_stage("align", recipe, runs, name, force, as_json)
        return
    if recipe is not None or name or force:
        raise ConfigError("--groups trains without a recipe. Leave out RECIPE, --name and --force.")
    if not base or out is None:
        raise ConfigError("--groups needs --base CHECKPOINT and --out FOLDER.")
    from driftbound import aligning

    settings = aligning.settings(
        lora,
        beta=beta,
        objective=objective,
        anchor=anchor,
        nca=nca,
        dpop=dpop,
        epochs=epochs,
        learning_rate=learning_rate,
        max_length=max_length,
        row_tokens=row_tokens,
        weights=weights,
        gradient_checkpointing=gradient_checkpointing,
    )
    aligning.align(groups, base, out, settings)
    tell(as_json, {"student": out, "groups": groups, "base": base}, [str(out)])


for _verb in VERBS:
    if _verb == "align":  # of a recipe, or from a file of rows
        app.command("align", help=HELP["align"], rich_help_panel="One stage")(_align)
    elif _verb == "measure":  # of a run, or of a file of answers
        app.command("measure", help=HELP["measure"], rich_help_panel="One stage")(measure_command.measure)
    elif _verb == "collect":  # whole, in parts, by batch file
        app.command("collect", help=HELP["collect"], rich_help_panel="One stage")(collect_commands.collect)
    else:
        _stage_command(_verb)


for _word, _exchanging in (
    ("merge", collect_commands.merge),
    ("export", exchanging.export_command),
    ("import", exchanging.import_command),
    ("push", pushing.push),
):
    app.command(_word, rich_help_panel="Answers from and to elsewhere")(_exchanging)

for _comparing in (study_command.study, study_command.sweep):
    app.command(rich_help_panel="Comparing")(_comparing)

for _looking in (looking.show, view_command.view, looking.ask):
    app.command(rich_help_panel="Looking")(_looking)


@app.command(rich_help_panel="Looking")
def doctor(
    recipe: RecipeOrNone = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say what this machine and a recipe can do. Loads no model library."""
    from driftbound import doctor as examination

    checks = examination.examine(None if recipe is None else find_recipe(recipe), runs)
    tell(as_json, examination.as_tables(checks), [examination.as_table(checks)])
    wrong = [check for check in checks if check.ok is False]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ConfigError(f"{wrong[0].name}: {wrong[0].line}{more}")


def _complain(line: str) -> None:
    """One line on standard error, red on a terminal."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(line, style="red"), soft_wrap=True)


if __name__ == "__main__":
    main()
