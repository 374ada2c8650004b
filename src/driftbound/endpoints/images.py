"""Images on their way out: made to fit what an endpoint takes, or refused; what was done is said."""

import base64
import io
from functools import lru_cache

from driftbound.endpoints.vendors import ImageRules
from driftbound.errors import CaseError

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
    except (OSError, ValueError, SyntaxError) as error:
        raise CaseError(f"{len(image)} bytes that are no readable image") from error


@lru_cache(maxsize=64)
def fit(image: bytes, rules: ImageRules, *, shrink: bool, largest_side: int | None) -> tuple[bytes, str]:
    """The image as it is sent, and what was done to it (empty: nothing, the bytes are the file's).

    ``largest_side`` is the recipe's own wish and always carried out; beyond the endpoint's rules an
    image is made smaller or, where ``shrink`` is off, refused: ``CaseError``.
    """
    kind = (_kind(image) or "unknown").upper()
    width, height = size_of(image)
    side = min(each for each in (largest_side, rules.largest_side, max(width, height)) if each)
    wished = largest_side is not None and side == largest_side < max(width, height)
    reasons = []
    if kind not in rules.formats:
        reasons.append(f"{kind} is not taken")
    if rules.largest_side is not None and max(width, height) > rules.largest_side:
        reasons.append(f"{width} x {height} pixels, {rules.largest_side} are taken")
    if rules.largest_bytes is not None and len(image) > rules.largest_bytes and not wished:
        reasons.append(f"{len(image)} bytes, {rules.largest_bytes} are taken")
    if reasons and not shrink:
        raise CaseError(f"image beyond the endpoint's limits ({'; '.join(reasons)})")
    if not reasons and side == max(width, height):
        return image, ""
    made, size = _made(image, rules, side)
    return made, f"image {width} x {height} {kind}, {len(image)} bytes, sent as {size}, {len(made)} bytes"


def _made(image: bytes, rules: ImageRules, side: int) -> tuple[bytes, str]:
    """The image with the longer side at most ``side``, smaller still until its bytes fit.

    PNG stays PNG while it fits, for it loses nothing; then JPEG of high quality, then fewer pixels.
    """
    from PIL import Image

    most = rules.largest_bytes or 2**62
    with Image.open(io.BytesIO(image)) as opened:
        opened.load()
        deep = opened.mode.startswith(("I", "F"))
        if deep:
            raise CaseError(f"image of mode {opened.mode} cannot be made smaller without choosing a window")
        picture = opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB")
        lossless = opened.format in ("PNG", "GIF", "WEBP") and "PNG" in rules.formats
    while True:
        scaled = picture.copy()
        scaled.thumbnail((side, side), Image.Resampling.LANCZOS)
        for kind in ("PNG", "JPEG") if lossless else ("JPEG",):
            buffer = io.BytesIO()
            scaled.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
            if buffer.tell() <= most:
                return buffer.getvalue(), f"{scaled.width} x {scaled.height} {kind}"
        side = side * 3 // 4
        if side < _SMALLEST_SIDE:
            raise CaseError(f"image cannot be made small enough for {most} bytes")
