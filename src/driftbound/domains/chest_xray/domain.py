"""The chest X-ray field as the stages see it: a data set's cases, questions, claims, the student's format."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from driftbound.config import DomainConfig
from driftbound.domain_config import COUNTS
from driftbound.domains.chest_xray import cases, language, sources
from driftbound.domains.chest_xray.claims import claims
from driftbound.domains.chest_xray.findings import FINDINGS, HEADLINE, SIDED
from driftbound.domains.chest_xray.splits import by_patient, drawn
from driftbound.domains.generic import refusals
from driftbound.errors import CaseError, ConfigError
from driftbound.records import Case, Claim
from driftbound.store.tables import write_cases, write_truth

SHARES = {"train": 0.8, "validation": 0.05, "test": 0.15}
"""Of the patients of a data set that has no split of its own."""


class ChestXrayDomain:
    """Chest radiographs of a data set that the user holds; implements ``protocols.Domain``."""

    name = "chest-xray"
    findings = FINDINGS
    headline = HEADLINE
    sided = SIDED

    def __init__(self, config: DomainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def inputs(self) -> dict[str, str]:
        """Content of the data set's tables. Raises ``ConfigError`` where the recipe names none."""
        self._named()
        return {"tables": sources.tables_hash(self.config.data)}

    def write_cases(self, folder: Path, truth: Path) -> None:
        """Read the data set, draw at most as many studies per split as the recipe says, whole patients, and
        write films, truth and cases.

        A study without a frontal film, or with one that cannot be read, is left out and told. Raises
        ``ConfigError`` where the recipe names no data set, ``CaseError`` where it cannot be read.
        """
        self._named()
        studies = sources.read(self.config.data)
        if not any(study.split for study in studies):
            studies = by_patient(studies, seed=self.seed, shares=SHARES)
        most = {split: getattr(self.config, split) for split in COUNTS}
        chosen = drawn(studies, seed=self.seed, most=most)
        if not chosen:
            raise CaseError(
                f"{self.config.data.root}: none of {len(studies)} studies fits into the recipe's splits. "
                "Raise domain.train or domain.test."
            )
        made = cases.make(chosen, folder, self.config.data)
        write_truth(truth, {one.case.case_id: one.truth for one in made})
        write_cases(folder / "cases.parquet", [one.case for one in made])

    def question(self, case: Case) -> str:
        """The prompt of the case; the usual one, which discloses nothing, where it has none."""
        return case.prompt or language.question(self.findings)

    def merge_question(self, case: Case, answers: Sequence[str]) -> str:
        """Ask for one reading out of several anonymous ones."""
        return language.merge_question(answers)

    def guided_question(self, case: Case, answers: Sequence[str], believed: Sequence[str]) -> str:
        """The same, with what is believed of the findings."""
        return language.guided_question(answers, believed)

    def refine_question(self, case: Case, answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
        """The same, with a draft and what it lacks."""
        return language.refine_question(answers, draft, lacking)

    def claims(self, text: str) -> list[Claim]:
        """What a report or a rationale asserts, in order of the text."""
        return claims(text)

    def render(self, stances: Mapping[str, str]) -> str:
        """A text in the student's format."""
        return language.render(stances)

    def is_refusal(self, text: str) -> bool:
        """Whether a text declines to answer."""
        return refusals.is_refusal(text)

    def mentions_sources(self, text: str) -> bool:
        """Whether a text speaks of the readers of the merge question."""
        return language.mentions_sources(text)

    def scripted_server(self, cases: Path) -> list[str] | None:
        """Nobody has scripted teachers for real radiographs."""
        return None

    def _named(self) -> None:
        if not self.config.data.set:
            raise ConfigError(
                "domain.data: the field 'chest-xray' needs a data set that you hold (docs/chest-xray.md). "
                "Name its set and root."
            )
