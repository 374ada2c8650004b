"""Metrics beside accuracy, by hand: F1, sides, facts without truth, ranks, dispersion, the probe."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from test_evaluation import AB, ANSWERS, TRUTH, A, P, draws, graded, key_of

from driftbound.domains.phantom.claims import claims
from driftbound.evaluation.classification import score
from driftbound.evaluation.dispersion import dispersion
from driftbound.evaluation.facts import contradicted, estimates, facts_of, gather
from driftbound.evaluation.probe import _auroc, probe
from driftbound.evaluation.ranks import ranks
from driftbound.evaluation.summary import comparison, score_rows, table
from driftbound.records import Belief, Claim, Polarity
from driftbound.statistics.intervals import resample

# ---------------------------------------------------------------- against truth


def test_macro_f1_by_hand():
    """A: tp 1, fp 2 (one of them the refusal), fn 1: 2 / (2 + 2 + 1). B: no hit: 0."""
    found = score(ANSWERS, key_of(TRUTH), draws())
    entry = table(found, AB, AB, "")
    assert entry["per_finding"]["A"]["f1"]["mean"] == 0.4
    assert entry["per_finding"]["B"]["f1"]["mean"] == 0.0
    assert entry["macro_f1"]["mean"] == 0.2
    assert entry["macro_f1_findings"] == 2
    assert [row["f1"] for row in score_rows({"r": found}, AB, "test")] == [0.4, 0.0]


def test_f1_resamples_patients_by_hand():
    """A: patient p has tp 1, fn 1: 2/3; q has two false alarms: 0; both: 2/5."""
    entry = table(score(ANSWERS, key_of(TRUTH), draws()), AB, ("A",), "")
    assert entry["macro_f1"] == {"mean": 0.4, "low": 0.0, "high": pytest.approx(2 / 3, abs=1e-6)}


def test_a_finding_that_neither_truth_nor_answer_has_is_no_part_of_macro_f1():
    truth = [[P, A], [A, A]]
    entry = table(score(graded([P, A], [P, None]), key_of(truth), draws(["p", "q"])), AB, AB, "")
    assert entry["per_finding"]["B"]["f1"] == {"mean": None, "low": None, "high": None}
    assert entry["macro_f1"]["mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert entry["macro_f1_findings"] == 1


def test_f1_leaves_out_what_the_prompt_discloses():
    """Case 3, whose refusal was a false alarm on A, discloses it: 2 / (2 + 1 + 1)."""
    found = score(ANSWERS, key_of(TRUTH, disclosed=[(), (), (), ("A",)]), draws())
    assert found.rates.f1.point.tolist() == [0.5, 0.0]


def test_f1_difference_is_paired():
    key, shared = key_of(TRUTH), draws()
    perfect = score(graded(*TRUTH), key, shared)
    found = comparison(perfect, score(ANSWERS, key, shared), [0, 1])
    assert found["macro_f1"]["mean"] == 0.8


def test_f1_is_compared_on_the_findings_that_both_have_a_number_for():
    """Nobody has B: one row has a false alarm of it, F1 0, the other none, no F1. On A both are perfect."""
    key, shared = key_of([[P, A], [A, A], [P, A], [A, A]]), draws()
    one = score(graded([P, A], [A, A], [P, A], [A, P]), key, shared)
    other = score(graded([P, A], [A, A], [P, A], [A, A]), key, shared)
    assert comparison(one, other, [0, 1])["macro_f1"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_wrong_side_is_not_one_minus_side_accuracy():
    """Truth left, both, right, left, absent; said left, left, present, right, right. Four are truly present
    and asserted, one of them right; three of those name a side, two another one than the truth."""
    key = key_of([["left"], ["both"], ["right"], ["left"], [A]], ("A",), frozenset({"A"}))
    said = graded(["left"], ["left"], [P], ["right"], ["right"], findings=("A",))
    found = score(said, key, draws(["p", "p", "q", "q", "q"]))
    assert found.side_accuracy.mean == 0.25
    assert found.wrong_side.mean == pytest.approx(2 / 3)
    # patient p: one of two; q: the one side that is named of what is there
    assert (found.wrong_side.low, found.wrong_side.high) == (0.5, 1.0)


def test_nobody_names_a_side():
    key = key_of([["left"], [A]], ("A",), frozenset({"A"}))
    found = score(graded([P], [A], findings=("A",)), key, draws(["p", "q"]))
    assert found.side_accuracy.mean == 0.0
    assert math.isnan(found.wrong_side.mean)


def row_of(*balanced):
    return SimpleNamespace(rates=SimpleNamespace(balanced=SimpleNamespace(point=np.array(balanced))))


def test_rank_shares_ties_and_leaves_out_what_is_undefined():
    """The paper's table: effusion 0.67 beside teachers of 0.69, 0.68 and 0.67 is third, tied."""
    nan = float("nan")
    teachers = {"a": row_of(0.69, 0.5, nan), "b": row_of(0.68, nan, nan), "c": row_of(0.67, 0.9, nan)}
    found = ranks(row_of(0.67 + 1e-12, nan, 0.5), teachers, ("PE", "X", "Y"))
    assert found["PE"] == {"rank": 3, "of": 4, "spread": 0.02}
    assert found["X"] == {"rank": None, "of": None, "spread": 0.4}
    assert found["Y"] == {"rank": None, "of": None, "spread": None}


