"""One trainer for both trainings: many candidate answers to one case, one objective over them."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback

from driftbound.errors import HarmError, StoreError, TrainingError, boundary
from driftbound.learning import processes
from driftbound.learning.goals import CHANGE, Batch, Goal
from driftbound.learning.logprobs import OURS, Scores, install, score
from driftbound.learning.shares import COUNTS, SharedLoader
from driftbound.learning.two_pass import backward_in_parts

TRAINED = "trained.safetensors"
"""In a checkpoint: the parameters that are trained."""


def trained_of(model: Any) -> dict[str, Tensor]:
    """The parameters of an unwrapped model that are trained, by name, not copied."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}


def restore(model: Any, path: Path) -> None:
    """Put a file of trained parameters into an unwrapped model; every name must be there.

    Raises ``TrainingError`` for those of another training, ``StoreError`` for what cannot be read.
    """
    with boundary(StoreError, f"reading {path}", then="Run with --from this stage."):
        stored = load_file(path)
    trained = trained_of(model)
    if stored.keys() != trained.keys():
        raise TrainingError(f"{path}: written by a training of other weights. Run with --from this stage.")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(stored[name])


@contextmanager
def _denormals_for_zero() -> Iterator[None]:
    """In the whole process, while the block runs; others may need such numbers."""
    before = not float(torch.full((), 1e-38) * 1e-3)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


