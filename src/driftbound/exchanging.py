"""Commands that exchange: a run's answers and groups go out to other tools, other answers come in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from driftbound.errors import ConfigError
from driftbound.telling import AsJson, tell

RunFolderArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder, e.g. runs/demo.", show_default=False)
]


def export_command(
    run: RunFolderArgument,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="jsonl, parquet: answers. hf-dataset: a folder of them with a card. rows, trl, ms-swift, "
            "llamafactory, nemo-rl: groups. ms-swift-sft, llamafactory-sft: answers to train on.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File (or folder) to write.", show_default=False)],
    split: Annotated[
        str,
        typer.Option(help="Of one split; else all answers, or train for a trainer.", show_default=False),
    ] = "",
    images: Annotated[
        bool, typer.Option("--images", help="With the images themselves (hf-dataset, public cases alone).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's answers or groups for another tool."""
    from driftbound.exporting import export

    n = export(run, to, out, split=split, images=images)
    tell(as_json, {"file": out, "to": to, "rows": n}, [f"{out}: {n} rows"])


def import_command(
    run: RunFolderArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Exported answers; or, with --teacher, any recording.", show_default=False
        ),
    ],
    teacher: Annotated[
        str,
        typer.Option(metavar="NAME", help="Teacher of the run whose answers they are.", show_default=False),
    ] = "",
    stream: Annotated[
        str,
        typer.Option(metavar="NAME", help="What FILE calls the teacher; else the same.", show_default=False),
    ] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OURS=THEIRS", help="Column of FILE, e.g. case_id=sample_id; repeat.", show_default=False
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="SET", help="FILE is a published set of the field: cxr-max.", show_default=False
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take answers from elsewhere into a run."""
    from driftbound.importing import import_answers

    columns = columns_of(column)
    new, there = import_answers(run, file, teacher=teacher, stream=stream, columns=columns, format=format)
    tell(as_json, {"new": new, "there": there}, [f"{new} new answers, {there} were there"])


def columns_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """What ``--column OURS=THEIRS`` says; raises ``ConfigError`` for anything else."""
    columns = {}
    for pair in pairs or ():
        ours, equals, theirs = pair.partition("=")
        if not equals:
            raise ConfigError(f"--column {pair}: is no OURS=THEIRS. Write e.g. --column case_id=sample_id.")
        columns[ours] = theirs
    return columns
