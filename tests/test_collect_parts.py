"""Collecting in parts: forecasts, shards, waves, repeats, batch files, recorded and local teachers."""

import hashlib
import io
import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cli import call
from test_collect import Field, chat, question_of, vendor

from driftbound import batching, pipeline
from driftbound.config import Recipe
from driftbound.endpoints.vendors import BatchRules, Vendor, vendor_of
from driftbound.errors import ConfigError, TeacherError
from driftbound.records import Case
from driftbound.stages import collect
from driftbound.stages.context import Context
from driftbound.stages.gather import training_trajectories
from driftbound.store import manifest
from driftbound.store.exchange import imported_sensitivity
from driftbound.store.folder import RunFolder
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, write_cases
from driftbound.teacher_config import CollectConfig, TeacherConfig
from driftbound.teachers import batches
from driftbound.teachers.batches import Line
from driftbound.teachers.preparing import settings_of
from driftbound.teachers.recorded import names_of
from driftbound.teachers.requests import params_of

KEY = "SOME_PARTS_KEY"


class Ward(Field):
    """A domain of ``n`` cases c0, c1, ... with a grey image each."""

    def __init__(self, n, sensitivity="public"):
        super().__init__()
        self.n, self.sensitivity, self.shade = n, sensitivity, 0
        self.names = [f"c{i}.png" for i in range(n)]

    def write_cases(self, root, truth):
        cases = []
        for i, name in enumerate(self.names):
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), (i + self.shade) % 256).save(path)
            case = {"cluster": f"p{i}", "split": "train", "prompt": "Look at", "images": (f"images/{name}",)}
            cases.append(Case(case_id=f"c{i}", sensitivity=self.sensitivity, **case))
        write_cases(root / "cases.parquet", cases)
        truth.write_bytes(b"truth")


class Desk:
    """Somebody at a terminal: recipes, runs, commands, and a look at what was stored."""

    def __init__(self, root, n=4):
        self.root, self.runs, self.ward = root, root / "runs", Ward(n)

    def recipe(self, teachers, **collect):
        """The path of a recipe; teachers without a model get one."""
        teachers = [
            {"model": f"model-{t['name']}"} | t if t.get("kind") != "recorded" else t for t in teachers
        ]
        path = self.root / f"recipe{len(list(self.root.glob('recipe*')))}.yaml"
        whole = {"name": "run", "teachers": teachers, "collect": {"retries": 0} | collect}
        path.write_text(json.dumps(whole))
        return path

    def collect(self, recipe, *words, name="run", ok=True):
        result = call("collect", recipe, "--runs", self.runs, "--name", name, *words)
        assert not ok or result.exit_code == 0, result.output + repr(result.exception)
        return result

    def folder(self, name="run"):
        return RunFolder(self.runs / name)

    def streams(self, name="run"):
        return Streams.open_readonly(self.folder(name).streams)

    def digest(self, name="run"):
        with self.streams(name) as streams:
            return streams.digest()

    def rows(self, name="run"):
        """(case, teacher, sample, wave) -> answer."""
        with self.streams(name) as streams:
            return {(row.case_id, row.teacher, row.sample, row.wave): row for row in streams.all()}

    def sql(self, sql, name="run"):
        with self.streams(name) as streams:
            return streams.db.execute(sql).fetchall()

    def context(self, recipe, name="run"):
        return Context(Recipe.read(recipe), self.folder(name), self.ward)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    monkeypatch.setattr(pipeline, "load_domain", lambda config, seed: desk.ward)
    monkeypatch.setattr(manifest, "code_version", lambda: "test")  # a git process per manifest is slow
    monkeypatch.setattr(manifest, "package_versions", dict)
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return desk


@pytest.fixture
def server():
    """Answers by model, question and seed alone."""
    with vendor(lambda model, question, nth: (200, chat(f"{model} on {question}"))) as server:
        yield server


