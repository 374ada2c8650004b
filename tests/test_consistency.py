"""Consistency: contradictions, conclusions, samples and references, all counted by hand."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftbound.evaluation.consistency import (
    Part,
    against,
    between,
    estimates,
    named,
    sampled,
    split_conclusion,
    within,
)
from driftbound.records import Claim, Polarity
from driftbound.statistics.intervals import Resamples, difference, resample

P, A, U = "present", "absent", "uncertain"


def claim(finding, value, at=0, *, attribute=None, echo=False, polarity=None):
    """Presence where the value says it, else a side."""
    attribute = attribute or ("presence" if value in (P, A, U) else "side")
    return Claim(
        finding=finding,
        attribute=attribute,
        value=value,
        polarity=Polarity(polarity or (value if attribute == "presence" else P)),
        start=at,
        end=at + 1,
        step=0,
        echo=echo,
    )


def said(*pairs, at=0):
    """Claims of (finding, value), one after the other."""
    return [claim(finding, value, at + n) for n, (finding, value) in enumerate(pairs)]


def own(parts, name):
    """Each case's own value."""
    part = parts[name]
    return [top / bottom if bottom else None for top, bottom in zip(part.top, part.bottom, strict=True)]


def draws(clusters, n=100):
    return resample(clusters, rng=np.random.default_rng(0), draws=n)


# ---------------------------------------------------------------- what is named


def test_named_are_explicit_values_that_count():
    claims = [
        *said(("Edema", A), ("Edema", P), ("Mass", U), ("Effusion", P), ("Effusion", "left"), ("Rib", A)),
        *said(("Rib", "right")),
        claim("Pneumonia", P, echo=True),
        claim("Effusion", "mild", attribute="severity"),
    ]
    assert named(claims) == {
        ("Edema", "presence"): P,
        ("Effusion", "presence"): P,
        ("Effusion", "side"): "left",
        ("Rib", "presence"): A,
    }
    assert named(claims, {"severity"}) == {("Effusion", "severity"): "mild"}


def test_a_hedged_side_is_not_named():
    claims = [claim("Effusion", P), claim("Effusion", "left", polarity=U)]
    assert named(claims) == {("Effusion", "presence"): P}


# ---------------------------------------------------------------- within an answer


def test_contradictions_by_hand():
    """Of three answers one asserts and denies two findings; the text that does not count contributes
    nothing; a hedge contradicts nothing."""
    claims = [
        said(("Edema", P), ("Mass", A), ("Edema", A), ("Mass", P), ("Rib", P)),
        said(("Edema", P), ("Edema", U)),
        [],
        said(("Edema", P), ("Edema", A)),
    ]
    parts = within(["a", "b", "c", None], claims)
    assert own(parts, "contradicting") == [1, 0, 0, None]
    assert own(parts, "contradictions") == [2, 0, 0, None]
    found = estimates(parts, draws(list("pqrs")))
    assert found["contradicting"].mean == pytest.approx(1 / 3)
    assert found["contradictions"].mean == pytest.approx(2 / 3)


def test_conclusion_against_reasoning_by_hand():
    """The reasoning names Edema present, Effusion present and left, Mass absent; the conclusion Edema
    present, Effusion present and right, Rib present: four slots, three of them reasoned about, two alike."""
    reasoning = said(("Edema", P), ("Effusion", P), ("Effusion", "left"), ("Mass", A))
    conclusion = said(("Edema", P), ("Effusion", P), ("Effusion", "right"), ("Rib", P), at=50)
    parts = within(["x" * 60], [[*reasoning, *conclusion]], lambda text: 50)
    assert own(parts, "concluding") == [1]
    assert own(parts, "conclusion_agreement") == [2 / 3]
    assert own(parts, "conclusion_coverage") == [3 / 4]


def test_the_last_word_before_the_conclusion_counts():
    """Effusion is first seen, then dismissed; the conclusion that has it contradicts the reasoning."""
    claims = [*said(("Effusion", P), ("Effusion", A)), claim("Effusion", P, 50)]
    assert own(within(["x" * 60], [claims], lambda text: 50), "conclusion_agreement") == [0]


