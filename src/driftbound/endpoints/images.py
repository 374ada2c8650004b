"""Images on their way out: made to fit what an endpoint takes, or refused; what was done is said."""

import base64
import io
from functools import lru_cache
from typing import TYPE_CHECKING

from driftbound.endpoints.vendors import ImageRules
from driftbound.errors import CaseError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_SMALLEST_SIDE = 64
"""Pixels: an image is not made smaller than this to save bytes."""


@lru_cache(maxsize=256)
def data_url(image: bytes) -> str:
    """An image as base64 data URL; encoded once for all teachers that see it."""
    kind = _kind(image)
    if kind is None:
        raise ValueError("neither PNG, JPEG, GIF nor WebP")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _kind(image: bytes) -> str | None:
    return next((kind for signature, kind in _SIGNATURES.items() if image.startswith(signature)), None)


@lru_cache(maxsize=256)
def size_of(image: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises ``CaseError`` for bytes that are no image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaseError(f"{len(image)} bytes that are no readable image") from error


@lru_cache(maxsize=64)
def fit(image: bytes, rules: ImageRules, *, shrink: bool, largest_side: int | None) -> tuple[bytes, str]:
    """The image as it is sent, and what was done to it (empty: nothing, the bytes are the file's).

    ``largest_side`` is the recipe's own wish and always carried out; what is then still beyond the
    endpoint's rules is made smaller or, where ``shrink`` is off, refused: ``CaseError``.
    """
    kind = (_kind(image) or "unknown").upper()
    width, height = size_of(image)
    longer = max(width, height)
    wished = min(largest_side or longer, longer)
    side = min(rules.largest_side or wished, wished)
    reasons = []
    if kind not in rules.formats:
        reasons.append(f"{kind} is not taken")
    if side < wished:
        reasons.append(f"{width} x {height} pixels, {rules.largest_side} are taken")
    if rules.largest_bytes is not None and len(image) > rules.largest_bytes and wished == longer:
        reasons.append(f"{len(image)} bytes, {rules.largest_bytes} are taken")
    if reasons and not shrink:
        raise CaseError(f"image beyond the endpoint's limits ({'; '.join(reasons)})")
    if not reasons and side == longer:
        return image, ""
    made, size = _made(image, rules, side, shrink=shrink)
    return made, f"image {width} x {height} {kind}, {len(image)} bytes, sent as {size}, {len(made)} bytes"


def _made(image: bytes, rules: ImageRules, side: int, *, shrink: bool) -> tuple[bytes, str]:
    """The image with the longer side at most ``side``, smaller still until its bytes fit.

    What came without loss stays so while it fits; then JPEG of high quality, then fewer pixels. Where
    ``shrink`` is off, the first try must fit.
    """
    from PIL import Image

    picture, lossless = _opened(image)
    liked = ("PNG", "JPEG") if lossless else ("JPEG",)
    kinds: list[str] = [kind for kind in liked if kind in rules.formats]
    kinds += [kind for kind in ("WEBP", "PNG") if kind in rules.formats and not kinds]
    if not kinds:
        raise CaseError("the endpoint takes none of PNG, JPEG, WEBP")
    most = rules.largest_bytes or 2**62
    while True:
        scaled = picture.copy()
        scaled.thumbnail((side, side), Image.Resampling.LANCZOS)
        for kind in kinds:
            made = _encoded(scaled, kind)
            if len(made) <= most:
                return made, f"{scaled.width} x {scaled.height} {kind}"
            if not shrink:
                raise CaseError(
                    f"image beyond the endpoint's limits ({scaled.width} x {scaled.height} {kind} of "
                    f"{len(made)} bytes, {most} are taken)"
                )
        side = side * 3 // 4
        if side < _SMALLEST_SIDE:
            raise CaseError(f"image cannot be made small enough for {most} bytes")


def _opened(image: bytes) -> "tuple[Picture, bool]":
    """The picture the right way up, and whether its file held it without loss."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
            if opened.mode.startswith(("I", "F")):
                raise CaseError(
                    f"image of mode {opened.mode} cannot be made smaller without choosing a window"
                )
            grey, clear = opened.mode in ("1", "L", "LA"), opened.has_transparency_data
            upright = ImageOps.exif_transpose(opened)  # the turn is in metadata that a new file lacks
            picture = upright.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB"))
            return picture, opened.format not in ("JPEG", "MPO")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaseError(f"{len(image)} bytes that are no readable image") from error


def _encoded(picture: "Picture", kind: str) -> bytes:
    """The picture as a file; JPEG has no transparency: what is clear becomes white."""
    from PIL import Image

    if kind == "JPEG" and picture.mode in ("LA", "RGBA"):
        paper = Image.new("RGBA", picture.size, "white")
        mode = picture.mode.removesuffix("A")
        picture = Image.alpha_composite(paper, picture.convert("RGBA")).convert(mode)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **({} if kind == "PNG" else {"quality": 95}))
    except (OSError, ValueError) as error:  # JPEG and WebP have a largest side of their own
        raise CaseError(f"image of {picture.width} x {picture.height} pixels cannot be {kind}") from error
    return buffer.getvalue()
