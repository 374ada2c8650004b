"""Who writes the consensus: batches, candidates, going on after a kill, servers that misbehave."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from test_collect import CANARY, chat, dead_url, vendor

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.consensus.in_process import batches
from driftbound.consensus.writing import Ask, Written
from driftbound.endpoints.losses import MOST_BARRED, MOST_FAILED
from driftbound.endpoints.vendors import vendor_of
from driftbound.errors import ConfigError, DataUseError, StoreError, TeacherError
from driftbound.learning.counting import TokenCounter
from driftbound.learning.policy import LocalPolicy
from driftbound.phantom_base import resolve_base
from driftbound.records import Case
from driftbound.stages import writers
from driftbound.stages.context import Context
from driftbound.stages.writers import NO_LIMIT, estimated_tokens, window_for, writer_for
from driftbound.store.folder import RunFolder
from driftbound.store.tables import write_cases

BASE = resolve_base("phantom-base")
REFUSED = "I will not."


def context_of(root, *, sensitivity="public", n=3, **synthesize):
    """A run of cases with an image each; no stage of it has run."""
    folder = RunFolder(root / "run")
    if not folder.cases.exists():
        (folder.root / "images").mkdir(parents=True)
        Image.new("L", (64, 64), 90).save(folder.root / "images" / "a.png")
        given = {"cluster": "p", "split": "train", "prompt": "?", "images": ("images/a.png",)}
        write_cases(folder.cases, [Case(case_id=f"c{i}", sensitivity=sensitivity, **given) for i in range(n)])
    synthesize = {"synthesizer": "student"} | synthesize
    recipe = {"name": "run", "teachers": [{"name": "a", "model": "a"}], "synthesize": synthesize}
    return Context(Recipe.parse(recipe, where="test"), folder, None)


def asks_of(context, n=3, candidates=1, question="Merge {i}"):
    given = {"cluster": "p", "split": "train", "prompt": "?", "images": ("images/a.png",)}
    return [
        Ask(
            key=f"c{i}/{k}",
            case=Case(case_id=f"c{i}", **given),
            question=question.format(i="x" * i),
            images=(context.folder.root / "images" / "a.png",),
            seed=100 * i + k,
            temperature=0.7 if k else 0.0,
        )
        for i in range(n)
        for k in range(candidates)
    ]


class Student:
    """Writes its question, seed and temperature; remembers its batches; may die before one of them."""

    def __init__(self, dies_at=None):
        self.batches, self.loaded, self.dies_at = [], 0, dies_at

    def load(self, path, threads):
        self.loaded += 1
        return self

    def generate(self, questions, images, *, max_new_tokens, temperature=0.0, seeds=None):
        if len(self.batches) == self.dies_at:
            raise KeyboardInterrupt
        self.batches.append(list(questions))
        seeds = seeds or [0] * len(questions)
        each = temperature if isinstance(temperature, list) else [temperature] * len(questions)
        rows = zip(questions, seeds, each, strict=True)
        return [(f"{q} by {seed if warm else 'none'}", not warm) for q, seed, warm in rows]


def in_process(context, student, parts=None):
    return writer_for(context, parts or context.folder.root / "parts", student=BASE, load=student.load)


# --- in this process


def test_batches_keep_candidates_together_and_prompts_of_a_length():
    """Sizes 1 to 4, three candidates each, six to a batch: the longest first, a case never cut in two."""
    case = Case(case_id="c", cluster="", split="train", prompt="", images=())
    asks = [Ask(f"{n}/{k}", case, "x" * n, (), 0, 0.0) for k in range(3) for n in (1, 4, 2, 3)]
    got = [[len(asks[place].question) for place in batch] for batch in batches(asks, 6)]
    assert got == [[4, 4, 4, 3, 3, 3], [2, 2, 2, 1, 1, 1]]
    got = [[len(asks[place].question) for place in batch] for batch in batches(asks, 5)]
    assert got == [[4, 4, 4], [3, 3, 3], [2, 2, 2], [1, 1, 1]]
    got = [[len(asks[place].question) for place in batch] for batch in batches(asks, 2)]
    assert got == [[4, 4], [4], [3, 3], [3], [2, 2], [2], [1, 1], [1]]
    assert sorted(place for batch in batches(asks, 2) for place in batch) == list(range(12))
    assert batches([], 5) == []


def test_texts_come_in_the_order_asked(tmp_path):
    context, student = context_of(tmp_path, batch_size=4), Student()
    said = in_process(context, student).write(asks_of(context, candidates=2))
    assert said == [
        Written("Merge  by none", True),
        Written("Merge  by 1", False),
        Written("Merge x by none", True),
        Written("Merge x by 101", False),
        Written("Merge xx by none", True),
        Written("Merge xx by 201", False),
    ]
    assert student.batches == [["Merge xx"] * 2 + ["Merge x"] * 2, ["Merge "] * 2]
    assert student.loaded == 1


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    """Killed before the second batch of three; a line is torn on top; the rest alone is written anew."""
    context = context_of(tmp_path, batch_size=1)
    asks, parts = asks_of(context), tmp_path / "deep" / "parts"
    whole = in_process(context, Student()).write(asks)
    dying = Student(dies_at=1)
    with pytest.raises(KeyboardInterrupt):
        in_process(context, dying, parts).write(asks)
    assert dying.batches == [["Merge xx"]]
    with parts.open("ab") as file:
        file.write(b'{"key": "c1/0", "of": "' + 5000 * b"0")  # more than all that follows
    second = Student()
    assert in_process(context, second, parts).write(asks) == whole
    assert second.batches == [["Merge x"], ["Merge "]]
    third = Student()
    assert in_process(context, third, parts).write(asks) == whole
    assert third.loaded == 0  # nothing is missing: nothing is loaded
    assert len(parts.read_text().splitlines()) == 3
    assert parts.stat().st_mode & 0o077 == 0


def test_a_half_kept_batch_is_written_whole_and_keeps_what_it_had(tmp_path):
    """So the neighbours in the batch, and with them the last digits, are as they would have been."""
    context, parts = context_of(tmp_path, batch_size=3), tmp_path / "parts"
    asks = asks_of(context)
    in_process(context, Student(), parts).write(asks)
    first, *_ = parts.read_text().splitlines(keepends=True)
    kept = json.loads(first)
    parts.write_text(json.dumps(kept | {"text": "from before"}) + "\n")
    student = Student()
    said = in_process(context, student, parts).write(asks)
    assert student.batches == [["Merge xx", "Merge x", "Merge "]]
    assert [each.text for each in said] == ["Merge  by none", "Merge x by none", "from before"]


@pytest.mark.parametrize("change", ["question", "seed", "temperature", "key", "settings"])
def test_what_was_asked_otherwise_is_asked_anew(tmp_path, change):
    context, parts = context_of(tmp_path), tmp_path / "parts"
    (ask,) = asks_of(context, n=1)
    in_process(context, Student(), parts).write([ask])
    others = {"question": "Merge?", "seed": 7, "temperature": 0.1, "key": "c0/1"}
    if change == "settings":
        context = context_of(tmp_path, max_new_tokens=5)
    else:
        ask = replace(ask, **{change: others[change]})
    student = Student()
    in_process(context, student, parts).write([ask])
    assert len(student.batches) == 1


def test_a_file_of_another_kind_is_said(tmp_path):
    parts = tmp_path / "parts"
    parts.write_text('{"key": "c0/0"}\n')
    with pytest.raises(StoreError, match=r"parts: line 1 cannot be read .*Delete it and run again"):
        in_process(context_of(tmp_path), Student(), parts)


def test_the_shipped_student_writes_candidates_by_seed(tmp_path):
    """One case, greedy and twice drawn, as separate prompts give them; asked with three in a batch."""
    context = context_of(tmp_path, max_new_tokens=12)
    asks = [replace(ask, temperature=2.0 if ask.temperature else 0.0) for ask in asks_of(context, 1, 3)]
    said = writer_for(context, tmp_path / "parts", student=BASE).write(asks)
    policy = LocalPolicy.load(BASE)
    for ask, written in zip(asks, said, strict=True):
        given = {"temperature": ask.temperature, "seeds": [ask.seed]}
        alone = policy.generate([ask.question], [ask.images], max_new_tokens=12, **given)
        assert [(written.text, written.ended)] == alone
    assert len({written.text for written in said}) == 3


# --- behind a server


def judge(url, **other):
    return {"synthesizer": "judge", "judge": {"model": "j", "base_url": url, "retries": 0} | other}


def behind(context, parts):
    return writer_for(context, parts, student=BASE)


def test_a_server_is_asked_with_images_settings_and_key_and_all_is_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_JUDGE_KEY", CANARY)
    script = lambda model, question, nth: (200, chat(f"{model} on {question}"))  # noqa: E731
    with vendor(script) as server:
        context = context_of(
            tmp_path, sensitivity="credentialed", **judge(server.url, api_key_env="SOME_JUDGE_KEY")
        )
        asks = asks_of(context, candidates=2)
        said = behind(context, tmp_path / "parts").write(asks)
        assert said == [Written(f"j on {ask.question}", True) for ask in asks]
        bodies = {(body["seed"]): body for body in server.requests}
        assert sorted(bodies) == [0, 1, 100, 101, 200, 201]
        assert (bodies[100]["temperature"], bodies[101]["temperature"]) == (0.0, 0.7)
        assert {body["max_tokens"] for body in server.requests} == {160}
        kinds = [part["type"] for part in bodies[0]["messages"][0]["content"]]
        assert kinds == ["image_url", "text"]
        assert all(seen["authorization"] == f"Bearer {CANARY}" for seen in server.headers_seen)
    lines = [json.loads(line) for line in context.folder.audit.read_text().splitlines()]
    assert [line["purpose"] for line in lines] == ["synthesis"] * 6
    assert {line["sensitivity"] for line in lines} == {"credentialed"}
    assert CANARY not in context.folder.audit.read_text() + (tmp_path / "parts").read_text()


def test_the_student_behind_its_server_is_asked_by_its_name(tmp_path):
    with vendor(lambda model, question, nth: (200, chat("text", finish_reason="length"))) as server:
        context = context_of(tmp_path, server={"model": "student", "base_url": server.url})
        assert behind(context, tmp_path / "parts").write(asks_of(context, 1)) == [Written("text", False)]
        assert [body["model"] for body in server.requests] == ["student"]


def test_a_bad_answer_is_data(tmp_path):
    """An answer, a filter, a refusal field, nothing, and an error that stays: each has its note."""
    said = {
        "Merge ": (200, chat("Edema.")),
        "Merge x": (400, {"error": {"code": "content_filter", "message": "no"}}),
        "Merge xx": (200, chat("", refusal=REFUSED)),
        "Merge xxx": (200, chat(" \n")),
        "Merge xxxx": (500, {"error": {"message": "boom"}}),
    }
    with vendor(lambda model, question, nth: said[question]) as server:
        context = context_of(tmp_path, **judge(server.url))
        asks, parts = asks_of(context, 5), tmp_path / "parts"
        first = behind(context, parts).write(asks)
        assert [each.text for each in first] == ["Edema.", "", "", "", ""]
        assert [each.note.split(":")[0] for each in first] == [
            "",
            "refused",
            "refused",
            "empty answer (finish reason stop)",
            "failed",
        ]
        assert first[2].note == f"refused: {REFUSED}"
        assert "boom" in first[4].note
        said["Merge xxxx"] = (200, chat("Late."))
        again = behind(context, parts).write(asks)
        assert again == [*first[:4], Written("Late.", True)]
        assert len(server.requests) == 6  # what failed was asked again, and nothing else


def test_an_image_that_cannot_be_sent_is_data(tmp_path):
    with vendor(lambda model, question, nth: (200, chat("Edema."))) as server:
        context = context_of(tmp_path, **judge(server.url))
        asks = asks_of(context, 2)
        (tmp_path / "b.png").write_bytes(b"no image")
        asks[0] = replace(asks[0], images=(tmp_path / "b.png",))
        first, second = behind(context, tmp_path / "parts").write(asks)
        assert first.note.startswith("not sent: ")
        assert (first.text, second) == ("", Written("Edema.", True))


def test_a_server_that_is_gone_stops_the_stage_and_what_was_written_stays(tmp_path):
    with vendor(lambda model, question, nth: (200, chat(question))) as server:
        context = context_of(tmp_path, **judge(server.url, concurrency=1))
        asks, parts = asks_of(context, 9), tmp_path / "parts"
        behind(context, parts).write(asks[:2])
    gone = context_of(tmp_path, **judge(dead_url(), concurrency=1))
    with pytest.raises(TeacherError, match=r"synthesis at http.*no connection.*What was written stays"):
        behind(gone, parts).write(asks)
    with vendor(lambda model, question, nth: (200, chat(question))) as server:
        context = context_of(tmp_path, **judge(server.url))
        assert behind(context, parts).write(asks) == [Written(ask.question, True) for ask in asks]
        assert len(server.requests) == 7


def test_credentialed_cases_do_not_go_to_strangers(tmp_path, monkeypatch):
    def never(self):
        raise AssertionError("a connection")

    monkeypatch.setattr("driftbound.endpoints.client.Endpoint._connected", never)
    context = context_of(tmp_path, sensitivity="credentialed", **judge("https://api.example.com/v1"))
    with pytest.raises(DataUseError, match=r"synthesis at https://api\.example\.com"):
        behind(context, tmp_path / "parts").write(asks_of(context))
    assert not (tmp_path / "parts").exists()


def test_a_writer_without_address_or_key_is_said_before_anything_is_sent(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="synthesis: needs the base_url"):
        behind(context_of(tmp_path, synthesizer="judge", judge={"model": "j"}), tmp_path / "parts")
    monkeypatch.delenv("SOME_JUDGE_KEY", raising=False)
    given = judge("http://127.0.0.1:9/v1", api_key_env="SOME_JUDGE_KEY")
    with pytest.raises(TeacherError, match="SOME_JUDGE_KEY holds no key"):
        behind(context_of(tmp_path, **given), tmp_path / "parts")


def test_what_keeps_a_writer_from_being_asked_is_said_before_the_teachers_are(tmp_path, monkeypatch):
    """A missing key and data that may not go there, as the first thing of a run; nothing where it is fine."""
    monkeypatch.delenv("SOME_JUDGE_KEY", raising=False)
    here, there = "http://127.0.0.1:9/v1", "https://api.example.com/v1"
    writers.check_writer(context_of(tmp_path / "a"))
    writers.check_writer(context_of(tmp_path / "a", **judge(there)))
    writers.check_writer(context_of(tmp_path / "b", sensitivity="credentialed", **judge(here)))
    with pytest.raises(DataUseError, match="synthesis at https"):
        writers.check_writer(context_of(tmp_path / "b", **judge(there)))
    with pytest.raises(TeacherError, match="SOME_JUDGE_KEY holds no key"):
        writers.check_writer(context_of(tmp_path / "a", **judge(here, api_key_env="SOME_JUDGE_KEY")))


@pytest.mark.parametrize(("only", "asked"), [("", True), ("synthesize", True), ("collect", False)])
def test_a_run_that_will_need_its_writer_looks_for_it_first(world, only, asked):
    recipe = world.recipe(synthesize={"synthesizer": "judge", "judge": {"model": "j"}})
    if asked:
        with pytest.raises(ConfigError, match="synthesis: needs the base_url"):
            world.run(recipe, only=only)
    else:
        world.run(recipe, only=only)
    assert ("collect" in world.calls) != asked


def test_settings_that_a_vendor_does_not_take_are_left_out(tmp_path, monkeypatch):
    known = writers.asked_at

    def asked_at(*given):
        address, key = known(*given)
        return replace(address, vendor=replace(address.vendor, unsupported=frozenset({"seed"}))), key

    monkeypatch.setattr(writers, "asked_at", asked_at)
    with vendor(lambda model, question, nth: (200, chat("Edema."))) as server:
        context = context_of(tmp_path, **judge(server.url))
        behind(context, tmp_path / "parts").write(asks_of(context, 1))
        assert "seed" not in server.requests[0]
        assert server.requests[0]["temperature"] == 0.0


@pytest.mark.parametrize("who", ["server", "judge"])
def test_how_a_writer_is_reached_changes_nothing_of_the_result(who):
    def part(**connection):
        given = {"synthesizer": "judge" if who == "judge" else "student"}
        recipe = {
            "name": "n",
            "teachers": [{"name": "a", "model": "a"}],
            "synthesize": given | {who: {"model": "m"} | connection},
        }
        return pipeline.recipe_part(Recipe.parse(recipe, where="test"), "synthesize")

    ways = {
        "vendor": "openai",
        "base_url": "http://b/v1",
        "api_key_env": "K",
        "local": True,
        "concurrency": 2,
        "requests_per_minute": 9,
        "timeout_s": 5.0,
        "retries": 0,
    }
    assert part(**ways) == part()
    assert part(model="other") != part()
    assert part()["synthesize"][who] == {"model": "m"}


# --- windows


def test_a_students_window_is_what_its_tokenizer_allows(tmp_path):
    """Model length less answer, image and template; the prompt as the processor makes it, to a few tokens."""
    context = context_of(tmp_path, max_new_tokens=100)
    (ask,) = asks_of(context, 1, question="Is there an effusion?")
    window = window_for(context, student=BASE)
    policy = LocalPolicy.load(BASE)
    said = policy.complete([ask.question], [list(ask.images)], max_new_tokens=1)[0]
    around = said.prompt_tokens - window.count_tokens(ask.question)
    longest = min(
        policy.processor.tokenizer.model_max_length, policy.model.config.text_config.max_position_embeddings
    )
    assert 0 <= longest - 100 - around - window.room(ask.case) <= 8
    assert TokenCounter(BASE).longest == longest


def test_room_that_is_given_is_the_room(tmp_path):
    (ask,) = asks_of(context_of(tmp_path), 1)
    assert window_for(context_of(tmp_path, context_tokens=77), student=tmp_path).room(ask.case) == 77


def test_a_judges_window_is_estimated_and_has_no_limit_unless_given(tmp_path):
    """A quarter more than characters / 4: 16 characters are 5 tokens, 17 are 6."""
    (ask,) = asks_of(context_of(tmp_path), 1)
    window = window_for(context_of(tmp_path, **judge("http://127.0.0.1:9/v1")), student=tmp_path)
    assert window.room(ask.case) == NO_LIMIT
    assert [estimated_tokens("x" * n) for n in (0, 16, 17)] == [0, 5, 6]
    assert window.count_tokens is estimated_tokens


# --- what docs/writers.md says


def test_the_page_holds_recipes_that_are_read():
    page = (Path(__file__).parent.parent / "docs" / "writers.md").read_text(encoding="utf-8")
    tables = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert [list(table) for table in tables] == [["synthesize"], ["synthesize"], ["bootstrap"]]
    for table in tables:
        recipe = {"name": "n", "teachers": [{"name": "a", "model": "a"}]} | table
        config = Recipe.parse(recipe, where="docs/writers.md").synthesize
        for writer in (config.server, config.judge):
            assert writer is None or vendor_of(writer.vendor, writer.model)
    assert (
        f"({MOST_BARRED} requests in a row without any way to it, or {MOST_FAILED} without an answer)" in page
    )
