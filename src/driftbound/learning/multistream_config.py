"""Settings of the trainer for everyone: those of transformers, and a few more."""

import os
from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers import TrainingArguments

from driftbound.errors import ConfigError
from driftbound.learning import models
from driftbound.learning.goals import LOSSES, SFT

ATTENTIONS = ("branches", "flex")


@dataclass
class MultiStreamConfig(TrainingArguments):
    """``transformers.TrainingArguments`` and what preferring one answer over several needs besides.

    ``per_device_train_batch_size`` counts rows, each with all its answers.
    """

    objective: str = field(default="plackett_luce", metadata={"help": "plackett_luce, pairwise or sft."})
    beta: float = field(default=0.1, metadata={"help": "How closely the reference is kept to."})
    anchor: float = field(default=0.0, metadata={"help": "Weight of the chosen answer's NLL per token."})
    nca: float = field(default=0.0, metadata={"help": "Weight of NCA's absolute term."})
    dpop: float = field(default=0.0, metadata={"help": "Weight of DPOP's floor under the chosen answer."})
    common_length: bool = field(
        default=False, metadata={"help": "Only as many tokens of each answer count as the shortest has."}
    )
    length_normalised: bool = field(default=False, metadata={"help": "Log-ratios per token."})
    max_length: int = field(default=1024, metadata={"help": "Tokens of prompt, images and one answer."})
    row_tokens: int = field(
        default=4096, metadata={"help": "Tokens that may share a packed row; 0: a row per answer."}
    )
    attention: Literal["branches", "flex"] = field(
        default="branches", metadata={"help": "How packed rows attend; flex: FlexAttention, on CUDA."}
    )
    two_pass: bool = field(
        default=False, metadata={"help": "Go backward one row at a time: the memory of one, a forward more."}
    )
    tower_cache_mb: int = field(
        default=1024, metadata={"help": "Memory for the features of a vision tower that is not trained."}
    )
    floor: float | None = field(
        default=-1.0, metadata={"help": "Stop when log p(chosen) per token has fallen by this; None: never."}
    )
    reference_path: str | None = field(
        default=None, metadata={"help": "Stored reference; else reference.jsonl in output_dir."}
    )
    learning_rate: float = field(default=1e-5, metadata={"help": "The initial learning rate."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between logs."})
    bf16: bool | None = field(
        default=None, metadata={"help": "Train in bfloat16; None: where a GPU has it and fp16 is off."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Rows have their own columns."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "A loss that is lost is said."})

    def __post_init__(self) -> None:
        # of several processes on a machine without GPU, transformers would make as many lonely ones
        if "LOCAL_RANK" in os.environ and not torch.accelerator.is_available():
            self.use_cpu = True
        if self.bf16 is None:
            usable = torch.cuda.is_available() and not self.use_cpu and not self.fp16
            self.bf16 = usable and models.has_bfloat16(torch.device("cuda"))
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False
        stage = getattr(self.deepspeed_plugin, "zero_stage", 0)
        known = (*LOSSES, SFT)
        dead = [name for name in ("nca", "dpop", "common_length") if getattr(self, name)]
        wrong = {
            "ZeRO-3 takes the model apart before its reference is known; use FSDP2 or ZeRO-2": stage == 3,
            f"objective is {self.objective!r}; known: {', '.join(known)}": self.objective not in known,
            f"objective sft has no rejected answers; leave out {', '.join(dead)}": (
                self.objective == SFT and bool(dead)
            ),
            f"attention is {self.attention!r}; known: branches, flex": self.attention not in ATTENTIONS,
            f"beta is {self.beta}; it must be above 0": self.beta <= 0,
            f"anchor is {self.anchor}; it must be 0 or more": self.anchor < 0,
            f"nca is {self.nca}; it must be 0 or more": self.nca < 0,
            f"dpop is {self.dpop}; it must be 0 or more": self.dpop < 0,
            f"max_length is {self.max_length}; it must be 8 or more": self.max_length < 8,
            f"row_tokens is {self.row_tokens}; it must be 0 or more": self.row_tokens < 0,
            f"tower_cache_mb is {self.tower_cache_mb}; it must be 0 or more": self.tower_cache_mb < 0,
            f"floor is {self.floor}; it must be below 0": self.floor is not None and self.floor >= 0,
        }
        for said, so in wrong.items():
            if so:
                raise ConfigError(f"MultiStreamConfig: {said}.")
        self._n_gpu = min(1, self.n_gpu)  # no DataParallel: it splits groups behind our back
