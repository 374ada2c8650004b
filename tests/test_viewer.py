"""The viewer: what is listed, found, shown and marked; and what a stranger, or a text, may not do."""

import json
import math
import shutil
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient
from test_report import HEADLINE, HOSTILE, TEACHERS, Field, run  # noqa: F401

from driftbound import viewing
from driftbound.errors import ConfigError, StoreError
from driftbound.records import Group, Negative, Status, Trajectory
from driftbound.report.spans import Piece
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, read_rows, write_cases, write_groups, write_rows
from driftbound.viewer import search as searching
from driftbound.viewer.case_page import heated
from driftbound.viewer.filters import Filters, chosen
from driftbound.viewer.guard import hosts_of
from driftbound.viewer.listing import compare
from driftbound.viewer.marks import LONGEST, Mark, Marks
from driftbound.viewer.opened import Opened
from driftbound.viewer.search import Search
from driftbound.viewer.web import Site

HOSTS = hosts_of("127.0.0.1", 80)


@pytest.fixture
def opened(run) -> Opened:  # noqa: F811
    folder = run.folder
    config = {"teachers": [{"name": name} for name in TEACHERS]}
    for verb in ("collect", "measure"):
        Manifest.of(verb, config=config, inputs={}, seed=5).write(folder.stage(verb))
    slots = read_rows(folder.slots)
    explicit = pa.schema([(name, pa.string()) for name in slots[0]] + [("explicit", pa.int64())])
    write_rows(folder.slots, [row | {"explicit": 3} for row in slots], explicit)
    return Opened(folder.root, HEADLINE)


@pytest.fixture
def site(opened) -> Site:
    return Site(opened, Field(), None, HOSTS)


@pytest.fixture
def client(site) -> TestClient:
    return TestClient(site.app(), base_url="http://127.0.0.1", follow_redirects=False)


def places(opened: Opened, marks: Marks | None = None, **asked: str) -> list[int]:
    return chosen(opened, Filters(**asked), marks or Marks(opened.root), None).tolist()


# ---- which cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"split": "test"}, [1, 2]),
        ({"split": "no such split"}, [0, 1, 2, 3]),
        ({"finding": "Edema", "stand": "agreed"}, [0, 1, 2, 3]),
        ({"finding": "Edema", "stand": "conflicting"}, []),
        ({"stand": "conflicting"}, [0, 1, 2, 3]),
        ({"teacher": "gamma", "status": "refused"}, [1]),
        ({"teacher": "alpha", "status": "refused"}, []),
        ({"status": "refused"}, [1]),
        ({"consensus": "accepted"}, [0, 1, 2, 3]),
        ({"consensus": "rejected"}, []),
        ({"outcome": "wrong", "student": "bootstrapped"}, [1, 2]),
        ({"outcome": "right", "student": "bootstrapped"}, []),
    ],
)
def test_filters(opened, asked, expected):
    """Four cases: train, two of test, one of the other scanner; gamma refused c1 (the report's fixture)."""
    assert places(opened, **asked) == expected


def test_outcomes_of_two_students(opened, monkeypatch):
    """Two findings. c0: aligned won one; c1: it lost one; c2: no change, wrong on one; c3: not judged."""
    before = np.array([[0, 1], [1, 1], [0, 1], [-1, -1]], dtype=np.int8)
    after = np.array([[1, 1], [1, 0], [0, 1], [-1, -1]], dtype=np.int8)
    right = {"bootstrapped": SimpleNamespace(values=before), "aligned": SimpleNamespace(values=after)}
    monkeypatch.setitem(opened.__dict__, "right", right)
    assert places(opened, outcome="better") == [0]
    assert places(opened, outcome="worse") == [1]
    assert places(opened, outcome="right") == [0]
    assert places(opened, outcome="wrong") == [1, 2]
    assert places(opened, outcome="wrong", finding=HEADLINE[1]) == [1]
    assert places(opened, sort="wrong") == [1, 2, 0, 3]


def test_order_puts_what_has_no_number_last(opened, monkeypatch):
    monkeypatch.setitem(opened.__dict__, "conflict", np.array([0.2, math.nan, 0.7, 0.2]))
    monkeypatch.setitem(opened.__dict__, "supported", np.array([math.nan, 0.4, 0.9, 0.1]))
    assert places(opened, sort="conflict") == [2, 0, 3, 1]
    assert places(opened, sort="support") == [3, 1, 2, 0]
    assert places(opened, most="0.4") == [1, 3]
    assert places(opened, most="nonsense") == [0, 1, 2, 3]


