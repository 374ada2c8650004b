"""LLM claims: a model behind an endpoint reads the texts once, before; afterwards nobody is asked."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftbound.domains.generic.llm_cache import Cache, Entry
from driftbound.domains.generic.llm_items import VERSION, Wanted, claims_in
from driftbound.endpoints.client import Asked, Endpoint
from driftbound.endpoints.gate import Destination, Gate
from driftbound.endpoints.limiter import Limiter
from driftbound.endpoints.losses import Losses
from driftbound.endpoints.replies import CUT, Failure, Reply
from driftbound.endpoints.vendors import Vendor
from driftbound.errors import MeasureError
from driftbound.progress import Advance, bar
from driftbound.records import Claim

FAILED = "failed"
"""The one status that is not kept: the next time the text is asked about again."""
_PARAMS: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 2000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The model that reads, and how it is asked."""

    destination: Destination
    model: str
    gate: Gate
    """With an audit log, where credentialed texts are to go to anyone but a server of one's own."""
    key: str = ""
    vendor: Vendor | None = None
    params: Mapping[str, Any] = field(default_factory=lambda: dict(_PARAMS))
    """Settings by our words, as ``endpoints.client.Asked.params``."""
    concurrency: int = 8
    requests_per_minute: int | None = None
    timeout_s: float = 60.0
    retries: int = 3

    def endpoint(self) -> Endpoint:
        """For one event loop. Raises ``TeacherError`` on an impossible address or key."""
        return Endpoint(
            self.destination,
            self.model,
            gate=self.gate,
            limiter=Limiter(concurrency=self.concurrency, requests_per_minute=self.requests_per_minute),
            vendor=self.vendor,
            key=self.key,
            timeout_s=self.timeout_s,
            retries=self.retries,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What became of the texts."""

    texts: int
    """Different ones."""
    asked: int
    """Of them, now; the others were known."""
    statuses: dict[str, int]
    """Status -> texts: ``ok``; ``unreadable``, ``truncated``, ``refused``, ``empty`` and ``failed`` have no
    claim because of it."""
    claims: int
    dropped: int
    """Items that made no claim: another form, another finding, or a quote that is not in the text."""

    @property
    def line(self) -> str:
        """All of it for a person."""
        told = ", ".join(f"{n} {status}" for status, n in sorted(self.statuses.items()))
        return (
            f"{self.texts} texts read by a model ({self.asked} asked now; {told}): "
            f"{self.claims} claims, {self.dropped} items dropped"
        )


class LlmClaims:
    """An extractor for free text of any field: ``prepare`` asks, ``claims`` looks up."""

    def __init__(
        self,
        reader: Reader,
        cache: Path,
        *,
        findings: Mapping[str, Sequence[str]] | None = None,
        sided: Iterable[str] = (),
    ) -> None:
        """``findings`` (name -> synonyms) are all that is looked for; none means whatever a text speaks of.

        ``cache`` is a file of JSON lines, made where it is not there. Raises ``StoreError`` for a file of
        another kind.
        """
        self._reader = reader
        self._wanted = Wanted(findings=dict(findings or {}), sided=frozenset(sided))
        self._cache = Cache(cache)
        self._failed: set[str] = set()
        asked = [
            VERSION,
            reader.model,
            json.dumps(dict(reader.params), sort_keys=True),
            self._wanted.as_json(),
        ]
        self._identity = hashlib.sha256(json.dumps(asked).encode())

    def prepare(self, texts: Iterable[str], *, sensitivity: str) -> Prepared:
        """Have every text read that is not known yet; returns what became of all of them.

        A bad answer is a status; the text then has no claims. Raises ``DataUseError`` where texts of this
        ``sensitivity`` (``public``, ``credentialed``) may not go to the reader: then nothing was sent.
        Raises ``TeacherError`` where it does not answer at all, ``StoreError`` for the cache: what was read
        stays.
        """
        keys = {self._key(text): text for text in texts if text.strip()}
        todo = [(key, text) for key, text in keys.items() if self._cache.get(key) is None]
        self._failed.difference_update(keys)
        if todo:
            self._reader.gate.check(self._reader.destination, sensitivity)
            with self._cache.writing(), bar("reading claims", len(todo)) as advance:
                try:
                    asyncio.run(self._ask(todo, sensitivity, advance))
                except ExceptionGroup as several:
                    raise several.exceptions[0] from several
                finally:
                    if self._reader.gate.log is not None:
                        self._reader.gate.log.close()
        entries = [self._cache.get(key) or Entry(status=FAILED) for key in keys]
        return Prepared(
            texts=len(keys),
            asked=len(todo),
            statuses=dict(Counter(entry.status for entry in entries)),
            claims=sum(len(entry.claims) for entry in entries),
            dropped=sum(entry.dropped for entry in entries),
        )

    def claims(self, text: str) -> list[Claim]:
        """What the model said that a text claims, in order of the text. Asks nobody.

        Raises ``MeasureError`` for a text that was not prepared.
        """
        if not text.strip():
            return []
        key = self._key(text)
        entry = self._cache.get(key)
        if entry is None and key not in self._failed:
            raise MeasureError(
                f"{self._cache.path}: a text that begins {text[:30]!a} was not read by {self._reader.model}. "
                "Call prepare with all texts first."
            )
        return list(entry.claims) if entry is not None else []

    def _key(self, text: str) -> str:
        whole = self._identity.copy()
        whole.update(text.encode("utf-8", "surrogatepass"))
        return whole.hexdigest()

    async def _ask(self, todo: Sequence[tuple[str, str]], sensitivity: str, advance: Advance) -> None:
        endpoint = self._reader.endpoint()
        losses = Losses(self._reader.destination, "What was read stays; put it right and run again to go on.")
        left = iter(todo)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._reader.concurrency, len(todo))):
                    workers.create_task(self._work(endpoint, left, sensitivity, losses, advance))
        finally:
            await endpoint.close()

    async def _work(
        self,
        endpoint: Endpoint,
        left: Iterator[tuple[str, str]],
        sensitivity: str,
        losses: Losses,
        advance: Advance,
    ) -> None:
        for key, text in left:
            prompt = self._wanted.prompt(text)
            tokens = len(prompt) // 3 + int(self._reader.params.get("max_tokens") or 0)
            asked = Asked(
                question=prompt, params=self._reader.params, sensitivity=sensitivity, what=key, tokens=tokens
            )
            outcome = await endpoint.ask(asked)
            losses.note(outcome)
            entry = self._entry(outcome, text)
            if entry.status == FAILED:
                self._failed.add(key)
            else:
                version = outcome.version if isinstance(outcome, Reply) else ""
                self._cache.put(key, entry, model=endpoint.model, version=version)
            advance()

    def _entry(self, outcome: Reply | Failure, text: str) -> Entry:
        if isinstance(outcome, Failure):
            return Entry(status="refused" if outcome.refused else FAILED)
        if outcome.refusal:
            return Entry(status="refused")
        if not outcome.text.strip():
            return Entry(status="empty")
        if outcome.finish_reason in CUT:
            return Entry(status="truncated")
        found = claims_in(outcome.text, text, self._wanted)
        if found is None:
            return Entry(status="unreadable")
        return Entry(status="ok", claims=tuple(found[0]), dropped=found[1])
