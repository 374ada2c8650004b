"""Arms: makes the base run of a seed and setting, and each arm beside it; answers are scored and kept."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.domains.registry import load_domain
from driftbound.errors import TrainingError
from driftbound.evaluation.answers import Answer, generate, other_patients
from driftbound.evaluation.answers import Job as Asked
from driftbound.phantom_base import resolve_base
from driftbound.protocols import Policy, SignReader
from driftbound.stages.answering import Loader, answer_of, by_rule
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths
from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import atomic_write_text
from driftbound.store.measures import Beliefs, read_beliefs
from driftbound.store.tables import read_cases, read_groups
from driftbound.study import facts
from driftbound.study.course import forget, rounds_of, seconds_of, training_of
from driftbound.study.identity import fingerprint
from driftbound.study.plan import MAIN, Job, slug
from driftbound.study.results import (
    CONSENSUS,
    PRIOR,
    SHUFFLED,
    SIGNS,
    STOPPED,
    TEACHER,
    Row,
    finished,
    result_path,
    write_result,
)
from driftbound.study.score import (
    HeldOut,
    consensus_answers,
    held_out,
    prior_answers,
    rows_of,
    teachers_answers,
)
from driftbound.study.sharing import discard, shared_stages, take_over

BASE = "_base"
"""Folder of a base run; no arm's file name begins so."""
SIGNS_PARTIAL = "_signs.partial"


@dataclass(frozen=True)
class Bench:
    """Where the arms of one seed and setting are made, and where their results go."""

    runs: Path
    out: Path
    job: Job
    """Any one of them."""

    @cached_property
    def base(self) -> Context:
        """The base run."""
        recipe = self.job.base
        return Context(recipe, RunFolder(self.place / BASE), load_domain(recipe.domain, recipe.seed))

    @cached_property
    def beliefs(self) -> Mapping[str, Beliefs]:
        """What ``measure`` believes of every case."""
        folder = self.base.folder.stage("measure")
        return read_beliefs(folder / "slots.parquet", folder / "reliability.parquet")

    @cached_property
    def splits(self) -> list[HeldOut]:
        """The held-out cases that are scored, with their truth."""
        return held_out(self.base, self.job.splits)

    @property
    def place(self) -> Path:
        """Folder of the seed and setting: the base run and, beside it, the arms'."""
        return self.runs / self.job.place

    @property
    def fingerprint(self) -> str:
        """Identity of the rows that need no training."""
        return fingerprint(self.job.base, self.job.splits)

    def facts(self, split: HeldOut, answers: Sequence[Answer]) -> dict[str, Any]:
        """What is kept of answers besides right and wrong."""
        return facts.facts_of(answers, self.base.domain, self.beliefs)


def load_policy(path: str, threads: int) -> Policy:
    """A checkpoint in process."""
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads)


def make_base(bench: Bench, load: Loader = load_policy) -> None:
    """Run the base up to the bootstrapped student; then the rows of signs, teachers and, last, the prior."""
    _renew(bench.place, BASE, bench.job.base)
    pipeline.run(bench.job.base, bench.place, name=BASE, until="bootstrap")
    if bench.job.setting == MAIN and isinstance(bench.base.domain, SignReader):
        _write_signs(bench, bench.base.domain.sign_question, load)
    said: dict[str, list[Sequence[Answer]]] = {}
    for split in bench.splits:
        for name, answers in teachers_answers(bench.base, split).items():
            said.setdefault(TEACHER + name, []).append(answers)
        said.setdefault(PRIOR, []).append(prior_answers(bench.base, split))
    for arm, each in said.items():
        _write_rows(bench, arm, each)


def make_arm(bench: Bench, load: Loader = load_policy, *, keep: bool = False) -> None:
    """Run an arm up to its student, ask and score it; then its checkpoints go, unless they are to ``keep``.

    A training that is stopped because it does harm is a result, with its reason. Raises what else the
    pipeline raises.
    """
    job, name = bench.job, slug(bench.job.arm)
    _renew(bench.place, name, job.recipe)
    own = RunFolder(bench.place / name)
    shared = shared_stages(job.base, job.recipe)
    reason = ""
    take_over(bench.base.folder, own, shared)
    if job.stop != "base":
        try:
            pipeline.run(job.recipe, bench.place, name=name, until=job.stop or "align")
        except TrainingError as error:
            reason = str(error)
    made = [verb for verb in VERBS if verb not in shared]
    said: dict[str, Any] = {
        "seconds": seconds_of(own, made),
        "shared_seconds": seconds_of(bench.base.folder, [verb for verb in shared if verb in VERBS]),
        **training_of(own),
        **rounds_of(own),
    }
    if reason:
        said |= {"status": STOPPED, "reason": reason}
    student = resolve_base(job.recipe.bootstrap.base) if job.stop == "base" else _student(own, job.stop)
    rows: list[Row] = []
    if student:
        started = time.monotonic()
        rows, said["splits"] = _ask(bench, student, load)
        said["seconds"]["score"] = round(time.monotonic() - started, 3)
    if not job.stop and own.groups.exists():
        said |= _of_groups(bench, own)
    write_result(bench.out, job, rows, said)
    if not keep:
        forget(own)


