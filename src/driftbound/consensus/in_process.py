"""In process: the student writes here, a batch at a time; candidates of a case share its prompt."""

from collections.abc import Callable, Sequence
from pathlib import Path

from driftbound.consensus.kept import Kept
from driftbound.consensus.writing import Ask, Written
from driftbound.progress import bar
from driftbound.protocols import Policy


class InProcess:
    """A ``Writer``; the student is loaded when the first text is missing."""

    def __init__(
        self, load: Callable[[], Policy], kept: Kept, *, max_new_tokens: int, batch_size: int, title: str
    ) -> None:
        self._load = load
        self._student: Policy | None = None
        self._kept = kept
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._title = title

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """One text per ask, in the order asked. Raises ``ModelError`` and ``StoreError``.

        A batch of which anything is missing is written whole, so that after a kill everybody has the
        neighbours that it would have had; what was there stays as it was.
        """
        written: dict[int, Written] = {}
        with bar(self._title, len(asks)) as advance:
            for batch in batches(asks, self._batch_size):
                found = {place: self._kept.get(asks[place]) for place in batch}
                if None in found.values():
                    said = self._say([asks[place] for place in batch])
                    missing = [
                        (asks[place], each)
                        for place, each in zip(batch, said, strict=True)
                        if found[place] is None
                    ]
                    self._kept.put(missing)
                    found = {place: self._kept.get(asks[place]) for place in batch}
                written |= {place: each for place, each in found.items() if each is not None}
                advance(len(batch))
        return [written[place] for place in range(len(asks))]

    def _say(self, batch: Sequence[Ask]) -> list[Written]:
        if self._student is None:
            self._student = self._load()
        questions = [ask.question for ask in batch]
        images: list[Sequence[Path]] = [ask.images for ask in batch]
        if any(ask.temperature for ask in batch):
            said = self._student.generate(
                questions,
                images,
                max_new_tokens=self._max_new_tokens,
                temperature=[ask.temperature for ask in batch],
                seeds=[ask.seed for ask in batch],
            )
        else:
            said = self._student.generate(questions, images, max_new_tokens=self._max_new_tokens)
        return [Written(text, ended) for text, ended in said]


def batches(asks: Sequence[Ask], size: int) -> list[list[int]]:
    """Places of the asks by batch: at most ``size`` each, all with the same prompt in one where they fit.

    Prompts of about equal length go together, as the shorter are padded to the longest; the longest come
    first: what is too much for the memory is known at once.
    """
    alike: dict[tuple[str, tuple[Path, ...]], list[int]] = {}
    for place, ask in enumerate(asks):
        alike.setdefault((ask.question, ask.images), []).append(place)
    found: list[list[int]] = []
    for group in sorted(alike.values(), key=lambda group: -len(asks[group[0]].question)):
        if not found or len(found[-1]) + len(group) > size:
            found.append([])
        for place in group:
            if len(found[-1]) == size:
                found.append([])
            found[-1].append(place)
    return [batch for batch in found if batch]
