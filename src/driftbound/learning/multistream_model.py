"""The model that a trainer for everyone is given: by name or as an object, with processor and adapters."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import AutoProcessor

from driftbound.errors import ModelError, TrainingError, boundary
from driftbound.learning import models
from driftbound.learning.multistream_config import MultiStreamConfig


def init_of(model: Any, given: dict[str, Any] | None) -> dict[str, Any]:
    if given and not isinstance(model, str | os.PathLike):
        raise TrainingError("model_init_kwargs are for a model by name. Load yours with them.")
    return given or {}


def resolve(model: Any, processor: Any, args: Any, init: dict[str, Any]) -> tuple[Any, Any]:
    """Model and processor, each by name or as an object, on the device of the training."""
    if isinstance(model, str | os.PathLike):
        model, own = models.load(os.fspath(model), for_training=True, **init)
        processor = processor or own
    elif processor is None:
        name = getattr(model.config, "_name_or_path", "")
        with boundary(ModelError, "finding the model's processor", then="Give processing_class."):
            processor = AutoProcessor.from_pretrained(name)
    if getattr(processor, "tokenizer", None) is None or not getattr(processor, "chat_template", None):
        raise ModelError("processing_class must be a processor with a tokenizer and a chat template.")
    if processor.tokenizer.pad_token_id is None or processor.tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no padding or end token. Set both.")
    placed = getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False)
    return model if placed else model.to(args.device), processor


def adapt(model: Any, peft_config: Any) -> Any:
    from peft import get_peft_model

    if hasattr(model, "peft_config"):
        raise TrainingError("the model has adapters already. Leave out peft_config, or merge them.")
    with boundary(ModelError, "adding adapters", then="Check peft_config."):
        return get_peft_model(model, peft_config)


def arithmetic_of(args: MultiStreamConfig) -> Callable[[], AbstractContextManager[Any]]:
    """The arithmetic of the training, for the reference too: else the first loss is not ln(N+1)."""
    dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
    return lambda: nullcontext() if dtype is None else torch.autocast(args.device.type, dtype)
