"""Answers of students to held-out cases: generated in batches, each kept, so that a killed run goes on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from driftbound.progress import bar
from driftbound.protocols import Policy
from driftbound.records import Status
from driftbound.store.tables import read_rows, write_rows

_BATCH = pa.schema([("case_id", pa.string()), ("text", pa.string()), ("truncated", pa.bool_())])
PREDICTIONS = pa.schema(
    [(name, pa.string()) for name in ("case_id", "split", "row", "text", "status", "correct", "truth")]
)
"""Every answer: ``predictions.parquet``."""

CONSENSUS = "consensus"
MAJORITY = "baseline:majority"
ALWAYS_PRIOR = "baseline:always_prior"
ALWAYS_NO = "baseline:always_no"
SHUFFLED = "baseline:bootstrapped_images_shuffled"
ALIGNED_SHUFFLED = "baseline:aligned_images_shuffled"
SIGNS = "baseline:signs"
STUDENTS = ("base", "bootstrapped", "aligned")
"""Rows ``student:<name>``; those of the teachers are ``teacher:<name>``."""

_NOTES = {
    CONSENSUS: "uses teachers at test time",
    MAJORITY: "uses teachers at test time",
    ALWAYS_PRIOR: "gives the answer that is more frequent on these very cases; sees no image",
    ALWAYS_NO: "denies every finding; sees no image",
    SHUFFLED: "the bootstrapped student, shown other patients' images",
    ALIGNED_SHUFFLED: "the aligned student, shown other patients' images",
    SIGNS: "the base's eye with a textbook rule from signs to findings; no teacher",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one row of the table says of one case."""

    case_id: str
    text: str
    status: Status


Answers = dict[str, list[Answer]]
"""Row of the table -> its answers, in the order of the cases."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a student wrote, and whether the token limit cut it off."""

    text: str
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One student on the cases of one split."""

    row: str
    split: str
    case_ids: tuple[str, ...]
    questions: tuple[str, ...]
    images: tuple[tuple[Path, ...], ...]
    sample: int = 0
    """0: the greedy answer; else the number of a drawn one."""
    temperature: float = 0.0
    seeds: tuple[int, ...] = ()
    """Of a drawn answer, per case."""

    @property
    def folder(self) -> str:
        """Where its batches lie."""
        return f"{self.split}@{self.sample}" if self.sample else self.split


def generate(
    jobs: Sequence[Job],
    load: Callable[[], Policy],
    partial: Path,
    *,
    batch_size: int,
    max_new_tokens: int,
    title: str,
) -> list[list[Text]]:
    """Texts of every job, in its order of cases.

    Each batch is a file below ``partial``; what is there of these very cases is not generated again, and
    the model is loaded (once) only when something is missing.
    """
    policy: Policy | None = None
    texts: list[list[Text]] = []
    with bar(title, sum(len(job.case_ids) for job in jobs)) as advance:
        for job in jobs:
            texts.append([])
            for start in range(0, len(job.case_ids), batch_size):
                path = partial / job.row.partition(":")[2] / job.folder / f"{start:06d}.parquet"
                batch = slice(start, start + batch_size)
                rows = read_rows(path) if path.exists() else []
                if [row["case_id"] for row in rows] != list(job.case_ids[batch]):
                    policy = load() if policy is None else policy
                    rows = _ask(policy, job, batch, max_new_tokens)
                    write_rows(path, rows, _BATCH)
                said = [Text(row["text"], row["truncated"]) for row in rows]
                texts[-1].extend(said)
                advance(len(said))
    return texts


def _ask(policy: Policy, job: Job, batch: slice, max_new_tokens: int) -> list[dict[str, str | bool]]:
    drawn: dict[str, Any] = {"temperature": job.temperature, "seeds": job.seeds[batch]} if job.sample else {}
    said = policy.generate(job.questions[batch], job.images[batch], max_new_tokens=max_new_tokens, **drawn)
    rows = zip(job.case_ids[batch], said, strict=True)
    return [{"case_id": name, "text": text, "truncated": not ended} for name, (text, ended) in rows]


def seeds_of(seed: int, row: str, case_ids: Sequence[str], sample: int) -> tuple[int, ...]:
    """A seed for each drawn answer, by what it is: the same whatever else is drawn."""
    named = (f"{seed}\0{row}\0{case_id}\0{sample}" for case_id in case_ids)
    return tuple(int.from_bytes(hashlib.sha256(one.encode()).digest()[:4]) >> 1 for one in named)


def other_patients(clusters: Sequence[str], rng: np.random.Generator) -> list[int] | None:
    """For each case the number of a case of another patient: whose image it is shown instead.

    Every image is used once where that is possible (no patient has more than half of the cases),
    else drawn with replacement; ``None`` where there is only one patient.

    >>> other_patients(["a", "a", "b", "b"], np.random.default_rng(0)) in ([2, 3, 0, 1], [3, 2, 1, 0])
    True
    >>> other_patients(["a", "a"], np.random.default_rng(0)) is None
    True
    """
    names, index, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return None
    n, most = len(clusters), int(sizes.max())
    if n < 2 * most:
        return [int(rng.choice(np.flatnonzero(index != own))) for own in index]
    place = rng.permutation(len(names))[index]
    order = np.lexsort((rng.random(n), place))
    shown = np.empty(n, dtype=np.intp)
    shown[order] = np.roll(order, -most)
    return [int(other) for other in shown]


def note(row: str, answers: Sequence[Answer], unscored: str = "") -> str:
    """What a reader must know of a row; ``unscored`` says what of it is not scored."""
    said = [each for each in (_NOTES.get(row, ""), unscored) if each]
    lost = sum(not answer.status.usable for answer in answers)
    if lost:
        said.append(f"{lost} of {len(answers)} not answered (refused, empty or missing): wrong everywhere")
    return "; ".join(said)


def prediction_rows(
    answers: Answers,
    split: str,
    correct: Mapping[str, Sequence[Mapping[str, bool]]],
    truth: Sequence[Mapping[str, str]],
) -> list[dict[str, str]]:
    """Every answer of a split as a row of ``predictions.parquet``.

    ``correct`` (finding -> right or wrong) and ``truth`` (finding -> value) are written as JSON.
    """
    known = [json.dumps(values) for values in truth]
    return [
        {
            "case_id": one.case_id,
            "split": split,
            "row": row,
            "text": one.text,
            "status": str(one.status),
            "correct": json.dumps(right),
            "truth": values,
        }
        for row, said in answers.items()
        for one, right, values in zip(said, correct[row], known, strict=True)
    ]
