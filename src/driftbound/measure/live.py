"""Live scoring: teachers whose models are at hand read each other's answers, case by case."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import DriftboundError, MeasureError, boundary
from driftbound.measure.chain import drawn_information
from driftbound.measure.chunks import chunk_parts, chunk_table
from driftbound.measure.divergence import Array, entropy, robust_scores
from driftbound.measure.forced import LogProbs, probabilities, reduce_forced, token_logps
from driftbound.measure.parts import paired_positions, part_means, part_of, part_sums
from driftbound.protocols import Scorer
from driftbound.records import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A teacher's answer as it was drawn."""

    text: str
    ended: bool
    """Whether it came to its end; ``False`` where a limit cut it off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A case as it was put to every teacher, with their answers."""

    case_id: str
    question: str
    images: Sequence[Path | bytes]
    answers: Mapping[str, Said]
    """By teacher; who gave none is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScores:
    """Numbers of n cases, N teachers and J parts of the answers, in nats; ``nan`` where undefined.

    A host is the teacher whose text all of them read. Parts are equal shares of a text's tokens (for chunks
    of its characters). Means and sums are over a part's tokens, given the text before each.
    """

    case_ids: tuple[str, ...]
    teachers: tuple[str, ...]
    exact: bool
    """Whether all have one tokenizer. If not, ``kl`` and ``information`` are log-ratios of drawn chunks,
    unbiased but far noisier, and forced, relative, free and pairs are undefined."""
    forced: Array
    """(n, N hosts, J) mean N-way divergence on the host's prefixes."""
    relative: Array
    """(n, N hosts, J) the same as a share of the mixture's entropy, of sums over the part."""
    free: Array
    """(n, J) mean N-way divergence on each teacher's own prefixes, at the same share of its own way,
    whatever its text has come to there: see ``chain.along``."""
    information: Array
    """(n, N hosts, J) summed information about who is writing; the mean over hosts is the chain's."""
    kl: Array
    """(n, N hosts, N, J) summed divergence of the host from each teacher, on the host's own text."""
    pairs: Array
    """(n, N hosts, N, N, J) mean Jensen-Shannon divergence of every two on the host's prefixes."""
    entropy: Array
    """(n, N hosts, J) mean entropy of the host's next token on its own text."""
    tokens: NDArray[np.int64]
    """(n, N hosts) tokens of each answer in its own teacher's tokenizer, the end token among them; 0 where
    there is none."""
    reasons: tuple[tuple[str, ...], ...]
    """(n)(N hosts) why a host's numbers are undefined; empty where they are not."""


def score_case(scorers: Mapping[str, Scorer], asked: Asked, *, steps: int) -> LiveScores:
    """One case (n = 1): every scorer reads every teacher's answer, N x N passes.

    ``scorers`` are by teacher name. Texts must be drawn at temperature 1 without top-p for ``information``
    and ``kl`` to be the divergences of the teachers' laws; at other settings they are averages over other
    texts. Distributions are kept for one host's text at a time, (N, T, V) in float32, beside one running sum
    (T, V). A host whose answer is missing or empty, too long for a scorer, or on which a scorer fails or
    gives no distributions, is ``nan`` with its reason; ``free``, too, then. Raises ``MeasureError`` below
    two scorers or one step.
    """
    if len(scorers) < 2 or steps < 1:
        raise MeasureError(
            f"live scoring with {len(scorers)} scorers and {steps} steps: two teachers and one step are the "
            "least. Name more of them."
        )
    teachers = tuple(scorers)
    exact = len({scorer.vocabulary for scorer in scorers.values()}) == 1
    arrays = _undefined(len(teachers), steps)
    lengths = np.zeros((1, len(teachers)), dtype=np.int64)
    reasons = [""] * len(teachers)
    for host, teacher in enumerate(teachers):
        try:
            lengths[0, host] = len(_own_tokens(scorers[teacher], asked, teacher).ids)
        except DriftboundError as error:
            reasons[host] = str(error)
    free = _Free(lengths[0]) if exact and not any(reasons) else None
    for host in range(len(teachers)):
        if reasons[host]:
            continue
        try:
            read = (
                _read_exactly(scorers, asked, host, steps, free)
                if exact
                else _read_by_chunks(scorers, asked, host, steps)
            )
        except DriftboundError as error:
            reasons[host] = str(error)
            continue
        for name, value in read.items():
            arrays[name][0, host] = value
    if free is not None and not any(reasons):
        arrays["free"][0] = free.by_part(steps)
    return LiveScores(
        case_ids=(asked.case_id,),
        teachers=teachers,
        exact=exact,
        tokens=lengths,
        reasons=(tuple(reasons),),
        **arrays,
    )


def concatenate(scores: Sequence[LiveScores]) -> LiveScores:
    """Scores of several sets of cases as one; raises ``MeasureError`` where teachers or tokenizers differ."""
    if len({(each.teachers, each.exact) for each in scores}) != 1:
        raise MeasureError(
            "live scores to put together are none, or of other teachers. Score all cases with the same ones."
        )
    arrays = {name: np.concatenate([getattr(each, name) for each in scores]) for name in _SHAPES}
    return LiveScores(
        case_ids=tuple(chain.from_iterable(each.case_ids for each in scores)),
        teachers=scores[0].teachers,
        exact=scores[0].exact,
        tokens=np.concatenate([each.tokens for each in scores]),
        reasons=tuple(chain.from_iterable(each.reasons for each in scores)),
        **arrays,
    )


def forced_mean(scores: LiveScores) -> Array:
    """(n, J) ``forced`` averaged over hosts; ``nan`` where one of them is: fewer hosts are another number."""
    found: Array = scores.forced.mean(axis=1)
    return found


