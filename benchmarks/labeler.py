"""The labeler of chest X-ray texts: how right it is on sets of sentences, and how fast.

    python -m benchmarks.labeler FILE... [--wrong] [--json]
    python -m benchmarks.labeler --speed [--answers N] [--out FILE.json]

The first compares the labeler's claims with those written by hand in JSON lines (docs/chest-xray-claims.md,
"The sets of sentences"); ends with 1 where a file misses a bar. The second has made-up rationales of about
1,200 letters read by two processes, and works out from that how long the answers of CXR-MAX (24,426 cases by
7 teachers) would take; `--answers 170982` really reads so many.
"""

import argparse
import json
import platform
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rationales import rationale
from driftbound.domains.chest_xray.claim_scores import DETAILS, Score, read_set, score
from driftbound.domains.chest_xray.claims import claims
from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.errors import CaseError

BARS = {"mention_f1": 0.97, "negation_f1": 0.95, "uncertainty_f1": 0.85, "side_accuracy": 0.97}
"""What the labeler must reach."""
ALL_ANSWERS = 24_426 * 7
LIMIT_S = 300.0
PROCESSES = 2
WIDTH = 80


def missed(figures: dict[str, float]) -> list[str]:
    """The names of the bars that figures do not reach; a figure that nothing was counted for misses it.

    >>> nothing = float("nan")
    >>> missed({"mention_f1": 0.97, "negation_f1": 0.94, "uncertainty_f1": 1.0, "side_accuracy": nothing})
    ['negation_f1', 'side_accuracy']
    """
    return [name for name, bar in BARS.items() if not figures[name] >= bar]


def show(console: Console, path: Path, result: Score) -> None:
    """The figures of one set as tables."""
    title = f"{path.name}: {result.texts} texts, {result.expected.total()} claims"
    table = Table(title=title, min_width=len(title))
    for heading, justify in (("figure", "left"), ("value", "right"), ("bar", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for name, value in result.summary().items():
        bar = BARS.get(name)
        table.add_row(
            name.replace("_f1", " F1").replace("_", " "), f"{value:.3f}", f"{bar:.2f}" if bar else ""
        )
    console.print(table)
    by_finding = Table("finding", title="mentions by finding")
    for heading in ("expected", "found", "matched", "F1"):
        by_finding.add_column(heading, justify="right")
    for finding in FINDINGS:
        if result.expected[finding] or result.found[finding]:
            counts = (result.expected[finding], result.found[finding], result.matched[finding])
            by_finding.add_row(finding, *map(str, counts), f"{result.mention_f1(finding):.3f}")
    console.print(by_finding)


def show_wrong(console: Console, result: Score) -> None:
    """Every disagreement under its text."""
    last = ""
    for wrong in result.wrong:
        if wrong.text_id != last:
            console.print(f"{wrong.text_id}: {wrong.text}", markup=False, highlight=False)
            last = wrong.text_id
        console.print(f"    {wrong.what}", markup=False, highlight=False)


def as_json(result: Score) -> dict[str, object]:
    """The figures for machines."""
    counts = {
        finding: {
            "expected": result.expected[finding],
            "found": result.found[finding],
            "matched": result.matched[finding],
        }
        for finding in FINDINGS
    }
    details = {name: dict(zip(("right", "of"), result.details[name], strict=True)) for name in DETAILS}
    figures = {name: None if value != value else value for name, value in result.summary().items()}
    return {"texts": result.texts, **figures, "findings": counts, "details": details}


def read_some(seed: int, answers: int) -> tuple[float, float, int, int]:
    """Read ``answers`` rationales drawn by ``seed``: seconds, seconds of the processor, letters, claims.

    They are made 100 at a time and not counted; the lexicon is loaded before.
    """
    rng = random.Random(seed)
    claims("Edema.")
    wall = processor = 0.0
    letters = found = 0
    for done in range(0, answers, 100):
        texts = [rationale(rng) for _ in range(min(100, answers - done))]
        start, begun = time.monotonic(), time.process_time()
        found += sum(len(claims(text)) for text in texts)
        wall += time.monotonic() - start
        processor += time.process_time() - begun
        letters += sum(map(len, texts))
    return wall, processor, letters, found


def speed(answers: int) -> dict[str, object]:
    """How fast two processes read so many answers, and what all of CXR-MAX would take at that speed."""
    shares = [answers // PROCESSES + (n < answers % PROCESSES) for n in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(read_some, range(PROCESSES), shares))
    wall = max(part[0] for part in parts)
    processor, letters = sum(part[1] for part in parts), sum(part[2] for part in parts)
    whole = answers >= ALL_ANSWERS
    return {
        "answers": answers,
        "processes": PROCESSES,
        "letters_per_answer": round(letters / answers),
        "claims_per_answer": round(sum(part[3] for part in parts) / answers, 1),
        "seconds": round(wall, 1),
        "texts_per_second": round(answers / wall, 1),
        "processor_ms_per_text": round(1000 * processor / answers, 2),
        "answers_of_cxr_max": ALL_ANSWERS,
        "seconds_for_cxr_max": round(wall * ALL_ANSWERS / answers, 1),
        "processor_seconds_for_cxr_max_per_process": round(processor / answers * ALL_ANSWERS / PROCESSES, 1),
        "cxr_max_is": "measured" if whole else "extrapolated from these answers",
        "limit_seconds": LIMIT_S,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--wrong", action="store_true", help="list each disagreement")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--speed", action="store_true", help="measure texts per second instead")
    parser.add_argument("--answers", type=int, default=4000, help="so many answers for --speed")
    parser.add_argument("--out", type=Path, help="write what --speed measured there, too")
    given = parser.parse_args()
    if given.speed == bool(given.files) or (given.speed and given.answers < PROCESSES):
        parser.error(f"give files to score, or --speed with at least {PROCESSES} answers")
    if given.speed:
        result = speed(given.answers)
        print(json.dumps(result, indent=2))
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return 0
    console = Console(width=WIDTH, soft_wrap=False)
    short, told = False, {}
    for path in given.files:
        try:
            result_of = score(read_set(path), claims)
        except (CaseError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        short |= bool(missed(result_of.summary()))
        told[str(path)] = as_json(result_of)
        if not given.json:
            show(console, path, result_of)
        if given.wrong and not given.json:
            show_wrong(console, result_of)
    if given.json:
        print(json.dumps(told, indent=2))
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
