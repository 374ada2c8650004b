"""Running a training to its end, from wherever it stands: arguments, checkpoints, metrics."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from driftbound.config import TrainingConfig
from driftbound.errors import ModelError, StoreError, TrainingError, boundary
from driftbound.learning import models
from driftbound.learning.collator import Example, MultiStreamCollator, image_tokens
from driftbound.learning.logprobs import score
from driftbound.learning.merging import merged
from driftbound.learning.trainer import Alignment, Bootstrapping, GroupTrainer
from driftbound.progress import Advance, bar, say

COMPLETE = "complete"
"""Marks a checkpoint that was written to its end; one without it is what a kill left behind."""
NAMED = 10
"""How many cases are named where many are concerned."""


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
    uninterrupted training has. What is given should be what ``examine`` has left. Returns facts. Raises
    ``TrainingError`` below the floor.
    """
    torch.manual_seed(seed)
    verb = folder.name.partition("-")[2]
    checkpoints = folder / "checkpoints"
    start = _last_complete(checkpoints)
    model = models.make_trainable(student.model, config)
    order = shuffled(len(examples), config.epochs, seed)
    steps = math.ceil(len(order) / config.groups_per_step)
    with bar(f"{verb}: steps", steps) as advance:
        trainer = GroupTrainer(
            model=model,
            args=_arguments(config, steps, seed, checkpoints),
            data_collator=collate,
            train_dataset=[examples[i] for i in order],
            callbacks=[StepProgress(advance)],
            objective=objective,
            floor=floor,
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=str(start) if start else None)
        finally:
            _write_metrics(folder / "metrics.jsonl", trainer.state.log_history, {})
    whole, kept = merged(model)
    student = models.Student(whole.eval(), student.processor)
    watched = watch(
        student.model, collate, validation, objective, config.groups_per_forward, title=f"{verb}: validation"
    )
    _write_metrics(folder / "metrics.jsonl", trainer.state.log_history, watched)
    models.save(student, folder / "student")
    _drop(checkpoints)
    return {"groups": len(examples), "steps": steps, "validation": watched, "kept_in_merging": kept}


class Examined(NamedTuple):
    """What of the examples is trained and watched on, and what was cut or left out."""

    examples: list[Example]
    validation: list[Example]
    facts: dict[str, Any]


def examine(
    model: Any,
    collate: MultiStreamCollator,
    examples: Sequence[Example],
    validation: Sequence[Example],
    *,
    verb: str,
) -> Examined:
    """Encode every case before anything is computed with it, so that bad input ends here.

    Raises the error of the first case that cannot be trained on. A group whose consensus would have to
    be cut is left out; other answers that are too long will be cut. Both are said, and in the facts.
    The first case with each number of images is scored once.
    """
    collate.image_tokens |= image_tokens(model.config)
    dropped: list[str] = []
    cut: list[str] = []
    columns: Counter[str] = Counter()
    tried: set[int] = set()
    with bar(f"{verb}: measuring answers", len(examples) + len(validation)) as advance:
        for example in (*examples, *validation):
            found = collate.too_long(example)
            if collate.first_is_whole and 0 in found:
                dropped.append(example.case_id)
            else:
                cut += [example.case_id] * bool(found)
                columns.update(collate.columns[c] if collate.columns else str(c) for c in found)
                if len(example.images) not in tried:
                    _try(model, collate, example)
                    tried.add(len(example.images))
            advance()
    limit = f"max_length {collate.max_length}"
    if dropped:
        say(f"{verb}: {len(dropped)} groups left out, their consensus exceeds {limit}: {_named(dropped)}")
    if cut:
        whose = ", ".join(f"{name} {count}" for name, count in columns.items())
        say(f"{verb}: {columns.total()} answers exceed {limit}, their ends are cut ({whose}): {_named(cut)}")
    out = set(dropped)
    kept = [example for example in examples if example.case_id not in out]
    if not kept:
        raise TrainingError(f"{verb}: the consensus of no training group fits into {limit}. Raise it.")
    facts = {
        "truncated_answers": columns.total(),
        "truncated_by_teacher": dict(columns),
        "truncated_cases": cut[:NAMED],
        "dropped_groups": len(dropped),
        "dropped_cases": dropped[:NAMED],
    }
    return Examined(kept, [example for example in validation if example.case_id not in out], facts)


@torch.no_grad()
def _try(model: Any, collate: MultiStreamCollator, example: Example) -> None:
    """Score one case: processor and model must mean the same by an image."""
    model.eval()
    batch = {name: value.to(model.device) for name, value in collate([example]).items()}
    try:
        with models.arithmetic(model.device):
            score(model, batch)
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"case {example.case_id}: the model cannot read its prompt and image: "
            f"{str(error).strip().splitlines()[0].rstrip('.')}. Model and processor of the checkpoint must "
            "agree on the size of an image and its tokens."
        ) from error


def _named(cases: Sequence[str]) -> str:
    more = len(cases) - NAMED
    return ", ".join(cases[:NAMED]) + (f" and {more} more" if more > 0 else "")


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
    *,
    title: str,
) -> dict[str, float]:
    """Means of what the objective logs, over examples that were not trained on."""
    model.eval()
    seen: dict[str, list[float]] = {}
    with bar(title, len(examples)) as advance:
        for i in range(0, len(examples), batch_size):
            chunk = examples[i : i + batch_size]
            batch = {name: value.to(model.device) for name, value in collate(chunk).items()}
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
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=config.groups_per_forward,
        gradient_accumulation_steps=config.groups_per_step // config.groups_per_forward,
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
        report_to="none",
        **checkpointing(config.gradient_checkpointing),
    )
    if arguments.world_size > 1:
        raise TrainingError("trainings run in one process for now. Start driftbound without a launcher.")
    arguments._n_gpu = min(1, arguments.n_gpu)  # no DataParallel: it splits groups behind our back
    return arguments


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
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def _last_complete(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the others are removed."""
    best: Path | None = None
    for path in sorted(checkpoints.glob("checkpoint-*"), key=lambda p: int(p.name.partition("-")[2])):
        if (path / COMPLETE).exists():
            best = path
        else:
            _drop(path)
    return best


def _drop(path: Path) -> None:
    """Remove a folder so that, killed half-way, it does not pass for a whole one."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    if path.exists():
        path.rename(doomed)
        shutil.rmtree(doomed)


def _write_metrics(path: Path, history: Sequence[dict[str, float]], watched: dict[str, float]) -> None:
    """One line per logging step, times left out, and a last one for the validation cases."""
    clocks = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")
    rows: list[dict[str, Any]] = [row for row in history if not any(clock in row for clock in clocks)]
    rows = [*rows, {"validation": watched}] if watched else rows
    lines = [json.dumps(row, sort_keys=True) for row in rows]
    with boundary(StoreError, f"writing {path}", then="Check disk space and permissions."):
        path.write_text("\n".join(lines) + "\n")
