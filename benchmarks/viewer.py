"""Speed and memory of `driftbound view` on a made-up run of CXR-MAX's size: 24,426 cases, 170,982 answers.

    python -m benchmarks.viewer [--cases N] [--run FOLDER] [--out FILE.json]

Makes the run (in a temporary folder, or in FOLDER, where it is made once), starts the viewer as a process of
its own, and measures: from start to the first page, every kind of page (median and slowest of its questions,
by the clock of who asks), the index of words, and the process's memory at its most. Ends with 1 where opening
takes over 2 s (imports included), a page over 200 ms, or memory is over 300 MB.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from PIL import Image

from driftbound.domains.phantom.findings import FINDINGS, HEADLINE
from driftbound.records import Case, Group, Negative, Status, Trajectory
from driftbound.stages.evaluate import PREDICTIONS, TOGETHER
from driftbound.store.consensus_tables import REJECTED
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.measures import CASES, SLOTS, write_table
from driftbound.store.streams import Streams
from driftbound.store.tables import write_cases, write_groups, write_rows

TEACHERS = tuple(f"teacher-{t}" for t in range(1, 8))
PAPER = 24_426
OPEN_S, PAGE_S, MEMORY_MB = 2.0, 0.2, 300
SPOKEN = (
    "the heart is enlarged and there is a small effusion at left base with hazy opacity near right hilum "
    "vessels appear full no pneumothorax seen bones intact tube tip lies above carina lines unchanged apex "
    "clear costophrenic angle blunted atelectasis likely consolidation cannot be excluded compared prior film"
)
WORDS = SPOKEN.split()


def text_of(rng: random.Random, n: int) -> str:
    """About 1,200 characters, with claims in the phantom language and a word of this case alone."""
    said = " ".join(rng.choices(WORDS, k=150))
    claims = " ".join(f"{finding}: {rng.choice(('present', 'absent'))}." for finding in FINDINGS[:10])
    return f"{said}. {claims} Case word zq{n}."


def make(root: Path, cases: int) -> None:
    """The run, as the stages would leave it."""
    folder, rng = RunFolder(root), random.Random(0)
    (root / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(root / "images" / "a.png")
    splits = ("train", "train", "train", "train", "train", "train", "train", "test")
    listed = [
        Case(
            case_id=f"s{50_000_000 + n * 7919 % 9_999_991}",
            cluster=f"p{n // 3}",
            split=splits[n % 8],
            prompt="",
            images=("images/a.png",),
        )
        for n in range(cases)
    ]
    write_cases(folder.cases, listed)
    _manifest(folder.root, "cases")
    answers(folder, listed, rng)
    measures(folder, listed, rng)
    consensus(folder, listed, rng)
    predictions(folder, listed, rng)


def _manifest(where: Path, stage: str) -> None:
    config = {"domain": {"name": "phantom"}, "teachers": [{"name": name} for name in TEACHERS]}
    Manifest.of(stage, config=config, inputs={}, seed=0).write(where)


def answers(folder: RunFolder, cases: list[Case], rng: random.Random) -> None:
    """Seven each; one in fifty refuses."""
    with Streams(folder.streams) as streams, streams.transaction():
        for n, case in enumerate(cases):
            streams.write_many(
                Trajectory(
                    case_id=case.case_id,
                    teacher=teacher,
                    text=text_of(rng, n),
                    status=Status.REFUSED if rng.random() < 0.02 else Status.OK,
                    version="v1",
                    request_hash="h",
                )
                for teacher in TEACHERS
            )
            streams.db.executemany(
                "INSERT INTO wanted (teacher, place, case_id, sample, wave, request_hash) "
                "VALUES (?, ?, ?, 0, 0, 'h')",
                [(teacher, n, case.case_id) for teacher in TEACHERS],
            )
    _manifest(folder.stage("collect"), "collect")


def measures(folder: RunFolder, cases: list[Case], rng: random.Random) -> None:
    """Fourteen slots a case."""
    slots: dict[str, list] = {name: [] for name in SLOTS.names}
    folder.stage("measure").mkdir()
    for case in cases:
        for finding in FINDINGS:
            votes = {teacher: rng.choice(("present", "absent", "omitted")) for teacher in TEACHERS}
            row = (case.case_id, case.split, finding, "presence", json.dumps(votes))
            more = (rng.choice(("agreed", "conflicting", "undecided")), "present", 0.5, 5, "present", "")
            for name, value in zip(SLOTS.names, (*row, *more), strict=True):
                slots[name].append(value)
    write_table(folder.slots, slots, SLOTS)
    whole = len(cases)
    columns = {
        "case_id": [case.case_id for case in cases],
        "split": [case.split for case in cases],
        "cluster": [case.cluster for case in cases],
        "flagged": [rng.random() < 0.1 for _ in cases],
    } | {
        name: np.random.default_rng(1).random(whole)
        for name in CASES.names
        if CASES.field(name).type == pa.float64()
    }
    write_table(folder.stage("measure") / "cases.parquet", columns, CASES)
    _manifest(folder.stage("measure"), "measure")


def consensus(folder: RunFolder, cases: list[Case], rng: random.Random) -> None:
    """Nineteen of twenty accepted; each negative with its text and twenty weighed spans."""
    spans = tuple((50 * k, 50 * k + 25, 0.5) for k in range(20))
    folder.stage("synthesize").mkdir()
    groups, rejected = [], []
    for n, case in enumerate(cases):
        if n % 20 == 0:
            row = {
                "case_id": case.case_id,
                "split": case.split,
                "reason": "support 0.31",
                "text": "",
                "support": 0.31,
            }
            rejected.append(row)
            continue
        negatives = tuple(
            Negative(teacher=t, text=text_of(rng, n), status=Status.OK, valid=True, spans=spans)
            for t in TEACHERS
        )
        merged = text_of(rng, n)
        groups.append(
            Group(
                case_id=case.case_id,
                split=case.split,
                consensus=merged,
                negatives=negatives,
                support=rng.random(),
            )
        )
    write_groups(folder.groups, groups)
    write_rows(folder.stage("synthesize") / "rejected.parquet", rejected, REJECTED)
    _manifest(folder.stage("synthesize"), "synthesize")


def predictions(folder: RunFolder, cases: list[Case], rng: random.Random) -> None:
    """Of the eighth that is held out: three students, seven teachers, consensus."""
    rows = []
    folder.stage("evaluate").mkdir()
    named = [f"student:{name}" for name in ("base", "bootstrapped", "aligned")]
    named += [*(f"teacher:{name}" for name in TEACHERS), "consensus"]
    for n, case in enumerate(cases):
        if case.split == "test":
            truth = json.dumps(dict.fromkeys(HEADLINE, "present"))
            for row in named:
                correct = json.dumps({finding: rng.random() < 0.7 for finding in HEADLINE})
                both = {
                    "case_id": case.case_id,
                    "split": "test",
                    "row": row,
                    "text": text_of(rng, n),
                    "status": "ok",
                }
                rows.append(both | {"correct": correct, "truth": truth})
    write_rows(folder.stage("evaluate") / "predictions.parquet", rows, PREDICTIONS, together=TOGETHER)
    _manifest(folder.stage("evaluate"), "evaluate")


def asked(cases: int) -> dict[str, list[str]]:
    """Kinds of page -> what is asked of each, in this order."""
    ids = [f"s{50_000_000 + n * 7919 % 9_999_991}" for n in range(0, cases, max(1, cases // 12))]
    listed = {
        "list": [{}, {"page": 7}, {"page": 10_000}],
        "list, filtered": [
            {"finding": "Edema", "stand": "conflicting", "split": "test"},
            {"teacher": TEACHERS[3], "status": "refused"},
            {"outcome": "wrong", "sort": "wrong"},
            {"consensus": "accepted", "most": "0.4", "sort": "support"},
            {"unusual": 1, "sort": "conflict"},
        ],
        "search": [{"q": "zq7"}, {"q": f"zq{cases // 2}"}, {"q": "effusion hazy"}, {"q": "nowhereatall"}],
    }
    pages = {kind: [f"/?{urlencode(query)}" for query in queries] for kind, queries in listed.items()}
    pages["case"] = [f"/case?{urlencode({'id': case_id})}" for case_id in ids]
    pages["case, of a filtered list"] = [
        f"/case?{urlencode({'id': ids[0], 'q': 'effusion', 'sort': 'conflict', 'stand': 'conflicting'})}"
    ]
    pages["image"] = [f"/image?{urlencode({'id': case_id, 'n': 0})}" for case_id in ids]
    return pages


def seconds(base: str, path: str) -> float:
    start = time.perf_counter()
    with urllib.request.urlopen(base + path, timeout=30) as answer:
        answer.read()
    return time.perf_counter() - start


def opened(root: Path) -> tuple[subprocess.Popen[str], str, float]:
    """The viewer's process, where it listens, and the seconds to its first page."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["driftbound", "view", str(root), "--no-browser", "--port", str(port)]
    start, base = time.perf_counter(), f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "driftbound.cli", *command[1:]], stderr=subprocess.PIPE, text=True
    )
    while True:
        try:
            seconds(base, "/")
            return process, base, time.perf_counter() - start
        except OSError:
            if process.poll() is not None or time.perf_counter() - start > 60:
                raise SystemExit(
                    process.stderr.read() if process.stderr else "the viewer did not start"
                ) from None
            time.sleep(0.01)


