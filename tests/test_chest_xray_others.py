"""Readers of the public chest X-ray sets, on small trees in their exact formats."""

import gzip
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.domains.chest_xray import names
from driftbound.domains.chest_xray.chexpert import read_chexpert, read_chexpert_plus
from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.nih import read_chestx_det, read_nih
from driftbound.domains.chest_xray.openi import known_words, read_openi
from driftbound.domains.chest_xray.padchest import read_padchest
from driftbound.domains.chest_xray.rsna import read_rsna
from driftbound.domains.chest_xray.siim import read_siim
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, UNCERTAIN, Film
from driftbound.domains.chest_xray.vindr import read_vindr, read_vindr_kaggle
from driftbound.errors import CaseError, ConfigError, DriftboundError, StoreError
from tests import chest_xray_trees_other as trees

COMMON = (
    "Cardiomegaly",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
)
"""Findings that all four sets of words can deny."""


def by_id(studies):
    found = {study.study_id: study for study in studies}
    assert len(found) == len(studies)
    return found


def present(study):
    return {finding for finding, value in study.labels.items() if value == POSITIVE}


def absent(study):
    return {finding for finding, value in study.labels.items() if value == NEGATIVE}


# Names


def test_every_table_names_findings_of_ours_and_each_word_once():
    for name, table in names.TABLES.items():
        words = [word for each in table.values() for word in each]
        assert set(table) <= {*FINDINGS, names.OTHER}, name
        assert len(words) == len(set(words)), name
        assert all(word == word.strip().lower() for word in words), name


def test_loose_denied_and_near_words_are_those_of_the_tables():
    for name, words in names.LOOSE.items():
        assert {names.by_word(name)[word] for word in words} == {"Lung Opacity"}
    for name, findings in names.DENIED.items():
        table = names.TABLES["nih" if name == "chestx_det" else name]
        assert findings <= set(table), name
        assert not findings & {"Lung Opacity", "No Finding", "Pleural Other"}, name
    for name, near in names.NEAR.items():
        assert all(names.by_word(name)[word] == names.OTHER for word in near), name
        assert set(near.values()) <= set(FINDINGS), name


@pytest.mark.parametrize(
    ("name", "word", "finding"),
    [
        ("nih", "effusion", "Pleural Effusion"),
        ("nih", "mass", "Lung Lesion"),
        ("nih", "infiltration", "Lung Opacity"),
        ("nih", "hernia", ""),
        ("vindr", "nodule/mass", "Lung Lesion"),
        ("vindr", "clavicle fracture", "Fracture"),
        ("vindr", "mediastinal shift", ""),
        ("padchest", "hydropneumothorax", "Pneumothorax"),
        ("padchest", "air bronchogram", "Consolidation"),
        ("padchest", "pacemaker", "Support Devices"),
        ("padchest", "mediastinal enlargement", "Enlarged Cardiomediastinum"),
        ("chexpert", "airspace opacity", "Lung Opacity"),
    ],
)
def test_words_of_the_sets(name, word, finding):
    assert names.by_word(name)[word] == finding


# CheXpert


def test_chexpert(tmp_path):
    """A study of two films and one of one; the prefix of the paths is no folder of ours."""
    root = trees.chexpert(
        tmp_path,
        train=[
            trees.chexpert_row(
                "train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP", Edema=-1.0, Fracture=1.0
            ),
            trees.chexpert_row(
                "train/patient00001/study1/view2_lateral.jpg", "Lateral", "", Edema=-1.0, Fracture=1.0
            ),
            trees.chexpert_row(
                "train/patient00001/study2/view1_frontal.jpg", "Frontal", "PA", No_Finding=1.0
            ),
        ],
        valid=[
            trees.chexpert_row(
                "valid/patient64541/study1/view1_frontal.jpg",
                "Frontal",
                "AP",
                Lung_Lesion=0.0,
                Lung_Opacity=1.0,
            )
        ],
    )
    found = by_id(read_chexpert(root))
    assert list(found) == ["patient00001_study1", "patient00001_study2", "patient64541_study1"]
    first = found["patient00001_study1"]
    folder = root / "train/patient00001/study1"
    assert first.films == (
        Film(
            image_id="patient00001_study1_view1_frontal",
            path=folder / "view1_frontal.jpg",
            view="AP",
            frontal=True,
        ),
        Film(
            image_id="patient00001_study1_view2_lateral",
            path=folder / "view2_lateral.jpg",
            view="LATERAL",
            frontal=False,
        ),
    )
    assert first.labels == {"Edema": UNCERTAIN, "Fracture": POSITIVE}
    assert (first.patient, first.split, first.sensitivity, first.notes) == (
        "patient00001",
        "train",
        "credentialed",
        (),
    )
    last = found["patient64541_study1"]
    assert last.labels == {"Lung Lesion": NEGATIVE, "Lung Opacity": POSITIVE}, "opacity stands before lesion"
    assert last.split == "validation"


