"""Simulated teachers: sticky Markov chains with case effects, started where their law stands still."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["instant", "exchange", "history"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """N teachers over K symbols: what they share, what is their own, and where a change would take them."""

    base: Array
    """(K, K) logits of the next symbol after each symbol."""
    own: Array
    """(N, K, K) added by each teacher."""
    direction: Array
    """(N, K, K) added, times delta, by a teacher that changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A planted change: new rows (instant), two teachers that trade theirs (exchange), or wrong claims."""

    kind: Kind
    delta: float
    at: int = 5
    """First step (from 0) after the change."""
    who: tuple[int, ...] = (0,)


def environment(
    teachers: int, symbols: int, rng: np.random.Generator, *, sticky: float = 2.0, spread: float = 0.6
) -> Environment:
    """Draw a panel: ``sticky`` favours the same symbol again, ``spread`` is how far teachers lie apart."""
    base = rng.normal(0, 1, (symbols, symbols)) + sticky * np.eye(symbols)
    own = rng.normal(0, spread, (teachers, symbols, symbols))
    return Environment(base=base, own=own, direction=rng.normal(0, 1, (teachers, symbols, symbols)))


def simulate(
    n: int,
    env: Environment,
    steps: int,
    rng: np.random.Generator,
    change: Change | None = None,
    *,
    case_effects: bool = True,
    coupled: bool = False,
) -> tuple[Array, Array]:
    """Next-symbol distributions of n cases on a common prefix and on each teacher's own, (n, J, N, K) both.

    The common prefix is the last teacher's. Started in the stationary law, so that without a change the law
    is the same at every step. ``coupled`` teachers share their random numbers (after 60 steps): they say
    mostly the same, as teachers that look at the same picture do.
    """
    before, after = _rows(n, env, rng, change, case_effects)
    teachers, symbols = env.own.shape[:2]
    case, teacher = np.arange(n)[:, None], np.arange(teachers)[None]

    def following(p: Array) -> NDArray[np.intp]:
        return _at(rng.random((n, 1)), p) if coupled else draw(p, rng)

    said = draw(_stationary(before), rng)
    for _ in range(60 if coupled else 0):
        said = following(before[case, teacher, said])
    forced, free = (np.empty((n, steps, teachers, symbols)) for _ in range(2))
    for j in range(steps):
        rows = after if change is not None and j >= change.at else before
        forced[:, j] = rows[case[:, 0], :, said[:, -1]]
        free[:, j] = rows[case, teacher, said]
        said = following(free[:, j])
        if change is not None and change.kind == "history" and j == change.at - 1:
            for u in change.who:  # a wrong claim, after which the teacher goes on as ever
                wrong = rng.random(n) < change.delta
                said[wrong, u] = (said[wrong, u] + symbols // 2) % symbols
    return forced, free


def simulate_forced(
    n: int, env: Environment, steps: int, rng: np.random.Generator, change: Change | None = None
) -> Array:
    """As ``simulate``, the common prefix alone, (n, J, N, K): several times faster."""
    before, after = _rows(n, env, rng, change, True)
    host = before[:, -1:]
    said = draw(_stationary(host), rng)[:, 0]
    case = np.arange(n)
    forced = np.empty((n, steps, *env.own.shape[:2]))
    for j in range(steps):
        rows = after if change is not None and j >= change.at else before
        forced[:, j] = rows[case, :, said]
        said = draw(forced[:, j, -1], rng)
    return forced


def softmax(logits: Array) -> Array:
    """Distributions over the last axis."""
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def draw(p: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """One symbol from each distribution on the last axis."""
    return _at(rng.random(p.shape[:-1]), p)


def panel_votes(
    n: int, units: int, raters: int, rng: np.random.Generator, *, flipped: float
) -> NDArray[np.int64]:
    """Votes (n, units, raters) in 0, 1, 2; -1 for a quarter that is missing; in the later half of the units
    the first two raters turn their votes round with probability ``flipped``."""
    truth = (rng.random((n, units, 1)) < 0.4) * 2
    difficulty = rng.beta(2, 6, (n, 1, 1)) * 2
    shape = (n, units, raters)
    guessed = rng.random(shape) < 0.12 + 0.25 * difficulty
    votes = np.where(guessed, rng.integers(0, 3, shape), truth)
    late = (np.arange(units) >= units // 2)[None, :, None] & (np.arange(raters) < 2)
    votes = np.where(late & (rng.random(shape) < flipped), 2 - votes, votes)
    return np.where(rng.random(shape) < 0.25, -1, votes)


def autoregressive(length: int, correlation: float, rng: np.random.Generator) -> Array:
    """(T,) normal, each correlated with the one before."""
    noise = rng.normal(size=length)
    if correlation:
        for t in range(1, length):
            noise[t] = correlation * noise[t - 1] + np.sqrt(1 - correlation**2) * noise[t]
    return noise


def patients(sizes: Sequence[int], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) cluster numbers of ``count`` patients with so many cases each, drawn from ``sizes``."""
    return np.repeat(np.arange(count), rng.choice(sizes, count))


def _rows(
    n: int, env: Environment, rng: np.random.Generator, change: Change | None, case_effects: bool
) -> tuple[Array, Array]:
    """Each case's transition rows (n, N, K, K), before and after the change."""
    symbols = env.base.shape[0]
    case = rng.normal(0, 0.5, (n, 1, symbols, symbols)) if case_effects else np.zeros((n, 1, 1, 1))
    gain = np.exp(rng.normal(0, 0.5, (n, 1, 1, 1))) if case_effects else np.ones((n, 1, 1, 1))
    logits = env.base + case + gain * env.own
    before = softmax(logits)
    if change is None or change.kind == "history":
        return before, before
    after = before.copy()
    if change.kind == "exchange":
        after[:, [0, 1]] = before[:, [1, 0]]
    else:
        for u in change.who:
            after[:, u] = softmax(logits[:, u] + change.delta * env.direction[u])
    return before, after


def _stationary(rows: Array) -> Array:
    """(..., K) law that the transition rows (..., K, K) leave as it is."""
    power = rows
    for _ in range(8):
        power = power @ power
    return np.asarray(power.mean(axis=-2))


def _at(places: Array, p: Array) -> NDArray[np.intp]:
    found = (places[..., None] > p.cumsum(axis=-1)).sum(axis=-1)
    return np.minimum(found, p.shape[-1] - 1)
