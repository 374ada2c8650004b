"""Exchange of trajectories: written to and read from JSON lines and Parquet, without loss."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from driftbound.errors import StoreError
from driftbound.records import Status, Trajectory
from driftbound.store.folder import STREAMS as STREAMS_FILE
from driftbound.store.manifest import NAME as MANIFEST
from driftbound.store.manifest import Manifest, atomic_write_text, one_line
from driftbound.store.rowfiles import (
    PARQUET,
    STREAMS,
    Before,
    Row,
    is_streams,
    kind_of,
    read_rows,
    write_lines,
    write_table,
)
from driftbound.store.streams import Streams
from driftbound.store.tables import SENSITIVITIES

BESIDE = ".manifest.json"
"""Ending that the name of a file gets for the manifest beside it."""
IMPORTS = f"{STREAMS_FILE}.imports.jsonl"
"""What was taken in from elsewhere, a line for each file; stands and stays beside the answers."""

_FIELDS = {each.name: each for each in fields(Trajectory)}
_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    Status: pa.string(),
}
TRAJECTORY_SCHEMA = pa.schema([(each.name, _ARROW[each.type]) for each in fields(Trajectory)])
OF_CASE = ("split", "cluster", "question", "film", "sensitivity", "images")
"""Columns that the shards of a data set folder have besides."""
MARK = "driftbound"
"""Key of a Parquet file's own metadata under which it says how sensitive it is."""
_CURE = "Answers that were made elsewhere are imported with --teacher NAME."


def write_trajectories(path: Path, rows: Iterable[Trajectory], before: Before | None = None) -> int:
    """Write trajectories in the given order, whole or not at all; returns how many.

    ``path`` ends in ``.jsonl`` or ``.parquet``. Raises ``StoreError`` for another ending, a value that
    could not be read back, and whatever the file system refuses.
    """
    if path.suffix not in (".jsonl", ".parquet"):
        raise StoreError(f"{path}: is neither .jsonl nor .parquet. Give the file one of these endings.")
    found = ({name: getattr(each, name) for name in _FIELDS} for each in rows)
    checked = (_checked(row, f"{path}, row {n}") for n, row in enumerate(found, start=1))
    if path.suffix == ".parquet":
        return write_table(path, checked, TRAJECTORY_SCHEMA, before)
    return write_lines(path, checked, before)


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """Trajectories in the order they were written, one by one; those of a ``streams.sqlite`` sorted, those
    of a data set folder shard by shard.

    A field with a default may be missing. Raises ``StoreError`` naming the row that is none of a
    trajectory.
    """
    if path.is_dir():
        for shard in shards_of(path):
            yield from read_trajectories(shard)
        return
    if kind_of(path) == STREAMS:
        with Streams.open_readonly(path) as streams:
            yield from streams.each()
        return
    for place, row in read_rows(path):
        where = f"{path}, {place}"
        for name in OF_CASE:
            row.pop(name, None)
        checked = _checked(row, where)
        yield Trajectory(**checked | {"status": Status(checked["status"])})


def shards_of(folder: Path) -> list[Path]:
    """The shards of a data set folder that driftbound has made. Raises ``StoreError`` where it is none."""
    shards = sorted((folder / "data").glob("*.parquet"))
    if Manifest.read(folder) is None or not shards:
        raise StoreError(f"{folder}: is no data set folder of driftbound's. Name a file, or such a folder.")
    return shards


def is_ours(columns: Iterable[str]) -> bool:
    """Whether columns are those of trajectories that driftbound has written."""
    return {"case_id", "teacher", "status", "text", "request_hash"} <= set(columns) <= {*_FIELDS, *OF_CASE}


def _checked(row: Mapping[str, Any], where: str) -> Row:
    """The row with each value of its field's own type. Raises ``StoreError``."""
    for name in _FIELDS:
        if name not in row and _FIELDS[name].default is MISSING:
            raise StoreError(f"{where}: {name!r} of a trajectory is missing. {_CURE}")
    checked: Row = {}
    for name, value in row.items():
        if name not in _FIELDS:
            raise StoreError(f"{where}: a trajectory has no {name!r}. Take the column out. {_CURE}")
        kind = _FIELDS[name].type
        why = _trouble(value, kind) or (name == "prompt_discloses" and not_a_list(value)) or ""
        if why:
            raise StoreError(f"{where}: {name!r} {why}. Correct the file.")
        checked[name] = float(value) if kind is float else str(value) if kind is Status else value
    return checked


