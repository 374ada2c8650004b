"""Scoring: the rows of one split beside its key, and what is to be said of them without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftbound.evaluation.answers import Answer, Answers, note
from driftbound.evaluation.classification import Graded, Key, RowScore, score
from driftbound.evaluation.disclosure import Told, row_keys, unscored
from driftbound.evaluation.facts import Beliefs, estimates, gather
from driftbound.evaluation.references import RowRead
from driftbound.evaluation.summary import split_tables
from driftbound.progress import Advance
from driftbound.records import Claim, Estimate, Status
from driftbound.stages.answering import Drawn
from driftbound.stages.benchmarks import zero_shot
from driftbound.stages.context import Context
from driftbound.stages.grading import SplitRead, samples_read, tell_draws
from driftbound.stages.held_out import HeldOut
from driftbound.stances import stances
from driftbound.statistics.intervals import Resamples


@dataclass(frozen=True, slots=True)
class Split:
    """One split, and the truth of it."""

    held_out: HeldOut
    truth: list[dict[str, str]]
    references: list[str]
    """Per case; empty where it has none."""
    key: Key
    resamples: Resamples


def keys_of(context: Context, split: Split, rows: Sequence[str], told: Told) -> dict[str, Key]:
    """By row the key that it is scored by: less what its prompts gave away."""
    ids = [case.case_id for case in split.held_out.cases]
    return row_keys(split.key, ids, rows, [each.name for each in context.recipe.teachers], told)


def graded(
    context: Context,
    split: Split,
    keys: Mapping[str, Key],
    answers: Answers,
    drawn: Drawn,
    beliefs: Mapping[str, Beliefs],
    advance: Advance,
) -> tuple[dict[str, RowScore], SplitRead]:
    """The rows of one split beside the truth, and their tables."""
    rows: dict[str, RowScore] = {}
    facts: dict[str, Mapping[str, Estimate]] = {}
    read: dict[str, RowRead] = {}
    samples = samples_read(context, drawn)
    for row, said in answers.items():
        read[row] = _read(context, split, keys[row], said, samples.get(row, []))
        rows[row], facts[row] = _scored(context, split, keys[row], said, read[row], beliefs)
        advance()
    notes = {row: note(row, said, unscored(keys[row], split.key)) for row, said in answers.items()}
    tables = split_tables(rows, facts, notes, context.domain.findings, context.domain.headline)
    tables |= {"n_cases": len(split.held_out.cases), "n_clusters": split.resamples.clusters}
    tables |= zero_shot(context, split.held_out.name, rows)
    tell_draws(split.held_out.name, tables)
    one = SplitRead(tables=tables, rows=read, references=split.references, resamples=split.resamples)
    return rows, one


def _read(
    context: Context,
    split: Split,
    key: Key,
    answers: Sequence[Answer],
    samples: Sequence[Sequence[Sequence[Claim]]],
) -> RowRead:
    """The claims of one row, read from free text; an answer that is not usable has none. What its prompts
    gave away is what its key lacks, besides what those of the case do."""
    lost = np.broadcast_to(split.key.scored & ~key.scored, key.present.shape).tolist()
    texts = [answer.text if answer.status.usable else None for answer in answers]
    return RowRead(
        texts=texts,
        claims=[[] if text is None else context.domain.claims(text) for text in texts],
        samples=samples,
        disclosed=[
            (*case.prompt_discloses, *(f for f, gone in zip(key.findings, own, strict=True) if gone))
            for case, own in zip(split.held_out.cases, lost, strict=True)
        ],
    )


def _scored(
    context: Context,
    split: Split,
    key: Key,
    answers: Sequence[Answer],
    row: RowRead,
    beliefs: Mapping[str, Beliefs],
) -> tuple[RowScore, dict[str, Estimate]]:
    """One row: its answers against the truth, and what is to be said of them without it.

    Unusable answers are wrong on every finding, and have no facts.
    """
    graded = [
        Graded(
            stances=stances(own, context.domain.findings) if answer.status.usable else None,
            parsable=bool(own) and answer.status is Status.OK,
        )
        for answer, own in zip(answers, row.claims, strict=True)
    ]
    facts = gather(row.texts, row.claims, [beliefs.get(answer.case_id) for answer in answers])
    return score(graded, key, split.resamples), estimates(facts, split.resamples)
