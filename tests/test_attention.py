"""Attention block by block, against sdpa under the whole mask."""

import copy
from types import SimpleNamespace

import pytest
import tiny_families as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_families import batch_of, collator
from torch.nn.functional import scaled_dot_product_attention

from driftbound.config import AlignConfig
from driftbound.errors import ConfigError
from driftbound.learning import attention
from driftbound.learning.attention import (
    BRANCHES,
    FLEX,
    Stretch,
    attend,
    block_mask,
    branch_layout,
    layout_of,
)
from driftbound.learning.families import collator_for
from driftbound.learning.logprobs import score
from driftbound.learning.models import Student
from driftbound.learning.packing import Answer, Segment, branch_mask, lay_out

SEGMENTS = st.tuples(st.integers(1, 9), st.lists(st.integers(1, 8), max_size=4))
"""Tokens of a prompt, and of each of its answers."""


def laid(rows):
    """Segments and branches of rows of ``(prompt, answers)``."""
    made = [
        [
            Segment([1] * prefix, 0, [Answer([1] * tokens, [1.0] * tokens, slot=0) for tokens in answers])
            for prefix, answers in row
        ]
        for row in rows
    ]
    batch = lay_out(made, pad=0)
    return batch["segment"], batch["branch"]


def test_layout_by_hand():
    """Two cases in a row, and a shorter row with its padding."""
    segment, branch = laid([[(2, [2, 1]), (1, [2])], [(3, [])]])
    assert layout_of(segment, branch) == (
        (Stretch(2, (2, 1)), Stretch(1, (2,))),
        (Stretch(3, ()), Stretch(5, (), padding=True)),
    )


@pytest.mark.parametrize("dropout", [0.0, 1e-30])
@given(
    rows=st.lists(st.lists(SEGMENTS, min_size=1, max_size=3), min_size=1, max_size=3),
    groups=st.sampled_from([1, 2]),
)
def test_blocks_equal_the_whole_mask_in_value_and_gradient(dropout, rows, groups):
    """By the kernel below sdpa, and with a dropout (of next to nothing) by sdpa; in float64."""
    segment, branch = laid(rows)
    r, t = segment.shape
    shapes = [(r, 4, t, 8), (r, 4 // groups, t, 8), (r, 4 // groups, t, 8)]
    generator = torch.Generator().manual_seed(t)
    given_ = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    query, key, value = (each.requires_grad_() for each in given_)
    whole = [each.repeat_interleave(groups, dim=1) for each in (key, value)]
    mask = branch_mask(segment, branch)
    expected = scaled_dot_product_attention(query, *whole, attn_mask=mask, scale=0.5).transpose(1, 2)
    module = SimpleNamespace(num_key_value_groups=groups)
    found, _ = attend(module, query, key, value, branch_layout(segment, branch), dropout, 0.5)
    real = (segment >= 0)[:, :, None, None]
    torch.testing.assert_close(found * real, expected * real, rtol=0, atol=1e-12)
    wanted = torch.randn(found.shape, generator=generator, dtype=torch.float64) * real
    gradients = [
        torch.autograd.grad((each * wanted).sum(), (query, key, value)) for each in (found, expected)
    ]
    for got, right in zip(*gradients, strict=True):
        torch.testing.assert_close(got, right, rtol=0, atol=1e-12)


def test_padding_gets_zeros():
    segment, branch = laid([[(4, [2])], [(1, [1])]])
    states = torch.randn(2, 1, 6, 8)
    found, _ = attend(SimpleNamespace(), states, states, states, branch_layout(segment, branch))
    assert found[1, 2:].abs().max() == 0
    assert found[1, :2].abs().max() > 0


def test_large_scores_do_not_overflow():
    """Prompt and own tokens are weighed by logsumexps that a plain sum of exponentials would not hold."""
    segment, branch = laid([[(2, [2])]])
    states = 100 * torch.randn(1, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    states.requires_grad_()
    found, _ = attend(SimpleNamespace(), states, states, states, branch_layout(segment, branch), scaling=1.0)
    mask = branch_mask(segment, branch)
    expected = scaled_dot_product_attention(states, states, states, attn_mask=mask, scale=1.0)
    torch.testing.assert_close(found, expected.transpose(1, 2))
    assert torch.autograd.grad(found.sum(), states)[0].isfinite().all()


def test_without_packed_rows_it_is_sdpa():
    """With a mask of padding, and when generating; also a copy of the model."""
    plain = tiny.build("Qwen2")
    other = copy.deepcopy(plain)
    other.get_decoder().set_attn_implementation(BRANCHES)
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
    seen = (ids > 0).long()
    for model in (other, copy.deepcopy(other)):
        assert torch.equal(model(ids, attention_mask=seen).logits, plain(ids, attention_mask=seen).logits)
        options = {"max_new_tokens": 5, "do_sample": False}
        assert torch.equal(model.generate(ids[:1], **options), plain.generate(ids[:1], **options))


# ---- FlexAttention ------------------------------------------------------------------------------


@given(rows=st.lists(st.lists(SEGMENTS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_the_rule_of_the_block_mask_is_that_of_the_mask(rows):
    """Asked for every pair of tokens."""
    segment, branch = laid(rows)
    rule = block_mask(segment, branch).mask_mod
    r, t = segment.shape
    row, query, key = torch.meshgrid(torch.arange(r), torch.arange(t), torch.arange(t), indexing="ij")
    assert torch.equal(rule(row, torch.zeros_like(row), query, key), branch_mask(segment, branch)[:, 0])


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL", "Qwen3-VL", "Llama"])
def test_flex_gives_the_same_scores(name, monkeypatch):
    """Forward and uncompiled, which is all that a CPU can do of it; in rows with padding."""
    model = tiny.build(name)
    longest = max(prompt["input_ids"].shape[1] for prompt in tiny.prompts(name, model))
    batch = batch_of(collator(name, model, longest + 10))
    stock, calls = attention.flex_attention_forward, []
    monkeypatch.setattr(
        attention, "flex_attention_forward", lambda *a, **k: (calls.append(1), stock(*a, **k))[1]
    )
    with torch.no_grad():
        expected = score(model, batch).logps
        model.get_decoder().set_attn_implementation(FLEX)
        with torch.compiler.set_stance("force_eager"):
            found = score(model, batch).logps
    assert len(calls) == model.config.get_text_config().num_hidden_layers
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_flex_is_refused_where_it_cannot_go_backward():
    student = Student(tiny.build("LLaVA"), tiny.PROCESSOR)
    with pytest.raises(ConfigError, match=r"needs a CUDA GPU\. Set attention: branches"):
        collator_for(student, AlignConfig(attention="flex"), "align")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
def test_flex_gives_the_same_gradients(name):
    """In float32, to rounding."""
    model = tiny.build(name).float().cuda()
    batch = collator(name, model, 4000)
    tensors = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in batch_of(batch).items()}
    found = []
    for kind in (BRANCHES, FLEX):
        model.get_decoder().set_attn_implementation(kind)
        model.zero_grad()
        score(model, tensors).logps.sum().backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    largest = max(float(each.abs().max()) for each in found[0].values())
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-3, atol=1e-5 * largest, msg=key)
