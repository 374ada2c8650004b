"""MIMIC-CXR and MS-CXR-T: made-up trees in their formats; labels, splits, sections, and what is wrong."""

import time
from itertools import pairwise

import pytest
from chest_xray_trees import LABELS, film, mimic, report, write
from hypothesis import given
from hypothesis import strategies as st

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.labels import decide
from driftbound.domains.chest_xray.mimic import previous, read_mimic, report_of
from driftbound.domains.chest_xray.ms_cxr_t import (
    exclude_subjects,
    read_pairs,
    read_sentences,
    subjects,
)
from driftbound.domains.chest_xray.sections import by_name, choose, read_sectioned, sections_of
from driftbound.domains.chest_xray.splits import by_patient, drawn
from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError

ADA, BOB = "10000032", "11000011"
STUDIES = [
    (
        ADA,
        "50000002",
        "train",
        [(film(1), "LATERAL"), (film(2), "PA")],
        {"Edema": "1.0"},
        21800506,
        213014.531,
    ),
    (
        ADA,
        "50000001",
        "train",
        [(film(3), "AP")],
        {"Edema": "-1.0", "Pneumonia": "0.0"},
        21800626,
        165500.312,
    ),
    (BOB, "50000003", "validate", [(film(4), "LL"), (film(5), "")], {"No Finding": "1.0"}, 21800101, 1.0),
]


@pytest.fixture
def root(tmp_path):
    return mimic(tmp_path / "jpg", STUDIES)


@pytest.mark.parametrize("gz", [True, False])
def test_studies_films_labels_and_splits(tmp_path, gz):
    first, second, third = read_mimic(mimic(tmp_path, STUDIES, gz=gz), images="jpg", labeler="chexpert")
    assert [one.study_id for one in (first, second, third)] == ["50000002", "50000001", "50000003"]  # by time
    assert (first.patient, first.split, third.split) == (ADA, "train", "validation")
    assert first.labels == {"Edema": 1.0}
    assert second.labels == {"Edema": -1.0, "Pneumonia": 0.0}
    assert first.frontal.image_id == film(2)
    assert first.frontal.path == tmp_path / "files" / "p10" / f"p{ADA}" / "s50000002" / f"{film(2)}.jpg"
    assert [one.frontal for one in third.films] == [False, None]
    assert third.notes == ("no frontal film",)
    assert first.notes == second.notes == ()
    assert first.sensitivity == "credentialed"
    assert previous([third, first, second]) == {"50000001": "50000002"}


def test_dicom_lies_at_the_same_place(root):
    study = read_mimic(root, images="dicom", labeler="negbio")[0]
    assert study.films[0].path.name == f"{film(1)}.dcm"


def test_the_radiologists_studies_alone_and_their_name_of_lung_opacity(tmp_path):
    told = [{"study_id": "50000001", "Airspace Opacity": "1.0", "No Finding": "-1.0"}]
    (study,) = read_mimic(mimic(tmp_path, STUDIES, radiologist=told), images="jpg", labeler="radiologist")
    assert study.study_id == "50000001"
    assert study.labels == {"Lung Opacity": 1.0, "No Finding": -1.0}


def test_a_film_without_split_and_a_study_without_labels_are_told(tmp_path):
    odd = [
        (ADA, "50000009", "train", [(film(8), "PA")], None, 1, 1.0),
        (BOB, "50000010", "", [(film(9), "PA")], {}, 1, 1.0),
    ]
    (study,) = read_mimic(mimic(tmp_path, odd), images="jpg", labeler="chexpert")
    assert study.notes == ("no labels",)


def test_reports_are_found_below_any_root_and_read_when_asked(tmp_path, root):
    text = " FINAL REPORT\n EXAMINATION:  CHEST\n\n FINDINGS:\n No edema.\n\n IMPRESSION:  Normal.\n"
    report(tmp_path / "mine" / "mimic-cxr-reports" / "files", ADA, "50000002", text)
    report(tmp_path / "mine" / "mimic-cxr-reports" / "files", ADA, "50000001", "\n")
    first, second, third = read_mimic(root, images="jpg", labeler="chexpert", reports=tmp_path / "mine")
    assert report_of(first).sections == {
        "technique": "CHEST",
        "findings": "No edema.",
        "impression": "Normal.",
    }
    assert report_of(second).notes == ("report says nothing",)
    assert third.notes == ("no frontal film", "no report")
    assert report_of(third) is third
    first.report.unlink()
    assert report_of(first).notes[0].startswith("report cannot be read (")
    with pytest.raises(CaseError, match="no folder p10 to p19"):
        read_mimic(root, images="jpg", labeler="chexpert", reports=tmp_path / "nowhere")


