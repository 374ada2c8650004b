"""Protocols: the three plugs of the project. Third parties register them by entry points."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from driftbound.records import Case, Claim, Request, Trajectory


@runtime_checkable
class Domain(Protocol):
    """A field: its cases, prompts and claims. It knows nothing of models, stores or stages."""

    name: str
    findings: tuple[str, ...]
    """Every finding that is scored, in the order of the tables."""
    headline: tuple[str, ...]
    """The findings that ``mean`` averages over."""
    sided: frozenset[str]
    """Findings with a side."""

    def write_cases(self, folder: Path, truth: Path) -> None:
        """Write ``cases.parquet`` and ``images/`` into ``folder`` and the truth to ``truth``."""

    def question(self, case: Case) -> str:
        """The text put to teachers and students about a case."""

    def merge_question(self, case: Case, answers: Sequence[str]) -> str:
        """The text that asks the student for one consensus of several anonymous answers."""

    def claims(self, text: str) -> list[Claim]:
        """What a free text asserts, in order of the text."""

    def render(self, stances: Mapping[str, str]) -> str:
        """A text in the student's format; ``stances`` maps each finding to ``absent``,
        ``present`` or, where it has a side, ``left``, ``right`` or ``both``."""

    def is_refusal(self, text: str) -> bool:
        """Whether a text declines to answer."""

    def mentions_sources(self, text: str) -> bool:
        """Whether a text speaks of the answers that ``merge_question`` showed: no consensus may."""

    def scripted_server(self, cases: Path) -> list[str] | None:
        """Command that serves this domain's scripted teachers on loopback and prints its base
        URL as first line; ``None`` where the field has no scripted teachers."""


@runtime_checkable
class Teacher(Protocol):
    """A source of answers."""

    name: str
    model: str
    params: str
    """Settings that decide what it answers, as JSON; with the model part of a request's identity."""

    async def answer(self, request: Request) -> Trajectory:
        """Ask once. A bad answer is a trajectory with a status, not an exception.

        Raises ``TeacherError`` when asking this teacher on is pointless.
        """

    async def close(self) -> None:
        """Let go of connections and memory."""


@runtime_checkable
class Policy(Protocol):
    """A model in process: it generates and scores."""

    def generate(
        self, questions: Sequence[str], images: Sequence[Sequence[Path]], *, max_new_tokens: int
    ) -> list[tuple[str, bool]]:
        """Greedy answers, one per question, without end token; each with whether it came to its end by
        itself (``False`` where ``max_new_tokens`` cut it off)."""

    def score(
        self, questions: Sequence[str], images: Sequence[Sequence[Path]], answers: Sequence[str]
    ) -> list[float]:
        """Sum of the answer tokens' log-probabilities, in nats, end token included."""
