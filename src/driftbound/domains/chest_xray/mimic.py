"""MIMIC-CXR: the tables of MIMIC-CXR-JPG 2.x, and films and reports as they lie beside them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Literal

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.sections import by_name, read_sectioned
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, UNCERTAIN, Film, Study
from driftbound.errors import CaseError
from driftbound.store.manifest import one_line

METADATA, SPLIT = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"
LABELS = {
    "chexpert": "mimic-cxr-2.0.0-chexpert.csv",
    "negbio": "mimic-cxr-2.0.0-negbio.csv",
    "radiologist": "mimic-cxr-2.1.0-test-set-labeled.csv",
}
OPACITY, AIRSPACE = "Lung Opacity", "Airspace Opacity"
"""The radiologists' file has another name for this one."""
SPLITS = {"train": "train", "validate": "validation", "test": "test"}
FRONTAL, LATERAL = frozenset({"AP", "PA"}), frozenset({"LATERAL", "LL"})
SUFFIX = {"jpg": ".jpg", "dicom": ".dcm"}
TOPS = ("files", ".")
"""Where the folders p10 to p19 of the reports may lie below their root, or below a folder or two in it."""
_VALUES = {"1.0": POSITIVE, "1": POSITIVE, "0.0": NEGATIVE, "0": NEGATIVE, "-1.0": UNCERTAIN, "-1": UNCERTAIN}
Labeler = Literal["chexpert", "negbio", "radiologist"]


@dataclass(slots=True)
class _Rows:
    """What the rows of a study have told so far."""

    patient: str
    taken: tuple[int, float]
    split: str = ""
    films: list[Film] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_mimic(
    root: Path,
    *,
    images: Literal["jpg", "dicom"],
    labeler: Labeler,
    reports: Path | None = None,
    sectioned: Path | None = None,
) -> list[Study]:
    """The studies of MIMIC-CXR, by patient and time.

    ``root`` holds the tables and, below ``files``, the films. Split and metadata are joined by film, labels
    by study. The radiologists' labels are of a part of the test studies: with them only those are returned.
    ``reports`` is a folder with ``p10/p10000032/s50414267.txt``, or some folders above; ``sectioned``
    is ``mimic_cxr_sectioned.csv``. A study without labels, frontal film or report has a note; a film in no
    split is left out with a note, and a study with no other film is there without films and split. Raises
    ``CaseError`` naming the file, the column and the columns found, or the line: a value that is none, rows
    that contradict each other, a patient in two splits; and where no study has a report in what was given.
    """
    labels = read_labels(root, labeler)
    rows = _films(root, SUFFIX[images], labels if labeler == "radiologist" else None)
    studies = []
    for study, own in rows.items():
        patient, told = labels.get(study, (own.patient, {}))
        if patient not in ("", own.patient):
            raise CaseError(
                f"{root}: study {study} is of patient {own.patient} in {METADATA} and of {patient} in "
                f"{LABELS[labeler]}. Give tables of one release."
            )
        made = Study(
            study_id=study,
            patient=own.patient,
            films=tuple(own.films),
            split=own.split,
            labels=told,
            taken=own.taken,
            notes=(*own.notes, *_notes(own.films, study in labels)),
        )
        studies.append(made)
    studies.sort(key=lambda study: (study.patient, study.taken or (0, 0.0), study.study_id))
    return _with_reports(studies, sectioned, reports)


def previous(studies: Sequence[Study]) -> dict[str, str]:
    """Study -> the same patient's study before it in time; the first ones are not there.

    Study numbers are no order. Of two studies at one moment the one with the smaller number is the earlier.
    """
    by_patient: dict[str, list[Study]] = defaultdict(list)
    for study in studies:
        if study.taken is not None:
            by_patient[study.patient].append(study)
    found: dict[str, str] = {}
    for own in by_patient.values():
        own.sort(key=lambda study: (study.taken, study.study_id))
        found |= {later.study_id: sooner.study_id for sooner, later in pairwise(own)}
    return found


def report_of(study: Study) -> Study:
    """The study with the sections of its report's file, which is read now; a note where that fails."""
    if study.report is None:
        return study
    try:
        text = study.report.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return replace(study, notes=(*study.notes, f"report cannot be read ({one_line(error)})"))
    sections = by_name(text)
    notes = study.notes if sections else (*study.notes, "report says nothing")
    return replace(study, sections=sections, notes=notes)


def _films(root: Path, suffix: str, only: Mapping[str, object] | None) -> dict[str, _Rows]:
    """Study -> its rows of the metadata, with their splits; of the studies ``only``, where they are given."""
    split, parts, seen = _splits(root / SPLIT), dict[str, str](), set[str]()
    found: dict[str, _Rows] = {}
    for where, row in rows_of(root / METADATA, _ids("ViewPosition", "StudyDate", "StudyTime")):
        study, patient, film = row["study_id"], row["subject_id"], row["dicom_id"]
        if only is not None and study not in only:
            continue
        if film in seen:
            raise CaseError(f"{where}: film {film} is there already. Take one of the rows out.")
        seen.add(film)
        taken = _taken(row, where)
        own = found.get(study)
        if own is None:
            _check_number(row, "subject_id", where)
            _check_number(row, "study_id", where)
            own = found[study] = _Rows(patient, taken)
        if own.patient != patient:
            raise CaseError(
                f"{where}: study {study} is of the patients {own.patient} and {patient}. Take one row out."
            )
        own.taken = min(own.taken, taken)
        if film not in split:
            own.notes.append(f"film {film} is in no split and left out")
            continue
        own.split = split[film]
        if parts.setdefault(patient, own.split) != own.split:
            raise CaseError(
                f"{where}: patient {patient} is in {own.split} and in {parts[patient]}. "
                "Give a split that cuts no patient in two."
            )
        path = root / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{film}{suffix}"
        own.films.append(_film(film, path, row["ViewPosition"].strip()))
    return found


