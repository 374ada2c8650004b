"""Clinical scorers at work, in a process (and, where wanted, an environment) of their own; never downloads.

Run as ``python clinical_worker.py NAME FOLDER RESULT``: it needs nothing of driftbound. It reads JSON with
the lists ``said`` and ``references``; the file ``RESULT`` becomes JSON with a number per pair and metric
(``scores``), or the 14 labels of both texts (``labels``), and the package's version.
"""

import json
import os
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
RADGRAPHS = ("radgraph-xl", "modern-radgraph-xl", "radgraph")
"""Folders that a RadGraph lies in, unpacked, below the user's; the first there is."""
RATE_PARTS = ("RaTE-NER-Deberta", "BioLORD-2023-C")
CHEXBERT = "chexbert.pth"


def radgraph(folder: Path, said: list[str], references: list[str]) -> dict[str, Any]:
    """RadGraph F1: entities, entities with relations, and both complete."""
    kind = next((name for name in RADGRAPHS if (folder / name / "config.json").is_file()), "")
    if not kind:
        raise SystemExit(f"{folder}: none of {', '.join(RADGRAPHS)} lies in it, unpacked")
    scorer = import_module("radgraph").F1RadGraph(
        reward_level="all", model_type=kind, model_cache_dir=str(folder)
    )
    rewards = scorer(refs=references, hyps=said)[1]
    names = ("radgraph_simple", "radgraph_f1", "radgraph_complete")
    return {"scores": {name: [float(x) for x in own] for name, own in zip(names, rewards, strict=True)}}


def chexbert(folder: Path, said: list[str], references: list[str]) -> dict[str, Any]:
    """CheXbert's 14 labels, what is uncertain as present: as its F1 counts."""
    if not (folder / CHEXBERT).is_file():
        raise SystemExit(f"{folder}: no {CHEXBERT} in it")
    module: Any = import_module("f1chexbert.f1chexbert")
    module.CACHE_DIR = str(folder)  # the package looks nowhere else, and would download what is missing
    labeler = module.F1CheXbert()
    both = {"said": said, "references": references}
    labels = {key: [[int(x) for x in labeler.get_label(text)] for text in own] for key, own in both.items()}
    return {"labels": labels | {"names": list(labeler.target_names), "five": list(labeler.target_names_5)}}


def ratescore(folder: Path, said: list[str], references: list[str]) -> dict[str, Any]:
    """RaTEScore, of the two models that it is made of."""
    for name in RATE_PARTS:
        if not (folder / name).is_dir():
            raise SystemExit(f"{folder}: no folder {name} in it")
    entities, meanings = (str(folder / name) for name in RATE_PARTS)
    gpu = bool(import_module("torch").cuda.is_available())
    scorer = import_module("RaTEScore").RaTEScore(bert_model=entities, eval_model=meanings, use_gpu=gpu)
    return {"scores": {"ratescore": [float(x) for x in scorer.compute_score(said, references)]}}


def green(folder: Path, said: list[str], references: list[str]) -> dict[str, Any]:
    """GREEN, of the checkpoint in ``folder``."""
    if not (folder / "config.json").is_file():
        raise SystemExit(f"{folder}: no checkpoint in it (config.json)")
    scorer = import_module("green_score").GREEN(str(folder), output_dir=".")
    return {"scores": {"green": [float(x) for x in scorer(references, said)[2]]}}


SCORERS = {"radgraph": radgraph, "chexbert": chexbert, "ratescore": ratescore, "green": green}
PACKAGES = {
    "radgraph": "radgraph",
    "chexbert": "f1chexbert",
    "ratescore": "RaTEScore",
    "green": "green_score",
}


def main(name: str, folder: str, result: str) -> None:
    """Score the pairs that stand in the standard input; exits with a line where something is missing."""
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    given = json.load(sys.stdin)
    found = SCORERS[name](Path(folder), given["said"], given["references"])
    try:
        found["version"] = metadata.version(PACKAGES[name])
    except metadata.PackageNotFoundError:
        found["version"] = ""
    half = Path(result + ".half")
    half.write_text(json.dumps(found), encoding="utf-8")
    half.replace(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
