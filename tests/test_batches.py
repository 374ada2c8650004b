"""Batch files: what is written asks what collect would ask, and results come in once, whatever they are."""

import json
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from desk import PRICE, Ward, complaint, results, two, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cli import call
from test_collect import chat, question_of, vendor

from driftbound import batching
from driftbound.endpoints.vendors import BatchRules, vendor_of
from driftbound.errors import TeacherError
from driftbound.teachers import batches
from driftbound.teachers.batches import Line

# ---- batch files ------------------------------------------------------------------------------

BATCHED = {"vendor": "moonshot", "api_key_env": ""}
"""A vendor with batch files at 0.6 of the price."""


def lines_of(folder):
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open()]


@pytest.fixture
def keyed(monkeypatch):
    monkeypatch.setenv("MOONSHOT_API_KEY", "k")


def test_batch_files_ask_what_collect_would_ask_and_are_read_back(desk, server, keyed):
    """Line for line the bodies that the server gets directly; shuffled results; the same answers."""
    desk.ward = Ward(7)
    teachers = [each | BATCHED | {"price": PRICE} for each in two(server)]
    recipe = desk.recipe(teachers, repeats={"share": 0.5}, max_tokens=10)
    desk.collect(recipe, name="direct")
    sent = sorted(json.dumps(body, sort_keys=True) for body in server.requests)
    server.requests.clear()
    folder = desk.root / "batch"
    written = json.loads(desk.collect(recipe, "--batch", folder, "--json").stdout)
    assert [each["files"] for each in written] == [[str(folder / f"{name}-001.jsonl")] for name in "ab"]
    assert not server.requests
    lines = lines_of(folder)
    assert sum(each["requests"] for each in written) == len(lines)
    assert sorted(json.dumps(line["body"], sort_keys=True) for line in lines) == sent
    assert len({line["custom_id"] for line in lines}) == len(lines)
    for line in lines:
        assert list(line) == ["custom_id", "method", "url", "body"]
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        assert len(line["custom_id"]) <= 64
        assert question_of(line["body"]).split()[-1] not in line["custom_id"]
    log = [json.loads(line) for line in desk.folder().audit.read_text().splitlines()]
    assert sorted(line["what"] for line in log) == sorted(
        row.request_hash for row in desk.rows("direct").values()
    )
    assert {(line["purpose"], line["under"]) for line in log} == {
        ("batch file of a", "own server"),
        ("batch file of b", "own server"),
    }
    told = results(lines)
    random.Random(0).shuffle(told)
    first, second = write_lines(desk.root / "1", told[:5]), write_lines(desk.root / "2", told[5:])
    assert "requests wait in batch files" in complaint(desk.collect(recipe, ok=False))
    assert "requests wait in batch files" in complaint(desk.collect(recipe, "--dry-run", ok=False))
    desk.collect(recipe, "--batch-results", second)
    assert "requests wait in batch files (" in complaint(desk.collect(recipe, ok=False))
    desk.collect(recipe, "--batch-results", first, "--batch-results", second)
    rows, direct = desk.rows(), desk.rows("direct")
    assert {key: (row.text, row.status, row.request_hash) for key, row in rows.items()} == {
        key: (row.text, row.status, row.request_hash) for key, row in direct.items()
    }
    assert {round(row.cost, 9) for row in rows.values()} == {0.096}  # 0.6 x 0.16
    assert desk.sql("SELECT DISTINCT outcome, round(cost, 9) FROM attempts") == [("answered", 0.096)]
    before = desk.sql("SELECT * FROM trajectories")
    again = json.loads(desk.collect(recipe, "--batch-results", first, "--json").stdout)
    assert again == [{"file": str(first), "answers": 0, "there_before": 5, "failed": 0, "foreign": 0}]
    assert desk.sql("SELECT * FROM trajectories") == before
    facts = json.loads(desk.collect(recipe, "--json").stdout)
    assert facts["teachers"]["a"]["asked"] == 0
    assert not server.requests


@pytest.fixture
def batched(desk, server, keyed):
    """A recipe of one batched teacher, its four requests written, and their lines."""
    recipe = desk.recipe([two(server)[0] | BATCHED | {"price": PRICE}], max_tokens=10, max_failed=1)
    desk.collect(recipe, "--batch", desk.root / "batch")
    return desk, recipe, lines_of(desk.root / "batch")


