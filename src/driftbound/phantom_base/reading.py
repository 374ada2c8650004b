"""The base's reading: a decoder learns to copy, to find what a text says of a name, and to merge texts."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, rms_norm
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from driftbound.learning.architecture import SPECIAL
from driftbound.phantom_base import corpus
from driftbound.phantom_base.batches import IGNORE, IMAGE_TOKENS, draw_rows, encode, value_tokens
from driftbound.phantom_base.corpus import NAMES, VALUES, Row
from driftbound.phantom_base.eye import Pool
from driftbound.progress import bar, say

LEVELS = (
    *(("lookup", things) for things in (6, 8, 10, 12, 14)),
    *(("merge", readers) for readers in range(1, corpus.MOST_READERS + 1)),
)
"""What is read, from easy to hard; the next level begins when nine in ten values are right."""
TOKENS = 1900
"""About how many tokens a step has."""
MIDDLE = 2
"""After this layer a step's end is to know what the step said of what."""


def lay_variants(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> None:
    """Words that differ only in their case or in a space before them start alike."""
    variants: dict[str, list[int]] = {}
    for token, number in processor.tokenizer.get_vocab().items():
        variants.setdefault(token.lstrip("Ġ").lower(), []).append(number)
    words = model.get_input_embeddings().weight
    with torch.no_grad():
        for ids in variants.values():
            words[ids] = words[ids].mean(0) * len(ids) ** 0.5


def train_copying(model: LlavaForConditionalGeneration, *, steps: int, rate: float, seed: int) -> None:
    """Repeat what was said: random words twice over. The attention that looks up starts here."""
    rng = np.random.default_rng([seed, 15])
    optimizer = _optimizer(model.parameters(), rate)
    vocabulary, first = model.config.text_config.vocab_size, len(SPECIAL) + 256  # after the bytes
    with bar("learning to copy", steps) as advance:
        for step in range(steps):
            _warm(optimizer, rate, step)
            once = torch.from_numpy(rng.integers(first, vocabulary, size=(16, 32)))
            ids = torch.cat([once, once], dim=1)
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
            again = logits[:, once.shape[1] : -1].flatten(0, 1)
            loss = cross_entropy(again, once[:, 1:].flatten())
            _update(model.parameters(), optimizer, loss)
            advance(1, f"loss {loss.item():.3f}")


class StepHeads(nn.Module):
    """What the end of a step knows of it: its name and its value. Thrown away after reading is learnt.

    Next-token training alone leaves a decoder of this size on a plateau for long: it must find what to keep
    and what to look up at once. Being asked what it keeps, it finds the rest.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.name = nn.Linear(width, len(NAMES))
        self.value = nn.Linear(width, len(VALUES))

    def forward(self, hidden: Tensor, names: Tensor, values: Tensor) -> Tensor:
        """Mean NLL over the marked positions; hidden (B, T, D), names and values (B, T)."""
        marked = names != IGNORE
        ends = rms_norm(hidden[marked], hidden.shape[-1:])
        name = cross_entropy(self.name(ends), names[marked])
        return name + cross_entropy(self.value(ends), values[marked])


def step_targets(rows: Sequence[Row], length: int, processor: LlavaProcessor) -> tuple[Tensor, Tensor]:
    """Names and values (B, T) at the last token of every marked step."""
    order, kinds = list(NAMES), list(VALUES)
    names = torch.full((len(rows), length), IGNORE)
    values = torch.full((len(rows), length), IGNORE)
    for number, row in enumerate(rows):
        offsets = processor.tokenizer(row.question, return_offsets_mapping=True)["offset_mapping"]
        first = 1 + (IMAGE_TOKENS if row.image is not None else 0)
        last = {end: first + position for position, (_, end) in enumerate(offsets)}
        for mark in row.marks:
            if mark.end in last:
                names[number, last[mark.end]] = order.index(mark.name)
                values[number, last[mark.end]] = kinds.index(mark.value)
    return names, values


def train_reading(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    pool: Pool,
    *,
    steps: int,
    rate: float,
    seed: int,
    heads_weight: float,
) -> None:
    """Teach the decoder to find and to merge, level by level, in texts that no image stands behind."""
    rng = np.random.default_rng([seed, 16])
    heads = StepHeads(model.config.text_config.hidden_size)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = _optimizer(parameters, rate)
    deciding = value_tokens(processor)
    level, since, right, started = 0, 0, 0.0, time.monotonic()
    with bar("learning to read", steps) as advance:
        for step in range(steps):
            _warm(optimizer, rate, step)
            kind, most = LEVELS[level]
            length = 100 + 70 * most if kind == "merge" else 25 + 9 * most
            rows = [
                Row(row.question, row.answer, marks=row.marks)
                for row in draw_rows(pool, kind, max(5, TOKENS // length), rng, most)
            ]
            batch = encode(rows, pool, processor)
            labels, asked = batch.pop("labels")[:, 1:], batch.pop("asked")[:, 1:]
            with torch.autocast("cpu", torch.bfloat16):
                out = model(**batch, use_cache=False, output_hidden_states=True)
            logits = out.logits[:, :-1].float()
            target = torch.where(asked != IGNORE, asked, labels)
            nll = cross_entropy(logits.transpose(1, 2), target, ignore_index=IGNORE, reduction="none")
            slots = torch.isin(labels, deciding)
            weight = torch.where(slots, 1.0, 0.1) * (labels != IGNORE) + 0.2 * (asked != IGNORE)
            known = heads(out.hidden_states[MIDDLE].float(), *step_targets(rows, len(nll[0]) + 1, processor))
            _update(parameters, optimizer, (nll * weight).sum() / weight.sum() + heads_weight * known)
            hit = (logits.argmax(-1) == labels)[slots].float().mean().item()
            right, since = 0.95 * right + 0.05 * hit, since + 1
            advance(1, f"{kind} {most}: {right:.2f} right")
            if step % 100 == 99:
                spent = time.monotonic() - started
                say(f"reading: step {step + 1}, {spent:.0f} s, {kind} of {most}: {right:.3f} right")
            if right > 0.9 and since > 20 and level + 1 < len(LEVELS):
                level, since = level + 1, 0


def _optimizer(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)


def _warm(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / 100)


def _update(parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
