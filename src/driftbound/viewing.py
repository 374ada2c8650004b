"""Viewing: opens a run, and another one beside it, for the viewer, and serves it."""

import errno
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

from driftbound.config import DomainConfig
from driftbound.domains.registry import load_domain
from driftbound.errors import CaseError, ConfigError, StoreError, boundary
from driftbound.progress import say
from driftbound.protocols import Domain
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.plan import made_of
from driftbound.telling import tell
from driftbound.viewer.guard import hosts_of, is_local
from driftbound.viewer.opened import OTHER, Opened
from driftbound.viewer.web import Site, serve


def view(
    run: Path, *, beside: Path | None, host: str, port: int, browser: bool, as_json: bool = False
) -> None:
    """Serve a run until interrupted, at ``http://host:port/``.

    With ``as_json`` the address stands on standard output as soon as requests are taken.

    Raises ``StoreError`` for a folder that is no run, ``ConfigError`` for an address that is taken or not
    this machine's, and for credentialed cases at an address that others can reach.
    """
    opened, domain = open_run(run)
    other = open_run(beside)[0] if beside is not None else None
    sensitive = any(each is not None and each.sensitivity != "public" for each in (opened, other))
    if sensitive and not is_local(host):
        raise ConfigError(
            f"--host {host}: others could read this run, which holds credentialed data. "
            "Leave --host out, and reach this machine by an SSH tunnel."
        )
    port = _free(host, port)
    if not is_local(host):
        say(f"view: anybody who can reach {host} can read this run, and mark its cases")
    site = Site(opened, domain, other, hosts_of(host, port))
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def prepare() -> None:
        try:
            opened.warm()
        except StoreError as error:
            say(f"view: {error}")  # the pages that need it say so, too
        if not site.search.ready:
            site.search.make()

    def started() -> None:
        threading.Thread(target=prepare, name="prepare", daemon=True).start()
        say(f"{url} shows {run}; Ctrl-C ends it")
        tell(as_json, {"url": url, "run": run, "beside": beside}, ())
        if browser and sys.stderr.isatty():
            webbrowser.open(url)

    with suppress(KeyboardInterrupt):  # that is how it ends
        serve(site, host, port, started)


def open_run(root: Path) -> tuple[Opened, Domain]:
    """A run and its field, by what its folders say. Raises ``StoreError`` for a folder that is no run."""
    folder = RunFolder(root)
    if not folder.cases.is_file():
        raise StoreError(f"{root}: no run of driftbound lies there. Name a run folder, e.g. runs/demo.")
    made = made_of(folder.stage("measure")) or made_of(folder.root)
    given = made.plan.config.get("domain") if made is not None else None
    if not isinstance(given, dict):
        raise StoreError(f"{root}: does not say which field it is of. Finish 'driftbound collect' first.")
    manifest = Manifest.read(folder.root)
    with boundary(StoreError, f"{root}: the field that it is of", then=OTHER):
        config = DomainConfig(**given)
    domain = load_domain(config, manifest.seed if manifest is not None else 0)
    try:
        return Opened(root, tuple(domain.headline)), domain
    except CaseError as error:
        raise StoreError(str(error)) from None


def _free(host: str, port: int) -> int:
    """The port, if nobody listens there; of 0 one that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--port {port}: is taken. Give another one, or 0 for any.") from None
        raise ConfigError(f"--host {host}: cannot be listened at ({error.strerror or error}).") from None
