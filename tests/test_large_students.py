"""Settings for large students: bfloat16 weights under adapters, layers computed again."""

import copy
import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from driftbound.config import AlignConfig, BootstrapConfig, Recipe
from driftbound.errors import ConfigError
from driftbound.learning import models
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, Example
from driftbound.learning.families import collator_for
from driftbound.learning.goals import Alignment, Bootstrapping
from driftbound.learning.logprobs import score
from driftbound.learning.merging import merged
from driftbound.learning.reference import reference_logps
from driftbound.learning.training import train

ANSWERS = ("No effusion.", "The left lung is white.", "Edema on both sides.")
QUESTION = "What is seen here?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A LLaVA of 100,000 random parameters, as an ordinary float32 checkpoint."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([*ANSWERS, QUESTION], 300)
    path = tmp_path_factory.mktemp("checkpoint") / "student"
    model = build_model(tokenizer, width=48, layers=2, vision_width=32)
    models.save(models.Student(model, build_processor(tokenizer)), path)
    return path


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Example]:
    folder = tmp_path_factory.mktemp("images")
    found = []
    for n in range(4):
        path = folder / f"{n}.png"
        Image.new("L", (64, 64), 60 * n).save(path)
        columns = tuple(Candidate(text=text + " here" * n) for text in ANSWERS)
        found.append(Example(case_id=f"c{n}", question=QUESTION, images=(path,), candidates=columns))
    return found


def config_of(kind=AlignConfig, **changes):
    given = {"groups_per_step": 2, "groups_per_forward": 2, "row_tokens": 512, "learning_rate": 1e-2}
    return kind(**{"tuner": "lora", "epochs": 3, "log_steps": 1, "save_steps": 99} | given | changes)


def objective(**changes) -> Alignment:
    given = {"objective": "plackett_luce", "beta": 0.1, "anchor": 0.0, "length_normalised": False}
    return Alignment(**given | changes, teachers=("one", "two"))


def trained(checkpoint, examples, folder, config, what=None) -> tuple[list[dict], dict]:
    """A training as the stages do it; its metrics by step, and its facts."""
    folder.mkdir()
    student = models.load(checkpoint, for_training=True, dtype=config.weights)
    collate = collator_for(student, config, "align")
    collate.reference = reference_logps(
        student.model,
        collate,
        examples,
        batch_size=config.groups_per_forward,
        path=folder / "reference.jsonl",
    )
    what = what or objective()
    facts = train(student, collate, examples, examples[:1], what, config, seed=0, folder=folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], facts


def dtypes(model, trainable) -> set[torch.dtype]:
    return {p.dtype for p in model.parameters() if p.requires_grad is trainable}


# ---- weights in bfloat16 ------------------------------------------------------------------------


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_checkpointing_leaves_a_frozen_tower_out_of_backward(
    checkpoint, examples, tmp_path, monkeypatch, tuner
):
    """Its reentrant kind, not used here, wants embeddings that require gradients, the tower's among them."""
    load, seen = models.load, []

    def watched(*args, **given):
        student = load(*args, **given)
        tower = models.vision_modules(student.model)[0]
        tower.register_forward_hook(lambda m, a, output: seen.append(output.last_hidden_state.requires_grad))
        return student

    monkeypatch.setattr(models, "load", watched)
    config = config_of(tuner=tuner, train_vision=False, gradient_checkpointing=True, epochs=1)
    trained(checkpoint, examples, tmp_path / "1-a", config)
    assert len(seen) > 2
    assert not any(seen)


def test_frozen_weights_are_bfloat16_and_adapters_float32(checkpoint):
    config = config_of(weights="bfloat16")
    student = models.load(checkpoint, for_training=True, dtype=config.weights)
    adapted = models.make_trainable(student.model, config)
    assert dtypes(adapted, True) == {torch.float32}
    assert dtypes(adapted, False) == {torch.bfloat16}


def test_bfloat16_with_a_full_tuner_is_refused():
    recipe = {"name": "x", "teachers": [{"name": "a", "model": "a"}], "align": {"weights": "bfloat16"}}
    with pytest.raises(ConfigError, match=r"bfloat16 with tuner full would lose .*set tuner: lora"):
        Recipe.parse(recipe, where="here")


def test_reference_and_training_share_their_arithmetic(checkpoint, examples, tmp_path):
    """In bfloat16 the first loss is ln 3 because both are; a float32 reference would put it elsewhere.

    Weights are four times their size, so that rounding shows; one batch holds all examples in both passes.
    """
    loud = models.load(checkpoint)
    with torch.no_grad():
        for parameter in loud.model.parameters():
            parameter.mul_(4)
    models.save(loud, tmp_path / "loud")
    config = config_of(weights="bfloat16", epochs=1, groups_per_step=4, groups_per_forward=4)
    rows, _ = trained(tmp_path / "loud", examples, tmp_path / "a", config, objective(beta=1.0))
    stored = json.loads((tmp_path / "a" / "reference.jsonl").read_text().splitlines()[0])["logps"]
    mine = torch.tensor([stored[each.case_id] for each in examples])
    batch = collator_for(loud, config, "align")(examples)
    with torch.no_grad():
        rewards = mine - score(loud.model, batch).logps
    elsewhere = float((torch.logsumexp(rewards, 1) - rewards[:, 0]).mean())
    assert abs(elsewhere - math.log(3)) > 0.05
    assert rows[0]["preference_loss"] == pytest.approx(math.log(3), abs=0.001)


