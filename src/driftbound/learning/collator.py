"""From examples (texts, image files) to one batch of packed rows."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from driftbound.errors import CaseError, TrainingError, boundary
from driftbound.learning.image_tokens import image_tokens
from driftbound.learning.packing import Answer, Segment, rows_of, segments_of
from driftbound.learning.tensors import tensors_of

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = "Path | Image"
"""An image file, or an image in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer to a case."""

    text: str
    ended: bool = True
    """False for a text that was cut: it never gets an end token."""
    log_weight: float = 0.0
    spans: tuple[tuple[int, int, float], ...] = ()
    """``(start, end, weight)`` in code points; a later one goes before an earlier. Other text weighs 1."""
    end_weight: float = 1.0
    """Of the end token, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A case and its candidate answers; a column is a teacher (or the consensus, in column 0)."""

    case_id: str
    question: str
    images: tuple[Picture, ...]
    candidates: tuple[Candidate | None, ...]
    """``None`` where there is no such answer."""


@dataclass(slots=True)
class MultiStreamCollator:
    """Tokenizes, packs and counts.

    The batch, for B examples with C columns: what ``tensors.tensors_of`` makes of their rows, or with
    ``apart`` a list ``parts`` of the same for each row; ``valid`` (B, C); ``log_weights`` (B, C);
    ``reference`` (B, C) and ``reference_plain`` (B,) when known. Answer tokens alone are scored: prompt and
    image never.
    """

    processor: Any
    max_length: int
    """Tokens of prompt, image and one answer together."""
    row_tokens: int = 0
    """Tokens that may share a row; 0 gives every answer a row, prompt and image of its own."""
    positions: Callable[[dict[str, Tensor]], Tensor] | None = None
    """Positions (3, P) of an encoded prompt, for packing under M-RoPE; else a prompt counts from 0."""
    answer_types: dict[str, int] = field(default_factory=dict)
    """Of a field that the processor gives per token, its value on answers; 0 where not named."""
    reference: dict[str, list[float]] = field(default_factory=dict)
    """Reference log-probabilities by case."""
    reference_plain: dict[str, float] = field(default_factory=dict)
    """Those of column 0 without token weights, by case."""
    apart: bool = False
    """Whether each row is a batch of its own, for scoring one at a time."""
    columns: tuple[str, ...] = ()
    """Whose answers the columns hold, for messages."""
    first_is_whole: bool = False
    """Whether column 0, as a consensus, must never be cut."""
    common_length: bool = False
    """Whether of each answer of an example only as many tokens count as its shortest answer has."""
    image_tokens: frozenset[int] = frozenset()
    """Tokens that no question and no answer may contain; the processor's own are always among them."""

    def __post_init__(self) -> None:
        self.image_tokens |= image_tokens(self.processor, self.processor.tokenizer)

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        segments: list[Segment] = []
        prompts = [self.encode_prompt(example) for example in examples]
        valid = torch.zeros(len(examples), len(examples[0].candidates), dtype=torch.bool)
        log_weights = torch.zeros(valid.shape)
        for b, example in enumerate(examples):
            prefix = prompts[b]["input_ids"][0].tolist()
            room = self.room(example, prompts[b])
            answers = []
            for c, candidate in enumerate(example.candidates):
                if candidate is None:
                    continue
                ids, weights = self._encode_answer(example, c, candidate)
                if len(ids) > room and self.first_is_whole and c == 0:
                    raise TrainingError(
                        f"case {example.case_id}: its consensus takes {len(ids)} tokens, {room} fit into "
                        "max_length, and it is never cut. Leave the case out or raise max_length."
                    )
                valid[b, c] = True
                log_weights[b, c] = candidate.log_weight
                answers.append(Answer(ids[:room], weights[:room], slot=b * valid.shape[1] + c))
            answers = of_common_length(answers) if self.common_length else answers
            segments += segments_of(prefix, b, answers, self.row_tokens)
        rows = rows_of(segments, self.row_tokens)
        own = [self.positions(prompt) for prompt in prompts] if self.positions else []
        keys = [_key(example.images) for example in examples]

        def tensors(some: Sequence[Sequence[Segment]]) -> dict[str, Any]:
            packed, padding = self.row_tokens > 0, self.processor.tokenizer.pad_token_id
            return tensors_of(some, prompts, keys, padding, own, self.answer_types, packed=packed)

        batch: dict[str, Any] = {"parts": [tensors([row]) for row in rows]} if self.apart else tensors(rows)
        batch |= {"valid": valid, "log_weights": log_weights}
        if self.reference:
            batch["reference"] = torch.tensor([self.reference[e.case_id] for e in examples])
        if self.reference_plain:
            batch["reference_plain"] = torch.tensor([self.reference_plain[e.case_id] for e in examples])
        return batch

    def encode_prompt(self, example: Example) -> dict[str, Tensor]:
        """The chat prompt with its images, as the processor makes it, batch of one, without padding.

        Raises ``CaseError`` where image tokens and images do not go together.
        """
        case, count = f"case {example.case_id}", len(example.images)
        self._refuse_image_tokens(
            self.processor.tokenizer(example.question, add_special_tokens=False)["input_ids"],
            f"{case}: its question",
            CaseError,
        )
        with boundary(CaseError, f"{case}: encoding its prompt", then="Check its question and images."):
            encoded = encode_prompts(self.processor, [example.question], [example.images])
        mark = getattr(self.processor, "image_token_id", None)
        found = int((encoded["input_ids"] == mark).sum()) if isinstance(mark, int) else None
        if found is not None and (found < count or (found and not count)):
            raise CaseError(
                f"{case}: {count} image(s), but {found} image tokens in its prompt. Check the image, and "
                "that the processor's chat template puts in one image per image."
            )
        encoded.pop("attention_mask", None)
        return encoded

    def answer_tokens(self, example: Example) -> list[int]:
        """Tokens of each candidate before any cut, end token included; 0 where there is none."""
        return [
            0 if candidate is None else len(self._encode_answer(example, c, candidate)[0])
            for c, candidate in enumerate(example.candidates)
        ]

    def room(self, example: Example, prompt: dict[str, Tensor] | None = None) -> int:
        """How many tokens of an answer fit behind the prompt; raises ``TrainingError`` where none does."""
        prompt = self.encode_prompt(example) if prompt is None else prompt
        length = int(prompt["input_ids"].shape[1])
        if length >= self.max_length:
            raise TrainingError(
                f"case {example.case_id}: its prompt and image take {length} tokens, max_length is "
                f"{self.max_length}. Raise max_length in the recipe."
            )
        return self.max_length - length

    def too_long(self, example: Example, prompt: dict[str, Tensor] | None = None) -> list[int]:
        """Columns whose answers are longer than their prompt leaves room for."""
        room = self.room(example, prompt)
        return [c for c, tokens in enumerate(self.answer_tokens(example)) if tokens > room]

    def _encode_answer(
        self, example: Example, column: int, candidate: Candidate
    ) -> tuple[list[int], list[float]]:
        tokenizer = self.processor.tokenizer
        encoded = tokenizer(
            candidate.text, add_special_tokens=False, return_offsets_mapping=bool(candidate.spans)
        )
        ids = list(encoded["input_ids"])
        whose = self.columns[column] if self.columns else f"column {column}"
        where = f"case {example.case_id}: the answer of {whose}"
        self._refuse_image_tokens(ids, where, TrainingError)
        offsets = encoded["offset_mapping"] if candidate.spans else ()
        weights = token_weights(candidate.text, offsets, candidate.spans) if offsets else [1.0] * len(ids)
        if candidate.ended:
            ids.append(tokenizer.eos_token_id)
            weights.append(candidate.end_weight)
        if not ids:
            raise TrainingError(f"{where} has no token and cannot be scored. Mark it as empty.")
        return ids, weights

    def _refuse_image_tokens(
        self, ids: Collection[int], where: str, kind: type[CaseError] | type[TrainingError]
    ) -> None:
        """Such a token would be taken for an image that is not there."""
        found = next((token for token in ids if token in self.image_tokens), None)
        if found is not None:
            raise kind(
                f"{where} contains the image token {self.processor.tokenizer.decode([found])}, which the "
                "student would take for an image. Take it out of the text or leave the case out."
            )


