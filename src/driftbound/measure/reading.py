"""Reading: every answer's claims, and the panel that the measure is taken from."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.measure.panel import Panel, Settings
from driftbound.measure.votes import Reading, Votes, cast, read, steps_of, values_of
from driftbound.records import Case, Claim, Trajectory
from driftbound.stances import Slot
from driftbound.statistics.intervals import resample
from driftbound.store.stream_file import with_given_steps
from driftbound.store.stream_rows import Key, StepSpans
from driftbound.store.tables import ClaimRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer without its text."""

    status: str
    words: int
    version: str
    created_at: str


@dataclass(slots=True, kw_only=True)
class Read:
    """All answers, as they were read."""

    readings: dict[Key, Reading] = field(default_factory=dict)
    answers: dict[Key, Answered] = field(default_factory=dict)
    kept: dict[tuple[str, str], Trajectory] = field(default_factory=dict)
    """(case, teacher) -> its first answer, whole, of the cases that are looked at token by token."""


def read_all(
    claims_of: Callable[[str], list[Claim]],
    cases: Iterable[Case],
    answers: Iterable[Trajectory],
    *,
    spans: Mapping[Key, StepSpans],
    into: Read,
    keep: Collection[str] = (),
) -> Iterator[list[ClaimRow]]:
    """The claims of one usable answer after the other, each answer's reading going into ``into``; of the
    cases to ``keep`` the answers themselves, too.

    What a prompt discloses is told among the claims and gives no vote. Of two answers to the same
    question the first one counts; answers to cases that are not there are passed over.
    """
    disclosed: dict[str, Collection[str]] = {case.case_id: case.prompt_discloses for case in cases}
    for answer in answers:
        key = (answer.case_id, answer.teacher, answer.sample, answer.wave)
        if answer.case_id not in disclosed or key in into.readings:
            yield []
            continue
        claims = claims_of(answer.text) if answer.status.usable else []
        steps = spans.get(key, ())
        claims = with_given_steps(claims, steps)
        n_steps = max(step for step, _, _ in steps) + 1 if steps else 0
        into.readings[key] = read(answer, claims, disclosed[answer.case_id], n_steps=n_steps)
        if answer.case_id in keep and (answer.sample, answer.wave) == (0, 0) and answer.status.usable:
            into.kept[answer.case_id, answer.teacher] = answer
        into.answers[key] = Answered(
            status=str(answer.status),
            words=len(answer.text.split()) if answer.status.usable else -1,
            version=answer.version,
            created_at=answer.created_at,
        )
        own = partial(
            ClaimRow,
            case_id=answer.case_id,
            teacher=answer.teacher,
            sample=answer.sample,
            wave=answer.wave,
            n_steps=n_steps or steps_of(claims),
        )
        yield [own(claim=claim) for claim in claims]


def votes_of(
    read: Read, case_ids: Sequence[str], teachers: Sequence[str], slots: Sequence[Slot], *, parts: int
) -> Votes:
    """The votes of sample 0 of the first wave; values are those of any sample and wave."""
    return _votes(read, case_ids, teachers, values_of(slots, read.readings.values()), 0, 0, parts)


def panel_of(
    read: Read,
    cases: Sequence[Case],
    votes: Votes,
    settings: Settings,
    *,
    timed: bool = False,
    ordered: bool = True,
) -> Panel:
    """The panel of the votes on some cases, asked in their order or, if ``timed``, by the answers' times.

    Raises ``MeasureError`` where there is nothing to compare.
    """
    ids, teachers = votes.case_ids, votes.teachers
    if not teachers or not ids:
        raise MeasureError("there is no case, or no teacher, to measure; give some answers")
    names, numbers = np.unique([case.cluster for case in cases], return_inverse=True)
    rng = np.random.default_rng([settings.seed, 2])
    grid = _Grid(read, ids, teachers)
    samples = sorted({sample for _, _, sample, wave in read.readings if wave == 0})
    waves = sorted({wave for _, _, _, wave in read.readings if wave})

    def again(sample: int, wave: int) -> NDArray[np.int16]:
        known = dict(zip(votes.slots, votes.values, strict=True))
        return _votes(read, ids, teachers, known, sample, wave, 1).codes

    return Panel(
        votes=votes,
        clusters=numbers.astype(np.intp),
        resamples=resample([names[i] for i in numbers], rng=rng),
        words=grid.words(),
        statuses=grid.words_of("status"),
        versions=grid.words_of("version"),
        order=grid.order(timed),
        timed=timed,
        ordered=ordered or timed,
        repeats=tuple(again(sample, 0) for sample in samples) if len(samples) > 1 else (),
        waves={wave: again(0, wave) for wave in waves},
        settings=settings,
    )


def _votes(
    read: Read,
    case_ids: Sequence[str],
    teachers: Sequence[str],
    slots: Mapping[Slot, tuple[str, ...]],
    sample: int,
    wave: int,
    parts: int,
) -> Votes:
    taken = {
        (case_id, teacher): reading
        for (case_id, teacher, s, w), reading in read.readings.items()
        if s == sample and w == wave
    }
    return cast(case_ids, teachers, slots, taken, parts=parts)


class _Grid:
    """Answers of sample 0, first wave, by case and teacher."""

    def __init__(self, read: Read, ids: Sequence[str], teachers: Sequence[str]) -> None:
        self._of = [[read.answers.get((c, t, 0, 0)) for t in teachers] for c in ids]
        self._shape = (len(ids), len(teachers))

    def words(self) -> NDArray[np.float64]:
        counts = [[np.nan if a is None or a.words < 0 else a.words for a in row] for row in self._of]
        return np.array(counts, dtype=np.float64).reshape(self._shape)

    def words_of(self, name: str) -> NDArray[np.object_]:
        found = [["" if a is None else getattr(a, name) for a in row] for row in self._of]
        return np.array(found, dtype=object).reshape(self._shape)

    def order(self, timed: bool) -> NDArray[np.intp]:
        order = np.full(self._shape, -1, dtype=np.intp)
        for t in range(self._shape[1]):
            column = [row[t] for row in self._of]
            there = [(a.created_at if timed else "", c) for c, a in enumerate(column) if a is not None]
            for place, (_, c) in enumerate(sorted(there)):
                order[c, t] = place
        return order
