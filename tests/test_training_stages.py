"""What reaches the trainings, from answers in the store: whose, of which cases, in which columns."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from ones import ones
from PIL import Image
from pydantic import ValidationError
from wanting import WantedStreams as Streams

from driftbound.config import AlignConfig, Recipe
from driftbound.consensus.constraints import group_of
from driftbound.consensus.gate import reason_to_reject
from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.domains.phantom.language import mentions_sources
from driftbound.errors import TrainingError
from driftbound.learning import models, reference, training
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, MultiStreamCollator
from driftbound.learning.goals import FineTuning
from driftbound.records import Case, Status, Trajectory
from driftbound.stages import align, bootstrap, synthesize
from driftbound.stages.context import Context
from driftbound.stages.leaving_out import leave_one_out_rows
from driftbound.stages.writers import Window
from driftbound.store.folder import RunFolder
from driftbound.store.measures import RELIABILITY, SLOTS, write_table
from driftbound.store.tables import read_cases, read_groups, read_rows, write_cases, write_groups

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

    def refine_question(self, case, answers, draft, lacking):
        return f"Merge for {case.case_id}: {' | '.join(answers)} | {draft} | {lacking}"

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
    empty = {name: [] for name in SLOTS.names}, {name: [] for name in RELIABILITY.names}
    folder.stage("measure").mkdir()
    write_table(folder.slots, empty[0], SLOTS)  # nothing is believed: the gate judges form alone
    write_table(folder.reliability, empty[1], RELIABILITY)
    recipe = {"name": "run", "teachers": [{"name": name, "model": name} for name in TEACHERS]}
    recipe["synthesize"] = {"synthesizer": "student"}
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

    def logps(model, collate, examples, *, plain, **more):
        plain |= {example.case_id: -6.0 for example in examples}
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


def synthesized(context, writer=None) -> dict:
    """The stage, by a writer whose context has room for everything."""
    room = Window(len, lambda case: 10**6)
    return synthesize.run(context, (writer or Writer()).load, lambda context, student: room)


def grouped(context, texts=None) -> None:
    """Groups as the stage writes them, also of the case with one opinion: what align is to be tested on."""
    given = {case_id: {} for case_id, _ in ANSWERS}
    for (case_id, teacher), (status, text) in ANSWERS.items():
        given[case_id][teacher] = Trajectory(case_id=case_id, teacher=teacher, status=status, text=text)
    cases = [case for case in read_cases(context.folder.cases) if case.case_id != "c2"]
    said = {case.case_id: CONSENSUS for case in cases} | (texts or {})
    context.folder.stage("synthesize").mkdir()
    write_groups(
        context.folder.groups,
        [
            group_of(
                *(case, said[case.case_id], math.nan, given[case.case_id], TEACHERS),
                *(claims, {}, ones()),
            )
            for case in cases
        ],
    )


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


# ---- leave-one-out rows -----------------------------------------------------------------------

SAID = {"zeta": "Edema.", "alpha": "No edema. Effusion on the", "mid": "Effusion."}
TWELVE = dict.fromkeys((f"n{i:02d}" for i in range(12)), TEACHERS)


@pytest.fixture
def shelf(tmp_path, processor):
    """Leave-one-out rows of cases on which these teachers gave an opinion, and how many were too long."""
    folder = make_context(tmp_path).folder
    teachers = [{"name": name, "model": name} for name in TEACHERS]

    def rows(usable, share=1.0, seed=0, max_length=4096):
        changes = {"seed": seed, "bootstrap": {"leave_one_out": share, "max_length": max_length}}
        recipe = Recipe.parse({"name": "run", "teachers": teachers} | changes, where="test")
        cases, answers = [], {}
        for name in usable:
            cases.append(Case(case_id=name, cluster="", split="train", prompt="", images=("images/a.png",)))
            for teacher in TEACHERS:
                status = Status.TRUNCATED if teacher == "alpha" else Status.OK
                if teacher not in usable[name]:
                    status = Status.REFUSED
                text = f"{SAID[teacher]} {name}"
                answer = Trajectory(case_id=name, teacher=teacher, status=status, text=text)
                answers[name, teacher] = answer
        collate = MultiStreamCollator(processor=processor, max_length=max_length)
        return (*leave_one_out_rows(Context(recipe, folder, Field()), cases, answers, collate), collate)

    return rows


def test_a_leave_one_out_row_shows_the_others_and_asks_for_the_one_held_out(shelf):
    """Every case with three opinions; who is held out differs between them, and so does the order."""
    rows, too_long, _ = shelf({"two": ("zeta", "mid")} | TWELVE | {"one": ("mid",), "none": ()})
    assert [row.case_id for row in rows] == list(TWELVE)
    assert too_long == 0
    held, orders = set(), set()
    for row in rows:
        (column,) = (n for n, candidate in enumerate(row.candidates) if candidate is not None)
        assert len(row.candidates) == len(TEACHERS)
        name = TEACHERS[column]
        target = Candidate(text=f"{SAID[name]} {row.case_id}", ended=name != "alpha")
        assert row.candidates[column] == target
        shown = row.question.removeprefix(f"Merge for {row.case_id}: ").split(" | ")
        others = [f"{SAID[other]} {row.case_id}" for other in TEACHERS if other != name]
        assert sorted(shown) == sorted(others)
        assert [image.name for image in row.images] == ["a.png"]
        held.add(name)
        orders.add(shown == others)
    assert held == set(TEACHERS)
    assert orders == {True, False}


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 12)])
def test_the_seed_draws_the_share_and_nothing_else_does(shelf, share, count):
    rows, again, other = (shelf(TWELVE, share, seed)[0] for seed in (0, 0, 1))
    assert (len(rows), len(other)) == (count, count)
    assert rows == again
    assert (rows == other) == (count == 0)
    if count:  # a case's row is its own: further cases may win the draw, none changes what a row says
        more = {row.case_id: row for row in shelf(TWELVE | {"new": TEACHERS}, 1.0)[0]}
        assert all(more[row.case_id] == row for row in rows)


def test_a_leave_one_out_row_that_does_not_fit_is_left_out_and_counted(shelf, capsys):
    """The longer of two rows fits to the token; with one token less it is left out whole, not cut."""
    usable = {"short": TEACHERS, "rather-a-long-name-of-a-case": TEACHERS}
    rows, _, collate = shelf(usable)
    sizes = [
        collate.encode_prompt(row)["input_ids"].shape[1] + max(collate.answer_tokens(row)) for row in rows
    ]
    assert sizes[0] < sizes[1]
    assert [shelf(usable, max_length=n)[1] for n in (sizes[1], sizes[1] - 1, sizes[0] - 1)] == [0, 1, 2]
    assert [row.case_id for row in shelf(usable, max_length=sizes[1] - 1)[0]] == ["short"]
    assert "1 of 2 leave-one-out rows exceed max_length" in capsys.readouterr().err


def test_bootstrap_trains_on_leave_one_out_rows_beside_the_others(tmp_path, trained):
    """They come last, count apart, and are of training cases alone: every held-out case has three answers."""
    context = make_context(tmp_path, bootstrap={"leave_one_out": 1.0})
    facts = bootstrap.run(context)
    assert (facts["answers"], facts["leave_one_out"]) == (3, 0)  # c0 has two opinions, c1 one
    with Streams(context.folder.streams) as streams:
        third = Trajectory(case_id="c0", teacher="mid", status=Status.OK, text="Effusion.", wave=0, sample=0)
        rest = [each for each in streams.all() if (each.case_id, each.teacher) != ("c0", "mid")]
    context.folder.streams.unlink()
    with Streams(context.folder.streams) as streams:
        for each in (*rest, third):
            streams.put(each)
    facts = bootstrap.run(context)
    assert (facts["answers"], facts["leave_one_out"], facts["leave_one_out_too_long"]) == (4, 1, 0)
    *ordinary, last = trained["examples"]
    assert [example.question for example in ordinary] == ["What of c0?", "What of c1?"]
    assert (last.case_id, last.question.split(":")[0]) == ("c0", "Merge for c0")
    assert [example.question for example in trained["validation"]] == ["What of v0?"]


# ---- synthesize -------------------------------------------------------------------------------


def test_groups_keep_every_teacher_and_say_who_is_valid(context):
    writer = Writer()
    assert synthesized(context, writer) == {
        "groups": 4,
        "rejected": 2,
        "rejected_because": {"no usable answer": 1, "one usable answer": 1},
        "mean_support": None,
        "refined": 0,
        "negatives_equal_to_consensus": 0,
    }
    assert sorted(writer.asked) == ["c0", "s0", "t0", "v0"]  # every split
    groups = {group.case_id: group for group in read_groups(context.folder.groups)}
    assert {name: group.split for name, group in groups.items()} == {
        name: split for name, split in SPLITS.items() if name not in ("c1", "c2")
    }
    assert [(n.teacher, n.text, n.status, n.valid) for n in groups["c0"].negatives] == [
        ("zeta", "Edema is seen.", "ok", True),
        ("alpha", "No edema. Effusion on the", "truncated", True),
        ("mid", REFUSAL, "refused", False),
    ]
    rows = read_rows(context.folder.stage("synthesize") / "rejected.parquet")
    assert [(row["case_id"], row["reason"]) for row in rows] == [
        ("c1", "one usable answer"),
        ("c2", "no usable answer"),
    ]


def test_rejected_texts_are_kept_with_their_reason_and_make_no_group(context):
    texts = {
        "t0": ("Edema: pres", False),
        "v0": (" \n", True),
        "s0": ("I cannot interpret medical images.", True),
    }
    facts = synthesized(context, Writer(texts))
    assert (facts["groups"], facts["rejected"]) == (1, 5)
    assert [group.case_id for group in read_groups(context.folder.groups)] == ["c0"]
    rows = read_rows(context.folder.stage("synthesize") / "rejected.parquet")
    reasons = {
        "t0": "truncated",
        "v0": "empty",
        "s0": "refusing",
    }
    assert [(row["case_id"], row["split"], row["reason"], row["text"]) for row in rows] == [
        ("t0", "test", reasons["t0"], texts["t0"][0]),
        ("c1", "train", "one usable answer", ""),
        ("v0", "validation", reasons["v0"], texts["v0"][0]),
        ("s0", "test_scanner", reasons["s0"], texts["s0"][0]),
        ("c2", "train", "no usable answer", ""),
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
    texts = {"c0": (CONSENSUS, False)}
    with pytest.raises(TrainingError, match=r"every consensus was rejected \(first reason: truncated\)"):
        synthesized(context, Writer(texts))
    assert not context.folder.groups.exists()


def test_vote_writes_the_majority_without_a_student(tmp_path):
    """c0: of two opinions one asserts edema, which is no majority, and neither an effusion. c1 has one
    opinion, which is no majority either. Held-out: three for edema."""
    context = make_context(tmp_path, synthesize={"synthesizer": "vote"})
    writer = Writer()
    synthesized(context, writer)
    assert writer.loaded == 0
    said = {group.case_id: group.consensus for group in read_groups(context.folder.groups)}
    edema = "Edema: present. Pleural Effusion: absent."
    assert said == {
        "c0": "Edema: absent. Pleural Effusion: absent.",
        **dict.fromkeys(("v0", "t0", "s0"), edema),
    }


def test_killed_synthesis_asks_only_for_what_is_missing(tmp_path):
    """Four cases in batches of two: killed in the second, the second start asks for the other two."""
    changes = {"synthesize": {"synthesizer": "student", "batch_size": 2}}
    texts = {"t0": ("Edema: pres", False)}
    whole, context = make_context(tmp_path / "a", **changes), make_context(tmp_path / "b", **changes)
    synthesized(whole, Writer(texts))
    with pytest.raises(KeyboardInterrupt):
        synthesized(context, Writer(texts, dies_at=2))
    assert not context.folder.groups.exists()
    second = Writer(texts)
    synthesized(context, second)
    assert len(second.asked) == 2
    assert context.folder.groups.read_bytes() == whole.folder.groups.read_bytes()
    assert [group.case_id for group in read_groups(context.folder.groups)] == ["c0", "v0", "s0"]


def test_with_every_part_there_the_student_is_not_even_loaded(context, monkeypatch):
    def dies(path, groups):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthesize, "write_groups", dies)
        with pytest.raises(KeyboardInterrupt):
            synthesized(context)
    second = Writer()
    assert synthesized(context, second)["groups"] == 4
    assert second.loaded == 0
    assert synthesize.WORK == ("written.jsonl",)  # the pipeline's to remove, when the manifest stands


def test_both_trainings_pack_where_it_is_exact_and_else_say_why_not(context, trained, model, capsys):
    grouped(context)
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
    grouped(context)
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
    grouped(context)
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
    grouped(context)
    align.run(context)
    assert [example.case_id for example in trained["examples"]] == ["c0", "c1"]
    assert [example.case_id for example in trained["validation"]] == ["v0"]


def test_align_scores_behind_the_question_and_not_behind_the_teachers(context, trained, processor):
    """Where the prompt ends, token by token: the field's question, nothing of the merge question."""
    grouped(context)
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


