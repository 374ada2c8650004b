"""What reaches the trainings, from answers in the store: whose, of which cases, in which columns."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.consensus.gate import reason_to_reject
from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.domains.phantom.language import mentions_sources
from driftbound.errors import TrainingError
from driftbound.learning import models, reference, training
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate
from driftbound.records import Case, Status, Trajectory
from driftbound.stages import align, bootstrap, synthesize
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_groups, read_rows, write_cases, write_groups

TEACHERS = ("zeta", "alpha", "mid")
"""In the recipe's order, which is neither that of the alphabet nor that of the store."""
SPLITS = {"c0": "train", "t0": "test", "c1": "train", "v0": "validation", "s0": "test_scanner", "c2": "train"}
FINDINGS = ("Edema", "Pleural Effusion")
CONSENSUS = "Edema: present."
REFUSAL = "I cannot interpret this image."
ANSWERS = {
    ("c0", "zeta"): (Status.OK, "Edema is seen."),
    ("c0", "alpha"): (Status.TRUNCATED, "No edema. Effusion on the"),
    ("c0", "mid"): (Status.REFUSED, REFUSAL),
    ("c1", "zeta"): (Status.FAILED, ""),
    ("c1", "alpha"): (Status.EMPTY, ""),
    ("c1", "mid"): (Status.OK, "Effusion on the left."),
    ("c2", "zeta"): (Status.REFUSED, REFUSAL),
    ("c2", "mid"): (Status.REFUSED, REFUSAL),
} | {(held, name): (Status.OK, f"Edema, {held}.") for held in ("v0", "t0", "s0") for name in TEACHERS}
SEEN = Candidate(text="Edema is seen.")
CUT = Candidate(text="No edema. Effusion on the", ended=False)
LEFT = Candidate(text="Effusion on the left.")


class Field:
    """A field with two findings, read as phantoms are."""

    name = "field"
    findings = headline = FINDINGS
    sided = frozenset({"Pleural Effusion"})
    claims = staticmethod(claims)
    is_refusal = staticmethod(is_refusal)
    mentions_sources = staticmethod(mentions_sources)

    def question(self, case):
        return f"What of {case.case_id}?"

    def merge_question(self, case, answers):
        return f"Merge for {case.case_id}: {' | '.join(answers)}"

    def render(self, stances):
        return " ".join(f"{name}: {value}." for name, value in stances.items())


def make_context(root: Path, **changes) -> Context:
    """A run with collected answers to six cases of four splits; second samples and waves must not count."""
    folder = RunFolder(root / "run")
    (folder.root / "images").mkdir(parents=True)
    Image.new("L", (64, 64), 90).save(folder.root / "images" / "a.png")
    cases = [
        Case(case_id=name, cluster=name, split=split, prompt="", images=("images/a.png",))
        for name, split in SPLITS.items()
    ]
    write_cases(folder.cases, cases)
    with Streams(folder.streams) as streams:
        for (case_id, teacher), (status, text) in ANSWERS.items():
            streams.put(Trajectory(case_id=case_id, teacher=teacher, status=status, text=text))
            again = Trajectory(case_id=case_id, teacher=teacher, status=Status.OK, text="Edema again.")
            streams.put(replace(again, sample=1))
            streams.put(replace(again, wave=1))
        streams.put(replace(again, case_id="c2", teacher="alpha", sample=1))
    recipe = {"name": "run", "teachers": [{"name": name, "model": name} for name in TEACHERS]}
    return Context(Recipe.parse(recipe | changes, where="test"), folder, Field())


@pytest.fixture
def context(tmp_path) -> Context:
    return make_context(tmp_path)


@pytest.fixture(scope="module")
def processor():
    texts = [text for _, text in ANSWERS.values()] + ["What of c0?", "Merge for c0:", "Edema: present."]
    return build_processor(train_tokenizer(texts, 400))


@pytest.fixture
def model(processor):
    return build_model(processor.tokenizer, width=48, layers=1, vision_width=32)


