"""Folding low-rank adapters into the weights under them, and how much of them survives it."""

from typing import Any

import torch
from torch import Tensor, nn

from driftbound.progress import say

LOST = 0.1
"""Share of the adapters, lost in rounding, from which it is said."""


def merged(model: Any) -> tuple[Any, float]:
    """The model without adapters, these folded into its weights; and how much of them is kept.

    Sums are made in float32 (peft's adapters are) and rounded once, to the dtype of the weights: the next
    stage and all who read the checkpoint hold them so. What is smaller than a weight's rounding is lost by
    that. Kept is by how much of what the adapters say the weights have moved: 1 in float32. A model without
    adapters is given back as it is.
    """
    if not hasattr(model, "merge_and_unload"):
        return model, 1.0
    kept = _kept(model)
    if kept < 1 - LOST:
        say(
            f"rounding the student's weights keeps {kept:.0%} of what its adapters have learnt. "
            "Raise learning_rate, or set weights: float32"
        )
    return model.merge_and_unload(), kept


@torch.no_grad()
def _kept(model: Any) -> float:
    """The projection of what will be stored on what was learnt, over all linear layers with adapters."""
    from peft.tuners.lora import LoraLayer

    moved, wanted = 0.0, 0.0
    for layer in model.modules():
        if not isinstance(layer, LoraLayer) or not isinstance(layer.get_base_layer(), nn.Linear):
            continue
        weight = layer.get_base_layer().weight
        if not weight.dtype.is_floating_point:  # quantised: what it stands for is not in it
            continue
        for name in layer.active_adapters:
            change = layer.get_delta_weight(name).float()
            stored = (weight + change).to(weight.dtype).float()
            moved += _dot(stored - weight.float(), change)
            wanted += _dot(change, change)
    return moved / wanted if wanted else 1.0


def _dot(one: Tensor, other: Tensor) -> float:
    return float(torch.dot(one.double().flatten(), other.double().flatten()))
