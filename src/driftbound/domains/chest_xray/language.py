"""Language: what teachers and students are asked, and the student's own format of an answer."""

from collections.abc import Mapping, Sequence

from driftbound.domains.chest_xray.findings import FINDINGS

NO_FINDING = "No Finding"
READER = "Reader"
"""What the questions for a consensus call the one who gave an answer."""

DIAGNOSIS = (
    "You see a frontal chest radiograph. Go through it step by step: support devices, heart and mediastinum, "
    "lungs, pleura, bones. For each of the following say whether it is present, absent or uncertain, and for "
    "what is present the side of the patient, the zone, how severe it is, and by which signs you see it: "
    "{findings}. Write one line per finding, first its name. Do not answer with general knowledge: say only "
    "what this image shows."
)
"""Asks without giving anything away."""
_MERGE = (
    "Several readers have read this chest radiograph; their readings follow. Compare them with each other, "
    "and with the image. Write one reading: a line per finding, its name, then present, absent or uncertain, "
    "with side, zone and severity where they hold. Keep what several readers support and the image shows, "
    "drop what contradicts it, and do not mention the readers."
)

NAMES: dict[str, str] = {name: name[0] + name[1:].lower() for name in FINDINGS} | {
    "Pleural Other": "Pleural thickening"
}
"""Finding -> its name in the student's format."""


def question(findings: Sequence[str]) -> str:
    """The question that discloses nothing."""
    return DIAGNOSIS.format(findings=", ".join(NAMES[name].lower() for name in findings))


def merge_question(answers: Sequence[str]) -> str:
    """Ask for one reading out of several anonymous ones."""
    return f"{_MERGE}\n\n{_readers(answers)}"


def guided_question(answers: Sequence[str], believed: Sequence[str]) -> str:
    """Ask likewise, with what is believed of the findings, a line each."""
    if not believed:
        return merge_question(answers)
    told = "\n".join(believed)
    return f"{_MERGE}\n\n{_readers(answers)}\n\nHow likely each finding is by all readers together:\n{told}"


def refine_question(answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
    """Ask for a better reading than ``draft``, shown what it lacks."""
    told = "; ".join(lacking) or "it says nothing"
    return f"{_MERGE}\n\n{_readers(answers)}\n\nA draft of it:\n{draft}\nWrong with the draft: {told}."


def render(stances: Mapping[str, str]) -> str:
    """A text in the student's format: every given finding in CheXpert's order, a line each.

    ``stances`` are as ``protocols.Domain.render`` takes them. "No Finding" is told first, and only where it
    is present: that there is something the other lines say.

    >>> print(render({"Edema": "absent", "Pleural Effusion": "left", "No Finding": "absent"}))
    Edema: absent.
    Pleural effusion: present, left.
    """
    lines = []
    for name in FINDINGS:
        value = stances.get(name, "")
        if not value or (name == NO_FINDING and value == "absent"):
            continue
        if name == NO_FINDING:
            lines.append("No acute cardiopulmonary abnormality.")
        elif value in ("present", "absent", "uncertain"):
            lines.append(f"{NAMES[name]}: {value}.")
        else:
            side = "both sides" if value == "both" else value
            lines.append(f"{NAMES[name]}: present, {side}.")
    return "\n".join(lines)


def mentions_sources(text: str) -> bool:
    """Whether a text speaks of the readers, or the draft, that a question for a consensus showed.

    >>> mentions_sources("Reader 2 sees edema."), mentions_sources("Edema: present.")
    (True, False)
    """
    low = text.lower()
    return READER.lower() in low or "the draft" in low


def _readers(answers: Sequence[str]) -> str:
    return "\n\n".join(f"{READER} {number}:\n{answer}" for number, answer in enumerate(answers, start=1))
