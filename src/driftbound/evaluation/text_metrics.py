"""Text metrics: generated reports against reference reports, per case, so that patients can be resampled."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import ConfigError, MeasureError
from driftbound.evaluation.cider import cider_d
from driftbound.evaluation.meteor import meteor_nosyn
from driftbound.records import Estimate
from driftbound.statistics.intervals import Resamples, Sampled, estimate, ratios

ORDER = 4
"""Longest word sequence of BLEU."""
BLEU = tuple(f"bleu_{n}" for n in range(1, ORDER + 1))
ROUGE = ("rouge_1", "rouge_2", "rouge_l")
METRICS = (*BLEU, *ROUGE, "meteor_nosyn", "cider_d")
"""All from 0 to 1, save CIDEr-D, which goes to 10."""

Array = NDArray[np.float64]
_ROUGE_WORD = re.compile(r"[a-z0-9]")
_NUMBERING = re.compile(r"^[ \t]*\d{1,2}[.)](?=\s|$)", re.MULTILINE)
_WORD = re.compile(r"\w+(?:[.,'’/-]\w+)*|\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCases:
    """What each of n cases contributes; a case that is left out contributes nothing."""

    matches: Array
    """(n, 4) word sequences of length 1 to 4 that text and reference share, each as often as in both."""
    totals: Array
    """(n, 4) word sequences of the text."""
    words: Array
    """(n, 2) words of text and reference."""
    scores: Mapping[str, Array]
    """Every metric but BLEU -> (n,) its value, of which the mean is taken; ``nan``: left out."""
    empty_hypotheses: int
    """Texts without a word, with a reference: they score 0, as one that declines to answer must."""
    empty_references: int
    """References without a word: nothing to compare with, left out."""
    foreign_references: int
    """References without a Latin letter or digit, which ROUGE cannot read: left out of ROUGE alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScores:
    """One row of a table: the texts of one writer against their references."""

    estimates: Mapping[str, Estimate]
    """Metric of ``METRICS`` -> value; the interval resamples patients."""
    scored: int
    """Cases with a reference."""
    clusters: int
    """Patients among all cases."""
    implementations: Mapping[str, str]
    """Metric -> which of its many implementations this is; numbers of others do not compare."""
    notes: tuple[str, ...]
    """What a reader must know of empty texts and references."""


def missing() -> str:
    """What keeps text metrics from being computed here, and what to install; empty: nothing."""
    try:
        for module in ("sacrebleu", "rouge_score.rouge_scorer", "nltk.stem.porter"):
            _package(module)
    except ConfigError as error:
        return str(error)
    return ""


def words(text: str) -> str:
    """A text as the word metrics read it: lower case, its words and its full stops set apart, nothing else.

    Markdown, numbers of lines, brackets, commas and what was taken out (``___``) are no words.

    >>> words("1. **Left** effusion (small), 2.5 cm; no pneumothorax.")
    'left effusion small 2.5 cm no pneumothorax .'
    """
    plain = _NUMBERING.sub("", text.lower().replace("_", " "))
    return " ".join(_WORD.findall(plain))


def text_cases(hypotheses: Sequence[str], references: Sequence[str]) -> TextCases:
    """What n texts contribute, each against its own reference.

    BLEU, METEOR and CIDEr-D take as words what stands between spaces, in lower case: set punctuation apart
    beforehand, in both alike, where "effusion." and "effusion" are to be one word. ROUGE reads Latin letters
    and digits. Raises ``ConfigError`` where a package is missing, ``MeasureError`` where the numbers differ.
    """
    n = len(references)
    if len(hypotheses) != n:
        raise MeasureError(f"{len(hypotheses)} texts and {n} references: give each text its own reference")
    known = np.array([bool(text.split()) for text in references], dtype=bool)
    said = [text for text, used in zip(hypotheses, known, strict=True) if used]
    wanted = [text for text, used in zip(references, known, strict=True) if used]
    readable = np.array([bool(_ROUGE_WORD.search(text.lower())) for text in wanted], dtype=bool)
    rouge = _rouge(said, wanted)
    rouge[~readable] = np.nan
    table = np.column_stack([rouge, meteor_nosyn(said, wanted), cider_d(said, wanted)])
    scores = np.full((n, table.shape[1]), np.nan)
    scores[known] = table
    counts = np.zeros((n, 2 * ORDER + 2))
    counts[known] = _counts(said, wanted)
    return TextCases(
        matches=counts[:, :ORDER],
        totals=counts[:, ORDER : 2 * ORDER],
        words=counts[:, 2 * ORDER :],
        scores={name: scores[:, r] for r, name in enumerate(METRICS[ORDER:])},
        empty_hypotheses=sum(not text.split() for text in said),
        empty_references=int((~known).sum()),
        foreign_references=int((~readable).sum()),
    )


