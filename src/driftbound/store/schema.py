"""Schema of the streams' file: its tables, their versions, and the way from an older version to this one."""

import sqlite3
from collections.abc import Callable
from dataclasses import fields

from driftbound.records import Status, Trajectory

VERSION = 3
APPLICATION_ID = 0x44524654  # "DRFT"

COLUMNS = tuple(each.name for each in fields(Trajectory))
"""Columns of ``trajectories``, in the order of the record."""
KEY = ("case_id", "teacher", "sample", "wave", "request_hash")
"""What one answer is the answer to."""

_TYPES = dict.fromkeys(("sample", "wave", "prompt_tokens", "completion_tokens"), "INTEGER") | dict.fromkeys(
    ("latency_s", "cost"), "REAL"
)

TRAJECTORIES = (
    "CREATE TABLE trajectories ("
    + ", ".join(f"{name} {_TYPES.get(name, 'TEXT')} NOT NULL" for name in COLUMNS)
    + f", UNIQUE ({', '.join(KEY)}))"
)
OTHERS = (
    # Every time that something was sent, before it was: in flight while ``outcome`` is empty.
    "CREATE TABLE attempts (id INTEGER PRIMARY KEY, case_id TEXT NOT NULL, teacher TEXT NOT NULL, "
    "sample INTEGER NOT NULL, wave INTEGER NOT NULL, request_hash TEXT NOT NULL, started_at REAL NOT NULL, "
    "outcome TEXT NOT NULL DEFAULT '', latency_s REAL NOT NULL DEFAULT 0, cost REAL NOT NULL, "
    "error TEXT NOT NULL DEFAULT '')",
    "CREATE INDEX attempts_of_teacher ON attempts (teacher, started_at)",
    # What the present recipe asks, in the order of asking.
    "CREATE TABLE wanted (teacher TEXT NOT NULL, place INTEGER NOT NULL, case_id TEXT NOT NULL, "
    "sample INTEGER NOT NULL, wave INTEGER NOT NULL, request_hash TEXT NOT NULL, "
    "prompt_discloses TEXT NOT NULL DEFAULT '', PRIMARY KEY (teacher, wave, place)) WITHOUT ROWID",
    "CREATE INDEX wanted_case ON wanted (case_id, teacher, sample, wave, request_hash)",
    # Cases and images by content.
    "CREATE TABLE cases (case_id TEXT PRIMARY KEY, content_hash TEXT NOT NULL, cluster TEXT NOT NULL, "
    "split TEXT NOT NULL, question TEXT NOT NULL, images TEXT NOT NULL, sensitivity TEXT NOT NULL, "
    "told_question TEXT NOT NULL DEFAULT '') WITHOUT ROWID",
    "CREATE TABLE images (name TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, "
    "sha256 TEXT NOT NULL) WITHOUT ROWID",
)

_ADDED_IN_2 = ("fingerprint", "logprobs", "cost", "note")
_ADDED_IN_3 = (
    ("trajectories", "prompt_discloses"),
    ("wanted", "prompt_discloses"),
    ("cases", "told_question"),
)
_OF_2 = tuple(name for name in COLUMNS if name != "prompt_discloses")
_OF_1 = tuple(name for name in _OF_2 if name not in _ADDED_IN_2)


def create(db: sqlite3.Connection) -> None:
    """Make the tables of this version in an empty file; call it inside a transaction."""
    for statement in (TRAJECTORIES, *OTHERS):
        db.execute(statement)
    _stamp(db)


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a file of an older version to this one; call it inside a transaction."""
    for step in range(version, VERSION):
        _STEPS[step](db)
    _stamp(db)


def _stamp(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def _from_1(db: sqlite3.Connection) -> None:
    """The request becomes part of the key; attempts, requests and cases get tables.

    A file of version 1 holds the answers to one recipe: all of them are what that recipe wants.
    """
    db.execute("ALTER TABLE trajectories RENAME TO trajectories_1")
    for statement in (TRAJECTORIES, *OTHERS):
        db.execute(statement)
    columns = ", ".join((*_OF_1, *_ADDED_IN_2, "prompt_discloses"))
    db.execute(
        f"INSERT INTO trajectories ({columns}) SELECT {', '.join(_OF_1)}, '', '', 0.0, '', '' "
        "FROM trajectories_1 ORDER BY case_id, teacher, sample, wave"
    )
    db.execute(
        "INSERT INTO wanted (teacher, place, case_id, sample, wave, request_hash) "
        "SELECT teacher, row_number() OVER (PARTITION BY teacher, wave "
        "ORDER BY sample, case_id) - 1, case_id, sample, wave, request_hash FROM trajectories_1"
    )
    db.execute("DROP TABLE trajectories_1")


def _from_2(db: sqlite3.Connection) -> None:
    """What a stream's prompts have disclosed is noted: nothing, until now. Version 1 came here by tables of
    today, which have the columns."""
    for table, column in _ADDED_IN_3:
        if column not in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1, 2: _from_2}

FAILED = Status.FAILED.value
"""The one status that may be replaced."""
