"""Teachers of each kind in a recipe: recorded, in this process, wrong ones, and what doctor says of them."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from desk import Ward, complaint, results, two, write_lines
from test_cli import call
from test_collect import chat

from driftbound.config import Recipe
from driftbound.errors import ConfigError
from driftbound.records import Case
from driftbound.teacher_config import CollectConfig, TeacherConfig
from driftbound.teachers.recorded import names_of
from driftbound.teachers.requests import params_of

# ---- recorded ---------------------------------------------------------------------------------

SAID = {"c0": "The heart is large.", "c1": "I cannot help with that.", "c2": "The heart"}
"""What the files hold: an answer, a refusal, one that was cut off; nothing of c3."""


def long_csv(path):
    rows = [f'{case},old,"{text}",{"length" if case == "c2" else "stop"}' for case, text in SAID.items()]
    path.write_text("\n".join(["id,teacher,answer,stop_reason", *rows, "c0,new,Other,stop"]) + "\n")


def wide_lines(path):
    write_lines(path, [{"case_id": case, "old": text, "new": "Other"} for case, text in SAID.items()])


def chats(path):
    turns = [
        {"id": case, "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]}
        for case, text in SAID.items()
    ]
    path.write_text(json.dumps(turns))


def batch_output(path):
    lines = [{"custom_id": case, "body": {"model": "m", "messages": []}} for case in SAID]
    said = iter(SAID.items())

    def say(body):
        case, text = next(said)
        return 200, chat(text, "length" if case == "c2" else "stop")

    write_lines(path, results(lines, say))


def parquet(path):
    columns = {"study_id": list(SAID), "model": ["old"] * 3, "response": list(SAID.values())}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("kind", [long_csv, wide_lines, chats, batch_output, parquet])
def test_answers_recorded_elsewhere(desk, server, kind):
    path = desk.root / ("recorded.csv" if kind is long_csv else "recorded")
    kind(path)
    recorded = {"name": "old", "kind": "recorded", "path": str(path)}
    recipe = desk.recipe([recorded, two(server)[0]], max_failed=0.25)
    facts = json.loads(desk.collect(recipe, "--json").stdout)
    cut = "truncated" if kind in (long_csv, batch_output) else "ok"
    rows = {key[0]: row for key, row in desk.rows().items() if key[1] == "old"}
    assert {case: row.status.value for case, row in rows.items()} == {
        "c0": "ok", "c1": "refused", "c2": cut, "c3": "failed",
    }  # fmt: skip
    assert {case: row.text for case, row in rows.items()} == SAID | {"c3": ""}
    assert rows["c3"].error == f"not recorded in {path.name}"
    assert facts["teachers"]["old"]["answers"]["refused"] == 1
    assert facts["teachers"]["a"]["answers"] == {"ok": 4}
    assert len(server.requests) == 4
    assert desk.sql("SELECT DISTINCT teacher FROM attempts") == [("a",)]
    # What is missing counts as lost.
    strict = desk.recipe([recorded, two(server)[0]], max_failed=0.2)
    said = complaint(desk.collect(strict, "--force", ok=False))
    assert "old: 1 of 4 answers failed (25%)" in said


def test_answers_of_another_run(desk, server):
    recipe = desk.recipe([two(server)[0]], repeats={"share": 1.0})
    desk.collect(recipe, name="before")
    again = {"name": "again", "kind": "recorded", "path": str(desk.folder("before").streams), "stream": "a"}
    recipe = desk.recipe([again | {"samples": 2}])
    server.requests.clear()
    desk.collect(recipe)
    assert not server.requests
    assert {key: row.text for key, row in desk.rows().items()} == {
        (f"c{i}", "again", n, 0): f"model-a on Look at c{i}" for i in range(4) for n in range(2)
    }


def test_another_stream_of_the_same_recording_is_another_request(desk):
    """The wrong column, corrected: what was read from it before does not stand for the right one."""
    path = desk.root / "r.csv"
    path.write_text("case_id,right,wrong\n" + "".join(f"c{i},Right {i}.,Wrong {i}.\n" for i in range(4)))
    recorded = {"name": "old", "kind": "recorded", "path": str(path)}
    for change in ({"stream": "wrong"}, {"columns": {"text": "wrong"}}, {"stream": "right"}):
        desk.collect(desk.recipe([recorded | change]), "--force")
    with desk.streams() as streams:
        assert [row.text for row in streams.current()] == [f"Right {i}." for i in range(4)]


def test_a_name_that_several_images_have_is_nobodys(desk):
    """Only c2's image has a name of its own; by whole paths all are known. A shard finds what all find."""
    desk.ward.names = ["1/view.png", "2/view.png", "other.png", "3/view.png"]
    path = desk.root / "r.csv"
    path.write_text("image,text\n/data/x/other.png,Right.\n/data/1/view.png,Whose?\n")
    recorded = {"name": "old", "kind": "recorded", "path": str(path)}
    recipe = desk.recipe([recorded], max_failed=1)
    desk.collect(recipe)
    assert {key[0]: row.text for key, row in desk.rows().items()} == {
        "c0": "",
        "c1": "",
        "c2": "Right.",
        "c3": "",
    }
    for i in (1, 2, 3):  # of c0, c1 and c3 no two are in one part
        desk.collect(recipe, "--shard", f"{i}/3", name=f"s{i}")
        assert all(row.text in ("", "Right.") for row in desk.rows(f"s{i}").values())
    path.write_text("image,text\nimages/1/view.png,One.\nimages/2/view.png,Two.\n")
    desk.collect(recipe, name="paths")
    assert {key[0]: row.text for key, row in desk.rows("paths").items()} == {
        "c0": "One.", "c1": "Two.", "c2": "", "c3": "",
    }  # fmt: skip


