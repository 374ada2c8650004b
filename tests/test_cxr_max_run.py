"""CXR-MAX as a run's answers: cases of a made-up MIMIC tree, the teachers' texts from a file of any shape."""

import csv
import json
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from chest_xray_trees import film, mimic
from desk import complaint
from PIL import Image
from typer.testing import CliRunner

from driftbound import pipeline
from driftbound.cli import app
from driftbound.config import Recipe
from driftbound.errors import CaseError, ConfigError, DataUseError, StoreError
from driftbound.exporting import export
from driftbound.importing import import_answers
from driftbound.recipe_files import SHIPPED
from driftbound.records import Status
from driftbound.stages import roster
from driftbound.store.exchange import imported_sensitivity, sensitivity_beside
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams
from driftbound.strict_yaml import load_table

STUDIES = [
    ("10000001", "50000001", "train", [(film(1), "LATERAL"), (film(2), "PA"), (film(9), "AP")], {}, 1, 1.0),
    ("10000002", "50000002", "train", [(film(3), "AP")], {"Edema": "-1.0"}, 1, 1.0),
    ("10000004", "50000004", "test", [(film(5), "PA")], {"No Finding": "1.0"}, 1, 1.0),
]
"""The first study has two frontal films: its case shows the first, film(2)."""
TEXTS = {
    ("50000001", "gpt-5-nano"): "Small left pleural effusion.",
    ("50000001", "moonshot-v1"): "I'm sorry, I cannot interpret medical images.",
    ("50000002", "gpt-5-nano"): "Pulmonary edema.",
    ("50000002", "moonshot-v1"): "No effusion.",
    ("50000004", "gpt-5-nano"): "Clear lungs.",
    ("50000004", "moonshot-v1"): "",
}
SHOWN = {
    "50000001": ("10000001", film(2)),
    "50000002": ("10000002", film(3)),
    "50000004": ("10000004", film(5)),
}
OTHERS = {("50000001", film(9)): "10000001", ("59999999", film(77)): "19999999"}
"""Rows that are no answers: the other frontal film of a case's study, and a study that is no case."""
NAMES = ("gpt-5-nano", "moonshot-v1")


def path_of(subject, study, name):
    return f"files/p{subject[:2]}/p{subject}/s{study}/{name}.jpg"


@pytest.fixture
def root(tmp_path):
    root = mimic(tmp_path / "jpg", STUDIES)
    for subject, study, _, films, *_ in STUDIES:
        for name, _ in films:
            place = root / path_of(subject, study, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (40, 30), 90).save(place, format="JPEG")
    return root


def rows():
    """Image path and what each teacher says, strangers among them."""
    for (study, name), subject in OTHERS.items():
        yield path_of(subject, study, name), dict.fromkeys(NAMES, "Of another film.")
    for study, (subject, name) in SHOWN.items():
        yield path_of(subject, study, name), {each: TEXTS[study, each] for each in NAMES}


def lines(path, given):
    path.write_text("".join(json.dumps(row) + "\n" for row in given))


def wide(folder):
    lines(folder / "max.jsonl", ({"image": image, **said} for image, said in rows()))
    return folder / "max.jsonl"


