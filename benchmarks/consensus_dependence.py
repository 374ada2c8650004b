"""Is the consensus as good as the majority's when teachers depend on each other?

    python -m benchmarks.consensus_dependence [--quick] [--out FILE.json]

Panels of seven teachers with known truth (those of ``benchmarks.measure_calibration``), 800 cases of one
finding each: independent, three or five copying one source, an error that all share. Per setting 40 panels
(``--quick``: 3), seeds declared here. Each is read by the measure stage's reliability; then the synthesizer
``reliability`` says its word on every case, once with ``undecided: likelier`` and once with ``omit``, where
what is left open is rejected and counted. Ends with 1 where either is below the majority, on the same cases,
by more than 0.01 in the mean of a setting. One process, one thread.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.calibration.reliability import PANELS, panel_votes
from driftbound.consensus.believed import believed_stances
from driftbound.consensus.support import support_of
from driftbound.measure.reliability import Reliability, reliability
from driftbound.records import Belief, Claim, Polarity
from driftbound.stances import majority
from driftbound.store.measures import Beliefs

RESULTS = Path(__file__).parent / "results" / "consensus_dependence.json"
FINDING = "Edema"
VALUES = ("absent", "present")
VOTES = (*VALUES, "uncertain", "omitted")
CASES, SEEDS, QUICK = 800, 40, 3
THRESHOLD = 0.5
"""``synthesize.threshold`` by default."""
MARGIN = 0.01


def beliefs_of(read: Reliability, codes: "np.ndarray", case: int) -> Beliefs:
    """What ``measure`` leaves of one case."""
    q, decided = read.posterior[case], int(read.decision.decided[case])
    belief = Belief(
        values={} if np.isnan(q).any() else dict(zip(VALUES, map(float, q), strict=True)),
        decided=VALUES[decided] if decided >= 0 else "",
        votes={f"t{u}": VOTES[code] for u, code in enumerate(codes[case])},
        wrong={},
    )
    return {(FINDING, "presence"): belief}


def panel(name: str, number: int, seed: int) -> dict[str, float]:
    """One panel: accuracies of the consensus and, on the same cases, of the majority; shares of cases."""
    rng = np.random.default_rng([40, number, seed])
    truth, codes = panel_votes(PANELS[name], CASES, rng)
    read = reliability(codes, 2, np.arange(CASES), rng, draws=0)
    likelier, omit, counted, weak = [], [], [], 0
    for case in range(CASES):
        beliefs = beliefs_of(read, codes, case)
        said = believed_stances(beliefs, [FINDING], omit=False).get(FINDING, "")
        passed = bool(said) and support_of([_claim(said)], beliefs).score >= THRESHOLD
        weak += not passed
        likelier.append(VALUES.index(said) if passed else -1)
        word = believed_stances(beliefs, [FINDING], omit=True).get(FINDING, "")
        omit.append(VALUES.index(word) if word else -1)
        votes = [{FINDING: VOTES[code]} for code in codes[case]]
        counted.append(VALUES.index(majority(votes, [FINDING])[FINDING]))
    row = {"rejected, likelier": weak / CASES, "rejected, omit": omit.count(-1) / CASES}
    right = np.array(counted) == truth
    row["majority"] = float(right.mean())
    for key, values in (("likelier", np.array(likelier)), ("omit", np.array(omit))):
        there = values >= 0
        row[key] = float((values == truth)[there].mean()) if there.any() else float("nan")
        own = (values == truth)[there].astype(float) - right[there]
        row[f"{key} minus majority"] = float(own.mean()) if there.any() else 0.0
    return row


def _claim(value: str) -> Claim:
    return Claim(
        finding=FINDING,
        attribute="presence",
        value=value,
        polarity=Polarity(value),
        start=0,
        end=0,
        step=0,
    )


def below(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Settings in which the consensus is below the majority by more than the margin."""
    return [
        f"{name}: {key} is {-row[f'{key} minus majority']:.3f} below the majority"
        for name, row in found.items()
        for key in ("likelier", "omit")
        if row[f"{key} minus majority"] < -MARGIN
    ]


def main() -> int:
    """Run all settings, print a table, write the results; 1 where a setting is below."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} panels a setting instead of {SEEDS}")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    seeds, start = QUICK if given.quick else SEEDS, time.perf_counter()
    found: dict[str, dict[str, float]] = {}
    for number, name in enumerate(PANELS):
        rows = [panel(name, number, seed) for seed in range(seeds)]
        found[name] = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
        print(
            f"{name:<28}" + "  ".join(f"{key} {value:.3f}" for key, value in found[name].items()), flush=True
        )
    out = given.out or (None if given.quick else RESULTS)
    if out is not None:
        told = {"seeds": seeds, "cases": CASES, "seconds": round(time.perf_counter() - start, 1)}
        out.write_text(json.dumps({**told, "settings": found}, indent=1) + "\n", encoding="utf-8")
    bad = below(found)
    print("\n".join(bad), file=sys.stderr, end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
