"""Command line: one verb per stage, and run, demo, doctor, ask, show. Nothing heavy is imported here."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from driftbound import __version__
from driftbound.errors import ConfigError, DriftboundError
from driftbound.store.folder import VERBS

HELP = {
    "collect": "Ask every teacher about every case; nothing that was answered is lost.",
    "measure": "See where the teachers agree, conflict and drift.",
    "bootstrap": "Train the student on all teachers' trajectories.",
    "synthesize": "Make one consensus trajectory per case.",
    "align": "Train the student to prefer the consensus over all N trajectories at once.",
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

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).", show_default=False)]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
Name = Annotated[str, typer.Option(help="Name of the run; else the recipe's.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Redo what is finished.")]


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
) -> None:
    """Run a recipe, all seven stages; a finished stage is skipped, a killed one goes on."""
    from driftbound import pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(Recipe.read(recipe), runs, name=name, start=start, only=only, force=force)
    if only in ("", "report"):
        typer.echo(str(folder.stage("report") / "report.html"))


@app.command(rich_help_panel="The whole method")
def demo(
    runs: Runs = Path("runs"),
    short: Annotated[
        bool, typer.Option("--short", help="A few cases and steps, to see that it runs.")
    ] = False,
    force: Force = False,
) -> None:
    """Run the recipe that ships with the package: phantoms, seven teachers, one student."""
    from driftbound import pipeline
    from driftbound.config import Recipe

    recipe = Recipe.read(shipped_recipe("short" if short else "demo"))
    folder = pipeline.run(recipe, runs, force=force)
    _show_table(folder.root)
    typer.echo(f"Report: {folder.stage('report') / 'report.html'}")


def _run_stage(verb: str, recipe: Path, runs: Path, name: str, force: bool) -> None:
    from driftbound import pipeline
    from driftbound.config import Recipe

    folder = pipeline.run(Recipe.read(recipe), runs, name=name, only=verb, force=force)
    typer.echo(str(folder.stage(verb)))


def _stage_command(verb: str) -> None:
    """Register the command of one stage: ``run --only`` that stage."""

    def command(recipe: RecipeFile, runs: Runs = Path("runs"), name: Name = "", force: Force = False) -> None:
        _run_stage(verb, recipe, runs, name, force)

    app.command(verb, help=HELP[verb], rich_help_panel="One stage")(command)


def _align_command() -> None:
    """Register ``align``: a stage of a recipe, or a training from a file of rows."""

    def command(
        recipe: Annotated[
            Path | None, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).", show_default=False)
        ] = None,
        runs: Runs = Path("runs"),
        name: Name = "",
        force: Force = False,
        groups: Annotated[
            Path | None,
            typer.Option(
                help="Instead of a recipe: rows of prompt, chosen, rejected, images (JSONL, JSON, Parquet).",
                show_default=False,
            ),
        ] = None,
        base: Annotated[
            str, typer.Option(help="With --groups: checkpoint to train, or phantom-base.", show_default=False)
        ] = "",
        out: Annotated[
            Path | None, typer.Option(help="With --groups: folder for the student.", show_default=False)
        ] = None,
        beta: Annotated[float, typer.Option(help="With --groups.")] = 0.1,
        anchor: Annotated[float, typer.Option(min=0, help="With --groups: weight of the NLL.")] = 0.0,
        epochs: Annotated[float, typer.Option(help="With --groups.")] = 1.0,
        learning_rate: Annotated[float, typer.Option(help="With --groups.")] = 1e-5,
        max_length: Annotated[int, typer.Option(min=8, help="With --groups: tokens.")] = 1024,
    ) -> None:
        if groups is None:
            if recipe is None or base or out is not None:
                raise ConfigError("align needs a RECIPE, or --groups FILE with --base and --out.")
            _run_stage("align", recipe, runs, name, force)
            return
        if recipe is not None or name or force:
            raise ConfigError("--groups trains without a recipe. Leave out RECIPE, --name and --force.")
        if not base or out is None:
            raise ConfigError("--groups needs --base CHECKPOINT and --out FOLDER.")
        from driftbound import aligning

        rates = {"epochs": epochs, "learning_rate": learning_rate}
        aligning.align(groups, base, out, beta=beta, anchor=anchor, max_length=max_length, **rates)
        typer.echo(str(out))

    app.command("align", help=HELP["align"], rich_help_panel="One stage")(command)


for _verb in VERBS:
    _align_command() if _verb == "align" else _stage_command(_verb)


@app.command(rich_help_panel="Looking")
def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, e.g. runs/demo.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The whole summary as JSON.")] = False,
) -> None:
    """Show the results table of a run."""
    if as_json:
        import json

        typer.echo(json.dumps(_summary(run), indent=2))
    else:
        _show_table(run)


@app.command(rich_help_panel="Looking")
def ask(
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT",
            help="Checkpoint folder, phantom-base, or RUN:base, RUN:bootstrapped, RUN:aligned.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    question: Annotated[str, typer.Option(help="Else the question of the field.", show_default=False)] = "",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 160,
) -> None:
    """Put a question to a student about each image."""
    from driftbound import asking

    for path, answer in asking.ask(student, images, question=question, max_new_tokens=max_new_tokens):
        typer.echo(f"{path}: {answer}", file=sys.stdout)  # its place now: above the bar on a terminal


@app.command(rich_help_panel="Looking")
def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="Recipe to check too.", show_default=False)
    ] = None,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what this machine and a recipe can do. Loads no model library."""
    from driftbound import doctor as examination

    checks = examination.examine(recipe, runs)
    if as_json:
        typer.echo(examination.as_json(checks))
    else:
        _stdout(examination.as_table(checks))
    wrong = [check for check in checks if check.ok is False]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ConfigError(f"{wrong[0].name}: {wrong[0].line}{more}")


def shipped_recipe(name: str) -> Path:
    """Path of a recipe that lies in the package: ``demo`` or ``short``."""
    return Path(__file__).parent / "recipes" / f"{name}.yaml"


def _summary(run: Path) -> dict[str, Any]:
    import json

    from driftbound.errors import StoreError
    from driftbound.store.folder import RunFolder

    path = RunFolder(run).stage("evaluate") / "summary.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}). Name a run folder whose evaluate has finished."
        ) from None
    if not isinstance(given, dict):
        raise StoreError(f"{path}: is no table of results. Redo it with --from evaluate.")
    return given


def _show_table(run: Path) -> None:
    from driftbound.report.tables import headline_of, score_rows, splits_of
    from driftbound.report.terminal import headline

    summary = _summary(run)
    _stdout(headline(summary))
    results = next(iter(splits_of(summary).values()))
    for verdict in headline_of(results, score_rows(results, ())).verdicts:
        typer.echo(verdict.sentence)


def _stdout(table: Any) -> None:
    from rich.console import Console

    Console().print(table)


def _complain(line: str) -> None:
    """One line on standard error, red on a terminal."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(line, style="red"), soft_wrap=True)


if __name__ == "__main__":
    main()
