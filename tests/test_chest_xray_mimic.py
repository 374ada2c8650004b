"""MIMIC-CXR: made-up trees in its formats; films, labels, splits, reports, the order of studies."""

import time
from dataclasses import replace

import pytest
from chest_xray_trees import ADA, BOB, STUDIES, film, mimic, report, write

from driftbound.domains.chest_xray.mimic import previous, read_mimic, report_of
from driftbound.domains.chest_xray.splits import by_patient, drawn
from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError


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
    """Nothing vanishes: a study of which no film is in a split is there, in no split and without films."""
    odd = [
        (ADA, "50000009", "train", [(film(8), "PA")], None, 1, 1.0),
        (BOB, "50000010", "", [(film(9), "PA")], {}, 1, 1.0),
    ]
    first, second = read_mimic(mimic(tmp_path, odd), images="jpg", labeler="chexpert")
    assert first.notes == ("no labels",)
    assert (second.films, second.split) == ((), "")
    assert second.notes == (f"film {film(9)} is in no split and left out", "no frontal film")


def test_a_study_keeps_its_other_films(tmp_path):
    root = mimic(
        tmp_path, [(ADA, "50000001", "test", [(film(1), "AP"), (film(2), "PA")], {}, 1, 1.0)], gz=False
    )
    path = root / "mimic-cxr-2.0.0-split.csv"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(keepends=True) if film(1) not in line)
    )
    (study,) = read_mimic(root, images="jpg", labeler="chexpert")
    assert [one.image_id for one in study.films] == [film(2)]
    assert (study.split, study.notes) == ("test", (f"film {film(1)} is in no split and left out",))


@pytest.mark.parametrize(
    ("view", "frontal"),
    [("AP", True), ("PA", True), ("LATERAL", False), ("LL", False), ("AP AXIAL", None), ("", None)],
)
def test_sides_of_films(tmp_path, view, frontal):
    one = [(ADA, "50000001", "test", [(film(1), view)], {}, 1, 1.0)]
    (study,) = read_mimic(mimic(tmp_path, one), images="jpg", labeler="chexpert")
    assert (study.films[0].view, study.films[0].frontal) == (view, frontal)


def test_columns_are_found_by_name_in_any_order(tmp_path):
    root = mimic(tmp_path, STUDIES, gz=False)
    before = read_mimic(root, images="jpg", labeler="chexpert")
    for path in root.glob("*.csv"):
        lines = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(",".join(["more", *line[::-1]]) + "\n" for line in lines))
    assert read_mimic(root, images="jpg", labeler="chexpert") == before


def test_the_previous_study_is_that_before_in_time(tmp_path):
    """The numbers run against the time; on one day the hour decides; the earliest film dates a study."""
    times = [("50000004", 1, 9.0), ("50000002", 1, 10.0), ("50000003", 2, 1.0), ("50000001", 3, 1.0)]
    rows = [(ADA, study, "train", [(film(n), "PA")], {}, *at) for n, (study, *at) in enumerate(times)]
    rows += [
        (ADA, "50000001", "train", [(film(9), "LL")], None, 1, 9.5),
        (BOB, "50000009", "train", [(film(10), "PA")], {}, 1, 1.0),
    ]
    studies = read_mimic(mimic(tmp_path, rows), images="jpg", labeler="chexpert")
    assert [study.study_id[-1] for study in studies] == ["4", "1", "2", "3", "9"]
    expected = {"50000001": "50000004", "50000002": "50000001", "50000003": "50000002"}
    assert previous(studies) == previous(studies[::-1]) == expected
    assert previous([replace(study, taken=None) for study in studies]) == {}


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


def test_reports_are_found_where_films_alone_lie_too(tmp_path):
    """``files`` of the films comes first but holds no report; any folder's name will do."""
    root = mimic(tmp_path / "all", STUDIES)
    (root / "files" / "p10" / f"p{ADA}" / "s50000001").mkdir(parents=True)
    path = report(root / "notes" / "mine", ADA, "50000001", " IMPRESSION:  Normal.\n")
    found = read_mimic(root, images="jpg", labeler="chexpert", reports=root)
    assert [study.report for study in found] == [None, path, None]
    beside = report(root / "files", ADA, "50000002", " IMPRESSION:  Normal.\n")
    found = read_mimic(root, images="dicom", labeler="chexpert", reports=root)
    assert [study.report for study in found] == [beside, None, None]


def test_reports_of_other_studies_or_in_an_archive_are_told(tmp_path, root):
    report(tmp_path / "mine", BOB, "50000009", "Normal.\n")
    with pytest.raises(CaseError, match=r"no report of these studies.*p10/p10000032/s50000002.txt\. Give"):
        read_mimic(root, images="jpg", labeler="chexpert", reports=tmp_path / "mine")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "mimic-cxr-reports.zip").write_bytes(b"PK")
    with pytest.raises(CaseError, match=r"no folder p10 to p19.*\. Unpack mimic-cxr-reports\.zip\.$"):
        read_mimic(root, images="jpg", labeler="chexpert", reports=tmp_path / "packed")


def test_the_sectioned_table(tmp_path, root):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    columns = ("study", "impression", "findings", "last_paragraph", "comparison")
    write(path, columns, [{"study": "s50000002", "impression": "Edema.", "comparison": "None."}])
    first, second, _ = read_mimic(root, images="jpg", labeler="chexpert", sectioned=path)
    assert first.sections == {"impression": "Edema.", "comparison": "None."}
    assert second.notes == ("no report",)
    write(path, columns, [{"study": "s50000009", "impression": "Edema."}])
    with pytest.raises(CaseError, match="none of the 3 studies is in it"):
        read_mimic(root, images="jpg", labeler="chexpert", sectioned=path)


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


# ---- splits ----------------------------------------------------------------------------------


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
