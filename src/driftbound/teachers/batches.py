"""Batch files: requests as OpenAI-batch JSONL for a vendor's cheaper queue, and its results read back."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftbound.endpoints.replies import Reply, error_code, reply_of
from driftbound.endpoints.vendors import BatchRules
from driftbound.errors import TeacherError
from driftbound.store.manifest import one_line, replacing

URL = "/v1/chat/completions"
_MARK = "driftbound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request of a batch file."""

    attempt: int
    """Number of the attempt that it is noted under."""
    request_hash: str
    body: Mapping[str, Any]

    def text(self) -> str:
        """The line, in the OpenAI batch schema, with its end."""
        given = {"custom_id": self.custom_id, "method": "POST", "url": URL, "body": self.body}
        return json.dumps(given, ensure_ascii=True) + "\n"

    @property
    def custom_id(self) -> str:
        """What the result will be known by: no case, no name; short enough for every vendor."""
        return f"{_MARK}-{self.attempt}-{self.request_hash[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one request of a batch file."""

    attempt: int
    hash_start: str
    reply: Reply | None = None
    error: str = ""
    refused: bool = False
    """The vendor's filter declined it: that is an answer."""


def write(folder: Path, name: str, lines: Iterable[Line], rules: BatchRules) -> list[Path]:
    """Write as many files as the vendor's limits make necessary; each whole or not at all.

    Raises ``StoreError`` where the file system refuses, ``TeacherError`` for a request that is
    larger than a whole file may be.
    """
    texts = (line.text() for line in lines)
    paths: list[Path] = []
    rest = next(texts, None)
    while rest is not None:
        path = folder / f"{name}-{len(paths) + 1:03}.jsonl"
        with replacing(path) as partial, partial.open("w", encoding="ascii") as file:
            n = size = 0
            while rest is not None and n < rules.largest_requests and size + len(rest) <= rules.largest_bytes:
                file.write(rest)
                n, size = n + 1, size + len(rest)
                rest = next(texts, None)
            if not n:
                raise TeacherError(
                    f"{name}: one request is larger than a batch file may be ({rules.largest_bytes} bytes). "
                    "Set images.largest_side for this teacher."
                )
        paths.append(path)
    return paths


def read(path: Path, refusal_codes: frozenset[str]) -> Iterator[Result | None]:
    """The results in a file, one by one; ``None`` for a line that is no result of driftbound's.

    Raises ``TeacherError`` for a file that cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _result(line, f"{path}, line {number}", refusal_codes)
    except (OSError, UnicodeDecodeError) as error:
        raise TeacherError(f"{path}: cannot be read ({one_line(error)}). Name a file of results.") from error


def _result(line: str, where: str, refusal_codes: frozenset[str]) -> Result | None:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        raise TeacherError(
            f"{where}: not valid JSON. Fetch the file again; nothing of it was taken."
        ) from None
    custom_id = given.get("custom_id") if isinstance(given, dict) else None
    parts = str(custom_id).split("-")
    if len(parts) != 3 or parts[0] != _MARK or not parts[1].isdecimal():
        return None
    attempt, hash_start = int(parts[1]), parts[2]
    response = given.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    status = response.get("status_code") if isinstance(response, dict) else None
    reply = reply_of(body) if status == 200 else None
    if isinstance(reply, Reply):
        return Result(attempt=attempt, hash_start=hash_start, reply=reply)
    error = given.get("error") or (body.get("error") if isinstance(body, dict) else body)
    said = reply or f"batch status {status}: {json.dumps(error)}"
    refused = error_code({"error": error}) in refusal_codes
    return Result(attempt=attempt, hash_start=hash_start, error=" ".join(said.split())[:300], refused=refused)
