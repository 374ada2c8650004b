"""Collecting over HTTP: every answer is kept and named rightly, and only what is missing is asked."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from driftbound.config import Recipe
from driftbound.endpoints import client
from driftbound.endpoints.client import Asked, Endpoint, NoMeter
from driftbound.endpoints.gate import Destination, Gate, is_loopback
from driftbound.endpoints.limiter import Limiter
from driftbound.endpoints.loopback import serving
from driftbound.endpoints.replies import Failure, Reply
from driftbound.errors import CaseError, DataUseError, StoreError, TeacherError
from driftbound.protocols import Teacher
from driftbound.records import Case, Request, Status, Trajectory
from driftbound.stages import collect
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import write_cases
from driftbound.teacher_config import ImagesConfig, LimitsConfig, PriceConfig
from driftbound.teachers.metering import Account
from driftbound.teachers.openai_compatible import OpenAICompatibleTeacher
from driftbound.teachers.statuses import status_of

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEA0S8lWgAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""
CANARY = "sk-canary-0123456789abcdef"
TEXT = "Die Lunge ist frei.\n\n- kein Erguß 🫁\x00"
"""Not plain ASCII, to be kept to the code point."""


def chat(text=TEXT, finish_reason="stop", refusal=None, version="m-2025-08"):
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "object": "chat.completion",
        "model": version,
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 70, "completion_tokens": 9, "total_tokens": 79},
    }


class Vendor(ThreadingHTTPServer):
    """A chat-completions server; ``script(model, question, nth)`` returns (status, body, headers)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.headers_seen = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def asked(self):
        """How often each (case, model) was asked."""
        return Counter((question_of(body).split()[-1], body["model"]) for body in self.requests)

    def handle_error(self, request, client_address):
        """Clients of these tests may hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        question = question_of(body)
        nth = sum(question_of(other) == question for other in list(self.server.requests)) - 1
        status, said, *headers = self.server.script(body["model"], question, nth)
        payload = said if isinstance(said, bytes) else json.dumps(said).encode()
        head = {"Content-Type": "application/json", "Content-Length": str(len(payload))}
        self.send_response(status)
        for name, value in (head | (headers[0] if headers else {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


def question_of(body):
    return body["messages"][0]["content"][-1]["text"]


@contextmanager
def vendor(script):
    with Vendor(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


DEAD = []
"""Sockets that are bound and do not listen: nobody else gets their ports."""


def dead_url():
    DEAD.append(socket.socket())
    DEAD[-1].bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{DEAD[-1].getsockname()[1]}/v1"


@dataclass
class Field:
    """The least of a domain that collect needs."""

    command: list[str] | None = None
    name: str = "field"

    def question(self, case):
        return f"{case.prompt} {case.case_id}"

    def is_refusal(self, text):
        return text.startswith("I cannot")

    def scripted_server(self, cases):
        return self.command


def make_context(tmp_path, urls, *, n=4, command=None, sensitivity="public", key_env="", **settings):
    """A run folder of ``n`` cases c0, c1, ... and a recipe with one teacher per URL."""
    folder = RunFolder(tmp_path / "run")
    if not folder.cases.exists():
        (folder.root / "images").mkdir(parents=True)
        cases = []
        for i in range(n):
            name = f"images/c{i}.png"
            Image.new("L", (8, 8), i % 256).save(folder.root / name)
            case = Case(case_id=f"c{i}", cluster=f"p{i}", split="train", prompt="Look at", images=(name,))
            cases.append(replace(case, sensitivity=sensitivity))
        write_cases(folder.cases, cases)
    teachers = [
        {"name": f"t{i}", "model": f"model-{i}", "base_url": url, "api_key_env": key_env}
        for i, url in enumerate(urls)
    ]
    given = {"name": "run", "teachers": teachers, "collect": {"retries": 0} | settings}
    return Context(recipe=Recipe.parse(given, where="test"), folder=folder, domain=Field(command))


def by_time(rows):
    return sorted(rows.values(), key=lambda row: row.created_at)


def stored(context):
    with Streams.open_readonly(context.folder.streams) as streams:
        return {(row.case_id, row.teacher): row for row in streams.all()}


def test_every_kind_of_answer_is_named_and_kept(tmp_path):
    answers = {
        "c0": chat(),
        "c1": chat("I cannot help with medical images."),
        "c2": chat(None, refusal="policy"),
        "c3": chat("The heart", finish_reason="content_filter"),
        "c4": chat("The heart is", finish_reason="length"),
        "c5": chat(" \n"),
        "c6": chat(None, finish_reason="length"),
    }
    with vendor(lambda model, question, nth: (200, answers[question.split()[-1]])) as server:
        context = make_context(tmp_path, [server.url], n=7, temperature=0.5, max_tokens=99)
        facts = collect.run(context)
    rows = stored(context)
    kinds = {case_id: str(row.status) for (case_id, _), row in rows.items()}
    assert kinds == {
        "c0": "ok",
        "c1": "refused",
        "c2": "refused",
        "c3": "refused",
        "c4": "truncated",
        "c5": "empty",
        "c6": "empty",
    }
    first = rows["c0", "t0"]
    assert (first.text, first.finish_reason, first.model) == (TEXT, "stop", "model-0")
    assert (first.version, first.prompt_tokens, first.completion_tokens) == ("m-2025-08", 70, 9)
    assert json.loads(first.params) == {"temperature": 0.5, "max_tokens": 99}
    assert first.latency_s > 0
    assert first.created_at.endswith("+00:00")
    assert rows["c2", "t0"].text == "policy"
    told = facts["teachers"]["t0"]
    assert told["answers"] == {"ok": 1, "refused": 3, "truncated": 1, "empty": 2}
    assert told["versions"] == {"m-2025-08": 7}
    assert told["asked"] == 7
    assert told["answers_per_second"] > 0

    body = next(each for each in server.requests if question_of(each) == "Look at c0")
    picture, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "Look at c0"}
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == (context.folder.root / "images/c0.png").read_bytes()
    assert {name: body[name] for name in body if name != "messages"} == {
        "model": "model-0",
        "temperature": 0.5,
        "max_tokens": 99,
    }
    assert [path.name for path in context.folder.streams.parent.iterdir()] == ["streams.sqlite"]
    said = [json.loads(line) for line in context.folder.audit.read_text().splitlines()]
    assert [line["what"] for line in said] == [row.request_hash for row in by_time(rows)]


def endpoint_at(url, **settings):
    return Endpoint(
        Destination(purpose="teacher t", url=url),
        "m",
        gate=Gate(),
        limiter=Limiter(concurrency=1),
        **{"timeout_s": 5.0, "back_off_s": 0.001} | settings,
    )


def ask(url, **settings):
    async def once():
        endpoint = endpoint_at(url, **settings)
        outcome = await endpoint.ask(
            Asked(question="Look at c0", images=[PIXEL], params={}, sensitivity="public", what="h"), NoMeter()
        )
        await endpoint.close()
        return outcome

    return asyncio.run(once())


FAULTS = {
    "503": (503, {"error": {"message": "busy"}}),
    "html": (200, b"<html>gateway</html>", {"Content-Type": "text/html"}),
    "half": (200, b'{"choices": [{"mess', {"Content-Length": "500", "Connection": "close"}),
    "broken json": (200, b'{"choices": [{"mess'),
    "not unicode": (200, b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
    "no choices": (200, {"choices": [], "error": {"message": "overloaded"}}),
    "no message": (200, {"choices": [{"finish_reason": "stop"}]}),
    "parts": (200, {"choices": [{"message": {"content": [{"text": "x"}]}}]}),
    "list": (200, [1, 2]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_pass_is_tried_again(fault):
    with vendor(lambda model, question, nth: FAULTS[fault] if nth < 2 else (200, chat())) as server:
        outcome = ask(server.url, retries=2)
        assert isinstance(outcome, Reply)
        assert outcome.text == TEXT
        assert len(server.requests) == 3
        server.requests.clear()
        outcome = ask(server.url, retries=1)
        assert isinstance(outcome, Failure)
        assert outcome.reason
        assert "\n" not in outcome.reason
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 307])
def test_what_will_not_pass_is_not_tried_again(status):
    elsewhere = {"Location": "http://127.0.0.1:9/v1"}
    with vendor(lambda model, question, nth: (status, {"error": {"message": "no"}}, elsewhere)) as server:
        outcome = ask(server.url, retries=3)
        assert isinstance(outcome, Failure)
        assert str(status) in outcome.reason
        assert outcome.barred == (status in (401, 404))
        assert len(server.requests) == 1


def test_retry_after_is_obeyed_and_back_off_grows(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    asked = iter([{"Retry-After": "7"}, {}, {}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}])
    with vendor(lambda *_: (503, {}, next(asked, {"Retry-After": "9999"}))) as server:
        with monkeypatch.context() as patch:
            patch.setattr(client.asyncio, "sleep", sleep)
            outcome = ask(server.url, retries=9, back_off_s=1.0)
        assert isinstance(outcome, Failure)
        assert len(server.requests) == 5  # who asks for hours gets no further request now
    waits = [seconds for seconds in waits if seconds or seconds == 0.0]
    assert waits[0] == 7
    assert 1 <= waits[1] <= 2  # second wait: between half and all of 1 s x 2
    assert 2 <= waits[2] <= 4
    assert waits[3] == 0  # that date has passed


def test_a_hanging_server_is_given_up():
    """While it still hangs: it would go on for a minute."""
    given_up = threading.Event()

    def hang(model, question, nth):
        given_up.wait(60)
        return 200, chat()

    with vendor(hang) as server:
        began = time.monotonic()
        outcome = ask(server.url, retries=0, timeout_s=0.2)
        assert 0.2 <= time.monotonic() - began < 10
        given_up.set()
        assert outcome == Failure(
            reason="no answer within 0.2 s",
            kind="timeout",
            barred=True,
            retryable=True,
            maybe_charged=True,
        )


def test_the_next_collect_asks_only_what_is_missing(tmp_path):
    broken = {"on": True}

    def script(model, question, nth):
        if broken["on"] and question.endswith(("c1", "c3")) and model == "model-1":
            return 500, {"error": {"message": "out of memory"}}
        return 200, chat(f"{model} on {question}")

    with vendor(script) as server:
        context = make_context(tmp_path, [server.url] * 3, n=6)
        with pytest.raises(TeacherError, match=r"t1: 2 of 6 answers failed \(33%\)") as caught:
            collect.run(context)
        assert "16 of 18 answers are kept" in str(caught.value)
        assert "out of memory" in stored(context)["c1", "t1"].error
        before = stored(context)
        assert len(before) == 18
        server.requests.clear()
        broken["on"] = False
        facts = collect.run(context)
        assert server.asked() == {("c1", "model-1"): 1, ("c3", "model-1"): 1}
        assert facts["teachers"]["t1"]["answers"] == {"ok": 6}
        assert facts["teachers"]["t0"]["asked"] == 0
        after = stored(context)
        assert {key: row for key, row in after.items() if key not in {("c1", "t1"), ("c3", "t1")}} == {
            key: row for key, row in before.items() if row.status != "failed"
        }
        server.requests.clear()
        assert collect.run(context)["digest"] == facts["digest"]
        assert not server.requests


def test_a_few_failures_are_data(tmp_path):
    with vendor(
        lambda model, question, nth: (500, {}) if question.endswith("c1") else (200, chat())
    ) as server:
        context = make_context(tmp_path, [server.url], n=5, max_failed=0.2)
        assert collect.run(context)["teachers"]["t0"]["answers"] == {"failed": 1, "ok": 4}


def test_a_dead_teacher_is_named_and_holds_nobody_up(tmp_path):
    dead = dead_url()
    with vendor(lambda model, question, nth: (200, chat())) as server:
        context = make_context(tmp_path, [dead, server.url], n=100)
        with pytest.raises(TeacherError, match=r"t0 at http:.*not reachable") as caught:
            collect.run(context)
        assert dead in str(caught.value)
        assert "100 of 200 answers are kept" in str(caught.value)
        assert sum(row.status == Status.OK for row in stored(context).values()) == 100


def test_no_teacher_reachable_ends_at_once(tmp_path):
    context = make_context(tmp_path, [dead_url(), dead_url()], n=300)
    began, worked = time.monotonic(), time.process_time()
    with pytest.raises(TeacherError, match=r"t0 at .*not reachable.*\(likewise t1\).*0 of 600"):
        collect.run(context)
    assert time.process_time() - worked < 3
    assert time.monotonic() - began < 15  # beside others
    assert len(stored(context)) < 30


@pytest.mark.parametrize("stalled_s", [10.0, 0.001])
def test_an_interrupted_collection_leaves_complete_cases(tmp_path, monkeypatch, stalled_s):
    """A slow teacher is at most ``LEAD`` cases (here 3) and what is in flight behind a fast one.

    Even one that is always slower than what counts as silent: it is waited for as long as it usually takes.
    """
    monkeypatch.setattr("driftbound.teachers.collector.LEAD", 3)
    monkeypatch.setattr("driftbound.teachers.collector.STALLED_S", stalled_s)
    order = []

    def script(model, question, nth):
        order.append((int(question.split()[-1][1:]), model))
        # Silent for thrice as long as usual is taken for stalled: long enough beside other tests.
        time.sleep(0.15 if model == "model-1" else 0.02)
        return 200, chat()

    with vendor(script) as server:
        collect.run(make_context(tmp_path, [server.url] * 2, n=40, concurrency=2))
    furthest = {"model-0": 0, "model-1": 0}
    leads = []
    for place, model in order:
        furthest[model] = max(furthest[model], place)
        leads.append(furthest["model-0"] - furthest["model-1"])
    # Before its first answer nobody waits for the slow one: it is ten behind by then or more, and catches up.
    assert max(leads[-len(leads) // 4 :]) <= 3 + 2 + 1


def test_answers_to_other_settings_are_not_mixed(tmp_path):
    with vendor(lambda model, question, nth: (200, chat())) as server:
        collect.run(make_context(tmp_path, [server.url], temperature=1.0))
        server.requests.clear()
        first = collect.run(make_context(tmp_path, [server.url], temperature=1.0))["digest"]
        assert not server.requests
        other = collect.run(make_context(tmp_path, [server.url], temperature=0.0))
        assert len(server.requests) == 4
        assert other["digest"] != first
        context = make_context(tmp_path, [server.url], temperature=1.0)
        assert collect.run(context)["digest"] == first  # nothing was overwritten
        assert len(server.requests) == 4
        Image.new("L", (8, 8), 99).save(context.folder.root / "images/c2.png")
        collect.run(context)
        assert [question_of(body) for body in server.requests[4:]] == ["Look at c2"]
        with Streams.open_readonly(context.folder.streams) as streams:
            assert len(streams.all()) == 9
            assert len(list(streams.current())) == 4


def test_a_broken_image_stops_and_what_was_collected_stays(tmp_path):
    with vendor(lambda model, question, nth: (200, chat())) as server:
        context = make_context(tmp_path, [server.url], n=30, concurrency=1)
        (context.folder.root / "images/c20.png").write_text("no image")
        with pytest.raises(CaseError, match=r"c20\.png"):
            collect.run(context)
        assert set(stored(context)) == {(f"c{i}", "t0") for i in range(20)}


def test_an_image_that_changes_meanwhile_is_not_asked_about_under_its_old_hash(tmp_path):
    """Replaced once its request was noted, as large and as old as before; the next run asks anew."""
    context = None

    def script(model, question, nth):
        if question.endswith("c0"):  # while the first is asked, the last is replaced
            path = context.folder.root / "images/c9.png"
            times = path.stat().st_atime_ns, path.stat().st_mtime_ns
            path.write_bytes((context.folder.root / "images/c7.png").read_bytes())
            os.utime(path, ns=times)
        return 200, chat()

    with vendor(script) as server:
        context = make_context(tmp_path, [server.url], n=10, concurrency=1)
        with pytest.raises(CaseError, match=r"c9\.png: has changed"):
            collect.run(context)
        assert ("c9", "t0") not in stored(context)
        collect.run(context)
        seventh, ninth = (stored(context)[case, "t0"] for case in ("c7", "c9"))
    sent = {question_of(body): body["messages"][0]["content"][0] for body in server.requests}
    assert sent["Look at c9"] == sent["Look at c7"]
    assert ninth.request_hash != seventh.request_hash  # the question is another


def test_a_full_disk_stops(tmp_path, monkeypatch):
    def full(self, trajectories):
        raise StoreError("streams.sqlite: cannot be written (database or disk is full).")

    monkeypatch.setattr(Streams, "write_many", full)
    with vendor(lambda model, question, nth: (200, chat())) as server:
        context = make_context(tmp_path, [server.url], n=200)
        with pytest.raises(StoreError, match="disk is full"):
            collect.run(context)
        assert len(server.requests) < 100


def test_credentialed_cases_stay_on_this_machine(tmp_path):
    with vendor(lambda model, question, nth: (200, chat())) as server:
        context = make_context(
            tmp_path, [server.url, "https://api.example.com/v1"], sensitivity="credentialed"
        )
        with pytest.raises(
            DataUseError, match=r"teacher t1 at https://api\.example\.com/v1: credentialed data"
        ):
            collect.run(context)
        assert not server.requests  # nothing at all is sent
        local = make_context(tmp_path, [server.url])
        assert collect.run(local)["teachers"]["t0"]["answers"] == {"ok": 4}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://127.0.0.1.example.com/v1", False),
        ("http://127.0.0.1@example.com/v1", False),
        ("http://localhost.example.com", False),
        ("http://0.0.0.0:80", False),
        ("http://192.168.1.2/v1", False),
        ("scripted", False),
    ],
)
def test_loopback(url, here):
    assert is_loopback(url) is here


def test_a_redirect_or_a_proxy_does_not_carry_data_away(monkeypatch):
    with vendor(lambda *_: (200, chat())) as outside:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, outside.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with vendor(lambda *_: (307, {}, {"Location": outside.url + "/chat/completions"})) as server:
            assert isinstance(ask(server.url), Failure)
            assert len(server.requests) == 1
        assert not outside.requests


def test_a_proxy_that_cannot_be_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "gopher://nowhere")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(TeacherError, match=r"no connection can be set up.*Correct the proxy"):
        ask("https://api.example.com/v1")


def test_a_missing_key_is_told_before_anything_is_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with vendor(lambda model, question, nth: (200, chat())) as server:
        with pytest.raises(TeacherError, match="SOME_KEY holds no key"):
            collect.run(make_context(tmp_path, [server.url], key_env="SOME_KEY"))
        assert not server.requests


def test_keys_are_sent_and_nowhere_else(tmp_path, monkeypatch, capfd, caplog):
    """The vendor repeats the key in its complaint; neither store, error, facts nor output do."""
    monkeypatch.setenv("SOME_KEY", CANARY + "\n")
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "other-vendors-business")

    def script(model, question, nth):
        if question.endswith("c1"):
            return 500, {"error": {"message": f"key {CANARY} has no quota"}}
        return 200, chat()

    with vendor(script) as server, caplog.at_level("DEBUG"):
        context = make_context(tmp_path, [server.url], key_env="SOME_KEY", max_failed=1)
        facts = collect.run(context)
        assert "key *** has no quota" in stored(context)["c1", "t0"].error
        with pytest.raises(TeacherError) as caught:
            collect.run(make_context(tmp_path, [server.url], key_env="SOME_KEY", max_failed=0.1))
        assert all(headers["authorization"] == f"Bearer {CANARY}" for headers in server.headers_seen)
        assert "other-vendors-business" not in str(server.headers_seen)
    said = "".join(capfd.readouterr()) + caplog.text + str(caught.value) + json.dumps(facts)
    assert CANARY not in said
    for path in context.folder.root.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


@pytest.mark.parametrize("url", ["api.example.com/v1", "ftp://example.com", "http://"])
def test_an_impossible_url_is_told(url):
    with pytest.raises(TeacherError, match="not an http"):
        endpoint_at(url)


def test_inputs_follow_cases_and_images(tmp_path):
    context = make_context(tmp_path, ["scripted"])
    with pytest.raises(CaseError, match="no cases yet"):
        collect.inputs(context)
    root = context.folder.root

    def record():
        outputs = {
            "cases.parquet": sha256_file(root / "cases.parquet"),
            "images": sha256_tree(root / "images"),
        }
        Manifest(stage="cases", config={}, inputs={}, seed=0, outputs=outputs).write(root)
        return collect.inputs(context)

    first = record()
    assert record() == first
    Image.new("L", (8, 8), 200).save(root / "images/c0.png")
    second = record()
    assert second["cases"] == first["cases"]
    assert second["images"] != first["images"]


SERVER = """
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["model"] + " saw " + body["messages"][0]["content"][-1]["text"]
        message = {"role": "assistant", "content": text}
        said = {"model": "m", "choices": [{"finish_reason": "stop", "message": message}]}
        data = json.dumps(said).encode()
        time.sleep(float(sys.argv[2]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
class Server(ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
open(sys.argv[1], "a").write(str(__import__("os").getpid()) + "\\n")
sys.stdin.read()
"""


def alive(pid):
    """Whether a process still runs (one that waits to be reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def scripted(tmp_path, seconds=0.0):
    """A server that takes so long for an answer."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return [sys.executable, str(script), str(tmp_path / "pids"), str(seconds)]


def test_the_scripted_server_is_started_and_stopped(tmp_path):
    context = make_context(tmp_path, ["scripted"] * 2, command=scripted(tmp_path))
    collect.run(context)
    assert stored(context)["c3", "t1"].text == "model-1 saw Look at c3"
    collect.run(context)  # nothing left to ask: no server
    (pid,) = (tmp_path / "pids").read_text().split()
    assert not alive(int(pid))


def test_a_server_that_does_not_come_up_is_told(tmp_path):
    for code, said, start_s in (
        ("import sys; sys.exit('port taken')", "port taken", 60),
        ("import os; print('hello', flush=True); os._exit(0)", "exit status 0", 60),
        ("import time; time.sleep(60)", "still running", 0.3),
        ("print('http://192.0.2.1/v1')", "192.0.2.1", 60),
    ):
        with pytest.raises(TeacherError, match=said), serving([sys.executable, "-c", code], start_s=start_s):
            pass
    with pytest.raises(TeacherError, match="cannot be started"), serving([str(tmp_path / "none")]):
        pass
    with pytest.raises(TeacherError, match="no scripted teachers"):
        collect.run(make_context(tmp_path, ["scripted"]))


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_collect
from driftbound.stages import collect
root = Path(sys.argv[1])
command = test_collect.scripted(root, 0.1)
collect.run(test_collect.make_context(root, ["scripted"] * 3, n=60, command=command))
"""


def test_sigkill_and_again_gives_the_same_streams(tmp_path):
    """Killed half-way: the server goes with it, what was committed stays, the rest is asked."""
    tests = str(Path(__file__).parent)
    (tmp_path / "a").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "a"), tests], stderr=subprocess.DEVNULL
    )
    context = make_context(tmp_path / "b", ["scripted"] * 3, n=60, command=None)
    path = tmp_path / "a/run/1-collect/streams.sqlite"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(StoreError), Streams.open_readonly(path) as streams:
            if sum(sum(statuses.values()) for statuses in streams.counts().values()) >= 50:
                break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed = make_context(tmp_path / "a", ["scripted"] * 3, n=60, command=scripted(tmp_path / "a"))
    before = stored(killed)
    assert 50 <= len(before) < 180
    facts = collect.run(killed)
    assert {key: row for key, row in stored(killed).items() if key in before} == before
    assert sum(told["asked"] for told in facts["teachers"].values()) == 180 - len(before)
    context = replace(context, domain=Field(scripted(tmp_path / "b")))
    assert collect.run(context)["digest"] == facts["digest"]
    pids = [int(pid) for pid in (tmp_path / "a/pids").read_text().split()]
    deadline = time.monotonic() + 30
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, pids))