def test_filters_survive_a_query_string():
    given = Filters(q="a & b=c", finding="Pleural Effusion", most="0.5")
    assert Filters.of(dict(parse_qsl(given.query(page=3)))) == given
    assert Filters.of({"sort": "x" * 1000, "other": "y"}).sort == "x" * 200


# ---- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
def test_words_are_found_in_answers_and_in_the_consensus(opened, index):
    """Only the hostile text of c2 speaks of an alert; words are taken as they begin, whatever their case."""
    words = Search(opened)
    if index:
        words.make()
    assert words.ready is index

    def found(asked: str) -> list[int]:
        mask, whole = words.find(asked)
        assert whole
        return np.flatnonzero(mask).tolist()

    assert found("alert") == [2]
    assert found("ALERT bold") == [2]
    assert found("aler") == [2]
    assert found("lert") == []
    assert found("alert zebra") == []
    assert found('"); DROP TABLE words; --') == []
    assert found("evil_example") == found("evil.example") == [2]
    assert found("!?") == [0, 1, 2, 3]


def test_an_index_is_made_once_and_again_for_other_answers(opened):
    Search(opened).make()
    (first,) = (opened.root / searching.FOLDER).glob("words-*")
    assert Search(opened).ready
    with Streams(opened.folder.streams) as streams:
        streams.put(Trajectory(case_id="c0", teacher="alpha", status=Status.OK, text="zebra", wave=7))
    again = Search(Opened(opened.root, HEADLINE))
    assert not again.ready
    again.make()
    assert again.ready
    assert not first.exists()


def test_without_an_index_reading_ends_in_time_and_says_so(opened, monkeypatch):
    monkeypatch.setattr(searching, "BUDGET_S", -1.0)
    mask, whole = Search(opened).find("alert")
    assert (mask.sum(), whole) == (0, False)


def test_an_index_that_cannot_be_made_is_told_and_nothing_breaks(opened, monkeypatch, capsys):
    (opened.root / searching.FOLDER).write_text("a file where the folder would be")
    words = Search(opened)
    words.make()
    assert "no index of words can be made" in words.failed
    assert np.flatnonzero(words.find("alert")[0]).tolist() == [2]
    assert words.failed in capsys.readouterr().err


# ---- marks -------------------------------------------------------------------------------------------


def test_the_last_mark_of_a_case_holds_and_an_empty_one_takes_it_back(tmp_path):
    marks = Marks(tmp_path)
    marks.put("a", "good", "")
    marks.put("b", "bad", "  why\nnot  ")
    marks.put("a", "", "")
    for each in (marks, Marks(tmp_path)):
        assert each.of("a").verdict == ""
        assert (each.of("b").verdict, each.of("b").note) == ("bad", "why\nnot")
        assert list(each.all()) == ["b"]
    assert len((tmp_path / "marks.jsonl").read_text().splitlines()) == 3
    with pytest.raises(ValueError, match="none of good, bad"):
        marks.put("a", "superb", "")


def test_a_line_that_was_cut_off_is_no_mark_and_a_broken_one_is_told(tmp_path):
    whole = json.dumps({"case_id": "a", "verdict": "good", "note": "", "at": "now"}) + "\n"
    path = tmp_path / "marks.jsonl"
    path.write_text(whole + whole[:20])
    assert Marks(tmp_path).all() == {"a": Mark("a", "good", "", "now")}
    path.write_text("{}\n" + whole)
    with pytest.raises(StoreError, match=r"marks\.jsonl, line 1: no mark"):
        Marks(tmp_path)


def test_marks_filter(opened):
    marks = Marks(opened.root)
    marks.put("c0", "good", "")
    marks.put("c2", "bad", "look at the apex")
    assert places(opened, marks, mark="good") == [0]
    assert places(opened, marks, mark="note") == [2]
    assert places(opened, marks, mark="any") == [0, 2]
    assert places(opened, marks, mark="none") == [1, 3]


def test_a_mark_by_the_pages_form_comes_back_with_the_filters(client, site):
    fields = {"token": site.token.text, "id": "c1", "verdict": "bad", "note": "é & <b>", "split": "test"}
    answer = client.post("/mark", data=fields)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/case?split=test&id=c1"
    assert site.marks.of("c1").note == "é & <b>"
    assert "&lt;b&gt;" in client.get("/case?id=c1").text
    assert client.get("/marks.csv").text.splitlines()[1].startswith("c1,bad,é & <b>,")
    assert client.get("/marks.json").json()[0]["verdict"] == "bad"


