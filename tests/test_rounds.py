"""Several rounds: the order of work, going on after a kill, the rule that ends them, what is left."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import World, set_in
from test_training_stages import Writer, make_context, synthesized

from driftbound import launched, launching
from driftbound.consensus.rounds import Look, judge
from driftbound.errors import ConfigError, HarmError, StoreError, TrainingError
from driftbound.launching import FACTS, JOB
from driftbound.learning import models, processes
from driftbound.looking import show_rounds
from driftbound.quality import Quality
from driftbound.records import Belief, Case
from driftbound.stages import align, judging, synthesize
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.tables import write_cases
from driftbound.training_config import WatchConfig

SOUND = Quality(unparsable=0.0, repeated=0.0, words=10.0)
LIMITS = WatchConfig(unparsable=0.2, repeated=0.2, length=2.0)
PATIENTS = ("p", "q", "r", "s")
BETTER = {0: (0.1, 0.2, 0.3, 0.4), 1: (0.3, 0.4, 0.5, 0.7), 2: (0.5, 0.6, 0.7, 0.8), 3: (0.9, 0.8, 0.9, 0.9)}
"""Support of four answers after each round: the gain is beyond its standard error every time."""
FIRST = ["cases", "collect", "measure", "bootstrap"]
ALL = [
    *("synthesize 1", "align 1", "look 0", "look 1", "synthesize 2", "align 2", "look 2"),
    *("synthesize 3", "align 3", "look 3"),
]
LAST = ["evaluate", "report"]


class Turns(World):
    """Stages that leave a student too; what its answers are worth is told by a table."""

    def __init__(self, root):
        super().__init__(root)
        self.support = dict(BETTER)
        self.quality = {}
        self.patients = PATIENTS

    @staticmethod
    def recipe(**changes):
        return World.recipe(**{"rounds": 3} | changes)

    def write_cases(self, folder, truth):
        super().write_cases(folder, truth)
        one = {"split": "validation", "prompt": "?", "images": ("images/a.png",)}
        write_cases(
            folder / "cases.parquet",
            [Case(case_id=f"v{n}", cluster=name, **one) for n, name in enumerate(self.patients)],
        )

    def _run(self, verb, context):
        folder, nth = context.folder.stage(verb), context.folder.round
        called = f"{verb} {nth}" if nth else verb
        if isinstance(self.fails.get(called), ConfigError):
            raise self.fails.pop(called)  # before anything is done
        (folder / "half.txt").write_text("half")
        self._work(called, folder)
        if verb in ("bootstrap", "align"):
            (folder / "student").mkdir(exist_ok=True)
            (folder / "student" / "weights").write_text(f"of {called}")
        before = self.before(verb, context.folder)
        (folder / "out.txt").write_text(f"{called}, {before}")
        return {"lines": nth}

    def module(self, verb):
        return SimpleNamespace(
            inputs=lambda context: {"before": self.before(verb, context.folder)},
            run=lambda context: self._run(verb, context),
        )

    @staticmethod
    def before(verb, folder):
        if verb == "collect":
            return "pixels"
        if verb == "synthesize":
            return (folder.former / "weights").read_text()
        if verb == "align":
            texts = (folder.stage("synthesize") / "out.txt").read_text()
            return f"{texts}, {(folder.former / 'weights').read_text()}"
        if verb == "evaluate":
            texts = (folder.stage("synthesize") / "out.txt").read_text()
            return f"{texts}, {(folder.student('align') / 'weights').read_text()}"
        earlier = {"measure": "collect", "bootstrap": "measure", "report": "evaluate"}[verb]
        return (folder.stage(earlier) / "out.txt").read_text()

    def look(self, context, cases, number):
        assert [case.case_id for case in cases] == ["v0", "v1", "v2", "v3"]
        self._work(f"look {number}", None)
        return Look(support=self.support[number], quality=self.quality.get(number, SOUND))

    def text(self, verb, name, nth=0):
        return (RunFolder(self.folder.root, nth).stage(verb) / name).read_text()

    def rounds(self):
        return json.loads(self.text("align", "rounds.json"))

    def worked(self):
        return [call for call in self.calls if not call.startswith("look")]

    def left(self):
        """Every file with its content; of manifests all but the time."""
        found = {name: data for name, data in self.bytes().items() if not name.endswith(".lock")}
        for name in found:
            if name.endswith("manifest.json"):
                found[name] = {**json.loads(found[name]), "finished_at": ""}
        return found


@pytest.fixture
def turns(tmp_path, monkeypatch):
    world = Turns(tmp_path)
    monkeypatch.setattr(judging, "look", world.look)
    return set_in(world, monkeypatch)


def refused(caught):
    said = str(caught.value)
    assert "\n" not in said
    return said


# ---- the order of work ------------------------------------------------------------------------


def test_stages_take_turns_and_the_last_round_is_left(turns):
    turns.run()
    assert turns.calls == [*FIRST, *ALL, *LAST]
    assert turns.text("synthesize", "out.txt", 1) == "synthesize 1, of bootstrap"
    assert turns.text("align", "out.txt", 1) == "align 1, synthesize 1, of bootstrap, of bootstrap"
    assert turns.text("synthesize", "out.txt", 2) == "synthesize 2, of align 1"
    assert turns.text("align", "out.txt", 3) == "align 3, synthesize 3, of align 2, of align 2"
    assert turns.text("synthesize", "out.txt") == turns.text("synthesize", "out.txt", 3)
    assert turns.text("align", "student/weights") == "of align 3"
    assert turns.text("evaluate", "out.txt") == "evaluate, synthesize 3, of align 2, of align 3"
    assert not list(turns.runs.rglob("plan.json"))
    for verb in ("synthesize", "align"):
        whole = turns.manifest(verb)
        assert whole["config"]["rounds"] == 3
        assert (whole["facts"]["rounds"], whole["facts"]["kept"], whole["facts"]["lines"]) == (3, 3, 3)
        assert whole["outputs"].keys() >= {"out.txt", "half.txt"}
        assert not [name for name in whole["outputs"] if name.startswith("round-")]
        one = Manifest.read(RunFolder(turns.folder.root, 1).stage(verb))
        assert set(one.config) == {"domain", "teachers", verb}


def test_seconds_of_all_rounds_add_up(turns):
    turns.seconds = 2.0
    turns.run()
    assert turns.manifest("align")["facts"]["seconds"] == 6.0


def test_finished_rounds_are_skipped(turns, capsys):
    turns.run()
    before = turns.left()
    capsys.readouterr()
    turns.run()
    assert turns.worked() == []
    assert turns.left() == before
    said = capsys.readouterr().err
    assert [said.count(f"align: round {n}: finished before") for n in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("at", ALL)
def test_killed_anywhere_it_goes_on_to_the_same_end(turns, at):
    turns.run(name="whole")
    turns.run()
    expected = {name: data for name, data in turns.left().items() if name.startswith("whole/")}
    turns.fails[at] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        turns.run(name="killed")
    turns.run(name="killed")
    done = ALL.index(at) if not at.startswith("look") else len(ALL)
    again = [call for call in ALL[done:] if not call.startswith("look")]
    if not at.startswith("look"):
        assert turns.worked() == [*again, *LAST]
    found = {name: data for name, data in turns.left().items() if name.startswith("killed/")}
    assert found == {name.replace("whole/", "killed/", 1): data for name, data in expected.items()}


@pytest.mark.parametrize("nth", range(5))
def test_killed_while_the_result_is_left(turns, monkeypatch, nth):
    turns.run(name="whole")
    link, count = os.link, iter(range(100))

    def dies(*paths):
        if next(count) == nth:
            raise KeyboardInterrupt
        link(*paths)

    monkeypatch.setattr(os, "link", dies)
    with pytest.raises(KeyboardInterrupt):
        turns.run(name="killed")
    turns.run(name="killed")
    assert turns.worked() == LAST
    whole, killed = (
        {path.partition("/")[2]: data for path, data in turns.left().items() if path.startswith(name)}
        for name in ("whole/", "killed/")
    )
    assert whole == killed


def test_killed_while_a_further_round_takes_the_place(turns, monkeypatch):
    """What is neither the old result nor the new one does not pass for finished."""
    turns.run(turns.recipe(rounds=2))
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        turns.run()
    assert not (turns.folder.stage("synthesize") / "manifest.json").exists()


def test_without_links_files_are_copied(turns, monkeypatch):
    def refuses(*paths):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuses)
    turns.run()
    assert turns.text("align", "student/weights") == "of align 3"


# ---- the rule ---------------------------------------------------------------------------------


def test_a_refused_round_leaves_the_student_before(turns):
    """Support falls by 0.1 everywhere in round 2; its standard error is 0."""
    turns.support[2] = tuple(value - 0.1 for value in BETTER[1])
    turns.run()
    assert turns.calls == [*FIRST, *ALL[: ALL.index("look 2") + 1], *LAST]
    assert turns.text("align", "student/weights") == "of align 1"
    assert turns.text("synthesize", "out.txt") == "synthesize 1, of bootstrap"
    told = turns.rounds()
    assert (told["kept"], told["cases"], told["reason"]) == (1, 4, "round 2: refused")
    assert [row["support"] for row in told["rounds"]] == pytest.approx([0.25, 0.475, 0.375])
    assert told["rounds"][2]["gain"] == pytest.approx(-0.1)
    assert told["rounds"][2]["verdict"] == "refused"
    assert turns.manifest("align")["facts"]["kept"] == 1


def test_a_refused_first_round_leaves_the_bootstrapped_student(turns):
    turns.quality[1] = replace(SOUND, unparsable=0.5)
    turns.run()
    assert turns.text("align", "student/weights") == "of bootstrap"
    assert turns.text("synthesize", "out.txt") == "synthesize 1, of bootstrap"
    assert turns.rounds()["kept"] == 0
    assert turns.text("evaluate", "out.txt") == "evaluate, synthesize 1, of bootstrap, of bootstrap"


def test_the_first_round_from_the_base_is_not_judged(turns):
    turns.quality[1] = replace(SOUND, unparsable=0.5)
    turns.run(turns.recipe(align={"start": "base"}))
    assert turns.rounds()["rounds"][1]["kept"]
    assert "synthesize 2" in turns.calls


@pytest.mark.parametrize(("shift", "kept"), [((0.2, -0.1, 0.1, -0.1), 1), ((-0.2, 0.1, -0.1, 0.1), 0)])
def test_no_further_gain_leaves_the_better_one(turns, shift, kept):
    """Mean 0.025, standard error 0.075, and the other way round."""
    turns.support[1] = tuple(a + b for a, b in zip(BETTER[0], shift, strict=True))
    turns.run()
    assert turns.rounds()["kept"] == kept
    row = turns.rounds()["rounds"][1]
    assert row["verdict"] == "no further gain"
    assert row["standard_error"] == pytest.approx(0.075)
    assert "synthesize 2" not in turns.calls


@pytest.mark.parametrize("patients", [("p", "p", "p", "p")])
def test_with_one_patient_held_out_all_rounds_are_made(turns, patients, capsys):
    turns.patients = patients
    turns.run()
    assert turns.calls == [*FIRST, *[call for call in ALL if not call.startswith("look")], *LAST]
    assert (turns.rounds()["kept"], turns.rounds()["cases"]) == (3, 0)
    assert "no rule: fewer than two held-out patients" in capsys.readouterr().err


BEFORE = Look(support=(0.5, 0.5, 0.5, 0.5), quality=SOUND)


@pytest.mark.parametrize(
    ("after", "word", "kept", "gain", "error"),
    [
        ((0.6, 0.7, 0.6, 0.7), "accepted", True, 0.15, 0.028868),  # sd 0.057735 / 2
        ((0.4, 0.3, 0.4, 0.3), "refused", False, -0.15, 0.028868),
        ((0.5, 0.5, 0.5, 0.5), "no further gain", True, 0.0, 0.0),
        ((0.4, 0.6, 0.4, 0.5), "no further gain", False, -0.025, 0.047871),  # sd 0.095743 / 2
        ((float("nan"),) * 4, "accepted", True, float("nan"), float("nan")),
        ((0.6, float("nan"), float("nan"), 0.8), "accepted", True, 0.2, 0.1),  # two differences: 0.1, 0.3
    ],
)
def test_rule_by_hand(after, word, kept, gain, error):
    found = judge(BEFORE, Look(support=after, quality=SOUND), BEFORE, PATIENTS, LIMITS)
    assert (found.word, found.kept) == (word, kept)
    assert found.gain == pytest.approx(gain, abs=1e-6, nan_ok=True)
    assert found.standard_error == pytest.approx(error, abs=1e-6, nan_ok=True)


def test_cases_of_a_patient_are_no_independent_witnesses():
    """Differences 0.1, 0.3 twice: by case sd 0.115470 / 2; by patient sqrt(2 * 2 * 0.2^2 / 16) = 0.1."""
    after = Look(support=(0.6, 0.6, 0.8, 0.8), quality=SOUND)
    assert judge(BEFORE, after, BEFORE, PATIENTS, LIMITS).standard_error == pytest.approx(0.057735, abs=1e-6)
    found = judge(BEFORE, after, BEFORE, ("p", "p", "q", "q"), LIMITS)
    assert found.standard_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("first", "before", "after", "word"),
    [
        ({}, {}, {"unparsable": 0.2, "repeated": 0.2, "words": 20.0}, "accepted"),
        ({}, {}, {"unparsable": 0.21}, "refused"),
        ({}, {}, {"repeated": 0.21}, "refused"),
        ({}, {}, {"words": 20.1}, "refused"),
        ({}, {"words": 15.0}, {"words": 21.0}, "refused"),  # the length is held against the first
        ({"unparsable": 0.6}, {"unparsable": 0.4}, {"unparsable": 0.4}, "accepted"),
        ({"unparsable": 0.6}, {"unparsable": 0.4}, {"unparsable": 0.5}, "refused"),
        ({"unparsable": 0.6, "words": 96.0}, {"words": 12.0}, {"words": 10.0}, "accepted"),  # was no length
    ],
)
def test_quality_by_hand(first, before, after, word):
    """Support gains 0.4 everywhere; what is refused is refused for its quality."""
    looks = [replace(BEFORE, quality=replace(SOUND, **each)) for each in (first, before)]
    last = Look(support=(0.9,) * 4, quality=replace(SOUND, **after))
    found = judge(looks[1], last, looks[0], PATIENTS, LIMITS)
    assert found.word == word
    assert ("limit" in found.reason) == (word == "refused")


# ---- options and other recipes ----------------------------------------------------------------


def test_from_align_keeps_the_texts_of_round_one(turns):
    turns.run()
    before = turns.left()
    turns.run(turns.recipe(align={"beta": 0.5}), start="align")
    assert turns.worked() == ["align 1", "synthesize 2", "align 2", "synthesize 3", "align 3", *LAST]
    kept = [name for name in before if name.startswith("tiny/4-synthesize/round-1/")]
    assert len(kept) == len(("half.txt", "out.txt", "manifest.json"))
    assert all(before[name] == turns.left()[name] for name in kept)
    assert turns.manifest("synthesize")["config"]["align"]["beta"] == 0.5


def test_from_align_touches_nothing_when_synthesize_is_of_another_recipe(turns):
    turns.run()
    before = turns.left()
    with pytest.raises(StoreError, match=r"round-1: .*synthesize\.threshold.*--from synthesize"):
        turns.run(turns.recipe(synthesize={"threshold": 0.4}), start="align")
    assert turns.left() == before


def test_from_synthesize_redoes_all_rounds(turns):
    turns.run()
    turns.run(turns.recipe(synthesize={"threshold": 0.4}), start="synthesize")
    assert turns.worked() == [*[call for call in ALL if not call.startswith("look")], *LAST]
    turns.run(turns.recipe(synthesize={"threshold": 0.4}), start="evaluate")
    assert turns.worked() == LAST


def test_only(turns):
    for verb in ("collect", "measure", "bootstrap"):
        turns.run(only=verb)
    with pytest.raises(StoreError, match="align needs synthesize, which has not finished"):
        turns.run(only="align")
    turns.run(only="synthesize")
    assert turns.calls == ["synthesize 1"]
    with pytest.raises(StoreError, match="evaluate needs synthesize, which has not finished"):
        turns.run(only="evaluate")
    turns.run(only="align")
    assert turns.calls == ALL[1:]
    turns.run(only="evaluate")
    assert turns.calls == ["evaluate"]
    turns.run(only="align", force=True)
    assert turns.worked() == [call for call in ALL[1:] if not call.startswith("look")]
    assert turns.text("evaluate", "out.txt").startswith("evaluate")
    turns.run(only="synthesize", force=True)
    assert turns.calls == ["synthesize 1"]
    turns.run()
    assert turns.worked() == ["synthesize 2", "synthesize 3", "report"]  # their students are as they were
    assert turns.manifest("synthesize")["facts"]["kept"] == 3


def test_only_a_later_stage_refuses_another_recipe(turns):
    turns.run()
    with pytest.raises(StoreError, match=r"align\.beta: 0\.1 there, 0\.5 here"):
        turns.run(turns.recipe(align={"beta": 0.5}), only="evaluate")


def test_force_redoes_everything(turns):
    turns.run()
    turns.run(force=True)
    assert turns.calls == [*FIRST, *ALL, *LAST]


def test_another_recipe_is_refused_and_nothing_is_touched(turns):
    turns.run()
    before = turns.left()
    for changes, said in (
        (
            {"align": {"beta": 0.5}},
            "5-align/round-1: this run directory was made by another recipe (align.beta",
        ),
        ({"synthesize": {"threshold": 0.4}}, "4-synthesize/round-1: this run directory was made by another"),
        ({"rounds": 1}, "rounds: 3 there"),
    ):
        with pytest.raises(StoreError) as caught:
            turns.run(turns.recipe(**changes))
        assert said in refused(caught)
        assert turns.left() == before


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_one_round_does_not_become_one_of_several(turns, finished):
    one = turns.recipe(rounds=1)
    if not finished:
        turns.fails["synthesize"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            turns.run(one)
    else:
        turns.run(one)
    with pytest.raises(StoreError) as caught:
        turns.run()
    assert "rounds: 1 there, 3 here" in refused(caught)
    assert "--from synthesize" in refused(caught)
    turns.run(start="synthesize")
    assert turns.text("align", "student/weights") == "of align 3"


def test_an_unfinished_run_of_several_does_not_become_one_of_one(turns):
    turns.fails["align 1"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        turns.run()
    with pytest.raises(StoreError, match="rounds: 3 there"):
        turns.run(turns.recipe(rounds=1))


def test_more_rounds_go_on_from_those_that_are_there(turns):
    turns.run(turns.recipe(rounds=2))
    assert turns.text("align", "student/weights") == "of align 2"
    with pytest.raises(StoreError, match=r"evaluate: .*--from evaluate"):
        turns.run()
    assert turns.worked() == ["synthesize 3", "align 3"]
    turns.run(start="evaluate")
    assert turns.text("evaluate", "out.txt") == "evaluate, synthesize 3, of align 2, of align 3"


def test_a_corrected_recipe_is_no_other_one(turns):
    turns.fails["synthesize 1"] = ConfigError("impossible")
    with pytest.raises(ConfigError):
        turns.run()
    assert not turns.folder.stage("synthesize").exists()
    turns.fails["align 1"] = ConfigError("impossible")
    with pytest.raises(ConfigError):
        turns.run(turns.recipe(rounds=2, synthesize={"threshold": 0.4}))
    assert not turns.folder.stage("align").exists()
    turns.run(turns.recipe(rounds=2, synthesize={"threshold": 0.4}, align={"beta": 0.5}))
    assert turns.text("align", "student/weights") == "of align 2"


def test_sensitivity_travels(turns):
    turns.sensitivity = "credentialed"
    turns.write_cases = lambda folder, truth: World.write_cases(turns, folder, truth)
    turns.run()
    assert turns.manifest("align")["sensitivity"] == "credentialed"
    assert Manifest.read(RunFolder(turns.folder.root, 2).stage("align")).sensitivity == "credentialed"


def test_show_tells_of_the_rounds(turns, capsys):
    turns.support[2] = tuple(value - 0.1 for value in BETTER[1])
    turns.run()
    capsys.readouterr()
    show_rounds(turns.folder.root)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "round 0: support 0.250, 0.00 unparsable, 0.00 repeated, 10.0 words"
    assert said[1].startswith("round 1: support 0.475,")
    assert said[1].endswith("<- kept")
    assert "; refused (support changed by -0.1000" in said[2]
    show_rounds(turns.folder.root / "nowhere")
    assert capsys.readouterr().out == ""


# ---- the stages in a round --------------------------------------------------------------------


def test_a_launched_stage_knows_its_round(turns, monkeypatch):
    """Its processes build the run's folder anew, from the job."""
    jobs = []

    def start(config, processes, folder):
        jobs.append(json.loads((folder / JOB).read_text()))
        (folder / FACTS).write_text("{}")
        return 0

    monkeypatch.setattr(launching, "_accelerate", start)
    four = {"groups_per_forward": 4}
    recipe = turns.recipe(launch={"config": "ddp", "processes": 2}, bootstrap=four, align=four)
    launching.run("align", Context(recipe, RunFolder(turns.folder.root, 2), None))
    assert jobs[0]["round"] == 2
    assert not list((turns.folder.root / "5-align" / "round-2").iterdir())


