"""Uploads to a hub: what a run leaves says how sensitive it is, wherever it lies, and the gate heeds it."""

import base64
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import yaml
from test_exchanging import make_run
from typer.testing import CliRunner

from driftbound import uploading
from driftbound.cli import app
from driftbound.config import Recipe
from driftbound.endpoints import uploads
from driftbound.errors import ConfigError, DataUseError, HubError, ModelError, StoreError
from driftbound.exporting import export
from driftbound.learning.card import student_card
from driftbound.store.exchange import note_import
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, sha256_tree
from driftbound.store.sensitivity import MARK, mark_text, marked

TOKEN = "hf_canary0123456789"
WORD = {
    "zero_retention": True,
    "no_training": True,
    "no_human_review": True,
    "by": "A. Reader",
    "on": "2026-03-01",
}


class Hub(ThreadingHTTPServer):
    """As much of a model hub as an upload needs; ``private`` is how a repository is, or will be."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.files, self.tokens, self.created = [], {}, set(), {}
        self.there, self.private, self.fault, self.audit, self.lines = None, None, 0, None, []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.server.fault:
            self.refuse()
            return
        kind, _, name = self.path.removeprefix("/api/").partition("/")
        repo = name.partition("?")[0].removesuffix("/revision/main")
        private = self.server.there if self.server.there is not None else self.server.private
        self.answer(
            {"id": repo, "private": private, "sha": "0" * 40, "siblings": [], "tags": [], "kind": kind}
        )

    def do_POST(self):
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.fault:
            self.refuse()
        elif self.path == "/api/repos/create":
            made = json.loads(data)
            self.server.created = made
            self.server.private = made.get("visibility", "") == "private" or made.get("private") is True
            self.answer({"url": f"{self.server.url}/{made['organization']}/{made['name']}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(data)["files"]]
            self.answer({"files": [each | {"shouldIgnore": False, "oid": None} for each in files]})
        else:
            assert "/commit/" in self.path
            for line in data.splitlines():
                given = json.loads(line)
                if given["key"] == "file":
                    self.server.files[given["value"]["path"]] = base64.b64decode(given["value"]["content"])
            self.answer({"commitUrl": f"{self.server.url}/c/1", "commitOid": "1" * 40, "success": True})

    def refuse(self):
        self.answer({"error": f"{self.headers['authorization']} may not write here"}, self.server.fault)

    def answer(self, table, status=200):
        self.server.asked.append(self.path)
        self.server.tokens.add(self.headers["authorization"])
        if self.server.audit is not None and self.server.audit.exists():
            self.server.lines.append(len(self.server.audit.read_text().splitlines()))
        payload = json.dumps(table).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


@pytest.fixture
def hub(monkeypatch):
    with serving() as one:
        monkeypatch.setenv("HF_ENDPOINT", one.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield one


@pytest.fixture
def stub(monkeypatch):
    """Stands for the hub's client where the hub is far away; what it was told."""
    told = SimpleNamespace(made=None, uploaded=None, private=True)

    class Api:
        def __init__(self, *, endpoint, token, **_):
            told.endpoint, told.token = endpoint, token

        def create_repo(self, repo, **given):
            told.made = {"repo": repo} | given
            return f"{told.endpoint}/{repo}"

        def repo_info(self, repo, **_):
            return SimpleNamespace(private=told.private)

        def upload_folder(self, **given):
            told.uploaded = given

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return told


def recipe(*hosts, **changes):
    word = WORD | {"endpoints": list(hosts)} | changes
    given = {"name": "x", "teachers": [{"name": "a", "model": "a"}], "data_use": {"acknowledgement": word}}
    return Recipe.parse(given, where="test")