def test_chexpert_films_that_differ_in_labels_are_noted(tmp_path):
    rows = [
        trees.chexpert_row(f"train/patient00001/study1/view{n}_frontal.jpg", "Frontal", "AP", Edema=value)
        for n, value in ((1, 1.0), (2, 0.0))
    ]
    (study,) = read_chexpert(trees.chexpert(tmp_path, train=rows))
    assert study.labels == {"Edema": POSITIVE}
    assert study.notes == ("films differ in labels: the first counts",)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, "train/patient1.jpg", "'train/patient1.jpg' is no path"),
        (6, "2.0", "Enlarged Cardiomediastinum is '2.0', none of 1, 0, -1"),
        (10, "yes", "Edema is 'yes', none of 1, 0, -1"),
        (10, "nan", "Edema is 'nan', none of 1, 0, -1"),
    ],
)
def test_chexpert_rows_that_make_no_sense(tmp_path, place, value, said):
    rows = [
        trees.chexpert_row(f"train/patient0000{n}/study1/view1_frontal.jpg", "Frontal", "AP") for n in (1, 2)
    ]
    rows[1][place] = value
    with pytest.raises(CaseError, match=rf"train\.csv, line 3: {re.escape(said)}"):
        read_chexpert(trees.chexpert(tmp_path, train=rows))


def test_chexpert_patient_in_two_splits(tmp_path):
    rows = {
        split: [trees.chexpert_row(f"{split}/patient00001/study{n}/view1_frontal.jpg", "Frontal", "AP")]
        for n, split in enumerate(("train", "valid"))
    }
    with pytest.raises(CaseError, match="patient00001 is in train and in validation"):
        read_chexpert(trees.chexpert(tmp_path, **rows))


def test_chexpert_film_twice_or_no_table(tmp_path):
    with pytest.raises(CaseError, match=r"none of train\.csv, valid\.csv, test\.csv is in it"):
        read_chexpert(tmp_path)
    row = trees.chexpert_row("train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP")
    with pytest.raises(CaseError, match=r"line 3: .* is there already"):
        read_chexpert(trees.chexpert(tmp_path, train=[row, row]))


def plus(root):
    film = "train/patient42142/study5/view1_frontal.jpg"
    rows = [
        trees.plus_row(
            film,
            order=5,
            section_findings="Heart size,\nnormal.",
            section_impression="No change.",
            section_history=" ",
        ),
        trees.plus_row("valid/patient64541/study1/view1_frontal.jpg", view="PA"),
    ]
    return trees.chexpert_plus(root, rows, {film: {"Edema": -1.0, "Pneumonia": 0.0}})


def test_chexpert_plus(tmp_path):
    first, second = read_chexpert_plus(plus(tmp_path), labels="report")
    assert first.sections == {"findings": "Heart size,\nnormal.", "impression": "No change."}
    assert first.labels == {"Edema": UNCERTAIN, "Pneumonia": NEGATIVE}
    assert (first.patient, first.split, first.taken) == ("patient42142", "train", (5, 0.0))
    assert first.films[0].path == tmp_path / "train/patient42142/study5/view1_frontal.jpg"
    assert (second.sections, second.labels, second.split) == ({}, {}, "validation")
    assert second.notes == ("no labels of the report",)


def test_chexpert_plus_without_labels_or_without_their_file(tmp_path):
    assert [study.labels for study in read_chexpert_plus(plus(tmp_path), labels="")] == [{}, {}]
    with pytest.raises(
        CaseError, match=r"findings_fixed\.json: labels are missing, and so is .*chexbert_labels"
    ):
        read_chexpert_plus(tmp_path, labels="findings")
    path = tmp_path / "chexbert_labels/report_fixed.json"
    path.write_text('{"path_to_image": "x", "Edema": 1}\n')
    with pytest.raises(
        CaseError, match=r"report_fixed\.json, line 1: no 'No Finding'\. Its columns: path_to_image, Edema"
    ):
        read_chexpert_plus(tmp_path, labels="report")
    path.write_text('{"path_to_image"\n')
    with pytest.raises(StoreError, match="line 1: is no JSON"):
        read_chexpert_plus(tmp_path, labels="report")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"split": "valid"}, "split is 'valid', but .* lies in another"),
        ({"deid_patient_id": "patient2"}, "is not of 'patient2'"),
        ({"patient_report_date_order": "first"}, "patient_report_date_order is 'first'"),
    ],
)
def test_chexpert_plus_rows_that_make_no_sense(tmp_path, said, message):
    row = trees.plus_row("train/patient1/study1/view1_frontal.jpg", **said)
    with pytest.raises(CaseError, match=rf"line \d: .*{message}"):
        read_chexpert_plus(trees.chexpert_plus(tmp_path, [row]), labels="")


# NIH and ChestX-Det


NIH_ROWS = [
    ("00000001_000.png", "Cardiomegaly|Emphysema", 0, 1, "PA"),
    ("00000001_001.png", "No Finding", 1, 1, "AP"),
    ("00000002_000.png", "Mass|Nodule|Infiltration|Goitre", 0, 2, "PA"),
]


