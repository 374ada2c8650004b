"""References: the report that a person wrote of a case, beside the truth and as hidden as it is."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from driftbound.errors import CaseError, StoreError
from driftbound.store.manifest import one_line
from driftbound.store.tables import read_rows, write_rows

REFERENCES = pa.schema([("case_id", pa.string()), ("text", pa.string())])


def references_beside(truth: Path) -> Path:
    """Where the references of the cases of a truth file lie: in its folder, outside the run.

    >>> references_beside(Path("runs/demo.truth.parquet")).as_posix()
    'runs/demo.references.parquet'
    """
    own = [part for part in truth.stem.split(".") if part != "truth"]
    return truth.with_name(".".join([*own, "references"]) + truth.suffix)


def write_references(truth: Path, texts: Mapping[str, str]) -> None:
    """Write case -> text beside ``truth``; texts without a word are left out, and with none there is no file.

    An older file goes. Raises ``StoreError`` when the file system refuses.
    """
    path = references_beside(truth)
    rows = [{"case_id": case_id, "text": text} for case_id, text in texts.items() if text.strip()]
    if rows:
        write_rows(path, rows, REFERENCES)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed ({one_line(error)}). Remove it.") from error


def read_references(truth: Path) -> dict[str, str]:
    """Case -> text, of the references beside ``truth``; empty where there are none. Raises ``CaseError``."""
    path = references_beside(truth)
    if not path.is_file():
        return {}
    cure = "Put the file back as the field wrote it, or remove it; evaluate then goes without references."
    try:
        rows = read_rows(path)
        found = {row["case_id"]: row["text"] for row in rows}
    except (StoreError, KeyError) as error:
        raise CaseError(f"{path}: holds no references ({one_line(error)}). {cure}") from error
    if len(found) < len(rows) or not all(isinstance(each, str) for pair in found.items() for each in pair):
        raise CaseError(f"{path}: a case is there twice, or without its name or text. {cure}")
    return found
