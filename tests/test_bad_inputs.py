"""Input that cannot be trained on: found before the first step, one line naming the case, nothing lost."""

import json
from dataclasses import replace

import pytest
import torch
import transformers as hf
from PIL import Image
from typer.testing import CliRunner

from driftbound.cli import app
from driftbound.errors import CaseError, ModelError, TrainingError
from driftbound.learning import examining, models
from driftbound.learning.architecture import CHAT_TEMPLATE, build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator
from driftbound.learning.examining import examine
from driftbound.learning.image_tokens import image_tokens
from driftbound.learning.logprobs import score

WORDS = ["No effusion.", "Edema on both sides.", "What is seen here?"]
COLUMNS = ("consensus", "one", "two")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(WORDS, 300)


@pytest.fixture
def student(tokenizer) -> models.Student:
    torch.manual_seed(0)
    return models.Student(
        build_model(tokenizer, width=48, layers=1, vision_width=32), build_processor(tokenizer)
    )


@pytest.fixture
def examples(tmp_path) -> list[Example]:
    """Three cases; the consensus has 2 words, the second teacher's answer 4, the first has none for c1."""
    Image.new("L", (64, 64), 90).save(tmp_path / "a.png")
    short, long = Candidate(text=WORDS[0]), Candidate(text=WORDS[1])
    return [
        Example(
            case_id=f"c{n}",
            question=WORDS[2],
            images=(tmp_path / "a.png",),
            candidates=(short, None if n == 1 else short, long),
        )
        for n in range(3)
    ]


def collator(student, **changes) -> MultiStreamCollator:
    fields = {"max_length": 512, "row_tokens": 4096, "columns": COLUMNS, "first_is_whole": True}
    return MultiStreamCollator(processor=student.processor, **fields | changes)


def look(student, examples, validation=(), **changes):
    return examine(student.model, collator(student, **changes), examples, validation, verb="align")


def with_text(example, column, text) -> Example:
    candidates = list(example.candidates)
    candidates[column] = Candidate(text=text)
    return replace(example, candidates=tuple(candidates))


def lengths(student, example) -> tuple[int, list[int]]:
    """Of the prompt and of each answer."""
    collate = collator(student)
    return collate.encode_prompt(example)["input_ids"].shape[1], collate.answer_tokens(example)


# ---- bad input ----------------------------------------------------------------------------------


def test_good_input_passes_and_nothing_is_said(student, examples, capsys):
    found = look(student, examples[:2], examples[2:])
    assert found.examples == examples[:2]
    assert found.validation == examples[2:]
    assert found.facts == {
        "truncated_answers": 0,
        "truncated_by_teacher": {},
        "truncated_cases": [],
        "dropped_groups": 0,
        "dropped_cases": [],
    }
    assert "max_length" not in capsys.readouterr().err


@pytest.mark.parametrize(("column", "whose"), [(0, "consensus"), (2, "two")])
def test_an_answer_with_an_image_token_is_refused(student, examples, column, whose):
    """Also of a validation case; the token is one of the vocabulary, so that it would stand for an image."""
    bad = with_text(examples[2], column, "Edema <image> here.")
    said = f"case c2: the answer of {whose} contains the image token <image>"
    for arguments in ((student, [*examples[:2], bad]), (student, examples[:2], [bad])):
        with pytest.raises(TrainingError, match=said):
            look(*arguments)
    with pytest.raises(TrainingError, match=said):
        collator(student)([bad])


def test_the_models_own_image_token_counts_where_the_processor_knows_another(student, examples, tokenizer):
    """A model that takes the word `sides` for its video: nothing in the processor says so."""
    word = tokenizer("Edema", add_special_tokens=False)["input_ids"][0]
    student.model.config.video_token_id = word
    with pytest.raises(TrainingError, match="case c0: the answer of two contains the image token"):
        look(student, examples)


def test_a_question_with_an_image_token_is_refused(student, examples):
    bad = replace(examples[1], question="What is <image>?")
    with pytest.raises(CaseError, match="case c1: its question contains the image token <image>"):
        look(student, [examples[0], bad])


def test_a_template_that_leaves_images_out_is_refused(student, examples):
    """LLaVA's processor sees it itself, and is quoted."""
    student.processor.chat_template = CHAT_TEMPLATE.replace("%}<image>{%", "%}{%")
    with pytest.raises(CaseError, match=r"case c0: encoding its prompt: .*0 <image> tokens and 1 images"):
        look(student, examples)


