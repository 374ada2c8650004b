"""Prefix: a prompt that several answers share is read once, and what it left in the cache is lent to each."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftbound.learning.families import prompt_positions, why_not_packed


def sharing(questions: Sequence[str], images: Sequence[Sequence[Any]]) -> tuple[list[int], list[int]]:
    """The first row of each of U different prompts, and for each of R rows which of the U it has.

    Images are the same where their path or their bytes are, images in memory where they are the same object.

    >>> sharing(["a", "b", "a"], [[], [], []])
    ([0, 1], [0, 1, 0])
    """
    known: dict[Hashable, int] = {}
    first: list[int] = []
    whose: list[int] = []
    for row, (question, some) in enumerate(zip(questions, images, strict=True)):
        seen = tuple(image if isinstance(image, Path | bytes) else id(image) for image in some)
        if (question, seen) not in known:
            known[question, seen] = len(first)
            first.append(row)
        whose.append(known[question, seen])
    return first, whose


def may_share(model: Any) -> bool:
    """Whether tests prove that answers from a lent prefix are those from a prompt of their own.

    That is where answers may be packed behind one prompt, and positions are plain: a model with M-RoPE
    remembers its positions by itself, one row per prompt.
    """
    return not why_not_packed(model) and prompt_positions(model) is None


def lent(model: Any, batch: dict[str, Tensor], whose: Sequence[int]) -> dict[str, Any]:
    """What ``generate`` goes on from, for R rows, ``batch`` holding the U prompts, padded on the left.

    All but the last token of each prompt, its images among them, are read here, once; the last one is
    left to ``generate``, which thus begins as it always does, by asking for the first token.
    """
    reading = model.generate(
        **batch,
        max_new_tokens=1,
        do_sample=False,
        use_cache=True,
        return_dict_in_generate=True,
        pad_token_id=0,  # a token that nobody looks at
    )
    cache = reading.past_key_values
    cache.crop(-1)
    rows = torch.tensor(list(whose))  # on the CPU: the cache may lie on several devices
    cache.batch_select_indices(rows)
    return {
        "input_ids": batch["input_ids"][rows],
        "attention_mask": batch["attention_mask"][rows],
        "past_key_values": cache,
        "use_cache": True,
    }
