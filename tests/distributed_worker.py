"""What two processes do in tests/test_distributed.py, and one process for comparison.

``python -m accelerate.commands.launch ... tests/distributed_worker.py FOLDER`` does all of it once.
"""

import copy
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from wanting import WantedStreams as Streams

from driftbound.config import AlignConfig, BootstrapConfig, Recipe
from driftbound.learning import MultiStreamConfig, MultiStreamTrainer, logprobs, models, processes
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator
from driftbound.learning.goals import Alignment, Bootstrapping
from driftbound.learning.logprobs import install, score
from driftbound.learning.reference import reference_logps
from driftbound.learning.training import train
from driftbound.records import Case, Status, Trajectory
from driftbound.stages import bootstrap
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.tables import write_cases

QUESTION = "What is seen here?"
ANSWERS = ["No effusion.", "The left lung is white.", "Edema on both sides.", "Nothing at all is seen here."]
CASES = 7
"""No multiple of anything: a last step has 3 cases, of which one process has 2 and the other 1."""
TEACHERS = ("one", "two")


def prepare(folder: Path) -> None:
    """A checkpoint of 100,000 random parameters and images, for all processes."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([QUESTION, *ANSWERS], 300)
    model = build_model(tokenizer, width=48, layers=2, vision_width=32)
    models.save(models.Student(model, build_processor(tokenizer)), folder / "base")
    for n in range(CASES + 1):
        Image.new("L", (64, 64), 30 * n).save(folder / f"{n}.png")


def examples(folder: Path) -> list[Example]:
    """Answers of different lengths; one teacher is silent about case 2."""
    found = []
    for n in range(CASES):
        texts = [ANSWERS[(n + k) % 4] + " here" * (n * k) for k in range(3)]
        columns = tuple(None if (n, k) == (2, 2) else Candidate(text=text) for k, text in enumerate(texts))
        picture = (folder / f"{n}.png",)
        found.append(Example(case_id=f"c{n}", question=QUESTION, images=picture, candidates=columns))
    return found


def collator(student: models.Student) -> MultiStreamCollator:
    return MultiStreamCollator(processor=student.processor, max_length=256, row_tokens=512)


def aligned(folder: Path, out: Path, **changes) -> dict:
    """Alignment on 15 cases, four to a step: in the last, one process has one less."""
    values = {"groups_per_step": 4, "groups_per_forward": 1, "learning_rate": 1e-3, "epochs": 2.2}
    config = AlignConfig(**values | {"log_steps": 1, "save_steps": 2} | changes)
    student = models.load(folder / "base", for_training=True)
    collate, given = collator(student), examples(folder)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "reference.jsonl"
    collate.reference = reference_logps(student.model, collate, given, batch_size=2, path=path)
    objective = Alignment(
        objective="plackett_luce", beta=0.5, anchor=0.1, length_normalised=False, teachers=TEACHERS
    )
    train(student, collate, given, given[:2], objective, config, seed=0, folder=out, floor=-50.0)
    return collate.reference


def bootstrapped(folder: Path, out: Path) -> None:
    config = BootstrapConfig(
        groups_per_step=4, groups_per_forward=1, learning_rate=1e-3, log_steps=1, save_steps=5
    )
    student = models.load(folder / "base", for_training=True)
    given = examples(folder)
    out.mkdir(parents=True, exist_ok=True)
    train(student, collator(student), given, given[:2], Bootstrapping(), config, seed=0, folder=out)


def with_everyones_trainer(folder: Path, out: Path) -> list[dict]:
    """Five rows, four to a step, shuffled; evaluated over three."""
    rows = [
        {"prompt": QUESTION, "images": [folder / f"{n}.png"], "chosen": ANSWERS[n % 4]}
        | {"rejected": [ANSWERS[(n + k) % 4] for k in (1, 2)]}
        for n in range(5)
    ]
    args = MultiStreamConfig(
        output_dir=str(out),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=4 // processes.count(),
        num_train_epochs=2,
        learning_rate=1e-3,
        logging_steps=1,
        save_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = MultiStreamTrainer(str(folder / "base"), args, rows, rows[:3])
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    return trainer.state.log_history


def plain_gradients(folder: Path, batch: dict) -> tuple[float, dict]:
    """Loss and gradients of the model alone."""
    model = models.load(folder / "base").model
    loss = score(model, batch).logps.sum() / 7
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def sharded(folder: Path) -> dict[str, float]:
    """Largest differences under ``fully_shard``, the head's group as accelerate makes it.

    Every process has another half of the cases; the head works in parts, computed again going backward.
    Twice: what is left behind by a first forward must not disturb the next.
    """
    student = models.load(folder / "base")
    given, collate = examples(folder), collator(student)
    batch, whole = collate(given[processes.rank() :: 2]), collate(given)
    loss, gradients = plain_gradients(folder, whole)
    model = student.model
    before = copy.deepcopy(model.state_dict())
    install(model)
    decoder = model.get_decoder()
    for layer in decoder.layers:
        fully_shard(layer)
    fully_shard([decoder.embed_tokens, decoder.norm, model.lm_head], reshard_after_forward=False)
    fully_shard(model)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    logprobs._LOGITS = 5 * model.config.text_config.vocab_size
    for _ in range(2):
        model.zero_grad()
        scores = score(model, batch)
        own = scores.logps.sum() / 7
        (own * processes.count()).backward()
    found = {name: p.grad.full_tensor() for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=True)
    gathered = get_model_state_dict(model, options=options)
    if processes.leads():
        assert gathered.keys() == before.keys()
        assert all(torch.equal(gathered[name], before[name]) for name in before)
    return {
        "loss": abs(processes.added([own.item()], torch.device("cpu"))[0] - loss),
        "gradients": max(float((found[name] - gradients[name]).abs().max()) for name in gradients),
        "largest": max(float(value.abs().max()) for value in gradients.values()),
    }


def stage_context(root: Path, folder: Path, **changes) -> Context:
    """A run whose teachers have answered: what ``bootstrap`` needs."""
    run = RunFolder(root / "run")
    if not run.cases.exists():
        (run.root / "images").mkdir(parents=True)
        cases = []
        for n in range(CASES + 1):
            (run.root / "images" / f"{n}.png").write_bytes((folder / f"{n}.png").read_bytes())
            split = "train" if n < CASES else "validation"
            image = (f"images/{n}.png",)
            cases.append(Case(case_id=f"c{n}", cluster=f"p{n}", split=split, prompt="?", images=image))
        write_cases(run.cases, cases)
        with Streams(run.streams) as streams:
            for n, case in enumerate(cases):
                for k, name in enumerate(TEACHERS):
                    text = ANSWERS[(n + k) % 4]
                    streams.put(Trajectory(case_id=case.case_id, teacher=name, status=Status.OK, text=text))
    training = {"base": str(folder / "base"), "groups_per_step": 2, "groups_per_forward": 1, "epochs": 5}
    training |= {"log_steps": 1, "save_steps": 2, "learning_rate": 1e-3}
    recipe = {
        "name": "run",
        "launch": {"config": "ddp", "processes": 2},
        "teachers": [{"name": name, "model": name} for name in TEACHERS],
        "bootstrap": training,
        "align": {"groups_per_forward": 4},
    }
    from driftbound.domains.registry import load_domain

    parsed = Recipe.parse(recipe | changes, where="test")
    return Context(parsed, run, load_domain(parsed.domain, 0))


def main(folder: Path) -> None:
    processes.join()
    assert processes.count() == 2
    out = folder / "two"
    reference = aligned(folder, out / "1-align")
    bootstrapped(folder, out / "1-bootstrap")
    history = with_everyones_trainer(folder, out / "everyone")
    found = {"reference": reference, "history": history, "sharded": sharded(folder)}
    if processes.leads():
        stage_context(out, folder)
    processes.wait()
    bootstrap.run(stage_context(out, folder))
    (folder / f"found.{processes.rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