def test_nih(tmp_path):
    """The head has eleven columns; the films of one folder are found in it, others in images/."""
    folder = tmp_path / "images_002/images"
    folder.mkdir(parents=True)
    (folder / "00000001_001.png").write_bytes(b"")
    root = trees.nih(tmp_path, NIH_ROWS, ["00000001_000.png", "00000001_001.png"], ["00000002_000.png"])
    first, second, third = read_nih(root)
    assert [study.study_id for study in (first, second, third)] == [name[:12] for name, *_ in NIH_ROWS]
    assert present(first) == {"Cardiomegaly"}
    assert absent(first) == {*COMMON, "Lung Lesion", "No Finding"} - {"Cardiomegaly"}
    assert present(second) == {"No Finding"}
    assert absent(second) == {*COMMON, "Lung Lesion"}
    assert present(third) == {"Lung Lesion", "Lung Opacity"}
    assert third.notes == ("1 unknown label words: Goitre",)
    assert [study.split for study in (first, second, third)] == ["train", "train", "test"]
    assert [study.patient for study in (first, second, third)] == ["1", "1", "2"]
    assert first.films == (
        Film(image_id="00000001_000.png", path=root / "images/00000001_000.png", view="PA", frontal=True),
    )
    assert second.films[0].path == folder / "00000001_001.png"
    assert (second.taken, second.sides) == ((1, 0.0), {})


def test_nih_without_lists_has_no_splits(tmp_path):
    assert {study.split for study in read_nih(trees.nih(tmp_path, NIH_ROWS))} == {""}


def test_nih_patient_in_two_splits_or_film_in_two_lists(tmp_path):
    trees.nih(tmp_path, NIH_ROWS, ["00000001_000.png"], ["00000001_001.png"])
    with pytest.raises(
        CaseError, match=r"line 3: patient 1 is in train and, with 00000001_001\.png, in test"
    ):
        read_nih(tmp_path)
    trees.nih(tmp_path, NIH_ROWS, ["00000001_000.png"], ["00000001_000.png"])
    with pytest.raises(CaseError, match=r"test_list\.txt: 00000001_000\.png is in train too"):
        read_nih(tmp_path)


def test_nih_film_twice(tmp_path):
    with pytest.raises(CaseError, match=r"line 3: 00000001_000\.png is there already"):
        read_nih(trees.nih(tmp_path, NIH_ROWS[:1] * 2))


def test_chestx_det(tmp_path):
    rows = [
        {
            "file_name": "00000013_005.png",
            "syms": ["Effusion", "Effusion", "Nodule"],
            "boxes": [[1, 2, 3, 4]] * 3,
        },
        {"file_name": "36204.png", "syms": [], "boxes": []},
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows[:1]))
    (tmp_path / "test.json").write_text(json.dumps(rows[1:]))
    first, second = read_chestx_det(tmp_path)
    assert present(first) == {"Pleural Effusion", "Lung Lesion"}
    assert absent(first) == {"Atelectasis", "Consolidation", "Fracture", "Pneumothorax", "No Finding"}
    assert (first.patient, first.split, first.sides) == ("13", "train", {})
    assert absent(second) == {*absent(first), *present(first)} - {"No Finding"}
    assert (second.patient, second.split) == ("36204", "test")
    assert first.films[0].path == tmp_path / "train_data/00000013_005.png"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[{"file_name": "a.png"}]',
            r"train\.json, row 1: needs file_name \(text\) and syms \(a list\)\. Its keys: file_name",
        ),
        ('[{"file_name": "a.png", "syms": []},', r"train\.json: "),
        (
            '[{"file_name": "a.png", "syms": []}, {"file_name": "a.png", "syms": []}]',
            "row 2: a.png is there already",
        ),
    ],
)
def test_chestx_det_broken(tmp_path, text, said):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(DriftboundError, match=said) as caught:
        read_chestx_det(tmp_path)
    assert "\n" not in str(caught.value)


def test_chestx_det_of_nothing(tmp_path):
    with pytest.raises(CaseError, match=r"no film of ChestX-Det\. Give the folder that holds train\.json or"):
        read_chestx_det(tmp_path)


# PadChest


def test_padchest(tmp_path):
    """Labels with spaces around them, two films of a study, places that belong to the label before them."""
    labels = "['pleural effusion', ' laminar atelectasis ', 'cardiomegaly', 'scoliosis']"
    places = (
        "[['scoliosis'], ['pleural effusion', 'loc left', 'laminar atelectasis', 'loc basal', "
        "'loc basal bilateral']]"
    )
    root = trees.padchest(
        tmp_path,
        [
            {"ImageID": "a.png", "ImageDir": 50, "Labels": labels, "LabelsLocalizationsBySentence": places},
            {
                "ImageID": "b.png",
                "ImageDir": "54.0",
                "Projection": "L",
                "Labels": labels,
                "LabelsLocalizationsBySentence": places,
            },
            {
                "ImageID": "c.png",
                "StudyID": "s2",
                "PatientID": "p2",
                "StudyDate_DICOM": "",
                "Projection": "EXCLUDE",
            },
        ],
    )
    first, second = read_padchest(root)
    assert (first.study_id, first.patient, first.split, first.taken) == ("s1", "p1", "", (20140915, 0.0))
    assert first.films == (
        Film(image_id="a.png", path=root / "50/a.png", view="PA", frontal=True),
        Film(image_id="b.png", path=root / "54/b.png", view="L", frontal=False),
    )
    assert present(first) == {"Pleural Effusion", "Atelectasis", "Cardiomegaly"}
    assert first.sides == {"Pleural Effusion": "left", "Atelectasis": "both"}
    assert {"Pneumonia", "Fracture", "No Finding"} <= absent(first)
    assert "Lung Opacity" not in first.labels
    assert (first.sections, first.notes) == ({"report": "sin cambi ."}, ())
    assert present(second) == {"No Finding"}
    assert (second.taken, second.films[0].frontal) == (None, None)
    assert second.notes == ("projection 'EXCLUDE'",)


