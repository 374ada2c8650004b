"""Counting: tokens of questions and prompts as a checkpoint makes them; no weights are loaded."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from driftbound.errors import CaseError, ModelError, boundary
from driftbound.learning.collator import encode_prompts

_SEAM = 4
"""Tokens of room for what a tokenizer may cut differently where template and question meet."""


class TokenCounter:
    """Counts as the checkpoint in a folder does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._around: dict[tuple[tuple[int, int], ...], int] = {}

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        with boundary(ModelError, f"loading {self._folder}", then="It must be a checkpoint with processor."):
            return AutoProcessor.from_pretrained(self._folder)

    @cached_property
    def longest(self) -> int:
        """Tokens of prompt and answer together: what the tokenizer allows, or the decoder if that is less.

        Raises ``ModelError``.
        """
        from transformers import AutoConfig

        with boundary(ModelError, f"loading {self._folder}", then="It must be a checkpoint with processor."):
            config = AutoConfig.from_pretrained(self._folder).get_text_config(decoder=True)
        allowed = int(self._processor.tokenizer.model_max_length)
        return min(allowed, getattr(config, "max_position_embeddings", None) or allowed)

    def count(self, text: str) -> int:
        """Tokens of a text. Raises ``ModelError``."""
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def around(self, images: Sequence[Path]) -> int:
        """Tokens of a prompt beside its question: images and chat template.

        Taken from one prompt with images of these sizes. Raises ``CaseError`` for an unreadable image,
        ``ModelError`` for a checkpoint that cannot be loaded.
        """
        processor = self._processor
        with boundary(CaseError, f"reading {', '.join(map(str, images))}", then="Check the image."):
            sizes = tuple(Image.open(path).size for path in images)
            if sizes not in self._around:
                encoded = encode_prompts(processor, ["?"], [images])["input_ids"]
                self._around[sizes] = int(encoded.shape[1]) - self.count("?") + _SEAM
        return self._around[sizes]
