"""Two passes, row by row, against one pass over everything."""

import peft
import pytest
import tiny_families as tiny
import torch
from test_families import EXAMPLES, collator
from test_learning import align, checkpoint, config_of, examples, metrics, weights

from driftbound.config import AlignConfig
from driftbound.learning import models
from driftbound.learning.families import collator_for
from driftbound.learning.goals import Alignment, Bootstrapping, FineTuning
from driftbound.learning.logprobs import score
from driftbound.learning.reference import reference_logps
from driftbound.learning.training import train
from driftbound.learning.two_pass import backward_in_parts

__all__ = ["checkpoint", "examples"]  # fixtures

GOALS = {
    "plackett_luce": {},
    "pairwise": {"objective": "pairwise"},
    "anchor": {"anchor": 0.5},
    "per token": {"length_normalised": True},
    "nca": {"nca": 0.7},
    "dpop": {"dpop": 3.0, "anchor": 0.5},
}


def goal(**changes) -> Alignment:
    plain = {"objective": "plackett_luce", "beta": 2.0, "anchor": 0.0, "length_normalised": False}
    return Alignment(**plain | changes, teachers=("one", "two"))


def batch_of(collate, apart):
    collate.apart = apart
    batch = collate(EXAMPLES)
    for part in batch.get("parts", [batch]):
        part["token_weights"] = part["token_weights"].double()
    batch["log_weights"] = torch.tensor([[0.0, 0.3, -0.7], [0.0, 0.1, 0.2]])
    batch["reference"] = torch.tensor([[-20.0, -4.0, -9.0], [-6.0, 0.0, -11.0]], dtype=torch.float64)
    return batch


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def two_passes(model, batch, objective, **more):
    parts = [part | {"valid": batch["valid"]} for part in batch["parts"]]
    return backward_in_parts(
        parts,
        lambda part: score(model, part),
        lambda scores: objective(scores, batch)[0],
        torch.Tensor.backward,
        linear=objective.linear,
        **more,
    )


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    largest = max(float(value.abs().max()) for value in wanted.values())
    for key, value in wanted.items():
        torch.testing.assert_close(got[key], value, rtol=1e-7, atol=1e-11 * largest, msg=key)


@pytest.mark.parametrize("row_tokens", [0, 40, 4000])
@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
@pytest.mark.parametrize("kind", [*GOALS, "bootstrapping", "sft"])
def test_two_passes_give_the_gradient_of_one(name, kind, row_tokens):
    """In float64; each answer a row, cases split over rows, all in one row."""
    model = tiny.build(name)
    alone = {"bootstrapping": Bootstrapping, "sft": FineTuning}
    objective = alone[kind]() if kind in alone else goal(**GOALS[kind])
    collate = collator(name, model, row_tokens)
    whole = batch_of(collate, apart=False)
    expected = score(model, whole)
    objective(expected, whole)[0].backward()
    wanted = gradients(model)
    apart = batch_of(collate, apart=True)
    assert len(apart["parts"]) == len(whole["input_ids"])
    found = two_passes(model, apart, objective)
    assert_same(gradients(model), wanted)
    torch.testing.assert_close(found.logps, expected.logps.detach(), rtol=0, atol=1e-9)
    assert torch.equal(found.tokens, expected.tokens)
    assert objective.size(apart) == objective.size(whole)


def test_one_row_at_a_time_and_no_more_forwards_than_needed(monkeypatch):
    """Five answers: ten forwards for a preference, five where the first pass would say nothing new."""
    model = tiny.build("LLaVA")
    rows = []
    model.get_decoder().register_forward_hook(lambda m, a, output: rows.append(output[0].shape[0]))
    batch = batch_of(collator("LLaVA", model, 0), apart=True)
    two_passes(model, batch, goal())
    assert rows == [1] * 10
    rows.clear()
    two_passes(model, batch, Bootstrapping())
    assert rows == [1] * 5


def test_forwards_for_the_sake_of_others_count_nothing():
    model = tiny.build("LLaVA")
    batch = batch_of(collator("LLaVA", model, 0), apart=True)
    expected = two_passes(model, batch, goal())
    wanted = gradients(model)
    found = two_passes(model, batch, goal(), forwards=8)
    assert_same(gradients(model), wanted)
    assert torch.equal(found.logps, expected.logps)


def test_both_passes_draw_the_same_random_numbers():
    """With dropout the first pass must know the rewards that the second has."""
    model = tiny.build("LLaVA")
    decoder = [n for n, m in model.named_modules() if "language" in n and isinstance(m, torch.nn.Linear)]
    lora = peft.LoraConfig(r=2, lora_dropout=0.5, target_modules=decoder, init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, lora).double().train()
    batch = batch_of(collator("LLaVA", model, 0), apart=True)
    seen = []

    def spied(part):
        seen.append(score(adapted, part))
        return seen[-1]

    parts = [part | {"valid": batch["valid"]} for part in batch["parts"]]
    backward_in_parts(
        parts, spied, lambda scores: goal()(scores, batch)[0], torch.Tensor.backward, linear=False
    )
    first, second = seen[: len(parts)], seen[len(parts) :]
    assert all(torch.equal(a.logps, b.logps) for a, b in zip(first, second, strict=True))
    assert not torch.equal(seen[0].logps, score(adapted, parts[0]).logps)  # they are random


@pytest.mark.parametrize("kind", ["bootstrap", "align"])
def test_a_training_in_two_passes_is_the_same_training(checkpoint, examples, tmp_path, kind):
    """Losses, what else is logged, and the student; the recipe's word reaches the trainer."""
    rows = {}
    for name, two in (("1-one", False), ("1-two", True)):
        student, folder = models.load(checkpoint), tmp_path / name
        rows[name] = []
        student.model.get_decoder().register_forward_hook(
            lambda m, a, output, seen=rows[name]: seen.append(output[0].shape[0])
        )
        config = config_of(AlignConfig, two_pass=two, groups_per_forward=2, row_tokens=150)
        collate = collator_for(student, config, "align")
        folder.mkdir()
        collate.reference = reference_logps(
            student.model, collate, examples, batch_size=2, path=folder / "reference.jsonl"
        )
        objective = align(anchor=0.5) if kind == "align" else Bootstrapping()
        train(student, collate, examples, examples[:1], objective, config, seed=0, folder=folder)
    assert max(rows["1-one"]) > 1
    assert {*rows["1-two"]} == {1}
    one, two = metrics(tmp_path / "1-one"), metrics(tmp_path / "1-two")
    assert len(one) == 3
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            assert other[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key
    first, second = weights(tmp_path / "1-one"), weights(tmp_path / "1-two")
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 1e-3