def wide_csv(folder):
    with (folder / "max.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("image_path", *NAMES))
        writer.writeheader()
        writer.writerows({"image_path": image, **said} for image, said in rows())
    return folder / "max.csv"


def long(folder):
    given = [
        {"image": image, "model": name, "response": text}
        for image, said in rows()
        for name, text in said.items()
    ]
    pq.write_table(pa.Table.from_pylist(given), folder / "max.parquet")
    return folder / "max.parquet"


def table(folder):
    given = [{"image": image, "report": "Made up.", "rationales": said} for image, said in rows()]
    (folder / "max.json").write_text(json.dumps(given))
    return folder / "max.json"


def swift(folder):
    """Chats whose rows name the teacher."""
    given = [
        {
            "messages": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": text}],
            "images": [image],
            "teacher": name,
        }
        for image, said in rows()
        for name, text in said.items()
    ]
    lines(folder / "swift.jsonl", given)
    return folder / "swift.jsonl"


def ids(folder):
    """No images: ids in columns, as numbers."""
    given = [
        {"study_id": int(study), "dicom_id": name, **{each: TEXTS[study, each] for each in NAMES}}
        for study, (_, name) in SHOWN.items()
    ]
    lines(folder / "ids.jsonl", given)
    return folder / "ids.jsonl"


def recipe(root, path, **more):
    data = {"set": "mimic-cxr", "uncertain_as": "ignore", "blank_as": "absent", "size": 64, "root": str(root)}
    teacher = {"kind": "recorded", "path": str(path), "format": "cxr-max"} | more
    given = {"name": "max", "domain": {"name": "chest-xray", "data": data}}
    given |= {"collect": {"max_failed": 0.5}, "measure": {"draws": 99}}
    teachers = [teacher | {"name": "gpt", "stream": "gpt-5-nano"}, teacher | {"name": "moonshot-v1"}]
    return Recipe.parse(given | {"teachers": teachers}, where="test")


def collected(root, path, tmp_path, **more):
    return pipeline.run(recipe(root, path, **more), tmp_path / "runs", until="collect")


def answers(folder):
    with Streams.open_readonly(folder.streams) as streams:
        return {(row.case_id, row.teacher): row for row in streams.current()}


@pytest.mark.parametrize("write", [wide, wide_csv, long, table, swift, ids])
def test_every_shape_becomes_the_answers_of_a_run(tmp_path, root, write, monkeypatch, capsys):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("somebody is asked"))
    folder = collected(root, write(tmp_path), tmp_path)
    found = answers(folder)
    ours = {"gpt-5-nano": "gpt", "moonshot-v1": "moonshot-v1"}
    assert {key: row.text for key, row in found.items()} == {
        (study, ours[name]): text for (study, name), text in TEXTS.items()
    }
    assert found["50000001", "moonshot-v1"].status is Status.REFUSED
    assert found["50000004", "moonshot-v1"].status is Status.EMPTY
    assert found["50000001", "gpt"].status is Status.OK
    assert Manifest.read(folder.stage("collect")).sensitivity == "credentialed"
    told = " ".join("".join(capsys.readouterr()).split())
    assert told.count("rows speak of 3 cases") == 1  # of two teachers, the file is read once
    if write is not ids:
        assert "3 of 5 rows speak of 3 cases" in told
        assert "left out: 1 of another film of a case's study, 1 of studies that are no case" in told


def test_what_is_made_of_them_is_credentialed_and_measured(tmp_path, root):
    given = recipe(root, wide(tmp_path))
    folder = pipeline.run(given, tmp_path / "runs", until="measure")
    assert Manifest.read(folder.stage("measure")).sensitivity == "credentialed"
    assert imported_sensitivity(folder.stage("collect")) == "credentialed"  # whatever the cases are
    export(folder.root, "jsonl", tmp_path / "out.jsonl")
    assert sensitivity_beside(tmp_path / "out.jsonl") == "credentialed"


def test_two_films_of_a_study_are_not_two_answers(tmp_path, root):
    """A file that names studies alone tells the same teacher twice: nobody may choose between them."""
    path = tmp_path / "two.jsonl"
    lines(path, [{"id": n, "study_id": "s50000001", "gpt-5-nano": f"Text {n}."} for n in range(2)])
    with pytest.raises(StoreError, match="gpt-5-nano answers 50000001 twice, differently"):
        collected(root, path, tmp_path)


