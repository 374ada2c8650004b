"""Batching: a recipe's requests as batch files for a vendor's cheaper queue, and their results taken in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from driftbound import pipeline
from driftbound.collecting import refuse_other_recipe, reopen
from driftbound.config import Recipe
from driftbound.endpoints.client import Endpoint
from driftbound.endpoints.gate import Destination, Gate
from driftbound.endpoints.limiter import Limiter
from driftbound.endpoints.replies import Reply
from driftbound.endpoints.vendors import BatchRules, Vendor
from driftbound.errors import BudgetError, CaseError, ConfigError, StoreError
from driftbound.records import Status, Trajectory
from driftbound.stages import roster
from driftbound.stages.context import Context
from driftbound.stages.questions import Questions, refuse_waiting
from driftbound.store import attempts
from driftbound.store.attempts import ANSWERED, IN_BATCH, Ended, Noted
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.teacher_config import TeacherConfig
from driftbound.teachers import batches
from driftbound.teachers.batches import Line, Result
from driftbound.teachers.metering import Account
from driftbound.teachers.openai_compatible import answered
from driftbound.teachers.preparing import prepare
from driftbound.teachers.requests import cost_of, params_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The batch files of one teacher."""

    teacher: str
    requests: int
    files: tuple[Path, ...]
    held_back: str
    """Why not everything that is left was written; empty if it was."""

    def line(self) -> str:
        """For people."""
        files = f" in {self.files[0]}" if self.files else ""
        last = f" to {self.files[-1].name}" if self.files[1:] else ""
        more = f"; held back: {self.held_back}" if self.held_back else ""
        return f"{self.teacher}: {self.requests} requests{files}{last}{more}"


def write(recipe: Recipe, runs: Path, name: str, folder: Path) -> list[Written]:
    """Write what is left to ask as batch files, for each teacher whose vendor takes them.

    The data gate holds: what may not be sent is not written. What was written counts against the
    budget and is not asked again. All teachers' files are written, or none. Raises ``ConfigError``
    where no vendor takes batch files, ``StoreError`` where earlier ones lie in the folder or the run's
    answers are another recipe's.
    """
    with pipeline.opened(recipe, runs, name=name) as context:
        refuse_other_recipe(context)
        takes = [
            teacher
            for teacher in recipe.teachers
            if teacher.kind == "http" and roster.address_of(teacher).vendor.batch is not None
        ]
        if not takes:
            raise ConfigError(
                f"{recipe.name}: no teacher's vendor takes batch files. Collect without --batch."
            )
        cases = read_cases(context.folder.cases)
        roster.check(context, takes, (case.sensitivity for case in cases), keys=False)
        for teacher in takes:
            batches.refuse_earlier(folder, teacher.name)
        with Streams(context.folder.streams) as streams:
            try:
                refuse_waiting(streams)
                questions = Questions(context, cases, streams)
                return _write_all(context, takes, questions, streams, folder)
            finally:
                streams.seal()


def _write_all(
    context: Context, takes: Sequence[TeacherConfig], questions: Questions, streams: Streams, folder: Path
) -> list[Written]:
    """Files and what is noted of them, or neither."""
    gate = roster.gate_of(context)
    made: list[Path] = []
    try:
        with streams.transaction():
            return [_write_one(context, each, questions, streams, gate, folder, made) for each in takes]
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    finally:
        if gate.log is not None:
            gate.log.close()


def forget(recipe: Recipe, runs: Path, name: str) -> int:
    """Wait for no batch file any more; returns how many requests are given up."""
    with pipeline.opened(recipe, runs, name=name) as context, Streams(context.folder.streams) as streams:
        forgotten = attempts.forget_batches(streams)
        streams.seal()
    return forgotten


def _write_one(
    context: Context,
    teacher: TeacherConfig,
    questions: Questions,
    streams: Streams,
    gate: Gate,
    folder: Path,
    made: list[Path],
) -> Written:
    """One teacher's files, whose paths are added to ``made``; within a transaction of the caller's."""
    rules = roster.address_of(teacher).vendor.batch
    assert rules is not None
    held_back: list[str] = []
    lines = _lines(context, teacher, questions, streams, gate, rules, held_back)
    first = len(made)
    for path in batches.write(folder, teacher.name, lines, rules):
        made.append(path)
    more = f" (and {len(held_back) - 1} more)" if len(held_back) > 1 else ""
    return Written(
        teacher=teacher.name,
        requests=attempts.in_batches(streams).get(teacher.name, 0),
        files=tuple(made[first:]),
        held_back=f"{held_back[0]}{more}" if held_back else "",
    )


