"""Sections: a radiology report cut at its headings; every section is a slice of the report."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.errors import CaseError

FINDINGS, IMPRESSION, LAST = "findings", "impression", "last_paragraph"
WET_READ, ADDENDUM, PREAMBLE = "wet read", "addendum", "preamble"
SECTIONED = ("study", IMPRESSION, FINDINGS, LAST)
"""Columns of ``mimic_cxr_sectioned.csv``."""

_MARK = re.compile(
    r"(?:^|\n)[ \t]*(?:"
    r"(?P<heading>[A-Z][A-Z ()/,.&-]{1,60}):(?=\s|\Z)"
    r"|(?P<title>FINAL REPORT|FINAL ADDENDUM)[ \t\r]*(?=\n|\Z)"
    r"|_{10,}[ \t\r]*(?=\n|\Z))"
)
"""Where a section ends: a heading, the title of a report or of its addendum, a line of underscores."""
_NAMES: dict[str, tuple[str, ...]] = {
    FINDINGS: ("findings", "finding", "report", "discussion", "narrative"),
    IMPRESSION: (
        *("impression", "impressions", "conclusion", "conclusions", "opinion", "summary", "interpretation"),
        *("impresson", "final diagnosis", "assessment"),
    ),
    "indication": (
        *("indication", "indications", "reason for exam", "reason for examination", "reason for the exam"),
        *("reason for study", "clinical indication", "clinical information", "ndication", "clinical data"),
    ),
    "history": ("history", "clinical history", "medical history", "patient history"),
    "comparison": ("comparison", "comparisons", "comparison studies", "compared with", "comparison film"),
    "technique": ("technique", "procedure", "examination", "exam", "study", "type of examination", "views"),
    "recommendations": ("recommendation", "recommendations", "notification", "notifications"),
    ADDENDUM: ("addendum",),
}
_SECTION = {name: section for section, names in _NAMES.items() for name in names}
_PARTS = (
    *(("wet read", WET_READ), ("preliminary", WET_READ), ("finding", FINDINGS), ("impression", IMPRESSION)),
    *(("indication", "indication"), ("reason for", "indication"), ("history", "history")),
    *(("comparison", "comparison"), ("technique", "technique"), ("recommendation", "recommendations")),
)
"""What a longer heading holds -> its section; the first counts, so findings and impression are findings."""
_FILMS = frozenset(
    {
        *("chest", "view", "views", "radiograph", "radiographs", "x-ray", "xray", "ray", "film", "films"),
        *("ap", "pa", "lateral", "frontal", "portable", "bedside"),
    }
)
_VIEWS = frozenset(
    {
        *("lat", "upright", "semi-upright", "erect", "semi-erect", "supine", "single", "one", "two", "three"),
        *("four", "digital", "x", "a", "an", "and", "in", "of", "the", "with"),
    }
)
"""A heading of these words alone, one of ``_FILMS`` among them, names the film; its reading follows."""
_WORD = re.compile(r"[a-z-]+")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a report."""

    name: str
    """One of our names, else its heading in small letters; ``preamble`` before the first heading,
    ``last_paragraph`` where the report has neither findings nor impression."""
    start: int
    end: int
    """Code points of the report: the text without its heading and without white space around it."""

    def of(self, report: str) -> str:
        """The section's text."""
        return report[self.start : self.end]


def sections_of(report: str) -> list[Section]:
    """The sections of a report that say anything, in order.

    A heading is a run of capital letters in front of a colon at the beginning of a line. Addenda and the
    preliminary ``wet read`` stand on top of a report, set off by a line of underscores or by "FINAL REPORT",
    and are cut likewise. A report without findings and impression has the last paragraph of its last section
    as a section of its own, which lies in that one. An empty report has no section.
    """
    found, name, start = list[Section](), PREAMBLE, 0
    for mark in _MARK.finditer(report):
        found += _cut(report, name, start, mark.start())
        if mark["heading"]:
            name = _named(mark["heading"])
        else:
            name = ADDENDUM if mark["title"] == "FINAL ADDENDUM" else PREAMBLE
        start = mark.end()
    found += _cut(report, name, start, len(report))
    if found and not {FINDINGS, IMPRESSION} & {section.name for section in found}:
        found += _last_paragraph(report, found[-1])
    return found


def by_name(report: str) -> dict[str, str]:
    """Section -> its text; of two of one name the last, as an addendum stands before what it adds to.

    >>> by_name(" FINAL REPORT\\n INDICATION:  Cough.\\n\\n IMPRESSION:\\n No pneumonia.\\n")
    {'indication': 'Cough.', 'impression': 'No pneumonia.'}
    """
    return {section.name: section.of(report) for section in sections_of(report)}


def choose(
    sections: Mapping[str, str], section: Literal["auto", "findings", "impression", "last_paragraph"]
) -> str:
    """The text that stands for a report: the named section, or with ``auto`` the first there is of
    impression, findings and last paragraph; empty: there is none."""
    order = (IMPRESSION, FINDINGS, LAST) if section == "auto" else (section,)
    return next((sections[name] for name in order if sections.get(name)), "")


def read_sectioned(path: Path) -> dict[str, dict[str, str]]:
    """``mimic_cxr_sectioned.csv``: study id (without its ``s``) -> section -> text; empty ones are left out.

    Raises ``CaseError`` naming file, column and the columns found, or the line: a study that is no number, or
    that is there twice with two texts.
    """
    found: dict[str, dict[str, str]] = {}
    for where, row in rows_of(path, SECTIONED):
        told = {
            name: row[name].strip() for name in (*SECTIONED[1:], "comparison") if row.get(name, "").strip()
        }
        study = row["study"].strip().removeprefix("s")
        if not (study.isascii() and study.isdigit()):
            raise CaseError(f"{where}: study is {row['study'][:40]!a}, not as s50000001. Correct the row.")
        if found.setdefault(study, told) != told:
            raise CaseError(f"{where}: study {study} is there already with other text. Take one row out.")
    return found


def _named(heading: str) -> str:
    name = " ".join(heading.lower().replace(".", " ").split())
    words = set(_WORD.findall(name))
    if name in _SECTION:
        return _SECTION[name]
    if words & _FILMS and words <= _FILMS | _VIEWS:
        return FINDINGS
    return next((section for part, section in _PARTS if part in name), name)


def _cut(report: str, name: str, start: int, end: int) -> list[Section]:
    """The section between two places, without white space; none where nothing but ``___`` is there."""
    text = report[start:end]
    if not text.replace("_", " ").strip():
        return []
    start += len(text) - len(text.lstrip())
    return [Section(name, start, start + len(text.strip()))]


def _last_paragraph(report: str, section: Section) -> list[Section]:
    """The last paragraph of the section that says anything."""
    text, end = section.of(report), section.end
    for gap in reversed([*_BLANK_LINE.finditer(text)]):
        if found := _cut(report, LAST, section.start + gap.end(), end):
            return found
        end = section.start + gap.start()
    return _cut(report, LAST, section.start, end)
