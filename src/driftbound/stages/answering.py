"""Answering: what teachers, consensus and students say of the held-out cases. No truth here."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.evaluation.answers import (
    ALIGNED_SHUFFLED,
    CONSENSUS,
    MAJORITY,
    SHUFFLED,
    SIGNS,
    STUDENTS,
    Answer,
    Answers,
    Job,
    Text,
    generate,
    seeds_of,
)
from driftbound.phantom_base import resolve_base
from driftbound.progress import say
from driftbound.protocols import Featured, Policy, SignReader
from driftbound.records import Case, Status
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths, training_trajectories
from driftbound.stages.held_out import HeldOut as HeldOut
from driftbound.stages.probabilities import Chances, probabilities
from driftbound.stances import majority_of, slots_told, stances
from driftbound.store.manifest import replacing
from driftbound.store.streams import Streams
from driftbound.store.tables import read_groups

Loader = Callable[[str, int], Policy]
Features = NDArray[np.floating[Any]]
Drawn = dict[str, list[list[Answer]]]
"""Row -> per case its further answers."""
_SHUFFLED = {"bootstrapped": SHUFFLED, "aligned": ALIGNED_SHUFFLED}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the students gave."""

    answers: dict[str, Answers]
    """By split the rows of the students and their controls."""
    features: dict[str, Features]
    """By student, of the first split; a student whose policy shows none has none."""
    drawn: dict[str, Drawn]
    """By split."""
    chances: dict[str, Chances]
    """By split."""


def checkpoint(context: Context, student: str) -> str:
    """Checkpoint folder of a student (or, for a base that the recipe names so, its hub name)."""
    if student == "base":
        return resolve_base(context.recipe.bootstrap.base)
    return str(context.folder.student("bootstrap" if student == "bootstrapped" else "align"))


def stored_answers(context: Context, splits: Sequence[HeldOut]) -> dict[str, Answers]:
    """By split the rows of the teachers, of their majority and of the consensus, from earlier stages."""
    domain = context.domain
    stored = training_trajectories(context)
    consensus = {group.case_id: group.consensus for group in read_groups(context.folder.groups)}
    teachers = [teacher.name for teacher in context.recipe.teachers]
    found: dict[str, Answers] = {}
    for split in splits:
        rows: Answers = defaultdict(list)
        for case in split.cases:
            usable, told = [], []
            for name in teachers:
                own = stored.get((case.case_id, name))
                status = Status.FAILED if own is None else own.status
                text = "" if own is None else own.text
                rows[f"teacher:{name}"].append(Answer(case_id=case.case_id, text=text, status=status))
                if own is not None and status.usable:
                    usable.append(domain.claims(text))
                    told.append(slots_told(own.prompt_discloses))
            merged = consensus.get(case.case_id, "")
            rows[CONSENSUS].append(answer_of(context, case, Text(merged, False)))
            voted = majority_of(usable, domain.findings, told)
            text = domain.render(voted) if voted else ""
            rows[MAJORITY].append(answer_of(context, case, Text(text, False)))
        found[split.name] = dict(rows)
    return found


def further_answers(context: Context, splits: Sequence[HeldOut]) -> dict[str, Drawn]:
    """By split what teachers said who were asked more than once (``teachers.samples``, ``collect.repeats``):
    all answers of the first wave, the first one too; nothing of a case that was asked once."""
    stored: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    with Streams.open_readonly(context.folder.streams) as streams:
        for each in streams.current():
            if each.wave == 0:
                answer = Answer(case_id=each.case_id, text=each.text, status=each.status)
                stored[each.case_id, each.teacher].append(answer)
    repeated = {pair: said for pair, said in stored.items() if len(said) > 1}
    found: dict[str, Drawn] = {}
    for split in splits:
        rows = {
            f"teacher:{teacher.name}": [
                repeated.get((case.case_id, teacher.name), []) for case in split.cases
            ]
            for teacher in context.recipe.teachers
        }
        found[split.name] = {row: cases for row, cases in rows.items() if any(cases)}
    return found


