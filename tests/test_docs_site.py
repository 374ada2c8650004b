"""The documentation site: built strictly, whole, and without anything that would come from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
needs_mkdocs = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason="mkdocs-material is not installed: pip install 'driftbound[docs]'",
)
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}
"""Tags that fetch what their attribute names; ``link`` is one by its ``rel``."""
FETCHING = {"stylesheet", "icon", "preload", "preconnect", "prefetch", "dns-prefetch", "modulepreload"}


class Loads(HTMLParser):
    """What a page fetches when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in LOADS and LOADS[tag] in given:
            self.found.append(given[LOADS[tag]])
        if tag == "link" and FETCHING & set(given.get("rel", "").split()):
            self.found.append(given.get("href", ""))
        self.found += re.findall(r"url\(['\"]?([^'\")]+)", given.get("style", ""))


def loads(html: str) -> list[str]:
    parser = Loads()
    parser.feed(html)
    return [*parser.found, *re.findall(r"@import\s+['\"]([^'\"]+)", html)]


def elsewhere(addresses: list[str]) -> list[str]:
    return [address for address in addresses if re.match(r"(https?:)?//", address)]


def build(site: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=280, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def pages(nav: object) -> list[str]:
    """The files of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages(part)]


def navigation() -> list[str]:
    text = (ROOT / "mkdocs.yml").read_text().replace("!relative ", "")
    return pages(yaml.safe_load(text)["nav"])


def test_every_page_is_in_the_navigation_once():
    nav = navigation()
    assert len(nav) == len(set(nav))
    assert {path.name for path in DOCS.glob("*.md")} - set(nav) == set()


def test_what_the_readme_sends_to_exists_and_nothing_is_left_out():
    """It names every page of docs/."""
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", readme))
    there = {path.name for path in DOCS.glob("*.md")}
    assert named == there


def test_what_a_page_loads_is_found():
    html = (
        '<link rel="preconnect" href="https://a"><link rel="canonical" href="https://b"><img src="//c/d.png">'
        '<script src="x.js"></script><p style="background: url(https://e)"></p><a href="https://f">f</a>'
        '<style>@import "https://g";</style>'
    )
    assert elsewhere(loads(html)) == ["https://a", "//c/d.png", "https://e", "https://g"]


@needs_mkdocs
def test_nothing_comes_from_elsewhere(site):
    html = sorted(site.rglob("*.html"))
    assert len(html) > 30
    assert {path.name: found for path in html if (found := elsewhere(loads(path.read_text())))} == {}
    for path in site.rglob("*.css"):
        assert elsewhere(re.findall(r"url\(['\"]?([^'\")]+)", path.read_text())) == [], path
    # The theme's script would fetch a renderer for diagrams and formulas: no page has one.
    assert [path.name for path in html if re.search(r'class="(mermaid|arithmatex)', path.read_text())] == []


@needs_mkdocs
def test_every_page_is_built_and_shows_what_it_includes(site):
    for page in navigation():
        assert (site / page).with_suffix(".html").exists(), page
    home = (site / "index.html").read_text()
    assert 'href="source/src/driftbound/recipes/demo.yaml.html"' in home
    assert 'src="pictures/report.png"' in home
    assert "groups_per_step" in (site / "source/src/driftbound/recipes/demo.yaml.html").read_text()
    for name, word in (("own-domain", "Leaves"), ("own-teacher", "Starlette"), ("serving", "AutoProcessor")):
        text = (site / f"{name}.html").read_text()
        assert word in text
        assert "--8&lt;--" not in text
    assert "plackett-luce" in (site / "study.html").read_text()


def small_site(folder: Path, home: str) -> Path:
    """Configuration of a site of few pages under the rules, and with the hooks, of the whole one."""
    (folder / "docs").mkdir()
    for name in ("site_hooks.py", "site.css"):
        (folder / "docs" / name).write_text((DOCS / name).read_text())
    (folder / "docs" / "studies.md").write_text("# Studies\n")
    (folder / "README.md").write_text(f"# Home\n\n{home}\n")
    (folder / "CHANGELOG.md").write_text("# Changes\n")
    config = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0].replace("[search]", "[]")
    nav = "nav: [index.md, studies.md, source/CHANGELOG.md]"
    (folder / "mkdocs.yml").write_text(f"{config}\n{nav}\n")
    return folder / "mkdocs.yml"


@needs_mkdocs
def test_broken_links_end_the_build(tmp_path):
    home = "[a](docs/nowhere.md) [b](docs/studies.md#nowhere) [c](src/nowhere.yaml) [d](docs/studies.md)"
    done = build(tmp_path / "site", small_site(tmp_path, home))
    assert done.returncode != 0
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warned) == 3
    for line, what in zip(sorted(warned), ("docs/nowhere.md", "src/nowhere.yaml", "'#nowhere'"), strict=True):
        assert what in line


@needs_mkdocs
def test_a_file_that_is_not_there_to_include_ends_the_build(tmp_path):
    done = build(tmp_path / "site", small_site(tmp_path, '--8<-- "examples/nowhere.py"'))
    assert done.returncode != 0
    assert "nowhere.py" in done.stderr


@needs_mkdocs
def test_the_hooks_own_examples(monkeypatch):
    import doctest

    monkeypatch.syspath_prepend(str(DOCS))
    import site_hooks

    assert doctest.testmod(site_hooks) == doctest.TestResults(failed=0, attempted=1)
