"""Fits the repository to its site: the README is the home page, linked files become pages of their own."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
HOME = Path("README.md")
ALWAYS = ("CHANGELOG.md",)
"""Files outside docs/ that have a page although no page may link to them."""
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")
LANGUAGES = {".yaml": "yaml", ".json": "json", ".py": "python"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, and a page for each file of the repository that is linked to."""
    docs = Path(config.docs_dir)
    texts = {path.relative_to(ROOT): path.read_text() for path in docs.glob("*.md")}
    texts[HOME] = (ROOT / HOME).read_text()
    files.append(File.generated(config, "index.md", content=texts[HOME]))
    linked = {target for path, text in texts.items() for target in _outside(text, path.parent)}
    for target in sorted((linked | {Path(name) for name in ALWAYS}) - {HOME}):
        files.append(File.generated(config, _page_of(target), content=_source(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links as they hold in the repository into links as they hold in the site."""
    uri = page.file.src_uri
    origin = HOME if uri == "index.md" else Path("docs") / uri
    if uri.startswith("source/"):
        origin = Path(uri).relative_to("source")
        if not (ROOT / origin).exists():  # code: what looks like a link there is none
            return markdown

    def moved(found: re.Match[str]) -> str:
        target = _target(found[2], origin.parent)
        if target is None:
            return found[0]  # a page's neighbour, the network, or nothing: the build judges it
        there = posixpath.relpath(_page_of(target), posixpath.dirname(uri))
        return f"{found[1]}{there}{found[3] or ''}{found[4]}"

    return LINK.sub(moved, markdown)


def _page_of(target: Path) -> str:
    """Where in the site a file of the repository is.

    >>> [_page_of(Path(name)) for name in ("README.md", "docs/faq.md", "CHANGELOG.md", "src/a.yaml")]
    ['index.md', 'faq.md', 'source/CHANGELOG.md', 'source/src/a.yaml.md']
    """
    if target == HOME:
        return "index.md"
    if target.parts[0] == "docs":
        return target.relative_to("docs").as_posix()
    return f"source/{target.as_posix()}" + ("" if target.suffix == ".md" else ".md")


def _outside(text: str, folder: Path) -> Iterator[Path]:
    """Files of the repository, outside docs/, that a text in a folder links to."""
    for found in LINK.finditer(text):
        target = _target(found[2], folder)
        if target is not None and target.parts[0] != "docs":
            yield target


def _target(link: str, folder: Path) -> Path | None:
    """What a link in a folder leads to, from the root; ``None`` where it is nothing of the repository."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return None
    path = (ROOT / folder / link).resolve()
    return path.relative_to(ROOT) if path.exists() and path.is_relative_to(ROOT) else None


def _source(target: Path) -> str:
    """A page with a file's text, or with all of a folder's."""
    path = ROOT / target
    if target.suffix == ".md":
        return path.read_text()
    parts = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    lines = [f"# {target.name}", f"`{target.as_posix()}`, as it lies in the repository."]
    for part in parts:
        named = [] if part == path else [f"## {part.name}"]
        lines += [*named, f"``````{LANGUAGES.get(part.suffix, 'text')}\n{part.read_text().rstrip()}\n``````"]
    return "\n\n".join(lines) + "\n"
