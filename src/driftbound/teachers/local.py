"""A teacher in this process: questions that wait are answered together, beside teachers elsewhere."""

import asyncio
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from driftbound.endpoints.vendors import Vendor
from driftbound.errors import CaseError, DriftboundError, TeacherError
from driftbound.protocols import Sampler
from driftbound.records import Completion, Request, Status, Trajectory
from driftbound.store.manifest import one_line
from driftbound.teacher_config import ImagesConfig
from driftbound.teachers.answers import now, trajectory_of
from driftbound.teachers.preparing import prepare
from driftbound.teachers.requests import params_json
from driftbound.teachers.statuses import status_of

FAILED_IN_A_ROW = 20
"""Failed questions in a row: the model is out of order."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request that somebody waits for."""

    request: Request
    images: Sequence[bytes]
    """As the model gets to see them."""
    answer: "asyncio.Future[Trajectory]"


class LocalTeacher:
    """A ``Teacher`` whose model is a ``protocols.Sampler`` in this process.

    The latency of an answer is its batch's time of work, without the time that it waited.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        name: str,
        model: str,
        params: Mapping[str, Any],
        images: ImagesConfig,
        batch: int,
        is_refusal: Callable[[str], bool],
    ) -> None:
        """``model`` is what the checkpoint is called, ``batch`` the most questions that are answered
        together. Of ``params`` these count, the first one must be there: ``max_tokens``, ``temperature``
        (else 1), ``top_p`` (else 1), ``logprobs`` (alternatives; else no log-probabilities)."""
        self.name, self.model = name, model
        self.params = params_json(params)
        self._sampler: Sampler | None = sampler
        self._max_tokens = int(params["max_tokens"])
        self._temperature, self._top_p = params.get("temperature", 1.0), params.get("top_p", 1.0)
        self._logprobs: int | None = params.get("logprobs")
        self._images = images
        self._batch = batch
        self._is_refusal = is_refusal
        self._queue: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._failed = 0

    async def answer(self, request: Request) -> Trajectory:
        """Answer once, together with what else waits by then; a failed answer is a trajectory too.

        Raises ``TeacherError`` when many have failed in a row, and once the teacher is closed.
        """
        if self._sampler is None:
            raise TeacherError(f"{self.name}: closed. Make a new teacher.")
        try:
            images = prepare(request, {}, self._images, Vendor()).asked.images
        except CaseError as error:  # no fault of the model's
            said = f"not sent: {error}"
            return trajectory_of(request, self, created_at=now(), status=Status.FAILED, error=said)
        waiting = _Waiting(request, images, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(self._sampler))
        trajectory = await waiting.answer
        self._failed = self._failed + 1 if trajectory.status is Status.FAILED else 0
        if self._failed >= FAILED_IN_A_ROW:
            raise TeacherError(f"{self.name}: {self._failed} failed in a row ({trajectory.error})")
        return trajectory

    async def close(self) -> None:
        """Wait for what is still asked and let go of the model."""
        self._sampler = None
        if self._worker is not None:
            await self._worker

    async def _work(self, sampler: Sampler) -> None:
        """Answer what waits, a batch at a time; a task of its own, so that no asker's end is its end."""
        while batch := self._next_batch():
            try:
                done = await asyncio.to_thread(self._ask, sampler, batch)
                answered = list(zip(batch, done, strict=True))
            except Exception as error:  # none of the model's: those are answers
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
                continue
            for waiting, trajectory in answered:
                if not waiting.answer.done():
                    waiting.answer.set_result(trajectory)

    def _next_batch(self) -> list[_Waiting]:
        """The first that wait; who has stopped waiting is left out."""
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._batch:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    def _ask(self, sampler: Sampler, batch: Sequence[_Waiting]) -> list[Trajectory]:
        """Put them together; where that fails each alone, so that one costs the others nothing."""
        created_at, requests = now(), [each.request for each in batch]
        start = time.perf_counter()
        try:
            said = sampler.complete(
                [request.question for request in requests],
                [each.images for each in batch],
                max_new_tokens=self._max_tokens,
                temperature=self._temperature,
                top_p=self._top_p,
                seeds=[seed_of(request) for request in requests],
                logprobs=self._logprobs,
            )
        except Exception as error:
            why = one_line(error)
            failure = why if isinstance(error, DriftboundError) else f"{type(error).__name__}: {why}"
        else:
            latency_s = round(time.perf_counter() - start, 4)
            pairs = zip(requests, said, strict=True)
            return [self._answered(sampler, *pair, created_at, latency_s) for pair in pairs]
        if len(batch) > 1:  # out here the error, and what memory its traceback held, is gone
            return [trajectory for each in batch for trajectory in self._ask(sampler, [each])]
        latency_s = round(time.perf_counter() - start, 4)
        return [replace(self._blank(sampler, requests[0], created_at, latency_s), error=failure)]

    def _answered(
        self, sampler: Sampler, request: Request, said: Completion, created_at: str, latency_s: float
    ) -> Trajectory:
        finish_reason = "stop" if said.ended else "length"
        return replace(
            self._blank(sampler, request, created_at, latency_s),
            status=status_of(said.text, finish_reason, "", self._is_refusal),
            text=said.text,
            finish_reason=finish_reason,
            logprobs="" if self._logprobs is None else json.dumps(said.logprobs),
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
        )

    def _blank(self, sampler: Sampler, request: Request, created_at: str, latency_s: float) -> Trajectory:
        """What is known whatever came of it."""
        return trajectory_of(
            request,
            self,
            status=Status.FAILED,
            version=sampler.version,
            fingerprint=sampler.fingerprint,
            latency_s=latency_s,
            created_at=created_at,
        )


def seed_of(request: Request) -> int:
    """Seed of an answer: samples of a request differ, and asked again, in whatever wave, it is the same."""
    digest = hashlib.sha256(f"{request.request_hash} {request.sample}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1  # generators take 63 bits
