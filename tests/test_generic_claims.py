"""Reading texts of any field: hard sentences by hand, and properties that hold for any text."""

import json
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.config import DomainConfig
from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic.choice import choice
from driftbound.domains.generic.forms import render
from driftbound.domains.generic.json_answers import json_answers
from driftbound.domains.generic.json_spans import objects
from driftbound.domains.generic.reading import KINDS, choose, claims_of
from driftbound.domains.generic.refusals import is_refusal, mentions_sources
from driftbound.domains.generic.steps import steps
from driftbound.domains.generic.yes_no import yes_no
from driftbound.errors import ConfigError
from driftbound.store.stream_rows import WORDS

QUICK = settings(max_examples=60, deadline=None)
FINDINGS = {
    "Effusion": ("pleural effusion", "fluid"),
    "Edema": ("oedema",),
    "Pneumonia": (),
    "Mass": ("lesion",),
}
SPECIFICATION = ClaimsConfig(findings=FINDINGS, sided=("Effusion", "Mass"))
READ = {kind: claims_of(kind, SPECIFICATION) for kind in KINDS}

CHOICES = {
    # plain
    "Answer: B": "B",
    "(C)": "C",
    "the correct answer is option D": "D",
    "**Answer:** **B**": "B",
    "Answer:\n\nB": "B",
    "answer：B": "B",
    "Answer: b": "B",
    'The answer is "B".': "B",
    "Final answer: **(E)**": "E",
    "Correct option: D": "D",
    "<answer>B</answer>": "B",
    '{"answer": "B"}': "B",
    "\\boxed{A}": "A",
    "The final answer is: $\\boxed{\\text{D}}$.": "D",
    "B. Pleural effusion": "B",
    "A) Edema": "A",
    "Therefore, it must be B.": "B",
    "I'd go with option B.": "B",
    "Option B is the best choice.": "B",
    "A is the correct answer.": "A",
    "The most likely answer is B.": "B",
    "Q: which?\nA: C": "C",
    "A. Effusion\nB. Edema\nC. None\nThe answer is B.": "B",
    "First I thought the answer is A. On reflection, the answer is C.": "A, C",
    "Let me see.\nA) Incorrect, no effusion.\nB) Correct.\nC) Incorrect.\n\nThe correct answer is B.": "B",
    "Option A: unlikely. Option B: plausible. Option C: best fits. So the final answer is C.": "C",
    "The correct choice here would be A, as the heart is enlarged.": "A",
    "#### B": "B",
    # the article, and other words that look like an option
    "A mass is seen.": "",
    "Answer: A mass is seen": "",
    "the answer is a mass": "",
    "I say A mass.": "",
    "The answer is A because of the edge.": "A",
    "answer: a": "A",
    "The answer is C-reactive protein.": "",
    "The answer is E. coli.": "",
    "Vitamin B is low.": "",
    # hedged
    "either A or B": "A?, B?",
    "probably C": "C?",
    "The answer is likely B.": "B?",
    "My guess is D.": "D?",
    "I am not sure, but the answer is B.": "B?",
    "The answer is B, but I'm not sure.": "B?",
    "If I had to choose, the answer is B.": "B?",
    "The answers are A and C.": "A?, C?",
    "I cannot choose between A and B.": "A?, B?",
    "Between A and C, A is more likely.": "A",
    "B is probably correct.": "B?",
    "Answer: B?": "B?",
    "It may be hard to see, but the answer is B.": "B",
    # denied, discussed, asked
    "The answer is not B.": "",
    "The answer is not A but C.": "C",
    "Option A is incorrect.": "",
    "Answer B is wrong.": "",
    "The answer is B, since A is incorrect.": "B",
    "Is the answer B?": "",
    "If the answer were B, we would see air.": "",
    "Answer with A, B, C or D.": "",
    "Answer: A, B, C or D.": "",
}
"""Text -> options that it takes, ``?`` where uncertain."""

