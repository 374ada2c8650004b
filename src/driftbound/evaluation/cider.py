"""CIDEr-D: how many of a reference's telling word sequences a text shares; no package, no download."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDER = 4
"""Longest word sequence that is compared."""
SIGMA = 6.0
"""Words of difference in length that cost a factor of exp(-1/2)."""
SCALE = 10.0
"""What a text that equals its reference reaches, where it has telling sequences of every length."""

Array = NDArray[np.float64]
_Grams = Counter[tuple[str, ...]]


def cider_d(hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """CIDEr-D (n,) of n texts, each against its own reference (Vedantam et al. 2015), from 0 to 10.

    With g over the word sequences of length k, w(g) = (times g is in the text) * ln(n / references with g),

        10 / 4 * sum_k (sum_g min(w_h(g), w_r(g)) w_r(g)) / (|w_h| |w_r|) * exp(-d^2 / (2 * 6^2))

    where w_h is the text's, w_r the reference's, and d is by how many words their lengths differ. Words are
    what stands between spaces, in lower case. What all references share counts nothing, so the score of a
    case depends on the references of the others; of a single case nothing can be said: ``nan``.
    Raises ``ValueError`` where the numbers of texts differ.

    >>> cider_d(["a b", "c x"], ["a b", "c d"])
    array([5.  , 1.25])
    >>> cider_d(["a b"], ["a b"])
    array([nan])
    """
    counts = [_grams(text) for text in references]
    documents = Counter(gram for grams in counts for gram in grams)
    pairs = zip(hypotheses, references, counts, strict=True)
    scores = [
        _similarity(_weighed(_grams(said), documents, len(counts)), _weighed(grams, documents, len(counts)))
        * _damping(said, ref)
        for said, ref, grams in pairs
    ]
    return SCALE * np.array(scores) if len(scores) > 1 else np.full(len(scores), np.nan)


def _grams(text: str) -> _Grams:
    words = text.lower().split()
    return Counter(tuple(words[at : at + k]) for k in range(1, ORDER + 1) for at in range(len(words) - k + 1))


def _weighed(grams: _Grams, documents: _Grams, n: int) -> list[dict[tuple[str, ...], float]]:
    """Per length, sequence -> weight; one that no reference has is as telling as one that only one has."""
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDER)]
    for gram, times in grams.items():
        weights[len(gram) - 1][gram] = times * float(np.log(n / max(1, documents[gram])))
    return weights


def _similarity(
    said: Sequence[dict[tuple[str, ...], float]], reference: Sequence[dict[tuple[str, ...], float]]
) -> float:
    """Mean over lengths of the clipped cosine; 0 for a length without telling sequences."""
    total = 0.0
    for own, other in zip(said, reference, strict=True):
        squares = sum(w * w for w in own.values()) * sum(w * w for w in other.values())
        shared = sum(min(w, other[gram]) * other[gram] for gram, w in own.items() if gram in other)
        total += shared / squares**0.5 if squares > 0 else 0.0
    return total / ORDER


def _damping(said: str, reference: str) -> float:
    apart = len(said.split()) - len(reference.split())
    return float(np.exp(-(apart**2) / (2 * SIGMA**2)))