def test_a_launched_process_works_in_the_round_of_its_job(turns, tmp_path, monkeypatch):
    seen = []
    job = {"verb": "align", "recipe": turns.recipe().model_dump(mode="json"), "root": str(tmp_path)}
    (tmp_path / JOB).write_text(json.dumps(job | {"round": 2, "needs_gpu": False, "starter": os.getpid()}))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(launched, "_end_with", lambda starter: None)
    monkeypatch.setattr(launched, "import_module", lambda name: SimpleNamespace(run=seen.append))
    for name in ("join", "part"):
        monkeypatch.setattr(processes, name, lambda *given, **more: None)
    monkeypatch.setattr(processes, "leads", lambda: False)
    launched.main(tmp_path)
    assert seen[0].folder == RunFolder(tmp_path, 2)


def test_where_a_round_reads_and_writes():
    whole, first, third = (RunFolder(Path("run"), nth) for nth in (0, 1, 3))
    assert whole.former == first.former == Path("run/3-bootstrap/student")
    assert third.former == Path("run/5-align/round-2/student")
    assert third.groups == Path("run/4-synthesize/round-3/groups.parquet")
    assert third.student("align") == Path("run/5-align/round-3/student")
    assert third.stage("evaluate") == whole.stage("evaluate")


class Answering(Writer):
    """Says a fixed text of every case."""

    def load(self, path, threads):
        self.path = path
        return self


