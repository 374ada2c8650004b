"""MIMIC-CXR: the tables of MIMIC-CXR-JPG 2.x, and films and reports as they lie beside them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
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
TOPS = ("files", "mimic-cxr-reports/files", "mimic-cxr-reports", ".")
"""Where the folders p10 to p19 of the reports may lie below their root."""
_VALUES = {"1.0": POSITIVE, "1": POSITIVE, "0.0": NEGATIVE, "0": NEGATIVE, "-1.0": UNCERTAIN, "-1": UNCERTAIN}
Labeler = Literal["chexpert", "negbio", "radiologist"]


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
    ``reports`` is a folder with ``p10/p10000032/s50414267.txt``, or one or two folders above; ``sectioned``
    is ``mimic_cxr_sectioned.csv``. A study without labels, frontal film or report has a note. Raises
    ``CaseError`` naming the file, the column and the columns found.
    """
    split = {row["dicom_id"]: (where, row["split"]) for where, row in rows_of(root / SPLIT, _ids("split"))}
    labels = _labels(root / LABELS[labeler], labeler)
    found: dict[str, list[Film]] = defaultdict(list)
    facts: dict[str, tuple[str, str, tuple[int, float]]] = {}
    notes: dict[str, list[str]] = defaultdict(list)
    for where, row in rows_of(root / METADATA, _ids("ViewPosition", "StudyDate", "StudyTime")):
        study, patient, film = row["study_id"], row["subject_id"], row["dicom_id"]
        if labeler == "radiologist" and study not in labels:
            continue
        if film not in split:
            notes[study].append(f"film {film} is in no split and left out")
            continue
        name = _split(*split[film])
        known = facts.setdefault(study, (patient, name, _taken(row, where)))
        if known[:2] != (patient, name):
            raise CaseError(f"{where}: study {study} is of two patients or splits. Take one of the rows out.")
        path = root / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{film}{SUFFIX[images]}"
        found[study].append(_film(film, path, row["ViewPosition"].strip()))
    told = read_sectioned(sectioned) if sectioned is not None else None
    top = _top(reports) if reports is not None else None
    studies = []
    for study, (patient, name, taken) in facts.items():
        made = Study(
            study_id=study,
            patient=patient,
            films=tuple(found[study]),
            split=name,
            labels=labels.get(study, {}),
            taken=taken,
            notes=(*notes[study], *_notes(found[study], study in labels)),
        )
        studies.append(_with_report(made, told, top))
    return sorted(studies, key=lambda study: (study.patient, study.taken or (0, 0.0), study.study_id))


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


def _ids(*more: str) -> tuple[str, ...]:
    return ("dicom_id", "study_id", "subject_id", *more)


def _split(where: str, word: str) -> str:
    if word not in SPLITS:
        raise CaseError(f"{where}: split is {word!r}, none of {', '.join(SPLITS)}. Give the set's own file.")
    return SPLITS[word]


def _taken(row: Mapping[str, str], where: str) -> tuple[int, float]:
    try:
        return int(float(row["StudyDate"])), float(row["StudyTime"])
    except ValueError:
        raise CaseError(
            f"{where}: StudyDate {row['StudyDate']!r} or StudyTime {row['StudyTime']!r} is no number. "
            "Give the set's own file."
        ) from None


def _film(film: str, path: Path, view: str) -> Film:
    frontal = True if view in FRONTAL else False if view in LATERAL else None
    return Film(image_id=film, path=path, view=view, frontal=frontal)


def _notes(films: Sequence[Film], labelled: bool) -> list[str]:
    found = [] if any(film.frontal for film in films) else ["no frontal film"]
    return found if labelled else [*found, "no labels"]


def _labels(path: Path, labeler: Labeler) -> dict[str, dict[str, float]]:
    """Study -> finding -> raw label."""
    columns = {name: name for name in FINDINGS}
    if labeler == "radiologist":
        columns[OPACITY] = AIRSPACE
    found = {}
    for where, row in rows_of(path, ("study_id", *columns.values())):
        told = {}
        for name, column in columns.items():
            cell = row[column].strip()
            if cell and cell not in _VALUES:
                raise CaseError(f"{where}: {column} is {cell[:40]!a}, none of 1, 0, -1. Correct the row.")
            if cell:
                told[name] = _VALUES[cell]
        found[row["study_id"]] = told
    return found


def _top(reports: Path) -> Path:
    """The folder that holds those of the patients."""
    for name in TOPS:
        if next((reports / name).glob("p1?"), None) is not None:
            return reports / name
    deeper = next((path for path in reports.glob("*/p1?") if path.is_dir()), None)
    if deeper is not None:
        return deeper.parent
    raise CaseError(f"{reports}: no folder p10 to p19 with reports is in it. Give the folder above them.")


def _with_report(study: Study, told: Mapping[str, Mapping[str, str]] | None, top: Path | None) -> Study:
    if told is not None:
        own = told.get(study.study_id, {})
        return replace(study, sections=own) if own else replace(study, notes=(*study.notes, "no report"))
    if top is None:
        return study
    path = top / f"p{study.patient[:2]}" / f"p{study.patient}" / f"s{study.study_id}.txt"
    if not path.is_file():
        return replace(study, notes=(*study.notes, "no report"))
    return replace(study, report=path)
