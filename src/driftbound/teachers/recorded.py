"""A recorded teacher: replays answers that a file holds already; nobody is asked."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.records import Request, Status, Trajectory
from driftbound.store.foreign import Answer, read_answers
from driftbound.teachers.requests import params_json
from driftbound.teachers.statuses import status_of


class RecordedTeacher:
    """A ``Teacher`` whose answers were given before, perhaps by a model that is no longer served."""

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        model: str,
        params: Mapping[str, Any],
        stream: str,
        columns: Mapping[str, str],
        ambiguous: frozenset[str],
        is_refusal: Callable[[str], bool],
    ) -> None:
        """``stream`` is what the file calls this teacher; see ``store.foreign.read_answers``.
        ``ambiguous`` are file names of images that several cases have: by them no case is known.

        Raises ``StoreError`` for a file that cannot be read, maps to nothing or answers one case
        twice differently.
        """
        self.name = name
        self.model = model
        self.params = params_json(params)
        self._path = path
        self._ambiguous = ambiguous
        self._is_refusal = is_refusal
        self._answers = _by_case(path, stream, columns)

    async def answer(self, request: Request) -> Trajectory:
        """What the file holds; a case that is not in it is a failed answer."""
        start = time.perf_counter()
        found = self._find(request)
        if found is None:
            said: dict[str, Any] = {"status": Status.FAILED, "error": f"not recorded in {self._path.name}"}
        elif found.error:
            said = {"status": Status.FAILED, "error": found.error}
        else:
            refusal = "recorded as refused" if found.refused else ""
            said = {
                "status": status_of(found.text, found.finish_reason, refusal, self._is_refusal),
                "text": found.text,
                "finish_reason": found.finish_reason,
                "version": found.version,
                "prompt_tokens": found.prompt_tokens,
                "completion_tokens": found.completion_tokens,
            }
        return Trajectory(
            case_id=request.case.case_id,
            teacher=self.name,
            sample=request.sample,
            wave=request.wave,
            model=self.model,
            params=self.params,
            request_hash=request.request_hash,
            latency_s=round(time.perf_counter() - start, 4),
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            note=f"recorded in {self._path.name}",
            **said,
        )

    async def close(self) -> None:
        """Forget what was read."""
        self._answers.clear()

    def _find(self, request: Request) -> Answer | None:
        """By case id, or where the file has none by the name of the case's first image."""
        found = self._answers.get((request.case.case_id, request.sample))
        if found is not None or not request.case.images:
            return found
        name = Path(request.case.images[0]).name
        return None if name in self._ambiguous else self._answers.get((_image_key(name), request.sample))


def _by_case(path: Path, stream: str, columns: Mapping[str, str]) -> dict[tuple[str, int], Answer]:
    """Case (or image) and sample -> answer. Raises ``StoreError`` for two different ones."""
    answers: dict[tuple[str, int], Answer] = {}
    for answer in read_answers(path, stream=stream, columns=columns):
        case = answer.case_id or _image_key(answer.image)
        key = (case, answer.sample)
        if answers.setdefault(key, answer) != answer:
            raise StoreError(
                f"{path}: {stream} answers {case} twice, differently. Give further answers a sample number."
            )
    return answers


def _image_key(image: str) -> str:
    return f"image {Path(image).name}"
