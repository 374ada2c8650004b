"""Divergence: bias, coverage and bounds of its estimators beside the bar; ``BLOCKS`` names the tables."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.distance import jensenshannon

from benchmarks.calibration.cells import Block, Cell, Size
from benchmarks.calibration.simulators import Change, environment, simulate, softmax
from benchmarks.calibration.tables import Table, repeated
from benchmarks.calibration.worlds import PAIR, PANEL, every_text, next_symbol, symbol_logps, written
from driftbound.measure.chain import (
    Scored,
    along,
    chain,
    drawn_information,
    information,
    posterior_weights,
    version_split,
)
from driftbound.measure.chunks import chunk_table
from driftbound.measure.divergence import gjs, jackknife_js, js_from_counts, kl, plug_in_js
from driftbound.measure.identification import identification_bound, multinomial
from driftbound.measure.topk import TopK, js_bounds
from driftbound.records import Measured, Tokens
from driftbound.statistics.signs import contrasts

Array = NDArray[np.float64]
Texts = NDArray[np.intp]
Run = Callable[[np.random.Generator], tuple[float, ...]]
"""One simulation."""


def t4a(size: Size) -> list[Cell]:
    """From counts: the plug-in value is biased up, Miller and Madow's correction leaves much of it."""
    table = Table("T4a")
    rng = np.random.default_rng(4)
    p = softmax(rng.normal(0, 1, 14) + rng.normal(0, 0.35, (5, 14)))
    truth = float(gjs(p))
    table.exact("K=14 N=5", "true divergence", truth, 0.0485, 5e-5)
    bars = {20: (0.2696, 0.1371, 0.0465), 50: (0.1118, 0.0318, 0.0004), 200: (0.0270, 0.0021, -0.0011)}
    for n, bar in bars.items():
        setting = f"K=14 N=5, {n} draws per teacher"
        draws = [rng.multinomial(n, row, size=max(size.power, 200)) for row in p]
        counts = np.stack(draws, axis=1).astype(float)
        found = (plug_in_js(counts), _miller_madow(counts), jackknife_js(counts))
        for what, values, there in zip(("plug-in", "Miller-Madow"), found, bar, strict=False):
            table.mean(setting, f"wrong: bias, {what}", values - truth, there, 200, wrong_way=True)
        table.mean(setting, "bias, jackknife", found[2] - truth, bar[2], 200)
    inside = []
    for _ in range(size.null):
        said = np.stack([rng.multinomial(1, row, size=200) for row in p], axis=1).astype(float)
        inside.append(_covers(js_from_counts(said, np.arange(200)), truth))
    table.share("K=14 N=5, 200 draws per teacher", "coverage, jackknife by case", inside, 0.95)
    return table.cells


def _miller_madow(counts: Array) -> Array:
    """Plug-in value with (occupied cells - 1) / (2 n) added to every entropy (Miller 1955)."""
    n = counts.sum(axis=-1)
    cells, all_cells = (counts > 0).sum(axis=-1), (counts.sum(axis=-2) > 0).sum(axis=-1)
    own = ((cells - 1) / (2 * n)).mean(axis=-1)
    return np.asarray(plug_in_js(counts) + (all_cells - 1) / (2 * n.sum(axis=-1)) - own)


def _covers(measured: Measured, truth: float) -> bool:
    return measured.low - 1e-12 <= truth <= measured.high + 1e-12


def t4b(size: Size) -> list[Cell]:
    """Top-k lists of a vocabulary of 2000: the interval always holds the truth."""
    table = Table("T4b")
    bars = {
        5: (0.161, 0.148, 0.106, 0.423, 0.059),
        20: (0.071, 0.152, 0.133, 0.270, 0.022),
        100: (0.023, 0.155, 0.148, 0.195, 0.008),
    }

    for k, bar in bars.items():
        setting = f"N=5, k={k} of 2000"
        *numbers, inside = repeated(_listed(k), size.power, 41)
        for what, values, there in zip(
            ("tail mass", "true divergence", "lower", "upper"), numbers, bar, strict=False
        ):
            table.mean(setting, what, values, there, 200, tolerance=5e-4)
        table.mean(setting, "wrong: error of renormalised lists", numbers[4], bar[4], 200, tolerance=5e-4,
                   wrong_way=True)  # fmt: skip
        table.exact(setting, "share of intervals that hold the truth", inside.mean(), 1.0)
    return table.cells


