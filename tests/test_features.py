"""Hidden features: the stock model's last hidden state at the last prompt token, in any batch."""

import numpy as np
import pytest
import tiny_families as tiny
import torch
from test_policy import IMAGES, QUESTIONS, encoded

from driftbound.learning import features, models
from driftbound.learning.policy import LocalPolicy
from driftbound.phantom_base import resolve_base
from driftbound.protocols import Featured


@pytest.fixture(scope="module")
def policy() -> LocalPolicy:
    return LocalPolicy.load(resolve_base("phantom-base"))


def test_features_are_the_stock_model_s(policy):
    """Three prompts of different lengths, one without an image; each alone by transformers."""
    stock = models.load(resolve_base("phantom-base"))
    expected = []
    for question, images in zip(QUESTIONS, IMAGES, strict=True):
        batch = encoded(stock, question, images)
        with torch.no_grad():
            states = stock.model(**batch, output_hidden_states=True).hidden_states
        expected.append(states[-1][0, -1].numpy())
    found = policy.features(QUESTIONS, IMAGES, batch_size=3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    np.testing.assert_allclose(policy.features(QUESTIONS, IMAGES, batch_size=2), found, atol=1e-5)


def test_the_head_reads_the_features(policy):
    """What the head makes of them is the distribution of the answer's first token."""
    found = torch.from_numpy(policy.features(QUESTIONS[:1], IMAGES[:1], batch_size=1))
    with torch.no_grad():
        head = policy.model.get_output_embeddings()(found).log_softmax(-1).numpy()[0]
    first = policy.distributions(QUESTIONS[0], IMAGES[0], "Edema: present.")[0]
    np.testing.assert_allclose(head, first, atol=1e-4)


def test_nothing_is_left_behind(policy):
    head, side = policy.model.get_output_embeddings(), policy.processor.tokenizer.padding_side
    policy.features(QUESTIONS[:1], IMAGES[:1], batch_size=1)
    assert not head._forward_pre_hooks
    assert policy.processor.tokenizer.padding_side == side
    assert isinstance(policy, Featured)


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_every_family_in_a_batch_with_a_longer_prompt(name):
    """Three tokens of padding behind the prompt change nothing: the head makes the stock model's logits."""
    model = tiny.build(name)
    prompt = tiny.prompts(name, model)[0]
    with torch.no_grad():
        expected = model(**prompt, attention_mask=torch.ones_like(prompt["input_ids"])).logits[0, -1]
        tail = torch.zeros(1, 3, dtype=torch.long)
        mask = torch.cat([torch.ones_like(prompt["input_ids"]), tail], 1)
        kind = tiny.FAMILIES[name].types
        longer = {key: torch.cat([prompt[key], tail], 1) for key in ("input_ids", kind) if key}
        found = torch.from_numpy(features._last(model, prompt | longer | {"attention_mask": mask})).double()
        torch.testing.assert_close(model.get_output_embeddings()(found)[0], expected, rtol=0, atol=1e-5)
