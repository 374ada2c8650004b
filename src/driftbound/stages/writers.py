"""Writers: who writes the consensus, ready to be asked, and how much fits into its context."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from driftbound.consensus.in_process import InProcess
from driftbound.consensus.kept import Kept
from driftbound.consensus.served import Served
from driftbound.consensus.writing import Ask, Writer
from driftbound.endpoints.client import Asked, Endpoint
from driftbound.endpoints.limiter import Limiter
from driftbound.endpoints.vendors import Vendor
from driftbound.protocols import Policy
from driftbound.records import Case, Request
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths, sensitivity_of
from driftbound.stages.roster import asked_at, gate_of
from driftbound.store.manifest import sha256_file
from driftbound.teacher_config import ImagesConfig, WriterConfig
from driftbound.teachers.preparing import prepare
from driftbound.teachers.requests import params_json, request_hash

PURPOSE = "synthesis"
"""What the gate and the audit log are told."""
CHARACTERS_PER_TOKEN = 4.0
MARGIN = 1.25
"""Of a judge no tokenizer is at hand: characters / 4, and a quarter more."""
NO_LIMIT = 2**62
"""Tokens of room where no limit is known."""

Load = Callable[[Path, int], Policy]
"""From a checkpoint folder and a number of threads to the student, in process."""


def load_student(path: Path, threads: int) -> Policy:
    """A student, in process. Raises ``ModelError``."""
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads)


def writer_for(
    context: Context,
    parts: Path,
    *,
    student: Path,
    title: str = "synthesize: texts",
    load: Load = load_student,
) -> Writer:
    """Who writes by the recipe: the judge, the student behind its server, or ``student`` in this process.

    What is written is kept in the file ``parts``, made where it is not there; the stage removes it when it
    has finished. ``student`` is a checkpoint folder, loaded by ``load`` when the first text is missing.
    Raises ``ConfigError`` for an impossible address, ``TeacherError`` for a missing key, ``StoreError`` for
    a file of another kind.
    """
    config, server = context.recipe.synthesize, _server_of(context)
    if server is not None:
        return _served(context, server, parts, title)
    return InProcess(
        partial(load, student, context.recipe.threads),
        Kept(parts, f"student {config.max_new_tokens}"),
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        title=title,
    )


def check_writer(context: Context) -> None:
    """Raise what would keep a writer behind an endpoint from being asked, before anybody is."""
    server = _server_of(context)
    if server is not None:
        address, _ = asked_at(server, PURPOSE, PURPOSE)
        gate_of(context).check(address.destination, sensitivity_of(context, "synthesize"))


def _server_of(context: Context) -> WriterConfig | None:
    config = context.recipe.synthesize
    return config.judge if config.synthesizer == "judge" else config.server


def _served(context: Context, config: WriterConfig, parts: Path, title: str) -> Served:
    address, key = asked_at(config, PURPOSE, PURPOSE)
    gate, sensitivity = gate_of(context), sensitivity_of(context, "synthesize")
    limit = context.recipe.synthesize.max_new_tokens

    def endpoint() -> Endpoint:
        return Endpoint(
            address.destination,
            config.model,
            gate=gate,
            limiter=Limiter(concurrency=config.concurrency, requests_per_minute=config.requests_per_minute),
            vendor=address.vendor,
            key=key,
            timeout_s=config.timeout_s,
            retries=config.retries,
        )

    return Served(
        endpoint,
        partial(_prepared, config.model, address.vendor, sensitivity, limit),
        Kept(parts, f"{config.model} {limit}"),
        gate=gate,
        sensitivity=sensitivity,
        concurrency=config.concurrency,
        title=title,
    )


def _prepared(model: str, vendor: Vendor, sensitivity: str, limit: int, ask: Ask) -> Asked:
    """An ask as its endpoint takes it; settings that the vendor does not take are left out.

    Raises ``CaseError`` where an image is too large in every size.
    """
    wished = {"temperature": ask.temperature, "max_tokens": limit, "seed": ask.seed}
    params = {key: value for key, value in wished.items() if key not in vendor.unsupported}
    hashes = [sha256_file(path) for path in ask.images]
    request = Request(
        case=replace(ask.case, sensitivity=sensitivity),
        question=ask.question,
        images=tuple(path.read_bytes() for path in ask.images),
        request_hash=request_hash(model, params_json(params), ask.question, hashes),
    )
    return prepare(request, params, ImagesConfig(mode="optional"), vendor).asked


@dataclass(frozen=True, slots=True)
class Window:
    """How much a writer takes in."""

    count_tokens: Callable[[str], int]
    """Tokens of a question, or of a part of it."""
    room: Callable[[Case], int]
    """Tokens that the question of a case may take."""


def window_for(context: Context, *, student: Path) -> Window:
    """The window of the recipe's writer, for ``consensus.context.fit``; loads the tokenizer when it is used.

    ``synthesize.context_tokens`` is the room where it is set. Else it is what the checkpoint ``student``
    allows, less ``max_new_tokens``, images and chat template; a judge has no limit that is known. Students
    count by their own tokenizer, wherever they are served; a judge's tokens are estimated.
    """
    config = context.recipe.synthesize
    if config.synthesizer == "judge":
        return Window(estimated_tokens, lambda case: config.context_tokens or NO_LIMIT)
    from driftbound.learning.counting import TokenCounter

    counter = TokenCounter(student)

    def room(case: Case) -> int:
        if config.context_tokens:
            return config.context_tokens
        return counter.longest - config.max_new_tokens - counter.around(image_paths(context, case))

    return Window(counter.count, room)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text takes with a tokenizer that is not at hand, rather too many.

    >>> estimated_tokens("Edema: present. ")
    5
    """
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN * MARGIN)
