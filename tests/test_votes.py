"""Votes and agreement: hand-counted panels."""

import numpy as np
import pytest
from panels import panel

from driftbound.domains.phantom.claims import claims as phantom_claims
from driftbound.measure.agreement import STATUSES, by_case, by_pair, by_slot, by_step, by_teacher, slot_status
from driftbound.measure.votes import cast, read, values_of
from driftbound.records import Claim, ClaimStatus, Polarity, Status, Trajectory
from driftbound.stances import counted, majority, slots_of, stances
from driftbound.statistics.intervals import resample


def claim(finding, value, step=0, attribute="presence", echo=False, start=0, polarity=None):
    polarity = polarity or (Polarity(value) if attribute == "presence" else Polarity.PRESENT)
    return Claim(
        finding=finding,
        attribute=attribute,
        value=value,
        polarity=polarity,
        start=start,
        end=start + 1,
        step=step,
        echo=echo,
    )


def test_last_claim_counts_and_takes_its_side_along():
    text = "Pleural effusion on the left. Possible edema. Consolidation on the right. No pleural effusion."
    said = stances(phantom_claims(text), ("Pleural Effusion", "Edema", "Consolidation", "Pneumonia"))
    assert said == {
        "Pleural Effusion": "absent",
        "Edema": "uncertain",
        "Consolidation": "right",
        "Pneumonia": "omitted",
    }


def test_echo_of_the_prompt_claims_nothing():
    assert counted([claim("Edema", "present", echo=True)]) == {}


P, A, L, R, B, U, NIL = "present", "absent", "left", "right", "both", "uncertain", "omitted"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([P, P, A], P),  # 2 of 3
        ([P, P, A, A], A),  # a half is no majority
        ([P, P, U, NIL], A),  # hedges and omissions do not assert
        ([L, L, R, A], L),
        ([L, R, A], L),  # tie of left and right
        ([L, R, B, A], B),  # tie of all three
        ([P, R, P, A], R),  # the only side named
        ([P, L, B, B, A], B),
    ],
    ids=str,
)
def test_majority_of_one_finding(said, expected):
    assert majority([{"X": value} for value in said], ["X"]) == {"X": expected}


@pytest.mark.parametrize(
    ("edema", "devices", "expected"), [(A, A, P), (A, P, P), (P, A, A), (P, P, A)], ids=str
)
def test_majority_is_normal_exactly_when_nothing_else_is_present(edema, devices, expected):
    """Whatever the answers themselves say of No Finding (here: always the opposite)."""
    findings = ("No Finding", "Edema", "Support Devices")
    contrary = A if expected == P else P
    answer = {"No Finding": contrary, "Edema": edema, "Support Devices": devices}
    assert majority([answer] * 3, findings)["No Finding"] == expected


def test_no_answers_no_majority():
    assert majority([], ["Edema"]) == {}


@pytest.mark.parametrize(
    ("said", "status", "leading"),
    [
        ([P, P, P, A], "agreed", P),  # 3 of 4 is 0.75
        ([P, P, A], "conflicting", P),  # 2 of 3
        ([P, A], "conflicting", ""),
        ([P, U, NIL], "undecided", P),  # one explicit vote
        ([P, P, U, U, U], "agreed", P),  # hedges are not explicit
        ([U, NIL, "refused"], "undecided", ""),
        ([A, A, "-", "-"], "agreed", A),
        ([L, B, L], "conflicting", L),  # both is another side than left
        ([L, L, L, L, R], "agreed", L),
    ],
    ids=str,
)
def test_status_of_one_slot(said, status, leading):
    votes = panel([[value] for value in said])
    found = slot_status(votes, decisive=0.75)
    assert STATUSES[found.status[0, 0]] == status
    assert (votes.values[0][found.leading[0, 0]] if found.leading[0, 0] >= 0 else "") == leading


def test_leave_one_out_by_hand():
    """Case 0 (patient a): slot 0 P P A, slot 1 A A A; case 1 (patient b): slot 0 P A -, slot 1 P U O.

    t0: case 0 (1/2 + 2/2) / 2 = 3/4; case 1 slot 0: 0/1, slot 1: nobody else explicit. (3/4 + 0) / 2 = 3/8.
    t1: case 0 3/4; case 1 slot 0: 0. 3/8.   t2: case 0 (0 + 1) / 2 = 1/2; case 1: no vote. 1/2.
    Draws of two patients for t0: aa 3/4, ab 3/8, bb 0.
    """
    votes = panel([[P, A], [P, A], [A, A]], [[P, P], [A, U], ["-", NIL]])
    found = by_teacher(votes, resample(["a", "b"], rng=np.random.default_rng(0)))
    assert [found[t].estimate.mean for t in ("t0", "t1", "t2")] == [0.375, 0.375, 0.5]
    assert (found["t0"].estimate.low, found["t0"].estimate.high) == (0.0, 0.75)
    assert [found[t].n for t in ("t0", "t1", "t2")] == [3, 3, 2]


