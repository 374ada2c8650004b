"""The 14 findings, the signs that speak for them, and how often they occur. Only words and numbers."""

from driftbound.domains.chest_xray.findings import FINDINGS as FINDINGS
from driftbound.domains.chest_xray.findings import HEADLINE as HEADLINE
from driftbound.domains.chest_xray.findings import SIDED as CHEST_SIDED

SIDED = CHEST_SIDED - {"Edema", "Support Devices"}
"""Phantoms are drawn with these on no side."""

PREVALENCE = {
    "Consolidation": 0.88,
    "Pleural Effusion": 0.60,
    "Pneumonia": 0.36,
    "Pneumothorax": 0.12,
    "Edema": 0.86,
    "Atelectasis": 0.35,
    "Cardiomegaly": 0.40,
    "Enlarged Cardiomediastinum": 0.20,
    "Lung Lesion": 0.15,
    "Lung Opacity": 0.30,
    "Pleural Other": 0.12,
    "Fracture": 0.12,
    "Support Devices": 0.35,
}
"""Marginal share of images; the five headline values are those of the issue, the others are ours."""

HEALTHY = 0.05
"""Share of images with "No Finding": nothing above but, perhaps, a support device."""

SIGNS: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": ("wide mediastinum",),
    "Cardiomegaly": ("wide heart",),
    "Lung Lesion": ("round spot",),
    "Lung Opacity": ("patch",),
    "Edema": ("haze", "fine lines"),
    "Consolidation": ("patch", "dark branches"),
    "Pneumonia": ("haze", "mottled dots"),
    "Atelectasis": ("white base", "raised diaphragm"),
    "Pneumothorax": ("dark apex", "thin edge line"),
    "Pleural Effusion": ("white base", "curved edge"),
    "Pleural Other": ("pleural band",),
    "Fracture": ("broken rib",),
    "Support Devices": ("wire and box",),
}
"""Many-to-many: a white base is effusion or atelectasis, haze is edema or pneumonia, a patch is
opacity or consolidation; the sign beside it decides. Edema is on both sides."""

SIGN_NAMES = tuple(dict.fromkeys(sign for signs in SIGNS.values() for sign in signs))

SIDED_SIGNS = frozenset(SIGN_NAMES) - {"wide mediastinum", "wide heart", "wire and box"}
"""Signs that lie left, right or on both sides (of the patient)."""
