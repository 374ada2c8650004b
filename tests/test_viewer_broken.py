"""The viewer and what is broken: files, indexes, marks, folders; a page and a status, never a traceback."""

import json
import os
import sqlite3
from dataclasses import replace
from html import escape

import pytest
from starlette.testclient import TestClient
from test_report import HEADLINE, HOSTILE, Field, run  # noqa: F401
from test_viewer import HOSTS, opened, phantom_run  # noqa: F401

from driftbound import viewing
from driftbound.errors import StoreError
from driftbound.records import Status, Trajectory
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, read_rows, write_cases
from driftbound.viewer import search as searching
from driftbound.viewer.marks import Mark, Marks
from driftbound.viewer.opened import Opened
from driftbound.viewer.search import FOLDER, Search
from driftbound.viewer.web import Site

PAGES = (
    *("/", "/?teacher=alpha&status=ok", "/?finding=Edema", "/?q=edema", "/?sort=conflict&outcome=wrong"),
    *("/case?id=c1", "/case?id=c1&heat=1", "/image?id=c1&n=0", "/text?id=c1&who=teacher:alpha"),
    *("/marks.csv", "/marks.json", "/report", "/compare", "/nowhere"),
)


def client_of(root) -> TestClient:
    """What is no foreseen failure is raised here, so that it fails the test."""
    site = Site(Opened(root, HEADLINE), Field(), None, HOSTS)
    return TestClient(site.app(), base_url="http://127.0.0.1", follow_redirects=False)


def visited(root) -> dict[str, tuple[int, str]]:
    """Status and body of every page of a run."""
    client = client_of(root)
    answers = {path: client.get(path) for path in PAGES}
    return {path: (answer.status_code, answer.text) for path, answer in answers.items()}


def complaints(root) -> list[str]:
    """What is said of a run that cannot be read: one line at the start, or on the pages that need it."""
    try:
        found = visited(root)
    except StoreError as error:
        return str(error).splitlines()
    assert {status for status, _ in found.values()} <= {200, 404, 503}
    return [text for status, text in found.values() if status == 503]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def holed(path):
    """Beginning and end stay: the file opens, and what lies in it cannot be read."""
    whole = bytearray(path.read_bytes())
    start, end = len(whole) // 8, len(whole) * 7 // 8 if path.suffix == ".sqlite" else len(whole) // 2
    whole[start:end] = b"\xff" * (end - start)
    path.write_bytes(whole)


# ---- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [cut, holed], ids=["cut", "holed"])
def test_answers_that_cannot_be_read_are_told_where_they_are_needed(opened, how):  # noqa: F811
    with sqlite3.connect(opened.folder.streams) as db:  # several pages, or the header would be all there is
        db.execute("CREATE TABLE ballast AS SELECT randomblob(100000)")
    how(opened.folder.streams)
    found = visited(opened.root)
    assert {status for status, _ in found.values()} <= {200, 404, 503}
    assert found["/"][0] == 200
    for path in ("/?q=edema", "/case?id=c1"):
        status, text = found[path]
        assert status == 503
        assert "streams.sqlite: cannot be read" in text
        assert "driftbound collect" in text
        assert "Traceback" not in text


@pytest.mark.parametrize("how", [cut, holed], ids=["cut", "holed"])
@pytest.mark.parametrize("name", ["slots", "groups", "predictions"])
def test_a_broken_table_is_one_line(opened, how, name):  # noqa: F811
    """Cut off, the run does not open; where the file opens, the pages that read it say so."""
    places = {
        "slots": opened.folder.slots,
        "groups": opened.folder.groups,
        "predictions": opened.folder.stage("evaluate") / "predictions.parquet",
    }
    how(places[name])
    told = complaints(opened.root)
    assert told
    assert all(f"{places[name].name}: cannot be read" in text for text in told)


def test_a_table_of_another_version_is_told(opened):  # noqa: F811
    """Votes that are no JSON, as no version writes them: the page of the case says what and where."""
    import pyarrow.parquet as pq

    table = pq.read_table(opened.folder.slots)
    column = table.schema.names.index("votes")
    broken = table.set_column(column, "votes", [["{no json"] * table.num_rows])
    pq.write_table(broken, opened.folder.slots)
    status, text = visited(opened.root)["/case?id=c1"]
    assert status == 503
    assert "c1: what the stages have left of it cannot be shown" in text
    assert "Another version may have made it" in text


@pytest.mark.parametrize("content", [None, b"GIF89a", b""], ids=["gone", "other", "empty"])
def test_a_film_that_cannot_be_shown_leaves_the_case_whole(opened, content):  # noqa: F811
    path = opened.root / "images" / "c1.png"
    path.unlink() if content is None else path.write_bytes(content)
    found = visited(opened.root)
    assert found["/image?id=c1&n=0"][0] == (404 if content is None else 415)
    status, text = found["/case?id=c1"]
    assert status == 200
    assert 'class="film"' not in text
    assert ("does not lie in the run" if content is None else "neither PNG nor JPEG") in text
    assert "alpha" in text


