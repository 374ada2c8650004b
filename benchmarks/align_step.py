"""Seconds and memory per case of one alignment pass: packed rows, separate rows, TRL on expanded pairs.

    python -m benchmarks.align_step --shape paper --baseline trl --json benchmarks/results/align_step.json

The same work for everyone: policy forward and backward plus reference forward over the same cases, seven
negatives each, LoRA rank 8 on the decoder (`--tower trained`: and on the vision tower), one case per
optimiser step. Every arm runs in a process of its own, in turns; medians over the runs. Reference
log-probabilities are computed once and stored by this trainer; TRL 1.16 refuses that for images and computes
them in every step. The baseline needs `pip install 'driftbound[benchmark]'`, which nothing else here does.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

NEGATIVES = 7
ARMS = ("packed", "separate")
VOCABULARY = 2816
"""Makes the head 7 % of the decoder, as in Qwen2.5-VL-7B; the tokenizer uses a few of them."""
TOWER_WIDTH = 288
"""Makes the tower's work on an image 38 % of the decoder's on image and question, as there: 6.5 of 17 TFLOP
for 1,300 tokens, four patches to a token. 160 makes it 12 %."""
TRL_ARMS = ("trl-1", "trl-7")
WORDS = [a + b for a in ("ba", "de", "gi", "ko", "lu") for b in ("ma", "ne", "pi", "ro", "su")]
"""Of letters alone, so that each is one token."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a case: image of ``side`` pixels in patches of 14, tokens of question and of each answer."""

    side: int
    question: int
    answer: int


SHAPES = {"short": Shape(112, 20, 40), "paper": Shape(224, 20, 70), "long": Shape(224, 20, 200)}
"""`paper` keeps the ratio of the paper's shape: about 1,300 tokens of prefix to answers of 350."""


