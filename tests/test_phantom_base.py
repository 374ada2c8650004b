"""The base that ships: small, ordinary, and taught nothing of any recipe's cases, truth or teachers."""

import functools
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from driftbound.domains.phantom.claims import claims
from driftbound.domains.phantom.drawing import draw
from driftbound.domains.phantom.findings import FINDINGS, SIDED_SIGNS, SIGN_NAMES
from driftbound.domains.phantom.language import QUESTION, SIGN_QUESTION, STYLES
from driftbound.learning.architecture import build_model
from driftbound.learning.collator import encode_prompts
from driftbound.phantom_base import PHANTOM_BASE, corpus, make, reading, resolve_base, tongue
from driftbound.phantom_base.batches import IGNORE, IMAGE_TOKENS, draw_rows, encode
from driftbound.phantom_base.eye import Pool
from driftbound.phantom_base.reading import lay_variants, step_targets
from driftbound.phantom_base.tongue import mark_patches


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(resolve_base(PHANTOM_BASE))


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Four grey images whose signs are drawn by hand."""
    signs = [dict.fromkeys(SIGN_NAMES, "absent") | {"haze": "both"} for _ in range(4)]
    return Pool(signs, np.zeros((4, 128, 128), np.float16))


def test_checkpoint_is_small_and_ordinary(processor):
    from pathlib import Path

    folder = Path(resolve_base(PHANTOM_BASE))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert 1e6 < sum(parameter.numel() for parameter in model.parameters()) < 6e6
    assert processor.chat_template


def test_pretraining_prompts_are_what_the_processor_makes(processor, pool, tmp_path):
    path = tmp_path / "grey.png"
    Image.new("L", (256, 256), 128).save(path)
    row = corpus.Row("Which signs?", "None.", 0)
    batch = encode([row], pool, processor)
    prompt = encode_prompts(processor, ["Which signs?"], [[path]])["input_ids"][0]
    answer = [*processor.tokenizer("None.")["input_ids"], processor.tokenizer.eos_token_id]
    assert batch["input_ids"][0].tolist() == prompt.tolist() + answer
    assert batch["labels"][0][-len(answer) :].tolist() == answer
    assert bool((batch["labels"][0][: -len(answer)] == -100).all())


def test_the_question_of_the_field_is_never_asked(pool):
    """Nor is a film ever described in findings: the base knows words and signs, not the decision."""
    rng = np.random.default_rng(0)
    names = ("consolidation", "pleural effusion", "pneumothorax", "edema", "pneumonia")
    for kind in ("signs", "described", "yes_no", "textbook", "merge", "lookup"):
        for row in draw_rows(pool, kind, 64, rng):
            assert QUESTION not in row.question
            if kind in ("signs", "described", "yes_no"):
                assert not any(name in (row.question + row.answer).lower() for name in names)
            assert not any(teacher in row.question for teacher in STYLES)


def test_readers_of_findings_say_what_no_image_shows(pool):
    """Their truth is drawn at random: for one and the same film, targets differ from row to row."""
    rng = np.random.default_rng(1)
    answers = {corpus.merging(0, rng).answer for _ in range(20)}
    assert len(answers) == 20


def test_textbook_tells_every_sign_of_every_finding():
    said = " ".join(row.question + " " + row.answer for row in corpus.textbook()).lower()
    assert all(sign in said for sign in SIGN_NAMES)
    assert len(corpus.textbook()) == len(FINDINGS) - 1 + len(SIGN_NAMES)


def test_majority_by_hand():
    """More than half assert; the side is the most frequent among those; a hedge asserts nothing."""
    assert corpus.majority(["left", "left", "right", "absent"]) == "left"
    assert corpus.majority(["left", "absent"]) == "absent"
    assert corpus.majority(["present", "uncertain", "present"]) == "present"
    assert corpus.majority(["both", "both", "uncertain", "uncertain"]) == "absent"


def some_films(processor, count: int) -> Pool:
    """Films with four signs each, drawn anew, on the left where they have a side."""
    rng = np.random.default_rng(2)
    films, truths = [], []
    for n in range(count):
        signs = dict.fromkeys(SIGN_NAMES, "absent")
        for name in rng.choice(SIGN_NAMES, size=4, replace=False).tolist():
            signs[name] = "left" if name in SIDED_SIGNS else "present"
        films.append(draw(signs, 1000 + n))
        truths.append(signs)
    pixels = processor.image_processor(films, return_tensors="np")["pixel_values"][:, 0]
    return Pool(truths, pixels.astype(np.float16))


def answered(processor, rows: list[corpus.Row], pool: Pool) -> tuple[torch.Tensor, torch.Tensor]:
    """What the shipped base says at each position of the answers, and what it should say."""
    model = AutoModelForImageTextToText.from_pretrained(resolve_base(PHANTOM_BASE), dtype=torch.float32)
    batch = encode(rows, pool, processor)
    labels = batch.pop("labels")[:, 1:]
    batch.pop("asked")
    with torch.no_grad():
        return model(**batch).logits[:, :-1].argmax(-1), labels


def test_base_sees_signs(processor):
    pool = some_films(processor, 12)
    rows = [corpus.Row(SIGN_QUESTION, corpus.signs_report(s), i) for i, s in enumerate(pool.signs)]
    guess, labels = answered(processor, rows, pool)
    absent, left = processor.tokenizer.convert_tokens_to_ids(["Ġabsent", "Ġleft"])
    assert (guess == labels)[labels == absent].float().mean() > 0.85
    assert (guess == labels)[labels == left].float().mean() > 0.75


def test_base_merges_readers(processor):
    """Seven readers of findings that no film shows: what more than half of them say, side included."""
    rng = np.random.default_rng(6)
    pool = some_films(processor, 12)
    guess, labels = answered(processor, [corpus.merging(i, rng) for i in range(12)], pool)
    told = processor.tokenizer.convert_tokens_to_ids(["Ġabsent", "Ġpresent", "Ġleft", "Ġright", "Ġbilateral"])
    for ids in (told[:1], told[1:]):
        assert (guess == labels)[torch.isin(labels, torch.tensor(ids))].float().mean() > 0.8


def test_marks_stand_where_a_reader_has_said_it():
    """What is marked is what the domain's own parser reads in the step that ends there."""
    rng = np.random.default_rng(3)
    checked = 0
    for row in [corpus.merging(None, rng) for _ in range(10)]:
        start = 0
        for mark in row.marks:
            said = claims(row.question[start : mark.end])
            read = {c.value for c in said if c.finding == mark.name and c.attribute == "presence"}
            assert read == {"present" if mark.value in ("left", "right", "both") else mark.value}
            start = mark.end
            checked += 1
    assert checked > 200