def _listed(k: int) -> Run:
    """Tail mass, divergence, both ends, error of renormalised lists, whether the truth lies between."""

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        common = -1.3 * np.log(np.arange(1, 2001)) + rng.normal(0, 1, 2000)
        p = softmax(common * rng.uniform(1, 2) + rng.normal(0, 0.8, (5, 2000)))
        lists = [_top(row, k) for row in p]
        found, truth = js_bounds([lists]), float(gjs(p))
        lower, upper = float(found.lower[0]), float(found.upper[0])
        tail = 1 - np.mean([sum(one.known.values()) for one in lists])
        inside = lower - 1e-9 <= truth <= upper + 1e-9
        return float(tail), truth, lower, upper, _renormalised(lists) - truth, inside

    return run


def _top(p: Array, k: int) -> TopK:
    best = np.argsort(-p)[:k].tolist()
    return TopK(known={str(i).encode(): float(p[i]) for i in best}, cap=float(p[best[-1]]))


def _renormalised(lists: list[TopK]) -> float:
    tokens = sorted(set().union(*(one.known for one in lists)))
    p = np.array([[one.known.get(token, 0.0) for token in tokens] for one in lists])
    return float(gjs(p / p.sum(axis=1, keepdims=True)))


def t4c(size: Size) -> list[Cell]:
    """Pairwise divergence of whole texts: exact at each prefix, against the drawn symbols' log-ratios."""
    table, setting, steps, n = Table("T4c"), "10 steps, 100 texts", 10, 100
    rng, runs = np.random.default_rng(42), 4 * size.null
    by_symbol = kl(PAIR[0], PAIR[1])
    law, truth = np.full(8, 1 / 8), 0.0
    for _ in range(steps):
        truth, law = truth + float(law @ by_symbol), law @ PAIR[0]
    table.exact(setting, "true divergence", truth, 0.6806, 5e-4)
    texts = written(PAIR, np.zeros((runs, n), dtype=np.intp), steps + 1, rng)
    # the first symbol is where the chain starts: ten steps follow it
    exact = by_symbol[texts[:, :, :-1]]
    logps = symbol_logps(PAIR, texts)[:, :, 1:]
    bars = {"exact at each prefix": (-0.0002, 0.0234, 0.942), "drawn symbols": (0.0021, 0.1240, 0.959)}
    for (name, bar), increments in zip(bars.items(), (exact, logps[..., 0] - logps[..., 1]), strict=True):
        found = [chain(each, np.arange(n)).cumulative for each in increments]
        totals = np.array([each.value[-1] for each in found])
        inside = [each.low[-1] <= truth <= each.high[-1] for each in found]
        wrong = name == "drawn symbols"
        said = f"wrong: {name}" if wrong else name
        table.mean(setting, f"{said}: bias", totals - truth, bar[0], 2000, wrong_way=wrong)
        squares = (totals - totals.mean()) ** 2
        table.mean(setting, f"{said}: variance x 1000", 1000 * squares, 1000 * bar[1] ** 2, 2000,
                   wrong_way=wrong)  # fmt: skip
        table.share(setting, f"{said}: coverage", inside, bar[2], 2000, wrong_way=wrong)
    negative = (logps[..., 0] - logps[..., 1]).sum(axis=-1) < 0
    table.share(setting, "wrong: drawn symbols: texts below 0", negative.mean(axis=1), 0.32, 2000,
                wrong_way=True)  # fmt: skip
    return table.cells


