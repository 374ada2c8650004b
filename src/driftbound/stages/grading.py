"""Grading: answers against references and themselves; what is in features, and who wrote what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from driftbound.errors import MeasureError
from driftbound.evaluation import clinical_models, text_metrics
from driftbound.evaluation.answers import CONSENSUS, Answer, Answers
from driftbound.evaluation.classification import Key
from driftbound.evaluation.dispersion import dispersion
from driftbound.evaluation.probe import probe
from driftbound.evaluation.references import References, RowRead, consistency_scores, report_scores
from driftbound.evaluation.summary import extend
from driftbound.progress import Advance, say
from driftbound.records import Claim
from driftbound.stages.answering import Drawn, Features, in_one_style
from driftbound.stages.context import Context
from driftbound.stages.held_out import HeldOut
from driftbound.statistics.intervals import Resamples, Sampled

MANY_DRAWS = 0.05
"""Share of draws left out above which it is said."""
NO_REFERENCES = "no reference: the field wrote no report of these cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRead:
    """One split, scored: what is still to be added to its tables is of these."""

    tables: dict[str, Any]
    rows: Mapping[str, RowRead]
    references: Sequence[str]
    """Per case; empty where it has none."""
    resamples: Resamples


def samples_read(context: Context, drawn: Drawn) -> dict[str, list[list[list[Claim]]]]:
    """Row -> per case the claims of its further answers; of one that is not usable none."""

    def read(answer: Answer) -> list[Claim]:
        return context.domain.claims(answer.text) if answer.status.usable else []

    return {row: [[read(answer) for answer in case] for case in cases] for row, cases in drawn.items()}


def add_further(context: Context, split: SplitRead, advance: Advance) -> None:
    """Put ``report`` and ``consistency`` into every row of one split's tables, and what they are of into
    ``references``."""
    texts, resamples, tables = split.references, split.resamples, split.tables
    domain = context.domain
    references = References.of(texts, domain.claims) if any(texts) else None
    reason = text_metrics.missing() if references else NO_REFERENCES
    if references and reason:
        say(f"evaluate: no word metrics: {reason}")
    reports: dict[str, dict[str, Sampled]] = {}
    consistency: dict[str, dict[str, Sampled]] = {}
    for name, row in split.rows.items():
        consistency[name] = consistency_scores(row, references, resamples)
        if references:
            reports[name] = report_scores(
                row, references, domain.findings, domain.headline, resamples, word_metrics=not reason
            )
        advance()
    extend(tables, "report", reports)
    extend(tables, "consistency", consistency)
    tables["references"] = {
        "cases": references.number if references else 0,
        "without": len(texts) - (references.number if references else 0),
        "reason": reason,
        "implementations": text_metrics.implementations() if references and not reason else {},
    }


def add_clinical(context: Context, splits: Sequence[SplitRead], kept: Path) -> None:
    """Add what the user's own scorers of reports say to ``report`` of teachers, students and consensus.

    All rows are asked in one go, since loading takes the time. A scorer that fails is told in a line, which
    stands in ``references`` too; the rest goes on.
    """
    asked = [
        (number, row, _compared(one.texts, split.references))
        for number, split in enumerate(splits)
        for row, one in split.rows.items()
        if not row.startswith("baseline:")
    ]
    references = [each for number, *_ in asked for each in splits[number].references if each]
    said = [text for _, _, texts in asked for text in texts if text is not None]
    for name, scorer in context.recipe.evaluate.clinical.items() if references else ():
        terms = clinical_models.TERMS[name]
        say(f"evaluate: {name} scores {len(said)} texts; {terms}")
        told = {"reason": "", "version": "", "terms": terms}
        try:
            pairs = clinical_models.Pairs(said=said, references=references)
            found = clinical_models.ask(name, Path(scorer.path), scorer.python, pairs, kept / name)
        except MeasureError as error:
            told["reason"] = str(error)
            say(f"evaluate: no score of {error}")
        else:
            told["version"] = found["version"]
            start, rows = 0, list[dict[str, dict[str, Sampled]]]({} for _ in splits)
            for number, row, texts in asked:
                rows[number][row] = clinical_models.sampled(found, start, texts, splits[number].resamples)
                start += sum(text is not None for text in texts)
            for split, own in zip(splits, rows, strict=True):
                extend(split.tables, "report", own)
        for split in splits:
            split.tables["references"].setdefault("scorers", {})[name] = told


def _compared(said: Sequence[str | None], references: Sequence[str]) -> list[str | None]:
    """Per case the answer, empty where it was refused; ``None`` where there is nothing to compare it with."""
    pairs = zip(said, references, strict=True)
    return [(text or "") if reference else None for text, reference in pairs]


def tell_draws(split: str, tables: Mapping[str, Any]) -> None:
    """Say it where many draws of a split's patients are left out of the intervals."""
    if (tables["draws_left_out"] or 0) > MANY_DRAWS:
        say(
            f"evaluate: on {tables['draws_left_out']:.0%} of the draws of {split}'s patients a headline "
            "finding has one class only; the intervals are of the other draws"
        )


def dispersions(key: Key, features: Mapping[str, Features]) -> dict[str, Any]:
    """Of each student with features; of each finding over the cases in which it is scored."""
    scored = np.broadcast_to(key.scored, key.present.shape)
    return {name: dispersion(own, key.present, key.findings, scored) for name, own in features.items()}


def probes(context: Context, split: HeldOut, answers: Answers) -> dict[str, Any]:
    """Whether texts alone give away which teacher wrote them, and which is the consensus; as they are
    written, and all in one style."""
    clusters = {case.case_id: case.cluster for case in split.cases}
    teachers = {row: said for row, said in answers.items() if row.startswith("teacher:")}
    found: dict[str, Any] = {}
    for style in ("as_written", "one_style"):
        written = [
            (
                row,
                clusters[one.case_id],
                one.text if style == "as_written" else in_one_style(context, one.text),
            )
            for row, said in (teachers | {CONSENSUS: answers[CONSENSUS]}).items()
            for one in said
            if one.status.usable
        ]
        own = [each for each in written if each[0] != CONSENSUS]
        merged = [("consensus" if row == CONSENSUS else "teachers", *rest) for row, *rest in written]
        for name, rows in (("which_teacher", own), ("consensus_or_teacher", merged)):
            rng = np.random.default_rng([context.recipe.seed, 8])
            told = probe(
                [text for _, _, text in rows], [w for w, _, _ in rows], [c for _, c, _ in rows], rng=rng
            )
            found.setdefault(name, {})[style] = told.plain()
    return found