@pytest.fixture
def trained(monkeypatch, processor, model) -> dict:
    """What the last training was given; none is done, the model is a small one, the reference says 0."""
    given: dict = {}

    def train(student, collate, examples, validation, objective, config, **more):
        given.update(collate=collate, examples=examples, validation=validation, objective=objective, **more)
        given["keeps"] = "get_image_features" in vars(student.model.model)
        return {}

    def logps(model, collate, examples, **more):
        return {example.case_id: [-6.0] * len(example.candidates) for example in examples}

    monkeypatch.setattr(models, "load", lambda name, **more: models.Student(model, processor))
    monkeypatch.setattr(reference, "reference_logps", logps)
    monkeypatch.setattr(training, "train", train)
    return given


class Writer:
    """A student that writes what it is told for a case, and remembers what it was asked."""

    def __init__(self, texts=None, dies_at=None):
        self.texts, self.dies_at = texts or {}, dies_at
        self.asked: list[str] = []
        self.loaded = 0

    def load(self, path, threads):
        assert path.parent.name == "3-bootstrap"
        self.loaded += 1
        return self

    def generate(self, questions, images, *, max_new_tokens):
        if self.dies_at is not None and len(self.asked) >= self.dies_at:
            raise KeyboardInterrupt
        assert all(path.is_file() for paths in images for path in paths)
        self.asked += [question.split(":")[0].removeprefix("Merge for ") for question in questions]
        return [self.texts.get(name, (CONSENSUS, True)) for name in self.asked[-len(questions) :]]


def columns(examples) -> dict:
    return {example.case_id: example.candidates for example in examples}


# ---- bootstrap --------------------------------------------------------------------------------


def test_bootstrap_trains_on_every_usable_answer_to_a_training_case(context, trained):
    """Truncated ones without their end; refused, empty and failed ones not; c2 has none that is left."""
    facts = bootstrap.run(context)
    assert columns(trained["examples"]) == {"c0": (SEEN, CUT, None), "c1": (None, None, LEFT)}
    assert facts["answers"] == 3
    assert [example.question for example in trained["examples"]] == ["What of c0?", "What of c1?"]


def test_bootstrap_keeps_held_out_rows_out(context, trained):
    bootstrap.run(context)
    assert [example.case_id for example in trained["validation"]] == ["v0"]
    texts = [c.text for example in trained["examples"] for c in example.candidates if c is not None]
    assert not [text for text in texts if "v0" in text or "t0" in text or "s0" in text]


@pytest.mark.parametrize("order", [("mid", "zeta", "alpha"), ("alpha",)], ids=" ".join)
def test_columns_follow_the_recipe(context, trained, order):
    """Turned, and with teachers of the store that this recipe does not name."""
    by_name = dict(zip(TEACHERS, (SEEN, CUT, None), strict=True))
    teachers = tuple(t for name in order for t in context.recipe.teachers if t.name == name)
    recipe = context.recipe.model_copy(update={"teachers": teachers})
    bootstrap.run(replace(context, recipe=recipe))
    assert columns(trained["examples"])["c0"] == tuple(by_name[name] for name in order)


def test_without_any_usable_answer_there_is_no_training(context, trained):
    with Streams(context.folder.streams) as streams:
        left = [each for each in streams.all() if SPLITS[each.case_id] != "train"]
    context.folder.streams.unlink()
    with Streams(context.folder.streams) as streams:
        for each in left:
            streams.put(each)
    with pytest.raises(TrainingError, match="no teacher gave a usable answer to a training case"):
        bootstrap.run(context)
    assert trained == {}


# ---- synthesize -------------------------------------------------------------------------------


def test_groups_keep_every_teacher_and_say_who_is_valid(context):
    writer = Writer()
    assert synthesize.run(context, writer.load) == {"groups": 5, "rejected": 0}
    assert writer.asked == ["c0", "t0", "c1", "v0", "s0"]  # every split; c2 has no answer to merge
    groups = {group.case_id: group for group in read_groups(context.folder.groups)}
    assert {name: group.split for name, group in groups.items()} == {
        name: split for name, split in SPLITS.items() if name != "c2"
    }
    assert [(n.teacher, n.text, n.status, n.valid) for n in groups["c0"].negatives] == [
        ("zeta", "Edema is seen.", "ok", True),
        ("alpha", "No edema. Effusion on the", "truncated", True),
        ("mid", REFUSAL, "refused", False),
    ]
    assert [(n.status, n.valid) for n in groups["c1"].negatives] == [
        ("failed", False),
        ("empty", False),
        ("ok", True),
    ]


