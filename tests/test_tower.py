"""Features of a frozen tower, kept; against the same model that computes them each time."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_families as tiny
import torch
from PIL import Image
from test_families import EXAMPLES, FACTORS, PACKABLE, collator

from driftbound.learning.collator import _key
from driftbound.learning.logprobs import score
from driftbound.learning.models import vision_modules
from driftbound.learning.tower import forget_features, keep_features, kept_features, tower_is_trained

SEEING = [name for name in PACKABLE if tiny.FAMILIES[name].pictures[0]]
SHOWN = [replace(example, images=(Path(f"{example.case_id}.png"),)) for example in EXAMPLES]
"""Prompts are made by hand, but their images have names."""


def frozen(name):
    model = tiny.build(name)
    for parameter in vision_modules(model)[0].parameters():
        parameter.requires_grad_(False)
    return model


def asked(model):
    """A list that grows when the tower computes something."""
    calls = []
    vision_modules(model)[0].register_forward_hook(lambda *_: calls.append(1))
    return calls


def measured(model, collate, examples=SHOWN):
    """Scores and the gradient of every weight."""
    model.zero_grad()
    batch = collate(examples)
    logps = score(model, batch | {"token_weights": batch["token_weights"].double()}).logps
    (logps * FACTORS[: len(examples)]).sum().backward()
    return logps.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "row_tokens"),
    [*itertools.product(SEEING, [0, 40, 4000]), ("Gemma 3", 0), ("PaliGemma", 0)],
)
def test_kept_features_change_nothing(name, row_tokens):
    """Neither in scores nor in gradients, a projector's among them; cases apart, split, and in one row."""
    model = frozen(name)
    collate = collator(name, model, row_tokens)
    logps, gradients = measured(model, collate)
    with kept_features(model, 1) as cache:
        for _ in range(2):
            again, others = measured(model, collate)
            torch.testing.assert_close(again, logps, rtol=0, atol=1e-9)
            assert others.keys() == gradients.keys()
            for key, value in gradients.items():
                torch.testing.assert_close(others[key], value, rtol=1e-6, atol=1e-9, msg=key)
        assert cache.computed == len(SHOWN)
    logps_after, _ = measured(model, collate)
    torch.testing.assert_close(logps_after, logps, rtol=0, atol=0)


def test_each_case_is_computed_once_whatever_it_comes_with():
    model = frozen("LLaVA")
    collate = collator("LLaVA", model, 4000)
    expected, _ = measured(model, collate)
    with kept_features(model, 1) as cache:
        with torch.no_grad():
            for example in reversed(SHOWN):  # a reference, case by case, in another order
                score(model, collate([example]))
        assert cache.computed == 2
        found, _ = measured(model, collate)
        assert cache.computed == 2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_other_images_are_other_features():
    """The same question with another image must not get the first one's features."""
    model = frozen("LLaVA")
    collate = collator("LLaVA", model, 4000)
    other = [replace(example, images=(Path("other.png"),)) for example in SHOWN[:1]]
    with kept_features(model, 1) as cache:
        first = score(model, collate(SHOWN[:1])).logps
        collate.made[0]["pixel_values"] = -collate.made[0]["pixel_values"]
        assert not torch.allclose(score(model, collate(other)).logps, first)
        assert cache.computed == 2


def test_what_comes_first_stays_when_memory_is_short():
    """Room for one image's features (16 patches and a class token of 32 numbers in float64), not for two."""
    model = frozen("LLaVA")
    collate = collator("LLaVA", model, 4000)
    expected, _ = measured(model, collate)
    with kept_features(model, 1) as cache:
        cache.limit = 3 * 17 * 32 * 8 // 2
        for _ in range(3):
            found, _ = measured(model, collate)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        assert len(cache.kept) == 1
        assert cache.used <= cache.limit
        assert cache.computed == 1 + 3


def test_of_a_tower_that_merges_patches_only_the_tokens_are_kept():
    """Qwen2.5-VL: 4 x 8 and 6 x 4 patches are 8 and 6 tokens of 32 numbers in float64."""
    model = frozen("Qwen2.5-VL")
    with kept_features(model, 1) as cache, torch.no_grad():
        score(model, collator("Qwen2.5-VL", model, 4000)(SHOWN))
        assert cache.used == (8 + 6) * 32 * 8


def test_a_case_without_image_beside_one_with():
    model = frozen("LLaVA")
    collate = collator("LLaVA", model, 4000)
    text = torch.tensor([[2, 5, 7, 8]])
    collate.made = (collate.made[0], {"input_ids": text})
    mixed = [SHOWN[0], replace(SHOWN[1], images=())]
    expected, _ = measured(model, collate, mixed)
    with kept_features(model, 1) as cache:
        found, _ = measured(model, collate, mixed)
        assert cache.computed == 1
        score(model, collate(mixed[1:]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_images_that_differ_have_other_keys():
    """Also those whose names, or pixels, run together to the same."""
    flat, tall = Image.new("L", (4, 1)), Image.new("L", (1, 4))
    shown = [(Path("a"), Path("bc")), (Path("ab"), Path("c")), (Path("bc"), Path("a"))]
    shown += [(flat,), (tall,), (flat, flat), (flat.convert("P"),), ()]
    assert len({_key(images) for images in shown}) == len(shown)
    assert _key((flat,)) == _key((flat.copy(),))


def test_nothing_is_kept_without_images_or_memory():
    with kept_features(tiny.build("Llama"), 1) as cache:
        assert cache is None
    with kept_features(tiny.build("LLaVA"), 0) as cache:
        assert cache is None


def test_the_model_is_left_as_it_was():
    model = tiny.build("LLaVA")
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    keep_features(model, 1)
    assert "get_image_features" in vars(model.model)
    forget_features(model)
    forget_features(model)
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


def test_who_trains_a_tower():
    assert tower_is_trained(tiny.build("LLaVA"))
    assert not tower_is_trained(frozen("LLaVA"))
    assert not tower_is_trained(tiny.build("Llama"))
