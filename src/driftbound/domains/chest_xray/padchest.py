"""PadChest: findings and places of Spanish reports, as Python lists in one table."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.findings import SIDED
from driftbound.domains.chest_xray.names import DENIED, by_word, told
from driftbound.domains.chest_xray.study import POSITIVE, Film, Study
from driftbound.errors import CaseError

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
NEEDED = (
    *("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "Projection", "Report", "Labels"),
)
PLACES = "LabelsLocalizationsBySentence"
"""A list of words for each sentence: a label, then the places of it, then the next label."""
ASIDE = ("exclude", "suboptimal study")
"""Labels of the study instead of the chest: they become notes."""
SILENT = (*ASIDE, "unchanged")
"""With one of these the other labels are not all that could be seen: silence denies nothing."""
_PLACE = "loc "
_SIDES = {"left": {"left"}, "right": {"right"}, "bilateral": {"left", "right"}, "lingula": {"left"}}
_FRONTAL = {"PA": True, "AP": True, "AP_horizontal": True, "L": False, "COSTAL": False}


@dataclass(slots=True)
class _Rows:
    """A study while its films are gathered."""

    patient: str
    taken: tuple[int, float] | None
    report: str
    words: list[str] | None
    places: list[list[str]]
    films: list[Film] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)


def read_padchest(root: Path) -> list[Study]:
    """The studies of PadChest's table (``.csv`` or ``.csv.gz``) in ``root``; films lie in ``root/0`` ...

    ``exclude`` and ``suboptimal study`` become notes; with them, with ``unchanged`` or without any label
    nothing is denied. The report is section ``report``, Spanish and stemmed as the set has it. Sides are
    those of the places that follow a label in its sentence, if ``LabelsLocalizationsBySentence`` is
    there. Films are 16-bit PNG and not looked at. Raises ``CaseError`` (a missing table or column, a
    study of two patients, a film that stands twice), naming the line.
    """
    found: dict[str, _Rows] = {}
    seen: dict[str, str] = {}
    for where, row in rows_of(root / TABLE, NEEDED):
        name, number, patient = (row[each].strip() for each in ("ImageID", "StudyID", "PatientID"))
        if not name or not number or not patient:
            raise CaseError(f"{where}: names no image, study or patient. Correct the row.")
        if seen.setdefault(name, where) != where:
            raise CaseError(f"{where}: {name} is there already ({seen[name]}). Take one of the rows out.")
        words, places = _list(row["Labels"]), _list(row.get(PLACES, ""))
        study = _Rows(
            patient=patient,
            taken=_date(row["StudyDate_DICOM"].strip(), where),
            report=row["Report"].strip(),
            words=None if words is None else [str(word).strip() for word in words],
            places=[[str(word).strip() for word in each] for each in places or () if isinstance(each, list)],
        )
        first = found.setdefault(number, study)
        if first.patient != patient:
            raise CaseError(f"{where}: study {number} is of patient {first.patient} too. Correct the row.")
        if first.words != study.words:
            first.notes["films differ in labels: the first counts"] = None
        if places is None:
            first.notes[f"{PLACES} is no list"] = None
        first.films.append(_film(root, name, row, first))
    return list(_made(found))


def _film(root: Path, name: str, row: dict[str, str], study: _Rows) -> Film:
    view = row["Projection"].strip()
    if view not in _FRONTAL:
        study.notes[f"projection {view!r}"] = None
    folder = row["ImageDir"].strip().removesuffix(".0")  # a column with gaps comes as floats
    return Film(image_id=name, path=root / folder / name, view=view, frontal=_FRONTAL.get(view))


def _made(found: dict[str, _Rows]) -> Iterator[Study]:
    for number, rows in found.items():
        words = [word for word in rows.words or () if word]
        small = {word.lower() for word in words}
        if rows.words is None:
            rows.notes["Labels is no list"] = None
        elif not words:
            rows.notes["no label"] = None
        rows.notes |= dict.fromkeys(word for word in ASIDE if word in small)
        denied = () if not words or small & set(SILENT) else DENIED["padchest"]
        said = told((word for word in words if word.lower() not in SILENT), by="padchest", denied=denied)
        yield Study(
            study_id=number,
            patient=rows.patient,
            films=tuple(rows.films),
            labels=said.labels,
            sides=_sides(rows.places, said.labels),
            sections={"report": rows.report} if rows.report else {},
            taken=rows.taken,
            notes=(*rows.notes, *said.notes),
        )


def _sides(sentences: list[list[str]], labels: dict[str, float]) -> dict[str, str]:
    """Finding -> side, of the findings that are there and whose places have one."""
    found: dict[str, set[str]] = {}
    table = by_word("padchest")
    for sentence in sentences:
        finding = ""
        for word in sentence:
            if not word.startswith(_PLACE):
                finding = table.get(word.lower(), "")
            elif finding in SIDED and labels.get(finding) == POSITIVE:
                for part in word.lower().split():
                    found.setdefault(finding, set()).update(_SIDES.get(part, ()))
    return {
        finding: next(iter(sides)) if len(sides) == 1 else "both" for finding, sides in found.items() if sides
    }


def _list(cell: str) -> list[object] | None:
    """A Python list; empty for an empty cell, ``None`` for what is none."""
    if cell.strip() in ("", "nan"):
        return []
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _date(cell: str, where: str) -> tuple[int, float] | None:
    try:
        return (int(float(cell)), 0.0) if cell else None
    except (ValueError, OverflowError):
        raise CaseError(f"{where}: StudyDate_DICOM is {cell[:40]!a}. Give a date as 20090131.") from None