def test_a_path_that_is_none_is_told(opened):  # noqa: F811
    first, *others = read_cases(opened.folder.cases)
    write_cases(opened.folder.cases, [replace(first, images=("a\0b.png",)), *others])
    client = client_of(opened.root)
    assert client.get("/image?id=c0&n=0").status_code == 503
    assert "The image cannot be read." in client.get("/case?id=c0").text


@pytest.mark.parametrize(
    "path",
    [
        *("/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/static/..%2fweb.py", "/static/%2e%2e%2fweb.py"),
        *("/static/%252e%252e%252fweb.py", "/static/..%5cweb.py", "/static/%00", "/static/viewer.css%00.png"),
        *("/static//etc/passwd", "/static/%c0%ae%c0%ae/web.py", f"/static/{'a' * 5000}", "/static/"),
        *("/case?id=../../etc/passwd", "/case?id=%ff%fe", "/case?id=%ed%a0%80", "/text?id=c1&who=../x"),
        *("/image?id=c1&n=../0", "/image?id=c1&n=99999999999999999999", "/image?id=..%2f&n=0"),
    ],
)
def test_no_way_leads_out_of_the_run(opened, path):  # noqa: F811
    answer = client_of(opened.root).get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "All cases" in answer.text
    assert "root:" not in answer.text
    assert "import " not in answer.text


# ---- filters, changes ----------------------------------------------------------------------------------


def test_filters_that_mean_nothing_here_are_told_and_left_out(opened):  # noqa: F811
    client = client_of(opened.root)
    asked = "finding=<b>&teacher=nobody&split=test&most=much&outcome=odd"
    text = client.get(f"/?{asked}").text
    assert "2 of 4 cases" in text
    said = "This run knows nothing of finding '<b>', teacher 'nobody', outcome 'odd', support 'much'"
    assert escape(said).replace("&#x27;", "&#39;") in text
    assert "knows nothing" not in client.get("/?split=test&most=0.5&sort=conflict").text


def test_a_run_that_changes_while_it_is_viewed_says_so(opened):  # noqa: F811
    client = client_of(opened.root)
    assert "has changed" not in client.get("/").text
    path = opened.folder.stage("evaluate") / "predictions.parquet"
    os.utime(path, (1, 1))
    assert "has changed since the viewer opened it (6-evaluate/predictions.parquet)" in client.get("/").text
    path.unlink()
    text = client.get("/case?id=c1").text
    assert "has changed" in text
    assert "alpha" in text  # what was open stays so


def test_answers_that_come_in_meanwhile_are_no_obstacle(opened):  # noqa: F811
    """Another process has the file open and writes to it: pages are there all the same."""
    client = client_of(opened.root)
    with Streams(opened.folder.streams) as streams:
        streams.put(Trajectory(case_id="c3", teacher="beta", status=Status.OK, text="zebra, anew", wave=7))
        assert client.get("/case?id=c3").status_code == 200
        assert client.get("/?teacher=beta&status=ok").status_code == 200


# ---- the index of words ---------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch):
    """However slow the machine is: all texts are read."""
    monkeypatch.setattr(searching, "BUDGET_S", 60.0)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000, None], ids=["empty", "nonsense", "gone"])
def test_an_index_that_broke_is_told_and_texts_are_read(opened, content, capsys, patient):  # noqa: F811
    words = Search(opened)
    words.make()
    (path,) = (opened.root / FOLDER).glob("words-*.sqlite")
    path.unlink() if content is None else path.write_bytes(content)
    found, whole = words.find("alert")
    assert (found.nonzero()[0].tolist(), whole) == ([2], True)
    assert ("cannot be used" in capsys.readouterr().err) is (content is not None)
    again = Search(opened)
    assert not again.ready  # the broken one is gone: it is made anew
    again.make()
    assert again.find("alert")[0].nonzero()[0].tolist() == [2]


def test_an_index_of_other_cases_is_not_believed(opened, patient):  # noqa: F811
    """Places beyond the run's cases: the index cannot be of this run."""
    words = Search(opened)
    words.make()
    (path,) = (opened.root / FOLDER).glob("words-*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE place SET n = n + 1000")
    assert words.find("alert")[0].nonzero()[0].tolist() == [2]
    assert "cannot be used" in words.failed


def test_an_index_of_an_older_version_is_made_anew(opened):  # noqa: F811
    Search(opened).make()
    (path,) = (opened.root / FOLDER).glob("words-*.sqlite")
    old = path.rename(path.with_name(path.name.replace("words-2-", "words-")))
    words = Search(opened)
    assert not words.ready
    words.make()
    assert words.ready
    assert not old.exists()


def test_an_index_of_answers_that_cannot_be_read_is_told(opened, capsys):  # noqa: F811
    opened.folder.streams.write_bytes(b"no database" * 1000)
    words = Search(Opened(opened.root, HEADLINE))
    words.make()  # in a thread of its own: nothing may be raised
    assert "no index of words can be made" in words.failed
    assert words.failed in capsys.readouterr().err


# ---- marks ----------------------------------------------------------------------------------------------


