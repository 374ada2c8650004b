"""Recordings: answers that a file holds already, read as rows or as a published set of the run's field."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from driftbound.errors import ConfigError
from driftbound.protocols import Domain, Publishing, Teacher
from driftbound.records import Trajectory
from driftbound.stages.context import Context
from driftbound.store.exchange import note_import, sensitivity_beside, strictest
from driftbound.store.foreign import Answer, of_stream, of_trajectories, read_answers
from driftbound.store.tables import read_cases
from driftbound.teacher_config import TeacherConfig
from driftbound.teachers.recorded import RecordedTeacher
from driftbound.teachers.requests import params_of


class Recordings:
    """The files of a recipe's recorded teachers; one that several of them share is read once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: dict[str, Mapping[str, list[Trajectory]]] = {}

    def teacher(self, teacher: TeacherConfig) -> Teacher:
        """One of the recipe's recorded teachers; what the file says of its sensitivity is noted first.

        Raises ``ConfigError`` for a set that the field does not know, ``StoreError`` or ``CaseError`` for a
        file that cannot be read or says nothing of the run's cases.
        """
        path, stream = Path(teacher.path), teacher.stream or teacher.name
        sensitivity = sensitivity_of_file(self._context.domain, path, teacher.format, teacher.name)
        record = {"file": str(path), "teacher": teacher.name, "sensitivity": sensitivity}
        note_import(self._context.folder.stage("collect"), record)  # it goes on with all that the run makes
        return RecordedTeacher(
            teacher.name,
            path,
            model=teacher.model,
            params=params_of(teacher, self._context.recipe.collect),
            stream=stream,
            answers=self._answers(teacher, path, stream),
            cases=read_cases(self._context.folder.cases),
            is_refusal=self._context.domain.is_refusal,
        )

    def _answers(self, teacher: TeacherConfig, path: Path, stream: str) -> Iterable[Answer]:
        domain, run = self._context.domain, self._context.folder.root
        if not teacher.format:
            return read_recording(domain, run, path, "", stream, teacher.columns)
        key = repr((teacher.format, teacher.path, sorted(teacher.columns.items())))
        if key not in self._read:
            found: dict[str, list[Trajectory]] = defaultdict(list)
            for each in _published(domain, teacher.format, path, run, teacher.columns):
                found[each.teacher].append(each)
            self._read[key] = dict(found)
        told = self._read[key]
        # The others come behind, each once: they are named where this teacher has said nothing.
        some = [*told.get(stream, []), *(own[0] for name, own in told.items() if name != stream)]
        return of_stream(path, of_trajectories(some), stream)


def read_recording(
    domain: Domain, run: Path, path: Path, name: str, stream: str, columns: Mapping[str, str]
) -> Iterable[Answer]:
    """Answers of ``stream`` in a file: of rows, or of the published set ``name``; raises as their readers."""
    if not name:
        return read_answers(path, stream=stream, columns=columns)
    return of_stream(path, of_trajectories(_published(domain, name, path, run, columns)), stream)


def _published(
    domain: Domain, name: str, path: Path, run: Path, columns: Mapping[str, str]
) -> Iterable[Trajectory]:
    assert isinstance(domain, Publishing)
    return domain.published_answers(name, path, run, columns)


def sensitivity_of_file(domain: Domain, path: Path, name: str, who: str) -> str:
    """The stricter of what the manifest beside a file says and what the set ``name`` always is.

    Raises ``ConfigError`` where the field knows no such set; an empty name is none.
    """
    if not name:
        return sensitivity_beside(path)
    known = domain.formats if isinstance(domain, Publishing) else {}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known) or 'none'}."
        raise ConfigError(f"{who}: format: the field {domain.name!r} knows no set {name!r}; {hint}")
    return strictest([sensitivity_beside(path), known[name]])
