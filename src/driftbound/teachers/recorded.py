"""A recorded teacher: replays answers that a file holds already; nobody is asked."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.records import Case, Request, Status, Trajectory
from driftbound.stances import told_by_either
from driftbound.store.foreign import Answer
from driftbound.teachers.answers import now, trajectory_of
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
        answers: Iterable[Answer],
        cases: Sequence[Case],
        is_refusal: Callable[[str], bool],
    ) -> None:
        """``answers`` are those of the teacher that the file at ``path`` calls ``stream``.
        ``cases`` are all of the run, for only so is a name known to be one case's alone.

        Raises ``StoreError`` for a file that cannot be read, maps to nothing or answers one case
        twice differently.
        """
        self.name = name
        self.model = model
        self.params = params_json(params)
        self._path = path
        self._is_refusal = is_refusal
        self._answers = _by_case(path, stream, answers, names_of(cases))

    async def answer(self, request: Request) -> Trajectory:
        """What the file holds; a case that is not in it is a failed answer."""
        start = time.perf_counter()
        found = self._answers.get((request.case.case_id, request.sample))
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
        told = found.prompt_discloses if found is not None else ""
        request = replace(request, prompt_discloses=told_by_either(request.prompt_discloses, told))
        return trajectory_of(
            request,
            self,
            latency_s=round(time.perf_counter() - start, 4),
            created_at=now(),
            note=f"recorded in {self._path.name}",
            **said,
        )

    async def close(self) -> None:
        """Forget what was read."""
        self._answers.clear()


def names_of(cases: Sequence[Case]) -> dict[str, str]:
    """Case id, path of an image and its name -> case; what could mean several cases means none.

    >>> def case(name, image):
    ...     return Case(case_id=name, cluster="", split="train", prompt="", images=(image,))
    >>> sorted(names_of([case("a", "1/x.png"), case("b", "2/x.png")]))
    ['1/x.png', '2/x.png', 'a', 'b']
    """
    paths = {(image, case.case_id) for case in cases for image in case.images}
    names = {(Path(path).name, case_id) for path, case_id in paths}
    found: dict[str, str] = {}
    for pairs in (names, paths, {(case.case_id, case.case_id) for case in cases}):
        shared = Counter(name for name, _ in pairs)
        found |= {name: case_id for name, case_id in pairs if shared[name] == 1}
    return found


def _by_case(
    path: Path, stream: str, found: Iterable[Answer], cases: Mapping[str, str]
) -> dict[tuple[str, int], Answer]:
    """Case and sample -> answer. Raises ``StoreError`` for two different ones, and where no case is known."""
    answers: dict[tuple[str, int], Answer] = {}
    named = ""
    for answer in found:
        named = answer.case_id or answer.image
        case = cases.get(named) or cases.get(Path(named).name)
        if case is None:
            continue
        key = (case, answer.sample)
        if answers.setdefault(key, answer) != answer:
            raise StoreError(
                f"{path}: {stream} answers {case} twice, differently (as {named}). "
                "Give further answers a sample number, or write columns: {case_id: COLUMN}."
            )
    if not answers:
        raise StoreError(
            f"{path}: no case of this run is in it; it names cases like {named!r}. "
            "Write columns: {case_id: COLUMN} in the recipe."
        )
    return answers
