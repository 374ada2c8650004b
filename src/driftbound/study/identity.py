"""Identity: what makes two jobs of a study the same, today and when recipes have got more keys."""

import hashlib
import json
from typing import Any

from driftbound.config import Recipe

LATER: dict[tuple[str, str], Any] = {
    ("evaluate", "samples"): 1,
    ("evaluate", "temperature"): 0.7,
    ("evaluate", "auroc"): False,
    ("evaluate", "clinical"): {},
}
"""Keys that are younger than results which are kept, each with the value that means what was done without it:
so a key that is added makes no result stale."""


def fingerprint(recipe: Recipe, *more: Any) -> str:
    """Hash of a recipe, but for its name and what of ``LATER`` is as before, and of what else decides."""
    given = recipe.model_dump(mode="json", exclude={"name"})
    for (table, key), before in LATER.items():
        if given[table].get(key) == before:
            del given[table][key]
    return hashlib.sha256(json.dumps([given, *more], sort_keys=True).encode()).hexdigest()[:16]