def _student(own: RunFolder, stop: str) -> str:
    """The checkpoint that stands for the arm; empty where the training wrote none."""
    folder = own.student(stop or "align")
    return str(folder) if (folder / "config.json").exists() else ""


def _ask(bench: Bench, student: str, load: Loader) -> tuple[list[Row], dict[str, Any]]:
    """Rows and facts of a student on every split, and with other patients' images where the arm says so."""
    job, context = bench.job, bench.base
    jobs: list[tuple[HeldOut, str, Asked]] = []
    for number, split in enumerate(bench.splits):
        jobs.append((split, split.name, _asked(context, split, split.name, range(len(split.cases)))))
        rng = np.random.default_rng([job.seed, 7, number])
        shown = other_patients([case.cluster for case in split.cases], rng) if job.shuffled else None
        if shown:
            name = split.name + SHUFFLED
            jobs.append((split, name, _asked(context, split, name, shown)))
    partial = bench.place / f"{slug(job.arm)}.partial"
    policies: list[Policy] = []

    def loaded() -> Policy:
        if not policies:
            policies.append(load(student, job.recipe.threads))
        return policies[0]

    config = job.recipe.evaluate
    texts = generate(
        [asked for _, _, asked in jobs],
        loaded,
        partial,
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        title=f"{job.arm}: asking",
    )
    rows: list[Row] = []
    found: dict[str, Any] = {}
    for (split, name, asked), said in zip(jobs, texts, strict=True):
        answers = [answer_of(context, case, text) for case, text in zip(split.cases, said, strict=True)]
        rows += rows_of(context, split, answers, name)
        found[name] = bench.facts(split, answers)
        if name == split.name:
            features = facts.features_of(loaded(), asked.questions, asked.images, config.batch_size)
            present = split.present(context.domain.findings)
            found[name]["dispersion"] = facts.dispersion_of(features, present, context.domain.findings)
    shutil.rmtree(partial, ignore_errors=True)
    return rows, found


def _asked(context: Context, split: HeldOut, name: str, shown: Sequence[int], question: str = "") -> Asked:
    return Asked(
        row=f"student:{slug(name)}",
        split=slug(name),
        case_ids=tuple(case.case_id for case in split.cases),
        questions=tuple(question or context.domain.question(case) for case in split.cases),
        images=tuple(image_paths(context, split.cases[index]) for index in shown),
    )


def _of_groups(bench: Bench, own: RunFolder) -> dict[str, Any]:
    """What is told of an arm's groups: how many train, who could tell their writers; its consensus's rows."""
    groups = read_groups(own.groups)
    if bench.job.consensus:
        context = Context(bench.job.recipe, own, bench.base.domain)
        said = [consensus_answers(context, split) for split in bench.splits]
        _write_rows(bench, CONSENSUS + bench.job.recipe.synthesize.synthesizer, said)
    clusters = {case.case_id: case.cluster for case in read_cases(bench.base.folder.cases)}
    return {
        "groups": sum(group.split == "train" for group in groups),
        "probe": facts.probe_of(groups, clusters, bench.job.seed),
        "probe_teachers": facts.probe_teachers_of(groups, clusters, bench.job.seed),
    }


def _write_rows(bench: Bench, arm: str, said: Sequence[Sequence[Answer]]) -> None:
    """The result of what needs no training of its own; ``said`` by split."""
    pairs = list(zip(bench.splits, said, strict=True))
    write_result(
        bench.out,
        bench.job,
        [row for split, answers in pairs for row in rows_of(bench.base, split, answers)],
        {"splits": {split.name: bench.facts(split, answers) for split, answers in pairs}},
        arm=arm,
        fingerprint=bench.fingerprint,
        overrides={},
    )


def _write_signs(bench: Bench, question: str, load: Loader) -> None:
    """The base asked for signs alone, which the field's textbook rule turns into findings: no teachers."""
    if finished(result_path(bench.out, bench.job, SIGNS), bench.fingerprint):
        return
    context, config = bench.base, bench.job.base.evaluate
    texts = generate(
        [_asked(context, s, s.name, range(len(s.cases)), question) for s in bench.splits],
        lambda: load(resolve_base(bench.job.base.bootstrap.base), bench.job.base.threads),
        bench.place / SIGNS_PARTIAL,
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        title="signs: asking",
    )
    said = [
        [answer_of(context, c, by_rule(context, text)) for c, text in zip(split.cases, each, strict=True)]
        for split, each in zip(bench.splits, texts, strict=True)
    ]
    _write_rows(bench, SIGNS, said)
    shutil.rmtree(bench.place / SIGNS_PARTIAL, ignore_errors=True)


def _renew(place: Path, name: str, recipe: Recipe) -> None:
    """Note the recipe beside its run, for anybody to run it; what another recipe left there goes."""
    text = json.dumps(recipe.model_dump(mode="json"), indent=1) + "\n"  # JSON is YAML
    path = place / f"{name}.yaml"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        discard(place / name)
        for partial in (f"{name}.partial", *[SIGNS_PARTIAL] * (name == BASE)):
            shutil.rmtree(place / partial, ignore_errors=True)
        atomic_write_text(path, text)
