"""Looks: held-out cases that the student answers while it is aligned; answers that break end the training."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from safetensors.torch import save_file
from transformers import TrainerCallback

from driftbound.errors import StoreError, TrainingError
from driftbound.learning import models
from driftbound.learning.collator import Example, MultiStreamCollator
from driftbound.learning.logprobs import score
from driftbound.learning.policy import LocalPolicy
from driftbound.learning.tower import without_kept_features
from driftbound.learning.trainer import restore, trained_of
from driftbound.quality import Quality, answer_quality, what_broke, widened
from driftbound.records import Claim
from driftbound.store.manifest import atomic_write_text, one_line, replacing
from driftbound.training_config import WatchConfig

NAME = "looks.jsonl"
"""Beside the checkpoints: the looks that were made, a line each."""
_GOOD = "good-{}.safetensors"
"""Beside the checkpoints: what is trained, as it was at the last good look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What is answered at each look, and how it is judged."""

    examples: tuple[Example, ...]
    """Held-out cases, the consensus in column 0."""
    limits: WatchConfig
    claims: Callable[[str], list[Claim]]
    """What a text asserts, as the field reads it."""
    batch_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a student's answers were like after a step; 0 is before the first."""

    step: int
    cases: int
    unparsable: float
    repeated: float
    words: float
    logp_consensus_per_token: float | None
    """Held-out, in nats; ``None`` where it is no number."""
    broke: str
    """Why its answers no longer are answers; empty while they are."""

    def row(self) -> dict[str, Any]:
        """The look for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def watching_of(
    config: WatchConfig,
    validation: Sequence[Example],
    claims: Callable[[str], list[Claim]],
    *,
    batch_size: int,
    seed: int,
) -> Watching | None:
    """``config.cases`` of the validation cases, drawn by the seed, or all where there are no more.

    ``None`` where nothing is to be watched. Raises ``TrainingError`` where there is nothing to look at.
    """
    if not config.cases:
        return None
    if not validation:
        raise TrainingError(
            f"align.watch.cases {config.cases}: there is no validation case with a consensus to watch. "
            "Give the domain validation cases, or set watch.cases: 0."
        )
    size = min(config.cases, len(validation))
    places = sorted(np.random.default_rng([seed, 9]).choice(len(validation), size, replace=False))
    examples = tuple(validation[place] for place in places)
    return Watching(examples=examples, limits=config, claims=claims, batch_size=batch_size)


def judged(
    step: int, cases: int, quality: Quality, logp: float, first: Quality | None, limits: WatchConfig
) -> Look:
    """A look held against the first one, which (``first`` is ``None``) is not judged itself.

    Where the first was above a limit already, the training is not blamed for that: answers must only not
    become worse.
    """
    broke = ""
    if first is not None:
        broke = what_broke(quality, first, widened(limits, first, first))
        if not broke and not math.isfinite(logp):
            broke = "log p(consensus) is no longer a number"
    return Look(
        step=step,
        cases=cases,
        unparsable=quality.unparsable,
        repeated=quality.repeated,
        words=quality.words,
        logp_consensus_per_token=logp if math.isfinite(logp) else None,
        broke=broke,
    )


def quality_of(look: Look) -> Quality:
    """What ``judged`` was given."""
    return Quality(unparsable=look.unparsable, repeated=look.repeated, words=look.words)


def with_looks(history: Sequence[dict[str, Any]], looks: Sequence[Look]) -> list[dict[str, Any]]:
    """The logged rows, each look as ``{"watch": ...}`` behind those of its step."""
    rows = [(row.get("step", 0), False, row) for row in history]
    rows += [(look.step, True, {"watch": look.row()}) for look in looks]
    return [row for _, _, row in sorted(rows, key=lambda each: each[:2])]


class StoppedError(Exception):
    """The training that is to go on had been stopped by a look."""


class Watcher(TrainerCallback):
    """Looks before the first step, every ``limits.steps`` steps and after the last; stops what has broken.

    A look comes after its step's checkpoint was written. What a killed training had looked at is read back.
    """

    def __init__(
        self, watching: Watching, model: Any, collate: MultiStreamCollator, checkpoints: Path
    ) -> None:
        """``checkpoints`` is their folder. Raises ``StoreError``."""
        self.watching, self.model, self.collate = watching, model, collate
        self.folder = checkpoints
        self.looks = _read(checkpoints / NAME)

    @property
    def stopped(self) -> bool:
        """Whether the last look has found the answers broken."""
        return bool(self.looks and self.looks[-1].broke)

    @property
    def kept(self) -> int:
        """Step of the last good look."""
        return max(look.step for look in self.looks if not look.broke)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first look, or one before which the training was killed. Raises ``StoppedError``."""
        if state.global_step and not self.looks:
            raise StoreError(
                f"{self.folder / NAME}: the first look is missing, with nothing to compare later ones with. "
                "Delete the folder of checkpoints, or run with --from this stage."
            )
        self._look(state)
        if self.stopped:
            raise StoppedError  # transformers would go one step before it heeds its control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A look, where one is due."""
        self._look(state)
        control.should_training_stop |= self.stopped

    def facts(self) -> dict[str, Any]:
        """``stopped_at``, ``stopped_because`` and ``kept_step``; nothing where nothing broke."""
        if not self.stopped:
            return {}
        last = self.looks[-1]
        return {"stopped_at": last.step, "stopped_because": last.broke, "kept_step": self.kept}

    def take_back(self) -> None:
        """Give the model the weights of the last good look."""
        restore(self.model, self.folder / _GOOD.format(self.kept))

    def _look(self, state: Any) -> None:
        step, limits = state.global_step, self.watching.limits
        due = step % limits.steps == 0 or step >= state.max_steps
        if not due or any(look.step >= step for look in self.looks):
            return
        quality, logp = answered(self.model, self.collate, self.watching)
        first = quality_of(self.looks[0]) if self.looks else None
        look = judged(step, len(self.watching.examples), quality, logp, first, limits)
        good = self.folder / _GOOD.format(step)
        if not look.broke:
            with replacing(good) as partial:
                save_file(trained_of(self.model), partial)
        self.looks.append(look)
        lines = [json.dumps(each.row(), sort_keys=True) for each in self.looks]
        atomic_write_text(self.folder / NAME, "\n".join(lines) + "\n")
        if not look.broke:  # only now may the one before go
            for path in self.folder.glob(_GOOD.format("*")):
                if path != good:
                    path.unlink()


