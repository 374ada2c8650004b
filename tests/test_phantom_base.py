"""The base that ships: small, ordinary, and taught nothing of any recipe's cases, truth or teachers."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from driftbound.domains.phantom.findings import FINDINGS, SIGN_NAMES
from driftbound.domains.phantom.language import QUESTION, STYLES
from driftbound.learning.collator import encode_prompts
from driftbound.phantom_base import PHANTOM_BASE, corpus, resolve_base
from driftbound.phantom_base.eye import Pool
from driftbound.phantom_base.make import draw_rows, encode


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
    for kind in ("signs", "described", "yes_no", "textbook", "merge"):
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


def test_base_sees_signs(processor):
    """A film with a haze on both sides and nothing else, drawn anew: the base says so, mostly."""
    from driftbound.domains.phantom.drawing import draw

    model = AutoModelForImageTextToText.from_pretrained(resolve_base(PHANTOM_BASE), dtype=torch.float32)
    rng = np.random.default_rng(2)
    films, truths = [], []
    for n in range(12):
        signs = dict.fromkeys(SIGN_NAMES, "absent")
        for name in rng.choice(SIGN_NAMES, size=4, replace=False):
            signs[str(name)] = (
                "present" if name in ("wide heart", "wide mediastinum", "wire and box") else "left"
            )
        films.append(draw(signs, 1000 + n))
        truths.append(signs)
    pixels = processor.image_processor(films, return_tensors="np")["pixel_values"][:, 0].astype(np.float16)
    rows = [corpus.Row(corpus.SIGN_QUESTION, corpus.signs_report(s), i) for i, s in enumerate(truths)]
    batch = encode(rows, Pool(truths, pixels), processor)
    labels = batch.pop("labels")[:, 1:]
    batch.pop("asked")
    with torch.no_grad():
        guess = model(**batch).logits[:, :-1].argmax(-1)
    absent, left = processor.tokenizer.convert_tokens_to_ids(["Ġabsent", "Ġleft"])
    assert (guess == labels)[labels == absent].float().mean() > 0.8
    assert (guess == labels)[labels == left].float().mean() > 0.5
