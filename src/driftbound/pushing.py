"""Command push: a student, an export or a report goes to a model hub, through the data gate."""

from pathlib import Path
from typing import Annotated

import typer

from driftbound.recipe_files import find_recipe
from driftbound.telling import AsJson, tell


def push(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="RUN:bootstrapped, RUN:aligned, a checkpoint folder, an export or a report folder.",
            show_default=False,
        ),
    ],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.", show_default=False)
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE",
            help="Whose data_use.acknowledgement names the hub; for what is credentialed.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="For everybody; else the repository is private.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload to a model hub, with the token in HF_TOKEN."""
    from driftbound import uploading
    from driftbound.config import Recipe

    given = None if recipe is None else Recipe.read(find_recipe(recipe))
    address = uploading.push(what, repo, given, public=public)
    tell(as_json, {"pushed": what, "address": address}, [address])