AT_MOST = 0.6 * (319 * 1000 + 10 * 10000) / 1e6
"""Price of a request: 319 tokens in, at most 10 out."""


def test_what_failed_in_a_batch_is_asked_again(batched, server):
    desk, recipe, lines = batched
    answers = {
        "c0": (200, chat()),
        "c1": (500, {"code": 17, "message": "out of memory"}),  # not all put it into "error"
        "c2": (400, {"error": {"code": "content_filter", "message": "no"}}),
        "c3": (200, {"choices": [], "error": "half a character: \ud800"}),
    }
    told = results(lines, lambda body: answers[question_of(body).split()[-1]])
    told.append({"custom_id": "somebody-else", "response": None, "error": None})
    told.append(told[0] | {"custom_id": f"driftbound-{10**17}-{'0' * 16}"})
    told.append(
        told[0] | {"custom_id": lines[0]["custom_id"][:-16] + "0" * 16}
    )  # another run's first request
    shown = desk.collect(recipe, "--batch-results", write_lines(desk.root / "r", told)).stdout
    assert "4 new, 0 there before (2 failed), 3 lines are not of this run" in shown
    rows = {key[0]: row for key, row in desk.rows().items()}
    assert {case: row.status.value for case, row in rows.items()} == {
        "c0": "ok", "c1": "failed", "c2": "refused", "c3": "failed",
    }  # fmt: skip
    assert "out of memory" in rows["c1"].error
    noted = desk.sql("SELECT case_id, outcome, cost FROM attempts ORDER BY case_id")
    assert [(case, outcome, pytest.approx(cost)) for case, outcome, cost in noted] == [
        ("c0", "answered", 0.096),
        ("c1", "failed in batch", 0),
        ("c2", "answered", 0),
        ("c3", "failed in batch", AT_MOST),  # answered, and surely charged
    ]
    # The vendor's second attempt at one of them: its answer and its price take the place of the failure.
    desk.collect(recipe, "--batch-results", write_lines(desk.root / "r2", results(lines[1:2])))
    assert desk.sql("SELECT outcome, round(cost, 9) FROM attempts WHERE case_id = 'c1'") == [
        ("answered", 0.096)
    ]
    desk.collect(recipe)
    assert server.asked() == {("c3", "model-a"): 1}


def test_expired_lines_and_answers_without_usage(batched):
    desk, recipe, lines = batched
    silent = chat()
    del silent["usage"]
    told = results(lines[:1], lambda body: (200, silent))
    expired = {"code": "batch_expired", "message": "not in time \ud800"}
    told.append({"custom_id": lines[1]["custom_id"], "response": None, "error": expired})
    path = desk.root / "r"
    path.write_text("\ufeff\n" + "\n\n".join(map(json.dumps, told)))  # as some editors leave it
    desk.collect(recipe, "--batch-results", path)
    rows = {key[0]: row for key, row in desk.rows().items()}
    assert rows["c0"].cost == pytest.approx(AT_MOST)  # nobody knows what it took
    assert "batch_expired" in rows["c1"].error
    assert desk.sql("SELECT count(*) FROM attempts WHERE outcome = 'in a batch file'") == [(2,)]


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda text: text[:-20], "line 4: not valid JSON"),
        (
            lambda text: text.replace('"response"', '"answer"').replace('"error"', '"no"'),
            "a request, no result",
        ),
        (lambda text: text.replace("driftbound-", "other-"), "holds no result of this run's requests"),
        (lambda text: text.encode() + b"\xff\n", "cannot be read"),
        (lambda text: text.replace("on Look", "sees", 1) + text, "another final answer"),
    ],
    ids=["half a line", "requests", "of another program", "no UTF-8", "two answers to one request"],
)
def test_a_file_that_is_wrong_is_refused_whole(batched, spoilt, said):
    desk, recipe, lines = batched
    text = "".join(json.dumps(row) + "\n" for row in results(lines))
    made = spoilt(text)
    path = desk.root / "r"
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    assert said in complaint(desk.collect(recipe, "--batch-results", path, ok=False))
    assert desk.rows() == {}
    assert desk.sql("SELECT DISTINCT outcome FROM attempts") == [("in a batch file",)]
    desk.collect(recipe, "--batch-results", write_lines(path, results(lines)))
    assert len(desk.rows()) == 4


