"""Reference log-probabilities: computed once before training, stored, taken up again after a kill."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device

from driftbound.errors import CaseError, StoreError, boundary
from driftbound.learning import models
from driftbound.learning.collator import Example, MultiStreamCollator, Picture
from driftbound.learning.logprobs import score
from driftbound.progress import bar
from driftbound.store.manifest import sha256_file


@torch.no_grad()
def reference_logps(
    model: Any,
    collate: MultiStreamCollator,
    examples: Sequence[Example],
    *,
    batch_size: int,
    path: Path,
    identity: str = "",
    arithmetic: Callable[[], AbstractContextManager[Any]] | None = None,
) -> dict[str, list[float]]:
    """Log-probability of every candidate under the frozen ``model``, by case; 0 where there is none.

    One line per batch in ``path``: a line that is there is not computed again, and batches are cut the
    same way each time, so that a resumed pass gives the same numbers. The caller sees to it that
    ``path`` belongs to this model and these examples (their hash is checked), or names in ``identity``
    what the numbers depend on (``identity_of``): lines of another identity are left alone, and images
    count with what is in them. ``arithmetic`` is that of the training; else what the device suggests.
    """
    model.eval()
    within = arithmetic or (lambda: models.arithmetic(model.device))
    found: dict[str, list[float]] = {}
    with boundary(StoreError, f"writing {path}", then="Check disk space and permissions."):
        done = _read(path)
        with bar("reference log-probabilities", len(examples)) as advance, path.open("a") as out:
            for start in range(0, len(examples), batch_size):
                chunk = examples[start : start + batch_size]
                key = _key(chunk, identity)
                if key not in done:
                    batch = send_to_device(collate(chunk), model.device)
                    with within():
                        values = score(model, batch).logps.tolist()
                    done[key] = {e.case_id: v for e, v in zip(chunk, values, strict=True)}
                    out.write(json.dumps({"key": key, "logps": done[key]}) + "\n")
                    out.flush()
                found |= done[key]
                advance(len(chunk))
    return found


@torch.no_grad()
def identity_of(model: Any, collate: MultiStreamCollator, *settings: object) -> str:
    """What reference log-probabilities depend on besides the examples: weights, template, lengths.

    Of each tensor its sum and norm in float64, shortened so that the order of adding does not show.
    """
    weights = []
    for name, p in model.named_parameters():
        norm = torch.linalg.vector_norm(p, dtype=torch.float64) if p.is_floating_point() else 0.0
        weights.append((name, tuple(p.shape), f"{p.sum(dtype=torch.float64):.7g}", f"{norm:.9g}"))
    template, lengths = collate.processor.chat_template, (collate.max_length, collate.row_tokens)
    return hashlib.sha256(repr((weights, template, lengths, settings)).encode()).hexdigest()


def _key(chunk: Sequence[Example], identity: str) -> str:
    """Identity of a batch, wherever the run folder lies."""
    named = [replace(e, images=tuple(Path(_name(i, identity != "")) for i in e.images)) for e in chunk]
    return hashlib.sha256((repr(named) + identity).encode()).hexdigest()


def _name(image: Picture, by_content: bool) -> str:
    """An image's file name or, where it has none or its content counts, a hash of what is in it."""
    if isinstance(image, Path):
        return sha256_file(image) if by_content else image.name
    with boundary(CaseError, "reading an image in memory", then="Check the rows' images."):
        pixels = image.tobytes()
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + pixels).hexdigest()


def _read(path: Path) -> dict[str, dict[str, list[float]]]:
    """Complete lines only: what a kill cut short is cut off."""
    if not path.exists():
        return {}
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return {row["key"]: row["logps"] for row in map(json.loads, whole.splitlines())}