def t4d(size: Size) -> list[Cell]:
    """Information about who is writing, by step, against the enumeration of all 4096 texts."""
    table, setting, steps = Table("T4d"), "K=4 J=6 N=4", 6
    texts = every_text(4, steps)
    logps = symbol_logps(PANEL, texts)
    laws = np.exp(logps.sum(axis=1)).T
    enumerated = laws.mean(axis=0) @ information(next_symbol(PANEL, texts), posterior_weights(logps))
    whole = [0.0]
    for j in range(1, steps + 1):
        names = texts[:, :j] @ 4 ** np.arange(j)
        whole.append(float(gjs(np.stack([np.bincount(names, law) for law in laws]))))
    for j, bar in enumerate((0.0, 0.1905, 0.1587, 0.1317, 0.1115, 0.0957)):
        table.exact(setting, f"exact I, step {j + 1}", whole[j + 1] - whole[j], bar, 1e-3)
    off = float(np.abs(enumerated - np.diff(whole)).max())
    table.exact(setting, "chain rule by enumeration: largest difference", off, 0.0, 1e-10)

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        texts = written(PANEL, np.repeat(np.arange(4), 50), steps, rng)
        p = next_symbol(PANEL, texts)
        found = information(p, posterior_weights(symbol_logps(PANEL, texts))).mean(axis=0)
        return (*found, found.sum(), gjs(p).mean(axis=0).sum())

    *found, total, even = repeated(run, max(size.power, 50), 43)
    for j, values in enumerate(found):
        table.mean(setting, f"posterior weights, step {j + 1}", values, whole[j + 1] - whole[j])
    table.mean(setting, "posterior weights, sum", total, whole[-1])
    table.mean(setting, "posterior weights, sum", total, 0.6887, 300, tolerance=5e-4)
    table.mean(setting, "wrong: weights 1/N, sum", even, 0.9535, 300, tolerance=5e-4, wrong_way=True)
    table.bound(setting, "wrong: weights 1/N, sum above the divergence by", even.mean() - whole[-1],
                least=0.2, wrong_way=True)  # fmt: skip
    return table.cells


def t11(size: Size) -> list[Cell]:
    """Split between two versions, 200 cases each, scored by both."""
    table, symbols = Table("T11"), 8
    rng = np.random.default_rng(11)
    consensus = softmax(rng.normal(0, 1, (symbols, symbols)) + 2 * np.eye(symbols))
    old = softmax(np.log(consensus) + rng.normal(0, 0.5, (symbols, symbols)))
    new = softmax(np.log(old) + 0.8 * rng.normal(0, 1, (symbols, symbols)))
    elsewhere = softmax(rng.normal(0, 1.5, symbols))
    before = np.linalg.matrix_power(old, 1024)[0]
    worlds = {
        "new weights": (new, np.linalg.matrix_power(new, 1024)[0], (0.1380, -0.0060, 0.1440), (0.953, 0.949)),
        "prefixes only": (old, elsewhere, (-0.0367, -0.0367, 0.0), (0.936, 1.0)),
        "nothing": (old, before, (0.0, 0.0, 0.0), (0.954, 1.0)),
    }
    for name, (rows, after, bar, cover) in worlds.items():
        first, second = kl(old, consensus), kl(rows, consensus)
        history = float((after - before) @ (first + second) / 2)
        instant = float((after + before) @ (second - first) / 2)
        for what, value, there in zip(
            ("total", "history", "instantaneous"), (history + instant, history, instant), bar, strict=True
        ):
            table.exact(name, f"true {what}", value, there, 1e-4)

        run = _splits((before, after), (first, second), (history, instant))
        *off, in_history, in_instant, sums = repeated(run, 4 * size.null, 111)
        for what, values in zip(("history", "instantaneous"), off, strict=True):
            table.mean(name, f"bias, {what}", values, 0.0, 2000, tolerance=1e-12)
        table.share(name, "coverage, history", in_history, cover[0], 2000)
        table.share(name, "coverage, instantaneous", in_instant, cover[1], 2000)
        table.exact(name, "history + instantaneous - total", float(np.abs(sums).max()), 0.0, 1e-12)
    return table.cells


def _splits(laws: tuple[Array, Array], scores: tuple[Array, Array], truths: tuple[float, float]) -> Run:
    """Errors of both parts, whether their intervals cover, and what they lack of the total."""

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        sides = []
        for law in laws:
            at = rng.choice(len(law), 200, p=law)
            sides.append(Scored(by_first=scores[0][at], by_second=scores[1][at], clusters=np.arange(200)))
        found = version_split(*sides, same_cases=False)
        parts = (found.history, found.instantaneous)
        return (
            *(part.value - truth for part, truth in zip(parts, truths, strict=True)),
            *(_covers(part, truth) for part, truth in zip(parts, truths, strict=True)),
            found.history.value + found.instantaneous.value - found.total.value,
        )

    return run