def believing(context):
    """Measures of a run: edema is present with probability 0.8, of the effusion nothing is known."""
    return {
        "v0": {
            ("Edema", "presence"): Belief(
                values={"present": 0.8, "absent": 0.2}, decided="", votes={}, wrong={}
            )
        }
    }


def measured(context, monkeypatch):
    folder = context.folder.stage("measure")
    folder.mkdir(exist_ok=True)
    for name in ("slots.parquet", "reliability.parquet"):
        (folder / name).write_bytes(b"measured")
    monkeypatch.setattr(judging, "read_beliefs", lambda slots, reliability: believing(context))


def test_a_look_is_of_the_rounds_own_student_and_is_kept(tmp_path, monkeypatch):
    context = make_context(tmp_path)
    measured(context, monkeypatch)
    cases = [case for case in judging.read_cases(context.folder.cases) if case.split == "validation"]
    writer = Answering({"What of v0?": ("There is no edema. There is no edema.", True)})
    seen = judging.look(context, cases, 2, load=writer.load)
    assert writer.path == context.folder.root / "5-align" / "round-2" / "student"
    assert writer.asked == ["What of v0?"]
    assert seen == Look(support=(0.2,), quality=Quality(unparsable=0.0, repeated=0.5, words=8.0))
    kept = json.loads((context.folder.root / "5-align/looks/round-2.json").read_text())
    assert kept["answers"][0]["text"].startswith("There is no edema.")
    assert judging.look(context, cases, 2, load=Answering(dies_at=0).load) == seen
    (context.folder.stage("measure") / "slots.parquet").write_bytes(b"measured otherwise")
    with pytest.raises(KeyboardInterrupt):
        judging.look(context, cases, 2, load=Answering(dies_at=0).load)
    (context.folder.root / "5-align/looks/round-2.json").write_text("{")
    with pytest.raises(StoreError, match=r"round-2\.json: cannot be read"):
        judging.look(context, cases, 2, load=writer.load)


