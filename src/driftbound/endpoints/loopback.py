"""A server process on this machine: started for the length of a block, stopped in any case."""

import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from driftbound.endpoints.gate import is_loopback
from driftbound.errors import TeacherError

START_S = 60.0
"""How long a server may take to print its URL."""
STOP_S = 5.0


@contextmanager
def serving(command: Sequence[str], *, start_s: float = START_S) -> Iterator[str]:
    """Run ``command``, whose first line on standard output is its base URL, and yield that URL.

    The process holds a pipe as standard input: when this process dies in whatever way, the pipe
    closes and the server can tell. Raises ``TeacherError`` when the server does not come up.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        except OSError as error:
            raise TeacherError(
                f"scripted teachers ({command[0]}): cannot be started ({error.strerror}). "
                "Install driftbound again."
            ) from error
        try:
            url = _first_line(process, start_s)
            if not is_loopback(url):
                raise TeacherError(
                    f"scripted teachers: did not come up within {start_s:g} s ({_said(process, log, url)}). "
                    "Run again; what was collected stays."
                )
            yield url
        finally:
            _stop(process)


def _first_line(process: subprocess.Popen[str], start_s: float) -> str:
    """The first line, or "" in time; further lines are read and dropped so that no pipe fills up."""
    lines: queue.Queue[str] = queue.Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        with output:
            lines.put(output.readline())
            for _ in output:
                pass

    threading.Thread(target=read, name="loopback-output", daemon=True).start()
    try:
        return lines.get(timeout=start_s).strip()
    except queue.Empty:
        return ""


def _said(process: subprocess.Popen[str], log: IO[str], url: str) -> str:
    """What the server left to explain itself: its last line of complaint, or its exit status."""
    try:
        status = f"exit status {process.wait(timeout=0.3)}"
    except subprocess.TimeoutExpired:
        status = "still running"
    log.seek(0)
    complaints = [line.strip() for line in log if line.strip()]
    return complaints[-1][:200] if complaints else f"{status}, first line {url!r}"


def _stop(process: subprocess.Popen[str]) -> None:
    """Close its input, ask it to end, and end it."""
    assert process.stdin is not None
    process.stdin.close()
    process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