def t12(size: Size) -> list[Cell]:
    """One model over characters read through tokens of one and of two, and another model."""
    table, symbols, length, n = Table("T12"), 4, 10, 2000
    rng = np.random.default_rng(13)
    one = softmax(rng.normal(0, 1, (symbols, symbols)))
    two = softmax(np.log(one) + rng.normal(0, 0.5, (symbols, symbols)))
    worlds = {"same model": (one, (0.6931, 0.0)), "other model": (two, (0.6931, 0.0223))}
    for name, (other, bar) in worlds.items():
        texts = written(one[None], np.zeros(n, dtype=np.intp), length + 1, rng)
        law, truth = np.bincount(texts[:, 0], minlength=symbols) / n, 0.0
        for _ in range(length):
            truth, law = truth + float(law @ kl(one, other)), law @ one
        last = texts[:, :-1:2]  # before each token of two
        pairs = other[last][..., None] * other
        literal, first = np.zeros((2, *last.shape, 2, symbols + symbols**2))
        literal[:, :, 0, :symbols] = one[last]
        literal[:, :, 1, symbols:] = pairs.reshape(*last.shape, -1)
        first = np.stack([one[last], pairs.sum(axis=-1)], axis=2)
        totals = _by_chunks(texts, one, other)
        table.mean(name, "wrong: tokens matched by their strings", gjs(literal).mean(axis=1), bar[0],
                   tolerance=1e-4, wrong_way=True)  # fmt: skip
        table.mean(
            name, "first character alone (a lower bound)", gjs(first).mean(axis=1), bar[1], n, tolerance=5e-5
        )
        table.mean(name, "chunks' log-ratios: divergence of whole texts", totals, truth, tolerance=1e-12)
    table.exact("other model", "true divergence", truth, 0.9543, 0.02)
    return table.cells