def test_the_sectioned_table(tmp_path, root):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    columns = ("study", "impression", "findings", "last_paragraph", "comparison")
    write(path, columns, [{"study": "s50000002", "impression": "Edema.", "comparison": "None."}])
    assert read_sectioned(path) == {"50000002": {"impression": "Edema.", "comparison": "None."}}
    first, second, _ = read_mimic(root, images="jpg", labeler="chexpert", sectioned=path)
    assert first.sections["impression"] == "Edema."
    assert second.notes == ("no report",)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("mimic-cxr-2.0.0-metadata.csv", "ViewPosition"),
        ("mimic-cxr-2.0.0-split.csv", "split"),
        ("mimic-cxr-2.0.0-chexpert.csv", "Lung Opacity"),
    ],
)
def test_a_wrong_column_names_file_column_and_columns(tmp_path, name, column):
    root = mimic(tmp_path, STUDIES, gz=False)
    path = root / name
    path.write_text(path.read_text().replace(column, "Airspace Opacity", 1))
    with pytest.raises(CaseError) as refused:
        read_mimic(root, images="jpg", labeler="chexpert")
    said = str(refused.value)
    assert "\n" not in said
    assert all(
        word in said
        for word in (
            str(path),
            repr(column),
            "Airspace Opacity, " if column != "split" else "Airspace Opacity",
        )
    )


def test_what_makes_no_sense_is_told_with_its_line(tmp_path):
    strange = [(ADA, "50000001", "tuning", [(film(1), "PA")], {}, 1, 1.0)]
    with pytest.raises(CaseError, match="split is 'tuning', none of train, validate, test"):
        read_mimic(mimic(tmp_path / "a", strange), images="jpg", labeler="chexpert")
    strange[0] = (ADA, "50000001", "train", [(film(1), "PA")], {"Edema": "2"}, 1, 1.0)
    with pytest.raises(CaseError, match=r"chexpert.csv.gz, line 2: Edema is '2'"):
        read_mimic(mimic(tmp_path / "b", strange), images="jpg", labeler="chexpert")
    strange = [
        (ADA, "1", "train", [(film(1), "PA")], {}, 1, 1.0),
        (BOB, "1", "train", [(film(2), "PA")], {}, 1, 1.0),
    ]
    with pytest.raises(CaseError, match="is of two patients or splits"):
        read_mimic(mimic(tmp_path / "c", strange), images="jpg", labeler="chexpert")
    strange[1] = (ADA, "2", "train", [(film(2), "PA")], {}, "May", 1.0)
    with pytest.raises(CaseError, match="StudyDate 'May' or StudyTime"):
        read_mimic(mimic(tmp_path / "d", strange), images="jpg", labeler="chexpert")
    with pytest.raises(CaseError, match="is missing"):
        read_mimic(tmp_path / "nowhere", images="jpg", labeler="chexpert")


