"""Constraints: what each stretch and each token of a teacher's text weighs, against expectations by hand."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ones import ones
from transformers import AutoTokenizer

from driftbound.consensus import constraints
from driftbound.consensus.constraints import group_of, standings, trajectory_weights
from driftbound.consensus_config import ConstraintsConfig
from driftbound.domains.phantom.claims import claims
from driftbound.learning.collator import token_weights
from driftbound.phantom_base import PHANTOM_BASE, resolve_base
from driftbound.records import Belief, Case, Claim, Polarity, Standing, Status, Trajectory

CASE = Case(case_id="c1", cluster="p1", split="train", prompt="", images=("c1.png",))
CONSENSUS = "Edema: absent. Pleural effusion: left. Rib fracture: absent."
FIVE = ones(conflicting=1.5, agreed=0.0, undecided=0.5, silent=0.25, end=0.125)
A, C, U, S = Standing.AGREED, Standing.CONFLICTING, Standing.UNDECIDED, Standing.SILENT
VALUES = {C: 1.5, A: 0.0, U: 0.5, S: 0.25}


def answer(text, teacher="ada", status=Status.OK):
    return Trajectory(case_id="c1", teacher=teacher, status=status, text=text)


def group(texts, config=FIVE, *, consensus=CONSENSUS, read=claims, beliefs=None, teachers=None):
    given = {name: each if isinstance(each, Trajectory) else answer(each) for name, each in texts.items()}
    names = list(given) if teachers is None else teachers
    return group_of(CASE, consensus, 0.75, given, names, read, beliefs or {}, config)


def believed(wrong=None, values=None):
    return Belief(values=values or {}, decided="", votes={}, wrong=wrong or {})


def claim(finding, value, start=0, end=1, attribute="presence", polarity=None, **other):
    polarity = polarity or (Polarity(value) if attribute == "presence" else Polarity.PRESENT)
    place = {"start": start, "end": end, "step": 0}
    return Claim(finding=finding, attribute=attribute, value=value, polarity=polarity, **place | other)


# ---- standings ----------------------------------------------------------------------------------

SIDED = [claim("Effusion", "present"), claim("Effusion", "left", attribute="side")]
PLAIN, ABSENT = [claim("Effusion", "present")], [claim("Effusion", "absent")]
HEDGED = [claim("Effusion", "uncertain")]
KIND = [claim("Kind", "B", attribute="value")]


@pytest.mark.parametrize(
    ("own", "consensus", "expected"),
    [
        (claim("Effusion", "present"), SIDED, A),
        (claim("Effusion", "absent"), SIDED, C),
        (claim("Effusion", "present"), ABSENT, C),
        (claim("Effusion", "absent"), ABSENT, A),
        (claim("Effusion", "uncertain"), SIDED, U),
        (claim("Effusion", "present"), HEDGED, U),
        (claim("Effusion", "absent"), HEDGED, U),
        (claim("Effusion", "present"), [], U),
        (claim("Effusion", "left", attribute="side"), SIDED, A),
        (claim("Effusion", "right", attribute="side"), SIDED, C),
        (claim("Effusion", "both", attribute="side"), SIDED, C),
        (claim("Effusion", "left", attribute="side"), ABSENT, C),
        (claim("Effusion", "left", attribute="side"), PLAIN, U),
        (claim("Effusion", "left", attribute="side"), HEDGED, U),
        (claim("Effusion", "left", attribute="side"), [], U),
        (claim("Effusion", "left", attribute="side", polarity=Polarity.ABSENT), SIDED, C),
        (claim("Effusion", "left", attribute="side", polarity=Polarity.ABSENT), ABSENT, A),
        (claim("Effusion", "upper", attribute="zone"), SIDED, U),
        (claim("Kind", "B", attribute="value"), KIND, A),
        (claim("Kind", "A", attribute="value"), KIND, C),
        (claim("Kind", "B", attribute="value", polarity=Polarity.ABSENT), KIND, C),
        (claim("Kind", "A", attribute="value", polarity=Polarity.ABSENT), KIND, A),
        (claim("Kind", "A", attribute="value", polarity=Polarity.UNCERTAIN), KIND, U),
        (claim("Effusion", "present", echo=True), SIDED, S),
    ],
)
def test_a_claim_stands_to_the_consensus(own, consensus, expected):
    assert standings([own], consensus, 1) == [(0, 1, expected)]


def test_where_claims_share_a_stretch_the_gravest_standing_holds():
    """Agreed 0..9, undecided 2..6, conflicting 4..5; given in any order."""
    said = [claim("Edema", "present"), claim("Fracture", "absent")]
    own = [
        claim("Fracture", "present", 4, 5),
        claim("Edema", "present", 0, 9),
        claim("Nodule", "absent", 2, 6),
    ]
    expected = [(0, 2, A), (2, 4, U), (4, 5, C), (5, 6, U), (6, 9, A), (9, 10, S)]
    assert standings(own, said, 10) == standings(own[::-1], said, 10) == expected


def test_an_overruled_claim_stands_by_its_own_value():
    """The teacher takes its edema back; the consensus's last word counts, its first does not."""
    text = "Edema is present. No edema."
    assert standings(claims(text), claims("No edema."), len(text)) == [(0, 17, C), (17, 27, A)]
    assert standings(claims("No edema."), claims("Edema is present. No edema."), 9) == [(0, 9, A)]


