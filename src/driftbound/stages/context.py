"""Context: what every stage is handed; its recipe, its run folder and its field."""

from dataclasses import dataclass, field

from driftbound.config import Recipe
from driftbound.protocols import Domain
from driftbound.store.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Asking:
    """Which part of the asking ``collect`` does; by default all of the first."""

    wave: int = 0
    """0: what the method learns from; a later one asks the anchor cases again."""
    shard: int = 0
    shards: int = 1
    """This machine asks about every ``shards``-th case, from number ``shard`` on."""


@dataclass(frozen=True)
class Context:
    """One run, as a stage sees it."""

    recipe: Recipe
    folder: RunFolder
    domain: Domain
    asking: Asking = field(default_factory=Asking)