def test_ten_thousand_studies_in_seconds(tmp_path):
    many = [
        (
            str(10_000_000 + n // 2),
            str(50_000_000 + n),
            "train",
            [(film(n), "PA")],
            {"Edema": "1.0"},
            1,
            float(n),
        )
        for n in range(10_000)
    ]
    root = mimic(tmp_path, many)
    started = time.process_time()
    found = read_mimic(root, images="jpg", labeler="chexpert")
    assert time.process_time() - started < 5
    assert (len(found), len({study.patient for study in found})) == (10_000, 5_000)
    assert len(previous(found)) == 5_000


# ---- label policies ----------------------------------------------------------------------------


def test_every_policy_by_hand():
    raw = {"Edema": 1.0, "Pneumonia": 0.0, "Fracture": -1.0}
    for uncertain, fracture in (("absent", "absent"), ("present", "present"), ("ignore", "unknown")):
        for blank, rest in (("absent", "absent"), ("ignore", "unknown")):
            told = decide(raw, uncertain_as=uncertain, blank_as=blank)
            assert set(told) == set(FINDINGS)
            assert (told["Edema"], told["Pneumonia"], told["Fracture"]) == ("present", "absent", fracture)
            assert (told["Atelectasis"], told["Support Devices"], told["No Finding"]) == (
                rest,
                rest,
                "absent",
            )


def test_a_normal_study_denies_all_but_devices():
    told = decide({"No Finding": 1.0}, uncertain_as="ignore", blank_as="ignore")
    assert told["Support Devices"] == "unknown"
    assert {told[name] for name in FINDINGS if name not in ("No Finding", "Support Devices")} == {"absent"}
    devices = decide({"Support Devices": 1.0}, uncertain_as="ignore", blank_as="ignore")
    assert devices["No Finding"] == "unknown"  # devices are no illness


def test_sides_are_those_of_what_is_there():
    sides = {"Pneumothorax": "left", "Fracture": "right"}
    told = decide(
        {"Pneumothorax": 1.0, "Fracture": 0.0}, uncertain_as="ignore", blank_as="ignore", sides=sides
    )
    assert (told["Pneumothorax"], told["Fracture"]) == ("left", "absent")


# ---- sections ----------------------------------------------------------------------------------

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.  // r/o pneumonia

 COMPARISON:  ___

 FINDINGS:

 The lungs are clear: no consolidation.
 Heart size is normal.

 IMPRESSION:

 No pneumonia.
"""


def test_a_report_by_sections():
    found = by_name(REPORT)
    assert found["findings"] == "The lungs are clear: no consolidation.\n Heart size is normal."
    assert found["impression"] == "No pneumonia."
    assert found["indication"].startswith("___ year old")
    assert "comparison" not in found  # only what was taken out
    assert choose(found, "auto") == "No pneumonia."
    assert choose(found, "findings").startswith("The lungs")


def test_a_typo_is_no_impression_and_the_last_of_a_name_counts():
    text = " NDICATION:  Cough.\n\n FINDINGS:  Old.\n\n FINDINGS:  New.\n"
    assert by_name(text) == {"indication": "Cough.", "findings": "New."}
    assert choose(by_name(text), "impression") == ""


def test_a_report_without_findings_and_impression_has_a_last_paragraph():
    text = "   FINAL REPORT\n CHEST, ___ AT 05:12\n\n One view.\n\n Lungs are clear.\n Heart is big.\n\n"
    assert by_name(text)["last_paragraph"] == "Lungs are clear.\n Heart is big."
    assert choose(by_name(text), "auto").startswith("Lungs")


@pytest.mark.parametrize("text", ["", "\n \n", "   FINAL REPORT\n", " FINDINGS:\n\n IMPRESSION:\n ___\n"])
def test_an_empty_report_has_no_section(text):
    assert sections_of(text) == []


@given(st.text(alphabet="AB ab:\n_.()", max_size=200) | st.text(max_size=80))
def test_sections_are_slices_in_order_of_any_text(text):
    found = sections_of(text)
    for section in found:
        said = section.of(text)
        assert said == said.strip() != ""
    ordered = [section for section in found if section.name != "last_paragraph"]
    assert all(one.end <= other.start for one, other in pairwise(ordered))


# ---- splits ------------------------------------------------------------------------------------


def test_patients_are_never_cut_in_two():
    studies = [Study(study_id=str(n), patient=f"p{n // 3}", films=()) for n in range(3_000)]
    made = by_patient(studies, seed=1, shares={"train": 0.8, "test": 0.2})
    assert {len({one.split for one in made if one.patient == f"p{n}"}) for n in range(50)} == {1}
    assert 0.17 < sum(one.split == "test" for one in made) / 3_000 < 0.23
    assert by_patient(studies[:9], seed=1, shares={"train": 0.8, "test": 0.2}) == made[:9]
    assert by_patient(studies, seed=2, shares={"train": 0.8, "test": 0.2}) != made
    some = drawn(made, seed=0, most={"train": 30, "test": 7})
    assert (sum(one.split == "train" for one in some), sum(one.split == "test" for one in some)) == (30, 6)
    with pytest.raises(CaseError, match="already"):
        by_patient(made, seed=1, shares={"train": 1.0})
    with pytest.raises(CaseError, match="sum to 1"):
        by_patient(studies, seed=1, shares={"train": 0.5})


# ---- MS-CXR-T ----------------------------------------------------------------------------------

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


def test_labels_of_the_trees_are_all_of_ours():
    assert set(LABELS) == set(FINDINGS)
