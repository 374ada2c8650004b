"""Run: says how long a study will take, then does what is not done, so many jobs side by side."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from driftbound.errors import StoreError, TrainingError
from driftbound.pipeline import working_on
from driftbound.progress import bar, say
from driftbound.store.folder import RunFolder
from driftbound.study.arms import BASE, Bench
from driftbound.study.chosen import read_chosen, why_waiting
from driftbound.study.estimate import Estimate, estimate
from driftbound.study.plan import MAIN, Choice, Job, jobs_of, read_study, slug
from driftbound.study.pool import Task, work_off
from driftbound.study.results import PRIOR, finished, read_result, result_path, write_again
from driftbound.study.sharing import discard
from driftbound.study.work import described


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done of a study."""

    todo: tuple[Job, ...]
    """Jobs without a finished result, twins left out."""
    twins: tuple[tuple[Job, Job], ...]
    """Jobs that ask for the very same as another one, which is made first."""
    places: tuple[Job, ...]
    """One job of each base run that is needed."""
    waiting: tuple[str, ...]
    """Why a phase does not begin."""
    processes: int
    estimate: Estimate
    """Of all that is left, the phases that wait too."""


def plan_study(
    path: Path, out: Path | None, runs: Path, *, processes: int = 0, choice: Choice | None = None
) -> tuple[Plan, Path, Path]:
    """What is left of a study; with the folders of its results and of its runs. Raises ``ConfigError``."""
    study = read_study(path)
    out, runs = out or Path("studies") / study.name, runs / study.name
    jobs = jobs_of(study, str(path), choice)
    after = {name: out / phase.after for name, phase in study.phases.items() if phase.after}
    why = {name: why_waiting(choice, study.default) for name, choice in after.items()}
    waiting = {name: f"{name}: {said}" for name, said in why.items() if said and _any(jobs, name)}
    marks = {name: read_chosen(choice).mark for name, choice in after.items()}
    jobs = [replace(job, chosen=marks.get(job.phase, "")) for job in jobs]
    first: dict[str, Job] = {}
    twins = []
    for job in jobs:
        other = first.setdefault(job.fingerprint, job)
        if other is not job and not _done(out, job):
            twins.append((job, other))
    todo = [job for job in first.values() if not _done(out, job)]
    places = _places(out, list(first.values()), todo)
    processes = processes or study.jobs
    plan = Plan(
        todo=tuple(job for job in todo if job.phase not in waiting),
        twins=tuple(twins),
        places=tuple(job for job in places if job.phase not in waiting),
        waiting=tuple(waiting.values()),
        processes=processes,
        estimate=estimate(jobs, todo, len(places), out, processes),
    )
    return plan, out, runs


def run_study(plan: Plan, out: Path, runs: Path, *, keep: bool = False) -> None:
    """Do what is left; a killed study goes on where it was.

    A training that is stopped is a result. Raises ``TrainingError`` at the end, naming the first of the
    jobs that failed otherwise, and ``StoreError`` where another study works in the same folder.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with working_on(RunFolder(runs)):
        tasks = _tasks(plan, out, runs, keep)
        left = Counter(job.place for job in plan.todo)
        by_name = {_name(job): job for job in plan.todo}
        with bar("study: arms and seeds", len(plan.todo)) as advance:

            def done(task: Task, why: str) -> None:
                job = by_name.get(task.name)
                if why and not why.startswith(tuple(_base_name(each) for each in plan.places)):
                    say(f"{task.title}: {why}")
                if job is None:
                    advance(0, task.title)
                    return
                advance(1, task.title)
                left[job.place] -= not why
                if not keep and job.setting != MAIN and left[job.place] == 0:
                    discard(runs / job.place / BASE)

            failed = work_off(tasks, plan.processes, done)
        for job, other in plan.twins:
            if _done(out, other):
                _copy_twin(out, job, other)
    if failed:
        name, why = next(iter(failed.items()))
        raise TrainingError(f"study: {len(failed)} jobs failed, first {name}: {why}. Run it again to go on.")


def _any(jobs: Sequence[Job], phase: str) -> bool:
    return any(job.phase == phase for job in jobs)


def _copy_twin(out: Path, job: Job, other: Job) -> None:
    """The twin's rows that need no training under the job's own place, and last the job's own result."""
    shared = Bench(Path(), out, other).fingerprint
    for path in sorted(out.glob(f"{slug(other.phase)}/{other.where}--*--seed-{other.seed}.json")):
        found = read_result(path)
        if found is not None and found.get("fingerprint") == shared:
            write_again(out, job, path, arm=found["arm"])
    write_again(out, job, result_path(out, other))


def _done(out: Path, job: Job) -> bool:
    return finished(result_path(out, job), job.fingerprint) is not None


def _places(out: Path, jobs: Sequence[Job], todo: Sequence[Job]) -> list[Job]:
    """One job of every base run that some job waits for, or whose own rows are missing."""
    waited = {job.place for job in todo}
    found: dict[str, Job] = {}
    for job in jobs:
        path = result_path(out, job, PRIOR)
        if job.place in waited or finished(path, Bench(Path(), out, job).fingerprint) is None:
            found.setdefault(job.place, job)
    return list(found.values())


def _tasks(plan: Plan, out: Path, runs: Path, keep: bool) -> list[Task]:
    """A process per base run, each before its arms'; in the order of the study."""
    made = {job.place for job in plan.places}
    tasks = [_task(job, out, runs, keep, base=True) for job in plan.places]
    for job in plan.todo:
        if job.place not in made:  # cannot be: such a place is among those that are waited for
            raise StoreError(f"{job.place}: no base run is planned.")
        tasks.append(_task(job, out, runs, keep, base=False))
    order = {job.place: number for number, job in enumerate(plan.places)}
    places = {_base_name(job): job.place for job in plan.places} | {_name(j): j.place for j in plan.todo}
    return sorted(tasks, key=lambda task: order[places[task.name]])  # stable: a base run stays first


def _task(job: Job, out: Path, runs: Path, keep: bool, *, base: bool) -> Task:
    name = BASE if base else slug(job.arm)
    given = {
        "kind": "base" if base else "arm",
        "runs": str(runs),
        "out": str(out),
        "keep": keep,
        "job": described(job),
    }
    return Task(
        name=_base_name(job) if base else _name(job),
        file=runs / job.place / f"{name}.job.json",
        given=json.dumps(given, indent=1),
        needs="" if base else _base_name(job),
        title=f"{'base run' if base else job.arm}, {job.setting}, seed {job.seed}",
    )


def _name(job: Job) -> str:
    return f"{job.place}/{slug(job.arm)}"


def _base_name(job: Job) -> str:
    return f"{job.place}/{BASE}"
