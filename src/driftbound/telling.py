"""Telling: what a command has found, one JSON document for machines, or lines and tables for a person."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import Manifest

AsJson = Annotated[bool, typer.Option("--json", help="Results as one JSON document; notes go to stderr.")]
"""The option of every command that prints results."""


def tell(as_json: bool, value: Any, shown: Iterable[Any]) -> None:
    """Print ``value`` as the only thing on standard output, or else the lines and tables of ``shown``."""
    if as_json:
        typer.echo(document(value))
        return
    for each in shown:
        if isinstance(each, str):
            typer.echo(each)
        else:
            stdout(each)


def document(value: Any) -> str:
    """A value as JSON that every reader takes: paths are text, numbers that are none are ``null``.

    >>> print(document({"loss": float("nan"), "runs": [Path("a/b"), (1, 2.5)]}))
    {
      "loss": null,
      "runs": [
        "a/b",
        [
          1,
          2.5
        ]
      ]
    }
    """
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def folded(sentences: Iterable[str]) -> list[str]:
    """Sentences in lines of 80 columns, words left whole."""
    return [fill(each, 80, break_long_words=False, break_on_hyphens=False) for each in sentences]


def stdout(table: Any) -> None:
    """Print a table as wide as the terminal."""
    from rich.console import Console

    Console().print(table)


def of_stage(folder: RunFolder, verb: str) -> dict[str, Any] | None:
    """Where a finished stage lies and what it says of itself; ``None`` where it has not finished."""
    manifest = Manifest.read(folder.stage(verb))
    return None if manifest is None else {"folder": folder.stage(verb), "facts": manifest.facts}


def of_run(folder: RunFolder) -> dict[str, Any]:
    """Where a run lies, its report (``None``: not yet), and its stages in order, finished ones with facts."""
    page = folder.stage("report") / "report.html"
    return {
        "run": folder.root,
        "report": page if page.is_file() else None,
        "stages": {verb: of_stage(folder, verb) for verb in VERBS},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