def test_what_the_votes_leave_open_is_no_ground_to_hold_a_teacher_against():
    """The consensus says the likelier value; edema alone is decided. Nothing learnt: the text decides."""
    text = "There is edema. There is rib fracture."
    open_ended = Belief(values={"present": 0.4, "absent": 0.6}, decided="", votes={}, wrong={})
    decided = Belief(values={"present": 0.1, "absent": 0.9}, decided="absent", votes={}, wrong={})
    beliefs = {("Edema", "presence"): decided, ("Fracture", "presence"): open_ended}
    (negative,) = group({"ada": text}, beliefs=beliefs).negatives
    assert negative.spans == ((0, 15, 1.5), (15, 16, 0.25), (16, 38, 0.5))
    (negative,) = group({"ada": text}).negatives
    assert negative.spans == ((0, 15, 1.5), (15, 16, 0.25), (16, 38, 1.5))


# ---- from texts to tokens -----------------------------------------------------------------------

TEACHERS_SAY = {
    "gpt-5": (
        ("There is edema.", C),
        (" Pleural effusion on the", A),
        (" right", C),
        (".", A),
        (" No rib fracture.", A),
        (" Clinical correlation is advised.", S),
    ),
    "gemini-2.5": (
        ("Findings:\n", S),
        ("- Edema: uncertain", U),
        ("\n", S),
        ("- Pleural Effusion: present, left", A),
        ("\n", S),
        ("- Rib Fracture: present", C),
    ),
    "sonnet-4": (
        ("## Reading\n", S),
        ("**Edema** is not seen.", A),
        ("\n", S),
        ("**Pleural effusion** is seen.", A),
        ("\n", S),
        ("**Consolidation** is seen.", U),
        ("\n## End of reading", S),
    ),
    "qwen-vl-max": (
        ("The image shows:\n1.", S),
        (" bilateral", C),
        (" pleural effusion", A),
        ("\n2.", S),
        (" questionable rib fracture", U),
    ),
    "moonshot-v1": (
        ("Summary: pulmonary edema yes;", C),
        (" effusion no;", C),
        (" pneumonia unclear;", U),
        (" fracture no;", A),
    ),
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve_base(PHANTOM_BASE))


def tokens_of(tokenizer, text):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [tuple(offset) for offset in encoded["offset_mapping"]]


