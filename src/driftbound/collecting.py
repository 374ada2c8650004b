"""Collecting beyond the stage: what it will take, parts of it on several machines, later waves."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.errors import CaseError, ConfigError
from driftbound.progress import say
from driftbound.stages import collect, roster
from driftbound.stages.context import Asking, Context
from driftbound.stages.questions import Questions, refuse_waiting
from driftbound.store import wanted
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import NAME, Manifest
from driftbound.store.plan import Plan, check_same, made_of
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.teacher_config import PriceConfig, TeacherConfig
from driftbound.teachers.preparing import prepare
from driftbound.teachers.requests import cost_of

LOOKED_AT = 50
"""Requests whose prompts are counted to estimate the others'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What asking one teacher will take."""

    teacher: str
    to: str
    """Host, ``this process`` or the file."""
    answered: int
    left: int
    prompt_tokens: int
    """Of all that is left: by the answers so far, else by a cautious estimate."""
    completion_tokens: int | None
    """By the answers so far; without any, as for ``completion_tokens_at_most``."""
    completion_tokens_at_most: int | None
    """``None`` where the recipe sets no ``max_tokens``: then nobody knows."""
    money: float | None
    money_at_most: float | None
    """US dollars, if every answer is as long as it may be and nothing has to be asked twice."""
    minutes_at_least: float
    """By the limit of requests per minute; 0 where there is none."""


def look_ahead(recipe: Recipe, runs: Path, name: str, asking: Asking) -> list[Ahead]:
    """What ``collect`` would send; nothing is sent, no key is needed, and no stage reads anything else."""
    with pipeline.opened(recipe, runs, name=name) as context:
        context = replace(context, asking=asking)
        with Streams(context.folder.streams) as streams:
            wanted.rehearse(streams)
            questions = Questions(context, read_cases(context.folder.cases), streams)
            ahead = [_ahead(context, teacher, questions, streams) for teacher in recipe.teachers]
            streams.seal()
        if any(each.left for each in ahead) and not asking.wave and finished(context):
            say("collect has finished: only with --force it asks again what has failed")
    return ahead


def check(recipe: Recipe, runs: Path, name: str, ahead: Sequence[Ahead]) -> None:
    """Raise what would keep ``collect`` from asking what is left: the answers of another recipe, requests
    in batch files, a missing key, an impossible setting, the data gate."""
    left = {each.teacher for each in ahead if each.left}
    with pipeline.opened(recipe, runs, name=name) as context:
        refuse_other_recipe(context)
        if left:
            with Streams.open_readonly(context.folder.streams) as streams:
                refuse_waiting(streams)
        busy = [teacher for teacher in recipe.teachers if teacher.name in left]
        roster.check(context, busy, (case.sensitivity for case in read_cases(context.folder.cases)))


def finished(context: Context) -> bool:
    """Whether the run's ``collect`` is complete."""
    return Manifest.read(context.folder.stage("collect")) is not None


def refuse_other_recipe(context: Context) -> None:
    """Raise ``StoreError`` where the run's ``collect`` was started by a recipe that asks something else."""
    folder = context.folder.stage("collect")
    made = made_of(folder)
    if made is not None:
        config = pipeline.recipe_part(context.recipe, "collect")
        here = Plan("collect", config, collect.inputs(context), context.recipe.seed)
        check_same(folder, made.plan, here, redo="'driftbound collect RECIPE --force'")


def reopen(folder: RunFolder) -> None:
    """What ``collect`` has said of its answers no longer holds: it is to be run again."""
    stage = folder.stage("collect")
    made = made_of(stage)
    if made is not None and made.finished:
        made.plan.write(stage, seconds=made.seconds)
        (stage / NAME).unlink()


def part(recipe: Recipe, runs: Path, name: str, asking: Asking) -> dict[str, Any]:
    """Ask one shard of the cases, or a later wave; returns the facts. The stage itself stays as it was.

    Raises as ``stages.collect.run``, ``ConfigError`` for a shard of a collection that is complete, and
    ``StoreError`` where the run's answers are another recipe's.
    """
    with pipeline.opened(recipe, runs, name=name) as context:
        refuse_other_recipe(context)
        if asking.wave == 0 and finished(context):
            raise ConfigError(f"{context.folder.root}: collect has finished; there is no part left to ask.")
        return collect.run(replace(context, asking=asking))


def shard_of(text: str) -> tuple[int, int]:
    """``2/5`` -> (1, 5): the second of five shards, numbered from 0. Raises ``ConfigError``.

    >>> shard_of("2/5")
    (1, 5)
    """
    first, slash, second = text.partition("/")
    if slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first) - 1, int(second)
    raise ConfigError(f"--shard {text!r}: say which of how many, such as 1/4.")


def facts(folder: RunFolder) -> dict[str, Any]:
    """What the finished stage says of itself."""
    manifest = Manifest.read(folder.stage("collect"))
    return manifest.facts if manifest is not None else {}


def as_json(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Dataclasses as tables."""
    return [asdict(each) for each in rows]


def _ahead(context: Context, teacher: TeacherConfig, questions: Questions, streams: Streams) -> Ahead:
    places = questions.left(teacher.name)
    left, answered = len(places), questions.count(teacher.name) - len(places)
    params = roster.settings(context, teacher)
    longest = 0 if teacher.kind == "recorded" else params.get("max_tokens")
    used = streams.usage(context.asking.wave).get(teacher.name, {})
    completion: float | None = longest
    if answered and used.get("prompt_tokens"):
        prompt, completion = (used[key] / answered for key in ("prompt_tokens", "completion_tokens"))
    else:
        prompt = _estimate(teacher, params, questions, places)
    tokens_in = round(prompt * left)
    tokens_out, at_most = (None if each is None else round(each * left) for each in (completion, longest))
    return Ahead(
        teacher=teacher.name,
        to=_to(teacher),
        answered=answered,
        left=left,
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        completion_tokens_at_most=at_most,
        money=_money(teacher.price, tokens_in, tokens_out),
        money_at_most=_money(teacher.price, tokens_in, at_most),
        minutes_at_least=round(left / (teacher.limits.requests_per_minute or float("inf")), 1),
    )


def _money(price: PriceConfig, tokens_in: int, tokens_out: int | None) -> float | None:
    """US dollars, ``None`` where they hang on a number that nobody knows."""
    if tokens_out is None and price.completion:
        return None
    return round(cost_of(price, tokens_in, tokens_out or 0), 4)


def _estimate(
    teacher: TeacherConfig, params: dict[str, Any], questions: Questions, places: Sequence[int]
) -> float:
    """Mean tokens of a prompt, over a few of the requests, evenly spread."""
    if teacher.kind == "recorded" or not places:
        return 0.0
    vendor = roster.address_of(teacher).vendor
    some = places[:: max(1, len(places) // LOOKED_AT)]
    counted = []
    for place in some:
        request = questions.at(teacher.name, place)
        with suppress(CaseError):  # it will not be sent
            counted.append(prepare(request, params, teacher.images, vendor).prompt_tokens)
    return sum(counted) / max(1, len(counted))


def _to(teacher: TeacherConfig) -> str:
    if teacher.kind == "recorded":
        return teacher.path
    if teacher.kind == "local":
        return "this process"
    address = roster.address_of(teacher)
    return "scripted" if address.scripted else address.destination.host
