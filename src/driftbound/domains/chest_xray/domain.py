"""The chest X-ray field as the stages see it: a data set's cases, questions, claims, the student's format."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from driftbound.config import DomainConfig
from driftbound.data_config import PRESENCE, PROGRESSION
from driftbound.domain_config import COUNTS
from driftbound.domains.chest_xray import (
    benchmark,
    cases,
    cxr_max_answers,
    language,
    others,
    progression,
    sources,
    telling,
    zero_shot,
)
from driftbound.domains.chest_xray.claims import claims
from driftbound.domains.chest_xray.findings import FINDINGS, HEADLINE, SIDED
from driftbound.domains.chest_xray.ms_cxr_t import exclude_subjects, read_pairs, subjects
from driftbound.domains.chest_xray.published import published
from driftbound.domains.chest_xray.questions import yes_no_question
from driftbound.domains.chest_xray.references import references_of
from driftbound.domains.chest_xray.splits import by_patient, drawn
from driftbound.domains.chest_xray.study import Study
from driftbound.domains.generic import refusals
from driftbound.errors import CaseError, ConfigError
from driftbound.progress import say
from driftbound.records import Case, Claim, Trajectory
from driftbound.store.references import write_references
from driftbound.store.tables import write_cases, write_truth

SHARES = {"train": 0.8, "validation": 0.05, "test": 0.15}
"""Of the patients of a data set that has no split of its own."""


class ChestXrayDomain:
    """Chest radiographs of data sets that the user holds; implements ``protocols.Domain`` and the optional
    ``Benchmarked``, ``YesNo``, ``Published``, ``Publishing`` and ``Telling``."""

    name = "chest-xray"
    findings = FINDINGS
    headline = HEADLINE
    sided = SIDED
    course_splits = (PROGRESSION,)
    course_findings = HEADLINE
    always_no = (PRESENCE,)
    formats: Mapping[str, str] = {cxr_max_answers.NAME: cxr_max_answers.SENSITIVITY}

    def __init__(self, config: DomainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def inputs(self) -> dict[str, str]:
        """Content of the data sets' tables. Raises ``ConfigError`` where the recipe names none."""
        self._named()
        data = self.config.data
        found = {"tables": sources.tables_hash(Path(data.root), data.reports)}
        for name, other in data.others.items():
            found[f"tables of {name}"] = sources.tables_hash(Path(other.root), other.reports)
        for key, folder in (("exclude", data.exclude), ("ms_cxr_t", data.ms_cxr_t)):
            if folder:
                found[key] = sources.tables_hash(Path(folder))
        return found

    def write_cases(self, folder: Path, truth: Path) -> None:
        """Read the data sets, draw at most as many studies per split as the recipe says, whole patients, and
        write films, truth, references and cases.

        A study without a frontal film, or with one that cannot be read, is left out and told. Raises
        ``ConfigError`` where the recipe names no data set, ``CaseError`` where one cannot be read.
        """
        self._named()
        data = self.config.data
        further = {name: others.chosen(name, other, self.seed) for name, other in data.others.items()}
        pairs = read_pairs(Path(data.ms_cxr_t)) if data.ms_cxr_t else []
        studies = self._learnt_from(further, subjects(pairs))
        plans = [cases.planned(study, data, told=data.context) for study in studies]
        for name, own in further.items():
            plans += [cases.planned(study, data.others[name], of=name) for study in own]
        if pairs:
            plans += benchmark.plans(pairs, data)
        made = cases.make(plans, folder, data.size)
        write_truth(truth, {case.case_id: told for case, told in made})
        there = frozenset(case.case_id for case, _ in made)
        write_references(truth, self._references(studies, further, there))
        table = folder / "cases.parquet"
        write_cases(table, [case for case, _ in made], further=data.further_splits)
        if data.context:
            labelled = sum(bool(case.context) for case, _ in made)
            say(f"labels of {labelled} cases lie in {table}, outside the truth file: context: true")

    def _learnt_from(self, further: Mapping[str, Sequence[Study]], tested: frozenset[str]) -> list[Study]:
        """The studies of the four usual splits; no patient of an evaluation is in the first two."""
        data = self.config.data
        studies = sources.read(data)
        if data.exclude:
            left_out = subjects(read_pairs(Path(data.exclude)))
            studies, gone, patients = exclude_subjects(studies, left_out)
            say(f"{data.set}: {gone} studies of {patients} patients of MS-CXR-T are left out")
        if not any(study.split for study in studies):
            studies = by_patient(studies, seed=self.seed, shares=SHARES)
        if data.ms_cxr_t:
            studies, gone, patients = exclude_subjects(studies, tested, splits=others.LEARNT_FROM)
            say(
                f"{data.set}: {gone} studies of {patients} patients of MS-CXR-T are left out of training and "
                "validation"
            )
        studies = others.kept_out(studies, data, further)
        chosen = drawn(studies, seed=self.seed, most={split: getattr(self.config, split) for split in COUNTS})
        if not chosen:
            raise CaseError(
                f"{data.root}: none of {len(studies)} studies fits into the recipe's splits. "
                "Raise domain.train or domain.test."
            )
        return chosen

    def _references(
        self, studies: Sequence[Study], further: Mapping[str, Sequence[Study]], there: frozenset[str]
    ) -> dict[str, str]:
        """Case -> the section of its report that answers are compared with; of the cases that are there."""
        data = self.config.data
        found = references_of([study for study in studies if study.study_id in there], data.section)
        for name, own in further.items():
            kept = [study for study in own if f"{name}:{study.study_id}" in there]
            told = references_of(kept, data.others[name].section)
            found |= {f"{name}:{study}": text for study, text in told.items()}
        return found

    def question(self, case: Case) -> str:
        """The prompt of the case; the usual one, which discloses nothing, where it has none."""
        return case.prompt or language.question(self.findings)

    def told_question(self, case: Case) -> str:
        """Ask to explain the labels of the case's context; the usual question where there are none."""
        return telling.told_question(case.context) if case.context else self.question(case)

    def merge_question(self, case: Case, answers: Sequence[str]) -> str:
        """Ask for one reading out of several anonymous ones."""
        return language.merge_question(answers)

    def guided_question(self, case: Case, answers: Sequence[str], believed: Sequence[str]) -> str:
        """The same, with what is believed of the findings."""
        return language.guided_question(answers, believed)

    def refine_question(self, case: Case, answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
        """The same, with a draft and what it lacks."""
        return language.refine_question(answers, draft, lacking)

    def courses(self, text: str) -> dict[str, str]:
        """What an answer about two films says has become of findings; ``protocols.Benchmarked``."""
        return progression.courses(text)

    def zero_shot(self, split: str) -> tuple[str, ...]:
        """Findings of the published zero-shot protocol of a further set, those of them that we know."""
        other = self.config.data.others.get(split)
        return zero_shot.findings_of(other.set) if other is not None else ()

    def claims(self, text: str) -> list[Claim]:
        """What a report or a rationale asserts, in order of the text."""
        return claims(text)

    def render(self, stances: Mapping[str, str]) -> str:
        """A text in the student's format."""
        return language.render(stances)

    def is_refusal(self, text: str) -> bool:
        """Whether a text declines to answer."""
        return refusals.is_refusal(text)

    def yes_no(self, finding: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """A question for one finding, and the answers that assert and deny it."""
        return yes_no_question(finding), ("Yes.",), ("No.",)

    def published(self) -> dict[str, Any] | None:
        """Published figures on the run's data set, where there are any."""
        return published(self.config.data)

    def mentions_sources(self, text: str) -> bool:
        """Whether a text speaks of the readers of the merge question."""
        return language.mentions_sources(text)

    def scripted_server(self, cases: Path) -> list[str] | None:
        """Nobody has scripted teachers for real radiographs."""
        return None

    def published_answers(
        self, name: str, path: Path, run: Path, columns: Mapping[str, str]
    ) -> Iterator[Trajectory]:
        """What CXR-MAX says of the run's cases."""
        assert name in self.formats
        return cxr_max_answers.answers_of(path, run, columns)

    def _named(self) -> None:
        if not self.config.data.set:
            raise ConfigError(
                "domain.data: the field 'chest-xray' needs a data set that you hold (docs/chest-xray.md). "
                "Name its set and root."
            )
