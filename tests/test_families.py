"""Packed, or repeated prefixes, against the stock model asked one answer at a time, for each family."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import tiny_families as tiny
import torch
import transformers as hf
from PIL import Image
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from driftbound.config import BootstrapConfig
from driftbound.errors import ModelError
from driftbound.learning import families
from driftbound.learning.architecture import train_tokenizer
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator, encode_prompts
from driftbound.learning.logprobs import distributions, score
from driftbound.learning.models import Student

ANSWERS = (("20 21 22 23 24 25", "26", "27 28 29"), ("30 31", None, "32 33 34 35"))
EXAMPLES = [
    Example(
        case_id=str(n),
        question=str(n),
        images=(),
        candidates=tuple(None if text is None else Candidate(text=text) for text in texts),
    )
    for n, texts in enumerate(ANSWERS)
]
FACTORS = torch.tensor([[0.5, 0.7, 0.9], [1.1, 1.3, 1.5]], dtype=torch.float64)
"""Another for every answer, so that no two errors cancel in the gradient."""
PACKABLE = [name for name in tiny.FAMILIES if name not in ("Gemma 3", "PaliGemma")]
MROPE = ["Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL"]


def collator(name, model, row_tokens):
    """As the trainings make it, with prompts made by hand."""
    made = families.collator_for(
        Student(model, tiny.PROCESSOR), BootstrapConfig(max_length=512, row_tokens=row_tokens), "bootstrap"
    )
    fields = {key: getattr(made, key) for key in ("row_tokens", "positions", "answer_types")}
    collate = tiny.Collator(processor=tiny.PROCESSOR, max_length=512, **fields)
    collate.made = tuple(tiny.prompts(name, model))
    return collate


def batch_of(collate):
    batch = collate(EXAMPLES)
    return batch | {"token_weights": batch["token_weights"].double()}


def stock_logp(name, model, prompt, text):
    """One prompt, one answer, the model's own mask and positions: log-softmax over all its logits."""
    answer = torch.tensor([[*map(int, text.split()), 1]])
    start, count = prompt["input_ids"].shape[1], answer.shape[1]
    inputs = prompt | {"input_ids": torch.cat([prompt["input_ids"], answer], 1)}
    if kind := tiny.FAMILIES[name].types:
        marks = torch.full_like(answer, tiny.FAMILIES[name].answer_type)
        inputs[kind] = torch.cat([prompt[kind], marks], 1)
    whole = inputs["input_ids"]
    logps = model(**inputs, attention_mask=torch.ones_like(whole), use_cache=False).logits[0].log_softmax(-1)
    return logps[start - 1 : start - 1 + count].gather(1, answer[0][:, None]).sum()


def stock_logps(name, model):
    made = tiny.prompts(name, model)
    rows = [
        [
            torch.zeros((), dtype=torch.float64) if t is None else stock_logp(name, model, made[n], t)
            for t in texts
        ]
        for n, texts in enumerate(ANSWERS)
    ]
    return torch.stack([torch.stack(row) for row in rows])


def gradients(model, logps):
    model.zero_grad()
    (logps * FACTORS).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_equal_to_stock(name, model, batch):
    """In value and in every gradient, tower included."""
    expected, found = stock_logps(name, model), score(model, batch).logps
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    wanted, got = gradients(model, expected), gradients(model, found)
    assert wanted.keys() == got.keys()
    if tiny.FAMILIES[name].pictures[0]:
        assert any("vision" in key or "visual" in key for key in wanted)
    largest = max(float(value.abs().max()) for value in wanted.values())
    for key, value in wanted.items():  # some, as a key's bias, are 0 but for rounding
        allowed = 1e-6 * float(value.abs().max()) + 1e-12 * largest
        assert float((got[key] - value).abs().max()) <= allowed, key


