"""Data use: what may go where, under whose word; every passage is written down first, and no key anywhere."""

import json
import os
from dataclasses import replace
from pathlib import Path

import forked
import pytest
import yaml
from test_collect import CANARY, chat, make_context, question_of, stored, vendor

from driftbound.config import Recipe
from driftbound.domains.registry import load_domain
from driftbound.endpoints.gate import Acknowledgement, AuditLog, Destination, Gate, append_log, refuse_proxy
from driftbound.endpoints.vendors import vendor_of
from driftbound.errors import ConfigError, DataUseError, StoreError
from driftbound.stages import collect
from driftbound.stages.roster import acknowledgement_of, address_of
from driftbound.store.folder import RunFolder

HOST = "api.example.com"
FULL = Acknowledgement(
    zero_retention=True,
    no_training=True,
    no_human_review=True,
    by="A. Reader",
    on="2026-03-01",
    endpoints=("other.example.com", HOST),
)
NONE = Acknowledgement()
LACKS = {
    "zero_retention": {"zero_retention": False},
    "no_training": {"no_training": False},
    "no_human_review": {"no_human_review": False},
    "by": {"by": "  "},
    "on": {"on": ""},
    f"{HOST} among its endpoints": {"endpoints": ("other.example.com",)},
}
"""What is said to be missing -> what is taken away from the full word."""


def to(url, own=False):
    return Destination(purpose="teacher t", url=url, own=own)


REMOTE = to(f"https://{HOST}/v1")
LOOPBACK = to("http://127.0.0.1:8000/v1")
OWN = to("http://gpu.example.org:8000/v1", own=True)


def gate(acknowledgement=NONE):
    return Gate(acknowledgement)


@pytest.mark.parametrize("sensitivity", ["public", "credentialed"])
@pytest.mark.parametrize("acknowledgement", [NONE, FULL], ids=["none", "full"])
def test_own_servers_take_everything(sensitivity, acknowledgement):
    for place in (LOOPBACK, OWN):
        assert gate(acknowledgement).check(place, sensitivity) == "own server"


@pytest.mark.parametrize("acknowledgement", [NONE, FULL], ids=["none", "full"])
def test_public_cases_go_anywhere(acknowledgement):
    assert gate(acknowledgement).check(REMOTE, "public") == "public"


def test_credentialed_cases_go_out_under_the_full_word():
    assert gate(FULL).check(REMOTE, "credentialed") == "acknowledged by A. Reader on 2026-03-01"


@pytest.mark.parametrize("missing", LACKS)
def test_each_part_of_the_word_is_needed(missing):
    with pytest.raises(DataUseError) as caught:
        gate(replace(FULL, **LACKS[missing])).check(REMOTE, "credentialed")
    said = str(caught.value)
    assert f"Missing: {missing}. Nothing was sent." in said
    for part in ("teacher t", f"https://{HOST}/v1", "24 September 2025", "data_use.acknowledgement"):
        assert part in said
    assert "\n" not in said


def test_nothing_credentialed_travels_in_the_clear():
    plain = to(f"http://{HOST}/v1")
    with pytest.raises(DataUseError, match=r"Missing: an https address\. Nothing was sent"):
        gate(FULL).check(plain, "credentialed")
    assert gate(FULL).check(plain, "public") == "public"
    assert gate(FULL).check(OWN, "credentialed") == "own server"


def test_without_any_word_all_six_parts_are_missing():
    with pytest.raises(DataUseError, match=f"Missing: {', '.join(LACKS)}"):
        gate().check(REMOTE, "credentialed")


@pytest.mark.parametrize("sensitivity", ["credentialed", "restricted", "Public", ""])
def test_whatever_is_not_public_is_held_back(sensitivity):
    with pytest.raises(DataUseError):
        gate().check(REMOTE, sensitivity)


