"""Stage 1: ask every teacher about every case, and lose nothing."""

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

from driftbound.config import SCRIPTED, TeacherConfig
from driftbound.endpoints.client import Endpoint, gate
from driftbound.endpoints.loopback import serving
from driftbound.errors import CaseError, StoreError, TeacherError
from driftbound.progress import bar, say
from driftbound.records import Case, Status
from driftbound.stages.context import Context
from driftbound.store.images import read_image
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.teachers.collector import LEAD, Collector, Session
from driftbound.teachers.openai_compatible import OpenAICompatibleTeacher

Work = list[tuple[OpenAICompatibleTeacher, list[tuple[int, Case]]]]


def inputs(context: Context) -> dict[str, str]:
    """Content hashes of the cases and their images. Raises ``CaseError`` when there are none yet."""
    manifest = Manifest.read(context.folder.root)
    if manifest is None or "cases.parquet" not in manifest.outputs:
        raise CaseError(f"{context.folder.root}: no cases written yet. Run 'driftbound run' with this recipe first.")
    images = {name: sha for name, sha in manifest.outputs.items() if name.startswith("images")}
    whole = hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()
    return {"cases": manifest.outputs["cases.parquet"], "images": whole}


def run(context: Context) -> dict[str, Any]:
    """Ask what is not yet answered; returns the facts of the whole store.

    Raises ``TeacherError`` when a key is missing, a teacher cannot be reached or more than
    ``max_failed`` of its answers failed: what was collected stays, and the next run goes on.
    """
    cases = read_cases(context.folder.cases)
    keys = {teacher.name: _key(teacher) for teacher in context.recipe.teachers}
    with Streams(context.folder.streams) as streams:
        try:
            sessions = _ask(context, cases, keys, streams)
        finally:
            streams.seal()
        _check(context, len(cases), sessions, streams)
        return _facts(context, sessions, streams)


def _key(teacher: TeacherConfig) -> str:
    if not teacher.api_key_env:
        return ""
    key = os.environ.get(teacher.api_key_env, "").strip()
    if not key:
        raise TeacherError(
            f"{teacher.name}: environment variable {teacher.api_key_env} holds no key. Set it and run again."
        )
    return key


def _ask(
    context: Context, cases: Sequence[Case], keys: dict[str, str], streams: Streams
) -> dict[str, Session]:
    """Ask all unfinished questions, with the scripted server running where it is needed."""
    answered = streams.final_requests()
    ids = {teacher.name: {case for case, name, _ in answered if name == teacher.name} for teacher in context.recipe.teachers}
    left = {
        teacher.name: [(place, case) for place, case in enumerate(cases) if case.case_id not in ids[teacher.name]]
        for teacher in context.recipe.teachers
    }
    ...
