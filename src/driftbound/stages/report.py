"""Stage 7, report: gathers what all stages left and writes one page to look at, and its numbers."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftbound.consensus.gate import kind_of
from driftbound.errors import StoreError
from driftbound.progress import bar
from driftbound.protocols import Published
from driftbound.records import Trajectory
from driftbound.report.answers import form_rows
from driftbound.report.cases import Exhibit, exhibit
from driftbound.report.choice import CaseRecord, Chosen, Prediction, choose, reasons_of
from driftbound.report.consensus import Consensus, Tables, consensus_of
from driftbound.report.costs import Asked, Costs, Purse
from driftbound.report.page import Material, dumps, render
from driftbound.report.rounds import Rounds, rounds_of
from driftbound.report.spans import Slot
from driftbound.report.tables import splits_of
from driftbound.report.training import Training, training
from driftbound.report.versions import Ledger, Span
from driftbound.stages.context import Context
from driftbound.store import attempts
from driftbound.store.folder import ROUNDED, ROUNDS, VERBS, RunFolder
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
    asked = _asked(context)
    records = _records(context, asked.answers)
    chosen = choose(records, context.domain.headline, context.recipe.report.cases)
    exhibits = _exhibits(context, chosen)
    recipe = context.recipe
    scores = _json(context.folder.stage("evaluate") / "summary.json")
    split = next(iter(splits_of(scores)), "") if scores else ""
    teachers = [teacher.name for teacher in recipe.teachers]
    material = Material(
        name=recipe.name,
        headline=tuple(context.domain.headline),
        findings=tuple(context.domain.findings),
        recipe=recipe.model_dump(mode="json"),
        scores=scores,
        measure=_json(context.folder.stage("measure") / "summary.json"),
        published=context.domain.published() if isinstance(context.domain, Published) else None,
        trainings=_trainings(context),
        forms=form_rows(records, split, teachers, context.domain.claims),
        consensus=_consensus(context, records),
        rounds=_rounds(context),
        spans=asked.spans,
        costs=asked.costs,
        exhibits=exhibits,
        reasons=reasons_of(records, context.domain.headline, chosen),
        manifests=_manifests(context),
    )
    page, numbers = render(material)
    atomic_write_text(folder / "report.html", page)
    atomic_write_text(folder / "report.json", dumps(numbers))
    return {"cases": len(exhibits), "bytes": len(page.encode())}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the streams hold: the answers that train, and what all of them took."""

    answers: tuple[Trajectory, ...] = ()
    spans: tuple[Span, ...] = ()
    costs: tuple[Costs, ...] = ()


def _asked(context: Context) -> _Asked:
    """One pass over the answers of every round of asking."""
    path = context.folder.streams
    if not path.is_file():
        return _Asked()
    purse, ledger, answers = Purse(), Ledger(), list[Trajectory]()
    with Streams.open_readonly(path) as streams:
        for wave in streams.waves():
            for each in streams.current(wave):
                purse.note(each)
                ledger.note(each)
                if wave == 0 and each.sample == 0:
                    answers.append(each)
        teachers = []
        for teacher in context.recipe.teachers:
            sent = attempts.spent(streams, teacher.name)
            priced = bool(teacher.price.prompt or teacher.price.completion)
            remote = teacher.kind == "http"
            one = Asked(
                name=teacher.name, priced=priced, remote=remote, requests=sent.requests, money=sent.money
            )
            teachers.append(one)
    names = [each.name for each in teachers]
    return _Asked(tuple(answers), ledger.spans(names), purse.costs(teachers))


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


def _exhibits(context: Context, chosen: Sequence[Chosen]) -> tuple[Exhibit, ...]:
    domain = context.domain
    teachers = [teacher.name for teacher in context.recipe.teachers]
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


def _consensus(context: Context, records: Sequence[CaseRecord]) -> Consensus | None:
    """Of the tables that synthesize left; an older run may lack some of them."""
    folder, recipe = context.folder.stage("synthesize"), context.recipe
    groups = context.folder.groups
    rows = {
        name: list(read_rows(path)) if (path := folder / f"{name}.parquet").is_file() else []
        for name in ("rejected", "candidates", "support")
    }
    return consensus_of(
        Tables(groups=read_groups(groups) if groups.is_file() else (), **rows),
        synthesizer=recipe.synthesize.synthesizer,
        threshold=recipe.synthesize.threshold,
        teachers=[teacher.name for teacher in recipe.teachers],
        slots={record.case.case_id: record.slots for record in records},
        clusters={record.case.case_id: record.case.cluster for record in records},
        kind_of=kind_of,
        seed=recipe.seed,
    )


def _rounds(context: Context) -> Rounds | None:
    """What ``rounds.json`` and the manifests of the rounds' folders tell."""
    told = _json(context.folder.stage("align") / ROUNDS)
    facts: dict[int, dict[str, Mapping[str, Any]]] = {}
    for number in range(1, len((told or {}).get("rounds") or ()) + 1):
        own = RunFolder(context.folder.root, number)
        made = {verb: Manifest.read(own.stage(verb)) for verb in ROUNDED}
        facts[number] = {verb: each.facts for verb, each in made.items() if each is not None}
    return rounds_of(told, facts)


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
