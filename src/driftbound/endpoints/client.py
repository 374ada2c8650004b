"""The only door to the network: one client per endpoint, with gate, limiter, retries and clean errors."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from driftbound.endpoints.gate import Destination, Gate, is_loopback, shown
from driftbound.endpoints.images import data_url
from driftbound.endpoints.limiter import Limiter
from driftbound.endpoints.replies import Failure, Reply, error_code, reply_of, retry_after
from driftbound.endpoints.vendors import Vendor
from driftbound.errors import TeacherError
from driftbound.store.manifest import one_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LONGEST_BACK_OFF_S = 30.0
LONGEST_WAIT_S = 120.0
"""An endpoint that asks for more patience than this fails the request; the next collect asks again."""
MOST_THROTTLES = 20
"""How often one request may be told that there are too many; this is no fault of its own."""
OUT_OF_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes with which vendors answer 429 to an account without money: no patience helps."""
_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is put to an endpoint."""

    question: str
    images: Sequence[bytes] = ()
    params: Mapping[str, Any]
    """Settings by our words: ``temperature``, ``top_p``, ``max_tokens``, ``seed``, ``logprobs``, ...;
    others go as they are."""
    sensitivity: str
    what: str
    """Hash of the request, for the audit log."""
    image_hashes: Sequence[str] = ()
    tokens: int = 0
    """About how many it takes, for the limit per minute."""


class Meter(Protocol):
    """Told before and after everything that is sent."""

    def begin(self) -> int:
        """Something is about to be sent; returns its number. Raises ``BudgetError`` where it may not be."""

    def end(self, attempt: int, outcome: Reply | Failure, latency_s: float) -> None:
        """It has come back, or failed."""


class NoMeter:
    """Counts nothing."""

    def begin(self) -> int:
        """Let it pass."""
        return 0

    def end(self, attempt: int, outcome: Reply | Failure, latency_s: float) -> None:
        """Forget it."""


class Endpoint:
    """One model behind one OpenAI-compatible URL, asked through ``openai.AsyncOpenAI``.

    Use it inside one event loop and ``close`` it there.
    """

    def __init__(
        self,
        destination: Destination,
        model: str,
        *,
        gate: Gate,
        limiter: Limiter,
        vendor: Vendor | None = None,
        key: str = "",
        timeout_s: float = 60.0,
        retries: int = 3,
        back_off_s: float = 0.5,
    ) -> None:
        """Raises ``TeacherError`` on an impossible URL or key."""
        parts = urlsplit(destination.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TeacherError(
                f"{destination.purpose}: base_url {shown(destination.url)!r} is not an http(s) URL. "
                "Correct the recipe."
            )
        if not (key.isascii() and key.isprintable()):
            raise TeacherError(
                f"{destination.purpose}: its key holds characters that no key has. Correct the variable."
            )
        self.destination = destination
        self.model = model
        self.vendor = vendor or Vendor()
        self.limiter = limiter
        self._gate = gate
        self._key = key
        self._timeout_s = timeout_s
        self._retries = retries
        self._back_off_s = back_off_s
        self._random = random.Random(destination.purpose)
        self._client: AsyncOpenAI | None = None

    def _connected(self) -> "AsyncOpenAI":
        if self._client is None:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient

            # Neither a proxy nor a redirect may carry away what is meant for a server of one's own.
            own = self.destination.own or is_loopback(self.destination.url)
            encrypted = urlsplit(self.destination.url).scheme == "https"
            try:
                http = DefaultAsyncHttpxClient(
                    trust_env=not own,
                    follow_redirects=False,
                    verify=encrypted,  # without TLS no certificates are loaded
                )
            except (ValueError, ImportError, OSError) as error:
                raise TeacherError(
                    f"{self.destination.purpose}: no connection can be set up ({one_line(error)}). "
                    "Correct the proxy or certificate variables of the environment."
                ) from error
            self._client = AsyncOpenAI(
                base_url=self.destination.url,
                api_key=self._key or "none",
                timeout=self._timeout_s,
                max_retries=0,
                http_client=http,
                # On a connection that is used again, a second copy of the last answer would be read as the
                # answer to the next question: HTTP/1.1 has nothing to tell them apart by.
                default_headers={"Connection": "close"},
            )
            if self.destination.host != "api.openai.com":
                self._client.organization = self._client.project = None
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def body(self, asked: Asked) -> dict[str, Any]:
        """The request in the OpenAI chat-completions schema, in this vendor's words."""
        pictures = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in asked.images]
        # Images first: so the student is trained and asked, and so most makers advise.
        content: Any = [*pictures, {"type": "text", "text": asked.question}] if pictures else asked.question
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        for key, value in asked.params.items():
            if key == "logprobs":
                body |= {"logprobs": True, "top_logprobs": value}
            else:
                body[self.vendor.rename.get(key, key)] = value
        return body

    async def ask(self, asked: Asked, meter: Meter | None = None) -> Reply | Failure:
        """Ask, and ask again after failures that may pass, waiting longer each time.

        Raises ``DataUseError`` when data of this sensitivity may not go there and ``BudgetError``
        when the meter lets nothing more through.
        """
        self._gate.check(self.destination, asked.sensitivity)
        body, meter = self.body(asked), meter or NoMeter()
        self._connected()  # takes a while the first time: not between leave to send and sending
        size = len(asked.question) + sum(len(image) * 4 // 3 for image in asked.images)
        failed = throttled = 0
        while True:
            ticket = await self.limiter.acquire(asked.tokens)
            used: int | None = None
            try:
                outcome = await self._send(body, asked, size, meter)
                if isinstance(outcome, Reply):
                    used = (outcome.prompt_tokens or 0) + (outcome.completion_tokens or 0) or None
                    self.limiter.widen()
                    return outcome
                failed, throttled = failed + (not outcome.throttled), throttled + outcome.throttled
                wait = self._patience(outcome, failed, throttled)
                if outcome.throttled and wait is not None:
                    self.limiter.narrow(ticket, wait)
            finally:
                self.limiter.release(ticket, tokens=used)
            if wait is None:
                return outcome
            await asyncio.sleep(wait)

    async def _send(self, body: dict[str, Any], asked: Asked, size: int, meter: Meter) -> Reply | Failure:
        """Send once; noted and written down before, and how it ended after, whatever happens."""
        attempt, began = meter.begin(), time.perf_counter()
        outcome: Reply | Failure = Failure(reason="not sent", kind="not sent")
        try:
            self._gate.let_through(
                self.destination,
                asked.sensitivity,
                what=asked.what,
                images=asked.image_hashes,
                size=size,
            )
            outcome = Failure(reason="given up while under way", kind="given up", maybe_charged=True)
            outcome = await self._once(body)
        finally:
            meter.end(attempt, outcome, time.perf_counter() - began)
        return outcome

    def _patience(self, failure: Failure, failed: int, throttled: int) -> float | None:
        """Seconds until the next try; ``None`` when there is none."""
        if not failure.retryable or failed > self._retries or throttled > MOST_THROTTLES:
            return None
        wait = failure.retry_after_s
        if wait is None:
            longest = min(LONGEST_BACK_OFF_S, self._back_off_s * 2 ** (failed + throttled - 1))
            return self._random.uniform(longest / 2, longest)
        return wait if wait <= LONGEST_WAIT_S else None

    async def _once(self, body: dict[str, Any]) -> Reply | Failure:
        import openai

        client = self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                # The same request as chat.completions.create, less its walk over every field: half the time.
                given = await client.post("/chat/completions", cast_to=object, body=body)
        except openai.APIStatusError as error:
            return self._of_status(error)
        except TimeoutError:
            return self._failure(
                f"no answer within {self._timeout_s:g} s",
                kind="timeout",
                barred=True,
                retryable=True,
                maybe_charged=True,
            )
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            said = f"no connection: {str(cause) or type(cause).__name__}"
            return self._failure(said, kind="connection", barred=True, retryable=True, maybe_charged=True)
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            return self._failure(error, kind="unreadable", retryable=True, maybe_charged=True)
        reply = reply_of(given)
        if isinstance(reply, Reply):
            return reply
        return self._failure(reply, kind="unreadable", retryable=True, maybe_charged=True)

    def _of_status(self, error: Any) -> Failure:
        """What an HTTP status other than 2xx means."""
        status: int = error.status_code
        if 400 <= status < 500 and error_code(_json(error.response)) in self.vendor.refusal_codes:
            return self._failure(error, kind="filter", refused=True)
        spent = error_code(_json(error.response)) in OUT_OF_CREDIT
        return self._failure(
            error,
            kind=str(status),
            barred=status in (401, 402, 403, 404) or spent,
            hopeless=status in (401, 404) or spent,
            retryable=(status in (408, 409, 425, 429) and not spent) or status >= 500,
            throttled=status == 429 and not spent,
            retry_after_s=retry_after(error.response.headers),
        )

    def _failure(self, said: object, *, kind: str, **facts: Any) -> Failure:
        text = " ".join(str(said).split())
        if self._key:
            text = text.replace(self._key, "***")
        reason = text.encode("utf-8", "replace").decode()[:_REASON_LENGTH]
        return Failure(reason=reason, kind=kind, **facts)


def _json(response: Any) -> object:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None
