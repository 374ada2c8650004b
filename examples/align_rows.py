"""Trains a tiny student on six made-up rows: `python examples/align_rows.py FOLDER`."""

import sys

from PIL import Image

from driftbound.learning import MultiStreamConfig, MultiStreamTrainer
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer

WHAT = "Which side is white?"
LEFT, RIGHT, NEITHER = "The left side.", "The right side.", "Neither side."


def row(side: int) -> dict:
    """A picture that is white on one side, the true answer, and two others."""
    image = Image.new("L", (64, 64))
    image.paste(255, (32 * side, 0, 32 * side + 32, 64))
    chosen, other = (RIGHT, LEFT) if side else (LEFT, RIGHT)
    return {"prompt": WHAT, "images": [image], "chosen": chosen, "rejected": [other, NEITHER]}


def main(folder: str) -> None:
    """Train, evaluate, save."""
    tokenizer = train_tokenizer([WHAT, LEFT, RIGHT, NEITHER], 300)
    args = MultiStreamConfig(
        output_dir=folder, learning_rate=1e-3, num_train_epochs=4, logging_steps=1, report_to="none"
    )
    trainer = MultiStreamTrainer(
        model=build_model(tokenizer, width=48, layers=2, vision_width=32),
        args=args,
        train_dataset=[row(n % 2) for n in range(6)],
        eval_dataset=[row(0), row(1)],
        processing_class=build_processor(tokenizer),
    )
    trainer.train()
    trainer.evaluate()
    trainer.save_model()


if __name__ == "__main__":
    main(sys.argv[1])
