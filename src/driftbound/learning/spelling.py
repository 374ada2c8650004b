"""What each token of a vocabulary adds to a text, as bytes: a token need not be whole characters."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from driftbound.learning.sampling import Likely

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How vocabularies with byte fallback write one byte."""
_SPACE = "\u2581"
"""How SentencePiece vocabularies write a space."""
_NEVER = -9999.0
"""That schema's log-probability of what is as good as impossible; JSON has no infinity."""


def speller(tokenizer: Any) -> Callable[[int], bytes]:
    """From a token's id to its UTF-8 bytes, by the way the tokenizer decodes.

    The bytes of a text's tokens, joined, are the text, but for a first space that SentencePiece drops.
    """
    decoder = repr(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None))
    literal = frozenset(tokenizer.added_tokens_decoder)
    byte_of = _byte_alphabet()

    def spell(token: int) -> bytes:
        piece = tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # a head may have more rows than the vocabulary has tokens
            return b""
        if token in literal:
            return str(piece).encode()
        if "ByteLevel" in decoder:
            return bytes(byte_of[character] for character in piece)
        if found := _BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        if _SPACE in decoder:
            return str(piece).replace(_SPACE, " ").encode()
        return str(tokenizer.decode([token])).encode()

    return spell


def content(likely: Sequence[Likely], spell: Callable[[int], bytes]) -> list[dict[str, Any]]:
    """The OpenAI schema's ``logprobs.content`` of a text's tokens."""

    def entry(token: int, logp: float) -> dict[str, Any]:
        spelt = spell(token)
        return {
            "token": spelt.decode(errors="replace"),
            "logprob": max(_NEVER, round(logp, 6)),
            "bytes": list(spelt),
        }

    return [
        entry(each.token, each.logp) | {"top_logprobs": [entry(*other) for other in each.best]}
        for each in likely
    ]


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte in byte-level vocabularies: a byte that prints stands for itself, the others, in
    their order, are the characters from 256 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(printed))
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}
