"""RSNA Pneumonia: boxes of opacities that make one suspect pneumonia, a patient to a film."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from driftbound.domains.chest_xray.boxes import joined, side_of
from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.names import unknown
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, Film, Study
from driftbound.errors import CaseError

TABLE, CLASSES, IMAGES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv", "stage_2_train_images"
BOXED = ("Pneumonia", "Lung Opacity")
"""What a box means: loosely both, an opacity in which readers suspect pneumonia."""
CLASS: dict[str, dict[str, float]] = {
    "lung opacity": {"Lung Opacity": POSITIVE},
    "normal": {"Lung Opacity": NEGATIVE, "No Finding": POSITIVE},
    "no lung opacity / not normal": {"Lung Opacity": NEGATIVE, "No Finding": NEGATIVE},
}
"""Class of a film, in small letters -> what it says."""


@dataclass(slots=True)
class _Rows:
    """A film while its boxes are gathered."""

    targets: set[str] = field(default_factory=set)
    sides: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)


def read_rsna(root: Path, *, width: float | None = None) -> list[Study]:
    """The films of ``stage_2_train_labels.csv`` in ``root``, a row for each box.

    ``Target`` 1 is Pneumonia and Lung Opacity, loosely; 0 denies Pneumonia, and Lung Opacity only where
    ``stage_2_detailed_class_info.csv`` lies in ``root``, which tells No Finding too. Sides are told only
    where the films' ``width`` in pixels is given: by the boxes' centres against the image's middle. All
    films are frontal; there is no split. Rows that disagree on a film are noted, and label nothing.
    Raises ``CaseError`` for a missing table or column and for a value that makes no sense.
    """
    found: dict[str, _Rows] = {}
    for where, row in rows_of(root / TABLE, ("patientId", "x", "y", "width", "height", "Target")):
        patient, target = row["patientId"].strip(), row["Target"].strip()
        if not patient or target not in ("0", "1"):
            what = f"Target is {target[:40]!a}, neither 0 nor 1" if patient else "names no patient"
            raise CaseError(f"{where}: {what}. Correct the row.")
        rows = found.setdefault(patient, _Rows())
        rows.targets.add(target)
        if target == "1":
            left, across = (_number(row[name], name, where) for name in ("x", "width"))
            if width is not None:
                rows.sides.add(side_of(left, left + across, width))
    if (root / CLASSES).is_file():
        for where, row in rows_of(root / CLASSES, ("patientId", "class")):
            patient = row["patientId"].strip()
            if patient not in found:
                raise CaseError(f"{where}: {patient!r} is not in {TABLE}. Correct the row.")
            found[patient].classes.add(row["class"].strip())
    return list(_made(found, root / IMAGES))


def _made(found: dict[str, _Rows], folder: Path) -> Iterator[Study]:
    for patient, rows in found.items():
        boxed = "1" in rows.targets
        labels = dict.fromkeys(BOXED, POSITIVE) if boxed else {"Pneumonia": NEGATIVE}
        notes = list(unknown(each for each in rows.classes if each.lower() not in CLASS))
        for each in rows.classes:
            told = CLASS.get(each.lower(), {})
            if any(labels.setdefault(finding, value) != value for finding, value in told.items()):
                notes.append(f"class {each!r} disagrees with its boxes: no label")
        if len(rows.targets) > 1:
            notes.append("rows disagree on Target: no label")
        if any(note.endswith("no label") for note in notes):
            labels = {}
        side = joined(rows.sides) if labels else ""
        yield Study(
            study_id=patient,
            patient=patient,
            films=(Film(image_id=patient, path=folder / f"{patient}.dcm", frontal=True),),
            labels=labels,
            sides=dict.fromkeys(BOXED, side) if side else {},
            notes=tuple(notes),
        )


def _number(cell: str, name: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise CaseError(f"{where}: {name} is {cell[:40]!a}, no number. Correct the row.") from None
