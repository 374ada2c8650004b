"""A shared prefix against prompts of their own: the same texts, counts and log-probabilities."""

import pytest
import tiny_families as tiny
import torch
from test_policy import IMAGES, QUESTIONS, png

from driftbound.errors import ModelError
from driftbound.learning import policy as policies
from driftbound.learning.policy import LocalPolicy
from driftbound.learning.prefix import lent, may_share, sharing
from driftbound.phantom_base import resolve_base

LONG = "Read these: " + "No edema. Effusion on the left. " * 6
WHOSE = [0, 1, 0, 0, 1, 2]
"""Rows of three prompts, of different length, one of them without an image, one asked once."""
ASKED = [LONG, *QUESTIONS[1:]]
TEMPERATURES = [0.0, 0.0, 2.0, 2.5, 2.0, 3.0]
SEEDS = [21, 22, 23, 24, 25, 26]
LENDABLE = [name for name in tiny.FAMILIES if name not in ("Gemma 3", "PaliGemma") and "-VL" not in name]


@pytest.fixture(scope="module")
def policy() -> LocalPolicy:
    return LocalPolicy.load(resolve_base("phantom-base"))


def test_same_prompts_are_found():
    """A prompt is its question and its images, in order; images in memory are told apart by who they are."""
    a, b = png(0), png(1)
    questions = ["q", "q", "q", "r", "q", "q"]
    images = [[a, b], [b, a], [png(0), png(1)], [a, b], [], [a, b]]
    assert sharing(questions, images) == ([0, 1, 3, 4], [0, 1, 0, 2, 3, 0])


def test_texts_are_those_of_separate_prompts(policy, monkeypatch):
    """Greedy and drawn, in one batch of six rows; each row asked alone is the yardstick."""
    borrowed = []
    monkeypatch.setattr(policies, "lent", lambda *given: borrowed.append(given[2]) or lent(*given))
    asked = {
        "questions": [ASKED[n] for n in WHOSE],
        "images": [IMAGES[n] for n in WHOSE],
        "temperature": TEMPERATURES,
        "seeds": SEEDS,
    }
    together = policy.complete(**asked, max_new_tokens=40, logprobs=2)
    assert borrowed == [WHOSE]
    alone = [
        policy.complete(
            [asked["questions"][n]],
            [asked["images"][n]],
            max_new_tokens=40,
            temperature=TEMPERATURES[n],
            seeds=[SEEDS[n]],
            logprobs=2,
        )[0]
        for n in range(6)
    ]
    assert borrowed == [WHOSE]  # a prompt that stands there once is read as ever
    for got, expected in zip(together, alone, strict=True):
        assert (got.text, got.ended) == (expected.text, expected.ended)
        assert got.prompt_tokens == expected.prompt_tokens
        assert got.completion_tokens == expected.completion_tokens
        logps = [[entry["logprob"] for entry in each.logprobs] for each in (got, expected)]
        assert logps[0] == pytest.approx(logps[1], abs=1e-4)
    assert len({each.text for each in together}) == 6  # else it would not be known whose is whose


def test_another_prefix_gives_another_text(policy, monkeypatch):
    """The comparison above can fail: rows that borrow the other prompt's prefix are found out."""
    monkeypatch.setattr(policies, "lent", lambda model, batch, whose: lent(model, batch, [1, 0, 1]))
    asked = [ASKED[0], ASKED[1], ASKED[0]], [IMAGES[0], IMAGES[1], IMAGES[0]]
    wrong = policy.generate(*asked, max_new_tokens=30)
    monkeypatch.undo()
    assert wrong != policy.generate(*asked, max_new_tokens=30)


def test_each_prompt_is_read_once(policy):
    """Tokens that pass through the decoder before the first answer's token: of two prompts, not of six."""
    read, images = [], []
    decoder = policy.model.get_decoder()
    handles = [
        decoder.register_forward_pre_hook(
            lambda _m, _a, given: read.append(tuple(given["inputs_embeds"].shape[:2])), with_kwargs=True
        ),
        policy.model.get_input_embeddings().register_forward_hook(lambda *_: None),
        policy.model.model.vision_tower.register_forward_hook(lambda _m, given, _o: images.append(given)),
    ]
    try:
        policy.generate([ASKED[0]] * 3 + [ASKED[1]] * 3, [IMAGES[0]] * 3 + [IMAGES[1]] * 3, max_new_tokens=3)
    finally:
        for handle in handles:
            handle.remove()
    assert read[0][0] == 2  # the prompts
    assert read[1:] == [(6, 1)] * 3
    assert len(images) == 1


@pytest.mark.parametrize("name", LENDABLE)
def test_every_family_that_may_share_writes_the_same(name):
    """Models of all families, two prompts of different length, float64: logits of the answers to 1e-9."""
    model = tiny.build(name)
    assert may_share(model)
    for prompt in tiny.prompts(name, model):
        prompt |= {"attention_mask": torch.ones_like(prompt["input_ids"])}
        settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        settings |= {"output_logits": True, "return_dict_in_generate": True}
        expected = model.generate(**prompt, **settings)
        got = model.generate(**lent(model, prompt, [0, 0, 0]), **settings)
        assert got.sequences.tolist() == expected.sequences.tolist() * 3
        for ours, theirs in zip(got.logits, expected.logits, strict=True):
            assert torch.allclose(ours, theirs.expand(3, -1), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["Qwen2-VL", "Qwen3-VL", "Gemma 3", "PaliGemma"])
def test_families_without_that_proof_read_each_prompt(name):
    assert not may_share(tiny.build(name))


def test_each_row_needs_its_temperature(policy):
    with pytest.raises(ModelError, match="1 temperatures for 2 questions"):
        policy.generate(ASKED[:2], IMAGES[:2], max_new_tokens=3, temperature=[0.5], seeds=[1, 2])