@pytest.mark.parametrize(
    ("labels", "there", "denies", "notes"),
    [
        ("['suboptimal study', 'pneumonia']", {"Pneumonia"}, False, ("suboptimal study",)),
        ("[' exclude']", set(), False, ("exclude",)),
        ("['normal', 'mass']", {"Lung Lesion"}, True, ("said to be normal, with findings",)),
        ("['unchanged']", set(), False, ()),
        ("[]", set(), False, ("no label",)),
        ("", set(), False, ("no label",)),
        ("['normal'", set(), False, ("Labels is no list",)),
        ("['pneumonia', 'loose button']", {"Pneumonia"}, True, ("1 unknown label words: loose button",)),
        ("['NSG tube', 'Pulmonary mass']", {"Support Devices", "Lung Lesion"}, True, ()),
    ],
)
def test_padchest_labels_that_speak_of_the_study(tmp_path, labels, there, denies, notes):
    (study,) = read_padchest(trees.padchest(tmp_path, [{"ImageID": "a.png", "Labels": labels}]))
    assert present(study) == there
    assert bool(absent(study) - {"No Finding"}) is denies
    assert study.notes == notes


def test_padchest_hints_leave_a_finding_open(tmp_path):
    """A granuloma is near a lesion, kerley lines near an edema: neither found nor denied."""
    row = {"ImageID": "a.png", "Labels": "['granuloma', 'kerley lines']"}
    (study,) = read_padchest(trees.padchest(tmp_path, [row]))
    assert not {"Lung Lesion", "Edema"} & set(study.labels)
    assert {"Pneumonia", "No Finding"} <= absent(study)


def test_padchest_places_are_those_of_the_label_before_them(tmp_path):
    """The curved spine is on the left, and where the effusion is, is not said."""
    places = "[['pleural effusion', 'scoliosis', 'loc left']]"
    row = {"ImageID": "a.png", "Labels": "['pleural effusion', 'scoliosis']"}
    (study,) = read_padchest(trees.padchest(tmp_path, [row | {"LabelsLocalizationsBySentence": places}]))
    assert study.sides == {}


def test_padchest_films_that_differ_in_labels_are_noted(tmp_path):
    rows = [{"ImageID": f"{word}.png", "Labels": f"['{word}']"} for word in ("mass", "pneumonia")]
    (study,) = read_padchest(trees.padchest(tmp_path, rows))
    assert present(study) == {"Lung Lesion"}
    assert study.notes == ("films differ in labels: the first counts",)


def test_padchest_without_places_has_no_sides(tmp_path):
    rows = [{"ImageID": "a.png", "Labels": "['pneumothorax']"}]
    (study,) = read_padchest(trees.padchest(tmp_path, rows, places=False))
    assert (present(study), study.sides) == ({"Pneumothorax"}, {})


def test_padchest_compressed(tmp_path):
    root = trees.padchest(tmp_path, [{"ImageID": "a.png"}])
    plain = next(root.glob("*.csv"))
    with gzip.open(f"{plain}.gz", "wb") as file:
        file.write(plain.read_bytes())
    plain.unlink()
    assert len(read_padchest(root)) == 1


def test_padchest_rows_that_make_no_sense(tmp_path):
    rows = [{"ImageID": "a.png"}, {"ImageID": "b.png", "PatientID": "p2"}]
    with pytest.raises(CaseError, match="line 3: study s1 is of patient p1 too"):
        read_padchest(trees.padchest(tmp_path, rows))
    with pytest.raises(CaseError, match=r"line 3: a\.png is there already"):
        read_padchest(trees.padchest(tmp_path, rows[:1] * 2))
    with pytest.raises(CaseError, match="line 2: StudyDate_DICOM is 'may'"):
        read_padchest(trees.padchest(tmp_path, [{"ImageID": "a.png", "StudyDate_DICOM": "may"}]))


# VinDr-CXR


TRAIN = [
    ("x", "R1", ["Cardiomegaly", "Nodule/Mass"]),
    ("x", "R2", ["Cardiomegaly", "Lung tumor"]),
    ("x", "R3", ["No finding"]),
    ("y", "R1", ["No finding"]),
    ("y", "R2", ["No finding"]),
    ("y", "R3", ["No finding"]),
    ("z", "R1", ["Other diseases", "Lung cyst"]),
    ("z", "R2", ["No finding"]),
    ("z", "R3", ["No finding"]),
]
TEST = [("t", ["Rib fracture", "Other disease"])]


