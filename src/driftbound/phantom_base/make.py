"""Pretrains the small base student: `python -m driftbound.phantom_base.make`."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from driftbound.learning.architecture import IMAGE_SIZE, PATCH, build_model, build_processor, train_tokenizer
from driftbound.phantom_base import corpus
from driftbound.phantom_base.corpus import Row
from driftbound.phantom_base.eye import Pool, make_pool, set_rate, train_eye
from driftbound.progress import bar, say

CHECKPOINT = Path(__file__).parent / "checkpoint"
IGNORE = -100
MERGE_STOCK = 64
CHECK_EVERY = 100
IMAGE_TOKENS = (IMAGE_SIZE // PATCH) ** 2


def encode(rows: Sequence[Row], pool: Pool, processor: LlavaProcessor) -> dict[str, Tensor]:
    """Rows as one right-padded batch.

    Labels on the answer and its end token; ``asked`` holds those of the question, which merging also
    learns from: what the readers say of one another's film is where reading begins.
    """
    tokenizer = processor.tokenizer
    user, assistant, end, image, pad = tokenizer.convert_tokens_to_ids(
        ["<|user|>", "<|assistant|>", "<|end|>", "<image>", "<|pad|>"]
    )
    ids, labels, asked, pixels = [], [], [], []
    for row in rows:
        picture = [image] * IMAGE_TOKENS if row.image is not None else []
        question = tokenizer(row.question)["input_ids"]
        prompt = [user, *picture, *question, end, assistant]
        answer = [*tokenizer(row.answer)["input_ids"], end]
        ids.append(prompt + answer)
        labels.append([IGNORE] * len(prompt) + answer)
        before = [IGNORE] * (1 + len(picture))
        asked.append(before + question + [IGNORE] * (len(answer) + 2))
        if row.image is not None:
            pixels.append(pool.pixels[row.image])
    longest = max(map(len, ids))
    batch = {
        "input_ids": torch.tensor([i + [pad] * (longest - len(i)) for i in ids]),
        "labels": torch.tensor([i + [IGNORE] * (longest - len(i)) for i in labels]),
        "asked": torch.tensor([i + [IGNORE] * (longest - len(i)) for i in asked]),
        "attention_mask": torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids]),
    }
    if pixels:
        grey = torch.from_numpy(np.stack(pixels).astype(np.float32))
        batch["pixel_values"] = grey[:, None].expand(-1, 3, -1, -1).contiguous()
    return batch


def draw_rows(
    pool: Pool, kind: str, count: int, rng: np.random.Generator, readers: int = corpus.MOST_READERS
) -> list[Row]:
    """``count`` examples of one kind: ``signs``, ``described``, ``yes_no``, ``merge`` or ``textbook``.

    Merges have up to ``readers`` texts; they are drawn in plenty and neighbours by length taken, so
    that a batch pads little.
    """
    rows: list[Row] = []
    if kind == "merge" and count < MERGE_STOCK:
        stock = draw_rows(pool, kind, MERGE_STOCK, rng, readers)
        stock.sort(key=lambda row: len(row.question))
        start = int(rng.integers(MERGE_STOCK // count)) * count
        return stock[start : start + count]
    book = corpus.textbook()
    for _ in range(count):
        image = int(rng.integers(len(pool.signs)))
        if kind == "signs":
            rows.append(Row(corpus.SIGN_QUESTION, corpus.signs_report(pool.signs[image]), image))
        elif kind == "described":
            rows.append(corpus.described(pool.signs[image], image, rng))
        elif kind == "yes_no":
            rows.append(corpus.yes_no(pool.signs[image], image, rng))
        elif kind == "merge":
            signs = pool.signs[image] if rng.random() < 0.15 else None
            shown = image if rng.random() < readers / corpus.MOST_READERS else None
            rows.append(corpus.merging(shown, rng, signs, readers))
        else:
            rows.append(book[int(rng.integers(len(book)))])
    return rows


SEEING = {"signs": 24}
"""Rows of each kind per step while what is seen gets its words."""
EVERYTHING = {"signs": 6, "described": 8, "yes_no": 3, "textbook": 1, "merge": 20}
"""Then: merging too, which begins with two readers and grows to seven (and fewer rows)."""


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
    save: Path,
) -> None:
    """Teach the whole model words (and merging); AdamW, bf16 arithmetic on fp32 weights."""
    rng = np.random.default_rng([seed, 12])
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
    started, seen = time.monotonic(), dict[str, float]()
    model.train()
    with bar("training the tongue", steps) as advance:
        for step in range(steps):
            set_rate(optimizer, rate, step, steps)
            grown = min(1.0, max(0.0, (step / steps - 0.35) / 0.45))
            readers = 2 + round(grown * (corpus.MOST_READERS - 2))
            for kind, most in plan.items():
                count = max(7, most - 3 * (readers - 2)) if kind == "merge" else most
                batch = encode(draw_rows(pool, kind, count, rng, readers), pool, processor)
                loss = _loss(model, batch, processor, kind)
                torch.autograd.backward(loss)
                seen[kind] = 0.95 * seen.get(kind, loss.item()) + 0.05 * loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            advance(1, " ".join(f"{kind} {value:.3f}" for kind, value in seen.items()))
            if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
                skills = check(model, processor, held, seed)
                spent = time.monotonic() - started
                say(f"tongue: step {step + 1}, {spent:.0f} s: " + json.dumps(seen | skills))
                write(model, processor, save, {"steps": step + 1, "seed": seed, **skills})
                model.train()


def _loss(
    model: LlavaForConditionalGeneration, batch: dict[str, Tensor], processor: LlavaProcessor, kind: str
) -> Tensor:
    """Mean NLL of the answers; a word that only keeps the format weighs a tenth of one that decides.

    Own words weigh alike, and so do the readers' texts of a merge (a fifth of a deciding word).
    """
    labels, asked = batch.pop("labels")[:, 1:], batch.pop("asked")[:, 1:]
    if kind == "merge":
        labels = torch.where(asked != IGNORE, asked, labels)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**batch, use_cache=False).logits[:, :-1]
    nll = cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORE, reduction="none")
    deciding = torch.isin(labels, _value_tokens(processor)) | torch.tensor(kind == "described")
    weight = torch.where(deciding, 1.0, 0.1)
    weight = torch.where((asked != IGNORE) & (labels == asked), 0.2, weight) * (labels != IGNORE)
    return (nll * weight).sum() / weight.sum()


VALUES = ("absent", "present", "left", "right", "bilateral", "normal", "abnormal")


def _value_tokens(processor: LlavaProcessor) -> Tensor:
    words = [*("Ġ" + word for word in VALUES), "Yes", "No"]
    return torch.tensor(processor.tokenizer.convert_tokens_to_ids(words))


@torch.no_grad()
def check(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, held: Pool, seed: int
) -> dict[str, float]:
    """Teacher-forced accuracy of the value tokens on images and readers never trained on."""
    model.eval()
    rng = np.random.default_rng([seed, 13])
    result = {}
    for kind, readers in (("signs", 1), ("merge", 1), ("merge", corpus.MOST_READERS)):
        name = f"{kind}_{readers}" if kind == "merge" else kind
        hits: list[float] = []
        asserted: list[float] = []
        absent = processor.tokenizer.convert_tokens_to_ids("Ġabsent")
        for _ in range(4):
            batch = encode(draw_rows(held, kind, 16, rng, readers), held, processor)
            batch.pop("asked")
            with torch.autocast("cpu", torch.bfloat16):
                guess = model(**batch, use_cache=False).logits[:, :-1].argmax(-1)
            label = batch["labels"][:, 1:]
            slot = torch.isin(label, _value_tokens(processor))
            hits += (guess == label)[slot].float().tolist()
            asserted += (guess == label)[slot & (label != absent)].float().tolist()
        result[f"{name}_accuracy"] = round(float(np.mean(hits)), 4)
        result[f"{name}_accuracy_where_asserted"] = round(float(np.mean(asserted)), 4)
    return result


def write(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path, facts: dict[str, object]
) -> None:
    """An ordinary checkpoint folder in half precision, and what is known about it."""
    state = {name: value.half() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the checkpoint in five phases.

    The tower learns the signs; a decoder that is thrown away teaches it to be read; the words of a new
    one are laid where the tower's features are; it learns to say what is seen; then everything.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs=5, default=(1000, 500, 300, 700, 900))
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=20251004)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    tokenizer = train_tokenizer(corpus.words(), 1200)
    processor = build_processor(tokenizer)
    pool, held = (make_pool(n, processor, given.seed + i) for i, n in enumerate((given.images, 300)))
    to_be_read, model = build_model(tokenizer), build_model(tokenizer)

    def tongue(student: LlavaForConditionalGeneration, plan: Mapping[str, int], steps: int) -> None:
        shared = {"rate": given.rate, "seed": given.seed, "save": given.out}
        train_tongue(student, processor, pool, held, plan, steps=steps, **shared)

    eye = {"seed": given.seed}
    train_eye(to_be_read, tokenizer, pool, held, by_words=False, steps=given.steps[0], **eye)
    tongue(to_be_read, SEEING, given.steps[1])
    model.model.vision_tower.load_state_dict(to_be_read.model.vision_tower.state_dict())
    train_eye(model, tokenizer, pool, held, by_words=True, steps=given.steps[2], **eye)
    tongue(model, SEEING, given.steps[3])
    tongue(model, EVERYTHING, given.steps[4])


if __name__ == "__main__":
    main()
