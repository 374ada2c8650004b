"""Stage 7, report: gathers what all stages left and writes one page to look at, and its numbers."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from driftbound.consensus.gate import kind_of
from driftbound.errors import StoreError
from driftbound.progress import bar
from driftbound.protocols import Published
from driftbound.records import Trajectory
from driftbound.report.cases import Exhibit, exhibit
from driftbound.report.choice import CaseRecord, Prediction, choose
from driftbound.report.page import Material, costs_of, dumps, render
from driftbound.report.spans import Slot
from driftbound.report.training import Training, training
from driftbound.stages.context import Context
from driftbound.store.folder import VERBS
from driftbound.store.images import read_image
from driftbound.store.manifest import Manifest, atomic_write_text, one_line
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, read_groups, read_rows

TRAININGS = {"bootstrap": "Bootstrap", "align": "Align"}


def inputs(context: Context) -> dict[str, str]:
    """What each earlier stage left, times apart; a stage that has not run is not there."""
    found: dict[str, str] = {}
    for manifest in _manifests(context):
        left = [manifest.fingerprint(), manifest.outputs]
        if manifest.stage == "collect" and context.folder.streams.is_file():
            with Streams.open_readonly(context.folder.streams) as streams:
                left = [manifest.fingerprint(), streams.digest()]
        found[manifest.stage] = hashlib.sha256(json.dumps(left, sort_keys=True).encode()).hexdigest()
    return found


def run(context: Context) -> dict[str, Any]:
    """Write ``report.html`` and ``report.json``; returns counts.

    A stage that left nothing is said on the page. Raises ``CaseError`` for an image that cannot
    be read, ``StoreError`` for a table that cannot.
    """
    folder = context.folder.stage("report")
    folder.mkdir(parents=True, exist_ok=True)
    streams = _streams(context.folder.streams)
    records = _records(context, streams)
    exhibits = _exhibits(context, records)
    recipe = context.recipe
    material = Material(
        name=recipe.name,
        headline=tuple(context.domain.headline),
        findings=tuple(context.domain.findings),
        recipe=recipe.model_dump(mode="json"),
        scores=_json(context.folder.stage("evaluate") / "summary.json"),
        measure=_json(context.folder.stage("measure") / "summary.json"),
        published=context.domain.published() if isinstance(context.domain, Published) else None,
        trainings=_trainings(context),
        consensus=_consensus_counts(context),
        costs=costs_of(streams, [teacher.name for teacher in recipe.teachers]) if streams else (),
        exhibits=exhibits,
        manifests=_manifests(context),
    )
    page, numbers = render(material)
    atomic_write_text(folder / "report.html", page)
    atomic_write_text(folder / "report.json", dumps(numbers))
    return {"cases": len(exhibits), "bytes": len(page.encode())}


def _streams(path: Path) -> list[Trajectory]:
    if not path.is_file():
        return []
    with Streams.open_readonly(path) as streams:
        return [each for each in list(streams.current()) if each.sample == 0]


def _records(context: Context, streams: Sequence[Trajectory]) -> list[CaseRecord]:
    """Everything about every case, in the order of asking."""
    order = [teacher.name for teacher in context.recipe.teachers]
    answers: dict[str, dict[str, Trajectory]] = {}
    for each in streams:
        answers.setdefault(each.case_id, {}).setdefault(each.teacher, each)
    slots = _slots(context.folder.stage("measure") / "slots.parquet")
    groups = context.folder.groups
    consensus = {group.case_id: group.consensus for group in read_groups(groups)} if groups.is_file() else {}
    predictions, truth = _predictions(context.folder.stage("evaluate") / "predictions.parquet")
    records = []
    for case in read_cases(context.folder.cases):
        own = answers.get(case.case_id, {})
        record = CaseRecord(
            case=case,
            teachers={name: own[name] for name in order if name in own},
            slots=slots.get(case.case_id, {}),
            consensus=consensus.get(case.case_id),
        )
        if case.case_id in predictions:
            known = truth.get(case.case_id, {})
            record = replace(record, predictions=predictions[case.case_id], truth=known)
        records.append(record)
    return records


def _slots(path: Path) -> dict[str, dict[tuple[str, str], Slot]]:
    found: dict[str, dict[tuple[str, str], Slot]] = {}
    for row in read_rows(path) if path.is_file() else ():
        slot = Slot(status=row["status"], leading=row["leading"] or "", votes=json.loads(row["votes"]))
        found.setdefault(row["case_id"], {})[row["finding"], row["attribute"]] = slot
    return found


def _predictions(path: Path) -> tuple[dict[str, dict[str, Prediction]], dict[str, dict[str, str]]]:
    """Answers by case and row, and what evaluate says of the truth of each held-out case.

    ``correct`` (finding -> right or wrong) and ``truth`` (finding -> value) are JSON columns;
    without them the page shows the texts alone.
    """
    found: dict[str, dict[str, Prediction]] = {}
    truth: dict[str, dict[str, str]] = {}
    for row in read_rows(path) if path.is_file() else ():
        correct = json.loads(row.get("correct") or "{}")
        one = Prediction(text=row["text"], status=row["status"], correct=correct)
        found.setdefault(row["case_id"], {})[row["row"]] = one
        if row.get("truth"):
            truth[row["case_id"]] = json.loads(row["truth"])
    return found, truth


def _exhibits(context: Context, records: Sequence[CaseRecord]) -> tuple[Exhibit, ...]:
    domain = context.domain
    teachers = [teacher.name for teacher in context.recipe.teachers]
    chosen = choose(records, domain.headline, context.recipe.report.cases)
    shown = []
    with bar("report: preparing cases", len(chosen)) as advance:
        for number, each in enumerate(chosen, start=1):
            images = [read_image(context.folder.root / name) for name in each.record.case.images]
            shown.append(exhibit(number, each, domain, images, teachers))
            advance()
    return tuple(shown)


def _trainings(context: Context) -> tuple[Training, ...]:
    found = []
    for verb, title in TRAININGS.items():
        rows = _json_lines(context.folder.stage(verb) / "metrics.jsonl")
        if rows:
            floor = context.recipe.align.floor if verb == "align" else math.nan
            found.append(training(verb, title, rows, floor=floor))
    return tuple(found)


def _consensus_counts(context: Context) -> dict[str, int]:
    """Groups that may train, and consensuses rejected, by reason where one is given."""
    if not context.folder.groups.is_file():
        return {}
    groups = read_groups(context.folder.groups)
    rejected = context.folder.stage("synthesize") / "rejected.parquet"
    counts = {
        "synthesized": len(groups),
        "with a teacher to be preferred over": sum(g.usable for g in groups),
    }
    for row in read_rows(rejected) if rejected.is_file() else ():
        word = "rejected" + (f" ({kind_of(row['reason'])})" if row.get("reason") else "")
        counts[word] = counts.get(word, 0) + 1
    return counts


def _manifests(context: Context) -> tuple[Manifest, ...]:
    folders = [context.folder.root, *(context.folder.stage(verb) for verb in VERBS[:-1])]
    return tuple(found for folder in folders if (found := Manifest.read(folder)) is not None)


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Run its stage again.") from error
    if not isinstance(table, dict):
        raise StoreError(f"{path}: holds no table. Run its stage again.")
    return table


def _json_lines(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Run its stage again.") from error
    return [row for row in rows if isinstance(row, dict)]
