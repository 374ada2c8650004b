"""Instrument: the measure of any corpus of answers, from what was read to the files that are left.

``stages/measure.py`` hands it a run, ``driftbound measure --streams`` a file of answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftbound.errors import MeasureError
from driftbound.measure.agreement import slot_status
from driftbound.measure.live import Asked, LiveScores, Said, concatenate, score_case
from driftbound.measure.panel import Settings, joined
from driftbound.measure.reading import Read, panel_of, votes_of
from driftbound.measure.sections import cases as by_cases
from driftbound.measure.sections import reliability, tokens
from driftbound.measure.sheet import drift_table
from driftbound.measure.slots import slot_columns, vote_columns
from driftbound.measure.telling import ASKED, About, ask_all, rows_of, summary_of
from driftbound.progress import bar
from driftbound.protocols import Scorer
from driftbound.records import Case, Status
from driftbound.stances import slots_of
from driftbound.store.manifest import atomic_write_text
from driftbound.store.measures import CASES, DRIFT, RELIABILITY, SLOTS, write_table
from driftbound.store.tables import write_rows

NOTES = (
    "Failed and empty answers give no vote; of two claims on one slot a text's last one counts.",
    "A step is a part of the teacher's own answer, by the order of its claims.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What is measured."""

    cases: Sequence[Case]
    fitted: Sequence[bool]
    """Which cases the estimators are fitted on."""
    teachers: Sequence[str]
    read: Read
    findings: Sequence[str]
    sided: frozenset[str]
    fitted_on: Sequence[str] = ()
    """Splits of the fitted cases; empty: all there are."""
    asked: Mapping[str, tuple[str, Sequence[Path | bytes]]] = field(default_factory=dict)
    """Case -> question and images, of the cases that live teachers are to score."""
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    """Teachers at hand, by name."""
    gold: Path | None = None
    timed: bool = False
    """Whether the answers' own times, not the cases' order, say when each was asked."""
    ordered: bool = True
    """Whether the cases' order is that of asking."""
    notes: Sequence[str] = ()


def measure(corpus: Corpus, settings: Settings, folder: Path) -> dict[str, Any]:
    """Measure, and write everything but the claims into ``folder``; returns counts.

    Raises ``MeasureError`` where there is nothing to measure or the gold does not fit.
    """
    fitted = np.array(corpus.fitted, dtype=bool)
    cases = [case for case, chosen in zip(corpus.cases, fitted, strict=True) if chosen]
    if not cases:
        raise MeasureError("no case of the training split to measure on; collect some")
    slots = slots_of(corpus.findings, corpus.sided)
    ids = [case.case_id for case in corpus.cases]
    votes = votes_of(corpus.read, ids, corpus.teachers, slots, parts=settings.steps)
    panel = panel_of(
        corpus.read, cases, votes.of(fitted), settings, timed=corpus.timed, ordered=corpus.ordered
    )
    live = _live(corpus, settings.steps)
    with bar("measure: statistics", len(ASKED) + 3) as advance:
        sections = ask_all(panel, advance)
        sections["tokens"] = joined(tokens.stored(panel, corpus.read.kept), tokens.live(panel, live))
        advance(1, "tokens")
        sections["cases"], scores = by_cases.section(panel, votes, fitted)
        advance(1, "cases")
        sections["reliability"], trusted = reliability.section(panel, votes, fitted, corpus.gold)
        advance(1, "reliability")
    about = About(
        fitted_on=corpus.fitted_on,
        gold=trusted.gold,
        counts={"cases": len(cases), "clusters": panel.resamples.clusters, "teachers": len(corpus.teachers)},
        notes=[*NOTES, *corpus.notes],
    )
    summary = summary_of(about, panel, sections)
    found = slot_status(votes, decisive=settings.decisive)
    splits = {case.case_id: case.split for case in corpus.cases}
    columns = slot_columns(votes, found, splits, trusted.posteriors, trusted.decided)
    write_table(folder / "slots.parquet", columns, SLOTS)
    write_table(folder / "reliability.parquet", vote_columns(votes, splits, trusted.wrong), RELIABILITY)
    per_case = {
        "case_id": ids,
        "split": [case.split for case in corpus.cases],
        "cluster": [case.cluster for case in corpus.cases],
        "conflict": scores.conflict,
        "change": scores.change,
        "p_conflict": scores.p_conflict,
        "p_change": scores.p_change,
        "flagged": scores.flagged,
        "difficulty": trusted.difficulty,
    }
    write_table(folder / "cases.parquet", per_case, CASES)
    write_rows(folder / "drift.parquet", drift_table(rows_of(sections)), DRIFT)
    atomic_write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    return {"answers": len(corpus.read.readings), "alarms": len(summary["alarms"])}


def _live(corpus: Corpus, steps: int) -> LiveScores | None:
    """What the teachers at hand make of each other's answers; only numbers per case and step are kept."""
    if len(corpus.scorers) < 2 or not corpus.asked:
        return None
    found = []
    with bar("measure: live teachers read each other", len(corpus.asked)) as advance:
        for case_id, (question, images) in corpus.asked.items():
            said = {
                name: Said(text=answer.text, ended=answer.status is not Status.TRUNCATED)
                for name in corpus.scorers
                if (answer := corpus.read.kept.get((case_id, name))) is not None
            }
            asked = Asked(case_id=case_id, question=question, images=images, answers=said)
            found.append(score_case(corpus.scorers, asked, steps=steps))
            advance()
    return concatenate(found)