def ask_students(context: Context, splits: Sequence[HeldOut], load: Loader, partial: Path) -> Asked:
    """Ask base, bootstrapped and aligned student, one after the other.

    Controls: bootstrapped and aligned with other patients' images; and, on the first split, the signs that
    the base sees, read by the field's textbook rule where it has one.
    """
    config = context.recipe.evaluate
    found: dict[str, Answers] = {split.name: {} for split in splits}
    drawn: dict[str, Drawn] = {split.name: {} for split in splits}
    features: dict[str, Features] = {}
    chances: dict[str, Chances] = {split.name: {} for split in splits}
    for name in STUDENTS:

        @cache
        def loaded(name: str = name) -> Policy:
            return load(checkpoint(context, name), context.recipe.threads)

        jobs = _jobs(context, name, splits)
        texts = generate(
            jobs,
            loaded,
            partial,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            title=f"evaluate: asking the {name} student",
        )
        for job, said in zip(jobs, texts, strict=True):
            cases = next(split.cases for split in splits if split.name == job.split)
            meant = [by_rule(context, text) for text in said] if job.row == SIGNS else said
            told = [answer_of(context, case, text) for case, text in zip(cases, meant, strict=True)]
            if job.sample:
                rows = drawn[job.split].setdefault(job.row, [[] for _ in cases])
                for row, answer in zip(rows, told, strict=True):
                    row.append(answer)
            else:
                found[job.split][job.row] = told
        for split, one in probabilities(context, splits, loaded, partial / "chances" / name).items():
            chances[split][f"student:{name}"] = one
        own = _features(jobs[0], loaded, partial / "features" / f"{name}.npy", config.batch_size)
        if own is not None:
            features[name] = own
    return Asked(found, features, drawn, chances)


def answer_of(context: Context, case: Case, said: Text) -> Answer:
    """A text of ours with its status, by the rules that hold for teachers."""
    if not said.text.strip():
        status = Status.EMPTY
    elif context.domain.is_refusal(said.text):
        status = Status.REFUSED
    else:
        status = Status.TRUNCATED if said.truncated else Status.OK
    return Answer(case_id=case.case_id, text=said.text, status=status)


def in_one_style(context: Context, text: str) -> str:
    """What a text asserts and denies of the findings, in the student's format: no style of its own left."""
    said = stances(context.domain.claims(text), context.domain.findings)
    return context.domain.render(_stated(said))


def _stated(said: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in said.items() if value not in ("omitted", "uncertain")}


def _jobs(context: Context, student: str, splits: Sequence[HeldOut]) -> list[Job]:
    """What one student is asked; its plain answers to the first split come first."""
    row = f"student:{student}"
    jobs = [_job(context, split, row, range(len(split.cases))) for split in splits]
    if student in _SHUFFLED:
        control = _SHUFFLED[student]
        jobs += [_job(context, split, control, split.shown) for split in splits if split.shown]
    jobs += _drawing(context, jobs[: len(splits)])
    if student == "base" and isinstance(context.domain, SignReader):
        asks = context.domain.sign_question
        jobs.append(_job(context, splits[0], SIGNS, range(len(splits[0].cases)), asks))
    return jobs


def _drawing(context: Context, greedy: Sequence[Job]) -> list[Job]:
    """The same questions, answered several times by chance; none where the recipe wants no samples."""
    config, seed = context.recipe.evaluate, context.recipe.seed
    numbers = range(1, config.samples + 1) if config.samples > 1 else ()
    return [
        replace(
            job,
            sample=number,
            temperature=config.temperature,
            seeds=seeds_of(seed, f"{job.row} {job.split}", job.case_ids, number),
        )
        for job in greedy
        for number in numbers
    ]


def _job(context: Context, split: HeldOut, row: str, shown: Sequence[int], question: str = "") -> Job:
    return Job(
        row=row,
        split=split.name,
        case_ids=tuple(case.case_id for case in split.cases),
        questions=tuple(question or context.domain.question(case) for case in split.cases),
        images=tuple(image_paths(context, split.cases[index]) for index in shown),
    )


def by_rule(context: Context, said: Text) -> Text:
    """What a report of signs means, in the student's format; nothing where it states no sign."""
    assert isinstance(context.domain, SignReader)
    meant = context.domain.from_signs(said.text)
    return Text("" if meant is None else context.domain.render(meant), said.truncated)


def _features(job: Job, load: Callable[[], Policy], path: Path, batch_size: int) -> Features | None:
    """Hidden features (n, D) of a job's questions; kept in ``path``, so that a killed run goes on."""
    if not path.exists():
        policy = load()
        if not isinstance(policy, Featured):
            return None
        say(f"evaluate: hidden features, {len(job.case_ids)} cases")
        made = policy.features(job.questions, job.images, batch_size=batch_size)
        with replacing(path) as half, half.open("wb") as file:
            np.save(file, made)
    kept: Features = np.load(path)
    return kept
