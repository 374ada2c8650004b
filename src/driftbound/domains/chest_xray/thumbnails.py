"""Thumbnails: films read once and kept as PNG, named by what they were made of and how."""

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from driftbound.domains.chest_xray.films import Picture, Told, Window, check_options, content_of, film_of
from driftbound.store.manifest import atomic_write_bytes

RULES = 1
"""Raised when films are read differently: what older rules made is not taken any more."""
_TOLD = "driftbound"
_PAIRS = ("original_size", "scaled_from", "clipped", "resized_to", "padded", "notes")
_WRITING = Lock()
"""Partial files are named by process, so the threads of one take turns."""


def thumbnail(
    path: Path, cache: Path, *, size: int, clip: tuple[float, float] | None = None, bits: int | None = None
) -> tuple[Path, Told]:
    """A film as a square PNG of grey in ``cache``, made unless it is there, and what was done to it.

    Its name is a hash of the film's bytes, of all options and of the rules of reading; it holds what is
    told in a text chunk. Several processes may share a cache. It holds films: guard it like the films.

    Raises what ``read_film`` does, and ``StoreError`` where the cache cannot be written.
    """
    check_options(size=size, clip=clip, bits=bits)
    data = content_of(path)
    options = {"rules": RULES, "size": size, "clip": clip and [float(each) for each in clip], "bits": bits}
    asked = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    asked.update(hashlib.sha256(data).digest())
    name = asked.hexdigest()
    kept = cache / name[:2] / f"{name}.png"  # 256 folders: no file system likes a million files in one
    told = _told_in(kept)
    if told is None:
        picture = film_of(data, path, size=size, clip=clip, bits=bits)
        told = picture.told
        with _WRITING:
            atomic_write_bytes(kept, _as_png(picture))
    return kept, told


def _as_png(picture: Picture) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(_TOLD, json.dumps(asdict(picture.told)))
    file = io.BytesIO()
    Image.fromarray(picture.pixels).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _told_in(kept: Path) -> Told | None:
    """What a kept PNG tells; ``None`` for one that is missing or damaged, which is then made again."""
    from PIL import Image

    try:
        with Image.open(kept, formats=("PNG",)) as image:
            image.load()
            return _from_json(json.loads(image.info[_TOLD]))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError):
        return None


def _from_json(told: dict[str, Any]) -> Told:
    """The reverse of ``asdict`` and JSON, which knows no tuples."""
    tuples = {key: tuple(told[key]) for key in _PAIRS if told[key] is not None}
    return Told(**{**told, **tuples, "window": Window(**told["window"])})
