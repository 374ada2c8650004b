"""CXR-MAX as a run's answers: which of its rows speak of the films that the run's cases show."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from driftbound.domains.chest_xray.cases import SHOWN
from driftbound.domains.chest_xray.cxr_max import Answers, read_cxr_max
from driftbound.errors import StoreError
from driftbound.progress import say
from driftbound.records import Status, Trajectory
from driftbound.store.rowfiles import read_rows
from driftbound.store.tables import read_cases

NAME, SENSITIVITY = "cxr-max", "credentialed"
"""What a recipe calls the set, and what all of it is: its texts are derived from MIMIC-CXR."""
OTHER_CASE, OTHER_FILM = "of studies that are no case", "of another film of a case's study"
"""Why a row makes no answer."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The cases of a run, by what a file may call them."""

    cases: frozenset[str]
    films: Mapping[str, str] = field(default_factory=dict)
    """Film that is shown -> its case."""

    def case_of(self, row: Answers) -> tuple[str, str]:
        """The case that a row speaks of, and, where it is none, why.

        A film goes before a study: of a study with two frontal films the case shows one.

        >>> shown = Shown(frozenset({"50000001"}), {"f1": "50000001"})
        >>> shown.case_of(Answers(case_id="x", study="s50000001", dicom="f1"))
        ('50000001', '')
        >>> shown.case_of(Answers(case_id="x", study="50000001", dicom="f2"))
        ('', "of another film of a case's study")
        """
        study = row.study[1:] if row.study[:1] == "s" and row.study[1:].isdecimal() else row.study
        film = row.dicom or PurePosixPath(row.image.replace("\\", "/")).stem
        for name in (film, row.case_id):
            if name in self.films:
                return self.films[name], ""
        if row.dicom:
            return "", OTHER_FILM if study in self.cases else OTHER_CASE
        known = next((name for name in (study, row.case_id) if name in self.cases), "")
        return known, "" if known else OTHER_CASE


def shown_in(run: Path) -> Shown:
    """What the cases of a run folder show. Raises ``StoreError`` where nothing was noted of it."""
    path = run / SHOWN
    if not path.is_file():
        raise StoreError(
            f"{path}: no such file: these cases were made by an older driftbound. "
            "Make them anew with --force, or choose another --name."
        )
    films = {str(row["film"]): str(row["study"]) for _, row in read_rows(path)}
    return Shown(frozenset(case.case_id for case in read_cases(run / "cases.parquet")), films)


def answers_of(path: Path, run: Path, columns: Mapping[str, str]) -> Iterator[Trajectory]:
    """The answers of every teacher of a file to the cases of a run, by the file's own names.

    What is left out, and what is odd about the rest, is told in a line each. Raises what
    ``read_cxr_max`` does, and ``StoreError`` where no row speaks of a case of the run.
    """
    shown = shown_in(run)
    rows = read_cxr_max(path, columns=columns)
    left_out, notes = Counter[str](), Counter[str]()
    told: list[tuple[str, Answers]] = []
    for row in rows:
        case_id, why = shown.case_of(row)
        if case_id:
            told.append((case_id, row))
            notes.update(row.notes)
        else:
            left_out[why] += 1
    if not told:
        named = next((row.image or row.case_id for row in rows), "nothing")
        raise StoreError(
            f"{path}: none of its {len(rows)} rows speaks of a case of this run ({_listed(left_out)}). "
            f"It names cases like {named!r}, the run like {min(shown.cases)!r} and {min(shown.films)!r}. "
            "Give the file of these studies, or columns: {study: COLUMN} or {image: COLUMN}."
        )
    say(f"{path.name}: {len(told)} of {len(rows)} rows speak of {len(shown.cases)} cases")
    for what, counted in (("left out", left_out), ("odd", notes)):
        if counted:
            say(f"{path.name}: {what}: {_listed(counted)}")
    for case_id, row in told:
        for teacher, text in row.answers.items():
            yield Trajectory(case_id=case_id, teacher=teacher, status=Status.OK, text=text)


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counted.items())) or "it is empty"
