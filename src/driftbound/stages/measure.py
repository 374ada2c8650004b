"""Stage 2, measure: reads every answer's claims, and says where the teachers agree, conflict and drift.

Works from the streams alone; no truth is read. Claims and slots are told for all splits, every
number of the summary about agreement is taken over the training split.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from driftbound.measure.agreement import agreement_with_others, slot_status
from driftbound.measure.summary import claim_tables, slot_rows, teacher_table
from driftbound.measure.votes import Reading, Votes, cast, read, slots_of, steps_of
from driftbound.progress import bar
from driftbound.records import Case, Trajectory
from driftbound.stages.context import Context
from driftbound.statistics.intervals import resample
from driftbound.store.manifest import atomic_write_text, sha256_file
from driftbound.store.streams import Streams
from driftbound.store.tables import ClaimRow, read_cases, write_claims, write_rows

SLOT_SCHEMA = pa.schema(
    [
        ("case_id", pa.string()),
        ("split", pa.string()),
        ("finding", pa.string()),
        ("attribute", pa.string()),
        ("votes", pa.string()),
        ("status", pa.string()),
        ("leading", pa.string()),
        ("share", pa.float64()),
        ("explicit", pa.int64()),
    ]
)
FITTED_ON = "train"
"""The only split that agreement is estimated on."""


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases and of the streams."""
    with Streams.open_readonly(context.folder.streams) as streams:
        digest = streams.digest()
    return {"cases": sha256_file(context.folder.cases), "streams": digest}


def run(context: Context) -> dict[str, Any]:
    """Write ``claims.parquet``, ``cases.parquet`` and ``summary.json``; returns counts.

    Raises ``CaseError`` or ``StoreError`` where cases or streams cannot be read.
    """
    folder = context.folder.stage("measure")
    folder.mkdir(parents=True, exist_ok=True)
    cases = read_cases(context.folder.cases)
    with Streams.open_readonly(context.folder.streams) as streams:
        answers = list(streams.current())
    claims, readings = _read_all(context, cases, answers)
    write_claims(folder / "claims.parquet", claims)

    splits = {case.case_id: case.split for case in cases}
    votes = _votes(context, cases, readings)
    found = slot_status(votes, decisive=context.recipe.measure.decisive)
    write_rows(folder / "cases.parquet", slot_rows(votes, found, splits), SLOT_SCHEMA)

    summary = _summary(context, cases, answers, readings)
    atomic_write_text(folder / "summary.json", json.dumps(summary, indent=2, sort_keys=True) + "\n")
    return {"claims": len(claims), "answers": len(readings), **summary["claims"]}


def _read_all(
    context: Context, cases: list[Case], answers: list[Trajectory]
) -> tuple[list[ClaimRow], dict[tuple[str, str], Reading]]:
    """Claims of every usable trajectory, and the reading of each training trajectory (sample 0, first
    wave). What the prompt discloses is kept among the claims and gives no vote."""
    disclosed = {case.case_id: set(case.prompt_discloses) for case in cases}
    rows: list[ClaimRow] = []
    readings: dict[tuple[str, str], Reading] = {}
    with bar("measure: reading claims", len(answers)) as advance:
        for answer in answers:
            claims = context.domain.claims(answer.text) if answer.status.usable else []
            n_steps = steps_of(claims)
            rows.extend(
                ClaimRow(
                    case_id=answer.case_id,
                    teacher=answer.teacher,
                    sample=answer.sample,
                    n_steps=n_steps,
                    claim=claim,
                )
                for claim in claims
            )
            key = (answer.case_id, answer.teacher)
            if answer.sample == 0 and answer.case_id in disclosed:
                readings.setdefault(key, read(answer, claims, disclosed[answer.case_id]))
            advance()
    return rows, readings


def _votes(context: Context, cases: list[Case], readings: dict[tuple[str, str], Reading]) -> Votes:
    return cast(
        [case.case_id for case in cases],
        [teacher.name for teacher in context.recipe.teachers],
        slots_of(context.domain.findings, context.domain.sided),
        readings,
        parts=context.recipe.measure.steps,
    )


def _summary(
    context: Context,
    cases: list[Case],
    answers: list[Trajectory],
    readings: dict[tuple[str, str], Reading],
) -> dict[str, Any]:
    fitted = [case for case in cases if case.split == FITTED_ON]
    names = {case.case_id for case in fitted}
    own = [answer for answer in answers if answer.case_id in names and answer.sample == 0]
    votes = _votes(context, fitted, readings)
    found = slot_status(votes, decisive=context.recipe.measure.decisive)
    rng = np.random.default_rng([context.recipe.seed, 2])
    resamples = resample([case.cluster for case in fitted], rng=rng)
    steps = context.recipe.measure.steps
    agreement = agreement_with_others(votes, resamples, parts=steps)
    claims, per_finding = claim_tables(votes, found)
    return {
        "splits": [FITTED_ON],
        "note": (
            "all numbers are over the splits named here; claims.parquet and cases.parquet hold all splits. "
            "Failed and empty answers give no vote; of two claims on one slot a text's last one counts."
        ),
        "n_cases": len(fitted),
        "n_clusters": resamples.clusters,
        "steps": steps,
        "teachers": teacher_table(votes.teachers, own, agreement),
        "claims": claims,
        "per_finding": per_finding,
    }