def by_hand(tokenizer, pieces):
    """Weights of the tokens of pieces that a person has cut and judged."""
    return [VALUES[standing] for piece, standing in pieces for _ in tokens_of(tokenizer, piece)]


@pytest.mark.parametrize("teacher", TEACHERS_SAY)
def test_every_token_of_a_teachers_answer_weighs_what_a_person_says(tokenizer, teacher):
    pieces = TEACHERS_SAY[teacher]
    text = "".join(piece for piece, _ in pieces)
    offsets = tokens_of(tokenizer, text)
    (negative,) = group({teacher: text}).negatives
    found = token_weights(text, offsets, negative.spans)
    assert found == by_hand(tokenizer, pieces)


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("teacher", TEACHERS_SAY)
def test_spans_moved_by_one_token_are_seen(tokenizer, teacher, by):
    """The expectation above is sharp: each span alone, moved by one token, breaks it."""
    pieces = TEACHERS_SAY[teacher]
    text = "".join(piece for piece, _ in pieces)
    offsets = tokens_of(tokenizer, text)
    (negative,) = group({teacher: text}).negatives
    tried = 0
    for n, (start, end, weight) in enumerate(negative.spans):
        inside = [t for t, (_, stop) in enumerate(offsets) if start < stop <= end]
        if not inside or inside[0] + by < 0 or inside[-1] + by >= len(offsets):
            continue  # a space before a word has no token of its own
        moved = (offsets[inside[0] + by][0], offsets[inside[-1] + by][1], weight)
        others = (*negative.spans[:n], *negative.spans[n + 1 :])
        assert token_weights(text, offsets, (*others, moved)) != by_hand(tokenizer, pieces)
        tried += 1
    assert tried > 1


@pytest.mark.parametrize(
    ("text", "offsets", "spans", "expected"),
    [
        # the space before a word belongs to no one; a token of nothing else is its own
        ("a bc", [(0, 1), (1, 4)], [(0, 2, 0.0)], [0.0, 1.0]),
        ("a  b", [(0, 1), (1, 2), (2, 4)], [(1, 2, 0.0)], [1.0, 0.0, 1.0]),
        ("a.\n\nb", [(0, 1), (1, 4), (4, 5)], [(2, 5, 0.0)], [1.0, 1.0, 0.0]),
        # most characters win, also those outside of all spans; of two with as many, the later
        ("abcde", [(0, 5)], [(0, 3, 0.5)], [0.5]),
        ("abcde", [(0, 5)], [(0, 2, 0.5)], [1.0]),
        ("abcd", [(0, 4)], [(0, 2, 0.5)], [1.0]),
        ("abcd", [(0, 4)], [(2, 4, 0.5)], [0.5]),
        ("abcd", [(0, 4)], [(0, 2, 0.5), (2, 4, 2.0)], [2.0]),
        ("abcd", [(0, 4)], [(0, 1, 0.5), (1, 2, 0.5), (2, 3, 2.0)], [0.5]),
        # a character of several tokens weighs in each; a token without characters weighs 1
        ("é!", [(0, 1), (0, 1), (1, 2), (2, 2)], [(0, 1, 0.0)], [0.0, 0.0, 1.0, 1.0]),
        # of overlapping spans the later in the list
        ("ab", [(0, 1), (1, 2)], [(0, 2, 0.5), (1, 2, 0.0)], [0.5, 0.0]),
    ],
)
def test_a_token_takes_the_weight_of_most_of_its_characters(text, offsets, spans, expected):
    assert token_weights(text, offsets, spans) == expected


# ---- groups -------------------------------------------------------------------------------------


def test_all_ones_leave_no_mark():
    """Without spans and with weight 1, whatever the beliefs: the paper's loss."""
    beliefs = {("Edema", "presence"): believed({"ada": 0.9, "bob": 0.1}, {"present": 0.2, "absent": 0.8})}
    made = group({"ada": "Edema is present.", "bob": "No edema."}, ones(), beliefs=beliefs)
    assert (made.spans, made.support) == ((), 0.75)
    assert [(n.weight, n.spans, n.end_weight, n.valid) for n in made.negatives] == [(1.0, (), 1.0, True)] * 2


