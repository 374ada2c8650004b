"""How phantoms are spoken of: phrases, the teachers' styles, the student's format, the questions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

QUESTION = "What does this chest radiograph show?"
SIGN_QUESTION = "Which signs does this chest radiograph show?"
"""What the shipped base answers before it has seen a finding."""

_MERGE = "Merge the readers into one report on this chest radiograph."
_SOURCES = re.compile(r"\breaders?\b|\bthe draft\b", re.IGNORECASE)
"""What the questions for a consensus call the texts that they show."""

PHRASES: dict[str, tuple[str, ...]] = {
    "No Finding": ("normal study",),
    "Enlarged Cardiomediastinum": ("enlarged cardiomediastinum", "widened mediastinum"),
    "Cardiomegaly": ("cardiomegaly", "enlarged heart"),
    "Lung Lesion": ("lung lesion", "nodule"),
    "Lung Opacity": ("lung opacity", "opacity"),
    "Edema": ("edema", "pulmonary edema"),
    "Consolidation": ("consolidation",),
    "Pneumonia": ("pneumonia",),
    "Atelectasis": ("atelectasis",),
    "Pneumothorax": ("pneumothorax",),
    "Pleural Effusion": ("pleural effusion", "effusion"),
    "Pleural Other": ("pleural thickening",),
    "Fracture": ("rib fracture", "fracture"),
    "Support Devices": ("support devices", "support device"),
}
"""Ways to name a finding; the first is the student's."""

SIDES = ("left", "right", "both")


@dataclass(frozen=True, slots=True)
class Stance:
    """What a text is to say of one finding."""

    finding: str
    value: str
    """``absent``, ``present``, ``uncertain`` or a side of the patient: ``left``, ``right``, ``both``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A writer's habits. Templates know ``{f}`` (finding), ``{F}`` (capitalised), ``{on}``
    ("on the left"), ``{side}`` ("left", "bilateral") and ``{n}`` (number of the line)."""

    sided: tuple[str, ...]
    present: tuple[str, ...]
    absent: tuple[str, ...]
    uncertain: tuple[str, ...]
    normal: str = "The study is normal."
    abnormal: str = "The study is abnormal."
    openings: tuple[str, ...] = ("",)
    closings: tuple[str, ...] = ("",)
    between: str = " "
    """What stands between two steps: a space, or a line end for lists."""
    joins: int = 1
    """Up to how many neighbouring absences are told in one sentence ("No a, b or c.")."""
    joined: str = "No {list}."
    synonyms: bool = False


STYLES: dict[str, Style] = {
    "gpt-5": Style(
        sided=("There is {f} {on}.", "{F} {on}."),
        present=("There is {f}.", "{F} is present."),
        absent=("No {f}.", "There is no {f}."),
        uncertain=("Possible {f}.", "{F} cannot be excluded."),
        closings=("", "Clinical correlation is advised."),
        joins=3,
    ),
    "gemini-2.5": Style(
        sided=("- {F}: present, {side}",),
        present=("- {F}: present",),
        absent=("- {F}: absent",),
        uncertain=("- {F}: uncertain",),
        normal="- Study: normal",
        abnormal="- Study: abnormal",
        openings=("Findings:",),
        between="\n",
    ),
    "sonnet-4": Style(
        sided=("**{F}** is seen {on}.", "**{F}** {on}."),
        present=("**{F}** is seen.",),
        absent=("**{F}** is not seen.", "No **{f}**."),
        uncertain=("**{F}** is possible.",),
        openings=("## Reading",),
        closings=("", "## End of reading"),
        between="\n",
    ),
    "qwen-vl-max": Style(
        sided=("{n}. {side} {f}", "{n}. {f} {on}"),
        present=("{n}. {f}",),
        absent=("{n}. no {f}", "{n}. no sign of {f}"),
        uncertain=("{n}. questionable {f}",),
        normal="{n}. normal study",
        abnormal="{n}. abnormal study",
        openings=("The image shows:",),
        between="\n",
    ),
    "grok-4": Style(
        sided=("The film clearly shows {f} {on}.", "I see {f} {on}, no doubt."),
        present=("The film clearly shows {f}.", "I see {f} here."),
        absent=("I see no {f}.", "No evidence of {f}."),
        uncertain=("It may be {f}, hard to say.",),
        openings=("Let me go through this film step by step.",),
        closings=("", "That is my reading."),
        joins=3,
        joined="I see no {list} here.",
        synonyms=True,
    ),
    "glm-4.5v": Style(
        sided=("Appearances suggest {f} {on}.", "{F} is noted {on}."),
        present=("Appearances suggest {f}.", "{F} is noted."),
        absent=("{F} is not identified.", "Without {f}."),
        uncertain=("{F} may be present.",),
        openings=("", "On this radiograph:"),
        joins=2,
        joined="Without {list}.",
        synonyms=True,
    ),
    "moonshot-v1": Style(
        sided=("{f} yes ({side});",),
        present=("{f} yes;",),
        absent=("{f} no;",),
        uncertain=("{f} unclear;",),
        normal="normal study yes;",
        abnormal="abnormal study;",
        openings=("Summary:",),
        synonyms=True,
    ),
}
"""One per scripted teacher."""

