"""Drafting: the candidates for every case's consensus, rendered or written, and refined once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftbound.consensus.believed import hints
from driftbound.consensus.context import DOES_NOT_FIT, fit
from driftbound.consensus.gate import (
    NO_ANSWER,
    NOTHING_DECIDED,
    ONE_ANSWER,
    Candidate,
    best,
    judged,
    verdict,
)
from driftbound.consensus.support import lacking
from driftbound.consensus.synthesize import by_reliability, seed_of, shuffled, vote
from driftbound.consensus.writing import Ask, Writer, Written
from driftbound.records import Case, Trajectory
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths
from driftbound.stages.writers import Load, Window, writer_for
from driftbound.stances import slots_told
from driftbound.store.measures import Beliefs

PARTS = "written.jsonl"
"""What was written before a kill, in the stage's folder; removed when the stage has finished."""
BY_STUDENT = frozenset({"student", "guided"})
_WRITTEN = BY_STUDENT | {"judge"}
WindowFor = Callable[..., Window]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A case, and what is known of it."""

    case: Case
    given: Mapping[str, Trajectory]
    """By teacher, in the recipe's order."""
    beliefs: Beliefs

    @property
    def usable(self) -> dict[str, str]:
        """Texts that are opinions, by teacher."""
        return {name: answer.text for name, answer in self.given.items() if answer.status.usable}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """A case's candidates, or why there is none."""

    candidates: tuple[Candidate, ...] = ()
    reason: str = ""


def student_of(context: Context) -> Path:
    """Checkpoint of the student that writes: the one with which the round begins."""
    return context.folder.former


def drafts(context: Context, known: Sequence[Known], load: Load, window: WindowFor) -> list[Drafted]:
    """Candidates of every case, in the order given.

    Raises what ``writer_for`` and its writer raise.
    """
    found = [Drafted(reason=_hopeless(context, each)) for each in known]
    left = [place for place, each in enumerate(found) if not each.reason]
    some = [known[place] for place in left]
    if context.recipe.synthesize.synthesizer in _WRITTEN:
        drafted: Iterable[Drafted] = _Drafting(context, load, window).written(some) if some else []
    else:
        drafted = (_rendered(context, each) for each in some)
    for place, each in zip(left, drafted, strict=True):
        found[place] = each
    return found


def _hopeless(context: Context, known: Known) -> str:
    """Why no consensus of a case can be drafted at all."""
    config, n = context.recipe.synthesize, len(known.usable)
    if n == 0:
        return NO_ANSWER
    if config.synthesizer == "teacher":
        return "" if config.teacher in known.usable else f"no usable answer of the teacher: {config.teacher}"
    return ONE_ANSWER if n == 1 else ""


def _rendered(context: Context, known: Known) -> Drafted:
    """The one text of a synthesizer that needs no writer."""
    config, domain = context.recipe.synthesize, context.domain
    ended = True
    if config.synthesizer == "teacher":
        answer = known.given[config.teacher]
        text, ended = answer.text, answer.status == "ok"
    elif config.synthesizer == "vote":
        usable = [answer for answer in known.given.values() if answer.status.usable]
        told = [slots_told(answer.prompt_discloses) for answer in usable]
        text = vote(domain, [answer.text for answer in usable], told)
    else:
        text = by_reliability(domain, known.beliefs, config.undecided)
        if not text:
            return Drafted(reason=NOTHING_DECIDED)
    return Drafted(candidates=(judged(domain, text, known.beliefs, ended=ended),))


class _Drafting:
    """Candidates by a writer: all at once, then the refinements at once."""

    def __init__(self, context: Context, load: Load, window: WindowFor) -> None:
        self._context = context
        self._config = context.recipe.synthesize
        student = student_of(context)
        parts = context.folder.stage("synthesize") / PARTS
        self._writer: Writer = writer_for(context, parts, student=student, load=load)
        self._window = window(context, student=student)

    def written(self, known: Sequence[Known]) -> list[Drafted]:
        """Candidates of every case."""
        k = self._config.candidates
        shown = [self._shown(each, hints(each.beliefs)) for each in known]
        asks = [
            self._ask(each, question, number, self._config.temperature if number else 0.0)
            for each, (question, _) in zip(known, shown, strict=True)
            if question
            for number in range(k)
        ]
        said = iter(self._writer.write(asks))
        found = []
        for each, (question, note) in zip(known, shown, strict=True):
            if not question:
                found.append(Drafted(reason=note))
                continue
            texts = [self._judged(each, next(said), note, number) for number in range(k)]
            found.append(Drafted(candidates=tuple(texts)))
        return self._refined(known, found) if self._config.refine else found

    def _refined(self, known: Sequence[Known], drafted: list[Drafted]) -> list[Drafted]:
        """With one more candidate where the best one is of good form but has too little support."""
        weak: list[tuple[int, Candidate, str, str]] = []
        for place, each in enumerate(drafted):
            chosen = each.candidates[best(each.candidates)] if each.candidates else None
            if chosen is None or chosen.reason or not verdict(chosen, self._config.threshold):
                continue
            question, note = self._shown(known[place], lacking(chosen.support), chosen.text)
            if question:
                weak.append((place, chosen, question, note))
        asks = [
            self._ask(known[place], question, self._config.candidates, 0.0) for place, _, question, _ in weak
        ]
        said = self._writer.write(asks) if asks else []
        for (place, chosen, _, note), written in zip(weak, said, strict=True):
            better = self._judged(known[place], written, note, chosen.number, refined=True)
            drafted[place] = Drafted(candidates=(*drafted[place].candidates, better))
        return drafted

    def _shown(self, known: Known, lines: Sequence[str], draft: str | None = None) -> tuple[str, str]:
        """The question with all trajectories that fit, and a note; an empty question where nothing fits.

        ``lines`` are what ``guided`` is told, or what the ``draft`` to be refined lacks.
        """
        domain, case = self._context.domain, known.case

        def question(answers: Sequence[str]) -> str:
            if draft is not None:
                return domain.refine_question(case, answers, draft, lines)
            if self._config.synthesizer == "guided":
                return domain.guided_question(case, answers, lines)
            return domain.merge_question(case, answers)

        count, room = self._window.count_tokens, self._window.room(case)
        answers = shuffled(case, list(known.usable.values()), self._context.recipe.seed)
        texts, note = fit(domain, question, answers, domain.claims, count, room)
        return ("", DOES_NOT_FIT) if note == DOES_NOT_FIT else (question(texts), note)

    def _ask(self, known: Known, question: str, number: int, temperature: float) -> Ask:
        """The ``number``-th of a case; the one after the candidates is the refined one."""
        return Ask(
            key=f"{known.case.case_id}/{number}",
            case=known.case,
            question=question,
            images=image_paths(self._context, known.case),
            seed=seed_of(self._context.recipe.seed, known.case, number),
            temperature=temperature,
        )

    def _judged(
        self, known: Known, written: Written, note: str, number: int, *, refined: bool = False
    ) -> Candidate:
        return judged(
            self._context.domain,
            written.text,
            known.beliefs,
            ended=written.ended,
            number=number,
            refined=refined,
            note=", ".join(each for each in (note, written.note) if each),
            originals=known.usable,
        )