@pytest.mark.parametrize(
    ("readers", "there", "denied"),
    [
        (
            "any",
            ({"Cardiomegaly", "Lung Lesion"}, {"No Finding"}, set()),
            ({"No Finding"}, set(), {"No Finding"}),
        ),
        (
            "majority",
            ({"Cardiomegaly", "Lung Lesion"}, {"No Finding"}, {"No Finding"}),
            ({"No Finding"}, set(), set()),
        ),
        ("all", (set(), {"No Finding"}, set()), (set(), set(), set())),
    ],
)
def test_vindr_rules_of_reading(tmp_path, readers, there, denied):
    """Film x: 2 of 3 see a heart and, in different words, a lesion. Film z: 1 of 3 sees something."""
    found = by_id(read_vindr(trees.vindr(tmp_path, TRAIN, TEST), readers=readers))
    assert list(found) == ["x", "y", "z", "t"]
    for film, expected, negative in zip("xyz", there, denied, strict=True):
        usual = {*COMMON, "Lung Lesion"} - expected
        if film == "z":
            usual -= {"Lung Lesion"}  # a cyst is near it
        assert present(found[film]) == expected, film
        assert absent(found[film]) == usual | negative, film


def test_vindr_films_splits_and_the_other_spelling(tmp_path):
    found = by_id(read_vindr(trees.vindr(tmp_path, TRAIN, TEST), readers="majority"))
    test = found["t"]
    assert present(test) == {"Fracture"}
    assert absent(test) == {*COMMON, "Lung Lesion", "No Finding"}
    assert (test.split, test.patient, found["x"].split) == ("test", "t", "train")
    assert test.films == (Film(image_id="t", path=tmp_path / "test/t.dicom", view="PA", frontal=True),)
    assert "Fracture" not in found["y"].labels, "two bones are not all bones"


def test_vindr_sides_need_widths_and_follow_the_rule(tmp_path):
    """Film 1000 wide: 100..300 is the patient's right, 700..900 his left. R1 and R2 box the right one."""
    words = ["Pleural effusion", "Cardiomegaly"]
    boxes = [
        ("x", "R1", "Pleural effusion", 100, 300),
        ("x", "R2", "Pleural effusion", 100, 300),
        ("x", "R2", "Pleural effusion", 700, 900),
        ("x", "R1", "Cardiomegaly", 600, 900),
    ]
    root = trees.vindr(tmp_path, [("x", reader, words) for reader in ("R1", "R2", "R3")], boxes=boxes)
    sides = {
        rule: read_vindr(root, readers=rule, widths={"x": 1000})[0].sides
        for rule in ("any", "majority", "all")
    }
    assert sides == {
        "any": {"Pleural Effusion": "both"},
        "majority": {"Pleural Effusion": "right"},
        "all": {},
    }
    assert read_vindr(root, readers="any")[0].sides == {}


def test_vindr_kaggle(tmp_path):
    rows = [
        ("x", "Pleural effusion", "R1", 100.0, 300.0),
        ("x", "Pleural effusion", "R2", 120.0, 300.0),
        ("x", "No finding", "R3", "", ""),
        ("y", "Gallstone", "R1", 1.0, 2.0),
    ]
    first, second = read_vindr_kaggle(trees.kaggle(tmp_path, rows), readers="majority", widths={"x": 1000})
    assert present(first) == {"Pleural Effusion"}
    assert absent(first) == {
        "Cardiomegaly",
        "Consolidation",
        "Atelectasis",
        "Pneumothorax",
        "Lung Lesion",
        "No Finding",
    }
    assert first.sides == {"Pleural Effusion": "right"}
    assert (first.split, first.films[0].path) == ("train", tmp_path / "train/x.dicom")
    assert second.notes == ("1 unknown label words: Gallstone",)
    assert present(second) == set()


def test_vindr_half_is_no_majority(tmp_path):
    rows = [("x", "Cardiomegaly", "R1", 1.0, 2.0), ("x", "No finding", "R2", "", "")]
    (study,) = read_vindr_kaggle(trees.kaggle(tmp_path, rows), readers="majority")
    assert present(study) == set()
    assert "No Finding" not in study.labels


def rewritten(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Edema", "Oedema", "'oedema' is no label of VinDr-CXR"),
        (",Edema", ",rad_id2", "'rad_id2' is no label of VinDr-CXR"),
        ("Other diseases", "COPD2", "'copd2' is no label of VinDr-CXR"),
        ("x,R1,0", "x,R1,2", "aortic enlargement is '2', neither 0 nor 1"),
        ("x,R2", "x,R1", "x of reader 'R1' is there already"),
        ("x,R1", ",R1", "names no image"),
    ],
)
def test_vindr_tables_that_make_no_sense(tmp_path, old, new, said):
    trees.vindr(tmp_path, TRAIN, TEST)
    rewritten(tmp_path / "annotations/image_labels_train.csv", old, new)
    with pytest.raises(CaseError, match=rf"image_labels_train\.csv, line \d: {re.escape(said)}"):
        read_vindr(tmp_path, readers="any")


def test_vindr_needs_a_rule(tmp_path):
    with pytest.raises(ConfigError, match="readers is 'most', none of any, majority, all"):
        read_vindr(tmp_path, readers="most")


# Open-I


