"""Answers of students to held-out cases: generated in batches, each kept, so that a killed run goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from driftbound.progress import bar
from driftbound.protocols import Policy
from driftbound.records import Status
from driftbound.store.tables import read_rows, write_rows

_BATCH = pa.schema([("case_id", pa.string()), ("text", pa.string())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one row of the table says of one case."""

    case_id: str
    text: str
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One student on the cases of one split."""

    row: str
    """Name of the row, which is also a folder's."""
    split: str
    case_ids: tuple[str, ...]
    questions: tuple[str, ...]
    images: tuple[tuple[Path, ...], ...]


def generate(
    jobs: Sequence[Job],
    load: Callable[[], Policy],
    partial: Path,
    *,
    batch_size: int,
    max_new_tokens: int,
    title: str,
) -> list[list[str]]:
    """Greedy texts of every job, in its order of cases.

    Each batch is a file below ``partial``; what is there is not generated again, and the model is
    loaded (once) only when something is missing.
    """
    policy: Policy | None = None
    texts: list[list[str]] = []
    with bar(title, sum(len(job.case_ids) for job in jobs)) as advance:
        for job in jobs:
            texts.append([])
            for start in range(0, len(job.case_ids), batch_size):
                batch = slice(start, start + batch_size)
                path = partial / job.row / job.split / f"{start:06d}.parquet"
                if path.exists():
                    said = [str(row["text"]) for row in read_rows(path)]
                else:
                    policy = policy or load()
                    said = policy.generate(
                        job.questions[batch], job.images[batch], max_new_tokens=max_new_tokens
                    )
                    rows = zip(job.case_ids[batch], said, strict=True)
                    write_rows(path, [{"case_id": name, "text": text} for name, text in rows], _BATCH)
                texts[-1].extend(said)
                advance(len(said))
    return texts


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
