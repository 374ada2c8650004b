"""Streams: every answer of every teacher in one SQLite file, committed before it counts as done."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from driftbound.errors import StoreError
from driftbound.records import Status, Trajectory
from driftbound.store.manifest import one_line

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x44524654  # "DRFT"
_COLUMNS = tuple(each.name for each in fields(Trajectory))
_values = attrgetter(*_COLUMNS)
_KEY = ("case_id", "teacher", "sample", "wave")
_TYPES = {
    "sample": "INTEGER",
    "wave": "INTEGER",
    "prompt_tokens": "INTEGER",
    "completion_tokens": "INTEGER",
} | {"latency_s": "REAL"}
_TIMES = frozenset({"created_at", "latency_s"})
_CREATE = (
    "CREATE TABLE trajectories ("
    + ", ".join(f"{name} {_TYPES.get(name, 'TEXT')} NOT NULL" for name in _COLUMNS)
    + f", PRIMARY KEY ({', '.join(_KEY)})) WITHOUT ROWID"
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM trajectories"
_ORDER = f" ORDER BY {', '.join(_KEY)}"
_PUT = (
    f"INSERT INTO trajectories ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
    + f" WHERE trajectories.status = '{Status.FAILED.value}'"
)


class Streams:
    """All trajectories of a run.

    A context manager; use it from one thread. Every method raises ``StoreError`` when the file
    cannot be read or written, with what was committed before untouched.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path`` for reading and writing; file and folder are created."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path.parent}: cannot be made ({one_line(error)}). Choose another folder."
            ) from error
        with self._guard("opened"):
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def open_readonly(cls, path: Path) -> Self:
        """Open the finished file of ``collect``. Raises ``StoreError`` when there is none."""
        nothing = f"{path}: no answers collected yet. Run 'driftbound collect' with this recipe first."
        if not path.is_file():
            raise StoreError(nothing)
        self = cls.__new__(cls)
        self.path = path
        with self._guard("opened"):
            self._db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=10)
        try:
            with self._guard("read"):
                if self._is_empty():
                    raise StoreError(nothing)
                self._check_schema()
        except BaseException:
            self._db.close()
            raise
        return self

    def _prepare(self) -> None:
        with self._guard("opened"):
            empty = self._is_empty()
            if not empty:
                self._check_schema()
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if empty:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute(_CREATE)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                self._db.execute("COMMIT")

    def _is_empty(self) -> bool:
        """Whether there is no table yet: a new file, or one whose maker was killed at once."""
        return not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def _check_schema(self) -> None:
        kind = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if kind != _APPLICATION_ID:
            raise StoreError(
                f"{self.path}: not a file of driftbound's streams. Move it away and collect again."
            )
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: schema {version}, but this driftbound reads {SCHEMA_VERSION}. "
                "Use the version that wrote it."
            )

    @contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path}: cannot be {doing} ({one_line(error)}). "
                "Check space, rights and the file, then run again: what was committed stays."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is committed already."""
        self._db.close()

    def seal(self) -> None:
        """Fold the write-ahead log in, so that the one file is complete by itself."""
        with self._guard("written"):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute("PRAGMA journal_mode = DELETE")

    def put(self, trajectory: Trajectory) -> None:
        """Store and commit one trajectory; see ``put_many``."""
        self.put_many([trajectory])

    def put_many(self, trajectories: Iterable[Trajectory]) -> None:
        """Store trajectories and commit them together, or none of them.

        A failed row of the same key (case, teacher, sample, wave) is replaced. Raises
        ``StoreError`` when a key is final already: an answer is never overwritten.
        """
        with self._guard("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for trajectory in trajectories:
                    if self._db.execute(_PUT, _values(trajectory)).rowcount != 1:
                        key = tuple(getattr(trajectory, name) for name in _KEY)
                        raise StoreError(
                            f"{self.path}: {key} has a final answer, which is never overwritten. "
                            "Use another wave."
                        )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, where: str = "", values: tuple[str | int, ...] = ()) -> list[Trajectory]:
        with self._guard("read"):
            found = self._db.execute(_SELECT + where + _ORDER, values).fetchall()
        given = (dict(zip(_COLUMNS, row, strict=True)) for row in found)
        return [Trajectory(**row | {"status": Status(row["status"])}) for row in given]

    def get(self, case_id: str, teacher: str, sample: int = 0, wave: int = 0) -> Trajectory | None:
        """One trajectory, or ``None`` when that was never asked."""
        found = self._rows(
            " WHERE case_id = ? AND teacher = ? AND sample = ? AND wave = ?", (case_id, teacher, sample, wave)
        )
        return found[0] if found else None

    def all(self) -> list[Trajectory]:
        """Every trajectory, sorted by case, teacher, sample and wave (by code point)."""
        return self._rows()

    def of_teacher(self, teacher: str) -> list[Trajectory]:
        """One teacher's stream, sorted as in ``all``."""
        return self._rows(" WHERE teacher = ?", (teacher,))

    def final_keys(self, wave: int = 0) -> set[tuple[str, str, int]]:
        """``(case_id, teacher, sample)`` of everything that need not be asked again."""
        return set(self.final_requests(wave))

    def final_requests(self, wave: int = 0) -> dict[tuple[str, str, int], str]:
        """As ``final_keys``, each with the hash of the request that was answered."""
        with self._guard("read"):
            found = self._db.execute(
                "SELECT case_id, teacher, sample, request_hash FROM trajectories "
                "WHERE status != ? AND wave = ?",
                (Status.FAILED.value, wave),
            ).fetchall()
        return {(case_id, teacher, sample): request for case_id, teacher, sample, request in found}

    def counts(self) -> dict[str, dict[str, int]]:
        """Teacher -> status -> number of trajectories; teachers and statuses sorted."""
        return self._tally("status")

    def versions(self) -> dict[str, dict[str, int]]:
        """Teacher -> version that the endpoint reported -> number of final trajectories."""
        return self._tally("version", f" WHERE status != '{Status.FAILED.value}'")

    def _tally(self, column: str, where: str = "") -> dict[str, dict[str, int]]:
        with self._guard("read"):
            found = self._db.execute(
                f"SELECT teacher, {column}, count(*) FROM trajectories{where} GROUP BY 1, 2 ORDER BY 1, 2"
            ).fetchall()
        tally: dict[str, dict[str, int]] = {}
        for teacher, value, n in found:
            tally.setdefault(teacher, {})[value] = n
        return tally

    def last_error(self, teacher: str) -> str:
        """What the latest failed answer of a teacher said; empty when none failed."""
        with self._guard("read"):
            found = self._db.execute(
                "SELECT error FROM trajectories WHERE teacher = ? AND status = ? "
                "ORDER BY created_at DESC LIMIT 1",
                (teacher, Status.FAILED.value),
            ).fetchone()
        return found[0] if found else ""

    def digest(self) -> str:
        """sha256 over all trajectories but not their times, whatever the order they came in."""
        whole = hashlib.sha256()
        for trajectory in self._rows():
            said = {name: getattr(trajectory, name) for name in _COLUMNS if name not in _TIMES}
            whole.update(json.dumps(said, sort_keys=True).encode() + b"\n")
        return whole.hexdigest()
