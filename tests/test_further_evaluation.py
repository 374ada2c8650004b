"""Reports, consistency and probabilities of every row: by hand, in pieces and through the stage."""

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_evaluation import ALL_ABSENT, EDEMA, FIELD, FakePolicy, go, run  # noqa: F401
from test_evaluation_metrics import draws
from wanting import WantedStreams as Streams

from driftbound.config import DomainConfig, EvaluateConfig, Recipe
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.phantom.claims import claims
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.domains.phantom.language import canonical
from driftbound.evaluation import text_metrics
from driftbound.evaluation.answers import seeds_of
from driftbound.evaluation.classification import make_key
from driftbound.evaluation.clinical_f1 import METRICS, clinical_f1
from driftbound.evaluation.consistency import against, estimates
from driftbound.evaluation.references import References, RowRead, consistency_scores, report_scores
from driftbound.evaluation.summary import extend_auroc
from driftbound.evaluation.yes_no import ask_yes_no
from driftbound.protocols import YesNo
from driftbound.records import Status, Trajectory
from driftbound.stages import evaluate
from driftbound.stages.context import Context
from driftbound.stages.held_out import HeldOut
from driftbound.stages.probabilities import teachers_probabilities
from driftbound.statistics.intervals import resample
from driftbound.store.references import write_references
from driftbound.store.tables import read_cases, write_cases

P, A, U, LEFT_OUT = "present", "absent", "uncertain", "omitted"
AB = ("A", "B")
third = pytest.approx(1 / 3)


def means(found):
    return {name: float(one.point[0]) for name, one in found.items()}


# ---------------------------------------------------------------- clinical F1

SAID = [{"A": "left", "B": A}, {"A": U, "B": P}, {"A": P, "B": LEFT_OUT}, None]
KNOWN = [{"A": P, "B": LEFT_OUT}, {"A": P, "B": P}, {"A": A, "B": P}, {"A": P, "B": P}]
"""A: hit (the side is no matter), miss (hedged), false alarm, miss (refused): F1 2 / (2 + 1 + 2) = 2/5.
B: nothing to say, hit, miss, miss: 2 / (2 + 0 + 2) = 1/2. Together 4 / (4 + 1 + 4) = 4/9, mean 9/20."""


def test_clinical_f1_by_hand():
    found = means(clinical_f1(SAID, KNOWN, AB, ("A",), draws()))
    assert tuple(found) == METRICS
    assert found["clinical_micro_f1"] == found["clinical_macro_f1"] == pytest.approx(2 / 5)
    assert found["clinical_micro_f1_all"] == pytest.approx(4 / 9)
    assert found["clinical_macro_f1_all"] == pytest.approx(9 / 20)


def test_a_refused_answer_is_a_miss_and_no_false_alarm():
    """Nothing is there and nothing said: no F1. With one hit beside it: 1."""
    assert math.isnan(
        means(clinical_f1([None], [{"A": A}], ("A",), ("A",), draws(["p"])))["clinical_micro_f1"]
    )
    found = clinical_f1([None, {"A": P}], [{"A": A}, {"A": P}], ("A",), ("A",), draws(["p", "q"]))
    assert means(found)["clinical_micro_f1"] == 1.0


def test_what_the_reference_hedges_or_the_prompt_gives_away_does_not_count():
    """Of A: case 0 is disclosed, case 1's reference is unsure, case 3 has none. Case 2 is left, a hit: F1 1.
    Of B a hit and a miss: 2 / 3; together 4 / 5."""
    said = [SAID[0], {"A": P, "B": P}, SAID[2], {"A": P, "B": P}]
    known = [{"A": A, "B": LEFT_OUT}, {"A": U, "B": P}, {"A": P, "B": P}, None]
    found = means(clinical_f1(said, known, AB, ("A",), draws(), disclosed=[("A",), (), (), ()]))
    assert found["clinical_micro_f1"] == 1.0
    assert found["clinical_micro_f1_all"] == pytest.approx(4 / 5)