def memory_mb(pid: int) -> float:
    """The most that a process has held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def measured(root: Path, cases: int) -> dict:
    """Everything of one start of the viewer, the index not made yet."""
    for path in (root / ".view").glob("*"):
        path.unlink()
    process, base, start = opened(root)
    try:
        pages = asked(cases)
        early = [seconds(base, path) for path in pages["search"]]
        began = time.perf_counter()
        while not list((root / ".view").glob("words-*.sqlite")):
            time.sleep(0.1)
        index = time.perf_counter() - began
        found = {kind: [seconds(base, path) for path in paths] for kind, paths in pages.items()}
        found["search, before the index"] = early
        memory = memory_mb(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    _, _, again = (reopened := opened(root))
    reopened[0].send_signal(signal.SIGINT)
    reopened[0].wait(20)
    return {
        "cases": cases,
        "answers": cases * len(TEACHERS),
        "open_s": round(start, 3),
        "open_again_s": round(again, 3),
        "index_s": round(index, 1),
        "memory_mb": round(memory, 1),
        "pages_ms": {
            kind: {"median": round(1e3 * statistics.median(times), 1), "slowest": round(1e3 * max(times), 1)}
            for kind, times in found.items()
        },
        "cores": os.cpu_count(),
    }


def main() -> int:
    """Make the run, measure, print; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=PAPER)
    parser.add_argument("--run", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.run or Path(temporary) / "run"
        if not (root / "cases.parquet").is_file():
            make(root, given.cases)
        found = measured(root, given.cases)
    print(json.dumps(found, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    slowest = max(page["slowest"] for page in found["pages_ms"].values())
    late = found["open_s"] > OPEN_S or slowest > 1e3 * PAGE_S or found["memory_mb"] > MEMORY_MB
    return 1 if late else 0


if __name__ == "__main__":
    raise SystemExit(main())
