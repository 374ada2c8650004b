"""Reading: the extractor that a recipe declares, or the one that fits a sample of the answers."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic.choice import ANSWER, choice
from driftbound.domains.generic.json_answers import json_answers
from driftbound.domains.generic.labelled import labelled
from driftbound.domains.generic.yes_no import yes_no
from driftbound.errors import ConfigError
from driftbound.protocols import Domain
from driftbound.records import Claim

Extractor = Callable[[str], list[Claim]]
"""What a text claims, in order of the text; spans in code points; a pure function."""

KINDS = ("json", "choice", "yes_no", "labelled")
"""In the order in which ``auto`` prefers them: the stricter form first."""
SAMPLE = 400
"""So many texts decide for ``auto``."""
READABLE = 0.2
"""Share of the texts that an extractor must read to be chosen."""
_NEAR = 0.02
"""Shares that differ by less are alike: then the stricter form is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The extractor that was chosen, and why."""

    kind: str
    shares: dict[str, float]
    """Kind -> share of the looked-at texts in which it reads a claim."""
    n: int
    """Texts that were looked at, those without a letter left out."""

    @property
    def line(self) -> str:
        """What was chosen, and what share of the answers it reads."""
        others = ", ".join(f"{kind} {share:.0%}" for kind, share in self.shares.items() if kind != self.kind)
        told = f" ({others})" if others else ""
        return f"claims are read as {self.kind}: {self.shares[self.kind]:.0%} of {self.n} answers{told}"


def claims_of(kind: str, claims: ClaimsConfig) -> Extractor:
    """The extractor of a kind (one of ``KINDS``) under a specification.

    Raises ``ConfigError`` for a kind that needs findings where none are declared, and for no kind at all.

    >>> [claim.value for claim in claims_of("choice", ClaimsConfig())("The answer is (B).")]
    ['B']
    """
    if kind == "choice":
        return choice(claims.options)
    if kind == "yes_no":
        return yes_no()
    if kind == "json":
        return json_answers(claims.findings, sided=claims.sided, take=claims.json_object)
    if kind == "labelled" and claims.findings:
        return labelled(claims.findings, sided=claims.sided)
    raise ConfigError(
        f"claims.kind: {kind} cannot be read "
        + ("without findings: {name: [synonyms]}." if kind == "labelled" else f"here; say {_either(KINDS)}.")
    )


def choose(claims: ClaimsConfig, texts: Iterable[str]) -> Choice:
    """The extractor that reads most of a random sample of ``texts``; the same texts give the same one.

    Raises ``ConfigError`` where none reads ``READABLE`` of them: one line that says what to declare.
    """
    sample = _sample(texts)
    kinds = [kind for kind in KINDS if kind != "labelled" or claims.findings]
    shares = {kind: _share(claims_of(kind, claims), sample) for kind in kinds}
    best = max(shares.values(), default=0.0)
    if not sample or best < READABLE:
        found = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
        raise ConfigError(
            f"claims.kind auto: none reads {READABLE:.0%} of {len(sample)} answers ({found}). Declare what "
            "they speak of, claims: {kind: labelled, findings: {name: [synonyms]}}, or their options, "
            "claims: {kind: choice, options: [...]}."
        )
    kind = next(kind for kind in kinds if shares[kind] >= best - _NEAR)
    return Choice(kind=kind, shares=shares, n=len(sample))


def read_by(domain: Domain, extractor: Extractor) -> Domain:
    """A field as it is, except that ``extractor`` reads its texts.

    >>> from driftbound.domains.phantom.domain import PhantomDomain
    >>> from driftbound.config import DomainConfig
    >>> domain = read_by(PhantomDomain(DomainConfig(), 0), lambda text: [])
    >>> domain.name, domain.claims("Edema: present.")
    ('phantom', [])
    """
    return cast(Domain, _ReadBy(domain, extractor))


class _ReadBy:
    def __init__(self, domain: Domain, extractor: Extractor) -> None:
        self._domain, self.claims = domain, extractor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domain, name)


def findings_of(kind: str, claims: ClaimsConfig) -> tuple[str, ...]:
    """The findings that are known before any text is read; none for undeclared JSON."""
    return (ANSWER,) if kind in ("choice", "yes_no") else tuple(claims.findings)


def _sample(texts: Iterable[str]) -> list[str]:
    """Up to ``SAMPLE`` of the texts that say something, each with the same chance; one pass over them."""
    rng, kept = random.Random(0), list[str]()
    n = 0
    for text in texts:
        if not any(letter.isalnum() for letter in text[:200]):
            continue
        n += 1
        at = n - 1 if n <= SAMPLE else rng.randrange(n)
        if at < SAMPLE:
            kept[at : at + 1] = [text]
    return kept


def _share(extractor: Extractor, texts: Sequence[str]) -> float:
    return sum(any(not claim.echo for claim in extractor(text)) for text in texts) / max(1, len(texts))


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
