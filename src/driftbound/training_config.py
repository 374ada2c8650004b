"""Keys of a recipe that say how the two trainings go. No torch here."""

from typing import Any, Literal

from pydantic import Field, model_validator

from driftbound.teacher_config import Table


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
    """Whether the vision tower learns too, with ``tuner: full``; adapters lie on the decoder alone."""
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
    leave_one_out: float = Field(0.0, ge=0, le=1)
    """Share of the cases that bring one more row: image and the other teachers' trajectories as for a
    consensus, the held-out teacher's as target; teaches a student without instructions to read teachers."""


class WatchConfig(Table):
    """Held-out cases that the student answers during alignment: the training stops when it breaks."""

    cases: int = Field(0, ge=0)
    """Validation cases that are answered each time; 0: nothing is watched."""
    steps: int = Field(50, ge=1)
    """Steps between two looks; a multiple of ``save_steps``, so that a resumed training looks alike."""
    unparsable: float = Field(0.2, ge=0, le=1)
    """Share of answers without a claim, or without an end, above which training stops."""
    repeated: float = Field(0.2, ge=0, le=1)
    """Share of an answer's sentences that it has said before, on average, above which training stops."""
    length: float = Field(2.0, gt=1)
    """Factor by which the mean length may leave that of the first look."""


class AlignConfig(TrainingConfig):
    """Stage 2: the consensus preferred over all N trajectories at once."""

    objective: Literal["plackett_luce", "pairwise", "sft"] = "plackett_luce"
    """``plackett_luce``: first choice over consensus and N trajectories (the paper);
    ``pairwise``: mean of N DPO terms (what the authors' released script does);
    ``sft``: NLL per token of the consensus alone, a baseline without negatives."""
    start: Literal["bootstrapped", "base"] = "bootstrapped"
    """What is aligned, and is the reference: the bootstrapped student, or (an ablation) the base."""
    negatives: int = Field(0, ge=0)
    """How many of the trajectories are rivals, drawn anew per case by the seed; 0: all."""
    learning_rate: float = Field(1e-5, gt=0)
    train_vision: bool = False
    beta: float = Field(0.1, gt=0)
    """The script sets none; 0.1 is the default of the trainer that it calls."""
    anchor: float = Field(1.0, ge=0)
    """Weight of the consensus's NLL per token; 0 is the paper's loss alone, 1 the study's choice."""
    nca: float = Field(1.0, ge=0)
    """Weight of the absolute term of NCA (arXiv 2402.05369), which keeps the consensus from falling;
    0 is the paper's loss, 1 the study's choice."""
    dpop: float = Field(0.0, ge=0)
    """Weight lambda of the floor of DPOP (arXiv 2402.13228) under the consensus's log-ratio."""
    length_normalised: bool = False
    """Divide each log-ratio by the answer's number of tokens."""
    common_length: bool = False
    """A control for cheating: of each answer of a case only as many tokens count as its shortest one has."""
    keep_refusals: bool = False
    """Keep refusals as negatives, as the paper seems to."""
    floor: float = Field(-1.0, lt=0)
    """Training stops when the mean log p(consensus) per token, in nats, has fallen by this much below
    its value under the reference (likelihood displacement)."""
    watch: WatchConfig = WatchConfig()

    @model_validator(mode="before")
    @classmethod
    def _without_reward(cls, given: Any) -> Any:
        """Objective ``sft`` has no reward that the terms which are on by default could anchor."""
        if isinstance(given, dict) and given.get("objective") == "sft":
            return {"anchor": 0.0, "nca": 0.0} | given
        return given

    @model_validator(mode="after")
    def _alive(self) -> "AlignConfig":
        refused = (
            "anchor",
            "nca",
            "dpop",
            "negatives",
            "length_normalised",
            "common_length",
            "keep_refusals",
        )
        if self.length_normalised and self.common_length:
            raise ValueError("length_normalised and common_length both take length out: give one of them")
        dead = [name for name in refused if getattr(self, name)]
        if self.objective == "sft" and dead:
            raise ValueError(f"objective sft has no negatives and no reward: {dead[0]} would change nothing")
        return self

    @model_validator(mode="after")
    def _looks_at_checkpoints(self) -> "AlignConfig":
        if self.watch.cases and self.watch.steps % self.save_steps:
            raise ValueError(
                f"watch.steps {self.watch.steps} must be a multiple of save_steps {self.save_steps}: "
                "a resumed training would not look at the same steps"
            )
        return self
