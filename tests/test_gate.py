"""Support and gate: claims against beliefs made by hand, expectations counted by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.consensus_dependence import below
from driftbound.consensus.gate import best, judged, kind_of, reason_to_reject, verdict
from driftbound.consensus.support import lacking, support_of
from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.domains.phantom.language import mentions_sources
from driftbound.records import Belief

FINDINGS = ("Edema", "Pleural Effusion", "Pneumonia", "Fracture", "No Finding")


class Field:
    """Phantoms' words, and no more."""

    findings = FINDINGS
    claims = staticmethod(claims)
    is_refusal = staticmethod(is_refusal)
    mentions_sources = staticmethod(mentions_sources)


def belief(decided="", votes=None, **values) -> Belief:
    return Belief(values=values, decided=decided, votes=votes or {}, wrong={})


BELIEFS = {
    ("Edema", "presence"): belief("present", {"a": "present", "b": "present"}, present=0.9, absent=0.1),
    ("Pleural Effusion", "presence"): belief("", {"a": "present", "b": "absent"}, present=0.6, absent=0.4),
    ("Pleural Effusion", "side"): belief("left", {"a": "left"}, left=0.8, right=0.15, both=0.05),
    ("Pneumonia", "presence"): belief("", {"a": "present", "b": "absent", "c": "absent"}),  # nothing learnt
    ("Fracture", "presence"): belief("", {"a": "omitted", "b": "omitted"}),
}


def of(text, beliefs=BELIEFS):
    return support_of(claims(text), beliefs)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Edema: present.", 0.9),
        ("Edema: absent.", 0.0),  # contradicted: 0, not 0.1
        ("Pneumonia: absent.", (2 / 3 + 0) / 2),  # its share of the votes; edema left out
        ("Edema: present. Pneumonia: present.", (0.9 + 1 / 3) / 2),
        ("Edema: present. Pleural Effusion: left.", (0.9 + 0.6 + 0.8) / 3),
        ("Edema: present. Pleural Effusion: right.", (0.9 + 0.6 + 0) / 3),  # left is decided
        ("Edema: present. Pleural Effusion: present.", (0.9 + 0.6 + 0) / 3),  # its side left out
        ("Edema: present. Pleural Effusion: absent.", (0.9 + 0.4) / 2),  # then no side is due
        ("Edema: present. Fracture: present.", (0.9 + 0) / 2),  # nobody says so
        ("Edema: present. Fracture: absent.", 0.9),  # as good as silence
        ("Edema: uncertain.", 0.0),  # neither judged nor left out: nothing is supported
        ("Edema: present. Pneumonia: uncertain.", 0.9),
        ("Edema: present. Study: abnormal.", 0.9),  # follows from the rest
        ("Edema: absent. Edema: present.", 0.9),  # the last word counts
        ("Lovely weather.", 0.0),
    ],
)
def test_score_is_the_mean_over_claims_and_omissions(text, score):
    assert of(text).score == pytest.approx(score)


def test_each_claim_is_told_with_its_place():
    text = "Edema: absent. Fracture: present. Pleural Effusion: left."
    found = of(text)
    told = [
        (text[c.start : c.end], c.slot[1], c.value, c.support, c.contradiction, c.invention)
        for c in found.claims
    ]
    assert [each[1:] for each in told] == [
        ("presence", "absent", 0.1, True, True),  # both teachers say present
        ("presence", "present", 0.0, False, True),
        ("presence", "present", 0.6, False, False),
        ("side", "left", 0.8, False, False),
    ]
    assert "Edema" in told[0][0]
    assert "left" in told[3][0]
    assert (found.contradictions, found.inventions, found.omissions) == (1, 2, ())
    assert lacking(found) == ["contradicted is Edema absent", "nobody says Fracture present"]


def test_what_is_left_out_is_named():
    found = of("Pneumonia: present.")
    assert found.omissions == ((("Edema", "presence"), "present"),)
    assert lacking(found) == ["little speaks for Pneumonia present", "left out is Edema present"]


def test_without_any_belief_there_is_nothing_to_judge_by():
    found = of("Edema: present.", {})
    assert math.isnan(found.score)
    assert verdict(judged(Field(), "Edema: present.", {}, ended=True), 1.0) == ""


def test_posterior_of_a_slot_without_explicit_votes_still_counts():
    hedged = {("Edema", "presence"): belief("", {"a": "uncertain"}, present=0.7, absent=0.3)}
    assert of("Edema: present.", hedged).score == pytest.approx(0.7)
    assert of("Edema: present.", hedged).inventions == 1
    assert of("Edema: absent.", hedged).score == pytest.approx(0.3)
    assert of("Edema: absent.", hedged).inventions == 0


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [
        ("Edema: present.", True, ""),
        (" \n", False, "empty"),
        ("Edema: present.", False, "truncated"),
        ("As an AI I cannot interpret medical images.", True, "refusing"),
        ("Reader 2 sees edema.", True, "mentions its sources"),
        ("Lovely weather.", True, "no claim in it"),
    ],
)
def test_form(text, ended, reason):
    assert reason_to_reject(Field(), text, ended=ended) == reason


