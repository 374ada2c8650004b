"""Variants: the same tests on patients with several cases, missing steps, skewed numbers, one text (V1)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.cells import Cell, Size
from benchmarks.calibration.simulators import draw, environment, panel_votes, patients, simulate
from benchmarks.calibration.tables import Table, repeated
from driftbound.measure.divergence import gjs
from driftbound.statistics.agreement import alpha_change, case_coincidences
from driftbound.statistics.equivalence import equivalence_of_mean
from driftbound.statistics.intervals import resample
from driftbound.statistics.kernels import swap_mmd, two_sample_mmd
from driftbound.statistics.signs import contrast_at, flip_test, scan, split_half

Array = NDArray[np.float64]
Values = Callable[[np.random.Generator], tuple[Array, NDArray[np.intp]]]


def v1(size: Size) -> list[Cell]:
    """Level and coverage where the data are as they come."""
    table = Table("V1")
    _scans(table, size)
    _means(table, size)
    _kernels(table, size)
    _panels(table, size)
    _searched(table, size)
    return table.cells


def _jsd(n: int, rng: np.random.Generator) -> Array:
    return np.asarray(gjs(simulate(n, environment(5, 8, rng), 10, rng)[0]))


def _patients(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """60 patients of one to four cases that share most of their course."""
    clusters = patients((1, 2, 3, 4), 60, rng)
    return _jsd(60, rng)[clusters] + 0.3 * _jsd(len(clusters), rng), clusters


def _gaps(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """A third of the steps missing."""
    values = _jsd(100, rng)
    values[rng.random(values.shape) < 1 / 3] = np.nan
    return values, np.arange(100)


def _ragged(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """Answers of 3 to 10 steps."""
    values = _jsd(100, rng)
    values[np.arange(10) >= rng.integers(3, 11, 100)[:, None]] = np.nan
    return values, np.arange(100)


def _one_text(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """Raw disagreement of one text per teacher; without a trend of entropy it is stationary."""
    said = draw(simulate(100, environment(5, 8, rng), 10, rng)[1], rng)
    u, v = np.triu_indices(5, 1)
    return (said[:, :, u] != said[:, :, v]).mean(axis=2), np.arange(100)


def _scans(table: Table, size: Size) -> None:
    settings: dict[str, Values] = {
        "60 patients of 1 to 4 cases": _patients,
        "n=100, a third of the steps missing": _gaps,
        "n=100, answers of 3 to 10 steps": _ragged,
        "n=100, R=1, disagreement": _one_text,
    }
    for seed, (setting, values) in enumerate(settings.items()):
        _scanned(table, size, setting, values, 41 + seed)


def _scanned(table: Table, size: Size, setting: str, values: Values, seed: int) -> None:
    def run(rng: np.random.Generator) -> tuple[float, ...]:
        given, clusters = values(rng)
        right = scan(given, clusters, rng=rng, draws=size.draws).p
        several = len(np.unique(clusters)) < len(clusters)
        blind = scan(given, np.arange(len(given)), rng=rng, draws=size.draws).p if several else np.nan
        return right, blind

    ps, blind = repeated(run, size.null, seed)
    table.level(setting, "scan", ps <= 0.05)
    table.uniform(setting, "scan", ps)
    if not np.isnan(blind).any():
        table.bound(setting, "wrong: scan by cases", (blind <= 0.05).mean(), least=0.10, wrong_way=True)


def _means(table: Table, size: Size) -> None:
    def run(rng: np.random.Generator) -> tuple[float, ...]:
        skewed = flip_test(rng.exponential(size=100) - 1, np.arange(100), rng=rng, draws=size.draws)
        heavy = flip_test(rng.standard_t(3, 30), np.arange(30), rng=rng, draws=size.draws)
        clusters = patients((1, 2, 5), 40, rng)
        shared = rng.normal(size=40)[clusters] + 0.5 * rng.normal(size=len(clusters))
        found = flip_test(shared, clusters, rng=rng, draws=size.draws)
        border = equivalence_of_mean(0.5 + shared, clusters, 0.5)
        covered = found.low <= 0 <= found.high
        return skewed.p <= 0.05, heavy.p <= 0.05, found.p <= 0.05, border.p <= 0.05, covered

    skewed, heavy, shared, border, covered = repeated(run, size.null, 51)
    table.share("n=100, exponential: not symmetric", "sign flips of a mean", skewed, 0.05, 2000)
    table.level("n=30, t with 3 degrees of freedom", "sign flips of a mean", heavy)
    table.level("40 patients of 1, 2 or 5 cases", "sign flips of a mean", shared)
    table.level("40 patients, effect at the margin", "equivalence", border)
    table.share("40 patients of 1, 2 or 5 cases", "interval covers", covered, 0.95)


def _kernels(table: Table, size: Size) -> None:
    truth = _discrepancy()

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        clusters = patients((1, 2, 3), 40, rng)
        own = rng.normal(size=(40, 3))[clusters]
        early, late, other = (own + 0.5 * rng.normal(size=(len(clusters), 3)) for _ in range(3))
        swapped = swap_mmd(early, late, clusters, rng=rng, draws=size.draws).p
        strangers = patients((1, 2, 3), 30, rng)
        theirs = rng.normal(size=(30, 3))[strangers] + 0.5 * rng.normal(size=(len(strangers), 3))
        between = two_sample_mmd(other, theirs, clusters, strangers + 40, rng=rng, draws=size.draws).p
        x = rng.normal(size=(100, 1))
        moved = swap_mmd(
            x, 0.5 * x + np.sqrt(0.75) * rng.normal(size=x.shape) + 0.7, np.arange(100), rng=rng, draws=9
        )
        real = truth(moved.bandwidth)
        return swapped, between, moved.low <= real <= moved.high, moved.effect - real

    swapped, between, covered, off = repeated(run, size.null, 52)
    for setting, what, ps in (
        ("40 patients of 1 to 3 cases", "case-swap MMD", swapped),
        ("40 and 30 patients of 1 to 3 cases", "two-sample MMD", between),
    ):
        table.level(setting, what, ps <= 0.05)
        table.uniform(setting, what, ps)
    table.share("n=100, shift by 0.7 sd", "MMD: interval covers", covered, 0.95)
    table.mean("n=100, shift by 0.7 sd", "MMD: bias", off, 0.0)


def _discrepancy() -> Callable[[float], float]:
    """Squared discrepancy of N(0, 1) and N(0.7, 1) by bandwidth, from E k of a difference N(m, 2)."""

    def between(shift: float, bandwidth: float) -> float:
        return float(np.exp(-(shift**2) / (bandwidth + 4)) / np.sqrt(1 + 4 / bandwidth))

    return lambda bandwidth: 2 * between(0.0, bandwidth) - 2 * between(0.7, bandwidth)


def _panels(table: Table, size: Size) -> None:
    def run(rng: np.random.Generator) -> tuple[float, ...]:
        clusters = patients((1, 2, 4), 40, rng)
        votes = panel_votes(40, 6, 7, rng, flipped=0.0)[clusters]
        halves = [case_coincidences(half, 3) for half in (votes[:, :3], votes[:, 3:])]
        resamples = resample([str(c) for c in clusters], rng=rng, draws=2)
        return (alpha_change(*halves, resamples, rng=rng, draws=size.draws).p,)

    [ps] = repeated(run, size.null, 53)
    table.level("40 patients of 1, 2 or 4 equal cases", "alpha changed", ps <= 0.05)


def _searched(table: Table, size: Size) -> None:
    """A weak change: the effect at the split found is too large, the one of the other half is not."""
    rise, n = 0.05, 60

    def run(rng: np.random.Generator) -> tuple[float, ...]:
        values = 0.2 * rng.normal(size=(n, 10)) + 0.05 * rng.normal(size=(n, 1))
        values[:, 5:] += rise
        found = scan(values, np.arange(n), rng=rng, draws=size.draws)
        honest = split_half(values, np.arange(n), rng, draws=19)
        later = np.arange(10) >= 5
        true = [later[k:].mean() - later[:k].mean() for k in (found.split, honest.split)]
        covered = honest.change.low <= rise * true[1] <= honest.change.high
        fixed = contrast_at(values, np.arange(n), 5)
        return (
            found.effect - rise * true[0],
            honest.change.effect - rise * true[1],
            covered,
            fixed.low <= rise <= fixed.high,
        )

    searched, honest, covered, fixed = repeated(run, size.null, 54)
    setting = "n=60, weak change"
    table.shown(setting, "bias at the split found", searched.mean(), runs=size.null)
    table.mean(setting, "bias, found on one half, measured on the other", honest, 0.0)
    table.share(setting, "interval of the other half covers", covered, 0.95)
    table.share(setting, "interval at a split fixed beforehand covers", fixed, 0.95)
