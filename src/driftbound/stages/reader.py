"""Reader: a model behind an endpoint that reads claims out of the answers, where one is named."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from driftbound.domains.generic.llm_claims import LlmClaims, Reader
from driftbound.domains.generic.reading import read_by
from driftbound.endpoints.gate import Destination, Gate
from driftbound.errors import ConfigError
from driftbound.progress import say
from driftbound.protocols import Domain
from driftbound.stages.roster import address_of, key_of
from driftbound.teacher_config import SCRIPTED, ReaderConfig, TeacherConfig

CACHE = "claims.read.jsonl"
"""What the model has read; it is kept when the measure is redone."""


def read_with(
    domain: Domain,
    config: ReaderConfig,
    texts: Iterable[str],
    *,
    gate: Gate,
    cache: Path,
    sensitivity: str,
    findings: Mapping[str, Sequence[str]] | None = None,
) -> Domain:
    """The field, its texts read by the model: each is asked about once, then looked up in ``cache``.

    ``findings`` (name -> synonyms) are what is looked for, else the field's. Raises ``ConfigError`` for an
    impossible address, ``TeacherError`` where the model does not answer, ``DataUseError`` where the
    texts may not go there: then nothing was sent.
    """
    as_teacher = TeacherConfig(
        name="reader",
        model=config.model,
        vendor=config.vendor,
        base_url=config.base_url or SCRIPTED,
        api_key_env=config.api_key_env,
        local=config.local,
    )
    address = address_of(as_teacher)
    if address.scripted:
        raise ConfigError("reader: needs the base_url of an endpoint, or a vendor. Give one.")
    where = address.destination
    reader = Reader(
        destination=Destination(purpose="reading of claims", url=where.url, own=where.own),
        model=config.model,
        gate=gate,
        key=key_of(as_teacher, address),
        vendor=address.vendor if config.vendor else None,
        concurrency=config.concurrency,
        requests_per_minute=config.requests_per_minute,
    )
    wanted = findings if findings is not None else dict.fromkeys(domain.findings, ())
    model = LlmClaims(reader, cache, findings=wanted, sided=domain.sided)
    say(f"measure: {model.prepare(texts, sensitivity=sensitivity).line}")
    return read_by(domain, model.claims)