@pytest.mark.parametrize(
    ("change", "headers", "status"),
    [
        ({"token": "guessed"}, {}, 403),
        ({}, {"origin": "http://evil.example"}, 403),
        ({}, {"sec-fetch-site": "cross-site"}, 403),
        ({"id": "../../etc"}, {}, 404),
        ({"verdict": "superb"}, {}, 400),
        ({"note": "x" * 300_000}, {}, 413),
    ],
)
def test_other_pages_and_broken_forms_mark_nothing(client, site, change, headers, status):
    fields = {"token": site.token.text, "id": "c1", "verdict": "bad", "note": ""} | change
    assert client.post("/mark", data=fields, headers=headers).status_code == status
    assert not site.marks.all()
    assert client.post("/mark", json=fields).status_code == 415


def test_a_note_that_a_spreadsheet_would_compute_is_quoted(client, site):
    site.marks.put("c0", "good", "=HYPERLINK(1)")
    assert ",'=HYPERLINK(1)," in client.get("/marks.csv").text
    assert site.marks.put("c0", "good", "x" * (LONGEST + 5)).note == "x" * LONGEST


# ---- pages -------------------------------------------------------------------------------------------


def test_the_list_names_the_cases_and_keeps_the_filters_in_its_links(client):
    page = client.get("/?split=test&finding=Edema").text
    assert "2 of 4 cases" in page
    assert 'href="/case?split=test&amp;finding=Edema&amp;id=c1"' in page
    assert "c3" not in page
    assert "No case fits" in client.get("/?split=test&q=zebra").text


def test_a_case_shows_all_answers_what_they_agree_on_and_who(client):
    page = client.get("/case?id=c1").text
    for text in ("alpha", "beta", "gamma", "refused", "aligned student", "consensus"):
        assert text in page
    assert '<mark class="conflict" data-about="Pleural Effusion"' in page
    assert "present 2: alpha, gamma; absent 1: beta" in page


def test_neighbours_are_those_of_the_filtered_list(client):
    page = client.get("/case?split=test&id=c1").text
    assert "1 of 2" in page
    assert 'href="/case?split=test&amp;id=c2" data-key="j"' in page
    assert "← previous</span>" in page
    assert "not among the filtered" in client.get("/case?split=test&id=c0").text


def test_hostile_text_is_shown_inert(client, opened):
    """A script, an image in Markdown and 100 KB: escaped, shortened, whole as plain text."""
    page = client.get("/case?id=c2").text
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert 'src="https://evil' not in page
    answer = client.get("/case?id=c2")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    whole = client.get("/text?id=c2&who=teacher:alpha")
    assert whole.text == HOSTILE
    assert whole.headers["content-type"].startswith("text/plain")
    assert whole.headers["x-content-type-options"] == "nosniff"


def test_a_very_long_text_is_shortened_and_can_be_had_whole(opened, client):
    long = "No edema. <b>" * 8000
    with closing(opened.connect()) as db:
        path = db.execute("PRAGMA database_list").fetchone()[2]
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE trajectories SET text = ? WHERE case_id = 'c3' AND teacher = 'beta'", (long,))
        db.commit()
    page = client.get("/case?id=c3").text
    assert len(page) < 60_000
    assert f"{len(long) - 4000:,} more characters" in page
    assert client.get("/text?id=c3&who=teacher:beta").text == long


def test_weights_shade_the_text(opened):
    """c0's consensus weighs nothing from 0 to 6; alpha's first word counts twice; gamma is no negative."""
    texts = {"alpha": "No edema.", "gamma": "Edema."}
    negatives = (
        Negative(teacher="alpha", text=texts["alpha"], status=Status.OK, valid=True, spans=((0, 2, 2.0),)),
        Negative(teacher="gamma", text=texts["gamma"], status=Status.OK, valid=False),
    )
    group = Group(
        case_id="c0", split="train", consensus="Edema: absent.", negatives=negatives, spans=((0, 6, 0.0),)
    )
    write_groups(opened.folder.groups, [group])
    again = Opened(opened.root, HEADLINE)
    page = TestClient(Site(again, Field(), None, HOSTS).app(), base_url="http://127.0.0.1")
    text = page.get("/case?id=c0&heat=1").text
    assert '<span class="heat h0" title="weight 0.00">Edema:</span>' in text
    assert 'class="heat h10" title="weight 2.00"' in text
    assert "weight 0.00 · end token" in text  # gamma's


