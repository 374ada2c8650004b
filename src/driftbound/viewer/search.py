"""Search: which cases have a text with these words; an index made once, in the background, beside the run."""

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import StoreError
from driftbound.progress import Pace, bar, say
from driftbound.store.manifest import one_line
from driftbound.store.streams import CURRENT
from driftbound.viewer.opened import Opened

FOLDER = ".view"
"""In the run's folder; it may be removed at any time."""
VERSION = 2
"""Of what an index looks like; one of another version is made anew."""
BUDGET_S = 0.1
"""So long texts are read one by one while there is no index yet."""
_AT_ONCE = 2000
_WORD = re.compile(r"[^\W_]+")
_TEXTS = f"SELECT t.case_id, t.text FROM {CURRENT} WHERE t.wave = 0 AND t.sample = 0"


class Search:
    """Words of the teachers' answers and of the consensus; case and order of the words do not count."""

    def __init__(self, run: Opened) -> None:
        self._run = run
        self._path = run.root / FOLDER / f"words-{VERSION}-{_identity(run)}.sqlite"
        self.failed = ""
        """Why there will be no index; empty while there may be one."""
        self._total = max(len(run) * max(len(run.teachers), 1), 1)
        self._pace = Pace(self._total)

    @property
    def ready(self) -> bool:
        """Whether the index is there."""
        return not self.failed and self._path.is_file()

    @property
    def progress(self) -> float:
        """Share of the cases that the index holds so far."""
        return 1.0 if self.ready else min(self._pace.done / self._total, 1.0)

    @property
    def left_s(self) -> float | None:
        """Seconds until the index is there; ``None``: nobody knows yet."""
        return self._pace.left_s()

    def make(self) -> None:
        """Make the index; what goes wrong is kept in ``failed``, and searching goes on without."""
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(exist_ok=True)
            partial.unlink(missing_ok=True)
            with closing(sqlite3.connect(partial)) as db:
                db.execute("PRAGMA journal_mode = OFF")
                db.execute("PRAGMA synchronous = OFF")
                db.execute("PRAGMA cache_size = -20000")  # 20 MB
                db.execute("CREATE VIRTUAL TABLE words USING fts5(text, content='', detail=none)")
                db.execute("CREATE TABLE place (rowid INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
                with bar("view: index of words", self._total, moving=False, brief=True) as advance:
                    for start, rows in enumerate(self._batches()):
                        _put(db, start * _AT_ONCE, rows)
                        self._pace.add(len(rows))
                        advance(len(rows))
                db.commit()
            partial.replace(self._path)
            for old in self._path.parent.glob("words-*"):
                if old != self._path:
                    old.unlink(missing_ok=True)
        except (OSError, sqlite3.Error, StoreError) as error:
            self.failed = f"no index of words can be made in {self._path.parent} ({one_line(error)})"
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            say(f"view: {self.failed}; searching reads the texts instead")

    def find(self, words: str) -> tuple[NDArray[np.bool_], bool]:
        """(n,) cases with a text that holds every word (its beginning at least), and whether all were read.

        Without an index as many texts are read as ``BUDGET_S`` allows.
        """
        asked = _WORD.findall(words.casefold())
        if not asked:
            return np.ones(len(self._run), dtype=bool), True
        if self.ready:
            try:
                return self._indexed(asked), True
            except (sqlite3.Error, IndexError) as error:
                self.failed = f"the index of words {self._path} cannot be used ({one_line(error)})"
                say(f"view: {self.failed}; searching reads the texts instead, the next start makes it anew")
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
        return self._read(asked)

    def _indexed(self, asked: list[str]) -> NDArray[np.bool_]:
        found = np.zeros(len(self._run), dtype=bool)
        query = " AND ".join(f'"{word}"*' for word in asked)
        with closing(sqlite3.connect(f"file:{quote(str(self._path.absolute()))}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT DISTINCT place.n FROM words JOIN place ON place.rowid = words.rowid "
                "WHERE words MATCH ?",
                (query,),
            )
            found[np.fromiter((n for (n,) in rows), dtype=np.int64)] = True
        return found

    def _read(self, asked: list[str]) -> tuple[NDArray[np.bool_], bool]:
        found = np.zeros(len(self._run), dtype=bool)
        until = time.monotonic() + BUDGET_S
        for rows in self._batches():
            for n, text in rows:
                words = _WORD.findall(text.casefold())
                if not found[n] and all(any(word.startswith(each) for word in words) for each in asked):
                    found[n] = True
                if time.monotonic() > until:
                    return found, False
        return found, True

    def _batches(self) -> Iterator[list[tuple[int, str]]]:
        """Place and text, some at a time; texts of cases that are not the run's are left out."""
        place, waiting = self._run.place, list[tuple[int, str]]()
        for case_id, text in self._texts():
            if case_id in place:
                waiting.append((place[case_id], text))
            if len(waiting) == _AT_ONCE:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _texts(self) -> Iterator[tuple[str, str]]:
        yield from self._run.answers(_TEXTS)
        if self._run.groups is not None:
            for table in self._run.groups.parts("case_id", "consensus"):
                yield from zip(*(table.column(k).to_pylist() for k in range(2)), strict=True)


def _put(db: sqlite3.Connection, first: int, rows: Sequence[tuple[int, str]]) -> None:
    db.executemany(
        "INSERT INTO words (rowid, text) VALUES (?, ?)",
        [(first + k, text) for k, (_, text) in enumerate(rows)],
    )
    db.executemany("INSERT INTO place VALUES (?, ?)", [(first + k, n) for k, (n, _) in enumerate(rows)])


def _identity(run: Opened) -> str:
    """Of the files that are searched, by size and time."""
    paths = (run.folder.streams, run.folder.groups, run.folder.cases)
    said = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]
