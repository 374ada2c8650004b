"""CheXpert: the first edition's tables of labels, and CheXpert Plus with its reports."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, UNCERTAIN, Film, Study
from driftbound.errors import CaseError
from driftbound.store.rowfiles import read_rows

TABLES = {"train.csv": "train", "valid.csv": "validation", "test.csv": "test"}
PLUS = "df_chexpert_plus_240401.csv"
LABELS = ("", "chexbert_labels")
"""Folders in which the labels of CheXpert Plus may lie."""
SPLITS = {"train": "train", "valid": "validation", "test": "test"}
"""Folder of a film -> split."""
SECTION = "section_"
"""Beginning of a column with one section of the report."""
PLUS_NEEDED = (
    *("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order", "split"),
    *(f"{SECTION}findings", f"{SECTION}impression"),
)
_FILM = re.compile(r"(?:^|/)((train|valid|test)/(patient\d+)/(study\d+)/([^/]+))$")
_FRONTAL = {"frontal": True, "lateral": False}
_VALUES = {POSITIVE, NEGATIVE, UNCERTAIN}


@dataclass(slots=True)
class _Rows:
    """A study while its films are gathered."""

    patient: str
    split: str
    films: list[Film] = field(default_factory=list)
    labels: dict[str, float] | None = None
    sections: dict[str, str] | None = None
    taken: tuple[int, float] | None = None
    notes: dict[str, None] = field(default_factory=dict)


def read_chexpert(root: Path) -> list[Study]:
    """The studies of ``train.csv``, ``valid.csv`` and ``test.csv`` in ``root``, those that are there.

    A film lies in ``root`` where its path says from ``train/``, ``valid/`` or ``test/`` on; patient and
    study are read off it. Labels stand with each film and are of the study; where films differ the
    first counts and the study says so. The split is the film's folder. Raises ``CaseError`` (no table,
    a missing column, a path or label that makes no sense, a patient in two splits) naming file and line.
    """
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if not tables:
        raise CaseError(f"{root}: none of {', '.join(TABLES)} is in it. Give the folder that holds them.")
    found: dict[str, _Rows] = {}
    for table in tables:
        needed = ("Path", "Frontal/Lateral", "AP/PA", *FINDINGS)
        for where, row in rows_of(table, needed):
            study = _film(found, root, row["Path"], row["Frontal/Lateral"], row["AP/PA"], where)
            _take_labels(study, {finding: row[finding] for finding in FINDINGS}, where)
    return list(_made(found))


def read_chexpert_plus(root: Path, *, labels: Literal["report", "findings", "impression", ""]) -> list[Study]:
    """The studies of ``df_chexpert_plus_240401.csv`` in ``root``, with the sections of their reports.

    ``labels`` names the text that the labels are of (``report_fixed.json`` and so on, JSON lines in
    ``root`` or ``root/chexbert_labels``); empty: none are read. Studies stand in time by the order of
    the patient's reports. The whole ``report`` is not held; its sections are. Raises ``CaseError`` or
    ``StoreError``, naming file and line.
    """
    table = root / PLUS
    told = _plus_labels(root, labels) if labels else {}
    found: dict[str, _Rows] = {}
    for where, row in rows_of(table, PLUS_NEEDED):
        path = row["path_to_image"]
        study = _film(found, root, path, row["frontal_lateral"], row["ap_pa"], where)
        split = SPLITS.get(row["split"].strip().lower())
        if split != study.split:
            raise CaseError(
                f"{where}: split is {row['split']!r}, but {path!r} lies in another. Correct the row."
            )
        if row["deid_patient_id"].strip() != study.patient:
            raise CaseError(f"{where}: {path!r} is not of {row['deid_patient_id']!r}. Correct the row.")
        study.taken = (_order(row["patient_report_date_order"], where), 0.0)
        sections = {
            name.removeprefix(SECTION): text.strip()
            for name, text in row.items()
            if name.startswith(SECTION) and text.strip()
        }
        if study.sections is None:
            study.sections = sections
        elif study.sections != sections:
            study.notes["films differ in sections: the first counts"] = None
        if labels and path not in told:
            study.notes[f"no labels of the {labels}"] = None
        elif labels:
            _take_labels(study, told[path], where)
    return list(_made(found))


def _film(found: dict[str, _Rows], root: Path, path: str, side: str, view: str, where: str) -> _Rows:
    """Put a film with its study, which is made where it is the first. Raises ``CaseError``."""
    parts = _FILM.search(path.strip())
    if parts is None:
        raise CaseError(
            f"{where}: {path!r} is no path as train/patient00001/study1/view1_frontal.jpg. Correct the row."
        )
    inner, folder, patient, number, name = parts.groups()
    study = found.setdefault(f"{patient}_{number}", _Rows(patient, SPLITS[folder]))
    if study.split != SPLITS[folder]:
        raise CaseError(f"{where}: {patient} is in {study.split} too. Take one of the rows out.")
    image_id = f"{patient}_{number}_{name.rpartition('.')[0]}"
    if any(film.image_id == image_id for film in study.films):
        raise CaseError(f"{where}: {path!r} is there already. Take one of the rows out.")
    frontal = _FRONTAL.get(side.strip().lower())
    if frontal is None:
        study.notes[f"view {side!r} is neither frontal nor lateral"] = None
    film = Film(
        image_id=image_id, path=root / inner, view=view.strip() or side.strip().upper(), frontal=frontal
    )
    study.films.append(film)
    return study


def _take_labels(study: _Rows, cells: Mapping[str, object], where: str) -> None:
    labels = {}
    for finding, cell in cells.items():
        if cell is None or cell == "":
            continue
        try:
            value = float(str(cell))
        except ValueError:
            value = 2.0
        if value not in _VALUES:
            raise CaseError(f"{where}: {finding} is {str(cell)[:40]!a}, none of 1, 0, -1. Correct the row.")
        labels[finding] = value
    if study.labels is None:
        study.labels = labels
    elif study.labels != labels:
        study.notes["films differ in labels: the first counts"] = None


def _plus_labels(root: Path, of: str) -> dict[str, dict[str, object]]:
    """Film's path -> finding -> value, as the labels' file says."""
    places = [root / folder / f"{of}_fixed.json" for folder in LABELS]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise CaseError(
            f"{places[0]}: labels are missing, and so is {places[1]}. "
            "Put the file there, or read other labels or none."
        )
    found = {}
    for at, row in read_rows(path):
        missing = [name for name in ("path_to_image", *FINDINGS) if name not in row]
        if missing:
            raise CaseError(
                f"{path}, {at}: no {missing[0]!r}. Its columns: {', '.join(row)}. Give the file of labels."
            )
        found[str(row["path_to_image"])] = {finding: row[finding] for finding in FINDINGS}
    return found


def _order(cell: str, where: str) -> int:
    try:
        return int(float(cell))
    except (ValueError, OverflowError):
        raise CaseError(
            f"{where}: patient_report_date_order is {cell[:40]!a}. Give a whole number."
        ) from None


def _made(found: Mapping[str, _Rows]) -> Iterator[Study]:
    _one_split_each(found.values())
    for name, rows in found.items():
        yield Study(
            study_id=name,
            patient=rows.patient,
            films=tuple(rows.films),
            split=rows.split,
            labels=rows.labels or {},
            sections=rows.sections or {},
            taken=rows.taken,
            notes=tuple(rows.notes),
        )


def _one_split_each(found: Iterable[_Rows]) -> None:
    splits: dict[str, str] = {}
    for rows in found:
        first = splits.setdefault(rows.patient, rows.split)
        if first != rows.split:
            raise CaseError(
                f"{rows.patient} is in {first} and in {rows.split}. Take the patient out of one of them."
            )