def make_students(root, sensitivity="public"):
    """A run with both students, small as they are, and a report."""
    run = make_run(root, sensitivity=sensitivity)
    folder = RunFolder(run)
    for verb in ("bootstrap", "align"):
        student = folder.student(verb)
        student.mkdir(parents=True)
        (student / "config.json").write_text("{}")
        (student / "model.safetensors").write_bytes(b"weights")
        card = student_card("run: align", verb, base="phantom-base", settings={}, sensitivity=sensitivity)
        (student / "README.md").write_text(card)
        (student / MARK).write_text(mark_text(sensitivity))
        config = {"bootstrap": {"base": "phantom-base"}}
        Manifest(stage=verb, config=config, inputs={}, seed=7, sensitivity=sensitivity).write(
            folder.stage(verb)
        )
    report = folder.stage("report")
    report.mkdir()
    (report / "report.html").write_text("<p>page")
    (report / "report.json").write_text("{}")
    Manifest(stage="report", config={}, inputs={}, seed=7, sensitivity=sensitivity).write(report)
    return run


@pytest.fixture
def run(tmp_path):
    return make_students(tmp_path / "run")


@pytest.fixture
def secret(tmp_path):
    return make_students(tmp_path / "secret", "credentialed")


def audit_of(run):
    path = RunFolder(run).audit
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# ---- what is uploaded ----------------------------------------------------------------------------


def test_a_student_goes_into_a_private_repository(run, hub):
    hub.audit = RunFolder(run).audit
    address = uploading.push(f"{run}:aligned", "me/student", None)
    assert address == f"{hub.url}/me/student"
    student = RunFolder(run).student("align")
    assert hub.files == {path.name: path.read_bytes() for path in student.iterdir()}
    assert hub.private is True
    assert hub.tokens == {f"Bearer {TOKEN}"}
    (line,) = audit_of(run)
    assert line.pop("at")
    assert line == {
        "purpose": f"upload of {run}:aligned to me/student",
        "to": hub.url,
        "what": sha256_tree(student),
        "images": [],
        "bytes": sum(path.stat().st_size for path in student.iterdir()),
        "sensitivity": "public",
        "under": "own server",
    }
    assert hub.lines == [1] * len(hub.asked)  # it was written before the first request came


def test_public_where_it_is_asked_for_and_allowed(run, hub):
    uploading.push(f"{run}:bootstrapped", "me/student", None, public=True)
    assert hub.private is False
    assert "model.safetensors" in hub.files


@pytest.mark.parametrize("what", ["export", "report", "checkpoint"])
def test_files_and_folders_go_too(run, hub, tmp_path, what):
    if what == "export":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "other.jsonl").write_text("not this one")
        path = tmp_path / "out" / "answers [1].jsonl"
        export(run, "jsonl", path)
        expected, kind = {path.name, f"{path.name}.manifest.json"}, "dataset"
    elif what == "report":
        path, kind = RunFolder(run).stage("report"), "dataset"
        expected = {"report.html", "report.json", "manifest.json"}
    else:
        path, kind = tmp_path / "copied", "model"
        shutil.copytree(RunFolder(run).student("align"), path)
        expected = {"README.md", MARK, "config.json", "model.safetensors"}
    uploading.push(str(path), "me/it", None)
    assert set(hub.files) == expected
    assert hub.created.get("type", "model") == kind
    log = RunFolder(run).audit if what == "report" else path.parent / "audit.jsonl"
    assert len(log.read_text().splitlines()) == 1


