"""Tests of change: level, power, bias and coverage beside the bar; ``BLOCKS`` names the tables."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import streams, variants
from benchmarks.calibration.cells import Block, Cell, Size
from benchmarks.calibration.simulators import (
    Change,
    Environment,
    Kind,
    draw,
    environment,
    panel_votes,
    simulate,
    simulate_forced,
    softmax,
)
from benchmarks.calibration.tables import Table, repeated
from benchmarks.calibration.wrong_ways import (
    changed_from_mixture,
    permuted_steps,
    t_test_of_steps,
    unpaired_mmd,
)
from driftbound.measure.divergence import gjs
from driftbound.measure.noise import excess_by_part
from driftbound.measure.peel import peel_distributions
from driftbound.statistics.agreement import alpha_change, case_coincidences
from driftbound.statistics.intervals import resample
from driftbound.statistics.kernels import swap_mmd
from driftbound.statistics.signs import contrast_at, contrasts, flip_test, scan
from driftbound.statistics.sizes import cases_needed

Array = NDArray[np.float64]
STEPS, AT = 10, 5
"""Steps of an answer, and the first one after a planted change."""


def _flat(p: Array, step: int) -> Array:
    """(n, N * K) all teachers' distributions at one step, as the features of a case."""
    return p[:, step].reshape(len(p), -1)


def t1(size: Size) -> list[Cell]:
    """Level without a change."""
    table = Table("T1")
    bars = {  # of the wrong ways: steps permuted, t-test
        (30, 2, True): (0.166, 0.000),
        (100, 2, True): (0.158, 0.006),
        (300, 2, True): (0.142, 0.002),
        (30, 5, False): (0.302, 0.046),
        (100, 5, False): (0.320, 0.064),
    }
    for (n, sticky, effects), bar in bars.items():
        _level(table, size, n, sticky, effects, bar)
    return table.cells


def _level(table: Table, size: Size, n: int, sticky: float, effects: bool, bar: tuple[float, float]) -> None:
    cases = np.arange(n)

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        panel = environment(5, 8, rng, sticky=sticky)
        forced, free = simulate(n, panel, STEPS, rng, case_effects=effects)
        values, own = gjs(forced), gjs(free)
        early, late = _flat(free, 2), _flat(free, 7)
        return (
            scan(values, cases, rng=rng, draws=size.draws).p,
            scan(own, cases, rng=rng, draws=size.draws).p,
            swap_mmd(early, late, cases, rng=rng, draws=size.draws).p,
            permuted_steps(values, rng),
            t_test_of_steps(values),
            unpaired_mmd(early[:100], late[:100], rng),
        )

    setting = f"n={n} stickiness={sticky} case effects={'yes' if effects else 'no'}"
    forced, free, swap, *wrong = repeated(run, size.null, 1)
    for what, ps in (("scan, common prefix", forced), ("scan, own prefix", free), ("case-swap MMD", swap)):
        table.level(setting, what, ps <= 0.05)
        table.uniform(setting, what, ps)
    permuted, t_test, unpaired = ((ps <= 0.05).mean() for ps in wrong)
    runs = size.null
    table.share(setting, "wrong: steps permuted", wrong[0] <= 0.05, bar[0], 500, wrong_way=True)
    table.bound(setting, "wrong: steps permuted", permuted, least=0.10, runs=runs, wrong_way=True)
    if effects:  # which it takes for noise: it never rejects
        table.limit(setting, "wrong: t-test of all steps", t_test, most=0.04, runs=runs, wrong_way=True)
    else:
        table.share(setting, "wrong: t-test of all steps", wrong[1] <= 0.05, bar[1], 500, wrong_way=True)
    table.limit(setting, "wrong: unpaired MMD", unpaired, most=0.02, runs=runs, wrong_way=True)


