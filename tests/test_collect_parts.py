"""Parts of collecting: dry runs, what is shown, shards and merging, waves, repeats."""

import hashlib
import io
import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from desk import KEY, PRICE, Ward, complaint, doctored, two
from test_cli import call
from test_collect import chat, question_of, vendor

from driftbound.endpoints.vendors import Vendor, vendor_of
from driftbound.stages import collect
from driftbound.stages.gather import training_trajectories
from driftbound.store.exchange import imported_sensitivity
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, write_cases
from driftbound.teachers.preparing import settings_of

# ---- dry run ----------------------------------------------------------------------------------


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
    assert re.search(
        r"[0-9.]+/s in 0:[0-9]+ 1 refused 1 failed \$0.48", last
    )  # three answers of 0.16 dollars


# ---- shards -----------------------------------------------------------------------------------


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
