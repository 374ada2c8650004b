"""The command view: opens a run in a browser on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from driftbound.telling import AsJson


def view(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, e.g. runs/demo.", show_default=False)
    ],
    beside: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Another run of the same cases.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; else this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8765,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    as_json: AsJson = False,
) -> None:
    """Look at a run case by case, filter, search, compare and mark; ends with Ctrl-C."""
    from driftbound import viewing

    viewing.view(run, beside=beside, host=host, port=port, browser=browser, as_json=as_json)
