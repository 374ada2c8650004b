"""Progression over pairs of films: what is read of answers, the score by hand, and the stage."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.chest_xray.findings import FINDINGS, HEADLINE
from driftbound.domains.chest_xray.language import render
from driftbound.domains.chest_xray.progression import courses
from driftbound.errors import CaseError
from driftbound.evaluation.progression import (
    COURSES,
    UNSAID,
    always,
    best,
    codes,
    comparison,
    flip_consistency,
    flipped,
    most_frequent,
    plurality,
    score,
    table,
)
from driftbound.records import UNKNOWN, Case, Group, Status, Trajectory
from driftbound.report.page import Material
from driftbound.report.page import render as render_page
from driftbound.report.progression import course_tables
from driftbound.stages import answering, evaluate
from driftbound.stages.context import Context
from driftbound.statistics.intervals import resample
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_rows, write_cases, write_groups, write_truth

BETTER, SAME, WORSE = COURSES
PATIENTS = ["p", "p", "q", "q"]


def draws(patients=PATIENTS, number=500):
    return resample(patients, rng=np.random.default_rng(0), draws=number)


def column(*words):
    """One finding, A, said or judged so on each pair; an empty word is neither."""
    return codes([{"A": word} if word else {} for word in words], ["A"])


# ---- what an answer says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Edema: worsening, more Kerley lines.\nPneumothorax: stable.",
            {"Edema": WORSE, "Pneumothorax": SAME},
        ),
        ("- **Pleural effusion**: improving", {"Pleural Effusion": BETTER}),
        ("1. **Pneumonia:** Unchanged", {"Pneumonia": SAME}),
        ("Consolidation - no interval change", {"Consolidation": SAME}),
        ("Pulmonary edema: resolved", {"Edema": BETTER}),
        ("pneumothorax = larger", {"Pneumothorax": WORSE}),
        ("Pneumonia: new", {"Pneumonia": WORSE}),
        ("The left pleural effusion has increased.", {"Pleural Effusion": WORSE}),
        ("Unchanged small right pneumothorax.", {"Pneumothorax": SAME}),
        ("Interval improvement in pulmonary edema.", {"Edema": BETTER}),
        ("New consolidation in the left lower lobe.", {"Consolidation": WORSE}),
        ("The edema has decreased.\n\nEdema: worsening", {"Edema": WORSE}),
        ("Edema: worsening\nEdema: stable", {"Edema": SAME}),
        ("Edema: present.", {}),
        ("Edema: absent.", {}),
        ("Cardiomegaly: stable.", {}),
        ("Fracture: worsening", {}),
        ("I cannot compare these images.", {}),
        ("", {}),
    ],
)
def test_what_an_answer_says(text, expected):
    assert courses(text) == expected


@given(st.dictionaries(st.sampled_from(HEADLINE), st.sampled_from(COURSES)))
def test_the_asked_format_is_read_as_meant(told):
    lines = [f"{name}: {course}, as the films show." for name, course in told.items()]
    assert courses("\n".join(lines)) == told


@given(st.text(max_size=80))
def test_any_text_is_read(text):
    assert set(courses(text)) <= set(HEADLINE)


# ---- the score ---------------------------------------------------------------------------------


def test_score_by_hand():
    """Judged improving, stable, stable, worsening; said improving, stable, worsening, nothing: two of four
    are right, 3 of 4 said; of the classes 1/1, 1/2 and 0/1: macro accuracy 1/2."""
    found = score(column(BETTER, SAME, WORSE, ""), column(BETTER, SAME, SAME, WORSE), draws())
    assert found.accuracy.point.tolist() == [0.5]
    assert found.macro.point.tolist() == [0.5]
    assert found.said.tolist() == [0.75]
    assert found.confusion.tolist() == [[[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]]


def test_intervals_resample_patients_by_hand():
    """Patient p has 2 of 2, q none of 2: accuracies 1, 1/2 and 0. All three classes are there only where both
    patients are drawn: the macro accuracy is 1/2 on every draw that has it."""
    entry = table(
        score(column(BETTER, SAME, WORSE, ""), column(BETTER, SAME, SAME, WORSE), draws()), ["A"], ""
    )
    assert entry["accuracy"] == {"mean": 0.5, "low": 0.0, "high": 1.0}
    assert entry["macro_accuracy"] == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_a_class_that_nobody_has_seen_is_no_part_of_the_mean():
    """No pair is worsening: 1/1 and 1/3, mean 2/3."""
    found = score(column(BETTER, SAME, WORSE, WORSE), column(BETTER, SAME, SAME, SAME), draws())
    assert found.macro.point[0] == pytest.approx(2 / 3)


def test_what_is_not_judged_is_not_scored_and_a_finding_without_judgement_has_no_part():
    said = codes([{"A": BETTER, "B": SAME}, {"A": WORSE, "B": SAME}], ["A", "B"])
    true = codes([{"A": BETTER, "B": UNKNOWN}, {}], ["A", "B"])
    entry = table(score(said, true, draws(["p", "q"])), ["A", "B"], "a note")
    assert entry["accuracy"]["mean"] == 1.0
    assert entry["findings_averaged"] == 1
    assert entry["per_finding"]["B"] == {
        "macro_accuracy": {"mean": None, "low": None, "high": None},
        "accuracy": {"mean": None, "low": None, "high": None},
        "said": None,
        "confusion": [[0] * 4] * 3,
    }
    assert entry["note"] == "a note"


def test_baselines_by_hand():
    """Always stable is right on half of the pairs, and on one class of three."""
    true = column(BETTER, SAME, SAME, WORSE)
    for said in (always("stable", (4, 1)), most_frequent(true)):
        found = score(said, true, draws())
        assert (found.accuracy.point[0], found.macro.point[0]) == (0.5, pytest.approx(1 / 3))
    assert most_frequent(column(WORSE, WORSE, SAME, "")).tolist() == [[2]] * 4
    assert most_frequent(column(WORSE, BETTER, "", "")).tolist() == [[0]] * 4  # on a tie the first
    votes = [column(BETTER, SAME, WORSE, ""), column(BETTER, WORSE, WORSE, ""), column("", SAME, BETTER, "")]
    assert plurality(votes, (4, 1)).tolist() == column(BETTER, SAME, WORSE, "").tolist()
    assert plurality(votes[:2], (4, 1)).tolist() == column(BETTER, "", WORSE, "").tolist()
    assert plurality([], (4, 1)).tolist() == column("", "", "", "").tolist()


def test_flip_consistency_by_hand():
    """Swapped films: improving must be worsening (yes), stable stay (no), and nothing said is no answer; the
    last pair is not judged: 1 of 3."""
    said, swapped = column(BETTER, SAME, "", WORSE), column(WORSE, WORSE, "", BETTER)
    found = flip_consistency(said, swapped, column(BETTER, SAME, WORSE, ""), draws())
    assert found["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert flipped(flipped(said)).tolist() == said.tolist()


def test_comparisons_are_paired():
    """One is right on both patients, the other on p: 1 - 1/2, on the draws 0 (pp), 1/2 or 1 (qq)."""
    true = column(BETTER, SAME, SAME, WORSE)
    one, other = score(true, true, draws()), score(column(BETTER, SAME, WORSE, ""), true, draws())
    assert comparison(one, other)["accuracy"] == {"mean": 0.5, "low": 0.0, "high": 1.0}
    assert comparison(one, other)["macro_accuracy"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert best({"a": other, "b": one, "c": one}) == "b"
    assert best({"a": score(true, column("", "", "", ""), draws())}) is None


def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, (60, 4)).astype(np.int8)
    said = rng.integers(-1, 3, (60, 4)).astype(np.int8)
    found = score(said, true, draws([str(n) for n in range(60)], 10))
    for f in range(4):
        assert found.accuracy.point[f] == pytest.approx(metrics.accuracy_score(true[:, f], said[:, f]))
        table = metrics.confusion_matrix(true[:, f], said[:, f], labels=[0, 1, 2, UNSAID])
        assert found.confusion[f].tolist() == table[:3].tolist()
        recalls = metrics.recall_score(true[:, f], said[:, f], labels=[0, 1, 2], average=None)
        assert found.macro.point[f] == pytest.approx(recalls.mean())
        balanced = metrics.balanced_accuracy_score(true[:, f], said[:, f])
        assert found.macro.point[f] == pytest.approx(balanced)


# ---- the stage ---------------------------------------------------------------------------------

LABELLED = ["bootstrapped student", "aligned student"]
COUNTED = {"Edema": [(2, 1), (1, 1), (3, 3), (1, 4)]}
"""How much edema the earlier and the later film of each pair show."""
TOLD = [BETTER, SAME, SAME, WORSE]


class FakePolicy:
    """The aligned student compares what the files say; the bootstrapped one always sees improvement."""

    def __init__(self, path, threads):
        self.name = Path(path).parent.name

    def generate(self, questions, images, *, max_new_tokens):
        return [(self.answer(shown), True) for shown in images]

    def answer(self, shown):
        if len(shown) == 1 or self.name == "base":
            return render(dict.fromkeys(FINDINGS, "absent"))
        if self.name == "3-bootstrap":
            return "Edema: improving"
        before, after = (int(path.read_text()) for path in shown)
        return f"Edema: {BETTER if after < before else SAME if after == before else WORSE}"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two test cases, and four pairs of two patients; the last pair's label is disputed."""
    data = {"set": "mimic-cxr", "root": "x", "ms_cxr_t": "y", "uncertain_as": "ignore", "blank_as": "absent"}
    recipe = Recipe.parse(
        {
            "name": "r",
            "domain": {"name": "chest-xray", "data": data},
            "teachers": [{"name": name, "model": name} for name in ("good", "calm", "mute")],
            "evaluate": {"splits": ["test", "mscxrt_progression"], "batch_size": 3, "resamples": 200},
        },
        where="test",
    )
    domain, folder = ChestXrayDomain(recipe.domain, 0), RunFolder(tmp_path / "r")
    (folder.root / "images").mkdir(parents=True)
    cases, truth = [], {}
    for n in range(2):
        images = (f"images/t{n}",)
        cases.append(Case(case_id=f"t{n}", cluster=f"t{n}", split="test", prompt="", images=images))
        truth[f"t{n}"] = dict.fromkeys(FINDINGS, "absent") | ({"Edema": "present"} if n else {})
        (folder.root / images[0]).write_text("0")
    for n, shades in enumerate(COUNTED["Edema"]):
        images = tuple(f"images/p{n}{when}" for when in "ab")
        for name, shade in zip(images, shades, strict=True):
            (folder.root / name).write_text(str(shade))
        split = "mscxrt_progression"
        cases.append(
            Case(case_id=f"p{n}", cluster=PATIENTS[n], split=split, prompt="what has become?", images=images)
        )
        told = dict.fromkeys(HEADLINE, UNKNOWN) | {"Edema": TOLD[n]}
        truth[f"p{n}"] = told | {"Edema label_quality": "disagreement" if n == 3 else "one_expert"}
    write_cases(folder.cases, cases, further=recipe.domain.data.further_splits)
    write_truth(folder.truth, truth)
    with Streams(folder.streams) as streams:
        for case in cases:
            right = f"Edema: {truth[case.case_id]['Edema']}"
            for teacher, text in (("good", right), ("calm", "Edema: stable"), ("mute", "I cannot do that.")):
                status = Status.REFUSED if teacher == "mute" else Status.OK
                streams.put(
                    Trajectory(case_id=case.case_id, teacher=teacher, text=text, status=status, version="v")
                )
    write_groups(
        folder.groups,
        [Group(case_id=f"t{n}", split="test", consensus="Edema: absent.", negatives=()) for n in range(2)],
    )
    for student in (folder.student("bootstrap"), folder.student("align"), tmp_path / "base" / "student"):
        student.mkdir(parents=True)
        (student / "model").write_text(str(student.parent.name))
    monkeypatch.setattr(answering, "resolve_base", lambda name: str(tmp_path / "base" / "student"))
    return Context(recipe=recipe, folder=folder, domain=domain)


