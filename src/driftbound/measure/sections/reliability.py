"""Section reliability: whom to trust on what, and the chance that a claim is wrong, without labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.measure.difficulty import difficulty, probability_right
from driftbound.measure.gold import GoldKey, read_gold
from driftbound.measure.judging import judge
from driftbound.measure.panel import Panel, Section
from driftbound.measure.reliability import Reliability, reliability
from driftbound.measure.sheet import DriftRow, count, measured, undefined
from driftbound.measure.votes import NO_VOTE, OMITTED, REFUSED, UNCERTAIN, Votes
from driftbound.records import Measured
from driftbound.statistics.intervals import Array

CORRECT = "share of its votes that name the value where that is true, as the votes tell it; cluster bootstrap"
PREVALENCE = "share of the claims, by their posteriors"
RISK = "share of wrong decisions on panels simulated from the fitted one, Monte-Carlo interval"
EXCESS = "agreement of two teachers beyond what their reliability explains, p by parametric bootstrap"
RATE = "chance of voting as the lineage's common source, copying model"
DRAWS, MANY_CASES = 50, 5000
"""Bootstrap draws of each refit; half of them suffice where the intervals are narrow anyway."""
MANY = 20
"""Values of a slot beyond which nothing is learnt of it: free text is no choice."""
NO_GOLD = "no gold claims"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What is believed of all n cases, the fitted ones among them."""

    gold: str
    """Which gold was used; empty: none."""
    posteriors: Sequence[Array | None]
    """Per slot (n, K) probability of each value; ``None`` where nothing is learnt of the slot."""
    decided: NDArray[np.int16]
    """(n, A) code of the decided value, -1 where nothing is decided."""
    wrong: Array
    """(n, T, A) chance that an explicit vote is wrong, by the other lineages; ``nan`` elsewhere."""
    difficulty: Array
    """(n,) GLAD's, of the fitted cases; ``nan`` elsewhere."""


def section(
    panel: Panel, votes: Votes, fitted: NDArray[np.bool_], gold_file: Path | None
) -> tuple[Section, Trusted]:
    """Reliability per slot, fitted on the ``fitted`` cases (n,) of ``votes``, applied to all of them.

    Gold claims must be of fitted cases: all others are for evaluation. Raises ``MeasureError`` for gold that
    cannot be read or does not fit.
    """
    gold = _gold(votes, fitted, gold_file) if gold_file is not None else {}
    n, T, A = votes.codes.shape
    posteriors: list[Array | None] = [None] * A
    decided = np.full((n, A), -1, dtype=np.int16)
    wrong = np.full((n, T, A), np.nan)
    table: dict[str, Any] = {}
    rows: list[DriftRow] = []
    for a, (finding, attribute) in enumerate(votes.slots):
        K = len(votes.values[a])
        if not 2 <= K <= MANY:
            why = f"{K} values are named; two are the least and {MANY} the most that reliability is learnt of"
            table.setdefault(finding, {})[attribute] = {"method": "none", "why": why, "notes": []}
            continue
        codes = _codes(votes, a)
        found = reliability(
            codes[fitted],
            K,
            panel.clusters,
            panel.rng(f"reliability {finding} {attribute}"),
            gold=_known(votes, fitted, a, gold) if gold else None,
            level=panel.settings.fdr,
            draws=DRAWS if fitted.sum() <= MANY_CASES else DRAWS // 2,
        )
        q = np.full((n, K), np.nan)
        posteriors[a] = q
        rest = ~fitted
        for side, said in (
            (fitted, (found.posterior, found.decision.decided, found.wrong)),
            (rest, judge(found, codes[rest])),
        ):
            q[side], decided[side, a], wrong[side, :, a] = said
        table.setdefault(finding, {})[attribute] = _told(votes, a, found)
        rows += _rows(votes, a, found)
    asked = np.full(n, np.nan)
    asked[fitted] = _difficulty(panel.votes, [None if q is None else q[fitted] for q in posteriors])
    used = f"{len(gold)} claims of {gold_file.name}" if gold_file is not None else ""
    notes = sorted(
        {warning for each in table.values() for told in each.values() for warning in told["notes"]}
    )
    trusted = Trusted(gold=used, posteriors=posteriors, decided=decided, wrong=wrong, difficulty=asked)
    return Section(summary=table, rows=rows, notes=notes), trusted


def _codes(votes: Votes, a: int) -> NDArray[np.int16]:
    """(n, T) codes as ``reliability`` wants them: K uncertain, K + 1 omitted, K + 2 refused, -1 no vote.

    A side is a question only to whom says that its finding is there: the silence of others is no vote.
    """
    codes, K = votes.codes[:, :, a], len(votes.values[a])
    silent = K + 1 if votes.slots[a][1] in ("presence", "value") else NO_VOTE
    table = {UNCERTAIN: K, OMITTED: silent, REFUSED: K + 2 if silent != NO_VOTE else NO_VOTE}
    said = codes.copy()
    for code, wanted in table.items():
        said[codes == code] = wanted
    return said


def _difficulty(votes: Votes, posteriors: Sequence[Array | None]) -> Array:
    """(n,) how hard each fitted case is for the panel, over its presences."""
    kinds = [
        probability_right(q, votes.codes[:, :, a])
        for a, q in enumerate(posteriors)
        if q is not None and votes.slots[a][1] in ("presence", "value")
    ]
    if not kinds:
        return np.full(len(votes.case_ids), np.nan)
    return difficulty(np.stack(kinds, axis=2)).difficulty


