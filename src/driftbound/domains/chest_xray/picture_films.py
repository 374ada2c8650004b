"""Films as PNG and JPEG: their levels, by depth and mode; no mirror images."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from driftbound.domains.chest_xray.films import (
    PNG,
    WHITE,
    Levels,
    Scale,
    Told,
    between,
    check_size,
    counts,
    levels_of,
    luminance,
    noted,
    stored_as_is,
)
from driftbound.errors import CaseError, ConfigError
from driftbound.store.manifest import one_line

if TYPE_CHECKING:
    from PIL.Image import Image as Opened

_ORIENTATION = 0x0112
_TURNS = {3: 2, 6: 3, 8: 1}
"""EXIF orientation -> quarter turns to the left; 1 is upright, the other four are mirror images."""
_MIRRORED = (2, 4, 5, 7)
_UNREADABLE = (OSError, SyntaxError, ValueError, struct.error)
_DEPTH = 24
"""Where a PNG says how many bits a value has."""


def levels_of_picture(data: bytes, path: Path, bits: int | None) -> Levels:
    """The levels of a PNG or JPEG, upright.

    Raises ``CaseError`` naming the file, ``ConfigError`` where truncated files would pass unseen.
    """
    from PIL import Image, ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ConfigError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES hides truncated films. Switch it off.")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            check_size(path, image.height, image.width)
            if image.format == "PNG":
                _check_chunks(data)
            if getattr(image, "n_frames", 1) != 1:
                raise CaseError(f"{path}: holds several pictures. Give each its own file.")
            turn = image.getexif().get(_ORIENTATION, 1)
            image.load()
            levels = _levels_of_opened(image, data, path, bits)
    except (*_UNREADABLE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = one_line(error).partition(" <_io.")[0]
        raise CaseError(f"{path}: not a readable film ({reason}). Restore the file.") from error
    return _turned(levels, path, turn)


def _check_chunks(data: bytes) -> None:
    """Raise ``ValueError`` for a PNG that ends early or whose checksums differ: Pillow lets some pass."""
    at, name = len(PNG), b""
    while name != b"IEND":
        try:
            length, name = struct.unpack_from(">I4s", data, at)
            (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        except struct.error:
            raise ValueError("it ends early") from None
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != checksum:
            raise ValueError(f"the checksum of its chunk {name.decode('latin-1')} differs")
        at += 12 + length


def _levels_of_opened(image: "Opened", data: bytes, path: Path, bits: int | None) -> Levels:
    """The levels of a picture by its mode; what is no film raises ``CaseError``."""
    depth = data[_DEPTH] if image.format == "PNG" else 8
    clear = image.info.get("transparency")
    told = Told(
        source=str(image.format),
        photometric=image.mode,
        bits=depth,
        original_size=(image.height, image.width),
        scale="stored",
        scaled_from=(0.0, float(WHITE)),
    )
    if image.mode == "I;16":
        stored_HW = np.asarray(image)
        return _deep(stored_HW, None if clear is None else stored_HW == clear, told, path, bits)
    if depth > 8:
        # Pillow opens these with 8 bits, and of 12 bits in 16 four would be left.
        raise CaseError(f"{path}: 16 bits with colour or transparency. Convert it to 16 bits of grey.")
    if image.mode in ("LA", "PA", "RGBA") or clear is not None:
        rgba_HW4 = np.asarray(image.convert("RGBA"))
        opaque_HW = rgba_HW4[..., 3:] / WHITE
        over_black_HW3 = np.rint(rgba_HW4[..., :3] * opaque_HW).astype(np.uint8)
        note = () if opaque_HW.min() == 1 else ("transparent parts were laid over black",)
        blank_HW = rgba_HW4[..., 3] == 0
        return Levels(
            pixels=luminance(over_black_HW3),
            shades=stored_as_is(),
            blank=blank_HW if blank_HW.any() else None,
            told=replace(told, notes=note),
        )
    if image.mode not in ("1", "L", "P", "RGB"):
        raise CaseError(f"{path}: colours of mode {image.mode} are not read. Convert it to grey.")
    grey_HW = np.asarray(image.convert("RGB").convert("L") if image.mode == "P" else image.convert("L"))
    return Levels(pixels=grey_HW, shades=stored_as_is(), blank=None, told=told)


def _deep(
    stored_HW: NDArray[Any], blank_HW: NDArray[np.bool_] | None, told: Told, path: Path, bits: int | None
) -> Levels:
    """Sixteen bits of grey; ``.convert("L")`` would make white of everything above 255."""
    if bits is not None and int(stored_HW.max()) >= 2**bits:
        raise CaseError(f"{path}: holds {stored_HW.max()}, too much for {bits} bits. Correct `bits`.")
    level_HW, value_N = levels_of(stored_HW)
    seen = np.flatnonzero(counts(level_HW, blank_HW, len(value_N)))
    low, high = float(value_N[seen[0]]), float(value_N[seen[-1]])
    if bits is not None:
        low, high = 0.0, 2.0**bits - 1
    scale: Scale = "own range" if bits is None else "declared bits"
    return Levels(
        pixels=level_HW,
        shades=between(value_N, low, high),
        blank=blank_HW,
        told=replace(told, bits=bits or told.bits, scale=scale, scaled_from=(low, high)),
    )


def _turned(levels: Levels, path: Path, orientation: object) -> Levels:
    """Turned as EXIF asks; a mirror image is refused, nobody knowing which side is which."""
    if orientation in _MIRRORED:
        raise CaseError(
            f"{path}: EXIF orientation {orientation} asks for a mirror image, which swaps left and right. "
            "Store the film upright."
        )
    if orientation == 1:
        return levels
    quarters = _TURNS.get(orientation) if isinstance(orientation, int) else None
    if quarters is None:
        return replace(levels, told=noted(levels.told, f"unknown EXIF orientation {orientation}, not turned"))
    return replace(
        levels,
        pixels=np.rot90(levels.pixels, quarters),
        blank=None if levels.blank is None else np.rot90(levels.blank, quarters),
        told=replace(levels.told, turned=90 * quarters),
    )
