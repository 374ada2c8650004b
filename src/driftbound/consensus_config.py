"""Keys of a recipe that say how one consensus is made of N trajectories, and how these oppose it."""

from typing import Literal

from pydantic import Field, model_validator

from driftbound.teacher_config import Table, WriterConfig


class ConstraintsConfig(Table):
    """How a teacher's trajectory counts as a negative (docs/constraints.md).

    All ones, and no confidence, is the paper's loss; the defaults are the study's choice (docs/study.md).
    """

    trajectory: bool = False
    """Weigh each trajectory by the chance that its claims are wrong, mean 1 over a case's negatives."""
    conflicting: float = Field(1.0, ge=0)
    """Token weight of claims that the consensus contradicts."""
    agreed: float = Field(0.0, ge=0)
    """Token weight of claims that the consensus makes too."""
    undecided: float = Field(0.0, ge=0)
    """Token weight of claims that the consensus leaves open."""
    silent: float = Field(0.0, ge=0)
    """Token weight of text that claims nothing."""
    end: float = Field(0.0, ge=0)
    """Weight of the end token."""
    confidence: bool = True
    """Weigh each claim of the consensus by how far its posterior is from a coin's: 2p - 1, at least 0."""
    confidence_against: bool = True
    """Weigh each conflicting claim of a teacher so too, by the posterior of the claim that it contradicts."""


class SynthesizeConfig(Table):
    """How one consensus is made of N trajectories (docs/consensus.md)."""

    synthesizer: Literal["student", "vote", "reliability", "guided", "judge", "teacher"] = "reliability"
    """``student``: the bootstrapped student with all trajectories in its context (the paper); ``vote``:
    majority of the teachers, rendered in the student's format; ``reliability``: what ``measure`` believes,
    rendered likewise; ``guided``: the student, with what ``measure`` believes in its context; ``judge``:
    another model; ``teacher``: one teacher's own trajectories, a baseline."""
    teacher: str = ""
    """Whose trajectories stand in, for ``teacher``."""
    judge: WriterConfig | None = None
    """Who writes, for ``judge``."""
    server: WriterConfig | None = None
    """Where the student is served, for ``student`` and ``guided``; else it runs in process."""
    candidates: int = Field(1, ge=1)
    """Texts written per case: the first greedily, further ones drawn; the gate takes the best."""
    temperature: float = Field(0.7, gt=0)
    """At which further candidates are drawn."""
    undecided: Literal["likelier", "omit"] = "likelier"
    """What ``reliability`` says of claims that ``measure`` leaves open: the likelier value, or nothing."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Support below which a candidate is refined once and then rejected."""
    refine: bool = True
    """Whether a candidate below the threshold is written anew, shown what lacks support."""
    context_tokens: int = Field(0, ge=0)
    """Room for the question with all trajectories; what does not fit becomes a digest of claims.
    0: what the student's tokenizer allows."""
    one_style: bool = False
    """A control for cheating: consensus and negatives are rewritten into the student's format, so that no
    style can win the loss."""
    batch_size: int = Field(32, ge=1)
    max_new_tokens: int = Field(160, ge=1)
    constraints: ConstraintsConfig = ConstraintsConfig()

    @model_validator(mode="after")
    def _named(self) -> "SynthesizeConfig":
        if (self.synthesizer == "judge") != (self.judge is not None):
            raise ValueError("synthesizer: judge and the table judge go together")
        if (self.synthesizer == "teacher") != (self.teacher != ""):
            raise ValueError("synthesizer: teacher and the key teacher go together")
        if self.server is not None and self.synthesizer not in ("student", "guided"):
            raise ValueError("server is for the synthesizers student and guided")
        return self
