"""Running a training to its end, from wherever it stands: arguments, checkpoints, metrics."""

import copy
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from driftbound.config import TrainingConfig
from driftbound.errors import ConfigError, StoreError, boundary
from driftbound.learning import looks, models, processes
from driftbound.learning.collator import Example, MultiStreamCollator
from driftbound.learning.goals import Bootstrapping, Goal
from driftbound.learning.logprobs import score
from driftbound.learning.merging import merged
from driftbound.learning.trainer import GroupTrainer
from driftbound.progress import Advance, bar, say

COMPLETE = "complete"
"""Marks a checkpoint that was written to its end; one without it is what a kill left behind."""


def train(
    student: models.Student,
    collate: MultiStreamCollator,
    examples: Sequence[Example],
    validation: Sequence[Example],
    objective: Goal,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    beside: Mapping[str, str] | None = None,
    floor: float = -math.inf,
    watching: looks.Watching | None = None,
) -> dict[str, Any]:
    """Train ``student`` on ``examples`` and write ``student/`` and ``metrics.jsonl`` into ``folder``.

    ``beside`` are texts that the student's folder gets too, by file name. Goes on from the last complete
    checkpoint in ``folder/checkpoints``, with the result that an uninterrupted training has. What is given
    should be what ``examine`` has left. With ``watching``, answers that break end the training, with the
    student of the last good look. Returns facts, which the first of several processes has whole. Raises
    ``TrainingError`` below the floor.
    """
    torch.manual_seed(seed)
    verb = "bootstrap" if isinstance(objective, Bootstrapping) else "align"
    checkpoints = folder / "checkpoints"
    start = _last_complete(checkpoints)
    model = models.make_trainable(student.model, config)
    order = shuffled(len(examples), config.epochs, seed)
    steps = math.ceil(len(order) / config.groups_per_step)
    watcher = looks.Watcher(watching, model, collate, checkpoints) if watching else None
    with bar(f"{verb}: steps", steps) as advance:
        trainer = GroupTrainer(
            model=model,
            args=_arguments(config, steps, seed, checkpoints),
            data_collator=collate,
            train_dataset=[examples[i] for i in order],
            callbacks=[StepProgress(advance), *([watcher] if watcher else [])],
            objective=objective,
            floor=floor,
        )
        _set_callbacks(trainer, folder)
        twin = _twin(model) if trainer.sharded and processes.leads() else model
        _go_on(trainer, start, folder / "metrics.jsonl", watcher)
    if trainer.sharded:
        _gather(trainer, twin)
    watched, kept = dict[str, float](), 1.0
    stopped = _taken_back(watcher)
    if processes.leads():
        whole, kept = merged(twin)
        student = models.Student(whole.eval(), student.processor)
        size, title = config.groups_per_forward, f"{verb}: validation"
        watched = watch(student.model, collate, validation, objective, size, title=title)
        _write_metrics(folder / "metrics.jsonl", trainer, watcher, watched)
        models.save(student, folder / "student", beside)
        _drop(checkpoints)
    processes.wait()
    return {"groups": len(examples), "steps": steps, "validation": watched, "kept_in_merging": kept} | stopped


def _go_on(trainer: GroupTrainer, start: Path | None, metrics: Path, watcher: looks.Watcher | None) -> None:
    """Train from a checkpoint to the end, or to where a look stops it; metrics are written in any case."""
    try:
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    except looks.StoppedError:
        pass
    finally:
        _write_metrics(metrics, trainer, watcher, {})


def _taken_back(watcher: looks.Watcher | None) -> dict[str, Any]:
    """Where a look has stopped the training: the model as the last good one was, and facts; said."""
    facts = watcher.facts() if watcher else {}
    if watcher and facts:
        watcher.take_back()
        say(
            f"align stopped at step {facts['stopped_at']}: {facts['stopped_because']}. "
            f"The student of step {facts['kept_step']} is kept."
        )
    return facts


def _twin(model: Any) -> Any:
    """A copy in main memory: what is trained will lie in parts in other processes, or in bfloat16."""
    device = model.device
    twin = copy.deepcopy(model.cpu())
    model.to(device)
    return twin


