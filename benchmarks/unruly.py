"""An OpenAI-compatible server that says always the same and misbehaves at random, and counts what it did.

    python -m benchmarks.unruly --seed 0 --faults 0.2

The first line of the output is the base URL; the server ends when standard input closes. What is answered
follows from model and question alone, whether an arrival is answered properly from seed, model, question and
how often that was asked before: the order of arrival changes nothing. GET /v1/stats tells, per model and
question, the arrivals, the proper answers and the faults by kind; /v1/totals the sums of them. With
``--faults 0`` it answers as fast as it can.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.sayings import said

HOST = "127.0.0.1"
HTML = b"<html><head><title>Bad gateway</title></head><body>nginx</body></html>"
HARMLESS = ("twice", "twice-late")
"""Faults that come with a proper answer: nobody need ask again."""


@dataclass(slots=True)
class Count:
    """What became of one question to one model."""

    arrivals: int = 0
    answers: int = 0
    """Proper answers written to a client that was still there."""
    faults: Counter[str] = field(default_factory=Counter)


class Unruly:
    """What is answered, and the log of it."""

    def __init__(self, seed: int, faults: float, kinds: Sequence[str], late_s: float) -> None:
        self.counts: dict[tuple[str, str], Count] = {}
        self.late_s = late_s
        self._total = Count()
        self._answered = 0
        self._seed = seed
        self._faults = faults
        self._kinds = kinds

    def fault(self, model: str, question: str, nth: int) -> str:
        """Kind of fault of the ``nth`` arrival of a question, or "" for a proper answer."""
        if not self._faults:
            return ""
        drawn = hashlib.sha256(f"{self._seed}\n{model}\n{question}\n{nth}".encode()).digest()
        if int.from_bytes(drawn[:4]) >= self._faults * 2**32:
            return ""
        return self._kinds[int.from_bytes(drawn[4:8]) % len(self._kinds)]

    def arrived(self, model: str, question: str) -> tuple[str, Count]:
        """Note one arrival; what fault it meets ("" for none), and the count of its question."""
        count = self.counts.setdefault((model, question), Count())
        fault = self.fault(model, question, count.arrivals)
        for each in (count, self._total):
            each.arrivals += 1
            if fault:
                each.faults[fault] += 1
        if not fault or fault in HARMLESS:
            self.answered(count)
        return fault, count

    def answered(self, count: Count) -> None:
        """Note that a proper answer leaves."""
        self._answered += not count.answers
        count.answers += 1
        self._total.answers += 1

    def totals(self) -> dict[str, object]:
        """Sums over all questions, and how many of them were answered properly at least once."""
        total = self._total
        faults = dict(sorted(total.faults.items()))
        counts = {"arrivals": total.arrivals, "answers": total.answers, "answered": self._answered}
        return counts | {"faults": faults}

    def keys(self) -> list[dict[str, object]]:
        """One line per question and model."""
        return [
            {"model": model, "question": question, "arrivals": count.arrivals, "answers": count.answers}
            | {"faults": dict(count.faults)}
            for (model, question), count in sorted(self.counts.items())
        ]


class Connection(asyncio.Protocol):
    """One connection; requests on it are answered one after the other."""

    def __init__(self, server: Unruly) -> None:
        self._server = server
        self._unread = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self._close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # Large bodies come in pieces; joined only once they are whole.
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        self._unread = b"".join(self._parts)
        while not self._transport.is_closing() and self._take():
            pass
        self._parts = [self._unread] if self._unread else []

    def _take(self) -> bool:
        """Answer one whole request of what was read; whether there was one."""
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            self._missing = 0
            return False
        first, *lines = self._unread[:end].split(b"\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)
        }
        whole = end + 4 + int(headers.get(b"content-length", 0))
        self._missing = whole - len(self._unread)
        if self._missing > 0:
            return False
        body, self._unread = self._unread[end + 4 : whole], self._unread[whole:]
        self._close = headers.get(b"connection", b"").lower() == b"close"
        method, path, _ = first.split(b" ", 2)
        if method == b"POST" and path == b"/v1/chat/completions":
            self._asked(json.loads(body))
        elif path in (b"/v1/stats", b"/v1/totals"):
            told = self._server.totals() | ({"keys": self._server.keys()} if path == b"/v1/stats" else {})
            self.send(_response(200, json.dumps(told).encode()))
        else:
            self.send(_response(404, b'{"error": {"message": "Nothing lies there."}}'))
        return True

    def _asked(self, body: dict[str, Any]) -> None:
        model, question = str(body["model"]), _question(body)
        fault, count = self._server.arrived(model, question)
        proper = _response(200, said(model, question).body)
        if fault:
            KINDS[fault](self, proper, count)
        else:
            self.send(proper)

    def send(self, *data: bytes) -> None:
        """Write, and hang up afterwards where the client wants that."""
        self._transport.writelines(data)
        if self._close:
            self._transport.close()

    def cut(self, data: bytes) -> None:
        """Write a part of an answer and hang up."""
        self._transport.write(data)
        self._transport.close()

    def twice_late(self, proper: bytes) -> None:
        """A proper answer, and some milliseconds later the same again."""
        self._transport.write(proper)
        self._later(0.005, lambda: self.send(proper))

    def late(self, proper: bytes, count: Count) -> None:
        """A proper answer to a client that may have left."""

        def answer() -> None:
            self._server.answered(count)
            self.send(proper)

        self._later(self._server.late_s, answer)

    def _later(self, wait_s: float, do: Callable[[], None]) -> None:
        def when_due() -> None:
            if not self._transport.is_closing():
                do()

        asyncio.get_running_loop().call_later(wait_s, when_due)


def _response(status: int, body: bytes, *more: str, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return (head + "".join(f"{line}\r\n" for line in more) + "\r\n").encode() + body


def _error(status: int, *more: str) -> bytes:
    return _response(status, b'{"error": {"message": "planted"}}', *more)


Misbehave = Callable[[Connection, bytes, Count], None]
KINDS: dict[str, Misbehave] = {
    "429-seconds": lambda at, proper, _: at.send(_error(429, "Retry-After: 1")),
    "429-ms": lambda at, proper, _: at.send(_error(429, "Retry-After-Ms: 40")),
    "429": lambda at, proper, _: at.send(_error(429)),
    "500": lambda at, proper, _: at.send(_error(500)),
    "500-twice": lambda at, proper, _: at.send(_error(500), _error(500)),
    "502-html": lambda at, proper, _: at.send(_response(502, HTML, kind="text/html")),
    "200-html": lambda at, proper, _: at.send(_response(200, HTML, kind="text/html")),
    "invalid-json": lambda at, proper, _: at.send(_response(200, proper.rpartition(b"\r\n\r\n")[2][:-9])),
    "no-choices": lambda at, proper, _: at.send(_response(200, b'{"choices": []}')),
    "closed-before": lambda at, proper, _: at.cut(b""),
    "closed-in-head": lambda at, proper, _: at.cut(proper[:40]),
    "closed-in-body": lambda at, proper, _: at.cut(proper[: -len(proper) // 3]),
    "hang": lambda at, proper, _: None,
    "late": lambda at, proper, count: at.late(proper, count),
    "twice": lambda at, proper, _: at.send(proper, proper),
    "twice-late": lambda at, proper, _: at.twice_late(proper),
}
"""Every fault, by name."""


def _question(body: dict[str, Any]) -> str:
    """The text of the one message."""
    content: str | list[dict[str, str]] = body["messages"][0]["content"]
    if isinstance(content, str):
        return content
    return next(part["text"] for part in content if part["type"] == "text")


async def serve(server: Unruly) -> None:
    """Print the base URL and answer for ever."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), HOST, 0, backlog=1024)
    port = listening.sockets[0].getsockname()[1]
    print(f"http://{HOST}:{port}/v1", flush=True)
    await listening.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--faults", type=float, default=0.2, help="Share of arrivals that are not answered well."
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="Kinds of faults, with commas between.")
    parser.add_argument("--late-s", type=float, default=3.0, help="When a late answer is given.")
    given = parser.parse_args(arguments)
    kinds = given.kinds.split(",")
    if not set(kinds) <= set(KINDS):
        parser.error(f"--kinds are among {', '.join(KINDS)}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(serve(Unruly(given.seed, given.faults, kinds, given.late_s)))


def _end_with_parent() -> None:
    """Leave at once when standard input ends; nobody is left to read the log."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
