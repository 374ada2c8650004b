"""Wanted: what the present recipe asks, and the cases it asks about, by content."""

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftbound.errors import CaseError, StoreError
from driftbound.records import Case
from driftbound.store.attempts import Noted
from driftbound.store.database import Database
from driftbound.store.manifest import one_line
from driftbound.store.schema import FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One request of the present recipe."""

    teacher: str
    place: int
    """Order of asking, from 0, per teacher."""
    case_id: str
    sample: int
    wave: int
    request_hash: str
    prompt_discloses: str = ""
    """As the trajectory's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseContent:
    """A case as it was asked about, by content."""

    case: Case
    question: str
    images: tuple[str, ...]
    """sha256 of each image."""
    told_question: str = ""
    """What those are asked who are told of the case's context; empty where nobody is."""

    @property
    def content_hash(self) -> str:
        """Identity of question and images; the id and the place of the files do not count."""
        return hashlib.sha256(json.dumps([self.question, self.images]).encode()).hexdigest()


def want(store: Database, wanted: Iterable[Wanted], *, wave: int) -> None:
    """Say what is asked from now on in a wave; answers to other requests stay where they are."""
    rows = (
        (w.teacher, w.place, w.case_id, w.sample, w.wave, w.request_hash, w.prompt_discloses) for w in wanted
    )
    with store.transaction():
        store.db.execute("DELETE FROM wanted WHERE wave = ?", (wave,))
        store.db.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def rehearse(store: Database) -> None:
    """From now on note what is wanted beside the file: what its stages read stays as it is."""
    with store.guard("written"):
        made = store.db.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'wanted' AND sql IS NOT NULL")
        for (statement,) in made.fetchall():  # a temporary table goes before one of the same name in the file
            kind, name = statement.split()[1:3]
            store.db.execute(statement.replace(f"{kind} {name}", f"{kind} temp.{name}", 1))


def left(store: Database, teacher: str, *, wave: int) -> Sequence[int]:
    """Places of a teacher's requests without a final answer, in the order of asking."""
    with store.guard("read"):
        found = store.db.execute(
            "SELECT w.place FROM wanted w LEFT JOIN trajectories t ON t.case_id = w.case_id "
            "AND t.teacher = w.teacher AND t.sample = w.sample AND t.wave = w.wave "
            "AND t.request_hash = w.request_hash AND t.status != ? "
            "WHERE w.teacher = ? AND w.wave = ? AND t.case_id IS NULL ORDER BY w.place",
            (FAILED, teacher, wave),
        )
        return array("q", (place for (place,) in found))


def at(store: Database, teacher: str, place: int, *, wave: int) -> Wanted:
    """The request at a place. Raises ``StoreError`` where there is none."""
    with store.guard("read"):
        row = store.db.execute(
            "SELECT case_id, sample, request_hash, prompt_discloses FROM wanted "
            "WHERE teacher = ? AND wave = ? AND place = ?",
            (teacher, wave, place),
        ).fetchone()
    if row is None:
        raise StoreError(f"{store.path}: nothing is wanted of {teacher} at place {place}. Run collect again.")
    case_id, sample, request_hash, prompt_discloses = row
    return Wanted(
        teacher=teacher,
        place=place,
        case_id=case_id,
        sample=sample,
        wave=wave,
        request_hash=request_hash,
        prompt_discloses=prompt_discloses,
    )


def count(store: Database, teacher: str, *, wave: int) -> int:
    """How many requests of a wave the present recipe puts to a teacher."""
    with store.guard("read"):
        sql = "SELECT count(*) FROM wanted WHERE teacher = ? AND wave = ?"
        n: int = store.db.execute(sql, (teacher, wave)).fetchone()[0]
    return n