def test_a_mark_behind_a_line_that_was_cut_off_is_kept(tmp_path):
    """Killed while writing: half a line. The next mark must not be glued to it."""
    marks = Marks(tmp_path)
    marks.put("a", "good", "")
    with marks.path.open("a") as file:
        file.write('{"case_id": "b", "verd')
    assert list(Marks(tmp_path).all()) == ["a"]
    Marks(tmp_path).put("c", "bad", "")
    assert list(Marks(tmp_path).all()) == ["a", "c"]
    assert [json.loads(line)["case_id"] for line in marks.path.read_text().splitlines()] == ["a", "c"]


def test_a_whole_last_line_without_an_end_counts_and_stays(tmp_path):
    """As an editor may leave it."""
    marks = Marks(tmp_path)
    marks.put("a", "good", "")
    marks.path.write_text(marks.path.read_text().rstrip("\n"))
    assert list(Marks(tmp_path).all()) == ["a"]
    Marks(tmp_path).put("b", "bad", "")
    assert list(Marks(tmp_path).all()) == ["a", "b"]


@pytest.mark.parametrize("strange", ["\u2028", "\x85", "\x0b", "\x1c", "\r"])
def test_a_note_with_any_end_of_line_is_one_note(tmp_path, strange):
    marks = Marks(tmp_path)
    marks.put("a", "good", f"one{strange}two")
    marks.put("b", "bad", "")
    assert Marks(tmp_path).of("a").note == f"one{strange}two"
    assert list(Marks(tmp_path).all()) == ["a", "b"]


def test_two_viewers_of_a_run_see_each_others_marks(tmp_path):
    one, two = Marks(tmp_path), Marks(tmp_path)
    one.put("a", "good", "")
    assert two.of("a").verdict == "good"
    two.put("b", "bad", "why")
    assert one.of("b").note == "why"
    one.path.unlink()
    assert one.all() == {}
    assert one.of("a") == Mark("a")


@pytest.mark.parametrize("place", ["marks.jsonl", "."])
def test_marks_that_cannot_be_written_have_a_page(opened, place, monkeypatch):  # noqa: F811
    """A folder where the file would be; and a run that nobody may write to (root may: so it is told)."""
    if place == ".":
        monkeypatch.setattr("driftbound.viewer.marks.FILE", "no/such/folder/marks.jsonl")
    else:
        (opened.root / place).mkdir()
    site = Site(opened, Field(), None, HOSTS)
    client = TestClient(site.app(), base_url="http://127.0.0.1", follow_redirects=False)
    answer = client.post("/mark", data={"token": site.token.text, "id": "c1", "verdict": "bad", "note": "x"})
    assert answer.status_code == 503
    assert "marks.jsonl: cannot be written" in answer.text
    assert client.get("/case?id=c1").status_code == 200


def test_a_note_with_a_script_in_it_is_shown_inert(opened):  # noqa: F811
    Marks(opened.root).put("c1", "bad", HOSTILE + '</textarea><script>alert(1)</script>" onload="x')
    client = client_of(opened.root)
    for page in ("/case?id=c1", "/?mark=note"):
        text = client.get(page).text
        assert "<script>alert" not in text
        assert '" onload="x' not in text
        assert "&lt;script&gt;alert(1)" in text


def test_marks_broken_by_hand_have_a_line_at_the_start_and_a_page_later(opened):  # noqa: F811
    client = client_of(opened.root)
    (opened.root / "marks.jsonl").write_text("nonsense\n")
    assert client.get("/").status_code == 503
    assert "marks.jsonl, line 1: no mark" in client.get("/").text
    with pytest.raises(StoreError, match=r"marks\.jsonl, line 1: no mark"):
        client_of(opened.root)


# ---- the start -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{"name": "phantom", "of_tomorrow": 3}, {"name": 3}, {"train": "x"}])
def test_a_field_of_another_version_is_one_line(phantom_run, config):  # noqa: F811
    manifest = Manifest.read(phantom_run / "2-measure")
    replace(manifest, config=manifest.config | {"domain": config}).write(phantom_run / "2-measure")
    with pytest.raises(StoreError, match=r"the field that it is of: .* Another version may have made it"):
        viewing.open_run(phantom_run)


def test_teachers_of_another_version_are_one_line(phantom_run):  # noqa: F811
    manifest = Manifest.read(phantom_run / "1-collect")
    replace(manifest, config={"teachers": [1]}).write(phantom_run / "1-collect")
    with pytest.raises(StoreError, match=r"the teachers it names: .* Another version may have made it"):
        viewing.open_run(phantom_run)


def test_interrupting_ends_it_without_a_complaint(phantom_run, monkeypatch):  # noqa: F811
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(viewing, "serve", interrupted)
    assert viewing.view(phantom_run, beside=None, host="127.0.0.1", port=0, browser=False) is None


def test_no_row_of_the_list_is_lost_by_a_half_finished_run(opened):  # noqa: F811
    """Predictions of cases that are not the run's, as where these were drawn anew, are passed over."""
    rows = read_rows(opened.folder.stage("evaluate") / "predictions.parquet")
    assert rows
    first, *_ = read_cases(opened.folder.cases)
    write_cases(opened.folder.cases, [first])
    assert "1 of 1 cases" in client_of(opened.root).get("/").text
