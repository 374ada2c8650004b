"""Top-k lists: between which two numbers the divergence of N teachers lies when only the likeliest tokens of
each are known."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from driftbound.errors import MeasureError
from driftbound.measure.divergence import Array, gjs
from driftbound.measure.parts import paired_positions, part_means, part_of
from driftbound.statistics.intervals import standard_errors

_SENTINEL = -700.0
"""Log-probabilities below are no measurements: OpenAI's schema writes -9999.0 for what it does not tell."""
_ROUNDING = 1e-3
_CELLS = 200_000
"""Numbers that one block of positions may take."""
_CLOSE = 1e-5
"""Nats; a lower bound as close to the least possible divergence is not improved further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """What is known of one distribution over next tokens."""

    known: Mapping[bytes, float]
    """Token's bytes -> probability; they add up to one at most."""
    cap: float
    """Largest probability that a token outside ``known`` may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Two numbers with the N-way Jensen-Shannon divergence between them, in nats; any shape, ``nan`` where
    undefined."""

    lower: Array
    upper: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedMeans:
    """Means over cases of lower and upper bounds, (J,), and the 95 % interval around both."""

    lower: Array
    upper: Array
    lower_se: Array
    upper_se: Array
    low: Array
    """lower - 1.96 SE: with ``high`` a conservative interval, as the truth lies between the two means."""
    high: Array
    n: NDArray[np.int64]
    """Cases behind each."""