def test_openi(tmp_path):
    reports = {
        "2": trees.openi_report(
            "2",
            ["CXR2_IM-0652-1001", "CXR2_IM-0652-2001"],
            ["normal"],
            [],
            comparison="",
            findings="Heart XXXX normal.",
            impression="Normal.",
        ),
        "10": trees.openi_report(
            "10",
            ["CXR10_IM-0002-1001"],
            [
                "Pulmonary Atelectasis/base/left",
                "Pulmonary Atelectasis/base/right",
                "Pleural Effusion/right/small",
                "Thickening/pleura/apex/left",
                "Scoliosis/mild",
            ],
            ["pleural effusion"],
            indication="Cough.",
        ),
    }
    first, second = read_openi(trees.openi(tmp_path, reports))
    assert (first.study_id, first.patient, first.sensitivity, first.split) == ("CXR2", "CXR2", "public", "")
    assert first.sections == {"findings": "Heart XXXX normal.", "impression": "Normal."}
    assert first.films == (
        Film(image_id="CXR2_IM-0652-1001", path=tmp_path / "images/CXR2_IM-0652-1001.png"),
        Film(image_id="CXR2_IM-0652-2001", path=tmp_path / "images/CXR2_IM-0652-2001.png"),
    )
    assert present(first) == {"No Finding"}
    assert absent(first) == {*COMMON, "Lung Lesion", "Fracture", "Support Devices"}
    assert present(second) == {"Atelectasis", "Pleural Effusion", "Pleural Other"}
    assert second.sides == {"Atelectasis": "both", "Pleural Effusion": "right", "Pleural Other": "left"}
    assert "No Finding" in absent(second)


def test_openi_headings_of_the_program(tmp_path):
    """The sides are the people's, of what the program finds too."""
    text = trees.openi_report(
        "1", ["i"], ["Pneumothorax/left", "Opacity/lung/right"], ["Pneumothorax", "nodules"]
    )
    (study,) = read_openi(trees.openi(tmp_path, {"1": text}), terms="automatic")
    assert present(study) == {"Pneumothorax", "Lung Lesion"}
    assert study.sides == {"Pneumothorax": "left"}


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Mass/lung/upper lobe", ("mass",)),
        ("massive effusion", ()),
        ("Amass", ()),
        ("Mass/mediastinum", ("mediastinum mass",)),
        ("Pulmonary Edema/mild", ("pulmonary edema",)),
        ("Edema/soft tissue", ()),
        ("Pericardial Effusion", ()),
        ("Lung/normal", ()),
        ("normal", ("normal",)),
        ("Catheters, Indwelling/right", ("catheters",)),
        ("Opacity/ribs/right", ("opacity ribs",)),
        ("Thickening/bronchi", ("thickening",)),
    ],
)
def test_openi_headings_by_whole_words(heading, words):
    assert known_words(heading) == words


def test_openi_broken_files_are_noted_and_the_rest_goes_on(tmp_path):
    reports = {
        "1": trees.openi_report("1", ["i"], ["normal"]),
        "2": "<eCitation><uId",
        "3": "",
        "4": "<eCitation><MeSH><major>No Indexing</major></MeSH></eCitation>",
        "5": trees.openi_report(
            "5", ["k"], ["Technical Quality of Image Unsatisfactory ", "Pneumonia", "Gout/foot"]
        ),
    }
    found = by_id(read_openi(trees.openi(tmp_path, reports)))
    assert list(found) == ["CXR1", "2", "3", "4", "CXR5"]
    for name in ("2", "3"):
        assert found[name].notes[0].startswith(f"{name}.xml is no XML (")
        assert (found[name].films, found[name].labels, found[name].sensitivity) == ((), {}, "public")
    assert found["4"].notes == ("no uId: named by its file", "no image", "no MeSH heading: no label")
    assert found["5" if "5" in found else "CXR5"].labels == {"Pneumonia": POSITIVE, "No Finding": NEGATIVE}
    assert found["CXR5"].notes == (
        "technical quality of image unsatisfactory",
        "1 unknown label words: Gout",
    )


