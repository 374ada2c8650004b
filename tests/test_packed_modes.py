"""Packed rows together with what large students need: checkpointing, adapters, bfloat16."""

import peft
import pytest
import tiny_families as tiny
import torch
from test_families import EXAMPLES, FACTORS, batch_of, collator

from driftbound.learning.attention import BRANCHES
from driftbound.learning.logprobs import score


def adapted(model):
    decoder = [n for n, m in model.named_modules() if "language" in n and isinstance(m, torch.nn.Linear)]
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=2, target_modules=decoder, init_lora_weights=False)
    return peft.get_peft_model(model, lora).double()


def gradients(model, batch):
    model.zero_grad()
    (score(model, batch).logps * FACTORS).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
def test_checkpointing_changes_no_gradient(name, adapters):
    """Layers that are computed again attend by the same blocks, also in rows with padding."""
    model = tiny.build(name)
    longest = max(prompt["input_ids"].shape[1] for prompt in tiny.prompts(name, model))
    batch = batch_of(collator(name, model, longest + 10))
    assert len(batch["input_ids"]) > 1
    assert model.get_decoder().config._attn_implementation == BRANCHES
    model = adapted(model) if adapters else model
    model.train()
    expected = gradients(model, batch)
    layers = []
    inner = model.get_base_model() if adapters else model
    inner.get_decoder().layers[0].self_attn.register_forward_hook(lambda *_: layers.append(1))
    inner.gradient_checkpointing_enable({"use_reentrant": False})
    found = gradients(model, batch)
    assert len(layers) == 2  # once more going backward
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
def test_bfloat16_rounds_packed_rows_no_worse_than_separate_ones(name):
    """Both against float32: packed within twice the largest deviation of separate rows."""
    model = tiny.build(name).float()
    apart = {}
    for row_tokens in (0, 4000):
        collate = collator(name, model, row_tokens)
        collate.made = tuple(
            {n: v.float() if v.is_floating_point() else v for n, v in prompt.items()}
            for prompt in collate.made
        )
        batch = collate(EXAMPLES)
        with torch.no_grad():
            exact = score(model, batch).logps
            with torch.autocast("cpu", torch.bfloat16):
                apart[row_tokens] = float((score(model, batch).logps - exact).abs().max())
    assert 0 < apart[4000] <= 2 * apart[0]