def test_results_of_another_run_are_refused(batched):
    desk, recipe, lines = batched
    desk.collect(recipe, "--dry-run", name="second", ok=False)
    path = write_lines(desk.root / "r", results(lines))
    said = complaint(desk.collect(recipe, "--batch-results", path, name="second", ok=False))
    assert "holds no result of this run's requests" in said
    assert "cannot be read" in complaint(
        desk.collect(recipe, "--batch-results", desk.root / "none", ok=False)
    )


def test_what_is_given_up_is_asked_directly_and_a_late_result_is_refused(batched, server):
    desk, recipe, lines = batched
    assert desk.collect(recipe, "--forget-batches").stdout == "4 requests in batch files are given up\n"
    said = complaint(desk.collect(recipe, "--batch", desk.root / "batch", ok=False))
    assert "holds batch files already (a-001.jsonl)" in said
    desk.collect(recipe)
    assert len(server.requests) == 4
    digest = desk.digest()
    path = write_lines(desk.root / "r", results(lines, lambda body: (200, chat("late"))))
    assert "a has another final answer to c0" in complaint(
        desk.collect(recipe, "--batch-results", path, ok=False)
    )
    assert desk.digest() == digest
    assert desk.sql("SELECT outcome, count(*) FROM attempts GROUP BY 1 ORDER BY 1") == [
        ("answered", 4),
        ("batch given up", 4),
    ]


def test_late_results_of_what_still_fails_open_a_finished_collect_again(desk, keyed):
    with vendor(lambda model, question, nth: (500, {})) as server:
        recipe = desk.recipe([two(server)[0] | BATCHED], max_failed=1)
        desk.collect(recipe, "--batch", desk.root / "batch")
        desk.collect(recipe, "--forget-batches")
        desk.collect(recipe)
        path = write_lines(desk.root / "r", results(lines_of(desk.root / "batch")))
        desk.collect(recipe, "--batch-results", path)
        facts = json.loads(desk.collect(recipe, "--json").stdout)
    assert facts["teachers"]["a"]["answers"] == {"ok": 4}


def test_budgets_hold_for_batch_files(desk, server, keyed):
    """Two requests of at most 0.2514 dollars are within 0.6, a third is not."""
    recipe = desk.recipe(
        [
            two(server)[0] | BATCHED | {"limits": {"requests": 3}},
            two(server)[1] | BATCHED | {"limits": {"money": 0.6}, "price": PRICE},
        ],
        max_tokens=10,
    )
    a, b = json.loads(desk.collect(recipe, "--batch", desk.root / "batch", "--json").stdout)
    assert (a["requests"], b["requests"]) == (3, 2)
    assert "its budget of 3 requests is used up" in a["held_back"]
    assert "of its budget of 0.6 US dollars" in b["held_back"]
    assert len(lines_of(desk.root / "batch")) == 5
    assert [total for (total,) in desk.sql("SELECT total(cost) FROM attempts GROUP BY teacher")] == [
        0,
        pytest.approx(2 * AT_MOST),
    ]
    # Given up, they still count: the vendor may be at work on them.
    desk.collect(recipe, "--forget-batches")
    a, b = json.loads(desk.collect(recipe, "--batch", desk.root / "batch2", "--json").stdout)
    assert (a["requests"], b["requests"], a["files"]) == (0, 0, [])


def test_the_data_gate_holds_for_batch_files(desk, monkeypatch):
    """A key is not needed to write them."""
    monkeypatch.delenv("MOONSHOT_API_KEY", raising=False)
    desk.ward = Ward(2, "credentialed")
    teacher = {"name": "a", "vendor": "moonshot"}
    recipe = desk.recipe([teacher])
    said = complaint(desk.collect(recipe, "--batch", desk.root / "batch", ok=False))
    assert "teacher a at https://api.moonshot.ai/v1: credentialed data" in said
    assert not (desk.root / "batch").exists()
    terms = {"zero_retention": True, "no_training": True, "no_human_review": True}
    word = {"by": "me", "on": "2026-01-31", "endpoints": ["api.moonshot.ai"]}
    whole = json.loads(recipe.read_text()) | {"data_use": {"acknowledgement": terms | word}}
    recipe.write_text(json.dumps(whole))
    desk.collect(recipe, "--batch", desk.root / "batch")
    log = [json.loads(line) for line in desk.folder().audit.read_text().splitlines()]
    assert [line["to"] for line in log] == ["https://api.moonshot.ai/v1"] * 2
    assert {line["under"] for line in log} == {"acknowledged by me on 2026-01-31"}


