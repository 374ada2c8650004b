"""What can be said of answers without the truth: words, repetition, contradictions, inventions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftbound.quality import repeated_share
from driftbound.records import Belief, Claim, Estimate, Polarity
from driftbound.stances import Slot, counted
from driftbound.statistics.intervals import Resamples, estimate, plain, ratios

Beliefs = Mapping[Slot, Belief]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts of n answers, each (n,); ``nan`` where an answer does not count."""

    words: Array
    repeated: Array
    """Share of the answer's sentences that it has said before; ``nan`` without a sentence."""
    contradictions: Array
    """How many slots it both asserts and denies."""
    explicit: Array
    """Claims that name a value, in cases of which the teachers' votes are known; elsewhere ``nan``."""
    unsupported: Array
    """How many of these name a value that no teacher named."""


def gather(
    texts: Sequence[str | None], claims: Sequence[Sequence[Claim]], beliefs: Sequence[Beliefs | None]
) -> Facts:
    """Facts of n texts (``None``: does not count), their claims and what is believed of their cases."""
    rows = [_facts(*each) for each in zip(texts, claims, beliefs, strict=True)]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
    words, repeated, contradictions, explicit, unsupported = table.T
    return Facts(
        words=words,
        repeated=repeated,
        contradictions=contradictions,
        explicit=explicit,
        unsupported=unsupported,
    )


def estimates(facts: Facts, resamples: Resamples) -> dict[str, Estimate]:
    """``words``, ``repeated``, ``contradictions``, ``contradictions_mean`` and ``unsupported``.

    Intervals resample patients. ``unsupported`` is a share of claims, the rest are means over answers;
    ``nan`` where nothing counts.
    """
    tops, bottoms = _sums(facts)
    found = ratios(tops, bottoms, resamples)
    return {name: estimate(float(found.point[r]), found.drawn[:, r]) for r, name in enumerate(_NAMES)}


def facts_of(
    texts: Sequence[str],
    truncated: Sequence[bool],
    claims_of: Callable[[str], Sequence[Claim]],
    case_ids: Sequence[str],
    beliefs: Mapping[str, Beliefs],
) -> dict[str, float | None]:
    """Facts of n answers, one per case, as plain numbers.

    ``parsable``: share with a claim, and not ``truncated`` by the token limit. ``words``: mean number.
    ``repeated``: mean share of an answer's sentences that it has said before. ``contradictions``: share
    of answers that assert and deny one slot; ``contradictions_mean``: how many slots, on average.
    ``unsupported``: share of the claims that name a value (present, absent, a side ...) which no teacher
    named for that case, by the votes in ``beliefs`` (case id -> slot -> belief, ``read_beliefs``);
    cases without any are left out. ``None``: no answer, or none of a case with beliefs, to say it of.
    """
    claims = [claims_of(text) for text in texts]
    facts = gather(texts, claims, [beliefs.get(case_id) for case_id in case_ids])
    parsable = [bool(own) and not cut for own, cut in zip(claims, truncated, strict=True)]
    tops, bottoms = (side.sum(axis=0) for side in _sums(facts))
    found = {name: top / n if n else float("nan") for name, top, n in zip(_NAMES, tops, bottoms, strict=True)}
    found = {"parsable": float(np.mean(parsable)) if parsable else float("nan")} | found
    return {name: plain(value) for name, value in found.items()}


def contradicted(claims: Sequence[Claim]) -> set[tuple[str, ...]]:
    """What a text both asserts and denies, anywhere in it; hedges and echoes contradict nothing.

    Presence is one slot of a finding; of other attributes only the same value counts, since "on the
    left" and, later, "on the right" may both hold.
    """
    said: dict[Polarity, set[tuple[str, ...]]] = {Polarity.PRESENT: set(), Polarity.ABSENT: set()}
    for claim in claims:
        if not claim.echo and claim.polarity in said:
            value = () if claim.attribute == "presence" else (claim.value,)
            said[claim.polarity].add((claim.finding, claim.attribute, *value))
    return said[Polarity.PRESENT] & said[Polarity.ABSENT]


_NAMES = ("words", "repeated", "contradictions", "contradictions_mean", "unsupported")


def _facts(text: str | None, claims: Sequence[Claim], beliefs: Beliefs | None) -> tuple[float, ...]:
    if text is None:
        return (float("nan"),) * 5
    explicit, unsupported = float("nan"), float("nan")
    if beliefs:
        named = {slot: one.value for slot, one in counted(claims).items() if one.value != Polarity.UNCERTAIN}
        explicit = float(len(named))
        unsupported = float(sum(not _voted(beliefs.get(slot), value) for slot, value in named.items()))
    return (
        len(text.split()),
        repeated_share(text) if text.strip() else float("nan"),
        len(contradicted(claims)),
        explicit,
        unsupported,
    )


def _voted(belief: Belief | None, value: str) -> bool:
    return belief is not None and value in belief.votes.values()


def _sums(facts: Facts) -> tuple[Array, Array]:
    """Each answer's part in the numerators and denominators of ``_NAMES``, (n, 5) both."""
    values = np.stack(
        [facts.words, facts.repeated, facts.contradictions > 0, facts.contradictions, facts.unsupported],
        axis=1,
    )
    counts = np.stack(
        [~np.isnan(each) for each in (facts.words, facts.repeated, facts.words, facts.words)]
        + [np.nan_to_num(facts.explicit)],
        axis=1,
    )
    return np.nan_to_num(values.astype(np.float64)), counts.astype(np.float64)