def test_what_says_nothing_of_itself_is_refused(run, hub, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(RunFolder(run).student("align"), copied)
    (copied / MARK).unlink()
    with pytest.raises(StoreError, match=r"does not say how sensitive it is \(driftbound.json is missing\)"):
        uploading.push(str(copied), "me/it", None)
    (copied / MARK).write_text('{"sensitivity": "a little"}')
    with pytest.raises(StoreError, match="does not say whether it is public or credentialed"):
        uploading.push(str(copied), "me/it", None)
    (copied / MARK).write_text("no")
    with pytest.raises(StoreError, match="cannot be read"):
        uploading.push(str(copied), "me/it", None)
    path = tmp_path / "answers.jsonl"
    export(run, "jsonl", path)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(StoreError, match="is not the file that"):
        uploading.push(str(path), "me/it", None)
    path.with_name("answers.jsonl.manifest.json").unlink()
    with pytest.raises(StoreError, match="does not say how sensitive it is"):
        uploading.push(str(path), "me/it", None)
    assert not hub.asked


@pytest.mark.parametrize(
    ("what", "repo", "kind", "said"),
    [
        ("{run}:aligned", "student", ConfigError, "write owner/name|Write owner/name"),
        ("{run}:aligned", "a/b/c", ConfigError, "Write owner/name"),
        ("{run}:algined", "me/it", ConfigError, "did you mean 'aligned'"),
        ("{run}:base", "me/it", ConfigError, "was not made here"),
        ("{run}", "me/it", ConfigError, "neither a checkpoint nor a finished report"),
        ("nowhere", "me/it", ConfigError, "is not there"),
        ("{run}/../none:aligned", "me/it", ModelError, "align has not finished"),
    ],
)
def test_what_cannot_be_pushed_is_told(run, hub, what, repo, kind, said):
    with pytest.raises(kind, match=said):
        uploading.push(what.format(run=run), repo, None)
    assert not hub.asked
    assert not audit_of(run)


# ---- the gate ------------------------------------------------------------------------------------


def test_a_credentialed_student_needs_the_word_for_the_hub(secret, stub):
    what = f"{secret}:aligned"
    for given in (None, recipe("other.example.com"), recipe("huggingface.co", no_training=False)):
        with pytest.raises(DataUseError, match=r"huggingface\.co: credentialed data.*Nothing was sent"):
            uploading.push(what, "me/it", given)
    assert stub.made is None
    assert not audit_of(secret)
    assert uploading.push(what, "me/it", recipe("huggingface.co")) == "https://huggingface.co/me/it"
    assert stub.made == {"repo": "me/it", "repo_type": "model", "private": True, "exist_ok": True}
    assert stub.uploaded["folder_path"] == RunFolder(secret).student("align")
    assert stub.token == TOKEN
    (line,) = audit_of(secret)
    assert line["under"] == "acknowledged by A. Reader on 2026-03-01"
    assert line["to"] == "https://huggingface.co"
    assert line["sensitivity"] == "credentialed"


def test_another_hub_needs_its_own_word(secret, stub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org")
    with pytest.raises(DataUseError, match=r"Missing: hub\.example\.org among its endpoints"):
        uploading.push(f"{secret}:aligned", "me/it", recipe("huggingface.co"))
    uploading.push(f"{secret}:aligned", "me/it", recipe("hub.example.org"))
    assert stub.endpoint == "https://hub.example.org"


@pytest.mark.parametrize("url", ["https://huggingface.co", "http://127.0.0.1:9"])
def test_nothing_credentialed_is_made_public_under_any_word(secret, stub, monkeypatch, url):
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(DataUseError, match=r"may not be made public.*24 April 2024.*Leave out --public"):
        uploading.push(f"{secret}:aligned", "me/it", recipe("huggingface.co"), public=True)
    assert stub.made is None


def test_a_repository_that_is_public_already_gets_nothing_private(run, secret, hub):
    hub.there = False
    for what in (f"{run}:aligned", f"{secret}:aligned"):
        with pytest.raises(DataUseError, match=r"me/it is there already and is not private.*uploaded"):
            uploading.push(what, "me/it", recipe("huggingface.co"))
    assert not hub.files
    uploading.push(f"{run}:aligned", "me/it", None, public=True)
    assert hub.files


def test_every_word_of_a_sensitive_part_counts(run, stub, tmp_path):
    """A copied folder by its mark, a run by its strictest manifest and by what was imported."""
    copied = tmp_path / "elsewhere" / "student"
    shutil.copytree(RunFolder(run).student("align"), copied)
    (copied / MARK).write_text(mark_text("credentialed"))
    with pytest.raises(DataUseError):
        uploading.push(str(copied), "me/it", None)
    uploading.push(f"{run}:aligned", "me/it", None)
    collect = RunFolder(run).stage("collect")
    Manifest.read(collect).__class__.write(
        replace(Manifest.read(collect), sensitivity="credentialed"), collect
    )
    for what in (f"{run}:aligned", RunFolder(run).student("align"), RunFolder(run).stage("report")):
        with pytest.raises(DataUseError):
            uploading.push(str(what), "me/it", None)


def test_what_was_imported_makes_its_run_sensitive(run, stub, tmp_path):
    path = tmp_path / "before.jsonl"
    export(run, "jsonl", path)
    note_import(RunFolder(run).stage("collect"), {"sensitivity": "credentialed"})
    with pytest.raises(DataUseError):
        uploading.push(f"{run}:aligned", "me/it", None)
    uploading.push(str(path), "me/it", None)
    assert stub.uploaded["allow_patterns"] == ["before.jsonl", "before.jsonl.manifest.json"]
    export(run, "jsonl", tmp_path / "after.jsonl")
    with pytest.raises(DataUseError):
        uploading.push(str(tmp_path / "after.jsonl"), "me/it", None)


def test_a_proxy_is_no_way_for_what_is_sensitive(secret, run, hub, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(DataUseError, match="the environment names a proxy"):
        uploading.push(f"{secret}:aligned", "me/it", None)
    assert not hub.asked


# ---- tokens and errors ---------------------------------------------------------------------------


def test_the_token_comes_from_the_environment_alone(run, stub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", " ")
    with pytest.raises(ConfigError, match="environment variable HF_TOKEN holds no token"):
        uploading.push(f"{run}:aligned", "me/it", None)
    assert stub.made is None
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "https://me:word@hub.example.org")
    with pytest.raises(ConfigError, match="HF_ENDPOINT holds a user or password") as caught:
        uploading.push(f"{run}:aligned", "me/it", None)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_what_the_hub_refuses_is_one_line_without_the_token(run, hub, status, capfd, caplog):
    hub.fault = status
    with caplog.at_level("DEBUG"), pytest.raises(HubError, match="says:") as caught:
        uploading.push(f"{run}:aligned", "me/it", None)
    said = str(caught.value)
    assert "\n" not in said
    assert "push again" in said
    everything = said + "".join(capfd.readouterr()) + caplog.text + RunFolder(run).audit.read_text()
    assert TOKEN not in everything
    assert caught.value.__cause__ is None


def test_a_log_that_cannot_be_written_stops_the_upload(run, hub):
    RunFolder(run).audit.symlink_to("/dev/full")
    with pytest.raises(StoreError, match="Nothing is sent without it"):
        uploading.push(f"{run}:aligned", "me/it", None)
    assert not hub.asked


def test_the_command(secret, run, stub, tmp_path):
    path = tmp_path / "recipe.yaml"
    word = WORD | {"endpoints": ["huggingface.co"]}
    given = {"name": "x", "teachers": [{"name": "a", "model": "a"}], "data_use": {"acknowledgement": word}}
    path.write_text(yaml.safe_dump(given))
    done = CliRunner().invoke(app, ["push", f"{secret}:aligned", "me/it"])
    assert done.exit_code == 2
    assert stub.made is None
    done = CliRunner().invoke(app, ["push", f"{secret}:aligned", "me/it", "--recipe", str(path)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == "https://huggingface.co/me/it"
    assert CliRunner().invoke(app, ["push", f"{run}:aligned", "me/it", "--public"]).exit_code == 0
    assert stub.made["private"] is False


def test_a_card_says_it_in_words():
    card = student_card(
        "r: align",
        "align",
        base="/home/me/secret-place/base",
        settings={"objective": "plackett_luce", "beta": 0.1, "report_to": [], "base": "/home/me"},
        sensitivity="credentialed",
    )
    assert "**Sensitivity: credentialed.**" in card
    assert "24 April 2024" in card
    assert "Trained from base by driftbound" in card
    assert "/home/me" not in card
    assert "| beta | 0.1 |" in card
    assert "Sensitivity: public" in student_card(
        "t", "bootstrap", base="o/m", settings={}, sensitivity="public"
    )


def test_a_folder_without_a_mark_says_nothing(tmp_path):
    assert marked(tmp_path) is None
    assert marked(tmp_path / "none") is None
    (tmp_path / "file").write_text("")
    assert marked(tmp_path / "file") is None
    assert uploads.hub_url({"HF_ENDPOINT": ""}) == "https://huggingface.co"