def test_a_bad_key_stops_early(tmp_path):
    """One refusal of the key is enough where nothing was ever answered; the rest is not asked."""
    with vendor(lambda model, question, nth: (401, {"error": {"message": "wrong key"}})) as server:
        with pytest.raises(TeacherError, match=r"t0 at .*wrong key"):
            collect.run(make_context(tmp_path, [server.url], n=100, concurrency=2))
        assert len(server.requests) <= 2  # what was under way


def test_classification_by_precedence():
    """Declined before empty before cut off: a refusal that was cut off is a refusal."""

    def of(text, finish_reason="stop", refusal=""):
        return status_of(text, finish_reason, refusal, lambda said: said.startswith("I cannot"))

    assert of("I cannot", "length") is Status.REFUSED
    assert of("", "content_filter") is Status.REFUSED
    assert of("fine", refusal="no") is Status.REFUSED
    assert of("\t", "length") is Status.EMPTY
    assert of("fine", "length") is Status.TRUNCATED
    assert of("fine", "stop") is Status.OK


def test_a_teacher_is_a_teacher(tmp_path):
    with Streams(tmp_path / "streams.sqlite") as streams:
        teacher = OpenAICompatibleTeacher(
            "t",
            endpoint_at(dead_url(), retries=0),
            params={"max_tokens": 9},
            images=ImagesConfig(),
            account=Account(streams, "t", LimitsConfig(), PriceConfig(), 9),
            is_refusal=bool,
        )
        assert isinstance(teacher, Teacher)
        case = Case(case_id="c", cluster="p", split="train", prompt="", images=())
        for images, error in (((PIXEL,), "no connection"), ((), "not sent: the case has no image")):
            request = Request(case=case, question="?", images=images, request_hash="h")
            answer = asyncio.run(teacher.answer(request))
            assert isinstance(answer, Trajectory)
            assert answer.status is Status.FAILED
            assert error in answer.error
