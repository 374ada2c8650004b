"""Seconds per case, MFU and memory of a 7B student on one GPU: packed rows and separate ones.

    python -m benchmarks.large --json benchmarks/results/large.json

Qwen2.5-VL-7B's architecture with random weights in bfloat16, nothing downloaded, no processor: prompts are
made by hand. Seven teachers and a consensus behind one image, LoRA rank 8 on the decoder, vision tower
frozen and asked in both passes. The reference pass (a forward without adapters) and the training pass
(forward, backward, AdamW) are timed apart; medians. `--device cpu --tiny` runs the same code with tiny
widths, to see that it runs.

MFU is the work of the matrix products that have to be done, without what checkpointing does again, over time
and the bfloat16 peak that this script measures with one large product. With T tokens in a row, S scored ones,
V words, D the decoder's width, L its layers, W the weights of its linear layers and A of the adapters:

    forward    2 W T + 2 A T + 4 D L pairs + 2 D V S + tower
    backward   2 W T + 4 A T + 8 D L pairs + 2 D V S

Frozen weights have no gradient; a pair is a token and one that it attends to: P (P + 1) / 2 in a prompt of P
tokens, a P + a (a + 1) / 2 for an answer of a. Rows that are not packed count as they are.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

NEGATIVES = 7
CASES_OF_THE_PAPER = 24426
IMAGE, START, END = 151655, 151652, 151653
RANK, ALPHA = 8, 32


@dataclass(frozen=True)
class Shape:
    """``side`` patches of 14 pixels in both directions, four to a token; tokens of question and answers."""

    side: int
    question: int
    answer: int


SHAPES = {"short": Shape(32, 40, 80), "paper": Shape(72, 20, 350), "long": Shape(72, 20, 1000)}
TINY = Shape(8, 5, 12)


def config_of(tiny: bool) -> Any:
    """As published for Qwen2.5-VL-7B-Instruct; or two narrow layers of it."""
    from transformers import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2] if tiny else [16, 24, 24]}
    text = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "rope_parameters": rope,
    }  # fmt: skip
    vision = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
        "out_hidden_size": 3584, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    if tiny:
        text |= {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
        vision |= {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
        }
        vision |= {"fullatt_block_indexes": [1]}
    marks = {"image_token_id": IMAGE, "vision_start_token_id": START, "vision_end_token_id": END}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **marks)


def prompt_of(shape: Shape, number: int) -> dict[str, Any]:
    """An image of noise and a question, as the family's processor would encode them."""
    import torch

    generator = torch.Generator().manual_seed(number)
    words = torch.randint(100, 20000, (shape.question,), generator=generator).tolist()
    ids = torch.tensor([[START, *[IMAGE] * (shape.side**2 // 4), END, *words]])
    return {
        "input_ids": ids,
        "mm_token_type_ids": (ids == IMAGE).long(),
        "pixel_values": torch.randn(shape.side**2, 3 * 2 * 14 * 14, generator=generator),
        "image_grid_thw": torch.tensor([[1, shape.side, shape.side]]),
    }


def answers_of(shape: Shape, number: int) -> list[list[int]]:
    """Consensus and seven trajectories, a fifth longer or shorter than said."""
    rng = random.Random(number)
    lengths = [round(shape.answer * rng.uniform(0.8, 1.2)) for _ in range(1 + NEGATIVES)]
    return [[rng.randrange(100, 20000) for _ in range(length)] for length in lengths]


def batch_of(model: Any, shape: Shape, numbers: list[int], row_tokens: int) -> dict[str, Any]:
    """One forward's cases, as the trainings lay them out."""
    import torch

    from driftbound.learning.families import prompt_positions
    from driftbound.learning.packing import Answer, rows_of, segments_of
    from driftbound.learning.tensors import tensors_of

    prompts = [prompt_of(shape, number) for number in numbers]
    segments, columns = [], 1 + NEGATIVES
    for b, number in enumerate(numbers):
        answers = [
            Answer(ids, [1.0] * len(ids), slot=b * columns + c)
            for c, ids in enumerate(answers_of(shape, number))
        ]
        segments += segments_of(prompts[b]["input_ids"][0].tolist(), b, answers, row_tokens)
    where = prompt_positions(model) if row_tokens else None
    own = [where({n: v.to(model.device) for n, v in p.items()}).cpu() for p in prompts] if where else []
    rows = rows_of(segments, row_tokens)
    batch = tensors_of(rows, prompts, numbers, 0, own, {}, packed=row_tokens > 0)
    shaped = (len(numbers), columns)
    return batch | {
        "valid": torch.ones(shaped, dtype=torch.bool),
        "log_weights": torch.zeros(shaped),
        "reference": torch.zeros(shaped),
    }


def work(config: Any, shape: Shape, number: int, *, packed: bool, rank: int = RANK) -> dict[str, float]:
    """FLOP of a case's matrix products in each pass; ``attention`` is the decoder's part of a forward."""
    text, vision = config.text_config, config.vision_config
    width, layers = text.hidden_size, text.num_hidden_layers
    kept = width * text.num_key_value_heads // text.num_attention_heads
    linears = [(width, width)] * 2 + [(width, kept)] * 2 + [(width, text.intermediate_size)] * 3
    weights = layers * sum(a * b for a, b in linears)
    adapters = layers * rank * sum(a + b for a, b in linears)
    lengths = [len(ids) for ids in answers_of(shape, number)]
    prefix = shape.side**2 // 4 + 2 + shape.question
    times = 1 if packed else len(lengths)
    tokens = times * prefix + sum(lengths)
    pairs = times * prefix * (prefix + 1) / 2 + sum(a * prefix + a * (a + 1) / 2 for a in lengths)
    attention, head = 4 * width * layers * pairs, 2 * width * text.vocab_size * sum(lengths)
    return {
        "forward": 2 * (weights + adapters) * tokens + attention + head,
        "reference": 2 * weights * tokens + attention + head,
        "backward": (2 * weights + 4 * adapters) * tokens + 2 * attention + head,
        "attention": attention,
        "tower": times * tower_work(vision, shape.side**2),
    }


def tower_work(vision: Any, patches: int) -> float:
    """FLOP of the matrix products of a forward of the tower on one image, merger included."""
    d, merged = vision.hidden_size, vision.hidden_size * vision.spatial_merge_size**2
    block = 4 * d * d + 3 * d * vision.intermediate_size
    embedding = 3 * vision.temporal_patch_size * vision.patch_size**2 * d
    linear = 2 * patches * (vision.depth * block + embedding)
    linear += 2 * patches // vision.spatial_merge_size**2 * merged * (merged + vision.out_hidden_size)
    full = len(vision.fullatt_block_indexes)
    window = (vision.window_size // vision.patch_size) ** 2
    return linear + 4 * d * patches * (full * patches + (vision.depth - full) * min(window, patches))


def synchronise(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def seconds(device: str, function: Callable[[], Any]) -> float:
    """Of one call, to its end on the device."""
    synchronise(device)
    started = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - started


def peak_flops(device: str, size: int) -> float:
    """FLOP per second of one large product in bfloat16."""
    import torch

    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    took = [seconds(device, lambda: a @ b) for _ in range(12)]
    return 2 * size**3 / statistics.median(took[2:])


class Bench:
    """The student with adapters, and the two passes over a batch."""

    def __init__(self, device: str, tiny: bool, *, checkpointing: bool) -> None:
        import torch
        from transformers import Qwen2_5_VLForConditionalGeneration

        from driftbound.config import AlignConfig, LoraConfig
        from driftbound.learning import models
        from driftbound.learning.goals import Alignment

        torch.manual_seed(0)
        self.device, self.config = device, config_of(tiny)
        dtype = torch.float32 if tiny else torch.bfloat16
        with torch.device(device):
            model = Qwen2_5_VLForConditionalGeneration._from_config(self.config, dtype=dtype)
        self.plain = model.eval()
        settings = AlignConfig(tuner="lora", lora=LoraConfig(rank=RANK, alpha=ALPHA))
        self.model = models.make_trainable(model, settings)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)
        teachers = tuple(f"t{k}" for k in range(NEGATIVES))
        self.objective = Alignment(
            objective="plackett_luce", beta=0.1, anchor=0.0, length_normalised=False, teachers=teachers
        )

    def arithmetic(self) -> AbstractContextManager[Any]:
        from driftbound.learning import models

        return models.arithmetic(self.plain.device)

    def reference(self, batch: dict[str, Any]) -> None:
        """A forward without adapters and gradients."""
        import torch

        from driftbound.learning.logprobs import score

        with torch.no_grad(), self.model.disable_adapter(), self.arithmetic():
            batch["reference"] = score(self.model, batch).logps

    def train(self, batch: dict[str, Any]) -> None:
        """Forward, backward, optimiser step."""
        from driftbound.learning.logprobs import score

        self.model.train()
        with self.arithmetic():
            loss = self.objective(score(self.model, batch), batch)[0]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure(bench: Bench, shape: Shape, groups: int, repeats: int, arm: str) -> dict[str, float]:
    """Medians of both passes per case, the tower asked each time, and what they come to."""
    import torch
    from accelerate.utils import send_to_device

    from driftbound.learning.attention import BRANCHES, FLEX

    packed = arm != "separate"
    bench.plain.get_decoder().set_attn_implementation(FLEX if arm == "packed, flex" else BRANCHES)
    batches = []
    for n in range(repeats + 1):
        numbers = list(range(n * groups, (n + 1) * groups))
        batches.append((numbers, batch_of(bench.plain, shape, numbers, 10**6 if packed else 0)))
    if bench.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    reference, training = [], []
    for _, batch in batches:
        placed = send_to_device(batch, bench.device)
        reference.append(seconds(bench.device, lambda b=placed: bench.reference(b)) / groups)
        training.append(seconds(bench.device, lambda b=placed: bench.train(b)) / groups)
    done = [work(bench.config, shape, n, packed=packed) for numbers, _ in batches[1:] for n in numbers]
    mean = {key: statistics.mean(each[key] for each in done) for key in done[0]}
    found = {"reference_s": statistics.median(reference[1:]), "training_s": statistics.median(training[1:])}
    found["training_flop"] = mean["forward"] + mean["backward"] + mean["tower"]
    found["reference_flop"] = mean["reference"] + mean["tower"]
    if bench.device == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def summary(arms: dict[str, dict[str, float]], peak: float) -> dict[str, Any]:
    """MFU and hours for the paper's cases, beside what was measured."""
    for arm in arms.values():
        for name in ("training", "reference"):
            arm[f"{name}_mfu"] = arm[f"{name}_flop"] / arm[f"{name}_s"] / peak
        arm["hours_training"] = CASES_OF_THE_PAPER * arm["training_s"] / 3600
        arm["hours_with_reference"] = arm["hours_training"] + CASES_OF_THE_PAPER * arm["reference_s"] / 3600
    result: dict[str, Any] = {"arms": arms, "peak_bf16_flops": peak}
    whole = {name: arm["training_s"] + arm["reference_s"] for name, arm in arms.items()}
    if {"packed", "separate"} <= whole.keys():
        result["faster_than_separate"] = whole["separate"] / whole["packed"]
    return result


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; ``arguments`` as on the command line, else those."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="paper")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="Tiny widths: shows that it runs.")
    parser.add_argument("--groups", type=int, default=1, help="Cases per forward.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--checkpointing", action="store_true", help="Compute layers again going backward.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here. Take a machine that has one, or --device cpu --tiny.", file=sys.stderr)
        raise SystemExit(2)
    shape = TINY if given.tiny else SHAPES[given.shape]
    bench = Bench(given.device, given.tiny, checkpointing=given.checkpointing)
    arms, too_large = {}, []
    for name in ("packed", *(("packed, flex",) if given.device == "cuda" else ()), "separate"):
        try:
            arms[name] = measure(bench, shape, given.groups, given.repeats, name)
        except torch.OutOfMemoryError:  # 13,000 tokens a case in separate rows: try --checkpointing
            too_large.append(name)
            bench.optimizer.zero_grad()
            torch.cuda.empty_cache()
    result = summary(arms, peak_flops(given.device, 256 if given.tiny else 8192))
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    result |= {"shape": "tiny" if given.tiny else given.shape, "groups": given.groups, "device": name}
    result |= {"checkpointing": given.checkpointing, "out_of_memory": too_large}
    result["versions"] = {each: metadata.version(each) for each in ("torch", "transformers", "peft")}
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