def test_a_hedged_conclusion_agrees_with_nothing():
    claims = [claim("Effusion", P), claim("Effusion", U, 50)]
    parts = within(["x" * 60], [claims], lambda text: 50)
    assert own(parts, "conclusion_agreement") == own(parts, "conclusion_coverage") == [None]


def test_an_answer_without_conclusion_says_nothing_of_it():
    parts = within(["Effusion.", None], [said(("Effusion", P)), []])
    assert own(parts, "concluding") == [0, None]
    assert own(parts, "conclusion_agreement") == [None, None]
    found = estimates(parts, draws(["p", "q"]))
    assert math.isnan(found["conclusion_agreement"].mean)


def test_an_answer_that_only_concludes_has_no_reasoning():
    text = "Diagnosis: effusion."
    parts = within([text], [[claim("Effusion", P, text.index("eff"))]])
    assert own(parts, "conclusion_agreement") == [None]
    assert own(parts, "conclusion_coverage") == [0]


def test_the_default_split_reads_the_text():
    text = "No effusion is seen.\n\n**Impression:** effusion."
    claims = [claim("Effusion", A, 3), claim("Effusion", P, text.index("effusion.", 10))]
    assert own(within([text], [claims]), "conclusion_agreement") == [0]


# ---------------------------------------------------------------- where a conclusion begins

CONCLUDED = [
    "## Conclusion\nEdema.",
    "### 4. Final Diagnosis\nEdema.",
    "**Conclusion:** Edema.",
    "**Conclusion**: Edema.",
    "**Summary**\n- Edema.",
    "**Overall Impression** Edema.",
    "5. **Conclusion**\nEdema.",
    "- **Final answer:** edema",
    "> **Summary of findings:** edema",
    "__Impression__\nEdema.",
    "IMPRESSION: Edema.",
    "Impression\nEdema.",
    "Conclusions - edema.",
    "Final diagnosis: edema.",
    "Diagnosis:\nThe disease of this patient is Edema.",
    "Answer: edema",
    "Radiological impression: edema",
    "Conclusion and recommendations:\nEdema.",
    "In conclusion, edema.",
    "In summary: edema.",
    "To summarise, edema.",
    "The final diagnosis is edema.",
    "My impression is edema.",
    "<answer>edema</answer>",
    "</think> Edema.",
    "Conclusion： edema",
    "### Step 5: Final Conclusion\nEdema.",
    "**Step 3 - Summary:** Edema.",
    "IMPRESSION / CONCLUSION: Edema.",
    "**Conclusion.** Edema.",
    "**5. Final Diagnosis: edema**",
]


@pytest.mark.parametrize("tail", CONCLUDED)
def test_a_conclusion_is_found(tail):
    head = "The left base is dark.\nNothing else.\n"
    assert split_conclusion(head + tail) == len(head)


@pytest.mark.parametrize(
    "tail",
    [
        "IMPRESSION: Edema.",
        "**Impression:** Edema.",
        "In conclusion, edema.",
        "The impression is edema.",
        "**Final diagnosis**: edema.",
        "To conclude, edema.",
    ],
)
def test_a_conclusion_is_found_within_a_paragraph(tail):
    head = "FINDINGS: The left base is dark. "
    assert split_conclusion(head + tail) == len(head)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The left base is dark.",
        "No conclusion is possible.",
        "There is an impression on the trachea by the arch.",
        "The arch gives an\nimpression on the trachea.",
        "These signs support the most likely\ndiagnosis of pneumonia\nin this patient.",
        "Differential diagnosis: edema, pneumonia.",
        "**Differential Diagnosis**\n- edema",
        "The answer depends on the view.",
        "- Impression of mild edema",
        "The heart is large. Impression:",
        "## Conclusion\n",
        "The finding in summary form is missing.",
    ],
)
def test_where_nothing_concludes_nothing_is_found(text):
    assert split_conclusion(text) is None