@pytest.mark.parametrize(
    ("images", "marks", "good"),
    [(1, 0, False), (2, 1, False), (0, 1, False), (0, 0, True), (1, 1, True), (1, 9, True), (2, 2, True)],
)
def test_images_and_their_tokens_are_counted(student, examples, monkeypatch, images, marks, good):
    """Whatever the processor lets pass: a token or more per image, and none without one."""
    ids = torch.tensor([[5] + [student.processor.image_token_id] * marks])
    monkeypatch.setattr("driftbound.learning.collator.encode_prompts", lambda *_: {"input_ids": ids})
    case = replace(examples[0], images=examples[0].images * images)
    if good:
        assert torch.equal(collator(student).encode_prompt(case)["input_ids"], ids)
        return
    with pytest.raises(CaseError, match=rf"case c0: {images} image\(s\), but {marks} image tokens"):
        collator(student).encode_prompt(case)


def test_a_count_of_image_tokens_that_is_not_the_models_is_refused(student, examples):
    """Patches of 32 instead of 16: 16 tokens for 64 features."""
    student.processor.patch_size = 32
    with pytest.raises(ModelError, match=r"case c0: the model cannot read .*tokens: 16,"):
        look(student, examples)


def test_the_first_case_of_each_number_of_images_is_tried(student, examples, monkeypatch):
    """Of 1, 1, 2, 0, 2 and 1 images: packed, with one prompt each for all answers."""
    tried = []

    def record(model, batch):
        tried.append(len(batch["pixel_values"]) if "pixel_values" in batch else 0)
        return score(model, batch)

    monkeypatch.setattr(examining, "score", record)
    counts = (1, 1, 2, 0, 2, 1)
    look(student, [replace(examples[0], case_id=f"m{n}", images=examples[0].images * n) for n in counts])
    assert tried == [1, 2, 0]


def test_a_prompt_longer_than_max_length_is_refused(student, examples):
    """c1 alone has the longer question; just as long leaves no room for an answer either."""
    longer = replace(examples[1], question=WORDS[2] + " here" * 9)
    prompt, _ = lengths(student, longer)
    for limit in (prompt - 1, prompt):
        with pytest.raises(TrainingError, match=f"case c1: its prompt and image take {prompt} tokens"):
            look(student, [examples[0], longer], max_length=limit)


def test_an_image_that_cannot_be_opened_is_refused(student, examples, tmp_path):
    (tmp_path / "b.png").write_bytes(b"no image")
    bad = replace(examples[2], images=(tmp_path / "b.png",))
    with pytest.raises(CaseError, match=r"opening image .*b\.png"):
        look(student, [*examples[:2], bad])


