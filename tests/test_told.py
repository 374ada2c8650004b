"""Teachers that are told the labels: where the recipe says so, noted per stream, never scored on it."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chest_xray_trees import film, mimic
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_batches import results, write_lines
from test_cli import call
from test_collect import chat, question_of, vendor
from test_evaluation import edema, go, run
from wanting import want_all

import driftbound
from driftbound import pipeline
from driftbound.config import DomainConfig, Recipe
from driftbound.consensus.synthesize import vote
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.chest_xray.findings import FINDINGS, SIDED
from driftbound.errors import ConfigError
from driftbound.evaluation.classification import Graded, make_key, score
from driftbound.evaluation.disclosure import row_keys, unscored
from driftbound.exporting import export
from driftbound.importing import import_answers
from driftbound.measure.votes import NO_VOTE, OMITTED, REFUSED, cast, read, values_of
from driftbound.records import Case, Claim, Polarity, Status, Trajectory
from driftbound.stances import majority_of, slots_of, slots_told
from driftbound.statistics.intervals import resample
from driftbound.store.exchange import read_trajectories
from driftbound.store.folder import RunFolder
from driftbound.store.streams import Streams
from driftbound.store.tables import CASES, read_cases, read_rows, write_cases, write_rows

__all__ = ("run",)

STUDIES = [
    ("10000001", "50000001", "train", [(film(1), "PA")], {"Edema": "1.0", "Pneumonia": "-1.0"}, 1, 1.0),
    ("10000002", "50000002", "train", [(film(2), "PA")], {"Pleural Effusion": "1.0", "Edema": "0.0"}, 1, 1.0),
    ("10000003", "50000003", "train", [(film(3), "PA")], None, 1, 1.0),
    ("10000004", "50000004", "test", [(film(4), "PA")], {"No Finding": "1.0"}, 1, 1.0),
]
"""The third study has no labels at all: there is nothing to tell of it."""
DATA = {"set": "mimic-cxr", "uncertain_as": "ignore", "blank_as": "absent", "size": 64}


@pytest.fixture
def root(tmp_path):
    root = mimic(tmp_path / "jpg", STUDIES)
    for subject, study, _, films, *_ in STUDIES:
        for name, _ in films:
            place = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{name}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (40, 30), 90).save(place, format="JPEG")
    return root


def recipe(root, teachers, *, name="told", **data):
    domain = {"name": "chest-xray", "data": DATA | {"root": str(root)} | data}
    given = {"name": name, "domain": domain, "collect": {"retries": 0, "max_failed": 1}}
    return Recipe.parse(given | {"measure": {"draws": 99}, "teachers": teachers}, where="test")


def rows_of(folder):
    with Streams.open_readonly(folder.streams) as streams:
        return {(row.case_id, row.teacher): row for row in streams.current()}


# ---- what may be told ---------------------------------------------------------------------------


def made(root, tmp_path, capsys, **data):
    with pipeline.opened(recipe(root, [{"name": "a", "model": "m"}], **data), tmp_path / "runs") as context:
        told = " ".join("".join(capsys.readouterr()).split())
        return {case.case_id: case for case in read_cases(context.folder.cases)}, told


def test_labels_lie_in_the_cases_only_where_the_recipe_says_so(tmp_path, root, capsys):
    """What is unknown by the label policy is told as such; of a study without labels nothing is."""
    cases, told = made(root, tmp_path / "a", capsys, context=True)
    first = cases["50000001"].context
    assert set(first) == set(FINDINGS)
    assert (first["Edema"], first["Pneumonia"], first["Fracture"]) == ("present", "unknown", "absent")
    assert cases["50000003"].context == {}
    assert "labels of 3 cases lie in" in told
    assert "outside the truth file: context: true" in told
    cases, told = made(root, tmp_path / "b", capsys)
    assert not any(case.context for case in cases.values())
    assert "labels of" not in told


def test_cases_of_before_there_was_a_context(tmp_path):
    case = Case(case_id="c", cluster="p", split="train", prompt="", images=(), context={"Edema": "left"})
    write_cases(tmp_path / "cases.parquet", [case])
    assert read_cases(tmp_path / "cases.parquet") == [case]
    old = read_rows(tmp_path / "cases.parquet")
    names = [name for name in CASES.names if name != "context"]
    kept = [{name: row[name] for name in names} for row in old]
    write_rows(tmp_path / "old.parquet", kept, CASES.remove(CASES.get_field_index("context")))
    assert read_cases(tmp_path / "old.parquet") == [replace(case, context={})]


def test_nobody_but_the_told_question_reads_what_may_be_disclosed():
    """``.context`` of anything called a case, in all the package."""
    readers = set()
    source = Path(driftbound.__file__).parent
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "context":
                whose = ast.unparse(node.value)
                if "case" in whose or whose == "each":
                    readers.add(path.relative_to(source).as_posix())
    assert readers == {
        "domains/chest_xray/domain.py",  # also counts them, to say so
        "stages/questions.py",
    }


# ---- asking -------------------------------------------------------------------------------------

TOLD = {"name": "told", "model": "m-told", "prompt": "told"}
FREE = {"name": "free", "model": "m-free"}


@pytest.fixture
def asked(tmp_path, root):
    """A told and a free teacher have answered; what each was asked, by model."""
    seen = {}

    def script(model, question, nth):
        seen.setdefault(model, []).append(question)
        return 200, chat("Edema: present. Pleural effusion: present, left. No fracture.")

    with vendor(script) as server:
        given = recipe(root, [each | {"base_url": server.url} for each in (TOLD, FREE)], context=True)
        folder = pipeline.run(given, tmp_path / "runs", until="measure")
    return given, folder, seen


def test_a_told_teacher_is_told_and_the_run_says_so(asked):
    _, folder, seen = asked
    labels = [question for question in seen["m-told"] if "Edema: present" in question]
    assert len(labels) == 1
    assert "Pneumonia: not labelled" in labels[0]
    assert not any("below stands what this study was labelled with" in each for each in seen["m-free"])
    usual = set(seen["m-free"])
    assert len(usual) == 1
    assert sum(question in usual for question in seen["m-told"]) == 1  # the study without labels
    rows = rows_of(folder)
    assert json.loads(rows["50000001", "told"].prompt_discloses) == sorted(FINDINGS)
    assert rows["50000003", "told"].prompt_discloses == ""
    assert {row.prompt_discloses for (_, teacher), row in rows.items() if teacher == "free"} == {""}
    with Streams.open_readonly(folder.streams) as streams:
        found = dict(streams.db.execute("SELECT case_id, told_question FROM cases"))
    assert labels[0] == found["50000001"]
    assert found["50000003"] == ""


def test_measure_takes_no_presence_of_whom_it_was_told(asked):
    _, folder, _ = asked
    rows = read_rows(folder.stage("measure") / "slots.parquet")
    votes = {(r["case_id"], r["finding"], r["attribute"]): json.loads(r["votes"]) for r in rows}
    assert votes["50000001", "Edema", "presence"] == {"free": "present"}
    assert votes["50000001", "Fracture", "presence"] == {"free": "absent"}
    assert votes["50000001", "Pleural Effusion", "side"] == {"told": "left", "free": "left"}
    assert votes["50000003", "Edema", "presence"] == {"told": "present", "free": "present"}
    summary = json.loads((folder.stage("measure") / "summary.json").read_text())
    assert "No vote on what a prompt gave away: 3 answers of told." in summary["about"]["notes"]


def test_what_was_told_goes_along_with_the_answers(asked, tmp_path, root):
    """Exported, imported, and replayed by a recorded teacher."""
    _, folder, _ = asked
    for name in ("out.jsonl", "out.parquet"):
        export(folder.root, Path(name).suffix[1:], tmp_path / name)
        found = {(row.case_id, row.teacher): row for row in read_trajectories(tmp_path / name)}
        assert found == rows_of(folder)
    again = recipe(root, [{"name": "told", "kind": "recorded", "path": str(tmp_path / "out.jsonl")}])
    replayed = rows_of(pipeline.run(again, tmp_path / "runs", name="again", until="collect"))
    assert {key: row.prompt_discloses for key, row in replayed.items()} == {
        key: row.prompt_discloses for key, row in rows_of(folder).items() if key[1] == "told"
    }
    lines = [{"case_id": "50000001", "text": "Edema."}]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    dead = recipe(root, [TOLD | {"base_url": "http://127.0.0.1:9/v1"}], context=True, name="dead")
    pipeline.run(dead, tmp_path / "runs", until="collect")  # all failed
    dead_run = tmp_path / "runs" / "dead"
    import_answers(dead_run, tmp_path / "theirs.jsonl", teacher="told")
    row = rows_of(type(folder)(dead_run))["50000001", "told"]
    assert (row.text, json.loads(row.prompt_discloses)) == ("Edema.", sorted(FINDINGS))


def test_batch_files_ask_and_remember_what_was_told(tmp_path, root):
    own = {"vendor": "vllm", "base_url": "http://127.0.0.1:9/v1"}
    given = recipe(root, [each | own for each in (TOLD, FREE)], context=True).model_dump(mode="json")
    (tmp_path / "r.yaml").write_text(json.dumps(given))
    words = ("collect", tmp_path / "r.yaml", "--runs", tmp_path / "runs")
    assert call(*words, "--batch", tmp_path / "batch").exit_code == 0
    for path in sorted((tmp_path / "batch").iterdir()):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        asked = sum("Edema: present" in question_of(line["body"]) for line in lines)
        assert asked == path.name.startswith("told")
        answered = write_lines(tmp_path / f"{path.name}.out", results(lines))
        assert call(*words, "--batch-results", answered).exit_code == 0
    rows = rows_of(RunFolder(tmp_path / "runs" / "told"))
    assert len(rows) == 8
    told = {key for key, row in rows.items() if row.prompt_discloses}
    assert told == {("50000001", "told"), ("50000002", "told"), ("50000004", "told")}


def test_an_export_with_a_broken_list_is_refused(tmp_path):
    row = {"case_id": "c", "teacher": "t", "status": "ok", "prompt_discloses": "Edema"}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(driftbound.errors.StoreError, match="'prompt_discloses' is no JSON list of names"):
        list(read_trajectories(tmp_path / "x.jsonl"))


def test_of_a_recording_that_was_told_nothing_it_may_have_heard_is_scored(tmp_path, root):
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"case_id": "50000001", "text": "Edema."}\n')
    teacher = {"name": "old", "kind": "recorded", "path": str(path)}
    rows = rows_of(
        pipeline.run(recipe(root, [teacher | {"prompt": "told"}]), tmp_path / "r", until="collect")
    )
    said = slots_told(rows["50000001", "old"].prompt_discloses)
    assert {slot for slot in said if slot[1] != "value"} == set(slots_of(FINDINGS, SIDED))
    free = rows_of(pipeline.run(recipe(root, [teacher]), tmp_path / "f", until="collect"))
    assert free["50000001", "old"].prompt_discloses == ""
    assert free["50000001", "old"].request_hash != rows["50000001", "old"].request_hash


def test_who_cannot_be_told_is_refused_in_one_line(tmp_path, root):
    given = recipe(root, [TOLD | {"base_url": "http://127.0.0.1:9/v1"}])
    said = "told: prompt: told: no case has labels that may be disclosed. Set domain.data.context: true"
    with pytest.raises(ConfigError, match=said) as caught:
        pipeline.run(given, tmp_path / "runs", until="collect")
    assert "\n" not in str(caught.value)
    phantom = Recipe.parse({"name": "p", "domain": {"train": 2, "test": 1}, "teachers": [TOLD]}, where="test")
    with pytest.raises(ConfigError, match="the field 'phantom' has no question that tells labels"):
        pipeline.run(phantom, tmp_path / "runs", until="collect")


def test_a_recipe_that_tells_nobody_is_the_recipe_of_before(root):
    """Runs that were made before the keys were there go on."""
    assert not {"prompt", "format"} & recipe(root, [FREE]).model_dump(mode="json")["teachers"][0].keys()
    assert recipe(root, [TOLD]).model_dump(mode="json")["teachers"][0]["prompt"] == "told"


# ---- votes --------------------------------------------------------------------------------------

AB = ("A", "B")
SLOTS = slots_of(AB, frozenset(AB))
TEACHERS = ("told", "one", "two")


def claims_of(said):
    """A claim per finding that is named, with a side where it has one."""
    found = []
    for step, (finding, value) in enumerate(said.items()):
        presence = "present" if value in ("left", "right") else value
        place = {"start": step, "end": step + 1, "step": step}
        claim = Claim(
            finding=finding, attribute="presence", value=presence, polarity=Polarity(presence), **place
        )
        found.append(claim)
        if value != presence:
            found.append(replace(claim, attribute="side", value=value, polarity=Polarity.PRESENT))
    return found


def votes_on(answers, *, away='["A", "B"]', status=Status.OK):
    readings = {}
    for case_id, said in answers.items():
        for teacher, stances in zip(TEACHERS, said, strict=True):
            told = {"prompt_discloses": away, "status": status} if teacher == "told" else {}
            given = {"case_id": case_id, "teacher": teacher, "status": Status.OK, "text": "x"} | told
            readings[case_id, teacher] = read(Trajectory(**given), claims_of(stances))
    return cast(sorted(answers), TEACHERS, values_of(SLOTS, readings.values()), readings, parts=4)


SAID = st.dictionaries(
    st.sampled_from(AB), st.sampled_from(["present", "absent", "uncertain", "left", "right"])
)
ANSWERS = st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), st.tuples(SAID, SAID, SAID), min_size=1)


@given(ANSWERS, ANSWERS)
@settings(max_examples=60)
def test_what_told_streams_say_of_presence_changes_no_presence(answers, others):
    """Whatever they say, or nothing: the same votes of everybody on every presence."""
    presence = [a for a, slot in enumerate(SLOTS) if slot[1] == "presence"]
    whole = votes_on(answers)
    assert (whole.codes[:, 0, presence] == NO_VOTE).all()
    for told in ({}, *(said[0] for said in others.values())):
        changed = votes_on({name: (told, *said[1:]) for name, said in answers.items()})
        assert (whole.codes[:, :, presence] == changed.codes[:, :, presence]).all()
        assert (whole.parts[:, :, presence] == changed.parts[:, :, presence]).all()


def test_told_streams_keep_their_sides_unless_those_were_told():
    """Slots: presence of A and B, side of A and B. A was told; of B the told stream has its own stand."""
    answers = {"c1": ({"A": "left"}, {}, {"A": "right", "B": "absent"})}
    found = votes_on(answers, away='["A"]')
    left, right = found.values[2].index("left"), found.values[2].index("right")
    assert found.codes[0].tolist() == [
        [NO_VOTE, OMITTED, left, OMITTED],
        [OMITTED] * 4,
        [1, 0, right, OMITTED],
    ]
    assert votes_on(answers, away='["A", "A:side"]').codes[0, 0].tolist() == [
        NO_VOTE,
        OMITTED,
        NO_VOTE,
        OMITTED,
    ]
    refused = votes_on(answers, away='["A"]', status=Status.REFUSED).codes[0, 0]
    assert refused.tolist() == [NO_VOTE, REFUSED, REFUSED, REFUSED]


def test_estimates_of_presence_are_those_without_the_told_streams_claims(tmp_path, root):
    """The whole measure: what the told teacher says of presence becomes its contrary, and nothing."""
    said = {
        "free": ["Edema. No effusion.", "Pleural effusion on the left.", "Clear lungs.", "No edema."],
        "third": ["Edema.", "Small right pleural effusion.", "No edema. No effusion.", "Pneumonia."],
    }
    told = (
        ["Edema. No pneumonia.", "No edema. Pneumothorax.", "Edema.", "Fracture."],
        ["No edema. Pneumonia.", "Edema. No pneumothorax.", "No edema.", "No fracture."],
        ["The film is rotated."] * 4,
    )
    ids = [study for _, study, *_ in STUDIES]
    found = []
    for number, texts in enumerate(told):
        path = tmp_path / f"{number}.jsonl"
        rows = [
            {"case_id": case_id, "teacher": name, "text": text}
            for name, own in {**said, "told": texts}.items()
            for case_id, text in zip(ids, own, strict=True)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        teachers = [
            {"name": name, "kind": "recorded", "path": str(path)} | more
            for name, more in (("free", {}), ("third", {}), ("told", {"prompt": "told"}))
        ]
        folder = pipeline.run(recipe(root, teachers), tmp_path / f"run {number}", until="measure")
        tables = {}
        for name in ("slots.parquet", "reliability.parquet"):
            every = read_rows(folder.stage("measure") / name)
            tables[name] = [row for row in every if row.get("attribute", "presence") == "presence"]
        summary = json.loads((folder.stage("measure") / "summary.json").read_text())
        found.append((tables, summary["agreement"]["presence"]))
    assert repr(found[0]) == repr(found[1]) == repr(found[2])
    assert any(row["votes"] != "{}" for row in found[0][0]["slots.parquet"])


# ---- majority and scores ------------------------------------------------------------------------


def test_the_voted_consensus_takes_no_votes_of_told_streams():
    """As above, in the student's words: one of one asserts edema; fracture was told to both: no line."""
    field = ChestXrayDomain(DomainConfig(name="chest-xray"), 0)
    texts = ["No edema. Fracture.", "Edema. Fracture."]
    told = [slots_told('["Edema", "Fracture"]'), slots_told('["Fracture"]')]
    said = vote(field, texts, told).splitlines()
    assert "Edema: present." in said
    assert not any("Fracture" in line for line in said)
    assert "Edema: absent." in vote(field, texts).splitlines()


