"""Films: the images of a case, found inside the run and nowhere else, or why one cannot be shown."""

from dataclasses import dataclass
from pathlib import Path

from driftbound.records import Case
from driftbound.viewer.opened import Opened

_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Film:
    """One image: its type and its place, or with another ``status`` than 200 why it is not shown."""

    status: int
    said: str
    path: Path


def film_of(run: Opened, case: Case, number: int) -> Film:
    """The image ``number`` of a case; by its number, never by a path that somebody names."""
    root = run.root.resolve()
    try:
        path = (root / case.images[number]).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            return Film(404, "The image does not lie in the run.", path)
        with path.open("rb") as file:
            start = file.read(4)
    except (OSError, ValueError):
        return Film(503, "The image cannot be read.", root)
    kind = next((kind for magic, kind in _TYPES.items() if start.startswith(magic)), "")
    return Film(200, kind, path) if kind else Film(415, "The image is neither PNG nor JPEG.", path)


def films_of(run: Opened, case: Case) -> list[Film]:
    """All images of a case."""
    return [film_of(run, case, number) for number in range(len(case.images))]
