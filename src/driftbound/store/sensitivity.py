"""Sensitivity of what is left: a checkpoint folder says its own; a run has the strictest of its parts."""

import json
from pathlib import Path

from driftbound.errors import StoreError
from driftbound.store.exchange import imported_sensitivity, strictest
from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import Manifest, one_line
from driftbound.store.tables import SENSITIVITIES

MARK = "driftbound.json"
"""In a checkpoint folder: it stays with the weights when the folder is copied away from its run."""


def mark_text(sensitivity: str) -> str:
    """What the mark of a checkpoint folder holds.

    >>> mark_text("credentialed")
    '{"sensitivity": "credentialed"}\\n'
    """
    return json.dumps({"sensitivity": sensitivity}) + "\n"


def marked(checkpoint: Path) -> str | None:
    """What a checkpoint folder says of its sensitivity; ``None`` where it says nothing.

    Raises ``StoreError`` for a mark that cannot be read or does not say.
    """
    path = checkpoint / MARK
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Restore the file.") from error
    said = given.get("sensitivity") if isinstance(given, dict) else None
    if said not in SENSITIVITIES:
        raise StoreError(
            f"{path}: does not say whether it is {' or '.join(SENSITIVITIES)}. Restore the file."
        )
    return str(said)


def of_run(folder: RunFolder) -> str:
    """The strictest of what a run's manifests say and of all that was taken in. Raises ``StoreError``."""
    places = (folder.root, *(folder.stage(verb) for verb in VERBS))
    said = [found.sensitivity for place in places if (found := Manifest.read(place)) is not None]
    return strictest([*said, imported_sensitivity(folder.stage("collect"))])