def test_pieces_are_cut_at_the_ends_of_spans_and_joined_they_are_the_text():
    given = [Piece(text="abc", mark="conflict", tip="t", about="x"), Piece(text="def")]
    spans = [{"start": 1, "end": 5, "weight": 0.5}, {"start": 2, "end": 4, "weight": 0.0}]
    found = heated(given, spans)
    assert [(one.piece.text, one.weight, one.shade) for one in found] == [
        ("a", 1.0, 10),
        ("b", 0.5, 5),
        ("c", 0.0, 0),
        ("d", 0.0, 0),
        ("e", 0.5, 5),
        ("f", 1.0, 10),
    ]
    assert found[1].piece == Piece(text="b", mark="conflict", tip="t", about="x")
    assert [one.shade for one in heated(given, None)] == [-1, -1]
    assert [one.weight for one in heated(given, [], counts=False)] == [0.0, 0.0]


# ---- images ------------------------------------------------------------------------------------------


def test_an_image_is_its_bytes(client, opened):
    answer = client.get("/image?id=c1&n=0")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (opened.root / "images" / "c1.png").read_bytes()
    for query in ("id=c1&n=1", "id=c1&n=-1", "id=c1&n=x1", "id=nobody&n=0", "n=0"):
        assert client.get(f"/image?{query}").status_code == 404


@pytest.mark.parametrize("place", ["../secret.png", "/etc/hostname", "images/link.png"])
def test_no_image_outside_the_run_is_served(opened, place):
    """Neither by a path in the table of cases nor by a link that lies in the run."""
    (opened.root.parent / "secret.png").write_bytes(b"\x89PNG secret")
    (opened.root / "images" / "link.png").symlink_to(opened.root.parent / "secret.png")
    first, *others = read_cases(opened.folder.cases)
    write_cases(opened.folder.cases, [replace(first, images=(place,)), *others])
    again = TestClient(
        Site(Opened(opened.root, HEADLINE), Field(), None, HOSTS).app(), base_url="http://127.0.0.1"
    )
    answer = again.get("/image?id=c0&n=0")
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_what_is_no_image_is_not_served_as_one(client, opened):
    (opened.root / "images" / "c1.png").write_text("<svg onload=alert(1)>")
    assert client.get("/image?id=c1&n=0").status_code == 415


