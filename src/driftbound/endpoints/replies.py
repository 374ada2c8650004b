"""Replies: what an endpoint said, read from the body of a response; or why nothing can be read from it."""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

CUT = frozenset({"length", "max_tokens", "model_length"})
"""Finish reasons with which vendors say that the answer was cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an endpoint said, as it said it."""

    text: str
    finish_reason: str
    refusal: str = ""
    """The vendor's own refusal field; empty when it did not refuse so."""
    version: str = ""
    fingerprint: str = ""
    prompt_tokens: int | None = None
    """``None`` where it does not say."""
    completion_tokens: int | None = None
    logprobs: str = ""
    """JSON; empty where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no reply, in one line without any key."""

    reason: str
    kind: str
    """Short, for counting: ``429``, ``timeout``, ``connection``, ``unreadable``."""
    barred: bool = False
    """No way to the model at all (connection, time-out, key, unknown model): others will fail alike."""
    hopeless: bool = False
    """A wrong key or an unknown model: nothing will come until the user corrects it."""
    retryable: bool = False
    throttled: bool = False
    """Too many requests: not the request's fault."""
    maybe_charged: bool = False
    """The answer may have been made, and charged, though it did not arrive."""
    refused: bool = False
    """The endpoint's filter declined this very request; that is an answer."""
    retry_after_s: float | None = None


def reply_of(given: object) -> Reply | str:
    """The reply in a response body (OpenAI chat-completions schema), or why there is none in it."""
    if not isinstance(given, dict):
        return f"answer is not a JSON object: {str(given)[:100]!r}"
    choices = given.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return f"answer holds no message: {str(given.get('error') or given)[:200]}"
    text = message.get("content")
    if text is None:
        text = ""
    if not isinstance(text, str):
        return f"content of the answer is no text but {type(text).__name__}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "text of the answer is not valid Unicode"
    usage = given.get("usage")
    if not isinstance(usage, dict):
        usage = {}
    return Reply(
        text=text,
        finish_reason=_word(choice.get("finish_reason")),
        refusal=_word(message.get("refusal")),
        version=_word(given.get("model")),
        fingerprint=_word(given.get("system_fingerprint")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        logprobs=_logprobs(choice.get("logprobs")),
    )


def error_code(body: object) -> str:
    """The code in an error body, empty where there is none.

    >>> error_code({"error": {"code": "content_filter"}}), error_code({"code": 1301}), error_code("<html>")
    ('content_filter', '1301', '')
    """
    if isinstance(body, dict):
        inner = body.get("error")
        for table in (inner, body):
            if isinstance(table, dict) and isinstance(table.get("code"), str | int):
                return str(table["code"])
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After-Ms`` or else ``Retry-After`` (number or date) asks for.

    >>> retry_after({"retry-after": "2", "retry-after-ms": "20"}), retry_after({"retry-after": "soon"})
    (0.02, None)
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with contextlib.suppress(ValueError):
            seconds = float(headers.get(name, "")) / unit
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(ValueError):
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None


def _word(value: object) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if isinstance(value, int) and good else None


def _logprobs(value: object) -> str:
    """The ``content`` list of a choice's log-probabilities as JSON."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return ""
    return json.dumps(content, ensure_ascii=True)
