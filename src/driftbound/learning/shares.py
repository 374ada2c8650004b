"""The cases of a training, shared out over its processes: each case once, and as many batches for each."""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Sampler

from driftbound.learning import processes

COUNTS = "counts"
"""In a batch: whether it counts. One that does not keeps its process in step with the others."""


class Shares(Sampler[list[int]]):
    """Indices of each batch of one process, ``size`` or fewer; none where only others have cases left.

    What all processes do together is what one does with their number as accumulated batches: the same
    cases in the same optimiser step. (accelerate's own way repeats cases until all have as many.)

    >>> [list(Shares(range(7), 2, count=2, rank=r)) for r in (0, 1)]
    [[[0, 2], [4, 6]], [[1, 3], [5]]]
    >>> [list(Shares(range(5), 2, count=2, rank=r)) for r in (0, 1)]
    [[[0, 2], [4]], [[1, 3], []]]
    """

    def __init__(self, order: Any, size: int, *, count: int, rank: int) -> None:
        self.order, self.size, self.count, self.rank = order, size, count, rank

    def __len__(self) -> int:
        return -(-len(self.order) // (self.size * self.count))

    def __iter__(self) -> Iterator[list[int]]:
        indices, together = list(self.order), self.size * self.count
        for start in range(0, len(indices), together):
            yield indices[start : start + together][self.rank :: self.count]

    def set_epoch(self, epoch: int) -> None:
        """Another order for every epoch, where it is shuffled."""
        if hasattr(self.order, "set_epoch"):
            self.order.set_epoch(epoch)


@dataclass
class _Collate:
    """The collator, for batches that may be empty: those are a case that does not count."""

    collate: Callable[[Sequence[Any]], dict[str, Tensor]]
    spare: Any

    def __call__(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        return self.collate(examples or [self.spare]) | {COUNTS: torch.tensor(len(examples) > 0)}


class SharedLoader(DataLoader[Any]):
    """Batches of this process. ``order`` must be the same in all; a random one is made so."""

    def __init__(self, examples: Any, order: Any, size: int, collate: Any, args: Any) -> None:
        if isinstance(order, RandomSampler) and isinstance(order.data_source, Sized):
            order = SeedableRandomSampler(order.data_source, data_seed=args.data_seed)
        super().__init__(
            examples,
            batch_sampler=Shares(order, size, count=processes.count(), rank=processes.rank()),
            collate_fn=_Collate(collate, examples[0]),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
        )

    def set_epoch(self, epoch: int) -> None:
        """As ``transformers.Trainer`` calls it."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
