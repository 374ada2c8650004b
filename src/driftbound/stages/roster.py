"""Roster: the teachers of a recipe, ready to be asked; keys, addresses, limits and budgets in one place."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from driftbound.config import Recipe
from driftbound.endpoints.client import Endpoint
from driftbound.endpoints.gate import Acknowledgement, AuditLog, Destination, Gate, is_loopback
from driftbound.endpoints.limiter import WINDOW_S, Limiter
from driftbound.endpoints.vendors import Vendor, is_vendors, vendor_of
from driftbound.errors import ConfigError, TeacherError
from driftbound.phantom_base import resolve_base
from driftbound.protocols import Teacher
from driftbound.stages.context import Context
from driftbound.stages.recordings import Recordings, sensitivity_of_file
from driftbound.store import attempts
from driftbound.store.manifest import sha256_tree
from driftbound.store.streams import Streams
from driftbound.teacher_config import SCRIPTED, ModelConfig, TeacherConfig
from driftbound.teachers.local import LocalTeacher
from driftbound.teachers.metering import Account
from driftbound.teachers.openai_compatible import OpenAICompatibleTeacher
from driftbound.teachers.preparing import settings_of
from driftbound.teachers.requests import params_of

LOCAL_SETTINGS = frozenset({"max_tokens", "temperature", "top_p", "logprobs", "largest_side", "checkpoint"})
"""What a model in this process takes; its seeds are made of the requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a teacher is asked, and what is known of that place."""

    destination: Destination
    vendor: Vendor
    key_env: str

    @property
    def scripted(self) -> bool:
        """The domain's own teachers, whose address is not known before they are started."""
        return self.destination.url == SCRIPTED


def settings(context: Context, teacher: TeacherConfig) -> dict[str, Any]:
    """The settings that decide what a teacher answers; of one in this process its weights, too."""
    params = params_of(teacher, context.recipe.collect)
    weights = _weights(teacher.model) if teacher.kind == "local" else ""
    return params | ({"checkpoint": weights} if weights else {})


@cache
def _weights(model: str) -> str:
    """Content of a checkpoint folder; a name of the hub says by itself what it is."""
    folder = Path(resolve_base(model))
    return sha256_tree(folder) if folder.is_dir() else ""


def address_of(teacher: TeacherConfig) -> Address:
    """Raises ``ConfigError`` for an unknown vendor, or a vendor's endpoint that is said to be one's own."""
    vendor = vendor_of(teacher.vendor, teacher.model) if teacher.vendor else Vendor()
    url = teacher.base_url if teacher.base_url != SCRIPTED else vendor.base_url or SCRIPTED
    host = urlsplit(url).hostname or ""
    if teacher.local and is_vendors(host):
        raise ConfigError(f"{teacher.name}: {host} is no server of your own. Remove local: true.")
    own = url == SCRIPTED or teacher.local or is_loopback(url)
    destination = Destination(purpose=f"teacher {teacher.name}", url=url, own=own)
    return Address(destination=destination, vendor=vendor, key_env=teacher.api_key_env or vendor.key_env)


def gate_of(context: Context) -> Gate:
    """The run's gate: the recipe's acknowledgement, and the audit log in the run folder."""
    return Gate(acknowledgement_of(context.recipe), AuditLog(context.folder.audit))


def acknowledgement_of(recipe: Recipe) -> Acknowledgement:
    """What the recipe acknowledges about credentialed data."""
    given = recipe.data_use.acknowledgement
    return Acknowledgement(
        zero_retention=given.zero_retention,
        no_training=given.no_training,
        no_human_review=given.no_human_review,
        by=given.by,
        on=given.on.isoformat() if given.on else "",
        endpoints=given.endpoints,
    )


def check(
    context: Context, teachers: Iterable[TeacherConfig], sensitivities: Iterable[str], *, keys: bool = True
) -> None:
    """Raise what would keep any of these teachers from being asked, before anything is sent.

    ``ConfigError`` for settings that an endpoint does not take, ``TeacherError`` for a missing key,
    ``DataUseError`` for cases that may not go there.
    """
    gate, kinds = gate_of(context), sorted(set(sensitivities))
    for teacher in teachers:
        if teacher.kind == "recorded":
            sensitivity_of_file(context.domain, Path(teacher.path), teacher.format, teacher.name)
        if teacher.kind == "local":
            _refuse_local(teacher, settings(context, teacher))
        if teacher.kind != "http":
            continue
        address = address_of(teacher)
        params = settings(context, teacher)
        address.vendor.refuse(teacher.name, settings_of(0, params, address.vendor))
        if teacher.limits.money is not None and "max_tokens" not in params:
            raise ConfigError(f"{teacher.name}: a budget of money needs sampling.max_tokens. Set it.")
        if not address.scripted:
            for sensitivity in kinds:
                gate.check(address.destination, sensitivity)
        if keys:
            key_of(teacher, address)