T2_BARS = (
    # kind, delta, n: true effect, effect / sd; bias at the split found, coverage; power of the scan on the
    # common prefix, on the own prefix, of the MMD; share of the rejecting runs that found step 4, 5 or 6
    ("instant", 0.25, 50, (0.0032, 0.08), (0.0008, 0.93), (0.12, 0.04, 0.05), 0.42),
    ("instant", 0.25, 100, (0.0032, 0.08), (0.0011, 0.95), (0.14, 0.07, 0.06), 0.57),
    ("instant", 0.25, 300, (0.0032, 0.08), (0.0007, 0.92), (0.33, 0.05, 0.09), 0.73),
    ("instant", 0.50, 50, (0.0110, 0.30), (0.0008, 0.94), (0.53, 0.04, 0.07), 0.76),
    ("instant", 0.50, 100, (0.0110, 0.30), (0.0005, 0.94), (0.74, 0.10, 0.07), 0.78),
    ("instant", 0.50, 300, (0.0110, 0.30), (0.0004, 0.93), (0.99, 0.07, 0.27), 0.96),
    ("instant", 1.00, 50, (0.0378, 0.99), (-0.0014, 0.96), (1.00, 0.08, 0.12), 0.90),
    ("exchange", 1.00, 100, (-0.0004, -0.01), (-0.0001, 0.94), (0.06, 0.10, 0.99), 0.55),
    ("history", 0.00, 100, (0.0004, 0.00), (-0.0015, 0.94), (0.05, 0.04, 0.06), 0.14),
    ("history", 0.20, 100, (0.0163, 0.08), (-0.0032, 0.96), (0.05, 0.07, 0.06), 0.54),
    ("history", 0.60, 100, (0.0477, 0.22), (-0.0020, 0.95), (0.05, 0.40, 0.06), 0.84),
    ("history", 0.60, 300, (0.0477, 0.22), (-0.0039, 0.95), (0.04, 0.89, 0.07), 0.96),
)


def t2(size: Size) -> list[Cell]:
    """Power, bias and coverage; teacher 0 of five fixed ones changes at step 5 of 10."""
    table = Table("T2")
    for row in T2_BARS:
        _power(table, size, *row)
    return table.cells


def _planted(kind: Kind, delta: float) -> tuple[Environment, Change]:
    close = {"sticky": 4.0, "spread": 0.3} if kind == "history" else {}
    return environment(5, 8, np.random.default_rng(22), **close), Change(kind=kind, delta=delta, at=AT)


@cache
def _truth(kind: Kind, delta: float) -> Array:
    """(20000,) contrasts of as many cases: their mean is the effect."""
    panel, change = _planted(kind, delta)
    history = kind == "history"
    forced, free = simulate(20000, panel, STEPS, np.random.default_rng(99), change, coupled=history)
    return contrasts(gjs(free if history else forced), AT)


def _power(
    table: Table,
    size: Size,
    kind: Kind,
    delta: float,
    n: int,
    truth_bar: tuple[float, float],
    found_bar: tuple[float, float],
    power_bar: tuple[float, float, float],
    near_bar: float,
) -> None:
    history = kind == "history"
    panel, change = _planted(kind, delta)
    true = _truth(kind, delta)
    off = float(true.std() / np.sqrt(len(true)))

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        forced, free = simulate(n, panel, STEPS, rng, change, coupled=history)
        values, own, cases = gjs(forced), gjs(free), np.arange(n)
        on_forced = scan(values, cases, rng=rng, draws=size.draws)
        on_free = scan(own, cases, rng=rng, draws=size.draws)
        swap = swap_mmd(_flat(forced, 2), _flat(forced, 7), cases, rng=rng, draws=size.draws)
        found, given = (on_free, own) if history else (on_forced, values)
        fixed = contrast_at(given, cases, AT)
        near = float(abs(found.split - AT) <= 1) if found.p <= 0.05 else np.nan
        covered = fixed.low <= true.mean() <= fixed.high
        ps = (on_forced.p, on_free.p, swap.p)
        return (*(p <= 0.05 for p in ps), near, fixed.effect, found.effect, covered)

    *hits, near, fixed, found, covered = repeated(run, size.power, 2)
    setting = f"{kind} delta={delta:.2f} n={n}"
    table.mean(setting, "true effect", true, truth_bar[0], 20000, tolerance=5e-5)
    ratio = true.mean() / true.std()
    table.exact(setting, "true effect / sd", ratio, truth_bar[1], 3 * np.sqrt(2 / 20000) + 0.005)
    table.mean(setting, "bias, split known", fixed - true.mean(), 0.0, tolerance=3 * off)
    at_found = found - true.mean()
    table.mean(setting, "bias, split found", at_found, found_bar[0], 200, tolerance=4.5 * off + 5e-5)
    table.share(setting, "interval covers, split known", covered, found_bar[1], 200)
    for what, hit, bar in zip(
        ("scan, common prefix", "scan, own prefix", "case-swap MMD"), hits, power_bar, strict=True
    ):
        if history and delta == 0:
            table.level(setting, f"null: {what}", hit)
        else:
            table.share(setting, f"power: {what}", hit, bar, 200)
    rejecting = max(round(200 * power_bar[1 if history else 0]), 1)
    if (~np.isnan(near)).sum() > 5:
        table.share(setting, "split found within 1", near, near_bar, rejecting)