def test_clinical_f1_is_scikit_learn_s():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    said, known = (rng.random((40, 3)) < 0.4 for _ in range(2))
    names = ("A", "B", "C")
    as_said = [dict(zip(names, (P if x else A for x in row), strict=True)) for row in said]
    as_known = [dict(zip(names, (P if x else LEFT_OUT for x in row), strict=True)) for row in known]
    found = means(clinical_f1(as_said, as_known, names, names, draws([str(n) for n in range(40)])))
    assert found["clinical_micro_f1"] == pytest.approx(metrics.f1_score(known, said, average="micro"))
    assert found["clinical_macro_f1"] == pytest.approx(metrics.f1_score(known, said, average="macro"))


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Edema:** present, mild.", "edema present mild ."),
        ("1. no edema\n2) T2-weighted 3.5 cm", "no edema t2-weighted 3.5 cm"),
        ("## Reading ___ of Dr. X!", "reading of dr . x"),
        ("- can't say; (left/right)", "can't say left/right"),
        ("* - # ___", ""),
    ],
)
def test_words_are_words_and_full_stops(text, expected):
    assert text_metrics.words(text) == expected


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    assert text_metrics.missing() == ""
    real = text_metrics.import_module

    def without(name):
        if name.startswith("nltk"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(text_metrics, "import_module", without)
    assert text_metrics.missing() == "text metrics need the package nltk: pip install 'driftbound[text]'"


# ---------------------------------------------------------------- one row

TEXTS = ["Edema is seen. No fracture.", None, "No edema. Impression: edema."]
REFERENCES = ["Edema is seen. No fracture.", "Pulmonary edema.", ""]
ROW = RowRead(texts=TEXTS, claims=[claims(text or "") for text in TEXTS])
CLUSTERS = ["p", "q", "r"]


def test_reports_of_a_row_by_hand():
    """Case 0 says its reference, case 1 nothing, case 2 has no reference: means over two cases 1 and 0.
    BLEU-1: 7 of 7 words match (full stops too), but 7 words against 10: exp(1 - 10/7)."""
    references = References.of(REFERENCES, claims)
    assert references.number == 2
    found = means(
        report_scores(ROW, references, ("Edema", "Fracture"), ("Edema",), draws(CLUSTERS), word_metrics=True)
    )
    assert found["rouge_l"] == pytest.approx(0.5)
    assert found["bleu_1"] == pytest.approx(math.exp(1 - 10 / 7))
    assert found["clinical_micro_f1"] == pytest.approx(2 / 3)  # a hit and a miss
    assert set(text_metrics.METRICS) | set(METRICS) == set(found)


def test_reports_without_word_metrics():
    references = References.of(REFERENCES, claims)
    found = report_scores(ROW, references, ("Edema",), ("Edema",), draws(CLUSTERS), word_metrics=False)
    assert set(found) == set(METRICS)


def test_consistency_of_a_row_by_hand():
    """Of two answers one denies and asserts edema, and has a conclusion, which disagrees with its reasoning.
    Against references (case 2 has none): case 0 makes both claims, case 1 none of one: 2/2, 2/3, 4/5."""
    found = means(consistency_scores(ROW, References.of(REFERENCES, claims), draws(CLUSTERS)))
    assert found["contradicting"] == found["concluding"] == 0.5
    assert found["conclusion_agreement"] == 0.0
    assert found["claim_precision"] == 1.0
    assert found["claim_recall"] == pytest.approx(2 / 3)
    assert found["claim_f1"] == pytest.approx(4 / 5)
    assert "sample_agreement" not in found
    assert "claim_f1" not in consistency_scores(ROW, None, draws(CLUSTERS))


def test_samples_of_a_row_by_hand():
    """Case 0: two of three answers agree, so one pair of three; case 1 was asked once: no pair."""
    said = [["Edema.", "Edema.", "No edema."], ["Edema."], []]
    samples = [[claims(text) for text in case] for case in said]
    row = RowRead(texts=TEXTS, claims=ROW.claims, samples=samples)
    found = means(consistency_scores(row, None, draws(CLUSTERS)))
    assert found["sample_agreement"] == third
    assert found["sample_coverage"] == 1.0


def test_presence_that_a_prompt_gives_away_is_no_claim_and_its_side_is():
    """Consolidation is disclosed: two claims are left (fracture, and its side), of which one is right."""
    said, known = "Consolidation on the left. No fracture.", "Consolidation on the right. No fracture."
    both = ([claims(said)], [claims(known)])
    resamples = draws(["p"])
    whole = estimates(against(*both), resamples)
    assert whole["claim_precision"].mean == pytest.approx(2 / 3)
    given = estimates(against(*both, disclosed=[("Consolidation",)]), resamples)
    assert given["claim_precision"].mean == pytest.approx(1 / 2)
    assert given["claim_conflict"].mean == pytest.approx(1 / 2)


def test_what_a_prompt_gives_away_is_scored_nowhere():
    """Of a row whose prompt discloses edema: its answer's edema is no hit and no claim."""
    texts = ["Edema is seen. No fracture."]
    row = RowRead(texts=texts, claims=[claims(texts[0])], disclosed=[("Edema",)])
    references = References.of(["No edema. No fracture."], claims)
    found = means(consistency_scores(row, references, draws(["p"])))
    assert found["claim_precision"] == found["claim_recall"] == 1.0
    scored = report_scores(row, references, ("Edema",), ("Edema",), draws(["p"]), word_metrics=False)
    assert math.isnan(means(scored)["clinical_micro_f1"])


# ---------------------------------------------------------------- probabilities


class Weighing:
    """Gives each answer the probability that it is told."""

    def __init__(self, chances):
        self.chances, self.asked = chances, []

    def score(self, questions, images, answers):
        self.asked += answers
        return [math.log(self.chances[answer]) for answer in answers]


def test_probabilities_of_answers_that_mean_the_same_are_added():
    """Left 0.2 and right 0.1 against none 0.3: 0.3 / 0.6."""
    policy = Weighing({"left": 0.2, "right": 0.1, "none": 0.3})
    found = ask_yes_no(policy, ["?", "?"], [(), ()], yes=("left", "right"), no=("none",), batch_size=1)
    assert found.tolist() == pytest.approx([0.5, 0.5])
    assert sorted(policy.asked) == ["left", "left", "none", "none", "right", "right"]


def test_a_phantom_student_is_asked_by_the_first_sentences_that_it_would_write():
    domain = PhantomDomain(Recipe.parse(MINIMAL, where="t").domain, seed=0)
    assert isinstance(domain, YesNo)
    question, yes, no = domain.yes_no("Pneumothorax")
    assert question == ""  # the usual one
    assert yes == ("Pneumothorax: left.", "Pneumothorax: right.", "Pneumothorax: bilateral.")
    assert no == ("Pneumothorax: absent.",)
    assert domain.yes_no("No Finding")[1:] == (("Study: normal.",), ("Study: abnormal.",))
    for finding in domain.findings:
        _, yes, no = domain.yes_no(finding)
        assert {claims(text)[0].polarity for text in yes} == {"present"}
        assert {claims(text)[0].polarity for text in no} == {"absent"}


def test_chest_x_rays_are_asked_for_finding_by_finding():
    domain = ChestXrayDomain(DomainConfig(name="chest-xray"), seed=0)
    assert isinstance(domain, YesNo)
    asked = {finding: domain.yes_no(finding) for finding in domain.findings}
    assert len({question for question, _, _ in asked.values()}) == 14
    assert {(yes, no) for _, yes, no in asked.values()} == {(("Yes.",), ("No.",))}
    assert asked["Edema"][0] == "Does this chest radiograph show edema? Answer yes or no."
    assert (
        asked["Pleural Other"][0] == "Does this chest radiograph show pleural thickening? Answer yes or no."
    )
    with pytest.raises(ValueError, match="none of the findings"):
        domain.yes_no("Airspace Opacity")


MINIMAL = {"name": "x", "teachers": [{"name": "a", "model": "a"}]}


# ---------------------------------------------------------------- the stage


def with_references(run, texts):  # noqa: F811
    """Evaluate ``run`` with these references."""
    write_references(run.folder.truth, texts)
    return run


def true_report(number):
    return canonical(EDEMA if number < 4 else ALL_ABSENT)


def test_rows_against_references_through_the_stage(run):  # noqa: F811
    """References are the truth in the very words of teachers and students, but for c5, which has none. So
    ``good`` and the aligned student say them all; ``bad`` has edema where it is not; ``mute`` says nothing.
    Micro F1 of the headline: edema is in c0 to c3, bootstrapped says it of c4 too: 8 / (8 + 1)."""
    before = evaluate.inputs(run)
    summary = go(with_references(run, {f"c{n}": true_report(n) for n in range(5)}))
    assert set(evaluate.inputs(run)) - set(before) == {"references"}
    assert {name: summary["references"][name] for name in ("cases", "without", "reason")} == {
        "cases": 5,
        "without": 1,
        "reason": "",
    }
    assert "sacrebleu" in summary["references"]["implementations"]["bleu_4"]
    for row in (summary["teachers"]["good"], summary["students"]["aligned"], summary["consensus"]):
        assert row["report"]["bleu_4"]["mean"] == row["report"]["clinical_micro_f1"]["mean"] == 1.0
        assert row["consistency"]["claim_f1"]["mean"] == 1.0
    assert summary["teachers"]["bad"]["report"]["clinical_micro_f1"]["mean"] == 0.0
    assert summary["teachers"]["mute"]["report"]["rouge_l"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    bootstrapped = summary["students"]["bootstrapped"]
    assert bootstrapped["report"]["clinical_micro_f1"]["mean"] == pytest.approx(8 / 9, abs=1e-6)
    # of 14 claims on c4 two are wrong (edema, and that the film is not normal): 68 of 70
    assert bootstrapped["consistency"]["claim_precision"]["mean"] == pytest.approx(68 / 70, abs=1e-6)
    gain = summary["comparisons"]["aligned_minus_bootstrapped"]
    assert gain["report"]["clinical_micro_f1"]["mean"] == pytest.approx(1 / 9, abs=1e-6)
    assert gain["consistency"]["claim_precision"]["mean"] == pytest.approx(2 / 70, abs=1e-6)
    assert "report" in summary["comparisons"]["aligned_minus_best_teacher"]
    assert "report" in summary["baselines"]["always_prior"]
    assert "auroc" not in summary["students"]["aligned"]


def test_what_the_prompts_disclose_is_left_out_through_the_stage(run):  # noqa: F811
    """Edema is disclosed everywhere: ``bad`` is wrong on it and on "No Finding" alone, so one of the 13
    claims that count is wrong; nothing is left that clinical F1 could be of."""
    cases = [replace(case, prompt_discloses=("Edema",)) for case in read_cases(run.folder.cases)]
    write_cases(run.folder.cases, cases)
    summary = go(with_references(run, {f"c{n}": true_report(n) for n in range(6)}))
    bad = summary["teachers"]["bad"]
    assert bad["consistency"]["claim_precision"]["mean"] == pytest.approx(12 / 13, abs=1e-6)
    assert bad["report"]["clinical_micro_f1"]["mean"] is None


def test_without_references_the_rest_goes_on(run):  # noqa: F811
    summary = go(run)
    assert summary["references"]["cases"] == 0
    assert summary["references"]["reason"].startswith("no reference")
    assert "report" not in summary["students"]["aligned"]
    assert summary["students"]["aligned"]["consistency"]["contradicting"]["mean"] == 0.0


def test_without_the_packages_clinical_f1_and_consistency_go_on(run, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(text_metrics, "missing", lambda: "pip install 'driftbound[text]'")
    summary = go(with_references(run, {"c0": true_report(0)}))
    assert summary["references"]["reason"] == "pip install 'driftbound[text]'"
    assert set(summary["students"]["aligned"]["report"]) == set(METRICS)
    assert "no word metrics: pip install" in capsys.readouterr().err


def test_a_teacher_s_further_answers_are_compared_with_its_first(run):  # noqa: F811
    """Of c0 ``good`` says the same again, of c1 the contrary: edema and no finding differ, 12 of 14 agree."""
    with Streams(run.folder.streams) as streams:
        for number, text in ((0, canonical(EDEMA)), (1, canonical(ALL_ABSENT))):
            streams.put(
                Trajectory(
                    case_id=f"c{number}", teacher="good", text=text, status=Status.OK, version="v", sample=1
                )
            )
    summary = go(run)
    found = summary["teachers"]["good"]["consistency"]["sample_agreement"]["mean"]
    assert found == pytest.approx((1 + 12 / 14) / 2, abs=1e-6)
    assert "sample_agreement" not in summary["teachers"]["bad"]["consistency"]


class Drawing(FakePolicy):
    """Greedy as ever; drawn it says edema by the parity of its seed."""

    def generate(self, questions, images, *, max_new_tokens, temperature=0.0, seeds=None):
        if seeds is None:
            return super().generate(questions, images, max_new_tokens=max_new_tokens)
        assert temperature == 0.9
        self.log.append((self.name, seeds))
        return [(canonical(EDEMA if seed % 2 else ALL_ABSENT), True) for seed in seeds]


def recipe_with(run, **evaluating):  # noqa: F811
    given = run.recipe.evaluate.model_dump() | evaluating
    return run.recipe.model_copy(update={"evaluate": EvaluateConfig(**given)})


def test_students_are_asked_again_only_when_the_recipe_says_so(run):  # noqa: F811
    """Three draws of each case of each student, by seeds of their own; agreement by their parities: all
    alike 1, else one pair of three is alike and two agree on 12 of 14 findings."""
    log = []
    context = Context(
        recipe=recipe_with(run, samples=3, temperature=0.9), folder=run.folder, domain=run.domain
    )
    evaluate.run(context, load_policy=lambda path, threads: Drawing(path, threads, log))
    summary = json.loads((run.folder.stage("evaluate") / "summary.json").read_text())
    drawn = [seeds for _, seeds in log if isinstance(seeds[0], int)]
    assert len(drawn) == 3 * 3 * 2  # students, draws, batches
    everything = [seed for seeds in drawn for seed in seeds]
    assert len(set(everything)) == len(everything) == 3 * 3 * 6
    cases = [f"c{n}" for n in range(6)]
    own = [seeds_of(0, "student:aligned test", cases, number) for number in (1, 2, 3)]
    alike = [len({seed % 2 for seed in seeds}) == 1 for seeds in zip(*own, strict=True)]
    expected = np.mean([1.0 if same else (1 + 2 * 12 / 14) / 3 for same in alike])
    found = summary["students"]["aligned"]["consistency"]
    assert found["sample_agreement"]["mean"] == pytest.approx(expected, abs=1e-6)
    assert summary["students"]["aligned"]["parsable"] == 1.0  # the greedy answers are the row
    assert "sample_agreement" not in summary["baselines"]["aligned_images_shuffled"]["consistency"]
    assert "sample_agreement" not in go(run)["students"]["aligned"]["consistency"]


class Believing(FakePolicy):
    """The aligned student's belief in edema is what the file says; the bootstrapped one's is always 0.8."""

    def score(self, questions, images, answers):
        if len(self.log) >= self.stop_after:
            raise KeyboardInterrupt
        self.log.append(("score", self.name, answers[0], tuple(questions)))
        edema = [
            0.8 if self.name != "5-align" else 0.9 if "edema" in s[0].read_text() else 0.3 for s in images
        ]
        return [
            math.log(chance if "yes" in answer else 1 - chance)
            for chance, answer in zip(edema, answers, strict=True)
        ]


def believing(run, log, stop_after=math.inf, **evaluating):  # noqa: F811
    asks = {"yes_no": lambda finding: (f"{finding}?", ("yes",), ("no",)) if finding == "Edema" else OWN}
    context = Context(
        recipe=recipe_with(run, **evaluating),
        folder=run.folder,
        domain=SimpleNamespace(**vars(FIELD), **asks),
    )
    evaluate.run(context, load_policy=lambda path, threads: Believing(path, threads, log, stop_after))
    return json.loads((run.folder.stage("evaluate") / "summary.json").read_text())


OWN = ("", ("yes",), ("no",))


def test_auroc_through_the_stage(run):  # noqa: F811
    """Edema in c0 to c3: the aligned student ranks them all first, the others by nothing. Only edema among
    the headline findings has both classes."""
    log = []
    summary = believing(run, log, auroc=True)
    aligned, before = (summary["students"][name]["auroc"] for name in ("aligned", "bootstrapped"))
    assert aligned["mean"] == aligned["per_finding"]["Edema"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert (before["mean"]["mean"], aligned["mean_findings"]) == (0.5, 1)
    assert aligned["per_finding"]["Pneumothorax"]["mean"] is None
    assert summary["comparisons"]["aligned_minus_bootstrapped"]["auroc"]["mean"] == 0.5
    assert "auroc" not in summary["teachers"]["good"]  # no logits
    asked = {questions for _, _, _, questions in (each for each in log if each[0] == "score")}
    assert ("Edema?",) * 4 in asked
    assert ("What about c4?", "What about c5?") in asked


def test_auroc_is_not_asked_for_unless_the_recipe_says_so(run):  # noqa: F811
    log = []
    assert "auroc" not in believing(run, log)["students"]["aligned"]
    assert not [each for each in log if each[0] == "score"]


def test_probabilities_are_not_read_twice(run):  # noqa: F811
    """14 findings in 2 batches by 2 answers: 56 scores of each student; stopped in the second finding."""
    whole, first, second = [], [], []
    believing(run, whole, auroc=True)
    shutil.rmtree(run.folder.stage("evaluate"))
    with pytest.raises(KeyboardInterrupt):
        believing(run, first, stop_after=2 + 4 + 2, auroc=True)
    believing(run, second, auroc=True)
    counted = [sum(each[0] == "score" for each in log) for log in (whole, first, second)]
    assert counted == [3 * 56, 6, 3 * 56 - 4]


def test_a_local_teacher_s_probabilities_are_read_too(run):  # noqa: F811
    teachers = [{"name": n, "model": n} for n in ("bad", "mute")]  # over HTTP: they show no logits
    local = {"name": "good", "kind": "local", "model": "here", "sampling": {"max_tokens": 5}}
    whole = run.recipe.model_dump(mode="json") | {"teachers": [local, *teachers]}
    recipe = Recipe.parse(whole, where="t")
    domain = SimpleNamespace(**vars(FIELD), yes_no=lambda finding: OWN)
    asking = recipe.model_copy(update={"evaluate": EvaluateConfig(auroc=True)})
    context = Context(recipe=asking, folder=run.folder, domain=domain)
    split = HeldOut("test", read_cases(run.folder.cases), None)
    loaded = []

    def load(path, threads):
        loaded.append((path, threads))
        return Believing("x/5-align/student", threads, [])

    found = teachers_probabilities(context, [split], load, run.folder.root / "kept")
    assert list(found["test"]) == ["teacher:good"]
    assert found["test"]["teacher:good"].shape == (6, 14)
    assert found["test"]["teacher:good"][:, 0].tolist() == pytest.approx([0.9] * 4 + [0.3] * 2)
    assert loaded == [("here", 1)]


def test_a_zero_shot_protocol_has_the_auc_of_its_own_classes():
    """Four cases of two patients: A is ranked perfectly, B the wrong way round; the headline is A, the
    protocol B."""
    truth = [{"A": a, "B": b} for a, b in (("present", "absent"), ("absent", "present")) * 2]
    key = make_key(truth, ("A", "B"), frozenset(), [()] * 4)
    tables = {"students": {"aligned": {}}, "comparisons": {}, "best_teacher": None}
    tables["zero_shot"] = {"findings": ["B"], "rows": {"student:aligned": {}}}
    chances = {"student:aligned": np.array([[0.9, 0.8], [0.1, 0.2], [0.7, 0.6], [0.3, 0.4]])}
    drawn = resample(["p", "p", "q", "q"], rng=np.random.default_rng(0), draws=100)
    extend_auroc(tables, chances, key, ["A"], drawn)
    assert tables["students"]["aligned"]["auroc"]["mean"]["mean"] == 1.0
    assert tables["zero_shot"]["rows"]["student:aligned"]["auroc"]["mean"] == 0.0