# ---- strangers, broken runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:9999", "", "localhost.evil.example"])
def test_other_hosts_are_refused(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "c0" not in answer.text
    assert client.get("/", headers={"host": "localhost"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/nowhere", "/../../etc/passwd", "/static/../web.py", "/static/%2e%2e/web.py"]
)
def test_unknown_pages_have_a_page_and_a_status(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text
    assert "import" not in answer.text


def test_unknown_cases_and_answers(client):
    assert "There is no such case in this run." in client.get("/case?id=nobody").text
    assert client.get("/case?id=nobody").status_code == client.get("/case").status_code == 404
    assert client.get("/text?id=c1&who=teacher:nobody").status_code == 404
    assert client.get("/compare").status_code == 404
    assert client.get("/mark").status_code == 405


def test_a_table_that_breaks_meanwhile_is_one_line_and_no_traceback(client, opened):
    opened.folder.groups.write_bytes(b"PAR1 nonsense")
    again = TestClient(
        Site(opened, Field(), None, HOSTS).app(), base_url="http://127.0.0.1", raise_server_exceptions=False
    )
    opened.slots = SimpleNamespace(
        rows=lambda case_id: (_ for _ in ()).throw(StoreError("slots: broken. Do."))
    )
    answer = again.get("/case?id=c1")
    assert answer.status_code == 503
    assert "slots: broken. Do." in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "gone", [(), ("2-measure",), ("2-measure", "4-synthesize", "6-evaluate"), ("1-collect",)]
)
def test_half_finished_runs_open(opened, gone):
    for name in gone:
        shutil.rmtree(opened.root / name)
    client = TestClient(
        Site(Opened(opened.root, HEADLINE), Field(), None, HOSTS).app(), base_url="http://127.0.0.1"
    )
    assert "4 of 4 cases" in client.get("/").text
    assert client.get("/case?id=c1").status_code == 200
    assert ("Not measured yet" in client.get("/").text) is ("2-measure" in gone)
    assert "Not evaluated yet" in client.get("/").text  # its manifest is not there
    assert client.get("/report").status_code == 404


def test_the_report_is_served_in_a_sandbox(client, opened):
    folder = opened.folder.stage("report")
    folder.mkdir(exist_ok=True)
    (folder / "report.html").write_text("<title>it</title>")
    answer = client.get("/report")
    assert answer.text == "<title>it</title>"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "allow-same-origin" not in answer.headers["content-security-policy"]


# ---- two runs ----------------------------------------------------------------------------------------


def test_two_runs_are_compared_on_what_both_have_judged(opened, monkeypatch):
    """First finding: both right on c1, this one alone on c2; second: on c1 the other alone, c2 not judged."""
    here = np.array([[-1, -1], [1, 0], [1, 1], [-1, -1]], dtype=np.int8)
    there = np.array([[-1, -1], [1, 1], [0, -1], [-1, -1]], dtype=np.int8)
    other = Opened(opened.root, HEADLINE)
    monkeypatch.setitem(opened.__dict__, "right", {"aligned": SimpleNamespace(values=here)})
    monkeypatch.setitem(other.__dict__, "right", {"aligned": SimpleNamespace(values=there)})
    found = compare(opened, other, "aligned")
    assert [(c.both, c.here, c.there, c.neither) for c in found.contrasts] == [(1, 1, 0, 0), (0, 0, 1, 0)]
    assert found.differing == (1, 2)
    assert found.shared == 4
    assert compare(opened, other, "base").contrasts == ()


def test_the_other_run_stands_beside(opened):
    site = Site(opened, Field(), Opened(opened.root, HEADLINE), HOSTS)
    client = TestClient(site.app(), base_url="http://127.0.0.1")
    assert "0 cases differ" in client.get("/compare").text
    assert f"The same in {opened.root.name}" in client.get("/case?id=c1").text
    assert client.get("/compare?" + urlencode({"who": "nobody", "page": "999"})).status_code == 200


# ---- the command -------------------------------------------------------------------------------------


@pytest.fixture
def phantom_run(opened):
    """The same run, its folder saying that it is of phantoms."""
    Manifest.of("cases", config={"domain": {"name": "phantom"}}, inputs={}, seed=5).write(opened.root)
    config = {"domain": {"name": "phantom"}, "teachers": [{"name": name} for name in TEACHERS]}
    Manifest.of("measure", config=config, inputs={}, seed=5).write(opened.folder.stage("measure"))
    return opened.root


def test_a_run_says_itself_which_field_it_is_of(phantom_run):
    opened, domain = viewing.open_run(phantom_run)
    assert (domain.name, len(opened)) == ("phantom", 4)
    assert opened.headline == domain.headline


def test_what_is_no_run_is_one_line(tmp_path, phantom_run):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(StoreError, match=r"no run of driftbound lies there\. Name a run folder"):
            viewing.open_run(path)
    (phantom_run / "cases.parquet").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match="not a readable Parquet file"):
        viewing.open_run(phantom_run)


@pytest.fixture
def served(monkeypatch):
    """What would be served; nothing is."""
    given = []
    monkeypatch.setattr(viewing, "serve", lambda site, host, port, started: given.append((site, host, port)))
    return given


def test_it_listens_here_alone_unless_it_is_told_otherwise(phantom_run, served, capsys):
    viewing.view(phantom_run, beside=phantom_run, host="127.0.0.1", port=0, browser=False)
    site, host, port = served[0]
    assert host == "127.0.0.1"
    assert f"127.0.0.1:{port}" in site.hosts
    assert site.other is not None
    viewing.view(phantom_run, beside=None, host="0.0.0.0", port=0, browser=False)
    assert "anybody who can reach 0.0.0.0" in capsys.readouterr().err


def test_credentialed_runs_are_for_this_machine_alone(phantom_run, served):
    manifest = Manifest.read(phantom_run)
    replace(manifest, sensitivity="credentialed").write(phantom_run)
    with pytest.raises(ConfigError, match=r"holds credentialed data\. Leave --host out"):
        viewing.view(phantom_run, beside=None, host="0.0.0.0", port=0, browser=False)
    viewing.view(phantom_run, beside=None, host="localhost", port=0, browser=False)
    assert len(served) == 1


def test_a_port_that_is_taken_is_told(phantom_run, served):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: is taken"):
            viewing.view(phantom_run, beside=None, host="127.0.0.1", port=port, browser=False)
    with pytest.raises(ConfigError, match="cannot be listened at"):
        viewing.view(phantom_run, beside=None, host="no.such.host.invalid", port=0, browser=False)
