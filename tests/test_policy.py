"""Answers by seed, their counts and log-probabilities, whole distributions: against the stock model."""

import io
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers import models as vocabularies
from transformers import PreTrainedTokenizerFast

from driftbound.config import AlignConfig
from driftbound.errors import CaseError, ModelError
from driftbound.learning import logprobs, models
from driftbound.learning.policy import LocalPolicy
from driftbound.learning.sampling import draw
from driftbound.learning.spelling import speller
from driftbound.phantom_base import resolve_base
from driftbound.protocols import Policy, Sampler, Scorer

BASE = resolve_base("phantom-base")
QUESTION = "What does this chest radiograph show?"
QUESTIONS = [QUESTION, "Is there an effusion? " * 3, QUESTION]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8)).save(file, "PNG")
    return file.getvalue()


IMAGES = [[png(0)], [png(1)], []]


@pytest.fixture(scope="module")
def policy() -> LocalPolicy:
    return LocalPolicy.load(BASE)


@pytest.fixture(scope="module")
def stock() -> models.Student:
    """The model as transformers loads it; nothing of ours has touched it."""
    return models.load(BASE)


def encoded(stock: models.Student, question: str, images: list[bytes]) -> dict[str, torch.Tensor]:
    """A chat prompt, by the processor alone."""
    content = [{"type": "image"} for _ in images] + [{"type": "text", "text": question}]
    message = {"role": "user", "content": content}
    prompt = stock.processor.apply_chat_template([message], add_generation_prompt=True)
    pictures = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
    return stock.processor(text=[prompt], images=pictures or None, return_tensors="pt")


def plain_logps(stock: models.Student, question: str, images: list[bytes], ids: list[int]) -> torch.Tensor:
    """One row, one forward, log-softmax of everything: (T, V) before each of ``ids`` behind the prompt."""
    batch = dict(encoded(stock, question, images))
    start = batch["input_ids"].shape[1]
    batch["input_ids"] = torch.cat([batch["input_ids"], torch.tensor([ids])], 1)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with torch.no_grad():
        return stock.model(**batch).logits[0].double().log_softmax(-1)[start - 1 : -1]


def test_it_is_all_that_a_stage_may_ask_for(policy):
    assert isinstance(policy, Policy)
    assert isinstance(policy, Sampler)
    assert isinstance(policy, Scorer)


# --- drawing


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [300, 0, 500, 200]),
        (0.5, 1.0, [237, 0, 658, 105]),  # squares: 9, 0, 25, 4 of 38
        (1.0, 0.5, [0, 0, 1000, 0]),
        (1.0, 0.51, [375, 0, 625, 0]),  # 3 and 5 of 8
        (1.0, 0.8, [375, 0, 625, 0]),
        (1.0, 0.81, [300, 0, 500, 200]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature, top_p, expected):
    """A thousand numbers, evenly from 0 to 1."""
    logits = torch.tensor([0.3, 0.0, 0.5, 0.2]).log().expand(1000, -1)
    tokens = draw(logits, temperature, top_p, (torch.arange(1000).double() + 0.5) / 1000)
    assert tokens.bincount(minlength=4).tolist() == expected
    assert tokens.diff().min() >= 0


def test_what_reaches_top_p_exactly_is_enough():
    """Of four alike two, the first in the vocabulary."""
    numbers = (torch.arange(8).double() + 0.5) / 8
    assert draw(torch.zeros(8, 4), 1.0, 0.5, numbers).tolist() == [0] * 4 + [1] * 4


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20),
    st.floats(0.01, 5),
    st.floats(0.01, 1),
    st.one_of(st.floats(0, 1, exclude_max=True), st.just(math.nextafter(1, 0))),
)
def test_what_is_drawn_is_among_the_likeliest(logits, temperature, top_p, number):
    """As few of the likeliest as reach ``top_p`` together; found here by adding up, one by one."""
    found = int(draw(torch.tensor([logits]), temperature, top_p, torch.tensor([number]).double())[0])
    weights = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    better = sum(weight for weight in weights if weight > weights[found])
    assert weights[found] > 0
    assert better / sum(weights) < top_p + 1e-9


