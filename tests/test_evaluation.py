"""Scoring and the evaluate stage: hand-counted tables, controls, resumption, and who sees the truth."""

import ast
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from wanting import WantedStreams as Streams

import driftbound
from driftbound.config import Recipe
from driftbound.domains.phantom.claims import claims as phantom_claims
from driftbound.domains.phantom.claims import is_refusal
from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, SIDED
from driftbound.domains.phantom.language import canonical
from driftbound.domains.phantom.sign_rule import from_signs
from driftbound.errors import CaseError
from driftbound.evaluation.answers import Job, generate, other_patients
from driftbound.evaluation.classification import Graded, best, make_key, more_frequent, score
from driftbound.evaluation.summary import comparison, table
from driftbound.records import Case, Group, Status, Trajectory
from driftbound.stages import answering, evaluate
from driftbound.stages.context import Context
from driftbound.statistics.intervals import resample
from driftbound.store.folder import RunFolder
from driftbound.store.measures import RELIABILITY, SLOTS, write_table
from driftbound.store.tables import read_rows, write_cases, write_groups, write_truth

P, A, U = "present", "absent", "uncertain"
PATIENTS = ["p", "p", "q", "q"]
AB = ("A", "B")


def key_of(truth, findings=AB, sided=frozenset(), disclosed=None):
    named = [dict(zip(findings, row, strict=True)) for row in truth]
    return make_key(named, findings, sided, disclosed or [()] * len(named))


def graded(*rows, findings=AB):
    """Answers as lists of values per finding (``None``: not said), or ``None`` for a refusal."""
    return [
        Graded(
            stances=None if row is None else {f: v for f, v in zip(findings, row, strict=True) if v},
            parsable=row is not None,
        )
        for row in rows
    ]


def draws(patients=PATIENTS):
    return resample(patients, rng=np.random.default_rng(0), draws=500)


TRUTH = [[P, P], [P, A], [A, A], [A, A]]
ANSWERS = graded([P, None], [A, U], [P, A], None)
"""A: hit, miss, false alarm, refusal. B: omitted where present, unsure and absent where absent, refusal."""


def test_table_by_hand():
    """A: tp 1 fn 1 fp 2 (one of them the refusal) tn 0: accuracy 1/4, sensitivity 1/2, specificity 0.
    B: tp 0 fn 1 fp 1 tn 2: 1/2, 0, 2/3. Means: accuracy 3/8, balanced (1/4 + 1/3) / 2 = 7/24.
    Answers only: A 1/3, 1/2, 0; B 2/3, 0, 1: accuracy 1/2, balanced (1/4 + 1/2) / 2 = 3/8."""
    found = score(ANSWERS, key_of(TRUTH), draws())
    assert found.counts.tolist() == [[1, 2, 0, 1], [0, 1, 2, 1]]
    entry = table(found, AB, AB, "")
    assert entry["accuracy"]["mean"] == 0.375
    assert entry["balanced_accuracy"]["mean"] == pytest.approx(7 / 24, abs=1e-6)
    assert entry["answered_only"]["accuracy"]["mean"] == 0.5
    assert entry["answered_only"]["balanced_accuracy"]["mean"] == 0.375
    b = entry["per_finding"]["B"]
    assert (b["sensitivity"], b["specificity"], b["prevalence"]) == (
        0.0,
        pytest.approx(2 / 3, abs=1e-6),
        0.25,
    )
    assert entry["parsable"] == 0.75
    headline_only = table(found, AB, ("B",), "")
    assert headline_only["accuracy"]["mean"] == 0.5
    assert headline_only["mean_14"]["accuracy"]["mean"] == 0.375


def test_interval_resamples_patients_by_hand():
    """Accuracy on A: patient p 1/2, q 0/2. Draws pp, pq, qq: 1/2, 1/4, 0. Balanced accuracy needs both
    classes, and so both patients: it is 1/4 on every draw that has it."""
    entry = table(score(ANSWERS, key_of(TRUTH), draws()), AB, ("A",), "")
    assert (entry["accuracy"]["low"], entry["accuracy"]["high"]) == (0.0, 0.5)
    assert entry["balanced_accuracy"] == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_one_class_has_no_balanced_accuracy_and_does_not_spoil_the_mean():
    truth = [[P, A], [A, A]]
    entry = table(score(graded([P, A], [A, P]), key_of(truth), draws(["p", "q"])), AB, AB, "")
    assert entry["per_finding"]["B"]["balanced_accuracy"] == {"mean": None, "low": None, "high": None}
    assert entry["balanced_accuracy"]["mean"] == 1.0
    assert entry["accuracy"]["mean"] == 0.75


