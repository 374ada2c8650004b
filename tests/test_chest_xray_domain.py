"""The chest X-ray field: cases of a made-up data set, what is left out, the student's format, the gate."""

import gzip
import json
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from chest_xray_dicoms import VALUES, dataset, written
from chest_xray_trees import film, mimic, write
from PIL import Image
from pydantic import ValidationError

from driftbound import pipeline
from driftbound.config import DomainConfig, Recipe
from driftbound.data_config import SETS
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.chest_xray.findings import FINDINGS, HEADLINE, SIDED
from driftbound.domains.chest_xray.language import render
from driftbound.errors import CaseError, ConfigError, DataUseError
from driftbound.protocols import Domain
from driftbound.stances import stances
from driftbound.store.tables import read_cases, read_truth

STUDIES = [
    ("10000001", "50000001", "train", [(film(1), "LATERAL"), (film(2), "PA")], {"Edema": "1.0"}, 1, 1.0),
    ("10000002", "50000002", "train", [(film(3), "AP")], {"Edema": "-1.0"}, 1, 1.0),
    ("10000003", "50000003", "train", [(film(4), "LATERAL")], {}, 1, 1.0),
    ("10000004", "50000004", "test", [(film(5), "PA")], {"No Finding": "1.0"}, 1, 1.0),
    ("10000005", "50000005", "test", [(film(6), "PA")], {"Pneumonia": "0.0"}, 1, 1.0),
]
SAID = {"set": "mimic-cxr", "uncertain_as": "ignore", "blank_as": "absent", "size": 64}


def picture(path, *, broken=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (40, 30), 90)
    image.putpixel((0, 0), 250)
    image.save(path, format="JPEG")
    if broken:
        path.write_bytes(path.read_bytes()[:200])


@pytest.fixture
def root(tmp_path):
    """All films are there but one that is cut and one that is missing."""
    root = mimic(tmp_path / "jpg", STUDIES)
    for subject, study, _, films, *_ in STUDIES:
        for name, _ in films:
            if study != "50000005":
                place = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{name}.jpg"
                picture(place, broken=study == "50000002")
    return root


def domain(root, **more):
    return ChestXrayDomain(DomainConfig(name="chest-xray", data=SAID | {"root": str(root)} | more), seed=0)


def test_cases_truth_and_what_is_left_out(tmp_path, root, capsys):
    run = tmp_path / "run"
    run.mkdir()
    domain(root).write_cases(run, tmp_path / "truth.parquet")
    cases = {case.case_id: case for case in read_cases(run / "cases.parquet")}
    assert set(cases) == {"50000001", "50000004"}
    first = cases["50000001"]
    assert (first.cluster, first.split, first.sensitivity) == ("10000001", "train", "credentialed")
    with Image.open(run / first.images[0]) as image:
        assert (image.size, image.mode) == ((64, 64), "L")
    truth = read_truth(tmp_path / "truth.parquet")
    assert set(truth) == set(cases)
    assert (truth["50000001"]["Edema"], truth["50000001"]["Fracture"]) == ("present", "absent")
    assert (truth["50000004"]["No Finding"], truth["50000004"]["Edema"]) == ("present", "absent")
    told = {
        row["study"]: row["reason"]
        for row in map(json.loads, (run / "left_out.jsonl").read_text().splitlines())
    }
    assert set(told) == {"50000002", "50000003", "50000005"}
    assert told["50000003"] == "no frontal film"
    assert f"{film(3)}.jpg" in told["50000002"]
    assert f"{film(6)}.jpg" in told["50000005"]
    assert "3 of 5 studies became no case: 2 whose film cannot be read, 1 without a frontal film" in "".join(
        capsys.readouterr()
    ).replace("\n", " ")


