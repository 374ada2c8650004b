"""Precision: how sure the estimates of reliability and of dependence are, by resampling clusters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.copying import fit_copying
from driftbound.measure.dawid_skene import Model, Table, fit, posterior, table_for
from driftbound.measure.dependence import effective_teachers, error_correlation
from driftbound.measure.patterns import Array, Patterns, reweighted
from driftbound.records import Estimate, Measured
from driftbound.statistics.intervals import resample


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Estimates of a panel with 95 % intervals."""

    correct: tuple[tuple[Estimate, ...], ...]
    """Per teacher and value: probability that it names the value where that is the truth."""
    correlation: Measured
    effective: Measured


def precision(
    found: Patterns, model: Model, clusters: NDArray[np.intp], rng: np.random.Generator, *, draws: int
) -> Precision:
    """Intervals by ``draws`` bootstrap draws of whole clusters (n,), each refitted from where the fit ended.

    The lineages stay as they are. Point +- 1.96 standard deviations of the draws, probabilities on the logit
    scale. ``nan`` below two clusters.
    """
    q = posterior(model, found)
    point, rho = _correct(model), error_correlation(found, q)
    resamples = resample([str(cluster) for cluster in clusters], rng=rng, draws=draws)
    start = np.where(np.isnan(q), 1 / found.values, q)
    table = table_for(found)
    drawn, rhos = [], []
    for weights in resamples.weights:
        claims = weights[resamples.index]
        counts = np.asarray(np.bincount(found.index, claims, len(found.codes)), dtype=np.float64)
        again = reweighted(found, counts)
        refit = _refit(again, model, start[counts > 0], table)
        drawn.append(_correct(refit))
        rhos.append(error_correlation(again, posterior(refit, again)))
    low, high = _logit_interval(point, np.array(drawn))
    half = 1.96 * float(np.nanstd(rhos, ddof=1)) if np.isfinite(rhos).sum() > 1 else float("nan")
    return Precision(
        correct=tuple(
            tuple(
                Estimate(mean=float(point[u, z]), low=float(low[u, z]), high=float(high[u, z]))
                for z in range(found.values)
            )
            for u in range(len(point))
        ),
        **_worth(found, rho, max(rho - half, -1.0), min(rho + half, 1.0)),
    )


def unknown(found: Patterns) -> Precision:
    """Where nothing could be learnt."""
    nan = Estimate(mean=float("nan"), low=float("nan"), high=float("nan"))
    row = (nan,) * found.values
    return Precision(correct=(row,) * found.codes.shape[1], **_worth(found, *[float("nan")] * 3))


def _correct(model: Model) -> Array:
    """(N, K)"""
    marginal = model.marginal
    values = range(marginal.shape[1])
    return marginal[:, values, values]


def _refit(found: Patterns, model: Model, start: Array, table: Table) -> Model:
    if any(source is not None for source in model.sources):
        return fit_copying(found, model.lineages, starts=[start], limit=60, tolerance=1e-3)
    return fit(found, omega=model.omega, table=table, starts=[start], limit=60, tolerance=1e-3)


def _logit_interval(point: Array, drawn: Array) -> tuple[Array, Array]:
    """Low and high (N, K) of probabilities from their (D, N, K) draws."""
    if len(drawn) < 2:
        blank = np.full(point.shape, np.nan)
        return blank, blank
    clipped = np.clip(drawn, 1e-6, 1 - 1e-6)
    half = 1.96 * np.log(clipped / (1 - clipped)).std(axis=0, ddof=1)
    middle = np.log(point / (1 - point))
    return 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))


def _worth(found: Patterns, rho: float, low: float, high: float) -> dict[str, Measured]:
    teachers, n = found.codes.shape[1], int(found.counts.sum())
    reason = "no pair of teachers names values together and errs" if np.isnan(rho) else ""
    if not reason and np.isnan(low):
        reason = "fewer than two clusters: no interval"
    return {
        "correlation": Measured(
            estimator="mean pairwise correlation of errors under the posterior; bootstrap of clusters",
            n=n,
            value=rho,
            low=low,
            high=high,
            reason=reason,
        ),
        "effective": Measured(
            estimator="N / (1 + (N - 1) rho) of that correlation, rho at least 0",
            n=n,
            value=effective_teachers(teachers, rho) if not np.isnan(rho) else float("nan"),
            low=effective_teachers(teachers, high) if not np.isnan(high) else float("nan"),
            high=effective_teachers(teachers, low) if not np.isnan(low) else float("nan"),
            reason=reason,
        ),
    }