def test_at_most_a_hundred_held_out_cases_the_same_for_every_round(tmp_path):
    context = make_context(tmp_path)
    one = {"split": "validation", "prompt": "", "images": ()}
    cases = [Case(case_id=f"v{n:03d}", cluster=f"p{n % 60}", **one) for n in range(150)]
    write_cases(context.folder.cases, cases)
    drawn = [case.case_id for case in judging.held_out(context)]
    assert len(set(drawn)) == 100
    assert drawn == sorted(drawn) == [case.case_id for case in judging.held_out(context)]
    other = replace(context, recipe=context.recipe.model_copy(update={"seed": 1}))
    assert drawn != [case.case_id for case in judging.held_out(other)]
    write_cases(context.folder.cases, cases[:40])
    assert len(judging.held_out(context)) == 40


def test_a_served_student_cannot_be_that_of_every_round(turns):
    server = {"model": "m", "base_url": "http://127.0.0.1:1/v1"}
    served = {"synthesizer": "student", "server": server}
    turns.recipe(rounds=1, synthesize=served)
    with pytest.raises(ConfigError, match=r"synthesize\.server serves the same student in every round"):
        turns.recipe(synthesize=served)


def test_no_training_error_is_hidden(turns):
    turns.fails["align 2"] = TrainingError("written by a training of other weights")
    with pytest.raises(TrainingError, match="other weights"):
        turns.run()