YES_NO = {
    "Yes": "present",
    "No.": "absent",
    "**Yes**": "present",
    "Yes, there is effusion.": "present",
    "No, there is none.": "absent",
    "No there is not.": "absent",
    "Answer: N": "absent",
    "y": "present",
    "False.": "absent",
    "Answer: No effusion": "absent",
    "\\boxed{Yes}": "present",
    '{"answer": "no"}': "absent",
    "I'd say no, because": "absent",
    "Is there an effusion? No.": "absent",
    "So the answer is: **No**": "absent",
    "Based on the image, no.": "absent",
    "To answer your question: yes, it does.": "present",
    "Yes (high confidence)": "present",
    # a determiner, a number, a repeated task
    "No effusion is seen.": "",
    "No. 5 is next.": "",
    "No-one knows.": "",
    "Answer yes or no.": "",
    "Yes/No": "",
    "If yes, treat.": "",
    "Conclusion: no effusion.": "",
    "True north": "",
    # neither
    "not sure": "uncertain",
    "I'm not sure.": "uncertain",
    "It cannot be determined from this image.": "uncertain",
    "The presence of effusion cannot be determined.": "uncertain",
    "Probably yes.": "uncertain",
    "Yes, probably.": "uncertain",
    "yes and no": "uncertain",
    "The answer is not clear.": "uncertain",
    "There is not enough information to answer.": "uncertain",
    "It is not possible to tell from the image.": "uncertain",
    "It's unclear.": "uncertain",
    "Hmm, maybe.": "uncertain",
    "Unclear margins are seen.": "",
    # in order; doubts about something else
    "Yes. Its size cannot be determined.": "present",
    "It cannot be determined. If pressed: I would say yes": "uncertain, uncertain",
    "Yes. No.": "present, absent",
}

