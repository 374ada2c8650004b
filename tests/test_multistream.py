"""The trainer for everyone and ``align --groups``: rows in, what it starts from, what it leaves."""

import functools
import json
import math
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, PeftModel
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import RandomSampler
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from driftbound.cli import app
from driftbound.config import AlignConfig
from driftbound.errors import CaseError, ConfigError, ModelError, TrainingError
from driftbound.learning import MultiStreamConfig, MultiStreamTrainer, models
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import MultiStreamCollator
from driftbound.learning.logprobs import score
from driftbound.learning.multistream_files import last_complete
from driftbound.learning.rows import Rows

CHOSEN, REJECTED = "No effusion.", ["The left lung is white.", "Edema on both sides.", "Nothing."]
LORA = {"r": 2, "target_modules": r".*language_model.*(q_proj|v_proj)"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A LLaVA of 100,000 random parameters, as an ordinary checkpoint."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([CHOSEN, *REJECTED, "What is seen here?"], 300)
    model = build_model(tokenizer, width=48, layers=2, vision_width=32)
    path = tmp_path_factory.mktemp("checkpoint") / "student"
    models.save(models.Student(model, build_processor(tokenizer)), path)
    return path


def row(n=0, **changes) -> dict:
    image = Image.new("RGB", (64, 64), (40 * n, 0, 0))
    return {
        "prompt": "What is seen here?",
        "chosen": CHOSEN,
        "rejected": REJECTED,
        "images": [image],
    } | changes


def rows(n=4, **changes) -> list[dict]:
    return [row(k, **changes) for k in range(n)]


def make(model, folder, dataset=None, evaluated=None, *, more=None, **settings) -> MultiStreamTrainer:
    given = {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    args = MultiStreamConfig(output_dir=str(folder), report_to="none", **(given | settings))
    return MultiStreamTrainer(str(model), args, dataset or rows(), evaluated, **(more or {}))


def logs(trainer, name="loss") -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def logps(model, processor) -> torch.Tensor:
    """What a model says of the rows, every answer in a row of its own."""
    collate = MultiStreamCollator(processor=processor, max_length=512)
    with torch.no_grad():
        return score(model.eval(), collate(Rows(rows(), "rows")[:])).logps


# ---- where the loss starts ----------------------------------------------------------------------


@pytest.mark.parametrize("row_tokens", [0, 4096])
def test_the_loss_starts_at_ln_of_the_number_of_answers(checkpoint, tmp_path, row_tokens):
    """Policy and reference are equal: rewards 0, ln(1 + 3); training lowers it."""
    trainer = make(checkpoint, tmp_path, row_tokens=row_tokens, num_train_epochs=4)
    trainer.train()
    assert logs(trainer)[0] == pytest.approx(math.log(4), abs=1e-4)
    assert logs(trainer)[-1] < math.log(4) - 0.01


def test_rows_are_shuffled(checkpoint, tmp_path):
    assert isinstance(make(checkpoint, tmp_path)._get_train_sampler(), RandomSampler)


def test_rows_may_have_different_numbers_of_rejected_answers(checkpoint, tmp_path):
    """Batches of one: ln 4 and ln 2, in the order of the shuffle."""
    two = [row(0), row(1, rejected=["Nothing."])]
    settings = {"per_device_train_batch_size": 1, "num_train_epochs": 1, "learning_rate": 1e-9}
    trainer = make(checkpoint, tmp_path, two, **settings)
    trainer.train()
    assert sorted(logs(trainer)) == [
        pytest.approx(math.log(2), abs=1e-4),
        pytest.approx(math.log(4), abs=1e-4),
    ]


def test_weights_reach_the_loss(checkpoint, tmp_path):
    """At the start -log(1 / (1 + sum w)): weights 2, 0.5 and 0 make ln 3.5."""
    trainer = make(checkpoint, tmp_path, rows(rejected_weights=[2.0, 0.5, 0]), max_steps=1)
    trainer.train()
    assert logs(trainer)[0] == pytest.approx(math.log(3.5), abs=1e-4)


def test_spans_reach_reference_and_loss(checkpoint, tmp_path):
    """Weight 0 on all of an answer but its end token: of its log-probability the end alone is left.

    Policy and reference weigh alike, so the loss still starts at ln 4.
    """
    whole = [[[0, len(text), 0.0]] for text in REJECTED]
    trainer = make(checkpoint, tmp_path / "spans", rows(rejected_spans=whole), max_steps=1)
    plain = make(checkpoint, tmp_path / "plain", max_steps=1)
    weighed, full = (t.data_collator.reference["train_dataset, row 0"] for t in (trainer, plain))
    assert weighed[0] == pytest.approx(full[0], abs=1e-4)
    assert all(0 > some > every + 5 for some, every in zip(weighed[1:], full[1:], strict=True))
    trainer.train()
    assert logs(trainer)[0] == pytest.approx(math.log(4), abs=1e-4)


def test_weights_of_end_tokens_and_of_the_chosen_answer_reach_the_reward(checkpoint, tmp_path):
    """Without its end token a text's sum is larger; of a chosen answer without weight only the end is left.

    The floor looks at the plain log-probability, which has not changed.
    """
    ends = {"rejected_end_weights": [0.0, 1.0, 1.0], "chosen_spans": [[0, len(CHOSEN), 0.0]]}
    trainer = make(checkpoint, tmp_path / "ends", rows(**ends), max_steps=1, floor=-0.5)
    plain = make(checkpoint, tmp_path / "plain", max_steps=1, floor=-0.5)
    weighed, full = (t.data_collator.reference["train_dataset, row 0"] for t in (trainer, plain))
    assert 0 > weighed[0] > full[0] + 5
    assert weighed[1] > full[1] + 1
    assert weighed[2:] == pytest.approx(full[2:], abs=1e-4)
    assert trainer.floor == plain.floor == -0.5
    trainer.train()
    first, other = logs(trainer), trainer.state.log_history[0]
    assert first[0] == pytest.approx(math.log(4), abs=1e-4)
    assert other["logp_consensus_change_per_token"] == pytest.approx(0.0, abs=1e-4)


def test_pairwise_anchor_and_length_reach_the_objective(checkpoint, tmp_path):
    """Three DPO terms at reward 0 are ln 2; the anchor adds 0.5 times the NLL per token, here 5 or so."""
    settings = {"objective": "pairwise", "anchor": 0.5, "length_normalised": True, "max_steps": 1}
    trainer = make(checkpoint, tmp_path, **settings)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["preference_loss"] == pytest.approx(math.log(2), abs=1e-4)
    nll = -first["logp_consensus_per_token"]
    assert first["loss"] == pytest.approx(math.log(2) + 0.5 * nll, abs=1e-4)
    assert trainer.objective.length_normalised


def test_absolute_term_and_floor_reach_the_objective(checkpoint, tmp_path):
    """At the start all rewards are 0: ln 4, and the absolute term's 2 ln 2; then the floor's lambda."""
    trainer = make(checkpoint, tmp_path, nca=0.5, dpop=3.0, max_steps=2)
    trainer.train()
    first, second = trainer.state.log_history[:2]
    assert first["loss"] == pytest.approx(math.log(4) + 0.5 * 2 * math.log(2), abs=1e-4)
    assert first["nca"] == pytest.approx(2 * math.log(2), abs=1e-4)
    assert first["dpop"] == pytest.approx(0, abs=1e-4)
    assert second["nca"] != first["nca"]
    shares = [first[f"share/rejected/{k}"] for k in (1, 2, 3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert trainer.objective.dpop == 3.0


def test_fine_tuning_needs_no_rejected_answer_and_no_reference(checkpoint, tmp_path):
    """The NLL per token of the chosen answers; late rows are evaluated; rejected ones not looked at."""
    alone = [{"prompt": each["prompt"], "chosen": CHOSEN, "images": each["images"]} for each in rows()]
    made = {}
    for name, given in (("a", alone), ("b", rows(rejected=None)), ("c", rows())):
        trainer = make(checkpoint, tmp_path / name, given, given[:1], objective="sft", max_steps=3)
        trainer.train()
        made[name] = logs(trainer)
        first, last = trainer.state.log_history[0], trainer.evaluate()
        assert first["loss"] == pytest.approx(-first["logp_consensus_per_token"], abs=1e-5)
        assert last["eval_loss"] == pytest.approx(-last["eval_logp_consensus_per_token"], abs=1e-5)
        assert trainer.evaluate(given[1:2])["eval_loss"] > 0
        assert not (tmp_path / name / "reference.jsonl").exists()
        assert trainer.train_dataset[0].candidates[1:] == ()
    assert made["a"] == made["b"] == made["c"]
    assert made["a"][2] < made["a"][0]
    with pytest.raises(CaseError, match="'rejected' is missing"):
        make(checkpoint, tmp_path / "d", alone)


@pytest.mark.parametrize(
    ("target", "forwards"), [("language_model", 0), ("(language_model|vision_tower)", 4)]
)
def test_a_training_knows_the_features_of_a_frozen_tower(checkpoint, tmp_path, target, forwards):
    """From the reference; with adapters on the tower it asks it for each of 2 x 2 batches."""
    lora = LoraConfig(r=2, target_modules=rf".*{target}.*(q_proj|v_proj)")
    trainer = make(checkpoint, tmp_path, num_train_epochs=2, more={"peft_config": lora})
    model, calls = trainer.model.get_base_model().model, []
    for module in models.vision_modules(model):
        if hasattr(module, "layers"):
            module.register_forward_hook(lambda *_: calls.append(1))
    assert ("get_image_features" in vars(model)) == (forwards == 0)
    trainer.train()
    assert len(calls) == forwards
    assert "get_image_features" not in vars(model)


def test_two_passes_train_and_evaluate_the_same(checkpoint, tmp_path):
    whole = make(checkpoint, tmp_path / "a", evaluated=rows(2), row_tokens=120)
    apart = make(checkpoint, tmp_path / "b", evaluated=rows(2), row_tokens=120, two_pass=True)
    for trainer in (whole, apart):
        trainer.train()
    assert logs(apart) == pytest.approx(logs(whole), rel=1e-4)
    one, two = whole.evaluate(), apart.evaluate()
    for name in ("eval_loss", "eval_rewards/margin", "eval_logp_consensus"):
        assert two[name] == pytest.approx(one[name], rel=1e-3), name


def test_ref_model_is_used(checkpoint, tmp_path):
    """One reference, another start: the loss is what the two models' log-probabilities say, by hand."""
    other = models.load(checkpoint).model
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    settings = {"beta": 1.0, "max_steps": 1, "per_device_train_batch_size": 4}
    trainer = make(checkpoint, tmp_path, more={"ref_model": other}, **settings)
    trainer.train()
    base = models.load(checkpoint)
    rewards = logps(base.model, base.processor) - logps(other, base.processor)
    losses = torch.logsumexp(rewards, 1) - rewards[:, 0]
    assert float(losses.mean()) != pytest.approx(math.log(4), abs=1e-2)
    assert logs(trainer)[0] == pytest.approx(float(losses.mean()), abs=1e-3)


def test_with_an_adapter_the_reference_is_the_model_without(checkpoint, tmp_path):
    """An adapter that starts at random: rewards are not 0, as they would be against itself."""
    torch.manual_seed(0)
    given = {"peft_config": LoraConfig(**LORA, init_lora_weights=False)}
    adapted = make(checkpoint, tmp_path / "a", more=given, max_steps=1)
    plain = make(checkpoint, tmp_path / "b", max_steps=1)
    assert adapted.data_collator.reference == plain.data_collator.reference
    adapted.train()
    assert abs(logs(adapted)[0] - math.log(4)) > 1e-4


# ---- the reference ------------------------------------------------------------------------------


def test_the_reference_is_stored_and_belongs_to_its_model(checkpoint, tmp_path):
    """Taken up by the same model; another model, length or image is computed anew."""
    stored = tmp_path / "reference.jsonl"
    first = make(checkpoint, tmp_path, reference_path=str(stored)).data_collator.reference
    lines = len(stored.read_text().splitlines())
    assert make(checkpoint, tmp_path, reference_path=str(stored)).data_collator.reference == first
    assert len(stored.read_text().splitlines()) == lines == 2
    other = models.load(checkpoint)
    with torch.no_grad():
        next(other.model.get_decoder().parameters()).add_(0.01)
    args = MultiStreamConfig(
        output_dir=str(tmp_path), reference_path=str(stored), per_device_train_batch_size=2
    )
    trained = MultiStreamTrainer(other.model, args, rows(), processing_class=other.processor)
    assert trained.data_collator.reference != first
    assert len(stored.read_text().splitlines()) == 4
    make(checkpoint, tmp_path, [*rows()[:3], row(5)], reference_path=str(stored))
    assert len(stored.read_text().splitlines()) == 5


def test_images_as_paths_and_in_memory_are_the_same(checkpoint, tmp_path):
    paths = []
    for n, each in enumerate(rows()):
        paths.append(tmp_path / f"{n}.png")
        each["images"][0].save(paths[-1])
    files = [row(images=[str(path)]) for path in paths]
    parts = [{"type": "image"}, {"type": "text", "text": "What is seen here?"}]
    talk = {
        "prompt": [{"role": "user", "content": parts}],
        "chosen": [{"role": "assistant", "content": CHOSEN}],
        "rejected": [[{"role": "assistant", "content": [{"type": "text", "text": t}]}] for t in REJECTED],
    }
    data = [{"images": [{"bytes": path.read_bytes(), "path": None}]} for path in paths]
    given = [rows(), files, [row(n) | talk for n in range(4)], [row() | each for each in data]]
    found = [
        make(checkpoint, tmp_path / str(k), dataset).data_collator.reference
        for k, dataset in enumerate(given)
    ]
    assert found[0] == found[1] == found[2] == found[3]
    black, red = (found[0][f"train_dataset, row {n}"][0] for n in (0, 3))
    assert abs(black - red) > 1e-3


# ---- evaluation ---------------------------------------------------------------------------------


def test_evaluate_says_what_the_training_says(checkpoint, tmp_path):
    trainer = make(checkpoint, tmp_path, evaluated=rows(3), per_device_eval_batch_size=2, num_train_epochs=4)
    before = trainer.evaluate()
    assert before["eval_loss"] == pytest.approx(math.log(4), abs=1e-4)
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < before["eval_loss"]
    names = ("rewards/accuracy", "rewards/margin", "rewards/consensus", "logp_consensus", "preference_loss")
    assert {f"eval_{name}" for name in names} <= set(after)
    model = trainer.model
    base = models.load(checkpoint)
    rewards = 0.1 * (logps(model, base.processor) - logps(base.model, base.processor))[:3]
    expected = (torch.logsumexp(rewards, 1) - rewards[:, 0]).mean()
    assert after["eval_loss"] == pytest.approx(float(expected), abs=1e-4)


def test_evaluating_between_leaves_the_training_alone(checkpoint, tmp_path):
    """Same weights and same logged means, whether there is an evaluation in the middle of a window or not."""
    settings = {"num_train_epochs": 2, "logging_steps": 2}
    plain = make(checkpoint, tmp_path / "a", **settings)
    watched = make(checkpoint, tmp_path / "b", None, rows(2), eval_strategy="steps", eval_steps=1, **settings)
    plain.train()
    watched.train()
    assert logs(plain, "rewards/margin") == logs(watched, "rewards/margin")
    assert len(logs(watched, "eval_loss")) == 4


def test_rows_that_come_late_need_a_reference(checkpoint, tmp_path):
    trainer = make(checkpoint, tmp_path / "a", max_steps=1)
    assert trainer.evaluate(rows(2))["eval_loss"] == pytest.approx(math.log(4), abs=1e-4)
    trainer.train()
    with pytest.raises(TrainingError, match="trained away"):
        trainer.evaluate(rows(2))
    more = {"peft_config": LoraConfig(**LORA)}
    settings = {"max_steps": 2, "learning_rate": 1e-2}
    with_adapter = make(checkpoint, tmp_path / "b", None, rows(2), more=more, **settings)
    with_adapter.train()
    before = with_adapter.evaluate()["eval_loss"]
    late = with_adapter.evaluate({"other": rows(2)})
    assert abs(before - math.log(4)) > 1e-3
    assert late["eval_other_loss"] == pytest.approx(before, abs=1e-5)
    with_adapter.evaluate(rows(2, chosen="Nothing at all, or so it seems."))
    assert with_adapter.evaluate()["eval_loss"] == before


# ---- what is left -------------------------------------------------------------------------------


def test_trained_weights_come_back(checkpoint, tmp_path):
    trainer = make(checkpoint, tmp_path, max_steps=2)
    trainer.train()
    trainer.save_model()
    back = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    mine, start = trainer.model.state_dict(), models.load(checkpoint).model.state_dict()
    assert mine.keys() == back.keys()
    assert all(torch.equal(mine[name], back[name]) for name in mine)
    assert any(not torch.equal(mine[name], start[name]) for name in mine)
    assert models.load(tmp_path).processor.chat_template
    card = (tmp_path / "README.md").read_text()
    assert "arxiv.org/abs/2510.04142" in card
    assert "| beta | 0.1 |" in card
    assert "library_name: transformers" in card
    assert "base_model" not in card


def test_adapter_and_merged_say_the_same(checkpoint, tmp_path):
    trainer = make(
        checkpoint, tmp_path / "adapter", more={"peft_config": LoraConfig(**LORA)}, num_train_epochs=4
    )
    trainer.train()
    trainer.save_model()
    trainer.save_merged(tmp_path / "merged")
    assert any("lora" in name for name in trainer.model.state_dict())  # it can go on
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert "library_name: peft" in (tmp_path / "adapter" / "README.md").read_text()
    base, merged = models.load(checkpoint), models.load(tmp_path / "merged")
    start = logps(base.model, base.processor)
    own = logps(trainer.model, base.processor)
    adapted = logps(PeftModel.from_pretrained(base.model, tmp_path / "adapter"), base.processor)
    torch.testing.assert_close(adapted, own, atol=1e-4, rtol=0)
    torch.testing.assert_close(logps(merged.model, base.processor), own, atol=1e-3, rtol=0)
    assert float((own - start).abs().max()) > 0.1


def test_model_init_kwargs_reach_model_and_reference(checkpoint, tmp_path, monkeypatch):
    """bfloat16 for both by name, and the loss starts at ln 4; the processor gets what is meant for it too."""
    seen, load = [], AutoProcessor.from_pretrained

    def watched(name, **given):
        seen.append(given)
        return load(name, **given)

    monkeypatch.setattr(AutoProcessor, "from_pretrained", watched)
    init = {"dtype": "bfloat16", "attn_implementation": "sdpa", "trust_remote_code": False}
    more = {"model_init_kwargs": init, "ref_model": str(checkpoint), "peft_config": LoraConfig(**LORA)}
    trainer = make(checkpoint, tmp_path, max_steps=1, more=more)
    assert seen == [{"trust_remote_code": False}] * 2
    assert trainer.model.dtype == trainer._ref.dtype == torch.bfloat16
    trainer.train()
    assert logs(trainer)[0] == pytest.approx(math.log(4), abs=1e-2)
    student = models.load(checkpoint)
    with pytest.raises(TrainingError, match="for a model by name"):
        MultiStreamTrainer(student.model, model_init_kwargs=init, processing_class=student.processor)
    with pytest.raises(ModelError, match="loading"):
        make(checkpoint, tmp_path, more={"model_init_kwargs": {"dtype": "bfloat17"}})


def test_what_goes_to_the_hub(checkpoint, tmp_path, monkeypatch):
    """The folder with weights, processor and our card; nothing unless asked."""
    sent = []

    def upload_folder(**given):
        sent.append({path.name for path in Path(given["folder_path"]).iterdir()})

    monkeypatch.setattr("transformers.trainer.hf_api", lambda: SimpleNamespace(upload_folder=upload_folder))
    trainer = make(checkpoint, tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model()
    assert not sent
    trainer.hub_model_id = "someone/student"
    trainer.push_to_hub(tags="mine")
    assert {"README.md", "model.safetensors", "config.json", "chat_template.jinja"} <= sent[0]
    assert "- driftbound\n- mine\n" in (tmp_path / "README.md").read_text()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("adapter", [False, True])
def test_resumed_equals_uninterrupted(checkpoint, tmp_path, monkeypatch, adapter):
    """Killed at step 4 of 6, in the second of three epochs: same weights, to the bit."""

    def begin(folder):
        more = {"peft_config": LoraConfig(**LORA)} if adapter else {}
        return make(checkpoint, folder, num_train_epochs=3, save_steps=1, more=more)

    whole = begin(tmp_path / "a")
    whole.train()
    step, calls = MultiStreamTrainer.training_step, []

    def dying(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KilledError
        return step(self, *args, **kwargs)

    monkeypatch.setattr(MultiStreamTrainer, "training_step", dying)
    with pytest.raises(KilledError):
        begin(tmp_path / "b").train()
    monkeypatch.undo()
    (tmp_path / "b" / "checkpoint-9").mkdir()
    assert last_complete(tmp_path / "b").name == "checkpoint-3"
    resumed = begin(tmp_path / "b")
    resumed.train(resume_from_checkpoint=str(last_complete(tmp_path / "b")))
    assert logs(resumed) == logs(whole)
    one, two = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_best_checkpoint_is_loaded(checkpoint, tmp_path):
    """Best is by the largest loss, so the first: what is in memory at the end is step 1."""
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "max_steps": 3,
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "greater_is_better": True,
    }
    trainer = make(checkpoint, tmp_path, None, rows(2), **settings)
    trainer.train()
    first = AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint-1").state_dict()
    mine = trainer.model.state_dict()
    assert trainer.state.global_step == 3
    assert all(torch.equal(mine[name], first[name]) for name in mine)


def test_another_trainings_checkpoint_is_refused(checkpoint, tmp_path):
    make(checkpoint, tmp_path, more={"peft_config": LoraConfig(**LORA)}, max_steps=1).train()
    more = {"peft_config": LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|k_proj)")}
    other = make(checkpoint, tmp_path, more=more, max_steps=2)
    with pytest.raises(TrainingError, match="training of other weights"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_training_stops_below_the_floor(checkpoint, tmp_path):
    with pytest.raises(TrainingError, match=r"likelihood displacement\). Lower learning_rate, raise anchor"):
        make(checkpoint, tmp_path, rows(), floor=-1e-9, learning_rate=0.1, num_train_epochs=9).train()


# ---- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chosen": None}, "'chosen' is missing. Columns: prompt, chosen, rejected, images"),
        ({"chosen": " "}, "'chosen' is empty"),
        ({"chosen": 3}, "'chosen' is of type int"),
        ({"chosen": [{"content": "a"}, {"content": "b"}]}, "'chosen' has 2 messages"),
        ({"rejected": "no"}, "'rejected' is of type str"),
        ({"rejected": []}, "no rejected answer"),
        ({"rejected": [{"role": "user", "content": "a"}]}, r"'rejected\[0\]' is said by 'user'"),
        ({"rejected": ["a", ""]}, r"'rejected\[1\]' is empty"),
        ({"rejected_weights": [1.0]}, "'rejected_weights' has 1 entries for 3 rejected answers"),
        ({"rejected_weights": [1, -1, 1]}, r"rejected_weights\[1\] is -1"),
        ({"rejected_weights": [1, "x", 1]}, r"rejected_weights\[1\] has 'x'"),
        ({"rejected_weights": [0, 0, 0]}, "no rejected answer with a weight above 0"),
        ({"rejected_spans": [[]]}, "'rejected_spans' has 1 entries for 3 rejected answers"),
        ({"rejected_spans": [[[0, 99, 1.0]], [], []]}, r"has \[0, 99, 1.0\]; the answer has 23 characters"),
        ({"rejected_spans": [[[0, 2]], [], []]}, r"must be a list of \[start, end, weight\]"),
        ({"rejected_end_weights": [1.0]}, "'rejected_end_weights' has 1 entries for 3 rejected answers"),
        ({"rejected_end_weights": [1, 1, -1]}, r"rejected_end_weights\[2\] is -1"),
        ({"chosen_spans": [[0, 13, 0.5]]}, r"chosen_spans has \[0, 13, 0.5\]; the answer has 12 characters"),
        ({"prompt": ""}, "'prompt' is empty"),
        ({"prompt": [{"role": "system", "content": "x"}]}, "one message of the user"),
        ({"images": ["gone.png"]}, "image gone.png is missing"),
        ({"images": [3]}, "an image is of type int"),
        ({"images": [{"bytes": b"no image"}]}, "bytes of an image cannot be read"),
    ],
)
def test_bad_rows_are_named_in_one_line(changes, said):
    with pytest.raises(CaseError, match=f"^train_dataset, row 1: .*{said}") as caught:
        Rows([row(), row(**changes)], "train_dataset")
    assert "\n" not in str(caught.value)


def test_what_is_no_list_of_rows_is_refused(checkpoint, tmp_path):
    for given, said in ((iter(()), "Give a list of rows"), ([], "no rows"), (["a"], "row 0: is of type str")):
        with pytest.raises(CaseError, match=said):
            Rows(given, "train_dataset")
    with pytest.raises(CaseError, match="eval_dataset, row 0"):
        make(checkpoint, tmp_path, None, [{}])


def test_a_chosen_answer_that_does_not_fit_is_refused_before_training(checkpoint, tmp_path):
    """A rejected one of the same length is cut."""
    processor = models.load(checkpoint).processor
    collate = MultiStreamCollator(processor=processor, max_length=512)
    example = Rows([row()], "train_dataset")[0]
    room = collate.answer_tokens(example)[0]
    length = collate.encode_prompt(example)["input_ids"].shape[1] + room
    long = CHOSEN + " here" * 20
    make(checkpoint, tmp_path / "cut", rows(2, rejected=[long]), max_length=length)
    with pytest.raises(TrainingError, match="train_dataset, row 0: its consensus takes"):
        make(checkpoint, tmp_path / "whole", rows(2, chosen=long), max_length=length)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"objective": "apo"}, {"beta": 0}, {"anchor": -1}, {"nca": -1}, {"dpop": -1}),
        *({"max_length": 2}, {"row_tokens": -1}, {"floor": 1}, {"objective": "sft", "nca": 1}),
    ],
)
def test_impossible_settings_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MultiStreamConfig(output_dir=str(tmp_path), **wrong)