def complaint(result):
    """The one line of complaint, the last of what stands on standard error."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    said = [line for line in result.stderr.splitlines() if line.startswith("driftbound: ")]
    assert said == result.stderr.splitlines()[-1:]
    assert "Traceback" not in result.output
    return said[0]


def doctored(path, statement):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


# ---- dry run ----------------------------------------------------------------------------------

PRICE = {"prompt": 1000.0, "completion": 10000.0}
"""Dollars per million tokens: 70 tokens in and 9 out, what the server says of each answer, cost 0.16."""


def test_a_dry_run_reckons_and_sends_nothing(desk, server):
    """``Look at c0`` is 10 bytes: 10 // 3 + 16 = 19 tokens, and 300 for an image of 64 pixels."""
    recipe = desk.recipe(
        [
            {"name": "a", "base_url": server.url, "price": PRICE, "limits": {"requests_per_minute": 8}},
            {"name": "free", "base_url": server.url, "sampling": {"max_tokens": None}},
        ],
        max_tokens=100,
    )
    first, free = json.loads(desk.collect(recipe, "--dry-run", "--json").stdout)
    assert first == {
        "teacher": "a",
        "to": "127.0.0.1",
        "answered": 0,
        "left": 4,
        "prompt_tokens": 4 * 319,
        "completion_tokens": 400,
        "completion_tokens_at_most": 400,
        "money": 5.276,  # 1276 x 0.001 + 400 x 0.01
        "money_at_most": 5.276,
        "minutes_at_least": 0.5,
    }
    # Without max_tokens nobody knows how long an answer may be; without a price it costs nothing.
    assert (free["completion_tokens"], free["completion_tokens_at_most"], free["money_at_most"]) == (
        None,
        None,
        0,
    )
    shown = desk.collect(recipe, "--dry-run").stdout
    assert "Nothing was sent" in shown
    assert "5.28" in shown
    assert "no limit" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert not server.requests
    assert not desk.folder().audit.exists()


def test_what_a_dry_run_cannot_know(desk, server):
    """What an answer without limit will cost; a case that cannot be put takes no tokens and stops nobody."""
    write_ward = desk.ward.write_cases

    def without_images(root, truth):
        write_ward(root, truth)
        write_cases(
            root / "cases.parquet", [replace(c, images=()) for c in read_cases(root / "cases.parquet")]
        )

    desk.ward.write_cases = without_images
    recipe = desk.recipe(
        [
            two(server)[0] | {"sampling": {"max_tokens": None}, "price": PRICE},
            two(server)[1] | {"images": {"mode": "optional"}},
        ]
    )
    a, b = json.loads(desk.collect(recipe, "--dry-run", "--json").stdout)
    assert (a["left"], a["prompt_tokens"], a["money"], a["money_at_most"]) == (4, 0, None, None)
    assert b["prompt_tokens"] == 4 * 19


def test_a_dry_run_goes_by_what_the_answers_took(desk, server):
    teacher = {"name": "a", "base_url": server.url, "price": PRICE}
    recipe = desk.recipe([teacher | {"limits": {"requests": 2}}], max_tokens=100, concurrency=1)
    complaint(desk.collect(recipe, ok=False))
    (row,) = json.loads(desk.collect(recipe, "--dry-run", "--json").stdout)
    assert (row["answered"], row["left"], row["prompt_tokens"], row["completion_tokens"]) == (2, 2, 140, 18)
    assert (row["money"], row["money_at_most"]) == (0.32, 2.14)  # 0.14 + 0.18, 0.14 + 2.00
    assert len(server.requests) == 2


def test_a_dry_run_of_a_part_counts_that_part(desk, server):
    recipe = desk.recipe([{"name": "a", "base_url": server.url, "samples": 2}], anchors={"share": 1.0})
    for words, left in (((), 8), (("--shard", "1/3"), 4), (("--shard", "2/3"), 2), (("--wave", "1"), 4)):
        (row,) = json.loads(desk.collect(recipe, "--dry-run", "--json", *words).stdout)
        assert row["left"] == left


def test_a_dry_run_says_after_the_table_what_stands_in_the_way(desk, server):
    for change, said in (
        ({"api_key_env": KEY}, f"a: environment variable {KEY} holds no key"),
        (
            {"vendor": "openai", "model": "gpt-5", "sampling": {"temperature": 0.5}},
            "openai takes only 1 as temp",
        ),
        (
            {"limits": {"money": 1}, "price": PRICE, "sampling": {"max_tokens": None}},
            "needs sampling.max_tokens",
        ),
    ):
        recipe = desk.recipe([{"name": "a", "base_url": server.url} | change])
        for words in ((), ("--json",)):
            result = desk.collect(recipe, "--dry-run", *words, ok=False)
            assert said in complaint(result)
            assert "127.0.0.1" in result.stdout


