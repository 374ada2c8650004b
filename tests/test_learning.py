"""What is scored, against the model asked plainly; reference, resume, tokens, checkpoints."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import TrainerCallback, TrainingArguments

from driftbound.config import AlignConfig, BootstrapConfig
from driftbound.errors import ModelError, TrainingError
from driftbound.learning import models
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator
from driftbound.learning.goals import Alignment, Bootstrapping, FineTuning
from driftbound.learning.logprobs import score
from driftbound.learning.policy import LocalPolicy
from driftbound.learning.reference import reference_logps
from driftbound.learning.trainer import GroupTrainer
from driftbound.learning.training import train

WORDS = ["The left lung is white.", "No effusion on the right, edema on both sides.", "What is seen here?"]
TEACHERS = ("one", "two")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A LLaVA of 100,000 random parameters, as an ordinary checkpoint."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(WORDS, 300)
    student = models.Student(
        build_model(tokenizer, width=48, layers=2, vision_width=32), build_processor(tokenizer)
    )
    path = tmp_path_factory.mktemp("checkpoint") / "student"
    models.save(student, path)
    return path


@pytest.fixture
def student(checkpoint) -> models.Student:
    return models.load(checkpoint)


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Example]:
    folder = tmp_path_factory.mktemp("images")
    found = []
    for n in range(6):
        path = folder / f"{n}.png"
        Image.new("L", (64, 64), 40 * n).save(path)
        second = None if n == 2 else Candidate(text="Edema on both sides." + " here" * n, ended=n != 4)
        columns = (Candidate(text="No effusion."), Candidate(text="The left lung is white."), second)
        found.append(Example(case_id=f"c{n}", question=WORDS[2], images=(path,), candidates=columns))
    return found


def plain_logp(student: models.Student, example: Example, candidate: Candidate) -> float:
    """One conversation, one forward, log-softmax over everything: the slow obvious way."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": example.question}]}
    text = student.processor.apply_chat_template([message], add_generation_prompt=True)
    image = Image.open(example.images[0]).convert("RGB")
    end = student.processor.tokenizer.eos_token if candidate.ended else ""
    whole = student.processor(text=[text + candidate.text + end], images=[image], return_tensors="pt")
    prompt = student.processor(text=[text], images=[image], return_tensors="pt")["input_ids"].shape[1]
    with torch.no_grad():
        logps = student.model(**whole).logits[0].double().log_softmax(-1)
    ids = whole["input_ids"][0]
    return sum(float(logps[t - 1, ids[t]]) for t in range(prompt, len(ids)))


@pytest.mark.parametrize("row_tokens", [0, 100, 200, 4096])
def test_scores_equal_the_plain_forward(student, examples, row_tokens):
    """Whether an answer has a row of its own, a case is split over rows, or cases share one."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512, row_tokens=row_tokens)
    scores = score(student.model, collate(examples))
    for b, example in enumerate(examples):
        for c, candidate in enumerate(example.candidates):
            if candidate is None:
                assert (float(scores.logps[b, c]), int(scores.tokens[b, c])) == (0.0, 0)
            else:
                expected = plain_logp(student, example, candidate)
                assert float(scores.logps[b, c]) == pytest.approx(expected, abs=1e-3)


def spelled(student, batch) -> list[str]:
    """The scored tokens of each candidate, as text."""
    decode = student.processor.tokenizer.decode
    return [decode(batch["target"][batch["slot"] == slot]) for slot in batch["slot"].unique()]


@pytest.mark.parametrize("row_tokens", [0, 512])
def test_prompt_and_image_are_not_scored(student, examples, row_tokens):
    """What is scored spells the answers and nothing else; what foretells it stands just before it."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512, row_tokens=row_tokens)
    batch = collate(examples[:1])
    image = student.processor.tokenizer.convert_tokens_to_ids("<image>")
    expected = ["No effusion.<|end|>", "The left lung is white.<|end|>", "Edema on both sides.<|end|>"]
    assert spelled(student, batch) == expected
    assert (batch["input_ids"] == image).sum(1).tolist() == ([64] if row_tokens else [64, 64, 64])
    assert not (batch["target"] == image).any()
    row, position = batch["at"][0].tolist()
    prompt = student.processor.tokenizer.decode(batch["input_ids"][row, : position + 1])
    assert "What is seen here?" in prompt
    assert prompt.endswith("<|assistant|>")


