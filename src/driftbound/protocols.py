"""Protocols: the plugs of the project. Third parties register them by entry points."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from driftbound.records import Case, Claim, Completion, Request, Tokens, Trajectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    def guided_question(self, case: Case, answers: Sequence[str], believed: Sequence[str]) -> str:
        """As ``merge_question``, with what is believed of the case, a line each ("Edema: present 90 %")."""

    def refine_question(self, case: Case, answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
        """As ``merge_question``, with a draft of the consensus and what it lacks, a few words each."""

    def claims(self, text: str) -> list[Claim]:
        """What a free text asserts, in order of the text."""

    def render(self, stances: Mapping[str, str]) -> str:
        """A text in the student's format; ``stances`` maps each finding to ``absent``,
        ``present`` or, where it has a side, ``left``, ``right`` or ``both``."""

    def is_refusal(self, text: str) -> bool:
        """Whether a text declines to answer."""

    def mentions_sources(self, text: str) -> bool:
        """Whether a text speaks of the answers, or the draft, that a question for a consensus showed: no
        consensus may."""

    def scripted_server(self, cases: Path) -> list[str] | None:
        """Command that serves this domain's scripted teachers on loopback and prints its base
        URL as first line; ``None`` where the field has no scripted teachers."""


@runtime_checkable
class SignReader(Protocol):
    """What a ``Domain`` has besides where a textbook leads from visible signs to findings."""

    @property
    def sign_question(self) -> str:
        """Asks for the signs in an image, and for no finding."""

    def from_signs(self, text: str) -> dict[str, str] | None:
        """Stances (as ``Domain.render`` takes them) that an answer to ``sign_question`` means by a fixed
        rule; ``None`` where it states no sign."""


@runtime_checkable
class Benchmarked(Protocol):
    """What a ``Domain`` has besides whose held-out cases are of further data sets and benchmarks, too."""

    course_splits: tuple[str, ...]
    """Splits whose cases show two images, the earlier one first, and ask what has become of findings: they
    are in no results table, and get no consensus."""
    course_findings: tuple[str, ...]
    """The findings that are asked for there."""
    always_no: tuple[str, ...]
    """Splits in whose table a row stands that denies everything."""

    def courses(self, text: str) -> Mapping[str, str]:
        """Finding -> ``improving``, ``stable`` or ``worsening``, as far as an answer says it."""

    def zero_shot(self, split: str) -> tuple[str, ...]:
        """The findings that the published zero-shot protocol of a split's data set averages over, as far as
        they are the field's; none where there is no such protocol."""


@runtime_checkable
class YesNo(Protocol):
    """What a ``Domain`` has besides where a model can be asked for one finding, its probabilities read."""

    def yes_no(self, finding: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """A question (empty: the case's own), and the whole answers that assert, and that deny, a finding."""


@runtime_checkable
class Published(Protocol):
    """What a ``Domain`` has besides where others have published figures on the same data."""

    def published(self) -> Mapping[str, Any] | None:
        """What was published, as ``report/published.py`` reads it; ``None``: nothing on these cases."""


@runtime_checkable
class Telling(Protocol):
    """What a ``Domain`` has besides where a teacher may be asked to explain labels that it is told."""

    def told_question(self, case: Case) -> str:
        """The question that gives away what ``case.context`` says, all of it and nothing else; where that
        is empty, the usual one."""


@runtime_checkable
class Publishing(Protocol):
    """What a ``Domain`` has besides where published sets of its field hold teachers' answers."""

    @property
    def formats(self) -> Mapping[str, str]:
        """What a recipe calls such a set -> the sensitivity of what it holds."""

    def published_answers(
        self, name: str, path: Path, run: Path, columns: Mapping[str, str]
    ) -> Iterator[Trajectory]:
        """What a file of the set ``name`` says of the cases in the folder ``run``.

        Case, sample, text and the teacher's name in the file are told; nobody has judged the text.
        ``columns`` maps the set's words to the file's columns. Raises ``StoreError`` or ``CaseError``
        for a file that cannot be read or says nothing of these cases.
        """


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
        self,
        questions: Sequence[str],
        images: Sequence[Sequence[Path]],
        *,
        max_new_tokens: int,
        temperature: float | Sequence[float] = 0.0,
        seeds: Sequence[int] | None = None,
    ) -> list[tuple[str, bool]]:
        """Answers, one per question, without end token; each with whether it came to its end by itself
        (``False`` where ``max_new_tokens`` cut it off). Temperature (of all, or of each) 0 is greedy; else
        an answer is drawn by its seed."""

    def score(
        self, questions: Sequence[str], images: Sequence[Sequence[Path]], answers: Sequence[str]
    ) -> list[float]:
        """Sum of the answer tokens' log-probabilities, in nats, end token included."""


@runtime_checkable
class Featured(Protocol):
    """A model in process that shows what it makes of a question before it answers."""

    def features(
        self, questions: Sequence[str], images: Sequence[Sequence[Path]], *, batch_size: int
    ) -> "NDArray[np.float32]":
        """Hidden features (n, D) of n questions."""


@runtime_checkable
class Sampler(Protocol):
    """A model in process that can be a teacher: it answers by seed and says what made the answer."""

    @property
    def version(self) -> str:
        """Identity of the weights, the same wherever they lie."""

    @property
    def fingerprint(self) -> str:
        """What else decides an answer's last digits: packages, number format, device."""

    def complete(
        self,
        questions: Sequence[str],
        images: Sequence[Sequence[Path | bytes]],
        *,
        max_new_tokens: int,
        temperature: float | Sequence[float] = 0.0,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
        logprobs: int | None = None,
    ) -> list[Completion]:
        """One answer per question; images are files or their bytes.

        Temperature 0 is greedy. Otherwise an answer is drawn by its seed, one per question, whoever else
        is in the batch. ``logprobs`` asks for each token's log-probability and so many alternatives.
        """


@runtime_checkable
class Scorer(Protocol):
    """A model in process that says how likely it finds every next token, along any text."""

    @property
    def vocabulary(self) -> str:
        """Identity of the tokenizer: equal for two models exactly when they cut every text alike and their
        token ids mean the same. Only then can their distributions be compared token by token."""

    def tokens(self, answer: str, *, ended: bool = True) -> Tokens:
        """The T tokens of an answer, with an end token where it ``ended``."""

    def distributions(
        self, question: str, images: Sequence[Path | bytes], answer: str, *, ended: bool = True
    ) -> "NDArray[np.float32]":
        """Log-probabilities (T, V) in nats of the V possible tokens in place of each of the answer's T.

        Row t is given question, images and the answer's tokens before t; the answer may be another model's.
        """