def sampled(cases: TextCases, resamples: Resamples) -> dict[str, Sampled]:
    """Every metric of ``METRICS`` on all cases and on each draw, one column each.

    Those of two writers of the same cases, from the same ``resamples``, are paired
    (``statistics.intervals.difference``). CIDEr-D keeps the weights that all references give.
    """
    values = np.column_stack(list(cases.scores.values()))
    known = ~np.isnan(values)
    means = ratios(np.where(known, values, 0.0), known.astype(np.float64), resamples)
    found = _bleu(cases, resamples)
    for r, name in enumerate(cases.scores):
        found[name] = Sampled(means.point[[r]], means.drawn[:, [r]])
    return found


def text_scores(hypotheses: Sequence[str], references: Sequence[str], resamples: Resamples) -> TextScores:
    """Score n texts against their references; ``resamples`` draws the patients of the same n cases.

    Raises as ``text_cases`` does.
    """
    if len(resamples.index) != len(references):
        raise MeasureError(f"{len(references)} references and {len(resamples.index)} clusters: give one each")
    cases = text_cases(hypotheses, references)
    drawn = sampled(cases, resamples)
    return TextScores(
        estimates={name: estimate(float(drawn[name].point[0]), drawn[name].drawn[:, 0]) for name in METRICS},
        scored=len(references) - cases.empty_references,
        clusters=resamples.clusters,
        implementations=implementations(),
        notes=_notes(cases, len(references)),
    )


def _bleu(cases: TextCases, resamples: Resamples) -> dict[str, Sampled]:
    """BLEU-1 to 4 of all cases together, as a function of ratios of sums over cases.

    With p_k the share of the texts' sequences of length k that match, and q = words / reference words,

        BLEU-n = exp(min(0, 1 - 1 / q)) * (p_1 ... p_n)^(1/n)
    """
    share = ratios(cases.matches, cases.totals, resamples)
    length = ratios(cases.words[:, :1], cases.words[:, 1:], resamples)
    point = _combined(share.point[None], length.point[None])
    drawn = _combined(share.drawn, length.drawn)
    return {name: Sampled(point[0, [k]], drawn[:, [k]]) for k, name in enumerate(BLEU)}


def _combined(share: Array, length: Array) -> Array:
    """(D, 4) from shares (D, 4) and lengths (D, 1); ``nan`` where no reference has a word."""
    with np.errstate(divide="ignore"):  # nothing matches, or nothing was said: 0
        logs = np.log(np.nan_to_num(share))
        penalty = np.exp(np.minimum(0.0, 1 - 1 / length))
    combined: Array = penalty * np.exp(np.cumsum(logs, axis=1) / np.arange(1, ORDER + 1))
    return combined


def _counts(hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """(n, 10) matches and totals per length of sequence, and words of text and reference."""
    bleu = _package("sacrebleu").BLEU(
        tokenize="none",
        lowercase=True,
        smooth_method="none",
        max_ngram_order=ORDER,
        effective_order=True,  # changes only the sentence's own score, which is not used
    )
    found = [bleu.sentence_score(said, [ref]) for said, ref in zip(hypotheses, references, strict=True)]
    rows = [[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2 * ORDER + 2)


def _rouge(hypotheses: Sequence[str], references: Sequence[str]) -> Array:
    """(n, 3) F-measures, without stemming."""
    names = ("rouge1", "rouge2", "rougeL")
    scorer = _package("rouge_score.rouge_scorer").RougeScorer(list(names), use_stemmer=False)
    found = [scorer.score(ref, said) for said, ref in zip(hypotheses, references, strict=True)]
    rows = [[one[name].fmeasure for name in names] for one in found]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))


def _package(module: str) -> Any:
    try:
        # Typed as Any: who works on this project need not have it.
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0].replace("_", "-")
        raise ConfigError(f"text metrics need the package {name}: pip install 'driftbound[text]'") from error


def implementations() -> dict[str, str]:
    """Metric -> which of its many implementations this is, with its version."""
    version = metadata.version
    bleu = f"sacrebleu {version('sacrebleu')}: tokenize none, lowercase, no smoothing; its score / 100"
    rouge = f"rouge-score {version('rouge-score')}: F-measure, no stemming"
    return {
        **dict.fromkeys(BLEU, bleu),
        **dict.fromkeys(ROUGE, rouge),
        "meteor_nosyn": f"nltk {version('nltk')}: exact words and Porter stems, no synonyms",
        "cider_d": "own: words between spaces, lowercase; document frequencies of these references",
    }


def _notes(cases: TextCases, n: int) -> tuple[str, ...]:
    told = (
        (cases.empty_hypotheses, "texts are empty: they score 0"),
        (cases.empty_references, "references are empty: left out"),
        (cases.foreign_references, "references have no Latin letter or digit: left out of ROUGE"),
    )
    return tuple(f"{count} of {n} {what}" for count, what in told if count)
