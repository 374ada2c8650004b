"""Opened: a run as the viewer holds it; small columns of all cases in memory, texts on disk."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import StoreError, boundary
from driftbound.records import Case, ClaimStatus, Status
from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import NAME as MANIFEST
from driftbound.store.manifest import one_line
from driftbound.store.plan import made_of
from driftbound.store.sensitivity import of_run
from driftbound.store.streams import CURRENT
from driftbound.store.tables import read_cases
from driftbound.viewer.by_case import ByCase, codes, opened

STANDS = (str(ClaimStatus.AGREED), str(ClaimStatus.UNDECIDED), str(ClaimStatus.CONFLICTING))
"""What the teachers together say of a finding; later ones are worse."""
STATUSES = tuple(str(each) for each in Status)
STUDENTS = ("base", "bootstrapped", "aligned")
ACCEPTED, REJECTED, NO_CONSENSUS = 1, 0, -1
_STATUS_SQL = f"SELECT t.case_id, t.teacher, t.status FROM {CURRENT} WHERE t.wave = 0 AND t.sample = 0"
OTHER = "Another version may have made it: run the stage again, or view it with that version."
Whole = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Right:
    """Of one student, (n, F): 1 right, 0 wrong, -1 not judged, by the headline findings."""

    values: Whole

    def count(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Findings right, and findings judged, of each case."""
        return (self.values == 1).sum(axis=1), (self.values >= 0).sum(axis=1)


