"""The data gate: what may leave this machine, to where, under whose word; every passage is written down."""

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from driftbound.endpoints.vendors import is_vendors
from driftbound.errors import DataUseError, StoreError
from driftbound.store.manifest import one_line

TERMS = ("zero_retention", "no_training", "no_human_review")
RULE = "PhysioNet's rule for language models, 24 September 2025"
OWN, PUBLIC = "own server", "public"
"""Under what most data go; else under an acknowledgement."""


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
        named = {endpoint.strip().lower().rstrip(".") for endpoint in self.endpoints}
        return lacks if host and host.rstrip(".") in named else [*lacks, f"{host} among its endpoints"]


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
        return host_of(self.url)


@dataclass(frozen=True, slots=True)
class Gate:
    """The one gate of a run; whatever sends something holds it."""

    acknowledgement: Acknowledgement = Acknowledgement()
    log: "AuditLog | None" = None

    def check(self, destination: Destination, sensitivity: str) -> str:
        """Under what data of this sensitivity may go there; raises ``DataUseError`` where it may not."""
        if destination.own and is_vendors(destination.host):
            raise DataUseError(
                f"{destination.purpose} at {shown(destination.url)}: is no server of your own. "
                "Remove local: true. Nothing was sent."
            )
        if destination.own or is_loopback(destination.url):
            return OWN
        if sensitivity == PUBLIC:
            return PUBLIC
        missing = self.acknowledgement.missing(destination.host)
        if destination.url.lower().startswith("http:"):
            missing.append("an https address")
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
        if self.log is None and under not in (OWN, PUBLIC):
            raise DataUseError(
                f"{destination.purpose} at {shown(destination.url)}: {sensitivity} data leave only under an "
                "audit log. Give the gate one. Nothing was sent."
            )
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
        data = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            if self._handle < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = _opened(self.path)
                data = _line_end(self.path) + data
            if os.write(self._handle, data) != len(data):
                raise OSError("disk full")
        except OSError as error:
            self._let_go()
            raise StoreError(
                f"{self.path}: the audit log cannot be written ({one_line(error)}). "
                "Nothing is sent without it; free some space or correct the rights, then run again."
            ) from error

    def close(self) -> None:
        """Force it to disk and close it."""
        if self._handle >= 0:
            os.fsync(self._handle)
            self._let_go()

    def _let_go(self) -> None:
        """Whoever opens it again looks how it ends."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _opened(path: Path) -> int:
    """For appending; for its owner's eyes alone."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _line_end(path: Path) -> bytes:
    """What is missing at the end of a log whose last line a full disk or a kill has torn."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return b""
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"


def append_log(path: Path, other: Path) -> None:
    """Append the lines of another machine's log that are not there yet. Raises ``StoreError``."""
    try:
        lines = other.read_bytes().splitlines() if other.exists() else []
        known = set(path.read_bytes().splitlines()) if path.exists() else set()
        with os.fdopen(_opened(path), "ab") as file:
            file.write(_line_end(path))
            file.writelines(line + b"\n" for line in lines if line not in known)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({one_line(error)}). Correct the rights.") from error


def host_of(url: str) -> str:
    """Host name or address in a URL; empty where there is none.

    >>> host_of("https://API.example.com:443/v1"), host_of("http://[::1"), host_of("scripted")
    ('api.example.com', '', '')
    """
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(base_url: str) -> bool:
    """Whether a URL cannot leave this machine.

    >>> is_loopback("http://127.0.0.1:8000/v1"), is_loopback("https://localhost.example.com/v1")
    (True, False)
    """
    host = host_of(base_url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_proxy(destination: Destination, sensitivity: str) -> None:
    """Raise ``DataUseError`` where a client that heeds the environment's proxies would carry data away.

    For clients of other packages; ours does not heed them on its way to a server of one's own.
    """
    url = destination.url
    proxies = getproxies()
    proxied = (urlsplit(url).scheme in proxies or "all" in proxies) and not proxy_bypass(destination.host)
    if sensitivity != PUBLIC and is_loopback(url) and proxied:
        raise DataUseError(
            f"{destination.purpose} at {shown(url)}: the environment names a proxy, which would see "
            f"{sensitivity} data. Set NO_PROXY={destination.host}. Nothing was sent."
        )


def shown(base_url: str) -> str:
    """A URL fit for a message: without user, password and query.

    >>> shown("https://me:secret@api.example.com/v1?key=secret"), shown("http://me:secret@[::1/")
    ('https://api.example.com/v1', 'an impossible URL')
    """
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return "an impossible URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
