"""Stage 4, synthesize: one consensus per case, written by the student with all teachers in its context."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from driftbound.consensus.gate import reason_to_reject
from driftbound.consensus.synthesize import student_prompt, usable_answers
from driftbound.errors import StoreError, TrainingError
from driftbound.measure.votes import majority, stances
from driftbound.progress import bar
from driftbound.protocols import Policy
from driftbound.records import Case, Group, Negative, Status, Trajectory
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths, training_trajectories
from driftbound.store.manifest import atomic_write_text, sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import read_cases, write_groups, write_rows

REJECTED = pa.schema(
    [("case_id", pa.string()), ("split", pa.string()), ("reason", pa.string()), ("text", pa.string())]
)


def _load_student(path: Path, threads: int) -> Policy:
    """The bootstrapped student, in process."""
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads)


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases, the streams and, where it writes, the bootstrapped student."""
    with Streams.open_readonly(context.folder.streams) as streams:
        digest = streams.digest()
    read = {"cases": sha256_file(context.folder.cases), "streams": digest}
    if context.recipe.synthesize.synthesizer == "student":
        read["student"] = sha256_tree(context.folder.student("bootstrap"))
    return read


def run(context: Context, load: Callable[[Path, int], Policy] = _load_student) -> dict[str, Any]:
    """Write ``groups.parquet`` and ``rejected.parquet`` for the cases of all splits; returns counts.

    A case without any usable answer, or whose text the gate rejects, makes no group. Raises
    ``TrainingError`` when no training case is left.
    """
    folder = context.folder.stage("synthesize")
    folder.mkdir(parents=True, exist_ok=True)
    answers = training_trajectories(context)
    asked = [
        (case, [a for t in context.recipe.teachers if (a := answers.get((case.case_id, t.name)))])
        for case in read_cases(context.folder.cases)
    ]
    asked = [(case, given) for case, given in asked if usable_answers(given)]
    if context.recipe.synthesize.synthesizer == "vote":
        texts = {case.case_id: (_vote(context, given), True) for case, given in asked}
    else:
        texts = _written(context, asked, load, folder / "parts")
    groups, rejected = [], []
    for case, given in asked:
        text, ended = texts[case.case_id]
        reason = reason_to_reject(context.domain, text, ended=ended)
        if reason:
            rejected.append({"case_id": case.case_id, "split": case.split, "reason": reason, "text": text})
        else:
            groups.append(_group(context, case, given, text))
    if not any(group.split == "train" for group in groups):
        raise TrainingError(
            f"synthesize: every consensus was rejected (first reason: {rejected[0]['reason']}). "
            "Train the student longer in bootstrap, or set synthesize.synthesizer: vote."
            if rejected
            else "synthesize: no case has a usable answer. Look at collect."
        )
    write_groups(context.folder.groups, groups)
    write_rows(folder / "rejected.parquet", rejected, REJECTED)
    for part in sorted((folder / "parts").glob("*.json")):
        part.unlink()
    return {"groups": len(groups), "rejected": len(rejected)}


def _vote(context: Context, given: Sequence[Trajectory]) -> str:
    """The majority of the teachers, in the student's format."""
    findings = context.domain.findings
    read = [stances(context.domain.claims(text), findings) for text in usable_answers(given)]
    return context.domain.render(majority(read, findings))


def _written(
    context: Context,
    asked: Sequence[tuple[Case, Sequence[Trajectory]]],
    load: Callable[[Path, int], Policy],
    parts: Path,
) -> dict[str, tuple[str, bool]]:
    """Texts by the student, batch by batch; a batch that was written before a kill is read back."""
    config = context.recipe.synthesize
    texts: dict[str, tuple[str, bool]] = {}
    student: Policy | None = None
    with bar("synthesize: cases", len(asked)) as advance:
        for number, start in enumerate(range(0, len(asked), config.batch_size)):
            batch = asked[start : start + config.batch_size]
            part = parts / f"{number:06d}.json"
            if part.exists():
                said = _read_part(part)
            else:
                student = student or load(context.folder.student("bootstrap"), context.recipe.threads)
                said = student.generate(
                    [student_prompt(context.domain, c, given, context.recipe.seed) for c, given in batch],
                    [image_paths(context, case) for case, _ in batch],
                    max_new_tokens=config.max_new_tokens,
                )
                atomic_write_text(part, json.dumps(said, ensure_ascii=False))
            texts |= {case.case_id: each for (case, _), each in zip(batch, said, strict=True)}
            advance(len(batch))
    return texts


def _read_part(part: Path) -> list[tuple[str, bool]]:
    try:
        return [(text, ended) for text, ended in json.loads(part.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise StoreError(f"{part}: cannot be read ({error}). Delete it and run again.") from error


def _group(context: Context, case: Case, given: Sequence[Trajectory], consensus: str) -> Group:
    """A case's group: one negative per teacher of the recipe, valid where it gave an opinion."""
    by_name = {answer.teacher: answer for answer in given}
    return Group(
        case_id=case.case_id,
        split=case.split,
        consensus=consensus,
        negatives=tuple(_negative(t.name, by_name.get(t.name)) for t in context.recipe.teachers),
    )


def _negative(teacher: str, answer: Trajectory | None) -> Negative:
    if answer is None:
        return Negative(teacher=teacher, text="", status=Status.FAILED, valid=False)
    return Negative(teacher=teacher, text=answer.text, status=answer.status, valid=answer.status.usable)