def test_the_floor_is_the_recipes_and_the_reference_of_each_case_goes_along(tmp_path, trained, processor):
    """Two consensuses of -6 nats each, of as many tokens as the tokenizer says and an end."""
    context = make_context(tmp_path, align={"floor": -0.5})
    grouped(context)
    facts = align.run(context)
    tokens = len(processor.tokenizer(CONSENSUS, add_special_tokens=False)["input_ids"]) + 1
    assert facts["logp_consensus_per_token_at_start"] == pytest.approx(-6 / tokens)
    assert trained["floor"] == -0.5
    assert trained["collate"].reference_plain == {"c0": -6.0, "c1": -6.0, "v0": -6.0}


@pytest.mark.parametrize("keep", [False, True])
def test_refusals_oppose_only_where_the_recipe_says_so(tmp_path, trained, keep):
    """What failed or is empty never does."""
    context = make_context(tmp_path, align={"keep_refusals": keep})
    grouped(context)
    align.run(context)
    given = columns(trained["examples"])
    assert given["c0"][3] == (Candidate(text=REFUSAL) if keep else None)
    assert given["c1"][1:3] == (None, None)


def changed_groups(context, change) -> None:
    """Synthesize, then change the negatives of the first group."""
    grouped(context)
    first, *others = read_groups(context.folder.groups)
    negatives = tuple(change(place, negative) for place, negative in enumerate(first.negatives))
    write_groups(context.folder.groups, [replace(first, negatives=negatives), *others])