def of_common_length(answers: Sequence[Answer]) -> list[Answer]:
    """The answers, each with weight 0 on the tokens beyond the number that the shortest one has."""
    least = min((len(answer.ids) for answer in answers), default=0)
    return [
        replace(answer, weights=[*answer.weights[:least], *[0.0] * (len(answer.ids) - least)])
        for answer in answers
    ]


def token_weights(
    text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int, float]]
) -> list[float]:
    """The weight of each token of a text, from the weights of its characters.

    ``offsets``: (start, end) of each token in code points. A character weighs what its span says, outside
    of all spans 1. A token takes the weight that most of its characters have; of two with as many, the one
    that comes later. White space at a token's edges does not count: byte-level tokens begin with the space
    before a word, or end with a line break, which belong to neither claim beside them. It counts where a
    token is nothing else. A token without characters weighs 1.

    >>> token_weights("no edema", [(0, 2), (2, 8)], [(0, 2, 0.5), (3, 8, 0.0)])
    [0.5, 0.0]
    """
    each = [1.0] * len(text)
    for start, end, weight in spans:
        each[start:end] = [weight] * (min(end, len(text)) - start)
    found = []
    for begin, stop in offsets:
        said = text[begin:stop]
        if said.strip():
            begin, stop = begin + len(said) - len(said.lstrip()), begin + len(said.rstrip())
        last = {weight: at for at, weight in enumerate(each[begin:stop])}
        counts = Counter(each[begin:stop])
        found.append(max(counts, key=lambda weight: (counts[weight], last[weight]), default=1.0))
    return found


def encode_prompts(
    processor: Any, questions: Sequence[str], images: Sequence[Sequence[Picture]]
) -> dict[str, Tensor]:
    """Chat prompts (one user turn: images, then text) ready for the model; padded where needed."""
    texts = []
    for question, paths in zip(questions, images, strict=True):
        content = [{"type": "image"} for _ in paths] + [{"type": "text", "text": question}]
        texts.append(
            processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        )
    pictures = [open_image(path) for paths in images for path in paths]
    encoded = dict(processor(text=texts, images=pictures or None, padding=True, return_tensors="pt"))
    encoded.pop("labels", None)  # PaliGemma's processor always makes some; nothing of a prompt is scored
    return encoded


def _key(images: Sequence[Picture]) -> int:
    """The same number for the same images in the same order."""
    names = [str(image) if isinstance(image, Path) else pixels_of(image) for image in images]
    return int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=8).digest())


def pixels_of(image: "Image") -> str:
    """A hash of what is in an image in memory."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


def open_image(given: "Picture | bytes") -> Any:
    """An image in memory, from a file, its bytes or another image; raises ``CaseError`` naming the file."""
    from PIL import Image

    if isinstance(given, Image.Image):
        return given.convert("RGB")
    name, file = (f"of {len(given)} bytes", io.BytesIO(given)) if isinstance(given, bytes) else (given, given)
    with (
        boundary(CaseError, f"opening image {name}", then="Check the file or the path."),
        Image.open(file) as image,
    ):
        return image.convert("RGB")