SENTENCES = {
    # labels
    "Effusion: present": "Effusion present",
    "- **Edema** — absent": "Edema absent",
    "Effusion: no, edema: yes, mass: unclear": "Effusion absent, Edema present, Mass uncertain",
    "Effusion=yes; Edema=no": "Effusion present, Edema absent",
    "Effusion, edema: absent": "Effusion absent, Edema absent",
    "| 1 | Effusion | yes |": "Effusion present",
    "[x] Effusion\n[ ] Edema": "Effusion present, Edema absent",
    "✓ Effusion\n✗ Edema": "Effusion present, Edema absent",
    "Effusion (absent), edema (present)": "Effusion absent, Edema present",
    "Effusion: n/a": "",
    "Effusion: Left, small.": "Effusion present, Effusion left",
    "Effusion: There is a small left effusion.": "Effusion present, Effusion left",
    "Effusion: the costophrenic angles look entirely sharp today": "",
    "Mass: 3.5 cm in the left lung": "Mass present, Mass left",
    "Effusion: normal": "Effusion absent",
    "Effusion: 0": "Effusion absent",
    "Edema: cannot be excluded": "Edema uncertain",
    "## Effusion\nAbsent.": "Effusion absent",
    "Effusion:\nNo evidence of any.": "Effusion absent",
    "No evidence of:\n- effusion\n- edema\nMass present.": "Effusion absent, Edema absent, Mass present",
    "Findings:\n- effusion\n- edema": "Effusion present, Edema present",
    "Absent: effusion, edema.": "Effusion absent, Edema absent",
    # denials and how far they reach
    "no effusion": "Effusion absent",
    "No effusion, edema, or pneumonia.": "Effusion absent, Edema absent, Pneumonia absent",
    "Neither effusion nor edema is seen.": "Effusion absent, Edema absent",
    "Effusion and edema are absent.": "Effusion absent, Edema absent",
    "Mass, effusion and edema are not seen.": "Mass absent, Effusion absent, Edema absent",
    "There is effusion but no edema.": "Effusion present, Edema absent",
    "Effusion without edema.": "Effusion present, Edema absent",
    "No edema, but fluid on the left.": "Edema absent, Effusion present, Effusion left",
    "No edema, effusion on the left.": "Edema absent, Effusion present, Effusion left",
    "No effusion, large mass on the right.": "Effusion absent, Mass present, Mass right",
    "The heart is not enlarged and effusion is seen.": "Effusion present",
    "There is no effusion and there is edema.": "Effusion absent, Edema present",
    "This is not pneumonia but edema.": "Pneumonia absent, Edema present",
    "It is pneumonia rather than edema.": "Pneumonia present, Edema absent",
    "Edema, not effusion.": "Edema present, Effusion absent",
    "No opacity consistent with pneumonia.": "Pneumonia absent",
    "Effusion has resolved.": "Effusion absent",
    "I can't identify a lesion.": "Mass absent",
    "There isn't any effusion.": "Effusion absent",
    "effusion is no longer seen": "Effusion absent",
    "Negative for pneumonia, mass or edema": "Pneumonia absent, Mass absent, Edema absent",
    # what looks like a denial
    "There is no doubt about effusion.": "Effusion present",
    "Not only effusion but edema.": "Effusion present, Edema present",
    "No change in effusion.": "Effusion present",
    "Effusion is not large.": "Effusion present",
    "Effusion is seen, not on the left.": "Effusion present",
    # hedges
    "effusion cannot be excluded": "Effusion uncertain",
    "Cannot rule out pneumonia.": "Pneumonia uncertain",
    "Pneumonia is ruled out.": "Pneumonia absent",
    "Pneumonia is unlikely.": "Pneumonia uncertain",
    "Possible effusion, no edema.": "Effusion uncertain, Edema absent",
    "Probably no effusion.": "Effusion uncertain",
    "Effusion and edema may be present.": "Effusion uncertain, Edema uncertain",
    "Edema or effusion is seen.": "Edema uncertain, Effusion uncertain",
    "pneumonia vs edema": "Pneumonia uncertain, Edema uncertain",
    "Mass likely representing pneumonia.": "Mass present, Pneumonia uncertain",
    "It is unclear whether effusion is present.": "Effusion uncertain",
    "?effusion": "Effusion uncertain",
    "A small effusion, if any.": "Effusion uncertain",
    # sides
    "Bilateral effusions.": "Effusion present, Effusion both",
    "Effusion on the left and right.": "Effusion present, Effusion both",
    "Left effusion, right lesion.": "Effusion present, Effusion left, Mass present, Mass right",
    "The left lung is clear, effusion on the right.": "Effusion present, Effusion right",
    "Edema on the left": "Edema present",
    # whole reports
    "The silhouette is normal. There is no focal consolidation, pleural effusion, or edema.": (
        "Effusion absent, Edema absent"
    ),
    "Mild edema with small bilateral pleural effusions, right greater than left.": (
        "Edema present, Effusion present, Effusion both"
    ),
    "Left opacity may represent edema or pneumonia in the appropriate setting.": (
        "Edema uncertain, Pneumonia uncertain"
    ),
    "Lungs: clear. Pleura: no effusion. Heart: normal.": "Effusion absent",
    "There is a lesion in the right upper lobe, no other mass.": "Mass present, Mass right, Mass absent",
    "Although there is effusion, there is no edema.": "Effusion present, Edema absent",
    "I do not see any signs of a mass on either side.": "Mass absent",
    "The mass is not calcified.": "Mass present",
    "There is fluid but whether it is pneumonia is unclear.": "Effusion present, Pneumonia uncertain",
    "| Finding | Status |\n|---|---|\n| Effusion | Present |\n| Edema | Absent |": (
        "Effusion present, Edema absent"
    ),
    "Edema? Possibly.": "Edema uncertain",
    # not of this case
    "The patient has a history of pneumonia, but none is seen today.": "",
    "Follow-up CT is recommended to exclude an underlying mass.": "",
    "Is there effusion?": "",
    "Is there effusion? No.": "Effusion absent",
    "Is there effusion? Yes, on the left.": "Effusion present, Effusion left",
    "If effusion is present, treat it.": "",
    "Evaluate for effusion.": "",
    "History of pneumonia.": "",
    "In general effusion shows as a white base.": "",
    "Non-specific edema": "Edema present",
    "massive, fluidity, edematous": "",
    "": "",
}