def information_mean(scores: LiveScores) -> Array:
    """(n, J) increments of the information chain: ``information`` averaged over hosts."""
    found: Array = scores.information.mean(axis=1)
    return found


def panel_values(scores: LiveScores, subset: Sequence[int]) -> Array:
    """(n, J) mean Jensen-Shannon divergence of every two teachers of ``subset``, on their own prefixes.

    For asking whether a panel stands still after some teachers are taken away: they are neither compared nor
    read any more.
    """
    pairs = _pairs_of(scores, subset)
    size = len(subset)
    found: Array = pairs.sum(axis=(1, 2)) / (size * (size - 1))
    return found


def teacher_values(scores: LiveScores, subset: Sequence[int]) -> Array:
    """(n, J, teachers of ``subset``) distance of each from the typical other, on prefixes of the subset's own
    hosts: the median over the others of their mean divergence."""
    found: Array = robust_scores(np.moveaxis(_pairs_of(scores, subset), -1, 1))
    return found


_SHAPES = {
    "forced": 1, "relative": 1, "free": 0, "information": 1, "kl": 2, "pairs": 3, "entropy": 1,
}  # fmt: skip
"""How many axes of teachers each array has, between cases and steps."""


def _undefined(teachers: int, steps: int) -> dict[str, Array]:
    return {name: np.full((1, *[teachers] * axes, steps), np.nan) for name, axes in _SHAPES.items()}


class _Free:
    """Running sums for the divergence on own prefixes, at m positions of each of N answers."""

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self._positions = paired_positions(lengths.tolist())
        self._mixed: Array = np.zeros((self._positions.shape[1], 0))
        self._entropy: Array = np.zeros(self._positions.shape[1])

    def add(self, host: int, logps: LogProbs) -> None:
        """The host's own distributions along its own text."""
        p = probabilities(logps[self._positions[host]])
        more = p.shape[1] - self._mixed.shape[1]
        self._mixed = np.pad(self._mixed, ((0, 0), (0, max(more, 0)))) + np.pad(
            p, ((0, 0), (0, max(-more, 0)))
        )
        self._entropy += entropy(p)

    def by_part(self, steps: int) -> Array:
        teachers = len(self._positions)
        js = np.maximum(entropy(self._mixed / teachers) - self._entropy / teachers, 0.0)
        return part_means(js, part_of(len(js), steps), steps)


def _own_tokens(scorer: Scorer, asked: Asked, teacher: str) -> Tokens:
    """Of a teacher's own answer; raises ``MeasureError`` where there is nothing to read."""
    said = asked.answers.get(teacher)
    if said is None or not said.text.strip():
        raise MeasureError(
            f"{teacher} gave no answer" if said is None else f"the answer of {teacher} is empty"
        )
    with boundary(MeasureError, f"cutting the answer of {teacher}", then="Look at its model."):
        return scorer.tokens(said.text, ended=said.ended)


def _read_by(scorers: Mapping[str, Scorer], asked: Asked, host: int) -> Iterator[tuple[Tokens, LogProbs]]:
    """The host's answer as each scorer cuts and expects it."""
    teacher = tuple(scorers)[host]
    said = asked.answers[teacher]
    for name, scorer in scorers.items():
        doing = f"scoring the answer of {teacher} with {name}"
        with boundary(MeasureError, doing, then="Look at its model, or leave the teacher out."):
            logps = scorer.distributions(asked.question, asked.images, said.text, ended=said.ended)
            tokens = scorer.tokens(said.text, ended=said.ended)
        yield tokens, logps


def _read_exactly(
    scorers: Mapping[str, Scorer], asked: Asked, host: int, steps: int, free: _Free | None
) -> dict[str, Array]:
    cut, logps = zip(*_read_by(scorers, asked, host), strict=True)
    found = reduce_forced(logps, cut[host].ids, host)
    if free is not None:
        free.add(host, logps[host])
    part = part_of(len(found.js), steps)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = part_sums(found.js, part, steps) / part_sums(found.mixture, part, steps)
    return {
        "forced": part_means(found.js, part, steps),
        "relative": relative,
        "information": part_sums(found.information, part, steps),
        "kl": part_sums(found.kl, part, steps).T,
        "pairs": np.moveaxis(part_means(found.pairs, part, steps), 0, -1),
        "entropy": part_means(found.entropy, part, steps),
    }


def _read_by_chunks(scorers: Mapping[str, Scorer], asked: Asked, host: int, steps: int) -> dict[str, Array]:
    """Only the taken tokens' log-probabilities are kept of each scorer, and the host's entropies."""
    said = asked.answers[tuple(scorers)[host]]
    cut, taken, own = [], [], np.zeros(0)
    for u, (tokens, logps) in enumerate(_read_by(scorers, asked, host)):
        cut.append(tokens)
        taken.append(token_logps([logps], tokens.ids)[:, 0])
        p = probabilities(logps)
        own = entropy(p) if u == host else own
    table, boundaries = chunk_table(cut, taken, len(said.text))
    part = chunk_parts(boundaries, steps, ended=len(table) > len(boundaries))
    informed = drawn_information(table, host)
    return {
        "information": part_sums(informed, part, steps),
        "kl": part_sums(table[:, [host]] - table, part, steps).T,
        "entropy": part_means(own, part_of(len(own), steps), steps),
    }


def _pairs_of(scores: LiveScores, subset: Sequence[int]) -> Array:
    """(n, S, S, J) of the teachers of ``subset``, averaged over them as hosts."""
    chosen = list(subset)
    if len(chosen) < 2:
        raise MeasureError("a panel of fewer than two teachers has no divergence. Name more of them.")
    found: Array = scores.pairs[:, chosen][:, :, chosen][:, :, :, chosen].mean(axis=1)
    return found
