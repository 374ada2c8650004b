"""The small base student that ships with the package, and the script that makes it."""

from pathlib import Path

PHANTOM_BASE = "phantom-base"
"""What a recipe calls it."""


def resolve_base(name: str) -> str:
    """Folder of the shipped checkpoint for ``phantom-base``; any other name stays as it is."""
    return str(Path(__file__).parent / "checkpoint") if name == PHANTOM_BASE else name
