"""METEOR without synonyms: exact words and English stems, by nltk without its word net; no download."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import ConfigError


class _NoSynonyms:
    """Stands in for the word net: no word has a synonym."""

    def synsets(self, word: str) -> list[Any]:
        """No sets of synonyms."""
        return []


def meteor_nosyn(hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """METEOR (n,) of n texts, each against its own reference, from 0 to 1 (Lavie and Agarwal 2007).

    Words are what stands between spaces, in lower case; they match exactly, else by their Porter stem. With m
    matches in c runs, P = m / words of the text and R = m / words of the reference,

        (1 - (c / m)^3 / 2) * P R / (0.9 P + 0.1 R)

    and 0 without a match. Without synonyms it is lower than the METEOR that papers report. Raises
    ``ConfigError`` where nltk is missing, ``ValueError`` where the numbers of texts differ.
    """
    score = _scorer()
    pairs = zip(hypotheses, references, strict=True)
    return np.array([score(said.split(), ref.split()) for said, ref in pairs], dtype=np.float64)


def _scorer() -> Callable[[list[str], list[str]], float]:
    try:
        # Typed as Any: who works on this project need not have it.
        meteor: Any = import_module("nltk.translate.meteor_score")
        stemmer = import_module("nltk.stem.porter").PorterStemmer()
    except ImportError as error:
        raise ConfigError("METEOR needs the package nltk: pip install 'driftbound[text]'") from error
    nobody = _NoSynonyms()

    def score(said: list[str], reference: list[str]) -> float:
        return float(meteor.single_meteor_score(reference, said, stemmer=stemmer, wordnet=nobody))

    return score