def test_rejected_texts_are_kept_with_their_reason_and_make_no_group(context):
    texts = {
        "c0": ("Reader 2 sees edema.", True),
        "t0": ("Edema: pres", False),
        "v0": (" \n", True),
        "s0": ("I cannot interpret medical images.", True),
    }
    assert synthesize.run(context, Writer(texts).load) == {"groups": 1, "rejected": 4}
    assert [group.case_id for group in read_groups(context.folder.groups)] == ["c1"]
    rows = read_rows(context.folder.stage("synthesize") / "rejected.parquet")
    reasons = {
        "c0": "mentions its sources",
        "t0": "truncated",
        "v0": "empty",
        "s0": "refusing",
    }
    assert rows == [
        {"case_id": name, "split": SPLITS[name], "reason": reasons[name], "text": texts[name][0]}
        for name in ("c0", "t0", "v0", "s0")
    ]


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [
        (CONSENSUS, True, ""),
        ("", False, "empty"),
        (CONSENSUS, False, "truncated"),
        (REFUSAL, True, "refusing"),
        ("The readers agree. Edema: present.", True, "mentions its sources"),
        ("Lovely weather.", True, "no claim in it"),
    ],
)
def test_gate(text, ended, reason):
    assert reason_to_reject(Field(), text, ended=ended) == reason


def test_when_every_training_consensus_is_rejected_nothing_can_be_aligned(context):
    """One that is left on a held-out case does not help."""
    texts = {"c0": (CONSENSUS, False), "c1": ("", True)}
    with pytest.raises(TrainingError, match=r"every consensus was rejected \(first reason: truncated\)"):
        synthesize.run(context, Writer(texts).load)
    assert not context.folder.groups.exists()


def test_vote_writes_the_majority_without_a_student(tmp_path):
    """c0: of two opinions one asserts edema, which is no majority, and neither an effusion. c1: the only
    opinion is an effusion on the left, edema omitted. Held-out: three for edema."""
    context = make_context(tmp_path, synthesize={"synthesizer": "vote"})
    writer = Writer()
    synthesize.run(context, writer.load)
    assert writer.loaded == 0
    said = {group.case_id: group.consensus for group in read_groups(context.folder.groups)}
    edema = "Edema: present. Pleural Effusion: absent."
    assert said == {
        "c0": "Edema: absent. Pleural Effusion: absent.",
        "c1": "Edema: absent. Pleural Effusion: left.",
        **dict.fromkeys(("v0", "t0", "s0"), edema),
    }


def test_killed_synthesis_asks_only_for_what_is_missing(tmp_path):
    """Five cases in batches of two: killed in the third, the second start asks for one case."""
    changes = {"synthesize": {"batch_size": 2}}
    texts = {"t0": ("Edema: pres", False)}
    whole, context = make_context(tmp_path / "a", **changes), make_context(tmp_path / "b", **changes)
    synthesize.run(whole, Writer(texts).load)
    with pytest.raises(KeyboardInterrupt):
        synthesize.run(context, Writer(texts, dies_at=4).load)
    assert not context.folder.groups.exists()
    second = Writer(texts)
    synthesize.run(context, second.load)
    assert second.asked == ["s0"]
    assert read_groups(context.folder.groups) == read_groups(whole.folder.groups)
    assert [group.case_id for group in read_groups(context.folder.groups)] == ["c0", "c1", "v0", "s0"]


def test_with_every_part_there_the_student_is_not_even_loaded(context, monkeypatch):
    def dies(path, groups):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthesize, "write_groups", dies)
        with pytest.raises(KeyboardInterrupt):
            synthesize.run(context, Writer().load)
    second = Writer()
    assert synthesize.run(context, second.load) == {"groups": 5, "rejected": 0}
    assert second.loaded == 0
    assert not list((context.folder.stage("synthesize") / "parts").iterdir())


def test_both_trainings_pack_where_it_is_exact_and_else_say_why_not(context, trained, model, capsys):
    synthesize.run(context, Writer().load)
    for stage, verb in ((bootstrap, "bootstrap"), (align, "align")):
        capsys.readouterr()
        model.config.model_type = "llava"
        stage.run(context)
        assert trained["collate"].row_tokens == 4096
        assert "row of its own" not in capsys.readouterr().err
        model.config.model_type = "unheard_of"
        stage.run(context)
        assert trained["collate"].row_tokens == 0
        line = f"{verb}: every answer has a row of its own: packing is not tested with unheard_of"
        assert " ".join(capsys.readouterr().err.split()).count(line) == 1