# ---------------------------------------------------------------- without truth


def belief(**votes):
    return Belief(values={}, decided="", votes=votes, wrong={})


TEXTS = (
    "Edema: present. Pneumonia: absent. Edema: absent.",
    "Edema: present.\nedema:  present. Possible pneumonia.",
    "Pneumonia: left. Pneumonia: right.",
)
BELIEFS = {
    "c0": {
        ("Edema", "presence"): belief(a="present", b="absent"),
        ("Pneumonia", "presence"): belief(a="omitted"),
    },
    "c1": {("Edema", "presence"): belief(a="absent", b="uncertain")},
}


def test_facts_by_hand():
    """Words 6, 6, 4. Of three sentences in the second one is said before. The first asserts edema and denies
    it; two sides contradict nothing. Claims that count: c0 edema absent (its last word) and pneumonia
    absent, which nobody said; c1 edema present, which nobody said (the hedge names no value); c2 has no
    beliefs: 2 of 3. The second text is cut off."""
    found = facts_of(TEXTS, [False, True, False], claims, ["c0", "c1", "c2"], BELIEFS)
    third, ninth = pytest.approx(1 / 3, abs=1e-6), pytest.approx(1 / 9, abs=1e-6)
    assert found == {
        "parsable": pytest.approx(2 / 3, abs=1e-6),
        "words": pytest.approx(16 / 3, abs=1e-6),
        "repeated": ninth,
        "contradictions": third,
        "contradictions_mean": third,
        "unsupported": pytest.approx(2 / 3, abs=1e-6),
    }


def test_without_beliefs_nothing_is_said_of_support():
    found = facts_of(TEXTS, [False] * 3, claims, ["c0", "c1", "c2"], {})
    assert found["unsupported"] is None
    assert found["parsable"] == 1.0


def test_empty_texts_and_no_texts():
    found = facts_of(["", "Nothing."], [False] * 2, claims, ["c0", "c1"], {})
    assert (found["parsable"], found["words"], found["contradictions"]) == (0.0, 0.5, 0.0)
    assert found["repeated"] == 0.0  # of the one text with a sentence
    assert set(facts_of([], [], claims, [], {}).values()) == {None}


def test_facts_resample_patients_and_leave_out_refusals():
    """Patient p: texts 0 and 1; q: text 2 and a refusal. Contradicting: 1 of 3; draws pp 1/2, qq 0."""
    texts = [*TEXTS, None]
    read = [claims(text) if text else [] for text in texts]
    facts = gather(texts, read, [BELIEFS.get(f"c{n}") for n in range(4)])
    found = estimates(facts, draws())
    assert found["contradictions"].mean == pytest.approx(1 / 3)
    assert (found["contradictions"].low, found["contradictions"].high) == (0.0, 0.5)
    assert found["words"].mean == pytest.approx(16 / 3)
    # only p has claims in cases with beliefs, so every draw that has any gives its share
    assert (found["unsupported"].low, found["unsupported"].high) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )


def test_contradictions_need_one_slot_and_no_echo():
    def claim(value, polarity, attribute="presence", echo=False):
        return Claim(
            finding="F",
            attribute=attribute,
            value=value,
            polarity=polarity,
            start=0,
            end=1,
            step=0,
            echo=echo,
        )

    yes, no = claim("present", Polarity.PRESENT), claim("absent", Polarity.ABSENT)
    assert contradicted([yes, no]) == {("F", "presence")}
    assert not contradicted([yes, claim("uncertain", Polarity.UNCERTAIN)])
    assert not contradicted([yes, claim("absent", Polarity.ABSENT, echo=True)])
    chosen, denied = claim("B", Polarity.PRESENT, "value"), claim("B", Polarity.ABSENT, "value")
    assert contradicted([chosen, denied]) == {("F", "value", "B")}
    assert not contradicted([chosen, claim("C", Polarity.ABSENT, "value")])


# ---------------------------------------------------------------- hidden features


