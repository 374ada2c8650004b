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
from driftbound.learning import models, processes
from driftbound.learning.collator import Example, MultiStreamCollator, Picture, pixels_of
from driftbound.learning.logprobs import score
from driftbound.progress import bar, say
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
    plain: dict[str, float] | None = None,
) -> dict[str, list[float]]:
    """Log-probability of every candidate under the frozen ``model``, by case; 0 where there is none.

    Tokens are weighed as in the training, so that a reward is the weighted sum of its tokens' log-ratios;
    ``plain`` is filled with what column 0 has without weights, by which a fall is judged.
    One line per batch in ``path``: a line that is there is not computed again, and batches are cut the
    same way each time, so that a resumed pass gives the same numbers. Processes share the batches out;
    each has a file of its own beside ``path``, all are read, whoever wrote them, and all numbers are
    known to all. The caller sees to it that ``path`` belongs to this model and these examples (their
    hash is checked), or names in ``identity`` what the numbers depend on (``identity_of``): lines of
    another identity are left alone, and images count with what is in them. ``arithmetic`` is that of
    the training; else what the device suggests.
    """
    model.eval()
    within = arithmetic or (lambda: models.arithmetic(model.device))
    starts = range(0, len(examples), batch_size)
    keys = {n: _key(examples[n : n + batch_size], identity) for n in starts}
    rank = processes.rank()
    own = path.with_stem(f"{path.stem}.rank{rank}") if rank else path
    with boundary(StoreError, f"writing {own}", then="Check disk space and permissions."):
        _cut_off(own)
        done = _read(path)
        processes.wait()  # nobody writes before all have read: what is missing is the same to all
        missing = [n for n in starts if keys[n] not in done][rank :: processes.count()]
        with bar("reference log-probabilities", len(missing) * batch_size) as advance, own.open("a") as out:
            for n in missing:
                chunk = examples[n : n + batch_size]
                batch = send_to_device(collate(chunk), model.device)
                with within():
                    scores = score(model, batch)
                logps = {e.case_id: v for e, v in zip(chunk, scores.logps.tolist(), strict=True)}
                first = {e.case_id: v for e, v in zip(chunk, scores.plain[:, 0].tolist(), strict=True)}
                out.write(json.dumps({"key": keys[n], "logps": logps, "plain": first}) + "\n")
                out.flush()
                advance(batch_size)
        processes.wait()
        done = _read(path)
    if plain is not None:
        plain |= {case: logp for key in keys.values() for case, logp in done[key]["plain"].items()}
    return {case: logps for key in keys.values() for case, logps in done[key]["logps"].items()}


@torch.no_grad()
def identity_of(model: Any, collate: MultiStreamCollator, *settings: object) -> str:
    """What reference log-probabilities depend on besides the examples: weights, template, lengths.

    Of each tensor its sum and norm in float64, shortened so that the order of adding does not show.
    """
    weights = []
    for name, p in model.named_parameters():
        norm = torch.linalg.vector_norm(p, dtype=torch.float64) if p.is_floating_point() else 0.0
        weights.append((name, tuple(p.shape), f"{p.sum(dtype=torch.float64):.7g}", f"{norm:.9g}"))
    template = collate.processor.chat_template
    lengths = (collate.max_length, collate.row_tokens, *["common"] * collate.common_length)
    return hashlib.sha256(repr((weights, template, lengths, settings)).encode()).hexdigest()


def tell_cuts(collate: MultiStreamCollator, rows: Sequence[Example]) -> None:
    """Say how many answers are longer than what of them is scored."""
    cut = 0
    with bar("measuring answers", len(rows)) as advance:
        for example in rows:
            room = collate.room(example)
            cut += sum(length > room for length in collate.answer_tokens(example))
            advance()
    if cut:
        say(f"{cut} answers are longer than max_length {collate.max_length}; their ends are cut")


def _key(chunk: Sequence[Example], identity: str) -> str:
    """Identity of a batch, wherever the run folder lies."""
    named = [replace(e, images=tuple(Path(_name(i, identity != "")) for i in e.images)) for e in chunk]
    return hashlib.sha256((repr(named) + identity).encode()).hexdigest()


def _name(image: Picture, by_content: bool) -> str:
    """An image's file name or, where it has none or its content counts, a hash of what is in it."""
    if isinstance(image, Path):
        return sha256_file(image) if by_content else image.name
    with boundary(CaseError, "reading an image in memory", then="Check the rows' images."):
        return pixels_of(image)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Complete lines of all processes, by key: ``logps`` and ``plain``, each by case."""
    files = [path, *path.parent.glob(f"{path.stem}.rank*{path.suffix}")]
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines(keepends=True)]
    return {row["key"]: row for row in (json.loads(line) for line in lines if line.endswith("\n"))}


def _cut_off(path: Path) -> None:
    """What a kill cut short."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
