"""SIIM-ACR Pneumothorax: masks by run lengths, of which only is told whether there is one."""

from pathlib import Path

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, Film, Study
from driftbound.errors import CaseError

TABLE, IMAGES = "train-rle.csv", "dicom-images-train"
MASK = ("EncodedPixels", " EncodedPixels")
"""The column as one would write it, and as it stands: with a space."""
NONE = "-1"


def read_siim(root: Path) -> list[Study]:
    """The films of ``train-rle.csv`` in ``root``, a row for each mask; ``-1`` stands for none.

    Files lie in folders within folders of ``dicom-images-train``, which are searched once by name; a
    film that is not there says so, with the path where the folder would hold it. The set names no
    patients: each film is one. All are frontal; there is no split. A film with a mask and with none is
    noted, and labels nothing. Raises ``CaseError`` for a missing table or column and an empty cell.
    """
    files = {path.stem: path for path in sorted((root / IMAGES).rglob("*.dcm"))}
    found: dict[str, set[bool]] = {}
    for where, row in rows_of(root / TABLE, ("ImageId",)):
        name = next((name for name in MASK if name in row), None)
        if name is None:
            raise CaseError(f"{where}: no column 'EncodedPixels'. Its columns: {', '.join(row)}. Correct it.")
        image, mask = row["ImageId"].strip(), row[name].strip()
        if not image or not mask:
            raise CaseError(f"{where}: has no {'mask, nor -1' if image else 'ImageId'}. Correct the row.")
        found.setdefault(image, set()).add(mask != NONE)
    studies = []
    for image, masks in found.items():
        notes = []
        if len(masks) > 1:
            notes.append("a mask and none: no label")
        if files and image not in files:
            notes.append(f"no file of it in {IMAGES}")
        path = files.get(image, root / IMAGES / f"{image}.dcm")
        labels = {} if len(masks) > 1 else {"Pneumothorax": POSITIVE if True in masks else NEGATIVE}
        studies.append(
            Study(
                study_id=image,
                patient=image,
                films=(Film(image_id=image, path=path, frontal=True),),
                labels=labels,
                notes=tuple(notes),
            )
        )
    return studies
