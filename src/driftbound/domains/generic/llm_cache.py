"""LLM cache: what a model made of each text, a line each, so that nobody is asked twice."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from driftbound.errors import StoreError
from driftbound.records import Claim, Polarity
from driftbound.store.manifest import one_line

_BEGINS = b'{"key": "'
_FIELDS = tuple(each.name for each in fields(Claim))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What became of one text."""

    status: str
    """``ok``, or why there is no claim of it."""
    claims: tuple[Claim, ...] = ()
    dropped: int = 0
    """Items of the answer that made no claim."""


class Cache:
    """Key -> entry, in a file of JSON lines that only grows; for its owner's eyes, as values are words of
    the texts."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises ``StoreError`` for a file that is none of this kind."""
        self.path = path
        self._entries: dict[str, Entry] = {}
        self._whole = 0
        """Bytes up to the end of the last line that is whole: a kill may have torn the one behind it."""
        self._handle = -1
        try:
            self._take_in(path.read_bytes() if path.exists() else b"")
        except OSError as error:
            raise self._refusal("cannot be read", error) from error

    def get(self, key: str) -> Entry | None:
        """What is known of a text."""
        return self._entries.get(key)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the file for this process. Raises ``StoreError`` where another one does, or it cannot be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.lseek(self._handle, self._whole, os.SEEK_SET)
            with os.fdopen(os.dup(self._handle), "rb") as file:
                self._take_in(file.read())  # what another process has added meanwhile
            os.truncate(self._handle, self._whole)
            os.lseek(self._handle, self._whole, os.SEEK_SET)
        except BlockingIOError:
            self._close()
            raise StoreError(f"{self.path}: another driftbound writes to it. Wait for it.") from None
        except OSError as error:
            self._close()
            raise self._refusal("cannot be written", error) from error
        try:
            yield
        finally:
            try:
                os.fsync(self._handle)
            finally:
                self._close()

    def put(self, key: str, entry: Entry, *, model: str, version: str) -> None:
        """Add an entry, within ``writing``; it outlives the process at once. Raises ``StoreError``."""
        row = {
            "key": key,
            "status": entry.status,
            "claims": [[getattr(claim, name) for name in _FIELDS] for claim in entry.claims],
            "dropped": entry.dropped,
            "model": model,
            "version": version,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        data = json.dumps(row).encode() + b"\n"
        try:
            os.lseek(self._handle, self._whole, os.SEEK_SET)
            if os.write(self._handle, data) != len(data):
                raise OSError("disk full")
        except OSError as error:
            raise self._refusal("cannot be written", error) from error
        self._whole += len(data)
        self._entries[key] = entry

    def _take_in(self, data: bytes) -> None:
        """Read further lines; what a kill has torn at the end is left to be written over."""
        *lines, torn = data.split(b"\n")
        for n, line in enumerate(lines, start=1):
            try:
                given = json.loads(line)
                self._entries[given["key"]] = _entry(given)
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                raise self._of_another_kind(n, one_line(error)) from error
            self._whole += len(line) + 1
        if torn[: len(_BEGINS)] != _BEGINS[: len(torn)]:
            raise self._of_another_kind(len(lines) + 1, "its end")

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _of_another_kind(self, n: int, why: str) -> StoreError:
        return StoreError(
            f"{self.path}, line {n}: not of claims that a model read ({why}). Name another file."
        )

    def _refusal(self, what: str, error: OSError) -> StoreError:
        return StoreError(f"{self.path}: {what} ({one_line(error)}). Check space, rights and the path.")


def _entry(given: dict[str, object]) -> Entry:
    claims = given["claims"]
    assert isinstance(claims, list)
    return Entry(
        status=str(given["status"]),
        claims=tuple(_claim(values) for values in claims),
        dropped=int(str(given["dropped"])),
    )


def _claim(values: Sequence[object]) -> Claim:
    row = dict(zip(_FIELDS, values, strict=True))
    return Claim(**row | {"polarity": Polarity(str(row["polarity"]))})  # type: ignore[arg-type]
