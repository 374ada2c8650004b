"""Row files: JSON lines, JSON arrays, CSV and Parquet, read and written row by row in little memory."""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from driftbound.errors import StoreError
from driftbound.store.manifest import one_line, replacing

Row = dict[str, Any]
Before = Callable[[Path, int], None]
"""Called with the complete file and its number of rows, just before it takes its place."""

LINES, ARRAY, TABLE, CSV, STREAMS = "JSON lines", "JSON array", "Parquet", "CSV", "streams.sqlite"
FIRST = 100
"""So many rows say which columns a file has."""
_GROUP = 500
"""Rows of a Parquet row group: what is held in memory at once."""
_BATCH = 256
_CHUNK = 1 << 20
_LONGEST = 64 << 20
"""Characters of one row of a JSON array, at most."""
PARQUET = b"PAR1"
"""First bytes of a Parquet file."""
_SQLITE = b"SQLite format 3\0"
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Line breaks to some readers, though not to JSON; the lower ones are escaped anyway."""


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]], before: Before | None = None) -> int:
    """Write rows as JSON lines, whole or not at all; returns how many.

    Raises ``StoreError`` for what is no JSON (``nan``, half a Unicode character) and whatever the
    file system refuses.
    """
    n = 0
    with replacing(path) as partial:
        with partial.open("wb") as file:
            for n, row in enumerate(rows, start=1):
                try:
                    file.write(as_line(row))
                except ValueError as error:
                    raise StoreError(
                        f"{path}, row {n}: cannot be written ({one_line(error)}). Take out the value."
                    ) from error
        if before:
            before(partial, n)
    return n


def as_line(row: Mapping[str, Any]) -> bytes:
    """One row as a line of JSON that no reader splits in two. Raises ``ValueError``."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return (text if text.isascii() else text.translate(_LINE_BREAKS)).encode() + b"\n"


def write_table(
    path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, before: Before | None = None
) -> int:
    """Write rows as Parquet in row groups, whole or not at all; returns how many. Raises ``StoreError``."""
    n, left = 0, iter(rows)
    with replacing(path) as partial:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            while chunk := [dict(row) for row in islice(left, _GROUP)]:
                try:
                    writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
                except (pa.ArrowException, ValueError, OverflowError) as error:
                    raise StoreError(
                        f"{path}, rows {n + 1} to {n + len(chunk)}: cannot be written ({one_line(error)}). "
                        "Take out the value."
                    ) from error
                n += len(chunk)
        if before:
            before(partial, n)
    return n


def kind_of(path: Path) -> str:
    """What a file is, by its first bytes (CSV by its name). Raises ``StoreError`` for anything else."""
    with _readable(path), path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(PARQUET):
        return TABLE
    if head.startswith(_SQLITE):
        return STREAMS
    if path.suffix.lower() == ".csv":
        return CSV
    mark = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if mark not in (b"[", b"{"):
        what = "is empty" if not mark else "is none of JSON lines, a JSON array, Parquet, CSV, streams.sqlite"
        raise StoreError(f"{path}: {what}. Give another file.")
    return ARRAY if mark == b"[" else LINES


def is_streams(path: Path) -> bool:
    """Whether a file is a ``streams.sqlite``, whatever it is called. Raises ``StoreError``."""
    with _readable(path), path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def columns_of(path: Path) -> list[str]:
    """Names of the columns: a table's, or the keys of the first rows, in order. Raises ``StoreError``."""
    if kind_of(path) == TABLE:
        with _readable(path), pq.ParquetFile(path) as table:
            names: list[str] = table.schema_arrow.names
            return names
    found: dict[str, None] = {}
    for _, row in islice(read_rows(path), FIRST):
        found |= dict.fromkeys(row)
    return list(found)


def read_rows(path: Path, columns: Collection[str] | None = None) -> Iterator[tuple[str, Row]]:
    """Rows one by one, each with where it stands, such as ``line 7``.

    Of Parquet only ``columns`` are read, and no images in them but their paths. Raises
    ``StoreError`` naming the row that cannot be read.
    """
    kind = kind_of(path)
    if kind == STREAMS:
        raise StoreError(
            f"{path}: is no file of rows but a run's answers. Name it where those are asked for."
        )
    with _readable(path):
        if kind == TABLE:
            yield from _table(path, columns)
        elif kind == ARRAY:
            yield from _array(path)
        elif kind == CSV:
            yield from _csv(path)
        else:
            yield from _lines(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the file system and the parsers refuse into one line."""
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise StoreError(
            f"{path}: cannot be read ({one_line(error)}). Check the path and the file."
        ) from error


def _lines(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as file:
        for n, line in enumerate(file, start=1):
            if n == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StoreError(
                    f"{path}, line {n}: is no JSON ({one_line(error)}). Correct the line."
                ) from error
            if not isinstance(row, dict):
                raise StoreError(f"{path}, line {n}: is no table of columns. Correct the line.")
            yield f"line {n}", row


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise StoreError(f"{path}: two columns have the same name. Rename one of them.")
        for row in reader:
            if None in row or None in row.values():
                raise StoreError(
                    f"{path}, line {reader.line_num}: does not have {len(names)} columns. Correct it."
                )
            yield f"line {reader.line_num}", dict(row)


def _table(path: Path, columns: Collection[str] | None) -> Iterator[tuple[str, Row]]:
    with pq.ParquetFile(path, buffer_size=_CHUNK) as table:
        paths = [table.schema.column(n).path for n in range(len(table.schema))]
        leaves = [
            leaf
            for leaf in paths
            if (columns is None or any(leaf == name or leaf.startswith(f"{name}.") for name in columns))
            and not leaf.endswith(".bytes")
        ]
        n = 0
        for batch in table.iter_batches(batch_size=_BATCH, columns=leaves):
            for row in batch.to_pylist():
                n += 1
                yield f"row {n}", row


def _array(path: Path) -> Iterator[tuple[str, Row]]:
    """Rows of a list that need not fit in memory."""
    with path.open(encoding="utf-8-sig") as file:
        reader = _Reader(path, file.read)
        reader.take("[")
        n, mark = 0, "]" if reader.mark() == "]" else ","
        while mark == ",":
            n += 1
            yield f"row {n}", reader.row(n)
            mark = reader.take(",]")
        if n == 0:
            reader.take("]")
        reader.take("")


class _Reader:
    """The text of a JSON array, of which only the part at work is held."""

    def __init__(self, path: Path, read: Callable[[int], str]) -> None:
        self._path = path
        self._read = read
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder()
        self._after = "at its beginning"

    def mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, marks: str) -> str:
        """Go past one of ``marks``, or be at the end where there are none."""
        mark = self.mark()
        if mark not in marks if mark else marks:
            raise self._broken(f"{mark!r}" if mark else "the end of the file")
        self._at += len(mark)
        return mark

    def row(self, n: int) -> Row:
        """The next row."""
        self._after = f"in row {n}"
        if self.mark() != "{":
            raise self._broken("something that is no table of columns")
        while True:
            try:
                row, self._at = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > _LONGEST or not self._more():
                    raise self._broken(one_line(error)) from error
                continue
            self._after = f"after row {n}"
            found: Row = row
            return found

    def _more(self) -> bool:
        """Double what is held of the present row."""
        more = self._read(max(_CHUNK, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def _broken(self, found: str) -> StoreError:
        return StoreError(f"{self._path}: {self._after} is {found}. Correct the file, or write JSON lines.")
