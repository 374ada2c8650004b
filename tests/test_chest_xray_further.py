"""Further data sets and MS-CXR-T in the chest X-ray field: splits of their own, and patients kept apart."""

import gzip
import json
import re
from pathlib import Path

import chest_xray_trees_other as trees
import pytest
import yaml
from chest_xray_trees import film, mimic, write
from PIL import Image
from pydantic import ValidationError

from driftbound.config import DomainConfig, Recipe
from driftbound.data_config import SETS
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.chest_xray.findings import FINDINGS, HEADLINE
from driftbound.domains.chest_xray.ms_cxr_t import COLUMNS, IMAGES
from driftbound.domains.chest_xray.zero_shot import PROTOCOLS
from driftbound.errors import CaseError, ConfigError
from driftbound.protocols import Benchmarked
from driftbound.records import UNKNOWN
from driftbound.store.tables import read_cases, read_truth

SAID = {"uncertain_as": "ignore", "blank_as": "absent"}
ADA, BOB, CAT = "10000001", "10000002", "10000003"


def picture(path, shade=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 30), shade).save(path)


def place(root, subject, study, number):
    return root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{film(number)}.jpg"


STUDIES = [
    (ADA, "50000001", "train", [(film(1), "PA")], {"Edema": "1.0", "Pneumonia": "-1.0"}, 1, 1.0),
    (ADA, "50000002", "train", [(film(2), "PA")], {"Edema": "0.0", "Fracture": "1.0"}, 2, 1.0),
    (BOB, "50000003", "train", [(film(3), "AP")], {"Edema": "1.0"}, 1, 1.0),
    (CAT, "50000004", "test", [(film(4), "AP")], {"No Finding": "1.0"}, 1, 1.0),
    (CAT, "50000005", "test", [(film(5), "AP")], None, 2, 1.0),
]


@pytest.fixture
def jpg(tmp_path):
    """MIMIC-CXR-JPG with three patients, one of them in the test split; the last study has no labels."""
    root = mimic(tmp_path / "jpg", STUDIES)
    for number, (subject, study, *_) in enumerate(STUDIES, start=1):
        picture(place(root, subject, study, number), 20 * number)
    return root


@pytest.fixture
def nih(tmp_path):
    """ChestX-ray14 with four patients of one film each, 3 and 4 in its test list."""
    names = [f"0000000{n}_000.png" for n in range(1, 5)]
    rows = [(name, "Effusion" if n < 3 else "No Finding", 0, n, "PA") for n, name in enumerate(names, 1)]
    root = trees.nih(tmp_path / "nih", rows, names[:2], names[2:])
    for n, name in enumerate(names):
        picture(root / "images" / name, 10 * n)
    return root


@pytest.fixture
def det(tmp_path):
    """ChestX-Det10: two films of ChestX-ray14, one of them of a patient of its training."""
    root = tmp_path / "det"
    rows = [{"file_name": f"0000000{n}_000.png", "syms": ["Effusion"]} for n in (2, 9)]
    root.mkdir()
    (root / "test.json").write_text(json.dumps(rows))
    for row in rows:
        picture(root / "test_data" / row["file_name"])
    return root


def pairs(folder, *rows):
    columns = ("subject_id", "study_id", "dicom_id", "previous_study_id", "previous_dicom_id")
    more = [f"{name}_{what}" for name in COLUMNS.values() for what in ("progression", "label_quality")]
    write(folder / IMAGES, (*columns, *more), rows)
    return folder


def pair(subject, study, number, before, earlier, **more):
    """The pair of the film ``number`` and, before it, the film ``earlier``."""
    top = f"p{subject[:2]}/p{subject}"
    return {
        "subject_id": subject,
        "study_id": study,
        "dicom_id": f"{top}/s{study}/{film(number)}",
        "previous_study_id": before,
        "previous_dicom_id": f"{top}/s{before}/{film(earlier)}" if earlier else "",
        **more,
    }


def written(tmp_path, data, **counts):
    """Cases and truth by id, of a domain that is written."""
    domain = ChestXrayDomain(DomainConfig(name="chest-xray", data=SAID | data, **counts), seed=0)
    run = tmp_path / "run"
    run.mkdir()
    domain.write_cases(run, tmp_path / "truth.parquet")
    cases = {case.case_id: case for case in read_cases(run / "cases.parquet")}
    return cases, read_truth(tmp_path / "truth.parquet")


def other(set_name, root, **more):
    return SAID | {"set": set_name, "root": str(root)} | more


def said(capsys):
    return re.sub(r"\s+", " ", "".join(capsys.readouterr()))


