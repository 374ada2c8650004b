"""Sheet: how measured numbers are written down, for ``summary.json`` and for ``drift.parquet``."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from driftbound.records import Estimate, Measured
from driftbound.statistics.intervals import plain
from driftbound.statistics.kernels import Discrepancy
from driftbound.statistics.signs import Contrast, Scan

COUNTED = "a count has no interval"
FEW = "fewer than two clusters: no interval"
NOTHING = "nothing to measure it on"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRow:
    """One statistic of drift: what of (phi), whose, where."""

    phi: str
    """What is looked at, see the documentation: ``contradicted``, ``excess``, ``own prefix`` ..."""
    kind: str
    """``level`` (a value at a step), ``change`` (early against late), ``total``."""
    measured: Measured
    teacher: str = ""
    """Empty: the panel of all teachers."""
    other: str = ""
    """The second teacher of a pair, or whose text it is (the host of a common prefix)."""
    finding: str = ""
    step: int = -1
    """Part of the answer from 0; of a change the first part after it; -1: the whole answer."""
    p_adjusted: float = float("nan")


def count(n: int, *, of: int | None = None) -> Measured:
    """A number that was counted."""
    return Measured(estimator="count", n=n if of is None else of, value=float(n), reason=COUNTED)


def undefined(estimator: str, reason: str, *, n: int = 0) -> Measured:
    """A number that there is not, and why."""
    return Measured(estimator=estimator, n=n, value=float("nan"), reason=reason)


def measured(found: Estimate, estimator: str, n: int, *, p: float = float("nan")) -> Measured:
    """An estimate with its name; where it or its interval is undefined, the reason."""
    reason = ""
    if np.isnan(found.mean):
        reason = NOTHING
    elif np.isnan(found.low) or np.isnan(found.high):
        reason = FEW
    return Measured(
        estimator=estimator, n=n, value=found.mean, low=found.low, high=found.high, p=p, reason=reason
    )


def share(found: Estimate, estimator: str, n: int, clusters: int) -> Measured:
    """A share of cases. One of exactly 0 or 1 has no spread to resample: then the interval is the exact one
    (Clopper and Pearson 1934) of as many independent cases as there are clusters.

    >>> nothing = Estimate(mean=0.0, low=0.0, high=0.0)
    >>> round(share(nothing, "share", 300, 100).high, 4)
    0.0362
    """
    if clusters < 2 or found.mean not in (0.0, 1.0):
        return measured(found, estimator, n)
    room = 1 - 0.025 ** (1 / clusters)
    low, high = (0.0, room) if found.mean == 0 else (1 - room, 1.0)
    return measured(Estimate(mean=found.mean, low=low, high=high), estimator, n)


def from_test(found: Contrast | Discrepancy | Scan, estimator: str) -> Measured:
    """An effect with its test; of a scan the change at the split that was found, with the scan's p."""
    return Measured(
        estimator=estimator,
        n=found.n,
        value=found.effect,
        low=found.low,
        high=found.high,
        p=found.p,
        reason=found.reason,
    )


def because(given: Measured, reason: str) -> Measured:
    """The same number with a reason where it has none of its own but needs one."""
    needs = np.isnan(given.value) or np.isnan(given.low) or np.isnan(given.high)
    return replace(given, reason=reason) if needs and given.reason in ("", NOTHING, FEW) else given


def as_json(given: Measured) -> dict[str, Any]:
    """For JSON: undefined is null with a reason; ``p`` stands only where there is a test.

    >>> as_json(count(3))["value"], as_json(count(3))["reason"]
    (3, 'a count has no interval')
    """
    value = plain(given.value)
    if value is not None and given.estimator == "count":
        value = int(value)
    said: dict[str, Any] = {
        "value": value,
        "low": plain(given.low),
        "high": plain(given.high),
        "n": given.n,
        "estimator": given.estimator,
    }
    if not np.isnan(given.p):
        said["p"] = float(f"{given.p:.4g}")
    if given.reason:
        said["reason"] = given.reason
    return said


def jsonable(given: Any) -> Any:
    """Tables of measured numbers, however deep, for JSON."""
    if isinstance(given, Measured):
        return as_json(given)
    if isinstance(given, Mapping):
        return {str(key): jsonable(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [jsonable(value) for value in given]
    return given


def unexplained(summary: Any, where: str = "") -> Iterable[str]:
    """Places of a summary where a number stands that says neither what it is nor on what it rests.

    Numbers belong into measured ones or below ``settings``. A null needs a reason beside it.
    """
    if isinstance(summary, Mapping):
        if "estimator" in summary:
            missing = {"value", "low", "high", "n"} - summary.keys()
            if missing:
                yield f"{where}: without {', '.join(sorted(missing))}"
            bare = [key for key in ("value", "low", "high") if summary.get(key) is None]
            if bare and not summary.get("reason"):
                yield f"{where}: {', '.join(bare)} without a reason"
            return
        for key, value in summary.items():
            if key != "settings":
                yield from unexplained(value, f"{where}.{key}")
    elif isinstance(summary, list | tuple):
        for i, value in enumerate(summary):
            yield from unexplained(value, f"{where}[{i}]")
    elif isinstance(summary, int | float) and not isinstance(summary, bool):
        yield f"{where}: a bare number"
    elif summary is None:
        yield f"{where}: null without a reason"


def drift_table(rows: Iterable[DriftRow]) -> list[dict[str, Any]]:
    """Rows of ``drift.parquet``."""
    table = []
    for row in rows:
        flat = {key: value for key, value in asdict(row).items() if key != "measured"}
        table.append(flat | asdict(row.measured))
    return table
