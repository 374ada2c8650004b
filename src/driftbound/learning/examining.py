"""Looking at every case of a training before its first step: what is cut, left out, or cannot be used."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from accelerate.utils import send_to_device

from driftbound.errors import ModelError, TrainingError
from driftbound.learning import models
from driftbound.learning.collator import Example, MultiStreamCollator
from driftbound.learning.image_tokens import image_tokens
from driftbound.learning.logprobs import score
from driftbound.progress import bar, say

NAMED = 10
"""How many cases are named where many are concerned."""


class Examined(NamedTuple):
    """What of the examples is trained and watched on, and what was cut or left out."""

    examples: list[Example]
    validation: list[Example]
    facts: dict[str, Any]


def examine(
    model: Any,
    collate: MultiStreamCollator,
    examples: Sequence[Example],
    validation: Sequence[Example],
    *,
    verb: str,
) -> Examined:
    """Encode every case before anything is computed with it, so that bad input ends here.

    Raises the error of the first case that cannot be trained on. A group whose consensus would have to
    be cut is left out; other answers that are too long will be cut. Both are said, and in the facts.
    The first case with each number of images is scored once.
    """
    collate.image_tokens |= image_tokens(model.config)
    dropped: list[str] = []
    cut: list[str] = []
    columns: Counter[str] = Counter()
    tried: set[int] = set()
    with bar(f"{verb}: measuring answers", len(examples) + len(validation)) as advance:
        for example in (*examples, *validation):
            found = collate.too_long(example)
            if collate.first_is_whole and 0 in found:
                dropped.append(example.case_id)
            else:
                cut += [example.case_id] * bool(found)
                columns.update(collate.columns[c] if collate.columns else str(c) for c in found)
                if len(example.images) not in tried:
                    _try(model, collate, example)
                    tried.add(len(example.images))
            advance()
    limit = f"max_length {collate.max_length}"
    if dropped:
        say(f"{verb}: {len(dropped)} groups left out, their consensus exceeds {limit}: {_named(dropped)}")
    if cut:
        whose = ", ".join(f"{name} {count}" for name, count in columns.items())
        say(f"{verb}: {columns.total()} answers exceed {limit}, their ends are cut ({whose}): {_named(cut)}")
    out = set(dropped)
    kept = [example for example in examples if example.case_id not in out]
    if not kept:
        raise TrainingError(f"{verb}: the consensus of no training group fits into {limit}. Raise it.")
    facts = {
        "truncated_answers": columns.total(),
        "truncated_by_teacher": dict(columns),
        "truncated_cases": cut[:NAMED],
        "dropped_groups": len(dropped),
        "dropped_cases": dropped[:NAMED],
    }
    return Examined(kept, [example for example in validation if example.case_id not in out], facts)


@torch.no_grad()
def _try(model: Any, collate: MultiStreamCollator, example: Example) -> None:
    """Score one case: processor and model must mean the same by an image."""
    model.eval()
    batch = send_to_device(collate([example]), model.device)
    try:
        with models.arithmetic(model.device):
            score(model, batch)
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"case {example.case_id}: the model cannot read its prompt and image: "
            f"{str(error).strip().splitlines()[0].rstrip('.')}. Model and processor of the checkpoint must "
            "agree on the size of an image and its tokens."
        ) from error


def _named(cases: Sequence[str]) -> str:
    more = len(cases) - NAMED
    return ", ".join(cases[:NAMED]) + (f" and {more} more" if more > 0 else "")
