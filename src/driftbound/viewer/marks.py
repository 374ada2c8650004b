"""Marks: what a person thinks of a case, kept beside the run, one line for every change of mind."""

import fcntl
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from driftbound.errors import StoreError
from driftbound.store.manifest import one_line

FILE = "marks.jsonl"
VERDICTS = ("", "good", "bad")
"""``""``: no verdict, perhaps a note."""
LONGEST = 10_000
"""Code points of a note."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The last word on one case."""

    case_id: str
    verdict: str = ""
    note: str = ""
    at: str = ""
    """UTC, ISO 8601."""


class Marks:
    """All marks of a run; lines are only added, the last of a case holds. Raises ``StoreError``."""

    def __init__(self, root: Path) -> None:
        self.path = root / FILE
        self._lock = threading.Lock()
        self._at, self._last = _stamp(self.path), _read(self.path)

    def of(self, case_id: str) -> Mark:
        """The mark of a case, empty where it has none."""
        return self._now().get(case_id, Mark(case_id))

    def all(self) -> Mapping[str, Mark]:
        """Marks that say something, by case, in the order of first marking."""
        return {name: mark for name, mark in self._now().items() if mark.verdict or mark.note}

    def put(self, case_id: str, verdict: str, note: str) -> Mark:
        """Keep a mark; an empty one takes the case's back. Raises ``ValueError`` for a foreign verdict."""
        if verdict not in VERDICTS:
            raise ValueError(f"verdict {verdict!r} is none of good, bad")
        mark = Mark(case_id, verdict, note.strip()[:LONGEST], datetime.now(UTC).isoformat(timespec="seconds"))
        line = json.dumps(asdict(mark), ensure_ascii=False) + "\n"
        with self._lock:
            try:
                with self.path.open("a+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)  # another viewer of the run may be writing
                    _end_last_line(file)
                    file.write(line.encode())
            except OSError as error:
                raise StoreError(
                    f"{self.path}: cannot be written ({one_line(error)}). Check space and permissions."
                ) from error
        return mark

    def _now(self) -> dict[str, Mark]:
        """What the file says now: another viewer of the run may have written to it."""
        with self._lock:
            at = _stamp(self.path)
            if at != self._at:
                self._at, self._last = at, _read(self.path)
            return self._last


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def _end_last_line(file: BinaryIO) -> None:
    """So that the next mark has a line of its own.

    Half a mark goes: a process was killed while it wrote, and it was never confirmed. A whole one stays:
    whoever edits the file by hand may leave the last line without an end.
    """
    file.seek(0)
    written = file.read()
    start = written.rfind(b"\n") + 1
    if _mark(written[start:]) is not None:
        file.write(b"\n")
    else:
        file.truncate(start)


def _mark(line: bytes) -> Mark | None:
    """What a line says; ``None`` for half a line."""
    try:
        return Mark(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _read(path: Path) -> dict[str, Mark]:
    found: dict[str, Mark] = {}
    if not path.is_file():
        return found
    try:
        *whole, last = path.read_bytes().split(b"\n")
        for number, line in enumerate(whole, start=1):
            mark = _mark(line)
            if mark is None:
                raise StoreError(f"{path}, line {number}: no mark. Correct the line or take it out.")
            found[mark.case_id] = mark
        if (mark := _mark(last)) is not None:  # else what was being written at a kill
            found[mark.case_id] = mark
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({one_line(error)}). Restore it or move it away."
        ) from error
    return found