@pytest.mark.parametrize("behind", [10, 4000])
@pytest.mark.parametrize("name", PACKABLE)
def test_packed_equals_the_stock_model(name, behind, capsys):
    """Cases split over rows (room for 10 tokens behind the longer prompt), and both cases in one row."""
    model = tiny.build(name)
    assert families.why_not_packed(model) == ""
    longest = max(prompt["input_ids"].shape[1] for prompt in tiny.prompts(name, model))
    batch = batch_of(collator(name, model, longest + behind))
    assert len(batch["input_ids"]) in ((1,) if behind == 4000 else (2, 3))
    assert batch["position_ids"].dim() == (3 if name in MROPE else 2)
    assert_equal_to_stock(name, model, batch)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_repeated_prefixes_equal_the_stock_model(name, capsys):
    """For all families; those that cannot be packed get it from `row_tokens: 4096` too, and it is said."""
    model = tiny.build(name)
    row_tokens = 0 if name in PACKABLE else 4096
    batch = batch_of(collator(name, model, row_tokens))
    assert "branch" not in batch
    assert len(batch["input_ids"]) == 5
    assert_equal_to_stock(name, model, batch)
    said = capsys.readouterr().err.split()
    reason = families.why_not_packed(model)
    assert said == (f"bootstrap: every answer has a row of its own: {reason}".split() if reason else [])


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_distributions_hold_what_the_stock_model_says(name):
    model = tiny.build(name)
    batch = batch_of(collator(name, model, 0))
    with torch.no_grad():
        expected = stock_logps(name, model)
    rows = torch.from_numpy(distributions(model, batch)).double()
    torch.testing.assert_close(rows.exp().sum(1), torch.ones(len(rows)).double(), rtol=0, atol=1e-5)
    own = rows.gather(1, batch["target"][:, None])[:, 0]
    found = torch.zeros(expected.numel()).double().index_add(0, batch["slot"], own)
    torch.testing.assert_close(found.view(expected.shape), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Gemma 3", "image tokens see each other both ways"), ("PaliGemma", "prompt see each other both ways")],
)
def test_families_with_prefixes_open_both_ways_are_refused_in_packed_rows(name, reason, monkeypatch):
    """And rightly so: let through, a mask of ours gives other numbers than the stock model."""
    model = tiny.build(name)
    assert reason in families.why_not_packed(model)
    batch = batch_of(replace_made(collator(name, model, 0), row_tokens=4096))
    with pytest.raises(ModelError, match=reason):
        score(model, batch)
    monkeypatch.setattr(families, "why_not_packed", lambda model, longest=None: "")
    with torch.no_grad():
        assert float((score(model, batch).logps - stock_logps(name, model)).abs().max()) > 1e-3


def replace_made(collate, **changes):
    other = replace(collate, **changes)
    other.made = collate.made
    return other


def test_paligemma_is_refused_where_its_answers_are_not_marked():
    """With 0 on answers they would see their own future; off by nats, without an error from the model."""
    model = tiny.build("PaliGemma")
    batch = batch_of(replace_made(collator("PaliGemma", model, 0), answer_types={}))
    with pytest.raises(ModelError, match="token_type_ids must be 1"):
        score(model, batch)
    del batch["token_type_ids"]
    with pytest.raises(ModelError, match="token_type_ids must be 1"):
        score(model, batch)


def test_paligemma_batch_is_what_its_own_training_processor_makes(tmp_path):
    """With `suffix=` that one builds prompt and answer itself: same tokens, types and attention."""
    Image.new("RGB", (16, 16), (9, 99, 9)).save(tmp_path / "a.png")
    tokenizer = train_tokenizer(["what is seen", "a cat on the mat"], 300)
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    images = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    images.image_seq_length = 4
    template = "<image>{{ messages[0]['content'][1]['text'] }}"
    processor = hf.PaliGemmaProcessor(images, tokenizer, chat_template=template)
    types = families.answer_types(tiny.build("PaliGemma"))
    collate = MultiStreamCollator(processor=processor, max_length=64, answer_types=types)
    case = Example(
        case_id="a",
        question="what is seen",
        images=(tmp_path / "a.png",),
        candidates=(Candidate(text="a cat"), Candidate(text="a cat on the mat")),
    )
    batch = collate([case])
    assert "labels" not in batch
    for row, candidate in enumerate(case.candidates):
        expected = processor(
            images=[Image.open(case.images[0])],
            text=["<image>what is seen"],
            suffix=[candidate.text],
            return_tensors="pt",
        )
        count = expected["input_ids"].shape[1]
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            assert batch[name][row, :count].tolist() == expected[name][0].tolist(), name
        scored = expected["labels"][0][expected["labels"][0] >= 0]
        assert batch["target"][batch["slot"] == row].tolist() == scored.tolist()


