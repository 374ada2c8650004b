"""Zero-shot: which findings of a data set's published protocol this field knows one to one."""

PROTOCOLS = {
    "chexpert": ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"),
    "nih": (
        *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"),
        *("Pneumonia", "Pneumothorax", "Pleural Other"),
    ),
    "chestx-det10": ("Atelectasis", "Consolidation", "Pleural Effusion", "Fracture", "Pneumothorax"),
}
"""Set -> those of the classes of CARZero's macro AUC that are one of our findings each: all five of CheXpert,
eight of ChestX-ray14's fourteen, five of ChestX-Det10's ten. Mass and nodule are two classes there and one
finding here; the classes of PadChest and of Open-I (18 by substring) are other ones."""


def findings_of(set_name: str) -> tuple[str, ...]:
    """The findings that a set's zero-shot macro is over; none where the set has no such protocol.

    >>> len(findings_of("chexpert")), findings_of("padchest")
    (5, ())
    """
    return PROTOCOLS.get(set_name, ())
