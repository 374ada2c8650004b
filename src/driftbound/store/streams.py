"""Streams: every answer of every teacher in one SQLite file, committed before it counts as done."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

from driftbound.errors import StoreError
from driftbound.records import Status, Trajectory
from driftbound.store.database import Database
from driftbound.store.schema import COLUMNS, FAILED, KEY

_values = attrgetter(*COLUMNS)
_NOT_SAID = frozenset({"created_at", "latency_s", "cost"})
"""When, how fast and at what price: not what was said."""
_OF_T = ", ".join(f"t.{name}" for name in COLUMNS)
_SELECT = f"SELECT {_OF_T} FROM trajectories t"
_ORDER = f" ORDER BY {', '.join(f't.{name}' for name in KEY)}"
_WANTED = (
    " JOIN wanted w ON w.teacher = t.teacher AND w.wave = t.wave AND w.case_id = t.case_id "
    "AND w.sample = t.sample AND w.request_hash = t.request_hash"
)
CURRENT = f"trajectories t{_WANTED}"
"""What stands behind FROM where only the answers to the present recipe's requests count."""
_PUT = (
    f"INSERT INTO trajectories ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in KEY)
    + f" WHERE trajectories.status = '{FAILED}'"
)


class Streams(Database):
    """All trajectories of a run, those of other recipes and waves beside them.

    A stage reads ``current``: the answers to exactly what the present recipe asks.
    """

    def put(self, trajectory: Trajectory) -> None:
        """Store and commit one trajectory; see ``put_many``."""
        self.put_many([trajectory])

    def put_many(self, trajectories: Iterable[Trajectory]) -> None:
        """Store trajectories and commit them together, or none of them.

        A failed row of the same key (case, teacher, sample, wave, request) is replaced. Raises
        ``StoreError`` when a key is final already: an answer is never overwritten.
        """
        with self.transaction():
            self.write_many(trajectories)

    def write_many(self, trajectories: Iterable[Trajectory]) -> None:
        """As ``put_many``, within a transaction of the caller's."""
        for trajectory in trajectories:
            if self.db.execute(_PUT, _values(trajectory)).rowcount != 1:
                raise StoreError(
                    f"{self.path}: {trajectory.teacher} has a final answer to {trajectory.case_id}, sample "
                    f"{trajectory.sample}, wave {trajectory.wave}, which is never overwritten. "
                    "Use another wave."
                )

    def add(self, trajectories: Iterable[Trajectory]) -> tuple[int, int]:
        """Take in answers from elsewhere, all or none; returns how many were new and how many were there.

        A failed row gives way to a final one and to nothing else. Raises ``StoreError`` when the
        same request has two different final answers.
        """
        new = there = 0
        with self.transaction():
            for trajectory in trajectories:
                found = self.get(*(getattr(trajectory, name) for name in KEY))
                if found is None or (not found.status.final and trajectory.status.final):
                    self.write_many([trajectory])
                    new += 1
                elif not trajectory.status.final or _said(found) == _said(trajectory):
                    there += 1
                else:
                    raise StoreError(
                        f"{self.path}: {trajectory.teacher} has another final answer to "
                        f"{trajectory.case_id}, sample {trajectory.sample}, wave {trajectory.wave}. "
                        "Nothing was taken in; take out one of the two, or give it another wave."
                    )
        return new, there

    def each(self, where: str = "", values: tuple[str | int, ...] = ()) -> Iterator[Trajectory]:
        """Trajectories one by one, sorted by case, teacher, sample, wave and request (by code point).

        ``where`` is an SQL condition on the columns of ``trajectories t``.
        """
        return self._rows(f" WHERE {where}" if where else "", values)

    def _rows(self, rest: str, values: tuple[str | int, ...] = ()) -> Iterator[Trajectory]:
        with self.guard("read"):
            found = self.db.execute(_SELECT + rest + _ORDER, values)
            while rows := found.fetchmany(500):
                yield from map(trajectory_of, rows)

    def all(self) -> list[Trajectory]:
        """Every trajectory of every recipe and wave; see ``each`` for a large file."""
        return list(self.each())

    def current(self, wave: int = 0) -> Iterator[Trajectory]:
        """The answers to what the present recipe asks, sorted by case, teacher and sample."""
        return self._rows(f"{_WANTED} WHERE t.wave = ?", (wave,))

    def waves(self) -> list[int]:
        """Rounds of asking that the present recipe has answers of, sorted."""
        with self.guard("read"):
            sql = f"SELECT DISTINCT t.wave FROM trajectories t{_WANTED} ORDER BY 1"
            return [wave for (wave,) in self.db.execute(sql)]

    def get(
        self, case_id: str, teacher: str, sample: int = 0, wave: int = 0, request_hash: str | None = None
    ) -> Trajectory | None:
        """One trajectory, or ``None`` when that was never asked; without a request's hash the latest."""
        where = "t.case_id = ? AND t.teacher = ? AND t.sample = ? AND t.wave = ?"
        values: tuple[str | int, ...] = (case_id, teacher, sample, wave)
        if request_hash is not None:
            where, values = f"{where} AND t.request_hash = ?", (*values, request_hash)
        with self.guard("read"):
            sql = f"{_SELECT} WHERE {where} ORDER BY t.rowid DESC LIMIT 1"
            row = self.db.execute(sql, values).fetchone()
        return trajectory_of(row) if row else None

    def counts(self, wave: int = 0) -> dict[str, dict[str, int]]:
        """Teacher -> status -> number of current trajectories; teachers and statuses sorted."""
        return self._tally("status", wave)

    def versions(self, wave: int = 0) -> dict[str, dict[str, int]]:
        """Teacher -> version that the endpoint reported -> number of current final trajectories."""
        return self._tally("version", wave, f" AND t.status != '{FAILED}'")

    def _tally(self, column: str, wave: int, more: str = "") -> dict[str, dict[str, int]]:
        with self.guard("read"):
            found = self.db.execute(
                f"SELECT t.teacher, t.{column}, count(*) FROM trajectories t{_WANTED} "
                f"WHERE t.wave = ?{more} GROUP BY 1, 2 ORDER BY 1, 2",
                (wave,),
            ).fetchall()
        tally: dict[str, dict[str, int]] = {}
        for teacher, value, n in found:
            tally.setdefault(teacher, {})[value] = n
        return tally

    def usage(self, wave: int = 0) -> dict[str, dict[str, float]]:
        """Teacher -> ``prompt_tokens``, ``completion_tokens`` and ``cost`` of its current trajectories."""
        with self.guard("read"):
            found = self.db.execute(
                "SELECT t.teacher, sum(t.prompt_tokens), sum(t.completion_tokens), total(t.cost) "
                f"FROM trajectories t{_WANTED} WHERE t.wave = ? GROUP BY 1 ORDER BY 1",
                (wave,),
            ).fetchall()
        names = ("prompt_tokens", "completion_tokens", "cost")
        return {teacher: dict(zip(names, sums, strict=True)) for teacher, *sums in found}

    def last_error(self, teacher: str) -> str:
        """What the latest failed answer of a teacher said; empty when none failed."""
        with self.guard("read"):
            found = self.db.execute(
                "SELECT error FROM trajectories WHERE teacher = ? AND status = ? "
                "ORDER BY created_at DESC LIMIT 1",
                (teacher, FAILED),
            ).fetchone()
        return found[0] if found else ""

    def digest(self, wave: int = 0) -> str:
        """sha256 over what the current trajectories say, whatever the order they came in."""
        whole = hashlib.sha256()
        for trajectory in self.current(wave):
            whole.update(json.dumps(_said(trajectory), sort_keys=True).encode() + b"\n")
        return whole.hexdigest()


def trajectory_of(row: tuple[Any, ...]) -> Trajectory:
    """A row of the table, its columns in the order of ``schema.COLUMNS``."""
    given = dict(zip(COLUMNS, row, strict=True))
    return Trajectory(**given | {"status": Status(given["status"])})


def _said(trajectory: Trajectory) -> dict[str, Any]:
    said = {name: getattr(trajectory, name) for name in COLUMNS if name not in _NOT_SAID}
    if not trajectory.prompt_discloses:  # as before there was the column: digests of then still hold
        del said["prompt_discloses"]
    return said
