"""VinDr-CXR: three readers of each training film joined by a named rule, of PhysioNet or of Kaggle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from driftbound.domains.chest_xray.boxes import joined, side_of
from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.findings import FINDINGS, SIDED
from driftbound.domains.chest_xray.names import DENIED, NEAR, OTHER, VINDR, by_word, unknown
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, Film, Study
from driftbound.errors import CaseError, ConfigError

Readers = Literal["any", "majority", "all"]
RULES = ("any", "majority", "all")
ANNOTATIONS, KAGGLE = "annotations", "train.csv"
SPLITS = ("train", "test")
OTHERS = ("other disease", "other diseases")
"""One label in two spellings: the test's and the training's."""
UNBOXED = frozenset({"Edema", "Pneumonia"})
"""Findings that Kaggle's fourteen kinds of boxes leave out: silence there denies nothing."""
_NONE = "No Finding"
_CORNERS = ("x_min", "x_max")


@dataclass(slots=True)
class _Reading:
    """What one reader says of a film."""

    words: set[str] = field(default_factory=set)
    sides: dict[str, set[str]] = field(default_factory=dict)

    @property
    def findings(self) -> set[str]:
        """Ours, and ``OTHER`` where there is anything else."""
        table = by_word("vindr")
        return {table[word] for word in self.words if word in table}


Readings = dict[str, dict[str, _Reading]]
"""Film -> reader -> what he says."""


def read_vindr(root: Path, *, readers: Readers, widths: Mapping[str, int] = {}) -> list[Study]:
    """The films of PhysioNet's VinDr-CXR: ``annotations/image_labels_{train,test}.csv`` in ``root``.

    Of the training's three readers a finding counts that ``any``, the ``majority`` or ``all`` of them
    see; the test's labels are a consensus. A finding that is several of their words is joined for each
    reader first. No Finding is positive where the rule says so and finds nothing else, negative where
    it finds something, else blank. Sides are those of the boxes in ``annotations_{train,test}.csv``,
    joined by the same rule, of films whose ``widths`` (in pixels) are given. The set names no patients:
    each film is one; all are PA. Raises ``CaseError`` for a missing table or column, a column that is
    no label, a cell that is neither 0 nor 1, a reader who stands twice; ``ConfigError`` for the rule.
    """
    _check(readers)
    folder = root / ANNOTATIONS
    studies: list[Study] = []
    for split in SPLITS:
        table = folder / f"image_labels_{split}.csv"
        if split == "test" and studies and not table.is_file():
            continue
        found: Readings = {}
        for where, row in rows_of(table, ("image_id", "rad_id") if split == "train" else ("image_id",)):
            reading = _reading(found, row, where, once=True)
            reading.words |= _seen(row, where)
        if widths:
            _add_boxes(found, folder / f"annotations_{split}.csv", widths, words=False)
        studies += list(_studies(found, root / split, split, readers, DENIED["vindr"]))
    return studies


def read_vindr_kaggle(root: Path, *, readers: Readers, widths: Mapping[str, int] = {}) -> list[Study]:
    """The films of Kaggle's ``train.csv``, a row for each box or ``No finding`` of a reader.

    As ``read_vindr``; of its fifteen classes none is Edema or Pneumonia, which stay blank. A class that
    no table knows is noted with its film.
    """
    _check(readers)
    found: Readings = {}
    _add_boxes(found, root / KAGGLE, widths, words=True)
    return list(_studies(found, root / "train", "train", readers, DENIED["vindr"] - UNBOXED))


def _check(readers: str) -> None:
    if readers not in RULES:
        raise ConfigError(f"readers is {readers!r}, none of {', '.join(RULES)}. Say which reading counts.")


def _reading(found: Readings, row: Mapping[str, str], where: str, *, once: bool) -> _Reading:
    image, reader = row["image_id"].strip(), row.get("rad_id", "").strip()
    if not image:
        raise CaseError(f"{where}: names no image. Correct the row.")
    of_image = found.setdefault(image, {})
    if once and reader in of_image:
        raise CaseError(f"{where}: {image} of reader {reader!r} is there already. Take one of the rows out.")
    return of_image.setdefault(reader, _Reading())


