"""Gold: a few checked claims, read from a table; they choose between models and judge the choice."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError, boundary
from driftbound.measure.patterns import Array
from driftbound.statistics.calibration import log_losses
from driftbound.statistics.intervals import standard_errors

COLUMNS = ("case_id", "finding", "value")
PRESENCE = "presence"
FOLDS = 5
CLEAR = 2.0
"""Standard errors by which gold claims must prefer another candidate."""
SHARPNESS = np.exp(np.linspace(np.log(0.05), np.log(2.0), 38))
"""Powers of the posterior that are tried."""

GoldKey = tuple[str, str, str]
"""Case, finding and attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of several candidates the gold claims prefer."""

    best: int
    """Number of the candidate; 0 is the one that was chosen without gold."""
    power: float
    """What the best candidate's posterior is raised to, then normalised: below 1 it was too sure."""


def read_gold(
    path: Path, *, cases: Sequence[str], findings: Sequence[str], values: Mapping[str, Sequence[str]]
) -> dict[GoldKey, str]:
    """Checked claims of a CSV file with the columns case_id, finding, value and, if wanted, attribute
    (``presence`` where it is missing or empty).

    ``values`` gives the values of each attribute. Raises ``MeasureError`` for a file that cannot be read,
    other columns, an unknown case, finding, attribute or value, and lines that contradict each other.
    """
    with boundary(MeasureError, f"reading gold claims from {path}", then="Give a CSV file."):
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), restkey="", restval=""))
        header = next(csv.reader(text.splitlines()), [])
    _check_columns(path, header)
    known_cases, known_findings = set(cases), set(findings)
    gold: dict[GoldKey, str] = {}
    for number, row in enumerate(rows, start=2):
        case, finding, value = (row[name].strip() for name in COLUMNS)
        attribute = (row.get("attribute") or "").strip() or PRESENCE
        where = f"{path}, line {number}"
        if row.get(""):
            raise MeasureError(f"{where}: more fields than the header names; quote fields that hold commas")
        if case not in known_cases:
            raise MeasureError(f"{where}: case {case!r} is not among the {len(known_cases)} that were asked")
        if finding not in known_findings:
            raise MeasureError(f"{where}: finding {finding!r} is unknown; known: {', '.join(findings)}")
        if attribute not in values:
            raise MeasureError(f"{where}: attribute {attribute!r} is unknown; known: {', '.join(values)}")
        if value not in values[attribute]:
            raise MeasureError(
                f"{where}: value {value!r} is no {attribute}; possible: {', '.join(values[attribute])}"
            )
        before = gold.setdefault((case, finding, attribute), value)
        if before != value:
            raise MeasureError(
                f"{where}: {case}, {finding}, {attribute} is {value!r} here and {before!r} above; keep one"
            )
    return gold


def _check_columns(path: Path, header: Sequence[str]) -> None:
    lacking = [name for name in COLUMNS if name not in header]
    foreign = [name for name in header if name not in (*COLUMNS, "attribute")]
    if lacking:
        raise MeasureError(f"{path} lacks the column {', '.join(lacking)}; needed: {', '.join(COLUMNS)}")
    if foreign:
        raise MeasureError(
            f"{path} has the column {', '.join(foreign)}, which gold claims do not have: a gold claim says "
            "what is true of a case, not what a teacher said. Remove it."
        )


def prefer(posteriors: Sequence[Array], truth: NDArray[np.intp], clusters: NDArray[np.intp]) -> Choice:
    """Candidate whose posterior (m, K) has the smallest log-loss on m gold claims, and how sure it may be.

    Each candidate is compared at its own best power, so that being too sure is no reason to prefer another
    grouping. Candidate 0, chosen without gold, stays unless another is better by ``CLEAR`` standard errors of
    the paired difference over ``clusters`` (m,): among many candidates a hundred claims find a best one by
    chance. The same holds for a ``power`` other than 1.
    """
    powered = [
        min((log_losses(sharpened(q, power), truth) for power in SHARPNESS), key=lambda losses: losses.mean())
        for q in posteriors
    ]
    best = _clearly_best(np.stack(powered, axis=1), clusters)
    raised = np.stack(
        [
            log_losses(posteriors[best], truth),
            *(log_losses(sharpened(posteriors[best], power), truth) for power in SHARPNESS),
        ],
        axis=1,
    )
    power = _clearly_best(raised, clusters)
    return Choice(best=best, power=1.0 if power == 0 else float(SHARPNESS[power - 1]))


def sharpened(posterior: Array, power: float) -> Array:
    """(n, K) posterior to a power, normalised; ``nan`` stays."""
    raised = np.clip(posterior, 1e-300, 1.0) ** power
    result: Array = raised / raised.sum(axis=1, keepdims=True)
    return result


def cross_fitted(
    posteriors: Sequence[Array],
    truth: NDArray[np.intp],
    clusters: NDArray[np.intp],
    rng: np.random.Generator,
) -> Array:
    """(m, K) posterior of each gold claim from the candidate and power that the other folds prefer.

    Folds are of whole clusters, so that no gold claim is judged by a choice it took part in. (The candidates
    themselves never saw any gold.)
    """
    groups = np.unique(clusters)
    folds = min(FOLDS, len(groups))
    if folds < 2:
        raise MeasureError("gold claims of one cluster only: they cannot choose a model and judge it as well")
    fold = np.empty(int(groups.max()) + 1, dtype=np.intp)
    fold[rng.permutation(groups)] = np.arange(len(groups)) % folds
    result = np.empty_like(posteriors[0])
    for number in range(folds):
        held = fold[clusters] == number
        choice = prefer([q[~held] for q in posteriors], truth[~held], clusters[~held])
        result[held] = sharpened(posteriors[choice.best][held], choice.power)
    return result


def _clearly_best(losses: Array, clusters: NDArray[np.intp]) -> int:
    """Column with the smallest mean; column 0 unless it is beaten clearly."""
    best = int(losses.mean(axis=0).argmin())
    gain = losses[:, :1] - losses[:, [best]]
    se = standard_errors(gain, np.unique(clusters, return_inverse=True)[1].reshape(-1))[0]
    return best if gain.mean() > CLEAR * se else 0
