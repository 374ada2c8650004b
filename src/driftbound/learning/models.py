"""Loading, adapting and saving students: ordinary Hugging Face checkpoint folders."""

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from driftbound.config import TrainingConfig
from driftbound.errors import ModelError, StoreError, boundary
from driftbound.store.checkpoint import is_hub_name


class Student(NamedTuple):
    """A model and the processor that goes with it."""

    model: Any
    processor: Any


_FOR_PROCESSORS = ("revision", "trust_remote_code", "token", "cache_dir", "subfolder")
"""Of what is given for loading a model, what its processor is loaded with too."""


def load(name: str | Path, *, for_training: bool = False, **given: Any) -> Student:
    """Load a checkpoint folder (or, where the user names one, a hub checkpoint), in evaluation mode.

    float32 for training and on the CPU; bfloat16 for generation on a GPU that has it; unless ``given``,
    keywords of ``from_pretrained``, has another ``dtype``. Raises ``ModelError`` for what cannot be
    loaded, is no image-and-text model, or has no chat template.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    path = Path(name)
    if not is_hub_name(str(name)) and not (path / "config.json").is_file():
        raise ModelError(f"{name}: no checkpoint (config.json is missing). Name a checkpoint folder.")
    doing, then = f"loading {name}", "It must be an image-and-text checkpoint with its processor."
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if has_bfloat16(device) and not for_training else torch.float32
    with boundary(ModelError, doing, then=then):
        logging.getLogger("transformers").setLevel(logging.ERROR)
        shared = {key: given[key] for key in _FOR_PROCESSORS if key in given}
        processor = AutoProcessor.from_pretrained(name, **shared)
        model = AutoModelForImageTextToText.from_pretrained(name, **{"dtype": dtype} | given)
    if not getattr(processor, "chat_template", None):
        raise ModelError(
            f"{name}: its processor has no chat template. Add chat_template.jinja to the checkpoint."
        )
    if processor.tokenizer.pad_token_id is None or processor.tokenizer.eos_token_id is None:
        raise ModelError(f"{name}: its tokenizer has no padding or end token. Set both in the checkpoint.")
    placed = "device_map" in given or "quantization_config" in given
    return Student((model if placed else model.to(device)).eval(), processor)


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` is a GPU that calculates in bfloat16."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def arithmetic(device: torch.device) -> AbstractContextManager[Any]:
    """The arithmetic of training, also for what is compared with it: bfloat16 on a GPU that has it."""
    return torch.autocast(device.type, torch.bfloat16) if has_bfloat16(device) else nullcontext()


def make_trainable(model: Any, config: TrainingConfig) -> Any:
    """Set what is trained: everything, everything but the vision tower, or adapters on the decoder."""
    if config.tuner == "lora":
        from peft import get_peft_model

        return get_peft_model(model, adapters(model, config))  # float32, whatever the weights are
    vision = {id(p) for module in vision_modules(model) for p in module.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(config.train_vision or id(parameter) not in vision)
    return model


def tower_is_frozen(config: TrainingConfig) -> bool:
    """Whether ``make_trainable`` leaves the vision tower alone."""
    return config.tuner == "lora" or not config.train_vision


def adapters(model: Any, config: TrainingConfig) -> Any:
    """The recipe's low-rank adapters, on all linear layers of the model's decoder, as peft wants them."""
    from peft import LoraConfig

    lora = config.lora
    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=_decoder_linears(model))


def save(student: Student, folder: Path, beside: Mapping[str, str] | None = None) -> None:
    """Write an ordinary checkpoint folder, and texts by name; it appears complete or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    with boundary(StoreError, f"writing {folder}", then="Check disk space and permissions."):
        shutil.rmtree(partial, ignore_errors=True)
        student.model.save_pretrained(partial)
        student.processor.save_pretrained(partial)
        for name, text in (beside or {}).items():
            (partial / name).write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)


def set_threads(threads: int) -> None:
    """CPU threads for torch; 0 leaves the choice to torch."""
    if threads:
        torch.set_num_threads(threads)


def vision_modules(model: nn.Module) -> list[nn.Module]:
    """The towers: modules that own the vision configuration, the outermost first."""
    tower = type(model.config.vision_config)  # type: ignore[union-attr]
    return [m for m in model.modules() if isinstance(getattr(m, "config", None), tower)]


def _decoder_linears(model: nn.Module) -> list[str]:
    """Names of the decoder's linear layers: neither tower, projector nor head."""
    decoder = model.get_decoder()  # type: ignore[operator]
    inside = {id(module) for module in decoder.modules()}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    ]
