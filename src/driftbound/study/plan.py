"""Plan: a study file becomes jobs; each is one arm on one seed in one setting, with a recipe of its own."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from driftbound.config import Recipe
from driftbound.errors import ConfigError
from driftbound.strict_yaml import load_table, refuse_unknown
from driftbound.study.identity import fingerprint
from driftbound.teacher_config import Table

MAIN = "main"
"""The setting of arms that belong to no sweep."""
Split = Literal["validation", "test", "test_scanner"]
Settings = dict[str, Any]
"""Dotted key of a recipe -> value; ``teachers`` may be a list of names out of the base's."""


class ArmConfig(Table):
    """One way to make a student: what it changes of the base recipe."""

    like: str = ""
    """Another arm, whose changes this one starts from."""
    set: Settings = Field(default_factory=dict)
    stop: Literal["", "base", "bootstrap"] = ""
    """Which student stands for the arm: the base, the bootstrapped one, or else the aligned one."""
    consensus: bool = False
    """Whether what its synthesizer says of the held-out cases is a row ``consensus <synthesizer>`` too."""
    shuffled: bool = False
    """Whether the student is also asked with other patients' images."""


class PhaseConfig(Table):
    """Seeds and splits, and the arms that are compared on them."""

    seeds: tuple[int, ...] = Field(min_length=1)
    splits: tuple[Split, ...] = Field(min_length=1)
    arms: tuple[str, ...] = ()
    """None: all."""
    set: Settings = Field(default_factory=dict)
    after: str = ""
    """File beside the results without which the phase does not begin: where the choice is written down."""


class SweepConfig(Table):
    """A few arms in several settings, on splits and with the cases of a phase."""

    phase: str
    seeds: tuple[int, ...] = Field(min_length=1)
    arms: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Settings] = Field(min_length=1)


class StudyConfig(Table):
    """A study file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    jobs: int = Field(1, ge=1)
    """Processes side by side, of one thread each."""
    default: str = ""
    """The arm that is the default recipe, which the page's goals are about; empty: not chosen yet."""
    rivals: tuple[str, ...] = ()
    """Arms that the default is to beat, besides every teacher."""
    base: dict[str, Any]
    """A whole recipe, but for name and seed."""
    phases: dict[str, PhaseConfig] = Field(min_length=1)
    arms: dict[str, ArmConfig] = Field(min_length=1)
    sweeps: dict[str, SweepConfig] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One arm on one seed in one setting."""

    study: str
    phase: str
    sweep: str
    setting: str
    arm: str
    seed: int
    splits: tuple[str, ...]
    base: Recipe
    """Of the run whose first stages the arms of this seed and setting share."""
    recipe: Recipe
    overrides: Settings
    """What the recipe changes of the study's base."""
    stop: str = ""
    consensus: bool = False
    shuffled: bool = False
    chosen: str = ""
    """Mark of the written choice that the job came after; empty for a phase that waits for none."""

    @property
    def place(self) -> str:
        """Which base run: a folder below the study's runs."""
        return f"{slug(self.phase)}/{self.where}/seed-{self.seed}"

    @property
    def where(self) -> str:
        """The setting as part of a file name."""
        return slug(f"{self.sweep} {self.setting}")

    @property
    def fingerprint(self) -> str:
        """Identity of what is asked for; the same for jobs that would give the same numbers."""
        return fingerprint(self.recipe, self.splits, self.stop, self.consensus, self.shuffled)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which part of a study is to run; nothing named means all."""

    phase: str = ""
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = field(default=())


def slug(name: str) -> str:
    """A name as part of a file name.

    >>> slug("DPO, one random negative"), slug("cases 5 %")
    ('dpo-one-random-negative', 'cases-5')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def read_study(path: Path) -> StudyConfig:
    """Read and validate a study file, every arm's recipe too; raises ``ConfigError``."""
    where = str(path)
    given = load_table(path, "study")
    refuse_unknown(StudyConfig, given, where, "")
    for key, model in (("phases", PhaseConfig), ("arms", ArmConfig), ("sweeps", SweepConfig)):
        tables = given.get(key)
        for name, table in tables.items() if isinstance(tables, dict) else ():
            if isinstance(table, dict):
                refuse_unknown(model, table, where, f"{key}.{name}")
    try:
        study = StudyConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {key}: {said}. Correct the study.") from None
    _apart(list(study.arms), f"{where}: arms")
    settings = [f"{sweep} {name}" for sweep, config in study.sweeps.items() for name in config.settings]
    _apart([MAIN, *settings], f"{where}: settings")
    for key, names in (("default", (study.default,) if study.default else ()), ("rivals", study.rivals)):
        for name in names:
            _known(name, study.arms, f"{where}: {key}", "arm")
    if study.default in study.rivals:
        raise ConfigError(f"{where}: rivals: {study.default!r} is the default itself. Leave it out.")
    if any(each.prompt != "usual" for job in jobs_of(study, where) for each in job.base.teachers):
        raise ConfigError(f"{where}: teachers: a study scores what nobody was told. Leave out prompt: told.")
    return study


