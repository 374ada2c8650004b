"""Does the measure stage keep its word? Simulations with known truth, beside the numbers it has to reach.

    python -m benchmarks.measure_calibration
    python -m benchmarks.measure_calibration --quick --only T1,T5 --out somewhere.json

Levels of tests without a change, power, bias and coverage of intervals, each beside its bar and judged; wrong
ways to do it stand in the same tables, and have to fail. Prints a table per block, writes all cells as JSON
(the file of the repository only for a whole run), and ends with status 1 when a cell fails. Every
simulation draws from a seed that its block writes down, so that a second run gives the same numbers.
Two processes with one thread each; about ten minutes, `--quick` one.
"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib import metadata
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.calibration import changes, divergence, reliability
from benchmarks.calibration.cells import FULL, QUICK, Block, Cell, band, failures, verdict
from benchmarks.calibration.streams import RIVER

BLOCKS: dict[str, Block] = {**changes.BLOCKS, **divergence.BLOCKS, **reliability.BLOCKS}
RESULTS = Path(__file__).parent / "results" / "measure_calibration.json"


def run(name: str, *, quick: bool) -> tuple[list[Cell], float]:
    """Cells of one block, and its seconds."""
    start = time.perf_counter()
    cells = BLOCKS[name](QUICK if quick else FULL)
    return cells, time.perf_counter() - start


def run_all(names: list[str], *, quick: bool, processes: int) -> tuple[list[Cell], dict[str, float]]:
    """All cells in order of the blocks, and seconds per block; tells on standard error what is done."""
    done: dict[str, tuple[list[Cell], float]] = {}
    # a process of its own for each: with one thread for numbers, which is fixed when they are loaded
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {name: pool.submit(run, name, quick=quick) for name in names}
        for name, future in waiting.items():
            done[name] = future.result()
            print(f"{name}: {done[name][1]:.0f} s", file=sys.stderr)
    return [cell for name in names for cell in done[name][0]], {name: done[name][1] for name in names}


def tables(cells: list[Cell]) -> str:
    """One table per block: what, in which setting, what came out, what it had to be, and the verdict."""
    levels = sum(cell.kind == "level" for cell in cells)
    lines = []
    for block, rows in groupby(cells, key=lambda cell: cell.block):
        lines += ["", block]
        for setting, own in groupby(rows, key=lambda cell: cell.setting):
            lines.append(f"  {setting}")
            for cell in own:
                found = verdict(cell, levels)
                lines.append(f"    {cell.what:<52}{cell.value:>10.4f}  {_wanted(cell, levels):<28}{found}")
    return "\n".join(lines)


def _wanted(cell: Cell, levels: int) -> str:
    if cell.kind == "shown":
        return ""
    if cell.kind == "level":
        low, high = band(cell.bar, cell.runs, levels)
        return f"{cell.bar:g} in {low:.3f} .. {high:.3f}"
    sign = {"at_least": ">=", "at_most": "<="}.get(cell.kind, "bar")
    return f"{sign} {cell.bar:.4g}"


def report(cells: list[Cell], seconds: dict[str, float], *, quick: bool) -> dict[str, Any]:
    """All cells with their verdicts, and what made them; ``nan`` as null."""
    levels = sum(cell.kind == "level" for cell in cells)
    rows = [{**asdict(cell), "verdict": verdict(cell, levels)} for cell in cells]
    packages = ("numpy", "scipy", "river") if RIVER else ("numpy", "scipy")
    return {
        "size": asdict(QUICK if quick else FULL),
        "seconds": {name: round(taken, 1) for name, taken in seconds.items()},
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "level_cells": levels,
        "cells": [{key: None if value != value else value for key, value in row.items()} for row in rows],
    }


def main() -> None:
    """Run the blocks that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few simulations: noisier numbers, wider bands")
    parser.add_argument("--only", default="", help=f"comma-separated blocks of {', '.join(BLOCKS)}")
    parser.add_argument("--out", type=Path, help=f"where the cells go; a whole run writes {RESULTS.name}")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name] or [*BLOCKS]
    unknown = sorted(set(names) - set(BLOCKS))
    if unknown:
        parser.error(f"unknown block {', '.join(unknown)}; choose from {', '.join(BLOCKS)}")
    start = time.perf_counter()
    cells, seconds = run_all(names, quick=given.quick, processes=given.processes)
    out = given.out or (RESULTS if len(names) == len(BLOCKS) and not given.quick else None)
    print(tables(cells))
    failed = failures(cells)
    print(f"\n{len(cells)} cells, {len(failed)} fail, in {time.perf_counter() - start:.0f} s")
    if not RIVER and "T9" in names:
        print("the package river is not installed: ADWIN, KSWIN and Page-Hinkley are left out")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report(cells, seconds, quick=given.quick), indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
