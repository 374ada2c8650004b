"""Quality of answers, against numbers worked out by hand."""

import pytest

from driftbound.quality import Quality, answer_quality, repeated_share, what_broke
from driftbound.records import Claim, Polarity
from driftbound.training_config import WatchConfig

LIMITS = WatchConfig(unparsable=0.2, repeated=0.2, length=2.0)


def claims(text):
    """One claim per text that speaks of edema."""
    if "edema" not in text.lower():
        return []
    said = {"finding": "Edema", "attribute": "presence", "value": "absent", "polarity": Polarity.ABSENT}
    return [Claim(**said, start=0, end=1, step=0)]


def test_three_answers_by_hand():
    """One without a claim, one cut off, one sound: 2 of 3; 1 of 2 sentences repeated in one of them."""
    texts = ["Hello there.", "Edema. Edema.", "There is no edema."]
    found = answer_quality(texts, [True, False, True], claims)
    assert found.unparsable == pytest.approx(2 / 3)
    assert found.repeated == pytest.approx(0.5 / 3)
    assert found.words == pytest.approx((2 + 2 + 4) / 3)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("One.", 0.0),
        ("One. two. ONE.", 1 / 3),
        ("a\nb\na\na", 0.5),
        ("0.5 cm. 0.5 cm.", 0.5),  # a point within a number ends nothing
        ("没有水肿。没有水肿。", 0.5),
    ],
)
def test_repeated_share(text, share):
    assert repeated_share(text) == pytest.approx(share)


def test_words_without_spaces_are_counted():
    assert answer_quality(["没有水肿。 edema"], [True], claims).words == 5


def test_no_answers_have_no_quality():
    with pytest.raises(ValueError, match="no answer"):
        answer_quality([], [], claims)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Quality(0.2, 0.2, 20.0), ""),
        (Quality(0.0, 0.0, 5.0), ""),
        (Quality(0.21, 0.0, 10.0), "0.21 of the answers unparsable, limit 0.2"),
        (Quality(0.0, 0.3, 10.0), "0.30 of the sentences said before, limit 0.2"),
        (Quality(0.0, 0.0, 20.1), "20.1 words per answer, 10.0 at first, limit factor 2"),
        (Quality(0.0, 0.0, 4.9), "4.9 words per answer"),
    ],
)
def test_what_broke(now, said):
    """Limits are reached without harm and not passed."""
    found = what_broke(now, Quality(0.0, 0.0, 10.0), LIMITS)
    assert found.startswith(said)
    assert bool(found) == bool(said)
