"""Chain rules: a divergence between whole answers, split exactly by steps, by history and by versions.

The paper (arXiv 2510.04142) factors a teacher's state at step j into its prefix t_<j ("cumulative drift") and
its prediction z_j given the prefix ("instantaneous drift"). Of a fixed model the second is a function of the
first, so the two words have content only between teachers on a common prefix, between a teacher's own prefix
and a common one, or between versions. The functions here are those readings; each says what it means.

Steps may be tokens or parts of an answer (sums over their tokens). Parts are shares of a length that is known
only at the end: the sum over parts is exactly the whole's divergence, a single part's is a description.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from driftbound.errors import MeasureError
from driftbound.measure.divergence import Array, gjs
from driftbound.records import Measured
from driftbound.statistics.intervals import standard_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeans:
    """Means over cases at each of J steps, (J,); ``nan`` where no case has the step."""

    value: Array
    se: Array
    """Standard error by clusters; ``nan`` below two clusters."""
    low: Array
    """value - 1.96 SE."""
    high: Array
    n: NDArray[np.int64]
    """Cases behind each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A divergence of whole answers along J steps, in nats."""

    instantaneous: StepMeans
    """(J,) what step j adds, given the prefix."""
    cumulative: StepMeans
    """(J + 1,) what the steps before j have added up to; the last entry is the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Along:
    """Divergence along the answers, split at each of J steps: free = instantaneous + history."""

    instantaneous: StepMeans
    """On a common prefix: how differently the teachers go on from the same text."""
    free: StepMeans
    """On each teacher's own prefix."""
    history: StepMeans
    """Free less common: what their different pasts add, or take away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSplit:
    """Change of a mean score between two versions: total = history + instantaneous."""

    total: Measured
    history: Measured
    """Other prefixes, under the mean of both versions' scores."""
    instantaneous: Measured
    """Other scores, on the mean of both versions' prefixes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Prefixes that one version wrote on n cases, scored by both."""

    by_first: Array
    """(n,)"""
    by_second: Array
    """(n,)"""
    clusters: NDArray[np.intp]
    """(n,) number of each case's cluster."""


def step_means(values: Array, clusters: NDArray[np.intp]) -> StepMeans:
    """Mean over cases of each column of ``values`` (n, J), with its 95 % interval; ``nan`` is left out."""
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    value = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    se = standard_errors(values, clusters)
    return StepMeans(value=value, se=se, low=value - 1.96 * se, high=value + 1.96 * se, n=n)


def chain(steps: Array, clusters: NDArray[np.intp]) -> Chain:
    """Instantaneous and cumulative drift from each case's increments ``steps`` (n, J), in nats.

    *Pairwise*: with steps k_j(h) = KL(pi^u(.|h) || pi^v(.|h)), taken exactly at each prefix h that u itself
    wrote (Rao-Blackwell; arXiv 2504.10637), instantaneous I_j = E_{h ~ P^u} k_j(h), and the cumulative
    A_j = sum_{i<j} I_i is KL(P^u || P^v) of the prefixes before step j: how far the two have come apart on
    u's way, not whether either is right. *N-way*: with steps of ``information``, I_j = I(U; T_j | T_<j) and
    A_j the Jensen-Shannon divergence of the prefixes' laws. A case with several trajectories enters with
    their mean. An answer's end is a token like any other; after it nothing is added.

    Standard errors of the cumulative are of case-wise sums, since steps of a case belong together. A case
    with an undefined step is undefined from there on.
    """
    before = np.cumsum(steps, axis=1)
    cumulative = np.concatenate([np.where(np.isnan(steps[:, :1]), np.nan, 0.0), before], axis=1)
    return Chain(instantaneous=step_means(steps, clusters), cumulative=step_means(cumulative, clusters))


def posterior_weights(token_logps: Array) -> Array:
    """How likely each of N teachers is to have written the text so far, before each of T tokens: (..., T, N).

    w_u(h) = P^u(h) / sum_v P^v(h), each teacher as likely as the others beforehand. ``token_logps``
    (..., T, N) are the teachers' log-probabilities, in nats, of the tokens that were taken; ``nan`` once
    none could have written it.

    >>> posterior_weights(np.log([[0.9, 0.3], [0.5, 0.5]]))
    array([[0.5 , 0.5 ],
           [0.75, 0.25]])
    """
    start = np.zeros_like(token_logps[..., :1, :])
    so_far = np.cumsum(np.concatenate([start, token_logps[..., :-1, :]], axis=-2), axis=-2)
    with np.errstate(invalid="ignore"):  # none is left
        found: Array = np.exp(so_far - logsumexp(so_far, axis=-1, keepdims=True))
    return found


