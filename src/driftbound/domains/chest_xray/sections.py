"""Sections: a radiology report cut at its headings; every section is a slice of the report."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftbound.domains.chest_xray.csv_rows import rows_of

FINDINGS, IMPRESSION, LAST = "findings", "impression", "last_paragraph"
SECTIONED = ("study", IMPRESSION, FINDINGS, LAST)
"""Columns of ``mimic_cxr_sectioned.csv``."""

_HEADING = re.compile(r"(?:^|\n)[ \t]*([A-Z][A-Z ()/,.&-]{1,60}):(?=\s|$)")
_NAMES: dict[str, tuple[str, ...]] = {
    FINDINGS: (
        *("findings", "finding", "report", "chest", "portable chest", "pa and lateral chest", "ap chest"),
        *("chest radiograph", "frontal and lateral views of the chest", "two views of the chest"),
        *("single frontal view of the chest", "portable ap view of the chest", "discussion", "narrative"),
    ),
    IMPRESSION: (
        *("impression", "impressions", "conclusion", "conclusions", "opinion", "summary", "interpretation"),
        *("impresson", "impression and recommendation", "final diagnosis", "assessment", "wet read"),
    ),
    "indication": (
        *("indication", "indications", "reason for exam", "reason for examination", "reason for the exam"),
        *("reason for study", "clinical indication", "clinical information", "ndication", "clinical data"),
    ),
    "history": ("history", "clinical history", "medical history", "patient history"),
    "comparison": ("comparison", "comparisons", "comparison studies", "compared with", "comparison film"),
    "technique": ("technique", "procedure", "examination", "exam", "study", "type of examination", "views"),
    "recommendations": ("recommendation", "recommendations", "notification", "notifications"),
    "addendum": ("addendum",),
}
_SECTION = {name: section for section, names in _NAMES.items() for name in names}
_PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")
_TITLE = re.compile(r"\s*(?:FINAL (?:REPORT|ADDENDUM)|WET READ|ADDENDUM)\b[^\n]*", re.IGNORECASE)


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

    A heading is a run of capital letters in front of a colon at the beginning of a line. Addenda stand on
    top of a report and are cut likewise. A report without findings and impression has its last paragraph as
    a section of its own. An empty report has no section.
    """
    found = []
    heads = [*_HEADING.finditer(report)]
    if not heads:
        return _paragraph(report)
    for section in (_cut(report, "preamble", 0, heads[0].start()),):
        found += [section] if section is not None and not _TITLE.fullmatch(section.of(report)) else []
    for number, head in enumerate(heads):
        end = heads[number + 1].start() if number + 1 < len(heads) else len(report)
        section = _cut(report, _named(head.group(1)), head.end(), end)
        found += [section] if section is not None else []
    if not {FINDINGS, IMPRESSION} & {section.name for section in found}:
        found += _paragraph(report)
    return found


def by_name(report: str) -> dict[str, str]:
    """Section -> its text; of two of one name the last, as an addendum stands before what it adds to.

    >>> by_name(" FINAL REPORT\\n INDICATION:  Cough.\\n\\n IMPRESSION:\\n No pneumonia.\\n")
    {'indication': 'Cough.', 'impression': 'No pneumonia.'}
    """
    return {section.name: section.of(report) for section in sections_of(report)}


def choose(sections: Mapping[str, str], section: Literal["auto", "findings", "impression"]) -> str:
    """The text that stands for a report: the named section, or with ``auto`` the first there is of
    impression, findings and last paragraph; empty: there is none."""
    order = (IMPRESSION, FINDINGS, LAST) if section == "auto" else (section,)
    return next((sections[name] for name in order if sections.get(name)), "")


def read_sectioned(path: Path) -> dict[str, dict[str, str]]:
    """``mimic_cxr_sectioned.csv``: study id (without its ``s``) -> section -> text; empty ones are left out.

    Raises ``CaseError`` naming file, column and the columns found.
    """
    found = {}
    for _, row in rows_of(path, SECTIONED):
        told = {
            name: row[name].strip() for name in (*SECTIONED[1:], "comparison") if row.get(name, "").strip()
        }
        found[row["study"].strip().removeprefix("s")] = told
    return found


def _named(heading: str) -> str:
    name = " ".join(heading.lower().replace(".", " ").split())
    return _SECTION.get(name, name)


def _cut(report: str, name: str, start: int, end: int) -> Section | None:
    text = report[start:end]
    start += len(text) - len(text.lstrip())
    end = start + len(text.strip())
    body = report[start:end].strip("_ \t\n")
    return Section(name, start, end) if body else None


def _paragraph(report: str) -> list[Section]:
    """The last paragraph that says anything."""
    for match in reversed([*_PARAGRAPH.finditer(report)]):
        heading = _HEADING.match(match.group())
        section = _cut(report, LAST, match.start() + (heading.end() if heading else 0), match.end())
        if section is not None and not _TITLE.fullmatch(section.of(report)):
            return [section]
    return []
