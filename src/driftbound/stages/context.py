"""Context: what every stage is handed; its recipe, its run folder and its field."""

from dataclasses import dataclass

from driftbound.config import Recipe
from driftbound.protocols import Domain
from driftbound.store.folder import RunFolder


@dataclass(frozen=True)
class Context:
    """One run, as a stage sees it."""

    recipe: Recipe
    folder: RunFolder
    domain: Domain
