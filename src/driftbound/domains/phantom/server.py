"""The scripted teachers behind HTTP on loopback, in the OpenAI chat-completions schema."""

import argparse
import itertools
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftbound.config import DomainConfig
from driftbound.domains.phantom.completions import Collection, RequestError, models
from driftbound.errors import ConfigError, DriftboundError
from driftbound.progress import say

HOST = "127.0.0.1"
LARGEST_BODY = 32 * 2**20
"""Bytes; a larger request is refused unread."""


def command(folder: Path, config: DomainConfig, seed: int) -> list[str]:
    """The command that serves the teachers of a run; ``images/`` lies in ``folder``.

    Start it with ``stdin=PIPE`` and keep the pipe: the server ends when it closes. The first line
    of its standard output is the base URL; there is none when it cannot start.
    """
    where = ["--cases", str(folder), "--domain-json", config.model_dump_json(), "--seed", str(seed)]
    return [sys.executable, "-m", "driftbound.domains.phantom.server", *where]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "phantom"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    server: "TeacherServer"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._reply(200, models())
        else:
            self._refuse(RequestError(404, f"Nothing lies at {self.path}."))

    def do_POST(self) -> None:
        try:
            body = self._body()
            if self.path != "/v1/chat/completions":
                raise RequestError(404, f"Nothing lies at {self.path}.")
            self.server.fail_if_due()
            try:
                asked = json.loads(body)
            except (ValueError, RecursionError):
                raise RequestError(400, "The body is not valid JSON.") from None
            if not isinstance(asked, dict):
                raise RequestError(400, "The body is not a JSON object.")
            self._reply(200, self.server.collection.complete(asked))
        except RequestError as error:
            self._refuse(error)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True
            if length.isdecimal():
                raise RequestError(413, f"The body is larger than {LARGEST_BODY} bytes.")
            raise RequestError(411, "Content-Length is missing.")
        return self.rfile.read(int(length))

    def _refuse(self, error: RequestError) -> None:
        soon = {"Retry-After": "1", "Retry-After-Ms": "20"} if error.status == 503 else {}
        self._reply(error.status, error.body, soon)

    def _reply(self, status: int, body: Mapping[str, Any], more: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing of a request is logged."""


class TeacherServer(ThreadingHTTPServer):
    """Serves one collection on a free loopback port; every ``fail_every``-th question gets a 503."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, collection: Collection, *, fail_every: int = 0):
        super().__init__((HOST, 0), _Handler)
        self.collection = collection
        self._fail_every = fail_every
        self._asked = itertools.count(1)

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as ``base_url``."""
        return f"http://{HOST}:{self.server_port}/v1"

    def fail_if_due(self) -> None:
        """Raise the planted 503 where it is this question's turn."""
        if self._fail_every and next(self._asked) % self._fail_every == 0:
            raise RequestError(503, "The teacher is overloaded, as planted.")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input closes, which it also does when the parent process dies."""
    parser = argparse.ArgumentParser(prog="driftbound.domains.phantom.server", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="run folder, in which images/ lies")
    parser.add_argument("--domain-json", required=True, help="the recipe's domain table, as JSON")
    parser.add_argument("--seed", type=int, required=True, help="the recipe's seed")
    parser.add_argument("--fail-every", type=int, default=0, help="answer every N-th question with a 503")
    given = parser.parse_args(arguments)
    if given.seed < 0 or given.fail_every < 0:
        parser.error("--seed and --fail-every are 0 or more")
    try:
        try:
            config = DomainConfig.model_validate_json(given.domain_json)
        except ValidationError as error:
            said = error.errors()[0]["msg"]
            raise ConfigError(f"--domain-json: {said}. Give the recipe's domain table.") from None
        server = TeacherServer(Collection.of(given.cases, config, given.seed), fail_every=given.fail_every)
    except DriftboundError as error:
        say(str(error))
        return 2
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.write(server.base_url + "\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


def _end_with_parent() -> None:
    """Leave at once when standard input ends: an answer under way is asked again by its client."""
    while sys.stdin is not None and os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