def test_a_majority_is_one_of_those_who_were_told_nothing():
    """A: told and one assert it, two and three deny it, so 1 of 3. Its side, where one asserts it, is also
    the told one's. B was told to all: nobody has voted."""
    both, only_b = slots_told('["A", "B"]'), slots_told('["B"]')
    said = [claims_of({"A": "left"}), claims_of({"A": "present"}), *[claims_of({"A": "absent"})] * 2]
    away = [both, only_b, only_b, only_b]
    assert majority_of(said, AB, away) == {"A": "absent"}
    assert majority_of(said[:2], AB, away[:2]) == {"A": "left"}
    assert majority_of(said[:2], AB, [slots_told('["A", "A:side"]'), both - both]) == {
        "A": "present",
        "B": "absent",
    }
    assert majority_of(said, AB) == majority_of(said, AB, [frozenset()] * 4) == {"A": "absent", "B": "absent"}


TRUTH = [{"A": "left", "B": "absent"}, {"A": "absent", "B": "present"}]
IDS = ["c1", "c2"]
ROWS = ("teacher:told", "teacher:one", "consensus", "baseline:majority", "student:aligned")


def keys(told, teachers=("told", "one")):
    whole = make_key(TRUTH, AB, frozenset(AB), [(), ()])
    return whole, row_keys(whole, IDS, ROWS, teachers, told)


