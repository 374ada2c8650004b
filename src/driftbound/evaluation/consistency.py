"""Consistency of answers: in themselves, with their conclusions, with other samples, with a reference."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from driftbound.evaluation.facts import contradicted
from driftbound.records import Claim, Estimate, Polarity
from driftbound.stances import Slot, counted
from driftbound.statistics.intervals import Resamples, Sampled, estimate, ratios

ATTRIBUTES = frozenset({"presence", "side"})
"""What is compared, unless the caller says otherwise (a choice among answers is a ``value``)."""

Array = NDArray[np.float64]
Split = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Part:
    """What each of n cases contributes to a ratio of sums; its own value is ``top / bottom``."""

    top: Array
    """(n,)"""
    bottom: Array
    """(n,) 0 where a case says nothing of it."""


Parts = Mapping[str, Part]
"""Name -> contributions of the same n cases; parts of several functions can be put together."""


def within(
    texts: Sequence[str | None], claims: Sequence[Sequence[Claim]], split: Split | None = None
) -> dict[str, Part]:
    """Of n answers (``None``: does not count) and their claims, in order of the text:

    - ``contradicting``: share of answers that assert and deny one thing; ``contradictions``: how many, per
      answer (``facts.contradicted``).
    - ``concluding``: share of answers with a conclusion. ``split`` says where it begins, default
      ``split_conclusion``; it goes on to the end.
    - ``conclusion_agreement``: of the slots (presence, side) that reasoning and conclusion both name, the
      share to which they give the same value. ``conclusion_coverage``: of the slots that the conclusion
      names, the share that the reasoning names too; low agreement and low coverage are different faults.

    A slot is named by an explicit value, at the last word of each part; hedges and echoes name nothing.
    """
    rows = [_within(*each, split or split_conclusion) for each in zip(texts, claims, strict=True)]
    return _parts(
        rows,
        {
            "contradicting": (1, 0),
            "contradictions": (2, 0),
            "concluding": (3, 0),
            "conclusion_agreement": (5, 4),
            "conclusion_coverage": (4, 6),
        },
    )


def between(samples: Sequence[Sequence[Sequence[Claim]]]) -> dict[str, Part]:
    """Of n cases, each with the claims of its k answers (k may differ; a refusal is an answer without any):

    - ``sample_agreement``: mean over pairs of a case's answers of the share of findings to which both give
      the same presence, among those to which both give one; pairs without such a finding are left out.
    - ``sample_coverage``: mean over pairs of the share of findings to which both give a presence, among
      those to which either does; pairs of which neither does are left out.

    Both are means over cases; silence is no conflict, so neither is to be read without the other.
    """
    rows = [_between([named(claims, {"presence"}) for claims in case]) for case in samples]
    return _parts(rows, {"sample_agreement": (0, 1), "sample_coverage": (2, 3)})


def against(
    claims: Sequence[Sequence[Claim]],
    references: Sequence[Sequence[Claim]],
    *,
    attributes: frozenset[str] = ATTRIBUTES,
    disclosed: Sequence[Collection[str]] = (),
) -> dict[str, Part]:
    """Of the claims of n answers, each against those of its reference (a report, a consensus).

    A claim is a finding's presence (present or absent) or its side, each of its own. ``claim_precision``:
    share of the answer's claims that the reference makes too; ``claim_recall``: the reverse; ``claim_f1``:
    2 * both / (both numbers added). ``present_precision``, ``present_recall`` and ``present_f1`` look at
    claims of findings that are present (and their sides) alone: references leave out much that is normal.
    ``claim_conflict``: of the slots that both name, the share with another value.

    The answer's claims on findings whose presence the reference leaves uncertain are left out: they are
    neither right nor wrong. What the answer itself hedges is not claimed. Sums over claims, not over cases.
    ``disclosed``, where it is given, are the findings that each case's prompt gives away: whether they are
    present is not compared, their sides are.
    """
    given = disclosed or [()] * len(claims)
    rows = [_against(*each, attributes) for each in zip(claims, references, given, strict=True)]
    return _parts(
        rows,
        {
            "claim_precision": (0, 1),
            "claim_recall": (0, 2),
            "claim_f1": (3, 4),
            "present_precision": (5, 6),
            "present_recall": (5, 7),
            "present_f1": (8, 9),
            "claim_conflict": (10, 11),
        },
    )


def sampled(parts: Parts, resamples: Resamples) -> dict[str, Sampled]:
    """Every part on all cases and on each draw, one column each; paired with others of these draws."""
    tops = np.stack([part.top for part in parts.values()], axis=1)
    bottoms = np.stack([part.bottom for part in parts.values()], axis=1)
    found = ratios(tops, bottoms, resamples)
    return {name: Sampled(found.point[[r]], found.drawn[:, [r]]) for r, name in enumerate(parts)}


def estimates(parts: Parts, resamples: Resamples) -> dict[str, Estimate]:
    """Every part as a ratio of sums over cases; ``nan`` where no case says anything of it."""
    found = sampled(parts, resamples)
    return {name: estimate(float(one.point[0]), one.drawn[:, 0]) for name, one in found.items()}


def named(claims: Sequence[Claim], attributes: frozenset[str] | set[str] = ATTRIBUTES) -> dict[Slot, str]:
    """Slot -> the value that a text names in it, of the claims that count; hedges name none."""
    return {
        slot: claim.value
        for slot, claim in counted(claims).items()
        if slot[1] in attributes and Polarity.UNCERTAIN not in (claim.value, claim.polarity)
    }


_LABEL = (
    r"(?:conclusions?|impressions?|summary|diagnos[ie]s"
    r"|(?:final|overall)\s+(?:answer|assessment|verdict)|answer)"
)
_BEFORE = (
    r"(?:(?:final|overall|brief|clinical|diagnostic|radiolog\w{1,8}|imaging|primary|most\s+likely)\s+){0,3}"
)
_BEHIND = r"(?:(?:\s+(?:of|and|&)\s+|[ ]?/[ ]?)[a-z]+(?:\s+[a-z]+){0,3})?"
_NAME = rf"(?:(?:step|part|section)\s+\d+[ .:)—–-]{{1,3}})?{_BEFORE}{_LABEL}{_BEHIND}"
_MARKS = r"[#>*_\-•\d.)(\t ]{0,12}"
_BEGIN = rf"(?:^{_MARKS}|(?<=[.!?;])[ \t]+[*_]{{0,3}})"
_PHRASE = (
    r"(?:in\s+(?:conclusion|summary)|to\s+(?:conclude|sum\s+up|summari[sz]e)"
    r"|(?:my|the|our)\s+(?:conclusion|impression|final\s+(?:diagnosis|answer|assessment))\s+is)\b"
)
_CONCLUDES = re.compile(
    rf"{_BEGIN}{_NAME}[*_ \t]{{0,6}}[:：]"
    rf"|^(?=[\d.)(>\t -]{{0,8}}(?:#|\*\*|__)){_MARKS}{_NAME}[ \t.]{{0,3}}(?:[*_]{{2,3}}|$)"
    rf"|^[ \t]*{_BEFORE}{_LABEL}[ \t]*(?:$|[—–-][ \t])"
    rf"|{_BEGIN}{_PHRASE}"
    r"|</think(?:ing)?>|<(?:answer|conclusion|summary)>",
    re.IGNORECASE | re.MULTILINE,
)
_SAYS = re.compile(r"\w")


def split_conclusion(text: str) -> int | None:
    """Where the last conclusion of a text begins, its heading included; ``None`` where there is none.

    It is headed by a word such as conclusion, impression, summary, (final) diagnosis or answer: on a line of
    its own, in markdown, or before a colon; or begun by "in conclusion", "the final diagnosis is" and the
    like, or by the end of a ``<think>`` part. A heading with nothing behind it heads nothing.

    >>> split_conclusion("The left base is dark. **Impression:** effusion.")
    23
    >>> split_conclusion("No conclusion is possible.") is None
    True
    """
    last = None
    for found in _CONCLUDES.finditer(text):
        if _SAYS.search(text, found.end()):
            last = found
    if last is None:
        return None
    return last.end() - len(last.group().lstrip())


def _within(text: str | None, claims: Sequence[Claim], split: Split) -> tuple[float, ...]:
    """1, contradicting, contradictions, concluding, shared, agreeing, concluded."""
    if text is None:
        return (0.0,) * 7
    clashes = len(contradicted(claims))
    at = split(text)
    if at is None:
        return (1, clashes > 0, clashes, 0, 0, 0, 0)
    reasoned = named([claim for claim in claims if claim.end <= at])
    concluded = named([claim for claim in claims if claim.end > at])  # spans may begin with the space before
    shared, agreeing = _shared(reasoned, concluded)
    return (1, clashes > 0, clashes, 1, shared, agreeing, len(concluded))


def _between(said: Sequence[Mapping[Slot, str]]) -> tuple[float, ...]:
    """Mean agreement, whether there is one, mean coverage, whether there is one."""
    agreements, coverages = list[float](), list[float]()
    for one, other in combinations(said, 2):
        shared, agreeing = _shared(one, other)
        if shared:
            agreements.append(agreeing / shared)
        if one or other:
            coverages.append(shared / len(one.keys() | other.keys()))
    return (*_mean(agreements), *_mean(coverages))


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return (sum(values) / len(values), 1.0) if values else (0.0, 0.0)


def _against(
    claims: Sequence[Claim],
    reference: Sequence[Claim],
    disclosed: Collection[str],
    attributes: frozenset[str],
) -> tuple[float, ...]:
    """In the order of ``against``: hits, said, known, 2 hits, said + known; the same of what is present;
    conflicts, shared."""
    open_ones = {
        finding
        for (finding, attribute), claim in counted(reference).items()
        if attribute == "presence" and claim.polarity is Polarity.UNCERTAIN
    }
    known, said = (
        {slot: value for slot, value in named(each, attributes).items() if not _given(slot, disclosed)}
        for each in (reference, claims)
    )
    said = {slot: value for slot, value in said.items() if slot[0] not in open_ones}
    row: list[float] = []
    for one, other in ((said, known), (_present(said), _present(known))):
        hits = len(one.items() & other.items())
        row += [hits, len(one), len(other), 2 * hits, len(one) + len(other)]
    shared, agreeing = _shared(said, known)
    return (*row, shared - agreeing, shared)


def _given(slot: Slot, disclosed: Collection[str]) -> bool:
    return slot[1] == "presence" and slot[0] in disclosed


def _present(said: Mapping[Slot, str]) -> dict[Slot, str]:
    return {slot: value for slot, value in said.items() if value != Polarity.ABSENT}


def _shared(one: Mapping[Slot, str], other: Mapping[Slot, str]) -> tuple[int, int]:
    """How many slots both name, and to how many they give the same value."""
    shared = one.keys() & other.keys()
    return len(shared), sum(one[slot] == other[slot] for slot in shared)


def _parts(rows: Sequence[Sequence[float]], columns: Mapping[str, tuple[int, int]]) -> dict[str, Part]:
    """Columns (top, bottom) of a table with a row per case."""
    width = len(rows[0]) if rows else 1 + max(max(pair) for pair in columns.values())
    table = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    return {name: Part(table[:, top], table[:, bottom]) for name, (top, bottom) in columns.items()}