# ---- align ------------------------------------------------------------------------------------


def test_align_prefers_the_consensus_over_every_valid_trajectory(context, trained):
    """From the store through the groups to the columns: consensus first, then the recipe's teachers."""
    synthesize.run(context, Writer().load)
    facts = align.run(context)
    best = Candidate(text=CONSENSUS)
    assert columns(trained["examples"]) == {"c0": (best, SEEN, CUT, None), "c1": (best, None, None, LEFT)}
    assert trained["objective"].teachers == TEACHERS
    assert facts["groups_without_negative"] == 0


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [({}, True), ({"train_vision": True}, False), ({"tower_cache_mb": 0}, False), ({"tuner": "lora"}, True)],
)
def test_features_of_a_frozen_tower_are_kept(tmp_path, trained, model, changes, keeps):
    """In align, for reference and policy; afterwards the model is as it was."""
    context = make_context(tmp_path, align=changes)
    synthesize.run(context, Writer().load)
    align.run(context)
    assert trained["keeps"] == keeps
    assert "get_image_features" not in vars(model.model)


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [
        ({"train_vision": False}, False),
        ({"train_vision": False, "epochs": 2}, True),
        ({"epochs": 2}, False),
    ],
)
def test_bootstrap_keeps_features_where_images_come_again(tmp_path, trained, changes, keeps):
    bootstrap.run(make_context(tmp_path, bootstrap=changes))
    assert trained["keeps"] == keeps


def test_align_keeps_held_out_rows_out(context, trained):
    synthesize.run(context, Writer().load)
    align.run(context)
    assert [example.case_id for example in trained["examples"]] == ["c0", "c1"]
    assert [example.case_id for example in trained["validation"]] == ["v0"]


def test_align_scores_behind_the_question_and_not_behind_the_teachers(context, trained, processor):
    """Where the prompt ends, token by token: the field's question, nothing of the merge question."""
    synthesize.run(context, Writer().load)
    align.run(context)
    examples = [*trained["examples"], *trained["validation"]]
    assert [example.question for example in examples] == ["What of c0?", "What of c1?", "What of v0?"]
    batch = trained["collate"](examples[:1])
    assert processor.tokenizer.decode(batch["target"][batch["slot"] == 0]).startswith(CONSENSUS)
    row, last = batch["at"][0].tolist()
    prompt = processor.tokenizer.decode(batch["input_ids"][row, : last + 1])
    assert "What of c0?" in prompt
    assert "Merge" not in prompt
    assert "edema" not in prompt.lower()


def test_the_floor_lies_below_the_start(tmp_path, trained, processor):
    """Two consensuses of -6 nats each, of as many tokens as the tokenizer says and an end."""
    context = make_context(tmp_path, align={"floor": -0.5})
    synthesize.run(context, Writer().load)
    facts = align.run(context)
    tokens = len(processor.tokenizer(CONSENSUS, add_special_tokens=False)["input_ids"]) + 1
    assert facts["logp_consensus_per_token_at_start"] == pytest.approx(-6 / tokens)
    assert trained["floor"] == pytest.approx(-6 / tokens - 0.5)


@pytest.mark.parametrize("keep", [False, True])
def test_refusals_oppose_only_where_the_recipe_says_so(tmp_path, trained, keep):
    """What failed or is empty never does."""
    context = make_context(tmp_path, align={"keep_refusals": keep})
    synthesize.run(context, Writer().load)
    align.run(context)
    given = columns(trained["examples"])
    assert given["c0"][3] == (Candidate(text=REFUSAL) if keep else None)
    assert given["c1"][1:3] == (None, None)


def changed_groups(context, change) -> None:
    """Synthesize, then change the negatives of the first group."""
    synthesize.run(context, Writer().load)
    first, *others = read_groups(context.folder.groups)
    negatives = tuple(change(place, negative) for place, negative in enumerate(first.negatives))
    write_groups(context.folder.groups, [replace(first, negatives=negatives), *others])