def test_a_mapping_of_columns_and_notes_that_are_counted(tmp_path, root, capsys):
    path = tmp_path / "own.jsonl"
    given = [
        {"film": image, "label": ["Gout"], "who": name, "said": text}
        for image, each in rows()
        for name, text in each.items()
    ]
    lines(path, given)
    columns = {"image": "film", "teacher": "who", "text": "said"}
    folder = collected(root, path, tmp_path, columns=columns)
    assert answers(folder)["50000002", "gpt"].text == "Pulmonary edema."
    told = " ".join("".join(capsys.readouterr()).split())
    assert "own.jsonl: odd: 3 1 unknown label words: Gout" in told


def test_nothing_maps(tmp_path, root):
    path = tmp_path / "rows.jsonl"
    lines(path, [{"film": "x.jpg", "essay": "Clear."}])
    with pytest.raises(CaseError, match=r"no answers of teachers\. Its columns: film, essay\.") as caught:
        collected(root, path, tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_no_row_is_of_a_case(tmp_path, root):
    path = tmp_path / "rows.jsonl"
    lines(path, [{"image": path_of("19999999", "59999999", film(77)), "gpt-5-nano": "Clear."}])
    said = r"none of its 1 rows speaks of a case of this run \(1 of studies that are no case\)"
    with pytest.raises(StoreError, match=said) as caught:
        collected(root, path, tmp_path)
    assert "59999999" in str(caught.value)
    assert "50000001" in str(caught.value)


def test_a_teacher_that_the_file_lacks_is_told_with_those_that_it_has(tmp_path, root):
    given = recipe(root, wide(tmp_path)).model_dump(mode="json")
    given["teachers"][0]["stream"] = "grok-4"
    with pytest.raises(StoreError, match="no answer of 'grok-4', but of gpt-5-nano, moonshot-v1"):
        pipeline.run(Recipe.parse(given, where="test"), tmp_path / "runs", until="collect")


def test_a_set_that_the_field_does_not_know(tmp_path, root):
    with pytest.raises(ConfigError, match="field 'chest-xray' knows no set 'cxr-mx'; did you mean 'cxr-max'"):
        collected(root, wide(tmp_path), tmp_path, format="cxr-mx")
    teacher = {"name": "a", "kind": "recorded", "path": str(wide(tmp_path)), "format": "cxr-max"}
    given = Recipe.parse(
        {"name": "p", "domain": {"train": 2, "test": 1}, "teachers": [teacher]}, where="test"
    )
    with pytest.raises(ConfigError, match="field 'phantom' knows no set 'cxr-max'; it knows none"):
        pipeline.run(given, tmp_path / "runs", until="collect")


def test_another_format_is_another_request(tmp_path, root):
    """The same file, read as plain rows: the studies' numbers are the cases' ids there, too."""
    path = tmp_path / "studies.jsonl"
    lines(path, [{"study_id": n, **{each: TEXTS[n, each] for each in NAMES}} for n in SHOWN])
    first = answers(collected(root, path, tmp_path))["50000001", "gpt"].request_hash
    plain = recipe(root, path, format="")
    folder = pipeline.run(plain, tmp_path / "runs", name="plain", until="collect")
    assert answers(folder)["50000001", "gpt"].request_hash != first


def test_a_published_set_is_imported(tmp_path, root):
    """Into a run whose teachers are asked over http, which nobody has answered yet."""
    teachers = [{"name": "nano", "model": "gpt-5-nano", "base_url": "http://127.0.0.1:9/v1"}]
    given = recipe(root, wide(tmp_path)).model_dump(mode="json") | {"name": "asked", "teachers": teachers}
    result = CliRunner().invoke(
        app, ["collect", str(_written(tmp_path, given)), "--runs", str(tmp_path / "runs")]
    )
    assert result.exit_code != 0  # nobody answers there
    run = tmp_path / "runs" / "asked"
    new, there = import_answers(run, wide(tmp_path), teacher="nano", stream="gpt-5-nano", format="cxr-max")
    assert (new, there) == (3, 0)
    found = answers(RunFolder(run))
    assert found["50000001", "nano"].text == TEXTS["50000001", "gpt-5-nano"]
    with pytest.raises(ConfigError, match="--format: format: the field 'chest-xray' knows no set 'max'"):
        import_answers(run, wide(tmp_path), teacher="nano", format="max")


def _written(folder, given):
    path = folder / "asked.yaml"
    path.write_text(json.dumps(given))
    return path


def test_cases_of_an_older_driftbound_are_told(tmp_path, root):
    given = recipe(root, wide(tmp_path))
    with pipeline.opened(given, tmp_path / "runs") as context:
        (context.folder.root / "films.jsonl").unlink()
    with pytest.raises(StoreError, match=r"films\.jsonl: no such file: .* Make them anew with --force"):
        pipeline.run(given, tmp_path / "runs", until="collect")


# ---- the recipe that ships ----------------------------------------------------------------------


def shipped(root, **acknowledged):
    """The recipe for one's own set, its root set, and what is acknowledged."""
    given = load_table(SHIPPED["cxr_max"], "recipe")
    given["domain"]["data"]["root"] = str(root)
    given["data_use"]["acknowledgement"] |= acknowledged
    return Recipe.parse(given, where="test")


def test_the_shipped_recipe_sends_nothing_anywhere_as_it_stands(tmp_path, root, monkeypatch):
    """By the command; its forecast is shown, and then the refusal, in one line."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("somebody is asked"))
    given = shipped(root).model_dump(mode="json")
    words = [str(_written(tmp_path, given)), "--runs", str(tmp_path / "runs")]
    for more in ([], ["--dry-run"], ["--batch", str(tmp_path / "batch")]):
        result = CliRunner().invoke(app, ["collect", *words, *more])
        said = complaint(result)
        assert said.startswith("driftbound: teacher gpt-5 at https://api.openai.com/v1: credentialed data")
        assert "Missing: zero_retention, no_training, no_human_review, by, on. Nothing was sent." in said
    assert not RunFolder(tmp_path / "runs" / "cxr_max").audit.exists()
    assert not (tmp_path / "batch").exists()


def test_without_a_root_the_shipped_recipe_says_what_to_set(tmp_path):
    with pytest.raises(CaseError, match=r"/path/to/mimic-cxr-jpg: no such folder\. Set domain\.data\.root"):
        pipeline.run(Recipe.read(SHIPPED["cxr_max"]), tmp_path / "runs", until="collect")


def test_under_the_full_word_all_seven_may_be_asked(tmp_path, root):
    """Its hosts are those of its vendors, and no vendor rejects its settings; a host taken out is refused."""
    word = {"zero_retention": True, "no_training": True, "no_human_review": True, "by": "A. Reader"}
    given = shipped(root, **word, on="2026-03-01")
    with pipeline.opened(given, tmp_path / "runs") as context:
        roster.check(context, given.teachers, ["credentialed"], keys=False)
        assert len({each.vendor for each in given.teachers}) == 7
        hosts = {roster.address_of(each).destination.host for each in given.teachers}
        assert hosts == set(given.data_use.acknowledgement.endpoints)
    fewer = shipped(root, **word, on="2026-03-01", endpoints=["api.openai.com"])
    with (
        pipeline.opened(fewer, tmp_path / "runs") as context,
        pytest.raises(DataUseError, match=r"gemini-2\.5"),
    ):
        roster.check(context, fewer.teachers, ["credentialed"], keys=False)


def test_the_pages_recipe_reads_the_released_set(tmp_path, root, monkeypatch):
    page = (Path(__file__).parent.parent / "docs/cxr-max.md").read_text(encoding="utf-8")
    given = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    given["domain"]["data"] |= {"root": str(root), "size": 64}
    for each in given["teachers"]:
        each["path"] = str(long(tmp_path))
    found = answers(pipeline.run(Recipe.parse(given, where="page"), tmp_path / "runs", until="collect"))
    assert found["50000001", "gpt-5"].text == TEXTS["50000001", "gpt-5-nano"]
    assert "Edema" in json.loads(found["50000001", "gpt-5"].prompt_discloses)