@pytest.mark.parametrize("broken", ["synthesize 2", "align 2"])
def test_a_further_round_that_does_harm_leaves_the_one_before(turns, broken):
    turns.fails[broken] = HarmError("fell below the floor")
    turns.run()
    assert turns.text("align", "student/weights") == "of align 1"
    told = turns.rounds()
    assert (told["kept"], told["reason"]) == (1, "round 2: refused (fell below the floor)")
    assert told["rounds"][-1] == {
        "round": 2,
        "verdict": "refused",
        "kept": False,
        "reason": "fell below the floor",
    }
    assert turns.manifest("align")["facts"]["kept"] == 1


def test_a_first_round_that_does_harm_is_an_error(turns):
    turns.fails["align 1"] = HarmError("fell below the floor")
    with pytest.raises(HarmError, match="floor"):
        turns.run()


def test_one_patient_alone_is_no_further_gain():
    """Of three answers of three patients one is known: it lost 0.8, and there is no standard error."""
    before, after = (Look(support=(value, math.nan, math.nan), quality=SOUND) for value in (0.9, 0.1))
    lost = judge(before, after, before, ("p", "q", "r"), LIMITS)
    assert (lost.word, lost.kept) == ("no further gain", False)
    won = judge(after, before, after, ("p", "q", "r"), LIMITS)
    assert (won.word, won.kept) == ("no further gain", True)