def test_a_dry_run_says_that_cases_may_not_leave(desk):
    desk.ward.sensitivity = "credentialed"
    recipe = desk.recipe([{"name": "a", "base_url": "https://api.example.com/v1"}])
    result = desk.collect(recipe, "--dry-run", ok=False)
    assert "credentialed data may only go to a server of your own" in complaint(result)
    assert "api.example.com" in result.stdout


def test_a_dry_run_changes_nothing_that_a_stage_reads(desk, server):
    """Neither that of a part, nor that of another recipe; the latter is told, as collect would."""
    recipe = desk.recipe([{"name": "a", "base_url": server.url}])
    desk.collect(recipe)
    digest, wanted = desk.digest(), desk.sql("SELECT * FROM wanted")
    desk.collect(recipe, "--dry-run", "--shard", "1/2")
    other = desk.recipe([{"name": "b", "base_url": server.url}])
    assert "made by another recipe" in complaint(desk.collect(other, "--dry-run", ok=False))
    for words in (("--wave", "1"), ("--batch", desk.root / "b"), ("--batch-results", other)):
        other = desk.recipe([{"name": "b", "base_url": server.url, "vendor": "vllm"}])
        assert "made by another recipe" in complaint(desk.collect(other, *words, ok=False))
    assert (desk.digest(), desk.sql("SELECT * FROM wanted")) == (digest, wanted)
    assert len(server.requests) == 4


def test_a_dry_run_asks_for_no_key_that_collect_would_not_need(desk, server):
    recipe = desk.recipe([{"name": "a", "base_url": server.url}])
    desk.collect(recipe)
    recipe = desk.recipe([{"name": "a", "base_url": server.url, "api_key_env": KEY}])
    assert desk.collect(recipe, "--dry-run").exit_code == 0


def test_a_finished_collect_is_said_to_be(desk):
    with vendor(
        lambda model, question, nth: (500, {}) if question.endswith("c1") else (200, chat())
    ) as server:
        recipe = desk.recipe([{"name": "a", "base_url": server.url}], max_failed=0.5)
        desk.collect(recipe)
    result = desk.collect(recipe, "--dry-run", "--json")
    assert json.loads(result.stdout)[0]["left"] == 1
    assert "collect has finished: only with --force" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch", "x", "--dry-run"), "--batch cannot be combined with --dry-run"),
        (("--batch", "x", "--shard", "1/2"), "--batch cannot be combined with --shard"),
        (("--batch-results", "x", "--wave", "1"), "--batch-results cannot be combined with --wave"),
        (("--forget-batches", "--force"), "--forget-batches cannot be combined with --force"),
        (("--wave", "1", "--force"), "--force cannot be combined with --wave"),
        (("--shard", "3/2"), "--shard '3/2': say which of how many, such as 1/4"),
        (("--shard", "0/2"), "--shard '0/2'"),
        (("--shard", "1"), "--shard '1'"),
        (("--shard", "-1/2"), "--shard '-1/2'"),
    ],
)
def test_what_cannot_be_is_one_line(desk, words, said):
    recipe = desk.recipe([{"name": "a", "base_url": "http://127.0.0.1:9/v1"}])
    assert said in complaint(desk.collect(recipe, *words, ok=False))


# ---- watching ---------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal's end of standard error."""

    def isatty(self):
        return True


def test_the_rows_on_a_terminal(desk, monkeypatch):
    """Per teacher: done, refused, failed, rate, money; no line is wider than the terminal."""
    answers = {"c0": (200, chat("I cannot help.")), "c1": (500, {})}
    teacher = {"name": "a-teacher-of-a-rather-long-name", "price": PRICE}
    with vendor(lambda model, question, nth: answers.get(question[-2:], (200, chat()))) as server:
        recipe = desk.recipe([teacher | {"base_url": server.url}, *two(server)], max_failed=0.5)
        desk.collect(recipe, "--dry-run")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", Screen())
        collect.run(desk.context(recipe))
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", sys.stderr.getvalue()))
    assert max(map(len, lines)) <= 80
    last = [line for line in lines if line.startswith("a-teacher")][-1]
    assert "4/4" in last
    assert re.search(r"[0-9.]+/s 1 refused 1 failed \$0.48", last)  # three answers of 0.16 dollars


