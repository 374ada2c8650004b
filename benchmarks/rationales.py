"""Made-up rationales about chest films, about as long as the answers of CXR-MAX, for measuring speed."""

import random

LETTERS = 1200
"""About as long as an answer of CXR-MAX."""
_SIDES = ("left", "right")
_OPENINGS = (
    "Let me go through this frontal chest radiograph step by step before I come to a conclusion.",
    "This is a portable AP view of the chest; the patient is slightly rotated, and the breath is shallow.",
    "I will look at devices, heart, lungs, pleura and bones in turn, and then sum up what the film shows.",
)
_HEADINGS = ("Support devices", "Heart and mediastinum", "Lungs", "Pleura", "Bones", "Conclusion")
_SENTENCES: dict[str, tuple[str, ...]] = {
    "Support devices": (
        "An endotracheal tube ends about four centimetres above the carina, which is a good position.",
        "A {side} internal jugular line ends in the superior vena cava, without a kink along its way.",
        "No pacemaker, no chest tube and no feeding tube are visible on this view.",
    ),
    "Heart and mediastinum": (
        "The cardiac silhouette looks mildly enlarged, although the projection makes hearts look larger.",
        "The mediastinal contours are within normal limits, and the trachea lies in the middle.",
        "The width of the heart against that of the chest is hard to judge because of the rotation.",
    ),
    "Lungs": (
        "There is a patchy opacity at the {side} base, which may represent pneumonia or atelectasis.",
        "The vessels of the upper zones are somewhat prominent, so a mild interstitial edema is possible.",
        "Elsewhere the lungs are well expanded, and I see no further consolidation, mass or nodule.",
        "The texture of the parenchyma between the ribs is even, as far as the exposure lets one see it.",
    ),
    "Pleura": (
        "The {side} costophrenic angle is blunted, and this suggests a small pleural effusion.",
        "No pleural line is seen at either apex, hence there is no evidence of a pneumothorax.",
        "The other angle is sharp, and the diaphragm is smooth on both sides of the spine.",
    ),
    "Bones": (
        "Ribs, clavicles and the visible part of the spine show no fracture.",
        "The soft tissues of the chest wall and of the neck look ordinary for someone of this age.",
    ),
    "Conclusion": (
        "Taken together, a small {side} effusion with a basal opacity is the most convincing reading.",
        "Comparison with an earlier film would help to tell what is new from what has long been there.",
        "A lateral view or a scan could answer the questions that remain open here.",
    ),
}


def rationale(rng: random.Random, letters: int = LETTERS) -> str:
    """A rationale of at most ``letters`` letters, and seldom much less.

    >>> 1000 < len(rationale(random.Random(0))) <= 1200
    True
    """
    marked = rng.random() < 0.5
    text = rng.choice(_OPENINGS)
    for heading in _HEADINGS:
        said = [line.format(side=rng.choice(_SIDES)) for line in _SENTENCES[heading]]
        rng.shuffle(said)
        if rng.random() < 0.5:
            said = said[:-1]
        if marked:
            text += f"\n\n**{heading}:**\n" + "\n".join(f"- {line}" for line in said)
        else:
            text += f"\n\n{heading}: " + " ".join(said)
    while len(text) > letters:
        text = text[: max(text.rfind(". ", 0, letters), text.rfind(".\n", 0, letters)) + 1]
    return text
