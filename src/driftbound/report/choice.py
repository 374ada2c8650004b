"""Choice of the cases that the page shows: each for a reason, and the reason is said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from driftbound.records import Case, ClaimStatus, Status, Trajectory
from driftbound.report.spans import Slots

Finding = tuple[float, str]
"""Weight of a reason on one case, and the reason in words."""
Judge = Callable[["CaseRecord", Sequence[str]], Finding | None]
"""Whether a case meets a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer as evaluate judged it."""

    text: str
    status: str
    correct: Mapping[str, bool]
    """Finding -> right or wrong; what is not scored is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """All that the run knows of one case."""

    case: Case
    teachers: Mapping[str, Trajectory] = field(default_factory=dict)
    """In the recipe's order."""
    slots: Slots = field(default_factory=dict)
    consensus: str | None = None
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    """By row as evaluate names it: ``teacher:<name>``, ``student:<name>``, ``consensus``."""
    truth: Mapping[str, str] = field(default_factory=dict)
    """Finding -> value, as evaluate passes it on; empty where the case is not held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A case and why it is shown."""

    record: CaseRecord
    reason: str
    why: str


def choose(records: Sequence[CaseRecord], headline: Sequence[str], count: int) -> list[Chosen]:
    """Up to ``count`` cases: in turn the strongest case of each reason that is not shown already.

    Held-out cases are preferred, as only they have students' answers. Ties go to the case that
    was asked first, so that the choice is reproducible.
    """
    pool = _pool(records)
    reasons = _reasons(pool)
    ranked: dict[str, list[tuple[float, int, str]]] = {}
    for reason, judge in reasons.items():
        found = [(judge(record, headline), index) for index, record in enumerate(pool)]
        ranked[reason] = sorted(
            ((said[0], index, said[1]) for said, index in found if said is not None),
            key=lambda item: (-item[0], item[1]),
        )
    chosen: list[Chosen] = []
    taken: set[int] = set()
    while len(chosen) < count and any(ranked.values()):
        for reason, waiting in ranked.items():
            while waiting and waiting[0][1] in taken:
                waiting.pop(0)
            if waiting and len(chosen) < count:
                _, index, why = waiting.pop(0)
                taken.add(index)
                chosen.append(Chosen(record=pool[index], reason=reason, why=why))
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason for showing a case, and what became of it."""

    name: str
    cases: int
    """That meet it, of those that could be shown."""
    of: int
    shown: tuple[int, ...]
    """Numbers on the page of the cases that are there for it."""
    also: tuple[int, ...]
    """Of those that meet it too, and are there for another reason."""


def reasons_of(
    records: Sequence[CaseRecord], headline: Sequence[str], chosen: Sequence[Chosen]
) -> tuple[Reason, ...]:
    """What became of every reason that the gallery looks for, those without a case among them."""
    pool = _pool(records)
    found = []
    for name, judge in _reasons(pool).items():
        meeting = {id(record) for record in pool if judge(record, headline) is not None}
        there = [(n, each) for n, each in enumerate(chosen, start=1) if id(each.record) in meeting]
        shown, also = (
            tuple(n for n, each in there if (each.reason == name) is wanted) for wanted in (True, False)
        )
        found.append(Reason(name=name, cases=len(meeting), of=len(pool), shown=shown, also=also))
    return tuple(found)


def _pool(records: Sequence[CaseRecord]) -> list[CaseRecord]:
    return [record for record in records if record.predictions] or [r for r in records if r.teachers]


def _reasons(pool: Sequence[CaseRecord]) -> dict[str, Judge]:
    first_split = pool[0].case.split if pool else ""
    if all(record.case.split == first_split for record in pool):
        return dict(_REASONS)
    return {**_REASONS, "From another split": _other_split(first_split)}


def correct_of(record: CaseRecord, row: str) -> Mapping[str, bool]:
    """What a row has right and wrong on a case; empty where it was not judged."""
    prediction = record.predictions.get(row)
    return prediction.correct if prediction is not None else {}


def teachers_right(record: CaseRecord, finding: str) -> tuple[int, int]:
    """How many of the teachers who answered are right on ``finding``, and how many were judged."""
    judged = [
        correct[finding]
        for name, trajectory in record.teachers.items()
        if trajectory.status.usable and finding in (correct := correct_of(record, f"teacher:{name}"))
    ]
    return sum(judged), len(judged)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a row; of many the first ``most`` and how many more.

    >>> listed(["a", "b", "a"]), listed(["a", "b", "c", "d"], most=2)
    ('a, b', 'a, b and 2 more')
    """
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {more} more" if more > 0 else "")