def go(run):
    evaluate.run(run, load_policy=FakePolicy)
    return json.loads((run.folder.stage("evaluate") / "summary.json").read_text())


def macro(entry):
    return entry["macro_accuracy"]["mean"], entry["accuracy"]["mean"]


def test_stage_by_hand(run, capsys):
    """Right everywhere: good, aligned. Always one course: one class of three, and its share of the pairs.
    Without the disputed pair nothing is worsening: two classes, two thirds of three pairs are stable."""
    summary = go(run)
    found = summary["progression"]["mscxrt_progression"]
    third = pytest.approx(1 / 3, abs=1e-6)
    rows = found["rows"]
    assert macro(rows["teacher:good"]) == macro(rows["student:aligned"]) == (1.0, 1.0)
    assert macro(rows["teacher:calm"]) == macro(rows["baseline:always_stable"]) == (third, 0.5)
    assert macro(rows["student:bootstrapped"]) == (third, 0.25)
    assert macro(rows["teacher:mute"]) == macro(rows["student:base"]) == (0.0, 0.0)
    assert "4 of 4 not answered" in rows["teacher:mute"]["note"]
    assert macro(rows["baseline:most_frequent"]) == (third, 0.5)
    # good and calm differ on two pairs, where nobody leads
    assert macro(rows["baseline:plurality"]) == (third, 0.5)
    assert rows["student:aligned"]["flip_consistency"]["mean"] == 1.0
    assert rows["student:bootstrapped"]["flip_consistency"]["mean"] == 0.0
    assert "flip_consistency" not in rows["teacher:good"]
    assert macro(rows["student:bootstrapped"]["without_disagreement"]) == (0.5, third)
    assert (found["n_cases"], found["n_clusters"], found["best_teacher"]) == (4, 2, "good")
    assert found["judged"]["Edema"] == {BETTER: 1, SAME: 2, WORSE: 1}
    assert found["judged"]["Pneumonia"] == {BETTER: 0, SAME: 0, WORSE: 0}
    assert found["label_quality"]["Edema"] == {"disagreement": 1, "one_expert": 3}
    assert found["comparisons"]["aligned_minus_best_teacher"]["macro_accuracy"]["mean"] == 0.0
    gain = found["comparisons"]["aligned_minus_bootstrapped"]["accuracy"]
    assert gain == {"mean": 0.75, "low": 0.5, "high": 1.0}  # p 1/2, q 1
    heard = " ".join("".join(capsys.readouterr()).split())
    assert (
        "macro accuracy over 3 classes on 4 pairs: aligned student 1.000, best teacher (good) 1.000" in heard
    )


