"""A run's exports are read by the other side; what comes in from elsewhere is as if it had been asked for."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from driftbound import aligning, exchanging, pipeline
from driftbound.config import DomainConfig, Recipe
from driftbound.domains.registry import load_domain
from driftbound.errors import ConfigError, StoreError
from driftbound.exporting import FOR_TRAINERS, FORMATS, OF_GROUPS, export
from driftbound.importing import import_answers
from driftbound.learning.collator import Candidate
from driftbound.learning.rows import Rows
from driftbound.recipe_files import SHIPPED
from driftbound.records import Case, Group, Negative, Status, Trajectory
from driftbound.stages.context import Context
from driftbound.store.exchange import note_import, read_trajectories, write_trajectories
from driftbound.store.exchange_groups import WHOLE, groups_of
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, sha256_file
from driftbound.store.plan import Plan, made_of
from driftbound.store.rowfiles import read_rows
from driftbound.store.streams import Streams
from driftbound.store.tables import write_cases, write_groups
from driftbound.store.wanted import CaseContent, Wanted, remember, want

TEACHERS = ("ada", "bob")
CASES = tuple(
    Case(
        case_id=f"c{n}",
        cluster="p1",
        split="test" if n == 3 else "train",
        prompt="",
        images=(f"images/{n}.png",),
    )
    for n in range(4)
)


def said(case, teacher, text="clear", **other):
    given = {"status": Status.OK, "request_hash": f"{case}/{teacher}"} | other
    return Trajectory(case_id=case, teacher=teacher, text=text, **given)


ANSWERS = (
    said("c0", "ada", "white"),
    said("c0", "bob", "black", status=Status.TRUNCATED),
    said("c1", "ada", "No.", status=Status.REFUSED),
    said("c1", "bob", "grey", cost=0.25, latency_s=1.5),
    said("c3", "ada", "white"),
    said("c0", "ada", "of another recipe", request_hash="other"),
    said("c0", "ada", "later", wave=1),
)
GROUPS = (
    Group(
        case_id="c0",
        split="train",
        consensus="white, not black",
        negatives=(
            Negative(teacher="ada", text="white", status=Status.OK, valid=True),
            Negative(teacher="bob", text="black", status=Status.TRUNCATED, valid=True, spans=((0, 2, 0.5),)),
        ),
        spans=((0, 5, 0.25),),
        support=0.75,
    ),
    Group(
        case_id="c1",
        split="train",
        consensus="grey all over",
        negatives=(
            Negative(teacher="ada", text="No.", status=Status.REFUSED, valid=False),
            Negative(teacher="bob", text="grey", status=Status.OK, valid=True, weight=2.0, end_weight=0.5),
        ),
        support=1.0,
    ),
    Group(
        case_id="c3",
        split="test",
        consensus="white",
        negatives=(Negative(teacher="ada", text="whitish", status=Status.OK, valid=True),),
        support=0.5,
    ),
)
TRAIN = list(GROUPS[:2])


def make_run(root, answers=ANSWERS, sensitivity="public"):
    """A run that has collected and synthesized, as the stages leave it."""
    folder = RunFolder(root)
    cases = [replace(case, sensitivity=sensitivity) for case in CASES]
    for case in cases:
        path = root / case.images[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 99).save(path)
    write_cases(folder.cases, cases)
    domain = {"domain": DomainConfig().model_dump(mode="json")}
    Manifest(stage="cases", config=domain, inputs={}, seed=7, sensitivity=sensitivity).write(root)
    with Streams(folder.streams) as streams:
        remember(streams, [CaseContent(case=case, question="What is it?", images=()) for case in cases])
        want(
            streams,
            [
                Wanted(
                    teacher=teacher,
                    place=place,
                    case_id=case.case_id,
                    sample=0,
                    wave=0,
                    request_hash=f"{case.case_id}/{teacher}",
                )
                for teacher in TEACHERS
                for place, case in enumerate(cases)
            ],
            wave=0,
        )
        streams.put_many(answers)
        streams.seal()
    Manifest(stage="collect", config={}, inputs={}, seed=7, facts={"seconds": 2.5}).write(
        folder.stage("collect")
    )
    write_groups(folder.groups, GROUPS)
    return root


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def everything(run, wanted=False):
    with Streams.open_readonly(RunFolder(run).streams) as streams:
        return list(streams.current() if wanted else streams.each())


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_answers_go_out_and_come_into_another_run(run, tmp_path, ending):
    out = tmp_path / f"answers.{ending}"
    assert export(run, ending, out) == len(ANSWERS)
    other = make_run(tmp_path / "other", answers=())
    assert import_answers(other, out) == (len(ANSWERS), 0)
    assert import_answers(other, out) == (0, len(ANSWERS))
    assert everything(other) == everything(run)
    assert everything(other, wanted=True) == everything(run, wanted=True)
    assert sorted(everything(run), key=repr) == sorted(ANSWERS, key=repr)


@pytest.mark.parametrize("to", OF_GROUPS)
def test_groups_go_out_and_are_groups_again(run, tmp_path, to):
    out = tmp_path / "rows.jsonl"
    assert export(run, to, out) == (2 if to in WHOLE else 3)  # three negatives count, in two groups
    assert list(groups_of(to, out)) == TRAIN
    assert export(run, to, tmp_path / "test.jsonl", split="test") == 1
    assert list(groups_of(to, tmp_path / "test.jsonl")) == [GROUPS[2]]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_rows_for_trl_are_read_by_align_groups(run, tmp_path, ending):
    out = tmp_path / f"rows.{ending}"
    export(run, "trl", out)
    examples = Rows(aligning.read_rows(out), "rows")
    assert [[each.text for each in example.candidates] for example in examples] == [
        ["white, not black", "white"],
        ["white, not black", "black"],
        ["grey all over", "grey"],
    ]
    assert {example.question for example in examples} == {"What is it?"}
    assert examples[0].images == (run / "images/0.png",)


def test_our_rows_bring_align_groups_all_constraints(run, tmp_path):
    """What ``align`` makes of the groups themselves, but for the end token of the answer that was cut."""
    out = tmp_path / "rows.jsonl"
    export(run, "rows", out)
    one, two = Rows(aligning.read_rows(out), "rows")
    assert one.candidates == (
        Candidate(text="white, not black", spans=((0, 5, 0.25),)),
        Candidate(text="white"),
        Candidate(text="black", spans=((0, 2, 0.5),), end_weight=0.0),
    )
    assert two.candidates[1] == Candidate(text="grey", log_weight=math.log(2.0), end_weight=0.5)
    assert (one.question, one.images) == ("What is it?", (run / "images/0.png",))


def test_a_line_break_that_json_does_not_know_splits_no_row(tmp_path):
    """U+2028 is a break to ``str.splitlines`` and none to JSON."""
    row = {"prompt": "a\u2028b", "chosen": "c", "rejected": ["d"]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert aligning.read_rows(path) == [row]


@pytest.mark.parametrize("to", ["ms-swift-sft", "llamafactory-sft"])
def test_supervised_rows_are_the_usable_current_answers(run, tmp_path, to, capsys):
    out = tmp_path / "rows.jsonl"
    with Streams(RunFolder(run).streams) as streams:  # a second sample, which serves the noise floor alone
        key = {"sample": 1, "wave": 0, "request_hash": "c0/ada"}
        streams.put(said("c0", "ada", "pale", **key))
        streams.db.execute("INSERT INTO wanted VALUES ('ada', 99, 'c0', 1, 0, 'c0/ada', '')")
        streams.seal()
    assert export(run, to, out) == 3
    rows = [row for _, row in read_rows(out)]
    assert [row["messages"][1]["content"] for row in rows] == ["white", "black", "grey"]
    assert rows[0]["images"] == [str(run / "images/0.png")]
    assert "left out: 1 answers (refused)" in capsys.readouterr().err
    beside = json.loads((tmp_path / "rows.jsonl.manifest.json").read_text())
    assert beside["facts"] == {"rows": 3, "left_out": {"answers (refused)": 1}}


def test_a_split_of_the_answers(run, tmp_path):
    assert export(run, "jsonl", tmp_path / "a.jsonl", split="test") == 1
    assert [each.case_id for each in read_trajectories(tmp_path / "a.jsonl")] == ["c3"]


def test_the_manifest_beside_says_from_what(run, tmp_path):
    out, folder = tmp_path / "rows.jsonl", RunFolder(run)
    export(run, "trl", out)
    beside = json.loads((tmp_path / "rows.jsonl.manifest.json").read_text())
    assert (beside["stage"], beside["seed"], beside["sensitivity"]) == ("export", 7, "public")
    assert beside["config"] == {"to": "trl", "split": ""}
    assert beside["outputs"] == {"rows.jsonl": sha256_file(out)}
    assert beside["inputs"] == {
        "cases": sha256_file(folder.cases),
        "groups": sha256_file(folder.groups),
        "streams": sha256_file(folder.streams),
    }


@pytest.mark.parametrize("to", [to for to in FORMATS if to != "hf-dataset"])  # test_dataset_folder.py
def test_sensitivity_goes_out_and_comes_in(tmp_path, to):
    """Beside each export; into a public run with the answers; and out of that again. No image is copied."""
    run = make_run(tmp_path / "run", sensitivity="credentialed")
    out = tmp_path / "out" / ("rows.parquet" if to == "parquet" else "rows.jsonl")
    export(run, to, out)
    names = {out.name, f"{out.name}.manifest.json"}
    assert {each.name for each in out.parent.iterdir()} == names
    assert json.loads(out.with_name(f"{out.name}.manifest.json").read_text())["sensitivity"] == "credentialed"
    if to in FOR_TRAINERS:
        (said, *_) = (json.loads(row["driftbound"]) for _, row in read_rows(out))
        assert said["sensitivity"] == "credentialed"
        return
    other = make_run(tmp_path / "other", answers=())
    import_answers(other, out)
    export(other, "trl", tmp_path / "again.jsonl")
    beside = json.loads((tmp_path / "again.jsonl.manifest.json").read_text())
    assert beside["sensitivity"] == "credentialed"


@pytest.mark.parametrize(
    ("to", "name", "split", "kind", "message"),
    [
        ("lamafactory", "a.jsonl", "", ConfigError, "no 'lamafactory'; did you mean 'llamafactory'?"),
        ("csv", "a.csv", "", ConfigError, "no 'csv'; known: jsonl, parquet, hf-dataset, rows, trl,"),
        ("trl", "a.csv", "", ConfigError, "trl goes to a file that ends in .jsonl or .parquet"),
        ("ms-swift", "a.parquet", "", ConfigError, "ms-swift goes to a file that ends in .jsonl"),
        ("trl", "a.jsonl", "tests", ConfigError, "no 'tests'; did you mean 'test'?"),
        ("trl", "there.jsonl", "", StoreError, "is there already"),
        ("trl", "a.jsonl", "validation", StoreError, "nothing to export to trl. Choose another --split"),
        ("jsonl", "a.jsonl", "validation", StoreError, "nothing to export to jsonl"),
    ],
)
def test_an_impossible_export_is_refused(run, tmp_path, to, name, split, kind, message):
    (tmp_path / "there.jsonl").touch()
    with pytest.raises(kind, match=message) as caught:
        export(run, to, tmp_path / name, split=split)
    one_line(caught)
    assert not (tmp_path / "a.jsonl").exists()
    assert not (tmp_path / "a.jsonl.manifest.json").exists()


def test_a_run_that_has_not_come_so_far_is_refused(run, tmp_path):
    folder, out = RunFolder(run), tmp_path / "a.jsonl"
    with pytest.raises(StoreError, match="no run with its cases"):
        export(tmp_path, "trl", out)
    folder.groups.unlink()
    with pytest.raises(StoreError, match="Run 'driftbound synthesize' with this recipe first"):
        export(run, "trl", out)
    with Streams(folder.streams) as streams:
        streams.db.execute("DELETE FROM cases WHERE case_id = 'c1'")
        streams.seal()
    with pytest.raises(StoreError, match="the question about c1 is not noted"):
        export(run, "ms-swift-sft", out)
    folder.streams.unlink()
    with pytest.raises(StoreError, match="no answers collected yet"):
        export(run, "jsonl", out)
    assert not out.exists()


# ---- in -----------------------------------------------------------------------------------------


def test_answers_made_elsewhere_become_a_teacher_s(run, tmp_path, capsys):
    """By case id; what is not asked here is left out and counted; the wording is judged by the field."""
    file = lines(
        tmp_path / "theirs.jsonl",
        {"id": "c2", "who": "x", "answer": "white", "model": "x-1", "usage": {"in": 5}},
        {"id": "c1", "who": "x", "answer": "I am sorry, but I cannot help with that.", "model": "x-1"},
        {"id": "c3", "who": "x", "answer": "", "model": "x-1"},
        {"id": "c0", "who": "y", "answer": "of another", "model": "y-1"},
        {"id": "c9", "who": "x", "answer": "of another case", "model": "x-1"},
        {"id": "c2", "who": "x", "answer": "again", "model": "x-1", "sample": 1},
    )
    made = make_run(tmp_path / "other", answers=())
    mapped = {"teacher": "who", "prompt_tokens": "usage.in"}
    assert import_answers(made, file, teacher="bob", stream="x", columns=mapped) == (3, 0)
    assert import_answers(made, file, teacher="bob", stream="x", columns=mapped) == (0, 3)
    found = everything(made, wanted=True)
    whole = {"version": "x-1", "note": "answered elsewhere"}
    refusal = "I am sorry, but I cannot help with that."
    assert found == [
        said("c1", "bob", refusal, status=Status.REFUSED, **whole),
        said("c2", "bob", "white", prompt_tokens=5, **whole),
        said("c3", "bob", "", status=Status.EMPTY, **whole),
    ]
    err = capsys.readouterr().err
    assert "1 answers to other cases left out" in err
    assert "1 answers that this teacher is not asked for left out" in err


@pytest.mark.parametrize("image", ["images/2.png", "2.png", "/elsewhere/2.png"])
def test_an_answer_is_to_the_case_of_its_image(run, tmp_path, image):
    chat = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "white"}]
    file = lines(tmp_path / "swift.jsonl", {"messages": chat, "images": [image]})
    assert import_answers(run, file, teacher="ada") == (1, 0)
    assert said("c2", "ada", "white", note="answered elsewhere") in everything(run, wanted=True)


def test_an_image_that_several_cases_share_names_none(tmp_path):
    run = make_run(tmp_path / "run", answers=())
    shared = [replace(case, images=(f"images/{case.case_id}/front.png",)) for case in CASES]
    write_cases(RunFolder(run).cases, shared)
    file = lines(tmp_path / "rows.jsonl", {"image": "front.png", "text": "white"})
    with pytest.raises(StoreError, match=r"The file names cases like 'front\.png', the run like 'c0'"):
        import_answers(run, file, teacher="ada")
    file = lines(tmp_path / "rows.jsonl", {"image": "images/c2/front.png", "text": "white"})
    assert import_answers(run, file, teacher="ada") == (1, 0)


def test_a_failed_answer_gives_way_and_a_final_one_does_not(tmp_path):
    failed = said("c0", "ada", "", status=Status.FAILED, error="timeout")
    run = make_run(tmp_path / "run", answers=[failed, said("c1", "ada", "white")])
    file = lines(tmp_path / "rows.jsonl", {"id": "c0", "text": "grey"}, {"id": "c1", "text": "black"})
    with pytest.raises(StoreError, match="ada has another final answer to c1") as caught:
        import_answers(run, file, teacher="ada")
    one_line(caught)
    assert everything(run)[0] == failed  # all or nothing
    assert not list(RunFolder(run).stage("collect").glob("*imports*"))
    lines(file, {"id": "c0", "text": "grey"})
    assert import_answers(run, file, teacher="ada") == (1, 0)
    assert everything(run)[0].text == "grey"


def test_collect_looks_again_at_what_has_come_in(run, tmp_path):
    """Its manifest counted the answers of before; with nothing new it stays as it is."""
    collect = RunFolder(run).stage("collect")
    assert import_answers(run, write(tmp_path, said("c0", "ada", "white"))) == (0, 1)
    assert made_of(collect).finished
    assert import_answers(run, write(tmp_path, said("c2", "ada", "white"))) == (1, 0)
    made = made_of(collect)
    assert (made.finished, made.seconds, made.plan) == (False, 2.5, Plan("collect", {}, {}, 7))
    names = {each.name for each in collect.iterdir()}
    assert names == {"plan.json", "streams.sqlite", "streams.sqlite.imports.jsonl"}
    assert RunFolder(run).streams.read_bytes()[18:20] == b"\1\1"  # sealed: no write-ahead log, says SQLite


def write(folder, *answers):
    write_trajectories(folder / "answers.jsonl", answers)
    return folder / "answers.jsonl"


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"teacher": "adda"}, ConfigError, "the run has no 'adda'; did you mean 'ada'?"),
        ({"teacher": "x"}, ConfigError, "the run has no 'x'; its teachers: ada, bob"),
        ({"stream": "x"}, ConfigError, "--stream, --column and --format need --teacher"),
        ({}, StoreError, "'case_id' of a trajectory is missing.*--teacher NAME"),
        ({"teacher": "ada", "columns": {"text": "said"}}, StoreError, "no column 'said'"),
        ({"teacher": "ada", "stream": "x"}, StoreError, "no answer of 'x', but of ada"),
    ],
)
def test_an_impossible_import_is_refused(run, tmp_path, given, kind, message):
    file = lines(tmp_path / "rows.jsonl", {"id": "c0", "teacher": "ada", "text": "white"})
    before = everything(run)
    with pytest.raises(kind, match=message) as caught:
        import_answers(run, file, **given)
    one_line(caught)
    assert everything(run) == before


def test_nothing_is_imported_where_nothing_is_asked(run, tmp_path):
    file = lines(tmp_path / "rows.jsonl", {"id": "c0", "text": "white"})
    with Streams(RunFolder(run).streams) as streams:
        want(streams, [], wave=0)
        streams.seal()
    with pytest.raises(StoreError, match="nothing is asked yet"):
        import_answers(run, file, teacher="ada")
    with pytest.raises(StoreError, match="no run with its cases"):
        import_answers(tmp_path, file, teacher="ada")
    with pytest.raises(StoreError, match="cannot be read"):
        import_answers(run, Path("none.jsonl"), teacher="ada")


def test_the_page_names_every_format():
    page = (Path(__file__).parent.parent / "docs/exchange.md").read_text(encoding="utf-8")
    head, *rows = [line.split(" | ")[0] for line in page.splitlines() if line.count(" | ") == 3]
    assert head == "| `--to`"
    named = ", ".join(each.strip("| ") for each in rows if "`" in each)
    assert named == ", ".join(f"`{name}`" for name in FORMATS)


def test_all_that_a_run_makes_is_as_sensitive_as_what_came_in(run, monkeypatch):
    class Stage:
        inputs = staticmethod(lambda context: {})
        run = staticmethod(lambda context: {})

    context = Context(Recipe.read(SHIPPED["short"]), RunFolder(run), load_domain(DomainConfig(), 7))
    monkeypatch.setattr(pipeline, "stage_module", lambda verb: Stage)
    pipeline._run_stage(context, "measure", only="")
    assert Manifest.read(RunFolder(run).stage("measure")).sensitivity == "public"
    note_import(RunFolder(run).stage("collect"), {"sensitivity": "credentialed"})
    pipeline._run_stage(context, "evaluate", only="")
    assert Manifest.read(RunFolder(run).stage("evaluate")).sensitivity == "credentialed"


# ---- commands -----------------------------------------------------------------------------------

APP = typer.Typer()
APP.command("export")(exchanging.export_command)
APP.command("import")(exchanging.import_command)


def command(*words):
    result = CliRunner().invoke(APP, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_commands_tell_what_they_have_done(run, tmp_path):
    out = tmp_path / "rows.jsonl"
    assert command("export", run, "--to", "trl", "--out", out) == f"{out}: 3 rows\n"
    one = command("export", run, "--to", "trl", "--out", tmp_path / "t.jsonl", "--split", "test", "--json")
    assert json.loads(one) == {"file": str(tmp_path / "t.jsonl"), "to": "trl", "rows": 1}
    file = lines(tmp_path / "theirs.jsonl", {"fall": "c2", "GPT": "white"})
    given = ("import", run, file, "--teacher", "ada", "--stream", "GPT", "--column", "case_id=fall")
    assert command(*given) == "1 new answers, 0 were there\n"
    assert json.loads(command(*given, "--json")) == {"new": 0, "there": 1}
    with pytest.raises(ConfigError, match="--column case_id: is no OURS=THEIRS"):
        command("import", run, file, "--teacher", "ada", "--column", "case_id")
