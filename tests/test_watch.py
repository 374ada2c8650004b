"""Looks at held-out answers during alignment: made, judged, heeded, and made no second time."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_training_stages import grouped, make_context

from driftbound.config import AlignConfig, Recipe, WatchConfig
from driftbound.domains.phantom.claims import claims
from driftbound.errors import ConfigError, StoreError, TrainingError
from driftbound.learning import looks, models
from driftbound.learning.architecture import build_model, build_processor, train_tokenizer
from driftbound.learning.collator import Candidate, Example, MultiStreamCollator
from driftbound.learning.goals import FineTuning
from driftbound.learning.logprobs import score
from driftbound.learning.policy import LocalPolicy
from driftbound.learning.tower import kept_features
from driftbound.learning.trainer import TRAINED, GroupTrainer
from driftbound.learning.training import train
from driftbound.quality import Quality

GOOD = ("No edema. No effusion.", True)
CUT = ("No edema and no", False)
QUESTION = "What is seen here?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    tokenizer = train_tokenizer([GOOD[0], QUESTION, "Edema on both sides."], 300)
    model = build_model(tokenizer, width=48, layers=1, vision_width=32)
    path = tmp_path_factory.mktemp("checkpoint") / "student"
    models.save(models.Student(model, build_processor(tokenizer)), path)
    return path


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Example]:
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.new("L", (64, 64), 90).save(path)
    return [
        Example(
            case_id=f"c{n}",
            question=QUESTION + " Look." * n,
            images=(path,),
            candidates=(Candidate(text=GOOD[0]),),
        )
        for n in range(6)
    ]


@pytest.fixture
def answers(monkeypatch):
    """Answers by look instead of the student's own: what is said at the first, second, ... look."""
    said: list = []
    given: list = []

    def generate(self, questions, images, *, max_new_tokens):
        assert not self.model.training
        given.append(list(questions))
        return [said[min(len(given), len(said)) - 1]] * len(questions)

    monkeypatch.setattr(LocalPolicy, "generate", generate)

    def says(*texts):
        said[:] = texts
        given.clear()
        return given

    return says


def config_of(**changes) -> AlignConfig:
    base = {
        "objective": "sft",
        "groups_per_step": 1,
        "groups_per_forward": 1,
        "learning_rate": 1e-3,
        "log_steps": 1,
        "save_steps": 1,
        "watch": {"cases": 2, "steps": 2},
    }
    return AlignConfig(**(base | changes))


def run(checkpoint, examples, folder, config=None, *, watched=True) -> dict:
    """Six steps unless the configuration says otherwise, watched on two of the last four cases."""
    config = config or config_of()
    folder.mkdir(parents=True, exist_ok=True)
    student = models.load(checkpoint)
    collate = MultiStreamCollator(processor=student.processor, max_length=130)
    watching = looks.watching_of(config.watch, examples[2:], claims, batch_size=2, seed=0)
    with kept_features(student.model, 100):  # as the stage does: the tower is not trained
        return train(
            student,
            collate,
            examples,
            examples[:1],
            FineTuning(),
            config,
            seed=0,
            folder=folder,
            watching=watching if watched else None,
        )


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def seen(folder) -> list[dict]:
    return [row["watch"] for row in rows(folder) if "watch" in row]


def stored(folder) -> dict[str, torch.Tensor]:
    return models.load(folder / "student").model.state_dict()


def same(one, two) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def checkpoints(monkeypatch) -> dict[int, dict[str, torch.Tensor]]:
    """What every checkpoint held when it was written, by step."""
    found: dict = {}
    save = GroupTrainer._save_checkpoint

    def saving(self, model, trial):
        save(self, model, trial)
        path = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / TRAINED
        found[self.state.global_step] = load_file(path)

    monkeypatch.setattr(GroupTrainer, "_save_checkpoint", saving)
    return found


def is_of(folder, trained) -> bool:
    """Whether the student that was left has exactly these trained weights."""
    student = stored(folder)
    return all(torch.equal(student[name], value) for name, value in trained.items())