def test_what_is_ruled_out_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]] * 2)
    edges = torch.tensor([0.0, math.nextafter(1, 0)]).double()
    assert draw(logits, 0.7, 1.0, edges).tolist() == [1, 1]
    with pytest.raises(ModelError, match="not finite"):
        draw(torch.tensor([[0.0, torch.nan]]), 1.0, 1.0, edges[:1])


# --- answers


def test_greedy_is_what_the_stock_model_generates(policy, stock):
    said = policy.generate(QUESTIONS[:1], IMAGES[:1], max_new_tokens=12)
    prompt = encoded(stock, QUESTION, IMAGES[0])
    tokens = stock.model.generate(**prompt, max_new_tokens=12, do_sample=False)[0]
    assert said == [(stock.processor.tokenizer.decode(tokens[prompt["input_ids"].shape[1] :]), False)]


def test_a_drawn_answer_depends_on_its_seed_and_on_nobody_else(policy):
    asked = {"max_new_tokens": 10, "temperature": 2.0, "top_p": 0.95}
    together = policy.generate(QUESTIONS, IMAGES, seeds=[1, 2, 3], **asked)
    assert policy.generate(QUESTIONS, IMAGES, seeds=[1, 2, 3], **asked) == together
    for n in (2, 0, 1):
        assert policy.generate([QUESTIONS[n]], [IMAGES[n]], seeds=[n + 1], **asked) == [together[n]]
    others = policy.generate([QUESTION] * 8, [IMAGES[0]] * 8, seeds=range(1, 9), **asked)
    assert others[0] == together[0]
    assert len(set(others)) == 8


def test_cold_and_narrow_draws_are_greedy(policy):
    greedy = policy.generate(QUESTIONS, IMAGES, max_new_tokens=8)
    for settings in ({"temperature": 1e-6}, {"temperature": 1.0, "top_p": 1e-6}):
        assert policy.generate(QUESTIONS, IMAGES, max_new_tokens=8, seeds=[5, 6, 7], **settings) == greedy


def test_files_bytes_and_images_in_memory_are_the_same(policy, tmp_path):
    (tmp_path / "a.png").write_bytes(png(4))
    shown = [[tmp_path / "a.png"], [png(4)], [Image.open(io.BytesIO(png(4)))]]
    assert len(set(policy.generate([QUESTION] * 3, shown, max_new_tokens=16))) == 1
    assert len(set(policy.score([QUESTION] * 3, shown, ["Wide heart: absent."] * 3))) == 1
    rows = [policy.distributions(QUESTION, images, "Patch") for images in shown]
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], rows[2])
    with pytest.raises(CaseError, match="opening image of 3 bytes"):
        policy.generate([QUESTION], [[b"png"]], max_new_tokens=2)


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 1.0},
        {"temperature": 1.0, "seeds": [1]},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"top_p": 0.0},
    ],
)
def test_sampling_that_means_nothing_is_refused(policy, asked):
    with pytest.raises(ModelError, match=r"sampling (with|at) temperature"):
        policy.complete(QUESTIONS, IMAGES, max_new_tokens=2, **asked)


# --- counts and log-probabilities


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_logps_are_the_models_own(stock, monkeypatch, temperature):
    """Whatever the temperature, and a penalty in the checkpoint's settings: of the logits before both."""
    policy = LocalPolicy.load(BASE)
    asked = {"max_new_tokens": 8, "temperature": temperature, "seeds": [5, 6, 7]}
    plain = policy.generate(QUESTIONS, IMAGES, **asked)
    policy.model.generation_config.repetition_penalty = 40.0
    taken = []
    generate = policy.model.generate
    monkeypatch.setattr(policy.model, "generate", lambda **given: taken.append(generate(**given)) or taken[0])
    said = policy.complete(QUESTIONS, IMAGES, logprobs=3, **asked)
    assert [(each.text, each.ended) for each in said] != plain
    for n, each in enumerate(said):
        ids = taken[0][n, -8:].tolist()[: each.completion_tokens]
        rows = plain_logps(stock, QUESTIONS[n], IMAGES[n], ids)
        assert len(each.logprobs) == len(ids) - each.ended
        for token, row, taken_id in zip(each.logprobs, rows, ids, strict=False):
            assert token["logprob"] == pytest.approx(float(row[taken_id]), abs=1e-3)
            best = [other["logprob"] for other in token["top_logprobs"]]
            assert best == pytest.approx(sorted(row.tolist(), reverse=True)[:3], abs=1e-3)


