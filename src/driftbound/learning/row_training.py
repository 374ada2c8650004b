"""Training on a file's rows, for ``align --groups``: settings as the stage's, driftbound's own bar."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, ProgressCallback

from driftbound.config import AlignConfig
from driftbound.errors import TrainingError
from driftbound.learning import models, processes
from driftbound.learning.goals import SFT
from driftbound.learning.multistream import MultiStreamTrainer
from driftbound.learning.multistream_config import MultiStreamConfig
from driftbound.learning.multistream_files import last_complete
from driftbound.learning.rows import Rows
from driftbound.learning.training import StepProgress, checkpointing
from driftbound.progress import bar
from driftbound.store.exchange import strictest

_SAME = (
    *("objective", "beta", "anchor", "nca", "dpop", "length_normalised", "common_length", "floor"),
    *("learning_rate", "weight_decay", "adam_beta2", "save_steps"),
    *("max_length", "row_tokens", "attention", "two_pass", "tower_cache_mb"),
)
"""Settings that have the same name in the recipe and in the trainer."""


def train_on_rows(
    rows: list[dict[str, Any]],
    name: str,
    base: str,
    out: Path,
    config: AlignConfig,
    *,
    sensitivity: str,
    claim: Callable[[], None],
) -> None:
    """Train ``base`` and leave an ordinary checkpoint in ``out``; goes on from the last whole checkpoint.

    ``sensitivity`` is that of the rows; the checkpoint says it, or the base's where that is stricter.

    Rows are checked before the model is loaded; ``claim`` is called when nothing stands in the way.
    """
    processes.join()
    if processes.count() > 1:
        raise TrainingError("align --groups runs in one process. Use MultiStreamTrainer for several.")
    checked = Rows(rows, name, first=1, alone=config.objective == SFT)
    student = models.load(base, for_training=True, dtype=config.weights)
    claim()
    args = MultiStreamConfig(
        **{name: getattr(config, name) for name in _SAME},
        output_dir=str(out),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.groups_per_forward,
        gradient_accumulation_steps=config.groups_per_step // config.groups_per_forward,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup,
        logging_steps=config.log_steps,
        logging_first_step=True,
        save_total_limit=2,
        report_to="none",
        **checkpointing(config.gradient_checkpointing),
    )
    given: dict[str, Any] = {"processing_class": student.processor}
    if config.tuner == "lora":
        given["peft_config"] = models.adapters(student.model, config)
    else:
        models.make_trainable(student.model, config)
    steps = math.ceil(config.epochs * math.ceil(len(rows) / config.groups_per_step))
    trainer = MultiStreamTrainer(student.model, args, checked, **given)
    trainer.sensitivity = strictest([trainer.sensitivity, sensitivity])
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    start = last_complete(out)
    with bar("align: steps", steps) as advance:
        trainer.add_callback(StepProgress(advance))
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    trainer.save_state()
    trainer.save_merged(out)
    for checkpoint in out.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
