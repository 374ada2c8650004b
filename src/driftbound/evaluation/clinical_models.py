"""Clinical scorers that the user holds (RadGraph, CheXbert, RaTEScore, GREEN), asked in a process apart."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.errors import MeasureError
from driftbound.evaluation.clinical_worker import OFFLINE, PACKAGES
from driftbound.statistics.intervals import Resamples, Sampled, mean_of, ratios
from driftbound.store.manifest import one_line

TERMS = {
    "radgraph": "it was trained on reports under PhysioNet's credentialed terms; see what they ask of you",
    "chexbert": "its weights are Stanford's, for internal academic non-commercial use alone; pass on neither "
    "them nor what is based on them",
    "ratescore": "the package is under the MIT license; its two models have terms of their own",
    "green": "its model has terms of its own",
}
"""What a user must know before using a scorer."""
Array = NDArray[np.float64]
Rows = dict[str, Sampled]
NO_PACKAGE = (
    "the package {0} is not installed; pip install {0}, or name the python of an environment that has it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Texts with their references, in the order that scores come back in."""

    said: list[str]
    references: list[str]


def ask(name: str, folder: Path, python: str, pairs: Pairs, kept: Path) -> dict[str, Any]:
    """What a scorer makes of the pairs, as ``clinical_worker`` writes it.

    ``python`` is the interpreter of an environment that has the package (most need older packages than ours);
    empty: this one. The result is kept below ``kept``, so that a killed run goes on; texts are not. Raises
    ``MeasureError`` with one line where a package, a file or something on a network is missing.
    """
    asked = json.dumps({"said": pairs.said, "references": pairs.references})
    answer = (kept / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()}.json").absolute()
    if not answer.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        _work([name, str(folder.absolute()), str(answer)], asked, python, kept)
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    for number in (len(own) for own in found.get("scores", {}).values()):
        if number != len(pairs.said):
            raise MeasureError(f"{name}: {number} scores of {len(pairs.said)} texts")
    return found


def sampled(found: Mapping[str, Any], start: int, said: Sequence[str | None], resamples: Resamples) -> Rows:
    """One row's metrics, of the pairs from number ``start`` on: of its n cases those where ``said`` is text.

    ``said``: per case the answer, empty where it was refused, ``None`` where the case has no reference. An
    empty answer scores 0, and asserts nothing. CheXbert's F1 are micro and macro, over its 14 labels and over
    the five that its authors name.
    """
    at = [n for n, text in enumerate(said) if text is not None]
    some = slice(start, start + len(at))
    if "labels" in found:
        labels = found["labels"]
        texts, known = (np.zeros((len(said), len(labels["names"]))) for _ in range(2))
        texts[at] = np.array(labels["said"][some], dtype=np.float64).reshape(len(at), -1)
        known[at] = np.array(labels["references"][some], dtype=np.float64).reshape(len(at), -1)
        texts[[not text for text in said]] = 0.0
        return _label_f1(texts, known, labels, resamples)
    counts = np.array([text is not None for text in said], dtype=np.float64)[:, None]
    row: dict[str, Sampled] = {}
    for metric, values in found["scores"].items():
        own = np.zeros((len(said), 1))
        own[at, 0] = values[some]
        own[[not text for text in said]] = 0.0
        row[metric] = ratios(own, counts, resamples)
    return row


def _label_f1(texts: Array, known: Array, labels: Mapping[str, Any], resamples: Resamples) -> Rows:
    hits, both = 2 * texts * known, texts + known
    single = ratios(hits, both, resamples)
    found = {}
    five = [labels["names"].index(name) for name in labels["five"]]
    for ending, columns in (("", [*range(len(labels["names"]))]), ("_5", five)):
        top, bottom = (each[:, columns].sum(axis=1, keepdims=True) for each in (hits, both))
        found[f"chexbert_micro_f1{ending}"] = ratios(top, bottom, resamples)
        found[f"chexbert_macro_f1{ending}"] = mean_of(single, columns)
    return found


def _work(arguments: Sequence[str], asked: str, python: str, folder: Path) -> None:
    """Run the worker, without a network as far as its packages listen; raises ``MeasureError``."""
    from driftbound.evaluation import clinical_worker

    name = arguments[0]
    environment = os.environ | dict.fromkeys(OFFLINE, "1")
    try:
        done = subprocess.run(
            [python or sys.executable, str(Path(clinical_worker.__file__).absolute()), *arguments],
            cwd=folder,
            env=environment,
            input=asked,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise MeasureError(f"{name}: {python} cannot be started ({one_line(error)})") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if f"No module named '{PACKAGES[name]}'" in last:
            last = NO_PACKAGE.format(PACKAGES[name])
        raise MeasureError(f"{name}: {last[:300]}")