def test_weights_and_spans_of_the_groups_reach_the_candidates(context, trained):
    """A quarter is log 0.25 in the denominator; nothing at all is no negative."""
    spans = ((0, 5, 0.0), (6, 8, 0.5))
    weights = ({"weight": 0.25, "spans": spans, "end_weight": 0.5}, {"weight": 0.0}, {})
    changed_groups(context, lambda place, negative: replace(negative, **weights[place]))
    first, *others = read_groups(context.folder.groups)
    write_groups(context.folder.groups, [replace(first, spans=((0, 2, 0.5),)), *others])
    align.run(context)
    consensus, one, two, _ = columns(trained["examples"])["c0"]
    assert consensus.spans == ((0, 2, 0.5),)
    assert one.log_weight == pytest.approx(math.log(0.25))
    assert (one.spans, one.end_weight) == (spans, 0.5)
    assert two is None


def test_groups_without_a_valid_negative_are_left_out_and_counted(context, trained):
    changed_groups(context, lambda place, negative: replace(negative, valid=False))
    assert align.run(context)["groups_without_negative"] == 1
    assert [example.case_id for example in trained["examples"]] == ["c1"]


def test_fine_tuning_has_no_rival_no_reference_and_no_floor(tmp_path, trained, monkeypatch):
    """A group without a valid negative can be learnt from, too."""
    context = make_context(tmp_path, align={"objective": "sft"})
    changed_groups(context, lambda place, negative: replace(negative, valid=False))
    monkeypatch.setattr(reference, "reference_logps", None)
    facts = align.run(context)
    assert columns(trained["examples"]) == dict.fromkeys(["c0", "c1"], (Candidate(text=CONSENSUS),))
    assert isinstance(trained["objective"], FineTuning)
    assert trained["floor"] == -math.inf
    assert facts == facts | {"groups_without_negative": 0}
    assert "logp_consensus_per_token_at_start" not in facts