def _trouble(value: Any, kind: Any) -> str:
    """Why a value is none of a kind, or could not be stored; empty if it can."""
    if kind is Status:
        return "" if value in tuple(Status) else f"is {value!r}, which is none of {', '.join(Status)}"
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or isinstance(value, bool):
        return f"is of type {type(value).__name__}, not {kind.__name__}"
    if isinstance(value, str):
        return "" if is_unicode(value) else "holds half a Unicode character"
    if isinstance(value, float):
        return "" if isfinite(value) else f"is {value}"
    return "" if -(2**63) <= value < 2**63 else "is beyond 64 bits"


def not_a_list(text: str) -> str:
    """Why a text is no JSON list of names; empty if it is one, or empty.

    >>> not_a_list(""), not_a_list('["Edema"]'), not_a_list("Edema")
    ('', '', 'is no JSON list of names')
    """
    try:
        given = json.loads(text) if text else []
    except ValueError:
        given = None
    fits = isinstance(given, list) and all(isinstance(name, str) for name in given)
    return "" if fits else "is no JSON list of names"


def is_unicode(text: str) -> bool:
    """Whether a text can be stored: JSON may hold half a character, UTF-8 and SQLite may not.

    >>> is_unicode("β\\0"), is_unicode("\\ud83d")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def manifest_beside(path: Path) -> Path:
    """Where the manifest of a single file stands.

    >>> manifest_beside(Path("out/rows.jsonl")).name
    'rows.jsonl.manifest.json'
    """
    return path.with_name(path.name + BESIDE)


def write_beside(path: Path, manifest: Manifest) -> None:
    """Write the manifest of a single file beside it. Raises ``StoreError``."""
    atomic_write_text(manifest_beside(path), manifest.as_text())


def sensitivity_beside(path: Path) -> str:
    """What the manifest beside a file says of its sensitivity; ``public`` where there is none.

    A run's ``streams.sqlite`` says it itself: by its cases, and by what was taken into it. Raises
    ``StoreError`` for what cannot be read or does not say.
    """
    if path.is_file() and is_streams(path):
        with Streams.open_readonly(path) as streams, streams.guard("read"):
            kinds = streams.db.execute("SELECT DISTINCT sensitivity FROM cases").fetchall()
        return strictest([*(kind for (kind,) in kinds), imported_sensitivity(path.parent)])
    beside = path / MANIFEST if path.is_dir() else manifest_beside(path)
    try:
        within = None if path.is_dir() or beside.exists() else _marked(path)
        if within is None and not beside.exists():
            return SENSITIVITIES[0]
        given = json.loads(within or beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{beside}: cannot be read ({one_line(error)}). Restore the file.") from error
    said = given.get("sensitivity") if isinstance(given, dict) else None
    if said not in SENSITIVITIES:
        raise StoreError(
            f"{beside}: does not say whether it is {' or '.join(SENSITIVITIES)}. Restore the file."
        )
    return str(said)


def _marked(path: Path) -> str | None:
    """What a Parquet file says of itself: a shard that has left its folder is as sensitive as that."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(len(PARQUET)) != PARQUET:
            return None
    with pq.ParquetFile(path) as table:
        found = (table.schema_arrow.metadata or {}).get(MARK.encode())
    return None if found is None else str(found, "utf-8")


def note_import(folder: Path, record: Mapping[str, Any]) -> None:
    """Note in the folder of ``collect`` what was taken in, and its ``sensitivity``. Raises ``StoreError``."""
    path = folder / IMPORTS
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Restore the file.") from error
    line = json.dumps(record, ensure_ascii=False, sort_keys=True)
    if line in before.splitlines():
        return  # noted already
    atomic_write_text(path, f"{before}{line}\n")


def imported_sensitivity(folder: Path) -> str:
    """The strictest of all that was taken in; ``public`` where nothing was. Raises ``StoreError``."""
    path = folder / IMPORTS
    if not path.exists():
        return SENSITIVITIES[0]
    return strictest(str(row.get("sensitivity")) for _, row in read_rows(path))


def strictest(sensitivities: Iterable[str]) -> str:
    """``public`` if all are, else ``credentialed``.

    >>> strictest(["public", "credentialed"]), strictest([])
    ('credentialed', 'public')
    """
    return SENSITIVITIES[any(each != SENSITIVITIES[0] for each in sensitivities)]