def test_a_cut_answer_has_no_end_token(student, examples):
    batch = MultiStreamCollator(processor=student.processor, max_length=512)([examples[4]])
    assert [text.endswith("<|end|>") for text in spelled(student, batch)] == [True, True, False]


def test_too_long_answers_are_cut_counted_and_lose_their_end(student, examples):
    full = MultiStreamCollator(processor=student.processor, max_length=512)
    prompt = full.encode_prompt(examples[0])["input_ids"].shape[1]
    short = replace(full, max_length=prompt + 2)
    assert sum(tokens > short.room(examples[0]) for tokens in short.answer_tokens(examples[0])) == 3
    assert short(examples[:1])["slot"].bincount().tolist() == [2, 2, 2]
    with pytest.raises(TrainingError, match="max_length"):
        replace(full, max_length=prompt)(examples[:1])


def test_token_weights_follow_character_spans(student, examples):
    """Weight 0 on the first four characters takes their tokens out of the sum, and only those."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    text = "No effusion."
    spans = ((0, 2, 0.0),)
    pair = replace(examples[0], candidates=(Candidate(text=text), Candidate(text=text, spans=spans)))
    batch = collate([pair])
    tokens = student.processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    muted = sum(start < 2 and end > 0 for start, end in tokens["offset_mapping"])
    assert muted > 0
    weights = [batch["token_weights"][batch["slot"] == slot] for slot in (0, 1)]
    assert int((weights[0] - weights[1]).sum()) == muted
    scores = score(student.model, batch)
    assert float(scores.plain[0, 0]) == pytest.approx(float(scores.plain[0, 1]), abs=1e-4)
    assert float(scores.logps[0, 0]) < float(scores.logps[0, 1])


def test_teachers_texts_are_absent_from_the_scored_sequence(student, examples):
    """The consensus is scored on image and prompt alone: its row is the same whatever the teachers said."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    one = replace(examples[0], candidates=(*examples[0].candidates[:1], Candidate(text="A"), None))
    two = replace(one, candidates=(*one.candidates[:1], Candidate(text="white white white"), None))
    rows = []
    for example in (one, two):
        batch = collate([example])
        rows.append(batch["input_ids"][0][batch["attention_mask"][0] == 1].tolist())
        assert "white" not in student.processor.tokenizer.decode(rows[-1])
    assert rows[0] == rows[1]