def _apart(names: list[str], where: str) -> None:
    """Raise ``ConfigError`` where two names are one as part of a file name."""
    slugs: dict[str, str] = {}
    for name in names:
        if slugs.setdefault(slug(name), name) != name:
            raise ConfigError(f"{where} {slugs[slug(name)]!r} and {name!r} would share their files.")


def jobs_of(study: StudyConfig, where: str, choice: Choice | None = None) -> list[Job]:
    """All jobs, or the chosen ones, phase by phase: seeds, then arms; sweeps last. Raises ``ConfigError``."""
    choice = choice or Choice()
    if choice.phase:
        _known(choice.phase, study.phases, f"{where}: --only", "phase")
    for name in choice.arms:
        _known(name, study.arms, f"{where}: --arms", "arm")
    jobs = [
        job
        for job in _every(study, where)
        if choice.phase in ("", job.phase)
        and (not choice.arms or job.arm in choice.arms)
        and (not choice.seeds or job.seed in choice.seeds)
    ]
    if not jobs:
        raise ConfigError(f"{where}: nothing is left of the study with these options. Choose others.")
    return jobs


def _every(study: StudyConfig, where: str) -> Iterator[Job]:
    for name, phase in study.phases.items():
        arms = phase.arms or tuple(study.arms)
        for seed in phase.seeds:
            for arm in arms:
                yield _job(study, where, name, "", MAIN, {}, arm, seed)
    for name, sweep in study.sweeps.items():
        _known(sweep.phase, study.phases, f"{where}: sweeps.{name}", "phase")
        for setting, changes in sweep.settings.items():
            for seed in sweep.seeds:
                for arm in sweep.arms:
                    yield _job(study, where, sweep.phase, name, setting, changes, arm, seed)


def _job(
    study: StudyConfig,
    where: str,
    phase: str,
    sweep: str,
    setting: str,
    changes: Settings,
    arm: str,
    seed: int,
) -> Job:
    _known(arm, study.arms, f"{where}: {f'sweeps.{sweep}' if sweep else f'phases.{phase}'}", "arm")
    shared = study.phases[phase].set | changes
    own = changes_of(study, arm, where)
    config = study.arms[arm]

    def made(settings: Settings, name: str, what: str) -> Recipe:
        table = with_settings({**study.base, "name": name, "seed": seed}, settings, f"{where}: {what}")
        return Recipe.parse(table, where=f"{where}: {what}")

    place = f"setting {setting!r} of {sweep}" if sweep else f"phase {phase}"
    return Job(
        study=study.name,
        phase=phase,
        sweep=sweep,
        setting=setting,
        arm=arm,
        seed=seed,
        splits=study.phases[phase].splits,
        base=made(shared, "base", place),
        recipe=made(shared | own, slug(arm), f"arm {arm!r}"),
        overrides=shared | own,
        stop=config.stop,
        consensus=config.consensus,
        shuffled=config.shuffled,
    )


def changes_of(study: StudyConfig, arm: str, where: str, seen: tuple[str, ...] = ()) -> Settings:
    """What an arm changes of the base, with what it takes from arms that it is like."""
    if arm in seen:
        raise ConfigError(f"{where}: arms {' like '.join((*seen, arm))}: a circle. Break it.")
    config = study.arms[arm]
    if not config.like:
        return config.set
    _known(config.like, study.arms, f"{where}: arms.{arm}.like", "arm")
    return changes_of(study, config.like, where, (*seen, arm)) | config.set


def steps_of(study: StudyConfig, where: str) -> dict[str, str]:
    """Arm -> the arm that it adds one thing to.

    One that gives another value to what its ``like`` changes already (another teacher, say) adds nothing.
    """
    return {
        name: arm.like
        for name, arm in study.arms.items()
        if arm.like and not arm.set.keys() <= changes_of(study, arm.like, where).keys()
    }


def with_settings(base: Mapping[str, Any], settings: Settings, where: str) -> dict[str, Any]:
    """A recipe's table with dotted keys set; a list of names under ``teachers`` picks from the base's."""
    table = deepcopy(dict(base))
    for key, value in settings.items():
        if key == "teachers" and isinstance(value, list) and all(isinstance(each, str) for each in value):
            by_name = {each["name"]: each for each in table.get("teachers", ())}
            for each in value:
                _known(each, by_name, f"{where}: teachers", "teacher")
            table[key] = [by_name[each] for each in value]
            continue
        *path, last = key.split(".")
        inner: Any = table
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{where}: {key!r}: {part!r} is no table of the recipe. Correct the key.")
        inner[last] = deepcopy(value)
    return table


def _known(name: str, known: Mapping[str, Any], where: str, what: str) -> None:
    if name not in known:
        near = get_close_matches(name, list(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
        raise ConfigError(f"{where}: no {what} is called {name!r}; {hint}")
