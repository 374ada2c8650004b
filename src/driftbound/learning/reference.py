"""Reference log-probabilities: computed once before training, stored, taken up again after a kill."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from driftbound.errors import StoreError, boundary
from driftbound.learning import models
from driftbound.learning.collator import Example, MultiStreamCollator
from driftbound.learning.logprobs import score
from driftbound.progress import bar


@torch.no_grad()
def reference_logps(
    model: Any, collate: MultiStreamCollator, examples: Sequence[Example], *, batch_size: int, path: Path
) -> dict[str, list[float]]:
    """Log-probability of every candidate under the frozen ``model``, by case; 0 where there is none.

    One line per batch in ``path``: a line that is there is not computed again, and batches are cut the
    same way each time, so that a resumed pass gives the same numbers. The caller sees to it that
    ``path`` belongs to this model and these examples (their hash is checked).
    """
    model.eval()
    chunks = [examples[i : i + batch_size] for i in range(0, len(examples), batch_size)]
    with boundary(StoreError, f"writing {path}", then="Check disk space and permissions."):
        done = _read(path)
        with bar("reference log-probabilities", len(examples)) as advance, path.open("a") as out:
            for chunk in chunks:
                key = _key(chunk)
                if key not in done:
                    batch = {name: value.to(model.device) for name, value in collate(chunk).items()}
                    with models.arithmetic(model.device):
                        values = score(model, batch).logps.tolist()
                    done[key] = {e.case_id: v for e, v in zip(chunk, values, strict=True)}
                    out.write(json.dumps({"key": key, "logps": done[key]}) + "\n")
                    out.flush()
                advance(len(chunk))
    return {case: values for chunk in chunks for case, values in done[_key(chunk)].items()}


def _key(chunk: Sequence[Example]) -> str:
    """Identity of a batch, wherever the run folder lies."""
    named = [replace(e, images=tuple(Path(image.name) for image in e.images)) for e in chunk]
    return hashlib.sha256(repr(named).encode()).hexdigest()


def _read(path: Path) -> dict[str, dict[str, list[float]]]:
    """Complete lines only: what a kill cut short is cut off."""
    if not path.exists():
        return {}
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return {row["key"]: row["logps"] for row in map(json.loads, whole.splitlines())}
