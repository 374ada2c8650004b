"""Collecting beyond the stage: what it will take, parts of it on several machines, later waves, merging."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.endpoints.gate import append_log
from driftbound.errors import ConfigError, StoreError
from driftbound.stages import collect, roster
from driftbound.stages.context import Context, Round
from driftbound.stages.questions import Questions
from driftbound.store import attempts
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.teacher_config import TeacherConfig
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
    completion_tokens: int
    """By the answers so far; without any, as for ``completion_tokens_at_most``."""
    completion_tokens_at_most: int
    money: float
    money_at_most: float
    """US dollars, if every answer is as long as it may be and nothing has to be asked twice."""
    minutes_at_least: float
    """By the limit of requests per minute; 0 where there is none."""


def look_ahead(recipe: Recipe, runs: Path, name: str, round_: Round) -> list[Ahead]:
    """What ``collect`` would send; nothing is sent, no key is needed."""
    with pipeline.opened(recipe, runs, name=name) as context:
        context = replace(context, round=round_)
        with Streams(context.folder.streams) as streams:
            questions = Questions(context, read_cases(context.folder.cases), streams)
            ahead = [_ahead(context, teacher, questions, streams) for teacher in recipe.teachers]
            streams.seal()
    return ahead


def check(recipe: Recipe, runs: Path, name: str) -> None:
    """Raise what would keep ``collect`` from asking: a missing key, an impossible setting, the data gate."""
    with pipeline.opened(recipe, runs, name=name) as context:
        cases = read_cases(context.folder.cases)
        roster.check(context, recipe.teachers, (case.sensitivity for case in cases))


def part(recipe: Recipe, runs: Path, name: str, round_: Round) -> dict[str, Any]:
    """Ask one shard of the cases, or a later wave; returns the facts. The stage itself stays as it was.

    Raises as ``stages.collect.run``, and ``ConfigError`` for a shard of a collection that is complete.
    """
    with pipeline.opened(recipe, runs, name=name) as context:
        finished = Manifest.read(context.folder.stage("collect")) is not None
        if round_.wave == 0 and finished:
            raise ConfigError(f"{context.folder.root}: collect has finished; there is no part left to ask.")
        return collect.run(replace(context, round=round_))


def merge(run: Path, sources: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Take the answers and attempts of other machines' files into a run; source -> (new, there before).

    A source is a run folder or a ``streams.sqlite``. Raises ``StoreError`` where the same request
    has two different answers or a case is another one there; the sources before that one are taken in.
    """
    folder, taken = RunFolder(run), {}
    if not folder.cases.exists():
        raise StoreError(
            f"{run}: is no run yet. Make it with 'driftbound collect RECIPE --dry-run', then merge into it."
        )
    with pipeline.working_on(folder), Streams(folder.streams) as streams:
        for source in sources:
            path = RunFolder(source).streams if source.is_dir() else source
            if path.resolve() == folder.streams.resolve():
                raise StoreError(f"{path}: is the run's own file. Name those of the other machines.")
            with Streams.open_readonly(path) as other:
                _refuse_other_cases(streams, other)
                taken[str(source)] = streams.add(other.each())
                attempts.copy(streams, other)
            append_log(folder.audit, path.parent.parent / folder.audit.name)
        streams.seal()
    return taken


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


def as_json(ahead: Sequence[Ahead]) -> list[dict[str, Any]]:
    """The rows as JSON values."""
    return [asdict(each) for each in ahead]


def _refuse_other_cases(streams: Streams, other: Streams) -> None:
    """Raise ``StoreError`` where the same id is another case there: then the machines read other files."""
    sql = "SELECT case_id, content_hash FROM cases"
    with streams.guard("read"), other.guard("read"):
        here = dict(streams.db.execute(sql).fetchall())
        for case_id, content in other.db.execute(sql):
            if here.get(case_id, content) != content:
                raise StoreError(
                    f"{other.path}: {case_id} is another case there (question or images differ). "
                    "Collect both from the same recipe and the same cases."
                )


def _ahead(context: Context, teacher: TeacherConfig, questions: Questions, streams: Streams) -> Ahead:
    places = questions.left(teacher.name)
    left, answered = len(places), questions.count(teacher.name) - len(places)
    params = roster.settings(context, teacher)
    longest = int(params.get("max_tokens", 0)) if teacher.kind != "recorded" else 0
    used = streams.usage(context.round.wave).get(teacher.name, {})
    if answered and used.get("prompt_tokens"):
        prompt, completion = (used[key] / answered for key in ("prompt_tokens", "completion_tokens"))
    else:
        prompt, completion = _estimate(teacher, params, questions, places), float(longest)
    price = teacher.price
    return Ahead(
        teacher=teacher.name,
        to=_to(teacher),
        answered=answered,
        left=left,
        prompt_tokens=round(prompt * left),
        completion_tokens=round(completion * left),
        completion_tokens_at_most=longest * left,
        money=round(cost_of(price, round(prompt * left), round(completion * left)), 4),
        money_at_most=round(cost_of(price, round(prompt * left), longest * left), 4),
        minutes_at_least=round(left / (teacher.limits.requests_per_minute or float("inf")), 1),
    )


def _estimate(
    teacher: TeacherConfig, params: dict[str, Any], questions: Questions, places: Sequence[int]
) -> float:
    """Mean tokens of a prompt, over a few of the requests, evenly spread."""
    if teacher.kind != "http" or not places:
        return 0.0
    vendor = roster.address_of(teacher).vendor
    some = places[:: max(1, len(places) // LOOKED_AT)]
    counted = [
        prepare(questions.at(teacher.name, place), params, teacher.images, vendor).prompt_tokens
        for place in some
    ]
    return sum(counted) / len(counted)


def _to(teacher: TeacherConfig) -> str:
    if teacher.kind == "recorded":
        return teacher.path
    if teacher.kind == "local":
        return "this process"
    address = roster.address_of(teacher)
    return "scripted" if address.scripted else address.destination.host
