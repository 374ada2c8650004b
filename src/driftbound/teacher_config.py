"""Tables of a recipe that say who is asked, how, how much, and where data may go. No torch here."""

from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

SCRIPTED = "scripted"
"""Value of ``base_url`` for the domain's own scripted teachers, served on loopback."""


class Table(BaseModel):
    """A table of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


_NOT_EXTRA = frozenset(
    [
        "model",
        "messages",
        "stream",
        "n",
        "temperature",
        "top_p",
        "max_tokens",
        "seed",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "largest_side",
    ]
)
"""What makes a request, and what has a key of its own."""


class SamplingConfig(Table):
    """What a teacher's sampling differs in from ``collect``'s; ``null`` leaves a setting to the endpoint."""

    temperature: Annotated[float, Field(ge=0)] | Literal["as collect"] | None = "as collect"
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: Annotated[int, Field(ge=1)] | Literal["as collect"] | None = "as collect"
    seed: int | None = Field(None, ge=0)
    """Sample k is asked with ``seed + k``."""
    logprobs: int | None = Field(None, ge=0, le=20)
    """Ask for the log-probability of each token and of so many alternatives."""
    reasoning_effort: str | None = None
    extra: dict[str, Any] = {}
    """Further fields of the request, as they are."""

    @model_validator(mode="after")
    def _leaves_the_request(self) -> "SamplingConfig":
        taken = sorted(_NOT_EXTRA & self.extra.keys())
        if taken:
            raise ValueError(f"extra cannot hold {', '.join(taken)}: it is for what has no key of its own")
        return self


class LimitsConfig(Table):
    """What one teacher may take; without a value there is no limit."""

    requests_per_minute: int | None = Field(None, ge=1)
    """No 60 seconds have more, over all runs."""
    tokens_per_minute: int | None = Field(None, ge=1)
    """Prompt and answer together; asked ahead by estimate, then corrected by what was used."""
    concurrency: int | None = Field(None, ge=1)
    """Requests in flight; else ``collect.concurrency``."""
    requests: int | None = Field(None, ge=0)
    """Budget: all requests ever sent in this run folder, failed ones too."""
    money: float | None = Field(None, ge=0)
    """Budget in US dollars, by ``price``; what may have been charged counts."""


class PriceConfig(Table):
    """US dollars per million tokens."""

    prompt: float = Field(0.0, ge=0)
    completion: float = Field(0.0, ge=0)


class ImagesConfig(Table):
    """What a teacher gets to see."""

    mode: Literal["required", "optional", "none"] = "required"
    """``required``: a case without an image is not asked (and said to have failed); ``optional``: what the
    case has; ``none``: the question alone, for a model that reads text only."""
    too_large: Literal["shrink", "refuse"] = "shrink"
    """What to do with an image beyond the endpoint's limits: make it smaller and note that, or not ask."""
    largest_side: int | None = Field(None, ge=16)
    """Pixels of the longer side; larger images are made smaller, as part of the question. Else only the
    endpoint's own limits count."""