def test_names_of_cases():
    def case(name, *images):
        return Case(case_id=name, cluster="", split="train", prompt="", images=images)

    found = names_of([case("a", "1/x.png", "1/y.png"), case("b", "2/x.png"), case("1/y.png", "a/z.png")])
    assert found == {
        "1/x.png": "a", "y.png": "a", "2/x.png": "b", "a/z.png": "1/y.png", "z.png": "1/y.png",
        "a": "a", "b": "b", "1/y.png": "1/y.png",  # an id goes before a path
    }  # fmt: skip


def test_another_file_is_another_request(desk):
    path = desk.root / "r.csv"
    path.write_text("case_id,text\n" + "".join(f"c{i},One.\n" for i in range(4)))
    # Repeats are for those who can be asked again.
    recipe = desk.recipe([{"name": "old", "kind": "recorded", "path": str(path)}], repeats={"share": 1.0})
    first = json.loads(desk.collect(recipe, "--json").stdout)["digest"]
    moved = path.rename(desk.root / "moved.csv")
    recipe = desk.recipe([{"name": "old", "kind": "recorded", "path": str(moved)}], repeats={"share": 1.0})
    assert "finished before" in desk.collect(recipe).stderr  # where it lies does not count
    moved.rename(path).write_text("case_id,text\n" + "".join(f"c{i},Two.\n" for i in range(4)))
    recipe = desk.recipe([{"name": "old", "kind": "recorded", "path": str(path)}], repeats={"share": 1.0})
    assert "recorded old changed since" in complaint(desk.collect(recipe, ok=False))
    second = json.loads(desk.collect(recipe, "--force", "--json").stdout)["digest"]
    assert second != first
    assert desk.sql("SELECT text, count(DISTINCT request_hash) FROM trajectories GROUP BY 1 ORDER BY 1") == [
        ("One.", 4),
        ("Two.", 4),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("case_id,text\nx,One.\n", "no case of this run is in it; it names cases like 'x'"),
        ("case_id,text\nc0,One.\nc0,Two.\n", "old answers c0 twice, differently"),
        ("case_id,teacher,text\nc0,new,One.\n", "no answer of 'old', but of new"),
        ("case_id,words\nc0,One.\n", "no column for the text"),
    ],
)
def test_a_recorded_file_that_does_not_fit_is_told_before_anybody_is_asked(desk, server, text, said):
    path = desk.root / "r.csv"
    if text is not None:
        path.write_text(text)
    recipe = desk.recipe([two(server)[0], {"name": "old", "kind": "recorded", "path": str(path)}])
    assert said in complaint(desk.collect(recipe, ok=False))
    assert not server.requests