def test_openi_frontal_films_by_the_list(tmp_path):
    """Kaggle's names leave out what may stand between a report's number and the film's."""
    text = trees.openi_report("1", ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001", "CXR1_IM-9-9"])
    trees.openi(tmp_path, {"1": text})
    rows = [(1, "1_IM-0001-4001.dcm.png", "Frontal"), (1, "1_IM-0001-3001.dcm.png", "Lateral")]
    trees.table(tmp_path / "indiana_projections.csv", ("uid", "filename", "projection"), rows)
    (study,) = read_openi(tmp_path)
    assert [film.frontal for film in study.films] == [False, True, None]


def test_openi_number_twice_or_no_report(tmp_path):
    with pytest.raises(CaseError, match=r"no report of Open-I in it \(\*\.xml\)"):
        read_openi(tmp_path)
    text = trees.openi_report("1", ["i"])
    with pytest.raises(CaseError, match=r"2\.xml: report 'CXR1' is in 1\.xml too"):
        read_openi(trees.openi(tmp_path, {"1": text, "2": text}))


# RSNA and SIIM


RSNA_ROWS = [
    ("a", 100.0, 50.0, 200.0, 300.0, 1),
    ("a", 700.0, 50.0, 100.0, 300.0, 1),
    ("b", "", "", "", "", 0),
    ("c", 400.0, 50.0, 400.0, 300.0, 1),
    ("d", "", "", "", "", 0),
]
RSNA_CLASSES = [
    ("a", "Lung Opacity"),
    ("a", "Lung Opacity"),
    ("b", "No Lung Opacity / Not Normal"),
    ("c", "Lung Opacity"),
    ("d", "Normal"),
]


def test_rsna(tmp_path):
    """Films 1024 wide: centres 200 (the patient's right), 750 and, across the middle, 600 (his left)."""
    found = by_id(read_rsna(trees.rsna(tmp_path, RSNA_ROWS, RSNA_CLASSES), width=1024))
    assert found["a"].sides == {"Pneumonia": "both", "Lung Opacity": "both"}
    assert found["c"].sides == {"Pneumonia": "left", "Lung Opacity": "left"}
    assert found["a"].labels == {"Pneumonia": POSITIVE, "Lung Opacity": POSITIVE}
    assert found["b"].labels == {"Pneumonia": NEGATIVE, "Lung Opacity": NEGATIVE, "No Finding": NEGATIVE}
    assert found["d"].labels == {"Pneumonia": NEGATIVE, "Lung Opacity": NEGATIVE, "No Finding": POSITIVE}
    assert found["a"].films == (
        Film(image_id="a", path=tmp_path / "stage_2_train_images/a.dcm", frontal=True),
    )
    assert {study.split for study in found.values()} == {""}


def test_rsna_without_width_or_classes(tmp_path):
    found = by_id(read_rsna(trees.rsna(tmp_path, RSNA_ROWS)))
    assert {finding for study in found.values() for finding in study.sides} == set()
    assert found["b"].labels == {"Pneumonia": NEGATIVE}


def test_rsna_rows_that_disagree_are_noted(tmp_path):
    rows = [("a", 1, 1, 1, 1, 1), ("a", "", "", "", "", 0), ("b", "", "", "", "", 0), ("c", 1, 1, 1, 1, 1)]
    classes = [("b", "Lung Opacity"), ("c", "Normal"), ("c", "Odd")]
    a, b, c = read_rsna(trees.rsna(tmp_path, rows, classes), width=1024)
    assert (a.labels, a.notes) == ({}, ("rows disagree on Target: no label",))
    assert b.labels == {"Pneumonia": NEGATIVE, "Lung Opacity": POSITIVE}
    assert (c.labels, c.sides) == ({}, {})
    assert c.notes == ("1 unknown label words: Odd", "class 'Normal' disagrees with its boxes: no label")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("a", "", "", "", "", 2), "Target is '2', neither 0 nor 1"),
        (("", "", "", "", "", 0), "names no patient"),
        (("a", "x", 1, 1, 1, 1), "x is 'x', no number"),
    ],
)
def test_rsna_rows_that_make_no_sense(tmp_path, row, said):
    with pytest.raises(CaseError, match=f"line 2: {said}"):
        read_rsna(trees.rsna(tmp_path, [row]))


@pytest.mark.parametrize("head", ["ImageId, EncodedPixels", "ImageId,EncodedPixels"])
def test_siim(tmp_path, head):
    """Two masks of one film; none of another; a film in a folder within a folder, one that is missing."""
    folder = tmp_path / "dicom-images-train/1.2.3/4.5.6"
    folder.mkdir(parents=True)
    (folder / "7.1.dcm").write_bytes(b"")
    rows = [("7.1", "100 5 20 5"), ("7.1", "900 5"), ("7.2", "-1"), ("7.3", "-1"), ("7.3", "1 1")]
    first, second, third = read_siim(trees.siim(tmp_path, rows, head=head))
    assert (first.labels, first.notes) == ({"Pneumothorax": POSITIVE}, ())
    assert first.films == (Film(image_id="7.1", path=folder / "7.1.dcm", frontal=True),)
    assert (second.labels, second.notes) == (
        {"Pneumothorax": NEGATIVE},
        ("no file of it in dicom-images-train",),
    )
    assert second.films[0].path == tmp_path / "dicom-images-train/7.2.dcm"
    assert (third.labels, third.notes[0]) == ({}, "a mask and none: no label")


def test_siim_without_masks(tmp_path):
    with pytest.raises(CaseError, match=r"no column 'EncodedPixels'\. Its columns: ImageId, *Mask"):
        read_siim(trees.siim(tmp_path, [("a", "1 1")], head="ImageId,Mask"))
    with pytest.raises(CaseError, match="line 3: has no mask, nor -1"):
        read_siim(trees.siim(tmp_path, [("a", "1 1"), ("b", "")]))


# All tables


def big_chexpert(root, n=10_000):
    rows = [
        trees.chexpert_row(
            f"train/patient{i // 2:05}/study{i % 2}/view1_frontal.jpg",
            "Frontal",
            "AP",
            Edema=1.0,
            Fracture=-1.0,
        )
        for i in range(n)
    ]
    return trees.chexpert(root, train=rows)


def big_plus(root, n=10_000):
    rows = [
        trees.plus_row(f"train/patient{i:05}/study1/view1_frontal.jpg", section_findings="Clear. " * 40)
        for i in range(n)
    ]
    return trees.chexpert_plus(root, rows)


def big_nih(root, n=10_000):
    rows = [(f"{i:08}_000.png", "Effusion|Mass", 0, i, "PA") for i in range(n)]
    return trees.nih(root, rows, [name for name, *_ in rows])


def big_padchest(root, n=10_000):
    rows = [
        {
            "ImageID": f"{i}.png",
            "StudyID": i,
            "PatientID": i,
            "Labels": "['pneumonia', 'scoliosis']",
            "LabelsLocalizationsBySentence": "[['pneumonia', 'loc right']]",
        }
        for i in range(n)
    ]
    return trees.padchest(root, rows)


