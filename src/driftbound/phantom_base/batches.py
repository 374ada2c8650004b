"""Pretraining rows as tensors: drawing them by kind, encoding them, and what every phase shares."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaProcessor

from driftbound.domains.phantom.language import SIGN_QUESTION
from driftbound.learning.architecture import IMAGE_SIZE, PATCH
from driftbound.phantom_base import corpus
from driftbound.phantom_base.corpus import Row
from driftbound.phantom_base.eye import Pool

IGNORE = -100
STOCK = 64
IMAGE_TOKENS = (IMAGE_SIZE // PATCH) ** 2
VALUE_WORDS = ("absent", "present", "left", "right", "bilateral", "normal", "abnormal")


def value_tokens(processor: LlavaProcessor) -> Tensor:
    """Ids of the words that decide an answer; all others only keep its format."""
    words = [*("Ġ" + word for word in VALUE_WORDS), "Yes", "No"]
    return torch.tensor(processor.tokenizer.convert_tokens_to_ids(words))


def encode(rows: Sequence[Row], pool: Pool, processor: LlavaProcessor) -> dict[str, Tensor]:
    """Rows as one right-padded batch.

    ``labels`` stand on the answer and its end token, ``asked`` on the question: what one reader says is
    foretold by what the others said, so reading can be learnt from it too.
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
    pool: Pool, kind: str, count: int, rng: np.random.Generator, most: int = corpus.MOST_READERS
) -> list[Row]:
    """``count`` examples of one kind.

    ``signs``, ``described``, ``yes_no``, ``textbook``, ``merge`` (up to ``most`` readers) or ``lookup``
    (one reader, up to ``most`` things). Merges are drawn in plenty and neighbours by length taken, so
    that a batch pads little.
    """
    if kind == "merge" and count < STOCK:
        stock = sorted(draw_rows(pool, kind, STOCK, rng, most), key=lambda row: len(row.question))
        start = int(rng.integers(STOCK - count + 1))
        return stock[start : start + count]
    book = corpus.textbook()
    rows: list[Row] = []
    for _ in range(count):
        image = int(rng.integers(len(pool.signs)))
        if kind == "signs":
            rows.append(Row(SIGN_QUESTION, corpus.signs_report(pool.signs[image]), image))
        elif kind == "described":
            rows.append(corpus.described(pool.signs[image], image, rng))
        elif kind == "yes_no":
            rows.append(corpus.yes_no(pool.signs[image], image, rng))
        elif kind == "merge":
            rows.append(corpus.merging(image, rng, pool.signs[image] if rng.random() < 0.25 else None, most))
        elif kind == "lookup":
            rows.append(corpus.lookup(int(rng.integers(most // 2, most + 1)), rng))
        else:
            rows.append(book[int(rng.integers(len(book)))])
    return rows