def test_the_last_conclusion_counts_that_says_anything():
    text = "Summary: dark base.\nImpression: effusion.\n## Conclusion\n"
    assert split_conclusion(text) == text.index("Impression")


@given(st.text(alphabet="ab .:\n*#-_1", max_size=40), st.sampled_from(CONCLUDED), st.text(max_size=20))
def test_whatever_is_around_it_a_conclusion_begins_within_the_text(head, middle, tail):
    text = head + "\n" + middle + tail
    at = split_conclusion(text)
    assert at is not None
    assert 0 <= at < len(text)
    assert not text[at].isspace()


@given(st.text(max_size=200))
def test_any_text_is_split_somewhere_or_nowhere(text):
    at = split_conclusion(text)
    assert at is None or 0 <= at < len(text)


@pytest.mark.parametrize(
    "text",
    ["final " * 20000, "* " * 50000, " " * 100000, ". " * 50000 + "impression", "impression of a " * 10000],
)
def test_a_hostile_text_takes_no_time(text):
    started = time.process_time()
    split_conclusion(text)
    assert time.process_time() - started < 2


# ---------------------------------------------------------------- between samples


def test_samples_by_hand():
    """Three answers: 1 has Edema present and Mass absent, 2 Edema absent, 3 Edema present, Mass absent, Rib
    present. Pairs: 1-2 share Edema, unlike, of 2 named; 1-3 share both, alike, of 3; 2-3 share Edema,
    unlike, of 3. Agreement (0 + 1 + 0) / 3, coverage (1/2 + 2/3 + 1/3) / 3 = 1/2."""
    case = [
        said(("Edema", P), ("Mass", A)),
        said(("Edema", A)),
        said(("Edema", P), ("Mass", A), ("Rib", P)),
    ]
    parts = between([case])
    assert own(parts, "sample_agreement") == pytest.approx([1 / 3])
    assert own(parts, "sample_coverage") == pytest.approx([1 / 2])


def test_sides_do_not_count_between_samples():
    case = [said(("Effusion", P), ("Effusion", side)) for side in ("left", "right")]
    parts = between([case])
    assert own(parts, "sample_agreement") == own(parts, "sample_coverage") == [1]


def test_a_refusal_lowers_the_coverage_and_agrees_with_nothing():
    """Pairs of an answer and a refusal share none of one; the pair of two answers shares all."""
    edema = said(("Edema", P))
    parts = between([[edema, [], edema], [[], []], [edema], [edema, []]])
    assert own(parts, "sample_agreement") == [1, None, None, None]
    assert own(parts, "sample_coverage") == [pytest.approx(1 / 3), None, None, 0]


STANCE = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from([P, A, U]))


@given(st.lists(STANCE, max_size=5))
def test_samples_agree_whatever_their_order_and_fully_with_themselves(answers):
    case = [said(*answer.items()) for answer in answers]
    forth, back = between([case]), between([case[::-1]])
    for name in forth:
        assert own(forth, name) == pytest.approx(own(back, name))
    for answer in case:
        assert own(between([[answer, answer]]), "sample_agreement") in ([1], [None])


# ---------------------------------------------------------------- against a reference


def test_against_a_reference_by_hand():
    """The answer claims Edema present, Effusion present and left, Mass absent, Rib present: five claims.
    The reference claims Edema present, Effusion present and right, Mass absent, Nodule absent: five too.
    Three are in both. Of what is present four and three, two in both. Four slots are shared, one unlike."""
    answer = said(("Edema", P), ("Effusion", P), ("Effusion", "left"), ("Mass", A), ("Rib", P))
    reference = said(("Edema", P), ("Effusion", P), ("Effusion", "right"), ("Mass", A), ("Nodule", A))
    parts = against([answer], [reference])
    assert own(parts, "claim_precision") == [3 / 5]
    assert own(parts, "claim_recall") == [3 / 5]
    assert own(parts, "claim_f1") == [3 / 5]
    assert own(parts, "present_precision") == [2 / 4]
    assert own(parts, "present_recall") == [2 / 3]
    assert own(parts, "present_f1") == [4 / 7]
    assert own(parts, "claim_conflict") == [1 / 4]


