"""Judging: a round's student answers held-out cases, and its answers are held against the measure."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from driftbound.consensus.rounds import Look
from driftbound.consensus.support import support_of
from driftbound.errors import StoreError
from driftbound.evaluation.answers import Job, Text, generate
from driftbound.protocols import Policy
from driftbound.quality import Quality, answer_quality
from driftbound.records import Case
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest, atomic_write_text, one_line, sha256_file
from driftbound.store.measures import read_beliefs
from driftbound.store.tables import read_cases

MOST = 100
"""Held-out cases that are answered per round, at most."""
LOOKS = "looks"
"""Folder in that of align: the answers of each round."""


def _load_student(path: Path, threads: int) -> Policy:
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(path, threads)


def held_out(context: Context) -> list[Case]:
    """Validation cases that every round answers: all, or ``MOST`` drawn by the seed; none where no rule can
    hold, as they come of fewer than two patients."""
    own = [case for case in read_cases(context.folder.cases) if case.split == "validation"]
    if len({case.cluster for case in own}) < 2:
        return []
    if len(own) <= MOST:
        return own
    drawn = np.random.default_rng([context.recipe.seed, 8]).choice(len(own), MOST, replace=False)
    return [own[index] for index in sorted(drawn)]


def look(
    context: Context,
    cases: Sequence[Case],
    number: int,
    *,
    load: Callable[[Path, int], Policy] = _load_student,
) -> Look:
    """Greedy answers, without teachers, of the student of a round (0: the bootstrapped one) to these cases.

    They are kept in ``5-align/looks/round-<number>.json``, which is read back where it was made of the same
    student, cases and measures. Raises ``StoreError``.
    """
    path = context.folder.stage("align") / LOOKS / f"round-{number}.json"
    made_of = _made_of(context, cases, number)
    kept = _kept(path)
    if kept is None or kept["made_of"] != made_of:
        texts = _answers(context, cases, number, path.parent / "partial" / made_of[:16], load)
        kept = _judged(context, cases, texts) | {"made_of": made_of}
        atomic_write_text(path, json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    shutil.rmtree(path.parent / "partial", ignore_errors=True)
    given = [each["support"] for each in kept["answers"]]
    support_of = tuple(float("nan") if value is None else float(value) for value in given)
    return Look(support=support_of, quality=Quality(**kept["quality"]))


def _answers(
    context: Context,
    cases: Sequence[Case],
    number: int,
    partial: Path,
    load: Callable[[Path, int], Policy],
) -> list[Text]:
    job = Job(
        row=f"student:round-{number}",
        split="validation",
        case_ids=tuple(case.case_id for case in cases),
        questions=tuple(context.domain.question(case) for case in cases),
        images=tuple(image_paths(context, case) for case in cases),
    )
    student = RunFolder(context.folder.root, number + 1).former
    config = context.recipe.synthesize
    return generate(
        [job],
        lambda: load(student, context.recipe.threads),
        partial,
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        title=f"align: asking the student of round {number}",
    )[0]


def _judged(context: Context, cases: Sequence[Case], texts: Sequence[Text]) -> dict[str, Any]:
    beliefs = read_beliefs(context.folder.slots, context.folder.reliability)
    claims = context.domain.claims
    answers: list[dict[str, Any]] = []
    for case, said in zip(cases, texts, strict=True):
        value = support_of(claims(said.text), beliefs.get(case.case_id, {})).score
        answers.append(
            {
                "case_id": case.case_id,
                "text": said.text,
                "ended": not said.truncated,
                "support": None if np.isnan(value) else value,
            }
        )
    ended = [not said.truncated for said in texts]
    return {"answers": answers, "quality": asdict(answer_quality([t.text for t in texts], ended, claims))}


def _made_of(context: Context, cases: Sequence[Case], number: int) -> str:
    """Identity of what a look rests on: the student's files, the cases and what is believed of them."""
    folder = RunFolder(context.folder.root, number)
    left = Manifest.read(folder.stage("align" if number else "bootstrap"))
    student = {} if left is None else {k: v for k, v in left.outputs.items() if k.startswith("student/")}
    believed = [sha256_file(folder.slots), sha256_file(folder.reliability)]
    config = context.recipe.synthesize
    whole = [student, believed, [case.case_id for case in cases], config.batch_size, config.max_new_tokens]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found if found["answers"] and found["quality"] and found["made_of"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Delete it and run again.") from error