def test_each_row_is_scored_by_what_its_streams_were_told():
    whole, found = keys({("c1", "told"): slots_told('["A"]'), ("c2", "told"): slots_told('["A", "B"]')})
    lost = [[False, True], [False, False]]
    assert found["teacher:told"].scored.tolist() == found["consensus"].scored.tolist() == lost
    for row in ("teacher:one", "baseline:majority", "student:aligned"):
        assert found[row].scored.all()  # of the majority one has voted
    assert found["teacher:told"].sides.tolist() == whole.sides.tolist()
    told = "not scored, for the prompts gave it away: presence of 2 findings in 2 of 2 cases"
    assert unscored(found["teacher:told"], whole) == told
    assert unscored(found["teacher:one"], whole) == ""


def test_a_majority_of_told_streams_alone_is_not_scored():
    away = slots_told('["A", "B", "A:side"]')
    whole, found = keys({(case, name): away for case in IDS for name in ("told", "one")})
    assert not found["baseline:majority"].scored.any()
    assert found["student:aligned"].scored.all()
    assert found["baseline:majority"].sides.tolist() == [[-1, -1], [-1, -1]]
    assert "and side of 1 finding in 1 of 2 cases" in unscored(found["consensus"], whole)


def test_a_told_row_has_no_presence_score_and_keeps_its_side():
    """Presence of both findings told; of the one true side, left, the answer says left: 1 of 1."""
    away = {(case, "told"): slots_told('["A", "B"]') for case in IDS}
    _, found = keys(away)
    draws = resample(["p1", "p2"], rng=np.random.default_rng(0), draws=100)
    said = [Graded(stances=each, parsable=True) for each in ({"A": "left", "B": "absent"}, {"A": "absent"})]
    scored = score(said, found["teacher:told"], draws)
    assert np.isnan(scored.rates.accuracy.point).all()
    assert scored.counts.sum() == 0
    assert scored.side_accuracy.mean == 1.0
    assert score(said, found["student:aligned"], draws).counts.sum() == 4


