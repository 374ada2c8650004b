"""Exporting a data set folder: a run's answers by split, with a card that says where they come from."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftbound.errors import DataUseError, StoreError
from driftbound.progress import say
from driftbound.records import SPLITS, Case, Trajectory
from driftbound.store.dataset_card import About, Tally, card
from driftbound.store.exchange import strictest
from driftbound.store.exchange_dataset import CARD, MOST, MOST_PICTURED, building, schema_of, write_shards
from driftbound.store.folder import RunFolder
from driftbound.store.images import read_image
from driftbound.store.manifest import Manifest, atomic_write_text, code_version, sha256_file
from driftbound.store.plan import Made, made_of
from driftbound.store.rowfiles import read_rows
from driftbound.store.sensitivity import of_run
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases
from driftbound.store.wanted import questions

SHOWN = "films.jsonl"
"""In a run of chest X-rays: which film of its study each case shows."""
OTHERS = "answers to other recipes or cases"
ELSEWHERE = ("answered elsewhere", "recorded in ")
"""How the note of an answer begins that nobody was asked for here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What the rows are made of."""

    run: Path
    cases: Mapping[str, Case]
    questions: Mapping[str, tuple[str, str]]
    films: Mapping[str, str]
    pictured: bool


def export_dataset(run: Path, out: Path, whole: Manifest, *, split: str = "", images: bool = False) -> int:
    """Write the answers to what the run's recipe asks, all samples and waves, as a folder; returns how many.

    Below ``out`` stand ``README.md``, ``data/SPLIT-00000-of-0000N.parquet`` and ``manifest.json``; a folder
    that is half written never stands under the name. ``images`` puts the images themselves in. Raises
    ``DataUseError`` for images of credentialed cases, ``StoreError`` for a run that has not asked yet, one
    without such answers, a folder that is there and what the file system refuses.
    """
    folder = RunFolder(run)
    cases = {case.case_id: case for case in read_cases(folder.cases)}
    made = made_of(folder.stage("collect"))
    if made is None:
        raise StoreError(f"{run}: nothing is collected yet. Run 'driftbound collect' with its recipe first.")
    sensitivity = strictest([of_run(folder), *(case.sensitivity for case in cases.values())])
    if images and sensitivity != "public":
        raise DataUseError(
            f"{run}: its cases are {sensitivity}: their images go into no data set, nothing was written. "
            "Leave --images out; who holds the data finds the films by their names."
        )
    tally, left_out = Tally(), Counter[str]()
    schema = schema_of(sensitivity, pictured=images)
    with Streams.open_readonly(folder.streams) as streams, building(out) as partial:
        source = _Source(
            run=run,
            cases=cases,
            questions=questions(streams),
            films=_films(run),
            pictured=images,
        )
        names: list[str] = []
        for part in [split] if split else SPLITS:
            rows = _rows(streams, source, part, tally)
            names += write_shards(partial, part, rows, schema, most=MOST_PICTURED if images else MOST)
        n = sum(tally.rows.values())
        if not n:
            raise StoreError(f"{run}: no answer to export. Choose another --split, or collect first.")
        others = sum(1 for _ in streams.each()) - n
        if others and not split:
            left_out[OTHERS] = others
        about = _about(whole, made, source, sensitivity, tally)
        atomic_write_text(partial / CARD, card(about, tally))
        Manifest.of(
            "export",
            config={"to": "hf-dataset", "split": split, "images": images},
            inputs={"cases": sha256_file(folder.cases), "streams": sha256_file(folder.streams)},
            seed=whole.seed,
            outputs={name: sha256_file(partial / name) for name in (*names, CARD)},
            facts={"rows": n, "left_out": dict(left_out)},
            sensitivity=sensitivity,
        ).write(partial)
    if left_out:
        say(f"export: left out: {left_out[OTHERS]} {OTHERS}")
    return n


def _rows(streams: Streams, source: _Source, split: str, tally: Tally) -> Iterator[dict[str, Any]]:
    """The answers to the cases of a split, counted as they pass."""
    for wave in streams.waves():
        for each in streams.current(wave):
            case = source.cases.get(each.case_id)
            if case is not None and case.split == split:
                tally.add(split, each)
                yield _row(source, case, each)


def _row(source: _Source, case: Case, each: Trajectory) -> dict[str, Any]:
    usual, told = source.questions.get(case.case_id, ("", ""))
    asked = "" if each.note.startswith(ELSEWHERE) else (told if each.prompt_discloses and told else usual)
    images: list[Any] = list(case.images)
    if source.pictured:
        images = [{"bytes": read_image(source.run / name), "path": name} for name in case.images]
    return {
        **asdict(each),
        "status": str(each.status),
        "split": case.split,
        "cluster": case.cluster,
        "question": asked,
        "film": source.films.get(case.case_id, ""),
        "sensitivity": case.sensitivity,
        "images": images,
    }


def _films(run: Path) -> dict[str, str]:
    path = run / SHOWN
    return {str(row["study"]): str(row["film"]) for _, row in read_rows(path)} if path.is_file() else {}


def _about(whole: Manifest, made: Made, source: _Source, sensitivity: str, tally: Tally) -> About:
    """What the card tells of field, teachers and prompts."""
    plan = made.plan
    asked = Manifest(stage=plan.stage, config=plan.config, inputs=plan.inputs, seed=plan.seed)
    usual = {question for question, _ in source.questions.values()}
    told = [question for _, question in source.questions.values() if question]
    return About(
        title=f"{source.run.resolve().name}: answers of {len(tally.statuses)} teachers",
        sensitivity=sensitivity,
        domain=whole.config.get("domain", {}),
        asked_through={each["name"]: _through(each) for each in plan.config.get("teachers", ())},
        fingerprint=asked.fingerprint(),
        finished=made.finished,
        code=code_version(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        question=usual.pop() if len(usual) == 1 < len(source.questions) else "",
        told_question=_beginning(told) if tally.told else "",
        pictured=source.pictured,
    )


def _through(teacher: Mapping[str, Any]) -> str:
    """Vendor or kind; addresses are nobody's business."""
    if teacher.get("kind", "http") != "http":
        named = f" ({teacher['format']})" if teacher.get("format") else ""
        return f"{teacher['kind']}{named}"
    return str(teacher.get("vendor") or "an endpoint")


def _beginning(questions: list[str]) -> str:
    """What all of several questions begin with, to the last empty line: no case's labels stand in there."""
    first, last = min(questions, default=""), max(questions, default="")
    same = next((n for n, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1), 0)
    return first[:same].rpartition("\n\n")[0]
