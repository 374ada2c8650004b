"""Rounds on the page: what each pass of synthesize and align was worth, and why there was no further one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.report.drawing import Figure
from driftbound.report.figures import curves
from driftbound.report.tables import number


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """One round; 0 is the bootstrapped student. Numbers are ``nan`` where there are none."""

    number: int
    label: str
    groups: float
    """Cases with a consensus that it was trained on."""
    rejected: float
    consensus_support: float
    """Mean support of the consensus texts."""
    support: float
    """Of its own answers to held-out cases."""
    gain: float
    standard_error: float
    unparsable: float
    repeated: float
    words: float
    seconds: float
    verdict: str
    reason: str
    kept: bool
    """Its student is the run's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """All rounds of a run."""

    rows: tuple[RoundRow, ...]
    cases: int
    """Held-out cases that each round's student answered; 0: there was no rule."""
    kept: int
    why: str
    """Why no further round was made."""
    figure: Figure


def rounds_of(
    told: Mapping[str, Any] | None, facts: Mapping[int, Mapping[str, Mapping[str, Any]]]
) -> Rounds | None:
    """Rows of ``5-align/rounds.json`` (``told``) with the facts that each round's stages left.

    ``facts`` is round -> stage -> facts of its manifest, of those that have finished. ``None`` where the run
    has a single round, and so no such file.
    """
    if told is None:
        return None
    kept = int(number(told.get("kept"))) if math.isfinite(number(told.get("kept"))) else -1
    given: Sequence[Any] = told.get("rounds") or ()
    rows = tuple(_row(each, facts, kept) for each in given if isinstance(each, Mapping))
    lines = [(float(row.number), row.support) for row in rows]
    cases = number(told.get("cases"))
    return Rounds(
        rows=rows,
        cases=int(cases) if math.isfinite(cases) else 0,
        kept=kept,
        why=str(told.get("reason") or ""),
        figure=curves(
            "support of held-out answers", {"support": lines}, name="support by round", unit="round"
        ),
    )


def _row(
    told: Mapping[str, Any], facts: Mapping[int, Mapping[str, Mapping[str, Any]]], kept: int
) -> RoundRow:
    place = number(told.get("round"))
    which = int(place) if math.isfinite(place) else -1
    stages = facts.get(which, {})
    written, trained = (stages.get(verb, {}) for verb in ("synthesize", "align"))
    seconds = [number(each["seconds"]) for each in (written, trained) if "seconds" in each]
    return RoundRow(
        number=which,
        label="before: bootstrapped" if which == 0 else f"round {which}",
        groups=number(trained.get("groups")),
        rejected=number(written.get("rejected")),
        consensus_support=number(written.get("mean_support")),
        **{
            name: number(told.get(name))
            for name in ("support", "gain", "standard_error", "unparsable", "repeated", "words")
        },
        seconds=sum(seconds) if seconds else math.nan,
        verdict=str(told.get("verdict") or ""),
        reason=str(told.get("reason") or ""),
        kept=which == kept,
    )
