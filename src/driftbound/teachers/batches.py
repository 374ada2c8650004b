"""Batch files: requests as OpenAI-batch JSONL for a vendor's cheaper queue, and its results read back."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftbound.endpoints.replies import Reply, error_code, reply_of
from driftbound.endpoints.vendors import BatchRules
from driftbound.errors import StoreError, TeacherError
from driftbound.store.manifest import one_line, replacing

URL = "/v1/chat/completions"
_MARK = "driftbound"
_CUSTOM_ID = re.compile(rf"{_MARK}-([0-9]{{1,18}})-([0-9a-f]{{16}})")


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
    maybe_charged: bool = False
    """It was answered, though the answer cannot be read."""


def refuse_earlier(folder: Path, name: str) -> None:
    """Raise ``StoreError`` where batch files of this name lie in the folder: sent along, they would be paid
    twice."""
    pattern = re.compile(rf"{re.escape(name)}-[0-9]{{3,}}\.jsonl")
    try:
        found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read ({one_line(error)}). Name another folder.") from error
    earlier = [each for each in found if pattern.fullmatch(each)]
    if earlier:
        raise StoreError(
            f"{folder}: holds batch files already ({earlier[0]}), of requests that were given up, answered "
            "or never noted. Name another folder, or remove them."
        )


def write(folder: Path, name: str, lines: Iterable[Line], rules: BatchRules) -> Iterator[Path]:
    """Write as many files as the vendor's limits make necessary, each whole or not at all; gives each path.

    Raises ``StoreError`` where the file system refuses, ``TeacherError`` for a request that is
    larger than a whole file may be.
    """
    texts = (line.text() for line in lines)
    number = 0
    rest = next(texts, None)
    while rest is not None:
        number += 1
        path = folder / f"{name}-{number:03}.jsonl"
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
        yield path


def size_of(body: Mapping[str, Any]) -> int:
    """Bytes of a request's line, at most."""
    longest = Line(attempt=10**18 - 1, request_hash="0" * 64, body=body)
    return len(longest.text())


def read(path: Path, refusal_codes: frozenset[str]) -> Iterator[Result | None]:
    """The results in a file, one by one; ``None`` for a line that is no result of driftbound's.

    Raises ``TeacherError`` for a file that cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
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
    custom_id = _CUSTOM_ID.fullmatch(str(given.get("custom_id"))) if isinstance(given, dict) else None
    if custom_id is None:
        return None
    if "response" not in given and "error" not in given:
        raise TeacherError(f"{where}: a request, no result. Name the file that the vendor gave back.")
    attempt, hash_start = int(custom_id[1]), custom_id[2]
    response = given.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    status = response.get("status_code") if isinstance(response, dict) else None
    reply = reply_of(body) if status == 200 else None
    if isinstance(reply, Reply):
        return Result(attempt=attempt, hash_start=hash_start, reply=reply)
    error = given.get("error") or (body.get("error") if isinstance(body, dict) else None) or body
    said = reply or f"batch status {status}: {json.dumps(error)}"
    return Result(
        attempt=attempt,
        hash_start=hash_start,
        error=" ".join(said.split()).encode("utf-8", "replace").decode()[:300],
        refused=reply is None and error_code({"error": error}) in refusal_codes,
        maybe_charged=reply is not None,
    )
