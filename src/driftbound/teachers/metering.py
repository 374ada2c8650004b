"""Metering: what a teacher may still take of its budget, and the record of everything sent to it."""

import math
from dataclasses import dataclass, field

from driftbound.endpoints.replies import Failure, Reply
from driftbound.errors import BudgetError
from driftbound.records import Request
from driftbound.store import attempts
from driftbound.store.attempts import ANSWERED, Ended
from driftbound.store.database import Database
from driftbound.teacher_config import LimitsConfig, PriceConfig
from driftbound.teachers.requests import cost_of

MARGIN = 1.25
"""A prompt may be estimated worse, by so much, than any so far."""


@dataclass(slots=True, eq=False)
class Account:
    """One teacher's budget; what is under way counts at its highest possible price."""

    store: Database
    teacher: str
    limits: LimitsConfig
    price: PriceConfig
    max_tokens: int | None
    requests: int = 0
    money: float = 0.0
    ended: list[Ended] = field(default_factory=list)
    """Ends of attempts, for whoever stores the answers to store with them and then to clear."""
    _most_per_estimate: float = 0.0

    def __post_init__(self) -> None:
        spent = attempts.spent(self.store, self.teacher)
        self.requests, self.money = spent.requests, spent.money

    def at_most(self, prompt_tokens: int) -> float:
        """Highest price of a request whose prompt is estimated at so many tokens.

        Once there are answers, the estimate is corrected by the largest error so far and a margin.
        """
        factor = self._most_per_estimate * MARGIN or 1.0
        return cost_of(self.price, math.ceil(prompt_tokens * factor), self.max_tokens or 0)

    def learn(self, prompt_tokens: int, estimated: int) -> None:
        """A prompt that was estimated at so many tokens has really taken so many."""
        self._most_per_estimate = max(self._most_per_estimate, prompt_tokens / max(1, estimated))

    def reserve(self, at_most: float) -> None:
        """Put a request at its highest possible price. Raises ``BudgetError`` when it would go beyond."""
        if self.limits.requests is not None and self.requests >= self.limits.requests:
            raise BudgetError(
                f"{self.teacher}: its budget of {self.limits.requests} requests is used up. "
                "Raise limits.requests to go on"
            )
        if self.limits.money is not None and self.money + at_most > self.limits.money:
            raise BudgetError(
                f"{self.teacher}: {self.money:.4f} of its budget of {self.limits.money:g} US dollars may be "
                f"spent, and another request may cost {at_most:.4f}. Raise limits.money to go on"
            )
        self.requests += 1
        self.money += at_most

    def begin(self, request: Request, at_most: float) -> int:
        """Reserve, and note that a request is about to be sent; returns its number."""
        self.reserve(at_most)
        return attempts.begin(self.store, self.teacher, request, at_most=at_most)

    def end(self, attempt: int, outcome: Reply | Failure, latency_s: float, at_most: float) -> None:
        """Note how it ended, and put its real price in the place of the highest possible one."""
        if isinstance(outcome, Reply):
            cost = self.cost(outcome, at_most)
            ended = Ended(attempt=attempt, outcome=ANSWERED, latency_s=latency_s, cost=cost)
        else:
            cost = at_most if outcome.maybe_charged else 0.0
            ended = Ended(
                attempt=attempt, outcome=outcome.kind, latency_s=latency_s, cost=cost, error=outcome.reason
            )
        self.money += cost - at_most
        self.ended.append(ended)

    def cost(self, reply: Reply, at_most: float) -> float:
        """Price of an answer; the highest possible one where the endpoint does not say what it took."""
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return at_most
        return cost_of(self.price, reply.prompt_tokens, reply.completion_tokens)


@dataclass(slots=True, eq=False)
class RequestMeter:
    """The account, for the attempts of one request; an ``endpoints.client.Meter``."""

    account: Account
    request: Request
    prompt_tokens: int
    """Estimate."""
    cost: float = 0.0
    """Price of the answer, once there is one."""
    _at_most: float = 0.0

    def begin(self) -> int:
        """See ``Account.begin``."""
        self._at_most = self.account.at_most(self.prompt_tokens)
        return self.account.begin(self.request, self._at_most)

    def end(self, attempt: int, outcome: Reply | Failure, latency_s: float) -> None:
        """See ``Account.end``."""
        self.account.end(attempt, outcome, latency_s, self._at_most)
        if isinstance(outcome, Reply):
            self.cost = self.account.cost(outcome, self._at_most)
            self.account.learn(outcome.prompt_tokens or 0, self.prompt_tokens)