def test_side_accuracy_by_hand():
    """Truth left, both, right, absent; said left, left, present, right: three asked (truly present and
    asserted), one right; the unnamed side is not right, the false alarm is not asked. Presence is right
    on the first three whatever the side."""
    key = key_of([["left"], ["both"], ["right"], [A]], ("A",), frozenset({"A"}))
    found = score(graded(["left"], ["left"], [P], ["right"], findings=("A",)), key, draws())
    assert found.side_accuracy.mean == pytest.approx(1 / 3)
    assert found.counts.tolist() == [[3, 1, 0, 0]]


def test_what_the_prompt_discloses_is_not_scored():
    """Case 0 discloses A: of A three cases are left, 0 of 3 right."""
    found = score(ANSWERS, key_of(TRUTH, disclosed=[("A",), (), (), ()]), draws())
    assert found.counts.tolist() == [[0, 2, 0, 1], [0, 1, 2, 1]]
    assert found.rates.accuracy.point[0] == 0.0
    assert found.prevalence.tolist() == [pytest.approx(1 / 3), 0.25]


def test_what_nobody_knows_is_not_scored():
    """Of A in case 0 nothing is known: as if it were disclosed."""
    truth = [["unknown", TRUTH[0][1]], *TRUTH[1:]]
    found = score(ANSWERS, key_of(truth), draws())
    assert found.counts.tolist() == [[0, 2, 0, 1], [0, 1, 2, 1]]
    assert found.prevalence.tolist() == [pytest.approx(1 / 3), 0.25]


def test_always_the_more_frequent_answer_is_half_balanced_whatever_its_accuracy():
    key = key_of([[P, A], [P, A], [P, P], [A, A]])
    prior = more_frequent(key)
    assert prior == {"A": "present", "B": "absent"}
    entry = table(score(graded(*[[prior["A"], prior["B"]]] * 4), key, draws()), AB, AB, "")
    assert entry["accuracy"]["mean"] == 0.75
    assert entry["balanced_accuracy"]["mean"] == 0.5


