"""Asking: finds the student that a word of the command line means, and puts a question to it."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from driftbound.config import DomainConfig
from driftbound.domains.registry import load_domain
from driftbound.errors import ConfigError, ModelError
from driftbound.phantom_base import resolve_base
from driftbound.progress import bar
from driftbound.records import Case
from driftbound.store.folder import RunFolder
from driftbound.store.images import read_image
from driftbound.store.manifest import Manifest
from driftbound.store.plan import made_of
from driftbound.store.tables import read_cases

STUDENTS = {"base": "", "bootstrapped": "bootstrap", "aligned": "align"}
"""Students of a run and the stage that leaves each; the base was there before."""


def ask(
    student: str, images: Sequence[Path], *, question: str = "", max_new_tokens: int = 160
) -> Iterator[tuple[Path, str]]:
    """The student's greedy answer about each image, in order, each as soon as it is there.

    ``student`` is ``RUN:base``, ``RUN:bootstrapped``, ``RUN:aligned``, a checkpoint folder or a name
    that ``resolve_base`` knows. Every image is read before the model is loaded. Raises
    ``CaseError`` for a missing or unreadable image, ``ModelError`` for an unknown or unfinished
    student, ``ConfigError`` where there is no question to put.
    """
    for path in images:
        read_image(path)
    checkpoint, folder = find_student(student)
    asked = question or _question(folder)
    from driftbound.learning.policy import LocalPolicy

    policy = LocalPolicy.load(resolve_base(checkpoint), threads=0)
    with bar(f"asking {student}", len(images)) as advance:
        for path in images:
            answer, _ = policy.generate([asked], [[path]], max_new_tokens=max_new_tokens)[0]
            advance()
            yield path, answer


def find_student(student: str) -> tuple[str, RunFolder | None]:
    """What to load for a student, and the run that it belongs to, if any."""
    root, colon, which = student.rpartition(":")
    if Path(student).is_dir() or not colon:
        around = RunFolder(Path(student).resolve().parent.parent)
        return student, around if Path(student).is_dir() and around.cases.exists() else None
    folder = RunFolder(Path(root))
    if which not in STUDENTS:
        near = get_close_matches(which, STUDENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"students: {', '.join(STUDENTS)}."
        raise ConfigError(f"{student}: no student of a run is called {which!r}; {hint}")
    if which == "base":
        made = made_of(folder.stage("bootstrap"))
        if made is None:
            raise ModelError(f"{student}: {root} has no bootstrap stage. Name another run, or run it.")
        return str(made.plan.config["bootstrap"]["base"]), folder
    if Manifest.read(folder.stage(STUDENTS[which])) is None:
        raise ModelError(f"{student}: {STUDENTS[which]} has not finished in {root}. Run it, or name another.")
    return str(folder.student(STUDENTS[which])), folder


def _question(folder: RunFolder | None) -> str:
    """The question of the run's first case; outside a run, that of the default field."""
    manifest = Manifest.read(folder.root) if folder is not None else None
    if folder is not None and manifest is not None:
        domain = load_domain(DomainConfig.model_validate(manifest.config["domain"]), manifest.seed)
        question = domain.question(read_cases(folder.cases)[0])
    else:
        case = Case(case_id="asked", cluster="asked", split="test", prompt="", images=())
        question = load_domain(DomainConfig.model_validate({}), 0).question(case)
    if not question:
        raise ConfigError("there is no question to put. Give one with --question.")
    return question
