"""The generic field as the stages see it: cases from a table, questions as they are, claims by a form."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from driftbound.config import DomainConfig
from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic import forms, refusals
from driftbound.domains.generic.cases_table import copy_images, read_table
from driftbound.domains.generic.reading import (
    KINDS,
    Choice,
    Extractor,
    choose,
    claims_of,
    findings_of,
)
from driftbound.errors import ConfigError
from driftbound.progress import say
from driftbound.protocols import Domain
from driftbound.records import Case, Claim
from driftbound.store.manifest import sha256_file
from driftbound.store.references import write_references
from driftbound.store.tables import write_cases, write_truth


class GenericDomain:
    """Any field whose answers are choices, yes or no, JSON or labelled sentences; implements
    ``protocols.Domain``."""

    name = "generic"

    def __init__(self, config: DomainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.kind = config.claims.kind
        """How texts are read; ``auto`` is none that reads."""
        self.choice: Choice | None = None
        """Why it is this kind, where the answers decided."""
        self.findings = findings_of(self.kind, config.claims)
        """Those that are known beforehand; claims on JSON answers bring others."""
        self.headline = config.claims.headline or self.findings
        self.sided = frozenset(config.claims.sided)
        self._read: Extractor | None = None if self.kind == "auto" else claims_of(self.kind, config.claims)

    def inputs(self) -> dict[str, str]:
        """Content of the table of cases. Raises ``ConfigError`` without one."""
        return {"table of cases": sha256_file(self._table())}

    def write_cases(self, folder: Path, truth: Path) -> None:
        """Read the table of cases, copy its images by content, then write truth, references and cases.

        Raises ``ConfigError`` where the recipe names no table or no form of the claims, ``CaseError`` or
        ``StoreError`` for a table or an image that cannot be read.
        """
        table = self._table()
        self._extractor()  # told now, not when the teachers have been paid
        claims = self.config.claims

        def check(finding: str, cell: Any, where: str) -> str:
            return forms.truth_of(self.kind, claims, finding, cell, where)

        rows = read_table(table, answer=forms.answer_of(self.kind, claims), check=check)
        cases = copy_images(rows, folder)
        write_truth(truth, {row.case.case_id: row.truth for row in rows})
        write_references(truth, {row.case.case_id: row.reference for row in rows})
        write_cases(folder / "cases.parquet", cases)

    def question(self, case: Case) -> str:
        """The prompt of the case, as it is."""
        return case.prompt

    def merge_question(self, case: Case, answers: Sequence[str]) -> str:
        """Ask for one answer to the case's question out of several anonymous ones."""
        return forms.merge_question(case, answers)

    def guided_question(self, case: Case, answers: Sequence[str], believed: Sequence[str]) -> str:
        """The same, with what is believed of the findings."""
        return forms.guided_question(case, answers, believed)

    def refine_question(self, case: Case, answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
        """The same, with a draft and what it lacks."""
        return forms.refine_question(case, answers, draft, lacking)

    def claims(self, text: str) -> list[Claim]:
        """What a text asserts, in order of the text. Raises ``ConfigError`` where no form is declared."""
        return self._extractor()(text)

    def render(self, stances: Mapping[str, str]) -> str:
        """A text that reads as ``stances``; values of a choice or of JSON go beside present and absent."""
        return forms.render(self.kind, self.config.claims, stances)

    def is_refusal(self, text: str) -> bool:
        """Whether a text declines to answer."""
        return refusals.is_refusal(text)

    def mentions_sources(self, text: str) -> bool:
        """Whether a text speaks of the panelists of the merge question."""
        return refusals.mentions_sources(text)

    def scripted_server(self, cases: Path) -> list[str] | None:
        """Nobody has scripted teachers for a field of the user's own."""
        return None

    def _table(self) -> Path:
        if not self.config.cases:
            raise ConfigError(
                "domain.cases: the field 'generic' needs a table of cases (docs/measure.md). Name its file."
            )
        return Path(self.config.cases)

    def _extractor(self) -> Extractor:
        if self._read is None:
            raise ConfigError(
                "domain.claims.kind: auto looks at answers, and a recipe has none yet. "
                f"Say {', '.join(KINDS[:-1])} or {KINDS[-1]}."
            )
        return self._read


def generic_domain(claims: ClaimsConfig, texts: Iterable[str]) -> Domain:
    """The generic field for answers that are there already, without cases of its own.

    With ``kind: auto`` a sample of ``texts`` decides, and it is said which form was chosen and what share
    of them it reads (``GenericDomain.choice``). Raises ``ConfigError`` where none fits.

    >>> domain = generic_domain(ClaimsConfig(kind="choice"), [])
    >>> [claim.value for claim in domain.claims("Answer: B")]
    ['B']
    """
    chosen = choose(claims, texts) if claims.kind == "auto" else None
    if chosen is not None:
        claims = claims.model_copy(update={"kind": chosen.kind})
        say(chosen.line)
    domain = GenericDomain(DomainConfig(name=GenericDomain.name, claims=claims), seed=0)
    domain.choice = chosen
    return domain