# ---- further sets ------------------------------------------------------------------------------


def test_a_further_set_becomes_a_split_of_its_own_test_part(tmp_path, jpg, nih, capsys):
    """Its own policy, its own ids: NIH denies what it does not name, and 3 and 4 are its test list."""
    data = {"set": "mimic-cxr", "root": str(jpg), "size": 64, "others": {"abroad": other("nih", nih)}}
    cases, truth = written(tmp_path, data)
    abroad = {name for name, case in cases.items() if case.split == "abroad"}
    assert abroad == {"abroad:00000003_000", "abroad:00000004_000"}
    assert {cases[name].cluster for name in abroad} == {"abroad:3", "abroad:4"}
    assert {cases[name].sensitivity for name in abroad} == {"credentialed"}
    assert truth["abroad:00000003_000"]["Pleural Effusion"] == "absent"
    assert truth["abroad:00000003_000"]["No Finding"] == "present"
    assert {case.split for case in cases.values()} == {"train", "test", "abroad"}
    with Image.open(tmp_path / "run" / cases["abroad:00000003_000"].images[0]) as image:
        assert image.size == (64, 64)
    assert "abroad: 2 of 2 studies of nih, test; nothing is trained on them" in said(capsys)


def test_a_further_sets_policy_is_its_own(tmp_path, jpg):
    """What is blank in CheXpert is unknown here; in the set that is learnt from it is absent."""
    root = trees.chexpert(
        tmp_path / "chexpert",
        valid=[
            trees.chexpert_row("valid/patient64541/study1/view1_frontal.jpg", "Frontal", "AP", Edema=-1.0)
        ],
    )
    picture(root / "valid/patient64541/study1/view1_frontal.jpg")
    policy = {"part": "validation", "uncertain_as": "present", "blank_as": "ignore"}
    data = {"set": "mimic-cxr", "root": str(jpg), "others": {"stanford": other("chexpert", root, **policy)}}
    _, truth = written(tmp_path, data)
    (ours,) = [told for name, told in truth.items() if name.startswith("stanford:")]
    assert (ours["Edema"], ours["Fracture"]) == ("present", UNKNOWN)
    assert (truth["50000001"]["Pneumonia"], truth["50000001"]["Fracture"]) == (UNKNOWN, "absent")


