"""Processes that train together: who this one is, waiting, adding up. Alone, nothing of it does anything."""

import os
from collections.abc import Sequence
from datetime import timedelta

import torch
from accelerate import PartialState
from torch import distributed

from driftbound.errors import ConfigError

PATIENCE = timedelta(hours=6)
"""How long a process waits for the others: saving and measuring a large student takes its time."""


def join(expected: int = 0, *, needs_gpu: bool = False) -> None:
    """Meet the others, where a launcher has started this process; on a GPU of its own, if there are any.

    Raises ``ConfigError`` if there are not as many as expected, or no GPUs for them where they need some:
    accelerate would do something else without a word.
    """
    if needs_gpu and not torch.cuda.is_available():
        raise ConfigError(
            "launch.config shards over GPUs, and this machine has none. Take launch.config: ddp."
        )
    local, gpus = int(os.environ.get("LOCAL_RANK", "-1")), torch.cuda.device_count()
    if gpus and local >= gpus:
        raise ConfigError(f"launch.processes is more than this machine's {gpus} GPUs. Lower it.")
    if local >= 0:
        PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
    if expected and count() != expected:
        raise ConfigError(
            f"launch.processes is {expected}, but accelerate started {count()}. Look at launch.config."
        )


def count() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def leads() -> bool:
    """Whether this is the one that writes and speaks for all."""
    return rank() == 0


def wait() -> None:
    """Until all are here."""
    if count() > 1:
        distributed.barrier()


def part() -> None:
    """Part from the others, when all are done: one that just ends may take others down with it."""
    if count() > 1:
        wait()
        distributed.destroy_process_group()


def added(values: Sequence[float], device: torch.device) -> list[float]:
    """Each value summed over all processes; as many values must come from each."""
    if count() == 1 or not values:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    found: list[float] = sums.tolist()
    return found


def most(value: int, device: torch.device) -> int:
    """The largest of all processes' values."""
    if count() == 1:
        return value
    largest = torch.tensor(value, device=device)
    distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
    return int(largest)