def test_reference_with_adapters_off_equals_the_frozen_copy(checkpoint, student, examples):
    config = AlignConfig(tuner="lora")
    frozen = models.load(checkpoint)
    adapted = models.make_trainable(student.model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    batch = MultiStreamCollator(processor=student.processor, max_length=512)(examples[:2])
    with torch.no_grad():
        expected = score(frozen.model, batch).logps
        assert not torch.allclose(score(adapted, batch).logps, expected, atol=1e-2)
        with adapted.disable_adapter():
            torch.testing.assert_close(score(adapted, batch).logps, expected)


def test_stored_reference_is_taken_up_where_it_was_cut(student, examples, tmp_path):
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    whole = reference_logps(student.model, collate, examples, batch_size=2, path=tmp_path / "a")
    lines = (tmp_path / "a").read_text().splitlines(keepends=True)
    (tmp_path / "b").write_text(lines[0] + lines[1][:30])
    assert reference_logps(student.model, collate, examples, batch_size=2, path=tmp_path / "b") == whole
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_stored_reference_does_not_depend_on_where_the_images_lie(student, examples, tmp_path):
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    moved = []
    for example in examples[:2]:
        path = tmp_path / example.images[0].name
        path.write_bytes(example.images[0].read_bytes())
        moved.append(replace(example, images=(path,)))
    reference_logps(student.model, collate, examples[:2], batch_size=2, path=tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    reference_logps(student.model, collate, moved, batch_size=2, path=tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == before


def test_what_a_processor_says_per_token_is_padded_with_the_row(student, examples):
    """As Qwen-VL's mm_token_type_ids: 1 on image tokens of the prompt, 0 on answers and padding."""
    image = student.processor.tokenizer.convert_tokens_to_ids("<image>")

    class Collator(MultiStreamCollator):
        def encode_prompt(self, example):
            encoded = super().encode_prompt(example)
            return encoded | {"mm_token_type_ids": (encoded["input_ids"] == image).long()}

    longer = replace(examples[1], question="What is seen here, and where?")
    batch = Collator(processor=student.processor, max_length=512)([examples[0], longer])
    assert torch.equal(batch["mm_token_type_ids"], (batch["input_ids"] == image).long())


def gradients(student, batch) -> dict[str, torch.Tensor]:
    """Of a sum with another factor for every candidate, so that no two errors cancel."""
    student.model.zero_grad()
    scores = score(student.model, batch)
    factors = torch.linspace(0.5, 1.5, scores.logps.numel(), dtype=scores.logps.dtype)
    (scores.logps * factors.view_as(scores.logps)).sum().backward()
    return {n: p.grad.clone() for n, p in student.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("row_tokens", [110, 200, 4096])
def test_packed_equals_separate_in_value_and_gradient(checkpoint, examples, row_tokens):
    """float64, tower included; separate rows go through the stock model with its own 2-D mask."""
    student = models.load(checkpoint)
    student.model.double()
    separate = MultiStreamCollator(processor=student.processor, max_length=512)
    packed = replace(separate, row_tokens=row_tokens)
    one, other = separate(examples), packed(examples)
    assert len(other["input_ids"]) < len(one["input_ids"])
    for batch in (one, other):
        batch["pixel_values"] = batch["pixel_values"].double()
        batch["token_weights"] = batch["token_weights"].double()
    with torch.no_grad():
        expected, found = score(student.model, one), score(student.model, other)
    torch.testing.assert_close(found.logps, expected.logps, rtol=0, atol=1e-9)
    assert torch.equal(found.tokens, expected.tokens)
    wanted, got = gradients(student, one), gradients(student, other)
    assert any("vision_tower" in name for name in wanted)
    largest = max(float(value.abs().max()) for value in wanted.values())
    for name, value in wanted.items():  # some, as a key's bias, are 0 but for rounding
        allowed = 1e-6 * float(value.abs().max()) + 1e-12 * largest
        assert float((got[name] - value).abs().max()) <= allowed, name


def test_logits_in_parts_equal_logits_at_once(student, examples, monkeypatch):
    """In value and gradient; parts of two tokens."""
    batch = MultiStreamCollator(processor=student.processor, max_length=512, row_tokens=512)(examples)
    whole, at_once = score(student.model, batch).logps, gradients(student, batch)
    monkeypatch.setattr("driftbound.learning.logprobs._LOGITS", 2 * student.model.lm_head.weight.shape[0])
    torch.testing.assert_close(score(student.model, batch).logps, whole)
    for name, value in gradients(student, batch).items():
        torch.testing.assert_close(value, at_once[name], rtol=1e-4, atol=1e-5)


def test_packed_rows_refuse_an_attention_that_would_mix_them(student, examples):
    student.model.set_attn_implementation("eager")
    batch = MultiStreamCollator(processor=student.processor, max_length=512, row_tokens=512)(examples)
    with pytest.raises(ModelError, match="eager"):
        score(student.model, batch)


def align(**changes) -> Alignment:
    values = {"objective": "plackett_luce", "beta": 0.1, "anchor": 0.0, "length_normalised": False}
    return Alignment(**(values | {"teachers": TEACHERS} | changes))


def test_alignment_starts_at_the_log_of_the_valid_candidates(student, examples):
    """Two teachers: ln 3; case c2 lacks one: ln 2. Length normalisation changes nothing at the start."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    batch = collate(examples[1:3])
    scores = score(student.model, batch)
    batch["reference"] = scores.logps.detach()
    for changes in ({}, {"length_normalised": True}):
        loss, stats = align(**changes)(scores, batch)
        assert loss.item() == pytest.approx(math.log(3) + math.log(2), abs=1e-5)
        assert stats["rewards/rejected/two"][1] == 1


def test_anchor_adds_the_nll_of_the_consensus_per_token(student, examples):
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    batch = collate(examples[:1])
    scores = score(student.model, batch)
    batch["reference"] = scores.logps.detach()
    bare = align()(scores, batch)[0].item()
    anchored = align(anchor=0.5)(scores, batch)[0].item()
    nll = -float(scores.logps[0, 0]) / int(scores.tokens[0, 0])
    assert anchored - bare == pytest.approx(0.5 * nll, abs=1e-5)


def test_fine_tuning_is_the_anchor_alone(student, examples):
    """Loss and gradient; the mean is over cases, whoever opposes them."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    batch = collate(examples[1:3])

    def gradient(loss):
        parameters = [p for p in student.model.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [p for p in found if p is not None]

    scores = score(student.model, batch)
    batch["reference"] = scores.logps.detach()
    anchored, bare = align(anchor=1.0)(scores, batch)[0], align()(scores, batch)[0]
    wanted = gradient(anchored - bare)
    loss, stats = FineTuning()(score(student.model, batch), batch)
    assert loss.item() == pytest.approx((anchored - bare).item(), abs=1e-5)
    for got, expected in zip(gradient(loss), wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)
    assert FineTuning().size(batch) == 2
    assert stats["logp_consensus"][0] == pytest.approx(float(scores.plain[:, 0].sum()), rel=1e-5)


def test_anchors_enter_the_loss_by_their_weights(student, examples):
    """Rewards as if the reference had been 3 nats likelier for every answer: beta times -3 each."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    batch = collate(examples[:1])
    scores = score(student.model, batch)
    batch["reference"] = scores.logps.detach() + 3.0
    r, n = -0.3, scores.logps.shape[1]
    bare = align()(scores, batch)[0].item()
    nca = align(nca=2.0)(scores, batch)[0].item() - bare
    down, up = math.log1p(math.exp(r)), math.log1p(math.exp(-r))
    assert nca == pytest.approx(2.0 * (up + down), abs=1e-4)  # 1/C of C equal terms
    dpop = align(dpop=4.0)(scores, batch)[0].item()
    low = r + 4.0 * r
    assert dpop == pytest.approx(math.log(math.exp(low) + (n - 1) * math.exp(r)) - low, abs=1e-4)


def test_common_length_counts_no_token_beyond_the_shortest_answers(student, examples):
    """By weights alone: what is scored without weights stays whole."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512, common_length=True)
    whole = MultiStreamCollator(processor=student.processor, max_length=512)
    example = examples[0]
    weights, plain = collate([example])["token_weights"], whole([example])["token_weights"]
    lengths = [n for n in whole.answer_tokens(example) if n]
    assert len(set(lengths)) > 1
    assert float(plain.sum()) == sum(lengths)
    assert float(weights.sum()) == len(lengths) * min(lengths)
    model = student.model
    scores, uncut = score(model, collate([example])), score(model, whole([example]))
    torch.testing.assert_close(scores.plain, uncut.plain)
    shortest = lengths.index(min(lengths))
    longest = lengths.index(max(lengths))
    assert scores.logps[0, shortest].item() == pytest.approx(uncut.logps[0, shortest].item(), abs=1e-4)
    assert scores.logps[0, longest].item() > uncut.logps[0, longest].item() + 0.1


def test_bootstrapping_is_the_nll_per_token(student, examples):
    """Summed over all branches; its size is the number of answer tokens."""
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    batch = collate(examples[:3])
    loss, _ = Bootstrapping()(score(student.model, batch), batch)
    texts = [c for e in examples[:3] for c in e.candidates if c is not None]
    expected = -sum(plain_logp(student, examples[i // 3], c) for i, c in enumerate(texts))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    tokens = [len(student.processor.tokenizer(c.text)["input_ids"]) + 1 for c in texts]
    assert Bootstrapping().size(batch) == sum(tokens)


def config_of(kind=BootstrapConfig, **changes):
    base = {
        "groups_per_step": 2,
        "groups_per_forward": 1,
        "learning_rate": 1e-2,
        "log_steps": 1,
        "save_steps": 2,
    }
    return kind(**(base | changes))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return models.load(folder / "student").model.state_dict()


def run_training(checkpoint, examples, folder, config, objective=None, **more) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    student = models.load(checkpoint)
    collate = MultiStreamCollator(processor=student.processor, max_length=512)
    if isinstance(objective, Alignment):
        path, plain = folder / "reference.jsonl", dict[str, float]()
        collate.reference = reference_logps(
            student.model, collate, examples, batch_size=2, path=path, plain=plain
        )
        collate.reference_plain = plain
    return train(
        student,
        collate,
        examples,
        examples[:1],
        objective or Bootstrapping(),
        config,
        seed=0,
        folder=folder,
        **more,
    )


def test_accumulated_batches_equal_one_batch(checkpoint, examples, tmp_path):
    """Two cases one at a time or both at once, of different lengths: the same weights to rounding."""
    for objective in (None, align(anchor=0.5)):
        name = type(objective).__name__
        run_training(checkpoint, examples, tmp_path / name / "1-a", config_of(), objective)
        run_training(
            checkpoint, examples, tmp_path / name / "1-b", config_of(groups_per_forward=2), objective
        )
        one, two = weights(tmp_path / name / "1-a"), weights(tmp_path / name / "1-b")
        start = models.load(checkpoint).model.state_dict()
        moved = max(float((one[key] - start[key]).abs().max()) for key in one)
        apart = max(float((one[key] - two[key]).abs().max()) for key in one)
        assert moved > 1e-2
        assert apart < 0.02 * moved
        for row, other in zip(*(metrics(tmp_path / name / f"1-{x}") for x in "ab"), strict=True):
            # Adam hides a constant factor; loss and gradient do not
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
            assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-2)


def metrics(folder: Path) -> list[dict]:
    """The logged steps, without the closing validation line."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][:-1]


class KilledError(Exception):
    pass


def test_resumed_equals_uninterrupted(checkpoint, examples, tmp_path, monkeypatch):
    """Stopped after step 5 of 6 with a half-written checkpoint left behind: same weights, same metrics."""
    config = config_of(epochs=2)
    run_training(checkpoint, examples, tmp_path / "1-a", config)
    step = GroupTrainer.training_step
    calls = []

    def dying(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 10:
            raise KilledError
        return step(self, *args, **kwargs)

    monkeypatch.setattr(GroupTrainer, "training_step", dying)
    with pytest.raises(KilledError):
        run_training(checkpoint, examples, tmp_path / "1-b", config)
    monkeypatch.undo()
    half = tmp_path / "1-b" / "checkpoints" / "checkpoint-5"
    half.mkdir()
    (half / "trainer_state.json").write_text("{")
    assert (tmp_path / "1-b" / "checkpoints" / "checkpoint-4" / "complete").exists()
    run_training(checkpoint, examples, tmp_path / "1-b", config)
    one, two = weights(tmp_path / "1-a"), weights(tmp_path / "1-b")
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert (tmp_path / "1-a" / "metrics.jsonl").read_bytes() == (
        tmp_path / "1-b" / "metrics.jsonl"
    ).read_bytes()


def test_metrics_say_what_the_method_is_judged_by(checkpoint, examples, tmp_path):
    run_training(checkpoint, examples, tmp_path / "1-a", config_of(AlignConfig), align())
    rows = [json.loads(line) for line in (tmp_path / "1-a" / "metrics.jsonl").read_text().splitlines()]
    first = rows[0]
    assert first["step"] == 1
    assert first["preference_loss"] in (
        pytest.approx(math.log(3)),
        pytest.approx((math.log(3) + math.log(2)) / 2),
    )
    assert {"logp_consensus", "rewards/rejected/one", "rewards/margin", "rewards/accuracy"} <= set(first)
    assert "logp_consensus_per_token" in rows[-1]["validation"]


def test_training_stops_when_the_consensus_becomes_unlikely(checkpoint, examples, tmp_path):
    """The first two columns swapped in favour of the teacher: pushing column 0 down is what the loss wants.

    The stop comes after the start, leaves the metrics that show the fall, and running again stops again.
    """

    class Displacing(Alignment):
        def __call__(self, scores, batch):
            stats = super().__call__(scores, batch)[1]
            return scores.logps[:, 0].sum(), stats

    displacing = Displacing(
        objective="plackett_luce", beta=0.1, anchor=0.0, length_normalised=False, teachers=TEACHERS
    )
    config = config_of(AlignConfig, learning_rate=3e-2, epochs=4, log_steps=2, save_steps=2)
    for _ in range(2):
        with pytest.raises(
            TrainingError, match=r"log p\(consensus\) lies .* below .*likelihood displacement"
        ):
            run_training(checkpoint, examples, tmp_path / "1-a", config, displacing, floor=-0.3)
        rows = [json.loads(line) for line in (tmp_path / "1-a" / "metrics.jsonl").read_text().splitlines()]
        fall = [row["logp_consensus_change_per_token"] for row in rows]
        assert fall[0] > -0.3 > fall[-1]
        assert not (tmp_path / "1-a" / "student").exists()


def test_a_case_that_is_unlikely_from_the_start_is_no_fall(checkpoint, examples, tmp_path):
    """Two consensuses, of which the reference finds one less likely per token; nothing is learned (the rate
    is nothing). Each stands alone in a window of the log: neither has fallen."""
    likely, unlikely = examples[:2]
    strange = (Candidate(text="xq jz vvk 77 ((( zz"), *unlikely.candidates[1:])
    pair = [likely, replace(unlikely, candidates=strange)]
    config = config_of(
        AlignConfig, learning_rate=1e-12, epochs=1, groups_per_step=1, groups_per_forward=1, log_steps=1
    )
    run_training(checkpoint, pair, tmp_path, config, align(), floor=-0.05)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [row["logp_consensus_per_token"] for row in rows if "logp_consensus_per_token" in row]
    changes = [row["logp_consensus_change_per_token"] for row in rows if "step" in row]
    assert abs(logged[0] - logged[1]) > 0.2  # so the less likely one is further than the floor below the mean
    assert changes == pytest.approx([0.0] * len(changes), abs=1e-4)


def test_a_training_that_leaves_the_numbers_stops(checkpoint, examples, tmp_path):
    with pytest.raises(TrainingError, match="no longer a number"):
        run_training(checkpoint, examples, tmp_path / "1-a", config_of(learning_rate=1e30))
    assert not (tmp_path / "1-a" / "student").exists()


def test_lora_leaves_an_ordinary_checkpoint(checkpoint, examples, tmp_path):
    run_training(checkpoint, examples, tmp_path / "1-a", config_of(tuner="lora"))
    one, start = weights(tmp_path / "1-a"), models.load(checkpoint).model.state_dict()
    assert one.keys() == start.keys()
    changed = [key for key in one if not torch.equal(one[key], start[key])]
    assert changed
    assert not [key for key in changed if "vision_tower" in key]


def test_frozen_tower_stays(checkpoint, examples, tmp_path):
    run_training(checkpoint, examples, tmp_path / "1-a", config_of(train_vision=False))
    one, start = weights(tmp_path / "1-a"), models.load(checkpoint).model.state_dict()
    assert all(torch.equal(one[key], start[key]) for key in one if "vision_tower" in key)


def test_generation_does_not_depend_on_the_batch(checkpoint, examples):
    policy = LocalPolicy.load(checkpoint)
    questions = ["What?", "What is seen here? " * 5]
    images = [examples[0].images, examples[1].images]
    together = policy.generate(questions, images, max_new_tokens=8)
    alone = [policy.generate([q], [i], max_new_tokens=8)[0] for q, i in zip(questions, images, strict=True)]
    assert together == alone


def test_policy_scores_what_the_plain_forward_says(checkpoint, student, examples):
    policy = LocalPolicy.load(checkpoint)
    said = policy.score([WORDS[2]], [examples[0].images], ["No effusion."])
    assert said[0] == pytest.approx(
        plain_logp(student, examples[0], Candidate(text="No effusion.")), abs=1e-3
    )


def test_checkpoints_that_do_not_fit_are_refused(checkpoint, tmp_path):
    with pytest.raises(ModelError, match=r"config.json is missing"):
        models.load(tmp_path / "nothing")
    student = models.load(checkpoint)
    student.processor.chat_template = student.processor.tokenizer.chat_template = None
    models.save(student, tmp_path / "mute")
    with pytest.raises(ModelError, match="chat template"):
        models.load(tmp_path / "mute")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="loading"):
        models.load(tmp_path / "odd")


def test_a_training_takes_denormals_for_zero(student, examples, tmp_path):
    """A negative far behind leaves gradients below 1e-38, which a CPU adds up many times more slowly."""
    tiny = torch.full((4,), 1e-38)
    seen = []

    class Look(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            seen.append(float((tiny * 1e-3).max()))

    trainer = GroupTrainer(
        model=student.model,
        args=TrainingArguments(
            output_dir=str(tmp_path), max_steps=1, use_cpu=True, report_to="none", remove_unused_columns=False
        ),
        data_collator=MultiStreamCollator(processor=student.processor, max_length=512),
        train_dataset=list(examples[:1]),
        objective=Bootstrapping(),
        callbacks=[Look()],
    )
    trainer.train()
    assert seen == [0.0]
    assert float((tiny * 1e-3).max()) > 0  # others in this process may need such numbers