def test_the_opposite_is_no_hit():
    parts = against([said(("Effusion", P))], [said(("Effusion", A))])
    assert own(parts, "claim_f1") == [0]
    assert own(parts, "claim_conflict") == [1]
    assert own(parts, "present_recall") == [None]


def test_what_the_reference_leaves_open_is_neither_right_nor_wrong():
    answer = said(("Mass", P), ("Mass", "left"), ("Edema", P))
    parts = against([answer], [said(("Mass", U), ("Edema", P))])
    assert own(parts, "claim_precision") == own(parts, "claim_recall") == [1]


def test_what_the_answer_hedges_is_missed_but_not_wrong():
    parts = against([said(("Mass", U))], [said(("Mass", P))])
    assert own(parts, "claim_precision") == [None]
    assert own(parts, "claim_recall") == [0]


def test_attributes_are_the_caller_s():
    answer = [claim("grade", "B", attribute="value")]
    reference = [claim("grade", "A", attribute="value")]
    assert own(against([answer], [reference]), "claim_f1") == [None]
    parts = against([answer], [reference], attributes=frozenset({"value"}))
    assert own(parts, "claim_f1") == [0]


@given(STANCE, STANCE)
def test_precision_is_the_other_way_round_recall(one, other):
    """Where nothing is left open."""
    mine, theirs = (said(*((f, v) for f, v in each.items() if v != U)) for each in (one, other))
    forth, back = against([mine], [theirs]), against([theirs], [mine])
    assert own(forth, "claim_precision") == own(back, "claim_recall")
    assert own(forth, "claim_f1") == own(back, "claim_f1")
    assert own(against([mine], [mine]), "claim_f1") in ([1], [None])


# ---------------------------------------------------------------- patients


def test_claims_are_summed_over_cases_and_patients_resampled():
    """p: 1 of 1 right; q: 0 of 3. All 1/4; drawn p, p: 1; q, q: 0; both 1/4."""
    answers = [said(("A", P)), said(("A", P), ("B", P), ("C", P))]
    parts = against(answers, [said(("A", P)), said(("A", A), ("B", A), ("C", A))])
    both = Resamples(np.array([0, 1]), np.array([[2.0, 0], [0, 2], [1, 1]]), 2)
    found = sampled(parts, both)["claim_precision"]
    assert found.point.tolist() == [0.25]
    assert found.drawn[:, 0].tolist() == [1, 0, 0.25]
    told = estimates(parts, draws(["p", "q"]))["claim_precision"]
    assert (told.mean, told.low, told.high) == (0.25, 0, 1)


def test_parts_of_several_functions_go_into_one_table():
    claims = [said(("A", P)), said(("A", A))]
    parts = {
        **within(["x", "y"], claims),
        **between([[one, one] for one in claims]),
        **against(claims, claims),
    }
    found = estimates(parts, draws(["p", "q"]))
    assert set(found) == set(parts)
    assert len(found) == 14
    assert found["sample_agreement"].mean == found["claim_f1"].mean == 1


def test_two_writers_are_compared_in_pairs():
    resamples = draws(list("pqrs"))
    parts = against([said(("A", P))] * 4, [said(("A", P))] * 2 + [said(("A", A))] * 2)
    one, other = (sampled(parts, resamples)["claim_f1"] for _ in range(2))
    assert difference(one, other).high == 0


def test_no_answers_no_numbers():
    for parts in (within([], []), between([]), against([], [])):
        assert all(isinstance(part, Part) and len(part.top) == 0 for part in parts.values())
        assert all(math.isnan(one.mean) for one in estimates(parts, draws([])).values())


def test_numbers_of_answers_must_fit():
    with pytest.raises(ValueError, match="zip"):
        within(["a"], [])
    with pytest.raises(ValueError, match="zip"):
        against([[]], [])
