"""Reader: a model behind an endpoint that reads claims out of the answers, where one is named."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from driftbound.domains.generic.llm_claims import LlmClaims, Reader
from driftbound.domains.generic.reading import read_by
from driftbound.endpoints.gate import Gate
from driftbound.progress import say
from driftbound.protocols import Domain
from driftbound.stages.roster import asked_at
from driftbound.teacher_config import ReaderConfig

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
    address, key = asked_at(config, "reader", "reading of claims")
    reader = Reader(
        destination=address.destination,
        model=config.model,
        gate=gate,
        key=key,
        vendor=address.vendor if config.vendor else None,
        concurrency=config.concurrency,
        requests_per_minute=config.requests_per_minute,
    )
    wanted = findings if findings is not None else dict.fromkeys(domain.findings, ())
    model = LlmClaims(reader, cache, findings=wanted, sided=domain.sided)
    say(f"measure: {model.prepare(texts, sensitivity=sensitivity).line}")
    return read_by(domain, model.claims)
