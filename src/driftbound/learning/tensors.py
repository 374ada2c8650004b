"""Packed rows of encoded prompts as the tensors of one forward."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from driftbound.learning.packing import Segment, lay_out
from driftbound.learning.tower import Shown

Rows = Sequence[Sequence[Segment]]


def tensors_of(
    rows: Rows,
    prompts: Sequence[dict[str, Tensor]],
    keys: Sequence[int],
    padding: int,
    positions: Sequence[Tensor],
    answer_types: Mapping[str, int],
    *,
    packed: bool,
) -> dict[str, Any]:
    """What ``packing.lay_out`` gives, and what the processor made of each segment's prompt.

    Without ``packed``, ``attention_mask`` stands for positions, segments and branches. ``shown`` says which
    images there are, by the ``keys`` of their prompts. ``answer_types``: of a field per token, its value on
    answers; 0 where not named.
    """
    batch: dict[str, Any] = lay_out(rows, padding, positions)
    pictures = [segment.picture for row in rows for segment in row]
    whole = [name for name in dict.fromkeys(n for p in prompts for n in p) if not _per_token(name, prompts)]
    for name in dict.fromkeys(n for p in pictures for n in prompts[p] if n != "input_ids"):
        if name in whole:
            values = [prompts[p][name] for p in pictures if name in prompts[p]]
            batch[name] = torch.cat(_same_count(values))
        else:
            length, fill = batch["input_ids"].shape[1], answer_types.get(name, 0)
            batch[name] = _per_row(name, prompts, rows, length, fill)
    sizes = {
        p: {name: prompts[p][name].shape[0] for name in whole if name in prompts[p]} for p in {*pictures}
    }
    with_images = [p for p in pictures if sizes[p]]
    batch["shown"] = Shown([keys[p] for p in with_images], [sizes[p] for p in with_images])
    if not packed:
        del batch["position_ids"], batch["branch"]
        batch["attention_mask"] = (batch.pop("segment") >= 0).long()
    return batch


def _per_token(name: str, prompts: Sequence[dict[str, Tensor]]) -> bool:
    return all(name not in p or p[name].shape == p["input_ids"].shape for p in prompts)


def _per_row(name: str, prompts: Sequence[dict[str, Tensor]], rows: Rows, length: int, fill: int) -> Tensor:
    """What is said of each token of a prompt, (R, T); ``fill`` on answers and padding, 0 where nothing is."""
    laid = []
    for row in rows:
        parts = []
        for segment in row:
            value = prompts[segment.picture].get(name)
            value = torch.zeros(1, len(segment.prefix), dtype=torch.long) if value is None else value
            parts.append(pad(value, (0, len(segment) - len(segment.prefix)), value=fill))
        joined = torch.cat(parts, dim=1)
        laid.append(pad(joined, (0, length - joined.shape[1]), value=fill))
    return torch.cat(laid)


def _same_count(pictures: list[Tensor]) -> list[Tensor]:
    """Tiles of images, (1, tiles, ...): as many for each, with empty ones behind, as processors do it."""
    if pictures[0].dim() < 4 or len({each.shape[1] for each in pictures}) == 1:
        return pictures
    most = max(each.shape[1] for each in pictures)
    return [pad(each, (0, 0) * (each.dim() - 2) + (0, most - each.shape[1])) for each in pictures]
