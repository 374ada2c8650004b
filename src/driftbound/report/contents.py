"""Contents of the page: its headings that can be gone to, read from the page itself."""

from dataclasses import dataclass
from html.parser import HTMLParser


@dataclass(frozen=True, slots=True)
class Heading:
    """One heading with those below it."""

    anchor: str
    title: str
    below: tuple["Heading", ...] = ()


def contents(html: str) -> tuple[Heading, ...]:
    """Every ``h2`` with an ``id``, or whose section has one, and the ``h3`` with an ``id`` below it."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    found: list[tuple[str, str, list[Heading]]] = []
    for level, anchor, title in reader.found:
        if level == "h2":
            found.append((anchor, title, []))
        elif found:
            found[-1][2].append(Heading(anchor, title))
    return tuple(Heading(anchor, title, tuple(below)) for anchor, title, below in found)


class _Reader(HTMLParser):
    """Notes headings; what is marked up inside one is read as its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str, str]] = []
        self._section, self._open, self._anchor, self._words = "", "", "", list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        anchor = dict(attrs).get("id") or ""
        if tag == "section":
            self._section = anchor
        elif tag in ("h2", "h3"):
            self._open, self._words = tag, []
            self._anchor = anchor or (self._section if tag == "h2" else "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            if self._anchor:
                self.found.append((tag, self._anchor, " ".join("".join(self._words).split())))
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self._words.append(data)
