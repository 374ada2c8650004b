"""Table of cases: the user's own cases, images and truth, read and put into a run."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from driftbound.errors import CaseError
from driftbound.progress import bar
from driftbound.records import Case
from driftbound.store.exchange import sensitivity_beside, strictest
from driftbound.store.foreign import as_word
from driftbound.store.images import read_image
from driftbound.store.manifest import replacing
from driftbound.store.rowfiles import CSV, columns_of, kind_of, read_rows
from driftbound.store.stream_rows import listed, split_of
from driftbound.store.tables import SENSITIVITIES

WORDS: dict[str, tuple[str, ...]] = {
    "case_id": ("case_id", "sample_id", "image_id", "study_id", "id"),
    "prompt": ("prompt", "question", "instruction"),
    "images": ("images", "image", "image_path", "image_file", "file_name"),
    "cluster": ("cluster", "patient_id", "subject_id"),
    "split": ("split",),
    "sensitivity": ("sensitivity",),
    "prompt_discloses": ("prompt_discloses",),
    "truth": ("truth",),
    "reference": ("reference", "reference_report"),
}
"""Our word -> the table's words for it, whatever their case; the first that a table has counts."""
NEEDED = ("case_id", "prompt")
TRUTH = "truth."
"""Beginning of a column with the truth of one finding: ``truth.Effusion``."""
_SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "WEBP": ".webp"}
_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WEBP"}

Check = Callable[[str, Any, str], str]
"""Finding, a cell of its truth and where it stands -> the truth; empty where the cell says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCase:
    """A row: its case, whose images are the files where they lie, and its truth."""

    case: Case
    files: tuple[Path, ...]
    truth: Mapping[str, str]
    where: str
    reference: str = ""
    """What a person wrote of the case; as hidden as the truth. Empty: nothing."""


def read_table(path: Path, *, answer: str, check: Check) -> list[TableCase]:
    """The cases of a JSON lines, JSON, CSV or Parquet file, in its order.

    ``case_id`` and ``prompt`` are needed; ``images`` (a path or several, from where the table lies; in
    text several are separated by ``;``), ``cluster`` (else the case itself), ``split`` (else ``train``),
    ``sensitivity`` (else what the manifest beside the table says), ``prompt_discloses`` and the truth
    (``truth``: of the finding ``answer``, or a table of findings; ``truth.NAME``: of one) may be there, and
    ``reference``, the text that a person wrote of the case.
    ``check`` judges the truth. Raises ``CaseError`` or ``StoreError``, naming the row.
    """
    names = columns_of(path)
    place = _places(path, names)
    beside = sensitivity_beside(path)
    as_text = kind_of(path) == CSV
    seen: dict[str, str] = {}
    found = []
    for at, row in read_rows(path):
        where = f"{path}, {at}"
        values = {ours: row.get(theirs) for ours, theirs in place.items()}
        case_id, prompt, cluster = (
            as_word(values.get(name), where, name).strip() for name in ("case_id", "prompt", "cluster")
        )
        if not case_id or not prompt:
            raise CaseError(f"{where}: has no {'prompt' if case_id else 'case_id'}. Correct the row.")
        if seen.setdefault(case_id, at) != at:
            raise CaseError(
                f"{where}: case {case_id!r} is there already ({seen[case_id]}). Give it its own id."
            )
        images = _several(values.get("images"), where, "images", as_text=as_text)
        case = Case(
            case_id=case_id,
            cluster=cluster or case_id,
            split=split_of(values.get("split"), where) or "train",
            prompt=prompt,
            images=tuple(images),
            sensitivity=_sensitivity(values.get("sensitivity"), beside, where),
            prompt_discloses=tuple(
                _several(values.get("prompt_discloses"), where, "prompt_discloses", as_text=as_text)
            ),
        )
        truth = dict(_truth(row, values.get("truth"), answer, check, where))
        files = tuple(path.parent / image for image in images)
        reference = as_word(values.get("reference"), where, "reference")
        found.append(TableCase(case=case, files=files, truth=truth, where=where, reference=reference))
    if not found:
        raise CaseError(f"{path}: no case in it. Give another table.")
    return found


def copy_images(cases: Sequence[TableCase], folder: Path) -> list[Case]:
    """Copy every image into ``folder/images``, named by its content, and return the cases that have them.

    What is there already stays. Raises ``CaseError`` for an image that cannot be read.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    copied: dict[Path, str] = {}
    made = []
    with bar("copying images", sum(len(each.files) for each in cases)) as advance:
        for each in cases:
            for file in each.files:
                if file not in copied:
                    copied[file] = _copy(file, folder, each.where)
                advance()
            images = tuple(copied[file] for file in each.files)
            made.append(replace(each.case, images=images))
    return made


def _copy(file: Path, folder: Path, where: str) -> str:
    try:
        data = read_image(file)
    except CaseError as error:
        raise CaseError(f"{where}: {error}") from error
    kind = next(kind for magic, kind in _MAGIC.items() if data.startswith(magic))
    name = f"images/{sha256(data).hexdigest()}{_SUFFIX[kind]}"
    path = folder / name
    if not path.exists():
        with replacing(path) as partial:
            partial.write_bytes(data)
    return name


def _places(path: Path, names: Sequence[str]) -> dict[str, str]:
    known = {name.lower(): name for name in names}
    place = {}
    for ours, words in WORDS.items():
        theirs = next((known[word] for word in words if word in known), None)
        if theirs is not None:
            place[ours] = theirs
    missing = [name for name in NEEDED if name not in place]
    if missing:
        near = get_close_matches(missing[0], names, n=1)
        hint = f"; is it {near[0]!r}?" if near else "."
        raise CaseError(
            f"{path}: no column for {' and '.join(missing)}{hint} Its columns: {listed(names)}. "
            "Rename or add what is missing."
        )
    return place


def _several(value: Any, where: str, name: str, *, as_text: bool) -> list[str]:
    """One name or several: a list, or in a text separated by ``;`` or as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise CaseError(f"{where}: {name} is no JSON list ({error}). Correct the row.") from error
    elif isinstance(value, str) and as_text:
        value = value.split(";")
    items = value if isinstance(value, list) else [value]
    words = [as_word(item, where, name).strip() for item in items]
    if isinstance(value, list | Mapping) and not all(words):
        raise CaseError(f"{where}: {name} holds something without a name or path. Correct the row.")
    return [word for word in words if word]


def _sensitivity(value: Any, beside: str, where: str) -> str:
    said = as_word(value, where, "sensitivity").strip().lower()
    if said and said not in SENSITIVITIES:
        raise CaseError(
            f"{where}: sensitivity {said!r} is neither {' nor '.join(SENSITIVITIES)}. Correct the row."
        )
    return strictest([said or SENSITIVITIES[0], beside])


def _truth(
    row: Mapping[str, Any], whole: Any, answer: str, check: Check, where: str
) -> Iterator[tuple[str, str]]:
    """Finding -> truth, of ``truth`` and of the columns ``truth.NAME``."""
    if isinstance(whole, str) and whole.lstrip().startswith("{"):
        try:
            whole = json.loads(whole)
        except ValueError as error:
            raise CaseError(f"{where}: truth is no JSON ({error}). Correct the row.") from error
    cells = dict(whole) if isinstance(whole, Mapping) else {answer: whole}
    cells |= {name[len(TRUTH) :]: value for name, value in row.items() if name.lower().startswith(TRUTH)}
    for finding, cell in cells.items():
        if cell is None or cell == "":
            continue
        said = check(finding, cell, where)
        if said:
            yield finding, said