# ---- shards -----------------------------------------------------------------------------------


def two(server):
    return [{"name": name, "base_url": server.url} for name in ("a", "b")]


def test_shards_merged_are_the_whole(desk, server):
    desk.ward = Ward(11)
    recipe = desk.recipe(two(server), repeats={"share": 0.5})
    desk.collect(recipe, name="whole")
    whole = Counter((question_of(body), body["model"], body.get("seed")) for body in server.requests)
    assert set(whole.values()) == {1}
    server.requests.clear()
    for i in (1, 2, 3):
        desk.collect(recipe, "--shard", f"{i}/3", name=f"s{i}")
    assert Counter((question_of(body), body["model"], body.get("seed")) for body in server.requests) == whole
    desk.collect(recipe, "--dry-run", name="merged")
    sources = [desk.runs / f"s{i}" for i in (3, 1, 2)]
    result = call("merge", desk.runs / "merged", *sources, "--json")
    told = json.loads(result.stdout)
    assert sum(each["new"] for each in told) == sum(whole.values())
    server.requests.clear()
    facts = json.loads(desk.collect(recipe, "--json", name="merged").stdout)
    assert not server.requests
    assert facts["digest"] == desk.digest("whole")
    # What was sent, and when it left, came along: once, however often it is merged.
    before = [
        desk.sql(f"SELECT * FROM {table}", "merged") for table in ("trajectories", "attempts", "wanted")
    ]
    log = desk.folder("merged").audit.read_text()
    assert len(before[1]) == len(log.splitlines()) == sum(whole.values())
    again = json.loads(call("merge", desk.runs / "merged", *sources, "--json").stdout)
    assert {each["new"] for each in again} == {0}
    assert [
        desk.sql(f"SELECT * FROM {table}", "merged") for table in ("trajectories", "attempts", "wanted")
    ] == before
    assert desk.folder("merged").audit.read_text() == log
    assert "finished before" in desk.collect(recipe, name="merged").stderr


def test_what_a_shard_lacks_is_asked_after_merging(desk, server):
    """One of two machines never came to its end; a third one of the same shard changes nothing."""
    recipe = desk.recipe(two(server))
    desk.collect(recipe, "--shard", "1/2", name="s1")
    desk.collect(recipe, "--shard", "1/2", name="s1-again")
    desk.collect(recipe, "--dry-run")
    lines = call("merge", desk.runs / "run", desk.runs / "s1", desk.runs / "s1-again").stdout.splitlines()
    assert lines[0].endswith("s1: 4 new, 0 there before")
    assert lines[1].endswith("s1-again: 0 new, 4 there before")
    server.requests.clear()
    desk.collect(recipe)
    assert {(case, model) for case, model in server.asked()} == {
        (case, model) for case in ("c1", "c3") for model in ("model-a", "model-b")
    }


def test_more_shards_than_cases(desk, server):
    recipe = desk.recipe(two(server))
    result = desk.collect(recipe, "--shard", "6/6")
    assert "no case is in this part" in result.stdout
    assert not server.requests


def test_a_contradiction_is_refused_and_nothing_is_taken_of_it(desk, server):
    recipe = desk.recipe(two(server))
    desk.collect(recipe, "--shard", "1/2", name="s1")
    desk.collect(recipe, name="other")
    doctored(
        desk.folder("other").streams,
        "UPDATE trajectories SET text = 'otherwise' WHERE case_id = 'c2' AND teacher = 'b'",
    )
    desk.collect(recipe, "--dry-run")
    said = complaint(call("merge", desk.runs / "run", desk.runs / "s1", desk.runs / "other"))
    assert "b has another final answer to c2" in said
    assert set(desk.rows()) == {(case, teacher, 0, 0) for case in ("c0", "c2") for teacher in "ab"}
    assert len(desk.sql("SELECT * FROM attempts")) == 4
    assert len(desk.folder().audit.read_text().splitlines()) == 4