# ---- looks that find nothing ------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{}, {"tuner": "lora"}, {"gradient_checkpointing": True}], ids=["full", "lora", "checkpointing"]
)
def test_looks_are_recorded_and_change_nothing_else(checkpoint, examples, tmp_path, capsys, how):
    """Before the first step, every second one: the same student, the same other lines, to the bit."""
    calm = {"unparsable": 1, "repeated": 1, "length": 1e9}
    config = config_of(**how, watch={"cases": 2, "steps": 2} | calm)
    facts = run(checkpoint, examples, tmp_path / "a", config)
    plain = run(checkpoint, examples, tmp_path / "b", config, watched=False)
    assert facts == plain
    assert "stopped" not in capsys.readouterr().err
    assert [look["step"] for look in seen(tmp_path / "a")] == [0, 2, 4, 6]
    assert {look["cases"] for look in seen(tmp_path / "a")} == {2}
    assert {look["broke"] for look in seen(tmp_path / "a")} == {""}
    assert [row for row in rows(tmp_path / "a") if "watch" not in row] == rows(tmp_path / "b")
    places = [row.get("step", row.get("watch", {}).get("step")) for row in rows(tmp_path / "a")[:-1]]
    assert places == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]
    assert same(stored(tmp_path / "a"), stored(tmp_path / "b"))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"student", "metrics.jsonl"}


def test_a_look_is_the_students_own_greedy_answer(checkpoint, examples, monkeypatch):
    """Against the policy asked case by case, and the consensus scored case by case; nothing is disturbed."""
    student = models.load(checkpoint)
    collate = MultiStreamCollator(processor=student.processor, max_length=130)
    watching = looks.Watching(
        examples=tuple(examples[:2]), limits=WatchConfig(cases=2), claims=claims, batch_size=1
    )
    student.model.train()
    student.model.model.vision_tower.eval()
    state, generate = torch.random.get_rng_state(), LocalPolicy.generate

    def drawing(*args, **kwargs):
        torch.rand(1)
        return generate(*args, **kwargs)

    monkeypatch.setattr(LocalPolicy, "generate", drawing)
    quality, logp = looks.answered(student.model, collate, watching)
    monkeypatch.undo()
    assert torch.equal(state, torch.random.get_rng_state())
    assert student.model.training
    assert not student.model.model.vision_tower.training
    policy = LocalPolicy.load(checkpoint)
    said = [
        policy.generate([e.question], [e.images], max_new_tokens=collate.room(e))[0] for e in examples[:2]
    ]
    lost = [not ended or not claims(text) for text, ended in said]
    assert quality.unparsable == sum(lost) / 2
    total = sum(policy.score([e.question], [e.images], [GOOD[0]])[0] for e in examples[:2])
    tokens = len(student.processor.tokenizer(GOOD[0], add_special_tokens=False)["input_ids"]) + 1
    assert logp == pytest.approx(total / (2 * tokens), rel=1e-4)
    assert int(score(student.model, collate(examples[:1])).tokens[0, 0]) == tokens


def test_the_last_step_is_looked_at_too(checkpoint, examples, tmp_path, answers):
    answers(GOOD)
    run(checkpoint, examples, tmp_path / "a", config_of(watch={"cases": 2, "steps": 4}))
    assert [look["step"] for look in seen(tmp_path / "a")] == [0, 4, 6]


def test_cases_are_drawn_by_the_seed(examples):
    def drawn(n, seed):
        found = looks.watching_of(WatchConfig(cases=n), examples, claims, batch_size=1, seed=seed)
        return [example.case_id for example in found.examples]

    assert drawn(3, 1) == drawn(3, 1) == sorted(set(drawn(3, 1)))
    assert len({tuple(drawn(3, seed)) for seed in range(9)}) > 1
    assert drawn(50, 1) == [example.case_id for example in examples]
    assert looks.watching_of(WatchConfig(), examples, claims, batch_size=1, seed=0) is None
    with pytest.raises(TrainingError, match="no validation case"):
        looks.watching_of(WatchConfig(cases=1), [], claims, batch_size=1, seed=0)


# ---- answers that break -----------------------------------------------------------------------


def test_answers_that_break_stop_and_the_good_student_is_kept(
    checkpoint, examples, tmp_path, answers, checkpoints, capsys
):
    """Good at 0 and 6 (whose checkpoint has long been removed by then), broken at 12 of 18."""
    given = answers(GOOD, GOOD, CUT)
    config = config_of(epochs=3, watch={"cases": 2, "steps": 6})
    facts = run(checkpoint, examples, tmp_path / "a", config)
    assert (facts["stopped_at"], facts["kept_step"]) == (12, 6)
    assert facts["stopped_because"] == "1.00 of the answers unparsable, limit 0.2"
    assert is_of(tmp_path / "a", checkpoints[6])
    assert not is_of(tmp_path / "a", checkpoints[12])
    assert sorted(checkpoints) == list(range(1, 13))
    assert [(look["step"], look["broke"]) for look in seen(tmp_path / "a")] == [
        (0, ""),
        (6, ""),
        (12, facts["stopped_because"]),
    ]
    assert given[0] == given[1] == given[2]
    err = " ".join(capsys.readouterr().err.split())
    assert "align stopped at step 12: 1.00 of the answers unparsable, limit 0.2." in err
    assert "The student of step 6 is kept." in err