@pytest.mark.parametrize(
    ("named", "url", "holds"),
    [
        (HOST, f"https://{HOST}/v1", True),
        ("API.Example.com", f"https://{HOST}:443/v1", True),
        (HOST, f"https://{HOST}./v1", True),
        ("example.com", f"https://{HOST}/v1", False),
        (HOST, f"https://{HOST}.example.net/v1", False),
        (HOST, f"https://eu.{HOST}/v1", False),
        (HOST, f"https://{HOST}@example.net/v1", False),
        (f"https://{HOST}", f"https://{HOST}/v1", False),
        ("", "https:///v1", False),
    ],
)
def test_the_word_holds_for_the_hosts_that_it_names(named, url, holds):
    one = gate(replace(FULL, endpoints=(named,)))
    if holds:
        assert one.check(to(url), "credentialed").startswith("acknowledged")
    else:
        with pytest.raises(DataUseError, match="among its endpoints"):
            one.check(to(url), "credentialed")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://eu.api.openai.com/v1",
        "https://API.OPENAI.COM./v1",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "https://open.bigmodel.cn/api/paas/v4",
        "https://api.moonshot.cn/v1",
        "https://mine.openai.azure.com/openai/v1",
        "https://openrouter.ai/api/v1",
    ],
)
def test_a_vendor_is_nobodys_own_server(url):
    with pytest.raises(DataUseError, match=r"no server of your own.*Nothing was sent"):
        gate(FULL).check(to(url, own=True), "public")


def test_local_true_on_a_vendor_is_refused_before_anything_is_sent(tmp_path):
    context = make_context(tmp_path, ["https://eu.api.openai.com/v1"], sensitivity="credentialed")
    teacher = context.recipe.teachers[0].model_copy(update={"local": True})
    context = replace(context, recipe=context.recipe.model_copy(update={"teachers": (teacher,)}))
    with pytest.raises(ConfigError, match=r"t0: eu\.api\.openai\.com is no server of your own"):
        collect.run(context)
    assert not context.folder.audit.exists()
    at_home = teacher.model_copy(update={"base_url": "https://api.openai.com/v1"})
    with pytest.raises(ConfigError, match=r"api\.openai\.com is no server of your own"):
        address_of(at_home)
    near = teacher.model_copy(update={"base_url": "http://gpu.example.org/v1"})
    assert address_of(near).destination.own


def test_the_recipe_says_the_word(tmp_path):
    """As the page about it has it; YAML takes the key ``on`` for true unless it is read with care."""
    text = (Path(__file__).parents[1] / "docs" / "data-use.md").read_text()
    (tmp_path / "r.yaml").write_text("name: x\n" + text.partition("```yaml\n")[2].partition("```")[0])
    recipe = Recipe.read(tmp_path / "r.yaml")
    assert acknowledgement_of(recipe) == FULL
    assert address_of(recipe.teachers[0]).destination.own
    assert recipe.align.report_to == ("tensorboard",)