def test_merging_refuses_what_cannot_be_compared(desk, server, tmp_path):
    recipe = desk.recipe(two(server))
    assert "is no run yet" in complaint(call("merge", desk.runs / "run", desk.runs / "s1"))
    desk.collect(recipe, "--dry-run")
    assert "no answers collected yet" in complaint(call("merge", desk.runs / "run", desk.runs / "s1"))
    assert "is the run's own file" in complaint(call("merge", desk.runs / "run", desk.runs / "run"))
    desk.ward.shade = 1
    desk.collect(recipe, "--shard", "1/2", name="s1")
    assert "c0 is another case there" in complaint(call("merge", desk.runs / "run", desk.runs / "s1"))
    foreign = tmp_path / "notes.txt"
    foreign.write_text("no database at all, whatever its name")
    assert "cannot be read" in complaint(call("merge", desk.runs / "run", foreign))
    desk.folder().streams.unlink()
    assert "are not noted yet" in complaint(call("merge", desk.runs / "run", desk.runs / "s1"))
    assert desk.rows() == {}


def test_a_copy_without_its_write_ahead_log_is_not_merged(desk, server, tmp_path):
    """Copied while it was open: the answers may all lie in the log beside it."""
    recipe = desk.recipe(two(server))
    desk.collect(recipe, name="s1")
    desk.collect(recipe, "--dry-run")
    half, whole = tmp_path / "half.sqlite", tmp_path / "whole.sqlite"
    with Streams(desk.folder("s1").streams) as streams:
        streams.db.execute("UPDATE trajectories SET latency_s = 1.0")
        for copy in (half, whole):
            shutil.copy(desk.folder("s1").streams, copy)
        shutil.copy(f"{desk.folder('s1').streams}-wal", f"{whole}-wal")
    assert "was copied while it was written, without half.sqlite-wal" in complaint(
        call("merge", desk.runs / "run", half)
    )
    assert "8 new" in call("merge", desk.runs / "run", whole).stdout


def test_a_file_by_itself_brings_answers_but_no_log(desk, server, tmp_path):
    """Whatever lies where a run would have its log is not taken for one."""
    recipe = desk.recipe(two(server))
    desk.collect(recipe, name="s1")
    desk.collect(recipe, "--dry-run")
    alone = Path(shutil.copy(desk.folder("s1").streams, tmp_path / "from-elsewhere.sqlite"))
    (tmp_path.parent / "audit.jsonl").write_text("somebody else's\n")
    assert "8 new, 0 there before; no audit log there" in call("merge", desk.runs / "run", alone).stdout
    assert not desk.folder().audit.exists()
    assert len(desk.sql("SELECT * FROM attempts")) == 8


def test_what_is_merged_stays_as_sensitive_as_what_it_is_made_of(desk):
    """A shard that replays a credentialed file: once merged, all that the run makes is credentialed."""
    path = desk.root / "r.csv"
    path.write_text("case_id,text\n" + "".join(f"c{i},One.\n" for i in range(4)))
    path.with_name("r.csv.manifest.json").write_text('{"sensitivity": "credentialed"}')
    recipe = desk.recipe([{"name": "old", "kind": "recorded", "path": str(path)}])
    desk.collect(recipe, name="s1")
    desk.collect(recipe, "--dry-run")
    for _ in range(2):
        call("merge", desk.runs / "run", desk.runs / "s1")
    stage = desk.folder().stage("collect")
    assert imported_sensitivity(stage) == "credentialed"
    assert len((stage / "streams.sqlite.imports.jsonl").read_text().splitlines()) == 1
    desk.collect(recipe)
    assert json.loads((stage / "manifest.json").read_text())["sensitivity"] == "credentialed"


def test_what_is_merged_stays_as_sensitive_as_its_cases(desk, server):
    """The other machine calls its cases credentialed: its answers come in as such, and are exported so."""
    recipe = desk.recipe([two(server)[0]])
    desk.collect(recipe, "--dry-run")
    desk.ward = Ward(4, sensitivity="credentialed")
    desk.collect(recipe, name="s1")
    call("merge", desk.runs / "run", desk.runs / "s1")
    assert imported_sensitivity(desk.folder().stage("collect")) == "credentialed"


