"""Stage 1: ask every teacher about every case, and lose nothing."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from driftbound.endpoints.loopback import serving
from driftbound.errors import CaseError, TeacherError
from driftbound.records import Status, Trajectory
from driftbound.stages import roster
from driftbound.stages.context import Context
from driftbound.stages.questions import Questions, refuse_waiting
from driftbound.stages.roster import Roster
from driftbound.stages.watching import Watch
from driftbound.store import attempts
from driftbound.store.manifest import Manifest, sha256_file
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.teacher_config import TeacherConfig
from driftbound.teachers.collector import Collector, Session, Work


def inputs(context: Context) -> dict[str, str]:
    """Content hashes of cases, images and recorded streams. Raises ``CaseError`` where there are no cases."""
    manifest = Manifest.read(context.folder.root)
    if manifest is None or "cases.parquet" not in manifest.outputs:
        raise CaseError(f"{context.folder.root}: no cases yet. Run 'driftbound run' with this recipe first.")
    images = {name: sha for name, sha in manifest.outputs.items() if name.startswith("images")}
    whole = hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()
    recorded = {
        f"recorded {teacher.name}": sha256_file(Path(teacher.path))
        for teacher in context.recipe.teachers
        if teacher.kind == "recorded"
    }
    return {"cases": manifest.outputs["cases.parquet"], "images": whole} | recorded


def run(context: Context) -> dict[str, Any]:
    """Ask what is not yet answered; returns the facts of what this recipe has asked so far.

    Raises ``TeacherError`` when a key is missing, a teacher cannot be reached, its budget is used
    up or more than ``max_failed`` of its answers failed: what was collected stays, and the next
    run goes on. ``DataUseError`` when cases may not go to a teacher: then nothing was sent.
    """
    cases = read_cases(context.folder.cases)
    with Streams(context.folder.streams) as streams:
        try:
            questions = Questions(context, cases, streams)
            busy = [teacher for teacher in context.recipe.teachers if len(questions.left(teacher.name))]
            if busy:
                refuse_waiting(streams)
            roster.check(context, busy, (case.sensitivity for case in cases))
            sessions = _ask(context, busy, questions, streams)
        finally:
            streams.seal()
        _refuse_losses(context, questions, sessions, streams)
        return _facts(context, questions, sessions, streams)


def _ask(
    context: Context, busy: Sequence[TeacherConfig], questions: Questions, streams: Streams
) -> dict[str, Session]:
    """Ask all that is left, with the scripted server running while it is needed."""
    if not busy:
        return {}
    with ExitStack() as stack:
        scripted = ""
        if any(each.kind == "http" and roster.address_of(each).scripted for each in busy):
            command = context.domain.scripted_server(context.folder.root)
            if command is None:
                raise TeacherError(
                    f"{context.domain.name}: no scripted teachers here. Give each teacher a base_url."
                )
            scripted = stack.enter_context(serving(command))
        asked = Roster(context, streams, scripted=scripted)
        watch = stack.enter_context(Watch.over(questions, busy))
        return asyncio.run(_collect(context, asked, busy, questions, streams, watch))


async def _collect(
    context: Context,
    asked: Roster,
    busy: Sequence[TeacherConfig],
    questions: Questions,
    streams: Streams,
    watch: Watch,
) -> dict[str, Session]:
    def store(answers: Sequence[Trajectory]) -> None:
        accounts = asked.accounts.values()
        with streams.transaction():
            streams.write_many(answers)
            attempts.end(streams, (end for account in accounts for end in account.ended))
        for account in accounts:
            account.ended.clear()
        watch.stored(answers, asked.accounts)

    concurrency = context.recipe.collect.concurrency
    work = [
        Work(
            asked.teacher(each),
            questions.left(each.name),
            partial(questions.at, each.name),
            each.limits.concurrency or concurrency,
        )
        for each in busy
    ]
    try:
        return await Collector(store).collect(work)
    finally:
        for each in work:
            await each.teacher.close()
        store([])
        asked.close()


def _refuse_losses(
    context: Context, questions: Questions, sessions: Mapping[str, Session], streams: Streams
) -> None:
    """Raise ``TeacherError`` for a teacher that was given up or failed too often."""
    tally = streams.counts(context.asking.wave)
    counts = {teacher.name: tally.get(teacher.name, {}) for teacher in context.recipe.teachers}
    kept = sum(n for each in counts.values() for status, n in each.items() if Status(status).final)
    asked = {name: questions.count(name) for name in counts}
    stays = f"{kept} of {sum(asked.values())} answers are kept"
    stopped = [name for name, session in sessions.items() if session.stopped]
    if stopped:
        more = f" (likewise {', '.join(stopped[1:])})" if stopped[1:] else ""
        raise TeacherError(
            f"{sessions[stopped[0]].stopped}{more}. {stays}; put it right and run again to go on."
        )
    for name, each in counts.items():
        failed = each.get(Status.FAILED, 0)
        if failed > context.recipe.collect.max_failed * asked[name]:
            raise TeacherError(
                f"{name}: {failed} of {asked[name]} answers failed ({failed / asked[name]:.0%}), more than "
                f"max_failed = {context.recipe.collect.max_failed:.0%}; last: {streams.last_error(name)}. "
                f"{stays}; run again to ask the failed ones again."
            )


def _facts(
    context: Context, questions: Questions, sessions: Mapping[str, Session], streams: Streams
) -> dict[str, Any]:
    """Per teacher what it answered, over all sessions, and how fast it was in this one."""
    wave = context.asking.wave
    counts, versions, usage = streams.counts(wave), streams.versions(wave), streams.usage(wave)
    teachers = {}
    for name in (teacher.name for teacher in context.recipe.teachers):
        session = sessions.get(name, Session(asked=0, seconds=0.0, stopped=""))
        spent = attempts.spent(streams, name)
        teachers[name] = {
            "answers": counts.get(name, {}),
            "versions": versions.get(name, {}),
            **usage.get(name, {}),
            "requests_ever": spent.requests,
            "money_at_most": round(spent.money, 6),
            "asked": session.asked,
            "seconds": round(session.seconds, 2),
            "answers_per_second": round(session.asked / session.seconds, 1) if session.seconds else 0.0,
        }
    return {"cases": len(questions.cases), "digest": streams.digest(), "teachers": teachers}
