"""The 14 findings by CheXpert's names, those with a side, and the five of the headline. Only words."""

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""In the order of the CheXpert labeler."""

HEADLINE = ("Consolidation", "Pleural Effusion", "Pneumonia", "Pneumothorax", "Edema")
"""The five of MS-CXR-T and of the paper's tables."""

SIDED = frozenset(
    {
        "Lung Lesion",
        "Lung Opacity",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    }
)