def _gather(trainer: GroupTrainer, twin: Any) -> None:
    """Put together in the twin what lies in parts; all processes must take part."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if processes.leads():
        twin.load_state_dict(state)


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
    objective: Goal,
    batch_size: int,
    *,
    title: str,
) -> dict[str, float]:
    """Means of what the objective logs, over examples that were not trained on."""
    model.eval()
    seen: dict[str, list[float]] = {}
    with bar(title, len(examples)) as advance:
        for i in range(0, len(examples), batch_size):
            chunk = examples[i : i + batch_size]
            batch = send_to_device(collate(chunk), model.device)
            with models.arithmetic(model.device):
                stats = objective(score(model, batch), batch)[1]
            for name, (total, count) in stats.items():
                seen.setdefault(name, [0.0, 0.0])
                seen[name][0] += total
                seen[name][1] += count
            advance(len(chunk))
    return {name: total / count for name, (total, count) in seen.items() if count}


def _arguments(config: TrainingConfig, steps: int, seed: int, checkpoints: Path) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    together = processes.count() * config.groups_per_forward
    if config.groups_per_step % together:  # a recipe with launch: is refused before
        raise ConfigError(
            f"{processes.count()} processes x groups_per_forward {config.groups_per_forward} must divide "
            f"groups_per_step {config.groups_per_step}. Change one of them."
        )
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=config.groups_per_forward,
        gradient_accumulation_steps=config.groups_per_step // together,
        max_steps=steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(config.warmup * steps),
        weight_decay=config.weight_decay,
        adam_beta2=config.adam_beta2,
        logging_steps=config.log_steps,
        logging_first_step=True,
        save_steps=config.save_steps,
        save_total_limit=2,
        seed=seed,
        bf16=models.has_bfloat16(torch.device("cuda" if on_gpu else "cpu")),
        logging_nan_inf_filter=False,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=list(config.report_to) or "none",
        run_name="/".join(checkpoints.absolute().parts[-3:-1]),
        ddp_find_unused_parameters=True,  # a case without image leaves the tower out
        **checkpointing(config.gradient_checkpointing),
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # no DataParallel: it splits groups behind our back
    return arguments


def _set_callbacks(trainer: GroupTrainer, folder: Path) -> None:
    """No printing, and TensorBoard's files beside the metrics: its own place goes with the checkpoints."""
    trainer.remove_callback(PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder / "tensorboard")


def checkpointing(wanted: bool) -> dict[str, Any]:
    """Arguments of transformers for gradient checkpointing, under the name that its version has for it."""
    if not wanted:
        return {}
    names = {field.name for field in fields(TrainingArguments)}
    name = next(n for n in ("activation_checkpointing", "gradient_checkpointing") if n in names)
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


class StepProgress(TrainerCallback):
    """Moves the bar and marks checkpoints that are complete."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.shown = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(state.global_step - self.shown)
        self.shown = state.global_step
        if state.global_step >= state.max_steps:
            control.should_log = True  # before the last checkpoint: the floor holds to the end

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        shown = {"loss": "loss", "logp_consensus_per_token": "log p", "rewards/accuracy": "accuracy"}
        note = " ".join(f"{name} {logs[key]:.3f}" for key, name in shown.items() if key in (logs or {}))
        self.advance(0, note)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if processes.leads():
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def _last_complete(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the others are removed."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda p: int(p.name.partition("-")[2]))
    whole = [path for path in found if (path / COMPLETE).exists()]
    processes.wait()  # all have looked
    for path in found if processes.leads() else ():
        if path not in whole:
            _drop(path)
    processes.wait()
    return whole[-1] if whole else None


def _drop(path: Path) -> None:
    """Remove a folder so that, killed half-way, it does not pass for a whole one."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    if path.exists():
        path.rename(doomed)
        shutil.rmtree(doomed)


def _write_metrics(
    path: Path, trainer: GroupTrainer, watcher: looks.Watcher | None, watched: dict[str, float]
) -> None:
    """One line per logging step, times left out, and per look; a last one for the validation cases."""
    if not processes.leads():
        return
    clocks = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")
    rows = [row for row in trainer.state.log_history if not any(clock in row for clock in clocks)]
    rows = looks.with_looks(rows, watcher.looks) if watcher else rows
    rows = [*rows, {"validation": watched}] if watched else rows
    lines = [json.dumps(row, sort_keys=True) for row in rows]
    with boundary(StoreError, f"writing {path}", then="Check disk space and permissions."):
        path.write_text("\n".join(lines) + "\n")
