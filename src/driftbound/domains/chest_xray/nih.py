"""ChestX-ray14 of the NIH, and ChestX-Det, whose boxes are on the same films."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.names import DENIED, told
from driftbound.domains.chest_xray.study import Film, Study
from driftbound.errors import CaseError, boundary
from driftbound.store.rowfiles import read_rows

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
DET = {
    "train": ("train.json", "ChestX_Det_train.json"),
    "test": ("test.json", "ChestX_Det_test.json"),
}
"""Split of ChestX-Det -> what its list may be called, of ten and of thirteen kinds."""
_FRONTAL = ("PA", "AP")
_NIH_FILM = re.compile(r"(\d{8})_\d{3}\.png$")


def read_nih(root: Path) -> list[Study]:
    """The films of ``Data_Entry_2017_v2020.csv`` in ``root``, each a study of its own.

    Labels are the words of ``Finding Labels``, mined from reports; the findings that the set calls by
    all their names are negative where no word stands (``names.DENIED``). No side is told: the boxes of
    ``BBox_List_2017.csv`` are marked on few films, and are not read. Films lie in
    ``images_001/images`` to ``images_012/images``, or in ``images``. Splits are those of
    ``train_val_list.txt`` (``train``) and ``test_list.txt``, where they lie in ``root``; a film in
    neither has none. Raises ``CaseError`` for a missing table or column, a film that stands twice and a
    patient in two splits.
    """
    table = next((root / name for name in TABLES if (root / name).is_file()), root / TABLES[0])
    splits, folders = _lists(root), _folders(root)
    needed = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "View Position")
    seen: dict[str, str] = {}
    patients: dict[str, str] = {}
    studies = []
    for where, row in rows_of(table, needed):
        name, patient, view = (row[each].strip() for each in ("Image Index", "Patient ID", "View Position"))
        if not name or not patient:
            raise CaseError(f"{where}: names no {'patient' if name else 'image'}. Correct the row.")
        if seen.setdefault(name, where) != where:
            raise CaseError(f"{where}: {name} is there already ({seen[name]}). Take one of the rows out.")
        split = splits.get(name, "")
        if split and patients.setdefault(patient, split) != split:
            raise CaseError(
                f"{where}: patient {patient} is in {patients[patient]} and, with {name}, in {split}. "
                "Take the patient out of one of the lists."
            )
        said = told(row["Finding Labels"].split("|"), by="nih", denied=DENIED["nih"])
        frontal = view in _FRONTAL or None
        film = Film(image_id=name, path=folders.get(name, root / "images") / name, view=view, frontal=frontal)
        studies.append(
            Study(
                study_id=name.rpartition(".")[0] or name,
                patient=patient,
                films=(film,),
                split=split,
                labels=said.labels,
                taken=(_order(row["Follow-up #"], where), 0.0),
                notes=said.notes,
            )
        )
    return studies


def read_chestx_det(root: Path) -> list[Study]:
    """The films of ``train.json`` and ``test.json`` in ``root`` (or ``ChestX_Det_train.json`` ...).

    A row is ``file_name`` and ``syms``, one word for each box. Boxes tell no side without the film's
    width, and are not read. Where a film's name is the NIH's, so is the patient; else each film is one.
    All films are frontal. Raises ``CaseError`` or ``StoreError`` for a list that cannot be read, naming
    the row.
    """
    studies = []
    for split, files in DET.items():
        path = next((root / name for name in files if (root / name).is_file()), None)
        if path is not None:
            studies += list(_det_films(path, _det_folder(root, split), split))
    if not studies:
        names = " or ".join(name for names in DET.values() for name in names)
        raise CaseError(f"{root}: no film of ChestX-Det. Give the folder that holds {names}.")
    first: dict[str, str] = {}
    for study in studies:
        if first.setdefault(study.patient, study.split) != study.split:
            raise CaseError(f"{root}: patient {study.patient} is in both lists. Take one of the films out.")
    return studies


def _lists(root: Path) -> dict[str, str]:
    """Film -> split. Raises ``CaseError`` for a film in both lists."""
    splits: dict[str, str] = {}
    for listed, split in LISTS.items():
        path = root / listed
        if not path.is_file():
            continue
        with boundary(CaseError, f"{path}: cannot be read", then="Restore the list."):
            films = path.read_text().split()
        for line in films:
            if splits.setdefault(line, split) != split:
                raise CaseError(f"{path}: {line} is in {splits[line]} too. Take it out of one of the lists.")
    return splits


def _folders(root: Path) -> Mapping[str, Path]:
    """Film -> the folder that it lies in, of those that are numbered."""
    return {film.name: folder for folder in sorted(root.glob("images_*/images")) for film in folder.iterdir()}


def _order(cell: str, where: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise CaseError(f"{where}: Follow-up # is {cell[:40]!a}. Give a whole number.") from None


def _det_films(path: Path, folder: Path, split: str) -> Iterator[Study]:
    seen: dict[str, str] = {}
    for at, row in read_rows(path):
        where = f"{path}, {at}"
        name, words = row.get("file_name"), row.get("syms")
        if not isinstance(name, str) or not isinstance(words, list):
            raise CaseError(
                f"{where}: needs file_name (text) and syms (a list). Its keys: {', '.join(row)}. Correct it."
            )
        if seen.setdefault(name, at) != at:
            raise CaseError(f"{where}: {name} is there already ({seen[name]}). Take one of the rows out.")
        said = told((str(word) for word in words), by="nih", denied=DENIED["chestx_det"])
        known = _NIH_FILM.search(name)
        stem = name.rpartition(".")[0] or name
        yield Study(
            study_id=stem,
            patient=str(int(known[1])) if known else stem,
            films=(Film(image_id=name, path=folder / name, frontal=True),),
            split=split,
            labels=said.labels,
            notes=said.notes,
        )


def _det_folder(root: Path, split: str) -> Path:
    """Where the films of a split lie: the archive unpacks to either."""
    places = (root / f"{split}_data" / split, root / f"{split}_data", root / split)
    return next((place for place in places if place.is_dir()), places[1])
