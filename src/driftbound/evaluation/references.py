"""Rows against references: what answers share with people's reports, and how they hold together."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from driftbound.evaluation import consistency, text_metrics
from driftbound.evaluation.clinical_f1 import clinical_f1
from driftbound.records import Claim
from driftbound.stances import stances
from driftbound.statistics.intervals import Resamples, Sampled

Reading = Callable[[str], list[Claim]]


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The references of the n cases of a split."""

    texts: tuple[str, ...]
    """Empty: the case has none."""
    claims: tuple[tuple[Claim, ...], ...]
    """What each says, as answers are read."""

    @property
    def number(self) -> int:
        """Of cases with a reference."""
        return sum(bool(text) for text in self.texts)

    @classmethod
    def of(cls, texts: Sequence[str], read: Reading) -> "References":
        """The claims are read here, once for all rows."""
        return cls(texts=tuple(texts), claims=tuple(tuple(read(text) if text else ()) for text in texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRead:
    """One row of the table: n answers, read."""

    texts: Sequence[str | None]
    """``None``: refused, empty or missing."""
    claims: Sequence[Sequence[Claim]]
    samples: Sequence[Sequence[Sequence[Claim]]] = ()
    """Per case the claims of each of its further answers; empty: nobody was asked again."""
    disclosed: Sequence[Collection[str]] = field(default=())
    """Per case what its prompt gives away; empty: nothing."""


def report_scores(
    row: RowRead,
    references: References,
    findings: Sequence[str],
    headline: Sequence[str],
    resamples: Resamples,
    *,
    word_metrics: bool,
) -> dict[str, Sampled]:
    """Of one row: ``text_metrics.METRICS`` (where ``word_metrics`` says so) and ``clinical_f1.METRICS``.

    An answer that is ``None`` shares no word with its reference and asserts nothing.
    """
    found: dict[str, Sampled] = {}
    if word_metrics:
        said = [text_metrics.words(text or "") for text in row.texts]
        wanted = [text_metrics.words(text) for text in references.texts]
        found |= text_metrics.sampled(text_metrics.text_cases(said, wanted), resamples)
    return found | clinical_f1(
        [
            None if text is None else stances(own, findings)
            for text, own in zip(row.texts, row.claims, strict=True)
        ],
        [
            stances(own, findings) if text else None
            for text, own in zip(references.texts, references.claims, strict=True)
        ],
        findings,
        headline,
        resamples,
        disclosed=row.disclosed,
    )


def consistency_scores(
    row: RowRead, references: References | None, resamples: Resamples
) -> dict[str, Sampled]:
    """Of one row: ``consistency.within`` always, ``between`` where it has further answers, and ``against``
    where there are references (of the cases that have one)."""
    parts = consistency.within(row.texts, row.claims)
    if row.samples:
        parts |= consistency.between(row.samples)
    if references is not None:
        known = [bool(text) for text in references.texts]
        said = [own if there else () for own, there in zip(row.claims, known, strict=True)]
        parts |= consistency.against(said, references.claims, disclosed=row.disclosed)
    return consistency.sampled(parts, resamples)
