"""Open-I (Indiana University): reports as XML, their sections, MeSH headings and images."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from driftbound.domains.chest_xray.csv_rows import rows_of
from driftbound.domains.chest_xray.findings import SIDED
from driftbound.domains.chest_xray.names import DENIED, by_word, told
from driftbound.domains.chest_xray.study import POSITIVE, Film, Study
from driftbound.errors import CaseError
from driftbound.store.manifest import one_line

REPORTS, IMAGES, PROJECTIONS = "ecgen-radiology", "images", "indiana_projections.csv"
UNINDEXED = "no indexing"
"""The heading of a report that nobody has indexed: its silence denies nothing."""
NORMAL = "normal"
POOR = "technical quality of image unsatisfactory"
_SIDES = {"left": "left", "right": "right", "bilateral": "both"}
_WORDS = re.compile(r"[a-z]+")


def read_openi(root: Path, *, terms: Literal["major", "automatic"] = "major") -> list[Study]:
    """The reports in ``root/ecgen-radiology`` (or ``root``), by their numbers; films are in ``root/images``.

    ``terms``: whose MeSH headings make the labels, those that people gave (``major``) or a program
    (``automatic``, of the field's zero-shot protocol). Sides are those of the majors. A heading is
    matched by whole words. Text is as it stands, ``XXXX`` for what was taken out too. The set names no
    patients: each report is one. Frontal films are known where Kaggle's ``indiana_projections.csv`` lies
    in ``root``. A file that is no XML is a study without films that says so. The text may be seen by
    anybody and not be changed (CC BY-NC-ND). Raises ``CaseError`` where there are no reports, or two
    with one number.
    """
    folder = root / REPORTS if (root / REPORTS).is_dir() else root
    files = sorted(folder.glob("*.xml"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        raise CaseError(
            f"{folder}: no report of Open-I in it (*.xml). "
            f"Give the folder that holds {REPORTS}/ and {IMAGES}/."
        )
    frontal = _projections(root / PROJECTIONS)
    seen: dict[str, Path] = {}
    studies = []
    for path in files:
        study = _study(path, root / IMAGES, terms, frontal)
        first = seen.setdefault(study.study_id, path)
        if first != path:
            raise CaseError(
                f"{path}: report {study.study_id!r} is in {first.name} too. Take one of the files away."
            )
        studies.append(study)
    return studies


def _study(path: Path, images: Path, terms: str, frontal: Mapping[tuple[str, str], bool]) -> Study:
    bare = Study(study_id=path.stem, patient=path.stem, films=(), sensitivity="public")
    try:
        report = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeDecodeError, LookupError, ValueError) as error:
        return replace(bare, notes=(f"{path.name} is no XML ({one_line(error)})",))
    notes = []
    number = report.find("uId")
    name = (number.get("id") or "").strip() if number is not None else ""
    if not name:
        notes.append("no uId: named by its file")
        name = path.stem
    films = []
    for image_id in dict.fromkeys((each.get("id") or "").strip() for each in report.iter("parentImage")):
        if image_id:
            shown = frontal.get(_image_key(image_id))
            films.append(Film(image_id=image_id, path=images / f"{image_id}.png", frontal=shown))
    if not films:
        notes.append("no image")
    sections, doubled = _sections(report)
    headings = {kind: _texts(report, kind) for kind in ("major", "automatic")}
    labels, said = _labels(headings[terms])
    return replace(
        bare,
        study_id=name,
        patient=name,
        films=tuple(films),
        labels=labels,
        sides=_sides(headings["major"], labels),
        sections=sections,
        notes=(*notes, *doubled, *said),
    )


def _sections(report: ElementTree.Element) -> tuple[dict[str, str], list[str]]:
    """Name -> text, and a note about each name that stands twice, whose texts are joined."""
    found: dict[str, str] = {}
    notes = []
    for part in report.iter("AbstractText"):
        name = (part.get("Label") or "").strip().lower() or "text"
        text = "".join(part.itertext()).strip()
        if text and name in found:
            notes.append(f"two sections {name}, joined")
            text = f"{found[name]}\n{text}"
        if text:
            found[name] = text
    return found, notes


def _texts(report: ElementTree.Element, kind: str) -> list[str]:
    """Headings of MeSH: ``major`` or ``automatic``."""
    return [
        text
        for mesh in report.iter("MeSH")
        for each in mesh.iter(kind)
        if (text := "".join(each.itertext()).strip())
    ]


def _labels(headings: list[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The labels that the headings make, and notes."""
    small = {heading.lower() for heading in headings}
    if not small or UNINDEXED in small:
        return {}, ("no MeSH heading: no label",)
    poor = (POOR,) if POOR in small else ()
    words = [
        word
        for heading in headings
        if heading.lower() != POOR
        for word in known_words(heading) or (heading.partition("/")[0],)
    ]
    found = told(words, by="openi", denied=() if poor else DENIED["openi"])
    return found.labels, (*poor, *found.notes)


def known_words(heading: str) -> tuple[str, ...]:
    """The words of the table that a heading holds, without those that a more telling one contains.

    >>> known_words("Mass/mediastinum"), known_words("Massive effusion")
    (('mediastinum mass',), ())
    """
    parts = set(_WORDS.findall(heading.lower()))
    held = [(word, inner) for word, inner in _parts() if inner <= parts]
    if parts != {NORMAL}:  # a part of the chest that is normal is no normal film
        held = [(word, inner) for word, inner in held if word != NORMAL]
    return tuple(word for word, inner in held if not any(inner < other for _, other in held))


@cache
def _parts() -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((word, frozenset(word.split())) for word in by_word("openi"))


def _sides(headings: Iterable[str], labels: Mapping[str, float]) -> dict[str, str]:
    """Finding -> side, of the findings that are there and have one."""
    found: dict[str, set[str]] = {}
    for heading in headings:
        said = {_SIDES[word] for word in _WORDS.findall(heading.lower()) if word in _SIDES}
        for word in known_words(heading) if said else ():
            finding = by_word("openi")[word]
            if finding in SIDED and labels.get(finding) == POSITIVE:
                found.setdefault(finding, set()).update(said)
    return {finding: sides.pop() if len(sides) == 1 else "both" for finding, sides in found.items()}


def _projections(path: Path) -> dict[tuple[str, str], bool]:
    """Image -> whether it is frontal, by Kaggle's list, if there is one."""
    if not path.is_file():
        return {}
    shown = {}
    for _, row in rows_of(path, ("filename", "projection")):
        image = f"CXR{row['filename'].partition('.')[0]}"
        shown[_image_key(image)] = row["projection"].strip().lower() == "frontal"
    return shown


def _image_key(image_id: str) -> tuple[str, str]:
    """Report and serial number of an image: Kaggle leaves out what may stand between the two."""
    head, _, serial = image_id.partition("IM-")
    return head.split("_")[0], serial
