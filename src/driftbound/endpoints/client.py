"""The only door to the network: one client per endpoint, with the data gate, retries and clean errors."""

import asyncio
import base64
import contextlib
import ipaddress
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from driftbound.errors import TeacherError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LONGEST_BACK_OFF_S = 30.0
LONGEST_WAIT_S = 120.0
"""An endpoint that asks for more patience than this fails the request; the next collect asks again."""
_REASON_LENGTH = 300
_SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint said, as it said it."""

    text: str
    finish_reason: str
    refusal: str
    """The vendor's own refusal field; empty when it did not refuse so."""
    version: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no reply, in one line without any key."""

    reason: str
    barred: bool
    """No way to the model at all (connection, time-out, key, unknown model): others will fail alike."""
    retryable: bool
    retry_after_s: float | None = None


def is_loopback(base_url: str) -> bool:
    """Whether a URL cannot leave this machine.

    >>> is_loopback("http://127.0.0.1:8000/v1"), is_loopback("https://localhost.example.com/v1")
    (True, False)
    """
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(base_url: str) -> str:
    """A URL fit for a message: without user, password and query.

    >>> shown("https://me:secret@api.example.com/v1?key=secret")
    'https://api.example.com/v1'
    """
    parts = urlsplit(base_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def gate(teacher: str, base_url: str, sensitivity: str) -> None:
    """Let only public data leave the machine; raises ``TeacherError`` otherwise."""
    if sensitivity != "public" and not is_loopback(base_url):
        raise TeacherError(
            f"{teacher} at {shown(base_url)}: {sensitivity} cases may only go to a server on this machine. "
            "Nothing was sent; serve the model locally or take public cases."
        )


@lru_cache(maxsize=256)
def data_url(image: bytes) -> str:
    """An image as base64 data URL; encoded once for all teachers that see it."""
    kind = next((kind for signature, kind in _SIGNATURES.items() if image.startswith(signature)), None)
    if kind is None:
        raise ValueError("neither PNG, JPEG, GIF nor WebP")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


class Endpoint:
    """One model behind one OpenAI-compatible URL, asked through ``openai.AsyncOpenAI``.

    Use it inside one event loop and ``close`` it there.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        model: str,
        *,
        key: str = "",
        timeout_s: float = 60.0,
        retries: int = 3,
        back_off_s: float = 0.5,
    ) -> None:
        """``name`` is the teacher's, for messages. Raises ``TeacherError`` on an impossible URL or key."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TeacherError(
                f"{name}: base_url {shown(base_url)!r} is not an http(s) URL. Correct the recipe."
            )
        if not (key.isascii() and key.isprintable()):
            raise TeacherError(f"{name}: its key holds characters that no key has. Correct the variable.")
        self.name = name
        self.base_url = base_url
        self.model = model
        self._key = key
        self._timeout_s = timeout_s
        self._retries = retries
        self._back_off_s = back_off_s
        self._random = random.Random(name)
        self._client: AsyncOpenAI | None = None

    def _connected(self) -> "AsyncOpenAI":
        if self._client is None:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient

            # Neither a proxy nor a redirect may carry away what is meant for this machine.
            http = DefaultAsyncHttpxClient(trust_env=not is_loopback(self.base_url), follow_redirects=False)
            self._client = AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._key or "none",
                timeout=self._timeout_s,
                max_retries=0,
                http_client=http,
            )
            if urlsplit(self.base_url).hostname != "api.openai.com":
                self._client.organization = self._client.project = None
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(
        self, question: str, images: Sequence[bytes], sampling: dict[str, Any], *, sensitivity: str
    ) -> Reply | Failure:
        """Ask, and ask again after failures that may pass, waiting longer each time.

        Raises ``TeacherError`` when data of this sensitivity may not go there.
        """
        gate(self.name, self.base_url, sensitivity)
        pictures = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
        content = [{"type": "text", "text": question}, *pictures]
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], **sampling}
        for attempt in range(self._retries + 1):
            outcome = await self._once(body)
            if isinstance(outcome, Reply) or not outcome.retryable or attempt == self._retries:
                return outcome
            wait = outcome.retry_after_s
            if wait is None:
                longest = min(LONGEST_BACK_OFF_S, self._back_off_s * 2**attempt)
                wait = self._random.uniform(longest / 2, longest)
            elif wait > LONGEST_WAIT_S:
                return outcome
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _once(self, body: dict[str, Any]) -> Reply | Failure:
        import openai

        client = self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                # The same request as chat.completions.create, less its walk over every field: half the time.
                given = await client.post("/chat/completions", cast_to=object, body=body)
        except openai.APIStatusError as error:
            status = error.status_code
            return self._failure(
                error,
                barred=status in (401, 403, 404),
                retryable=status in (408, 409, 425, 429) or status >= 500,
                retry_after_s=_retry_after(error.response.headers),
            )
        except TimeoutError:
            return Failure(f"no answer within {self._timeout_s:g} s", barred=True, retryable=True)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            said = f"no connection: {str(cause) or type(cause).__name__}"
            return self._failure(said, barred=True, retryable=True)
        except (openai.OpenAIError, ValueError) as error:
            return self._failure(error, barred=False, retryable=True)
        reply = _reply(given)
        return reply if isinstance(reply, Reply) else self._failure(reply, barred=False, retryable=True)

    def _failure(
        self, said: object, *, barred: bool, retryable: bool, retry_after_s: float | None = None
    ) -> Failure:
        text = " ".join(str(said).split())
        if self._key:
            text = text.replace(self._key, "***")
        reason = text.encode("utf-8", "replace").decode()[:_REASON_LENGTH]
        return Failure(reason, barred=barred, retryable=retryable, retry_after_s=retry_after_s)


def _reply(given: object) -> Reply | str:
    """The reply in a response body, or why there is none in it."""
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
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _word(value: object) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**63 else 0


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After-Ms`` or else ``Retry-After`` (number or date) asks for.

    >>> _retry_after({"retry-after": "2", "retry-after-ms": "20"}), _retry_after({"retry-after": "soon"})
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