def test_what_is_no_opinion_or_says_the_same_opposes_nothing():
    """Missing, refused and failed as ever; a text that is the consensus, spaces aside, keeps its status."""
    texts = {
        "same": f"\n{CONSENSUS} ",
        "refusing": answer("As an AI I cannot interpret images.", status=Status.REFUSED),
        "cut": answer("There is ed", status=Status.TRUNCATED),
        "other": "There is edema.",
    }
    made = group(texts, teachers=["missing", "same", "refusing", "cut", "other"])
    assert [(n.teacher, n.status, n.valid) for n in made.negatives] == [
        ("missing", Status.FAILED, False),
        ("same", Status.OK, False),
        ("refusing", Status.REFUSED, False),
        ("cut", Status.TRUNCATED, True),
        ("other", Status.OK, True),
    ]
    assert made.negatives[1].text == texts["same"]
    assert {n.end_weight for n in made.negatives[1:]} == {0.125}
    assert not group({"same": CONSENSUS}).usable


def test_spans_cover_claims_without_the_white_space_around_them():
    text = "  Edema: present.\n\n Fracture: absent. \nBye."
    config = ones(conflicting=2.0, agreed=0.0)
    (negative,) = group({"ada": text}, config).negatives
    assert [(text[a:b], w) for a, b, w in negative.spans] == [
        ("Edema: present.", 2.0),
        ("Fracture: absent.", 0.0),
    ]


WORDS = st.sampled_from(
    [
        "Edema",
        "No",
        "effusion",
        "on the left",
        "right",
        "present",
        "absent",
        ". ",
        ", ",
        "\n",
        " ",
        "possible",
        "é",
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)


@given(text=TEXTS, consensus=TEXTS)
def test_spans_are_sorted_disjoint_within_the_text_and_of_the_five_values(text, consensus):
    (negative,) = group({"ada": text}, consensus=consensus).negatives
    end = 0
    for start, stop, weight in negative.spans:
        assert end <= start < stop <= len(text)
        assert weight in VALUES.values()
        end = stop
    each = standings(claims(text), claims(consensus), len(text))
    assert [start for start, _, _ in each] == [0, *(end for _, end, _ in each)][: len(each)]
    assert sum(end - start for start, end, _ in each) == len(text)


# ---- weights per trajectory ---------------------------------------------------------------------

NAN = math.nan


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        # e = 0.3 (of 0.2 and 0.4), 0.6, 0.9: mean 0.6
        ([{"a": 0.2, "b": 0.6, "c": NAN}, {"a": 0.4, "b": NAN, "c": 0.9}], [0.5, 1.0, 1.5]),
        # c is unknown and weighs 1; a and b have mean 0.4
        ([{"a": 0.2, "b": 0.6, "c": NAN}], [0.5, 1.5, 1.0]),
        ([{"a": 0.7}], [1.0, 1.0, 1.0]),
        ([{"a": 0.0, "b": 0.0}], [1.0, 1.0, 1.0]),
        ([{"a": 0.0, "b": 0.0, "c": 0.01}], [0.0, 0.0, 3.0]),
        ([{"d": 0.5}], [1.0, 1.0, 1.0]),
        ([], [1.0, 1.0, 1.0]),
    ],
)
def test_a_trajectory_weighs_by_the_chance_that_its_claims_are_wrong(wrong, expected):
    beliefs = {(f"F{n}", "presence"): believed(each) for n, each in enumerate(wrong)}
    assert trajectory_weights("abc", beliefs) == pytest.approx(dict(zip("abc", expected, strict=True)))


