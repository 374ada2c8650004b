"""MIMIC-CXR's tables with something missing, strange or contradictory: each is one clear line."""

import pytest
from chest_xray_trees import ADA, BOB, LABELS, METADATA, STUDIES, film, mimic, write

from driftbound.domains.chest_xray.mimic import read_mimic
from driftbound.errors import CaseError

TABLES = {
    "mimic-cxr-2.0.0-metadata.csv": (
        "dicom_id",
        "study_id",
        "subject_id",
        "ViewPosition",
        "StudyDate",
        "StudyTime",
    ),
    "mimic-cxr-2.0.0-split.csv": ("dicom_id", "study_id", "subject_id", "split"),
    "mimic-cxr-2.0.0-chexpert.csv": ("subject_id", "study_id", *LABELS),
}
"""File -> the columns that it cannot do without."""


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize(
    ("name", "column"), [(name, column) for name, all_ in TABLES.items() for column in all_]
)
def test_a_missing_column_names_file_column_and_columns(tmp_path, name, column, gz):
    root = mimic(tmp_path, STUDIES, gz=gz)
    columns = METADATA if "metadata" in name else TABLES[name]
    kept = [each for each in columns if each != column]
    write(root / name, [*kept, "Odd"], [], gz=gz)
    with pytest.raises(CaseError) as refused:
        read_mimic(root, images="jpg", labeler="chexpert")
    said = str(refused.value)
    assert "\n" not in said
    assert f"{root / name}{'.gz' if gz else ''}: no column {column!r}. Its columns: {kept[0]}, " in said
    assert ", Odd." in said


def test_the_files_of_other_labelers_are_told_apart(tmp_path):
    """The radiologists' table has its own name of Lung Opacity, and no patients."""
    root = mimic(tmp_path, STUDIES, gz=False)
    chexpert, hand = root / "mimic-cxr-2.0.0-chexpert.csv", root / "mimic-cxr-2.1.0-test-set-labeled.csv"
    one, other = chexpert.read_text(), hand.read_text()
    hand.write_text(one)
    with pytest.raises(
        CaseError, match=r"test-set-labeled.csv: no column 'Airspace Opacity'\..*Lung Opacity"
    ):
        read_mimic(root, images="jpg", labeler="radiologist")
    chexpert.write_text(other)
    with pytest.raises(CaseError, match=r"chexpert.csv: no column 'subject_id'\..*Airspace Opacity"):
        read_mimic(root, images="jpg", labeler="chexpert")


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_table_is_told_with_both_names(tmp_path, name):
    root = mimic(tmp_path, STUDIES)
    (root / f"{name}.gz").unlink()
    with pytest.raises(CaseError, match=f"{root / name}: is missing, and so is {name}.gz"):
        read_mimic(root, images="jpg", labeler="chexpert")


ONE = (ADA, "50000001", "train", [(film(1), "PA")], {}, 1, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({2: "tuning"}, r"split.csv.gz, line 2: split is 'tuning', none of train, validate, test"),
        ({4: {"Edema": "2"}}, r"chexpert.csv.gz, line 2: Edema is '2', none of 1, 0, -1"),
        ({5: "May"}, r"metadata.csv.gz, line 2: StudyDate 'May' or StudyTime '1.0' is no number"),
        ({5: "inf"}, "StudyDate 'inf'"),
        ({6: "nan"}, "StudyTime 'nan'"),
        ({6: ""}, "StudyTime ''"),
        ({0: "10000032.0"}, r"line 2: subject_id is '10000032\.0', no plain number"),
        ({1: "s50000001"}, r"line 2: study_id is 's50000001', no plain number"),
        ({0: ""}, "subject_id is ''"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_line(tmp_path, changed, message):
    row = tuple(changed.get(n, cell) for n, cell in enumerate(ONE))
    with pytest.raises(CaseError, match=message):
        read_mimic(mimic(tmp_path, [row]), images="jpg", labeler="chexpert")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            (ADA, "50000001", "train", [(film(1), "PA")], {}, 1, 1.0),
            f"line 3: film {film(1)} is there already",
        ),
        (
            (ADA, "50000001", "test", [(film(1), "PA")], {}, 1, 1.0),
            f"line 3: film {film(1)} is in two splits",
        ),
        (
            (ADA, "50000001", "train", [(film(2), "PA")], {"Edema": "0"}, 1, 1.0),
            "line 3: study 50000001 is there already, labelled otherwise",
        ),
        (
            (BOB, "50000001", "train", [(film(2), "PA")], None, 1, 1.0),
            f"line 3: study 50000001 is of the patients {ADA} and {BOB}",
        ),
        (
            (ADA, "50000002", "test", [(film(2), "PA")], {}, 1, 1.0),
            f"line 3: patient {ADA} is in test and in train",
        ),
    ],
)
def test_rows_that_contradict_each_other_are_told(tmp_path, second, message):
    with pytest.raises(CaseError, match=message):
        read_mimic(mimic(tmp_path, [ONE, second]), images="jpg", labeler="chexpert")


def test_labels_of_another_patient_are_told(tmp_path):
    root = mimic(tmp_path, [ONE], gz=False)
    path = root / "mimic-cxr-2.0.0-chexpert.csv"
    path.write_text(path.read_text().replace(ADA, BOB))
    with pytest.raises(CaseError, match=f"study 50000001 is of patient {ADA} in .* and of {BOB} in"):
        read_mimic(root, images="jpg", labeler="chexpert")


def test_a_cut_archive_is_told(tmp_path):
    root = mimic(tmp_path, STUDIES)
    path = root / "mimic-cxr-2.0.0-metadata.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CaseError, match=r"metadata\.csv\.gz: cannot be read"):
        read_mimic(root, images="jpg", labeler="chexpert")