class Opened:
    """One run. Columns have a place for each of its n cases, in the order of asking.

    Raises ``StoreError`` for a folder that is no run; what a stage has not left yet is ``None`` or says
    nothing of any case.
    """

    def __init__(self, root: Path, headline: tuple[str, ...]) -> None:
        self.root, self.headline = root, headline
        self.folder = RunFolder(root)
        self.cases: list[Case] = read_cases(self.folder.cases)
        self.place = {case.case_id: n for n, case in enumerate(self.cases)}
        self.splits = tuple(dict.fromkeys(case.split for case in self.cases))
        self.teachers = _teachers(self.folder)
        self.sensitivity = of_run(self.folder)
        self._lock = threading.Lock()
        stage = self.folder.stage
        self.slots = opened(self.folder.slots)
        self.measured = opened(stage("measure") / "cases.parquet")
        self.groups = opened(self.folder.groups)
        self.rejected = opened(stage("synthesize") / "rejected.parquet")
        self.support = opened(stage("synthesize") / "support.parquet")
        self.predictions = opened(stage("evaluate") / "predictions.parquet")
        read = [self.folder.cases, self.folder.streams, self.folder.slots, self.folder.groups]
        read += [stage("measure") / "cases.parquet", stage("evaluate") / "predictions.parquet"]
        read += [stage("synthesize") / name for name in ("rejected.parquet", "support.parquet")]
        self._seen = {path.relative_to(root).as_posix(): _stamp(path) for path in read}

    def __len__(self) -> int:
        return len(self.cases)

    @cached_property
    def split(self) -> NDArray[np.int64]:
        """Number of the split."""
        number = {name: k for k, name in enumerate(self.splits)}
        return np.array([number[case.split] for case in self.cases], dtype=np.int64)

    @cached_property
    def conflict(self) -> NDArray[np.float64]:
        """Share of a case's claims on which the teachers conflict; ``nan``: not measured."""
        return self._numbers(self.measured, "conflict")

    @cached_property
    def unusual(self) -> NDArray[np.bool_]:
        """Cases that measure has flagged."""
        return np.asarray(self._numbers(self.measured, "flagged") == 1)

    @cached_property
    def stands(self) -> Whole:
        """(n, F) place in ``STANDS`` of the worst slot of each headline finding; -1: nobody speaks of it."""
        found = np.full((len(self), len(self.headline)), -1, dtype=np.int8)
        if self.slots is None:
            return found
        table = self.slots.columns("case_id", "finding", "status", "explicit")
        case = codes(table.column("case_id"), self.place)
        finding = codes(table.column("finding"), {name: f for f, name in enumerate(self.headline)})
        status = codes(table.column("status"), {name: s for s, name in enumerate(STANDS)})
        there = (case >= 0) & (finding >= 0) & (table.column("explicit").to_numpy() > 0)
        np.maximum.at(found, (case[there], finding[there]), status[there].astype(np.int8))
        return found

    @cached_property
    def consensus(self) -> Whole:
        """``ACCEPTED``, ``REJECTED`` or ``NO_CONSENSUS``."""
        found = np.full(len(self), NO_CONSENSUS, dtype=np.int8)
        for table, value in ((self.rejected, REJECTED), (self.groups, ACCEPTED)):
            if table is not None:
                own = codes(table.columns("case_id").column("case_id"), self.place)
                found[own[own >= 0]] = value
        return found

    @cached_property
    def supported(self) -> NDArray[np.float64]:
        """Support of the consensus; ``nan`` where there is none."""
        found = self._numbers(self.rejected, "support")
        accepted = self._numbers(self.groups, "support")
        return np.where(np.isnan(accepted), found, accepted)

    @cached_property
    def right(self) -> dict[str, Right]:
        """Of each student that was evaluated; also ``consensus``."""
        if self.predictions is None:
            return {}
        table = self.predictions.columns("case_id", "row", "correct")
        case = codes(table.column("case_id"), self.place)
        names = {f"student:{name}": name for name in STUDENTS} | {"consensus": "consensus"}
        number = {row: k for k, row in enumerate(names)}
        row = codes(table.column("row"), number)
        said = table.column("correct").to_pylist()
        whole = np.full((len(names), len(self), len(self.headline)), -1, dtype=np.int8)
        for at in np.flatnonzero((case >= 0) & (row >= 0)):
            with boundary(StoreError, f"{self.predictions.path}, row {at}", then=OTHER):
                judged: dict[str, bool] = json.loads(said[at] or "{}")
                for f, finding in enumerate(self.headline):
                    if finding in judged:
                        whole[row[at], case[at], f] = bool(judged[finding])
        return {name: Right(whole[k]) for k, name in enumerate(names.values()) if (whole[k] >= 0).any()}

    @cached_property
    def statuses(self) -> Whole:
        """(n, T) place in ``STATUSES`` of each teacher's answer; -1: not asked, or no answer yet."""
        found = np.full((len(self), len(self.teachers)), -1, dtype=np.int8)
        column = {name: t for t, name in enumerate(self.teachers)}
        number = {name: s for s, name in enumerate(STATUSES)}
        with self._lock:
            for case_id, teacher, status in self.answers(_STATUS_SQL):
                n, t = self.place.get(case_id), column.get(teacher)
                if n is not None and t is not None:
                    found[n, t] = number.get(status, -1)
        return found

    def warm(self) -> None:
        """Read now what would be read by the first page that asks for it."""
        for name in ("statuses", "stands", "conflict", "unusual", "consensus", "supported", "right"):
            getattr(self, name)
        for table in (self.slots, self.groups, self.rejected, self.support, self.predictions):
            if table is not None:
                table.ids()

    def changed(self) -> tuple[str, ...]:
        """Files that have been written, made or removed since the run was opened, relative to it."""
        return tuple(name for name, was in self._seen.items() if _stamp(self.root / name) != was)

    def answers(self, sql: str, values: tuple[str, ...] = ()) -> Iterator[Any]:
        """Rows of the teachers' answers. Raises ``StoreError`` where they cannot be read."""
        try:
            with closing(self.connect()) as db:
                yield from db.execute(sql, values)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def connect(self) -> sqlite3.Connection:
        """The answers, to be read alone; an empty database where there are none yet."""
        path = self.folder.streams
        try:
            if not path.is_file():
                return _nothing()
            place = f"file:{quote(str(path.absolute()))}?mode=ro"
            try:
                return _opened_at(place)
            except sqlite3.OperationalError:
                # Unfinished, in a folder that cannot be written: no log lies beside it, nor can one.
                if path.with_name(f"{path.name}-wal").exists():
                    raise
                return _opened_at(f"{place}&immutable=1")
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self.folder.streams}: cannot be read ({one_line(error)}). "
            "Restore it, or run 'driftbound collect' again."
        )

    def finished(self) -> dict[str, bool]:
        """Stage -> whether it has come to its end."""
        return {verb: (self.folder.stage(verb) / MANIFEST).is_file() for verb in VERBS}

    def _numbers(self, table: ByCase | None, name: str) -> NDArray[np.float64]:
        found = np.full(len(self), np.nan)
        if table is not None:
            columns = table.columns("case_id", name)
            case = codes(columns.column("case_id"), self.place)
            with boundary(StoreError, f"{table.path}: column {name!r}", then=OTHER):
                values = columns.column(name).cast("float64").to_numpy()
            found[case[case >= 0]] = values[case >= 0]
        return found


def _stamp(path: Path) -> tuple[int, int, int]:
    """Which file lies there, its size and time; zeros where none does."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _opened_at(place: str) -> sqlite3.Connection:
    """A database to read; an empty one where there are no answers in it yet."""
    db = sqlite3.connect(place, uri=True, timeout=10)
    try:
        there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'trajectories'").fetchone()
    except sqlite3.Error:
        db.close()
        raise
    if there:
        return db
    db.close()
    return _nothing()


def _nothing() -> sqlite3.Connection:
    from driftbound.store.schema import OTHERS, TRAJECTORIES

    db = sqlite3.connect(":memory:")
    for statement in (TRAJECTORIES, *OTHERS):
        db.execute(statement)
    return db


def _teachers(folder: RunFolder) -> tuple[str, ...]:
    """In the order of the recipe that was run."""
    for verb in ("collect", "measure"):
        if folder.stage(verb).is_dir() and (made := made_of(folder.stage(verb))) is not None:
            with boundary(StoreError, f"{folder.stage(verb)}: the teachers it names", then=OTHER):
                return tuple(str(each["name"]) for each in made.plan.config.get("teachers", []))
    return ()
