"""A teacher behind an OpenAI-compatible endpoint: asks, and says what became of the question."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from driftbound.endpoints.client import Endpoint, Failure, Reply, shown
from driftbound.errors import TeacherError
from driftbound.records import Case, Status, Trajectory

UNREACHABLE_IN_A_ROW = 5
"""Questions in a row without any way to the model (each with all its retries): it is not there."""
FAILED_IN_A_ROW = 20
"""Failed questions in a row, of whatever kind: it is out of order."""


class OpenAICompatibleTeacher:
    """A ``Teacher`` over HTTP."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        temperature: float,
        max_tokens: int,
        is_refusal: Callable[[str], bool],
    ) -> None:
        self.name = endpoint.name
        self._endpoint = endpoint
        self._sampling = {"temperature": temperature, "max_tokens": max_tokens}
        self._params = sampling_json(temperature=temperature, max_tokens=max_tokens)
        self._is_refusal = is_refusal
        self._unreachable = 0
        self._failed = 0

    async def answer(self, case: Case, question: str, images: Sequence[bytes]) -> Trajectory:
        """Ask once (with retries); a failed answer is a trajectory too.

        Raises ``TeacherError`` when asking on is pointless: nobody has answered many times in a
        row, or the case may not be sent there.
        """
        created_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        start = time.perf_counter()
        outcome = await self._endpoint.ask(question, images, self._sampling, sensitivity=case.sensitivity)
        latency_s = round(time.perf_counter() - start, 4)
        asked = request_hash(self._endpoint.model, self._params, question, images)
        if isinstance(outcome, Failure):
            self._count(outcome)
            return Trajectory(
                case_id=case.case_id,
                teacher=self.name,
                status=Status.FAILED,
                model=self._endpoint.model,
                params=self._params,
                request_hash=asked,
                latency_s=latency_s,
                created_at=created_at,
                error=outcome.reason,
            )
        self._unreachable = self._failed = 0
        return Trajectory(
            case_id=case.case_id,
            teacher=self.name,
            status=classify(outcome, self._is_refusal),
            text=outcome.text or outcome.refusal,
            finish_reason=outcome.finish_reason,
            model=self._endpoint.model,
            version=outcome.version,
            params=self._params,
            request_hash=asked,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
            latency_s=latency_s,
            created_at=created_at,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    def _count(self, failure: Failure) -> None:
        self._failed += 1
        self._unreachable = self._unreachable + 1 if failure.barred else 0
        if self._unreachable >= UNREACHABLE_IN_A_ROW or self._failed >= FAILED_IN_A_ROW:
            doing = "not reachable" if failure.barred else "out of order"
            raise TeacherError(f"{self.name} at {shown(self._endpoint.base_url)}: {doing} ({failure.reason})")


def sampling_json(*, temperature: float, max_tokens: int) -> str:
    """Sampling settings as they are stored with each answer.

    >>> sampling_json(temperature=1, max_tokens=400)
    '{"max_tokens": 400, "temperature": 1.0}'
    """
    return json.dumps({"max_tokens": max_tokens, "temperature": float(temperature)})


def request_hash(model: str, params: str, question: str, images: Sequence[bytes]) -> str:
    """Identity of a request: model, sampling, question and images by content; not the address."""
    asked = [model, params, question, [_sha256(image) for image in images]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def classify(reply: Reply, is_refusal: Callable[[str], bool]) -> Status:
    """What a reply is: declined, empty, cut off or fine, in this order of precedence."""
    if reply.refusal or reply.finish_reason == "content_filter":
        return Status.REFUSED
    if not reply.text.strip():
        return Status.EMPTY
    if is_refusal(reply.text):
        return Status.REFUSED
    return Status.TRUNCATED if reply.finish_reason == "length" else Status.OK


@lru_cache(maxsize=256)
def _sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()