def test_what_is_left_is_bfloat16_and_scores_as_the_adapters_did(checkpoint, examples, tmp_path):
    """Both trainings, the second from what the first has stored."""
    config = config_of(BootstrapConfig, weights="bfloat16")
    rows, facts = trained(checkpoint, examples, tmp_path / "3-bootstrap", config, Bootstrapping())
    assert rows[-2]["loss"] < rows[0]["loss"] - 0.1
    left = models.load(tmp_path / "3-bootstrap" / "student", for_training=True, dtype="bfloat16")
    assert {p.dtype for p in left.model.parameters()} == {torch.bfloat16}
    assert 0.9 < facts["kept_in_merging"] < 1.1
    second = tmp_path / "3-bootstrap" / "student"
    rows, _ = trained(second, examples, tmp_path / "5-align", config_of(weights="bfloat16"))
    assert rows[0]["preference_loss"] == pytest.approx(math.log(3), abs=0.05)


# ---- merging ------------------------------------------------------------------------------------


def adapted(checkpoint, weights, size):
    """A student with adapters of a given size, as if it were trained."""
    student = models.load(checkpoint, for_training=True, dtype=weights)
    torch.manual_seed(1)
    model = models.make_trainable(student.model, config_of(weights=weights))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=size)
    return models.Student(model.eval(), student.processor)


def test_merged_is_the_float32_sum_rounded_once(checkpoint):
    """By hand: W + alpha / r * B A in float64, to bfloat16; one rounding is the nearest there is."""
    model = adapted(checkpoint, "bfloat16", 0.02).model
    parts = {name: p.detach().double() for name, p in model.named_parameters()}
    whole, _ = merged(copy.deepcopy(model))
    found = dict(whole.named_parameters())
    prefix = "base_model.model."
    layers = [name.removesuffix("lora_A.default.weight") for name in parts if "lora_A" in name]
    assert layers
    for layer in layers:
        change = parts[layer + "lora_B.default.weight"] @ parts[layer + "lora_A.default.weight"]
        exact = parts[layer + "base_layer.weight"] + 32 / 8 * change
        stored = found[layer.removeprefix(prefix) + "weight"]
        assert stored.dtype == torch.bfloat16
        off = (stored != exact.to(torch.bfloat16)).double().mean()
        assert off < 1e-3  # ties of float32 with float64
    assert not [name for name in found if "lora" in name]


@pytest.mark.parametrize(("weights", "near"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_a_merged_checkpoint_says_what_the_adapters_said(checkpoint, examples, tmp_path, weights, near):
    student = adapted(checkpoint, weights, 0.1)
    base = models.load(checkpoint, for_training=True, dtype=weights)
    batch = collator_for(base, config_of(), "align")(examples)
    with torch.no_grad():
        before, own = (score(model, batch).logps for model in (base.model, student.model))
    models.save(models.Student(merged(student.model)[0], student.processor), tmp_path / "student")
    again = models.load(tmp_path / "student", for_training=True, dtype=weights)
    with torch.no_grad():
        left = score(again.model, batch).logps
    assert float((own - before).abs().max()) > 10 * near
    torch.testing.assert_close(left, own, atol=near, rtol=0)


def test_what_rounding_swallows_is_said(checkpoint, capsys):
    """Weights of 0.02 have steps of 6e-5 in bfloat16: adapters far below are gone, far above are there."""
    said = {}
    for weights, size in (("bfloat16", 0.1), ("bfloat16", 1e-5), ("float32", 1e-5)):
        capsys.readouterr()
        kept = merged(adapted(checkpoint, weights, size).model)[1]
        said[weights, size] = (kept, "learning_rate" in capsys.readouterr().err)
    assert said["bfloat16", 0.1][0] == pytest.approx(1, abs=0.01)
    assert said["bfloat16", 1e-5][0] < 0.5
    assert said["float32", 1e-5][0] == pytest.approx(1, abs=0.01)
    assert [loud for _, loud in said.values()] == [False, True, False]


# ---- gradient checkpointing ---------------------------------------------------------------------


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_computing_layers_again_changes_nothing(checkpoint, examples, tmp_path, monkeypatch, tuner):
    """Same losses to 1e-6 over six steps; each MLP runs twice per step where layers run again."""
    calls = []
    forward = Qwen2MLP.forward

    def counted(self, *args, **kwargs):
        calls.append(torch.is_grad_enabled())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Qwen2MLP, "forward", counted)
    losses, runs = {}, {}
    for on in (False, True):
        calls.clear()
        config = config_of(tuner=tuner, gradient_checkpointing=on, learning_rate=1e-3)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="`gradient_checkpointing")
            rows, _ = trained(checkpoint, examples, tmp_path / str(on), config)
        losses[on] = [row["loss"] for row in rows if "loss" in row]
        runs[on] = sum(calls)
    assert len(losses[True]) == 6
    assert losses[True] == pytest.approx(losses[False], abs=1e-6)
    assert losses[True][-1] < losses[True][0]
    assert (runs[False], runs[True]) == (2 * 6, 2 * 2 * 6)