def _refuse_local(teacher: TeacherConfig, params: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for settings that a model in this process does not take."""
    if "max_tokens" not in params:
        raise ConfigError(f"{teacher.name}: a local teacher needs sampling.max_tokens. Set it.")
    for key in params:
        if key not in LOCAL_SETTINGS:
            raise ConfigError(f"{teacher.name}: a local teacher does not take {key}. Remove it.")


def key_of(teacher: TeacherConfig, address: Address) -> str:
    """The key from the environment, empty where none is needed. Raises ``TeacherError`` where it lacks."""
    if not address.key_env:
        return ""
    key = os.environ.get(address.key_env, "").strip()
    if not key:
        raise TeacherError(
            f"{teacher.name}: environment variable {address.key_env} holds no key. Set it and run again."
        )
    return key


def asked_at(config: ModelConfig, who: str, purpose: str) -> tuple[Address, str]:
    """Where a model beside the teachers is asked, for a purpose, and its key, empty where none is needed.

    Raises ``ConfigError`` for an impossible address, ``TeacherError`` where the key lacks.
    """
    as_teacher = TeacherConfig(
        name=who,
        model=config.model,
        vendor=config.vendor,
        base_url=config.base_url or SCRIPTED,
        api_key_env=config.api_key_env,
        local=config.local,
    )
    address = address_of(as_teacher)
    if address.scripted:
        raise ConfigError(f"{who}: needs the base_url of an endpoint, or a vendor. Give one.")
    return replace(address, destination=replace(address.destination, purpose=purpose)), key_of(
        as_teacher, address
    )


class Roster:
    """The teachers that are asked in this session."""

    def __init__(self, context: Context, streams: Streams, *, scripted: str) -> None:
        """``scripted`` is the address of the domain's own teachers, empty where none runs."""
        self._context = context
        self._streams = streams
        self._scripted = scripted
        self._limiters: dict[tuple[str, str], Limiter] = {}
        self._recordings = Recordings(context)
        self.gate = gate_of(context)
        self.accounts: dict[str, Account] = {}

    def teacher(self, teacher: TeacherConfig) -> Teacher:
        """One of the recipe's teachers."""
        return _KINDS[teacher.kind](self, teacher)

    def _recorded(self, teacher: TeacherConfig) -> Teacher:
        return self._recordings.teacher(teacher)

    def _local(self, teacher: TeacherConfig) -> Teacher:
        from driftbound.learning.policy import LocalPolicy

        return LocalTeacher(
            LocalPolicy.load(resolve_base(teacher.model), threads=self._context.recipe.threads),
            name=teacher.name,
            model=teacher.model,
            params=settings(self._context, teacher),
            images=teacher.images,
            batch=teacher.limits.concurrency or self._context.recipe.collect.concurrency,
            is_refusal=self._context.domain.is_refusal,
        )

    def close(self) -> None:
        """Force the audit log to disk."""
        if self.gate.log is not None:
            self.gate.log.close()

    def _over_http(self, teacher: TeacherConfig) -> Teacher:
        address = address_of(teacher)
        destination = address.destination
        if address.scripted:
            destination = Destination(purpose=destination.purpose, url=self._scripted, own=True)
        params = settings(self._context, teacher)
        account = Account(
            self._streams, teacher.name, teacher.limits, teacher.price, params.get("max_tokens")
        )
        self.accounts[teacher.name] = account
        endpoint = Endpoint(
            destination,
            teacher.model,
            gate=self.gate,
            limiter=self._limiter(teacher, destination.url),
            vendor=address.vendor,
            key=key_of(teacher, address),
            timeout_s=self._context.recipe.collect.timeout_s,
            retries=self._context.recipe.collect.retries,
        )
        return OpenAICompatibleTeacher(
            teacher.name,
            endpoint,
            params=params,
            images=teacher.images,
            account=account,
            is_refusal=self._context.domain.is_refusal,
        )

    def _limiter(self, teacher: TeacherConfig, url: str) -> Limiter:
        """The limiter of an endpoint; teachers of the same model there share it, under the stricter limit."""
        limits = teacher.limits
        limiter = Limiter(
            concurrency=limits.concurrency or self._context.recipe.collect.concurrency,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
        )
        known = self._limiters.setdefault((url, teacher.model), limiter)
        if known is not limiter:
            known.tighten(limiter)
        now = time.time()
        sent = attempts.since(self._streams, teacher.name, now - WINDOW_S)
        known.prime(now - at for at in sent)
        return known


_KINDS: Mapping[str, Callable[[Roster, TeacherConfig], Teacher]] = {
    "http": Roster._over_http,
    "recorded": Roster._recorded,
    "local": Roster._local,
}
