"""Films: a chest X-ray as it lies on a disk made one grey picture of 8 bits; what was done is told."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import CaseError, ConfigError
from driftbound.store.manifest import one_line

How = Literal["none", "lut", "linear", "linear_exact", "sigmoid"]
Scale = Literal["stored", "own range", "declared bits", "window"]

PNG, JPEG, DICOM = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"DICM"
"""How files begin; DICOM's stands at byte 128."""
WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How stored values were chosen for the eye."""

    how: How = "none"
    centre: float | None = None
    width: float | None = None
    offered: int = 0
    """Windows or tables in the file; the first was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a film was and what was done to it. Sizes are (height, width) in pixels."""

    source: str
    """``PNG``, ``JPEG`` or ``DICOM``."""
    photometric: str
    """DICOM's word, else the mode under which the file was opened (``L``, ``I;16``, ``RGBA``)."""
    bits: int
    """Of one stored value."""
    original_size: tuple[int, int]
    """As stored, before any turn."""
    scale: Scale
    """What became black and white: ``stored`` values as they are, what occurs, what fits, the window."""
    scaled_from: tuple[float, float] | None = None
    """The values that became black and white, before an inversion; ``None``: a table or a sigmoid."""
    window: Window = Window()
    inverted: bool = False
    turned: int = 0
    """Degrees to the left, as EXIF asks."""
    clipped: tuple[float, float] | None = None
    """Percentiles that became black and white."""
    resized_to: tuple[int, int] | None = None
    """Of the film itself, without the padding."""
    padded: tuple[int, int, int, int] | None = None
    """Black rows above and below, black columns left and right."""
    view: str = ""
    """ViewPosition of a DICOM."""
    notes: tuple[str, ...] = ()
    """What is unusual, a few words each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A film that can be looked at: black is 0, and left stays left."""

    pixels: NDArray[np.uint8]
    """(H, W)."""
    told: Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """A film before it is grey. A level is a stored value, counted from the lowest: at most 65,536."""

    pixels: NDArray[Any]
    """Level of each pixel (H, W)."""
    shades: NDArray[np.float64]
    """Shade of each level (N,), 0 to 1, before an inversion."""
    blank: NDArray[np.bool_] | None
    """Pixels (H, W) that show nothing, padding or transparent: black at the end, no part of any range."""
    told: Told


def read_film(
    path: Path, *, size: int | None = None, clip: tuple[float, float] | None = None, bits: int | None = None
) -> Picture:
    """Read a PNG, JPEG or DICOM as one grey picture (H, W) of 8 bits.

    ``size`` makes it a square of that side, its aspect kept, black around it. ``clip`` makes black and
    white of two percentiles, such as (0.5, 99.5). A PNG of 16 bits is scaled by what occurs in it, or
    from 0 to 2**``bits`` - 1; a DICOM declares its own bits.

    Nothing is ever mirrored: the side of a finding depends on it.

    Raises ``CaseError`` naming the file that cannot be read, ``ConfigError`` for impossible options.
    """
    return film_of(content_of(path), path, size=size, clip=clip, bits=bits)


def content_of(path: Path) -> bytes:
    """A film's bytes. Raises ``CaseError`` where there are none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CaseError(f"{path}: film is missing. Check the path or restore the file.") from None
    except OSError as error:
        raise CaseError(f"{path}: film cannot be read ({one_line(error)}). Restore it.") from error


def film_of(
    data: bytes,
    path: Path,
    *,
    size: int | None = None,
    clip: tuple[float, float] | None = None,
    bits: int | None = None,
) -> Picture:
    """``read_film`` of bytes that somebody has read; ``path`` is for messages."""
    check_options(size=size, clip=clip, bits=bits)
    if data[128:132] == DICOM:
        from driftbound.domains.chest_xray.dicom_films import levels_of_dicom

        levels = levels_of_dicom(data, path)
    elif data.startswith((PNG, JPEG)):
        from driftbound.domains.chest_xray.picture_films import levels_of_picture

        levels = levels_of_picture(data, path, bits)
    else:
        raise CaseError(f"{path}: is neither PNG, JPEG nor a DICOM file. Convert it to one of these.")
    grey_HW, told = _grey(levels, clip)
    if size is not None:
        grey_HW, told = _square(grey_HW, told, size)
    return Picture(pixels=np.ascontiguousarray(grey_HW), told=told)


def check_options(*, size: int | None, clip: tuple[float, float] | None, bits: int | None) -> None:
    """Raise ``ConfigError`` for options that no film can be read with."""
    if size is not None and size < 1:
        raise ConfigError(f"size {size}: a film needs at least one pixel. Give its side in pixels.")
    if clip is not None and not 0 <= clip[0] < clip[1] <= 100:
        raise ConfigError(f"clip {clip}: no two percentiles. Give the lower and the higher, in 0 to 100.")
    if bits is not None and not 8 < bits <= 16:
        raise ConfigError(f"bits {bits}: a PNG of 16 bits holds values of 9 to 16. Give one of these.")


def check_size(path: Path, rows: int, columns: int) -> None:
    """Raise ``CaseError`` for more pixels than Pillow's MAX_IMAGE_PIXELS, before they are decoded."""
    from PIL import Image

    most = Image.MAX_IMAGE_PIXELS
    if most is not None and rows * columns > most:
        raise CaseError(
            f"{path}: {rows} x {columns} pixels are more than the {most} that are safe to decode. Check it."
        )


