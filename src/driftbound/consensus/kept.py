"""Kept: what was written, a line each, so that a killed stage goes on where it stopped."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from driftbound.consensus.writing import Ask, Written
from driftbound.errors import StoreError
from driftbound.store.manifest import one_line


class Kept:
    """Ask -> what was written, in a file of JSON lines that only grows; for its owner's eyes."""

    def __init__(self, path: Path, settings: str) -> None:
        """Read what is there; ``settings`` are whatever decides a text beside the ask.

        Raises ``StoreError`` for a line that cannot be read, the torn end of a killed process excepted.
        """
        self._path = path
        self._settings = settings
        self._found: dict[tuple[str, str], Written] = {}
        self._whole = 0
        """Bytes up to the end of the last whole line."""
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise self._refusal(f"cannot be read ({one_line(error)})") from error
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            try:
                given = json.loads(line)
                written = Written(str(given["text"]), bool(given["ended"]), str(given["note"]))
                self._found[str(given["key"]), str(given["of"])] = written
            except (ValueError, KeyError, TypeError) as error:
                raise self._refusal(f"line {number} cannot be read ({one_line(error)})") from error
            self._whole += len(line) + 1

    def get(self, ask: Ask) -> Written | None:
        """What was written for an ask of this key, question, images, seed and temperature."""
        return self._found.get((ask.key, self._of(ask)))

    def put(self, pairs: Iterable[tuple[Ask, Written]]) -> None:
        """Add a batch; it is on the disk when this returns. Raises ``StoreError``."""
        lines = []
        for ask, written in pairs:
            of = self._of(ask)
            lines.append(json.dumps({"key": ask.key, "of": of, **asdict(written)}).encode() + b"\n")
            self._found[ask.key, of] = written
        data = b"".join(lines)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.truncate(self._whole)
                file.seek(self._whole)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refusal(f"cannot be written ({one_line(error)})") from error
        self._whole += len(data)

    def _of(self, ask: Ask) -> str:
        """Identity of what is asked, wherever the run's folder lies."""
        asked = [self._settings, ask.question, list(ask.case.images), ask.seed, ask.temperature]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def _refusal(self, what: str) -> StoreError:
        return StoreError(f"{self._path}: {what}. Delete it and run again, or check space and rights.")
