"""Words: which of them say that something is there, is not there, or that nobody can tell."""

import re

from driftbound.records import Polarity

_PRESENT = (
    *(
        "yes",
        "y",
        "yep",
        "yeah",
        "true",
        "present",
        "positive",
        "affirmative",
        "seen",
        "visible",
        "identified",
    ),
    *("detected", "observed", "noted", "found", "confirmed", "evident", "+", "✓", "✔", "✅", "☑"),
)
_ABSENT = (
    *("no", "n", "nope", "false", "absent", "negative", "none", "nothing", "excluded", "ruled out"),
    *(
        "not present",
        "not seen",
        "not visible",
        "not identified",
        "not detected",
        "not observed",
        "not noted",
    ),
    *("not found", "not evident", "no evidence", "not there", "✗", "✘", "❌", "×"),
)
_UNCERTAIN = (
    *(
        "uncertain",
        "unsure",
        "unknown",
        "unclear",
        "undetermined",
        "indeterminate",
        "inconclusive",
        "equivocal",
    ),
    *(
        "possible",
        "possibly",
        "probable",
        "probably",
        "likely",
        "unlikely",
        "maybe",
        "perhaps",
        "questionable",
    ),
    *("suspected", "suspicious", "borderline", "not sure", "not certain", "not clear", "not known", "?"),
    *("cannot be determined", "can't be determined", "cannot determine", "cannot tell", "can't tell"),
    *("cannot be excluded", "cannot be ruled out", "cannot exclude", "not excluded", "not determined"),
    *("cannot be assessed", "not assessable", "it depends", "depends", "yes and no"),
)
POLARITIES: dict[str, Polarity] = {
    **dict.fromkeys(_PRESENT, Polarity.PRESENT),
    **dict.fromkeys(_ABSENT, Polarity.ABSENT),
    **dict.fromkeys(_UNCERTAIN, Polarity.UNCERTAIN),
}
"""What a word, or a few of them, says by itself."""
OMITTED = frozenset(
    {"", "n/a", "na", "null", "not applicable", "not mentioned", "not stated", "not reported", "-"}
)
"""What says nothing at all."""
SIDES = {
    **dict.fromkeys(("left", "left-sided", "left side", "on the left"), "left"),
    **dict.fromkeys(("right", "right-sided", "right side", "on the right"), "right"),
    **dict.fromkeys(
        ("both", "bilateral", "bilaterally", "both sides", "on both sides", "left and right"), "both"
    ),
}
HEDGE = (
    r"\b(?:possibl[ey]|probabl[ey]|perhaps|maybe|likely|unlikely|questionabl[ey]|presumabl[ey]|suspected"
    r"|suspicious|may|might|could|uncertain|unsure|unclear|equivocal)\b"
)
"""Pattern of a word with which a writer keeps back."""
_HEDGE = re.compile(HEDGE)
_TRIM = " \t\r\n.,;:!*_`\"'“”‘’()[]{}"


def bare(text: str) -> str:
    """A value in lower case, without the marks around it and with single spaces.

    >>> bare(' **Not  seen.** '), bare("✓")
    ('not seen', '✓')
    """
    return " ".join(text.lower().replace("’", "'").strip(_TRIM).split())


def polarity_of(value: str) -> Polarity | None:
    """What a short value says of the finding that it is the value of; ``None`` where that is something else.

    >>> str(polarity_of("Yes.")), str(polarity_of("probably present")), polarity_of("3 cm")
    ('present', 'uncertain', None)
    """
    said = bare(value)
    found = POLARITIES.get(said)
    if found is None and _HEDGE.search(said):
        rest = bare(_HEDGE.sub(" ", said))
        return Polarity.UNCERTAIN if not rest or rest in POLARITIES or rest in SIDES else None
    return found


def without_hedge(value: str) -> tuple[str, bool]:
    """A value without the word that keeps it open, and whether there was one.

    >>> without_hedge("probably B"), without_hedge("pneumonia.")
    (('b', True), ('pneumonia', False))
    """
    said = bare(value)
    rest = bare(_HEDGE.sub(" ", said))
    return rest, rest != said
