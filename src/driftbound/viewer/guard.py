"""Guard: who may speak to the viewer, and what a browser may do with what it is given."""

import secrets
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline: text that gets past the escaping still does nothing."""
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)
"""The report is one self-contained page: in a sandbox it has no origin, and reaches nothing here."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with less, browsers do not say where a form came from
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses requests for other hosts (a name that was bent to this machine), and sends the headers."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", POLICY)
            await send(message)

        if Headers(scope=scope).get("host", "").lower() not in self.hosts:
            known = ", ".join(sorted(self.hosts))
            refused = PlainTextResponse(f"This viewer answers as {known} alone.\n", status_code=421)
            await refused(scope, receive, headed)
            return
        await self.app(scope, receive, headed)


def hosts_of(host: str, port: int) -> frozenset[str]:
    """What a browser may call a server that listens there."""
    names = {f"[{host}]" if ":" in host else host, *(LOOPBACK if host in _HERE else ())}
    return frozenset(f"{name}:{port}" for name in names) | (frozenset(names) if port == 80 else frozenset())


_HERE = frozenset({"127.0.0.1", "localhost", "::1"})


def is_local(host: str) -> bool:
    """Whether nobody but this machine can reach an address."""
    return host in _HERE


def same_site(headers: Mapping[str, str], hosts: Iterable[str]) -> bool:
    """Whether a form was sent by a page of this viewer, as far as a browser tells."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    return (origin is None or origin in {f"http://{host}" for host in hosts}) and site in (
        None,
        "same-origin",
    )


class Token:
    """A secret of this process: a form without it was not made here."""

    def __init__(self) -> None:
        self.text = secrets.token_urlsafe(24)

    def is_in(self, form: Mapping[str, object]) -> bool:
        """Whether a form carries it."""
        return secrets.compare_digest(str(form.get("token", "")).encode(), self.text.encode())
