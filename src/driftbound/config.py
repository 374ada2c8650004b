"""Recipes: YAML, validated by pydantic; an unknown key is an error with a suggestion. No torch here."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from driftbound.domain_config import DomainConfig as DomainConfig
from driftbound.errors import ConfigError
from driftbound.strict_yaml import load_table, refuse_unknown
from driftbound.teacher_config import CollectConfig, DataUseConfig, ReaderConfig, Table, TeacherConfig


class MeasureConfig(Table):
    """How agreement and drift are judged."""

    steps: int = Field(10, ge=4)
    """Equal parts into which each answer's claims are put."""
    decisive: float = Field(0.75, gt=0.5, le=1)
    """Share of the explicit votes from which a claim counts as agreed."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Chance of any false alarm of drift in the whole run."""
    draws: int = Field(999, ge=99)
    """Random sign flips per test, at least; more where many teachers share the level."""
    margin: float = Field(0.05, gt=0)
    """Changes of the rate of contradiction within plus or minus this have no meaning."""
    fdr: float = Field(0.1, gt=0, lt=1)
    """Expected share of false ones among flagged cases and among decided claims."""
    adwin: bool = False
    """Watch the collection with river's ADWIN too (extra ``stream``): calmer, slower than the martingale."""
    gold: str = ""
    """CSV of checked claims (case_id, finding, value), on training cases; empty: none."""
    reader: ReaderConfig | None = None
    """A model that reads the claims; else the field reads them itself."""
    live_cases: int = Field(0, ge=0)
    """Training cases whose answers all ``local`` teachers score, token by token; 0: none."""


class LoraConfig(Table):
    """Low-rank adapters on all linear layers of the decoder."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(32, ge=1)


class TrainingConfig(Table):
    """What both trainings share."""

    epochs: float = Field(1.0, gt=0)
    groups_per_step: int = Field(8, ge=1)
    """Cases per optimiser step, of all processes together; each brings all its trajectories."""
    groups_per_forward: int = Field(8, ge=1)
    """Cases per forward pass of one process; the rest is accumulated. Must divide ``groups_per_step``."""
    learning_rate: float = Field(1e-4, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps."""
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    """How long AdamW remembers squared gradients."""
    max_length: int = Field(1024, ge=8)
    """Tokens of prompt, image and answer together; longer answers are cut and counted."""
    row_tokens: int = Field(4096, ge=0)
    """Tokens that may share a packed row, in which a case's prompt and image stand once for all its answers;
    0 gives every answer a row of its own."""
    attention: Literal["branches", "flex"] = "branches"
    """How packed rows attend: ``branches`` block by block, on every device; ``flex`` by PyTorch's
    FlexAttention, compiled, on CUDA alone. The same numbers but for rounding."""
    two_pass: bool = False
    """Go backward one row at a time, all rewards being computed first without gradients: the same gradient
    with the memory of one row (``row_tokens``), for one forward pass more."""
    tower_cache_mb: int = Field(1024, ge=0)
    """Memory for what a vision tower that is not trained says of the images: computed once for reference,
    policy and all epochs, as far as it goes; 0 computes it each time."""
    tuner: Literal["full", "lora"] = "full"
    lora: LoraConfig = LoraConfig()
    weights: Literal["float32", "bfloat16"] = "float32"
    """In which the weights are held. bfloat16 takes half the memory, only with ``tuner: lora``: the adapters
    stay float32; the student that is left is stored in bfloat16 too."""
    gradient_checkpointing: bool = False
    """Compute layers again when going backward instead of keeping what they gave: less memory, more time."""
    train_vision: bool = True
    """Whether the vision tower learns too (with ``tuner: full``)."""
    save_steps: int = Field(25, ge=1)
    """Steps between checkpoints, from which a killed run goes on."""
    log_steps: int = Field(5, ge=1)
    report_to: tuple[Literal["tensorboard", "mlflow", "trackio", "wandb"], ...] = ()
    """Trackers that get the training's metrics as well. Of credentialed cases no metric leaves without the
    acknowledgement, which must name the tracker's host."""

    @model_validator(mode="after")
    def _divides(self) -> "TrainingConfig":
        if self.groups_per_step % self.groups_per_forward:
            raise ValueError(
                f"groups_per_forward {self.groups_per_forward} must divide "
                f"groups_per_step {self.groups_per_step}"
            )
        if self.save_steps % self.log_steps:
            raise ValueError(
                f"save_steps {self.save_steps} must be a multiple of log_steps {self.log_steps}: "
                "a resumed training would log other means"
            )
        if self.weights == "bfloat16" and self.tuner == "full":
            raise ValueError(
                "weights bfloat16 with tuner full would lose every step that is smaller than a weight's "
                "rounding; set tuner: lora or weights: float32"
            )
        return self


