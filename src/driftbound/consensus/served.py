"""Served: a model behind an OpenAI-compatible endpoint writes; the student on a server, or a judge."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from driftbound.consensus.kept import Kept
from driftbound.consensus.writing import Ask, Written
from driftbound.endpoints.client import Asked, Endpoint
from driftbound.endpoints.gate import Gate
from driftbound.endpoints.losses import Losses
from driftbound.endpoints.replies import CUT, Failure, Reply
from driftbound.errors import CaseError
from driftbound.progress import Advance, bar


class Served:
    """A ``Writer``; the next ask is sent when an answer has come and is on the disk."""

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        prepare: Callable[[Ask], Asked],
        kept: Kept,
        *,
        gate: Gate,
        sensitivity: str,
        concurrency: int,
        title: str,
    ) -> None:
        """``endpoint`` makes one for an event loop; ``prepare`` may raise ``CaseError`` for an ask that
        cannot be put to it; ``sensitivity`` is that of all that the asks are made of."""
        self._endpoint, self._prepare, self._kept = endpoint, prepare, kept
        self._gate, self._sensitivity = gate, sensitivity
        self._concurrency, self._title = concurrency, title

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One text per ask, in the order asked.

        A refusal is kept with its reason; what failed after all retries has a note too, and is asked again
        by a resumed stage. Raises ``DataUseError`` where the cases may not go there: then nothing was sent;
        ``TeacherError`` where nobody answers, ``StoreError`` for the file: what was written stays.
        """
        failed: dict[int, Written] = {}
        todo = [place for place, ask in enumerate(asks) if self._kept.get(ask) is None]
        with bar(self._title, len(asks)) as advance:
            advance(len(asks) - len(todo))
            if todo:
                try:
                    failed = asyncio.run(self._ask(asks, todo, advance))
                except ExceptionGroup as several:
                    raise several.exceptions[0] from several
                finally:
                    if self._gate.log is not None:
                        self._gate.log.close()
        return [self._kept.get(ask) or failed[place] for place, ask in enumerate(asks)]

    async def _ask(self, asks: Sequence[Ask], todo: Sequence[int], advance: Advance) -> dict[int, Written]:
        endpoint = self._endpoint()
        self._gate.check(endpoint.destination, self._sensitivity)
        losses = Losses(endpoint.destination, "What was written stays; put it right and run again to go on.")
        failed: dict[int, Written] = {}
        left = iter(todo)

        async def work(left: Iterator[int]) -> None:
            for place in left:
                try:
                    asked = self._prepare(asks[place])
                except CaseError as error:
                    failed[place] = Written("", False, f"not sent: {error}")
                else:
                    outcome = await endpoint.ask(asked)
                    losses.note(outcome)
                    written = written_of(outcome)
                    if isinstance(outcome, Failure) and not outcome.refused:
                        failed[place] = written
                    else:
                        self._kept.put([(asks[place], written)])
                advance()

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._concurrency, len(todo))):
                    workers.create_task(work(left))
        finally:
            await endpoint.close()
        return failed


def written_of(outcome: Reply | Failure) -> Written:
    """What an endpoint's answer, or the lack of one, is as a text.

    >>> written_of(Reply(text="Edema: pre", finish_reason="length"))
    Written(text='Edema: pre', ended=False, note='')
    """
    if isinstance(outcome, Failure):
        return Written("", False, f"{'refused' if outcome.refused else 'failed'}: {outcome.reason}")
    if outcome.refusal:
        return Written("", False, f"refused: {outcome.refusal}")
    if not outcome.text.strip():
        return Written("", False, f"empty answer (finish reason {outcome.finish_reason or 'not given'})")
    return Written(outcome.text, outcome.finish_reason.lower() not in CUT)