def _by_chunks(texts: Texts, one: Array, other: Array) -> Array:
    """(n,) summed log-ratio of texts that follow a first character."""
    length = texts.shape[1] - 1
    narrow = Tokens(tuple(range(length)), tuple((i, i + 1) for i in range(length)))
    wide = Tokens(tuple(range(length // 2)), tuple((i, i + 2) for i in range(0, length, 2)))
    p = np.log(one[texts[:, :-1], texts[:, 1:]])
    q = np.log(other[texts[:, :-1], texts[:, 1:]]).reshape(len(texts), -1, 2).sum(axis=-1)
    found = [chunk_table([narrow, wide], pair, length)[0] for pair in zip(p, q, strict=True)]
    return np.array([(each[:, 0] - each[:, 1]).sum() for each in found])


def t13(size: Size) -> list[Cell]:
    """Texts alone: the bound from telling teachers apart, on cases of the fit and on others."""
    table, steps = Table("T13"), 6
    rng = np.random.default_rng(4)
    panel = softmax(rng.normal(0, 1, (4, 4)) + 1.5 * np.eye(4) + rng.normal(0, 0.9, (4, 4, 4)))
    truth = float(gjs(np.exp(symbol_logps(panel, every_text(4, steps)).sum(axis=1)).T))
    table.exact("N=4 J=6", "true divergence", truth, 0.3748, 5e-5)
    bars = {20: (0.4996, 0.2348), 50: (0.4372, 0.3148), 200: (0.3921, 0.3555), 1000: (0.3785, 0.3731)}

    for n, bar in bars.items():
        setting = f"{n} texts per teacher for the fit"
        seen, held_out, low = repeated(_identified(panel, n), size.power, 131)
        table.mean(setting, "wrong: on the cases of the fit", seen, bar[0], 200, wrong_way=True)
        table.bound(setting, "wrong: on the cases of the fit, above by", seen.mean() - truth, least=0.0,
                    wrong_way=True)  # fmt: skip
        table.mean(setting, "held out", held_out, bar[1], 200)
        table.limit(setting, "held out: above the divergence by", held_out.mean() - truth, most=0.0)
        table.limit(setting, "lower end above the divergence", (low > truth).mean(), most=0.025)
    return table.cells


def _identified(panel: Array, n: int) -> Run:
    """The bound on the n cases of the fit; held out, each half of 2n by the other; its lower end."""
    fit = multinomial(np.repeat(np.arange(4), 4))

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        x = _bigrams(written(panel, np.tile(np.arange(4), (2 * n, 1)), 6, rng))
        held_out = identification_bound(x, np.arange(2 * n), rng, fit=fit, folds=2)
        flat, teacher = x[:n].reshape(-1, 16), np.tile(np.arange(4), n)
        seen = fit(flat, teacher, 4)(flat)[np.arange(4 * n), teacher]
        return np.log(4) + seen.mean(), held_out.value, held_out.low

    return run


def _bigrams(texts: Texts) -> Array:
    """(..., K * K) how often each symbol follows each, K = 4."""
    pairs = texts[..., :-1] * 4 + texts[..., 1:]
    return np.asarray((pairs[..., None] == np.arange(16)).sum(axis=-2), dtype=np.float64)


def t14(size: Size) -> list[Cell]:
    """Against independent computations: scipy's distance, scipy's optimiser; tokens cut otherwise."""
    table, rng = Table("T14d"), np.random.default_rng(0)
    p = softmax(rng.normal(size=(200, 2, 9)))
    off = np.abs(gjs(p) - jensenshannon(p[:, 0], p[:, 1], axis=1) ** 2).max()
    table.exact("two distributions", "JSD less scipy's distance squared", off, 0.0, 1e-12)
    for seed, bar in enumerate((0.10008, 0.24968, 0.17075)):
        p = softmax(np.random.default_rng(seed).normal(0, 1.5, (3, 12)))
        lists = [_top(row, 3) for row in p]
        lower = float(js_bounds([lists]).lower[0])
        setting = f"top 3 of 12, panel {seed}"
        table.exact(setting, "lower end", lower, bar, 1e-4)
        table.exact(setting, "lower end less the optimiser's", lower - _least(lists), 0.0, 2e-3)
    return table.cells


def _least(lists: list[TopK]) -> float:
    """Least divergence over all fill-ins, by sequential quadratic programming on the definition."""
    tokens = sorted(set().union(*(one.known for one in lists)))
    known = np.array([[one.known.get(token, 0.0) for token in tokens] for one in lists])
    free = [(u, i) for u, one in enumerate(lists) for i, token in enumerate(tokens) if token not in one.known]
    mass = 1 - known.sum(axis=1)
    teacher, cell = np.array(free).T
    caps = np.array([one.cap for one in lists])[teacher]

    def filled(x: Array) -> Array:
        p = np.hstack([known, mass[:, None]])
        p[teacher, cell] = x
        np.subtract.at(p, (teacher, -1), x)
        return p

    def value(x: Array) -> float:
        return float(gjs(np.clip(filled(x), 1e-15, None)))

    def slope(x: Array) -> Array:
        p = np.clip(filled(x), 1e-15, None)
        log = np.log(p / p.mean(axis=0)) / len(lists)
        return np.asarray(log[teacher, cell] - log[teacher, -1])

    starts = [np.minimum(caps, mass[teacher] / 20) * share for share in (0.3, 0.9)]
    rest = {"type": "ineq", "fun": lambda x: filled(x)[:, -1]}
    asked = {"jac": slope, "bounds": [(1e-10, cap) for cap in caps], "constraints": [rest], "method": "SLSQP"}
    return min(
        float(minimize(value, start, options={"maxiter": 400, "ftol": 1e-14}, **asked).fun)
        for start in starts
    )


def v6(size: Size) -> list[Cell]:
    """A planted wrong claim, after which everyone reasons as before: it shows on own prefixes alone.
    The windows are set beforehand, five steps before it and five after."""
    table = Table("V6")
    rows = ((0.0, 100, 0.0, size.null), (0.2, 100, 0.0163, size.power), (0.6, 100, 0.0477, size.null),
            (0.6, 300, 0.0477, size.power))  # fmt: skip
    for delta, n, bar, runs in rows:
        on_forced, on_free, effect, se, off = repeated(_planted(delta, n), runs, 61)
        setting = f"wrong claims delta={delta} n={n}"
        table.level(setting, "common prefix: rises or falls", on_forced)
        table.mean(setting, "own prefix: effect", effect, bar, 400, tolerance=5e-4)
        table.share(setting, "own prefix: coverage", np.abs(effect - bar) <= 1.96 * se, 0.95, 200)
        table.exact(setting, "common + history - own", off.max(), 0.0, 1e-12)
        if not delta:
            table.level(setting, "own prefix: rises or falls", on_free)
        elif n == 300:  # what the scan finds without knowing where
            table.bound(setting, "own prefix: found", on_free.mean(), least=0.89)
        else:
            table.shown(setting, "own prefix: found", on_free.mean(), runs=runs)
    return table.cells


def _planted(delta: float, n: int) -> Run:
    """Whether later less earlier differs from 0 on the common and on own prefixes, the latter's effect and
    error, and what the parts of the split lack of the whole."""
    panel = environment(5, 8, np.random.default_rng(22), sticky=4, spread=0.3)
    change = Change(kind="history", delta=delta)

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        forced, free = simulate(n, panel, 10, rng, change, coupled=True)
        own = [contrasts(gjs(each), 5)[:, None] for each in (forced, free)]
        found = along(own[0], own[1], np.arange(n))
        off = found.free.value - found.instantaneous.value - found.history.value
        sees = [not part.low[0] <= 0 <= part.high[0] for part in (found.instantaneous, found.free)]
        return *sees, found.free.value[0], found.free.se[0], float(np.abs(off).max())

    return run


def v13(size: Size) -> list[Cell]:
    """Splitting, merging and relabelling tokens leaves the chunks' divergences alone."""
    table, rng, length = Table("V13"), np.random.default_rng(13), 60
    worst = np.zeros(4)
    for _ in range(size.power):
        single = -rng.gamma(1.0, size=(3, length))
        cuts = [
            np.sort(rng.choice(np.arange(1, length), rng.integers(5, 40), replace=False)) for _ in range(3)
        ]
        finer = np.union1d(cuts[0], rng.choice(np.arange(1, length), 15, replace=False))
        coarser = rng.permutation(cuts[0])[: len(cuts[0]) // 2]
        whole = _cut(single, cuts, rng)
        others = (_cut(single, [finer, *cuts[1:]], rng), _cut(single, [np.sort(coarser), *cuts[1:]], rng))
        pairwise_kl, informed = [
            [measure(each) for each in (whole, *others)]
            for measure in (lambda t: (t[:, 0] - t[:, 1]).sum(), lambda t: drawn_information(t, 0).sum())
        ]
        again = _cut(single, cuts, rng)  # with other ids
        worst = np.maximum(worst, [np.ptp(pairwise_kl), np.ptp(informed), np.abs(again - whole).max(), 0])
    for what, value in zip(("log-ratio", "N-way information", "chunks, relabelled"), worst, strict=False):
        table.exact("60 characters, 3 tokenizers", f"largest change of the {what}", value, 0.0, 1e-12)
    return table.cells


def _cut(single: Array, cuts: list[Texts], rng: np.random.Generator) -> Array:
    """Chunk table of teachers whose log-probabilities by character (N, L) are added up to tokens."""
    length = single.shape[1]
    tokens, logps = [], []
    for row, places in zip(single, cuts, strict=True):
        spans = tuple(pairwise([0, *places.tolist(), length]))
        tokens.append(Tokens(tuple(rng.integers(0, 1000, len(spans)).tolist()), spans))
        logps.append(np.array([row[start:end].sum() for start, end in spans]))
    return chunk_table(tokens, logps, length)[0]


BLOCKS: dict[str, Block] = {
    "T4a": t4a,
    "T4b": t4b,
    "T4c": t4c,
    "T4d": t4d,
    "T11": t11,
    "T12": t12,
    "T13": t13,
    "T14d": t14,
    "V6": v6,
    "V13": v13,
}