class BootstrapConfig(TrainingConfig):
    """Stage 1: next-token NLL on all teachers' trajectories (arXiv 2510.04142, supervised bootstrapping)."""

    base: str = "phantom-base"
    """Checkpoint folder, hub name, or ``phantom-base`` for the one that ships with the package."""


class SynthesizeConfig(Table):
    """How one consensus is made of N trajectories."""

    synthesizer: Literal["student", "vote"] = "student"
    """``student``: the bootstrapped student with all trajectories in its context (the paper);
    ``vote``: majority of the teachers, rendered in the student's format."""
    batch_size: int = Field(32, ge=1)
    max_new_tokens: int = Field(160, ge=1)


class AlignConfig(TrainingConfig):
    """Stage 2: the consensus preferred over all N trajectories at once."""

    objective: Literal["plackett_luce", "pairwise"] = "plackett_luce"
    """``plackett_luce``: first choice over consensus and N trajectories (the paper);
    ``pairwise``: mean of N DPO terms (what the authors' released script does)."""
    learning_rate: float = Field(1e-5, gt=0)
    train_vision: bool = False
    beta: float = Field(0.1, gt=0)
    """The script sets none; 0.1 is the default of the trainer that it calls."""
    anchor: float = Field(0.0, ge=0)
    """Weight of the consensus's NLL per token; 0 is the paper's loss alone."""
    length_normalised: bool = False
    """Divide each log-ratio by the answer's number of tokens."""
    keep_refusals: bool = False
    """Keep refusals as negatives, as the paper seems to."""
    floor: float = Field(-1.0, lt=0)
    """Training stops when the mean log p(consensus) per token, in nats, has fallen by this much below
    its value under the reference (likelihood displacement)."""


class EvaluateConfig(Table):
    """What is compared, on which held-out cases."""

    splits: tuple[Literal["test", "test_scanner"], ...] = ("test", "test_scanner")
    """The first is the results table."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap draws of patients."""
    batch_size: int = Field(48, ge=1)
    max_new_tokens: int = Field(160, ge=1)


class ReportConfig(Table):
    """What the page shows."""

    cases: int = Field(12, ge=1)


class LaunchConfig(Table):
    """How both trainings are started in several processes (docs/distributed.md); without it, in one."""

    config: str = ""
    """``ddp``, ``fsdp2``, ``zero2``, ``zero3``, or the path of a configuration of accelerate."""
    processes: int = Field(1, ge=1)
    """One per GPU."""

    @model_validator(mode="after")
    def _both(self) -> "LaunchConfig":
        if (self.config == "") != (self.processes == 1):
            raise ValueError("give both config and processes, of which 2 or more, or neither")
        return self


class Recipe(Table):
    """One run, from cases to report."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0)
    """CPU threads for torch; 0 leaves the choice to torch."""
    launch: LaunchConfig = LaunchConfig()
    domain: DomainConfig = DomainConfig()
    data_use: DataUseConfig = DataUseConfig()
    teachers: tuple[TeacherConfig, ...] = Field(min_length=1)
    collect: CollectConfig = CollectConfig()
    measure: MeasureConfig = MeasureConfig()
    bootstrap: BootstrapConfig = BootstrapConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    align: AlignConfig = AlignConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _distinct(self) -> "Recipe":
        names = [teacher.name for teacher in self.teachers]
        if len(set(names)) < len(names):
            raise ValueError("two teachers have the same name")
        return self

    @model_validator(mode="after")
    def _shares(self) -> "Recipe":
        for verb, stage in (("bootstrap", self.bootstrap), ("align", self.align)):
            if stage.groups_per_step % (self.launch.processes * stage.groups_per_forward):
                raise ValueError(
                    f"launch.processes {self.launch.processes} x {verb}.groups_per_forward "
                    f"{stage.groups_per_forward} must divide {verb}.groups_per_step {stage.groups_per_step}"
                )
        return self

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Read and validate a recipe file.

        Raises ``ConfigError`` with the file, the key and, for a misspelt key, its neighbour.
        """
        return cls.parse(load_table(path, "recipe"), where=str(path))

    @classmethod
    def parse(cls, given: dict[str, Any], *, where: str) -> "Recipe":
        """Validate a table that came from ``where``; raises ``ConfigError``."""
        refuse_unknown(cls, given, where, "")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "recipe"
            said = first["msg"].removeprefix("Value error, ")
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            raise ConfigError(f"{where}: {key}: {said}{more}. Correct the recipe.") from None