def told(found):
    return ", ".join(f"{claim.finding} {claim.value}" for claim in found)


@pytest.mark.parametrize("text", CHOICES, ids=lambda text: text[:40])
def test_choice(text):
    marks = {"present": "", "uncertain": "?"}
    assert ", ".join(claim.value + marks[claim.polarity] for claim in choice()(text)) == CHOICES[text]


@pytest.mark.parametrize("text", YES_NO, ids=lambda text: text[:40])
def test_yes_no(text):
    assert ", ".join(claim.value for claim in yes_no()(text)) == YES_NO[text]


@pytest.mark.parametrize("text", SENTENCES, ids=lambda text: text[:40] or "empty")
def test_labelled_sentence(text):
    assert told(READ["labelled"](text)) == SENTENCES[text]


def test_there_are_enough_sentences():
    assert len(CHOICES) + len(YES_NO) + len(SENTENCES) >= 150


def test_options_of_ones_own():
    read = choice(("benign", "malignant", "1"))
    said = [claim.value for claim in read("The answer is malignant. Not benign. Answer: 1. Answer: B")]
    assert said == ["malignant", "1"]


def test_a_repeated_prompt_is_an_echo():
    for kind, text in (("choice", "> Answer: B"), ("labelled", "Question: effusion or not. Edema is seen.")):
        assert next(claim.echo for claim in READ[kind](text))
    assert [claim.echo for claim in READ["labelled"]("Question: edema. Edema is seen.")] == [True, False]


def test_spans_and_steps_by_hand():
    """Emoji count as one code point each; a side's span is its word, a claim's the part that says it."""
    text = "🩻🩻 Left effusion, no edema. 1. Mass: absent"
    found = [(c.finding, c.attribute, text[c.start : c.end], c.step) for c in READ["labelled"](text)]
    assert found == [
        ("Effusion", "presence", "🩻🩻 Left effusion", 0),
        ("Effusion", "side", "Left", 0),
        ("Edema", "presence", ", no edema.", 0),
        ("Mass", "presence", "Mass: absent", 1),
    ]


# JSON

JSON = {
    '{"effusion": "no", "edema": true}': [("effusion", "absent"), ("edema", "present")],
    'So:\n```json\n{"effusion": "Probably present",}\n```\nDone.': [("effusion", "uncertain")],
    "{'a': True, 'b': None, 'c': False}": [("a", "present"), ("c", "absent")],
    '{"a": {"b": "yes"}, "n/a": "n/a", "none": null}': [("a.b", "present")],
    '{"x": 1} and then {"y": "maybe"}': [("y", "uncertain")],
    '{"bad": "x" "y"} {"good": "no"} {}': [("good", "absent")],
    '{"size": 2.50, "n": 3, "kind": "Ground Glass", "answer": "b"}': [
        ("size", "2.5"),
        ("n", "3"),
        ("kind", "ground glass"),
        ("answer", "B"),
    ],
    '{"a": "yes", "b": "un': [("a", "present")],
    '{"found": ["Edema", "Mass"], "reason": "' + "because " * 9 + '"}': [
        ("found.edema", "present"),
        ("found.mass", "present"),
    ],
    "no object {here} \\boxed{B}": [],
    "{a: yes, // a comment\n b: no}": [("a", "present"), ("b", "absent")],
}


@pytest.mark.parametrize("text", JSON, ids=lambda text: text[:30])
def test_json_answer(text):
    assert [(claim.finding, claim.value) for claim in json_answers()(text)] == JSON[text]


