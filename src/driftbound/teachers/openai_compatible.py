"""A teacher behind an OpenAI-compatible endpoint: asks, and says what became of the question."""

import time
from collections.abc import Callable
from typing import Any

from driftbound.endpoints.client import Endpoint
from driftbound.endpoints.gate import shown
from driftbound.endpoints.replies import Reply
from driftbound.errors import CaseError
from driftbound.records import Request, Status, Trajectory
from driftbound.teacher_config import ImagesConfig
from driftbound.teachers.answers import now, trajectory_of
from driftbound.teachers.breaker import Breaker
from driftbound.teachers.metering import Account, RequestMeter
from driftbound.teachers.preparing import Prepared, prepare
from driftbound.teachers.requests import params_json
from driftbound.teachers.statuses import status_of


class OpenAICompatibleTeacher:
    """A ``Teacher`` over HTTP."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        params: dict[str, Any],
        images: ImagesConfig,
        account: Account,
        is_refusal: Callable[[str], bool],
    ) -> None:
        self.name = name
        self.model = endpoint.model
        self.params = params_json(params)
        self.account = account
        self._endpoint = endpoint
        self._settings = params
        self._images = images
        self._is_refusal = is_refusal
        self._breaker = Breaker(f"{name} at {shown(endpoint.destination.url)}")

    async def answer(self, request: Request) -> Trajectory:
        """Ask once (with retries); a failed answer is a trajectory too.

        Raises ``TeacherError`` when asking on is pointless: the teacher is given up, or its budget
        is used up; ``DataUseError`` when the case may not be sent there.
        """
        try:
            prepared = prepare(request, self._settings, self._images, self._endpoint.vendor)
        except CaseError as error:
            error_said = f"not sent: {error}"
            return trajectory_of(request, self, created_at=now(), status=Status.FAILED, error=error_said)
        trial = await self._breaker.admit()
        created_at = now()
        start = time.perf_counter()
        try:
            said = await self._ask(request, prepared, trial)
        except BaseException:
            self._breaker.abandoned(trial=trial)
            raise
        latency_s = round(time.perf_counter() - start, 4)
        return trajectory_of(request, self, created_at=created_at, latency_s=latency_s, **said)

    async def _ask(self, request: Request, prepared: Prepared, trial: bool) -> dict[str, Any]:
        """What became of the question: the fields of a trajectory that the answer decides."""
        meter = RequestMeter(self.account, request, prepared.prompt_tokens)
        outcome = await self._endpoint.ask(prepared.asked, meter)
        if isinstance(outcome, Reply):
            self._breaker.succeeded()
            return answered(outcome, self._is_refusal) | {
                "cost": meter.cost,
                "note": prepared.note,
            }
        if outcome.refused:
            self._breaker.succeeded()
            return {
                "status": Status.REFUSED,
                "text": outcome.reason,
                "finish_reason": "content_filter",
                "note": prepared.note,
            }
        self._breaker.failed(outcome.reason, barred=outcome.barred, hopeless=outcome.hopeless, trial=trial)
        return {"status": Status.FAILED, "error": outcome.reason, "note": prepared.note}

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()


def answered(reply: Reply, is_refusal: Callable[[str], bool]) -> dict[str, Any]:
    """The fields of a trajectory that a reply decides."""
    return {
        "status": status_of(reply.text, reply.finish_reason, reply.refusal, is_refusal),
        "text": reply.text or reply.refusal,
        "finish_reason": reply.finish_reason,
        "version": reply.version,
        "fingerprint": reply.fingerprint,
        "logprobs": reply.logprobs,
        "prompt_tokens": reply.prompt_tokens or 0,
        "completion_tokens": reply.completion_tokens or 0,
    }
