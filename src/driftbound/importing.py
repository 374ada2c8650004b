"""Importing: answers given elsewhere become answers of a run, as if its collect had asked for them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from driftbound.collecting import reopen
from driftbound.config import DomainConfig
from driftbound.domains.registry import load_domain
from driftbound.errors import ConfigError, StoreError
from driftbound.exporting import manifest_of
from driftbound.pipeline import locked
from driftbound.progress import counted, say
from driftbound.protocols import Domain
from driftbound.records import Status, Trajectory
from driftbound.stages.recordings import read_recording, sensitivity_of_file
from driftbound.stances import told_by_either
from driftbound.store.exchange import note_import, read_trajectories
from driftbound.store.folder import RunFolder
from driftbound.store.foreign import Answer
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.store.wanted import asked_of, teachers
from driftbound.teachers.recorded import names_of
from driftbound.teachers.statuses import status_of

ELSEWHERE = "answered elsewhere"
"""Note of an answer that a foreign file told."""


def import_answers(
    run: Path,
    file: Path,
    *,
    teacher: str = "",
    stream: str = "",
    columns: Mapping[str, str] | None = None,
    format: str = "",
) -> tuple[int, int]:
    """Take a file's answers into a run, all or none; returns how many were new and how many were there.

    Without ``teacher`` the file holds trajectories, which come in as they are. With it, those that
    the file tells of ``stream`` (else of the same name) become the answers of this teacher of the
    run to what its recipe asks; answers to anything else are left out, which is said. ``format`` names
    a published set of the run's field that the file is. What that or the manifest beside the file says
    of its sensitivity goes on with all that the run makes.

    Raises ``ConfigError`` for an unknown teacher, column or set, and ``StoreError`` for a run that asks
    nothing yet, a file that cannot be understood, and two final answers to one request.
    """
    if not teacher and (stream or columns or format):
        raise ConfigError(
            "--stream, --column and --format need --teacher NAME, the teacher of the run who said it."
        )
    whole, folder = manifest_of(run), RunFolder(run)
    collect = folder.stage("collect")
    domain = load_domain(DomainConfig.model_validate(whole.config["domain"]), whole.seed)
    record = {
        "file": file.name,
        "sha256": sha256_tree(file) if file.is_dir() else sha256_file(file),
        "teacher": teacher,
        "sensitivity": sensitivity_of_file(domain, file, format, "--format"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def noted(trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        yield from trajectories
        note_import(collect, record)  # before they count, so that their sensitivity is never lost

    left_out: Counter[str] = Counter()
    with locked(run), Streams(folder.streams) as streams:
        try:
            if teacher:
                wanted = _asked_of(teacher, run, streams)
                answers = read_recording(domain, run, file, format, stream or teacher, columns or {})
                found = _of_teacher(domain, folder, answers, teacher, wanted, left_out)
            else:
                found = read_trajectories(file)
            new, there = streams.add(noted(counted("import: answers", found)))
        finally:
            streams.seal()
        if new:
            reopen(folder)
    for what, n in sorted(left_out.items()):
        say(f"import: {n} {what} left out")
    return new, there


def _asked_of(teacher: str, run: Path, streams: Streams) -> dict[tuple[str, int], tuple[str, str]]:
    """Case and sample -> request that is put to a teacher of the run, and what its prompt gives away."""
    names = teachers(streams, wave=0)
    if not names:
        raise StoreError(
            f"{run}: nothing is asked yet. Start 'driftbound collect' with its recipe once (it may be "
            "stopped, or stop for want of a key), then import, then run it again."
        )
    if teacher not in names:
        near = get_close_matches(teacher, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its teachers: {', '.join(names)}."
        raise ConfigError(f"--teacher: the run has no {teacher!r}; {hint}")
    return asked_of(streams, teacher, wave=0)


def _of_teacher(
    domain: Domain,
    folder: RunFolder,
    answers: Iterable[Answer],
    teacher: str,
    wanted: Mapping[tuple[str, int], tuple[str, str]],
    left_out: Counter[str],
) -> Iterator[Trajectory]:
    """Answers as the teacher's own, each to the request that the recipe puts to it."""
    cases = read_cases(folder.cases)
    known = names_of(cases)
    n, named = 0, ""
    for answer in answers:
        named = answer.case_id or answer.image
        case_id = known.get(named) or known.get(Path(named).name, "")
        asked = wanted.get((case_id, answer.sample))
        if asked is None:
            what = "answers that this teacher is not asked for" if case_id else "answers to other cases"
            left_out[what] += 1
            continue
        n += 1
        yield Trajectory(
            case_id=case_id,
            teacher=teacher,
            status=_status(answer, domain.is_refusal),
            text=answer.text,
            sample=answer.sample,
            finish_reason=answer.finish_reason,
            version=answer.version,
            request_hash=asked[0],
            prompt_discloses=told_by_either(asked[1], answer.prompt_discloses),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            error=answer.error,
            note=ELSEWHERE,
        )
    if not n:
        raise StoreError(
            f"{folder.root}: nothing of the file is asked of {teacher} here. The file names cases like "
            f"{named!r}, the run like {cases[0].case_id!r}. Write --column case_id=COLUMN."
        )


def _status(answer: Answer, is_refusal: Callable[[str], bool]) -> Status:
    if answer.error:
        return Status.FAILED
    return status_of(answer.text, answer.finish_reason, "refused" if answer.refused else "", is_refusal)
