"""The viewer in a browser: filters, searches, pages, colours, keys, marks, films; both schemes and widths."""

import threading
import time
from urllib.parse import urlsplit

import pytest
from browser import Browser
from test_report import HEADLINE, Field, run  # noqa: F401
from test_viewer import opened  # noqa: F401

from driftbound.viewer import filters, web
from driftbound.viewer.guard import hosts_of
from driftbound.viewer.opened import Opened
from driftbound.viewer.web import Site


@pytest.fixture
def base(opened, monkeypatch):  # noqa: F811
    """A viewer that listens, two cases a page, with another run (the same) beside it."""
    import uvicorn

    for module in (filters, web):
        monkeypatch.setattr(module, "PAGE", 2)
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = Site(opened, Field(), Opened(opened.root, HEADLINE), hosts_of("127.0.0.1", port))
    site.search.make()
    server = uvicorn.Server(uvicorn.Config(site.app(), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def shared():
    with Browser() as made:
        yield made


@pytest.fixture
def browser(shared):
    """Anew: light, wide, and what it has noted is of this test."""
    shared.looks(1280)
    shared.errors.clear()
    shared.requests.clear()
    return shared


def listed(browser) -> list[str]:
    return browser.says("[...document.querySelectorAll('.cases tbody th a')].map(a => a.textContent)")


def test_pages_filters_and_words(browser, base):
    browser.open(f"{base}/")
    assert listed(browser) == ["c0", "c1"]
    browser.press("j")
    browser.waits("document.querySelector('.cases tbody th a')?.textContent == 'c2'")
    assert listed(browser) == ["c2", "c3"]
    browser.press("k")
    browser.waits("document.querySelector('.cases tbody th a')?.textContent == 'c0'")
    browser.press("/")
    assert browser.says("document.activeElement.name") == "q"
    for letter in "alert":
        browser.press(letter)
    browser.says("document.querySelector('select[name=split]').value = 'test'")
    browser.says("document.querySelector('.filters button').click()")
    browser.waits("location.search.includes('q=alert')")
    browser.waits("document.querySelector('h1')?.textContent == '1 of 4 cases'")
    assert listed(browser) == ["c2"]
    assert browser.says("document.querySelector('select[name=split]').value") == "test"
    assert browser.errors == []


def test_claims_that_belong_together_light_up_and_say_who_agrees(browser, base):
    browser.open(f"{base}/case?id=c1")
    browser.moves("mark[data-about='Pleural Effusion']")
    browser.waits("document.querySelectorAll('mark.same').length > 1")
    lit = browser.says("[...document.querySelectorAll('mark.same')].map(m => m.dataset.about)")
    assert set(lit) == {"Pleural Effusion"}
    assert "alpha" in browser.says("document.getElementById('tip').textContent")
    colours = browser.says(
        "['agreement', 'conflict'].map(c => document.querySelector('mark.' + c))"
        ".map(mark => getComputedStyle(mark).backgroundColor)"
    )
    assert len(set(colours)) == 2
    assert "rgba(0, 0, 0, 0)" not in colours
    assert browser.errors == []


def test_a_mark_is_kept_by_keys_alone(browser, base, opened):  # noqa: F811
    browser.open(f"{base}/case?id=c1&split=test")
    browser.press("b")
    browser.press("n")
    for letter in "apex":
        browser.press(letter)
    browser.press("Escape")
    browser.press("s")
    browser.waits("document.querySelector('.mark small')?.textContent.startsWith('kept')")
    assert browser.says("document.querySelector('[name=note]').value") == "apex"
    assert '"bad"' in (opened.root / "marks.jsonl").read_text()
    browser.press("j")
    browser.waits("document.querySelector('h1 code')?.textContent == 'c2'")
    browser.press("u")
    browser.waits("document.querySelector('.verdict.bad') !== null")
    assert listed(browser) == ["c1", "c2"]
    assert browser.errors == []


def test_a_film_has_window_level_and_zoom(browser, base):
    browser.open(f"{base}/case?id=c1")
    assert browser.says("document.querySelector('.film img').naturalWidth") == 400
    browser.says(
        "for (const [k, v] of Object.entries({level: 64, window: 51, zoom: 2})) {"
        "const e = document.querySelector(`[data-tool=${k}]`); e.value = v;"
        "e.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    slope, intercept = browser.says(
        "['slope', 'intercept'].map(a => Number(document.querySelector('feFuncR').getAttribute(a)))"
    )
    black, white = -intercept / slope, (1 - intercept) / slope
    assert black * 255 == pytest.approx(64 - 25.5)
    assert white * 255 == pytest.approx(64 + 25.5)
    style = browser.says("document.querySelector('.film img').style.transform")
    assert style == "translate(0px, 0px) scale(2)"
    browser.says("document.querySelector('[data-tool=reset]').click()")
    assert browser.says("document.querySelector('.film img').style.filter") == "none"
    assert browser.errors == []


def test_hostile_text_does_nothing_and_asks_for_nothing(browser, base):
    browser.open(f"{base}/case?id=c2")
    assert browser.says("document.body.textContent.includes('<script>alert')") is True
    assert browser.says("document.querySelectorAll('main script, main a[href^=\"https://\"]').length") == 0
    assert {urlsplit(url).hostname for url in browser.requests} == {"127.0.0.1"}
    assert browser.errors == []


def test_two_runs_side_by_side(browser, base):
    browser.open(f"{base}/compare")
    assert browser.says("document.querySelectorAll('tbody tr').length") == len(HEADLINE)
    browser.open(f"{base}/case?id=c1")
    assert browser.says(
        "[...document.querySelectorAll('h2')].some(h => h.textContent.includes('The same in'))"
    )
    assert browser.errors == []


CONTRAST = """(() => {
  const channel = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (a, b) => a.slice(0, 3).map((v, k) => v * a[3] + b[k] * (1 - a[3])).concat([1]);
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const paper = e => {
    const chain = [];
    for (; e; e = e.parentElement) chain.push(parse(getComputedStyle(e).backgroundColor));
    return chain.reverse().reduce((below, c) => over(c, below), [255, 255, 255, 1]); };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.textContent.trim() || !e.getClientRects().length) continue;
    if (style.visibility == 'hidden' || e.closest('.hidden, .skip, option')) continue;
    const below = paper(e), ink = over(parse(style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const large = size >= 24 || (size >= 18.66 && bold);
    if (ratio < (large ? 3 : 4.5)) found.push([e.className, e.textContent.slice(0, 30), ratio.toFixed(2)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_text_stands_out_and_nothing_runs_over_the_edge(browser, base, dark, width):
    """WCAG AA: 4.5 to 1, of large text 3 to 1. Wide tables scroll in themselves, the page does not."""
    browser.looks(width, dark=dark)
    for page in ("/", "/case?id=c1", "/case?id=c2&heat=1", "/compare", "/nowhere"):
        browser.open(base + page)
        assert browser.says(CONTRAST) == [], page
        assert browser.says("document.documentElement.scrollWidth") <= width, page


def test_all_controls_are_reached_by_the_tab_key(browser, base):
    """Every link, field and button that can be seen takes the focus, and shows that it has it."""
    for page in ("/", "/case?id=c1"):
        browser.open(base + page)
        seen = browser.says(
            "[...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary')]"
            ".filter(e => e.getClientRects().length).every(e => e.tabIndex >= 0)"
        )
        assert seen
        browser.says("document.querySelector('main a').focus({focusVisible: true})")
        assert browser.says("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_who_agrees_is_told_by_keys_and_by_touch(browser, base):
    """The tab key reaches one claim of all; the arrows go to the next and back; a tap tells the same."""
    browser.open(f"{base}/case?id=c1")
    assert browser.says("document.querySelectorAll('mark[data-about][tabindex=\"0\"]').length") == 1
    browser.says("document.querySelector('mark[tabindex=\"0\"]').focus({focusVisible: true})")
    first = browser.says("document.activeElement.title")
    assert browser.says("document.getElementById('tip').textContent") == first
    browser.press("ArrowRight")
    second = browser.says("document.activeElement.title")
    assert (
        browser.says("[...document.querySelectorAll('mark[data-about]')].indexOf(document.activeElement)")
        == 1
    )
    assert browser.says("document.getElementById('tip').textContent") == second
    assert browser.says("document.querySelectorAll('mark[data-about][tabindex=\"0\"]').length") == 1
    assert browser.says("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("ArrowLeft")
    assert browser.says("document.activeElement.title") == first
    browser.says("document.querySelector('mark[data-about=\"Pleural Effusion\"]').click()")
    assert "alpha" in browser.says("document.getElementById('tip').textContent")
    assert browser.says("document.querySelectorAll('mark.same').length") > 1
    assert browser.errors == []


def test_a_film_is_zoomed_and_moved_by_keys(browser, base):
    browser.open(f"{base}/case?id=c1")
    style = "document.querySelector('.film img').style.transform"
    browser.says("document.querySelector('.frame').focus()")
    browser.press("ArrowRight")
    assert browser.says(style) in ("", "translate(0px, 0px) scale(1)")  # whole: there is nowhere to go
    assert browser.says("getComputedStyle(document.querySelector('.frame')).touchAction") == "pan-y"
    for _ in range(5):
        browser.press("+")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    assert browser.says("Number(document.querySelector('[data-tool=zoom]').value)") == pytest.approx(
        2, abs=0.2
    )
    assert browser.says(style).startswith("translate(-40px, -40px) scale(")
    assert browser.says("getComputedStyle(document.querySelector('.frame')).touchAction") == "none"
    assert browser.errors == []


def test_paper_holds_the_texts_and_no_controls(browser, base):
    browser.open(f"{base}/case?id=c1")
    browser._call("Emulation.setEmulatedMedia", media="print")
    try:
        controls = "[...document.querySelectorAll('button, .tip, .keys, .steps, textarea')]"
        assert browser.says(f"{controls}.filter(e => e.getClientRects().length).length") == 0
        assert browser.says("document.querySelector('.film img').clientWidth") < 400  # 10 cm
        assert browser.says("getComputedStyle(document.querySelector('.text')).maxHeight") == "none"
    finally:
        browser._call("Emulation.setEmulatedMedia", media="")


def test_broken_pages_are_pages(browser, base, opened):  # noqa: F811
    """A film that is gone, a mark that cannot be kept: pages, and no exception in them."""
    (opened.root / "images" / "c1.png").unlink()
    browser.open(f"{base}/case?id=c1")
    assert "does not lie in the run" in browser.says("document.querySelector('.missing').textContent")
    (opened.root / "marks.jsonl").mkdir()
    browser.press("b")
    browser.press("s")
    browser.waits("document.querySelector('h1')?.textContent == '503'")
    assert "cannot be written" in browser.says("document.querySelector('main').textContent")
    assert all("status of 503" in each for each in browser.errors)