@pytest.mark.skipif(find_spec("pydicom") is None, reason="needs pydicom")
def test_broken_dicoms_are_told_one_by_one_and_the_rest_goes_on(tmp_path):
    """One is whole; the others are cut, without and with an unknown photometric word, no DICOM, not there."""
    whole = written(dataset(VALUES))
    films = {
        "50000001": whole,
        "50000002": whole[:-5],
        "50000003": written(dataset(VALUES, PhotometricInterpretation=None)),
        "50000004": written(dataset(VALUES, PhotometricInterpretation="MONOCHROME")),
        "50000005": b"not a film",
    }
    studies = [
        (f"1000000{n}", f"5000000{n}", "train", [(film(n), "PA")], {"Edema": "1.0"}, 1, 1.0)
        for n in range(1, 7)
    ]
    root = mimic(tmp_path / "dcm", studies)
    for subject, study, _, ((name, _),), *_ in studies:
        path = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{name}.dcm"
        path.parent.mkdir(parents=True)
        if study in films:
            path.write_bytes(films[study])
    run = tmp_path / "run"
    run.mkdir()
    domain(root, images="dicom").write_cases(run, tmp_path / "truth.parquet")
    assert [case.case_id for case in read_cases(run / "cases.parquet")] == ["50000001"]
    rows = [json.loads(line) for line in (run / "left_out.jsonl").read_text().splitlines()]
    told = {row["study"]: row["reason"] for row in rows}
    assert set(told) == {f"5000000{n}" for n in range(2, 7)}
    for number in range(2, 7):
        assert f"{film(number)}.dcm" in told[f"5000000{number}"]
        assert "\n" not in told[f"5000000{number}"]
    assert "is missing, so whether low is black is unknown" in told["50000003"]
    assert "PhotometricInterpretation MONOCHROME is not read" in told["50000004"]


def test_labels_of_another_release_are_one_line(tmp_path, root):
    """The radiologists' own name of a finding in the table of CheXpert's labels: no case is made."""
    table = root / "mimic-cxr-2.0.0-chexpert.csv.gz"
    text = gzip.decompress(table.read_bytes()).decode().replace("Lung Opacity", "Airspace Opacity")
    table.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(
        CaseError, match=r"no column 'Lung Opacity'\. Its columns: .*Airspace Opacity"
    ) as caught:
        domain(root).write_cases(tmp_path, tmp_path / "truth.parquet")
    assert "\n" not in str(caught.value)


def test_patients_of_the_benchmark_are_left_out(tmp_path, root):
    names = ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax")
    columns = ("subject_id", "study_id", "dicom_id", "previous_study_id", "previous_dicom_id")
    pair = {"subject_id": "10000001", "study_id": "50000001"}
    path = tmp_path / "t" / "MS_CXR_T_temporal_image_classification_v1.0.0.csv"
    write(path, (*columns, *(f"{name}_progression" for name in names)), [pair])
    run = tmp_path / "run"
    run.mkdir()
    domain(root, exclude=str(tmp_path / "t")).write_cases(run, tmp_path / "truth.parquet")
    assert [case.case_id for case in read_cases(run / "cases.parquet")] == ["50000004"]


def test_what_is_wrong_is_one_line(tmp_path, root):
    with pytest.raises(ConfigError, match="needs a data set that you hold"):
        ChestXrayDomain(DomainConfig(name="chest-xray"), seed=0).write_cases(tmp_path, tmp_path / "t")
    with pytest.raises(CaseError, match=r"no such folder. Set domain.data.root to the folder of mimic-cxr"):
        domain(tmp_path / "nowhere").write_cases(tmp_path, tmp_path / "t")
    only = mimic(tmp_path / "empty", [])
    with pytest.raises(CaseError, match="no study of mimic-cxr in it"):
        domain(only).write_cases(tmp_path, tmp_path / "t")
    bare = mimic(tmp_path / "bare", STUDIES)
    with pytest.raises(CaseError, match=r"no study can be used, first 50000001: .*\.jpg"):
        domain(bare).write_cases(tmp_path, tmp_path / "t")