def t3(size: Size) -> list[Cell]:
    """Which teachers changed: peel-off, and Benjamini-Hochberg on mixtures, which blames the innocent."""
    table = Table("T3")
    bars = (
        ((), (0.94, 0.060, np.nan), (0.060, np.nan)),
        ((0,), (0.75, 0.070, 0.81), (0.515, 0.93)),
        ((0, 1), (0.66, 0.040, 0.83), (0.745, 0.95)),
        ((0, 1, 2), (0.68, 0.070, 0.89), (0.885, 0.97)),
    )
    for who, peel_bar, mixed_bar in bars:
        _attributed(table, size, who, peel_bar, mixed_bar)
    return table.cells


def _attributed(
    table: Table,
    size: Size,
    who: tuple[int, ...],
    peel_bar: tuple[float, float, float],
    mixed_bar: tuple[float, float],
) -> None:
    cases = np.arange(150)
    planted = set(who)
    change = Change(kind="instant", delta=0.75, who=who) if who else None

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        p = simulate_forced(150, environment(7, 8, rng), STEPS, rng, change)
        peeled = peel_distributions(p, cases, rng=rng, draws=size.draws)
        named = {changed.teacher for changed in peeled.changed}
        mixed = changed_from_mixture(p, cases, rng, size.draws)
        share = [len(got & planted) / len(planted) if planted else np.nan for got in (named, mixed)]
        return named == planted, bool(named - planted), share[0], bool(mixed - planted), share[1]

    exact, wrongly, found, mixed, mixed_found = repeated(run, size.power, 3)
    setting = f"N=7 n=150 changed={len(who)}"
    table.share(setting, "peel-off names exactly those", exact, peel_bar[0], 200)
    if not who:
        table.level(setting, "peel-off names an innocent one", wrongly)
        table.share(setting, "wrong: BH on mixtures names an innocent one", mixed, mixed_bar[0], 200)
        return
    table.share(setting, "peel-off names an innocent one", wrongly, peel_bar[1], 200)
    table.limit(setting, "peel-off names an innocent one", wrongly.mean(), most=0.08, runs=size.power)
    table.mean(setting, "peel-off: share found", found, peel_bar[2], 200, tolerance=0.005, of_one=True)
    table.share(
        setting, "wrong: BH on mixtures names an innocent one", mixed, mixed_bar[0], 200, wrong_way=True
    )
    table.bound(
        setting, "wrong: BH on mixtures names an innocent one", mixed.mean(), least=0.3, wrong_way=True
    )
    table.mean(
        setting,
        "wrong: BH on mixtures: share found",
        mixed_found,
        mixed_bar[1],
        200,
        tolerance=0.005,
        of_one=True,
        wrong_way=True,
    )


