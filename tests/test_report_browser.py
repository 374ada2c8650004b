"""The report in a browser: no request, no complaint; tables sort and go out; both schemes and widths."""

import json

import pytest
from browser import Browser
from test_report import HOSTILE, Field, page_of, run  # noqa: F401
from test_viewer_browser import CONTRAST


@pytest.fixture(scope="module")
def shared():
    with Browser() as made:
        yield made


@pytest.fixture
def page(shared, run):  # noqa: F811
    """The report of the fixture's run, opened from its file."""
    page_of(run)
    shared.looks(1280)
    shared.errors.clear()
    shared.requests.clear()
    path = run.folder.stage("report") / "report.html"
    shared.open(path.as_uri())
    return shared


def test_it_opens_without_a_request_and_without_a_complaint(page):
    outside = [url for url in page.requests if not url.startswith(("file:", "data:"))]
    assert outside == []
    assert len([url for url in page.requests if url.startswith("file:")]) == 1
    assert page.errors == []
    assert page.says("document.body.textContent.includes(\"<script>alert('x')\")") is True


ROWS = "[...document.querySelector('#results table').tBodies[0].rows].map(r => r.cells[0].textContent)"


def test_tables_sort_within_their_groups(page):
    """Teachers are alpha .70, gamma .61, beta .45; by accuracy, up: the other way round."""
    before = page.says(ROWS)
    button = "document.querySelectorAll('#results table thead th')[1].querySelector('button')"
    page.says(f"{button}.click()")
    down = page.says(ROWS)
    page.says(f"{button}.click()")
    up = page.says(ROWS)
    teachers = ("alpha", "beta", "gamma")
    assert [name for name in down if name in teachers] == ["alpha", "gamma", "beta"]
    assert [name for name in up if name in teachers] == ["beta", "gamma", "alpha"]
    assert up.index("Teachers") < up.index("beta")
    assert sorted(before) == sorted(down) == sorted(up)
    head = "document.querySelectorAll('#results table thead th')[1].getAttribute('aria-sort')"
    assert page.says(head) == "ascending"
    assert page.errors == []


def test_tables_and_numbers_can_be_taken_out(page, run):  # noqa: F811
    """Two downloads, by name; and the numbers in the page are those of report.json."""
    page.says(
        "window.taken = []; HTMLAnchorElement.prototype.click = function () {"
        " window.taken.push([this.download, this.href]); }"
    )
    page.says("document.querySelector('#results .take').click(); document.getElementById('take-all').click()")
    names = page.says("window.taken.map(t => t[0])")
    assert names == ["Results-on-test.csv", "report.json"]
    inside = page.says("document.getElementById('numbers').textContent")
    beside = json.loads((run.folder.stage("report") / "report.json").read_text())
    assert json.loads(inside) == beside
    assert HOSTILE in json.dumps(beside, ensure_ascii=False)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_text_stands_out_and_nothing_runs_over_the_edge(page, dark, width):
    page.looks(width, dark=dark)
    assert page.says(CONTRAST) == []
    assert page.says("document.documentElement.scrollWidth") <= width
