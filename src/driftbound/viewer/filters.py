"""Filters: which cases are listed and in what order, as a query string says it; pure functions of columns."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from driftbound.viewer.marks import Marks
from driftbound.viewer.opened import ACCEPTED, REJECTED, STANDS, STATUSES, Opened

SORTS = {
    "": "order of asking",
    "conflict": "largest conflict first",
    "support": "least support first",
    "wrong": "aligned student most often wrong first",
}
CONSENSUS = {"accepted": ACCEPTED, "rejected": REJECTED}
MARKED = ("good", "bad", "note", "any", "none")
OUTCOMES = ("right", "wrong", "better", "worse")
"""``right``: on all that was judged; ``better``: right where the bootstrapped student was wrong."""
PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What was asked for; a value that means nothing is as if it were not there."""

    q: str = ""
    split: str = ""
    finding: str = ""
    stand: str = ""
    teacher: str = ""
    status: str = ""
    consensus: str = ""
    most: str = ""
    """Support of the consensus at most this."""
    student: str = ""
    outcome: str = ""
    mark: str = ""
    unusual: str = ""
    sort: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filters":
        """Of a query string; other keys are left alone."""
        return cls(**{each.name: query.get(each.name, "").strip()[:200] for each in fields(cls)})

    def ignored(self, run: Opened) -> tuple[str, ...]:
        """Values that mean nothing in this run, and were left out."""
        known = {
            "split": run.splits,
            "finding": run.headline,
            "stand": STANDS,
            "teacher": run.teachers,
            "status": STATUSES,
            "consensus": tuple(CONSENSUS),
            "student": tuple(run.right),
            "outcome": OUTCOMES,
            "mark": MARKED,
            "sort": tuple(SORTS),
        }
        given = {name: getattr(self, name) for name in known}
        strange = [f"{name} {value!r}" for name, value in given.items() if value and value not in known[name]]
        return (*strange, *([f"support {self.most!r}"] if self.most and number(self.most) is None else []))

    def query(self, **more: str | int) -> str:
        """As a query string, what is empty left out."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return urlencode({key: value for key, value in (own | more).items() if value not in ("", None)})


def chosen(run: Opened, filters: Filters, marks: Marks, found: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Places of the cases that pass, in the order asked for.

    ``found`` (n,) are those whose texts hold what ``q`` asks for; ``None`` where it asks for nothing.
    """
    keep = np.ones(len(run), dtype=bool)
    if found is not None:
        keep &= found
    if filters.split in run.splits:
        keep &= run.split == run.splits.index(filters.split)
    keep &= (
        _stand(run, filters) & _status(run, filters) & _student(run, filters) & _marked(run, filters, marks)
    )
    if filters.consensus in CONSENSUS:
        keep &= run.consensus == CONSENSUS[filters.consensus]
    if (most := number(filters.most)) is not None:
        keep &= run.supported <= most
    if filters.unusual:
        keep &= run.unusual
    return _sorted(run, np.flatnonzero(keep), filters.sort)


def number(text: str) -> float | None:
    """A number, where the text is one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _stand(run: Opened, filters: Filters) -> NDArray[np.bool_]:
    """Of the one finding, or of any of them."""
    everywhere = np.ones(len(run), dtype=bool)
    if filters.stand not in STANDS and filters.finding not in run.headline:
        return everywhere
    own = run.stands
    if filters.finding in run.headline:
        own = own[:, [run.headline.index(filters.finding)]]
    fits = own == STANDS.index(filters.stand) if filters.stand in STANDS else own >= 0
    return np.asarray(fits.any(axis=1))


def _status(run: Opened, filters: Filters) -> NDArray[np.bool_]:
    """Of the one teacher, or of any of them."""
    if filters.status not in STATUSES and filters.teacher not in run.teachers:
        return np.ones(len(run), dtype=bool)
    own = run.statuses
    if filters.teacher in run.teachers:
        own = own[:, [run.teachers.index(filters.teacher)]]
    fits = own == STATUSES.index(filters.status) if filters.status in STATUSES else own >= 0
    return np.asarray(fits.any(axis=1))


def _student(run: Opened, filters: Filters) -> NDArray[np.bool_]:
    student = filters.student or "aligned"
    if filters.outcome not in OUTCOMES or student not in run.right:
        return np.ones(len(run), dtype=bool)
    own = run.right[student].values
    if filters.outcome in ("better", "worse"):
        other = run.right["bootstrapped"].values if "bootstrapped" in run.right else np.full_like(own, -1)
        first, second = (own, other) if filters.outcome == "better" else (other, own)
        changed: NDArray[np.bool_] = ((first == 1) & (second == 0)).any(axis=1)
        return changed
    if filters.finding in run.headline:
        own = own[:, [run.headline.index(filters.finding)]]
    wrong, judged = (own == 0).any(axis=1), (own >= 0).any(axis=1)
    return np.asarray(wrong if filters.outcome == "wrong" else judged & ~wrong)


def _marked(run: Opened, filters: Filters, marks: Marks) -> NDArray[np.bool_]:
    if filters.mark not in MARKED:
        return np.ones(len(run), dtype=bool)
    kept = np.zeros(len(run), dtype=bool)
    for case_id, mark in marks.all().items():
        if case_id in run.place:
            fits = mark.verdict == filters.mark or (filters.mark == "note" and bool(mark.note))
            kept[run.place[case_id]] = fits or filters.mark in ("any", "none")
    return ~kept if filters.mark == "none" else kept


def _sorted(run: Opened, places: NDArray[np.int64], by: str) -> NDArray[np.int64]:
    """Ties in the order of asking; what has no number last."""
    if by == "conflict":
        key = -run.conflict[places]
    elif by == "support":
        key = run.supported[places]
    elif by == "wrong" and "aligned" in run.right:
        key = -(run.right["aligned"].values[places] == 0).sum(axis=1).astype(np.float64)
    else:
        return places
    order: NDArray[np.int64] = places[np.argsort(np.nan_to_num(key, nan=np.inf), kind="stable")]
    return order