def _conflict(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    slots = [key for key, slot in record.slots.items() if slot.status == ClaimStatus.CONFLICTING]
    named = listed([finding for finding, _ in slots])
    why = f"The teachers contradict each other on {len(slots)} of {len(record.slots)} points: {named}."
    return (len(slots), why) if slots else None


def _alone_right(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    found = [
        f
        for f in _right(record, "student:aligned", headline)
        if (told := teachers_right(record, f))[0] == 0 and told[1] > 1
    ]
    why = f"The aligned student is right where every teacher is wrong: {', '.join(found)}."
    return (len(found), why) if found else None


def _student_right(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    found = [f for f in _right(record, "student:aligned", headline) if _most(record, f) is False]
    why = f"The aligned student is right where most teachers are wrong: {', '.join(found)}."
    return (len(found), why) if found else None


def _against_majority(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    rightly = [f for f in _right(record, "consensus", headline) if _most(record, f) is False]
    wrongly = [f for f in _wrong(record, "consensus", headline) if _most(record, f) is True]
    said = [f"{f} (rightly)" for f in rightly] + [f"{f} (wrongly)" for f in wrongly]
    why = f"The consensus goes against most teachers: {', '.join(said)}."
    return (len(said), why) if said else None


def _student_wrong(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    wrong = _wrong(record, "student:aligned", headline)
    alone = [f for f in wrong if _most(record, f) is True]
    why = f"The aligned student is wrong on {', '.join(wrong)}" + (
        f"; most teachers are right on {', '.join(alone)}." if alone else "."
    )
    return (len(alone) + len(wrong) / 100, why) if wrong else None


def _together_wrong(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    slots = record.slots
    found = [
        f
        for f in headline
        if (f, "presence") in slots
        and slots[f, "presence"].status == ClaimStatus.AGREED
        and _most(record, f) is False
    ]
    why = f"The teachers agree, and they are wrong: {', '.join(found)}."
    return (len(found), why) if found else None


def _refusal(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    named = [name for name, each in record.teachers.items() if each.status is Status.REFUSED]
    why = f"{listed(named)} declined to answer; the consensus is made of the others."
    return (len(named), why) if named else None


def _learned(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    before = set(_wrong(record, "student:bootstrapped", headline))
    found = [f for f in _right(record, "student:aligned", headline) if f in before]
    why = f"The bootstrapped student was wrong, the aligned one is right: {', '.join(found)}."
    return (len(found), why) if found else None


def _lost(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    before = set(_right(record, "student:bootstrapped", headline))
    found = [f for f in _wrong(record, "student:aligned", headline) if f in before]
    why = f"The bootstrapped student was right, the aligned one is wrong: {', '.join(found)}."
    return (len(found), why) if found else None


def _sides(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    found = [f for (f, a), s in record.slots.items() if a == "side" and s.status == ClaimStatus.CONFLICTING]
    why = f"The teachers see it on different sides: {listed(found)}."
    return (len(found), why) if found else None


def _calm(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
    agreed = sum(slot.status == ClaimStatus.AGREED for slot in record.slots.values())
    why = f"The teachers agree on {agreed} of {len(record.slots)} points, more than on other cases."
    return (agreed / len(record.slots), why) if agreed else None


def _other_split(first: str) -> Judge:
    def judge(record: CaseRecord, headline: Sequence[str]) -> Finding | None:
        said = _conflict(record, headline) if record.case.split != first else None
        return (said[0], f"From {record.case.split}. {said[1]}") if said else None

    return judge


_REASONS: dict[str, Judge] = {
    "Largest conflict": _conflict,
    "Consensus against the majority": _against_majority,
    "Aligned right, all teachers wrong": _alone_right,
    "Aligned student wrong": _student_wrong,
    "Aligned right, most teachers wrong": _student_right,
    "Agreed and wrong": _together_wrong,
    "A refusal": _refusal,
    "Put right by alignment": _learned,
    "Lost in alignment": _lost,
    "Left or right": _sides,
    "Calm": _calm,
}


def _right(record: CaseRecord, row: str, headline: Sequence[str]) -> list[str]:
    return [f for f in headline if correct_of(record, row).get(f) is True]


def _wrong(record: CaseRecord, row: str, headline: Sequence[str]) -> list[str]:
    return [f for f in headline if correct_of(record, row).get(f) is False]


def _most(record: CaseRecord, finding: str) -> bool | None:
    """Whether most teachers are right (True) or wrong (False); ``None`` on a tie or if unknown."""
    right, judged = teachers_right(record, finding)
    return None if 2 * right == judged else 2 * right > judged