def test_sensitive_data_need_an_audit_log(tmp_path):
    what = {"what": "0" * 64, "size": 3}
    with pytest.raises(DataUseError, match=r"only under an audit log.*Nothing was sent"):
        gate(FULL).let_through(REMOTE, "credentialed", **what)
    gate().let_through(REMOTE, "public", **what)
    logged = Gate(FULL, AuditLog(tmp_path / "audit.jsonl"))
    logged.let_through(REMOTE, "credentialed", images=["1" * 64], **what)
    (line,) = lines(tmp_path / "audit.jsonl")
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "purpose": "teacher t",
        "to": f"https://{HOST}/v1",
        "what": "0" * 64,
        "images": ["1" * 64],
        "bytes": 3,
        "sensitivity": "credentialed",
        "under": "acknowledged by A. Reader on 2026-03-01",
    }
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_proxy_before_a_server_of_ones_own_is_seen(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    refuse_proxy(LOOPBACK, "credentialed")
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    refuse_proxy(LOOPBACK, "public")
    refuse_proxy(to("https://127.0.0.1/v1"), "credentialed")  # no proxy for https
    with pytest.raises(DataUseError, match=r"Set NO_PROXY=127\.0\.0\.1"):
        refuse_proxy(LOOPBACK, "credentialed")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    refuse_proxy(LOOPBACK, "credentialed")


# ---- the audit log ------------------------------------------------------------------------------


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_lies_on_disk_before_the_request_that_it_is_about_arrives(tmp_path):
    """The server counts the lines as each request comes in; two of six are asked three times."""
    seen = []
    path = tmp_path / "run" / "audit.jsonl"

    def script(model, question, nth):
        seen.append(len(path.read_text().splitlines()))
        if question.endswith(("c1", "c4")) and nth < 2:
            return 503, {"error": {"message": "busy"}}
        return 200, chat()

    with vendor(script) as server:
        context = make_context(
            tmp_path, [server.url], n=6, retries=2, concurrency=1, sensitivity="credentialed"
        )
        collect.run(context)
        bodies = server.requests
    assert seen == list(range(1, 11))  # 6 + 2 x 2 tries, each written down when it arrives
    assert len(lines(path)) == 10
    rows = {row.request_hash: row for row in stored(context).values()}
    for line, body in zip(lines(path), bodies, strict=True):
        assert rows[line["what"]].case_id == question_of(body).split()[-1]
        assert line["under"] == "own server"
        assert line["to"] == server.url
        assert len(line["images"][0]) == 64


def test_the_log_holds_no_content_no_case_and_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", CANARY)
    with vendor(lambda *_: (200, chat())) as server:
        context = make_context(tmp_path, [server.url], n=3, key_env="SOME_KEY")
        collect.run(context)
    text = context.folder.audit.read_text()
    assert len(text.splitlines()) == 3
    for word in (CANARY, "Look at", "base64", "images/", *(f'"c{i}"' for i in range(3)), " c0", "Lunge"):
        assert word not in text


def test_what_is_not_sent_is_not_written_down(tmp_path):
    context = make_context(tmp_path, [f"https://{HOST}/v1"], sensitivity="credentialed")
    with pytest.raises(DataUseError):
        collect.run(context)
    assert not context.folder.audit.exists()


@pytest.mark.parametrize("fault", ["folder", "full"])
def test_without_a_log_nothing_is_sent(tmp_path, fault):
    with vendor(lambda *_: (200, chat())) as server:
        context = make_context(tmp_path, [server.url])
        if fault == "folder":
            context.folder.audit.mkdir()
        else:
            context.folder.audit.symlink_to("/dev/full")
        with pytest.raises(StoreError, match=r"audit log cannot be written.*Nothing is sent without it"):
            collect.run(context)
        assert not server.requests
        if fault == "folder":
            context.folder.audit.rmdir()
        else:
            context.folder.audit.unlink()
        assert collect.run(context)["teachers"]["t0"]["answers"] == {"ok": 4}


def test_a_torn_line_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text('{"at": 1}\n{"at": "to')
    log = AuditLog(path)
    log.write({"at": 2})
    log.write({"at": 3})
    log.close()
    assert path.read_text() == '{"at": 1}\n{"at": "to\n{"at": 2}\n{"at": 3}\n'


def test_logs_of_several_machines_become_one(tmp_path):
    one, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one.write_text('{"at": 1}\n{"at": 2}')
    other.write_text('{"at": 2}\n{"at": 3}\n{"at": 4}')
    for _ in range(2):
        append_log(one, other)
        assert [line["at"] for line in lines(one)] == [1, 2, 3, 4]
    append_log(tmp_path / "c.jsonl", other)
    assert [line["at"] for line in lines(tmp_path / "c.jsonl")] == [2, 3, 4]
    append_log(one, tmp_path / "none")
    assert len(lines(one)) == 4


# ---- keys ---------------------------------------------------------------------------------------

RECIPE = {
    "name": "tiny",
    "threads": 1,
    "domain": {"train": 4, "validation": 1, "test": 2, "test_scanner": 1},
    "collect": {"retries": 0, "max_failed": 0.3},
    "bootstrap": {"groups_per_step": 2, "groups_per_forward": 2},
    "synthesize": {"synthesizer": "vote"},
    "align": {"groups_per_step": 2, "groups_per_forward": 2},
    "evaluate": {"resamples": 100, "max_new_tokens": 8},
}


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{CANARY}@api.example.com/v1",
        f"https://{CANARY}@api.example.com/v1",
        f"https://api.example.com/v1?key={CANARY}",
        f"https://api.example.com/v1#{CANARY}",
    ],
)
def test_an_address_that_holds_a_secret_is_refused_without_repeating_it(url):
    teachers = [{"name": "a", "model": "a", "base_url": url}]
    with pytest.raises(ConfigError, match=r"base_url.*api_key_env") as caught:
        Recipe.parse({"name": "x", "teachers": teachers}, where="test")
    assert CANARY not in str(caught.value)