class FrozenInputs(TrainerCallback):
    """Takes back that checkpointing makes embeddings, a frozen tower's too, require gradients.

    Only its reentrant kind needs that, and all of the tower would be gone through backward for nothing.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        names = ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")
        chosen = next((getattr(args, name) for name in names if hasattr(args, name)), None)
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        if not (chosen or {}).get("use_reentrant") and getattr(base, "_require_grads_hooks", None):
            base.disable_input_require_grads()


class GroupTrainer(Trainer):
    """``transformers.Trainer`` over examples with several candidate answers.

    ``objective`` is ``Bootstrapping`` or ``Alignment``. The loss is a sum over the whole optimiser
    step divided by its size, so that accumulating batches, or sharing them out over processes, gives
    what one batch gives. ``floor`` stops the training when the mean log p(consensus) per token over a
    logging window falls below it (likelihood displacement), in all processes alike.
    """

    loss_is_scaled_for_ga = True
    cure_for_nan = "Lower the stage's learning_rate, then run with --from this stage."
    cure_for_fall = "Lower align.learning_rate, raise align.anchor or align.beta, then run with --from align."

    def __init__(self, *args: Any, objective: Goal, floor: float = -math.inf, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        install(self.model)
        self.add_callback(FrozenInputs())
        self.model_accepts_loss_kwargs = True
        self.objective = objective
        self.floor = floor
        self._seen: dict[str, list[float]] = {}
        if self.is_fsdp_enabled:  # by itself it would hand on log-probabilities in bfloat16
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As ``Trainer``, numbers below 1e-38 taken for 0 meanwhile.

        Where the consensus has won by far the negatives' gradients are smaller than that, and a CPU computes
        with such numbers (denormals) some forty times more slowly: ``benchmarks/denormals.py``.
        """
        with _denormals_for_zero():
            return super().train(*args, **kwargs)

    @property
    def sharded(self) -> bool:
        """Whether this process may hold but a part of the weights."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def autocast_smart_context_manager(self, cache_enabled: bool = True) -> AbstractContextManager[Any]:
        """FSDP2 alone needs it here; else accelerate's is around the model's forward."""
        if not (self.is_fsdp_enabled and self.args.bf16):
            return super().autocast_smart_context_manager(cache_enabled)
        return torch.autocast(self.args.device.type, torch.bfloat16, cache_enabled=False)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        """In the order given: the caller has shuffled, over all epochs, so that resuming is exact."""
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def get_train_dataloader(self) -> Any:
        """Batches of this process."""
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        order, size = self._get_train_sampler(), self._train_batch_size
        return SharedLoader(self.train_dataset, order, size, self.data_collator, self.args)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Batches of this process."""
        if self.args.world_size == 1:
            return super().get_eval_dataloader(eval_dataset)
        order, size = range(len(eval_dataset)), self.args.eval_batch_size
        return SharedLoader(eval_dataset, order, size, self.data_collator, self.args)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """The batches of one optimiser step and what to divide their losses by.

        That is the size of the step over all processes, once for each of them: gradients are averaged.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        own = sum(self.size(batch) for batch in batches)
        size = max(processes.added([own], device)[0], 1)
        count = processes.count()
        return batches, torch.tensor(size if count == 1 else size / count, device=device)

    def size(self, batch: Batch) -> int:
        """What of a batch the loss is averaged over."""
        return self.objective.size(batch) if batch.get(COUNTS, True) else 0

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """On the device; our own numbers as they are, where DeepSpeed would have them in bfloat16."""
        ours = {name: value for name, value in inputs.items() if name in OURS}
        prepared: Batch = send_to_device(ours, self.args.device)
        if "parts" in inputs:
            return prepared | {"parts": [self._prepare_inputs(part) for part in inputs["parts"]]}
        theirs = {name: value for name, value in inputs.items() if name not in OURS}
        return prepared | super()._prepare_inputs(theirs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of one batch as its share of the optimiser step."""
        size = self.objective.size(inputs) if num_items_in_batch is None else num_items_in_batch
        loss = self._noted(score(model, inputs), inputs) / size
        return (loss, {}) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward; row by row where the batch comes in parts. Returns the loss's share."""
        if "parts" not in inputs:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        size = self.objective.size(inputs) if num_items_in_batch is None else num_items_in_batch
        counts = float(inputs.get(COUNTS, True))
        with self.compute_loss_context_manager():
            scores = backward_in_parts(
                [part | {"valid": inputs["valid"]} for part in inputs["parts"]],
                lambda part: score(model, part),
                lambda scores: counts * self.objective(scores, inputs)[0] / size,
                self.accelerator.backward,
                linear=self.objective.linear,
                forwards=processes.most(len(inputs["parts"]), self.args.device),
                unsynchronised=lambda: self.accelerator.no_sync(model),
            )
        return self._noted(scores, inputs).detach() / size

    def _noted(self, scores: Scores, inputs: Batch) -> Tensor:
        """The batch's summed loss, 0 if it does not count; what is to be logged is noted."""
        loss, stats = self.objective(scores, inputs)
        counts = float(inputs.get(COUNTS, True))
        for name, (total, count) in stats.items():
            seen = self._seen.setdefault(name, [0.0, 0.0])
            seen[0] += counts * total
            seen[1] += counts * count
        return counts * loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write what is being trained under the names that it has in memory.

        The stock way writes checkpoints of some families (LLaVA) under older names, and reads them
        back without strictness: the weights are lost in silence. FSDP2 and DeepSpeed write, and read,
        checkpoints of their own beside what is gathered here.
        """
        if state_dict is not None:
            super()._save(output_dir, state_dict)
            return
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained_of(self.accelerator.unwrap_model(self.model)), folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Take up what ``_save`` wrote; every name must be there."""
        path = Path(resume_from_checkpoint) / TRAINED
        if not path.exists():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        restore(self.accelerator.unwrap_model(self.model), path)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with boundary(StoreError, "writing a checkpoint", then="Check disk space and permissions."):
            super()._save_checkpoint(model, trial)
        processes.wait()  # each writes its own generators: only now is it complete

    def means(self) -> dict[str, float]:
        """Means of what has been seen since the last call, over all processes."""
        names = list(self._seen)
        sums = processes.added([v for name in names for v in self._seen[name]], self.args.device)
        self._seen.clear()
        found = zip(names, sums[::2], sums[1::2], strict=True)
        return {name: total / count for name, total, count in found if count}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means since the last log; stop when the consensus has become too unlikely, compared with
        what the reference says of the same cases."""
        means = self.means()
        super().log(logs | means, start_time)
        wrong = [name for name, value in (logs | means).items() if not math.isfinite(value)]
        if wrong:
            raise HarmError(
                f"step {self.state.global_step}: {wrong[0]} is no longer a number. {self.cure_for_nan}"
            )
        change = means.get(CHANGE, math.inf)
        if change < self.floor:
            raise HarmError(
                f"align stopped at step {self.state.global_step}: log p(consensus) lies {-change:.2f} nats "
                f"per token below the reference's, the floor is {self.floor:g} (likelihood displacement). "
                f"{self.cure_for_fall}"
            )
