"""Denormals: what a step costs when the consensus has won by far, with and without taking such numbers for 0.

    python -m benchmarks.denormals

The shipped base prefers one answer over seven on four phantoms; the reference is set so that each negative's
reward lies 0 or 90 below the consensus's: e^-90 is a denormal in float32.
"""

import json
import tempfile
import time
from pathlib import Path

import torch

from driftbound.config import DomainConfig
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.learning import models
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator
from driftbound.learning.goals import Alignment
from driftbound.learning.logprobs import score
from driftbound.phantom_base import PHANTOM_BASE, resolve_base
from driftbound.store.tables import read_cases

RESULT = Path(__file__).parent / "results" / "denormals.json"
BEHIND = (0.0, 90.0)
STEPS, CASES, NEGATIVES = 3, 4, 7


def main() -> None:
    """Print and write seconds per step."""
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        examples = examples_in(Path(folder))
        for flush in (False, True):
            torch.set_flush_denormal(flush)
            for behind in BEHIND:
                seconds = seconds_per_step(examples, behind)
                found.append({"flush": flush, "behind": behind, "seconds_per_step": round(seconds, 3)})
                print(found[-1])
    slower = found[1]["seconds_per_step"] / found[3]["seconds_per_step"]
    RESULT.write_text(json.dumps({"steps": found, "slower": round(slower, 1)}, indent=2) + "\n")
    print(f"with denormals a step takes {slower:.1f} times as long")


def examples_in(folder: Path) -> list[Example]:
    """A consensus and seven rivals per phantom."""
    domain = PhantomDomain(DomainConfig(train=CASES, validation=0, test=1, test_scanner=0), 0)
    domain.write_cases(folder, folder / "truth.parquet")
    rivals = tuple(Candidate(text=f"There is edema. Opacity on the left. {n}.") for n in range(NEGATIVES))
    return [
        Example(
            case_id=case.case_id,
            question=domain.question(case),
            images=tuple(folder / image for image in case.images),
            candidates=(Candidate(text="Edema: absent. Lung opacity: left."), *rivals),
        )
        for case in read_cases(folder / "cases.parquet")
        if case.split == "train"
    ]


def seconds_per_step(examples: list[Example], behind: float) -> float:
    """Forward and backward of one batch, mean of a few after a first one."""
    student = models.load(resolve_base(PHANTOM_BASE), for_training=True, dtype="float32")
    collate = MultiStreamCollator(processor=student.processor, max_length=1024, row_tokens=4096)
    teachers = tuple(str(n) for n in range(NEGATIVES))
    goal = Alignment(
        objective="plackett_luce", beta=1.0, anchor=0.0, length_normalised=False, teachers=teachers
    )
    spent = []
    for _ in range(STEPS + 1):
        began = time.process_time()
        batch = collate(examples)
        scores = score(student.model, batch)
        batch["reference"] = scores.logps.detach() + torch.tensor([0.0, *[behind] * NEGATIVES])
        goal(scores, batch)[0].backward()
        spent.append(time.process_time() - began)
    return sum(spent[1:]) / STEPS


if __name__ == "__main__":
    main()
