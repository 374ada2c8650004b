"""A further data set in ``evaluate``: scored beside the test split, and by its own protocol."""

import json
from pathlib import Path

import pytest
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.language import render
from driftbound.errors import CaseError
from driftbound.records import UNKNOWN, Case, Group, Status, Trajectory
from driftbound.stages import answering, evaluate
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_cases, read_rows, write_cases, write_groups, write_truth

HEALTHY = dict.fromkeys(FINDINGS, "absent")
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
TRUTH = {
    "train0": HEALTHY,
    "test0": HEALTHY,
    "test1": HEALTHY | {"Edema": "present"},
    "far:0": dict.fromkeys(FINDINGS, UNKNOWN) | {"Atelectasis": "present", "Edema": "absent"},
    "far:1": dict.fromkeys(FINDINGS, UNKNOWN) | {"Atelectasis": "absent", "Edema": "present"},
    "far:2": dict.fromkeys(FINDINGS, UNKNOWN) | {"Atelectasis": "absent"},
}


class Denies:
    """Every student denies everything but, when aligned, atelectasis."""

    def __init__(self, path, threads):
        self.aligned = Path(path).parent.name == "5-align"

    def generate(self, questions, images, *, max_new_tokens):
        said = HEALTHY | ({"Atelectasis": "present"} if self.aligned else {})
        return [(render(said), True)] * len(questions)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A training case, two of the test split and three of a further set, each of a patient of its own."""
    data = {"set": "mimic-cxr", "root": "x", "uncertain_as": "ignore", "blank_as": "absent"}
    far = {"set": "chexpert", "root": "y", "uncertain_as": "ignore", "blank_as": "ignore"}
    recipe = Recipe.parse(
        {
            "name": "r",
            "domain": {"name": "chest-xray", "data": data | {"others": {"far": far}}},
            "teachers": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}],
            "evaluate": {"resamples": 100},
        },
        where="test",
    )
    domain, folder = ChestXrayDomain(recipe.domain, 0), RunFolder(tmp_path / "r")
    (folder.root / "images").mkdir(parents=True)
    (folder.root / "images" / "a").write_text("film")
    cases = [
        Case(case_id=name, cluster=name, split=name.rstrip("0123456789:"), prompt="", images=("images/a",))
        for name in TRUTH
    ]
    write_cases(folder.cases, cases, further=["far"])
    write_truth(folder.truth, TRUTH)
    with Streams(folder.streams) as streams:
        for name in TRUTH:
            for teacher in "ab":
                text = render({"Atelectasis": "present" if teacher == "a" else "absent"})
                streams.put(
                    Trajectory(case_id=name, teacher=teacher, text=text, status=Status.OK, version="v")
                )
    groups = [
        Group(case_id=c.case_id, split=c.split, consensus="Edema: absent.", negatives=()) for c in cases
    ]
    write_groups(folder.groups, groups)
    for student in (folder.student("bootstrap"), folder.student("align"), tmp_path / "base" / "student"):
        student.mkdir(parents=True)
        (student / "model").write_text(str(student.parent.name))
    monkeypatch.setattr(answering, "resolve_base", lambda name: str(tmp_path / "base" / "student"))
    return Context(recipe=recipe, folder=folder, domain=domain)


def test_students_teachers_and_baselines_on_the_same_cases(run):
    """Atelectasis in one of three, edema in one of the two of which it is known; the rest is unknown. The
    aligned student asserts the one everywhere (1/3 right) and denies the other (1/2): balanced 1/2 each."""
    evaluate.run(run, load_policy=Denies)
    summary = json.loads((run.folder.stage("evaluate") / "summary.json").read_text())
    assert set(summary["splits"]) == {"test", "far"}  # nobody has a case of the other scanner
    far = summary["splits"]["far"]
    assert (far["n_cases"], far["n_clusters"]) == (3, 3)
    assert set(far["teachers"]) == {"a", "b"}
    assert set(far["students"]) == {"base", "bootstrapped", "aligned"}
    assert {"majority", "always_prior"} <= set(far["baselines"])
    counts = {
        (row["row"], row["finding"]): (row["tp"], row["fp"], row["tn"], row["fn"])
        for row in read_rows(run.folder.stage("evaluate") / "scores.parquet")
        if row["split"] == "far"
    }
    assert counts["student:aligned", "Atelectasis"] == counts["teacher:a", "Atelectasis"] == (1, 2, 0, 0)
    assert counts["teacher:b", "Atelectasis"] == (0, 0, 2, 1)
    assert counts["student:aligned", "Edema"] == (0, 0, 1, 1)
    assert counts["student:aligned", "Fracture"] == (0, 0, 0, 0)


def test_the_sets_own_protocol_has_its_own_means(run):
    """Of CheXpert's five two are known: accuracies 1/3 and 1/2, mean 5/12; F1 2/4 and 0."""
    evaluate.run(run, load_policy=Denies)
    summary = json.loads((run.folder.stage("evaluate") / "summary.json").read_text())
    found = summary["splits"]["far"]["zero_shot"]
    assert tuple(found["findings"]) == FIVE
    aligned = found["rows"]["student:aligned"]
    assert aligned["accuracy"]["mean"] == pytest.approx(5 / 12, abs=1e-6)
    assert aligned["balanced_accuracy"]["mean"] == 0.5
    assert (aligned["macro_f1"]["mean"], aligned["macro_f1_findings"]) == (0.25, 2)
    assert "zero_shot" not in summary["splits"]["test"]


def test_a_file_that_does_not_name_the_split_refuses_it(tmp_path):
    case = Case(case_id="a", cluster="a", split="far", prompt="", images=("a",))
    write_cases(tmp_path / "cases.parquet", [case], further=["far", "near"])
    assert read_cases(tmp_path / "cases.parquet") == [case]
    write_cases(tmp_path / "cases.parquet", [case], further=["near"])
    with pytest.raises(
        CaseError, match=r"split 'far' is none of train, validation, test, test_scanner, near"
    ):
        read_cases(tmp_path / "cases.parquet")