def test_an_address_that_is_none_is_told_without_repeating_it():
    teachers = [{"name": "a", "model": "a", "base_url": f"https://{CANARY}@[::1/v1"}]
    with pytest.raises(ConfigError, match=r"base_url: is no URL") as caught:
        Recipe.parse({"name": "x", "teachers": teachers}, where="test")
    assert CANARY not in str(caught.value)


def drift(folder, *words):
    """A command as a user gives it, with everything that the packages can be made to say."""
    environment = os.environ | {"OPENAI_LOG": "debug", "SOME_KEY": CANARY}
    done = forked.run(words, folder / "said", environment, seconds=240)
    return done.returncode, done.stdout + done.stderr


def test_no_key_is_left_anywhere_by_runs_that_fail_and_one_that_succeeds(tmp_path):
    """401 that repeats the key, an answer that fails and repeats it, batch files, a whole run, an export."""
    domain = load_domain(
        Recipe.parse(RECIPE | {"teachers": [{"name": "a", "model": "a"}]}, where="").domain, 0
    )
    texts = [domain.render(dict.fromkeys(domain.findings, stance)) for stance in ("absent", "present")]
    wrong = {"on": True, "n": 0}

    def script(model, question, nth):
        wrong["n"] += not wrong["on"]
        if wrong["on"] or wrong["n"] == 4:
            return (401 if wrong["on"] else 500), {"error": {"message": f"Bearer {CANARY} is no good"}}
        return 200, chat(texts[model == "model-1"])

    outputs = []
    with vendor(script) as server:
        teachers = [
            {"name": f"t{i}", "model": f"model-{i}", "base_url": server.url, "api_key_env": "SOME_KEY"}
            for i in range(2)
        ]
        teachers[0]["vendor"] = "vllm"
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(RECIPE | {"teachers": teachers}))
        folder = RunFolder(tmp_path / "runs" / "tiny")
        runs, answers = ("--runs", str(tmp_path / "runs")), str(tmp_path / "answers.jsonl")
        code, said = drift(tmp_path, "collect", str(path), *runs, "--batch", str(tmp_path / "batch"))
        assert code == 0, said
        assert (tmp_path / "batch" / "t0-001.jsonl").stat().st_size > 1000
        outputs.append(said)
        outputs.append(drift(tmp_path, "collect", str(path), *runs, "--forget-batches")[1])
        code, said = drift(tmp_path, "run", str(path), *runs)
        assert code == 2, said
        assert "Bearer *** is no good" in said
        outputs.append(said)
        wrong["on"] = False
        code, said = drift(tmp_path, "run", str(path), *runs)
        assert code == 0, said
        outputs.append(said)
        outputs.append(drift(tmp_path, "show", str(folder.root), "--json")[1])
        code, said = drift(tmp_path, "export", str(folder.root), "--to", "jsonl", "--out", answers)
        assert code == 0, said
        outputs.append(said)
        assert {head["authorization"] for head in server.headers_seen} == {f"Bearer {CANARY}"}
    assert any("Bearer *** is no good" in row.error for row in stored_in(folder))
    files = [each for each in tmp_path.rglob("*") if each.is_file() and each != path]
    names = {each.name for each in files}
    assert {
        "report.html",
        "report.json",
        "audit.jsonl",
        "answers.jsonl",
        "streams.sqlite",
        "README.md",
    } <= names
    for each in files:
        assert CANARY.encode() not in each.read_bytes(), each
    assert "DEBUG" in "".join(outputs)  # the packages do say what they can be made to say
    assert CANARY not in "".join(outputs)


def stored_in(folder):
    from driftbound.store.streams import Streams

    with Streams.open_readonly(folder.streams) as streams:
        return streams.all()


def test_the_table_of_vendors_names_no_key():
    """Variables, not values."""
    for name in ("openai", "gemini", "anthropic", "xai", "dashscope", "zhipu", "moonshot"):
        assert vendor_of(name).key_env.isupper()
        assert Path(vendor_of(name).key_env).name.endswith("_API_KEY")
