"""Stage 4, synthesize: one consensus per case, rendered or written, and passed by the gate."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.consensus.constraints import group_of
from driftbound.consensus.gate import NO_ANSWER, Candidate, best, kind_of, verdict
from driftbound.consensus.one_style import restyled, restyled_answer
from driftbound.consensus.support import Support, support_of
from driftbound.errors import HarmError
from driftbound.records import Case, Group
from driftbound.stages.benchmarks import course_splits
from driftbound.stages.context import Context
from driftbound.stages.drafting import BY_STUDENT, PARTS, Drafted, Known, WindowFor, drafts, student_of
from driftbound.stages.gather import training_trajectories
from driftbound.stages.writers import Load, load_student, window_for
from driftbound.store.consensus_tables import CANDIDATES, REJECTED, SUPPORT
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.measures import read_beliefs
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, write_groups, write_rows

WORK = (PARTS,)
"""Goes when the stage is finished."""


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases, the streams, what is believed and, where it writes, the student."""
    folder = context.folder
    with Streams.open_readonly(folder.streams) as streams:
        digest = streams.digest()
    read = {"cases": sha256_file(folder.cases), "streams": digest}
    read |= {"slots": sha256_file(folder.slots), "reliability": sha256_file(folder.reliability)}
    if context.recipe.synthesize.synthesizer in BY_STUDENT:
        read["student"] = sha256_tree(student_of(context))
    return read


def run(context: Context, load: Load = load_student, window: WindowFor = window_for) -> dict[str, Any]:
    """Write groups, rejected cases, candidates and supports for the cases of all splits; returns counts.

    A case is in ``groups.parquet`` or, with its reason, in ``rejected.parquet``. Raises ``HarmError``
    when no training case is left, and what writers and tables raise.
    """
    folder = context.folder.stage("synthesize")
    folder.mkdir(parents=True, exist_ok=True)
    known = _known(context)
    made = [
        _made(context, each, drafted)
        for each, drafted in zip(known, drafts(context, known, load, window), strict=True)
    ]
    rejected = [each.rejected for each in made if each.rejected is not None]
    write_rows(folder / "rejected.parquet", rejected, REJECTED)
    write_rows(folder / "candidates.parquet", [row for each in made for row in each.candidates], CANDIDATES)
    write_rows(folder / "support.parquet", [row for each in made for row in each.support], SUPPORT)
    groups = [each.group for each in made if each.group is not None]
    if not any(group.split == "train" for group in groups):
        training = [row["reason"] for row in rejected if row["split"] == "train"]
        raise HarmError(_nothing_left(training, context.recipe.synthesize.synthesizer))
    write_groups(context.folder.groups, groups)
    supports = [group.support for group in groups if not math.isnan(group.support)]
    return {
        "groups": len(groups),
        "rejected": len(rejected),
        "rejected_because": dict(sorted(Counter(kind_of(row["reason"]) for row in rejected).items())),
        "mean_support": math.fsum(supports) / len(supports) if supports else None,
        "refined": sum(any(row["refined"] for row in each.candidates) for each in made),
        "negatives_equal_to_consensus": sum(
            negative.status.usable and not negative.valid for group in groups for negative in group.negatives
        ),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What became of one case: rows of the tables."""

    group: Group | None
    rejected: dict[str, Any] | None
    candidates: list[dict[str, Any]]
    support: list[dict[str, Any]]


def _known(context: Context) -> list[Known]:
    answers = training_trajectories(context)
    beliefs = read_beliefs(context.folder.slots, context.folder.reliability)
    names = [teacher.name for teacher in context.recipe.teachers]
    return [
        Known(
            case=case,
            given={name: a for name in names if (a := answers.get((case.case_id, name))) is not None},
            beliefs=beliefs.get(case.case_id, {}),
        )
        for case in read_cases(context.folder.cases)
        if case.split not in course_splits(context.domain)
    ]


def _made(context: Context, known: Known, drafted: Drafted) -> _Made:
    """Choose among a case's candidates, and make its group or say why not."""
    config = context.recipe.synthesize
    if not drafted.candidates:
        row = _rejected(known.case, drafted.reason, "", math.nan)
        return _Made(group=None, rejected=row, candidates=[], support=[])
    place = best(drafted.candidates)
    chosen = drafted.candidates[place]
    reasons = [verdict(each, config.threshold) for each in drafted.candidates]
    text = restyled(context.domain, chosen.text) if config.one_style else chosen.text
    reasons[place] = reasons[place] or ("" if text else "no claim in it")
    rows = [
        _candidate(known.case, each, reason, chosen=each is chosen and not reason)
        for each, reason in zip(drafted.candidates, reasons, strict=True)
    ]
    if reasons[place]:
        row = _rejected(known.case, reasons[place], chosen.text, chosen.support.score)
        return _Made(group=None, rejected=row, candidates=rows, support=[])
    support = support_of(context.domain.claims(text), known.beliefs) if config.one_style else chosen.support
    return _Made(
        group=_group(context, known, text, support),
        rejected=None,
        candidates=rows,
        support=_supports(known.case, support),
    )


def _group(context: Context, known: Known, text: str, support: Support) -> Group:
    config, given = context.recipe.synthesize, known.given
    if config.one_style:
        given = {name: restyled_answer(context.domain, answer) for name, answer in given.items()}
    return group_of(
        known.case,
        text,
        support.score,
        given,
        [teacher.name for teacher in context.recipe.teachers],
        context.domain.claims,
        known.beliefs,
        config.constraints,
    )


def _rejected(case: Case, reason: str, text: str, support: float) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "split": case.split,
        "reason": reason,
        "text": text,
        "support": support if text.strip() else math.nan,
    }


def _candidate(case: Case, candidate: Candidate, reason: str, *, chosen: bool) -> dict[str, Any]:
    support = candidate.support
    return {
        "case_id": case.case_id,
        "split": case.split,
        "number": candidate.number,
        "refined": candidate.refined,
        "text": candidate.text,
        "ended": candidate.ended,
        "support": support.score,
        "contradictions": support.contradictions,
        "inventions": support.inventions,
        "omissions": len(support.omissions),
        "chosen": chosen,
        "reason": reason,
        "note": candidate.note,
    }


def _supports(case: Case, support: Support) -> list[dict[str, Any]]:
    return [
        {
            "case_id": case.case_id,
            "split": case.split,
            "finding": claim.slot[0],
            "attribute": claim.slot[1],
            "value": claim.value,
            "start": claim.start,
            "end": claim.end,
            "support": claim.support,
            "contradiction": claim.contradiction,
            "invention": claim.invention,
        }
        for claim in support.claims
    ]


def _nothing_left(reasons: Sequence[str], synthesizer: str) -> str:
    """The line for a run in which no training case has a consensus."""
    written = [reason for reason in reasons if reason != NO_ANSWER]
    if not written:
        return "synthesize: no case has a usable answer. Look at collect."
    cure = (
        "Train the student longer in bootstrap, or set synthesize.synthesizer: reliability."
        if synthesizer in BY_STUDENT
        else "Lower synthesize.threshold, or set another synthesize.synthesizer."
    )
    return f"synthesize: every consensus was rejected (first reason: {written[0]}). {cure}"
