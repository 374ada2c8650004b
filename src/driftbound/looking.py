"""Commands that look at what is there: a run's results table, a student's answers."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


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
        show_table(run)


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


def show_table(run: Path) -> None:
    """Print the results table of a run and what it means."""
    from driftbound.report.tables import headline_of, score_rows, splits_of
    from driftbound.report.terminal import consistency, headline, others, reports

    summary = _summary(run)
    for table in (headline(summary), *others(summary), reports(summary), consistency(summary)):
        if table is not None:
            stdout(table)
    results = next(iter(splits_of(summary).values()))
    for verdict in headline_of(results, score_rows(results, ())).verdicts:
        typer.echo(verdict.sentence)
    show_rounds(run)


def show_rounds(run: Path) -> None:
    """Print what each of several rounds was worth; nothing where a run has one."""
    from driftbound.store.rounds import read_rounds

    for line in read_rounds(run):
        typer.echo(line)


def stdout(table: Any) -> None:
    """Print a table as wide as the terminal."""
    from rich.console import Console

    Console().print(table)
