"""Votes, agreement and the measure stage: hand-counted panels and drift that was planted."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.domains.phantom.claims import claims as phantom_claims
from driftbound.domains.phantom.findings import FINDINGS, SIDED
from driftbound.measure.agreement import STATUSES, agreement_with_others, alpha, slot_status
from driftbound.measure.votes import EXPLICIT, VALUES, Votes, cast, counted, majority, read, slots_of, stances
from driftbound.records import Case, Claim, Polarity, Status, Trajectory
from driftbound.stages import measure
from driftbound.stages.context import Context
from driftbound.statistics.intervals import resample
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_claims, read_rows, write_cases


def claim(finding, value, step=0, attribute="presence", echo=False):
    polarity = Polarity(value) if attribute == "presence" else Polarity.PRESENT
    return Claim(
        finding=finding,
        attribute=attribute,
        value=value,
        polarity=polarity,
        start=0,
        end=1,
        step=step,
        echo=echo,
    )


def panel(*cases, parts=None, slots=None):
    """Votes from rows of words, one list of lists per case: teachers x slots; ``-`` is no vote."""
    codes = [[[-1 if v == "-" else VALUES.index(v) for v in row] for row in case] for case in cases]
    codes = np.array(codes, dtype=np.int8)
    n, T, A = codes.shape
    return Votes(
        case_ids=tuple(f"c{i}" for i in range(n)),
        teachers=tuple(f"t{i}" for i in range(T)),
        slots=tuple(slots or [(f"F{i}", "presence") for i in range(A)]),
        codes=codes,
        parts=np.zeros(codes.shape, np.int8) if parts is None else np.array(parts, np.int8),
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
    found = slot_status(panel([[value] for value in said]), decisive=0.75)
    assert STATUSES[found.status[0, 0]] == status
    assert (EXPLICIT[found.leading[0, 0]] if found.leading[0, 0] >= 0 else "") == leading


def test_leave_one_out_by_hand():
    """Case 0 (patient a): slot 0 P P A, slot 1 A A A; case 1 (patient b): slot 0 P A -, slot 1 P U O.

    t0: case 0 (1/2 + 2/2) / 2 = 3/4; case 1 slot 0: 0/1, slot 1: nobody else explicit. (3/4 + 0) / 2 = 3/8.
    t1: case 0 3/4; case 1 slot 0: 0. 3/8.   t2: case 0 (0 + 1) / 2 = 1/2; case 1: no vote. 1/2.
    Draws of two patients for t0: aa 3/4, ab 3/8, bb 0.
    """
    votes = panel([[P, A], [P, A], [A, A]], [[P, P], [A, U], ["-", NIL]])
    found = agreement_with_others(votes, resample(["a", "b"], rng=np.random.default_rng(0)), parts=1)
    assert [found[t].overall.mean for t in ("t0", "t1", "t2")] == [0.375, 0.375, 0.5]
    assert (found["t0"].overall.low, found["t0"].overall.high) == (0.0, 0.75)
    assert [found[t].claims for t in ("t0", "t1", "t2")] == [(3,), (3,), (2,)]


def test_agreement_by_part_by_hand():
    """t0 says slot 0 in part 0 (one of two agrees), slot 1 in part 1 (both agree)."""
    votes = panel([[P, A], [P, A], [A, A]], parts=[[[0, 1], [1, 0], [0, 0]]])
    found = agreement_with_others(votes, resample(["a"], rng=np.random.default_rng(0)), parts=2)
    assert [part.mean for part in found["t0"].by_part] == [0.5, 1.0]
    assert [part.mean for part in found["t1"].by_part] == [1.0, 0.5]
    assert found["t2"].by_part[0].mean == 0.5
    assert np.isnan(found["t2"].by_part[1].mean)
    assert found["t2"].claims == (2, 0)


def test_alpha_of_a_slot_leaves_hedges_out():
    """Cases P P and A A with a hedge: full agreement among explicit votes."""
    votes = panel([[P], [P], [U]], [[A], [A], [NIL]])
    assert alpha(votes, 0) == 1.0


def test_relative_position_decides_the_part():
    """Ten steps in five parts: step 0 -> 0, 1 -> 0, 4 -> 2, 9 -> 4; a hedge has no part."""
    names = ["F0", "F1", "F4", "F9", "F5"]
    said = [claim(n, "uncertain" if n == "F5" else "present", step=int(n[1])) for n in names]
    trajectory = Trajectory(case_id="c", teacher="t", status=Status.OK, text="x")
    votes = cast(["c"], ["t"], slots_of(names, frozenset()), {("c", "t"): read(trajectory, said)}, parts=5)
    assert votes.parts[0, 0].tolist() == [0, 0, 2, 4, -1]


@pytest.mark.parametrize(
    ("status", "expected"), [("refused", "refused"), ("empty", None), ("failed", None), ("truncated", NIL)]
)
def test_what_an_answer_without_claims_votes(status, expected):
    trajectory = Trajectory(case_id="c", teacher="t", status=Status(status))
    votes = cast(["c"], ["t"], [("F", "presence")], {("c", "t"): read(trajectory, [])}, parts=2)
    code = int(votes.codes[0, 0, 0])
    assert (None if code < 0 else VALUES[code]) == expected


def test_drift_is_found_in_the_teacher_and_parts_where_it_was_planted():
    """Five teachers err on 10 % of 12 findings; t0 on 40 % from part 3 of 5. Everybody's order is random.

    Two independent votes agree with chance 0.9 * 0.9 + 0.1 * 0.1 = 0.82, or, when one errs on 40 %,
    0.6 * 0.9 + 0.4 * 0.1 = 0.58.
    """
    rng = np.random.default_rng(7)
    n, T, A, parts = 300, 5, 12, 5
    place = np.argsort(rng.random((n, T, A)), axis=2) * parts // A
    truth = rng.integers(2, size=(n, 1, A))
    chance = np.full((n, T, A), 0.1)
    chance[:, 0][place[:, 0] >= 3] = 0.4
    codes = np.where(rng.random((n, T, A)) < chance, 1 - truth, truth)
    votes = Votes(
        case_ids=tuple(map(str, range(n))),
        teachers=tuple(f"t{t}" for t in range(T)),
        slots=tuple((f"F{a}", "presence") for a in range(A)),
        codes=codes.astype(np.int8),
        parts=place.astype(np.int8),
    )
    patients = [str(c // 2) for c in range(n)]
    found = agreement_with_others(votes, resample(patients, rng=np.random.default_rng(8)), parts=parts)
    drifting = found["t0"].by_part
    assert [part.mean for part in drifting] == pytest.approx([0.82, 0.82, 0.82, 0.58, 0.58], abs=0.03)
    assert max(part.high for part in drifting[3:]) < min(part.low for part in drifting[:3])
    for name in ("t1", "t2", "t3", "t4"):
        steady = found[name].by_part
        assert max(part.low for part in steady) < min(part.high for part in steady)


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
    assert summary["claims"] == {"agreed": 2, "conflicting": 2, "undecided": presence + 1 - 4}
    assert summary["splits"] == ["train"]
    one = summary["teachers"]["one"]
    assert one["agreement_with_others"]["mean"] == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-6)
    assert summary["teachers"]["three"]["agreement_with_others"]["mean"] == 0.5
    assert summary["teachers"]["three"]["answers"] == {"ok": 1, "refused": 1}
    assert one["versions"] == {"one-v1": 2}
    assert one["words_mean"] == 5.0  # 7 and 3 words
    # "one" in c0: two steps: effusion and its side in part 0, edema in part floor(5 * 1 / 2) = 2; in c1
    # its only step is part 0: mean of case means (1/2 and 1/2) there.
    assert [part["mean"] for part in one["by_step"]] == [0.5, None, 1.0, None, None]
    assert [part["n"] for part in one["by_step"]] == [3, 0, 1, 0, 0]
    effusion = summary["per_finding"]["Pleural Effusion"]
    assert (effusion["agreed"], effusion["undecided"]) == (0.5, 0.5)
    assert effusion["side"]["conflicting"] == 1.0
    assert facts["answers"] == 8

    rows = read_rows(folder / "cases.parquet")
    by_slot = {(r["case_id"], r["finding"], r["attribute"]): r for r in rows}
    side = by_slot["c0", "Pleural Effusion", "side"]
    assert json.loads(side["votes"]) == {"one": "left", "two": "right", "three": "refused"}
    assert (side["status"], side["leading"]) == ("conflicting", "")
    held_out = by_slot["c2", "Edema", "presence"]
    assert json.loads(held_out["votes"]) == {"one": "present"}  # "two" failed, "three" was not asked
    assert {row.case_id for row in read_claims(run.folder.claims)} == {"c0", "c1", "c2"}


def test_stage_gives_the_same_bytes_again(run):
    measure.run(run)
    names = ("summary.json", "cases.parquet", "claims.parquet")
    first = [(run.folder.stage("measure") / name).read_bytes() for name in names]
    measure.run(run)
    assert first == [(run.folder.stage("measure") / name).read_bytes() for name in names]


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
    rows = read_rows(run.folder.stage("measure") / "cases.parquet")
    said = {v for r in rows if r["finding"] == "Pleural Effusion" for v in json.loads(r["votes"]).values()}
    assert said == {"omitted", "refused"}
    assert any(row.claim.finding == "Pleural Effusion" for row in read_claims(run.folder.claims))


def test_inputs_follow_the_streams(run):
    before = measure.inputs(run)
    with Streams(run.folder.streams) as streams:
        streams.put(Trajectory(case_id="c2", teacher="three", status=Status.OK, text="No edema."))
    after = measure.inputs(run)
    assert before["cases"] == after["cases"]
    assert before["streams"] != after["streams"]