@pytest.mark.parametrize(
    "key",
    ["anchor", "nca", "dpop", "negatives", "length_normalised", "common_length", "keep_refusals"],
)
def test_fine_tuning_refuses_what_it_would_not_read(key):
    with pytest.raises(ValidationError, match=f"{key} would change nothing"):
        AlignConfig(objective="sft", **{key: 1})


def test_some_negatives_are_drawn_by_seed_and_case(tmp_path, trained):
    """One of two that are valid; each seed has its own choice, the same one each time."""

    def kept(seed, name):
        context = make_context(tmp_path / name, seed=seed, align={"negatives": 1})
        grouped(context)
        align.run(context)
        return columns(trained["examples"])["c0"][1:]

    chosen = [kept(seed, f"a{seed}") for seed in range(8)]
    assert all(sum(each is not None for each in some) == 1 for some in chosen)
    assert set(chosen) == {(SEEN, None, None), (None, CUT, None)}
    assert [kept(seed, f"b{seed}") for seed in range(8)] == chosen


def test_the_mean_weight_of_those_drawn_is_one():
    """Of weights 2.4, 0.3 and 0.3 two are drawn: their mean is one, their ratio what it was."""
    weights = (2.4, 0.3, 0.3)
    given = [Candidate(text=str(w), log_weight=math.log(w)) for w in weights]
    for case in "abcdef":
        drawn = [each for each in align._drawn(given, 2, 0, case) if each is not None]
        found = [math.exp(each.log_weight) for each in drawn]
        assert sum(found) / 2 == pytest.approx(1)
        assert found[0] / found[1] == pytest.approx(float(drawn[0].text) / float(drawn[1].text))