def test_attempts_that_were_under_way_end_with_the_next_merge(desk, server):
    recipe = desk.recipe([two(server)[0]])
    desk.collect(recipe, name="s1")
    desk.collect(recipe, "--dry-run")
    source = desk.folder("s1").streams
    doctored(source, "UPDATE attempts SET outcome = '', cost = 5 WHERE case_id = 'c1'")
    call("merge", desk.runs / "run", desk.runs / "s1")
    assert desk.sql("SELECT count(*), total(cost) FROM attempts WHERE outcome = ''") == [(1, 5)]
    doctored(source, "UPDATE attempts SET outcome = 'answered', cost = 2 WHERE case_id = 'c1'")
    call("merge", desk.runs / "run", desk.runs / "s1")
    assert desk.sql("SELECT count(*), total(cost) FROM attempts WHERE outcome = 'answered'") == [(4, 2)]


def test_merging_into_a_finished_collect_opens_it_again(desk):
    """A failed answer that another machine has: what collect said of its answers no longer holds."""
    broken = {"c1"}
    with vendor(
        lambda model, question, nth: (500, {}) if question[-2:] in broken else (200, chat())
    ) as server:
        recipe = desk.recipe([two(server)[0]], max_failed=0.5)
        desk.collect(recipe)
        broken.clear()
        desk.collect(recipe, name="s1")
    assert "1 new, 3 there before" in call("merge", desk.runs / "run", desk.runs / "s1").stdout
    assert not (desk.folder().stage("collect") / "manifest.json").exists()
    facts = json.loads(desk.collect(recipe, "--json").stdout)
    assert facts["teachers"]["a"]["answers"] == {"ok": 4}


def test_a_shard_of_what_is_complete_is_refused(desk, server):
    recipe = desk.recipe(two(server))
    desk.collect(recipe)
    assert "collect has finished" in complaint(desk.collect(recipe, "--shard", "1/2", ok=False))


# ---- waves ------------------------------------------------------------------------------------


def anchors(n, share, seed=0):
    """The cases whose hash lies in the first part of all hashes."""
    drawn = {f"c{i}": hashlib.sha256(f"anchor/{seed}/c{i}".encode()).digest()[:8] for i in range(n)}
    return {case for case, start in drawn.items() if int.from_bytes(start, "big") / 2**64 < share}


def test_a_wave_asks_the_anchors_and_leaves_the_rest_alone(desk, server):
    desk.ward = Ward(40)
    recipe = desk.recipe(two(server), anchors={"share": 0.3})
    facts = json.loads(desk.collect(recipe, "--json").stdout)
    server.requests.clear()
    chosen = anchors(40, 0.3)
    assert 6 <= len(chosen) <= 18
    files = {path: path.read_bytes() for path in desk.folder().root.rglob("manifest.json")}
    for wave in (1, 2):
        said = json.loads(desk.collect(recipe, "--wave", wave, "--json").stdout)
        assert said["cases"] == len(chosen)
        assert server.asked() == {(case, f"model-{t}"): 1 for case in chosen for t in "ab"}
        server.requests.clear()
        assert {key[0] for key in desk.rows() if key[3] == wave} == chosen
        assert desk.digest() == facts["digest"]  # what the stages read
        desk.collect(recipe, "--wave", wave)
        assert not server.requests  # it was complete
    assert len(desk.rows()) == 80 + 4 * len(chosen)
    assert {path: path.read_bytes() for path in files} == files
    # On several machines: the same cases, each once; merged they leave collect finished.
    for i in (1, 2):
        desk.collect(recipe, "--wave", 3, "--shard", f"{i}/2", name=f"m{i}")
    assert server.asked() == {(case, f"model-{t}"): 1 for case in chosen for t in "ab"}
    call("merge", desk.runs / "run", desk.runs / "m1", desk.runs / "m2")
    assert {key[0] for key in desk.rows() if key[3] == 3} == chosen
    assert desk.digest() == facts["digest"]
    assert {path: path.read_bytes() for path in files} == files


