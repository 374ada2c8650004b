"""MS-CXR-T: pairs of films and of sentences in its formats, and the patients that no training may see."""

import pytest
from chest_xray_trees import ADA, BOB, STUDIES, film, mimic, write

from driftbound.domains.chest_xray.mimic import read_mimic
from driftbound.domains.chest_xray.ms_cxr_t import (
    IMAGES,
    SENTENCES,
    exclude_subjects,
    read_pairs,
    read_sentences,
    subjects,
)
from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError


@pytest.fixture
def root(tmp_path):
    return mimic(tmp_path / "jpg", STUDIES)


COLUMNS = (
    *("subject_id", "study_id", "dicom_id", "previous_study_id", "previous_dicom_id"),
    *(
        f"{name}_{what}"
        for name in ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax")
        for what in ("progression", "label_quality")
    ),
)
PAIR = {
    "subject_id": ADA,
    "study_id": "50000001",
    "dicom_id": f"p10/p{ADA}/s50000001/{film(3)}",
    "previous_study_id": "50000002",
    "previous_dicom_id": f"p10/p{ADA}/s50000002/{film(2)}",
    "edema_progression": "worsening",
    "edema_label_quality": "one_expert",
}


def test_pairs_and_decontamination(tmp_path, root):
    write(tmp_path / "MS_CXR_T_temporal_image_classification_v1.0.0.csv", COLUMNS, [PAIR])
    (pair,) = read_pairs(tmp_path)
    assert pair.courses == {"Edema": "worsening"}
    assert pair.quality == {"Edema": "one_expert"}
    studies = read_mimic(root, images="jpg", labeler="chexpert")
    by_id = {study.study_id: study for study in studies}
    assert pair.path(root) == by_id[pair.study].frontal.path
    assert pair.path(root, previous=True) == by_id[pair.previous_study].frontal.path
    dicom = read_mimic(root, images="dicom", labeler="chexpert")
    assert pair.path(root, suffix=".dcm") in {study.frontal.path for study in dicom if study.frontal}
    kept, gone, patients = exclude_subjects(studies, subjects([pair]))
    assert ([one.study_id for one in kept], gone, patients) == (["50000003"], 2, 1)


def test_strange_pairs_and_sentences(tmp_path):
    path = tmp_path / "MS_CXR_T_temporal_image_classification_v1.0.0.csv"
    write(path, COLUMNS, [PAIR | {"edema_progression": "better"}])
    with pytest.raises(CaseError, match="line 2: edema_progression is 'better', none of improving, stable"):
        read_pairs(tmp_path)
    write(path, [name for name in COLUMNS if name != "edema_progression"], [])
    with pytest.raises(CaseError, match=r"no column 'edema_progression'\. Its columns: subject_id"):
        read_pairs(tmp_path)
    path = tmp_path / "MS_CXR_T_temporal_sentence_similarity_v1.0.0.csv"
    columns = ("subset_name", "sentence_1", "sentence_2", "category")
    row = {"subset_name": "RadGraph", "sentence_1": "Edema has grown.", "sentence_2": "Edema is less."}
    write(path, columns, [row | {"category": "contradiction"}])
    assert [one.category for one in read_sentences(tmp_path)] == ["contradiction"]
    write(path, columns, [row | {"category": "neutral"}])
    with pytest.raises(CaseError, match="category is 'neutral'"):
        read_sentences(tmp_path)


@pytest.mark.parametrize("gz", [True, False])
def test_pairs_of_a_shuffled_and_wider_table(tmp_path, gz):
    more = {
        "edema_progression": "",
        "pleural_effusion_progression": "improving",
        "pneumonia_progression": "stable",
    }
    quality = {"pleural_effusion_label_quality": "multiple_experts", "edema_label_quality": ""}
    write(
        tmp_path / IMAGES, ["Odd", *COLUMNS[::-1]], [PAIR | more | quality, PAIR | {"subject_id": BOB}], gz=gz
    )
    first, second = read_pairs(tmp_path)
    assert first.courses == {"Pleural Effusion": "improving", "Pneumonia": "stable"}
    assert first.quality == {"Pleural Effusion": "multiple_experts"}
    assert (first.subject, first.study, first.previous_study) == (ADA, "50000001", "50000002")
    assert subjects([first, second]) == {ADA, BOB}


