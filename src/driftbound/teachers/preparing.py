"""Preparing: a request as its endpoint takes it, with images that fit and the settings of its sample."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from driftbound.endpoints.client import Asked
from driftbound.endpoints.images import fit, size_of
from driftbound.endpoints.vendors import Vendor
from driftbound.errors import CaseError
from driftbound.records import Request
from driftbound.teacher_config import ImagesConfig
from driftbound.teachers.requests import estimated_tokens

OURS = frozenset({"largest_side"})
"""Settings that are part of a request and not of its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is sent, what was done to it, and about how many tokens its prompt takes."""

    asked: Asked
    note: str
    prompt_tokens: int


def prepare(request: Request, params: Mapping[str, Any], images: ImagesConfig, vendor: Vendor) -> Prepared:
    """Raises ``CaseError`` for a case that cannot be put to this endpoint, with the reason."""
    if images.mode == "required" and not request.images:
        raise CaseError("the case has no image (images.mode: optional would ask all the same)")
    sent, notes = [], []
    for image in request.images if images.mode != "none" else ():
        fitted, note = fit(
            image, vendor.images, shrink=images.too_large == "shrink", largest_side=images.largest_side
        )
        sent.append(fitted)
        notes += [note] if note else []
    whole = sum(len(image) * 4 // 3 for image in sent) + len(request.question.encode())
    if vendor.images.largest_request is not None and whole > vendor.images.largest_request:
        raise CaseError(
            f"request of {whole} bytes, {vendor.images.largest_request} are taken "
            "(images.largest_side makes images smaller)"
        )
    tokens = estimated_tokens(request.question, [size_of(image) for image in sent])
    settings = settings_of(request.sample, params, vendor)
    asked = Asked(
        question=request.question,
        images=sent,
        params=settings,
        sensitivity=request.case.sensitivity,
        what=request.request_hash,
        image_hashes=[_sha256(image) for image in sent],
        tokens=tokens + int(settings.get("max_tokens", 0)),
    )
    return Prepared(asked=asked, note="; ".join(notes), prompt_tokens=tokens)


def settings_of(sample: int, params: Mapping[str, Any], vendor: Vendor) -> dict[str, Any]:
    """The settings of one sample: each has its own seed, where the endpoint takes one.

    >>> settings_of(2, {"temperature": 1.0, "seed": 7}, Vendor())
    {'temperature': 1.0, 'seed': 9}
    """
    settings = {key: value for key, value in params.items() if key not in OURS}
    if ("seed" in settings or sample) and "seed" not in vendor.unsupported:
        settings["seed"] = settings.get("seed", 0) + sample
    return settings


@lru_cache(maxsize=256)
def _sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()
