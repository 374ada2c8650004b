"""Quality: whether a model's answers still are answers; no truth, no teacher, no model."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from driftbound.records import Claim
from driftbound.training_config import WatchConfig

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
"""A run of letters and digits; where a script sets no spaces between words, each of its signs."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a model's answers hold together, on average over its answers."""

    unparsable: float
    """Share of answers without any claim, or without an end."""
    repeated: float
    """Share of an answer's sentences that it has said before."""
    words: float
    """Words per answer."""


def answer_quality(
    texts: Sequence[str], ended: Sequence[bool], claims: Callable[[str], list[Claim]]
) -> Quality:
    """Quality of one answer or more; ``ended`` says of each whether it came to its end by itself.

    Raises ``ValueError`` where there is no answer: nothing can be said of none.
    """
    if not texts:
        raise ValueError("no answer, no quality")
    broken = [not end or not claims(text) for text, end in zip(texts, ended, strict=True)]
    return Quality(
        unparsable=sum(broken) / len(texts),
        repeated=sum(map(repeated_share, texts)) / len(texts),
        words=sum(len(_WORD.findall(text)) for text in texts) / len(texts),
    )


def repeated_share(text: str) -> float:
    """Share of a text's sentences that it has said before, case and spaces apart; 0 for an empty text.

    >>> repeated_share("No edema. No effusion. No  edema. no edema.")
    0.5
    """
    said = [" ".join(one.lower().split()).rstrip(".!?;。！？； ") for one in _SENTENCE_END.split(text)]
    said = [one for one in said if one]
    return 1 - len(set(said)) / len(said) if said else 0.0


def what_broke(now: Quality, first: Quality, limits: WatchConfig) -> str:
    """Why these answers no longer are answers, in words; empty while they are.

    ``first`` is the quality before anything moved, from which the mean length may leave by the factor
    ``limits.length`` either way.
    """
    if now.unparsable > limits.unparsable:
        return f"{now.unparsable:.2f} of the answers unparsable, limit {limits.unparsable:g}"
    if now.repeated > limits.repeated:
        return f"{now.repeated:.2f} of the sentences said before, limit {limits.repeated:g}"
    if not first.words / limits.length <= now.words <= first.words * limits.length:
        return f"{now.words:.1f} words per answer, {first.words:.1f} at first, limit factor {limits.length:g}"
    return ""


def widened(limits: WatchConfig, before: Quality, first: Quality) -> WatchConfig:
    """Limits that a student who was above them before has not passed unless it became worse.

    The length of answers that were none is nothing to keep to.
    """
    was_none = first.unparsable > limits.unparsable or first.repeated > limits.repeated
    return limits.model_copy(
        update={
            "unparsable": max(limits.unparsable, before.unparsable),
            "repeated": max(limits.repeated, before.repeated),
            "length": inf if was_none else limits.length,
        }
    )