@pytest.fixture
def second(tmp_path):
    """A run in its second round, whose first has left a student."""
    context = make_context(tmp_path)
    student = context.folder.root / "5-align" / "round-1" / "student"
    student.mkdir(parents=True)
    (student / "weights").write_text("aligned once")
    return replace(context, folder=RunFolder(context.folder.root, 2))


def test_round_two_is_written_by_the_student_of_round_one(second):
    before = synthesize.inputs(second)["student"]
    writer = Answering()
    synthesized(second, writer)
    assert writer.path == second.folder.root / "5-align" / "round-1" / "student"
    left = {path.name for path in (second.folder.root / "4-synthesize").iterdir()}
    assert left == {"round-2"}
    assert second.folder.groups.is_file()
    (writer.path / "weights").write_text("aligned otherwise")
    assert synthesize.inputs(second)["student"] != before


def test_round_two_aligns_the_student_of_round_one(second, monkeypatch):
    """It is the reference too: the same loaded model, before anything moves."""
    synthesized(second, Answering())
    before = align.inputs(second)["student"]
    asked = []

    def load(path, **more):
        asked.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "load", load)
    with pytest.raises(KeyboardInterrupt):
        align.run(second)
    assert asked == [second.folder.root / "5-align" / "round-1" / "student"]
    (asked[0] / "weights").write_text("aligned otherwise")
    assert align.inputs(second)["student"] != before