def _seen(row: Mapping[str, str], where: str) -> set[str]:
    """The words whose cell is 1. Raises ``CaseError`` for columns that are no labels, or lack."""
    cells = {name.strip().lower(): cell for name, cell in row.items() if name not in ("image_id", "rad_id")}
    table = by_word("vindr")
    strange = [name for name in cells if name not in table]
    lacking = [word for word in table if word not in cells and word not in OTHERS]
    if strange or lacking or not any(word in cells for word in OTHERS):
        what = f"{strange[0]!r} is no label" if strange else f"no label {(lacking or OTHERS)[0]!r}"
        raise CaseError(f"{where}: {what} of VinDr-CXR. Its columns: {', '.join(row)}. Correct the table.")
    for name, cell in cells.items():
        if cell.strip() not in ("0", "1", "0.0", "1.0"):
            raise CaseError(f"{where}: {name} is {cell[:40]!a}, neither 0 nor 1. Correct the row.")
    return {name for name, cell in cells.items() if cell.strip()[0] == "1"}


def _add_boxes(found: Readings, table: Path, widths: Mapping[str, int], *, words: bool) -> None:
    """Take in the sides of boxes, and with ``words`` their classes too."""
    for where, row in rows_of(table, ("image_id", "class_name", *_CORNERS)):
        if not words and row["image_id"].strip() not in found:
            raise CaseError(f"{where}: {row['image_id']!r} has no row of labels. Correct the tables.")
        reading = _reading(found, row, where, once=False)
        word = row["class_name"].strip()
        if words:
            reading.words.add(word.lower() if word.lower() in by_word("vindr") else word)
        width = widths.get(row["image_id"].strip())
        finding = by_word("vindr").get(word.lower(), OTHER)
        if width and finding in SIDED and all(row[corner].strip() for corner in _CORNERS):
            low, high = (_number(row[corner], corner, where) for corner in _CORNERS)
            side = side_of(low, high, width)
            reading.sides.setdefault(finding, set()).add(side)


def _studies(
    found: Readings, folder: Path, split: str, readers: Readers, denied: frozenset[str]
) -> Iterator[Study]:
    for image, by_reader in found.items():
        readings = list(by_reader.values())
        labels = _labels(readings, readers, denied)
        sides = {
            finding: side
            for finding in labels
            if labels[finding] == POSITIVE and (side := _side(readings, finding, readers))
        }
        strange = [word for each in readings for word in each.words if word not in by_word("vindr")]
        yield Study(
            study_id=image,
            patient=image,
            films=(Film(image_id=image, path=folder / f"{image}.dicom", view="PA", frontal=True),),
            split=split,
            labels=labels,
            sides=sides,
            notes=unknown(strange),
        )


def _labels(readings: list[_Reading], readers: Readers, denied: frozenset[str]) -> dict[str, float]:
    seen = [reading.findings for reading in readings]
    hinted = {NEAR["vindr"].get(word) for reading in readings for word in reading.words}
    labels = {}
    for finding in FINDINGS:
        if finding == _NONE or finding not in VINDR:
            continue
        if _counts([finding in each for each in seen], readers):
            labels[finding] = POSITIVE
        elif finding in denied and finding not in hinted:
            labels[finding] = NEGATIVE
    if _counts([bool(each - {_NONE}) for each in seen], readers):
        labels[_NONE] = NEGATIVE
    elif _counts([_NONE in each for each in seen], readers):
        labels[_NONE] = POSITIVE
    return labels


def _side(readings: list[_Reading], finding: str, readers: Readers) -> str:
    return joined(
        side
        for side in ("left", "right")
        if _counts([side in each.sides.get(finding, ()) for each in readings], readers)
    )


def _counts(says: list[bool], readers: Readers) -> bool:
    """Whether the rule takes what these readers say.

    >>> [_counts([True, True, False], rule) for rule in ("any", "majority", "all")]
    [True, True, False]
    """
    if readers == "any":
        return any(says)
    return all(says) if readers == "all" else 2 * sum(says) > len(says)


def _number(cell: str, name: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise CaseError(f"{where}: {name} is {cell[:40]!a}, no number. Correct the row.") from None