def _splits(path: Path) -> dict[str, str]:
    """Film -> split, by our words."""
    found: dict[str, str] = {}
    for where, row in rows_of(path, _ids("split")):
        film, word = row["dicom_id"], row["split"]
        if word not in SPLITS:
            raise CaseError(
                f"{where}: split is {word[:40]!a}, none of {', '.join(SPLITS)}. Give the set's own file."
            )
        if found.setdefault(film, SPLITS[word]) != SPLITS[word]:
            raise CaseError(f"{where}: film {film} is in two splits. Take one of the rows out.")
    return found


def _ids(*more: str) -> tuple[str, ...]:
    return ("dicom_id", "study_id", "subject_id", *more)


def _check_number(row: Mapping[str, str], column: str, where: str) -> None:
    """Ids that a program has written anew, such as ``10000032.0``, would name no folder and no patient."""
    cell = row[column]
    if not (cell.isascii() and cell.isdigit()):
        raise CaseError(f"{where}: {column} is {cell[:40]!a}, no plain number. Give the set's own file.")


def _taken(row: Mapping[str, str], where: str) -> tuple[int, float]:
    try:
        date, time = float(row["StudyDate"]), float(row["StudyTime"])
    except ValueError:
        date = time = float("nan")
    if not (isfinite(date) and isfinite(time)):
        raise CaseError(
            f"{where}: StudyDate {row['StudyDate']!r} or StudyTime {row['StudyTime']!r} is no number. "
            "Give the set's own file."
        )
    return int(date), time


def _film(film: str, path: Path, view: str) -> Film:
    frontal = True if view in FRONTAL else False if view in LATERAL else None
    return Film(image_id=film, path=path, view=view, frontal=frontal)


def _notes(films: Sequence[Film], labelled: bool) -> list[str]:
    found = [] if any(film.frontal for film in films) else ["no frontal film"]
    return found if labelled else [*found, "no labels"]


def read_labels(root: Path, labeler: Labeler) -> dict[str, tuple[str, dict[str, float]]]:
    """Study -> its patient, empty where the table does not tell, and finding -> raw label."""
    path = root / LABELS[labeler]
    columns = {name: name for name in FINDINGS}
    ids = ["study_id"]
    if labeler == "radiologist":
        columns[OPACITY] = AIRSPACE
    else:
        ids.append("subject_id")
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for where, row in rows_of(path, (*ids, *columns.values())):
        told = {}
        for name, column in columns.items():
            cell = row[column].strip()
            if cell and cell not in _VALUES:
                raise CaseError(f"{where}: {column} is {cell[:40]!a}, none of 1, 0, -1. Correct the row.")
            if cell:
                told[name] = _VALUES[cell]
        new = (row["subject_id"] if "subject_id" in ids else "", told)
        if found.setdefault(row["study_id"], new) != new:
            raise CaseError(
                f"{where}: study {row['study_id']} is there already, labelled otherwise. Take one row out."
            )
    return found


def _with_reports(studies: list[Study], sectioned: Path | None, reports: Path | None) -> list[Study]:
    """The studies with their sections of the table, or else their report's file; a note where none is."""
    if sectioned is not None:
        told = read_sectioned(sectioned)
        if studies and not any(study.study_id in told for study in studies):
            raise CaseError(f"{sectioned}: none of the {len(studies)} studies is in it. Give another table.")
        return [
            replace(study, sections=own)
            if (own := told.get(study.study_id))
            else replace(study, notes=(*study.notes, "no report"))
            for study in studies
        ]
    if reports is None:
        return studies
    places = [f"p{study.patient[:2]}/p{study.patient}/s{study.study_id}.txt" for study in studies]
    top = _top(reports, places)
    return [
        replace(study, report=top / place)
        if (top / place).is_file()
        else replace(study, notes=(*study.notes, "no report"))
        for study, place in zip(studies, places, strict=True)
    ]


def _top(reports: Path, places: Sequence[str]) -> Path:
    """The folder below which a report of these studies lies; others may hold films alone."""
    without = False
    for top in _tops(reports):
        without = True
        if not places or any((top / place).is_file() for place in places):
            return top
    packed = next((path for path in reports.glob("*reports*") if path.suffix in (".zip", ".gz")), None)
    cure = f"Unpack {packed.name}" if packed is not None else "Give the folder above them"
    if without:
        raise CaseError(f"{reports}: no report of these studies is in it, such as {places[0]}. {cure}.")
    raise CaseError(f"{reports}: no folder p10 to p19 with reports is in it. {cure}.")


def _tops(reports: Path) -> Iterator[Path]:
    for name in TOPS:
        if any(path.is_dir() for path in (reports / name).glob("p1?")):
            yield reports / name
    for pattern in ("*/p1?", "*/*/p1?"):
        yield from dict.fromkeys(path.parent for path in sorted(reports.glob(pattern)) if path.is_dir())