def test_json_of_declared_findings():
    """Wherever they stand, under whatever of their names; what else is there counts for nothing."""
    text = (
        '{"findings": {"pleural_effusion": {"present": true, "side": "Left"}, "EDEMA": 0, "confidence": 0.3}}'
    )
    assert told(READ["json"](text)) == "Effusion present, Effusion left, Edema absent"
    assert (
        told(READ["json"]('{"lesion": "bilateral", "edema": -1}'))
        == "Mass present, Mass both, Edema uncertain"
    )
    assert told(READ["json"]('{"present": ["Fluid", "cough"]}')) == "Effusion present"


def test_the_first_object_where_that_is_asked_for():
    text = '{"a": "yes"} {"b": "no"}'
    assert [claim.finding for claim in json_answers(take="first")(text)] == ["a"]


def test_json_spans_and_steps():
    text = 'I looked. Here:\n{"a": "yes",\n "b": {"c": 3}}'
    found = json_answers()(text)
    assert [(text[claim.start : claim.end], claim.step) for claim in found] == [
        ('"a": "yes"', 2),
        ('"c": 3', 3),
    ]


@given(
    st.dictionaries(
        st.text(max_size=5), st.sampled_from([True, False, "yes", "no", None, 3, "kind x"]), max_size=6
    )
)
@QUICK
def test_what_json_writes_is_read(answer):
    """The standard's own writer, in whatever form; members with an empty name apart."""
    for text in (
        json.dumps(answer),
        f"text\n```\n{json.dumps(answer, indent=1, ensure_ascii=False)}\n``` more",
    ):
        found = json_answers()(text)
        assert [claim.finding for claim in found] == [
            key for key, value in answer.items() if value is not None
        ]
        for claim in found:
            member = json.loads("{" + text[claim.start : claim.end] + "}")
            assert member == {claim.finding: answer[claim.finding]}


SCALARS = st.text(max_size=3) | st.integers(-9, 9) | st.none()
NESTED = st.recursive(
    SCALARS, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6
)


@given(NESTED)
@QUICK
def test_leaves_are_those_of_json(value):
    """Of nested objects every value that is none, in order, by its keys."""

    def leaves(inner, path):
        if not isinstance(inner, dict):
            return [(path, inner)]
        return [leaf for key, each in inner.items() for leaf in leaves(each, (*path, key))]

    found = objects(json.dumps({"top": value}))
    expected = leaves(value, ("top",))
    assert [(leaf.path, leaf.value) for each in found for leaf in each.leaves] == expected


# any text

PIECES = st.sampled_from(
    [
        *(
            "answer",
            "Answer:",
            "A",
            "B",
            "(C)",
            "or",
            "either",
            "is",
            "not",
            "no",
            "yes",
            "{",
            "}",
            '"a"',
            ":",
            ",",
            ".",
        ),
        *(
            "effusion",
            "Edema",
            "left",
            "bilateral",
            "cannot be excluded",
            "possible",
            "\n",
            "- ",
            "**",
            "|",
            "?",
            "İ",
        ),
        *(
            "\\boxed{",
            "true",
            "null",
            "[",
            "]",
            "'",
            "if",
            "there is",
            "🫁",
            "\u2028",
            "x",
            "1.",
            ";",
            "#",
            "✓",
            "(",
        ),
    ]
)
TEXTS = st.text() | st.lists(PIECES, max_size=25).map(" ".join) | st.lists(PIECES, max_size=25).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
@QUICK
def test_claims_of_any_text(kind, text):
    """Spans lie in the text and hold what is claimed; all is in order; twice the same."""
    found = READ[kind](text)
    assert found == READ[kind](text)
    spans = steps(text)
    assert [claim.step for claim in found] == sorted(claim.step for claim in found)
    starts = [claim.start for claim in found if claim.attribute != "side"]
    assert starts == sorted(starts)
    for claim in found:
        assert 0 <= claim.start < claim.end <= len(text)
        said = text[claim.start : claim.end].lower()
        assert 0 <= claim.step < max(len(spans), 1) or kind == "json"
        if kind == "choice":
            assert claim.attribute == "value"
            assert claim.value in SPECIFICATION.options
            assert said.endswith(claim.value.lower())
        elif claim.attribute == "presence":
            assert claim.value == claim.polarity
        if kind == "labelled" and claim.attribute == "presence":
            names = [name.lower() for name in (claim.finding, *FINDINGS[claim.finding])]
            assert any(re.search(r"[\s_-]+".join(name.split()), said) for name in names)
        if claim.attribute == "side":
            assert found[found.index(claim) - 1].finding == claim.finding
            assert claim.value in ("left", "right", "both")
            assert re.search("left|right|bilateral|both", said)


