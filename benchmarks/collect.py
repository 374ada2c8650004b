"""How fast, how small and how careful collect is.

    python -m benchmarks.collect --json benchmarks/results/collect.json
    python -m benchmarks.collect --memory --json benchmarks/results/collect.json
    python -m benchmarks.collect --faults --json benchmarks/results/collect.json

Without an option: answers per second of collect into its store, and of the bare SDK in a loop that throws
them away, in turns against a server that answers at once; images of 20 KB, a different one for each case;
medians over the runs. `--memory`: resident memory over a whole data set. `--faults`: a server that misbehaves
in one of five answers, a collecting process killed 50 times, and the check that nothing is lost, doubled,
changed or asked in vain; exit status 1 when something is. Every process has one thread for numbers.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import campaign
from benchmarks.collecting import finished, make_run, memory_mb, started
from driftbound.endpoints.loopback import serving
from driftbound.store.folder import RunFolder

TEACHERS = 7
CONCURRENCY = 8
CASES = {"rate": 400, "memory": 24_426, "faults": 2_000}
FEW_PICTURES = 8
"""Where many cases share some images, so that the disk stays small."""
GOALS = {"rate": 0.8, "memory": 600.0}
"""Share of the bare loop's answers per second, at least; MB, at most."""
LATE_S = 1.5
SHARES = (0.1, 0.5, 1.0)


def unruly(faults: float, seed: int) -> list[str]:
    """The command that serves."""
    options = ["--faults", str(faults), "--seed", str(seed), "--late-s", str(LATE_S)]
    return [sys.executable, "-m", "benchmarks.unruly", *options]


def one_run(arm: str, root: Path, cases: int) -> dict[str, Any]:
    """One arm against a fresh server that answers at once; what collect stored is checked."""
    with serving(unruly(0, 0)) as url:
        make_run(
            root, url, cases=cases, teachers=TEACHERS, pictures=cases, settings={"concurrency": CONCURRENCY}
        )
        told = finished(started(arm, root))
        if arm == "collect":
            stats = campaign.get(url, "stats")
            found = campaign.check_run(root, stats, campaign.UNDISTURBED, in_flight=0)
            if any(each.wrong for each in found):
                raise RuntimeError(campaign.table(found))
    if told["answers"] != cases * TEACHERS:
        raise RuntimeError(f"{arm}: {told['answers']} answers instead of {cases * TEACHERS}")
    more = {"answers_per_second": told["answers"] / told["seconds"]}
    return told | more | {"cpu_ms_per_answer": 1000 * told["cpu_s"] / told["answers"]}


def rate(cases: int, repeats: int) -> dict[str, Any]:
    """Answers per second of both arms, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {"bare": [], "collect": []}
    for number in range(repeats):
        for arm, of in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                of.append(one_run(arm, Path(folder) / "run", cases))
            print(
                f"{number + 1}/{repeats} {arm}: {of[-1]['answers_per_second']:.0f} answers/s", file=sys.stderr
            )
    keys = ("answers_per_second", "cpu_ms_per_answer", "peak_mb")
    arms = {arm: {key: statistics.median(run[key] for run in of) for key in keys} for arm, of in runs.items()}
    every = {arm: [round(run["answers_per_second"], 1) for run in of] for arm, of in runs.items()}
    pairs = zip(runs["collect"], runs["bare"], strict=True)
    # Of each pair, which ran one after the other: neighbours on the machine come and go.
    share = statistics.median(a["answers_per_second"] / b["answers_per_second"] for a, b in pairs)
    by_cpu = arms["bare"]["cpu_ms_per_answer"] / arms["collect"]["cpu_ms_per_answer"]
    return {
        "arms": arms, "answers_per_second_of_each_run": every, "share_of_bare": share,
        "share_by_cpu": by_cpu,
        "met": share >= GOALS["rate"], "cases": cases, "repeats": repeats,
    }  # fmt: skip


def memory(cases: int) -> dict[str, Any]:
    """Resident memory of the collecting process on its way, and once more with nothing left to ask."""
    with tempfile.TemporaryDirectory() as folder, serving(unruly(0, 0)) as url:
        root = Path(folder) / "run"
        make_run(
            root, url, cases=cases, teachers=TEACHERS, pictures=FEW_PICTURES,
            settings={"concurrency": CONCURRENCY},
        )  # fmt: skip
        process = started("collect", root)
        seen: dict[str, float] = {}
        while process.poll() is None:
            share = campaign.get(url, "totals")["answered"] / (cases * TEACHERS)
            resident = memory_mb(process.pid, "VmRSS")
            for mark in SHARES:
                if share >= mark and resident:
                    seen.setdefault(f"{mark:.0%}", resident)
            time.sleep(0.2)
        told = finished(process)
        again = finished(started("collect", root))
        size = RunFolder(root).streams.stat().st_size / 1e6
    peak = max(told["peak_mb"], again["peak_mb"])
    return {
        "answers": told["answers"], "seconds": told["seconds"], "peak_mb": told["peak_mb"],
        "resident_mb": seen, "store_mb": size, "again_seconds": again["seconds"],
        "again_peak_mb": again["peak_mb"], "met": peak <= GOALS["memory"], "cases": cases,
    }  # fmt: skip


def faults(cases: int, share: float, kills: int, seed: int) -> dict[str, Any]:
    """A campaign of kills and faults, and what the check says of it."""
    settings = {"concurrency": CONCURRENCY, "timeout_s": 1.0, "retries": 6}
    with tempfile.TemporaryDirectory() as folder, serving(unruly(share, seed)) as url:
        root = Path(folder) / "run"
        make_run(root, url, cases=cases, teachers=TEACHERS, pictures=FEW_PICTURES, settings=settings)
        done = campaign.run(root, url, kills=kills, seed=seed)
        stats = campaign.get(url, "stats")
        found = campaign.check_run(root, stats, done, in_flight=TEACHERS * CONCURRENCY)
    print(campaign.table(found))
    return {
        "arrivals": stats["arrivals"], "answers": stats["answers"],
        "faults": stats["faults"], "kills": done.kills, "stored_at_some_kill": len(done.settled),
        "ended_by_themselves": list(done.ended), "seconds": done.seconds,
        "wrong": {each.rule: len(each.wrong) for each in found},
        "notes": {each.rule: each.note for each in found if each.note},
        "met": not any(each.wrong for each in found), "cases": cases, "seed": seed, "share": share,
    }  # fmt: skip


def main() -> int:
    """Run one of the three and print what came of it; 1 when its goal is not met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--memory", action="store_const", dest="what", const="memory", default="rate")
    which.add_argument("--faults", action="store_const", dest="what", const="faults")
    parser.add_argument("--cases", type=int, help=f"Asked of {TEACHERS} teachers each; else {CASES}.")
    parser.add_argument("--repeats", type=int, default=5, help="Of the rate.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--share", type=float, default=0.2, help="Of the answers that are faulty.")
    parser.add_argument("--seed", type=int, default=0, help="Of faults and kills.")
    parser.add_argument("--json", type=Path, help="File in which the result takes its place.")
    given = parser.parse_args()
    cases = given.cases or CASES[given.what]
    if given.what == "rate":
        result = rate(cases, given.repeats)
    elif given.what == "memory":
        result = memory(cases)
    else:
        result = faults(cases, given.share, given.kills, given.seed)
    result |= {
        "teachers": TEACHERS, "concurrency": CONCURRENCY,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(), "versions": {"openai": metadata.version("openai")},
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        whole = json.loads(given.json.read_text()) if given.json.exists() else {}
        given.json.write_text(json.dumps(whole | {given.what: result}, indent=2) + "\n")
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