def test_tokens_are_counted_and_spell_the_text(policy, stock):
    said = policy.complete(QUESTIONS, IMAGES, max_new_tokens=5, logprobs=2)
    prompts = [encoded(stock, q, i)["input_ids"].numel() for q, i in zip(QUESTIONS, IMAGES, strict=True)]
    assert [each.prompt_tokens for each in said] == prompts
    assert [each.completion_tokens for each in said] == [5, 3, 5]
    assert [each.ended for each in said] == [False, True, False]  # the second says "Yes."
    for each in said:
        assert b"".join(bytes(token["bytes"]) for token in each.logprobs).decode() == each.text
        assert [token["token"] for token in each.logprobs] == [
            token["top_logprobs"][0]["token"] for token in each.logprobs
        ]


def test_an_end_token_is_counted_and_not_spelt(policy):
    said = policy.complete([QUESTION], IMAGES[:1], max_new_tokens=400, logprobs=0)[0]
    assert said.ended
    assert said.completion_tokens == len(said.logprobs) + 1
    assert "".join(token["token"] for token in said.logprobs) == said.text
    assert {len(token["top_logprobs"]) for token in said.logprobs} == {0}
    assert policy.complete([QUESTION], IMAGES[:1], max_new_tokens=2)[0].logprobs == ()


def test_adapters_are_seen_through(policy):
    """With adapters that do nothing yet, what is said is what the base says."""
    student = models.load(BASE)
    adapted = LocalPolicy(
        student._replace(model=models.make_trainable(student.model, AlignConfig(tuner="lora")))
    )
    asked = {"max_new_tokens": 6, "logprobs": 0}
    pairs = zip(
        adapted.complete(QUESTIONS, IMAGES, **asked), policy.complete(QUESTIONS, IMAGES, **asked), strict=True
    )
    for found, expected in pairs:
        assert found.text == expected.text
        logps = [token["logprob"] for token in expected.logprobs]
        assert [token["logprob"] for token in found.logprobs] == pytest.approx(logps, abs=1e-3)
    assert adapted.version == ""


# --- distributions


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("answer", ["Wide heart: absent.", "Überall weiß, 胸水!"])
def test_distributions_are_the_stock_models(policy, stock, answer, ended):
    """Along any text, also one that the model would not have said; 811 is the vocabulary's size."""
    ids = stock.processor.tokenizer(answer)["input_ids"] + [stock.processor.tokenizer.eos_token_id] * ended
    assert list(policy.tokens(answer, ended=ended).ids) == ids
    found = policy.distributions(QUESTION, IMAGES[0], answer, ended=ended)
    assert (found.dtype, found.shape) == (np.float32, (len(ids), 811))
    assert np.abs(found - plain_logps(stock, QUESTION, IMAGES[0], ids).numpy()).max() < 1e-3
    assert np.abs(np.exp(found.astype(float)).sum(1) - 1).max() < 1e-5


def test_the_entries_of_an_answer_add_up_to_its_score(policy):
    for images, answer in ((IMAGES[0], "Patch: left."), ([], "Round spot"), (IMAGES[1], "")):
        found, tokens = policy.distributions(QUESTION, images, answer), policy.tokens(answer)
        total = found[np.arange(len(tokens.ids)), tokens.ids].sum(dtype=float)
        assert total == pytest.approx(policy.score([QUESTION], [images], [answer])[0], abs=1e-4)


def test_greedy_takes_the_likeliest_at_each_step(policy):
    text, ended = policy.generate([QUESTION], IMAGES[:1], max_new_tokens=400)[0]
    assert ended
    likeliest = policy.distributions(QUESTION, IMAGES[0], text).argmax(1)
    assert likeliest.tolist() == list(policy.tokens(text).ids)