def discloses(store: Database, noted: Noted) -> str | None:
    """What the prompt of an attempt gave away, as the trajectory says it; ``None`` where the present recipe
    does not ask what the attempt asked."""
    with store.guard("read"):
        sql = (
            "SELECT prompt_discloses FROM wanted WHERE teacher = ? AND wave = ? AND case_id = ? "
            "AND sample = ? AND request_hash = ?"
        )
        asked = (noted.teacher, noted.wave, noted.case_id, noted.sample, noted.request_hash)
        row = store.db.execute(sql, asked).fetchone()
    return None if row is None else str(row[0])


def remember(store: Database, contents: Iterable[CaseContent]) -> None:
    """Note the cases that are asked about; one that has changed replaces what was noted of it."""
    rows = (
        (
            each.case.case_id,
            each.content_hash,
            each.case.cluster,
            each.case.split,
            each.question,
            json.dumps(each.images),
            each.case.sensitivity,
            each.told_question,
        )
        for each in contents
    )
    with store.transaction():
        store.db.executemany("INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def question(store: Database, case_id: str) -> str:
    """The question that was put about a case. Raises ``StoreError`` where none was noted."""
    with store.guard("read"):
        row = store.db.execute("SELECT question FROM cases WHERE case_id = ?", (case_id,)).fetchone()
    if row is None:
        raise StoreError(
            f"{store.path}: the question about {case_id} is not noted. "
            "Run 'driftbound collect' with its recipe again; no answer is asked for twice."
        )
    found: str = row[0]
    return found


def questions(store: Database) -> dict[str, tuple[str, str]]:
    """Case -> the question that was put about it, and that of those who were told its context, else empty."""
    with store.guard("read"):
        found = store.db.execute("SELECT case_id, question, told_question FROM cases ORDER BY case_id")
        return {case_id: (usual, told) for case_id, usual, told in found}


def teachers(store: Database, *, wave: int) -> list[str]:
    """Whom the present recipe asks in a wave."""
    with store.guard("read"):
        sql = "SELECT DISTINCT teacher FROM wanted WHERE wave = ? ORDER BY teacher"
        return [name for (name,) in store.db.execute(sql, (wave,))]


def asked_of(store: Database, teacher: str, *, wave: int) -> dict[tuple[str, int], tuple[str, str]]:
    """Case and sample -> hash of the request that the present recipe puts to a teacher in a wave, and what
    its prompt gives away."""
    with store.guard("read"):
        columns = "case_id, sample, request_hash, prompt_discloses"
        sql = f"SELECT {columns} FROM wanted WHERE teacher = ? AND wave = ?"
        return {
            (case_id, n): (asked, told) for case_id, n, asked, told in store.db.execute(sql, (teacher, wave))
        }


def image_hashes(store: Database, root: Path, names: Sequence[str]) -> dict[str, str]:
    """sha256 of each image; a file is read only when its size or time is not the noted one.

    Raises ``CaseError`` for a file that is missing or cannot be read.
    """
    with store.guard("read"):
        noted = {
            name: (size, mtime_ns, sha256)
            for name, size, mtime_ns, sha256 in store.db.execute("SELECT * FROM images")
        }
    hashes, fresh = {}, []
    for name in names:
        path = root / name
        try:
            stat = path.stat()
            size, mtime_ns, sha256 = noted.get(name, (-1, -1, ""))
            if (size, mtime_ns) != (stat.st_size, stat.st_mtime_ns):
                with path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                fresh.append((name, stat.st_size, stat.st_mtime_ns, sha256))
        except FileNotFoundError:
            raise CaseError(f"{path}: image is missing. Check the path or restore the file.") from None
        except OSError as error:
            raise CaseError(f"{path}: image cannot be read ({one_line(error)}). Restore it.") from error
        hashes[name] = sha256
    if fresh:
        with store.transaction():
            store.db.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", fresh)
    return hashes


def forget_image(store: Database, name: str) -> None:
    """Read an image anew the next time, whatever size and time say; within a transaction, if one is open."""
    with store.guard("written"):
        store.db.execute("DELETE FROM images WHERE name = ?", (name,))