def _lines(
    context: Context,
    teacher: TeacherConfig,
    questions: Questions,
    streams: Streams,
    gate: Gate,
    rules: BatchRules,
    held_back: list[str],
) -> Iterator[Line]:
    """What is left to ask, each noted before it is given; why one is not goes into ``held_back``."""
    params = roster.settings(context, teacher)
    account = Account(streams, teacher.name, teacher.limits, teacher.price, params.get("max_tokens"))
    endpoint = _endpoint(teacher, gate)
    for place in questions.left(teacher.name):
        request = questions.at(teacher.name, place)
        try:
            prepared = prepare(request, params, teacher.images, endpoint.vendor)
            body = endpoint.body(prepared.asked)
            _refuse_large(batches.size_of(body), rules)
            cost = account.at_most(prepared.prompt_tokens) * rules.price_share
            account.reserve(cost)
        except CaseError as error:
            held_back.append(f"{request.case.case_id}: {error}")
            continue
        except BudgetError as error:
            held_back.append(str(error))
            return
        gate.let_through(
            endpoint.destination,
            request.case.sensitivity,
            what=request.request_hash,
            images=prepared.asked.image_hashes,
            size=sum(len(image) * 4 // 3 for image in prepared.asked.images) + len(request.question),
        )
        attempt = attempts.note(streams, teacher.name, request, outcome=IN_BATCH, cost=cost)
        yield Line(attempt=attempt, request_hash=request.request_hash, body=body)


def _endpoint(teacher: TeacherConfig, gate: Gate) -> Endpoint:
    """Whoever gets the file; asked for the bodies of requests alone, never connected."""
    address = roster.address_of(teacher)
    destination = Destination(
        purpose=f"batch file of {teacher.name}",
        url=address.destination.url,
        own=address.destination.own,
    )
    limiter = Limiter(concurrency=1)
    return Endpoint(destination, teacher.model, gate=gate, limiter=limiter, vendor=address.vendor)


def _refuse_large(size: int, rules: BatchRules) -> None:
    if size > rules.largest_bytes:
        raise CaseError(
            f"request of {size} bytes, a batch file may have {rules.largest_bytes} "
            "(images.largest_side makes images smaller)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one file of results held."""

    file: str
    answers: int
    there_before: int
    failed: int
    foreign: int
    """Lines that are no result of this run."""

    def line(self) -> str:
        """For people."""
        more = f", {self.foreign} lines are not of this run" if self.foreign else ""
        failed = f" ({self.failed} failed)" if self.failed else ""
        return f"{self.file}: {self.answers} new, {self.there_before} there before{failed}{more}"


def take(recipe: Recipe, runs: Path, name: str, files: Sequence[Path]) -> list[Taken]:
    """Take in the results of batch files; each file whole or not at all, in any order, also twice.

    Raises ``TeacherError`` for an unreadable file and ``StoreError`` for results of another recipe's
    requests or of another run, and for a request that was answered otherwise since.
    """
    with pipeline.opened(recipe, runs, name=name) as context:
        refuse_other_recipe(context)
        with Streams(context.folder.streams) as streams:
            questions = Questions(context, read_cases(context.folder.cases), streams)
            before = streams.digest()
            try:
                return [_take_one(context, file, questions, streams) for file in files]
            finally:
                streams.seal()
                if streams.digest() != before:
                    reopen(context.folder)


def _take_one(context: Context, file: Path, questions: Questions, streams: Streams) -> Taken:
    teachers = {teacher.name: teacher for teacher in context.recipe.teachers}
    codes = frozenset[str]().union(
        *(_vendor(teacher).refusal_codes for teacher in context.recipe.teachers if teacher.kind == "http")
    )
    answers, ended, foreign = [], [], 0
    for result in batches.read(file, codes):
        noted = attempts.find(streams, result.attempt) if result is not None else None
        if result is None or noted is None or not noted.request_hash.startswith(result.hash_start):
            foreign += 1
            continue
        if noted.teacher not in teachers or (told := questions.discloses(noted)) is None:
            raise StoreError(
                f"{file}: answers requests of {noted.teacher} that this recipe does not make. "
                "Name the recipe that the batch file was written from; nothing was taken in."
            )
        answer = _trajectory(context, teachers[noted.teacher], noted, result)
        answers.append(replace(answer, prompt_discloses=told))
        ended.append(_ended(answers[-1], noted, result))
    if foreign and not answers:
        raise StoreError(f"{file}: holds no result of this run's requests. Name the vendor's output file.")
    new, there = streams.add(answers)
    with streams.transaction():
        attempts.end(streams, [each for each in ended if each is not None])
    failed = sum(answer.status is Status.FAILED for answer in answers)
    return Taken(file=str(file), answers=new, there_before=there, failed=failed, foreign=foreign)


def _trajectory(context: Context, teacher: TeacherConfig, noted: Noted, result: Result) -> Trajectory:
    if result.reply is not None:
        cost = _cost(teacher, noted, result.reply)
        said = answered(result.reply, context.domain.is_refusal) | {"cost": cost}
    elif result.refused:
        said = {"status": Status.REFUSED, "text": result.error, "finish_reason": "content_filter"}
    else:
        said = {"status": Status.FAILED, "error": result.error}
    return Trajectory(
        case_id=noted.case_id,
        teacher=noted.teacher,
        sample=noted.sample,
        wave=noted.wave,
        model=teacher.model,
        params=params_json(roster.settings(context, teacher)),
        request_hash=noted.request_hash,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        note="by batch file",
        **said,
    )


def _ended(answer: Trajectory, noted: Noted, result: Result) -> Ended | None:
    """How the attempt ended; ``None`` where it was answered before."""
    if noted.outcome == ANSWERED:
        return None
    outcome = ANSWERED if answer.status.final else "failed in batch"
    cost = noted.cost if result.maybe_charged else answer.cost
    return Ended(attempt=result.attempt, outcome=outcome, latency_s=0.0, cost=cost, error=answer.error)


def _cost(teacher: TeacherConfig, noted: Noted, reply: Reply) -> float:
    """Price of an answer; the highest possible one where the vendor does not say what it took."""
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return noted.cost
    rules = _vendor(teacher).batch
    share = rules.price_share if rules is not None else 1.0
    return share * cost_of(teacher.price, reply.prompt_tokens, reply.completion_tokens)


def _vendor(teacher: TeacherConfig) -> Vendor:
    return roster.address_of(teacher).vendor
