"""Costs on the page: requests, tokens, dollars and time, per teacher and per stage."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from driftbound.records import Status, Trajectory
from driftbound.report.tables import digits, number
from driftbound.store.manifest import Manifest

UNKNOWN_PRICE = "price unknown"
"""Said of an endpoint whose recipe names no price, and which has cost nothing that is known."""
NOT_COUNTED = "not counted"
"""Said of what a stage sends to a server of its own."""
OWN_SERVERS = {"synthesize": ("server", "judge"), "measure": ("reader",)}
"""Stage -> tables of its recipe that name a server that it asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the run knows of a teacher besides its answers."""

    name: str
    priced: bool
    """The recipe names a price."""
    remote: bool
    """It answers from an endpoint; otherwise there is no price to know."""
    requests: int
    """Sent, those that failed or were asked again included; 0 where none were noted."""
    money: float
    """US dollars of these requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What asking one teacher took, over all splits, samples and rounds of asking."""

    teacher: str
    answers: dict[str, int]
    """Status -> count."""
    requests: float
    """``nan``: none were noted, as for answers that a file held."""
    prompt_tokens: int
    completion_tokens: int
    dollars: float
    """``nan``: not known."""
    money: str
    """The same in words."""
    latency_s: float
    """Median over the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """What one stage took; ``nan`` where there is nothing to know or nobody knows it."""

    stage: str
    seconds: float
    requests: float
    prompt_tokens: float
    completion_tokens: float
    dollars: float
    money: str


@dataclass(slots=True)
class _Sums:
    counts: Counter[str] = field(default_factory=Counter)
    prompt: int = 0
    completion: int = 0
    dollars: float = 0.0
    latencies: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Purse:
    """Keeps, answer by answer, what each teacher took."""

    _own: dict[str, _Sums] = field(default_factory=dict)

    def note(self, each: Trajectory) -> None:
        """One answer."""
        own = self._own.setdefault(each.teacher, _Sums())
        own.counts[str(each.status)] += 1
        own.prompt += each.prompt_tokens
        own.completion += each.completion_tokens
        own.dollars += each.cost
        own.latencies.append(each.latency_s)

    def costs(self, teachers: Sequence[Asked]) -> tuple[Costs, ...]:
        """In the order of ``teachers``; nothing where nobody has answered."""
        if not self._own:
            return ()
        found = []
        for asked in teachers:
            own = self._own.get(asked.name, _Sums())
            dollars, money = _money(asked, max(own.dollars, asked.money))
            found.append(
                Costs(
                    teacher=asked.name,
                    answers={str(status): own.counts[str(status)] for status in Status},
                    requests=float(asked.requests) if asked.requests else math.nan,
                    prompt_tokens=own.prompt,
                    completion_tokens=own.completion,
                    dollars=dollars,
                    money=money,
                    latency_s=median(own.latencies) if own.latencies else math.nan,
                )
            )
        return tuple(found)


def stage_costs(
    manifests: Sequence[Manifest], costs: Sequence[Costs], recipe: Mapping[str, object]
) -> tuple[StageCost, ...]:
    """A row per finished stage; only ``collect`` asks teachers. Requests to other servers are not counted."""
    rows = []
    for each in manifests:
        own = costs if each.stage == "collect" else ()
        table = recipe.get(each.stage)
        asks = isinstance(table, Mapping) and any(table.get(key) for key in OWN_SERVERS.get(each.stage, ()))
        rows.append(
            StageCost(
                stage=each.stage,
                seconds=number(each.facts.get("seconds")),
                requests=_known_sum([one.requests for one in own]),
                prompt_tokens=_known_sum([float(one.prompt_tokens) for one in own]),
                completion_tokens=_known_sum([float(one.completion_tokens) for one in own]),
                dollars=_known_sum([one.dollars for one in own]),
                money=NOT_COUNTED if asks else _together(own),
            )
        )
    return tuple(rows)


def total_seconds(rows: Sequence[StageCost]) -> float:
    """Of all stages that say theirs."""
    return sum(row.seconds for row in rows if math.isfinite(row.seconds))


def _money(asked: Asked, dollars: float) -> tuple[float, str]:
    """US dollars, and how the page says them."""
    if asked.priced or dollars > 0:
        return dollars, f"${digits(dollars, 2 if dollars >= 0.1 or dollars == 0 else 4)}"
    return math.nan, UNKNOWN_PRICE if asked.remote else "–"


def _together(costs: Sequence[Costs]) -> str:
    """The money of one stage in words: what is known, and of how many it is not."""
    known = [each.dollars for each in costs if math.isfinite(each.dollars)]
    unknown = sum(each.money == UNKNOWN_PRICE for each in costs)
    if not known:
        return UNKNOWN_PRICE if unknown else "–"
    more = f" and {unknown} teacher{'s' if unknown > 1 else ''} of unknown price" if unknown else ""
    return f"${digits(math.fsum(known), 2)}{more}"


def _known_sum(values: Sequence[float]) -> float:
    known = [each for each in values if math.isfinite(each)]
    return math.fsum(known) if known else math.nan
