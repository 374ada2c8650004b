"""Limiter: how much may be sent to one endpoint at a time and per minute; it learns from 429."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

WINDOW_S = 61.0
"""A minute, and a second for requests that travel at different speeds: at the endpoint, too, no 60 seconds
see more than the limit."""


@dataclass(slots=True, eq=False)
class Ticket:
    """Leave to send one request."""

    at: float
    """Clock time of sending."""
    tokens: int
    """What it was thought to take, later what it took."""


class Limiter:
    """Requests in flight, requests and tokens per minute; first come, first served.

    A 429 halves the requests in flight (once for all that were under way together) and holds
    everything back for as long as the endpoint asks; each success then widens the way by a little.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.concurrency = concurrency
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self._clock = clock
        self._allowed = float(concurrency)
        self._busy = 0
        self._sent: deque[Ticket] = deque()
        self._held_until = self._narrowed_at = float("-inf")
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    def tighten(self, other: "Limiter") -> None:
        """Keep to another limiter's limits, too, where they are the stricter ones."""
        self.concurrency = min(self.concurrency, other.concurrency)
        self._allowed = min(self._allowed, float(self.concurrency))
        for name in ("requests_per_minute", "tokens_per_minute"):
            given = [value for value in (getattr(self, name), getattr(other, name)) if value]
            setattr(self, name, min(given, default=None))

    def prime(self, seconds_ago: Iterable[float]) -> None:
        """Count requests that an earlier process sent; their tokens are not known."""
        now = self._clock()
        past = (Ticket(now - ago, 0) for ago in sorted(seconds_ago, reverse=True) if ago < WINDOW_S)
        self._sent.extendleft(reversed(list(past)))

    async def acquire(self, tokens: int = 0) -> Ticket:
        """Wait for leave to send a request that takes about so many tokens; ``release`` it afterwards."""
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wait, WINDOW_S)):
                        await self._changed.wait()
            self._busy += 1
            ticket = Ticket(self._clock(), tokens)
            if self.requests_per_minute or self.tokens_per_minute:
                self._sent.append(ticket)
            return ticket

    def release(self, ticket: Ticket, *, tokens: int | None = None) -> None:
        """The request has ended; ``tokens`` is what it really took."""
        self._busy -= 1
        if tokens is not None:
            ticket.tokens = tokens
        self._changed.set()

    def widen(self) -> None:
        """An answer came: in a round of as many answers as are allowed in flight, one more is."""
        if self._allowed < self.concurrency:
            self._allowed = min(float(self.concurrency), self._allowed + 1 / self._allowed)
            self._changed.set()

    def narrow(self, ticket: Ticket, seconds: float) -> None:
        """The endpoint said that this request was one too many: hold everything back for a while."""
        now = self._clock()
        self._held_until = max(self._held_until, now + seconds)
        if ticket.at > self._narrowed_at:
            self._narrowed_at = now
            self._allowed = max(1.0, self._allowed / 2)

    @property
    def allowed(self) -> int:
        """Requests that may be in flight now."""
        return int(self._allowed)

    def _wait(self, tokens: int) -> float:
        """Seconds until a request may be sent, as far as one can tell now; 0 if now."""
        now = self._clock()
        if now < self._held_until:
            return self._held_until - now
        if self._busy >= int(self._allowed):
            return float("inf")
        while self._sent and self._sent[0].at <= now - WINDOW_S:
            self._sent.popleft()
        limit = self.requests_per_minute
        if limit is not None and len(self._sent) >= limit:
            return self._sent[len(self._sent) - limit].at + WINDOW_S - now
        return self._wait_for_tokens(tokens, now)

    def _wait_for_tokens(self, tokens: int, now: float) -> float:
        """As ``_wait``; what is larger than the limit alone goes when nothing else was sent."""
        if self.tokens_per_minute is None:
            return 0.0
        over = sum(ticket.tokens for ticket in self._sent) + tokens - self.tokens_per_minute
        for ticket in self._sent:
            if over <= 0:
                break
            over -= ticket.tokens
            if over <= 0 or ticket is self._sent[-1]:
                return ticket.at + WINDOW_S - now
        return 0.0
