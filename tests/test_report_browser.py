"""The report in a browser: no request, no complaint; tables sort and go out; both schemes and widths."""

import csv
import io
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
    page.says("document.querySelector('#results .scroll + .take').click()")
    page.says("document.getElementById('take-all').click()")
    names = page.says("window.taken.map(t => t[0])")
    assert names == ["Results-on-test.csv", "report.json"]
    inside = page.says("document.getElementById('numbers').textContent")
    beside = json.loads((run.folder.stage("report") / "report.json").read_text())
    assert json.loads(inside) == beside
    assert HOSTILE in json.dumps(beside, ensure_ascii=False)


TAKEN = (
    "(async () => { let blob; const old = URL.createObjectURL;"
    " URL.createObjectURL = (b) => { blob = b; return 'data:,'; };"
    " HTMLAnchorElement.prototype.click = () => {};"
    " %s.click(); URL.createObjectURL = old; return blob.text(); })()"
)
"""The text of the file that a button gives."""


def rows_of(page, button):
    return list(csv.reader(io.StringIO(page.says(TAKEN % button))))


def test_a_table_goes_out_with_value_and_ends_in_columns_of_their_own(page):
    """Aligned: 0.6789, give and take 0.1, unrounded; accuracy 0.0111 more; no glued digits, no dashes."""
    rows = rows_of(page, "document.querySelector('#results .scroll + .take')")
    assert rows[0][:7] == [
        "who", "balanced accuracy", "balanced accuracy low", "balanced accuracy high",
        "accuracy", "accuracy low", "accuracy high",
    ]  # fmt: skip
    assert len({len(row) for row in rows}) == 1
    found = {row[0].split(" before")[0]: row[1:] for row in rows}
    assert found["aligned student"][:6] == ["0.6789", "0.5789", "0.7789", "0.69", "0.5789", "0.7789"]
    assert found["bootstrapped, images shuffled each question with another case's image"][:3] == [""] * 3
    assert found["Teachers"] == [""] * (len(rows[0]) - 1)
    assert not {cell for row in rows for cell in row} & {"–"}


def test_a_signed_number_goes_out_as_a_number(page):
    rows = rows_of(page, "document.querySelector('[aria-label=\"Change per teacher\"] + .take')")
    change = {row[0]: row[1:4] for row in rows}
    assert change["alpha"] == ["0.123", "0.112", "0.134"]
    assert all(float(each) < 0.1 for each in change["beta"])


def test_no_cell_is_taken_for_a_formula(page):
    lines = {
        "=1+1": '"\'=1+1"',
        "-1+cmd|' /C calc'!A0": "\"'-1+cmd|' /C calc'!A0\"",
        "@x": '"\'@x"',
        "-0.5": "-0.5",
        "-1.2e-05": "-1.2e-05",
        'a "b", c': '"a ""b"", c"',
        "plain": "plain",
    }
    assert page.says(f"{json.dumps(list(lines))}.map(quoted)") == list(lines.values())


def test_the_numbers_behind_every_figure_can_be_taken_out(page):
    """The dots of the first split: a row per answerer, as in the summary."""
    missing = (
        "[...document.querySelectorAll('main svg')].filter(s => !s.closest('figure')?.querySelector('.take'))"
    )
    assert page.says(f"{missing}.length") == 0
    assert page.says("document.querySelectorAll('main svg').length") > 8
    rows = rows_of(page, "document.querySelector('#results figure .take')")
    assert rows[0] == ["group", "who", "balanced accuracy", "low", "high"]
    aligned = next(row for row in rows if row[1] == "aligned student")
    assert [round(float(each), 4) for each in aligned[2:]] == [0.6789, 0.5789, 0.7789]
    assert page.says("document.querySelector('#results figure .take').getAttribute('aria-label')") == (
        "Numbers of the figure: Balanced accuracy with 95 % intervals, split test, as CSV"
    )
    assert page.errors == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_contents_lead_to_every_section(page, width):
    page.looks(width)
    anchors = page.says("[...document.querySelectorAll('#contents a')].map(a => a.getAttribute('href'))")
    titles = page.says("[...document.querySelectorAll('main h2')].map(h => h.textContent)")
    named = page.says("[...document.querySelectorAll('#contents > ul a')].map(a => a.textContent)")
    assert named == titles
    assert {"#results", "#consensus", "#training", "#case-1"} <= set(anchors)
    lost = "[...document.querySelectorAll('#contents a')].filter(a => !document.querySelector(a.hash)).length"
    assert page.says(lost) == 0
    page.says("document.querySelector('#contents a[href=\"#consensus\"]').click()")
    page.waits("Math.abs(document.querySelector('#consensus').getBoundingClientRect().top) < 60")
    up = page.says("(() => { const b = document.querySelector('.up').getBoundingClientRect();"
                   " return [b.left >= 0, b.right <= innerWidth, b.bottom <= innerHeight]; })()")  # fmt: skip
    assert up == [True, True, True]


def test_on_paper_nothing_is_folded_and_all_is_light(page):
    page.looks(718, dark=True)
    closed = "document.querySelectorAll('main details:not([open])').length"
    before = page.says(closed)
    assert before > 0
    page.says("dispatchEvent(new Event('beforeprint'))")
    assert page.says(closed) == 0
    on_paper(page)
    assert page.says("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.says("getComputedStyle(document.body).color") == "rgb(31, 36, 40)"
    hidden = (
        "[...document.querySelectorAll('nav, .take, .up')].every(e => getComputedStyle(e).display == 'none')"
    )
    assert page.says(hidden)
    over = (
        "[...document.querySelectorAll('main .scroll')].filter(s => s.scrollWidth > s.clientWidth + 1).length"
    )
    assert page.says(over) == 0
    page.says("dispatchEvent(new Event('afterprint'))")
    assert page.says(closed) == before


def on_paper(page):
    page._call("Emulation.setEmulatedMedia", media="print")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_text_stands_out_and_nothing_runs_over_the_edge(page, dark, width):
    page.looks(width, dark=dark)
    assert page.says(CONTRAST) == []
    assert page.says("document.documentElement.scrollWidth") <= width
