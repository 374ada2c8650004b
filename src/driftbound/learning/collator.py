"""From examples (texts, image files) to one padded batch: one row per candidate answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftbound.errors import CaseError, TrainingError, boundary

IGNORE = -100
"""Label of a position that is not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer to a case."""

    text: str
    ended: bool = True
    """False for a text that was cut: it never gets an end token."""
    log_weight: float = 0.0
    spans: tuple[tuple[int, int, float], ...] = ()
    """``(start, end, weight)`` in code points: weights of the tokens that overlap; others weigh 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A case and its candidate answers; a column is a teacher (or the consensus, in column 0)."""

    case_id: str
    question: str
    images: tuple[Path, ...]
    candidates: tuple[Candidate | None, ...]
    """``None`` where there is no such answer."""


@dataclass(slots=True)
class MultiStreamCollator:
    """Tokenizes, pads and counts.

    The batch, for B examples with C columns and R existing candidates in all:
    ``input_ids``, ``attention_mask``, ``labels``, ``token_weights`` (R, T); ``row`` (B, C) index of the
    candidate's row or -1; ``valid`` (B, C); ``log_weights`` (B, C); ``reference`` (B, C) when
    known; ``pixel_values`` and whatever else the processor makes of an image, once per row.
    Labels stand on answer tokens only: the prompt and the image are never scored.
    """

    processor: Any
    max_length: int
    reference: dict[str, list[float]] = field(default_factory=dict)
    """Reference log-probabilities by case."""

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        rows: list[tuple[list[int], list[int], list[float]]] = []
        pictures: list[dict[str, Tensor]] = []
        row = torch.full((len(examples), len(examples[0].candidates)), -1)
        log_weights = torch.zeros(row.shape)
        for b, example in enumerate(examples):
            prompt = self.encode_prompt(example)
            ids = prompt["input_ids"][0].tolist()
            for c, candidate in enumerate(example.candidates):
                if candidate is None:
                    continue
                answer, weights = self._encode_answer(candidate)
                answer, weights = self._fit(len(ids), answer, weights, example.case_id)
                row[b, c] = len(rows)
                log_weights[b, c] = candidate.log_weight
                rows.append((ids + answer, [IGNORE] * len(ids) + answer, [0.0] * len(ids) + weights))
                pictures.append(prompt)
        batch = self._pad(rows)
        batch |= {"row": row, "valid": row >= 0, "log_weights": log_weights}
        longest = batch["input_ids"].shape[1]
        for name in pictures[0].keys() - {"input_ids"} if pictures else ():
            batch[name] = torch.cat([_grown(picture[name], picture, longest) for picture in pictures])
        if self.reference:
            batch["reference"] = torch.tensor([self.reference[e.case_id] for e in examples])
        return batch

    def encode_prompt(self, example: Example) -> dict[str, Tensor]:
        """The chat prompt with its images, as the processor makes it, batch of one, without padding."""
        encoded = encode_prompts(self.processor, [example.question], [example.images])
        encoded.pop("attention_mask", None)
        return encoded

    def answer_tokens(self, example: Example) -> list[int]:
        """Tokens of each candidate before any cut, end token included; 0 where there is none."""
        return [0 if c is None else len(self._encode_answer(c)[0]) for c in example.candidates]

    def room(self, example: Example) -> int:
        """How many tokens of an answer fit behind the prompt."""
        return self.max_length - int(self.encode_prompt(example)["input_ids"].shape[1])

    def _encode_answer(self, candidate: Candidate) -> tuple[list[int], list[float]]:
        tokenizer = self.processor.tokenizer
        encoded = tokenizer(
            candidate.text, add_special_tokens=False, return_offsets_mapping=bool(candidate.spans)
        )
        ids = list(encoded["input_ids"])
        weights = [1.0] * len(ids)
        for start, end, weight in candidate.spans:
            for t, (begin, stop) in enumerate(encoded["offset_mapping"]):
                if begin < end and start < stop:
                    weights[t] = weight
        if candidate.ended:
            ids.append(tokenizer.eos_token_id)
            weights.append(1.0)
        if not ids:
            raise TrainingError("an answer without any token cannot be scored. Mark it as empty.")
        return ids, weights

    def _fit(
        self, prompt: int, answer: list[int], weights: list[float], case_id: str
    ) -> tuple[list[int], list[float]]:
        room = self.max_length - prompt
        if room < 1:
            raise TrainingError(
                f"case {case_id}: its prompt and image take {prompt} tokens, max_length is "
                f"{self.max_length}. Raise max_length in the recipe."
            )
        return answer[:room], weights[:room]

    def _pad(self, rows: Sequence[tuple[list[int], list[int], list[float]]]) -> dict[str, Tensor]:
        longest = max((len(ids) for ids, _, _ in rows), default=0)
        pad = self.processor.tokenizer.pad_token_id
        lengths = [len(ids) for ids, _, _ in rows]
        return {
            "input_ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _, _ in rows]),
            "labels": torch.tensor([ls + [IGNORE] * (longest - len(ls)) for _, ls, _ in rows]),
            "token_weights": torch.tensor([ws + [0.0] * (longest - len(ws)) for _, _, ws in rows]),
            "attention_mask": torch.tensor([[1] * n + [0] * (longest - n) for n in lengths]),
        }


def _grown(values: Tensor, prompt: dict[str, Tensor], length: int) -> Tensor:
    """What the processor says per token of the prompt, with 0 for the answer and padding; else unchanged."""
    if values.shape[:2] != prompt["input_ids"].shape:
        return values
    return torch.nn.functional.pad(values, (0, length - values.shape[1]))


def encode_prompts(
    processor: Any, questions: Sequence[str], images: Sequence[Sequence[Path]]
) -> dict[str, Tensor]:
    """Chat prompts (one user turn: images, then text) ready for the model; padded where needed."""
    texts = []
    for question, paths in zip(questions, images, strict=True):
        content = [{"type": "image"} for _ in paths] + [{"type": "text", "text": question}]
        texts.append(
            processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        )
    pictures = [open_image(path) for paths in images for path in paths]
    encoded = processor(text=texts, images=pictures or None, padding=True, return_tensors="pt")
    return dict(encoded)


def open_image(path: Path) -> Any:
    """An image in memory; raises ``CaseError`` naming the file."""
    from PIL import Image

    with (
        boundary(CaseError, f"opening image {path}", then="Check the file or the path."),
        Image.open(path) as image,
    ):
        return image.convert("RGB")