def test_another_table_is_another_run(root):
    before = domain(root).inputs()
    assert before == domain(root, size=128).inputs()
    table = root / "mimic-cxr-2.1.0-test-set-labeled.csv"
    table.write_text(table.read_text() + "\n")
    assert domain(root).inputs() != before


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"root": "x"}, "set: say which data set"),
        ({"set": "nih", "root": "x", "blank_as": "absent"}, "uncertain_as: must be said of nih"),
        ({"set": "nih", "root": "x", "uncertain_as": "absent"}, "blank_as: must be said of nih"),
        (SAID, "root: must be said of mimic-cxr"),
        (SAID | {"set": "nih", "root": "x", "images": "jpg"}, "images belongs to mimic-cxr, not to nih"),
        (SAID | {"set": "vindr-cxr", "root": "x"}, "readers must be said of vindr-cxr"),
        (SAID | {"root": "x", "readers": "all"}, "readers belongs to vindr, not mimic-cxr"),
        (SAID | {"set": "nih", "root": "x", "exclude": "t"}, "exclude belongs to mimic-cxr, not to nih"),
    ],
)
def test_a_data_set_must_be_said_whole(data, said):
    with pytest.raises(ValidationError, match=said):
        DomainConfig(name="chest-xray", data=data)
    with pytest.raises(ValidationError, match="data belongs to the field 'chest-xray'"):
        DomainConfig(data=SAID | {"root": "x"})


def test_other_fields_recipes_do_not_know_of_data():
    assert "data" not in DomainConfig().model_dump()
    assert DomainConfig(name="chest-xray", data=SAID | {"root": "x"}).model_dump()["data"]["size"] == 64


def test_no_film_reaches_a_remote_endpoint_without_the_acknowledgement(tmp_path, root, monkeypatch):
    """The whole way from a recipe: the cases are made, and then nothing is sent to anybody."""
    monkeypatch.setenv("SOME_KEY", "secret")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("somebody is asked"))
    teacher = {"name": "t", "model": "m", "base_url": "https://api.example.com/v1", "api_key_env": "SOME_KEY"}
    given = {"name": "x", "domain": {"name": "chest-xray", "data": SAID | {"root": str(root)}}}
    recipe = Recipe.parse(given | {"teachers": [teacher]}, where="test")
    with pytest.raises(DataUseError, match=r"teacher t at https://api\.example\.com/v1: credentialed data"):
        pipeline.run(recipe, tmp_path / "runs", until="collect")
    assert (tmp_path / "runs" / "x" / "cases.parquet").is_file()


# ---- what the field says and reads -------------------------------------------------------------


def test_it_is_a_domain(root):
    assert isinstance(domain(root), Domain)
    assert set(HEADLINE) < set(FINDINGS)


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_rendered_reads_as_meant(name):
    values = ("present",) if name == "No Finding" else ("present", "absent", "uncertain")
    for value in (*values, *(("left", "right", "both") if name in SIDED else ())):
        said = stances(
            ChestXrayDomain(DomainConfig(name="chest-xray"), 0).claims(render({name: value})), FINDINGS
        )
        assert {each: what for each, what in said.items() if what != "omitted"} == {name: value}


def test_questions_disclose_nothing_and_hold_every_answer(root):
    field = domain(root)
    case = None
    merged = field.merge_question(case, ["Edema.", "No edema."])
    assert merged.index("Reader 1:\nEdema.") < merged.index("Reader 2:\nNo edema.")
    assert "present 90 %" in field.guided_question(case, ["Edema."], ["Edema: present 90 %"])
    assert field.guided_question(case, ["Edema."], []) == field.merge_question(case, ["Edema."])
    refined = field.refine_question(case, ["Edema."], "Fracture.", ["fracture: nobody says so"])
    assert "Fracture." in refined
    assert "nobody says so" in refined
    assert field.mentions_sources("As Reader 2 says, edema.")
    assert not field.mentions_sources(render(dict.fromkeys(FINDINGS, "present")))
    assert field.is_refusal("I'm sorry, I cannot interpret medical images.")
    assert not field.is_refusal("No effusion. I cannot exclude pneumonia.")


def test_the_page_shows_what_the_code_says(capsys):
    page = (Path(__file__).parent.parent / "docs/chest-xray.md").read_text(encoding="utf-8")
    snippet, shown = (page.split(fence)[1].split("```")[0] for fence in ("```python\n", "```text\n"))
    exec(compile(snippet, "docs/chest-xray.md", "exec"), {})
    assert capsys.readouterr().out == shown
    for name in SETS:
        assert f"`{name}`" in page
    given = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    assert DomainConfig(**given["domain"]).data.exclude
