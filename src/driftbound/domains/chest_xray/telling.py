"""Telling: the question that gives a study's labels away and asks which signs in the film support them."""

from collections.abc import Mapping

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.language import NAMES
from driftbound.records import UNKNOWN

_ASK = (
    "You see a frontal chest radiograph; below stands what this study was labelled with. Go through the "
    "image step by step: support devices, heart and mediastinum, lungs, pleura, bones. For each finding that "
    "is labelled present explain what in this image supports it: the side of the patient, the zone, how "
    "severe it is, and the signs by which you see it. For each that is labelled absent say by what you see "
    "that it is not there. Where you cannot see what a label says, say so plainly. Write one line per "
    "finding, first its name. Do not answer with general knowledge: say only what this image shows."
)


def told_question(context: Mapping[str, str]) -> str:
    """The question that tells the label of every finding in a case's context.

    >>> print(told_question({"Edema": "absent", "Pleural Effusion": "left", "Fracture": "unknown"})[-59:])
    Edema: absent
    Pleural effusion: left
    Fracture: not labelled
    """
    lines = [
        f"{NAMES[name]}: {'not labelled' if context[name] == UNKNOWN else context[name]}"
        for name in FINDINGS
        if name in context
    ]
    return "\n".join((_ASK, "", *lines))
