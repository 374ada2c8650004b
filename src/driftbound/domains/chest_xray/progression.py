"""Progression: what is asked of two films of a patient, and what an answer says of the course."""

import re

from driftbound.domains.chest_xray.claims import claims
from driftbound.domains.chest_xray.findings import HEADLINE
from driftbound.domains.chest_xray.language import NAMES
from driftbound.domains.chest_xray.ms_cxr_t import COURSES

IMPROVING, STABLE, WORSENING = COURSES
QUESTION = (
    "You see two frontal chest radiographs of one patient: first the earlier one, then the later one. For "
    "each of the following say what has become of it from the first film to the second, as one of the words "
    "improving, stable or worsening: {findings}. Write one line per finding: its name, a colon, the word, "
    "and then by what you see it. Do not answer with general knowledge: say only what these films show."
)
_SAID = {"better": IMPROVING, "stable": STABLE, "worse": WORSENING, "new": WORSENING}
"""Value of the labeler's ``course`` -> class; what was not there before has become worse."""
_WORDS = {
    IMPROVING: "improving|improved|improvement|better|decreasing|decreased|smaller|resolving|resolved",
    STABLE: r"stable|unchanged|no (?:\w+ )?change|similar|persistent",
    WORSENING: "worsening|worsened|worse|increasing|increased|larger|progressing|progressed|new",
}
_ALSO = {"Edema": "pulmonary edema", "Pleural Effusion": "effusion"}
_NAME = {name.lower(): name for name in HEADLINE} | {_ALSO[name]: name for name in _ALSO}
_LINE = re.compile(
    r"^[\W\d_]*(?P<name>{names})s?[\W_]*?[:=\u2013-][\W_]*(?:{words})\b".format(
        names="|".join(sorted(_NAME, key=len, reverse=True)),
        words="|".join(f"(?P<{course}>{words})" for course, words in _WORDS.items()),
    ),
    re.IGNORECASE | re.MULTILINE,
)


def question() -> str:
    """Asks what has become of the five findings of MS-CXR-T; discloses nothing.

    >>> question().count("pleural effusion")
    1
    """
    return QUESTION.format(findings=", ".join(NAMES[name].lower() for name in HEADLINE))


def courses(text: str) -> dict[str, str]:
    """Finding -> ``improving``, ``stable`` or ``worsening``, as far as an answer says it.

    A line in the asked format goes before running text, which is read by the labeler's ``course``; of two of
    a kind the last one counts. That a finding is there, or is not, says nothing of its course.

    >>> courses("**Edema**: improving, less haze.\\nPneumothorax: present.\\nThe effusion has increased.")
    {'Pleural Effusion': 'worsening', 'Edema': 'improving'}
    """
    found = {
        claim.finding: _SAID[claim.value]
        for claim in claims(text)
        if claim.attribute == "course" and claim.finding in HEADLINE
    }
    for line in _LINE.finditer(text):
        found[_NAME[line["name"].lower()]] = next(course for course in COURSES if line[course])
    return found