def test_a_row_minus_itself_is_zero_and_a_better_row_is_above():
    """Right everywhere against the answers above: 1 - 3/8 and 1 - 7/24."""
    key, shared = key_of(TRUTH), draws()
    one = score(ANSWERS, key, shared)
    perfect = score(graded(*TRUTH), key, shared)
    assert comparison(one, one, [0, 1])["balanced_accuracy"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    found = comparison(perfect, one, [0, 1])
    assert found["accuracy"]["mean"] == 0.625
    assert found["balanced_accuracy"]["mean"] == pytest.approx(1 - 7 / 24, abs=1e-6)
    assert best({"one": one, "perfect": perfect}, [0, 1]) == "perfect"


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_images_are_all_used_and_never_of_the_own_patient(seed):
    rng = np.random.default_rng(seed)
    clusters = [str(c) for c in rng.integers(8, size=24)] + ["8"] * 5
    shown = other_patients(clusters, rng)
    assert sorted(shown) == list(range(29))
    assert all(clusters[other] != own for own, other in zip(clusters, shown, strict=True))


def test_a_patient_with_most_of_the_cases_is_still_shown_others():
    clusters = ["a", "a", "a", "b"]
    shown = other_patients(clusters, np.random.default_rng(0))
    assert [clusters[other] for other in shown] == ["b", "b", "b", "a"]


# ---------------------------------------------------------------- the stage

FIELD = SimpleNamespace(
    name="phantom",
    findings=FINDINGS,
    headline=HEADLINE,
    sided=SIDED,
    claims=phantom_claims,
    render=canonical,
    is_refusal=is_refusal,
    question=lambda case: f"What about {case.case_id}?",
)
ALL_ABSENT = dict.fromkeys(FINDINGS, A) | {"No Finding": P}
EDEMA = dict.fromkeys(FINDINGS, A) | {"Edema": P}
REFUSAL = "I cannot provide a diagnosis from this image."


class FakePolicy:
    """Answers "edema" exactly when the file it is shown says so; its name may make it fail or cut off."""

    def __init__(self, path, threads, log, stop_after=math.inf):
        self.name, self.log, self.stop_after = Path(path).parent.name, log, stop_after
        assert threads == 1

    def generate(self, questions, images, *, max_new_tokens):
        if len(self.log) >= self.stop_after:
            raise KeyboardInterrupt
        self.log.append((self.name, tuple(questions)))
        sees = ["edema" in shown[0].read_text() for shown in images]
        if self.name == "base":
            return [("" if number else REFUSAL, True) for number, _ in enumerate(sees)]
        if self.name == "3-bootstrap":
            return [(canonical(EDEMA), True)] * len(sees)
        return [(canonical(EDEMA if edema else ALL_ABSENT), True) for edema in sees]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Six test cases of three patients, edema in the first two of them; no case from another scanner."""
    recipe = Recipe.parse(
        {
            "name": "r",
            "threads": 1,
            "teachers": [{"name": n, "model": n} for n in ("good", "bad", "mute")],
            "evaluate": {"batch_size": 4, "resamples": 200},
        },
        where="test",
    )
    folder = RunFolder(tmp_path / "r")
    cases = [
        Case(case_id=f"c{n}", cluster=f"p{n // 2}", split="test", prompt="?", images=(f"images/c{n}.png",))
        for n in range(6)
    ]
    write_cases(folder.cases, cases)
    truth = {case.case_id: (EDEMA if number < 4 else ALL_ABSENT) for number, case in enumerate(cases)}
    write_truth(folder.truth, truth)
    (folder.root / "images").mkdir()
    with Streams(folder.streams) as streams:
        for case in cases:
            edema = truth[case.case_id] is EDEMA
            (folder.root / case.images[0]).write_text("edema" if edema else "clear")
            said = canonical(truth[case.case_id])
            contrary = canonical(ALL_ABSENT if edema else EDEMA)
            for teacher, text, status in (
                ("good", said, Status.OK),
                ("bad", contrary, Status.OK),
                ("mute", REFUSAL, Status.REFUSED),
            ):
                streams.put(
                    Trajectory(case_id=case.case_id, teacher=teacher, text=text, status=status, version="v")
                )
    groups = [
        Group(case_id=case.case_id, split="test", consensus=canonical(truth[case.case_id]), negatives=())
        for case in cases[:5]
    ]
    write_groups(folder.groups, groups)
    for student in (folder.student("bootstrap"), folder.student("align"), tmp_path / "base" / "student"):
        student.mkdir(parents=True)
        (student / "model").write_text(str(student.parent.name))
    monkeypatch.setattr(answering, "resolve_base", lambda name: str(tmp_path / "base" / "student"))
    return Context(recipe=recipe, folder=folder, domain=FIELD)


def go(run, log=None, stop_after=math.inf):
    log = [] if log is None else log
    evaluate.run(run, load_policy=lambda path, threads: FakePolicy(path, threads, log, stop_after))
    return finished(run)


def finished(run):
    """What the stage says; what served to go on is gone, as the pipeline sees to it."""
    for name in evaluate.WORK:
        shutil.rmtree(run.folder.stage("evaluate") / name)
    return json.loads((run.folder.stage("evaluate") / "summary.json").read_text())


def edema(entry):
    found = entry["per_finding"]["Edema"]
    return found["accuracy"]["mean"], found["balanced_accuracy"]["mean"]


def test_stage_by_hand(run):
    """Edema is in four of six cases. Right everywhere: good, aligned. Wrong everywhere: bad, mute (it
    refuses). Always yes: bootstrapped, and so with shuffled images, and always_prior: 4/6 and 1/2.
    Consensus: right but for the last case, which has none. Majority of good and bad: nobody has more
    than half, so absent everywhere: 2/6 and 1/2. Base: refuses or says nothing."""
    summary = go(run)
    assert (summary["n_cases"], summary["n_clusters"], summary["seed"]) == (6, 3, 0)
    assert edema(summary["teachers"]["good"]) == (1.0, 1.0)
    assert edema(summary["teachers"]["bad"]) == (0.0, 0.0)
    assert edema(summary["teachers"]["mute"]) == (0.0, 0.0)
    assert edema(summary["students"]["aligned"]) == (1.0, 1.0)
    two_thirds = pytest.approx(2 / 3, abs=1e-6)
    assert edema(summary["students"]["bootstrapped"]) == (two_thirds, 0.5)
    assert edema(summary["baselines"]["always_prior"]) == (two_thirds, 0.5)
    assert edema(summary["baselines"]["bootstrapped_images_shuffled"]) == (two_thirds, 0.5)
    assert edema(summary["consensus"]) == (pytest.approx(5 / 6, abs=1e-6), 0.75)
    assert edema(summary["baselines"]["majority"]) == (pytest.approx(1 / 3, abs=1e-6), 0.5)
    assert edema(summary["students"]["base"]) == (0.0, 0.0)
    assert summary["best_teacher"] == "good"
    assert "Pneumothorax" in summary["one_class"]
    assert "Edema" not in summary["one_class"]


def test_draws_with_one_class_only_are_counted_and_told(run, capsys):
    """Three patients are drawn, the third alone without edema: 1/27 of the draws hold nobody else, 8/27
    not this one."""
    assert go(run)["draws_left_out"] == pytest.approx(1 / 3, abs=0.12)  # 200 draws: 3.5 standard errors
    assert "of the draws of test's patients a headline finding has one class only" in capsys.readouterr().err


def test_stage_tells_what_a_reader_must_know(run):
    summary = go(run)
    assert summary["students"]["aligned"]["parsable"] == 1.0
    assert summary["students"]["base"]["parsable"] == 0.0
    assert "teachers at test time" in summary["consensus"]["note"]
    assert "1 of 6 not answered" in summary["consensus"]["note"]
    assert "teachers at test time" in summary["baselines"]["majority"]["note"]
    assert summary["teachers"]["mute"]["answered_only"]["accuracy"]["mean"] is None
    # Edema is the one headline finding with both classes: bootstrapped 1/2, aligned 1, on every draw.
    gain = summary["comparisons"]["aligned_minus_bootstrapped"]["balanced_accuracy"]
    assert gain == {"mean": 0.5, "low": 0.5, "high": 0.5}
    same = summary["comparisons"]["aligned_minus_best_teacher"]["balanced_accuracy"]
    assert same == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert list(summary["splits"]) == ["test"]
    assert summary["splits"]["test"]["students"] == summary["students"]


def test_stage_writes_every_answer_and_every_count(run):
    go(run)
    predictions = read_rows(run.folder.stage("evaluate") / "predictions.parquet")
    status = {(row["row"], row["case_id"]): row["status"] for row in predictions}
    assert len(status) == 6 * (3 + 1 + 3 + 4)
    assert [status["student:base", c] for c in ("c0", "c1")] == ["refused", "empty"]
    assert status["consensus", "c5"] == "empty"
    last = next(row for row in predictions if (row["row"], row["case_id"]) == ("student:bootstrapped", "c5"))
    assert json.loads(last["truth"]) == ALL_ABSENT
    wrong = {name for name, right in json.loads(last["correct"]).items() if not right}
    assert wrong == {"Edema", "No Finding"}  # says edema, and so not normal, of a clear film
    rows = read_rows(run.folder.stage("evaluate") / "scores.parquet")
    counts = {(r["row"], r["finding"]): (r["tp"], r["fp"], r["tn"], r["fn"]) for r in rows}
    assert counts["student:bootstrapped", "Edema"] == (4, 2, 0, 0)
    assert counts["teacher:mute", "Edema"] == (0, 2, 0, 4)


def test_killed_evaluate_goes_on_where_it_stopped(run):
    """Batches of 4 in 6 cases: 2 for each student and each shuffled control, 10 calls. Stopped after 5,
    the second start makes the other 5, and the results are those of an uninterrupted run."""
    folder = run.folder.stage("evaluate")
    names = ("summary.json", "predictions.parquet", "scores.parquet")
    whole = []
    go(run, whole)
    expected = [(folder / name).read_bytes() for name in names]
    shutil.rmtree(folder)
    first, second = [], []
    with pytest.raises(KeyboardInterrupt):
        go(run, first, stop_after=5)
    assert not (folder / "summary.json").exists()
    go(run, second)
    assert (len(whole), len(first), len(second)) == (10, 5, 5)
    assert [(folder / name).read_bytes() for name in names] == expected


def test_texts_cut_off_by_the_token_limit_are_scored_but_not_parsable(run):
    class Cut(FakePolicy):
        def generate(self, questions, images, *, max_new_tokens):
            said = super().generate(questions, images, max_new_tokens=max_new_tokens)
            return [(text, number != 1) for number, (text, _) in enumerate(said)]

    evaluate.run(run, load_policy=lambda path, threads: Cut(path, threads, []))
    folder = run.folder.stage("evaluate")
    aligned = json.loads((folder / "summary.json").read_text())["students"]["aligned"]
    # The second of each batch is cut: c1 and c5 of six.
    assert aligned["parsable"] == pytest.approx(4 / 6, abs=1e-6)
    assert edema(aligned) == (1.0, 1.0)
    rows = read_rows(folder / "predictions.parquet")
    assert {r["case_id"] for r in rows if r["row"] == "student:aligned" and r["status"] == "truncated"} == {
        "c1",
        "c5",
    }


def test_shuffled_control_sees_other_patients_images_and_the_own_question(run):
    """The eye is open here: a bootstrapped student that reads its image is right with its own images
    and wrong in proportion with others'."""

    class Seeing(FakePolicy):
        def generate(self, questions, images, *, max_new_tokens):
            self.name = "5-align"
            return super().generate(questions, images, max_new_tokens=max_new_tokens)

    evaluate.run(run, load_policy=lambda path, threads: Seeing(path, threads, []))
    summary = json.loads((run.folder.stage("evaluate") / "summary.json").read_text())
    assert edema(summary["students"]["bootstrapped"]) == (1.0, 1.0)
    # Patient 2 (both cases clear) is shown edema, two of the four with edema are shown patient 2: 2/6, 1/4.
    assert edema(summary["baselines"]["bootstrapped_images_shuffled"]) == (
        pytest.approx(1 / 3, abs=1e-6),
        0.25,
    )


def test_the_aligned_student_is_shown_other_patients_images_too(run):
    """It reads its image: right on all, and 2/6 with others' (see above). Edema is one of five headline
    findings, and the only one with both classes."""
    summary = go(run)
    assert edema(summary["baselines"]["aligned_images_shuffled"]) == (pytest.approx(1 / 3, abs=1e-6), 0.25)
    looks = summary["comparisons"]["aligned_minus_aligned_images_shuffled"]
    assert looks["balanced_accuracy"]["mean"] == 0.75
    assert looks["accuracy"]["mean"] == pytest.approx(2 / 15, abs=1e-6)
    blind = summary["comparisons"]["aligned_images_shuffled_minus_always_prior"]
    assert blind["balanced_accuracy"]["mean"] == -0.25
    assert blind["accuracy"]["mean"] == pytest.approx(-1 / 15, abs=1e-6)


class Signs(FakePolicy):
    """A base that sees signs: of edema where there is some, nothing sensible of c5; it shows features."""

    def generate(self, questions, images, *, max_new_tokens):
        if questions[0] != "Which signs?":
            return super().generate(questions, images, max_new_tokens=max_new_tokens)
        self.log.append(("signs", tuple(questions)))
        signs = {True: "Haze: bilateral. Fine lines: bilateral.", False: "Haze: absent."}
        sees = ["edema" in shown[0].read_text() for shown in images]
        return [
            ("Who knows." if shown[0].name == "c5.png" else signs[edema], True)
            for shown, edema in zip(images, sees, strict=True)
        ]

    def features(self, questions, images, *, batch_size):
        """One number: the base's is the case's, the bootstrapped student's noise, the aligned one's edema."""
        if len(self.log) >= self.stop_after:
            raise KeyboardInterrupt
        self.log.append(("features", self.name))
        own = [int(shown[0].stem[1:]) for shown in images]
        made = {"base": own, "3-bootstrap": [0, 1, 0, 1, 0, 1], "5-align": [float(n < 4) for n in own]}
        return np.array(made[self.name], dtype=np.float32)[:, None]


def go_signs(run, log, stop_after=math.inf):
    rule = {"sign_question": "Which signs?", "from_signs": from_signs}
    context = Context(recipe=run.recipe, folder=run.folder, domain=SimpleNamespace(**vars(FIELD), **rule))
    evaluate.run(context, load_policy=lambda path, threads: Signs(path, threads, log, stop_after))
    return finished(run)


def test_base_with_a_textbook_rule_is_a_row(run):
    """Right on all but c5, which it does not answer; asked in batches of four."""
    log = []
    summary = go_signs(run, log)
    assert [len(asked) for name, asked in log if name == "signs"] == [4, 2]
    row = summary["baselines"]["signs"]
    assert edema(row) == (pytest.approx(5 / 6, abs=1e-6), 0.75)
    assert "textbook rule" in row["note"]
    assert "1 of 6 not answered" in row["note"]
    assert summary["comparisons"]["aligned_minus_signs"]["balanced_accuracy"]["mean"] == 0.25
    assert "signs" not in go(run)["baselines"]  # a field without a rule


def test_dispersion_of_the_three_students(run):
    """Edema in c0 to c3. Base 0..5: within 5 + 1/2 of 35/2; bootstrapped 0 1 0 1 0 1: class means 1/2, all
    within; aligned: nothing within. Findings with one class have none."""
    found = go_signs(run, [])["dispersion"]
    assert found["base"]["per_finding"]["Edema"] == pytest.approx(5.5 / 17.5, abs=1e-6)
    assert found["bootstrapped"]["per_finding"]["Edema"] == 1.0
    assert found["aligned"]["per_finding"]["Edema"] == 0.0
    assert found["aligned"]["per_finding"]["Pneumothorax"] is None
    assert found["aligned"]["mean"] == 0.0  # of edema and of no finding, its contrary
    assert go(run)["dispersion"] == {}  # policies that show no features


def test_features_are_not_computed_twice(run):
    """Four calls for the base (answers and signs) and its features; stopped after two more."""
    first, second = [], []
    with pytest.raises(KeyboardInterrupt):
        go_signs(run, first, stop_after=7)
    go_signs(run, second)
    assert [who for what, who in first if what == "features"] == ["base"]
    assert [who for what, who in second if what == "features"] == ["3-bootstrap", "5-align"]


def test_facts_ranks_and_support_by_hand(run):
    """The teachers' votes are known of c0 alone, where they speak of edema: of the aligned student's 14
    claims on it 13 are nobody's."""
    votes = json.dumps({"good": "present", "bad": "absent"})
    row = {"case_id": "c0", "split": "test", "finding": "Edema", "attribute": "presence", "votes": votes}
    row |= {
        "status": "conflicting",
        "leading": "",
        "share": 0.5,
        "explicit": 2,
        "decided": "",
        "posterior": "",
    }
    folder = run.folder.stage("measure")
    folder.mkdir(parents=True)
    before = evaluate.inputs(run)
    assert go(run)["unsupported_reason"].startswith("nothing was measured")
    write_table(folder / "slots.parquet", {name: [value] for name, value in row.items()}, SLOTS)
    write_table(folder / "reliability.parquet", {name: [] for name in RELIABILITY.names}, RELIABILITY)
    assert set(evaluate.inputs(run)) - set(before) == {"slots.parquet", "reliability.parquet"}
    summary = go(run)
    assert summary["unsupported_reason"] == ""
    aligned = summary["students"]["aligned"]
    assert aligned["unsupported"]["mean"] == pytest.approx(13 / 14, abs=1e-6)
    assert aligned["contradictions"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert aligned["repeated"]["mean"] == 0.0
    assert summary["teachers"]["mute"]["words"]["mean"] is None  # refusals have no facts
    # balanced accuracy on edema: good 1, bad 0, mute 0; aligned 1, bootstrapped 1/2, base 0
    ranks = {name: found["Edema"] for name, found in summary["ranks"].items()}
    assert ranks["aligned"] == {"rank": 1, "of": 4, "spread": 1.0}
    assert (ranks["bootstrapped"]["rank"], ranks["base"]["rank"]) == (2, 2)
    assert summary["ranks"]["aligned"]["Pneumothorax"]["rank"] is None


def test_probe_is_asked_as_written_and_in_one_style(run):
    """Everybody writes in the student's format here, so rewriting changes nothing. Refusals and the missing
    consensus are not asked about: 12 texts of two teachers, 5 of the consensus."""
    probes = go(run)["probe"]
    which, both = probes["which_teacher"], probes["consensus_or_teacher"]["one_style"]
    assert which["as_written"] == which["one_style"]
    assert (which["one_style"]["writers"], which["one_style"]["n"]) == (["teacher:bad", "teacher:good"], 12)
    assert (both["writers"], both["n"]) == (["consensus", "teachers"], 17)


def test_style_is_gone_in_one_style(run):
    """A teacher that shouts what the other one says is told by its words, and not when both are rewritten."""
    run.folder.streams.unlink()
    with Streams(run.folder.streams) as streams:
        for n in range(6):
            said = canonical(EDEMA if n < 4 else ALL_ABSENT)
            for teacher, text in (("good", said), ("bad", "Attention! " + said)):
                answer = {"case_id": f"c{n}", "teacher": teacher, "status": Status.OK, "version": "v"}
                streams.put(Trajectory(text=text, **answer))
    found = go(run)["probe"]["which_teacher"]
    assert found["as_written"]["accuracy"]["mean"] == 1.0
    assert found["one_style"]["accuracy"]["mean"] == 0.5


def test_one_patient_leaves_the_shuffled_row_empty(run):
    cases = [
        Case(case_id=f"c{n}", cluster="p0", split="test", prompt="?", images=(f"images/c{n}.png",))
        for n in range(6)
    ]
    write_cases(run.folder.cases, cases)
    summary = go(run)
    assert edema(summary["baselines"]["aligned_images_shuffled"]) == (None, None)
    assert "aligned_minus_aligned_images_shuffled" not in summary["comparisons"]
    row = summary["baselines"]["bootstrapped_images_shuffled"]
    assert edema(row) == (None, None)
    assert "one patient" in row["note"]
    assert summary["students"]["aligned"]["accuracy"] == {"mean": 1.0, "low": None, "high": None}


def test_missing_truth_says_so_before_any_model_is_loaded(run):
    run.folder.truth.unlink()
    log = []
    with pytest.raises(CaseError, match=r"r\.truth\.parquet.*[Pp]ut the .*file back"):
        go(run, log)
    with pytest.raises(CaseError, match="truth is missing"):
        evaluate.inputs(run)
    assert log == []


def test_truth_of_other_cases_is_refused(run):
    write_truth(run.folder.truth, {"c0": ALL_ABSENT})
    with pytest.raises(CaseError, match="case c1"):
        go(run)


def test_inputs_follow_students_and_truth(run):
    before = evaluate.inputs(run)
    (run.folder.student("align") / "model").write_text("other")
    write_truth(run.folder.truth, {"c0": ALL_ABSENT})
    after = evaluate.inputs(run)
    assert {name for name in before if before[name] != after[name]} == {"student_aligned", "truth"}


def test_only_evaluate_and_the_study_read_the_truth():
    """By name: nobody else calls ``read_truth``, and no other stage touches the folder's ``truth``."""
    package = Path(driftbound.__file__).parent
    readers, touching = set(), set()
    for path in package.rglob("*.py"):
        where = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
            if name == "read_truth":
                readers.add(where)
            if where.startswith("stages/") and isinstance(node, ast.Attribute) and node.attr == "truth":
                touching.add(where)
    assert readers == {"stages/evaluate.py", "study/score.py", "store/tables.py"}
    assert touching == {"stages/evaluate.py"}


def test_kept_answers_serve_the_same_cases_alone(tmp_path):
    """What a killed evaluation left is of use only where the very cases are asked again."""
    (tmp_path / "x.png").write_text("edema")
    asked = []

    def ask(*cases):
        job = Job(
            row="student:base",
            split="test",
            case_ids=cases,
            questions=tuple(f"What of {case}?" for case in cases),
            images=((tmp_path / "x.png",),) * len(cases),
        )
        generate(
            [job],
            lambda: FakePolicy("1/aligned", 1, asked),
            tmp_path / "partial",
            batch_size=2,
            max_new_tokens=9,
            title="asking",
        )
        said = [questions for _, questions in asked]
        asked.clear()
        return said

    first = [("What of a?", "What of b?"), ("What of c?",)]
    assert ask("a", "b", "c") == first
    assert ask("a", "b", "c") == []
    assert ask("a", "b", "d") == [("What of d?",)]
    assert ask("b", "a", "d") == [("What of b?", "What of a?")]