def build(shape: Shape, width: int = TOWER_WIDTH) -> tuple[Any, Any]:
    """A random LLaVA (tower of 6 layers, decoder of 8) and its processor, the same in every process."""
    import torch
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

    from driftbound.learning.architecture import build_processor, train_tokenizer

    tokenizer = train_tokenizer([" ".join(["a", *WORDS])] * 20, 1000)
    processor = build_processor(tokenizer)
    processor.image_processor.size = {"height": shape.side, "width": shape.side}
    processor.patch_size = 14
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=6, num_attention_heads=width // 32,
        image_size=shape.side, patch_size=14, projection_dim=width,
    )  # fmt: skip
    text = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1024, num_hidden_layers=8,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=8192, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=image, image_token_index=image,
        image_seq_length=(shape.side // 14) ** 2, vision_feature_layer=-1, tie_word_embeddings=True,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def texts(shape: Shape, cases: int) -> list[tuple[str, list[str]]]:
    """Question and answers of each case, the same for every arm; a word is a token, but for the first."""
    rng = random.Random(0)

    def text(tokens: int) -> str:
        return " ".join(["a", *rng.choices(WORDS, k=tokens - 1)])

    return [
        (text(shape.question), [text(shape.answer - 1) for _ in range(1 + NEGATIVES)]) for _ in range(cases)
    ]


def pictures(shape: Shape, cases: int, folder: Path) -> list[Path]:
    """Images of noise."""
    import numpy as np
    from PIL import Image

    paths = []
    for number in range(cases):
        noise = np.random.default_rng(number).integers(0, 255, (shape.side, shape.side), dtype=np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(noise).save(paths[-1])
    return paths


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """MB of this process beyond what it had at the start, looked up every few milliseconds; CPU only."""
    page, found, done = os.sysconf("SC_PAGE_SIZE"), [0.0], threading.Event()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    def watch() -> None:
        while not done.wait(0.005):
            found[0] = max(found[0], (resident() - start) / 1e6)

    start = resident()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield found
    done.set()
    watcher.join()


def clock() -> tuple[Any, list[float]]:
    """A callback that notes the time at the end of every optimiser step, and its notes."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(-time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times[-1] += time.perf_counter()

    return Clock(), times


def common(folder: Path, cases: int) -> dict[str, Any]:
    """Training arguments that all arms share."""
    return {
        "output_dir": str(folder), "max_steps": cases, "learning_rate": 1e-4, "use_cpu": True, "seed": 0,
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1, "bf16": False,
        "dataloader_pin_memory": False, "remove_unused_columns": False, "gradient_checkpointing": False,
    }  # fmt: skip


def adapters(model: Any, tower: str) -> Any:
    """Rank 8 on the linear layers of the decoder, or of decoder and tower; the same for all arms."""
    import torch
    from peft import LoraConfig

    parts = ("language_model", *(("vision_tower",) if tower == "trained" else ()))
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part in name for part in parts)
    ]
    return LoraConfig(r=8, lora_alpha=32, target_modules=names)


def run_ours(
    shape: Shape, cases: int, folder: Path, tower: str, width: int, *, packed: bool
) -> dict[str, Any]:
    """This trainer; reference first, then the training, timed apart."""
    from peft import get_peft_model
    from transformers import TrainingArguments

    from driftbound.config import AlignConfig
    from driftbound.learning import models
    from driftbound.learning.collator import Candidate, Example
    from driftbound.learning.families import collator_for
    from driftbound.learning.goals import Alignment
    from driftbound.learning.reference import reference_logps
    from driftbound.learning.tower import kept_features
    from driftbound.learning.trainer import GroupTrainer

    model, processor = build(shape, width)
    examples = [
        Example(
            case_id=str(n), question=q, images=(path,), candidates=tuple(Candidate(text=a) for a in answers)
        )
        for n, ((q, answers), path) in enumerate(
            zip(texts(shape, cases), pictures(shape, cases, folder), strict=True)
        )
    ]
    settings = AlignConfig(max_length=8192, row_tokens=8192 if packed else 0)
    collate = collator_for(models.Student(model, processor), settings, "benchmark")
    teachers = tuple(f"t{k}" for k in range(NEGATIVES))
    objective = Alignment(
        objective="plackett_luce", beta=0.1, anchor=0.0, length_normalised=False, teachers=teachers
    )
    megabytes = settings.tower_cache_mb if tower == "frozen" else 0
    with peak_memory() as peak, kept_features(model, megabytes):
        reference_logps(model, collate, examples[:1], batch_size=1, path=folder / "warm.jsonl")
        started = time.perf_counter()
        collate.reference = reference_logps(
            model, collate, examples, batch_size=1, path=folder / "reference.jsonl"
        )
        reference = (time.perf_counter() - started) / cases
        adapted = get_peft_model(model, adapters(model, tower))
        callback, times = clock()
        arguments = TrainingArguments(per_device_train_batch_size=1, **common(folder, cases))
        GroupTrainer(
            model=adapted, args=arguments, data_collator=collate, train_dataset=examples,
            callbacks=[callback], objective=objective,
        ).train()  # fmt: skip
    return {
        "step_s": statistics.median(times[1:]), "reference_s": reference, "peak_mb": peak[0],
        "tokens": collate(examples[:1])["input_ids"].numel(),
        "logps": [value for example in examples for value in collate.reference[example.case_id]],
    }  # fmt: skip


def run_trl(shape: Shape, cases: int, folder: Path, tower: str, width: int, *, micro: int) -> dict[str, Any]:
    """TRL's DPOTrainer on the seven pairs of each case, one case per optimiser step."""
    from datasets import Dataset
    from PIL import Image
    from trl import DPOConfig, DPOTrainer

    model, processor = build(shape, width)
    rows = [
        {
            "prompt": [{"role": "user", "content": question}],
            "chosen": [{"role": "assistant", "content": answers[0]}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "images": [Image.open(path).convert("RGB")],
        }
        for (question, answers), path in zip(texts(shape, cases), pictures(shape, cases, folder), strict=True)
        for rejected in answers[1:]
    ]
    callback, times = clock()
    arguments = DPOConfig(
        per_device_train_batch_size=micro, gradient_accumulation_steps=NEGATIVES // micro, beta=0.1,
        max_length=None, **common(folder, cases),
    )  # fmt: skip
    with peak_memory() as peak:
        trainer = DPOTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=processor,
            peft_config=adapters(model, tower), callbacks=[callback],
        )  # fmt: skip
        trainer.train()
    logged = [row["logps/chosen"] for row in trainer.state.log_history if "logps/chosen" in row]
    return {"step_s": statistics.median(times[1:]), "reference_s": 0.0, "peak_mb": peak[0], "chosen": logged}


def run_arm(arm: str, shape: Shape, cases: int, tower: str, width: int, threads: int) -> dict[str, Any]:
    """One arm, in this process."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        if arm in ARMS:
            return run_ours(shape, cases, Path(folder), tower, width, packed=arm == "packed")
        return run_trl(shape, cases, Path(folder), tower, width, micro=int(arm.rpartition("-")[2]))


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians per arm, and how many times faster packed rows are."""
    arms = {
        arm: {key: statistics.median(run[key] for run in of) for key in ("step_s", "reference_s", "peak_mb")}
        for arm, of in runs.items()
    }
    first = {arm: values["step_s"] + values["reference_s"] for arm, values in arms.items()}
    packed = arms["packed"]
    result: dict[str, Any] = {"arms": arms}
    pairs = zip(runs["packed"][0]["logps"], runs["separate"][0]["logps"], strict=True)
    result["largest_logp_difference"] = max(abs(a - b) for a, b in pairs)
    result["faster_than_separate"] = first["separate"] / first["packed"]
    tokens = {arm: runs[arm][0]["tokens"] for arm in ARMS}
    result["by_tokens"] = tokens["separate"] / tokens["packed"]
    result["share_of_that"] = result["faster_than_separate"] / result["by_tokens"]
    baselines = [arm for arm in first if arm in TRL_ARMS]
    if baselines:
        best = min(first[arm] for arm in baselines)
        result["faster_than_trl"] = best / first["packed"]
        result["faster_than_trl_in_further_epochs"] = best / packed["step_s"]
    return result


def main() -> None:
    """Run the arms in turns and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="paper")
    parser.add_argument("--tower", choices=("frozen", "trained"), default="frozen")
    parser.add_argument("--tower-width", type=int, default=TOWER_WIDTH, help="A multiple of 32.")
    parser.add_argument("--baseline", choices=("none", "trl"), default="none")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: at 7B size, as benchmarks.large does it.",
    )
    parser.add_argument("--arm", choices=(*ARMS, *TRL_ARMS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device == "cuda":
        from benchmarks import large

        large.main(["--shape", given.shape, *(["--json", str(given.json)] if given.json else [])])
        return
    if given.arm:
        print(
            json.dumps(
                run_arm(
                    given.arm, SHAPES[given.shape], given.cases, given.tower, given.tower_width, given.threads
                )
            )
        )
        return
    arms = [*ARMS, *(TRL_ARMS if given.baseline == "trl" else ())]
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    options = ["--shape", given.shape, "--cases", str(given.cases), "--threads", str(given.threads)]
    options += ["--tower", given.tower, "--tower-width", str(given.tower_width)]
    for _ in range(given.repeats):
        for arm in arms:
            command = [sys.executable, "-m", "benchmarks.align_step", *options, "--arm", arm]
            pinned = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=pinned)
            runs[arm].append(json.loads(done.stdout.splitlines()[-1]))
    result = summarise(runs)
    names = ("torch", "transformers", "peft", *(("trl",) if given.baseline == "trl" else ()))
    result |= {
        "shape": given.shape, "tower": given.tower, "tower_width": given.tower_width,
        "cases": given.cases, "repeats": given.repeats,
        "threads": given.threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: metadata.version(name) for name in names},
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