@pytest.mark.parametrize("name", MROPE)
def test_flat_positions_are_refused_where_a_model_needs_three_rows(name):
    model = tiny.build(name)
    batch = batch_of(replace_made(collator(name, model, 4096), positions=None))
    with pytest.raises(ModelError, match="kind of positions"):
        score(model, batch)


def test_positions_of_an_image_prompt_by_hand():
    """2 tokens, start, 2 x 4 image tokens, end and 5 tokens: after the image 3 + max(2, 4) = 7 is next.

    The answers start at 13, the 18th token, in all three rows. A text prompt just counts.
    """
    model = tiny.build("Qwen2-VL")
    made = families.prompt_positions(model)
    time, height, width = made(tiny.prompts("Qwen2-VL", model)[0]).tolist()
    assert time == [0, 1, 2, *[3] * 8, *range(7, 13)]
    assert height == [0, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, *range(7, 13)]
    assert width == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, *range(7, 13)]
    assert made({"input_ids": torch.tensor([[5, 6]])}).tolist() == [[0, 1]] * 3
    batch = batch_of(collator("Qwen2-VL", model, 4096))
    assert batch["position_ids"][:, 0, 17].tolist() == [13, 13, 13]
    assert families.prompt_positions(tiny.build("LLaVA")) is None


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2.5-VL"])
def test_adapters_change_nothing_about_it(name):
    """A model in peft's wrapping is packed as it is without."""
    adapted = peft.get_peft_model(tiny.build(name), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    adapted.double().eval()
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                parameter.normal_()
    collate = collator(name, adapted, 4096)
    assert collate.row_tokens == 4096
    with torch.no_grad():
        found, expected = score(adapted, batch_of(collate)).logps, stock_logps(name, adapted)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_case_without_image_beside_one_with():
    """The first prompt has no picture: nothing of the second's is lost, in packed rows and without."""
    model = tiny.build("Qwen2-VL")
    made = tiny.prompts("Qwen2-VL", model)
    made[0] = {
        "input_ids": torch.tensor([[2, 5, 7]]),
        "mm_token_type_ids": torch.zeros(1, 3, dtype=torch.long),
    }
    for row_tokens in (0, 4096):
        collate = collator("Qwen2-VL", model, row_tokens)
        collate.made = tuple(made)
        with torch.no_grad():
            found = score(model, batch_of(collate)).logps
            for n, texts in enumerate(ANSWERS):
                expected = float(stock_logp("Qwen2-VL", model, made[n], texts[0]))
                assert float(found[n, 0]) == pytest.approx(expected, abs=1e-9)


def only_config(config):
    config._attn_implementation = "sdpa"
    return SimpleNamespace(config=config)


TEXT = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 4}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
OTHERS = [
    (
        lambda: hf.Qwen2Config(**TEXT, use_sliding_window=True, sliding_window=8, max_window_layers=2),
        "windows",
    ),
    (lambda: hf.MistralConfig(**TEXT, sliding_window=8), "windows"),
    (lambda: hf.Qwen3NextConfig(**TEXT), "linear attention"),
    (lambda: hf.Qwen3_5TextConfig(**TEXT), "linear attention"),
    (lambda: hf.LlamaConfig(**TEXT, rope_parameters=DYNAMIC), "scaled by the length"),
    (lambda: hf.GPT2Config(n_layer=2), "not tested with gpt2"),
    (lambda: hf.LlavaConfig(text_config=hf.PhiConfig(**TEXT)), "not tested with phi as decoder"),
]


@pytest.mark.parametrize(("config", "reason"), OTHERS, ids=[reason for _, reason in OTHERS])
def test_other_models_get_a_reason(config, reason):
    assert reason in families.why_not_packed(only_config(config()))