def test_no_more_than_cases_and_whole_patients(tmp_path, jpg):
    rows = [
        {"ImageID": f"{n}.png", "StudyID": n, "PatientID": n // 2, "Labels": "['normal']", "Projection": "PA"}
        for n in range(20)
    ]
    root = trees.padchest(tmp_path / "padchest", rows)
    for n in range(20):
        for folder in (root, root / "0"):
            picture(folder / f"{n}.png", n)
    data = {"set": "mimic-cxr", "root": str(jpg), "others": {"spain": other("padchest", root, cases=5)}}
    cases, _ = written(tmp_path, data)
    own = [case.cluster for case in cases.values() if case.split == "spain"]
    assert len(own) == 4  # a fifth would cut a patient in two
    assert all(own.count(patient) == 2 for patient in own)


def test_patients_of_an_evaluation_are_not_trained_on(tmp_path, nih, det, capsys):
    """ChestX-Det10's film of patient 2 is of ChestX-ray14's training: that patient leaves the training."""
    data = other("nih", nih) | {"others": {"det": other("chestx-det10", det)}}
    cases, _ = written(tmp_path, data)
    by_split = {
        split: sorted(name for name, case in cases.items() if case.split == split)
        for split in ("train", "test", "det")
    }
    assert by_split == {
        "train": ["00000001_000"],
        "test": ["00000003_000", "00000004_000"],
        "det": ["det:00000002_000", "det:00000009_000"],
    }
    assert "nih: 1 studies of 1 patients of det are left out of training and validation" in said(capsys)


@pytest.mark.parametrize("learnt", ["nih", "chestx-det10"])
def test_films_of_which_nobody_can_tell_whose_they_are_are_refused(tmp_path, nih, det, learnt):
    """ChestX-Det10's 2.png may be of any patient of ChestX-ray14, and is not patient 2."""
    for name in ("train", "test"):
        (det / f"{name}.json").write_text(json.dumps([{"file_name": f"{name[:2]}2.png", "syms": []}]))
    sets = {"nih": nih, "chestx-det10": det}
    (other_set,) = set(sets) - {learnt}
    data = other(learnt, sets[learnt]) | {"others": {"x": other(other_set, sets[other_set])}}
    with pytest.raises(CaseError, match=r"others\.x: 1 films, such as t[re]+2, do not say whose they are"):
        written(tmp_path, data)


def test_vindrs_two_editions_are_not_told_apart():
    far = other("vindr-kaggle", "y", readers="any")
    with pytest.raises(ValidationError, match="vindr-cxr and vindr-kaggle are both taken from VinDr-CXR"):
        DomainConfig(
            name="chest-xray", data=other("vindr-cxr", "x", readers="any") | {"others": {"far": far}}
        )


def test_the_same_number_in_another_hospital_is_another_patient(tmp_path, nih):
    """PadChest's patient 1 is not ChestX-ray14's."""
    row = {"ImageID": "1.png", "StudyID": 1, "PatientID": 1, "Labels": "['normal']", "Projection": "PA"}
    root = trees.padchest(tmp_path / "padchest", [row])
    for folder in (root, root / "0"):
        picture(folder / "1.png")
    cases, _ = written(tmp_path, other("nih", nih) | {"others": {"spain": other("padchest", root)}})
    assert {"00000001_000", "00000002_000", "spain:1"} <= set(cases)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"test": {}}, "'test' is a split already"),
        ({"mscxrt_presence": {}}, "'mscxrt_presence' is a split already"),
        ({"Spain": {}}, "'Spain' is no name"),
        ({"a:b": {}}, "'a:b' is no name"),
        ({"x": {"set": ""}}, "set: say which data set"),
        ({"x": {"blank_as": ""}}, "blank_as: must be said of padchest"),
        ({"x": {"readers": "any"}}, "readers belongs to vindr, not padchest"),
        ({"x": {"images": "jpg"}}, "images belongs to mimic-cxr, not to padchest"),
        ({"x": {"set": "rsna"}}, "nih and rsna are both taken from ChestX-ray14, and rsna does not name"),
        ({"x": {"set": "siim"}}, "nih and siim are both taken from ChestX-ray14, and siim does not name"),
    ],
)
def test_a_further_set_must_be_said_whole(others, message):
    whole = {name: other("padchest", "x") | more for name, more in others.items()}
    with pytest.raises(ValidationError, match=message):
        DomainConfig(name="chest-xray", data=other("nih", "x") | {"others": whole})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"root": "nowhere"}, r"nowhere: no such folder. Set domain.data.others.x.root to the folder of nih"),
        ({"part": "validation"}, r"has test, train. Set domain.data.others.x.part, such as all"),
    ],
)
def test_what_is_wrong_with_a_further_set_is_one_line(tmp_path, jpg, nih, more, message):
    data = {"set": "mimic-cxr", "root": str(jpg), "others": {"x": other("nih", nih) | more}}
    with pytest.raises(CaseError, match=message):
        written(tmp_path, data)


def test_a_set_without_splits_has_no_test_part(tmp_path, jpg):
    root = trees.rsna(tmp_path / "rsna", [("p1", 1.0, 1.0, 2.0, 2.0, 1)])
    data = {"set": "mimic-cxr", "root": str(jpg), "others": {"x": other("rsna", root, part="test")}}
    with pytest.raises(CaseError, match="rsna as it lies there has no split of its own"):
        written(tmp_path, data)


def test_a_patient_with_too_many_studies_is_told(tmp_path, jpg):
    rows = [{"ImageID": f"{n}.png", "StudyID": n, "PatientID": 1, "Labels": "['normal']"} for n in range(3)]
    root = trees.padchest(tmp_path / "padchest", rows)
    data = {"set": "mimic-cxr", "root": str(jpg), "others": {"x": other("padchest", root, cases=2)}}
    with pytest.raises(
        CaseError, match=r"no patient has 2 studies or fewer. Raise domain.data.others.x.cases"
    ):
        written(tmp_path, data)


def test_another_table_of_a_further_set_is_another_run(jpg, nih):
    data = {"set": "mimic-cxr", "root": str(jpg), "others": {"x": other("nih", nih)}}
    domain = ChestXrayDomain(DomainConfig(name="chest-xray", data=SAID | data), 0)
    before = domain.inputs()
    (nih / "test_list.txt").write_text("00000004_000.png\n")
    after = domain.inputs()
    assert {key for key in before if before[key] != after[key]} == {"tables of x"}


# ---- evaluate.splits ---------------------------------------------------------------------------


def recipe(jpg, evaluate, **data):
    whole = SAID | {"set": "mimic-cxr", "root": str(jpg)} | data
    given = {"name": "x", "teachers": [{"name": "t", "model": "m"}], "evaluate": evaluate}
    return Recipe.parse(given | {"domain": {"name": "chest-xray", "data": whole}}, where="my.yaml")


