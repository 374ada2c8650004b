"""Recipe files: those that ship with the package are known by name."""

from difflib import get_close_matches
from pathlib import Path

from driftbound.errors import ConfigError

SHIPPED = {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}
"""Recipes in the package, by name."""


def find_recipe(given: str | Path) -> Path:
    """The file that is meant: a path or, where there is no such file, the name of a shipped recipe.

    A bare word that is neither raises ``ConfigError``; of a path that is not there its reader complains.
    """
    path, word = Path(given), str(given)
    if path.exists() or path.name != word or path.suffix in (".yaml", ".yml"):
        return path
    if word in SHIPPED:
        return SHIPPED[word]
    near = get_close_matches(word, SHIPPED, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"recipes that ship: {', '.join(SHIPPED)}."
    raise ConfigError(f"no file and no shipped recipe is called {word!r}; {hint}")
