"""Hidden features: what a model makes of a question and its images before it answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftbound.learning.collator import Picture, encode_prompts
from driftbound.learning.logprobs import inner_of
from driftbound.learning.models import Student


@torch.no_grad()
def hidden_features(
    student: Student, questions: Sequence[str], images: Sequence[Sequence[Picture]], *, batch_size: int
) -> NDArray[np.float32]:
    """Last hidden state at each question's last prompt token, (n, D): what the head would read there.

    Decided by question and images alone, whatever shares the batch but for rounding.
    """
    tokenizer = student.processor.tokenizer
    found = []
    for start in range(0, len(questions), batch_size):
        part = slice(start, start + batch_size)
        side, tokenizer.padding_side = tokenizer.padding_side, "right"  # every token keeps its position
        try:
            batch = encode_prompts(student.processor, questions[part], images[part])
        finally:
            tokenizer.padding_side = side
        found.append(_last(student.model, batch))
    return np.concatenate(found)


def _last(model: Any, batch: dict[str, Tensor]) -> NDArray[np.float32]:
    """What a model's head is handed of each row's last token, (B, D); logits are made of nothing else."""
    batch = {name: value.to(model.device) for name, value in batch.items()}
    last = batch["attention_mask"].sum(dim=1) - 1
    read: list[Tensor] = []

    def pick(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = given[0]
        read.append(hidden[torch.arange(len(last), device=hidden.device), last.to(hidden.device)])
        return (read[0][:, None], *given[1:])

    head = inner_of(model).get_output_embeddings()
    with head.register_forward_pre_hook(pick):
        model(**batch, use_cache=False)
    return read[0].float().cpu().numpy()