def t5(size: Size) -> list[Cell]:
    """Two texts per teacher: raw disagreement moves with entropy, its excess over the noise does not."""
    table = Table("T5")
    # raw, excess, mean. Power and mean of the excess are those of five seeds of the reference simulation
    # (2500 runs): its own seed has .538 and .976, means .0237 and .0668, luckier than the other four
    bars = ((0.0, 1.000, 0.056, 0.0001), (1.0, 1.000, 0.515, 0.0224), (2.0, 1.000, 0.953, 0.0638))
    for row in bars:
        _excess(table, size, *row)
    return table.cells


def _excess(
    table: Table, size: Size, delta: float, raw_bar: float, excess_bar: float, mean_bar: float
) -> None:
    n, teachers, symbols = 150, 5, 8
    u, v = np.triu_indices(teachers, 1)
    cases = np.arange(n)
    # each step has one claim
    steps = np.broadcast_to(np.arange(STEPS, dtype=np.int16), (2, n, teachers, STEPS))

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        fading = np.linspace(1.3, 0.7, STEPS)[:, None, None]
        logits = rng.normal(0, 2, (n, 1, 1, symbols)) * fading * np.ones((n, STEPS, teachers, symbols))
        if delta:
            logits[:, AT:, 0] += delta * rng.normal(0, 1, symbols)
        p = softmax(logits)
        said = np.stack([draw(p, rng), draw(p, rng)], axis=-1)
        differ = said[:, :, :, None, :, None] != said[:, :, None, :, None, :]
        between = differ[:, :, u, v].mean(axis=(2, 3, 4))
        cross = 1 - np.einsum("cjuk,cjvk->cjuv", p, p)[:, :, u, v].mean(axis=2)
        true = cross - (1 - (p**2).sum(axis=-1)).mean(axis=2)
        excess = excess_by_part(list(said.transpose(3, 0, 2, 1).astype(np.int16)), steps, STEPS)
        return (
            scan(between, cases, rng=rng, draws=size.draws).p,
            scan(excess, cases, rng=rng, draws=size.draws).p,
            excess[:, AT:].mean(),
            true[:, AT:].mean(),
        )

    raw, excess, mean, true = repeated(run, size.null, 5)
    setting = f"N=5 n=150 R=2 delta={delta:.0f}"
    table.share(setting, "wrong: raw disagreement rejects", raw <= 0.05, raw_bar, 500, wrong_way=True)
    if delta:
        table.share(setting, "power: scan of the excess", excess <= 0.05, excess_bar, 2500)
    else:
        table.bound(
            setting, "wrong: raw disagreement rejects", (raw <= 0.05).mean(), least=0.9, wrong_way=True
        )
        table.level(setting, "scan of the excess", excess <= 0.05)
        table.uniform(setting, "scan of the excess", excess)
    table.mean(setting, "mean excess after the change", mean, mean_bar, 2500, tolerance=5e-5)
    table.mean(setting, "bias of the mean excess", mean - true, 0.0)


def t6(size: Size) -> list[Cell]:
    """Krippendorff's alpha of early and late steps, swapped by case."""
    table = Table("T6")
    bars = (
        (60, 0.0, 0.495, 0.495, 0.056),
        (200, 0.0, 0.495, 0.495, 0.042),
        (60, 0.15, 0.495, 0.409, 0.494),
        (200, 0.15, 0.495, 0.409, 0.954),
        (60, 0.3, 0.495, 0.331, 0.972),
    )
    for row in bars:
        _alpha(table, size, *row)
    return table.cells


