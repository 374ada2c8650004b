"""What each token of a vocabulary adds to a text, as bytes: a token need not be whole characters."""

import hashlib
import json
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


def vocabulary_of(tokenizer: Any) -> str:
    """Hash of how a tokenizer cuts texts and what its ids mean; the end token is among them.

    What a batch or a prompt needs besides (padding, truncation, what is put around a text) is no part.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        made: dict[str, Any] = {"kind": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    else:
        made = json.loads(backend.to_str())
        for name in ("padding", "truncation", "post_processor"):
            made.pop(name, None)
    text = json.dumps([made, tokenizer.eos_token_id], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte in byte-level vocabularies: a byte that prints stands for itself, the others, in
    their order, are the characters from 256 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(printed))
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}
