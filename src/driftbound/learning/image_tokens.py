"""Image tokens: which tokens of a vocabulary stand for images, videos and their borders."""

import re
from typing import Any

_IMAGE_NAME = re.compile(r"(image|img|video|vision|boi|eoi)(_\w+)?_(token_id|token_index|token|tag)")
"""How processors, tokenizers and configurations call the tokens that stand for images or around them."""


def image_tokens(*owners: Any) -> frozenset[int]:
    """Tokens for images, videos and their borders, as the attributes of ``owners`` name them.

    Owners are configurations, processors and tokenizers; names are looked up in the last of them.
    """
    found: set[int] = set()
    for owner in owners:
        named = {**getattr(owner, "__dict__", {}), **getattr(owner, "special_tokens_map", {})}
        for name, value in named.items():
            if not _IMAGE_NAME.fullmatch(name):
                continue
            if name.endswith(("_id", "_index")):
                found |= {value} if isinstance(value, int) else set()
            elif isinstance(value, str):
                token = owners[-1].convert_tokens_to_ids(value)
                # what a tokenizer does not know is its unknown token, or none
                found |= {token} if owners[-1].convert_ids_to_tokens(token or 0) == value else set()
    return frozenset(found)
