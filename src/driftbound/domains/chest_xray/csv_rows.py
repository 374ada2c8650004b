"""CSV rows of the data sets: plain or gzip, by the columns' names, each row with where it stands."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from driftbound.errors import CaseError
from driftbound.store.manifest import one_line


def rows_of(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """``(FILE, line N)`` and column -> cell, of each row of ``path`` or of ``path`` with ``.gz``.

    Columns are found by their names, whatever their order; others than ``needed`` come along. Raises
    ``CaseError``, naming file and line: a file that is missing or cannot be read, a needed column that is
    not there, two columns of one name, a row of more or fewer cells.
    """
    packed = path.with_name(f"{path.name}.gz")
    here = packed if packed.is_file() and not path.is_file() else path
    try:
        with io.TextIOWrapper(
            gzip.open(here) if here == packed else here.open("rb"), encoding="utf-8-sig", newline=""
        ) as file:
            yield from _rows(here, csv.DictReader(file, strict=True), needed)
    except FileNotFoundError:
        raise CaseError(f"{path}: is missing, and so is {packed.name}. Check the folder.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{here}: cannot be read ({one_line(error)}). Restore the file.") from error


def _rows(
    path: Path, reader: "csv.DictReader[str]", needed: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    columns = list(reader.fieldnames or ())
    shown = ", ".join(columns) or "none"
    for name in needed:
        if name not in columns:
            near = get_close_matches(name, [each for each in columns if each not in needed], n=1)
            hint = f" Is it {near[0]!r}, of another release?" if near else ""
            raise CaseError(
                f"{path}: no column {name!r}. Its columns: {shown}.{hint} Give the set's own file."
            )
    if len(set(columns)) < len(columns):
        raise CaseError(f"{path}: two columns have one name. Its columns: {shown}. Rename one of them.")
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise CaseError(f"{where}: does not have {len(columns)} cells. Correct the row.")
        yield where, row
