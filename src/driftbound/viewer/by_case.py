"""By case: the rows of one case in a Parquet file, without holding the file."""

import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftbound.errors import StoreError
from driftbound.store.manifest import one_line

HELD = 4
"""So many of a file's row groups are kept in memory, the last ones that were asked for."""


class ByCase:
    """A table with a column ``case_id``; raises ``StoreError`` where it is none or cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()  # a file is read by one thread at a time
        self._file = self._guarded(lambda: pq.ParquetFile(path, pre_buffer=False))
        if "case_id" not in self._file.schema_arrow.names:
            raise StoreError(f"{path}: column 'case_id' is missing. Run its stage again.")
        self._where: dict[str, tuple[int, ...]] | None = None
        self._group = lru_cache(maxsize=HELD)(self._read_group)

    def ids(self) -> Iterable[str]:
        """Of which cases there are rows, in the order of the file."""
        return self._places().keys()

    def rows(self, case_id: str) -> list[dict[str, Any]]:
        """The rows of a case, in the order of the file."""
        found: list[dict[str, Any]] = []
        for number in self._places().get(case_id, ()):
            table = self._group(number)
            mask = pa.compute.equal(table.column("case_id"), case_id)
            found += table.filter(mask).to_pylist()
        return found

    def columns(self, *names: str) -> pa.Table:
        """Some columns, whole; strings as dictionaries."""
        missing = [name for name in names if name not in self._file.schema_arrow.names]
        if missing:
            raise StoreError(f"{self.path}: column {missing[0]!r} is missing. Run its stage again.")
        strings = [name for name in names if self._file.schema_arrow.field(name).type == pa.string()]
        return self._guarded(lambda: pq.read_table(self.path, columns=list(names), read_dictionary=strings))

    def parts(self, *names: str) -> Iterator[pa.Table]:
        """Some columns, a row group at a time."""
        for number in range(self._file.num_row_groups):
            yield self._guarded(lambda number=number: self._file.read_row_group(number, columns=list(names)))

    def _places(self) -> dict[str, tuple[int, ...]]:
        """Case -> its row groups."""
        if self._where is None:
            found: dict[str, list[int]] = {}
            for number in range(self._file.num_row_groups):
                ids = self._guarded(
                    lambda number=number: self._file.read_row_group(number, columns=["case_id"])
                )
                for case_id in ids.column("case_id").unique().to_pylist():
                    found.setdefault(case_id, []).append(number)
            self._where = {case_id: tuple(numbers) for case_id, numbers in found.items()}
        return self._where

    def _read_group(self, number: int) -> pa.Table:
        return self._guarded(lambda: self._file.read_row_group(number))

    def _guarded(self, read: Any) -> Any:
        try:
            with self._lock:
                return read()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise StoreError(
                f"{self.path}: cannot be read ({one_line(error)}). Run its stage again."
            ) from error


def opened(path: Path) -> ByCase | None:
    """The table, or ``None`` where its stage has not come so far."""
    return ByCase(path) if path.is_file() else None


def codes(column: pa.ChunkedArray, known: dict[str, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number of each value of a string column in ``known``; -1 where it is none of them."""
    whole = column.combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    numbers = np.array([known.get(word, -1) for word in whole.dictionary.to_pylist()], dtype=np.int64)
    index = whole.indices.to_numpy(zero_copy_only=False)
    return numbers[index] if len(numbers) else np.full(len(whole), -1, dtype=np.int64)
