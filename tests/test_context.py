"""What fits into a writer's context: verbatim, as digests, or not at all; by hand, a word is a token."""

from functools import partial

import pytest

from driftbound.consensus.context import DOES_NOT_FIT, digest, fit
from driftbound.domains.phantom.claims import claims
from driftbound.domains.phantom.language import canonical
from driftbound.records import Case, Claim, Polarity

CASE = Case(case_id="c", cluster="c", split="train", prompt="", images=())


class Field:
    """Two findings; the question is the word ``Merge`` and the answers."""

    findings = ("Edema", "Pleural Effusion")
    render = staticmethod(canonical)

    def merge_question(self, case, answers):
        return " ".join(["Merge", *answers])


def words(text):
    return len(text.split())


LONG = "I have looked at this film for a while now. Edema is present here."  # 14 words, its digest 2
MIDDLE = "The film shows some edema. There is no pleural effusion."  # 10 words, its digest 5
SHORT = "No edema."  # 2 words, its digest 2: no shorter
MUTE = "The film is rotated and the patient is rather tall and old."  # 12 words that claim nothing
ALL = [SHORT, LONG, MIDDLE]


def fitted(room, answers=ALL):
    return fit(Field(), partial(Field().merge_question, CASE), answers, claims, words, room)


def test_the_sizes_are_those_said_above():
    assert [words(text) for text in (LONG, MIDDLE, SHORT, MUTE)] == [14, 10, 2, 12]
    assert digest(Field(), claims(LONG)) == "Edema: present."
    assert digest(Field(), claims(MIDDLE)) == "Edema: present. Pleural effusion: absent."
    assert digest(Field(), claims(SHORT)) == "Edema: absent."
    assert digest(Field(), claims(MUTE)) == ""


@pytest.mark.parametrize(
    ("room", "kept", "note"),
    [
        (27, ALL, ""),  # 1 + 2 + 14 + 10
        (26, [SHORT, "Edema: present.", MIDDLE], "digest of 1 of 3"),  # 1 + 2 + 2 + 10 = 15
        (15, [SHORT, "Edema: present.", MIDDLE], "digest of 1 of 3"),
        (
            14,
            [SHORT, "Edema: present.", "Edema: present. Pleural effusion: absent."],
            "digest of 2 of 3",
        ),  # 1 + 2 + 2 + 5 = 10
        (10, [SHORT, "Edema: present.", "Edema: present. Pleural effusion: absent."], "digest of 2 of 3"),
        (9, [SHORT, "Edema: present."], "digest of 1 of 3, 1 of 3 left out"),  # 1 + 2 + 2 = 5
        (5, [SHORT, "Edema: present."], "digest of 1 of 3, 1 of 3 left out"),
        (4, [SHORT], "2 of 3 left out"),
        (3, [SHORT], "2 of 3 left out"),
        (2, [], DOES_NOT_FIT),
        (0, [], DOES_NOT_FIT),
        (-5, [], DOES_NOT_FIT),
    ],
)
def test_no_more_is_shortened_than_must_be(room, kept, note):
    assert fitted(room) == (kept, note)


def test_the_order_stays_and_of_two_alike_the_first_is_shortened():
    assert fitted(1 + 14 + 2, [LONG, LONG]) == (["Edema: present.", LONG], "digest of 1 of 2")


def test_what_claims_nothing_is_left_out_and_counted():
    """13 words for MUTE and Merge alone; without it there is nothing to show."""
    assert fitted(12, [MUTE, SHORT]) == ([SHORT], "1 of 2 left out")
    assert fitted(12, [MUTE]) == ([], DOES_NOT_FIT)
    assert fitted(13, [MUTE]) == ([MUTE], "")


def test_nothing_is_read_or_rendered_where_all_fits():
    def never(text):
        raise AssertionError(text)

    assert fit(Field(), partial(Field().merge_question, CASE), ALL, never, words, 27) == (ALL, "")


def test_hedges_stay_out_of_a_digest_and_choices_are_in():
    class Quiz(Field):
        findings = ("answer", "Edema", "Pleural Effusion")
        render = staticmethod(lambda stances: str(dict(stances)))

    def claim(finding, attribute, value, polarity=Polarity.PRESENT):
        place = {"start": 0, "end": 1, "step": 0}
        return Claim(finding=finding, attribute=attribute, value=value, polarity=polarity, **place)

    said = [
        claim("answer", "value", "B"),
        claim("Edema", "presence", "uncertain", Polarity.UNCERTAIN),
        claim("Pleural Effusion", "presence", "present"),
        claim("Pleural Effusion", "side", "left"),
    ]
    assert digest(Quiz(), said) == "{'Pleural Effusion': 'left', 'answer': 'B'}"
