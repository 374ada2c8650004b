"""The base's tongue: eye and decoder together learn to say what is seen, and go on reading."""

import json
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from driftbound.domains.phantom.findings import SIGN_NAMES
from driftbound.phantom_base import corpus
from driftbound.phantom_base.batches import IGNORE, IMAGE_TOKENS, draw_rows, encode, value_tokens
from driftbound.phantom_base.corpus import NAMES, VALUES, Row
from driftbound.phantom_base.eye import Pool, set_rate, sign_words
from driftbound.phantom_base.reading import MIDDLE, StepHeads, step_targets
from driftbound.progress import bar, say

CHECK_EVERY = 100


def train_tongue(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    pool: Pool,
    held: Pool,
    plan: Mapping[str, int],
    *,
    steps: int,
    rate: float,
    seed: int,
    heads_weight: float,
) -> dict[str, float]:
    """Train the whole model on ``plan`` (rows of each kind per step); returns what ``check`` found last."""
    rng = np.random.default_rng([seed, 12])
    heads = StepHeads(model.config.text_config.hidden_size)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
    started, seen, skills = time.monotonic(), dict[str, float](), dict[str, float]()
    with bar("training the tongue", steps) as advance:
        for step in range(steps):
            set_rate(optimizer, rate, step, steps)
            for kind, count in plan.items():
                rows = draw_rows(pool, kind, count, rng)
                answers, known = _losses(model, heads, rows, pool, processor)
                loss = answers + heads_weight * known
                torch.autograd.backward(loss)
                seen[kind] = 0.95 * seen.get(kind, loss.item()) + 0.05 * loss.item()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            advance(1, " ".join(f"{kind} {value:.3f}" for kind, value in seen.items()))
            if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
                skills = check(model, processor, held, seed)
                spent = time.monotonic() - started
                say(f"tongue: step {step + 1}, {spent:.0f} s: " + json.dumps(seen | skills))
    return skills


def _losses(
    model: LlavaForConditionalGeneration,
    heads: StepHeads,
    rows: Sequence[Row],
    pool: Pool,
    processor: LlavaProcessor,
) -> tuple[Tensor, Tensor]:
    """Mean NLL of the answers, and of the heads.

    A word of an answer that only keeps the format weighs a tenth of one that decides; own words weigh
    alike, and so do the readers' texts of a merge (a fifth of a deciding word). The heads are asked at the
    ends of the readers' steps and at the patches that show a sign.
    """
    batch = encode(rows, pool, processor)
    labels, asked = batch.pop("labels")[:, 1:], batch.pop("asked")[:, 1:]
    if any(row.marks for row in rows):
        labels = torch.where(asked != IGNORE, asked, labels)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(**batch, use_cache=False, output_hidden_states=True)
    nll = cross_entropy(
        out.logits[:, :-1].float().transpose(1, 2), labels, ignore_index=IGNORE, reduction="none"
    )
    own_words = rows[0].question == corpus.DESCRIBE_QUESTION
    deciding = torch.isin(labels, value_tokens(processor)) | torch.tensor(own_words)
    weight = torch.where(deciding, 1.0, 0.1)
    weight = torch.where((asked != IGNORE) & (labels == asked), 0.2, weight) * (labels != IGNORE)
    loss: Tensor = (nll * weight).sum() / weight.sum()
    names, values = step_targets(rows, batch["input_ids"].shape[1], processor)
    if "pixel_values" in batch:
        mark_patches(names, values, rows, pool, out.hidden_states[0], sign_words(model, processor.tokenizer))
    asked_of_heads = bool((names != IGNORE).any())
    known = heads(out.hidden_states[MIDDLE].float(), names, values) if asked_of_heads else loss.new_zeros(())
    return loss, known


@torch.no_grad()
def mark_patches(
    names: Tensor, values: Tensor, rows: Sequence[Row], pool: Pool, embedded: Tensor, words: Tensor
) -> None:
    """Write into names and values (B, T) what the patches show that are most like a sign's words.

    ``embedded`` (B, T, D) is what the decoder is given; a row's patches follow its first token. A sign on
    both sides marks a patch on each.
    """
    likeness = torch.einsum(
        "bpd,ksd->bpks", normalize(embedded[:, 1 : 1 + IMAGE_TOKENS].float(), dim=-1), words
    )
    order, kinds = list(NAMES), list(VALUES)
    for number, row in enumerate(rows):
        for sign, name in enumerate(SIGN_NAMES):
            value = pool.signs[row.image or 0][name]
            for side in ("right", "left") if value in ("both", "present") else (value,):
                if row.image is None or side == "absent":
                    continue
                patch = 1 + int(likeness[number, :, sign, ("right", "left").index(side)].argmax())
                names[number, patch] = order.index(name)
                values[number, patch] = kinds.index("present" if value == "present" else side)


@torch.no_grad()
def check(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, held: Pool, seed: int
) -> dict[str, float]:
    """Share of right value words, teacher-forced, on images and readers never trained on."""
    rng = np.random.default_rng([seed, 13])
    deciding = value_tokens(processor)
    absent = processor.tokenizer.convert_tokens_to_ids("Ġabsent")
    result = {}
    for kind, readers in (("signs", 1), ("merge", 1), ("merge", corpus.MOST_READERS)):
        name = f"{kind}_{readers}" if kind == "merge" else kind
        hits: list[float] = []
        asserted: list[float] = []
        for _ in range(4):
            batch = encode(draw_rows(held, kind, 16, rng, readers), held, processor)
            batch.pop("asked")
            label = batch.pop("labels")[:, 1:]
            with torch.autocast("cpu", torch.bfloat16):
                guess = model(**batch, use_cache=False).logits[:, :-1].argmax(-1)
            slot = torch.isin(label, deciding)
            hits += (guess == label)[slot].float().tolist()
            asserted += (guess == label)[slot & (label != absent)].float().tolist()
        result[f"{name}_accuracy"] = round(float(np.mean(hits)), 4)
        result[f"{name}_accuracy_where_asserted"] = round(float(np.mean(asserted)), 4)
    return result
