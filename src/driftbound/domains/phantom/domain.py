"""The phantom domain as the stages see it: cases, questions, claims, the student's format."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from driftbound.config import DomainConfig
from driftbound.domains.phantom import claims as reading
from driftbound.domains.phantom import language, server
from driftbound.domains.phantom.dials import in_question
from driftbound.domains.phantom.drawing import draw
from driftbound.domains.phantom.findings import HEADLINE, SIDED
from driftbound.domains.phantom.population import Phantom, population
from driftbound.domains.phantom.reports import report
from driftbound.domains.phantom.sign_rule import from_signs
from driftbound.errors import StoreError, boundary
from driftbound.progress import bar
from driftbound.records import Case, Claim
from driftbound.store.manifest import replacing
from driftbound.store.references import write_references
from driftbound.store.tables import write_cases, write_truth


class PhantomDomain:
    """Synthetic chest radiographs; implements ``protocols.Domain``, ``SignReader`` and ``YesNo``."""

    name = "phantom"
    headline = HEADLINE

    def __init__(self, config: DomainConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.findings = in_question(config)
        self.sided = SIDED & frozenset(self.findings)

    def write_cases(self, folder: Path, truth: Path) -> None:
        """Draw every film that is not there yet, then write truth, reference reports and cases."""
        phantoms = population(self.config, self.seed)
        then = "Check disk space and permissions, then run again."
        with boundary(StoreError, f"writing {folder / 'images'}", then=then):
            (folder / "images").mkdir(parents=True, exist_ok=True)
            with bar("drawing phantoms", len(phantoms)) as advance:
                for phantom in phantoms:
                    path = folder / phantom.case.images[0]
                    if not path.exists():
                        with replacing(path) as partial:
                            film = draw(phantom.signs, phantom.seed, phantom.scanner)
                            film.save(partial, format="PNG", optimize=False)
                    advance()
        write_truth(truth, {phantom.case.case_id: phantom.findings for phantom in phantoms})
        write_references(truth, {one.case.case_id: report(self._asked(one)) for one in phantoms})
        write_cases(folder / "cases.parquet", [phantom.case for phantom in phantoms])

    def question(self, case: Case) -> str:
        """The prompt of the case, which discloses nothing; the usual one where it has none."""
        return case.prompt or language.QUESTION

    def merge_question(self, case: Case, answers: Sequence[str]) -> str:
        """Ask for one report out of several anonymous ones."""
        return language.merge_question(answers)

    def guided_question(self, case: Case, answers: Sequence[str], believed: Sequence[str]) -> str:
        """The same, with what is believed of the findings."""
        return language.guided_question(answers, believed)

    def refine_question(self, case: Case, answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
        """The same, with a draft and what it lacks."""
        return language.refine_question(answers, draft, lacking)

    def claims(self, text: str) -> list[Claim]:
        """What a free text asserts, in order of the text."""
        return reading.claims(text)

    def render(self, stances: Mapping[str, str]) -> str:
        """A text in the student's format."""
        return language.canonical(stances)

    def is_refusal(self, text: str) -> bool:
        """Whether a text declines to answer."""
        return reading.is_refusal(text)

    @property
    def sign_question(self) -> str:
        """Asks for the signs of a film, and for no finding."""
        return language.SIGN_QUESTION

    def from_signs(self, text: str) -> dict[str, str] | None:
        """What a report of signs means by the textbook; ``None`` where it states no sign."""
        said = from_signs(text)
        return None if said is None else {name: said[name] for name in self.findings}

    def yes_no(self, finding: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The usual question, and the first sentences of an answer that assert a finding, and that deny it.

        A phantom student has learnt to write reports and nothing else: asked yes or no it would be out of
        its depth, and its probabilities would be of nothing that it says.
        """
        values = language.SIDES if finding in self.sided else ("present",)
        said = tuple(language.canonical({finding: value}) for value in values)
        return "", said, (language.canonical({finding: "absent"}),)

    def mentions_sources(self, text: str) -> bool:
        """Whether a text speaks of the readers of the merge question."""
        return language.mentions_sources(text)

    def scripted_server(self, cases: Path) -> list[str] | None:
        """The command that serves the seven scripted teachers for the run folder ``cases``."""
        return server.command(cases, self.config, self.seed)

    def _asked(self, phantom: Phantom) -> dict[str, str]:
        """What is true of the findings that are in question."""
        return {name: phantom.findings[name] for name in self.findings}
