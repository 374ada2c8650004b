"""Images: read as bytes, and refused early when nobody could look at them."""

import io
from pathlib import Path

from driftbound.errors import CaseError
from driftbound.store.manifest import one_line

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
"""What the endpoints take."""


def read_image(path: Path) -> bytes:
    """The file's bytes, unchanged, after a trial decoding.

    Raises ``CaseError`` naming the file when it is missing or not a readable image.
    """
    from PIL import Image

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CaseError(f"{path}: image is missing. Check the path or restore the file.") from None
    except OSError as error:
        raise CaseError(f"{path}: image cannot be read ({one_line(error)}). Restore it.") from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            kind = image.format
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = one_line(error).replace(str(path), "").partition(" <_io.")[0]
        raise CaseError(
            f"{path}: not a readable image ({reason}). Check the path or restore the file."
        ) from error
    if kind not in FORMATS:
        raise CaseError(f"{path}: {kind} images are taken by few models. Convert it to PNG.")
    return data