def big_vindr(root, n=10_000):
    return trees.vindr(root, [(f"f{i // 3}", f"R{i % 3}", ["Cardiomegaly"]) for i in range(n + 2)])


def big_kaggle(root, n=10_000):
    return trees.kaggle(root, [(f"f{i}", "Cardiomegaly", "R1", 1.0, 2.0) for i in range(n)])


def big_rsna(root, n=10_000):
    return trees.rsna(root, [(f"p{i}", 1.0, 1.0, 2.0, 2.0, 1) for i in range(n)])


def big_siim(root, n=10_000):
    return trees.siim(root, [(f"1.2.{i}", "-1") for i in range(n)])


BIG = {
    "chexpert": (big_chexpert, read_chexpert, "train.csv", "Edema"),
    "plus": (
        big_plus,
        lambda root: read_chexpert_plus(root, labels=""),
        "df_chexpert_plus_240401.csv",
        "section_impression",
    ),
    "nih": (big_nih, read_nih, "Data_Entry_2017_v2020.csv", "Finding Labels"),
    "padchest": (
        big_padchest,
        read_padchest,
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        "Projection",
    ),
    "vindr": (
        big_vindr,
        lambda root: read_vindr(root, readers="any"),
        "annotations/image_labels_train.csv",
        "rad_id",
    ),
    "kaggle": (big_kaggle, lambda root: read_vindr_kaggle(root, readers="any"), "train.csv", "class_name"),
    "rsna": (big_rsna, read_rsna, "stage_2_train_labels.csv", "Target"),
    "siim": (big_siim, read_siim, "train-rle.csv", "ImageId"),
}


@pytest.mark.parametrize("name", BIG)
def test_ten_thousand_rows_take_seconds(tmp_path, name):
    make, read, _, _ = BIG[name]
    root = make(tmp_path)
    start = time.process_time()
    studies = read(root)
    assert time.process_time() - start < 5
    assert len(studies) == {"vindr": 3334}.get(name, 10_000)


@pytest.mark.parametrize("name", BIG)
def test_a_wrong_column_names_file_and_columns(tmp_path, name):
    make, read, table, column = BIG[name]
    path = rewritten(make(tmp_path, 3) / table, column, "Renamed")
    with pytest.raises(CaseError, match=re.escape(column)) as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)
    assert "Renamed" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BIG)
def test_a_missing_table_is_one_line(tmp_path, name):
    _, read, table, _ = BIG[name]
    with pytest.raises(CaseError, match=re.escape(Path(table).name)) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


WORDS = st.lists(st.sampled_from(sorted(names.by_word("padchest"))), max_size=5)


@given(WORDS)
@settings(max_examples=100, deadline=None)
def test_labels_are_those_of_the_words_alone(words):
    """By the plain definition: found where a word says so, denied of the rest of what can be denied."""
    labels = names.told(words, by="padchest", denied=names.DENIED["padchest"]).labels
    found = {finding for finding, of in names.PADCHEST.items() for word in words if word in of}
    assert {finding for finding, value in labels.items() if value == POSITIVE} == found - (
        {"", "No Finding"} if found - {"No Finding"} else {""}
    )
    near = {names.NEAR["padchest"].get(word) for word in words}
    for finding in names.DENIED["padchest"] - found - near:
        assert labels[finding] == NEGATIVE


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_cell_of_padchest_is_read_or_noted(tmp_path_factory, cell):
    """Whatever stands in the lists: a study, or one line that says what is wrong."""
    root = tmp_path_factory.mktemp("padchest")
    row = {"ImageID": "a.png", "Labels": cell, "LabelsLocalizationsBySentence": cell}
    try:
        (study,) = read_padchest(trees.padchest(root, [row]))
    except DriftboundError as error:
        said = str(error)
    else:
        said = study.study_id
    assert said == "s1" or "\n" not in said


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_file_of_openi_is_read_or_noted(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("openi")
    (root / "1.xml").write_bytes(text.encode("utf-8", "surrogatepass"))
    (study,) = read_openi(root)
    assert study.notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"ImageId,EncodedPixels\na\n", "line 2: does not have 2 cells"),
        (b"ImageId,EncodedPixels\na,-1,x\n", "line 2: does not have 2 cells"),
        (b"ImageId,EncodedPixels,ImageId\na,-1,a\n", "two columns have one name"),
        (b"ImageId,EncodedPixels\n\xff,-1\n", "cannot be read"),
        (b'ImageId,EncodedPixels\n"a,-1\n', "cannot be read"),
        (b"", "no column 'ImageId'. Its columns: none"),
    ],
)
def test_broken_tables_are_one_line(tmp_path, text, said):
    path = tmp_path / "train-rle.csv"
    path.write_bytes(text)
    with pytest.raises(CaseError, match=re.escape(said)) as caught:
        read_siim(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_table_whose_packing_is_broken(tmp_path):
    packed = gzip.compress(b"ImageId,EncodedPixels\n" + b"a,-1\n" * 1000)
    for data in (packed[:-20], b"ImageId\n"):
        (tmp_path / "train-rle.csv.gz").write_bytes(data)
        with pytest.raises(CaseError, match=r"train-rle\.csv\.gz: cannot be read"):
            read_siim(tmp_path)
