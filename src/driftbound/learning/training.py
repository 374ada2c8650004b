"""Running a training to its end, from wherever it stands: arguments, checkpoints, metrics."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from driftbound.config import TrainingConfig
from driftbound.errors import StoreError, boundary
from driftbound.learning import models
from driftbound.learning.collator import Example, MultiStreamCollator
from driftbound.learning.logprobs import score
from driftbound.learning.trainer import Alignment, Bootstrapping, MultiStreamTrainer
from driftbound.progress import Advance, bar, say

COMPLETE = "complete"
"""Marks a checkpoint that was written to its end; one without it is what a kill left behind."""


def train(
    student: models.Student,
    collate: MultiStreamCollator,
    examples: Sequence[Example],
    validation: Sequence[Example],
    objective: Bootstrapping | Alignment,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    floor: float = -math.inf,
) -> dict[str, Any]:
    """Train ``student`` on ``examples`` and write ``student/`` and ``metrics.jsonl`` into ``folder``.

    Goes on from the last complete checkpoint in ``folder/checkpoints``, with the result that an
    uninterrupted training has. Returns facts. Raises ``TrainingError`` below the floor.
    """
    torch.manual_seed(seed)
    checkpoints = folder / "checkpoints"
    start = _last_complete(checkpoints)
    model = models.make_trainable(student.model, config)
    order = shuffled(len(examples), config.epochs, seed)
    steps = math.ceil(len(order) / config.groups_per_step)
    cut = sum(collate.truncated(example) for example in examples)
    if cut:
        say(
            f"{folder.name}: {cut} answers are longer than max_length {config.max_length}; their ends are cut"
        )
    with bar(f"{folder.name.partition('-')[2]}: steps", steps) as advance:
        trainer = MultiStreamTrainer(
            model=model,
            args=_arguments(config, steps, seed, checkpoints),
            data_collator=collate,
            train_dataset=[examples[i] for i in order],
            callbacks=[_Progress(advance)],
            objective=objective,
            floor=floor,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    student = models.Student(models.merged(model).eval(), student.processor)
    watched = watch(student.model, collate, validation, objective, config.groups_per_forward)
    _write_metrics(folder / "metrics.jsonl", trainer.state.log_history, watched)
    models.save(student, folder / "student")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return {"groups": len(examples), "steps": steps, "truncated_answers": cut, "validation": watched}


def shuffled(n: int, epochs: float, seed: int) -> list[int]:
    """Indices of ``n`` examples in the order of training: a new permutation for each epoch.

    A part of an epoch takes the beginning of its permutation, at least one example.
    """
    rng = np.random.default_rng([seed, 5])
    order = [int(i) for _ in range(math.ceil(epochs)) for i in rng.permutation(n)]
    return order[: max(1, round(n * epochs))]


@torch.no_grad()
def watch(
    model: Any,
    collate: MultiStreamCollator,
    examples: Sequence[Example],
    objective: Bootstrapping | Alignment,
    batch_size: int,
) -> dict[str, float]:
    """Means of what the objective logs, over examples that were not trained on."""
    model.eval()
    seen: dict[str, list[float]] = {}
    for i in range(0, len(examples), batch_size):
        batch = collate(examples[i : i + batch_size])
        batch = {name: value.to(model.device) for name, value in batch.items()}
        for name, (total, count) in objective(score(model, batch), batch)[1].items():
            seen.setdefault(name, [0.0, 0.0])
            seen[name][0] += total
            seen[name][1] += count
    return {name: total / count for name, (total, count) in seen.items() if count}


def _arguments(config: TrainingConfig, steps: int, seed: int, checkpoints: Path) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=config.groups_per_forward,
        gradient_accumulation_steps=config.groups_per_step // config.groups_per_forward,
        max_steps=steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(config.warmup * steps),
        weight_decay=config.weight_decay,
        logging_steps=config.log_steps,
        logging_first_step=True,
        save_steps=config.save_steps,
        save_total_limit=2,
        seed=seed,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )


class _Progress(TrainerCallback):
    """Moves the bar and marks checkpoints that are complete."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.shown = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(state.global_step - self.shown)
        self.shown = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        shown = {"loss": "loss", "logp_consensus_per_token": "log p", "rewards/accuracy": "accuracy"}
        note = " ".join(f"{name} {logs[key]:.3f}" for key, name in shown.items() if key in (logs or {}))
        self.advance(0, note)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def _last_complete(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the others are removed."""
    best: Path | None = None
    for path in sorted(checkpoints.glob("checkpoint-*"), key=lambda p: int(p.name.partition("-")[2])):
        if (path / COMPLETE).exists():
            best = path
        else:
            shutil.rmtree(path)
    return best


def _write_metrics(path: Path, history: Sequence[dict[str, float]], watched: dict[str, float]) -> None:
    """One line per logging step, times left out, and a last one for the validation cases."""
    clocks = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")
    rows = [row for row in history if not any(clock in row for clock in clocks)]
    lines = [json.dumps(row, sort_keys=True) for row in [*rows, {"validation": watched}]]
    with boundary(StoreError, f"writing {path}", then="Check disk space and permissions."):
        path.write_text("\n".join(lines) + "\n")
