"""Database: one SQLite file, opened, checked, brought up to date and closed; its errors in one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from driftbound.errors import StoreError
from driftbound.store import schema
from driftbound.store.manifest import one_line


class Database:
    """The streams' file. A context manager; use it from one thread.

    Every method raises ``StoreError`` when the file cannot be read or written, with what was
    committed before untouched.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path`` for reading and writing; file and folder are created, an older file is migrated."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path.parent}: cannot be made ({one_line(error)}). Choose another folder."
            ) from error
        with self.guard("opened"):
            self.db = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            self._prepare()
        except BaseException:
            self.db.close()
            raise

    @classmethod
    def open_readonly(cls, path: Path) -> Self:
        """Open the finished file of ``collect``. Raises ``StoreError`` when there is none."""
        nothing = f"{path}: no answers collected yet. Run 'driftbound collect' with this recipe first."
        if not path.is_file():
            raise StoreError(nothing)
        self = cls.__new__(cls)
        self.path = path
        with self.guard("opened"):
            self.db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=10)
        try:
            with self.guard("read"):
                if self._is_empty():
                    raise StoreError(nothing)
                if self._version() != schema.VERSION:
                    raise StoreError(
                        f"{path}: collected by an older driftbound. "
                        "Run 'driftbound collect' with its recipe to bring it up to date; no answer is lost."
                    )
        except BaseException:
            self.db.close()
            raise
        return self

    def _prepare(self) -> None:
        with self.guard("opened"):
            empty = self._is_empty()
            version = schema.VERSION if empty else self._version()
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = FULL")
            if empty:
                with self.transaction():
                    schema.create(self.db)
            elif version < schema.VERSION:
                with self.transaction():
                    schema.migrate(self.db, version)

    def _is_empty(self) -> bool:
        """Whether there is no table yet: a new file, or one whose maker was killed at once."""
        return not self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def _version(self) -> int:
        """Version of the file's schema; raises ``StoreError`` for a foreign or a newer file."""
        kind = self.db.execute("PRAGMA application_id").fetchone()[0]
        version: int = self.db.execute("PRAGMA user_version").fetchone()[0]
        if kind != schema.APPLICATION_ID:
            raise StoreError(
                f"{self.path}: not a file of driftbound's streams. Move it away and collect again."
            )
        if not 1 <= version <= schema.VERSION:
            raise StoreError(
                f"{self.path}: schema {version}, but this driftbound reads up to {schema.VERSION}. "
                "Use the version that wrote it."
            )
        return version

    @contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """Turn what SQLite and the file system refuse into one line."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path}: cannot be {doing} ({one_line(error)}). "
                "Check space, rights and the file, then run again: what was committed stays."
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing."""
        with self.guard("written"):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    @staticmethod
    def lacks_its_log(path: Path) -> bool:
        """Whether a file was copied in the middle of being written, without its write-ahead log.

        Byte 18 of the header tells a file that has such a log (SQLite, database file format).
        """
        with path.open("rb") as file:
            header = file.read(20)
        return header[18:19] == b"\x02" and not path.with_name(path.name + "-wal").exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is committed already."""
        self.db.close()

    def seal(self) -> None:
        """Fold the write-ahead log in, so that the one file is complete by itself.

        While another program has the file open, its log stays beside it: nothing is lost by that.
        """
        with self.guard("written"):
            try:
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.db.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
