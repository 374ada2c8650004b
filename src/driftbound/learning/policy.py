"""A model in process: it answers, greedily or by seed, scores, and gives whole distributions."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Self, TypeAlias

import numpy as np
import torch
import transformers
from accelerate.utils import send_to_device
from numpy.typing import NDArray
from transformers import LogitsProcessorList

from driftbound.errors import ModelError
from driftbound.learning import models
from driftbound.learning.collator import (
    Candidate,
    Example,
    MultiStreamCollator,
    Picture,
    encode_prompts,
    open_image,
)
from driftbound.learning.families import answer_types
from driftbound.learning.features import hidden_features
from driftbound.learning.logprobs import distributions, inner_of, score
from driftbound.learning.prefix import lent, may_share, sharing
from driftbound.learning.sampling import Steps
from driftbound.learning.spelling import content, speller, vocabulary_of
from driftbound.records import Completion, Tokens
from driftbound.store.manifest import sha256_tree

Images: TypeAlias = "Sequence[Sequence[Picture | bytes]]"
"""Of each question: image files, their bytes, or images in memory."""


class LocalPolicy:
    """A checkpoint that answers and scores on this machine.

    Implements ``protocols.Policy``, ``Sampler``, ``Scorer`` and ``Featured``. Threads may share it; they
    take turns.
    """

    def __init__(self, student: models.Student, source: str = "") -> None:
        """``source`` is the folder or hub name that ``student`` was loaded from, for ``version``."""
        self.model, self.processor = student
        self._source = source
        self._busy = Lock()

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> Self:
        """Load a checkpoint; raises ``ModelError``."""
        models.set_threads(threads)
        return cls(models.load(path), str(path))

    @cached_property
    def version(self) -> str:
        """Content hash of the checkpoint folder, or the hub's commit; empty for a model made in memory.

        Reads the whole folder once. Raises ``StoreError``.
        """
        if self._source and Path(self._source).is_dir():
            return f"sha256:{sha256_tree(Path(self._source))}"
        return str(getattr(self.model.config, "_commit_hash", None) or "")

    @cached_property
    def fingerprint(self) -> str:
        """Packages, number format and kind of device: what else decides an answer's last digits."""
        made = f"torch {torch.__version__} transformers {transformers.__version__}"
        return f"{made}, {str(self.model.dtype).removeprefix('torch.')} on {self.model.device.type}"

    @cached_property
    def vocabulary(self) -> str:
        """Hash of the tokenizer as it cuts texts and of its end token; not of the weights."""
        with self._busy:
            return vocabulary_of(self.processor.tokenizer)

    def generate(
        self,
        questions: Sequence[str],
        images: Images,
        *,
        max_new_tokens: int,
        temperature: float | Sequence[float] = 0.0,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
    ) -> list[tuple[str, bool]]:
        """Answers, one per question, as one batch; without end token; greedy unless asked otherwise.

        Each with whether it came to its end by itself: one that was cut at ``max_new_tokens`` is returned
        as far as it goes, with ``False``. For temperature and seeds see ``complete``.
        """
        said = self.complete(
            questions,
            images,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seeds=seeds,
        )
        return [(each.text, each.ended) for each in said]

    @torch.no_grad()
    def complete(
        self,
        questions: Sequence[str],
        images: Images,
        *,
        max_new_tokens: int,
        temperature: float | Sequence[float] = 0.0,
        top_p: float = 1.0,
        seeds: Sequence[int] | None = None,
        logprobs: int | None = None,
    ) -> list[Completion]:
        """The same with counts and, where ``logprobs`` asks for so many alternatives, log-probabilities.

        Temperature (of all, or of each) 0 is greedy; else each answer is drawn by its seed, whoever else is
        in the batch, as exactly as the model's logits are the same in any batch. A prompt that stands there
        more than once is read once (``prefix``). Log-probabilities are the model's own,
        before temperature, top-p and the checkpoint's generation settings. Raises ``ModelError``.
        """
        steps = Steps(len(questions), temperature=temperature, top_p=top_p, seeds=seeds, logprobs=logprobs)
        with self._busy:
            prompts, rows = self._generate(questions, images, max_new_tokens, steps)
            tokenizer = self.processor.tokenizer
            end, spell = tokenizer.eos_token_id, speller(tokenizer)
            found = []
            for n, row in enumerate(rows):
                said = row[:-1] if row[-1:] == [end] else row
                completion = Completion(
                    text=tokenizer.decode(said, skip_special_tokens=True),
                    ended=len(said) < len(row),
                    prompt_tokens=prompts[n],
                    completion_tokens=len(row),
                    logprobs=tuple(content(steps.likely(n, said), spell)),
                )
                found.append(completion)
            return found

    @torch.no_grad()
    def score(self, questions: Sequence[str], images: Images, answers: Sequence[str]) -> list[float]:
        """Log-probability of each answer and its end token, in nats."""
        examples = [
            Example(case_id=str(n), question=q, images=tuple(i), candidates=(Candidate(text=a),))
            for n, (q, i, a) in enumerate(zip(questions, _pictures(images), answers, strict=True))
        ]
        with self._busy:
            batch = send_to_device(self._collator()(examples), self.model.device)
            return [float(value) for value in score(self.model, batch).logps[:, 0]]

    def tokens(self, answer: str, *, ended: bool = True) -> Tokens:
        """The T tokens of an answer, with an end token where it ``ended``, and where they stand in it."""
        tokenizer = self.processor.tokenizer
        with self._busy:
            encoded = tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        ids, spans = list(encoded["input_ids"]), [(start, end) for start, end in encoded["offset_mapping"]]
        if ended:
            ids.append(tokenizer.eos_token_id)
            spans.append((len(answer), len(answer)))
        return Tokens(tuple(ids), tuple(spans))

    def distributions(
        self, question: str, images: "Sequence[Picture | bytes]", answer: str, *, ended: bool = True
    ) -> NDArray[np.float32]:
        """Log-probabilities (T, V) in nats of every next token before each of the answer's T, in float32.

        Teacher-forced on the text as ``tokens`` cuts it, whoever wrote it: ``score`` is the sum of the
        entries at its ids. T x V numbers lie in main memory, on the device only a part at a time. Raises
        ``ModelError`` for an answer that is too long for the model.
        """
        candidates = (Candidate(text=answer, ended=ended),)
        with self._busy:
            example = Example(
                case_id="given",
                question=question,
                images=tuple(_pictures([images])[0]),
                candidates=candidates,
            )
            collate = self._collator()
            if collate.too_long(example):
                tokens, room = collate.answer_tokens(example)[0], collate.room(example)
                raise ModelError(
                    f"an answer takes {tokens} tokens, {room} fit behind its prompt. Leave it out, or raise "
                    "model_max_length in the checkpoint's tokenizer_config.json."
                )
            return distributions(self.model, send_to_device(collate([example]), self.model.device))

    def features(self, questions: Sequence[str], images: Images, *, batch_size: int) -> NDArray[np.float32]:
        """Last hidden state at each question's last prompt token, (n, D)."""
        with self._busy:
            student = models.Student(self.model, self.processor)
            return hidden_features(student, questions, _pictures(images), batch_size=batch_size)

    def _generate(
        self, questions: Sequence[str], images: Images, limit: int, steps: Steps
    ) -> tuple[list[int], list[list[int]]]:
        """Each prompt's number of tokens, and the tokens behind it as far as its end token."""
        tokenizer = self.processor.tokenizer
        first, whose = sharing(questions, images)
        shared = len(first) < len(whose) and may_share(self.model)
        if shared:
            questions, images = [questions[row] for row in first], [images[row] for row in first]
        side, tokenizer.padding_side = tokenizer.padding_side, "left"
        try:
            batch = encode_prompts(self.processor, questions, _pictures(images))
        finally:
            tokenizer.padding_side = side
        batch = {name: value.to(self.model.device) for name, value in batch.items()}
        if shared:
            batch = lent(self.model, batch, whose)
        with steps.watching(inner_of(self.model)):
            tokens = self.model.generate(
                **batch,
                max_new_tokens=limit,
                do_sample=False,  # the steps draw
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                logits_processor=LogitsProcessorList([steps]),
            )[:, batch["input_ids"].shape[1] :]
        rows = [_until(row, tokenizer.eos_token_id) for row in tokens.tolist()]
        return batch["attention_mask"].sum(1).tolist(), rows

    def _collator(self) -> MultiStreamCollator:
        return MultiStreamCollator(
            processor=self.processor,
            max_length=self.processor.tokenizer.model_max_length,
            answer_types=answer_types(self.model),
        )


def _until(tokens: list[int], end: int) -> list[int]:
    """What stands behind the end token is padding."""
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def _pictures(images: Images) -> list[list[Picture]]:
    """Bytes are opened here, files where they are needed."""
    return [[open_image(i) if isinstance(i, bytes) else i for i in some] for some in images]