def test_a_film_named_by_its_id_alone_gets_its_path(tmp_path):
    write(tmp_path / IMAGES, COLUMNS, [PAIR | {"dicom_id": film(3), "previous_dicom_id": ""}])
    (pair,) = read_pairs(tmp_path)
    assert pair.film == PAIR["dicom_id"]
    assert pair.previous_film == ""


@pytest.mark.parametrize("column", [name for name in COLUMNS if not name.endswith("label_quality")])
def test_a_missing_column_is_told(tmp_path, column):
    write(tmp_path / IMAGES, [name for name in COLUMNS if name != column], [])
    with pytest.raises(CaseError, match=rf"no column '{column}'\. Its columns: ") as refused:
        read_pairs(tmp_path)
    assert str(tmp_path / IMAGES) in str(refused.value)


def test_a_pair_without_an_earlier_study_still_names_its_patient(tmp_path):
    nothing = {"dicom_id": "", "previous_study_id": "", "previous_dicom_id": ""}
    write(tmp_path / IMAGES, COLUMNS, [PAIR | nothing])
    (pair,) = read_pairs(tmp_path)
    assert (pair.subject, pair.film, pair.previous_film) == (ADA, "", "")


@pytest.mark.parametrize("column", ["subject_id", "study_id", "previous_study_id"])
@pytest.mark.parametrize("cell", ["10000032.0", "p10000032", "-1"])
def test_an_id_that_fits_no_study_is_told(tmp_path, column, cell):
    """Passed on, it would leave nobody out, and the test would be trained on."""
    write(tmp_path / IMAGES, COLUMNS, [PAIR, PAIR | {column: cell}])
    with pytest.raises(CaseError, match=f"line 3: {column} is '{cell}', no plain number"):
        read_pairs(tmp_path)


def test_missing_files_are_told_with_both_names(tmp_path):
    for read, name in ((read_pairs, IMAGES), (read_sentences, SENTENCES)):
        with pytest.raises(CaseError, match=f"{name}: is missing, and so is {name}.gz"):
            read(tmp_path)


@pytest.mark.parametrize("column", ["subset_name", "sentence_1", "sentence_2", "category"])
def test_a_missing_column_of_the_sentences_is_told(tmp_path, column):
    columns = ("subset_name", "sentence_1", "sentence_2", "category")
    write(tmp_path / SENTENCES, [name for name in columns if name != column], [])
    with pytest.raises(CaseError, match=f"no column '{column}'"):
        read_sentences(tmp_path)


def test_whoever_is_in_the_benchmark_is_left_out_whole():
    studies = [Study(study_id=str(n), patient="abc"[n % 3], films=()) for n in range(7)]
    kept, gone, patients = exclude_subjects(studies, frozenset({"a", "c", "elsewhere"}))
    assert [study.study_id for study in kept] == ["1", "4"]
    assert (gone, patients) == (5, 2)
    assert exclude_subjects(studies, frozenset()) == (studies, 0, 0)


def test_of_named_splits_alone():
    """Studies 0 to 5, patients a b a b a b, in train, validation, test, train, validation, test."""
    splits = ("train", "validation", "test") * 2
    studies = [Study(study_id=str(n), patient="ab"[n % 2], films=(), split=s) for n, s in enumerate(splits)]
    kept, gone, patients = exclude_subjects(studies, frozenset("a"), splits=("train", "validation"))
    assert [study.study_id for study in kept] == ["1", "2", "3", "5"]
    assert (gone, patients) == (2, 1)
