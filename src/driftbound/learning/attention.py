"""Attention over packed rows: a prompt against itself, each answer against its prompt and itself, no more."""

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from driftbound.learning.packing import PREFIX

BRANCHES = "driftbound_branches"
"""Name under which transformers finds this attention. Without packed rows it is sdpa."""
FLEX = "driftbound_flex"
"""The same by PyTorch's FlexAttention. Not transformers' own name: families forbid that who can do it."""


class Stretch(NamedTuple):
    """One prompt and its answers in a row, in tokens; or padding, without answers."""

    prefix: int
    answers: tuple[int, ...]
    padding: bool = False


Layout = tuple[tuple[Stretch, ...], ...]
"""The stretches of each row, in their order."""
Where: TypeAlias = tuple[slice, slice, slice]

_KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def layout_of(segment: Tensor, branch: Tensor) -> Layout:
    """What stands where in packed rows, from ``packing.lay_out``'s segments and branches, (R, T)."""
    rows = []
    for of_row, within in zip(segment.tolist(), branch.tolist(), strict=True):
        runs: list[list[int]] = []  # segment, branch, tokens
        for s, b in zip(of_row, within, strict=True):
            if runs and runs[-1][:2] == [s, b]:
                runs[-1][2] += 1
            else:
                runs.append([s, b, 1])
        stretches: list[Stretch] = []
        for s, b, count in runs:
            if b == 0:
                stretches.append(Stretch(count, (), padding=s < 0))
            else:
                last = stretches.pop()
                stretches.append(last._replace(answers=(*last.answers, count)))
        rows.append(tuple(stretches))
    return tuple(rows)


def branch_layout(segment: Tensor, branch: Tensor) -> Tensor:
    """In place of a mask: (R, 1, T, T) of one element, which says the layout to ``attend``."""
    rows, tokens = segment.shape
    mark = torch.ones((), dtype=torch.bool, device=segment.device).expand(rows, 1, tokens, tokens)
    mark.stretches = layout_of(segment, branch)  # type: ignore[attr-defined]
    return mark


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What sdpa gives under ``packing.branch_mask``, without the blocks that it masks; (R, T, H, D).

    ``query`` is (R, H, T, D), ``key`` and ``value`` may have fewer heads. Padding gets zeros.
    """
    layout: Layout | None = getattr(attention_mask, "stretches", None)
    if layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    groups = getattr(module, "num_key_value_groups", 1)
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast rotated ones may be wider
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if query.device.type == "cpu" and not dropout:
        out = _Merged.apply(query, key, value, layout, scaling)
    else:
        parts = zip(layout, query.split(1), key.split(1), value.split(1), strict=True)
        out = torch.cat([_row(stretches, q, k, v, dropout, scaling) for stretches, q, k, v in parts])
    return out.transpose(1, 2), None


def _row(
    stretches: tuple[Stretch, ...],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scale: float | None,
) -> Tensor:
    """One row, (1, H, T, D), by sdpa alone: each answer with a copy of its prompt's keys and values."""
    lengths = [tokens for each in stretches for tokens in (each.prefix, *each.answers)]
    pieces = [iter(each.split(lengths, dim=2)) for each in (query, key, value)]  # going back, one cat
    out: list[Tensor] = []
    for prefix, answers, padding in stretches:
        q, k, v = (next(each) for each in pieces)
        if padding:
            out.append(torch.zeros_like(q))
            continue
        out.append(scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scale))
        if not answers:
            continue
        longest = max(answers)
        own = [torch.cat([_filled(next(each), longest) for _ in answers]) for each in pieces]
        many = (len(answers), -1, -1, -1)
        seen = torch.ones(longest, prefix + longest, dtype=torch.bool, device=q.device).tril(prefix)
        found = scaled_dot_product_attention(
            own[0],
            torch.cat([k.expand(many), own[1]], dim=2),
            torch.cat([v.expand(many), own[2]], dim=2),
            attn_mask=seen,
            dropout_p=dropout,
            scale=scale,
        )
        out += [each[:, :, :tokens] for each, tokens in zip(found.split(1), answers, strict=True)]
    return torch.cat(out, dim=2)


