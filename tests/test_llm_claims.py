"""Claims that a model reads: asked once, through the gate, found in the text or dropped, then looked up."""

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_collect import CANARY, Handler, Vendor, chat, dead_url

from driftbound.config import DomainConfig
from driftbound.domains.generic import llm_claims
from driftbound.domains.generic.llm_claims import LlmClaims, Reader
from driftbound.domains.generic.llm_items import Wanted, claims_in
from driftbound.domains.generic.reading import read_by
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.domains.phantom.findings import FINDINGS as PHANTOM
from driftbound.endpoints.gate import Acknowledgement, AuditLog, Destination, Gate
from driftbound.errors import DataUseError, MeasureError, StoreError, TeacherError
from driftbound.protocols import Domain

FINDINGS = {"Effusion": ["pleural effusion"], "Edema": []}
TEXT = "🫁 There is a small pleural effusion on the left.\nNo edema is seen."


def item(finding="Effusion", quote="small pleural effusion", polarity="present", **other):
    return {
        "finding": finding,
        "attribute": "presence",
        "value": "",
        "polarity": polarity,
        "quote": quote,
    } | other


class TextHandler(Handler, BaseHTTPRequestHandler):
    """Answers by the text that the prompt holds, which comes without images, as one string."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        text = json.loads(body["messages"][0]["content"].rpartition("Text: ")[2])
        nth = sum(text == other for other in self.server.texts)
        self.server.texts.append(text)
        self.server.keys.add(self.headers["Authorization"])
        status, said = self.server.script(text, nth)
        payload = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@contextmanager
def model(script):
    with Vendor(script) as server:
        server.RequestHandlerClass, server.texts, server.keys = TextHandler, [], set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def listing(*items):
    return 200, chat(json.dumps(items))


def reader(url, **other):
    given = {"destination": Destination(purpose="reading of claims", url=url), "model": "m", "gate": Gate()}
    return Reader(**given | {"retries": 0, "concurrency": 3} | other)


# what an answer makes


def test_an_answer_by_hand():
    items = [
        item(),
        item(attribute="side", value="Left", quote="on the left"),
        item("edema", "no EDEMA  is", "absent"),
        item("Fracture"),  # not wanted
        item(quote="large effusion"),  # not in the text
        item(polarity="perhaps"),
        item("Edema", attribute="side", value="left"),  # without sides
        item(attribute="colour", value="red"),
        item(quote=""),
        "effusion",
        {"finding": "Effusion"},
    ]
    wanted = Wanted(findings=FINDINGS, sided=frozenset({"Effusion"}))
    found, dropped = claims_in(f"Here:\n```json\n{json.dumps(items)}\n```", TEXT, wanted)
    assert [(c.finding, c.attribute, c.value, TEXT[c.start : c.end], c.step) for c in found] == [
        ("Effusion", "presence", "present", "small pleural effusion", 0),
        ("Effusion", "side", "left", "on the left", 0),
        ("Edema", "presence", "absent", "No edema is", 1),
    ]
    assert dropped == 8


def test_without_findings_everything_counts():
    items = [
        item("Lung  Opacity", "opacity"),
        item("size", "3 cm", attribute="value", value=3),
        item("stage", "IIb"),
    ]
    found, dropped = claims_in(json.dumps({"claims": items}), "opacity of 3 cm, IIb", Wanted())
    assert [(c.finding, c.attribute, c.value) for c in found] == [
        ("lung opacity", "presence", "present"),
        ("size", "value", "3"),
        ("stage", "presence", "present"),
    ]
    assert dropped == 0


def test_a_quote_that_stands_twice_is_taken_in_the_order_of_the_items():
    text = "Edema left. Edema right."
    found, _ = claims_in(json.dumps([item("edema", "Edema")] * 3), text, Wanted())
    assert [c.start for c in found] == [0, 0, 0]
    items = [item("edema", "Edema"), item("side", "left"), item("edema", "Edema")]
    found, _ = claims_in(json.dumps(items), text, Wanted())
    assert [c.start for c in found] == [0, 6, 12]


@pytest.mark.parametrize("answer", ["", "None.", "{", '{"a": 1}', '{"a": [], "b": []}', "[" * 99999])
def test_what_is_no_list_is_unreadable(answer):
    assert claims_in(answer, TEXT, Wanted()) is None


@given(st.text(), st.lists(st.fixed_dictionaries({k: st.text() | st.none() | st.integers() for k in item()})))
@settings(max_examples=60, deadline=None)
def test_no_answer_makes_a_claim_outside_of_the_text(text, items):
    items += [item("x", text[:3]), item("x", text[-2:].upper())]
    found, dropped = claims_in(json.dumps(items), text, Wanted())
    assert len(found) + dropped == len(items)
    assert all(0 <= c.start < c.end <= len(text) for c in found)
    assert [c.start for c in found] == sorted(c.start for c in found)


# asking


def test_each_text_is_asked_once_and_looked_up_ever_after(tmp_path):
    texts = [TEXT, "No edema.", TEXT, " \n", "Nothing."]

    def script(text, nth):
        return listing(*([item("Edema", "o edema", "absent")] if "edema" in text else []))

    with model(script) as server:
        found = LlmClaims(reader(server.url, key=CANARY), tmp_path / "read" / "c.jsonl", findings=FINDINGS)
        with pytest.raises(MeasureError, match=r"a text that begins .* was not read by m"):
            found.claims(TEXT)
        told = found.prepare(texts, sensitivity="public")
        assert (told.texts, told.asked, told.statuses, told.claims, told.dropped) == (3, 3, {"ok": 3}, 2, 0)
        assert Counter(server.texts) == {TEXT: 1, "No edema.": 1, "Nothing.": 1}
        assert server.keys == {f"Bearer {CANARY}"}
        assert {body["temperature"] for body in server.requests} == {0.0}
        assert "Effusion (pleural effusion); Edema" in server.requests[0]["messages"][0]["content"]
    # Nobody serves any longer.
    again = LlmClaims(reader(server.url), tmp_path / "read" / "c.jsonl", findings=FINDINGS)
    assert [(c.finding, TEXT[c.start : c.end]) for c in again.claims(TEXT)] == [("Edema", "o edema")]
    assert again.claims(" \n") == again.claims("Nothing.") == []
    told = again.prepare(texts, sensitivity="credentialed")  # nothing leaves, so nothing is refused
    assert (told.asked, told.claims) == (0, 2)
    assert "3 texts read by a model (0 asked now; 3 ok): 2 claims, 0 items dropped" in told.line
    file = tmp_path / "read" / "c.jsonl"
    assert "seen" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_another_model_finding_or_setting_asks_again(tmp_path):
    with model(lambda text, nth: listing()) as server:
        for change, findings in (
            ({}, FINDINGS),
            ({"model": "n"}, FINDINGS),
            ({}, None),
            ({}, {"Effusion": [], "Edema": []}),
            ({"params": {"seed": 1}}, FINDINGS),
        ):
            found = LlmClaims(reader(server.url, **change), tmp_path / "c", findings=findings)
            assert found.prepare([TEXT], sensitivity="public").asked == 1
        found = LlmClaims(reader(server.url), tmp_path / "c", findings=FINDINGS)
        assert found.prepare([TEXT], sensitivity="public").asked == 0


def test_a_bad_answer_is_a_status_and_no_claim(tmp_path):
    answers = {
        "a": listing(item("Edema", "a")),
        "b": (200, chat("I see edema.")),
        "c": (200, chat(" ")),
        "d": (200, chat("[", finish_reason="length")),
        "e": (200, chat(None, refusal="policy")),
        "f": (500, {"error": "down"}),
    }
    with model(lambda text, nth: answers[text]) as server:
        found = LlmClaims(reader(server.url), tmp_path / "c", findings=FINDINGS)
        told = found.prepare(answers, sensitivity="public")
        statuses = {"ok": 1, "unreadable": 1, "empty": 1, "truncated": 1, "refused": 1, "failed": 1}
        assert told.statuses == statuses
        assert [len(found.claims(text)) for text in answers] == [1, 0, 0, 0, 0, 0]
        answers["f"] = listing()
        told = found.prepare(answers, sensitivity="public")  # the one that failed is asked again, no other
        assert (told.asked, told.statuses["ok"], "failed" in told.statuses) == (1, 2, False)


def test_what_may_pass_is_tried_again(tmp_path):
    def script(text, nth):
        return listing() if nth else (503, {"error": "busy"})

    with model(script) as server:
        found = LlmClaims(reader(server.url, retries=1), tmp_path / "c")
        assert found.prepare(["a", "b"], sensitivity="public").statuses == {"ok": 2}
        assert Counter(server.texts) == {"a": 2, "b": 2}


def test_an_endpoint_that_is_not_there_is_given_up(tmp_path):
    found = LlmClaims(reader(dead_url()), tmp_path / "c")
    with pytest.raises(TeacherError, match=r"reading of claims at http.*no connection.*What was read stays"):
        found.prepare(map(str, range(99)), sensitivity="public")
    with model(lambda text, nth: (401, {"error": "key"})) as server:
        found = LlmClaims(reader(server.url, concurrency=1), tmp_path / "d")
        with pytest.raises(TeacherError, match="401"):
            found.prepare(["a", "b"], sensitivity="public")
        assert len(server.texts) == 1


def test_credentialed_texts_stay_unless_acknowledged(tmp_path):
    elsewhere = reader("https://api.example.com/v1")
    found = LlmClaims(elsewhere, tmp_path / "c")
    with pytest.raises(DataUseError, match=r"credentialed data may only go to .*Nothing was sent"):
        found.prepare([TEXT], sensitivity="credentialed")
    terms = {
        "zero_retention": True,
        "no_training": True,
        "no_human_review": True,
        "by": "me",
        "on": "2026-01-01",
    }
    word = Acknowledgement(**terms, endpoints=("api.example.com",))
    found = LlmClaims(reader("https://api.example.com/v1", gate=Gate(word)), tmp_path / "c")
    with pytest.raises(DataUseError, match="leave only under an audit log"):
        found.prepare([TEXT], sensitivity="credentialed")


def test_everything_that_leaves_is_written_down(tmp_path):
    log = tmp_path / "audit.jsonl"
    with model(lambda text, nth: listing()) as server:
        found = LlmClaims(reader(server.url, gate=Gate(log=AuditLog(log))), tmp_path / "c")
        found.prepare([TEXT, "Other."], sensitivity="credentialed")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["purpose"], line["sensitivity"], line["under"]) for line in lines] == [
        ("reading of claims", "credentialed", "own server")
    ] * 2
    keys = {json.loads(line)["key"] for line in (tmp_path / "c").read_text().splitlines()}
    assert {line["what"] for line in lines} == keys
    assert "Other" not in log.read_text()


# the cache


def test_a_torn_line_is_read_anew_and_another_file_refused(tmp_path):
    path = tmp_path / "c"
    with model(lambda text, nth: listing(item("x", text))) as server:
        LlmClaims(reader(server.url), path).prepare(["one", "two"], sensitivity="public")
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])  # killed while it wrote
        found = LlmClaims(reader(server.url), path)
        assert found.prepare(["one", "two"], sensitivity="public").asked == 1
        assert len(path.read_bytes().splitlines()) == 2
        assert LlmClaims(reader(server.url), path).prepare(["one", "two"], sensitivity="public").asked == 0
    for content in (b"my own notes", b'{"a": 1}\n', whole + b"notes"):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"not of claims that a model read"):
            LlmClaims(reader(server.url), path)
        assert path.read_bytes() == content


def test_two_processes_lose_nothing(tmp_path):
    """What another one has added meanwhile is kept; at the same time there is but one."""
    with model(lambda text, nth: listing()) as server:
        one, two = (LlmClaims(reader(server.url), tmp_path / "c") for _ in range(2))
        one.prepare(["a"], sensitivity="public")
        two.prepare(["b"], sensitivity="public")
        assert two.prepare(["a", "b"], sensitivity="public").asked == 0
        with one._cache.writing(), pytest.raises(StoreError, match="another driftbound writes to it"):
            two.prepare(["c"], sensitivity="public")


def test_it_reads_for_any_field(tmp_path):
    with model(lambda text, nth: listing(item("Edema", "oedema"))) as server:
        found = LlmClaims(reader(server.url), tmp_path / "c", findings={"Edema": []})
        found.prepare(["A case of oedema."], sensitivity="public")
    domain = read_by(PhantomDomain(DomainConfig(), 0), found.claims)
    assert isinstance(domain, Domain)
    assert [c.finding for c in domain.claims("A case of oedema.")] == ["Edema"]
    assert domain.findings == PHANTOM


def test_it_holds_few_requests_at_a_time(tmp_path):
    busy, most, lock = 0, 0, threading.Lock()

    def script(text, nth):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        threading.Event().wait(0.02)
        with lock:
            busy -= 1
        return listing()

    with model(script) as server:
        LlmClaims(reader(server.url), tmp_path / "c").prepare(map(str, range(12)), sensitivity="public")
    assert 2 <= most <= 3
    assert llm_claims.FAILED == "failed"


def test_reading_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs" / "measure.md").read_text(encoding="utf-8")
    (code,) = [each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "LlmClaims" in each]
    with model(lambda text, nth: listing(item("fluid", "Some fluid"))) as server:
        exec(code.replace("http://127.0.0.1:8000/v1", server.url), {})
    said = capsys.readouterr().out
    assert "1 texts read by a model (1 asked now; 1 ok): 1 claims, 0 items dropped" in said
    assert "finding='Effusion'" in said
    assert "own server" in Path("audit.jsonl").read_text()