@given(TEXTS)
@QUICK
def test_steps_of_any_text(text):
    """In order, apart, in one line each, with something in each, and nothing said lies outside of them."""
    spans = steps(text)
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert all("\n" not in text[start:end] for start, end in spans)
    inside = "".join(text[start:end] for start, end in spans)
    assert [c for c in text if re.match(r"[^\W_]", c)] == [c for c in inside if re.match(r"[^\W_]", c)]


def test_no_text_takes_long():
    """Linear: texts of 8,000 characters made to be hard."""
    bits = (
        "*",
        "(",
        '{"a":',
        '{"a":[',
        "A or B or ",
        "effusion and ",
        "no ",
        "answer is the ",
        "1. ",
        ".",
        "| ",
        "'",
    )
    texts = [bit * (8_000 // len(bit)) for bit in bits]
    began = time.process_time()
    for read in READ.values():
        for text in texts:
            read(text)
    assert time.process_time() - began < 3


STANCE = st.sampled_from(["present", "absent"])


@given(
    st.dictionaries(st.sampled_from(sorted(FINDINGS)), STANCE | st.sampled_from(["left", "right", "both"]))
)
@QUICK
def test_what_is_rendered_is_read_back(stances):
    stances = {
        name: value if name in SPECIFICATION.sided or value == "absent" else "present"
        for name, value in stances.items()
    }
    for kind in ("json", "labelled"):
        found = READ[kind](render(kind, SPECIFICATION, stances))
        read = {claim.finding: claim.value for claim in found}  # a side comes behind its presence
        assert read == stances
    for value in ("present", "absent", "uncertain"):
        assert [c.value for c in READ["yes_no"](render("yes_no", SPECIFICATION, {"answer": value}))] == [
            value
        ]
    for option in SPECIFICATION.options:
        assert [c.value for c in READ["choice"](render("choice", SPECIFICATION, {"answer": option}))] == [
            option
        ]


# which form

SAMPLES = {
    "choice": ["The answer is B.", "Answer: C", "Probably (D).", "\\boxed{A}", "I do not know."],
    "yes_no": ["Yes.", "No, there is none.", "Cannot be determined.", "I would say yes", "Hm."],
    "json": [
        '{"effusion": true}',
        '```json\n{"mass": "left"}\n```',
        "{'edema': 'no'}",
        "none",
        '{"fluid": 0}',
    ],
    "labelled": ["No effusion.", "There is edema.", "Mass: absent", "Left effusion.", "Nothing to say."],
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_auto_takes_what_fits(kind):
    chosen = choose(SPECIFICATION, SAMPLES[kind] * 100)
    assert chosen.kind == kind
    assert chosen.shares[kind] == pytest.approx(0.8, abs=0.08)  # of a sample of 400 of 500
    assert chosen.n == 400
    assert f"read as {kind}: " in chosen.line


def test_auto_says_what_to_declare():
    with pytest.raises(ConfigError) as caught:
        choose(ClaimsConfig(), ["The cat sat on the mat."] * 9 + ["Answer: B"])
    said = str(caught.value)
    assert said.startswith("claims.kind auto: none reads 20% of 10 answers (json 0%, choice 10%, yes_no 0%)")
    assert "findings: {name: [synonyms]}" in said
    assert "\n" not in said
    with pytest.raises(ConfigError, match="of 0 answers"):
        choose(ClaimsConfig(), ["", " \n"])


def test_auto_looks_at_all_texts_alike():
    """A file is sorted by teacher: the first ones must not decide."""
    texts = ["Yes."] * 3000 + ["Answer: B"] * 7000
    chosen = choose(ClaimsConfig(), texts)
    assert chosen.kind == "choice"
    assert chosen.shares["choice"] == pytest.approx(0.7, abs=0.1)


def test_labelled_needs_findings():
    with pytest.raises(ConfigError, match="labelled cannot be read without findings"):
        claims_of("labelled", ClaimsConfig())
    with pytest.raises(ConfigError, match=r"auto cannot be read here; say json, choice, yes_no or labelled"):
        claims_of("auto", ClaimsConfig())


# refusals

REFUSED = (
    "I'm sorry, but as an AI I cannot interpret medical images. Please consult a qualified radiologist.",
    "I can't assist with that request.",
    "I am unable to view images. Could you describe it?",
    "Sorry, I can't help with identifying people in images.",
    "I cannot provide a diagnosis from this image. In general a pleural effusion shows as a white base.",
    "I must decline to answer.",
)
ANSWERED = (
    "I cannot determine the answer from the image.",
    "Pneumonia cannot be excluded.",
    "As an AI, I cannot give medical advice. Answer: B",
    "I'm not a doctor, but this image shows a large consolidation in the left lower lobe.",
    "I cannot see any effusion.",
    "I cannot identify a pneumothorax.",
    'As an AI language model I can only guess: {"effusion": true}',
    "",
)


@pytest.mark.parametrize("text", REFUSED + ANSWERED, ids=lambda text: text[:30] or "empty")
def test_refusal(text):
    assert is_refusal(text) == (text in REFUSED)


def test_sources_are_noticed():
    assert mentions_sources("As panelist 2 says, edema.")
    assert not mentions_sources("The panel shows edema.")


# the page

PAGE = (Path(__file__).parent.parent / "docs" / "measure.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.*?) ?\|$", PAGE, re.MULTILINE)


def block(language, word):
    (found,) = [each for each in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in each]
    return found


def test_the_page_has_examples_of_every_form():
    assert {kind for kind, _, _ in ROWS} == set(KINDS)
    assert len(ROWS) >= 8


@pytest.mark.parametrize(("kind", "text", "claimed"), ROWS)
def test_example_of_the_page(kind, text, claimed):
    found = claims_of(kind, ClaimsConfig(findings=FINDINGS if kind == "labelled" else {}))(text)
    marks = {"uncertain": "?"}
    assert ", ".join(f"{c.finding} {c.value}{marks.get(c.polarity, '')}" for c in found) == claimed


def test_recipe_of_the_page_shows_every_key():
    given = yaml.safe_load(block("yaml", "generic"))
    config = DomainConfig.model_validate(given["domain"])
    assert config.claims.kind == "labelled"
    for key in ClaimsConfig.model_fields:
        assert re.search(rf"\b{key}:", block("yaml", "generic")), key


def test_columns_of_the_page_are_those_that_are_read():
    table = PAGE.split("| column | also called | |")[1].split("\n\n")[0]
    for ours, theirs in WORDS.items():
        for word in (ours, *theirs):
            assert re.search(rf"\b{word}\b", table), word


def test_reading_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("answers.csv").write_text("case_id,teacher,text\nc,t,Answer: B\nc,u,I take C\n")
    names = {}
    exec(block("python", "read_stream_file"), names)
    assert [(claim.value, claim.step) for claim in names["claims"]] == [("C", 0)]
