"""Records: what the stages hand to each other. They only remember; reading and scoring live elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What became of one question to one teacher."""

    OK = "ok"  # used to bootstrap, in the consensus context and as a negative
    TRUNCATED = "truncated"  # the same, never with an end token
    REFUSED = "refused"  # counted, not used
    EMPTY = "empty"  # counted, not used
    FAILED = "failed"  # counted, not used, asked again by the next collect

    @property
    def usable(self) -> bool:
        """Whether the text is an opinion that may train, inform or oppose."""
        return self in (Status.OK, Status.TRUNCATED)

    @property
    def final(self) -> bool:
        """Whether asking again would be pointless."""
        return self is not Status.FAILED


class Polarity(StrEnum):
    """What a claim says of its finding."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class Vote(StrEnum):
    """A teacher's stand on one claim slot (case, finding, attribute)."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    OMITTED = "omitted"
    REFUSED = "refused"


class ClaimStatus(StrEnum):
    """What the teachers together say of one claim slot."""

    AGREED = "agreed"
    CONFLICTING = "conflicting"
    UNDECIDED = "undecided"


class Standing(StrEnum):
    """How a stretch of a teacher's text stands to the consensus; each kind has a token weight."""

    CONFLICTING = "conflicting"  # a claim that the consensus contradicts
    AGREED = "agreed"  # a claim that the consensus makes too
    UNDECIDED = "undecided"  # a claim that the consensus leaves open, or a hedge
    SILENT = "silent"  # text that claims nothing
    END = "end"  # the end token


UNKNOWN = "unknown"
"""What the truth says of a finding of which nobody knows in this case: it is not scored."""

SPLITS = ("train", "validation", "test", "test_scanner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Image(s) and prompt: what is asked."""

    case_id: str
    cluster: str
    """Patient or document: the unit of resampling."""
    split: str
    prompt: str
    images: tuple[str, ...]
    """Paths relative to the folder of ``cases.parquet``."""
    sensitivity: str = "public"
    """``public`` or ``credentialed``."""
    prompt_discloses: tuple[str, ...] = ()
    """What the prompt gives away to everybody; never scored."""
    context: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Finding -> what a teacher's prompt may disclose of it (``present``, ``absent``, a side, ``unknown``);
    only who is told (``prompt: told``) hears of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to one teacher, ready to be put."""

    case: Case
    question: str
    images: tuple[bytes, ...]
    """The files' bytes, as they lie in the run."""
    request_hash: str
    """Identity of what is asked: model, settings, question and images by content."""
    sample: int = 0
    wave: int = 0
    prompt_discloses: str = ""
    """As the trajectory's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One teacher's answer to one case, exactly as received."""

    case_id: str
    teacher: str
    status: Status
    text: str = ""
    sample: int = 0
    """Sample 0 trains; further samples serve the noise floor."""
    wave: int = 0
    """Which round of asking."""
    finish_reason: str = ""
    model: str = ""
    """Model asked for."""
    version: str = ""
    """Model that the endpoint says has answered."""
    fingerprint: str = ""
    """What else the endpoint says of its make (``system_fingerprint``)."""
    params: str = "{}"
    """Sampling settings, as JSON."""
    logprobs: str = ""
    """Log-probabilities per token as JSON, in the OpenAI schema's ``content`` list; empty where none were
    asked for or given."""
    request_hash: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """US dollars, by the recipe's prices at the time; without a price 0."""
    latency_s: float = 0.0
    created_at: str = ""
    """UTC, ISO 8601."""
    error: str = ""
    """Why there is no answer; empty unless failed."""
    note: str = ""
    """What was done to the request on its way, such as an image made smaller."""
    prompt_discloses: str = ""
    """What the prompt of this stream gave away, as a JSON list (``stances.slots_told``): findings, and
    ``FINDING:side``; empty where nothing. Never scored for this stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model in this process made of one question."""

    text: str
    """Without end token."""
    ended: bool
    """Whether it came to its end by itself; ``False`` where the limit of tokens cut it off."""
    prompt_tokens: int
    """Those of the images among them."""
    completion_tokens: int
    """The end token among them."""
    logprobs: tuple[Mapping[str, Any], ...] = ()
    """For each token of the text, as in the OpenAI schema's ``content`` list: ``token``, ``logprob`` (nats),
    ``bytes``, ``top_logprobs``; none where none were asked for."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as a model's own tokenizer cuts it."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    """``(start, end)`` in code points of the text, for each token; white space may belong to none, and a
    character of several tokens belongs to all of them. An end token stands empty behind the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one step of a text asserts."""

    finding: str
    attribute: str
    """``presence`` or ``side``."""
    value: str
    """For presence ``present``, ``absent`` or ``uncertain``; for side ``left``, ``right`` or ``both``."""
    polarity: Polarity
    start: int
    """Span in code points of the text."""
    end: int
    step: int
    """Number of the sentence (or bullet) in the text, from 0."""
    echo: bool = False
    """Whether it only repeats the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What ``measure`` believes of one claim slot (finding, attribute) of a case."""

    values: Mapping[str, float]
    """Probability of each value; empty where nothing was learnt of the slot."""
    decided: str
    """The value that the votes together decide; empty: left open."""
    votes: Mapping[str, str]
    """Teacher -> value, ``uncertain``, ``omitted`` or ``refused``."""
    wrong: Mapping[str, float]
    """Teacher that names a value -> chance that it is wrong, by the votes of the other lineages alone;
    ``nan`` where no other lineage voted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """One teacher's trajectory as the consensus's rival in a group."""

    teacher: str
    text: str
    status: Status
    valid: bool
    weight: float = 1.0
    spans: tuple[tuple[int, int, float], ...] = ()
    """``(start, end, weight)`` in code points; empty: every token counts fully."""
    end_weight: float = 1.0
    """Of the end token, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One training example of align: a case, its consensus and its N trajectories."""

    case_id: str
    split: str
    consensus: str
    negatives: tuple[Negative, ...]
    """One per teacher, in the recipe's order: a column is a teacher."""
    spans: tuple[tuple[int, int, float], ...] = ()
    """Of the consensus, as a negative's: how much its claims count; empty: every token counts fully."""
    support: float = float("nan")
    """What the gate says of the consensus, 0 to 1; ``nan`` where nothing was measured to judge it by."""

    @property
    def usable(self) -> bool:
        """Whether there is anything to prefer the consensus over."""
        return any(negative.valid for negative in self.negatives)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval; ``nan`` where there is nothing to say."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number that was measured: how, on how many, and how sure; ``nan`` with a reason where undefined."""

    estimator: str
    """What was computed, in a few words, the kind of its interval among them."""
    n: int
    """Cases (or claims, where the estimator says so) that it rests on."""
    value: float
    low: float = float("nan")
    high: float = float("nan")
    """95 % interval; ``nan`` where the estimator has none, with the reason."""
    p: float = float("nan")
    """Of the test that belongs to it, where there is one."""
    reason: str = ""
    """Why value or interval is undefined; empty otherwise."""