def test_agreement_by_part_by_hand():
    """t0 says slot 0 in part 0 (one of two agrees), slot 1 in part 1 (both agree)."""
    votes = panel([[P, A], [P, A], [A, A]], parts=[[[0, 1], [1, 0], [0, 0]]])
    found = by_step(votes, resample(["a"], rng=np.random.default_rng(0)), parts=2)
    assert [part.estimate.mean for part in found["t0"]] == [0.5, 1.0]
    assert [part.estimate.mean for part in found["t1"]] == [1.0, 0.5]
    assert found["t2"][0].estimate.mean == 0.5
    assert np.isnan(found["t2"][1].estimate.mean)
    assert [part.n for part in found["t2"]] == [2, 0]


def test_pairs_slots_and_cases_by_hand():
    """Slots of case 0: P P A conflicting (2 of 3), A A A agreed; of case 1: P A - conflicting, P U O
    undecided.

    t0 and t1 both explicit: slots 0, 1 of case 0 (equal twice), slot 0 of case 1 (not equal): 2/3. t0 and t2:
    case 0 alone: 1/2.
    """
    votes = panel([[P, A], [P, A], [A, A]], [[P, P], [A, U], ["-", NIL]])
    resamples = resample(["a", "b"], rng=np.random.default_rng(0))
    pairs = by_pair(votes, resamples)
    assert pairs["t0", "t1"].estimate.mean == pytest.approx(2 / 3)
    assert (pairs["t0", "t2"].estimate.mean, pairs["t0", "t2"].n) == (0.5, 2)
    found = slot_status(votes, decisive=0.75)
    slots = by_slot(votes, found, resamples)
    assert slots[0][ClaimStatus.CONFLICTING].estimate.mean == 1.0
    assert slots[1][ClaimStatus.AGREED].estimate.mean == slots[1][ClaimStatus.UNDECIDED].estimate.mean == 0.5
    assert by_case(votes, found).tolist() == [0.5, 0.5]


def test_a_side_is_a_slot_only_where_somebody_names_one():
    votes = panel([[L], [R]], [[NIL], [NIL]], slots=[("F", "side")])
    slots = by_slot(
        votes, slot_status(votes, decisive=0.75), resample(["a", "b"], rng=np.random.default_rng(0))
    )
    assert (slots[0][ClaimStatus.CONFLICTING].estimate.mean, slots[0][ClaimStatus.CONFLICTING].n) == (1.0, 1)


def reading(said, **more):
    return read(Trajectory(case_id="c", teacher="t", status=Status.OK, text="x"), said, **more)


def one_reading(found, parts):
    return cast(["c"], ["t"], values_of((), [found]), {("c", "t"): found}, parts=parts)


def test_the_order_of_the_claims_decides_the_part():
    """Four claims in order of the text, two parts: 0, 0, 1, 1; the side stands where its finding stands. A
    hedge takes a place and has no part. How many sentences they are does not matter."""
    said = [
        claim("A", "present", step=0, start=0),
        claim("A", "left", step=0, start=4, attribute="side"),
        claim("B", "absent", step=0, start=9),
        claim("C", "uncertain", step=0, start=12),
        claim("D", "absent", step=7, start=20),
    ]
    votes = one_reading(reading(said), parts=2)
    parts = dict(zip(votes.slots, votes.parts[0, 0].tolist(), strict=True))
    presence = {name: parts[name, "presence"] for name in "ABCD"}
    assert presence == {"A": 0, "B": 0, "C": -1, "D": 1}
    assert parts["A", "side"] == 0


def test_steps_that_are_given_decide_the_part():
    """Step 3 of 4 lies in part floor(2 * 3 / 4) = 1, step 1 in part 0."""
    said = [claim("A", "present", step=1, start=0), claim("B", "present", step=3, start=1)]
    assert one_reading(reading(said, n_steps=4), parts=2).parts[0, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("status", "expected"), [("refused", "refused"), ("empty", ""), ("failed", ""), ("truncated", NIL)]
)
def test_what_an_answer_without_claims_votes(status, expected):
    found = read(Trajectory(case_id="c", teacher="t", status=Status(status)), [])
    votes = cast(["c"], ["t"], values_of([("F", "presence")], []), {("c", "t"): found}, parts=2)
    assert votes.word(0, int(votes.codes[0, 0, 0])) == expected


def test_values_are_those_that_are_named_anywhere():
    """A choice nobody makes is no value; a hedge and a denied choice name none; slots of the texts come
    last."""
    said = [
        claim("answer", "C", attribute="value"),
        claim("answer", "B", attribute="value", polarity=Polarity.ABSENT),
    ]
    other = [
        claim("answer", "A", attribute="value"),
        claim("plan", "wait", attribute="value", polarity=Polarity.UNCERTAIN),
    ]
    found = values_of(slots_of(["Edema"], frozenset()), [reading(said), reading(other)])
    assert found == {
        ("Edema", "presence"): ("absent", "present"),
        ("answer", "value"): ("A", "C"),
        ("plan", "value"): (),
    }


def test_a_choice_has_no_presence_beside_it():
    said = [claim("answer", "B", attribute="value")]
    slots = slots_of(["answer", "Edema"], frozenset())
    assert list(values_of(slots, [reading(said)])) == [("Edema", "presence"), ("answer", "value")]
