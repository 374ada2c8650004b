"""Recipes: YAML, validated by pydantic; an unknown key is an error with a suggestion. No torch here."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from driftbound.consensus_config import ConstraintsConfig as ConstraintsConfig
from driftbound.consensus_config import SynthesizeConfig as SynthesizeConfig
from driftbound.data_config import PROGRESSION
from driftbound.domain_config import DomainConfig as DomainConfig
from driftbound.errors import ConfigError
from driftbound.records import SPLITS
from driftbound.strict_yaml import load_table, refuse_unknown
from driftbound.teacher_config import CollectConfig, DataUseConfig, ReaderConfig, Table, TeacherConfig
from driftbound.training_config import AlignConfig as AlignConfig
from driftbound.training_config import BootstrapConfig as BootstrapConfig
from driftbound.training_config import LoraConfig as LoraConfig
from driftbound.training_config import TrainingConfig as TrainingConfig
from driftbound.training_config import WatchConfig as WatchConfig


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


class ScorerConfig(Table):
    """A scorer of reports that the user holds; nothing is downloaded for it."""

    path: str = Field(min_length=1)
    """Folder of its weights (docs/evaluation.md)."""
    python: str = ""
    """Interpreter of an environment that has its package; empty: this one."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, given: Any) -> Any:
        """``radgraph: /models/radgraph`` is a path."""
        return {"path": given} if isinstance(given, str) else given


class EvaluateConfig(Table):
    """What is compared, on which held-out cases."""

    splits: tuple[str, ...] = Field(("test", "test_scanner"), min_length=1)
    """The first is the results table. Not said: besides these all that ``domain.data`` adds."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap draws of patients."""
    batch_size: int = Field(48, ge=1)
    max_new_tokens: int = Field(160, ge=1)
    samples: int = Field(1, ge=1)
    """How many drawn answers to a case of each student are compared with each other; 1: none are drawn."""
    temperature: float = Field(0.7, gt=0)
    """Of these drawn answers."""
    auroc: bool = False
    """Read the students' and local teachers' probabilities of every finding: some scores per finding and
    case, many times the answers' own time."""
    clinical: dict[Literal["radgraph", "chexbert", "ratescore", "green"], ScorerConfig] = Field(
        default_factory=dict
    )
    """Scorers of reports by their name: the folder of the weights, and where it needs one, a ``python``."""


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
    rounds: int = Field(1, ge=1)
    """Passes of synthesize and align: each further one with the aligned student as writer and reference."""
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
    def _known_splits(self) -> "Recipe":
        further = self.domain.data.further_splits
        if further and "splits" not in self.evaluate.model_fields_set:
            splits = (*self.evaluate.splits, *further)
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"splits": splits}))
        known = (*SPLITS[1:], *further)
        for name in self.evaluate.splits:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                hint = "students have seen it" if name == SPLITS[0] else hint
                raise ValueError(f"evaluate.splits: {name!r} is no held-out split of this recipe; {hint}")
        if self.evaluate.splits[0] == PROGRESSION:
            raise ValueError(f"evaluate.splits: {PROGRESSION} is no results table; name another one first")
        return self

    @model_validator(mode="after")
    def _own_writer(self) -> "Recipe":
        if self.rounds > 1 and self.synthesize.server is not None:
            raise ValueError(
                "synthesize.server serves the same student in every round; leave it out, or give rounds: 1"
            )
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

    @model_validator(mode="after")
    def _watched_by_one(self) -> "Recipe":
        if self.align.watch.cases and self.launch.processes > 1:
            raise ValueError(
                f"align.watch.cases {self.align.watch.cases} needs one process, launch.processes is "
                f"{self.launch.processes}; set watch.cases: 0, or leave launch out"
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
