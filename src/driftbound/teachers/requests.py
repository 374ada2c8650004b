"""Requests: the identity of what is asked, and what an answer to it will take."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driftbound.errors import ConfigError
from driftbound.store.manifest import one_line, sha256_file
from driftbound.teacher_config import CollectConfig, PriceConfig, TeacherConfig

PIXELS_PER_TOKEN = 750
"""Of the vendors' published rules the one that makes most tokens of a large image."""
TOKENS_PER_IMAGE = 300
"""And at least so many, for those who count by tile."""


def params_of(teacher: TeacherConfig, collect: CollectConfig) -> dict[str, Any]:
    """The settings that decide what a teacher answers: collect's, and its own where it has any.

    What a recorded teacher answers is decided by its file and where in it that stands. Raises
    ``StoreError`` where it is missing, ``ConfigError`` for a value that no request can hold.
    """
    if teacher.kind == "recorded":
        stream = teacher.stream or teacher.name
        whole: dict[str, Any] = {"recorded": sha256_file(Path(teacher.path)), "stream": stream}
        told = teacher.prompt if teacher.prompt != "usual" else ""
        more = {"columns": dict(teacher.columns), "format": teacher.format, "prompt": told}
        return whole | {key: value for key, value in more.items() if value}
    own = teacher.sampling
    sampling = {
        "temperature": collect.temperature if own.temperature == "as collect" else own.temperature,
        "top_p": own.top_p,
        "max_tokens": collect.max_tokens if own.max_tokens == "as collect" else own.max_tokens,
        "seed": own.seed,
        "logprobs": own.logprobs,
        "reasoning_effort": own.reasoning_effort,
    }
    merged = sampling | own.extra
    if teacher.images.largest_side is not None and teacher.images.mode != "none":
        merged["largest_side"] = teacher.images.largest_side
    settings = {key: value for key, value in merged.items() if value is not None}
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{teacher.name}: sampling.extra holds what JSON does not ({one_line(error)}). Put it in quotes."
        ) from None
    return settings


def params_json(params: Mapping[str, Any]) -> str:
    """Settings as they are stored with each answer.

    >>> params_json({"temperature": 1.0, "max_tokens": 400})
    '{"max_tokens": 400, "temperature": 1.0}'
    """
    return json.dumps(params, sort_keys=True)


def request_hash(model: str, params: str, question: str, images: Sequence[str]) -> str:
    """Identity of a request: model, settings, question and images by sha256; not the address."""
    asked = [model, params, question, list(images)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def estimated_tokens(question: str, pixels: Sequence[tuple[int, int]]) -> int:
    """A cautious count of a prompt's tokens: three bytes of text a token, and images by their pixels."""
    images = sum(TOKENS_PER_IMAGE + width * height // PIXELS_PER_TOKEN for width, height in pixels)
    return len(question.encode()) // 3 + 16 + images


def cost_of(price: PriceConfig, prompt_tokens: int, completion_tokens: int) -> float:
    """US dollars.

    >>> cost_of(PriceConfig(prompt=2.0, completion=10.0), 1000, 500)
    0.007
    """
    return (prompt_tokens * price.prompt + completion_tokens * price.completion) / 1e6