def test_positions_that_stretch_with_the_row_are_packed_below_that_length():
    """Beyond 512 tokens, which nothing reaches; beyond 20, which `max_length` does; beyond 10, as all do."""
    model = tiny.build("Llama")
    model.model.rotary_emb = type(model.model.rotary_emb)(dynamic(512)).double()
    model.config.rope_parameters = DYNAMIC
    assert "beyond 512" in families.why_not_packed(model)
    collate = collator("Llama", model, 4096)
    assert collate.row_tokens == 4096
    assert_equal_to_stock("Llama", model, batch_of(collate))
    model.config.max_position_embeddings = 20
    assert collator("Llama", model, 4096).row_tokens == 0
    assert families.why_not_packed(model, longest=20) == ""
    model.config.max_position_embeddings = 10
    with pytest.raises(ModelError, match="beyond 10 tokens"):
        score(model, batch_of(collate))


def dynamic(length):
    return tiny.decoder(hf.LlamaConfig, rope_parameters=DYNAMIC, max_position_embeddings=length)


def test_windows_that_no_layer_uses_are_no_reason():
    config = hf.Qwen2Config(**TEXT, use_sliding_window=False, sliding_window=8)
    assert families.why_not_packed(only_config(config)) == ""


def test_eager_decoders_are_not_packed():
    """Also where the rest of the model has sdpa."""
    model = tiny.build("LLaVA")
    model.set_attn_implementation({"text_config": "eager"})
    assert model.config._attn_implementation == "sdpa"
    assert "eager" in families.why_not_packed(model)


@pytest.mark.parametrize("name", ["final_logit_softcapping", "logits_scaling"])
def test_models_that_cap_or_scale_their_logits_are_refused(name):
    """PaliGemma 2 caps: `score` looks at what the head gives and would be wrong."""
    model = tiny.build("PaliGemma")
    setattr(model.config.text_config, name, 0.5)
    with pytest.raises(ModelError, match="caps or scales"):
        score(model, batch_of(collator("PaliGemma", model, 0)))


def test_other_families_are_scored_only_where_the_head_gives_the_logits():
    """Whatever a model that no test knows does behind its head: seen in its own logits."""
    factor = 1

    class Scaled(hf.GPT2LMHeadModel):
        def forward(self, **given):
            output = super().forward(**given)
            output.logits = factor * output.logits
            return output

    model = Scaled(hf.GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64)).double().eval()
    collate = tiny.Collator(processor=tiny.PROCESSOR, max_length=512)
    collate.made = ({"input_ids": torch.tensor([[2, 5, 7]])}, {"input_ids": torch.tensor([[2, 8]])})
    batch = batch_of(collate)
    logps = score(model, batch).logps
    assert distributions(model, batch).shape == (len(batch["target"]), 64)
    factor = 2
    for ask in (score, distributions):
        with pytest.raises(ModelError, match="gpt2 caps or scales"):
            ask(model, batch)
    assert bool((logps[0] < 0).all())


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_the_head_gives_the_logits(name):
    """Decoder by hook, then output embeddings: what `score` takes for logits are the model's own."""
    model = tiny.build(name)
    batch = batch_of(collator(name, model, 0))
    caught = []
    model.get_decoder().register_forward_hook(lambda m, i, output: caught.append(output.last_hidden_state))
    names = tiny.prompts(name, model)[0].keys() | {"attention_mask"}
    with torch.no_grad():
        logits = model(**{key: batch[key] for key in names}).logits
        assert torch.equal(model.get_output_embeddings()(caught[0]), logits)


def test_labels_of_a_prompt_are_dropped():
    """PaliGemma's processor makes them whether asked or not; behind them the model computes a loss."""

    class Processor:
        def apply_chat_template(self, *_, **__):
            return ""

        def __call__(self, **_):
            return {"input_ids": torch.ones(1, 2), "labels": torch.ones(1, 2)}

    assert encode_prompts(Processor(), ["?"], [()]).keys() == {"input_ids"}


def test_table_of_the_docs_is_the_codes():
    """Written by `python tests/tiny_families.py`; run it and paste where this fails."""
    doc = (Path(__file__).parent.parent / "docs" / "families.md").read_text(encoding="utf-8")
    assert f"\n\n{tiny.table()}\n\n" in doc
    run = {tiny.FAMILIES[name].config().model_type for name in PACKABLE}
    inner = {tiny.FAMILIES[name].config().get_text_config().model_type for name in PACKABLE}
    assert run == set(families.PACKED)
    assert inner == set(families.DECODERS)