def test_weights_and_spans_of_the_groups_reach_the_candidates(context, trained):
    """A quarter is log 0.25 in the denominator; nothing at all is no negative."""
    spans = ((0, 5, 0.0), (6, 8, 0.5))
    weights = ({"weight": 0.25, "spans": spans}, {"weight": 0.0}, {})
    changed_groups(context, lambda place, negative: replace(negative, **weights[place]))
    align.run(context)
    _, one, two, _ = columns(trained["examples"])["c0"]
    assert one.log_weight == pytest.approx(math.log(0.25))
    assert one.spans == spans
    assert two is None


def test_groups_without_a_valid_negative_are_left_out_and_counted(context, trained):
    changed_groups(context, lambda place, negative: replace(negative, valid=False))
    assert align.run(context)["groups_without_negative"] == 1
    assert [example.case_id for example in trained["examples"]] == ["c1"]


# ---- bad input, and what is too long ----------------------------------------------------------


@pytest.mark.parametrize("case_id", ["c1", "v0"])
def test_an_image_token_in_an_answer_ends_bootstrap_before_its_training(context, trained, case_id):
    """In a training or a validation case; what was collected stays."""
    with Streams(context.folder.streams) as streams:
        bad = next(t for t in streams.all() if (t.case_id, t.teacher, t.wave) == (case_id, "mid", 0))
    context.folder.streams.unlink()
    with Streams(context.folder.streams) as streams:
        streams.put(replace(bad, sample=0, status=Status.OK, text="Edema <image>."))
        streams.put(replace(bad, sample=0, case_id="c0", status=Status.OK, text="Edema."))
        digest = streams.digest()
    with pytest.raises(TrainingError, match=f"case {case_id}: the answer of mid contains the image token"):
        bootstrap.run(context)
    assert trained == {}
    with Streams.open_readonly(context.folder.streams) as streams:
        assert streams.digest() == digest


def test_an_image_token_in_a_group_ends_align_before_the_reference(context, trained, monkeypatch):
    monkeypatch.setattr(reference, "reference_logps", lambda *_, **__: pytest.fail("scored before a look"))
    changed_groups(context, lambda place, negative: replace(negative, text="Edema <image>."))
    with pytest.raises(TrainingError, match="case c0: the answer of zeta contains the image token <image>"):
        align.run(context)
    assert trained == {}


def room_for(context, trained, stage, tokens):
    """The context with a `max_length` that leaves so many tokens behind every question."""
    stage.run(context)
    prompt = trained["collate"].encode_prompt(trained["examples"][0])["input_ids"].shape[1]
    verb = stage.__name__.rpartition(".")[2]
    config = getattr(context.recipe, verb).model_copy(update={"max_length": prompt + tokens})
    return replace(context, recipe=context.recipe.model_copy(update={verb: config}))


def test_bootstrap_names_what_it_cuts(context, trained, capsys):
    """One token for each of three answers to two cases, and of three to the validation case."""
    facts = bootstrap.run(room_for(context, trained, bootstrap, 1))
    assert facts["truncated_answers"] == 6
    assert facts["truncated_by_teacher"] == {"zeta": 2, "alpha": 2, "mid": 2}
    assert facts["truncated_cases"] == ["c0", "c1", "v0"]
    assert facts["dropped_groups"] == 0
    assert "their ends are cut (zeta 2, alpha 2, mid 2): c0, c1, v0" in " ".join(
        capsys.readouterr().err.split()
    )


def test_align_leaves_out_groups_whose_consensus_does_not_fit(context, trained, processor, capsys):
    """c0's is longer than the others'; the teachers' answers to c1 and v0 fit."""
    longer = CONSENSUS + " Edema: present."
    synthesize.run(context, Writer({"c0": (longer, True)}).load)
    tokens = len(processor.tokenizer(longer)["input_ids"])
    facts = align.run(room_for(context, trained, align, tokens))
    assert [example.case_id for example in trained["examples"]] == ["c1"]
    assert [example.case_id for example in trained["validation"]] == ["v0"]
    assert (facts["dropped_groups"], facts["dropped_cases"]) == (1, ["c0"])
    assert facts["truncated_answers"] == 0
    assert "align: 1 groups left out, their consensus exceeds max_length" in " ".join(
        capsys.readouterr().err.split()
    )