def luminance(colour_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Red, green and blue as brightness by ITU-R 601; equal thirds keep their value exactly."""
    from PIL import Image

    return np.asarray(Image.fromarray(colour_HW3).convert("L"))


def stored_as_is() -> NDArray[np.float64]:
    """Shades of values of 8 bits that are grey already."""
    return np.arange(WHITE + 1) / WHITE


# From levels to grey


def levels_of(stored_HW: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Level of each pixel (H, W) and value of each level (N,), for stored whole numbers (H, W)."""
    least, most = int(stored_HW.min()), int(stored_HW.max())
    return stored_HW.astype(np.int32) - least, np.arange(least, most + 1, dtype=np.float64)


def counts(pixels: NDArray[Any], blank: NDArray[np.bool_] | None, n: int) -> NDArray[np.intp]:
    """How often each of ``n`` levels (N,) is seen; of a film that is blank all over every pixel counts."""
    seen = pixels.ravel() if blank is None or blank.all() else pixels[~blank]
    return np.bincount(seen, minlength=n)


def between(values_N: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Shades from 0 at ``low`` to 1 at ``high``; all 0 where there is nothing between them."""
    if high <= low:
        return np.zeros_like(values_N)
    return np.clip((values_N - low) / (high - low), 0, 1)


def _grey(levels: Levels, clip: tuple[float, float] | None) -> tuple[NDArray[np.uint8], Told]:
    """Levels as 8 bits: clipped, then inverted once, then blank parts black."""
    shade_N, told = levels.shades, levels.told
    if clip is not None:
        # Percentiles are of the film as it is looked at, hence the other way round before an inversion.
        below, above = clip[0], 100 - clip[1]
        low, high = _cuts(levels, *((above, below) if told.inverted else (below, above)))
        if high > low:
            shade_N = between(shade_N, low, high)
            told = replace(told, clipped=(float(clip[0]), float(clip[1])))
        else:
            told = noted(told, "not clipped, both percentiles are one shade")
    grey_N = np.rint(WHITE * shade_N).astype(np.uint8)
    if told.inverted:
        grey_N = WHITE - grey_N
    grey_HW = grey_N[levels.pixels]
    if levels.blank is not None:
        grey_HW[levels.blank] = 0
    return grey_HW, noted(told, "one shade only") if grey_HW.min() == grey_HW.max() else told


def _cuts(levels: Levels, below: float, above: float) -> tuple[float, float]:
    """The lowest and the highest shade when so many per cent of the film may lie beyond each."""
    order_N = np.argsort(levels.shades, kind="stable")
    shade_N = levels.shades[order_N]
    count_N = counts(levels.pixels, levels.blank, len(shade_N))[order_N]
    per_cent = count_N.sum() / 100
    low = int(np.searchsorted(np.cumsum(count_N), below * per_cent, side="right"))
    high = int(np.searchsorted(np.cumsum(count_N[::-1]), above * per_cent, side="right"))
    last = len(shade_N) - 1
    return float(shade_N[min(low, last)]), float(shade_N[last - min(high, last)])


def _square(grey_HW: NDArray[np.uint8], told: Told, size: int) -> tuple[NDArray[np.uint8], Told]:
    """The film in the middle of a black square of ``size`` pixels, as large as fits."""
    from PIL import Image

    rows, columns = grey_HW.shape
    longer = max(rows, columns)
    height, width = (max(1, round(side * size / longer)) for side in (rows, columns))
    if (height, width) != (rows, columns):
        # Bilinear does not overshoot; sharper filters draw fine lines beside edges, as a pneumothorax does.
        film = Image.fromarray(grey_HW).resize((width, height), Image.Resampling.BILINEAR)
        grey_HW, told = np.asarray(film), replace(told, resized_to=(height, width))
    if height == width:
        return grey_HW, told
    above, left = (size - height) // 2, (size - width) // 2
    padded = (above, size - height - above, left, size - width - left)
    return np.pad(grey_HW, (padded[:2], padded[2:])), replace(told, padded=padded)


def noted(told: Told, *notes: str) -> Told:
    """With more notes."""
    return replace(told, notes=(*told.notes, *notes))