def _alpha(
    table: Table, size: Size, n: int, flipped: float, early_bar: float, late_bar: float, bar: float
) -> None:
    large = panel_votes(20000, 6, 7, np.random.default_rng(66), flipped=flipped)
    halves = [case_coincidences(half, 3) for half in (large[:, :3], large[:, 3:])]
    every = resample([str(c) for c in range(20000)], rng=np.random.default_rng(0), draws=2)
    truth = alpha_change(*halves, every, rng=np.random.default_rng(0), draws=1).effect.mean

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        votes = panel_votes(n, 6, 7, rng, flipped=flipped)
        early, late = case_coincidences(votes[:, :3], 3), case_coincidences(votes[:, 3:], 3)
        resamples = resample([str(c) for c in range(n)], rng=rng, draws=size.draws)
        found = alpha_change(early, late, resamples, rng=rng, draws=size.draws)
        covered = found.effect.low <= truth <= found.effect.high
        return found.early.mean, found.late.mean, found.p, covered

    early, late, ps, covered = repeated(run, size.null, 6)
    setting = f"n={n} flipped={flipped:.2f}"
    table.mean(setting, "alpha, early steps", early, early_bar, 500, tolerance=0.0015)
    table.mean(setting, "alpha, late steps", late, late_bar, 500, tolerance=0.0015)
    if flipped:
        table.share(setting, "power: alpha changed", ps <= 0.05, bar, 500)
    else:
        table.level(setting, "alpha changed", ps <= 0.05)
        table.uniform(setting, "alpha changed", ps)
    table.share(setting, "interval of the change covers", covered, 0.95)


def v3(size: Size) -> list[Cell]:
    """The formula for sample sizes keeps its word: power at 1.25 times its n, and more with more."""
    table = Table("V3")
    for per, there in (((0.1, 1), 785), ((0.3, 1), 87), ((0.1, 7), 1247), ((0.5, 7), 50), ((0.1, 63), 1761)):
        needed = cases_needed(per[0], hypotheses=per[1])
        table.exact(f"effect {per[0]} sd, {per[1]} hypotheses", "cases needed", needed, there, 1.0)
    for effect in (0.2, 0.3, 0.5):
        n = cases_needed(effect, scan=True)
        power = _flip_power(effect, n, size)
        table.bound(f"effect {effect} sd n={n}", "power: sign flips", power, least=0.75, runs=size.null)
    powers = {}
    needed = cases_needed(0.30, scan=True)
    for delta, n in ((0.25, 100), (0.5, 50), (0.5, needed), (0.5, 300), (1.0, 50)):
        powers[delta, n] = _scan_power(delta, n, size)
        table.shown(f"delta={delta} n={n}", "power: scan", powers[delta, n], runs=size.power)
    at_needed = powers[0.5, needed]
    table.bound(f"effect 0.30 sd n={needed}", "power: scan", at_needed, least=0.75, runs=size.power)
    in_n = [powers[0.5, n] for n in (50, needed, 300)]
    in_effect = [powers[0.25, 100], at_needed, powers[1.0, 50]]
    for what, row in (("grows with n", in_n), ("grows with the effect", in_effect)):
        table.bound("scan", f"power {what}: smallest step", np.diff(row).min(), least=0.0)
    return table.cells


def _flip_power(effect: float, n: int, size: Size) -> float:
    def run(rng: np.random.Generator) -> tuple[float, ...]:
        return (flip_test(rng.normal(effect, 1, n), np.arange(n), rng=rng, draws=size.draws).p <= 0.05,)

    [hits] = repeated(run, size.null, 31)
    return float(hits.mean())


def _scan_power(delta: float, n: int, size: Size) -> float:
    panel, change = environment(5, 8, np.random.default_rng(22)), Change(kind="instant", delta=delta, at=AT)

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        values = gjs(simulate_forced(n, panel, STEPS, rng, change))
        return (scan(values, np.arange(n), rng=rng, draws=size.draws).p <= 0.05,)

    [hits] = repeated(run, size.power, 32)
    return float(hits.mean())


BLOCKS: dict[str, Block] = {
    "T1": t1,
    "T2": t2,
    "T3": t3,
    "T5": t5,
    "T6": t6,
    "T9": streams.t9,
    "T9b": streams.t9b,
    "T10": streams.t10,
    "V1": variants.v1,
    "V3": v3,
}
"""Each block's function draws from seeds that it writes down itself."""