def _filled(answer: Tensor, longest: int) -> Tensor:
    return pad(answer, (0, 0, 0, longest - answer.shape[2]))


def block_mask(segment: Tensor, branch: Tensor) -> BlockMask:
    """``packing.branch_mask`` as FlexAttention wants it, from (R, T): whole masked blocks are left out."""

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = segment[row, query] == segment[row, key]
        open_to = (branch[row, key] == PREFIX) | (branch[row, query] == branch[row, key])
        return same & open_to & (key <= query)

    rows, tokens = segment.shape
    return create_block_mask(visible, rows, None, tokens, tokens, device=segment.device.type)


def attend_flexibly(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """FlexAttention under a ``block_mask``, else sdpa; shapes as in ``attend``."""
    if not isinstance(attention_mask, BlockMask):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    query, key = query.to(value.dtype), key.to(value.dtype)  # it takes one dtype; see ``attend``
    return flex_attention_forward(module, query, key, value, attention_mask, **kwargs)


class _Merged(torch.autograd.Function):
    """The same by the kernel below sdpa on the CPU, which also gives the logsumexp of what is attended to.

    Answers attend to their prompt all at once and without copies of it, then each to itself; the two are
    weighed by their logsumexps. Going backward, a part that is asked with output and logsumexp of the whole
    knows its share of the softmax, and gives its share of the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None
    ) -> Tensor:
        out = torch.zeros_like(query)
        normal = query.new_zeros(query.shape[:3], dtype=_normal_dtype(query))
        for asking, asked, causal, first in _parts(layout):
            said, seen = _KERNEL(query[asking], key[asked], value[asked], 0.0, causal, scale=scale)
            if first:
                out[asking], normal[asking] = said, seen
                continue
            whole = torch.logaddexp(normal[asking], seen)
            before, share = (torch.exp(each - whole)[..., None] for each in (normal[asking], seen))
            out[asking] = out[asking] * before + said * share
            normal[asking] = whole
        ctx.save_for_backward(query, key, value, out, normal)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, normal = ctx.saved_tensors
        found = tuple(torch.zeros_like(each) for each in (query, key, value))
        for asking, asked, causal, _ in _parts(ctx.layout):
            shares = _BACKWARD(
                grad[asking], query[asking], key[asked], value[asked], out[asking], normal[asking],
                0.0, causal, scale=ctx.scale,
            )  # fmt: skip
            for whole, where, share in zip(found, (asking, asked, asked), shares, strict=True):
                whole[where] += share
        return (*found, None, None)


def _parts(layout: Layout) -> Iterator[tuple[Where, Where, bool, bool]]:
    """Which tokens attend to which others, as indices into (R, H, T, D); if causally, and if first."""
    for r, stretches in enumerate(layout):
        start = 0
        for prefix, answers, padding in stretches:
            ends = list(accumulate((prefix, *answers), initial=start))
            pieces = [(slice(r, r + 1), slice(None), slice(a, b)) for a, b in pairwise(ends)]
            start = ends[-1]
            if padding:
                continue
            yield pieces[0], pieces[0], True, True
            if answers:
                yield (slice(r, r + 1), slice(None), slice(ends[1], start)), pieces[0], False, True
            for piece in pieces[1:]:
                yield piece, piece, True, False


def _normal_dtype(query: Tensor) -> torch.dtype:
    return torch.float64 if query.dtype == torch.float64 else torch.float32


AttentionInterface.register(BRANCHES, attend)
AttentionMaskInterface.register(BRANCHES, sdpa_mask)
AttentionInterface.register(FLEX, attend_flexibly)
AttentionMaskInterface.register(FLEX, sdpa_mask)