def test_aligning_the_base_skips_what_was_bootstrapped(tmp_path, trained, monkeypatch):
    """In the first round alone: a later one goes on from the one before."""
    context = make_context(tmp_path, align={"start": "base"}, bootstrap={"base": "some/base"})
    grouped(context)
    loaded = []
    load = models.load
    monkeypatch.setattr(models, "load", lambda name, **more: loaded.append(str(name)) or load(name, **more))
    align.run(context)
    assert loaded == ["some/base"]
    assert align.inputs(context)["student"] == "some/base"


def test_common_length_is_the_collators(tmp_path, trained):
    context = make_context(tmp_path, align={"common_length": True})
    grouped(context)
    align.run(context)
    assert trained["collate"].common_length


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
    grouped(context, {"c0": longer})
    tokens = len(processor.tokenizer(longer)["input_ids"])
    facts = align.run(room_for(context, trained, align, tokens))
    assert [example.case_id for example in trained["examples"]] == ["c1"]
    assert [example.case_id for example in trained["validation"]] == ["v0"]
    assert (facts["dropped_groups"], facts["dropped_cases"]) == (1, ["c0"])
    assert facts["truncated_answers"] == 0
    assert "align: 1 groups left out, their consensus exceeds max_length" in " ".join(
        capsys.readouterr().err.split()
    )


def test_length_is_taken_out_once():
    """Normalised by its tokens, and cut to as many as the shortest answer has: together they would hide what
    each does."""
    with pytest.raises(ValueError, match="length_normalised and common_length both take length out"):
        AlignConfig(length_normalised=True, common_length=True)
