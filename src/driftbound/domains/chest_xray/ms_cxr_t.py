"""MS-CXR-T: pairs of films with what has become of five findings, and pairs of sentences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError

IMAGES = "MS_CXR_T_temporal_image_classification_v1.0.0.csv"
SENTENCES = "MS_CXR_T_temporal_sentence_similarity_v1.0.0.csv"
COURSES = ("improving", "stable", "worsening")
COLUMNS = {
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Pleural Effusion": "pleural_effusion",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
"""Finding -> beginning of its columns."""
CATEGORIES = ("paraphrase", "contradiction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two studies of a patient, the later one first."""

    subject: str
    study: str
    film: str
    """Path below ``files`` without suffix."""
    previous_study: str
    previous_film: str
    courses: dict[str, str]
    """Finding -> ``improving``, ``stable`` or ``worsening``; what nobody judged is not there."""
    quality: dict[str, str]
    """Finding -> ``one_expert``, ``multiple_experts`` or ``disagreement``, as the table says."""

    def path(self, root: Path, *, previous: bool = False, suffix: str = ".jpg") -> Path:
        """Where the film lies in a folder of MIMIC-CXR-JPG, or with ``.dcm`` of MIMIC-CXR."""
        return root / "files" / f"{self.previous_film if previous else self.film}{suffix}"


@dataclass(frozen=True, slots=True)
class Sentences:
    """Two sentences, and whether they say the same or contradict each other."""

    subset: str
    one: str
    other: str
    category: str


def read_pairs(folder: Path) -> list[Pair]:
    """The pairs of films.

    A film that the table names by its id alone gets the path that its patient and study say. Raises
    ``CaseError`` naming the file, the column and the columns found, or the line: a course that is none, a
    patient or study that is no plain number (nobody would be left out of a training by it).
    """
    needed = ("subject_id", "study_id", "dicom_id", "previous_study_id", "previous_dicom_id")
    progress = tuple(f"{column}_progression" for column in COLUMNS.values())
    found = []
    for where, row in rows_of(folder / IMAGES, (*needed, *progress)):
        courses = {}
        for finding, column in COLUMNS.items():
            said = row[f"{column}_progression"].strip()
            if said and said not in COURSES:
                raise CaseError(
                    f"{where}: {column}_progression is {said!r}, none of {', '.join(COURSES)}. "
                    "Give the set's own file."
                )
            if said:
                courses[finding] = said
        quality = {
            finding: told
            for finding, column in COLUMNS.items()
            if (told := row.get(f"{column}_label_quality", "").strip())
        }
        found.append(
            Pair(
                subject=row["subject_id"].strip(),
                study=row["study_id"].strip(),
                film=_film(row, "", where),
                previous_study=row["previous_study_id"].strip(),
                previous_film=_film(row, "previous_", where),
                courses=courses,
                quality=quality,
            )
        )
    return found


def read_sentences(folder: Path) -> list[Sentences]:
    """The pairs of sentences. Raises ``CaseError`` likewise."""
    found = []
    for where, row in rows_of(folder / SENTENCES, ("subset_name", "sentence_1", "sentence_2", "category")):
        category = row["category"].strip()
        if category not in CATEGORIES:
            raise CaseError(
                f"{where}: category is {category!r}, none of {', '.join(CATEGORIES)}. Correct the row."
            )
        found.append(Sentences(row["subset_name"], row["sentence_1"], row["sentence_2"], category))
    return found


def subjects(pairs: Iterable[Pair]) -> frozenset[str]:
    """The patients of the benchmark: whoever trains on them has seen the test."""
    return frozenset(pair.subject for pair in pairs)


def exclude_subjects(
    studies: Sequence[Study], patients: frozenset[str], *, splits: Sequence[str] = ()
) -> tuple[list[Study], int, int]:
    """The studies of other patients, and how many studies and patients were left out.

    With ``splits`` nobody is left out of others than these.
    """
    gone = [study for study in studies if study.patient in patients and (not splits or study.split in splits)]
    left_out = {id(study) for study in gone}
    kept = [study for study in studies if id(study) not in left_out]
    return kept, len(gone), len({study.patient for study in gone})


def _film(row: Mapping[str, str], which: Literal["", "previous_"], where: str) -> str:
    """The path below ``files`` of a row's film, as the table has it; empty where none is named."""
    subject, study, film = (
        row[name].strip() for name in ("subject_id", f"{which}study_id", f"{which}dicom_id")
    )
    for name, cell in (("subject_id", subject), (f"{which}study_id", study)):
        if not (cell.isascii() and cell.isdigit()) and not (which and not cell and not film):
            raise CaseError(f"{where}: {name} is {cell[:40]!a}, no plain number. Give the set's own file.")
    return film if "/" in film or not film else f"p{subject[:2]}/p{subject}/s{study}/{film}"
