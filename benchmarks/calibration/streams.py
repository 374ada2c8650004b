"""Streams and single cases: alarms over time, betting on pairs, flags of unusual cases (T9, T9b, T10)."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.cells import Cell, Size
from benchmarks.calibration.simulators import Change, autoregressive, environment, simulate_forced
from benchmarks.calibration.tables import Table, repeated
from driftbound.errors import MeasureError
from driftbound.measure.divergence import gjs
from driftbound.statistics.adwin import adwin
from driftbound.statistics.conformal import average_wealth, first_alarm, flag_cases, monitor_all
from driftbound.statistics.multiple import e_benjamini_hochberg
from driftbound.statistics.pairs import bet_on_pairs
from driftbound.statistics.signs import contrasts

Array = NDArray[np.float64]
CALLS, AT = 1000, 500
RIVER = find_spec("river") is not None
"""Without the package its columns are left out."""


def t9(size: Size) -> list[Cell]:
    """False alarms in 1000 calls without a change, and how soon half a standard deviation is found."""
    table = Table("T9")
    streams = {
        "independent": _streams(size.null, 0.0, False, 0.0),
        "AR(0.5)": _streams(size.null, 0.5, False, 0.0),
        "AR(0.5), asked in random order": _streams(size.null, 0.5, True, 0.0),
        "0.5 sd at call 500": _streams(size.null, 0.0, False, 0.5),
    }
    rng = np.random.default_rng(90)
    for setting, scores in streams.items():
        found = monitor_all(scores, rng)
        alarms = np.array([np.nan if one.alarm is None else one.alarm for one in found])
        early = ~np.isnan(alarms)
        if setting == "AR(0.5)":
            table.bound(
                setting, "wrong: martingale in order of the cases", early.mean(), least=0.9, wrong_way=True
            )
            table.share(setting, "wrong: martingale in order of the cases", early, 0.988, 500, wrong_way=True)
        elif setting in ("independent", "AR(0.5), asked in random order"):
            table.level(setting, "martingale: alarm", early)
            bar = 0.054 if setting == "independent" else 0.036
            table.share(setting, "martingale: alarm", early, bar, 500)
        else:
            table.share(setting, "martingale: found", alarms >= AT, 0.95, 500)
            delay = alarms[alarms >= AT] - AT
            spread = 1.2533 * delay.std() / np.sqrt(len(delay))  # of a median
            table.exact(setting, "martingale: median delay", np.median(delay), 91, 3 * np.sqrt(2) * spread)
            places = [one.change for one in found if one.change is not None and one.alarm >= AT]
            covers = [place.low <= AT <= place.high for place in places]
            table.shown(setting, "located: interval covers", np.mean(covers), runs=len(covers))
            off = np.median([abs(place.at - AT) for place in places])
            table.shown(setting, "located: median distance in calls", off, runs=len(covers))
    if RIVER:
        _river(table, size, streams)
    _several(table, size)
    return table.cells


def _streams(runs: int, correlation: float, shuffled: bool, shift: float) -> Array:
    """(runs, T) scores in [0, 1]."""
    rng = np.random.default_rng(9)
    rows = np.stack([autoregressive(CALLS, correlation, rng) for _ in range(runs)])
    if shuffled:
        rows = rng.permuted(rows, axis=1)
    rows[:, AT:] += shift
    return np.asarray(1 / (1 + np.exp(-rows)))


def _river(table: Table, size: Size, streams: dict[str, Array]) -> None:
    bars = {"independent": 0.0, "AR(0.5)": 0.006, "AR(0.5), asked in random order": 0.0}
    for setting, bar in bars.items():
        alarms = [len(adwin(row).alarms) > 0 for row in streams[setting]]
        table.share(setting, "ADWIN: alarm", alarms, bar, 500)
    setting = "0.5 sd at call 500"
    first = np.array([(*adwin(row).alarms, np.nan)[0] for row in streams[setting]])
    table.share(setting, "ADWIN: found", first >= AT, 0.94, 500)
    delay = first[first >= AT] - AT
    spread = 1.2533 * delay.std() / np.sqrt(len(delay))
    # its window is cut at every 32nd call only, so that delays come in steps
    table.exact(setting, "ADWIN: median delay", np.median(delay), 299, 3 * np.sqrt(2) * spread + 32)
    drift = import_module("river.drift")
    few = streams["independent"][: max(20, size.null // 10)]
    alarms = [_alarm(drift.KSWIN(seed=1), row) for row in few]
    table.share("independent", "wrong: KSWIN: alarm", alarms, 0.756, 500, wrong_way=True)
    table.bound(
        "independent", "wrong: KSWIN: alarm", np.mean(alarms), least=0.3, runs=len(few), wrong_way=True
    )
    found = [_alarm(drift.PageHinkley(), row) for row in streams[setting]]
    table.limit(
        setting, "wrong: Page-Hinkley: found", np.mean(found), most=0.01, runs=len(found), wrong_way=True
    )


def _alarm(detector: object, scores: Array) -> bool:
    for score in scores.tolist():
        detector.update(score)  # type: ignore[attr-defined]
        if detector.drift_detected:  # type: ignore[attr-defined]
            return True
    return False


def _several(table: Table, size: Size) -> None:
    """Two dependent scores of one stream, averaged; and twenty streams of which four change, by e-BH."""
    rng = np.random.default_rng(91)
    one = rng.normal(size=(size.null, CALLS))
    other = np.abs(one) + 0.5 * rng.normal(size=one.shape)
    paths = [monitor_all(scores, rng) for scores in (one, other)]
    alarms = [
        first_alarm(average_wealth(np.stack([a.log_wealth, b.log_wealth])), 0.05) is not None
        for a, b in zip(*paths, strict=True)
    ]
    table.level("two dependent scores", "average of martingales: alarm", alarms)

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        scores = rng.normal(size=(20, 400))
        scores[:4, 200:] += 1.0
        evidence = np.array([found.log_wealth.max() for found in monitor_all(scores, rng)])
        named = e_benjamini_hochberg(evidence) <= 0.1
        return named[4:].sum() / max(named.sum(), 1), named[:4].mean()

    wrongly, found = repeated(run, size.power, 92)
    table.limit(
        "20 streams, 4 change", "e-BH at 0.10: false discoveries", wrongly.mean(), most=0.1, runs=size.power
    )
    table.shown("20 streams, 4 change", "e-BH at 0.10: found", found.mean(), runs=size.power)


def t9b(size: Size) -> list[Cell]:
    """Betting on pairs: valid on fresh ones; a stored sample, smuggled past the refusal, breaks it."""
    table = Table("T9b")
    stored = {20: 0.734, 100: 0.398, 500: 0.104, 5000: 0.012}
    keys = range(CALLS)

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        scores = rng.beta(2, 5, CALLS)
        tiny = 1e-9 * rng.random(CALLS)  # one stored mean would be refused
        fixed = [rng.beta(2, 5, m).mean() + tiny for m in stored]
        found = [bet_on_pairs(scores, references, keys) for references in (*fixed, rng.beta(2, 5, CALLS))]
        return tuple(one.alarm is not None for one in found)

    *fixed, fresh = repeated(run, size.null, 12)
    for (m, bar), alarms in zip(stored.items(), fixed, strict=True):
        setting = f"one stored sample of {m}"
        table.share(setting, "wrong: alarm", alarms, bar, 500, wrong_way=True)
        if m <= 100:
            table.bound(setting, "wrong: alarm", alarms.mean(), least=0.2, runs=size.null, wrong_way=True)
    table.level("fresh pairs", "alarm", fresh)
    table.share("fresh pairs", "alarm", fresh, 0.014, 500)
    sample = np.random.default_rng(0).beta(2, 5, 20)
    scores = np.random.default_rng(1).beta(2, 5, 100)
    reused = {
        "stored mean": (np.full(100, sample.mean()), range(100)),
        "stored sample again and again": (np.tile(sample, 5), range(100)),
        "an answer's key twice": (scores[::-1], [*range(99), 0]),
    }
    for setting, (references, names) in reused.items():
        table.exact(setting, "refused", _refused(scores, references, names), 1.0)
    return table.cells


def _refused(scores: Array, references: Array, keys: range | list[int]) -> bool:
    try:
        bet_on_pairs(scores, references, keys)
    except MeasureError:
        return True
    return False


def t10(size: Size) -> list[Cell]:
    """Unusual cases: conformal p against 500 calibration cases, Benjamini-Hochberg over 500 cases."""
    table = Table("T10")
    bars = ((0.0, 0.000, np.nan), (1.5, 0.008, 0.02), (3.0, 0.050, 0.37), (6.0, 0.066, 0.69))
    for delta, false_bar, power_bar in bars:
        _flags(table, size, delta, false_bar, power_bar)
    return table.cells


def _flags(table: Table, size: Size, delta: float, false_bar: float, power_bar: float) -> None:
    unchanged = 450 if delta else 500

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        panel = environment(7, 8, rng)

        def scores(n: int, change: Change | None) -> Array:
            return np.abs(contrasts(gjs(simulate_forced(n, panel, 20, rng, change)), 10))

        calibration, usual = scores(500, None), scores(unchanged, None)
        changed = scores(50, Change(kind="instant", delta=delta, at=10)) if delta else np.empty(0)
        found = flag_cases(np.concatenate([usual, changed]), calibration, q=0.1)
        wrongly, rightly = found.flagged[:unchanged], found.flagged[unchanged:]
        share = wrongly.sum() / max(found.flagged.sum(), 1)
        return share, rightly.mean() if delta else np.nan, (found.p[:unchanged] <= 0.05).mean()

    wrongly, power, low = repeated(run, size.power, 10)
    setting = f"500 + 500 cases, delta={delta:.1f}"
    table.limit(setting, "false discovery rate", wrongly.mean(), most=0.1, runs=size.power)
    table.mean(setting, "false discovery rate", wrongly, false_bar, 200, tolerance=0.01, of_one=True)
    if delta:
        table.mean(setting, "power", power, power_bar, 200, tolerance=0.005, of_one=True)
    table.mean(setting, "share of p <= 0.05 among the unchanged", low, 0.049, 200, tolerance=0.001)