def test_step_targets_stand_on_the_last_token_of_a_step(processor):
    row = corpus.lookup(5, np.random.default_rng(4))
    ids = processor.tokenizer(row.question)["input_ids"]
    names, values = step_targets([row], len(ids) + 10, processor)
    order = list(corpus.NAMES)
    found = []
    for position in torch.nonzero(names[0] != IGNORE).flatten().tolist():
        told = processor.tokenizer.decode(ids[:position])  # the row's first token is the user's mark
        found.append((len(told), order[names[0, position]], corpus.VALUES[values[0, position]]))
    assert found == [(mark.end, mark.name, mark.value) for mark in row.marks]
    shown = corpus.Row(row.question, row.answer, 0, row.marks)  # the film's tokens come first
    behind, _ = step_targets([shown], len(ids) + 10 + IMAGE_TOKENS, processor)
    assert torch.equal(behind[0, IMAGE_TOKENS:], names[0])


def test_patches_are_marked_where_they_are_most_like_a_sign():
    """Patch 3 is like "haze" on the right, 7 like "haze" on the left, 9 like "wide heart"."""
    signs = dict.fromkeys(SIGN_NAMES, "absent")
    pool = Pool(
        [signs | {"haze": "both", "wide heart": "present"}, signs | {"haze": "left"}], np.zeros((2, 1, 1))
    )
    haze, heart = SIGN_NAMES.index("haze"), SIGN_NAMES.index("wide heart")
    words = torch.eye(2 * len(SIGN_NAMES)).view(len(SIGN_NAMES), 2, -1)
    embedded = torch.zeros(3, 1 + IMAGE_TOKENS + 5, words.shape[-1])
    for row in (0, 1):
        embedded[row, 1 + 3] = words[haze, 0]
        embedded[row, 1 + 7] = 2 * words[haze, 1]
        embedded[row, 1 + 9] = words[heart, 0] + words[heart, 1]
    names, values = torch.full((3, 70), IGNORE), torch.full((3, 70), IGNORE)
    rows = [corpus.Row("?", "!", 0), corpus.Row("?", "!", 1), corpus.Row("?", "!")]
    mark_patches(names, values, rows, pool, embedded, words)
    order = list(corpus.NAMES)
    marked = {
        (row, position - 1): (order[names[row, position]], corpus.VALUES[values[row, position]])
        for row, position in torch.nonzero(names != IGNORE).tolist()
    }
    assert marked == {
        (0, 3): ("haze", "right"),
        (0, 7): ("haze", "left"),
        (0, 9): ("wide heart", "present"),
        (1, 7): ("haze", "left"),
    }


def test_a_lookup_repeats_what_was_said_in_another_order():
    row = corpus.lookup(6, np.random.default_rng(5))
    told = {mark.name: mark.value for mark in row.marks if mark.value != "uncertain"}
    assert row.answer.count(":") >= len(told)
    for name, value in told.items():
        word = "bilateral" if value == "both" else value
        assert f"{corpus.NAMES[name][0]}: {word}.".lower() in row.answer.lower()


def test_variants_of_a_word_start_alike(processor):
    torch.manual_seed(0)
    model = build_model(processor.tokenizer)
    words = model.get_input_embeddings().weight
    one, other = processor.tokenizer.convert_tokens_to_ids(["ĠEdema", "edema"])
    assert not torch.equal(words[one], words[other])
    lay_variants(model, processor)
    assert torch.equal(words[one], words[other])


@pytest.fixture
def small(monkeypatch):
    """Fewer texts for the tokenizer; one row, of two readers at most, or four images where a batch is taken.

    The script trains in bfloat16, which many a CPU can only emulate, thirty times slower than float32.
    """
    words = corpus.words
    monkeypatch.setattr(corpus, "words", lambda: itertools.islice(words(), 1500))
    monkeypatch.setattr(make, "train_eye", functools.partial(make.train_eye, batch=4))

    def few(pool, kind, count, rng, most=2):
        return draw_rows(pool, kind, 1, rng, min(most, 2))

    for module in (reading, tongue):
        monkeypatch.setattr(module, "draw_rows", few)
    monkeypatch.setattr("driftbound.phantom_base.batches.STOCK", 4)


def test_script_makes_a_checkpoint_and_goes_on_after_a_phase(small, tmp_path):
    """All its phases, and each again or taken from its file; in small batches."""
    shared = ["--images", "6", "--threads", "1", "--steps", *"11111", "--keep", str(tmp_path / "kept")]
    make.main([*shared, "--out", str(tmp_path / "one")])
    assert {path.stem for path in (tmp_path / "kept").iterdir()} == {"eye", "reading", "words"}
    make.main([*shared, "--out", str(tmp_path / "two")])
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "one").num_parameters() > 1e6
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second
