"""From examples (texts, image files) to one batch of packed rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from driftbound.errors import CaseError, TrainingError, boundary
from driftbound.learning.packing import Answer, Segment, lay_out, rows_of, segments_of


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
    """Tokenizes, packs and counts.

    The batch, for B examples with C columns: what ``packing.lay_out`` gives (with ``attention_mask``
    instead of positions, segments and branches where nothing is packed); ``valid`` (B, C);
    ``log_weights`` (B, C); ``reference`` (B, C) when known; ``pixel_values`` and whatever else the
    processor makes of an image, once per segment. Answer tokens alone are scored: prompt and
    image never.
    """

    processor: Any
    max_length: int
    """Tokens of prompt, image and one answer together."""
    row_tokens: int = 0
    """Tokens that may share a row; 0 gives every answer a row, prompt and image of its own."""
    reference: dict[str, list[float]] = field(default_factory=dict)
    """Reference log-probabilities by case."""

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        segments: list[Segment] = []
        prompts = [self.encode_prompt(example) for example in examples]
        valid = torch.zeros(len(examples), len(examples[0].candidates), dtype=torch.bool)
        log_weights = torch.zeros(valid.shape)
        for b, example in enumerate(examples):
            prefix = prompts[b]["input_ids"][0].tolist()
            answers = []
            for c, candidate in enumerate(example.candidates):
                if candidate is None:
                    continue
                ids, weights = self._encode_answer(candidate)
                ids, weights = self._fit(len(prefix), ids, weights, example.case_id)
                valid[b, c] = True
                log_weights[b, c] = candidate.log_weight
                answers.append(Answer(ids, weights, slot=b * valid.shape[1] + c))
            segments += segments_of(prefix, b, answers, self.row_tokens)
        rows = rows_of(segments, self.row_tokens)
        batch = lay_out(rows, self.processor.tokenizer.pad_token_id)
        for name in prompts[0].keys() - {"input_ids"} if prompts else ():
            batch[name] = _for_rows(name, prompts, rows, batch["input_ids"].shape[1])
        if not self.row_tokens:
            del batch["position_ids"], batch["branch"]
            batch["attention_mask"] = (batch.pop("segment") >= 0).long()
        batch |= {"valid": valid, "log_weights": log_weights}
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


def _for_rows(
    name: str, prompts: Sequence[dict[str, Tensor]], rows: Sequence[Sequence[Segment]], length: int
) -> Tensor:
    """What the processor says of prompts: per token with 0 on answers and padding; else once per segment."""
    values = [prompt[name] for prompt in prompts]
    if values[0].shape[:2] != prompts[0]["input_ids"].shape:
        return torch.cat([values[segment.picture] for row in rows for segment in row])
    laid = []
    for row in rows:
        parts = [pad(values[s.picture], (0, len(s) - len(s.prefix))) for s in row]
        joined = torch.cat(parts, dim=1)
        laid.append(pad(joined, (0, length - joined.shape[1])))
    return torch.cat(laid)


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