def test_what_the_case_discloses_to_all_has_no_side_either():
    key = make_key(TRUTH, AB, frozenset(AB), [("A",), ()])
    assert key.sides.tolist() == [[-1, -1], [-1, -1]]


def test_the_stage_scores_no_presence_that_was_told(run):
    """As ``test_evaluation.test_stage_by_hand``, but that "good", right everywhere, was told of edema. The
    majority on edema is then what "bad" says, wrong in all six; on the consensus, made of both, nothing is
    said of edema. Students and the teacher who was told nothing stay as they were."""
    with Streams(run.folder.streams) as streams:
        rows = streams.all()
    run.folder.streams.unlink()
    with Streams(run.folder.streams) as streams:
        streams.put_many(
            replace(row, prompt_discloses='["Edema"]') if row.teacher == "good" else row for row in rows
        )
        want_all(streams)
    summary = go(run)
    good = summary["teachers"]["good"]
    assert edema(good) == edema(summary["consensus"]) == (None, None)
    assert good["per_finding"]["Pneumonia"]["accuracy"]["mean"] == 1.0
    assert "not scored, for the prompts gave it away: presence of 1 finding in 6 of 6 cases" in good["note"]
    assert "gave it away" in summary["consensus"]["note"]
    assert edema(summary["baselines"]["majority"]) == (0.0, 0.0)
    assert edema(summary["teachers"]["bad"]) == (0.0, 0.0)
    assert edema(summary["students"]["aligned"]) == (1.0, 1.0)
    assert summary["teachers"]["bad"]["note"] == summary["students"]["aligned"]["note"] == ""
    assert "Edema" not in summary["one_class"]
    table = read_rows(run.folder.stage("evaluate") / "predictions.parquet")
    judged = {row["row"]: json.loads(row["correct"]) for row in table if row["case_id"] == "c0"}
    assert "Edema" not in judged["teacher:good"]
    assert judged["student:aligned"]["Edema"] is True
    scores = read_rows(run.folder.stage("evaluate") / "scores.parquet")
    (row,) = [r for r in scores if (r["row"], r["finding"]) == ("teacher:good", "Edema")]
    assert row["tp"] + row["fp"] + row["tn"] + row["fn"] == 0
