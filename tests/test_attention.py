"""Attention block by block, against sdpa under the whole mask."""

import copy
from types import SimpleNamespace

import pytest
import tiny_families as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from driftbound.learning.attention import BRANCHES, Stretch, attend, branch_layout, layout_of
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
