"""The student in process: greedy generation and scoring."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from accelerate.utils import send_to_device

from driftbound.learning import models
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator, encode_prompts
from driftbound.learning.families import answer_types
from driftbound.learning.logprobs import score


class LocalPolicy:
    """A checkpoint that answers and scores on this machine; implements ``protocols.Policy``."""

    def __init__(self, student: models.Student) -> None:
        self.model, self.processor = student

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> Self:
        """Load a checkpoint; raises ``ModelError``."""
        models.set_threads(threads)
        return cls(models.load(path))

    @torch.no_grad()
    def generate(
        self, questions: Sequence[str], images: Sequence[Sequence[Path]], *, max_new_tokens: int
    ) -> list[tuple[str, bool]]:
        """Greedy answers, one per question, as one batch; without end token.

        Each with whether it came to its end by itself: one that was cut at ``max_new_tokens`` is returned
        as far as it goes, with ``False``.
        """
        tokenizer = self.processor.tokenizer
        side, tokenizer.padding_side = tokenizer.padding_side, "left"
        try:
            batch = encode_prompts(self.processor, questions, images)
        finally:
            tokenizer.padding_side = side
        batch = {name: value.to(self.model.device) for name, value in batch.items()}
        prompt = batch["input_ids"].shape[1]
        tokens = self.model.generate(
            **batch,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )[:, prompt:]
        ended = (tokens == tokenizer.eos_token_id).any(1).tolist()
        return list(zip(tokenizer.batch_decode(tokens, skip_special_tokens=True), ended, strict=True))

    @torch.no_grad()
    def score(
        self, questions: Sequence[str], images: Sequence[Sequence[Path]], answers: Sequence[str]
    ) -> list[float]:
        """Log-probability of each answer and its end token, in nats."""
        collate = MultiStreamCollator(
            processor=self.processor,
            max_length=self.processor.tokenizer.model_max_length,
            answer_types=answer_types(self.model),
        )
        examples = [
            Example(case_id=str(n), question=q, images=tuple(i), candidates=(Candidate(text=a),))
            for n, (q, i, a) in enumerate(zip(questions, images, answers, strict=True))
        ]
        batch = send_to_device(collate(examples), self.model.device)
        return [float(value) for value in score(self.model, batch).logps[:, 0]]
