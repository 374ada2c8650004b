"""Recipe files: those that ship with the package are known by name."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from driftbound.errors import ConfigError

_FILES = {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}
STUDIES = {name: path for name, path in _FILES.items() if name.endswith("_study")}
"""Studies in the package, by name."""
SHIPPED = {name: path for name, path in _FILES.items() if name not in STUDIES}
"""Recipes in the package, by name."""


def find_recipe(given: str | Path, shipped: Mapping[str, Path] = SHIPPED, what: str = "recipe") -> Path:
    """The file that is meant: a path or, where there is no such file, the name of a shipped recipe.

    A bare word that is neither raises ``ConfigError``; of a path that is not there its reader complains.
    """
    path, word = Path(given), str(given)
    if path.exists() or path.name != word or path.suffix in (".yaml", ".yml"):
        return path
    if word in shipped:
        return shipped[word]
    near = get_close_matches(word, shipped, n=1)
    plural = "studies" if what == "study" else f"{what}s"
    hint = f"did you mean {near[0]!r}?" if near else f"{plural} that ship: {', '.join(shipped)}."
    raise ConfigError(f"no file and no shipped {what} is called {word!r}; {hint}")
