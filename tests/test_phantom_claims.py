"""Reading phantom texts: hard sentences by hand, and properties that hold for any text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.domains.phantom.findings import FINDINGS, SIDED, SIGN_NAMES
from driftbound.domains.phantom.language import (
    CANONICAL,
    CANONICAL_ORDER,
    PHRASES,
    QUESTION,
    REFUSALS,
    SIDES,
    STYLES,
    Stance,
    canonical,
    write,
)

ALL_STYLES = STYLES | {"canonical": CANONICAL}


def told(text):
    """Findings in order of the text with what is said of each: the side where one is given."""
    said = []
    for claim in claims(text):
        if claim.attribute == "side":
            assert said[-1] == (claim.finding, "present"), "a side follows its own presence claim"
            said[-1] = (claim.finding, claim.value)
        else:
            said.append((claim.finding, claim.value))
    return said


SENTENCES = {
    # negation before an enumeration
    "No edema, fracture or pneumothorax.": "Edema absent, Fracture absent, Pneumothorax absent",
    "Without effusion or nodule.": "Pleural Effusion absent, Lung Lesion absent",
    "Neither edema nor pneumonia.": "Edema absent, Pneumonia absent",
    "No evidence of consolidation, and no effusion.": "Consolidation absent, Pleural Effusion absent",
    "No left effusion, right nodule or edema.": "Pleural Effusion absent, Lung Lesion absent, Edema absent",
    "The lungs are free of consolidation and edema.": "Consolidation absent, Edema absent",
    "Negative for pneumothorax.": "Pneumothorax absent",
    # ... that ends before the end of the sentence
    "No edema, consolidation on the left.": "Edema absent, Consolidation left",
    "No edema, pneumonia is seen.": "Edema absent, Pneumonia present",
    "No pneumothorax but edema.": "Pneumothorax absent, Edema present",
    "There is consolidation but no effusion.": "Consolidation present, Pleural Effusion absent",
    "Consolidation on the right without effusion.": "Consolidation right, Pleural Effusion absent",
    "Edema with no pneumonia or fracture.": "Edema present, Pneumonia absent, Fracture absent",
    "Edema, no left or right effusion.": "Edema present, Pleural Effusion absent",
    # negation behind
    "Edema is not seen.": "Edema absent",
    "Edema, effusion and fracture are absent.": "Edema absent, Pleural Effusion absent, Fracture absent",
    "Pneumothorax has been ruled out, edema is present.": "Pneumothorax absent, Edema present",
    "There is edema, fracture is not identified.": "Edema present, Fracture absent",
    "**Pleural effusion** is not seen.": "Pleural Effusion absent",
    "Pneumonia no; edema yes;": "Pneumonia absent, Edema present",
    # open
    "Pneumonia cannot be excluded.": "Pneumonia uncertain",
    "I cannot exclude a pneumothorax.": "Pneumothorax uncertain",
    "Edema or pneumonia cannot be ruled out.": "Edema uncertain, Pneumonia uncertain",
    "Possible edema and effusion.": "Edema uncertain, Pleural Effusion uncertain",
    "Possible edema and effusion on the left.": "Edema uncertain, Pleural Effusion left",
    "It may be a nodule, hard to say.": "Lung Lesion uncertain",
    "Questionable fracture, no effusion.": "Fracture uncertain, Pleural Effusion absent",
    "No definite pneumothorax.": "Pneumothorax absent",
    # what only looks like a negation
    "I see consolidation on the left, no doubt.": "Consolidation left",
    "No doubt there is edema.": "Edema present",
    "Without any doubt effusion on the right and no edema.": "Pleural Effusion right, Edema absent",
    "Not only edema but also pneumonia on the left.": "Edema present, Pneumonia left",
    "Consolidation on the left, not on the right.": "Consolidation left",
    "Effusion on the left, no further comment.": "Pleural Effusion left",
    # sides
    "Effusion on the left and consolidation on the right.": "Pleural Effusion left, Consolidation right",
    "Left effusion, right pneumonia.": "Pleural Effusion left, Pneumonia right",
    "Left-sided pleural effusion and a right nodule.": "Pleural Effusion left, Lung Lesion right",
    "Bilateral pleural effusions.": "Pleural Effusion both",
    "Consolidation on the left and on the right.": "Consolidation both",
    "Both consolidation and pneumonia are seen.": "Consolidation present, Pneumonia present",
    "Atelectasis in both lungs.": "Atelectasis both",
    "The left lung is clear, effusion on the right.": "Pleural Effusion right",
    "An enlarged heart on the left.": "Cardiomegaly present",
    "Pneumothorax absent on the left.": "Pneumothorax absent",
    # words
    "Widened mediastinum, cardiomegaly.": "Enlarged Cardiomediastinum present, Cardiomegaly present",
    "Several rib fractures and nodules, left.": "Fracture present, Lung Lesion left",
    "PULMONARY EDEMA": "Edema present",
    "1. **Opacity**: left\n2. no sign of edema": "Lung Opacity left, Edema absent",
    "Pneumomediastinum, effusive manner, fractured style.": "",
    # the whole film
    "The study is normal.": "No Finding present",
    "Abnormal study.": "No Finding absent",
    "The film is not normal.": "No Finding absent",
    "This is not a normal chest radiograph.": "No Finding absent",
    "- Study: abnormal": "No Finding absent",
    "The study is abnormal: edema, no effusion.": "No Finding absent, Edema present, Pleural Effusion absent",
    "No edema, normal study.": "Edema absent, No Finding present",
    "The heart is normal in size.": "",
    "Normal heart size, no effusion.": "Pleural Effusion absent",
    "Possible abnormal study.": "No Finding uncertain",
    # nothing of this film
    "Is there edema?": "",
    "Is there edema? No.": "Edema absent",
    "In general a pleural effusion shows as a white base.": "",
    QUESTION: "",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence[:40] or "empty")
def test_sentence(sentence):
    """What a careful reader takes each sentence to say."""
    assert ", ".join(f"{finding} {value}" for finding, value in told(sentence)) == SENTENCES[sentence]


def test_spans_by_hand():
    """Emoji count as one code point each; the side's span is its word, the claim's its part of the step."""
    text = "🩻🩻 Left effusion, no edema. Pneumonia: both sides."
    found = [(c.finding, c.attribute, text[c.start : c.end], c.step) for c in claims(text)]
    assert found == [
        ("Pleural Effusion", "presence", "🩻🩻 Left effusion", 0),
        ("Pleural Effusion", "side", "Left", 0),
        ("Edema", "presence", ", no edema.", 0),
        ("Pneumonia", "presence", " Pneumonia: both sides.", 1),
        ("Pneumonia", "side", "both", 1),
    ]


def test_letters_that_grow_in_lower_case_shift_no_span():
    """A dotted capital I has two code points in lower case."""
    text = "İİİ. Edema."
    assert [(c.finding, text[c.start : c.end]) for c in claims(text)] == [("Edema", " Edema.")]


def test_steps_count_sentences_and_lines_but_no_numbers():
    """Opening 0, "1." nothing, its line 1, "2." nothing, a silent line 2, its sentence 3."""
    text = "The image shows:\n1. edema\n2. bones look fine\nNo fracture."
    assert [(c.finding, c.step) for c in claims(text)] == [("Edema", 1), ("Fracture", 3)]


def test_refusals_are_told_from_readings():
    """A refusal that explains a finding in general asserts nothing of the film."""
    for text in (*REFUSALS, "Sorry, I can't help with that.", "I’m not able to read radiographs."):
        assert is_refusal(text)
        assert claims(text) == []
    for text in (*SENTENCES, "I see no edema.", "Edema is hard to read here."):
        assert not is_refusal(text)


def test_no_claim_is_an_echo():
    """The prompt names no finding, so nothing can repeat one."""
    assert claims(QUESTION) == []
    assert not any(claim.echo for text in SENTENCES for claim in claims(QUESTION + " " + text))


CUES = """no not and or nor but with left right bilateral both normal abnormal study film is are absent
possible may cannot be excluded doubt in general - ** 1. . , ; : ? 🫁 İ ß"""
PIECES = st.sampled_from([*(phrase for names in PHRASES.values() for phrase in names), *CUES.split(), "\n"])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(PIECES, max_size=40).map(" ".join),
    st.lists(PIECES, max_size=30).map("".join),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXTS)
def test_any_text_gives_valid_claims(text):
    """Spans are non-empty, inside, in order and, for presence, apart; steps rise; values fit."""
    found = claims(text)
    last = 0
    for claim in found:
        assert 0 <= claim.start < claim.end <= len(text)
        assert text[claim.start : claim.end].strip()
        assert claim.finding in FINDINGS
        if claim.attribute == "presence":
            assert claim.start >= last
            last = claim.end
            assert claim.value == claim.polarity
        else:
            assert claim.finding in SIDED
            assert claim.value in SIDES
            assert claim.end <= last
    assert [c.step for c in found] == sorted(c.step for c in found)
    assert [c.start for c in found] == sorted(c.start for c in found)
    assert is_refusal(text) in (True, False)


@st.composite
def stances(draw):
    """Any findings once each, in any order, with any value that can be said of them."""
    names = draw(st.lists(st.sampled_from(FINDINGS), unique=True, max_size=14))
    said = []
    for name in names:
        values = ["absent", "present"]
        if name != "No Finding":
            values += ["uncertain", *(SIDES if name in SIDED else ())]
        said.append(Stance(name, draw(st.sampled_from(values))))
    return said


@pytest.mark.parametrize("style", ALL_STYLES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(said=stances(), seed=st.integers(0, 2**31))
def test_what_is_written_is_read(style, said, seed):
    """Every style, every combination: exactly the stances said, in their order."""
    text = write(said, ALL_STYLES[style], np.random.default_rng(seed))
    assert told(text) == [(stance.finding, stance.value) for stance in said]
    assert not is_refusal(text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(said=stances())
def test_canonical_is_read_in_its_own_order(said):
    given_ = {stance.finding: stance.value for stance in said}
    assert told(canonical(given_)) == [(name, given_[name]) for name in CANONICAL_ORDER if name in given_]
    assert canonical(given_) == canonical(dict(reversed(given_.items())))


def test_canonical_by_hand():
    text = canonical(
        {"No Finding": "absent", "Pleural Effusion": "both", "Edema": "uncertain", "Fracture": "right"}
    )
    assert text == "Edema: uncertain. Pleural effusion: bilateral. Rib fracture: right. Study: abnormal."
    assert (
        canonical({"Cardiomegaly": "absent", "No Finding": "present"})
        == "Cardiomegaly: absent. Study: normal."
    )


def test_no_sign_is_taken_for_a_finding():
    """Describing signs is not yet deciding: a report of signs alone makes no claim."""
    for sign in SIGN_NAMES:
        assert claims(f"There is {sign} on the left.") == []