def test_a_recorded_teacher_has_no_part_in_a_wave(desk, server):
    """It would say the same again, and so seem not to drift."""
    path = desk.root / "r.csv"
    path.write_text("case_id,text\n" + "".join(f"c{i},One.\n" for i in range(4)))
    recorded = {"name": "old", "kind": "recorded", "path": str(path)}
    recipe = desk.recipe([two(server)[0], recorded], anchors={"share": 1.0})
    desk.collect(recipe)
    desk.collect(recipe, "--wave", 1)
    assert Counter(key[1:] for key in desk.rows()) == {("a", 0, 0): 4, ("a", 0, 1): 4, ("old", 0, 0): 4}


# ---- local ------------------------------------------------------------------------------------


def test_a_teacher_in_this_process_beside_one_over_http(desk, server):
    desk.ward = Ward(3)
    local = {
        "name": "mine",
        "kind": "local",
        "model": "phantom-base",
        "sampling": {"max_tokens": 4, "logprobs": 0},
    }
    recipe = desk.recipe([local, two(server)[0]], repeats={"share": 1.0}, temperature=1.0)
    facts = json.loads(desk.collect(recipe, "--json").stdout)
    rows = {key: row for key, row in desk.rows().items() if key[1] == "mine"}
    assert set(rows) == {(f"c{i}", "mine", n, 0) for i in range(3) for n in range(2)}
    assert all(row.version and row.fingerprint for row in rows.values())
    assert all(0 < row.completion_tokens <= 4 for row in rows.values())
    assert all(json.loads(row.logprobs) for row in rows.values() if row.text)
    assert sum(facts["teachers"]["a"]["answers"].values()) == 6
    digest = desk.digest()
    desk.collect(recipe, name="again")
    assert desk.digest("again") == digest  # the same seeds, the same answers
    for change, said in (
        ({"max_tokens": None}, "mine: a local teacher needs sampling.max_tokens"),
        ({"max_tokens": 4, "seed": 1}, "mine: a local teacher does not take seed"),
    ):
        recipe = desk.recipe([local | {"sampling": change}])
        assert said in complaint(desk.collect(recipe, name=f"wrong {said[-4:]}", ok=False))


# ---- recipes ----------------------------------------------------------------------------------

