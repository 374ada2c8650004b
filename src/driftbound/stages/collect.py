"""Stage 1: ask every teacher about every case, and lose nothing."""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

from driftbound.config import SCRIPTED, TeacherConfig
from driftbound.endpoints.client import Endpoint, gate
from driftbound.endpoints.loopback import serving
from driftbound.errors import CaseError, StoreError, TeacherError
from driftbound.progress import Advance, bar
from driftbound.records import Case, Status
from driftbound.stages.context import Context
from driftbound.store.images import read_image
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.teachers.collector import LEAD, Collector, Session
from driftbound.teachers.openai_compatible import OpenAICompatibleTeacher, request_hash, sampling_json


def inputs(context: Context) -> dict[str, str]:
    """Content hashes of the cases and their images. Raises ``CaseError`` when there are none yet."""
    manifest = Manifest.read(context.folder.root)
    if manifest is None or "cases.parquet" not in manifest.outputs:
        raise CaseError(f"{context.folder.root}: no cases yet. Run 'driftbound run' with this recipe first.")
    images = {name: sha for name, sha in manifest.outputs.items() if name.startswith("images")}
    whole = hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()
    return {"cases": manifest.outputs["cases.parquet"], "images": whole}


def run(context: Context) -> dict[str, Any]:
    """Ask what is not yet answered; returns the facts of the whole store.

    Raises ``TeacherError`` when a key is missing, a teacher cannot be reached or more than
    ``max_failed`` of its answers failed: what was collected stays, and the next run goes on.
    """
    cases = read_cases(context.folder.cases)
    with Streams(context.folder.streams) as streams:
        answered = streams.final_requests()
        _refuse_other_requests(context, cases, answered)
        left = {
            teacher: [
                (place, case)
                for place, case in enumerate(cases)
                if (case.case_id, teacher.name, 0) not in answered
            ]
            for teacher in context.recipe.teachers
        }
        try:
            sessions = _ask(context, left, streams)
        finally:
            streams.seal()
        _refuse_losses(context, len(cases), sessions, streams)
        return _facts(context, len(cases), sessions, streams)


def _refuse_other_requests(
    context: Context, cases: Sequence[Case], answered: Mapping[tuple[str, str, int], str]
) -> None:
    """Raise ``StoreError`` when a stored answer is one to another question, image, model or sampling."""
    settings = context.recipe.collect
    params = sampling_json(temperature=settings.temperature, max_tokens=settings.max_tokens)
    for case in cases:
        old = [
            (teacher, answered[case.case_id, teacher.name, 0])
            for teacher in context.recipe.teachers
            if (case.case_id, teacher.name, 0) in answered
        ]
        if not old:
            continue
        question, images = context.domain.question(case), _images(context, case)
        for teacher, request in old:
            if request != request_hash(teacher.model, params, question, images):
                raise StoreError(
                    f"{context.folder.streams}: {teacher.name} answered {case.case_id} under other settings "
                    "(model, sampling, question or image). Give the run another name, or delete the file."
                )


def _images(context: Context, case: Case) -> tuple[bytes, ...]:
    return tuple(read_image(context.folder.root / name) for name in case.images)


def _ask(
    context: Context, left: Mapping[TeacherConfig, list[tuple[int, Case]]], streams: Streams
) -> dict[str, Session]:
    """Ask all that is left, with the scripted server running while it is needed."""
    busy = {teacher: cases for teacher, cases in left.items() if cases}
    if not busy:
        return {}
    keys = {teacher.name: _key(teacher) for teacher in busy}
    for teacher, cases in busy.items():
        for sensitivity in sorted({case.sensitivity for _, case in cases}):
            if teacher.base_url != SCRIPTED:
                gate(teacher.name, teacher.base_url, sensitivity)
    with ExitStack() as stack:
        scripted = ""
        if any(teacher.base_url == SCRIPTED for teacher in busy):
            command = context.domain.scripted_server(context.folder.root)
            if command is None:
                raise TeacherError(
                    f"{context.domain.name}: no scripted teachers here. Give each teacher a base_url."
                )
            scripted = stack.enter_context(serving(command))
        work = [
            (_teacher(context, teacher, scripted, keys[teacher.name]), cases)
            for teacher, cases in busy.items()
        ]
        advance = stack.enter_context(bar("collect", sum(map(len, busy.values()))))
        return asyncio.run(_collect(context, work, streams, advance))


