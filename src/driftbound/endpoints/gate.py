"""The data gate: what may leave this machine, to where, under whose word; every passage is written down."""

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from driftbound.errors import DataUseError, StoreError
from driftbound.store.manifest import one_line

TERMS = ("zero_retention", "no_training", "no_human_review")
RULE = "PhysioNet's rule for language models, 24 September 2025"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Somebody's word that credentialed data may go to certain hosts."""

    zero_retention: bool = False
    no_training: bool = False
    no_human_review: bool = False
    by: str = ""
    on: str = ""
    """Date, ISO 8601."""
    endpoints: tuple[str, ...] = ()
    """Hosts it holds for."""

    def missing(self, host: str) -> list[str]:
        """What it lacks to let credentialed data go to a host."""
        lacks = [term for term in TERMS if not getattr(self, term)]
        lacks += [name for name in ("by", "on") if not getattr(self, name).strip()]
        return lacks if host in self.endpoints else [*lacks, f"{host} among its endpoints"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where something goes, and what for."""

    purpose: str
    """For people: ``teacher gpt-5``, ``upload of runs/demo/5-align/student``."""
    url: str
    own: bool = False
    """A server of the user's own, from which nothing travels on."""

    @property
    def host(self) -> str:
        """Host name or address."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class Gate:
    """The one gate of a run; whatever sends something holds it."""

    acknowledgement: Acknowledgement = Acknowledgement()
    log: "AuditLog | None" = None

    def check(self, destination: Destination, sensitivity: str) -> str:
        """Under what data of this sensitivity may go there; raises ``DataUseError`` where it may not."""
        if destination.own or is_loopback(destination.url):
            return "own server"
        if sensitivity == "public":
            return "public"
        missing = self.acknowledgement.missing(destination.host)
        if missing:
            raise DataUseError(
                f"{destination.purpose} at {shown(destination.url)}: {sensitivity} data may only go to a "
                "server of your own, or under the full acknowledgement in the recipe's "
                "data_use.acknowledgement "
                f"(zero retention, no training, no human review, by, on, endpoints; {RULE}). "
                f"Missing: {', '.join(missing)}. Nothing was sent."
            )
        return f"acknowledged by {self.acknowledgement.by} on {self.acknowledgement.on}"

    def let_through(
        self, destination: Destination, sensitivity: str, *, what: str, images: Sequence[str] = (), size: int
    ) -> None:
        """Check, and write down what is about to leave: hashes and the number of bytes, no content.

        Raises ``DataUseError`` where it may not leave, ``StoreError`` where the log cannot be written.
        """
        under = self.check(destination, sensitivity)
        if self.log is not None:
            self.log.write(
                {
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "purpose": destination.purpose,
                    "to": shown(destination.url),
                    "what": what,
                    "images": list(images),
                    "bytes": size,
                    "sensitivity": sensitivity,
                    "under": under,
                }
            )


@dataclass(slots=True)
class AuditLog:
    """One JSON line per passage, appended before anything is sent; it outlives the process at once."""

    path: Path
    _handle: int = field(default=-1, repr=False)

    def write(self, line: dict[str, object]) -> None:
        """Append a line. Raises ``StoreError`` when the file system refuses: then nothing may be sent."""
        try:
            if self._handle < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._handle = os.open(self.path, flags, 0o600)
            data = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
            if os.write(self._handle, data) != len(data):
                raise OSError("disk full")
        except OSError as error:
            raise StoreError(
                f"{self.path}: the audit log cannot be written ({one_line(error)}). "
                "Nothing is sent without it; free some space or correct the rights, then run again."
            ) from error

    def close(self) -> None:
        """Force it to disk and close it."""
        if self._handle >= 0:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = -1


def append_log(path: Path, other: Path) -> None:
    """Append the lines of another machine's log that are not there yet. Raises ``StoreError``."""
    try:
        lines = other.read_bytes().splitlines(keepends=True) if other.exists() else []
        known = set(path.read_bytes().splitlines(keepends=True)) if path.exists() else set()
        with path.open("ab") as file:
            file.writelines(line for line in lines if line not in known)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({one_line(error)}). Correct the rights.") from error


def is_loopback(base_url: str) -> bool:
    """Whether a URL cannot leave this machine.

    >>> is_loopback("http://127.0.0.1:8000/v1"), is_loopback("https://localhost.example.com/v1")
    (True, False)
    """
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(base_url: str) -> str:
    """A URL fit for a message: without user, password and query.

    >>> shown("https://me:secret@api.example.com/v1?key=secret")
    'https://api.example.com/v1'
    """
    parts = urlsplit(base_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