def test_validation_is_that_of_the_student_that_is_kept(checkpoint, examples, tmp_path, answers):
    """Stopped at 4 and back to 2, or two steps long: the same numbers behind the same weights."""
    answers(GOOD, GOOD, CUT)
    stopped = run(checkpoint, examples, tmp_path / "a")
    student = models.load(tmp_path / "a" / "student")
    collate = MultiStreamCollator(processor=student.processor, max_length=130)
    with torch.no_grad():
        scores = score(student.model, collate(examples[:1]))
    expected = float(scores.plain.sum() / scores.tokens.sum())
    assert stopped["validation"]["logp_consensus_per_token"] == pytest.approx(expected, abs=1e-5)
    assert stopped["kept_step"] == 2


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_without_any_good_look_the_student_is_what_it_was(checkpoint, examples, tmp_path, answers, tuner):
    answers(GOOD, CUT)
    config = config_of(tuner=tuner, learning_rate=1e-2)
    facts = run(checkpoint, examples, tmp_path / "a", config)
    assert (facts["stopped_at"], facts["kept_step"]) == (2, 0)
    assert same(stored(tmp_path / "a"), models.load(checkpoint).model.state_dict())


def test_a_student_that_is_scrambled_stops(checkpoint, examples, tmp_path):
    """No fake: taught to answer, then driven apart by a learning rate that no student stands."""
    lessons = config_of(epochs=25, learning_rate=5e-3, save_steps=150, watch={})
    taught = run(checkpoint, examples, tmp_path / "a", lessons, watched=False)
    assert taught["validation"]["logp_consensus_per_token"] > -0.1
    start = tmp_path / "a" / "student"
    good = run(start, examples, tmp_path / "b", config_of(learning_rate=1e-5))
    assert "stopped_at" not in good
    assert [look["words"] for look in seen(tmp_path / "b")] == [4, 4, 4, 4]
    wild = run(start, examples, tmp_path / "c", config_of(learning_rate=1.0))
    assert (wild["stopped_at"], wild["kept_step"]) == (2, 0)
    assert same(stored(tmp_path / "c"), models.load(start).model.state_dict())


def test_broken_from_the_start_is_not_blamed(checkpoint, examples, tmp_path, answers):
    """Answers that never ended still do not: nothing that this training did."""
    answers(CUT)
    assert "stopped_at" not in run(checkpoint, examples, tmp_path / "a")
    assert [look["unparsable"] for look in seen(tmp_path / "a")] == [1, 1, 1, 1]


def test_a_look_is_held_against_the_first():
    """By hand: limits of 0.2, lengths between half and twice the first."""
    limits, fine = WatchConfig(cases=4), Quality(unparsable=0.0, repeated=0.0, words=10.0)

    def broke(first=fine, logp=-1.0, **now):
        return looks.judged(2, 4, replace(fine, **now), logp, first, limits).broke

    assert broke(unparsable=0.2) == broke(words=20) == broke(words=5) == ""
    assert "0.25 of the answers unparsable" in broke(unparsable=0.25)
    assert "said before" in broke(repeated=0.21)
    assert "20.1 words" in broke(words=20.1)
    bad = replace(fine, unparsable=0.5)
    assert broke(bad, unparsable=0.5, words=90) == ""
    assert "limit 0.5" in broke(bad, unparsable=0.75)
    assert broke(logp=math.nan) == "log p(consensus) is no longer a number"
    assert looks.judged(0, 4, bad, -1.0, None, limits).broke == ""
    assert looks.judged(2, 4, fine, math.nan, fine, limits).row()["logp_consensus_per_token"] is None


# ---- killed and resumed -----------------------------------------------------------------------


class KilledError(Exception):
    pass