def test_further_splits_are_evaluated_unless_others_are_said():
    others = {"nih": other("nih", "y"), "spain": other("padchest", "z")}
    found = recipe("x", {}, others=others, ms_cxr_t="t")
    expected = ("test", "test_scanner", "nih", "spain", "mscxrt_presence", "mscxrt_progression")
    assert found.evaluate.splits == expected
    assert Recipe.parse(found.model_dump(mode="json"), where="again").evaluate.splits == expected
    assert recipe("x", {"splits": ["spain", "test"]}, others=others).evaluate.splits == ("spain", "test")
    assert recipe("x", {}).evaluate.splits == ("test", "test_scanner")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["spian"], "'spian' is no held-out split of this recipe; did you mean 'spain'?"),
        (["test", "train"], "'train' is no held-out split of this recipe; students have seen it"),
        (
            ["zzz"],
            "'zzz' is no held-out split of this recipe; there are validation, test, test_scanner, spain",
        ),
        (["mscxrt_presence"], "'mscxrt_presence' is no held-out split"),
        ([], "evaluate.splits: Tuple should have at least 1 item"),
    ],
)
def test_a_name_that_is_no_split_is_refused(splits, message):
    with pytest.raises(ConfigError) as caught:
        recipe("x", {"splits": splits}, others={"spain": other("padchest", "z")})
    assert message in str(caught.value)


def test_progression_cannot_be_the_results_table():
    with pytest.raises(ConfigError, match="mscxrt_progression is no results table; name another one first"):
        recipe("x", {"splits": ["mscxrt_progression"]}, ms_cxr_t="t")


def test_a_misspelt_key_of_a_further_set_is_put_right():
    with pytest.raises(
        ConfigError, match=r"unknown key 'caes' in 'domain\.data\.others\.nih'; did you mean 'cases'"
    ):
        recipe("x", {}, others={"nih": other("nih", "y", caes=3)})


# ---- MS-CXR-T ----------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Two pairs: Ada's, judged on two findings, and Cat's, whose later study has no labels."""
    return pairs(
        tmp_path / "t",
        pair(
            *(ADA, "50000002", 2, "50000001", 1),
            edema_progression="improving",
            edema_label_quality="multiple_experts",
            pneumonia_progression="stable",
            pneumonia_label_quality="disagreement",
        ),
        pair(CAT, "50000005", 5, "50000004", 4, pneumothorax_progression="worsening"),
        pair(CAT, "50000004", 4, "50000003", 0, pneumothorax_progression="worsening"),
        pair(CAT, "50000004", 4, "50000003", 3),
    )


def test_ms_cxr_t_becomes_two_protocols(tmp_path, jpg, table, capsys):
    cases, truth = written(tmp_path, {"set": "mimic-cxr", "root": str(jpg), "ms_cxr_t": str(table)})
    by_split = {
        split: {name: case for name, case in cases.items() if case.split == split}
        for split in ("train", "test", "mscxrt_presence", "mscxrt_progression")
    }
    assert set(by_split["train"]) == {"50000003"}  # Ada's are left out, Bob's stay
    assert set(by_split["test"]) == {"50000004", "50000005"}  # a test may hold the benchmark's patients
    one = f"mscxrt_presence:50000002:{film(2)}"
    assert set(by_split["mscxrt_presence"]) == {one, f"mscxrt_presence:50000004:{film(4)}"}
    assert (cases[one].cluster, cases[one].prompt, len(cases[one].images)) == (ADA, "", 1)
    told = truth[one]
    assert {name: told[name] for name in HEADLINE} == dict.fromkeys(HEADLINE, "absent")
    assert told["Fracture"] == UNKNOWN  # the label is there, and is none of the protocol's five
    two = "mscxrt_progression:50000002:50000001"
    assert set(by_split["mscxrt_progression"]) == {two, "mscxrt_progression:50000005:50000004"}
    assert (truth[two]["Edema"], truth[two]["Pneumonia"], truth[two]["Consolidation"]) == (
        *("improving", "stable"),
        UNKNOWN,
    )
    assert truth[two]["Pneumonia label_quality"] == "disagreement"
    heard = said(capsys)
    assert "mimic-cxr: 2 studies of 1 patients of MS-CXR-T are left out of training and validation" in heard
    gone = [json.loads(line) for line in (tmp_path / "run" / "left_out.jsonl").read_text().splitlines()]
    assert {row["study"]: row["reason"] for row in gone} == {
        f"mscxrt_presence:50000005:{film(5)}": "no labels",
        "mscxrt_progression:50000004:50000003": "no two films in the table",
        "mscxrt_progression:50000004:50000003:2": "no finding judged",
    }