def test_models_that_do_not_fit_are_refused(checkpoint, tmp_path):
    with pytest.raises(ModelError, match="no checkpoint"):
        make(tmp_path / "gone", tmp_path)
    student = models.load(checkpoint)
    for given in (student.processor.tokenizer, object()):
        with pytest.raises(ModelError, match="must be a processor"):
            make(checkpoint, tmp_path, more={"processing_class": given})


# ---- the command line and the example -----------------------------------------------------------


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def groups(tmp_path) -> Path:
    """Nine rows with image paths beside the file."""
    (tmp_path / "pictures").mkdir()
    lines = []
    for n in range(9):
        row(n % 4)["images"][0].save(tmp_path / "pictures" / f"{n}.png")
        lines.append(json.dumps(row(images=[f"pictures/{n}.png"])))
    path = tmp_path / "groups.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_align_from_a_file(checkpoint, groups, tmp_path):
    """Two epochs over nine rows in steps of eight: an ordinary checkpoint, and its folder on stdout."""
    out = tmp_path / "student"
    words = ("align", "--groups", groups, "--base", checkpoint, "--learning-rate", "1e-3", "--epochs", "2")
    result = call(*words, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    back, start = load_file(out / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    changed = {name for name in back if not torch.equal(back[name], start[name])}
    assert changed
    assert not [name for name in changed if "vision_tower" in name]
    history = json.loads((out / "trainer_state.json").read_text())
    assert history["global_step"] == 4
    assert history["log_history"][0]["loss"] == pytest.approx(math.log(4), abs=1e-4)
    assert not list(out.glob("checkpoint-*"))
    again = call(*words, "--out", out)
    assert again.exit_code == 2
    assert "holds a finished student" in again.stderr
    (out / "README.md").unlink()
    assert "begun with another beta" in call(*words, "--out", out, "--beta", "1").stderr


def test_align_from_a_file_of_chosen_answers_alone(checkpoint, groups, tmp_path):
    """Their NLL per token, no reference; and what says nothing then is refused."""
    short = [{k: v for k, v in json.loads(line).items() if k != "rejected"} for line in groups.open()]
    groups.write_text("".join(json.dumps(each) + "\n" for each in short))
    words = ("align", "--groups", groups, "--base", checkpoint, "--learning-rate", "1e-3")
    refused = call(*words, "--out", tmp_path / "no", "--objective", "sft", "--dpop", "1")
    assert refused.exit_code == 2
    assert "dpop would change nothing" in refused.stderr
    result = call(*words, "--out", tmp_path / "student", "--objective", "sft")
    assert result.exit_code == 0, result.output
    first = json.loads((tmp_path / "student" / "trainer_state.json").read_text())["log_history"][0]
    assert first["loss"] == pytest.approx(-first["logp_consensus_per_token"], abs=1e-5)
    assert not (tmp_path / "student" / "reference.jsonl").exists()
    card = (tmp_path / "student" / "README.md").read_text()
    assert "on the chosen answers alone" in card
    assert "| beta |" not in card


def test_absolute_term_and_floor_from_the_command_line(checkpoint, groups, tmp_path):
    words = ("align", "--groups", groups, "--base", checkpoint, "--out", tmp_path / "student")
    result = call(*words, "--nca", "0.5", "--dpop", "2", "--objective", "pairwise")
    assert result.exit_code == 0, result.output
    first = json.loads((tmp_path / "student" / "trainer_state.json").read_text())["log_history"][0]
    assert first["loss"] == pytest.approx(math.log(2) + 0.5 * 2 * math.log(2), abs=1e-4)
    said = json.loads((tmp_path / "student" / "settings.json").read_text())
    assert (said["nca"], said["dpop"]) == (0.5, 2.0)


def test_a_killed_align_goes_on(checkpoint, groups, tmp_path, monkeypatch):
    """Checkpoints every 5 of 8 steps, killed at step 7: the same command does the last three."""
    monkeypatch.setattr("driftbound.aligning.AlignConfig", functools.partial(AlignConfig, save_steps=5))
    words = ("align", "--groups", groups, "--base", checkpoint, "--learning-rate", "1e-3", "--epochs", "4")
    assert call(*words, "--out", tmp_path / "a").exit_code == 0
    step, calls = MultiStreamTrainer.training_step, []

    def dying(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            raise KilledError
        return step(self, *args, **kwargs)

    monkeypatch.setattr(MultiStreamTrainer, "training_step", dying)
    assert isinstance(call(*words, "--out", tmp_path / "b").exception, KilledError)
    assert call(*words, "--out", tmp_path / "b").exit_code == 0
    assert len(calls) == 7 + 3
    one, two = (load_file(tmp_path / run / "model.safetensors") for run in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_align_from_a_file_with_adapters(checkpoint, groups, tmp_path):
    """An ordinary bfloat16 checkpoint in which the decoder's linear layers alone have moved."""
    out = tmp_path / "student"
    words = ("align", "--groups", groups, "--base", checkpoint, "--out", out, "--learning-rate", "0.05")
    words += ("--lora", "2", "--weights", "bfloat16", "--gradient-checkpointing", "--row-tokens", "512")
    result = call(*words)
    assert result.exit_code == 0, result.output
    back, start = load_file(out / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    assert back.keys() == start.keys()
    assert {value.dtype for value in back.values()} == {torch.bfloat16}
    changed = {name for name in back if not torch.equal(back[name], start[name].bfloat16())}
    assert changed
    assert all("language_model" in name and name.endswith("_proj.weight") for name in changed)
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    assert history[0]["loss"] == pytest.approx(math.log(4), abs=1e-2)
    card = (out / "README.md").read_text()
    assert all(f"| {line} |" in card for line in ("adapters | LORA, rank 2", "row_tokens | 512"))
    assert all(f"| {line} |" in card for line in ("weights | bfloat16", "learning_rate | 0.05"))
    assert "library_name: transformers" in card
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["lora"], settings["weights"]) == ({"rank": 2, "alpha": 8}, "bfloat16")
    (out / "README.md").unlink()
    assert "begun with another lora" in call(*words, "--lora", "3").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--weights", "bfloat16"), "weights bfloat16 with tuner full would lose"),
        (("--lora", "2", "--weights", "int3"), "--weights is int3: Input should be 'float32' or 'bfloat16'"),
        (("--beta", "inf"), "--beta is inf: Input should be a finite number"),
        (("--row-tokens", "-1"), "--row-tokens is -1: Input should be greater than or equal to 0"),
    ],
)
def test_impossible_options_of_align_are_named(checkpoint, groups, tmp_path, words, said):
    result = call("align", "--groups", groups, "--base", checkpoint, "--out", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_align_reads_json_and_parquet(groups):
    from driftbound.aligning import read_rows

    found = [json.loads(line) for line in groups.read_text().splitlines()]
    (groups.parent / "g.json").write_text(json.dumps(found))
    data = [each | {"images": [{"bytes": None, "path": each["images"][0]}]} for each in found]
    pq.write_table(pa.Table.from_pylist(data), groups.parent / "g.parquet")
    three = [read_rows(groups.parent / name) for name in ("groups.jsonl", "g.json", "g.parquet")]
    assert three[0] == three[1] == three[2]
    assert three[0][0]["images"] == [groups.parent / "pictures" / "0.png"]


def test_align_says_what_is_wrong_with_the_file(checkpoint, groups, tmp_path):
    def complaint(path, *more) -> str:
        result = call("align", "--groups", path, "--base", checkpoint, "--out", tmp_path / "out", *more)
        assert result.exit_code == 2, result.output
        assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()
        return result.stderr

    def written(name, text) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    good = groups.read_text().splitlines()[0]
    assert "No such file" in complaint(tmp_path / "gone.jsonl")
    assert "no file of rows" in complaint(written("rows.csv", good))
    assert "line 2: is no JSON" in complaint(written("broken.jsonl", good + "\n{\n"))
    assert "no list of rows" in complaint(written("one.json", good))
    assert "there are no rows" in complaint(written("empty.jsonl", "\n"))
    without = json.dumps({key: value for key, value in json.loads(good).items() if key != "rejected"})
    assert "missing.jsonl, row 2: 'rejected' is missing" in complaint(
        written("missing.jsonl", good + "\n" + without)
    )
    (groups.parent / "pictures" / "3.png").unlink()
    assert "groups.jsonl, row 4: image" in complaint(groups)
    assert "--beta is 0" in complaint(written("good.jsonl", good), "--beta", "0")
    assert "no checkpoint" in complaint(tmp_path / "good.jsonl", "--base", tmp_path / "gone")
    assert (
        "not empty"
        in call("align", "--groups", tmp_path / "good.jsonl", "--base", checkpoint, "--out", tmp_path).stderr
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs a RECIPE, or --groups"),
        (("--base", "x"), "needs a RECIPE, or --groups"),
        (("recipe.yaml", "--out", "x"), "needs a RECIPE, or --groups"),
        (("recipe.yaml", "--groups", "x.jsonl"), "Leave out RECIPE"),
        (("--groups", "x.jsonl"), "needs --base CHECKPOINT and --out FOLDER"),
    ],
)
def test_align_takes_a_recipe_or_rows(words, said):
    result = call("align", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_example_runs(tmp_path, monkeypatch):
    script = Path(__file__).parent.parent / "examples" / "align_rows.py"
    monkeypatch.setattr(sys, "argv", [str(script), os.fspath(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    assert models.load(tmp_path).model