def test_dispersion_of_two_dimensions_by_hand():
    """x is the class, y knows nothing of it, z is constant: within over total is (0 + 1) / 2, whatever the
    scale of y."""
    y = np.array([0.0, 1.0, 0.0, 1.0])
    labels = np.array([[False, True], [False, True], [True, True], [True, True]])
    for scale in (1, 1000):
        points = np.stack([labels[:, 0].astype(float), scale * y, np.full(4, 7.0)], axis=1)
        found = dispersion(points, labels, AB)
        assert found == {"mean": 0.5, "per_finding": {"A": 0.5, "B": None}}


def test_dispersion_of_two_clusters_in_closed_form():
    """Centres at +-m, scatter s around each: s^2 / (s^2 + m^2); tighter clusters give less."""
    for m, s in ((3.0, 1.0), (3.0, 0.5), (0.0, 1.0)):
        points = np.array([[m - s], [m + s], [-m - s], [-m + s]])
        found = dispersion(points, np.array([[True], [True], [False], [False]]), ("A",))
        assert found["mean"] == pytest.approx(s**2 / (s**2 + m**2), abs=1e-6)


def test_a_case_of_which_nobody_knows_a_finding_is_left_out_of_its_dispersion_alone():
    """A is unknown in the last case, an outlier: of the other three, 0 1 | 5, mean 2, total 4 + 1 + 9 = 14,
    within 1/2. B knows it: 0 5 | 1 100."""
    points, labels = (
        np.array([[0.0], [1.0], [5.0], [100.0]]),
        np.array([[0, 0], [0, 1], [1, 0], [1, 1]], bool),
    )
    known = np.ones((4, 2), dtype=bool)
    known[3, 0] = False
    found = dispersion(points, labels, AB, known)["per_finding"]
    assert found["A"] == pytest.approx(0.5 / 14, abs=1e-6)
    assert found["B"] == dispersion(points, labels, AB)["per_finding"]["B"]


def test_features_that_do_not_vary_have_no_dispersion():
    assert dispersion(np.ones((3, 2)), np.array([[True], [False], [True]]), ("A",))["mean"] is None


# ---------------------------------------------------------------- who wrote it

PATIENTS = [f"p{n}" for n in range(12) for _ in range(2)]


def ask(texts, writers, patients=PATIENTS):
    return probe(texts, writers, patients, rng=np.random.default_rng(0), draws=200)


def test_probe_tells_two_styles_and_not_one():
    writers = ["a", "b"] * 12
    styles = {"a": "There is edema.", "b": "- Edema: present"}
    told = ask([styles[w] for w in writers], writers)
    assert (told.accuracy.mean, told.auroc.mean, told.chance) == (1.0, 1.0, 0.5)
    same = ask(["There is edema."] * 24, writers)
    assert (same.accuracy.mean, same.auroc.mean) == (0.5, 0.5)


def test_probe_tells_length_alone():
    writers = ["a", "b"] * 12
    told = ask([" ".join(["word"] * (10 if w == "a" else 40)) for w in writers], writers)
    assert told.accuracy.mean == 1.0


def test_probe_knows_nothing_of_the_patient_that_it_is_asked_about():
    """Every patient's texts name it and their writer in one word of their own: told at once by whoever has
    seen the patient's other texts, by nobody else."""
    patients = [f"p{n}" for n in range(12) for _ in range(4)]
    writers = ["a", "b"] * 24
    texts = [f"{patient}x{writer}" for patient, writer in zip(patients, writers, strict=True)]
    assert ask(texts, writers, patients).accuracy.mean == 0.5


def test_probe_balances_writers():
    """Seven in eight texts are b's: always b is still 1/2."""
    patients = [f"p{n}" for n in range(8) for _ in range(8)]
    writers = (["a"] + ["b"] * 7) * 8
    told = ask(["same"] * 64, writers, patients)
    assert (told.accuracy.mean, told.n) == (0.5, 64)


def test_probe_of_one_writer_or_one_patient_says_nothing():
    for told in (ask(["x"] * 24, ["a"] * 24), ask(["x", "y"], ["a", "b"], ["p", "p"]), ask([], [], [])):
        assert math.isnan(told.accuracy.mean)
        assert told.plain()["accuracy"] == {"mean": None, "low": None, "high": None}


def test_auroc_by_hand():
    """3 and 1 against 2 and 1: of the four pairs 3 > 2, 3 > 1, 1 < 2, and one tie: 2.5 / 4."""
    scores, positive = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    shared = resample(["p", "q", "p", "q"], rng=np.random.default_rng(0), draws=300)
    found = _auroc(scores, positive, shared)
    assert found.mean == 0.625
    # draws: only p 3 > 2: 1; only q, a tie: 1/2
    assert (found.low, found.high) == (0.5, 1.0)