CHANCE = st.floats(0, 1) | st.just(NAN)


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abcde"), CHANCE), max_size=4),
    order=st.permutations("abcde"),
)
def test_the_mean_weight_is_one_and_the_teachers_order_does_not_matter(rows, order):
    beliefs = {(f"F{n}", "presence"): believed(each) for n, each in enumerate(rows)}
    weights = trajectory_weights(order, beliefs)
    assert math.fsum(weights.values()) / 5 == pytest.approx(1.0)
    assert weights == pytest.approx(trajectory_weights("abcde", beliefs))
    assert all(weight >= 0 for weight in weights.values())


def test_weights_are_over_the_valid_negatives_and_follow_their_teachers():
    """The refusal and the copy of the consensus are not counted: e of 0.2 and 0.6 give 0.5 and 1.5."""
    beliefs = {("Edema", "presence"): believed({"a": 0.2, "b": 0.6, "r": 0.9, "s": 0.9})}
    texts = {
        "a": "No edema.",
        "b": "Edema.",
        "r": answer("I cannot read.", status=Status.REFUSED),
        "s": CONSENSUS,
    }
    config = ones(trajectory=True)
    made = group(texts, config, beliefs=beliefs)
    assert [n.weight for n in made.negatives] == pytest.approx([0.5, 1.5, 1.0, 1.0])
    other = group(texts, config, beliefs=beliefs, teachers=["s", "b", "r", "a"])
    assert set(other.negatives) == set(made.negatives)
    assert [n.teacher for n in other.negatives] == ["s", "b", "r", "a"]


# ---- the consensus's own claims -----------------------------------------------------------------


def test_a_consensus_weighs_its_claims_by_their_posterior():
    """Edema absent at 0.9: 0.8. Effusion at 0.55: 0.1; left, one of three, at 0.8: 0.7, but the least holds
    where they meet. Fracture at 0.3: 0. What measure does not know, and text that claims nothing: 1."""
    text = "Well. Edema: absent. Pleural effusion: left. Fracture: absent. Cardiomegaly: present."
    beliefs = {
        ("Edema", "presence"): believed(values={"present": 0.1, "absent": 0.9}),
        ("Pleural Effusion", "presence"): believed(values={"present": 0.55, "absent": 0.45}),
        ("Pleural Effusion", "side"): believed(values={"left": 0.05, "right": 0.15, "both": 0.8}),
        ("Fracture", "presence"): believed(values={"present": 0.7, "absent": 0.3}),
        ("Cardiomegaly", "presence"): believed(values={}),
    }
    made = group({"ada": "No."}, ones(confidence=True), consensus=text, beliefs=beliefs)
    found = [(text[a:b], w) for a, b, w in made.spans]
    assert found == [
        ("Edema: absent.", pytest.approx(0.8)),
        ("Pleural effusion: ", pytest.approx(0.1)),
        ("left", 0.0),
        (".", pytest.approx(0.1)),
        ("Fracture: absent.", 0.0),
    ]
    assert made.negatives[0].spans == ()


@pytest.mark.parametrize(
    ("own", "values", "expected"),
    [
        (claim("Edema", "uncertain"), {"present": 0.5, "absent": 0.5}, ()),
        (claim("Edema", "present", echo=True), {"present": 0.6, "absent": 0.4}, ()),
        (claim("Edema", "present"), {"present": 0.6}, ()),
        (claim("Edema", "present"), {"present": 1.0, "absent": 0.0}, ()),
        (claim("Edema", "present"), {"present": 0.6, "absent": 0.4}, ((0, 1, pytest.approx(0.2)),)),
        (claim("Edema", "C", attribute="value"), {"A": 0.6, "B": 0.4}, ((0, 1, 0.0),)),
        (claim("Edema", "B", attribute="value", polarity=Polarity.ABSENT), {"A": 0.6, "B": 0.4}, ()),
    ],
)
def test_confidence_of_a_claim(own, values, expected):
    made = group(
        {"ada": "x"},
        ones(confidence=True),
        consensus="y",
        read=lambda text: [own] if text == "y" else [],
        beliefs={(own.finding, own.attribute): believed(values=values)},
    )
    assert made.spans == expected