def test_a_wave_goes_on_where_it_stopped(desk):
    down = {"on": False}
    with vendor(lambda model, question, nth: (500, {}) if down["on"] else (200, chat())) as server:
        recipe = desk.recipe([two(server)[0]], anchors={"share": 1.0}, concurrency=1)
        desk.collect(recipe)
        short = desk.recipe(
            [two(server)[0] | {"limits": {"requests": 6}}], anchors={"share": 1.0}, concurrency=1
        )
        assert "its budget of 6 requests" in complaint(desk.collect(short, "--wave", 1, ok=False))
        server.requests.clear()
        down["on"] = True
        assert "2 of 4 answers failed" in complaint(desk.collect(recipe, "--wave", 1, ok=False))
        down["on"] = False
        server.requests.clear()
        desk.collect(recipe, "--wave", 1)
        assert server.asked() == {("c2", "model-a"): 1, ("c3", "model-a"): 1}
    assert {row.status.value for row in desk.rows().values()} == {"ok"}


# ---- repeats ----------------------------------------------------------------------------------


def test_sample_0_of_all_comes_before_any_repeat_and_each_has_its_seed(desk, server):
    desk.ward = Ward(12)
    teachers = [
        {"name": "a", "base_url": server.url},
        {"name": "seeded", "base_url": server.url, "sampling": {"seed": 7}, "samples": 3},
        {"name": "none", "base_url": server.url, "vendor": "anthropic", "api_key_env": ""},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", "k")
        recipe = desk.recipe(teachers, repeats={"share": 0.4, "samples": 2}, concurrency=1)
        desk.collect(recipe)
    repeated = {
        f"c{i}"
        for i in range(12)
        if int.from_bytes(hashlib.sha256(f"repeat/0/c{i}".encode()).digest()[:8], "big") < 0.4 * 2**64
    }
    assert repeated
    asked = {}
    for body in server.requests:
        asked.setdefault(body["model"], []).append((question_of(body).split()[-1], body.get("seed")))
    everyone = {f"c{i}" for i in range(12)}
    for model, seeds in (("model-a", (None, 1)), ("model-none", (None, None))):
        assert {case for case, _ in asked[model][:12]} == everyone
        assert {seed for _, seed in asked[model][:12]} == {seeds[0]}
        assert {case for case, _ in asked[model][12:]} == repeated
        assert {seed for _, seed in asked[model][12:]} == {seeds[1]}
    for sample in range(3):
        part = asked["model-seeded"][12 * sample :][:12]
        assert ({case for case, _ in part}, {seed for _, seed in part}) == (everyone, {7 + sample})
    rows = desk.rows()
    assert len(rows) == 12 * 2 + len(repeated) * 2 + 36
    trained = training_trajectories(desk.context(recipe))
    assert set(trained) == {(case, t["name"]) for case in everyone for t in teachers}
    assert {row.sample for row in trained.values()} == {0}


def test_the_seed_of_a_sample():
    assert settings_of(0, {"temperature": 1}, Vendor()) == {"temperature": 1}
    assert settings_of(3, {}, Vendor()) == {"seed": 3}
    assert settings_of(3, {"seed": 4, "largest_side": 64}, Vendor()) == {"seed": 7}
    assert settings_of(3, {"temperature": 0}, vendor_of("zhipu")) == {"temperature": 0}


# ---- batch files ------------------------------------------------------------------------------

BATCHED = {"vendor": "moonshot", "api_key_env": ""}
"""A vendor with batch files at 0.6 of the price."""


def lines_of(folder):
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open()]


def results(lines, say=lambda body: (200, chat(f"{body['model']} on {question_of(body)}"))):
    """What a vendor makes of a batch file's lines."""
    made = []
    for line in lines:
        status, body = say(line["body"])
        response = {"status_code": status, "request_id": "r", "body": body}
        made.append({"id": "b", "custom_id": line["custom_id"], "response": response, "error": None})
    return made


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


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
import test_collect_parts as parts
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
        timeout=60,
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
    "path, stream and columns belong to kind: recorded": TEACHER | {"path": "x.csv"},
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