def information(p: Array, weights: Array) -> Array:
    """What each step tells about who is writing, given what was written: (..., T), in nats.

    JS_{w(h)}(pi^1(.|h), .., pi^N(.|h)) with ``weights`` (..., T, N) of ``posterior_weights`` and ``p``
    (..., T, N, K). Averaged over texts of all teachers alike its expectation is I(U; T_j | T_<j), and the sum
    over steps is the Jensen-Shannon divergence of the teachers' laws over whole answers, at most log N: the
    headline. Texts have to be drawn as the teachers' probabilities say (temperature 1, no top-p). Constant
    weights 1 / N overshoot, beyond log N on long texts: they ask at every step anew who is writing.
    """
    return gjs(p, weights)


def drawn_information(logps: Array, host: int) -> Array:
    """The same from the drawn tokens' (or chunks') log-probabilities alone, ``logps`` (..., T, N): (..., T).

    log P^u(t|h) - log sum_v w_v(h) P^v(t|h), u the ``host`` who wrote the text: unbiased, with far more
    spread than ``information``. The sum is log P^u - log of the mean of the teachers' probabilities of the
    whole text, however it is cut.
    """
    weights = posterior_weights(logps)
    found: Array = logps[..., host] - logsumexp(logps, axis=-1, b=weights)
    return found


def along(forced: Array, free: Array, clusters: NDArray[np.intp]) -> Along:
    """Split the divergence on own prefixes (``free``) by that on common prefixes (``forced``), both (n, J).

    A planted wrong claim after which everyone reasons as before shows in ``history`` and not in
    ``instantaneous``; a changed way of reasoning the other way round. Neither says who is right. Own prefixes
    differ also in what the text has come to at that step: where steps do not mean the same in all answers (as
    tokens do not), ``history`` is mostly that, and only its change along the steps or between versions tells
    something. Means over the cases that have both; ``forced`` averaged over hosts.
    """
    either = np.isnan(forced) | np.isnan(free)
    common, own = np.where(either, np.nan, forced), np.where(either, np.nan, free)
    return Along(
        instantaneous=step_means(common, clusters),
        free=step_means(own, clusters),
        history=step_means(own - common, clusters),
    )


def version_split(first: Scored, second: Scored, *, same_cases: bool) -> VersionSplit:
    """Split E_P2 f_2 - E_P1 f_1 between two versions of a teacher (Kitagawa 1955).

    History (E_P2 - E_P1)[(f_1 + f_2) / 2], instantaneous (E_P1 + E_P2)[f_2 - f_1] / 2. ``first`` are
    prefixes of version 1, ``second`` of version 2. Both versions must score both: where the old one is gone,
    only the total is left. ``same_cases``: both wrote on the same cases, in the same order (errors of case
    differences); otherwise on two independent sets. Cases with an undefined score are left out. Raises
    ``MeasureError`` where same cases are not the same.
    """
    if same_cases and not np.array_equal(first.clusters, second.clusters):
        raise MeasureError(
            "the split between versions: cases of the two versions differ. Give both versions' scores of the "
            "same cases in the same order, or same_cases=False."
        )
    parts = [
        (-first.by_first, second.by_second),
        (-(first.by_first + first.by_second) / 2, (second.by_first + second.by_second) / 2),
        ((first.by_second - first.by_first) / 2, (second.by_second - second.by_first) / 2),
    ]
    missing = [np.isnan(scored.by_first + scored.by_second) for scored in (first, second)]
    if same_cases:
        missing = [missing[0] | missing[1]] * 2
    found = [
        _added([np.where(gone, np.nan, part) for gone, part in zip(missing, pair, strict=True)],
               (first.clusters, second.clusters), same_cases)
        for pair in parts
    ]  # fmt: skip
    return VersionSplit(total=found[0], history=found[1], instantaneous=found[2])


def _added(
    pair: list[Array], clusters: tuple[NDArray[np.intp], NDArray[np.intp]], same_cases: bool
) -> Measured:
    """Sum of two means over cases: of the same ones, or of independent sets."""
    estimator = f"symmetric split between versions, {'same cases' if same_cases else 'independent cases'}"
    sides = (
        [step_means((pair[0] + pair[1])[:, None], clusters[0])]
        if same_cases
        else [step_means(values[:, None], own) for values, own in zip(pair, clusters, strict=True)]
    )
    value = float(sum(side.value[0] for side in sides))
    spread = 1.96 * float(np.sqrt(sum(side.se[0] ** 2 for side in sides)))
    reason = "no case has both scores" if np.isnan(value) else "one cluster has no interval"
    return Measured(
        estimator=estimator,
        n=int(sum(side.n[0] for side in sides)),
        value=value,
        low=value - spread,
        high=value + spread,
        reason=reason if np.isnan(spread) else "",
    )
