"""Chat completions of the scripted teachers: requests and replies in the OpenAI schema, without HTTP."""

import base64
import binascii
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from driftbound.config import DomainConfig
from driftbound.domains.phantom.dials import dialled, settled
from driftbound.domains.phantom.planted import planted
from driftbound.domains.phantom.population import Phantom, population
from driftbound.domains.phantom.reliability import TEACHERS
from driftbound.domains.phantom.teachers import Answer, answer
from driftbound.errors import CaseError

TOKENS_PER_WORD = 1.5
IMAGE_TOKENS = 64


class RequestError(Exception):
    """A request that is answered with an error of the OpenAI schema."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class Collection:
    """The cases of a run as the teachers know them: by the bytes of the image."""

    by_digest: dict[bytes, tuple[int, Phantom]]
    """sha256 of an image file to the case's position in the order of asking, and the case."""
    size: int
    seed: int
    config: DomainConfig

    @classmethod
    def of(cls, folder: Path, config: DomainConfig, seed: int) -> "Collection":
        """Draw the population anew and hash its images in ``folder``.

        Raises ``CaseError`` naming the first image that is missing or cannot be read.
        """
        phantoms = population(config, seed)
        known: dict[bytes, tuple[int, Phantom]] = {}
        for position, phantom in enumerate(phantoms):
            for image in phantom.case.images:
                try:
                    data = (folder / image).read_bytes()
                except OSError as error:
                    raise CaseError(
                        f"{folder / image}: {error.strerror or error}. Prepare the cases of this run again."
                    ) from None
                known[sha256(data).digest()] = (position, phantom)
        return cls(known, len(phantoms), seed, config)

    def complete(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to one chat-completions request; raises ``RequestError``."""
        teacher = asked.get("model")
        if teacher not in TEACHERS:
            raise RequestError(404, f"The model {teacher!r} does not exist.", code="model_not_found")
        for key, only in (("stream", False), ("n", 1)):
            if asked.get(key) not in (None, only):
                raise RequestError(400, f"Only {key}={json.dumps(only)} is supported.", param=key)
        sample = _whole(asked, "seed", least=0)
        limit = _whole(asked, "max_completion_tokens", least=1) or _whole(asked, "max_tokens", least=1)
        words, images = _contents(asked)
        if len(images) != 1:
            raise RequestError(400, f"One image is expected, {len(images)} came.", param="messages")
        found = self.by_digest.get(sha256(images[0]).digest())
        if found is None:
            raise RequestError(
                400, "The image is no case of this run.", code="unknown_image", param="messages"
            )
        position, phantom = found
        said = self._answer(str(teacher), phantom, position, sample or 0)
        text, cut = shortened(said.text, limit)
        prompt, completion = _tokens(words) + IMAGE_TOKENS, _tokens(len(text.split()))
        key = json.dumps([self.seed, teacher, phantom.case.case_id, sample or 0, limit])
        return {
            "id": f"chatcmpl-{sha256(key.encode()).hexdigest()[:24]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": said.version,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "length" if cut else said.finish_reason,
                    "logprobs": None,
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }

    def _answer(self, teacher: str, phantom: Phantom, position: int, sample: int) -> Answer:
        plan = dialled(planted(teacher, position, self.size), self.config)
        given = settled(teacher, phantom, position, self.size, self.seed, sample, self.config)
        return answer(teacher, phantom, position, self.size, self.seed, sample, plan, given)


def shortened(text: str, max_tokens: int | None) -> tuple[str, bool]:
    """At most ``max_tokens`` tokens of ``text``, one and a half to a word, and whether it was cut.

    >>> shortened("No edema. No fracture.", 4), shortened("No edema.", 3)
    (('No edema.', True), ('No edema.', False))
    """
    words = list(re.finditer(r"\S+", text))
    if max_tokens is None or _tokens(len(words)) <= max_tokens:
        return text, False
    kept = int(max_tokens / TOKENS_PER_WORD)
    return text[: words[kept - 1].end()] if kept else "", True


def models() -> dict[str, Any]:
    """The reply to ``GET /v1/models``."""
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "phantom"} for name in TEACHERS]
    return {"object": "list", "data": listed}


def _tokens(words: int) -> int:
    return math.ceil(words * TOKENS_PER_WORD)


def _whole(asked: Mapping[str, Any], key: str, *, least: int) -> int | None:
    value = asked.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RequestError(400, f"{key} is a whole number, {least} or more.", param=key)
    return value


def _contents(asked: Mapping[str, Any]) -> tuple[int, list[bytes]]:
    """Number of words and the images of a conversation."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError(400, "messages is a list of at least one message.", param="messages")
    words = 0
    images: list[bytes] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts if isinstance(parts, list) else [None]:
            match part:
                case {"type": "text", "text": str(text)}:
                    words += len(text.split())
                case {"type": "image_url", "image_url": {"url": str(url)}}:
                    images.append(_image(url))
                case _:
                    raise RequestError(400, "A message holds text and image_url parts.", param="messages")
    return words, images


def _image(url: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise RequestError(400, "image_url is a data URL with base64.", param="messages")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, "The image is not valid base64.", param="messages") from None
