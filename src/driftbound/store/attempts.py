"""Attempts: every time that something was sent, noted before it was; the count behind limits and budgets."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from driftbound.records import Request
from driftbound.store.database import Database

IN_FLIGHT = ""
"""Outcome of an attempt whose end nobody has seen: under way now, or when the process was killed."""
ANSWERED = "answered"
IN_BATCH = "in a batch file"
"""Outcome of what was written into a batch file, until its result has been read."""
FORGOTTEN = "batch given up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended."""

    attempt: int
    outcome: str
    """``answered``, or the kind of failure, such as ``429``."""
    latency_s: float
    cost: float
    """US dollars: the price of the answer; the highest possible one where the vendor may have charged
    for an answer that did not arrive; else 0."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a teacher has cost so far, over all runs of ``collect``."""

    requests: int
    money: float
    """US dollars, answers that were under way when a process died at their highest possible price."""


def begin(store: Database, teacher: str, request: Request, *, at_most: float) -> int:
    """Note that a request is about to be sent, for ``at_most`` US dollars; returns its number.

    It outlives the process at once, and the machine from the next stored answer on: a forced
    write to disk for each sending would halve the rate.
    """
    with store.guard("written"):
        store.db.execute("PRAGMA synchronous = NORMAL")
        done = store.db.execute(
            "INSERT INTO attempts (case_id, teacher, sample, wave, request_hash, started_at, cost) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*_key(teacher, request), time.time(), at_most),
        )
        store.db.execute("PRAGMA synchronous = FULL")
    assert done.lastrowid is not None
    return done.lastrowid


def note(store: Database, teacher: str, request: Request, *, outcome: str, cost: float) -> int:
    """Note something that leaves in another way than by sending, within a transaction of the caller's."""
    done = store.db.execute(
        "INSERT INTO attempts (case_id, teacher, sample, wave, request_hash, started_at, outcome, cost) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*_key(teacher, request), time.time(), outcome, cost),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def _key(teacher: str, request: Request) -> tuple[str, str, int, int, str]:
    return (request.case.case_id, teacher, request.sample, request.wave, request.request_hash)


def copy(store: Database, other: Database) -> None:
    """Take over another file's attempts that are not here yet, and how those ended that were under way."""
    which = ("case_id", "teacher", "sample", "wave", "request_hash", "started_at")
    how = ("outcome", "latency_s", "cost", "error")
    insert = f"INSERT INTO attempts ({', '.join(which + how)}) VALUES ({', '.join('?' * len(which + how))})"
    update = f"UPDATE attempts SET {', '.join(f'{name} = ?' for name in how)} WHERE id = ?"
    find = f"SELECT id, outcome FROM attempts WHERE {' AND '.join(f'{name} = ?' for name in which)}"
    with store.transaction():
        for row in _rows(other, which + how):
            key, end = row[: len(which)], row[len(which) :]
            here = store.db.execute(find, key).fetchone()
            if here is None:
                store.db.execute(insert, row)
            elif here[1] == IN_FLIGHT:
                store.db.execute(update, (*end, here[0]))


def _rows(store: Database, columns: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    with store.guard("read"):
        yield from store.db.execute(f"SELECT {', '.join(columns)} FROM attempts ORDER BY id")


def end(store: Database, ended: Iterable[Ended]) -> None:
    """Note how attempts ended, within a transaction of the caller's."""
    store.db.executemany(
        "UPDATE attempts SET outcome = ?, latency_s = ?, cost = ?, error = ? WHERE id = ?",
        ((each.outcome, each.latency_s, each.cost, each.error, each.attempt) for each in ended),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What an attempt asked."""

    case_id: str
    teacher: str
    sample: int
    wave: int
    request_hash: str
    outcome: str
    cost: float
    """US dollars; the highest possible ones until it has ended."""


def find(store: Database, attempt: int) -> Noted | None:
    """What an attempt asked, ``None`` where there is none of that number."""
    with store.guard("read"):
        row = store.db.execute(
            "SELECT case_id, teacher, sample, wave, request_hash, outcome, cost FROM attempts WHERE id = ?",
            (attempt,),
        ).fetchone()
    if row is None:
        return None
    case_id, teacher, sample, wave, request_hash, outcome, cost = row
    return Noted(
        case_id=case_id,
        teacher=teacher,
        sample=sample,
        wave=wave,
        request_hash=request_hash,
        outcome=outcome,
        cost=cost,
    )


def in_batches(store: Database) -> dict[str, int]:
    """Teacher -> number of requests that wait in batch files."""
    with store.guard("read"):
        sql = "SELECT teacher, count(*) FROM attempts WHERE outcome = ? GROUP BY 1 ORDER BY 1"
        return dict(store.db.execute(sql, (IN_BATCH,)).fetchall())


def forget_batches(store: Database) -> int:
    """Wait for no batch file any more; returns how many requests were waited for."""
    with store.transaction():
        sql = "UPDATE attempts SET outcome = ? WHERE outcome = ?"
        return store.db.execute(sql, (FORGOTTEN, IN_BATCH)).rowcount


def spent(store: Database, teacher: str) -> Spent:
    """Requests sent to a teacher and what they have cost at most."""
    with store.guard("read"):
        sql = "SELECT count(*), total(cost) FROM attempts WHERE teacher = ?"
        requests, money = store.db.execute(sql, (teacher,)).fetchone()
    return Spent(requests, money)


def since(store: Database, teacher: str, start: float) -> list[float]:
    """When requests were sent to a teacher since ``start`` (seconds since 1970), in order."""
    with store.guard("read"):
        sql = "SELECT started_at FROM attempts WHERE teacher = ? AND started_at >= ? ORDER BY started_at"
        return [at for (at,) in store.db.execute(sql, (teacher, start))]