def _key(teacher: TeacherConfig) -> str:
    if not teacher.api_key_env:
        return ""
    key = os.environ.get(teacher.api_key_env, "").strip()
    if not key:
        raise TeacherError(
            f"{teacher.name}: environment variable {teacher.api_key_env} holds no key. Set it and run again."
        )
    return key


def _teacher(context: Context, teacher: TeacherConfig, scripted: str, key: str) -> OpenAICompatibleTeacher:
    settings = context.recipe.collect
    endpoint = Endpoint(
        teacher.name,
        scripted if teacher.base_url == SCRIPTED else teacher.base_url,
        teacher.model,
        key=key,
        timeout_s=settings.timeout_s,
        retries=settings.retries,
    )
    return OpenAICompatibleTeacher(
        endpoint,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        is_refusal=context.domain.is_refusal,
    )


async def _collect(
    context: Context,
    work: Sequence[tuple[OpenAICompatibleTeacher, list[tuple[int, Case]]]],
    streams: Streams,
    advance: Advance,
) -> dict[str, Session]:
    @lru_cache(maxsize=2 * LEAD)
    def images(case: Case) -> tuple[bytes, ...]:
        return _images(context, case)

    collector = Collector(
        streams,
        question=context.domain.question,
        images=images,
        concurrency=context.recipe.collect.concurrency,
        advance=advance,
    )
    try:
        return await collector.collect(work)
    finally:
        for teacher, _ in work:
            await teacher.close()


def _refuse_losses(context: Context, n_cases: int, sessions: Mapping[str, Session], streams: Streams) -> None:
    """Raise ``TeacherError`` for a teacher that was given up or failed too often."""
    counts = {teacher.name: streams.counts().get(teacher.name, {}) for teacher in context.recipe.teachers}
    kept = sum(n for each in counts.values() for status, n in each.items() if Status(status).final)
    stays = f"{kept} of {n_cases * len(counts)} answers are kept"
    stopped = [name for name, session in sessions.items() if session.stopped]
    if stopped:
        more = f" (likewise {', '.join(stopped[1:])})" if stopped[1:] else ""
        raise TeacherError(
            f"{sessions[stopped[0]].stopped}{more}. {stays}; put it right and run again to go on."
        )
    for name, each in counts.items():
        failed = each.get(Status.FAILED, 0)
        if failed > context.recipe.collect.max_failed * n_cases:
            raise TeacherError(
                f"{name}: {failed} of {n_cases} answers failed ({failed / n_cases:.0%}), more than "
                f"max_failed = {context.recipe.collect.max_failed:.0%}; last: {streams.last_error(name)}. "
                f"{stays}; run again to ask the failed ones again."
            )


def _facts(
    context: Context, n_cases: int, sessions: Mapping[str, Session], streams: Streams
) -> dict[str, Any]:
    """Per teacher what it answered, over all sessions, and how fast it was in this one."""
    counts, versions = streams.counts(), streams.versions()
    teachers = {}
    for name in (teacher.name for teacher in context.recipe.teachers):
        session = sessions.get(name, Session(asked=0, seconds=0.0, stopped=""))
        teachers[name] = {
            "answers": counts.get(name, {}),
            "versions": versions.get(name, {}),
            "asked": session.asked,
            "seconds": round(session.seconds, 2),
            "answers_per_second": round(session.asked / session.seconds, 1) if session.seconds else 0.0,
        }
    return {"cases": n_cases, "digest": streams.digest(), "teachers": teachers}
