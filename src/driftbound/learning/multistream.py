"""The trainer for everyone: rows of prompt, images, one chosen and several rejected answers."""

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from time import time
from typing import Any

import torch
from transformers import Trainer, set_seed
from transformers.trainer_utils import speed_metrics

from driftbound.config import AlignConfig
from driftbound.errors import StoreError, TrainingError, boundary
from driftbound.learning import models, processes
from driftbound.learning.card import model_card, settings_of
from driftbound.learning.families import collator_for
from driftbound.learning.goals import SFT, preference
from driftbound.learning.merging import merged
from driftbound.learning.multistream_config import MultiStreamConfig
from driftbound.learning.multistream_files import refuse_hub, sensitivity_of, stored, trained
from driftbound.learning.multistream_model import adapt, arithmetic_of, init_of, resolve
from driftbound.learning.reference import identity_of, reference_logps, tell_cuts
from driftbound.learning.rows import Rows
from driftbound.learning.tower import forget_features, keep_features, tower_is_trained
from driftbound.learning.trainer import GroupTrainer
from driftbound.learning.training import COMPLETE
from driftbound.store.sensitivity import MARK, mark_text

_HOW_ROWS_ARE_LAID = ("max_length", "row_tokens", "attention", "two_pass")


class MultiStreamTrainer(GroupTrainer):
    """Trains a model to prefer ``chosen`` over all of ``rejected`` at once (arXiv 2510.04142).

    Rows have ``prompt``, ``chosen``, ``rejected`` (a list), ``images`` and, where wanted,
    ``rejected_weights``, ``rejected_spans``, ``rejected_end_weights`` and ``chosen_spans``; see
    ``docs/trainer.md``. The reference is ``ref_model``, else the model as it is given (with
    ``peft_config``: without the adapter); its log-probabilities are computed here, once, and stored.
    Raises ``CaseError`` naming a row that cannot be used.
    """

    control: Any
    cure_for_nan = "Lower learning_rate."
    cure_for_fall = "Lower learning_rate, raise anchor or beta, or lower floor."

    def __init__(
        self,
        model: Any,
        args: MultiStreamConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        peft_config: Any = None,
        ref_model: Any = None,
        model_init_kwargs: dict[str, Any] | None = None,
        callbacks: list[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = MultiStreamConfig() if args is None else args
        self.width, self._alone = 0, args.objective == SFT
        train = None if train_dataset is None else self._rows(train_dataset, "train_dataset")
        self.width = train.width if train is not None else 0
        if isinstance(eval_dataset, dict):
            evals: Any = {key: self._rows(each, f"eval_dataset {key}") for key, each in eval_dataset.items()}
        else:
            evals = None if eval_dataset is None else self._rows(eval_dataset, "eval_dataset")
        init = init_of(model, model_init_kwargs)
        model, processing_class = resolve(model, processing_class, args, init)
        self.base_name = str(getattr(model.config, "_name_or_path", "") or "")
        self.sensitivity = sensitivity_of(self.base_name, args)  # set it where the rows are credentialed
        self._arithmetic = arithmetic_of(args)
        self._collate = collator_for(
            models.Student(
                model.get_base_model() if hasattr(model, "peft_config") else model, processing_class
            ),
            AlignConfig(**{name: getattr(args, name) for name in _HOW_ROWS_ARE_LAID}),
            "MultiStreamTrainer",
        )
        self._collate.first_is_whole, self._collate.common_length = True, args.common_length
        self._ref = None if ref_model is None else resolve(ref_model, processing_class, args, init)[0]
        if peft_config is not None or not tower_is_trained(model):
            keep_features(model, args.tower_cache_mb)
        watched = evals.values() if isinstance(evals, dict) else [evals]
        self._refer(args, model if self._ref is None else self._ref, train, *watched)
        if train is not None and not self._alone:
            tell_cuts(self._collate, train)
        set_seed(args.seed)
        self.adapted = peft_config is not None
        model = adapt(model, peft_config) if self.adapted else model
        if tower_is_trained(model):  # adapters may lie on it, and only now do
            forget_features(model)
        super().__init__(
            model=model,
            args=args,
            data_collator=self._collate,
            train_dataset=train,
            eval_dataset=evals,
            processing_class=processing_class,
            callbacks=callbacks,
            optimizers=optimizers,
            objective=preference(args, tuple(str(k) for k in range(1, self.width))),
            floor=-math.inf if args.floor is None else args.floor,
        )

    def _rows(self, rows: Any, name: str) -> Rows:
        return rows if isinstance(rows, Rows) else Rows(rows, name, width=self.width, alone=self._alone)

    def _refer(self, args: Any, reference: Any, *datasets: Rows | None) -> None:
        """Reference log-probabilities of these rows, into the collator; none where the chosen answer is
        learned alone."""
        if self._alone:
            return
        path = Path(args.reference_path or Path(args.output_dir) / "reference.jsonl")
        with boundary(StoreError, f"writing {path}", then="Check disk space and permissions."):
            path.parent.mkdir(parents=True, exist_ok=True)
        before, plain = self._collate.reference, self._collate.reference_plain
        self._collate.reference, self._collate.reference_plain = {}, {}
        identity = identity_of(reference, self._collate, args.bf16, args.fp16)
        for rows in datasets:
            if rows is not None:
                before = before | reference_logps(
                    reference,
                    self._collate,
                    rows,
                    batch_size=args.per_device_train_batch_size,
                    path=path,
                    identity=identity,
                    arithmetic=self._arithmetic,
                    plain=plain,
                )
        self._collate.reference, self._collate.reference_plain = before, plain

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As ``Trainer``; features of a frozen tower are forgotten at the end."""
        try:
            return super().train(*args, **kwargs)
        finally:
            forget_features(self.accelerator.unwrap_model(self.model))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Shuffled anew for each epoch, by ``seed`` or ``data_seed``, as ``Trainer`` does it."""
        return Trainer._get_train_sampler(self, train_dataset)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Loss and what the training logs, over rows that are not trained on, each name prefixed."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if rows is None:
            raise TrainingError("there is nothing to evaluate. Give eval_dataset.")
        if isinstance(rows, dict):
            parts = [self.evaluate(rows[key], ignore_keys, f"{metric_key_prefix}_{key}") for key in rows]
            return {name: value for part in parts for name, value in part.items()}
        if not isinstance(rows, Rows):
            rows = self._late(rows, metric_key_prefix)
        began, loss, size = time(), 0.0, 0.0
        training, self._seen = self._seen, {}  # the training's own means go on afterwards
        model = self.model_wrapped if self.sharded else self.model
        model.eval()
        with torch.no_grad():
            for batch in self.get_eval_dataloader(rows):
                inputs = self._prepare_inputs(batch)
                size += self.size(inputs)
                with self.compute_loss_context_manager():
                    loss += float(self.compute_loss(model, inputs, num_items_in_batch=1))
        loss, size = processes.added([loss, size], self.args.device)
        means = {"loss": loss / size} | self.means()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        metrics |= speed_metrics(metric_key_prefix, began, num_samples=len(rows))
        self.log(metrics)
        self._seen = training
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _late(self, rows: Any, name: str) -> Rows:
        """Rows given only now, where the reference is still at hand."""
        if self._ref is None and not self.adapted and self.state.global_step and not self._alone:
            raise TrainingError(
                "the reference has been trained away. Give these rows as eval_dataset from the start, "
                "or give a ref_model."
            )
        made = self._rows(rows, f"rows for {name}")  # a name of its own: theirs stay known
        model = self.accelerator.unwrap_model(self.model)
        with model.disable_adapter() if self.adapted and self._ref is None else nullcontext():
            self._refer(self.args, model if self._ref is None else self._ref, made)
        return made

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write an ordinary checkpoint folder, or with ``peft_config`` the adapter; and a model card."""
        folder = output_dir or self.args.output_dir
        if self.is_fsdp_enabled and not _internal_call:  # the stock way may write shards alone
            self._save(folder, self.accelerator.get_state_dict(self.model))
        else:
            super().save_model(folder, _internal_call)
        self._write_card(Path(folder))
        processes.wait()

    def save_merged(self, output_dir: str | Path) -> None:
        """Write an ordinary checkpoint folder, adapters folded into the weights of a copy."""
        if self.sharded:
            raise TrainingError("the weights lie in several processes. Use save_model, then merge in one.")
        if not processes.leads():
            return
        model = self.accelerator.unwrap_model(self.model)
        whole = merged(copy.deepcopy(model))[0] if hasattr(model, "peft_config") else model
        with boundary(StoreError, f"writing {output_dir}", then="Check disk space and permissions."):
            whole.save_pretrained(output_dir)
            self.processing_class.save_pretrained(output_dir)
        self._write_card(Path(output_dir), adapter=False)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """As ``from_pretrained`` reads it, checkpoints of the training too."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        with boundary(StoreError, f"writing {folder}", then="Check disk space and permissions."):
            self.accelerator.unwrap_model(self.model).save_pretrained(folder, state_dict=state_dict)
            self.processing_class.save_pretrained(folder)
            torch.save(self.args, folder / "training_args.bin")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if processes.leads():
            (Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / COMPLETE).touch()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Take up what ``_save`` wrote; every name must be there. FSDP2 has its own."""
        if self.is_fsdp_enabled:
            Trainer._load_from_checkpoint(self, resume_from_checkpoint, model)
            return
        model = self.accelerator.unwrap_model(self.model)
        found = stored(Path(resume_from_checkpoint), model)
        with torch.no_grad():
            for name, parameter in trained(model).items():
                parameter.copy_(found[name])

    def _load_best_model(self) -> None:
        if self.sharded:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As ``Trainer``, but not with what is credentialed: ``driftbound push`` has the gate for that."""
        refuse_hub(self.sensitivity)
        return super().push_to_hub(*args, **kwargs)

    def create_model_card(
        self, model_name: str | None = None, tags: str | list[str] | None = None, **_: Any
    ) -> None:
        """Write ``README.md`` into ``output_dir``; what ``push_to_hub`` uploads."""
        given = [tags] if isinstance(tags, str) else list(tags or ())
        self._write_card(Path(self.args.output_dir), model_name, given)

    def _write_card(
        self, folder: Path, title: str | None = None, tags: Sequence[str] = (), adapter: bool | None = None
    ) -> None:
        if not processes.leads():
            return
        steps = self.state.global_step
        settings = settings_of(self.args, self.model) | {
            "rows": len(self.train_dataset or ()),
            "steps": steps,
        }
        card = model_card(
            title or folder.resolve().name,
            base=self.base_name,
            objective=self.args.objective,
            adapter=hasattr(self.model, "peft_config") if adapter is None else adapter,
            settings=settings,
            tags=tags,
            sensitivity=self.sensitivity,
        )
        with boundary(StoreError, f"writing {folder}", then="Check disk space and permissions."):
            (folder / MARK).write_text(mark_text(self.sensitivity), encoding="utf-8")
            (folder / "README.md").write_text(card, encoding="utf-8")


__all__ = ["MultiStreamConfig", "MultiStreamTrainer"]
