"""The measure stage: a run of three cases, counted by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.domains.phantom.claims import claims as phantom_claims
from driftbound.domains.phantom.findings import FINDINGS, SIDED
from driftbound.errors import ConfigError
from driftbound.measure.sheet import unexplained
from driftbound.records import Case, Status, Tokens, Trajectory
from driftbound.stages import measure
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_claims, read_rows, write_cases

TEXTS = {
    ("c0", "one"): "Pleural effusion on the left. No edema.",
    ("c0", "two"): "Pleural effusion on the right. No edema.",
    ("c0", "three"): "I cannot provide a diagnosis from this image.",
    ("c1", "one"): "There is edema.",
    ("c1", "two"): "No edema. Possible pneumonia.",
    ("c1", "three"): "There is edema. No pneumonia.",
    ("c2", "one"): "There is edema.",
}
FIELD = SimpleNamespace(name="phantom", findings=FINDINGS, sided=SIDED, claims=phantom_claims)


@pytest.fixture
def run(tmp_path):
    """Three cases (the last one held out), three teachers, one refusal, one failure, no truth file."""
    recipe = Recipe.parse(
        {"name": "r", "teachers": [{"name": n, "model": n} for n in ("one", "two", "three")]}, where="test"
    )
    folder = RunFolder(tmp_path / "r")
    splits = {"c0": "train", "c1": "train", "c2": "test"}
    write_cases(
        folder.cases,
        [
            Case(case_id=c, cluster="p" + c, split=s, prompt="?", images=(f"{c}.png",))
            for c, s in splits.items()
        ],
    )
    with Streams(folder.streams) as streams:
        for (case_id, teacher), text in TEXTS.items():
            status = Status.REFUSED if "cannot" in text else Status.OK
            streams.put(
                Trajectory(
                    case_id=case_id, teacher=teacher, status=status, text=text, version=f"{teacher}-v1"
                )
            )
        streams.put(Trajectory(case_id="c2", teacher="two", status=Status.FAILED, error="timeout"))
    return Context(recipe=recipe, folder=folder, domain=FIELD)


def test_stage_by_hand(run):
    """Train slots with explicit votes: c0 effusion P P (agreed), its side L R (conflicting), edema A A
    (agreed); c1 edema P A P (conflicting, 2/3), pneumonia A (undecided). All else is omitted.

    Agreement of "one": c0 (1 + 0 + 1) / 3, c1 1/2. Of "three": c1 edema 1/2 (pneumonia: no rival vote).
    """
    facts = measure.run(run)
    folder = run.folder.stage("measure")
    summary = json.loads((folder / "summary.json").read_text())
    presence = 2 * len(FINDINGS)
    told = summary["agreement"]
    assert {name: each["value"] for name, each in told["claims"].items()} == {
        "agreed": 2,
        "conflicting": 2,
        "undecided": presence + 1 - 4,
    }
    assert summary["about"]["fitted_on"] == ["train"]
    assert summary["about"]["gold"] == "none"
    assert told["teachers"]["one"]["value"] == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-6)
    assert told["teachers"]["three"]["value"] == 0.5
    refusals = summary["refusals"]["three"]
    assert {status: each["value"] for status, each in refusals["answers"].items()} == {"ok": 1, "refused": 1}
    assert (refusals["refusal_rate"]["value"], refusals["refusal_rate"]["n"]) == (0.5, 2)
    assert summary["versions"]["teachers"]["one"]["changes"] == []
    # "one" in c0: effusion and its side stand at place 0 of 2, edema at 1 of 2, in part 5 of 10; its only
    # claim in c1 is place 0: mean of case means (1/2 and 1/2) there.
    steps = told["steps"]["one"]
    assert [step["value"] for step in steps] == [0.5, *[None] * 4, 1.0, *[None] * 4]
    assert [step["n"] for step in steps] == [3, *[0] * 4, 1, *[0] * 4]
    assert steps[1]["reason"] == "nothing to measure it on"
    effusion = told["findings"]["Pleural Effusion"]
    assert (effusion["agreed"]["value"], effusion["undecided"]["value"]) == (0.5, 0.5)
    assert effusion["side"]["conflicting"]["value"] == 1.0
    assert facts["answers"] == 8
    assert list(unexplained(summary)) == []

    by_slot = {(r["case_id"], r["finding"], r["attribute"]): r for r in read_rows(folder / "slots.parquet")}
    side = by_slot["c0", "Pleural Effusion", "side"]
    assert json.loads(side["votes"]) == {"one": "left", "two": "right", "three": "refused"}
    assert (side["status"], side["leading"]) == ("conflicting", "")
    held_out = by_slot["c2", "Edema", "presence"]
    assert json.loads(held_out["votes"]) == {"one": "present"}  # "two" failed, "three" was not asked
    assert {row.case_id for row in read_claims(run.folder.claims)} == {"c0", "c1", "c2"}
    conflict = {r["case_id"]: r["conflict"] for r in read_rows(folder / "cases.parquet")}
    assert conflict == {"c0": pytest.approx(1 / 3), "c1": 0.5, "c2": 0.0}


FILES = (
    "claims.parquet",
    "slots.parquet",
    "cases.parquet",
    "reliability.parquet",
    "drift.parquet",
    "summary.json",
)


def test_stage_gives_the_same_bytes_again(run):
    measure.run(run)
    first = [(run.folder.stage("measure") / name).read_bytes() for name in FILES]
    measure.run(run)
    assert first == [(run.folder.stage("measure") / name).read_bytes() for name in FILES]


def test_what_the_prompt_discloses_is_no_vote(run):
    told = [
        Case(
            case_id=c,
            cluster=c,
            split="train",
            prompt="?",
            images=("x.png",),
            prompt_discloses=("Pleural Effusion",),
        )
        for c in ("c0", "c1", "c2")
    ]
    write_cases(run.folder.cases, told)
    measure.run(run)
    rows = read_rows(run.folder.stage("measure") / "slots.parquet")
    said = {v for r in rows if r["finding"] == "Pleural Effusion" for v in json.loads(r["votes"]).values()}
    assert said == {"omitted", "refused"}
    assert any(row.claim.finding == "Pleural Effusion" for row in read_claims(run.folder.claims))


def test_numbers_that_explain_nothing_are_found():
    """The checker of summaries sees a bare number, a null without reason and a number without an interval."""
    good = {"value": 1, "low": 0, "high": 2, "n": 3, "estimator": "mean"}
    assert list(unexplained({"a": [good], "settings": {"draws": 999}})) == []
    assert list(unexplained({"a": {"b": 3}})) == [".a.b: a bare number"]
    assert list(unexplained({"a": None})) == [".a: null without a reason"]
    assert list(unexplained({"a": good | {"low": None}})) == [".a: low without a reason"]
    assert list(unexplained({"a": {"value": 1, "estimator": "count"}})) == [
        ".a: without high, low, n",
        ".a: low, high without a reason",
    ]


def test_inputs_follow_the_streams(run):
    before = measure.inputs(run)
    with Streams(run.folder.streams) as streams:
        streams.put(Trajectory(case_id="c2", teacher="three", status=Status.OK, text="No edema."))
    after = measure.inputs(run)
    assert before["cases"] == after["cases"]
    assert before["streams"] != after["streams"]


class Coin:
    """A scorer over the letters a and b and an end, which it gives the same chances everywhere."""

    vocabulary = "letters"

    def __init__(self, chance):
        self.logp = np.log(np.array([chance, 0.8 - chance, 0.2], dtype=np.float32))

    def tokens(self, answer, *, ended=True):
        ids = tuple("ab".index(letter) for letter in answer) + ((2,) if ended else ())
        spans = tuple((i, i + 1) for i in range(len(answer))) + (((len(answer),) * 2,) if ended else ())
        return Tokens(ids=ids, spans=spans)

    def distributions(self, question, images, answer, *, ended=True):
        return np.tile(self.logp, (len(answer) + ended, 1))


def test_live_teachers_are_scored_on_each_others_answers(tmp_path):
    """p = (.6, .2, .2), q = (.4, .4, .2) at every token: JS = H(.5, .3, .2) - (H(p) + H(q)) / 2, on common
    and on own prefixes alike, so there is no history; KL(p || q) per token times the four tokens of "one"'s
    answers."""
    local = [{"name": n, "model": n, "kind": "local"} for n in ("one", "two")]
    recipe = Recipe.parse({"name": "r", "teachers": local, "measure": {"live_cases": 2}}, where="test")
    folder = RunFolder(tmp_path / "r")
    ids = ("c0", "c1", "c2")
    write_cases(
        folder.cases,
        [Case(case_id=c, cluster=c, split="train", prompt="?", images=(f"{c}.png",)) for c in ids],
    )
    with Streams(folder.streams) as streams:
        for case_id in ids:
            for teacher, text in (("one", "aab"), ("two", "ab")):
                streams.put(Trajectory(case_id=case_id, teacher=teacher, status=Status.OK, text=text))
    field = SimpleNamespace(
        name="phantom", findings=FINDINGS, sided=SIDED, claims=phantom_claims, question=lambda case: "?"
    )
    context = Context(recipe=recipe, folder=folder, domain=field)
    chances = {"one": 0.6, "two": 0.4}
    measure.run(context, load=lambda model, threads: Coin(chances[model]))
    live = json.loads((folder.stage("measure") / "summary.json").read_text())["tokens"]["live"]
    p, q = np.array([0.6, 0.2, 0.2]), np.array([0.4, 0.4, 0.2])
    m = (p + q) / 2
    js = -(m * np.log(m)).sum() + ((p * np.log(p)).sum() + (q * np.log(q)).sum()) / 2
    assert live["cases"]["value"] == 2
    known = [step["value"] for step in live["common_prefix"] if step["value"] is not None]
    assert known
    assert known == pytest.approx([js] * len(known), abs=1e-6)
    history = [step["value"] for step in live["history"] if step["value"] is not None]
    assert history == pytest.approx([0.0] * len(history), abs=1e-6)
    assert live["pairwise_kl"]["one"]["two"]["value"] == pytest.approx(
        4 * (p * np.log(p / q)).sum(), abs=1e-5
    )


def test_live_cases_need_two_teachers_at_hand(run):
    recipe = run.recipe.model_copy(
        update={"measure": run.recipe.measure.model_copy(update={"live_cases": 2})}
    )
    with pytest.raises(ConfigError, match="0 teachers are of kind local"):
        measure.run(Context(recipe=recipe, folder=run.folder, domain=FIELD))
