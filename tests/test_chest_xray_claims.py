"""Claims of chest X-ray texts: rules of docs/chest-xray-claims.md, one by one, and any text at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftbound.domains.chest_xray.claims import claims
from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.mentions import names_lexicon
from driftbound.domains.chest_xray.passages import passages
from driftbound.domains.chest_xray.phrases import Phrases, expand, lexicon
from driftbound.domains.chest_xray.spelling import spelt
from driftbound.records import Polarity

SHORT = {
    "present": "+",
    "absent": "-",
    "uncertain": "?",
}


def said(text):
    """``+Edema left mild``: presence of each mention with what else is said of it, in order."""
    found = []
    for claim in claims(text):
        if claim.echo:
            continue
        if claim.attribute == "presence":
            found.append(SHORT[claim.value] + claim.finding)
        else:
            found[-1] += f" {claim.value}"
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # absent: one denial for a whole list, until something else is asserted
        ("No consolidation, edema, or effusion.", ["-Consolidation", "-Edema", "-Pleural Effusion"]),
        ("Neither effusion nor pneumothorax.", ["-Pleural Effusion", "-Pneumothorax"]),
        ("No effusion but a large right pneumothorax.", ["-Pleural Effusion", "+Pneumothorax right severe"]),
        ("No pneumothorax, small left effusion.", ["-Pneumothorax", "+Pleural Effusion left mild"]),
        ("No pleural effusion and the heart is enlarged.", ["-Pleural Effusion", "+Cardiomegaly"]),
        ("Pneumothorax and effusion are not identified.", ["-Pneumothorax", "-Pleural Effusion"]),
        ("Interval resolution of the left pneumothorax.", ["-Pneumothorax"]),
        ("The effusion has resolved.", ["-Pleural Effusion"]),
        ("The effusion is no longer seen.", ["-Pleural Effusion"]),
        ("No opacity to suggest pneumonia.", ["-Lung Opacity", "-Pneumonia"]),
        ("The chest tube has been removed.", ["-Support Devices"]),
        ("Cardiomegaly without effusion or edema.", ["+Cardiomegaly", "-Pleural Effusion", "-Edema"]),
        ("A right jugular line, which has been removed.", ["-Support Devices"]),
        ("An effusion which is not seen on the lateral view.", ["+Pleural Effusion"]),
        ("An effusion not associated with pneumothorax.", ["+Pleural Effusion", "-Pneumothorax"]),
        # a sentence that goes on about the one before it
        ("There is an effusion. It is on the left.", ["+Pleural Effusion left"]),
        ("An effusion is seen. This is small and has not changed.", ["+Pleural Effusion mild stable"]),
        ("Bilateral effusions. Unchanged.", ["+Pleural Effusion both stable"]),
        ("Left basal opacity. This may be pneumonia.", ["+Lung Opacity left basal", "?Pneumonia left basal"]),
        ("Left basal opacity. There may be pneumonia.", ["+Lung Opacity left basal", "?Pneumonia"]),
        ("An effusion is seen. It is important to look at the left side.", ["+Pleural Effusion"]),
        ("Left effusion. This is a film of a patient turned to the right.", ["+Pleural Effusion left"]),
        ("Left effusion. Is there edema? No.", ["+Pleural Effusion left", "-Edema"]),
        ("Is there an effusion? Yes, on the left.", ["+Pleural Effusion left"]),
        ("Is there an effusion? CT would tell.", []),
        # words that stand for a side, or for a finding on another side
        ("Right effusion, chest tube on the same side.", [
            "+Pleural Effusion right", "+Support Devices right chest tube"]),
        ("Right nodule. Small ipsilateral effusion.", ["+Lung Lesion right", "+Pleural Effusion right mild"]),
        ("The right effusion is stable, the one on the left is new.", [
            "+Pleural Effusion right stable", "+Pleural Effusion left new"]),
        ("The right effusion is stable, but the left has increased.", [
            "+Pleural Effusion right stable", "+Pleural Effusion left worse"]),
        ("A right effusion, and on the left is new edema.", ["+Pleural Effusion right", "+Edema left new"]),
        ("Effusions on both sides, the larger one on the left.", ["+Pleural Effusion both"]),
        ("An effusion on the right and a smaller one on the left.", [
            "+Pleural Effusion right", "+Pleural Effusion left"]),
        ("The right lung shows an effusion, the left is clear.", ["+Pleural Effusion right"]),
        ("The left lung is clear, the right one holds nodules.", [
            "-Lung Opacity", "-Consolidation", "+Lung Lesion right"]),
        ("Effusion, decreased on the right and increased on the left.", [
            "+Pleural Effusion right better", "+Pleural Effusion left worse"]),
        ("The left base is whiter than the right, suggesting effusion.", ["?Pleural Effusion left basal"]),
        ("Effusion confined to the right side, sparing the left.", ["+Pleural Effusion right"]),
        # uncertain, and denials of denials
        ("The absence of edema cannot be assured.", ["?Edema"]),
        ("Left basal consolidation with a possible effusion.", [
            "+Consolidation left basal", "?Pleural Effusion"]),
        ("Pneumonia cannot be excluded.", ["?Pneumonia"]),
        ("Cannot exclude a small effusion.", ["?Pleural Effusion mild"]),
        ("Possible right lower lobe pneumonia.", ["?Pneumonia right lower"]),
        ("An effusion may be present.", ["?Pleural Effusion"]),
        ("Atelectasis versus pneumonia.", ["?Atelectasis", "?Pneumonia"]),
        ("Atelectasis/consolidation.", ["?Atelectasis", "?Consolidation"]),
        ("No effusion, possible pneumonia.", ["-Pleural Effusion", "?Pneumonia"]),
        ("Opacity likely due to atelectasis.", ["+Lung Opacity", "?Atelectasis"]),
        ("No new consolidation.", ["?Consolidation"]),
        ("No significant change in the right effusion.", ["+Pleural Effusion right stable"]),
        ("The edema has not improved.", ["+Edema stable"]),
        # normal anatomy, signs
        ("The heart is normal in size.", ["-Cardiomegaly"]),
        ("Heart size and mediastinal contours are normal.", ["-Cardiomegaly", "-Enlarged Cardiomediastinum"]),
        ("The lungs are clear.", ["-Lung Opacity", "-Consolidation"]),
        ("Lungs are clear of consolidation.", ["-Consolidation"]),
        ("The costophrenic angles are sharp.", ["-Pleural Effusion"]),
        ("Osseous structures are intact.", ["-Fracture"]),
        ("No acute bony abnormality.", ["-Fracture"]),
        ("No acute cardiopulmonary process.", ["+No Finding"]),
        ("Blunting of the left costophrenic angle.", ["?Pleural Effusion left"]),
        ("The cardiac silhouette is not enlarged.", ["-Cardiomegaly"]),
        ("Pericardial effusion is known.", []),
        # side, zone, severity, course, device
        ("Bilateral effusions, right greater than left.", ["+Pleural Effusion both"]),
        ("Left lower lobe and right upper lobe opacities.",
         ["+Lung Opacity left lower", "+Lung Opacity right upper"]),
        ("Edema in the left lobe and small right effusion.", ["+Edema left", "+Pleural Effusion right mild"]),
        ("Small to moderate right effusion.", ["+Pleural Effusion right moderate"]),
        ("Moderate cardiomegaly, unchanged.", ["+Cardiomegaly moderate stable"]),
        ("Worsening edema.", ["+Edema worse"]),
        ("Right effusion, no significant change.", ["+Pleural Effusion right stable"]),
        ("Endotracheal tube in good position.", ["+Support Devices endotracheal tube"]),
        ("Small right and moderate left effusions.",
         ["+Pleural Effusion right mild", "+Pleural Effusion left moderate"]),
        ("Right upper and middle lobe pneumonia.", ["+Pneumonia right upper", "+Pneumonia right middle"]),
        ("Markedly increased effusion.", ["+Pleural Effusion worse"]),
        ("Again seen is a left effusion.", ["+Pleural Effusion left"]),
        ("The opacities are worse on the right.", ["+Lung Opacity both"]),
        ("No increase in the right effusion.", ["+Pleural Effusion right stable"]),
        ("Near-complete resolution of the edema.", ["+Edema better"]),
        ("Left effusion, which is unchanged.", ["+Pleural Effusion left stable"]),
        ("Pericardial effusion on the left. Small effusion.", ["+Pleural Effusion mild"]),
        ("Large hiatal hernia and atelectasis.", ["+Atelectasis"]),
        # what explains an opacity lies where it lies; what only fits it need not
        ("Left basal opacity, likely due to atelectasis.",
         ["+Lung Opacity left basal", "?Atelectasis left basal"]),
        ("Left basal opacity, compatible with atelectasis.", ["+Lung Opacity left basal", "?Atelectasis"]),
        ("The right effusion is likely due to pneumonia.", ["+Pleural Effusion right", "?Pneumonia"]),
        ("Right lower lobe atelectasis rather than pneumonia.", ["+Atelectasis right lower", "-Pneumonia"]),
        ("Left basal opacity: atelectasis or pneumonia.",
         ["+Lung Opacity left basal", "?Atelectasis left basal", "?Pneumonia left basal"]),
        ("Skin fold or left pneumothorax.", ["?Pneumothorax left"]),
        ("Heart size is top normal.", ["?Cardiomegaly"]),
        ("Pneumothorax is unlikely.", ["-Pneumothorax"]),
        ("The cardiothoracic ratio is 0.58.", ["+Cardiomegaly"]),
        ("The cardiothoracic ratio is below 0.5.", ["-Cardiomegaly"]),
        # one verb, one statement
        ("The heart is enlarged, and an aortic injury is possible.", ["+Cardiomegaly"]),
        ("NG tube likely ends in the stomach.", ["+Support Devices enteric tube"]),
        ("Although the history mentions heart failure, I see no edema.", ["-Edema"]),
        ("No consolidation and a small left effusion.",
         ["-Consolidation", "+Pleural Effusion left mild"]),
        ("The effusion is on the left rather than on the right.", ["+Pleural Effusion left"]),
        ("Tip of the NG tube not seen.", ["+Support Devices enteric tube"]),
        ("Interval extubation.", ["-Support Devices"]),
        ("Pneumonia is an infection of the lung.", []),
        ("Pneumonia is a possibility.", ["?Pneumonia"]),
        ("Check the costophrenic angles for effusion.", []),
        # misspelt
        ("No pnuemothorax. Small plueral effusoin.", ["-Pneumothorax", "+Pleural Effusion mild"]),
        # headings
        ("| Pneumothorax | Absent |\n| Edema | Present |", ["-Pneumothorax", "+Edema"]),
        ("**Differential diagnosis:**\n1. Pneumonia\n2. Edema", ["?Pneumonia", "?Edema"]),
        ("LLL: mild atelectasis. RML: no opacity.", ["+Atelectasis left lower mild", "-Lung Opacity"]),
        ("HISTORY: Known pneumonia. The heart is normal.", ["-Cardiomegaly"]),
        ("**No acute cardiopulmonary process.**", ["+No Finding"]),
        ("**Left lung:**\n- edema\n\nOverall, there is atelectasis.", ["+Edema left", "+Atelectasis"]),
        ("**Left lung:**\n- Basal consolidation\n- edema", ["+Consolidation left basal", "+Edema left"]),
        ("**Edema - present:** there is congestion.", ["+Edema", "+Edema"]),
        ("**Right lung:**\n- no abnormality is seen", []),
        ("**Pneumothorax:** none seen.", ["-Pneumothorax"]),
        ("**Pleural Effusion:**", []),
        ("Pleural effusion: small, left.", ["+Pleural Effusion left mild"]),
        ("Heart: normal.", ["-Cardiomegaly"]),
        # what claims nothing
        ("Evaluate for pneumothorax.", []),
        ("INDICATION: rule out pneumonia.\n\nIMPRESSION: CHF.", ["+Edema"]),
        ("Is there pneumonia?", []),
        ("Atelectasis refers to the collapse of a lung.", []),
        ("CT is recommended to exclude a mass.", []),
        ("History of pneumonia.", []),
        ("Compared to the prior effusion, edema is worse.", ["+Edema worse"]),
        ("The given diagnosis is edema.", []),
        ("I cannot interpret medical images.", []),
        # a text that contradicts itself makes both claims; a line break ends no sentence
        ("There is edema. No edema.", ["+Edema", "-Edema"]),
        ("There is no\n pleural effusion.", ["-Pleural Effusion"]),
    ],
)  # fmt: skip
def test_one_rule_at_a_time(text, expected):
    assert said(text) == expected


def test_spans_are_the_words_that_say_it():
    text = "Edema. There is no evidence of a left pleural effusion, as before."
    (edema, effusion) = claims(text)
    assert text[edema.start : edema.end] == "Edema"
    assert text[effusion.start : effusion.end] == "no evidence of a left pleural effusion"
    (presence, side, *_) = claims("Effusion on the left.")
    assert ("Effusion on the left."[side.start : side.end], presence.polarity) == ("left", Polarity.PRESENT)


def test_what_repeats_the_prompt_is_an_echo():
    (claim,) = claims("You mentioned edema.")
    assert (claim.finding, claim.echo) == ("Edema", True)


_WORDS = st.sampled_from(
    ["no", "effusion", "left", "edema", "or", ",", ".", ":", "\n", "- ", "**", "may", "not", "seen", "heart",
     "enlarged", "but", "pneumonia", "cannot", "exclude", "is", "normal", "Lungs", "clear", "#", "1."]
)  # fmt: skip


@given(st.text(max_size=120) | st.lists(_WORDS, max_size=40).map(" ".join))
def test_any_text_gives_claims_within_it(text):
    found = claims(text)
    steps = [claim.step for claim in found]
    assert steps == sorted(steps)
    for claim in found:
        assert 0 <= claim.start < claim.end <= len(text)
        assert claim.finding in FINDINGS
        if claim.attribute == "presence":
            assert claim.value == claim.polarity


@given(st.text(max_size=200))
def test_passages_lose_no_word_but_headings(text):
    for passage in passages(text):
        for token in passage.tokens:
            word = text[token.start : token.end]
            assert word.isascii() or "’" in word or word in "–—"
            if word.isalpha():
                assert token.word == spelt(word.lower())


# ---- the lexicon ------------------------------------------------------------------------------


def test_the_language_of_the_lexicon():
    assert [" ".join(words) for words in expand("a|b? c")] == ["a c", "b c", "c"]
    assert [*expand("No-go")] == [("no", "go")]
    phrases = Phrases()
    phrases.add("pleural? effusion", 1)
    phrases.add("effusion of blood", 2)
    words = ["an", "effusion", "of", "water", "pleural", "effusion", "of", "blood"]
    assert [*phrases.all(words)] == [(1, 2, [1]), (4, 6, [1])]


def test_every_word_of_the_lexicon_is_a_word():
    """YAML makes a truth value of a bare "no"; here it is a word."""
    assert "no" in lexicon("cues")["absent"]["before"]
    assert names_lexicon().at(["edema"], 0)[1]
    for name in ("findings", "anatomy", "modifiers", "cues"):
        assert all(isinstance(word, str) for word in _leaves(lexicon(name)))


def _leaves(table):
    if isinstance(table, dict):
        for key, inner in table.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(table, list):
        for inner in table:
            yield from _leaves(inner)
    else:
        yield table