def test_an_image_that_the_processor_refuses_names_its_case(student, examples, monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("aspect ratio must be smaller than 200")

    monkeypatch.setattr(type(student.processor), "__call__", refuse)
    with pytest.raises(CaseError, match="case c0: encoding its prompt: aspect ratio"):
        look(student, examples)


def test_an_answer_without_token_names_its_case(student, examples):
    candidates = (*examples[0].candidates[:2], Candidate(text="", ended=False))
    with pytest.raises(TrainingError, match="case c0: the answer of two has no token"):
        look(student, [replace(examples[0], candidates=candidates)])


def test_packed_rows_refuse_eager_attention_before_anything_is_computed(student, examples):
    student.model.set_attn_implementation("eager")
    student.model.config.model_type = "llava"
    with pytest.raises(ModelError, match="eager"):
        look(student, examples)


def test_every_message_is_one_line(student, examples):
    bad = with_text(examples[0], 2, "Edema\n<image>\nhere.")
    with pytest.raises(TrainingError) as caught:
        look(student, [bad])
    assert "\n" not in str(caught.value)


def test_which_tokens_stand_for_images(tokenizer, student):
    """From a processor's names, a tokenizer's map and a configuration's numbers; counts are no tokens."""
    config = hf.Qwen2VLConfig(
        image_token_id=3, video_token_id=4, vision_start_token_id=5, vision_end_token_id=6
    )
    assert image_tokens(config) >= {3, 4, 5, 6}
    mark = tokenizer.convert_tokens_to_ids("<image>")
    assert image_tokens(tokenizer) == image_tokens(student.processor, tokenizer) == {mark}
    student.processor.video_token = "<not in the vocabulary>"
    assert image_tokens(student.processor, tokenizer) == {mark}
    assert image_tokens(hf.LlamaConfig()) == frozenset()


# ---- what is too long ---------------------------------------------------------------------------


def test_teachers_answers_are_cut_counted_and_named(student, examples, capsys):
    """Room for all but the last token of column two, which every case has; column one is shorter."""
    prompt, (_, one, two) = lengths(student, examples[0])
    assert one < two - 1
    limit = prompt + two - 1
    found = look(student, examples[:2], examples[2:], max_length=limit)
    assert found.examples == examples[:2]
    assert found.facts == {
        "truncated_answers": 3,
        "truncated_by_teacher": {"two": 3},
        "truncated_cases": ["c0", "c1", "c2"],
        "dropped_groups": 0,
        "dropped_cases": [],
    }
    line = f"align: 3 answers exceed max_length {limit}, their ends are cut (two 3): c0, c1, c2"
    assert line in " ".join(capsys.readouterr().err.split())
    batch = collator(student, max_length=limit)(examples[:1])
    assert batch["slot"].bincount().tolist() == [one, one, two - 1]
    end = student.processor.tokenizer.eos_token_id
    assert [int(batch["target"][batch["slot"] == slot][-1] == end) for slot in (0, 1, 2)] == [1, 1, 0]


def test_a_consensus_that_does_not_fit_leaves_its_group_out(student, examples, capsys):
    """In training (c1) and validation (c2). Their other answers do not count as cut."""
    prompt, (first, _, second) = lengths(student, examples[0])
    limit = prompt + second
    bad = [with_text(example, 0, WORDS[1] + " Edema.") for example in examples[1:]]
    found = look(student, [examples[0], bad[0]], bad[1:], max_length=limit)
    assert (found.examples, found.validation) == ([examples[0]], [])
    assert found.facts["dropped_groups"] == 2
    assert found.facts["dropped_cases"] == ["c1", "c2"]
    assert found.facts["truncated_answers"] == 0
    line = f"align: 2 groups left out, their consensus exceeds max_length {limit}: c1, c2"
    assert line in " ".join(capsys.readouterr().err.split())
    with pytest.raises(TrainingError, match=r"case c1: its consensus takes .* never cut"):
        collator(student, max_length=limit)(bad[:1])
    with pytest.raises(TrainingError, match="the consensus of no training group fits into max_length"):
        look(student, bad, max_length=limit)
    assert look(student, examples[:1], max_length=prompt + first).examples == examples[:1]


def test_without_a_consensus_the_first_column_is_cut_as_the_others(student, examples):
    prompt, _ = lengths(student, examples[0])
    found = look(student, examples[:1], max_length=prompt + 1, first_is_whole=False)
    assert found.facts["truncated_by_teacher"] == {"consensus": 1, "one": 1, "two": 1}
    assert found.facts["dropped_groups"] == 0


def test_at_most_ten_cases_are_named(student, examples, capsys):
    prompt, (*_, two) = lengths(student, examples[0])
    many = [replace(examples[0], case_id=f"m{n}") for n in range(12)]
    facts = look(student, many, max_length=prompt + two - 1).facts
    assert facts["truncated_answers"] == 12
    assert facts["truncated_cases"] == [f"m{n}" for n in range(10)]
    assert json.loads(json.dumps(facts)) == facts
    assert "m9 and 2 more" in " ".join(capsys.readouterr().err.split())


# ---- through the command line -------------------------------------------------------------------


def test_the_command_line_says_one_line_and_exits_with_2(world, student, examples, tmp_path):
    """Found in align; what the stages before have made stays."""
    normal = world._run

    def run(verb, context):
        if verb == "align":
            look(student, [with_text(examples[0], 2, "Edema <image>.")])
        return normal(verb, context)

    world._run = run
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\nteachers: [{name: a, model: a}, {name: b, model: b}]\n")
    result = CliRunner().invoke(app, ["run", str(path), "--runs", str(world.runs)])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("driftbound: case c0: the answer of two contains")
    assert "Traceback" not in result.output
    for verb in ("collect", "bootstrap", "synthesize"):
        assert (world.folder.stage(verb) / "manifest.json").exists()
    assert not (world.folder.stage("align") / "out.txt").exists()
