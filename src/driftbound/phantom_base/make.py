"""Pretrains the small base student: `python -m driftbound.phantom_base.make`."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.phantom_base import corpus
from driftbound.phantom_base.eye import make_pool, train_eye
from driftbound.phantom_base.reading import lay_variants, train_copying, train_reading
from driftbound.phantom_base.tongue import train_tongue
from driftbound.progress import say

CHECKPOINT = Path(__file__).parent / "checkpoint"
PLAN = {"signs": 12, "described": 6, "yes_no": 3, "textbook": 1, "merge": 4}
"""Rows of each kind per step once eye and decoder come together."""


def write(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path, facts: dict[str, object]
) -> None:
    """An ordinary checkpoint folder in half precision, and what is known about it."""
    state = {name: value.half() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the checkpoint in four phases.

    The tower learns the signs; the decoder to copy, then to read and merge; what the tower sees is laid
    where the decoder's words are; then all of it together. With ``--keep`` a phase that was finished in
    that folder is not run again.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs=5, default=(1000, 250, 1800, 300, 900))
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=20251004)
    parser.add_argument("--heads", type=float, default=0.5, help="weight of the thrown-away heads; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    tokenizer = train_tokenizer(corpus.words(), 1200)
    processor = build_processor(tokenizer)
    sizes = (given.images, min(given.images, 300))
    pool, held = (make_pool(size, processor, given.seed + i) for i, size in enumerate(sizes))
    torch.manual_seed(given.seed)
    model = build_model(tokenizer)
    lay_variants(model, processor)
    rate = {"rate": given.rate, "seed": given.seed}
    heads = {"heads_weight": given.heads}
    eye, copying, reading, words, together = given.steps

    def phase(name: str, train: Callable[[], object]) -> None:
        torch.manual_seed(given.seed)  # whatever ran before it, or was taken from a file
        kept = given.keep / f"{name}.pt" if given.keep else None
        if kept and kept.exists():
            model.load_state_dict(torch.load(kept))
            say(f"{name}: taken from {kept}")
            return
        train()
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), kept)

    def read() -> None:
        train_copying(model, steps=copying, **rate)
        train_reading(model, processor, pool, steps=reading, **rate, **heads)

    def see(*, by_words: bool, steps: int) -> None:
        train_eye(model, tokenizer, pool, held, by_words=by_words, steps=steps, seed=given.seed)

    phase("eye", lambda: see(by_words=False, steps=eye))
    phase("reading", read)
    phase("words", lambda: see(by_words=True, steps=words))
    torch.manual_seed(given.seed)
    skills = train_tongue(model, processor, pool, held, PLAN, steps=together, **rate, **heads)
    write(model, processor, given.out, {"steps": list(given.steps), "seed": given.seed, **skills})


if __name__ == "__main__":
    main()