def _gold(votes: Votes, fitted: NDArray[np.bool_], file: Path) -> dict[GoldKey, str]:
    """The gold claims, by case, finding and attribute."""
    values: dict[str, set[str]] = {}
    for (_, attribute), said in zip(votes.slots, votes.values, strict=True):
        values.setdefault(attribute, set()).update(said)
    return read_gold(
        file,
        cases=[case_id for case_id, own in zip(votes.case_ids, fitted.tolist(), strict=True) if own],
        findings=list(dict.fromkeys(finding for finding, _ in votes.slots)),
        values={attribute: sorted(said) for attribute, said in values.items()},
    )


def _known(votes: Votes, fitted: NDArray[np.bool_], a: int, gold: Mapping[GoldKey, str]) -> NDArray[np.intp]:
    """Codes of the gold claims on one slot of the fitted cases, -1 where there is none."""
    (finding, attribute), values = votes.slots[a], votes.values[a]
    said = [gold.get((votes.case_ids[c], finding, attribute)) for c in np.flatnonzero(fitted)]
    return np.array([values.index(v) if v in values else -1 for v in said], dtype=np.intp)


def _told(votes: Votes, a: int, found: Reliability) -> dict[str, Any]:
    """What is said of one slot."""
    values, n = votes.values[a], int((~np.isnan(found.posterior).any(axis=1)).sum())
    names = [[votes.teachers[u] for u in members] for members in found.lineages]
    open_claims = found.decision
    return {
        "method": found.method.replace("_", " ") + (f" ({found.voice})" if found.voice else ""),
        "why": _why(found),
        "teachers": {
            teacher: {value: _correct(found, u, k, n) for k, value in enumerate(values)}
            for u, teacher in enumerate(votes.teachers)
        },
        "prevalence": {value: _prevalence(found, k, n) for k, value in enumerate(values)},
        "lineages": names,
        "rival_truths": count(found.modes),
        "rival_lineages": [
            [[votes.teachers[u] for u in members] for members in each] for each in found.rivals
        ],
        "dependence": _dependence(votes, found),
        "error_correlation": found.correlation,
        "effective_teachers": found.effective,
        "no_consensus": found.no_consensus,
        "risks": {
            f"{risk.method} {risk.voice}".strip(): _risk(risk.error, risk.claims, risk.sets)
            for risk in found.risks
        },
        "decided": count(int((open_claims.decided >= 0).sum()), of=len(open_claims.decided)),
        "undecided": count(int((open_claims.decided < 0).sum()), of=len(open_claims.decided)),
        "undecided_because": {
            "nobody voted": count(open_claims.no_vote),
            "the posterior is too low": count(open_claims.doubtful),
            "another way to explain the votes decides otherwise": count(open_claims.disputed),
        },
        "calibration": _calibration(found),
        "gold_claims": count(found.gold),
        "notes": list(found.warnings),
    }


def _why(found: Reliability) -> str:
    if found.chosen_by == "counting":
        return "too few teachers or claims to learn from: votes are counted"
    if found.chosen_by == "gold":
        return "smaller log-loss on the gold claims"
    worst = f", the worst of {found.modes + 1} that explain the votes as well" if found.modes else ""
    return f"smallest error on panels simulated from the fitted one{worst}" + (
        "; nothing beats the majority clearly" if found.method == "majority" else ""
    )


def _correct(found: Reliability, u: int, k: int, n: int) -> Measured:
    return measured(found.correct[u][k], CORRECT, n)


def _prevalence(found: Reliability, k: int, n: int) -> Measured:
    value = float(found.prevalence[k])
    reason = "nothing could be learnt" if np.isnan(value) else "its spread is part of the posteriors"
    return Measured(estimator=PREVALENCE, n=n, value=value, reason=reason)


def _risk(error: float, claims: int, sets: int) -> Measured:
    half = 1.96 * np.sqrt(error * (1 - error) / (claims * sets))
    return Measured(
        estimator=RISK, n=claims * sets, value=error, low=max(error - half, 0.0), high=min(error + half, 1.0)
    )


def _dependence(votes: Votes, found: Reliability) -> dict[str, Any]:
    """The test, the pair that stands out most, and how often lineages copy."""
    test = found.dependence
    pair = test.top_pair
    if pair is None:
        return {"largest_excess": undefined(EXCESS, "no two teachers to compare")}
    excess = Measured(
        estimator=EXCESS,
        n=test.n,
        value=float(test.excess[pair]),
        p=test.p,
        reason="an excess chosen as the largest has a test, no interval",
    )
    copying = {
        teacher: Measured(
            estimator=RATE, n=test.n, value=float(found.rates[u]), reason="fitted, no interval here"
        )
        for u, teacher in enumerate(votes.teachers)
        if found.rates[u] > 0
    }
    return {"pair": [votes.teachers[u] for u in pair], "largest_excess": excess, "copying": copying}


def _calibration(found: Reliability) -> dict[str, Measured] | Measured:
    if found.calibration is None:
        return undefined("calibration of the posteriors on gold claims, cross-fitted", NO_GOLD)
    told = found.calibration
    return {
        "ece": told.ece,
        "log_loss": told.log_loss,
        "brier": told.brier,
        "accuracy": told.accuracy,
        "over_confidence": told.over_confidence,
    }


def _rows(votes: Votes, a: int, found: Reliability) -> list[DriftRow]:
    finding, attribute = votes.slots[a]
    n = len(found.posterior)
    return [
        DriftRow(
            phi=f"reliability, {attribute} {value}",
            kind="total",
            teacher=teacher,
            finding=finding,
            measured=_correct(found, u, k, n),
        )
        for u, teacher in enumerate(votes.teachers)
        for k, value in enumerate(votes.values[a])
    ]