def test_a_conflicting_claim_counts_by_the_certainty_of_what_it_contradicts():
    """1.5 times: edema absent at 0.9, 0.8; left, one of three, at 0.8, 0.7; fracture absent at 0.6, 0.2;
    cardiomegaly, which measure knows nothing of, 1. What agrees, is open or silent keeps its weight."""
    consensus = CONSENSUS + " Cardiomegaly: absent. Atelectasis: absent."
    text = "There is edema. Pleural effusion on the right. Rib fracture. Cardiomegaly. Atelectasis. Well."

    def decided(value, **values):
        return Belief(values=values, decided=value, votes={}, wrong={})

    beliefs = {
        ("Edema", "presence"): decided("absent", present=0.1, absent=0.9),
        ("Pleural Effusion", "presence"): decided("present", present=0.6, absent=0.4),
        ("Pleural Effusion", "side"): decided("left", left=0.8, right=0.15, both=0.05),
        ("Fracture", "presence"): decided("absent", present=0.4, absent=0.6),
        ("Atelectasis", "presence"): decided("", present=0.4, absent=0.6),
    }
    config = FIVE.model_copy(update={"confidence_against": True})
    (ada,) = group({"ada": text}, config, consensus=consensus, beliefs=beliefs).negatives
    found = {text[a:b].strip(): w for a, b, w in ada.spans if text[a:b].strip()}
    assert found == {
        "There is edema.": pytest.approx(1.2),
        "Pleural effusion on the": 0.0,
        "right": pytest.approx(1.05),
        ".": 0.0,
        "Rib fracture.": pytest.approx(0.3),
        "Cardiomegaly.": 1.5,
        "Atelectasis.": 0.5,
        "Well.": 0.25,
    }
    gone = "Edema: absent. Pleural effusion: absent."  # a side of what is absent stands to its absence, 0
    (ada,) = group({"ada": text}, config, consensus=gone, beliefs=beliefs).negatives
    assert {text[a:b].strip(): w for a, b, w in ada.spans}["Pleural effusion on the right."] == 0.0
    plain = group({"ada": text}, ones(confidence_against=True), consensus=CONSENSUS)
    assert plain.negatives[0].spans == plain.spans == ()  # nothing was measured: all ones


def test_a_side_of_what_the_votes_leave_open_is_undecided():
    """Whether there is an effusion is open: no ground to hold a teacher against its side."""
    own = [claim("Effusion", "present"), claim("Effusion", "left", start=2, end=4, attribute="side")]
    found = standings(own, ABSENT, 5, frozenset({("Effusion", "presence")}))
    assert found == [(0, 1, U), (1, 2, S), (2, 4, U), (4, 5, S)]


def test_a_refusal_claims_nothing():
    refusal = answer("I cannot help. There is edema.", status=Status.REFUSED)
    config = ones(conflicting=2.0, silent=0.5)
    (ada,) = group({"ada": refusal}, config).negatives
    assert ada.spans == ((0, len(refusal.text), 0.5),)


# ---- the page -----------------------------------------------------------------------------------


def test_the_page_shows_what_the_code_says(capsys):
    page = (Path(__file__).parent.parent / "docs/constraints.md").read_text(encoding="utf-8")
    snippet, shown = (page.split(fence)[1].split("```")[0] for fence in ("```python\n", "```text\n"))
    exec(compile(snippet, "docs/constraints.md", "exec"), {})
    assert capsys.readouterr().out == shown
    for name, field in ConstraintsConfig.model_fields.items():
        default = str(field.default).lower().removesuffix(".0")
        assert f"| `{name}` | {default} |" in page
    formula = [line.strip() for line in page.splitlines() if line.startswith("    ")][:2]
    assert all(line in str(constraints.__doc__) for line in formula)