def read_lists(logprobs: str, where: str = "an answer") -> list[TopK]:
    """One ``TopK`` per token of a stored answer (``Trajectory.logprobs``: the OpenAI schema's ``content``).

    The cap is the smallest probability of the list of alternatives, also where the token taken stands
    outside of it and is added. Sentinels (-9999.0, null) are left out. Tokens are told apart by their
    bytes, or by their text where the endpoint gives no bytes; entries that share them are added up. A sum
    above one is taken for rounding up to 1.001 and brought down to one. Raises ``MeasureError``, naming
    ``where``, for what is no such list.
    """
    try:
        content = json.loads(logprobs) if logprobs else []
        return [_read(entry, f"{where}, token {t}") for t, entry in enumerate(content)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MeasureError(
            f"{where}: its stored log-probabilities are no list of tokens ({type(error).__name__}). "
            "Collect the answer again, or leave the teacher out of this measure."
        ) from error


def js_bounds(positions: Sequence[Sequence[TopK]], *, rounds: int = 300) -> Bounds:
    """Certified interval of the N-way Jensen-Shannon divergence, for each of P positions: (P,), in nats.

    ``positions`` holds N lists each, from teachers with one tokenizer: tokens of different ones do not meet,
    and the interval would end at log N for one and the same model.

    Upper: tokens that a list lacks have probability 0 and its remaining mass lies on a symbol of the
    teacher's own. Telling whose tail a token is from cannot lower the information about the teacher.
    Lower: the least divergence over all ways to place the remaining masses, no token above its list's cap;
    a convex problem, solved by alternating minimisation, less the Frank-Wolfe gap, so that it is a bound
    however soon the ``rounds`` end. Raises ``MeasureError`` where positions differ in their number of lists.
    """
    if len({len(lists) for lists in positions}) > 1:
        raise MeasureError("positions with unequal numbers of teachers. Give every position N lists.")
    found = Bounds(lower=np.full(len(positions), np.nan), upper=np.full(len(positions), np.nan))
    for index, block in _blocks(positions):
        found.upper[index] = _upper(block)
        found.lower[index] = np.minimum(_lower(block, rounds), found.upper[index])
    return found


def by_position(answers: Sequence[Sequence[TopK]], positions: int) -> Bounds:
    """Own-prefix interval of one case at tokens 0..positions-1, from its N answers' lists; ``nan`` where not
    every answer is so long."""
    shared = min(positions, *(len(answer) for answer in answers))
    known = js_bounds([[answer[t] for answer in answers] for t in range(shared)])
    rest = np.full(positions - shared, np.nan)
    return Bounds(lower=np.r_[known.lower, rest], upper=np.r_[known.upper, rest])


def by_part(answers: Sequence[Sequence[TopK]], parts: int) -> Bounds:
    """Own-prefix interval of one case for each of ``parts`` equal shares of the answers, (parts,).

    With m tokens in the shortest answer, token floor(i T_u / m) of each answer (T_u tokens) is compared,
    i = 0..m-1, in part floor(parts i / m): the same share of everybody's way, whatever is said there. Means
    over a part's tokens; ``nan`` where it has none.
    """
    where = paired_positions([len(answer) for answer in answers])
    known = js_bounds(
        [[answer[t] for answer, t in zip(answers, row, strict=True)] for row in where.T.tolist()]
    )
    part = part_of(where.shape[1], parts)
    return Bounds(lower=part_means(known.lower, part, parts), upper=part_means(known.upper, part, parts))


def bounded_means(bounds: Bounds, clusters: NDArray[np.intp]) -> BoundedMeans:
    """Means over n cases of ``bounds`` (n, J), with standard errors by clusters of both ends.

    A column without a case, or of one cluster, has an interval of ``nan``.
    """
    known = ~np.isnan(bounds.lower)
    n = known.sum(axis=0)
    means = [
        np.divide(np.where(known, end, 0.0).sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
        for end in (bounds.lower, bounds.upper)
    ]
    errors = [standard_errors(end, clusters) for end in (bounds.lower, bounds.upper)]
    return BoundedMeans(
        lower=means[0],
        upper=means[1],
        lower_se=errors[0],
        upper_se=errors[1],
        low=means[0] - 1.96 * errors[0],
        high=means[1] + 1.96 * errors[1],
        n=n,
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """B positions of N teachers on the cells of the tokens that any of them lists; filled up with cells in
    which nobody has anything. The last of the C cells is the rest of the vocabulary."""

    listed: Array
    """(B, N, C) probabilities that are known, else 0."""
    free: NDArray[np.bool_]
    """(B, N, C) where a teacher may have a share of its remaining mass."""
    mass: Array
    """(B, N) remaining mass."""
    cap: Array
    """(B, N) largest probability of a free cell, but for the last."""

    def part(self, index: NDArray[np.intp]) -> "_Block":
        return _Block(self.listed[index], self.free[index], self.mass[index], self.cap[index])


def _read(entry: Any, where: str) -> TopK:
    others = _probabilities(entry["top_logprobs"], where)
    known = dict(others)
    for key, probability in _probabilities([entry], where).items():
        known.setdefault(key, probability)
    cap = min(others.values(), default=1.0)
    outside = max((p for key, p in known.items() if key not in others), default=0.0)
    total = math.fsum(known.values())
    if outside > cap + _ROUNDING or total > 1 + _ROUNDING:
        said = f"add up to {total:.4g}" if total > 1 + _ROUNDING else "are not those of the likeliest tokens"
        raise MeasureError(f"{where}: the listed probabilities {said}. Leave it out of this measure.")
    scale = max(total, 1.0)
    return TopK(known={key: p / scale for key, p in known.items()}, cap=max(cap, outside))


def _probabilities(entries: Sequence[Mapping[str, Any]], where: str) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for entry in entries:
        logp = entry["logprob"]
        if logp is None or logp < _SENTINEL:
            continue
        if not logp < _ROUNDING:
            raise MeasureError(
                f"{where}: {logp} is no log-probability. Leave the teacher out of this measure."
            )
        spelt = entry.get("bytes")
        key = str(entry["token"]).encode("utf-8", "surrogatepass") if spelt is None else bytes(spelt)
        found[key] = found.get(key, 0.0) + math.exp(logp)
    return found


def _blocks(positions: Sequence[Sequence[TopK]]) -> Iterator[tuple[NDArray[np.intp], _Block]]:
    """Positions of similar width together, so that little is filled up."""
    unions = [sorted(set().union(*(one.known for one in lists))) for lists in positions]
    order = np.argsort([len(union) for union in unions], kind="stable")
    start = 0
    while start < len(order):
        teachers = len(positions[order[start]])
        size = max(1, _CELLS // (teachers * (len(unions[order[start]]) + 1) * 2))
        index = order[start : start + size].astype(np.intp)
        start += size
        cells = len(unions[index[-1]]) + 1
        listed = np.zeros((len(index), teachers, cells))
        free = np.zeros(listed.shape, dtype=bool)
        free[:, :, -1] = True
        cap = np.empty(listed.shape[:2])
        for b, at in enumerate(index.tolist()):
            for u, one in enumerate(positions[at]):
                row = [one.known.get(token, -1.0) for token in unions[at]]
                listed[b, u, : len(row)] = row
                cap[b, u] = one.cap
        unknown = listed < 0
        free |= unknown
        listed[unknown] = 0.0
        yield index, _Block(listed, free, np.maximum(1 - listed.sum(axis=-1), 0.0), cap)


def _upper(block: _Block) -> Array:
    """JSD where each teacher's remaining mass lies on a symbol of its own."""
    n = block.mass.shape[1]
    own = np.eye(n) * block.mass[:, :, None]
    return gjs(np.concatenate([block.listed, own], axis=-1))


def _lower(block: _Block, rounds: int) -> Array:
    """Certified least JSD over all fill-ins; positions that are close to it leave the loop."""
    best = np.zeros(len(block.mass))
    left = np.arange(len(best), dtype=np.intp)
    x = block.listed.copy()
    x[:, :, -1] = block.mass
    for turn in range(rounds):
        q = x.mean(axis=1, keepdims=True)
        x = _filled(block, q)
        if turn % 5 and turn != rounds - 1:
            continue
        value, gap = _certificate(block, x)
        best[left] = np.maximum(best[left], value - gap)
        going = np.flatnonzero(value - best[left] > _CLOSE)
        if not len(going):
            break
        left, block, x = left[going], block.part(going), x[going]
    return best


def _filled(block: _Block, q: Array) -> Array:
    """For each teacher the distribution nearest to ``q`` (B, 1, C): the listed as they are, the free cells
    min(cap, s q) with s such that they hold the remaining mass."""
    want = np.where(block.free, q, 0.0)
    open_cells = block.free.copy()
    limited = np.ones(block.free.shape[-1], dtype=bool)
    limited[-1] = False
    left = block.mass
    while True:
        room = np.where(open_cells, want, 0.0).sum(axis=-1)
        scale = np.divide(left, room, out=np.zeros_like(left), where=room > 0)
        over = open_cells & limited & (scale[..., None] * want > block.cap[..., None])
        if not over.any():
            break
        open_cells &= ~over
        closed = (block.free & ~open_cells).sum(axis=-1)
        left = np.maximum(block.mass - block.cap * closed, 0.0)
    filled = np.where(open_cells, scale[..., None] * want, block.cap[..., None])
    return np.where(block.free, filled, block.listed)


def _certificate(block: _Block, x: Array) -> tuple[Array, Array]:
    """JSD of ``x`` and how much less it could be at most, (B,) each: the Frank-Wolfe gap, from the point to
    which the linear part of the JSD would move the free masses."""
    n = x.shape[1]
    q = np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape)
    value = (xlogy(x, x) - xlogy(x, q)).sum(axis=(-2, -1)) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(block.free, np.log(x) - np.log(q), np.inf)
    slope = np.where(np.isnan(slope), 0.0, slope)  # nobody has anything there
    order = np.argsort(slope, axis=-1)
    limit = np.where(block.free, block.cap[..., None], 0.0)
    limit[..., -1] = 1.0
    limit = np.take_along_axis(limit, order, axis=-1)
    before = np.cumsum(limit, axis=-1) - limit
    target = np.clip(block.mass[..., None] - before, 0.0, limit)
    sorted_slope = np.take_along_axis(slope, order, axis=-1)
    now = np.take_along_axis(np.where(block.free, x, 0.0), order, axis=-1)
    moved = now - target
    sorted_slope[moved == 0] = 0.0  # infinite where nothing can move
    return value, np.maximum((sorted_slope * moved).sum(axis=(-2, -1)) / n, 0.0)
