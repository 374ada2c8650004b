"""The data set folder: nothing lost on the way out and in, a card that says what it is, whole or not."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml
from test_collect import chat, vendor
from test_exchanging import ANSWERS, CASES, everything, make_run, said
from test_told import FREE, TOLD, recipe, root, rows_of
from typer.testing import CliRunner

from driftbound import exporting_dataset, pipeline, uploading
from driftbound.cli import app
from driftbound.errors import ConfigError, DataUseError, StoreError
from driftbound.exporting import export
from driftbound.importing import import_answers
from driftbound.records import Status
from driftbound.store.exchange import is_ours, read_trajectories, sensitivity_beside
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, sha256_file
from driftbound.store.stream_file import read_stream_file

__all__ = ("root",)

CURRENT = [each for each in ANSWERS if each.request_hash != "other" and each.wave == 0]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def card_of(folder):
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def shards(folder):
    return sorted(path.name for path in (folder / "data").iterdir())


def test_what_goes_out_comes_in_again(run, tmp_path):
    out = tmp_path / "set"
    assert export(run, "hf-dataset", out) == len(CURRENT) == 5
    assert sorted(each.name for each in out.iterdir()) == ["README.md", "data", "manifest.json"]
    assert shards(out) == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    other = make_run(tmp_path / "other", answers=())
    assert import_answers(other, out) == (5, 0)
    assert import_answers(other, out) == (0, 5)
    assert (
        everything(other)
        == everything(run, wanted=True)
        == sorted(CURRENT, key=lambda a: (a.case_id, a.teacher))
    )


def test_rows_say_what_their_cases_are(run, tmp_path):
    export(run, "hf-dataset", tmp_path / "set")
    rows = pq.read_table(tmp_path / "set/data/train-00000-of-00001.parquet").to_pylist()
    row = next(row for row in rows if (row["case_id"], row["teacher"]) == ("c0", "bob"))
    told = ("split", "cluster", "question", "images", "sensitivity", "text", "status")
    assert {name: row[name] for name in told} == {
        "split": "train",
        "cluster": "p1",
        "question": "What is it?",
        "images": ["images/0.png"],
        "sensitivity": "public",
        "text": "black",
        "status": "truncated",
    }


def test_the_manifest_within_holds_every_file(run, tmp_path):
    export(run, "hf-dataset", tmp_path / "set")
    made = Manifest.read(tmp_path / "set")
    files = [
        path for path in (tmp_path / "set").rglob("*") if path.is_file() and path.name != "manifest.json"
    ]
    assert made.outputs == {
        path.relative_to(tmp_path / "set").as_posix(): sha256_file(path) for path in files
    }
    assert (made.stage, made.facts) == ("export", {"rows": 5, "left_out": {exporting_dataset.OTHERS: 2}})


def test_many_rows_make_many_shards(run, tmp_path, monkeypatch):
    """Train has c0 of both and c1 of both: four rows, three in the first shard."""
    monkeypatch.setattr(exporting_dataset, "MOST", 3)
    export(run, "hf-dataset", tmp_path / "set", split="train")
    assert shards(tmp_path / "set") == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "set/data").iterdir())] == [3, 1]
    assert len(list(read_trajectories(tmp_path / "set"))) == 4
    assert card_of(tmp_path / "set")[0]["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*"}
    ]


def test_a_shard_alone_is_ours_and_says_how_sensitive_it_is(tmp_path):
    run = make_run(tmp_path / "run", sensitivity="credentialed")
    export(run, "hf-dataset", tmp_path / "set")
    assert sensitivity_beside(tmp_path / "set") == "credentialed"
    alone = (tmp_path / "set/data/test-00000-of-00001.parquet").rename(tmp_path / "alone.parquet")
    assert sensitivity_beside(alone) == "credentialed"
    assert is_ours(pq.read_schema(alone).names)
    found = read_stream_file(alone)
    assert (found.sensitivity, [row.text for row in found.trajectories]) == ("credentialed", ["white"])
    other = make_run(tmp_path / "other", answers=())
    import_answers(other, alone)
    export(other, "jsonl", tmp_path / "out.jsonl")
    assert sensitivity_beside(tmp_path / "out.jsonl") == "credentialed"


def test_the_card_counts_and_names(run, tmp_path):
    """ada: ok on c0 and c3, refused on c1. bob: truncated on c0, ok on c1. No recipe is noted in this run."""
    export(run, "hf-dataset", tmp_path / "set")
    head, text = card_of(tmp_path / "set")
    assert head["license"] == "unknown"
    assert head["size_categories"] == ["n<1K"]
    assert [each["split"] for each in head["configs"][0]["data_files"]] == ["train", "test"]
    assert "| ada | another recipe | not told | not told | 2 ok, 1 refused | not told | not told |" in text
    assert "| bob | another recipe | not told | not told | 1 ok, 1 truncated |" in text
    assert "> What is it?" in text
    assert "No prompt gave any label away." in text
    assert "4 train, 1 test." in text
    assert "Public:" in text


def test_nothing_half_stands_under_the_name(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting_dataset, "card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run, "hf-dataset", tmp_path / "sets" / "one")
    assert list((tmp_path / "sets").iterdir()) == []


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_is_there_is_refused(run, tmp_path, there):
    out = tmp_path / "set"
    out.mkdir() if there == "folder" else out.write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        export(run, "hf-dataset", out)
    assert out.is_dir() == (there == "folder")


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"out": "x.parquet"}, ConfigError, "hf-dataset goes to a folder"),
        ({"split": "validation"}, StoreError, "no answer to export"),
        ({"split": "tset"}, ConfigError, "did you mean 'test'"),
        (
            {"to": "jsonl", "out": "x.jsonl", "images": True},
            ConfigError,
            "--images belongs to --to hf-dataset",
        ),
    ],
)
def test_what_cannot_be_is_one_line(run, tmp_path, given, kind, message):
    given = {"to": "hf-dataset", "out": "set"} | given
    out = tmp_path / given.pop("out")
    with pytest.raises(kind, match=message) as caught:
        export(run, given.pop("to"), out, **given)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_no_folder_of_ours(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="is no data set folder of driftbound's"):
        import_answers(run, tmp_path / "empty")


def test_a_run_that_has_collected_nothing(run, tmp_path):
    stage = RunFolder(run).stage("collect")
    (stage / "manifest.json").unlink()
    RunFolder(run).streams.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="nothing is collected yet"):
        export(run, "hf-dataset", tmp_path / "set")


# ---- images and what is credentialed --------------------------------------------------------------


def test_images_go_along_where_they_are_asked_for_and_public(run, tmp_path):
    export(run, "hf-dataset", tmp_path / "set", images=True)
    row = pq.read_table(tmp_path / "set/data/test-00000-of-00001.parquet").to_pylist()[0]
    assert row["images"] == [{"bytes": (run / "images/3.png").read_bytes(), "path": "images/3.png"}]
    assert "`images` holds the images." in card_of(tmp_path / "set")[1]
    assert next(read_trajectories(tmp_path / "set")).text == "white"


def test_images_of_credentialed_cases_never_do(tmp_path):
    run = make_run(tmp_path / "run", sensitivity="credentialed")
    with pytest.raises(DataUseError, match="their images go into no data set, nothing was written"):
        export(run, "hf-dataset", tmp_path / "set", images=True)
    assert not (tmp_path / "set").exists()
    export(run, "hf-dataset", tmp_path / "set")
    for path in (tmp_path / "set/data").iterdir():
        assert all(isinstance(name, str) for row in pq.read_table(path).to_pylist() for name in row["images"])
    head, text = card_of(tmp_path / "set")
    assert head["license"] == "other"
    assert "**Credentialed. Do not pass this on.**" in text


def test_one_credentialed_case_makes_the_whole_set_so(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    cases = [
        replace(case, sensitivity="credentialed" if n == 3 else "public") for n, case in enumerate(CASES)
    ]
    monkeypatch.setattr(exporting_dataset, "read_cases", lambda path: cases)
    with pytest.raises(DataUseError):
        export(run, "hf-dataset", tmp_path / "set", split="train", images=True)


def test_a_folder_is_pushed_as_it_says(tmp_path):
    run = make_run(tmp_path / "run", sensitivity="credentialed")
    export(run, "hf-dataset", tmp_path / "set")
    upload, audit = uploading.find(str(tmp_path / "set"))
    assert (upload.sensitivity, upload.kind) == ("credentialed", "dataset")
    assert audit == tmp_path / "audit.jsonl"
    with pytest.raises(DataUseError):
        uploading.push(str(tmp_path / "set"), "me/set", None)


# ---- a whole run of chest X-rays ----------------------------------------------------------------


@pytest.fixture
def mimic_set(tmp_path, root):
    """Told and free teachers' answers to a made-up MIMIC, exported by the command."""
    with vendor(lambda model, question, nth: (200, chat("Edema: present."))) as server:
        teachers = [each | {"base_url": server.url} for each in (TOLD, FREE)]
        folder = pipeline.run(recipe(root, teachers, context=True), tmp_path / "runs", until="collect")
    out = tmp_path / "set"
    result = CliRunner().invoke(app, ["export", str(folder.root), "--to", "hf-dataset", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return folder, out


def test_the_card_of_mimic_says_its_terms_and_what_was_disclosed(mimic_set):
    folder, out = mimic_set
    head, text = card_of(out)
    assert head["license_name"].startswith("physionet-credentialed")
    assert "credentialed" in head["tags"]
    assert "must not be shared outside PhysioNet's terms" in text
    assert "set: mimic-cxr" in text
    assert "root:" not in text
    assert str(folder.root.parent) not in text
    assert "- told: 3 answers; Atelectasis, Cardiomegaly," in text
    assert "> You see a frontal chest radiograph; below stands what this study was labelled with." in text
    for label in ("Edema: present", "not labelled", "Pleural effusion: present"):
        assert label not in text.partition("## Prompts")[2].partition("## Rows")[0]
    assert "| told | an endpoint | m-told | m-2025-08 | 4 ok | 20" in text
    made = Manifest.read(folder.stage("collect")).fingerprint()
    assert f"`{made}`" in text


def test_rows_name_film_and_question_as_it_was_put(mimic_set):
    folder, out = mimic_set
    rows = [row for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]
    by = {(row["case_id"], row["teacher"]): row for row in rows}
    assert by["50000001", "told"]["film"] == "-".join(["00000001"] * 5)
    assert "Edema: present" in by["50000001", "told"]["question"]
    assert by["50000001", "free"]["question"] == by["50000003", "told"]["question"]
    assert {key: row["prompt_discloses"] for key, row in by.items()} == {
        key: row.prompt_discloses for key, row in rows_of(folder).items()
    }


@pytest.mark.parametrize("pictured", [False, True])
def test_the_hubs_own_library_loads_it(run, tmp_path, pictured):
    datasets = pytest.importorskip("datasets")
    export(run, "hf-dataset", tmp_path / "set", images=pictured)
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "test": 1}
    row = found["test"][0]
    assert (row["text"], row["case_id"], row["sample"], row["cost"]) == ("white", "c3", 0, 0.0)
    if pictured:
        assert row["images"][0].size == (4, 4)
    else:
        assert row["images"] == ["images/3.png"]


def test_answers_given_elsewhere_have_no_question(tmp_path):
    """What the recording was asked, nobody here knows."""
    rows = [said("c0", "ada", "white", note="recorded in x.csv"), said("c0", "bob", "grey")]
    run = make_run(tmp_path / "run", answers=rows)
    export(run, "hf-dataset", tmp_path / "set")
    found = pq.read_table(tmp_path / "set/data/train-00000-of-00001.parquet").to_pylist()
    assert {row["teacher"]: row["question"] for row in found} == {"ada": "", "bob": "What is it?"}
    assert all(row["status"] == Status.OK for row in found)


def test_the_answer_of_the_command_as_json(run, tmp_path):
    words = ["export", str(run), "--to", "hf-dataset", "--out", str(tmp_path / "set"), "--images", "--json"]
    result = CliRunner().invoke(app, words)
    assert json.loads(result.stdout)["rows"] == 5