TEACHER = {"name": "a", "model": "m"}
WRONG = {
    "a recorded teacher needs the path of its file": {"name": "a", "kind": "recorded"},
    "path, stream, columns and format belong to kind: recorded": TEACHER | {"path": "x.csv"},
    "needs the name of its model": {"name": "a"},
    "vendor, base_url and local belong to kind: http": TEACHER | {"kind": "local", "vendor": "openai"},
    "api_key_env, price and all limits but concurrency belong to kind: http": TEACHER
    | {"kind": "local", "limits": {"requests_per_minute": 3}},
    "sampling belongs to the kinds http and local": {"name": "a", "kind": "recorded", "path": "x.csv"}
    | {"sampling": {"seed": 3}},
    "a budget of money needs the price of its tokens": TEACHER | {"limits": {"money": 3}},
    "base_url: holds a user, password or query": TEACHER | {"base_url": "https://me:secret@example.com/v1"},
    "unknown key 'temprature' in 'teachers.sampling'; did you mean 'temperature'?": TEACHER
    | {"sampling": {"temprature": 1}},
    "Input should be 'http', 'recorded' or 'local'": TEACHER | {"kind": "htp"},
    "teachers.0.limits.requests_per_minute": TEACHER | {"limits": {"requests_per_minute": 0}},
    "teachers.0.samples": TEACHER | {"samples": 0},
    "teachers.0.name": {"name": "a/b", "model": "m"},
    "teachers.0.price.prompt": TEACHER | {"price": {"prompt": -1}},
    "teachers.0.images.mode": TEACHER | {"images": {"mode": "maybe"}},
    "teachers.0.sampling.top_p": TEACHER | {"sampling": {"top_p": 0}},
}


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_teacher_is_one_line(said):
    with pytest.raises(ConfigError) as caught:
        Recipe.parse({"name": "run", "teachers": [WRONG[said]]}, where="r.yaml")
    assert str(caught.value).startswith("r.yaml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vendor": "opnai"}, "vendor 'opnai' is not in the table; did you mean 'openai'?"),
        ({"vendor": "xyzzy"}, "vendors: openai, gemini, anthropic"),
        ({"vendor": "openai", "local": True}, "api.openai.com is no server of your own. Remove local: true"),
        ({"base_url": "http://127.0.0.1:9/v1", "limits": {"money": 3}}, "needs the price of its tokens"),
        ({"base_url": "gopher://x"}, "is not an http(s) URL"),
        ({"vendor": "gemini", "sampling": {"logprobs": 2}}, "gemini does not take logprobs"),
        ({"vendor": "xai", "sampling": {"logprobs": 9}}, "xai gives 8 alternatives per token at most, not 9"),
    ],
)
def test_wrong_teachers_at_the_command_line(desk, monkeypatch, change, said):
    for name in ("GEMINI_API_KEY", "XAI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "k")
    recipe = desk.recipe([{"name": "a"} | change])
    assert said in complaint(desk.collect(recipe, ok=False))


def test_settings_that_no_request_can_hold(desk):
    path = desk.root / "r.yaml"
    for name, extra in (("date", "{since: 2026-01-31}"), ("nan", "{x: .nan}")):
        path.write_text(f"name: r\nteachers: [{{name: a, model: m, sampling: {{extra: {extra}}}}}]\n")
        assert "a: sampling.extra holds what JSON does not" in complaint(
            desk.collect(path, name=name, ok=False)
        )
    ours = TeacherConfig(name="a", model="m", sampling={"extra": {"x": {"y": [1, None]}}})
    assert params_of(ours, CollectConfig())["x"] == {"y": [1, None]}


# ---- doctor -----------------------------------------------------------------------------------


def test_doctor_looks_at_every_kind_of_teacher(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("XAI_API_KEY", "k")
    there = tmp_path / "r.csv"
    there.write_text("case_id,text\nc0,One.\n")
    teachers = [
        {"name": "keyless", "model": "gpt-5", "vendor": "openai"},
        {"name": "keyed", "model": "grok-4", "vendor": "xai"},
        {"name": "unknown", "model": "m", "vendor": "opnai"},
        {"name": "scripted", "model": "m"},
        {"name": "own", "model": "m", "vendor": "vllm"},
        {"name": "there", "kind": "recorded", "path": str(there)},
        {"name": "missing", "kind": "recorded", "path": str(tmp_path / "none.csv")},
        {"name": "mine", "kind": "local", "model": "phantom-base"},
    ]
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps({"name": "r", "teachers": teachers}))
    result = call("doctor", path, "--runs", tmp_path / "runs", "--json")
    assert result.exit_code == 2
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert {name: found[name]["ok"] for name in (t["name"] for t in teachers)} == {
        "keyless": False, "keyed": True, "unknown": False, "scripted": None, "own": None,
        "there": True, "missing": False, "mine": None,
    }  # fmt: skip
    assert found["keyless"]["cure"] == "Set the variable OPENAI_API_KEY."
    assert "did you mean 'openai'?" in found["unknown"]["said"]
    assert found["mine"]["said"] == "phantom-base, in this process"
    assert found["missing"]["cure"] == "Correct its path."
    assert not (tmp_path / "runs").exists()