@torch.no_grad()
def answered(model: Any, collate: MultiStreamCollator, watching: Watching) -> tuple[Quality, float]:
    """Quality of the model's own greedy answers, and log p(consensus) per token, in nats.

    An answer may take the tokens that the collator's ``max_length`` leaves behind the shortest prompt of
    its batch. Model and generators are left as they were.
    """
    policy = LocalPolicy(models.Student(model, collate.processor))
    said: list[tuple[str, bool]] = []
    logp = tokens = 0.0
    with _undisturbed(model), models.arithmetic(model.device):
        for start in range(0, len(watching.examples), watching.batch_size):
            chunk = watching.examples[start : start + watching.batch_size]
            with without_kept_features(model):
                said += policy.generate(
                    [example.question for example in chunk],
                    [example.images for example in chunk],
                    max_new_tokens=max(map(collate.room, chunk)),
                )
            scores = score(model, send_to_device(collate(chunk), model.device))
            logp += float(scores.plain[:, 0].sum())
            tokens += float(scores.tokens[:, 0].sum())
    texts, ended = zip(*said, strict=True)
    return answer_quality(texts, ended, watching.claims), logp / tokens


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Within, the model evaluates; behind it, modes and generators are what they were."""
    modes = {module: module.training for module in model.modules()}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _read(path: Path) -> list[Look]:
    try:
        return [Look(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({one_line(error)}). Delete the folder of checkpoints and run again."
        ) from error