def test_pairs_are_in_no_results_table(run):
    summary = go(run)
    assert list(summary["splits"]) == ["test"]
    predictions = read_rows(run.folder.stage("evaluate") / "predictions.parquet")
    assert {row["split"] for row in predictions} == {"test"}
    rows = read_rows(run.folder.stage("evaluate") / "progression.parquet")
    assert len(rows) == 4 * (3 + 3 + 3)  # teachers, students, students with swapped films
    one = next(row for row in rows if (row["row"], row["case_id"]) == ("student:aligned", "p3"))
    assert (json.loads(one["said"]), one["status"]) == ({"Edema": WORSE}, "ok")
    assert json.loads(one["truth"]) == {"Edema": WORSE, "Edema label_quality": "disagreement"}
    swapped = next(row for row in rows if (row["row"], row["case_id"]) == ("swapped:student:aligned", "p3"))
    assert json.loads(swapped["said"]) == {"Edema": BETTER}


def test_the_page_has_a_table_of_its_own(run):
    """Of the five findings one was judged; the aligned student is right everywhere, as the best teacher."""
    summary = go(run)
    (shown,) = course_tables(summary)
    assert (shown.split, shown.pairs, shown.patients) == ("mscxrt_progression", 4, 2)
    assert shown.findings == ("Edema",)
    assert [row.label for row in shown.rows if row.kind == "student"] == ["base", *LABELLED]
    labels = {row.label: row for row in shown.rows}
    assert labels["aligned student"].macro_accuracy.mean == 1.0
    assert labels["always stable"].kind == "control"
    assert shown.against.startswith("Aligned student less the best teacher, good: 0.000")
    page, numbers = render_page(
        Material(name="r", headline=HEADLINE, findings=FINDINGS, recipe={}, scores=summary, measure=None)
    )
    assert "mscxrt_progression: what has become of findings, 4 pairs of films, 2 patients" in page
    assert numbers["progression"][0]["rows"][0]["kind"] == "student"
    assert course_tables({}) == []


def test_truth_of_other_cases_is_told(run):
    write_truth(run.folder.truth, {f"t{n}": dict.fromkeys(FINDINGS, "absent") for n in range(2)})
    with pytest.raises(CaseError, match="nothing is said of what is true in case p0"):
        go(run)
