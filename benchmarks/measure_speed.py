"""Speed of the measure: a corpus of CXR-MAX's size, 24,426 cases by 7 teachers, claim extraction apart.

    OMP_NUM_THREADS=2 python -m benchmarks.measure_speed [--cases N] [--out FILE.json]

Prints the seconds and the peak of the process's memory, the answers themselves included. The answers are made
up: seven teachers of graded accuracy on 14 findings, one of which errs more often late in its answers, claims
in random order, a tenth of the cases asked twice. Ends with 1 where it takes over three minutes or 4 GB (at
the default size).
"""

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from driftbound.domains.phantom.findings import FINDINGS, SIDED
from driftbound.measure.panel import Settings
from driftbound.measure.reading import Answered, Read
from driftbound.measure.votes import read
from driftbound.records import Case, Claim, Polarity, Status, Trajectory
from driftbound.stages.instrument import Corpus, measure

TEACHERS = tuple(f"teacher-{t}" for t in range(1, 8))
LIMIT_S, LIMIT_GB = 180.0, 4.0
PAPER = 24_426


def corpus(cases: int, seed: int = 0) -> Corpus:
    """Made-up answers, as they would have been read."""
    rng = np.random.default_rng(seed)
    listed = [
        Case(case_id=f"c{c}", cluster=f"p{c // 3}", split="train", prompt="", images=()) for c in range(cases)
    ]
    truth = rng.random((cases, len(FINDINGS))) < 0.35
    found = Read()
    for c, case in enumerate(listed):
        for t, teacher in enumerate(TEACHERS):
            for sample in range(2 if c % 10 == 0 else 1):
                claims = _claims(truth[c], 0.12 + 0.04 * t, t == 6, rng)
                answer = Trajectory(case_id=case.case_id, teacher=teacher, status=Status.OK, text="x")
                key = (case.case_id, teacher, sample, 0)
                found.readings[key] = read(answer, claims)
                found.answers[key] = Answered(status="ok", words=60, version="v1", created_at="")
    return Corpus(
        cases=listed,
        fitted=[True] * cases,
        teachers=TEACHERS,
        read=found,
        findings=FINDINGS,
        sided=SIDED,
        fitted_on=("train",),
    )


def _claims(truth: np.ndarray, error: float, drifts: bool, rng: np.random.Generator) -> list[Claim]:
    order = rng.permutation(len(FINDINGS))
    chance = np.full(len(FINDINGS), error)
    if drifts:
        chance[7:] *= 2
    wrong, mood = rng.random(len(FINDINGS)) < chance, rng.random(len(FINDINGS))
    claims = []
    for place, (f, err, luck) in enumerate(zip(order.tolist(), wrong.tolist(), mood.tolist(), strict=True)):
        present = bool(truth[f]) != err
        if not present and luck < 0.25:
            continue
        value = "uncertain" if luck > 0.95 else "present" if present else "absent"
        claims.append(_claim(FINDINGS[f], "presence", value, Polarity(value), place))
        if value == "present" and FINDINGS[f] in SIDED:
            side = ("left", "right", "both")[int(3 * luck)]
            claims.append(_claim(FINDINGS[f], "side", side, Polarity.PRESENT, place))
    return claims


def _claim(finding: str, attribute: str, value: str, polarity: Polarity, place: int) -> Claim:
    return Claim(
        finding=finding,
        attribute=attribute,
        value=value,
        polarity=polarity,
        start=20 * place,
        end=20 * place + 10,
        step=place,
    )


def main() -> int:
    """Measure once and say how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=PAPER)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/measure_speed.json"))
    given = parser.parse_args()
    start = time.monotonic()
    made = corpus(given.cases)
    making = time.monotonic() - start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        facts = measure(made, Settings(), Path(folder))
        seconds = time.monotonic() - start
        sizes = {path.name: path.stat().st_size for path in sorted(Path(folder).iterdir())}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result = {
        "cases": given.cases,
        "teachers": len(TEACHERS),
        "making_the_answers_s": round(making, 1),
        "measure_s": round(seconds, 1),
        "memory_with_the_answers_gb": round(before, 2),
        "peak_memory_gb": round(peak, 2),
        "alarms": facts["alarms"],
        "bytes": sizes,
        "machine": f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}",
    }
    print(json.dumps(result, indent=2))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(given.cases == PAPER and (seconds > LIMIT_S or peak > LIMIT_GB))


if __name__ == "__main__":
    sys.exit(main())