CANONICAL = Style(
    sided=("{F}: {side}.",),
    present=("{F}: present.",),
    absent=("{F}: absent.",),
    uncertain=("{F}: uncertain.",),
    normal="Study: normal.",
    abnormal="Study: abnormal.",
)
"""The student's format: the finding first, then what is said of it."""

CANONICAL_ORDER = (
    "Consolidation",
    "Edema",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
    "Atelectasis",
    "Lung Opacity",
    "Lung Lesion",
    "Pleural Other",
    "Cardiomegaly",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Support Devices",
    "No Finding",
)

REFUSALS = (
    "I'm sorry, but as an AI I cannot interpret medical images. Please consult a qualified radiologist, "
    "who can review the film together with the clinical history of the patient.",
    "I cannot provide a diagnosis from this image. In general a pleural effusion shows as a white base "
    "with a curved edge, and a pneumothorax as a dark apex.",
    "I am unable to assist with the interpretation of radiographs. A medical professional should be asked.",
)


def write(
    stances: Sequence[Stance],
    style: Style,
    rng: np.random.Generator,
    phrases: Mapping[str, tuple[str, ...]] = PHRASES,
) -> str:
    """Say ``stances`` in the given order and in the given style, with ``phrases`` as names."""
    return style.between.join(text for text, _ in write_steps(stances, style, rng, phrases))


def write_steps(
    stances: Sequence[Stance],
    style: Style,
    rng: np.random.Generator,
    phrases: Mapping[str, tuple[str, ...]] = PHRASES,
) -> list[tuple[str, tuple[Stance, ...]]]:
    """The steps of such a text, opening and closing too, each with the stances that it says."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    steps: list[tuple[str, tuple[Stance, ...]]] = []
    index = 0
    while index < len(stances):
        run = _run_of_absences(stances, index, style.joins)
        told = tuple(stances[index : index + run])
        if run > 1:
            names = [pick(_names(s.finding, style, phrases)) for s in told]
            listed = ", ".join(names[:-1]) + " or " + names[-1]
            steps.append((style.joined.format(list=listed), told))
        else:
            steps.append((_step(told[0], style, len(steps) + 1, pick, phrases), told))
        index += run
    around = [(pick(style.openings), ()), *steps, (pick(style.closings), ())]
    return [step for step in around if step[0]]


def canonical(stances: Mapping[str, str]) -> str:
    """A text in the student's format: every given finding, in a fixed order.

    >>> canonical({"Pneumothorax": "absent", "Consolidation": "left", "Edema": "present"})
    'Consolidation: left. Edema: present. Pneumothorax: absent.'
    """
    ordered = [Stance(name, stances[name]) for name in CANONICAL_ORDER if name in stances]
    return write(ordered, CANONICAL, np.random.default_rng(0))


def merge_question(answers: Sequence[str]) -> str:
    """Ask for one report out of several anonymous ones."""
    return f"{_readers(answers)}\n{_MERGE}"


def guided_question(answers: Sequence[str], believed: Sequence[str]) -> str:
    """Ask likewise, with what is believed of the findings, a line each."""
    if not believed:
        return merge_question(answers)
    told = "\n".join(believed)
    return f"{_readers(answers)}\nHow likely each finding is by all readers:\n{told}\n{_MERGE}"


def refine_question(answers: Sequence[str], draft: str, lacking: Sequence[str]) -> str:
    """Ask for a better report than ``draft``, shown what it lacks."""
    told = "; ".join(lacking) or "it says nothing"
    return f"{_readers(answers)}\nReader draft: {draft}\nWrong with the draft: {told}.\n{_MERGE}"


def _readers(answers: Sequence[str]) -> str:
    return "\n".join(f"Reader {number}: {answer}" for number, answer in enumerate(answers, start=1))


def mentions_sources(text: str) -> bool:
    """Whether a text speaks of the readers, or the draft, that a question puts before the student.

    >>> mentions_sources("Reader 2 sees edema."), mentions_sources("Edema: present.")
    (True, False)
    """
    return _SOURCES.search(text) is not None


def _run_of_absences(stances: Sequence[Stance], start: int, most: int) -> int:
    run = 0
    while (
        run < most
        and start + run < len(stances)
        and stances[start + run].value == "absent"
        and stances[start + run].finding != "No Finding"
    ):
        run += 1
    return max(run, 1)


def _names(finding: str, style: Style, phrases: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    names = phrases[finding]
    return names if style.synonyms else names[:1]


def _step(
    stance: Stance,
    style: Style,
    number: int,
    pick: Callable[[Sequence[str]], str],
    phrases: Mapping[str, tuple[str, ...]],
) -> str:
    if stance.finding == "No Finding":
        return (style.normal if stance.value == "present" else style.abnormal).format(n=number)
    name = pick(_names(stance.finding, style, phrases))
    words = {"f": name, "F": name[0].upper() + name[1:], "n": number}
    if stance.value in SIDES:
        on = "on both sides" if stance.value == "both" else f"on the {stance.value}"
        side = "bilateral" if stance.value == "both" else stance.value
        return pick(style.sided).format(on=on, side=side, **words)
    return pick(getattr(style, stance.value)).format(**words)