def candidate(text, **more):
    return judged(Field(), text, BELIEFS, ended=True, **more)


def test_best_supported_of_good_form_wins_and_the_first_of_equals():
    texts = ["Edema: absent.", "Edema: present.", "Reader 1: edema present.", "Edema is present."]
    assert best([candidate(text) for text in texts]) == 1
    assert best([candidate("Reader 1: edema."), candidate(" ")]) == 0


def test_threshold_is_reached_by_equality_and_missed_with_reasons():
    weak = candidate("Pneumonia: absent.")  # 1/3
    assert verdict(weak, 1 / 3 - 1e-9) == ""
    assert verdict(weak, 0.5) == "support 0.33 below 0.50: left out is Edema present"
    half = candidate("Edema: present. Fracture: present.")  # 0.45
    assert verdict(half, half.support.score) == ""
    assert verdict(half, 0.45001) == "support 0.45000 below 0.45001: nobody says Fracture present"
    for score, threshold, told in ((0.29, 0.5, "0.29 below 0.50"), (0.503, 0.504, "0.503 below 0.504")):
        strange = replace(weak, support=replace(weak.support, score=score))
        assert verdict(strange, threshold).startswith(f"support {told}: ")
    assert verdict(candidate("Edema: uncertain."), 0.5) == "support 0.00 below 0.50: no claim to judge"


def test_a_copy_of_a_teacher_is_no_consensus_unless_it_is_rendered():
    originals = {"a": "No fracture.", "b": "Edema:\n present. "}
    copied = candidate("Edema: present.", originals=originals)
    assert verdict(copied, 0.5) == "copies b"
    assert verdict(candidate("Edema: present."), 0.5) == ""
    assert verdict(candidate("Edema is present.", originals=originals), 0.5) == ""


def test_a_text_that_was_not_written_says_why():
    assert candidate("", note="refused").reason == "nothing written: refused"
    assert candidate("", note="").reason == "empty"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("support 0.33 below 0.50: left out is Edema present", "low support"),
        ("copies gpt-5", "copies a teacher"),
        ("nothing written: HTTP 500", "nothing written"),
        ("context does not fit", "context does not fit"),
    ],
)
def test_reasons_are_counted_by_kind(reason, kind):
    assert kind_of(reason) == kind


VALUES = st.sampled_from(["present", "absent", "uncertain"])


@given(
    said=st.dictionaries(st.sampled_from(FINDINGS[:4]), VALUES),
    p=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    decided=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_score_lies_between_0_and_1_and_the_believed_text_has_the_most(said, p, decided):
    """No text of the four findings has more support than the one that says the likelier value of each
    decided slot; leaving out the open ones can only raise a mean of values of at least a half, so the
    comparison is with every text over the same slots."""
    beliefs = {
        (name, "presence"): Belief(
            values={"present": q, "absent": 1 - q},
            decided=("present" if q >= 0.5 else "absent") if sure else "",
            votes={"a": "present", "b": "absent"},
            wrong={},
        )
        for name, q, sure in zip(FINDINGS, p, decided, strict=False)
    }
    text = " ".join(f"{name}: {value}." for name, value in said.items())
    score = of(text, beliefs).score
    assert 0 <= score <= 1
    likelier = {
        name: "present" if beliefs[name, "presence"].values["present"] >= 0.5 else "absent"
        for name, value in said.items()
        if value != "uncertain"
    }
    same = {name: likelier.get(name, value) for name, value in said.items()}
    assert of(" ".join(f"{name}: {value}." for name, value in same.items()), beliefs).score >= score - 1e-12


def test_benchmark_of_dependence_fails_below_the_majority_and_not_at_the_margin():
    def row(likelier, omit):
        return {"likelier minus majority": likelier, "omit minus majority": omit}

    assert below({"one": row(-0.0099, 0.1)}) == []
    assert below({"one": row(-0.02, 0.1), "two": row(0.0, -0.011)}) == [
        "one: likelier is 0.020 below the majority",
        "two: omit is 0.011 below the majority",
    ]


def test_no_side_is_due_where_absence_is_decided():
    beliefs = {
        ("Edema", "presence"): belief("absent", {"a": "absent", "b": "present"}, present=0.1, absent=0.9),
        ("Edema", "side"): belief("left", {"b": "left"}, left=1.0),
    }
    assert of("Edema: present.", beliefs).omissions == ()
    beliefs["Edema", "presence"] = belief("", {"a": "absent", "b": "present"}, present=0.4, absent=0.6)
    assert of("Edema: present.", beliefs).omissions == ((("Edema", "side"), "left"),)
