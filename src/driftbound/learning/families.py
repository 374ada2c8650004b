"""Model families: whose answers may share a prompt, how its positions are made, who cannot be scored."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from driftbound.config import TrainingConfig
from driftbound.errors import ConfigError, ModelError
from driftbound.learning.attention import BRANCHES, FLEX
from driftbound.learning.collator import MultiStreamCollator
from driftbound.learning.models import Student
from driftbound.progress import say

PACKED = (
    "llava",
    "llava_next",
    "idefics3",
    "smolvlm",
    "internvl",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
)
"""``model_type`` of the families for which tests prove packed equal to separate."""
DECODERS = ("llama", "mistral", "qwen2", "qwen3", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text")
"""``model_type`` of the decoders that tests prove inside them."""
_BOTH_WAYS = {
    "gemma3": "its image tokens see each other both ways",
    "paligemma": "the tokens of its prompt see each other both ways",
}
_ANSWER_TYPES = {"paligemma": {"token_type_ids": 1}}
"""Families that tell answers from prompts by a field per token, and its value on answers."""

Positions = Callable[[dict[str, Tensor]], Tensor]
"""From an encoded prompt (batch of one) to its positions, (P,) or (3, P)."""


def why_not_packed(model: Any, longest: int | None = None) -> str:
    """Why the answers of a case need a row each under this model; empty where packing is exact.

    ``longest`` is the length of the longest prompt with one answer; without it, any length may come.
    """
    config = model.config
    text = config.get_text_config(decoder=True)
    kinds = set(getattr(text, "layer_types", None) or ())
    if config.model_type in _BOTH_WAYS:
        return _BOTH_WAYS[config.model_type]
    if any("linear" in kind for kind in kinds):
        return "it has linear attention, which no mask keeps apart"
    if kinds - {"full_attention"} or (not kinds and _has_window(text)):
        return "its layers attend in windows"
    if not getattr(text, "is_causal", True):
        return "its tokens see each other both ways"
    plain = _unscaled_length(text)
    if plain is not None and (longest is None or longest > plain):
        return f"its rotary positions are scaled by the length of a row beyond {plain} tokens"
    if config.model_type not in PACKED:
        return f"packing is not tested with {config.model_type}"
    if text.model_type not in DECODERS:
        return f"packing is not tested with {text.model_type} as decoder"
    if text._attn_implementation not in ("sdpa", BRANCHES, FLEX):
        return f"packing needs sdpa attention, the model has {text._attn_implementation}"
    return ""


def prompt_positions(model: Any) -> Positions | None:
    """How a prompt's positions are made where they have three rows (M-RoPE); ``None`` for plain ones."""
    owner = next((m for m in model.modules() if hasattr(type(m), "get_rope_index")), None)
    if owner is None:
        return None

    def positions(prompt: dict[str, Tensor]) -> Tensor:
        ids = prompt["input_ids"]
        if "image_grid_thw" not in prompt:
            return torch.arange(ids.shape[1]).expand(3, -1)
        made, _ = owner.get_rope_index(
            ids,
            prompt["mm_token_type_ids"],
            image_grid_thw=prompt["image_grid_thw"],
            attention_mask=torch.ones_like(ids),
        )
        return made[:, 0]

    return positions


def answer_types(model: Any) -> dict[str, int]:
    """Fields per token that are not 0 on answers, with their value there."""
    return _ANSWER_TYPES.get(model.config.model_type, {})


def check_scorable(model: Any, batch: dict[str, Tensor]) -> None:
    """Raise ``ModelError`` where scoring this batch would give wrong numbers.

    The head's output must be the logits: what a family does to them afterwards is not done here.
    """
    text = model.config.get_text_config(decoder=True)
    scalings = (getattr(text, name, None) for name in ("logit_scale", "logits_scaling"))
    if getattr(text, "final_logit_softcapping", None) or any(s not in (None, 1) for s in scalings):
        raise _head_error(model)
    row, position = batch["at"].unbind(1)
    for name, value in answer_types(model).items():
        if name not in batch or bool((batch[name][row, position + 1] != value).any()):
            raise ModelError(
                f"{model.config.model_type} would see answers as a part of the prompt: {name} must be "
                f"{value} on them. Make the collator with families.collator_for."
            )
    if "branch" not in batch:
        return
    # only where it matters: on a GPU this waits for everything before it
    longest = None if _unscaled_length(text) is None else int(batch["position_ids"].max()) + 1
    reason = why_not_packed(model, longest)
    if not reason and (batch["position_ids"].dim() == 3) != (prompt_positions(model) is not None):
        reason = "the batch has not the model's kind of positions"
    if reason:
        raise ModelError(f"packed answers cannot be kept apart: {reason}. Set row_tokens: 0.")


def check_head(model: Any, given: Sequence[Tensor], own: Tensor) -> None:
    """Raise ``ModelError`` where a model does anything to what its head gives, or calls no head.

    Asked only of families that no test knows.
    """
    if model.config.model_type in (*PACKED, *_BOTH_WAYS):
        return
    if len(given) != 1 or own.shape != given[0].shape or not torch.allclose(own, given[0].to(own)):
        raise _head_error(model)


def _head_error(model: Any) -> ModelError:
    return ModelError(
        f"{model.config.model_type} caps or scales its logits, and answers are scored without. "
        "Take another base."
    )


def collator_for(student: Student, config: TrainingConfig, verb: str) -> MultiStreamCollator:
    """The collator that suits the student; says why where its answers cannot be packed.

    Raises ``ConfigError`` for a training with FlexAttention on a device where it cannot go backward.
    """
    row_tokens = config.row_tokens
    reason = why_not_packed(student.model, config.max_length) if row_tokens else ""
    if reason:
        say(f"{verb}: every answer has a row of its own: {reason}")
        row_tokens = 0
    if row_tokens:
        flex = config.attention == "flex"
        if flex and student.model.device.type != "cuda":
            raise ConfigError(
                f"{verb}: attention flex cannot go backward on {student.model.device.type}, it needs a CUDA "
                "GPU. Set attention: branches."
            )
        student.model.get_decoder().set_attn_implementation(FLEX if flex else BRANCHES)
    return MultiStreamCollator(
        processor=student.processor,
        max_length=config.max_length,
        row_tokens=row_tokens,
        positions=prompt_positions(student.model) if row_tokens else None,
        answer_types=answer_types(student.model),
        apart=config.two_pass,
    )


def _has_window(text: Any) -> bool:
    return bool(getattr(text, "sliding_window", None)) and getattr(text, "use_sliding_window", True)


def _unscaled_length(text: Any) -> int | None:
    """Up to which length rotary positions are the same in every row; ``None`` where always."""
    parameters = getattr(text, "rope_parameters", None) or {}
    found = []
    for table in (parameters, *(value for value in parameters.values() if isinstance(value, dict))):
        if "dynamic" in str(table.get("rope_type")):
            found.append(int(text.max_position_embeddings))
        elif table.get("rope_type") == "longrope":
            found.append(int(table.get("original_max_position_embeddings", 0)))
    return min(found, default=None)