def test_the_earlier_film_is_shown_first(tmp_path, jpg, table):
    """The films' shades are 20 times their number: 1 before 2."""
    cases, _ = written(tmp_path, {"set": "mimic-cxr", "root": str(jpg), "ms_cxr_t": str(table)})
    case = cases["mscxrt_progression:50000002:50000001"]
    shades = []
    for name in case.images:
        with Image.open(tmp_path / "run" / name) as image:
            shades.append(image.getpixel((256, 256)))
    assert shades == [pytest.approx(20, abs=2), pytest.approx(40, abs=2)]
    domain = ChestXrayDomain(DomainConfig(name="chest-xray"), 0)
    assert "first the earlier one, then the later one" in domain.question(case)
    assert "improving, stable or worsening" in domain.question(case)


def test_presence_is_chexperts_whatever_labels_the_rest_has(tmp_path, jpg, table):
    """NegBio's table, the truth of the rest here, holds nobody: the later film keeps CheXpert's labels."""
    data = {"set": "mimic-cxr", "root": str(jpg), "ms_cxr_t": str(table), "labels": "negbio"}
    negbio = jpg / "mimic-cxr-2.0.0-negbio.csv.gz"
    write(jpg / "mimic-cxr-2.0.0-negbio.csv", ("subject_id", "study_id", *FINDINGS), [])
    negbio.unlink()
    _, truth = written(tmp_path, data)
    assert truth[f"mscxrt_presence:50000002:{film(2)}"]["Edema"] == "absent"


def test_ms_cxr_t_belongs_to_mimic():
    with pytest.raises(ValidationError, match="ms_cxr_t belongs to mimic-cxr, not to nih"):
        DomainConfig(name="chest-xray", data=other("nih", "x") | {"ms_cxr_t": "t"})


def test_the_field_knows_its_benchmarks_and_its_sets_protocols():
    field = ChestXrayDomain(
        DomainConfig(
            name="chest-xray", data=other("mimic-cxr", "x") | {"others": {"c": other("chexpert", "y")}}
        ),
        0,
    )
    assert isinstance(field, Benchmarked)
    assert field.zero_shot("c") == (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Pleural Effusion",
    )
    assert field.zero_shot("test") == ()
    for name, findings in PROTOCOLS.items():
        assert name in SETS
        assert set(findings) <= set(FINDINGS)


def test_the_page_shows_a_recipe_that_is_one():
    page = (Path(__file__).parent.parent / "docs/chest-xray.md").read_text(encoding="utf-8")
    given = yaml.safe_load(page.split("```yaml\n")[2].split("```")[0])
    data = DomainConfig(**given["domain"]).data
    assert data.further_splits == ("stanford", "spain", "mscxrt_presence", "mscxrt_progression")
    table = page.split("Zero-shot protocols")[1].splitlines()
    for name, findings in PROTOCOLS.items():
        row = next(line for line in table if line.startswith(f"| `{name}` |"))
        assert len(findings) == int(re.search(r"\d+", row.split("|")[3])[0])


# ---- notes -------------------------------------------------------------------------------------


def test_notes_of_studies_are_kept_and_counted(tmp_path, jpg, capsys):
    """Cat's second study has no labels; Bob's two have a film each of another name that is in no split."""
    table = jpg / "mimic-cxr-2.0.0-metadata.csv.gz"
    rows = gzip.decompress(table.read_bytes()).decode()
    for number in (8, 9):
        study = STUDIES[2][1] if number == 8 else STUDIES[3][1]
        first = next(line for line in rows.splitlines() if study in line)
        rows += first.replace(first.partition(",")[0], film(number)) + "\n"
    table.write_bytes(gzip.compress(rows.encode()))
    cases, _ = written(tmp_path, {"set": "mimic-cxr", "root": str(jpg)})
    assert {"50000003", "50000004", "50000005"} <= set(cases)
    kept = [json.loads(line) for line in (tmp_path / "run" / "notes.jsonl").read_text().splitlines()]
    assert {row["study"]: row["notes"] for row in kept} == {
        "50000003": [f"film {film(8)} is in no split and left out"],
        "50000004": [f"film {film(9)} is in no split and left out"],
        "50000005": ["no labels"],
    }
    told = "3 of 5 studies have notes: 2 x film ... is in no split and left out, 1 x no labels ("
    assert told in said(capsys)