def bytes_of(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def killing(monkeypatch, owner, name, nth):
    """Let the n-th call of a method be the one in which the process ends."""
    own, calls = getattr(owner, name), []

    def dying(*args, **kwargs):
        calls.append(1)
        if len(calls) == nth:
            raise KilledError
        return own(*args, **kwargs)

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("owner", "name", "nth", "again"),
    [
        (GroupTrainer, "training_step", 1, 2),  # after the first look: 0 is read back
        (GroupTrainer, "training_step", 4, 1),  # between 2 and 4: only 4 is made
        (looks, "answered", 2, 2),  # in the look of step 2, whose checkpoint is there
        (looks, "answered", 3, 1),  # in the look that will find it broken
        (models, "save", 1, 0),  # stopped already
    ],
    ids=["step-1", "step-4", "look-2", "look-4", "save"],
)
def test_resumed_is_as_uninterrupted(
    checkpoint, examples, tmp_path, answers, monkeypatch, owner, name, nth, again
):
    """Broken at step 4, kept at 2; looks that were made are not made again."""
    script = (GOOD, GOOD, CUT)
    answers(*script)
    expected = run(checkpoint, examples, tmp_path / "a")
    answers(*script)
    with monkeypatch.context() as patch:
        killing(patch, owner, name, nth)
        with pytest.raises(KilledError):
            run(checkpoint, examples, tmp_path / "b")
    given = answers(*script[3 - again :] or ("never asked", False))
    assert run(checkpoint, examples, tmp_path / "b") == expected
    assert len(given) == again
    assert (expected["stopped_at"], expected["kept_step"]) == (4, 2)
    assert bytes_of(tmp_path / "b") == bytes_of(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "the first look is missing"),
        (lambda p: p.write_text("{"), "looks.jsonl: cannot be read"),
    ],
    ids=["gone", "damaged"],
)
def test_looks_that_are_lost_are_said(checkpoint, examples, tmp_path, answers, monkeypatch, change, said):
    answers(GOOD)
    with monkeypatch.context() as patch:
        killing(patch, GroupTrainer, "training_step", 4)
        with pytest.raises(KilledError):
            run(checkpoint, examples, tmp_path / "a")
    change(tmp_path / "a" / "checkpoints" / "looks.jsonl")
    with pytest.raises(StoreError, match=said):
        run(checkpoint, examples, tmp_path / "a")


# ---- recipe and stage -------------------------------------------------------------------------


def recipe(**changes) -> Recipe:
    teachers = [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}]
    return Recipe.parse({"name": "r", "teachers": teachers} | changes, where="test")


def test_looks_fall_on_checkpoints():
    with pytest.raises(ConfigError, match=r"watch\.steps 40 must be a multiple of save_steps 25"):
        recipe(align={"watch": {"cases": 4, "steps": 40}})
    assert recipe(align={"watch": {"cases": 4, "steps": 75}}).align.watch.steps == 75
    assert recipe(align={"watch": {"cases": 0, "steps": 40}}).align.watch.cases == 0


def test_several_processes_are_not_watched():
    launch, small = {"config": "ddp", "processes": 2}, {"groups_per_forward": 4}
    with pytest.raises(ConfigError, match=r"align\.watch\.cases 4 needs one process, launch\.processes is 2"):
        recipe(launch=launch, bootstrap=small, align=small | {"watch": {"cases": 4}})
    assert recipe(launch=launch, bootstrap=small, align=small).launch.processes == 2


@pytest.mark.parametrize("cases", [0, 3])
def test_the_stage_watches_what_the_recipe_says(tmp_path, monkeypatch, cases):
    """The validation case, of which there is but one, read as the field reads it."""
    from driftbound.learning import reference, training
    from driftbound.stages import align

    given: dict = {}
    texts = ["Edema: present.", QUESTION]
    processor = build_processor(train_tokenizer(texts, 300))
    model = build_model(processor.tokenizer, width=48, layers=1, vision_width=32)
    monkeypatch.setattr(models, "load", lambda name, **more: models.Student(model, processor))
    monkeypatch.setattr(
        reference,
        "reference_logps",
        lambda model, collate, examples, *, plain, **more: plain.update({e.case_id: -1.0 for e in examples}),
    )
    monkeypatch.setattr(training, "train", lambda *args, **more: given.update(more) or {})
    context = make_context(tmp_path, align={"watch": {"cases": cases}})
    grouped(context)
    align.run(context)
    if not cases:
        assert given["watching"] is None
        return
    assert [example.case_id for example in given["watching"].examples] == ["v0"]
    assert given["watching"].claims is context.domain.claims
    assert given["watching"].batch_size == context.recipe.align.groups_per_forward