def test_teachers_without_batch_files(desk, server):
    recipe = desk.recipe(two(server))
    said = complaint(desk.collect(recipe, "--batch", desk.root / "batch", ok=False))
    assert "no teacher's vendor takes batch files" in said


def rules_of(requests, size):
    return BatchRules(largest_requests=requests, largest_bytes=size, price_share=0.5)


def test_a_request_larger_than_a_file_is_held_back(desk, server, keyed, monkeypatch):
    recipe = desk.recipe([two(server)[0] | BATCHED])
    desk.ward.names[2] = "noise.png"
    write_ward = desk.ward.write_cases

    def with_noise(root, truth):
        write_ward(root, truth)
        Image.effect_noise((64, 64), 99).save(root / "images/noise.png")

    desk.ward.write_cases = with_noise
    small = vendor_of("moonshot").__class__(name="moonshot", batch=rules_of(2, 1500))
    monkeypatch.setattr("driftbound.stages.roster.vendor_of", lambda name, model="": small)
    (told,) = json.loads(desk.collect(recipe, "--batch", desk.root / "batch", "--json").stdout)
    assert (told["requests"], len(told["files"])) == (3, 2)
    assert told["held_back"].startswith("c2: request of ")
    shown = batching.Written(
        teacher="a", requests=3, files=tuple(map(Path, told["files"])), held_back=told["held_back"]
    ).line()
    assert shown.startswith(
        f"a: 3 requests in {desk.root / 'batch' / 'a-001.jsonl'} to a-002.jsonl; held back: c2"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 300), max_size=25),
    st.integers(1, 6),
    st.integers(500, 1200),
)
def test_no_file_is_larger_than_the_vendor_takes(lengths, most, size):
    """In order, none left out, and none begun before the one before it is full."""
    lines = [
        Line(attempt=n, request_hash=f"{n:064x}", body={"text": "ü" * (length // 6)})
        for n, length in enumerate(lengths, 1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = list(batches.write(Path(folder), "t", lines, rules_of(most, size)))
        assert sorted(Path(folder).iterdir()) == sorted(paths)
        files = [path.read_text().splitlines(keepends=True) for path in paths]
    assert [line for file in files for line in file] == [line.text() for line in lines]
    for file, following in zip(files, [*files[1:], None], strict=False):
        whole = sum(map(len, file))
        assert whole <= size
        assert len(file) <= most
        if following is not None:
            assert len(file) == most or whole + len(following[0]) > size
    for line in lines:
        assert batches.size_of(line.body) >= len(line.text())


def test_a_line_larger_than_a_file_is_told(tmp_path):
    line = Line(attempt=1, request_hash="0" * 64, body={"text": "x" * 1000})
    with pytest.raises(TeacherError, match="one request is larger than a batch file may be"):
        list(batches.write(tmp_path, "t", [line], rules_of(5, 999)))
    assert list(tmp_path.iterdir()) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
RESULT = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.sampled_from(
            ["driftbound-7-0123456789abcdef", f"driftbound-{10**30}-0123456789abcdef", "driftbound-7-", "x"]
        )
        | JSON,
        "response": st.fixed_dictionaries(
            {}, optional={"status_code": st.sampled_from([200, 400]), "body": JSON}
        )
        | JSON,
        "error": JSON | st.fixed_dictionaries({"code": JSON, "message": st.characters()}),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(RESULT | JSON, min_size=1, max_size=4))
def test_whatever_a_vendor_gives_back_is_a_result_or_told(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            found = list(batches.read(path, frozenset({"content_filter"})))
        except TeacherError:
            requests = (row for row in rows if isinstance(row, dict) and "custom_id" in row)
            found = None if any(not {"response", "error"} & set(row) for row in requests) else []
    if found is None:  # a request among them
        return
    assert len(found) == len(rows)
    for result in found:
        if result is not None:
            assert (result.attempt, result.hash_start) == (7, "0123456789abcdef")
            assert (result.reply is None) == bool(result.error)
            result.error.encode()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import desk as parts
from driftbound import batching, pipeline
from driftbound.config import Recipe
root = Path(sys.argv[1])
pipeline.load_domain = lambda config, seed: parts.Ward(4)
real, calls = batching.attempts.in_batches, []
def in_batches(streams):
    calls.append(1)
    if len(calls) == 2:  # all is written and noted, nothing committed
        os.kill(os.getpid(), signal.SIGKILL)
    return real(streams)
batching.attempts.in_batches = in_batches
batching.write(Recipe.read(Path(sys.argv[3])), root / "runs", "run", root / "batch")
"""


def test_killed_between_writing_and_noting_leaves_nothing_half(desk, server, keyed):
    """The files lie there, and nobody waits for them: collect goes on, and they are not written over."""
    recipe = desk.recipe([two(server)[0] | BATCHED])
    tests = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(desk.root), tests, str(recipe)],
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    lines = lines_of(desk.root / "batch")
    assert len(lines) == 4
    assert "holds batch files already" in complaint(
        desk.collect(recipe, "--batch", desk.root / "batch", ok=False)
    )
    assert desk.sql("SELECT count(*) FROM attempts") == [(0,)]
    # Sent all the same, its results are nobody's ...
    path = write_lines(desk.root / "r", results(lines))
    said = complaint(desk.collect(recipe, "--batch-results", path, ok=False))
    assert "holds no result of this run's requests" in said
    # ... until the same requests are written again, under the same numbers: then they answer those.
    desk.collect(recipe, "--batch", desk.root / "second")
    assert lines_of(desk.root / "second") == lines
    desk.collect(recipe, "--batch-results", path)
    desk.collect(recipe)
    assert {row.text for row in desk.rows().values()} == {f"model-a on Look at c{i}" for i in range(4)}
    assert not server.requests


def test_an_image_that_changed_meanwhile_is_in_no_batch_file(desk, server, keyed, monkeypatch):
    recipe = desk.recipe([two(server)[0] | BATCHED])
    desk.collect(recipe, "--dry-run")
    real_write = batching._write_all

    def replaced(context, *rest):  # the images have been hashed, and are not read yet
        Image.new("L", (8, 8), 200).save(desk.folder().root / "images/c3.png")
        return real_write(context, *rest)

    monkeypatch.setattr(batching, "_write_all", replaced)
    said = complaint(desk.collect(recipe, "--batch", desk.root / "batch", ok=False))
    assert "c3.png: has changed since its requests were noted" in said
    assert not list((desk.root / "batch").glob("*"))
    monkeypatch.setattr(batching, "_write_all", real_write)
    desk.collect(recipe, "--batch", desk.root / "batch")
    assert len(lines_of(desk.root / "batch")) == 4


def test_interrupted_in_the_middle_leaves_no_file(desk, server, keyed, monkeypatch):
    """The second teacher's files cannot be written: those of the first are gone, too, and nothing waits."""
    recipe = desk.recipe([each | BATCHED for each in two(server)])
    real = batches.write

    def stopped(folder, name, lines, rules):
        if name == "b":
            raise KeyboardInterrupt
        yield from real(folder, name, lines, rules)

    monkeypatch.setattr(batches, "write", stopped)
    assert desk.collect(recipe, "--batch", desk.root / "batch", ok=False).exit_code == 130
    assert list((desk.root / "batch").iterdir()) == []
    assert desk.sql("SELECT * FROM attempts") == []
    desk.collect(recipe)


def test_a_source_with_batch_files_under_way_is_not_merged(batched):
    desk, recipe, _ = batched
    desk.collect(recipe, "--dry-run", name="target", ok=False)
    said = complaint(call("merge", desk.runs / "target", desk.runs / "run"))
    assert "4 requests wait in batch files there" in said
    assert desk.sql("SELECT * FROM attempts", "target") == []