def test_logits_are_made_a_part_at_a_time(policy, monkeypatch):
    whole = policy.distributions(QUESTION, IMAGES[0], "Wide heart: absent. Patch: left.")
    sizes = []
    wide = logprobs._wide
    monkeypatch.setattr(logprobs, "_wide", lambda logits: sizes.append(len(logits)) or wide(logits))
    monkeypatch.setattr(logprobs, "_LOGITS", 4 * 811)
    parts = policy.distributions(QUESTION, IMAGES[0], "Wide heart: absent. Patch: left.")
    assert sizes == [4] * (len(whole) // 4) + [len(whole) % 4] * (len(whole) % 4 > 0)
    assert np.abs(parts - whole).max() < 1e-4


def test_what_cannot_be_said_of_a_text_is_refused(policy):
    with pytest.raises(ModelError, match=r"takes \d{4} tokens, 4\d{3} fit"):
        policy.distributions(QUESTION, [], "Patch left " * 2500)


def test_spans_of_tokens_are_characters_of_the_answer(policy):
    text = "Wide heart: 胸, absent."
    tokens = policy.tokens(text)
    words = [text[start:end].strip() for start, end in tokens.spans]
    assert list(filter(None, words)) == ["Wide", "heart", ":", "胸", "胸", "胸", ",", "absent", "."]
    assert tokens.spans[-1] == (len(text), len(text))
    assert policy.tokens(text, ended=False).spans == tokens.spans[:-1]


# --- whose answers these are


def test_version_is_the_checkpoints_content(policy, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(BASE, copy)
    assert LocalPolicy.load(copy).version == policy.version
    assert policy.version.startswith("sha256:")
    (copy / "generation_config.json").write_text('{"eos_token_id": 1, "pad_token_id": 0}')
    assert LocalPolicy.load(copy).version != policy.version
    assert policy.fingerprint.startswith(f"torch {torch.__version__} transformers ")
    assert policy.fingerprint.endswith(f"{str(policy.model.dtype)[6:]} on {policy.model.device.type}")


def test_vocabulary_is_the_tokenizer_and_not_the_weights(policy, tmp_path):
    """The same after training, saving and use in batches; another with one token more or another end."""
    used = LocalPolicy(models.load(BASE))
    used.generate(QUESTIONS, IMAGES, max_new_tokens=1)
    assert used.vocabulary == policy.vocabulary
    used.processor.save_pretrained(tmp_path)
    used.model.save_pretrained(tmp_path)
    assert LocalPolicy.load(tmp_path).vocabulary == policy.vocabulary
    larger = models.load(BASE)
    larger.processor.tokenizer.add_tokens(["pneumothorax"])
    assert LocalPolicy(larger).vocabulary != policy.vocabulary
    other = models.load(BASE)
    other.processor.tokenizer.eos_token = other.processor.tokenizer.convert_ids_to_tokens(5)
    assert LocalPolicy(other).vocabulary != policy.vocabulary


# --- tokens as bytes


def wrapped(model, decoder, **more) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoder
    if "normalizer" in more:
        tokenizer.normalizer = more["normalizer"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@given(st.text(max_size=30))
def test_bytes_of_byte_level_tokens_are_the_text(text):
    tokenizer = SHIPPED
    spell = speller(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not set(ids) & set(tokenizer.all_special_ids):
        assert b"".join(map(spell, ids)) == text.encode()


SHIPPED = models.load(BASE).processor.tokenizer


def test_bytes_of_sentencepiece_tokens_are_the_text():
    """A space is written as a bar, and what the vocabulary lacks as bytes."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"\u2581": 256, "a": 257, "b": 258}
    tokenizer = wrapped(
        vocabularies.BPE(vocabulary, [], byte_fallback=True, fuse_unk=False),
        decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]),
        normalizer=normalizers.Replace(" ", "\u2581"),
    )
    ids = tokenizer("a b\né", add_special_tokens=False)["input_ids"]
    assert [speller(tokenizer)(token) for token in ids] == [b"a", b" ", b"b", b"\n", b"\xc3", b"\xa9"]


def test_other_tokens_are_spelt_as_their_tokenizer_decodes_them():
    tokenizer = wrapped(
        vocabularies.WordPiece({"[UNK]": 0, "lung": 1}, unk_token="[UNK]"), decoders.WordPiece()
    )
    spell = speller(tokenizer)
    assert spell(1) == b"lung"
    assert spell(7) == b""  # no such token


def test_special_tokens_are_spelt_as_they_are_written():
    assert speller(SHIPPED)(SHIPPED.eos_token_id) == b"<|end|>"