class TeacherConfig(Table):
    """One source model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    kind: Literal["http", "recorded", "local"] = "http"
    """``http``: an OpenAI-compatible endpoint; ``recorded``: answers that a file holds already; ``local``: a
    vision-language model in this process."""
    model: str = ""
    """What the endpoint calls it; of a ``local`` teacher the checkpoint folder or hub name."""
    vendor: str = ""
    """An entry of the vendor table: address, key variable, limits of images, what it does not take."""
    base_url: str = SCRIPTED
    """OpenAI-compatible endpoint, or ``scripted`` for the domain's own; else the vendor's."""
    api_key_env: str = ""
    """Environment variable that holds the key; never the key itself. Else the vendor's."""
    local: bool = False
    """The endpoint is a server of your own, from which nothing travels on: credentialed cases may go there.
    A server on this machine always counts as one."""
    sampling: SamplingConfig = SamplingConfig()
    samples: int = Field(1, ge=1)
    """How often each case is asked. Sample 0 trains, the others serve the noise floor."""
    limits: LimitsConfig = LimitsConfig()
    price: PriceConfig = PriceConfig()
    images: ImagesConfig = ImagesConfig()
    path: str = ""
    """File of a ``recorded`` teacher; any that ``driftbound import`` reads."""
    stream: str = ""
    """What the file calls this teacher; else its name here."""
    columns: dict[str, str] = {}
    """Our word for a column -> the file's, where it is none of the usual ones."""
    prompt: Literal["usual", "told"] = "usual"
    """``told``: this teacher is asked with the labels that the cases may disclose (``Case.context``), so
    that it explains them; what it was told is never scored. Of a ``recorded`` teacher: its prompts told
    the labels of every finding."""
    format: str = ""
    """Of a ``recorded`` teacher: the published set that the file is, by the field's word for it
    (``cxr-max``). Else its rows are read as they are."""

    @model_serializer(mode="wrap")
    def _meant(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that say nothing: answers of before they were there are no other recipe's."""
        given: dict[str, Any] = whole(self)
        for key in ("prompt", "format"):
            if given[key] == type(self).model_fields[key].default:
                del given[key]
        return given

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        """An address stands in reports and messages."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("is no URL") from None
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                "holds a user, password or query; a key comes from the environment (api_key_env)"
            )
        return url

    @model_validator(mode="after")
    def _fits(self) -> "TeacherConfig":
        if self.kind == "recorded" and not self.path:
            raise ValueError(f"{self.name}: a recorded teacher needs the path of its file")
        if self.kind != "recorded" and (self.path or self.stream or self.columns or self.format):
            raise ValueError(f"{self.name}: path, stream, columns and format belong to kind: recorded")
        if self.kind != "recorded" and not self.model:
            raise ValueError(f"{self.name}: needs the name of its model")
        if self.kind != "http" and (self.vendor or self.base_url != SCRIPTED or self.local):
            raise ValueError(f"{self.name}: vendor, base_url and local belong to kind: http")
        elsewhere = self.limits.model_copy(update={"concurrency": None}) != LimitsConfig()
        if self.kind != "http" and (elsewhere or self.api_key_env or self.price != PriceConfig()):
            raise ValueError(
                f"{self.name}: api_key_env, price and all limits but concurrency belong to kind: http"
            )
        if self.kind == "recorded" and self.sampling != SamplingConfig():
            raise ValueError(f"{self.name}: sampling belongs to the kinds http and local")
        if self.limits.money is not None and not (self.price.prompt or self.price.completion):
            raise ValueError(f"{self.name}: a budget of money needs the price of its tokens")
        return self


class ModelConfig(Table):
    """A model behind an OpenAI-compatible endpoint that does some work for the run, beside the teachers."""

    model: str = Field(min_length=1)
    vendor: str = ""
    """An entry of the vendor table: address and key variable."""
    base_url: str = ""
    """OpenAI-compatible endpoint; else the vendor's."""
    api_key_env: str = ""
    """Environment variable that holds the key; else the vendor's."""
    local: bool = False
    """The endpoint is a server of your own, from which nothing travels on."""
    concurrency: int = Field(8, ge=1)
    """Requests in flight."""
    requests_per_minute: int | None = Field(None, ge=1)


class ReaderConfig(ModelConfig):
    """A model that reads claims out of free text (docs/measure.md)."""


class WriterConfig(ModelConfig):
    """A model that writes the consensus: a judge, or the student behind a server (docs/consensus.md)."""

    timeout_s: float = Field(120.0, gt=0)
    retries: int = Field(3, ge=0)


CONNECTION = tuple(name for name in WriterConfig.model_fields if name != "model")
"""Keys of a writer that say how it is reached, not who it is."""


class RepeatsConfig(Table):
    """Cases that every teacher answers more than once, so that its own noise can be told from conflict."""

    share: float = Field(0.0, ge=0, le=1)
    """Of the cases; which ones, the seed decides."""
    samples: int = Field(2, ge=2)
    """Answers to each of them, the first one counted."""


class AnchorsConfig(Table):
    """Cases that a further wave asks again, to see whether a model has changed behind its name."""

    share: float = Field(0.1, gt=0, le=1)
    """Of the cases; which ones, the seed decides."""


class CollectConfig(Table):
    """How the teachers are asked."""

    concurrency: int = Field(8, ge=1)
    """Requests in flight, per teacher."""
    timeout_s: float = Field(60.0, gt=0)
    retries: int = Field(3, ge=0)
    """Further tries of one request before it is stored as failed."""
    temperature: float | None = Field(1.0, ge=0)
    max_tokens: int | None = Field(400, ge=1)
    max_failed: float = Field(0.2, ge=0, le=1)
    """Share of failed answers of one teacher at which the stage stops."""
    repeats: RepeatsConfig = RepeatsConfig()
    anchors: AnchorsConfig = AnchorsConfig()


class AcknowledgementConfig(Table):
    """Under what terms credentialed data may leave this machine, and who says so.

    All three terms must hold for every endpoint that is named; PhysioNet's policy on language
    models of 24 September 2025 asks for them.
    """

    zero_retention: bool = False
    no_training: bool = False
    no_human_review: bool = False
    by: str = ""
    on: date | None = None
    endpoints: tuple[str, ...] = ()
    """Hosts it holds for, such as ``api.example.com``."""


class DataUseConfig(Table):
    """What may be done with credentialed cases."""

    acknowledgement: AcknowledgementConfig = AcknowledgementConfig()
