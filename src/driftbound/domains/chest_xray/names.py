"""Names: the label words of each data set and which of our 14 findings they are, as plain tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE

OTHER = ""
"""Stands for no finding of ours: the word is known, and is none of the 14."""

Table = Mapping[str, tuple[str, ...]]
"""Finding, or ``OTHER`` -> the words of a data set for it, in small letters."""

CHEXPERT: Table = {finding: (finding.lower(),) for finding in FINDINGS} | {
    "Lung Opacity": ("lung opacity", "airspace opacity")
}
"""Of CheXpert, and of MIMIC-CXR, whose radiologists' file says airspace opacity."""

NIH: Table = {
    "No Finding": ("no finding",),
    "Atelectasis": ("atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Consolidation": ("consolidation",),
    "Edema": ("edema",),
    "Pleural Effusion": ("effusion",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax",),
    "Fracture": ("fracture",),
    "Lung Lesion": ("mass", "nodule", "diffuse nodule"),
    "Lung Opacity": ("infiltration",),
    "Pleural Other": ("pleural_thickening", "pleural thickening"),
    OTHER: ("calcification", "emphysema", "fibrosis", "hernia"),
}
"""Of ChestX-ray14, and of ChestX-Det on the same films: fractures and calcifications are its alone."""

VINDR: Table = {
    "No Finding": ("no finding",),
    "Atelectasis": ("atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Consolidation": ("consolidation",),
    "Edema": ("edema",),
    "Pleural Effusion": ("pleural effusion",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax",),
    "Fracture": ("clavicle fracture", "rib fracture"),
    "Lung Lesion": ("lung tumor", "nodule/mass"),
    "Lung Opacity": ("infiltration", "lung opacity"),
    "Pleural Other": ("pleural thickening",),
    OTHER: (
        *("aortic enlargement", "calcification", "copd", "emphysema", "enlarged pa", "ild"),
        *("lung cavity", "lung cyst", "mediastinal shift", "other disease", "other diseases"),
        *("other lesion", "pulmonary fibrosis", "tuberculosis"),
    ),
}
"""A shift of the mediastinum is no enlargement."""

PADCHEST: Table = {
    "No Finding": ("normal",),
    "Enlarged Cardiomediastinum": ("mediastinal enlargement", "superior mediastinal enlargement"),
    "Cardiomegaly": ("cardiomegaly",),
    "Lung Lesion": ("mass", "multiple nodules", "nodule", "pulmonary mass"),
    "Lung Opacity": ("alveolar pattern", "infiltrates"),
    "Edema": ("pulmonary edema",),
    "Consolidation": ("air bronchogram", "consolidation"),
    "Pneumonia": ("atypical pneumonia", "pneumonia"),
    "Atelectasis": (
        *("atelectasis", "atelectasis basal", "laminar atelectasis", "lobar atelectasis"),
        *("round atelectasis", "segmental atelectasis", "total atelectasis"),
    ),
    "Pneumothorax": ("hydropneumothorax", "pneumothorax"),
    "Pleural Effusion": ("loculated fissural effusion", "loculated pleural effusion", "pleural effusion"),
    "Pleural Other": (
        *("apical pleural thickening", "calcified pleural plaques", "calcified pleural thickening"),
        *("pleural plaques", "pleural thickening"),
    ),
    "Fracture": (
        *("callus rib fracture", "clavicle fracture", "fracture", "humeral fracture", "rib fracture"),
        "vertebral fracture",
    ),
    "Support Devices": (
        *("artificial aortic heart valve", "artificial heart valve", "artificial mitral heart valve"),
        *("catheter", "central venous catheter", "central venous catheter via jugular vein"),
        *("central venous catheter via subclavian vein", "central venous catheter via umbilical vein"),
        *("chest drain tube", "dual chamber device", "electrical device", "endotracheal tube", "nsg tube"),
        *("pacemaker", "reservoir central venous catheter", "single chamber device", "tracheostomy tube"),
    ),
    OTHER: (
        *("abnormal foreign body", "adenopathy", "air fluid level", "air trapping", "aortic aneurysm"),
        *("aortic atheromatosis", "aortic button enlargement", "aortic elongation", "aortic endoprosthesis"),
        *("asbestosis signs", "ascendent aortic elongation", "axial hyperostosis"),
        *("azygoesophageal recess shift", "azygos lobe", "blastic bone lesion", "bone cement"),
        *("bone metastasis", "breast mass", "bronchiectasis", "bronchovascular markings", "bullas"),
        *("calcified adenopathy", "calcified densities", "calcified fibroadenoma", "calcified granuloma"),
        *("cavitation", "central vascular redistribution", "cervical rib", "chilaiditi sign"),
        *("chronic changes", "copd signs", "costochondral junction hypertrophy"),
        *("costophrenic angle blunting", "cyst", "descendent aortic elongation", "dextrocardia"),
        *("diaphragmatic eventration", "double j stent", "empyema", "end on vessel", "endoprosthesis"),
        *("emphysema", "esophagic dilatation", "external foreign body", "fibrotic band"),
        *("fissure thickening", "flattened diaphragm", "gastrostomy tube", "goiter", "granuloma"),
        *("ground glass pattern", "gynecomastia", "heart insufficiency", "heart valve calcified"),
        *("hemidiaphragm elevation", "hiatal hernia", "hilar congestion", "hilar enlargement"),
        *("humeral prosthesis", "hyperinflated lung", "hypoexpansion", "hypoexpansion basal"),
        *("increased density", "interstitial pattern", "kerley lines", "kyphosis"),
        *("lepidic adenocarcinoma", "lipomatosis", "lung metastasis", "lung vascular paucity"),
        *("lymphangitis carcinomatosa", "lytic bone lesion", "major fissure thickening"),
        *("mammary prosthesis", "mastectomy", "mediastinal mass", "mediastinal shift"),
        *("mediastinic lipomatosis", "metal", "metastasis", "miliary opacities"),
        *("minor fissure thickening", "nephrostomy tube", "nipple shadow"),
        *("non axial articular degenerative changes", "obesity", "osteopenia", "osteoporosis"),
        *("osteosynthesis material", "pectum carinatum", "pectum excavatum", "pericardial effusion"),
        *("pleural mass", "pneumomediastinum", "pneumoperitoneo", "post radiotherapy changes"),
        *("prosthesis", "pseudonodule", "pulmonary artery enlargement", "pulmonary artery hypertension"),
        *("pulmonary fibrosis", "pulmonary hypertension", "pulmonary venous hypertension"),
        *("respiratory distress", "reticular interstitial pattern"),
        *("reticulonodular interstitial pattern", "right sided aortic arch", "sclerotic bone lesion"),
        *("scoliosis", "situs inversus", "soft tissue mass", "sternotomy"),
        *("subacromial space narrowing", "subcutaneous emphysema", "supra aortic elongation"),
        *("surgery", "surgery breast", "surgery heart", "surgery humeral", "surgery lung", "surgery neck"),
        *("suture material", "thoracic cage deformation", "tracheal shift", "tuberculosis"),
        *("tuberculosis sequelae", "vascular hilar enlargement", "vascular redistribution"),
        *("ventriculoperitoneal drain tube", "vertebral anterior compression", "vertebral compression"),
        *("vertebral degenerative changes", "volume loss"),
    ),
}
"""Without the words that speak of the study instead of the chest: see ``padchest``."""

OPENI: Table = {
    "No Finding": ("normal",),
    "Cardiomegaly": ("cardiomegaly",),
    "Lung Lesion": ("mass", "masses", "nodule", "nodules"),
    "Lung Opacity": ("opacities", "opacity"),
    "Edema": ("pulmonary edema",),
    "Consolidation": ("consolidation", "consolidations"),
    "Pneumonia": ("pneumonia",),
    "Atelectasis": ("atelectases", "atelectasis"),
    "Pneumothorax": ("pneumothorax",),
    "Pleural Effusion": ("pleural effusion", "pleural effusions"),
    "Pleural Other": ("pleura thickening", "pleural thickening"),
    "Fracture": ("fracture", "fractures"),
    "Support Devices": ("catheter", "catheters", "medical device", "pacemaker", "tube inserted"),
    OTHER: (
        *("airspace disease", "aorta", "aortic", "arthritis", "breast mass", "bronchiectasis", "bronchitis"),
        *("bullous emphysema", "calcinosis", "cardiac shadow", "costophrenic angle", "cysts", "deformity"),
        *("density", "diaphragm", "diaphragmatic eventration", "emphysema", "foreign bodies"),
        *("granuloma", "granulomatous disease", "hernia hiatal", "hilar", "hyperostosis", "infiltrate"),
        *("infiltrates", "kyphosis", "lucency", "lung hyperdistention", "lung hyperlucent"),
        *("lung hypoinflation", "lymph nodes", "markings", "mediastinal mass", "mediastinum"),
        *(
            "mediastinum mass",
            "nipple nodule",
            "nipple shadow",
            "opacity ribs",
            "osteophyte",
            "pneumonectomy",
        ),
        *("pulmonary congestion", "pulmonary emphysema", "pulmonary fibrosis", "sarcoidosis", "scarring"),
        *(
            "scars",
            "scoliosis",
            "shoulder",
            "spine",
            "spondylosis",
            "stents",
            "sternum",
            "surgical",
            "sutures",
        ),
        *("thickening", "thoracic vertebrae", "trachea", "tuberculosis", "volume loss"),
    ),
}
"""A heading holds a word of these where all its parts are whole words of the heading, in any order; the
more telling word wins. ``mass`` is in ``Mass/lung``, not in ``massive``."""

TABLES: Mapping[str, Table] = {
    "chexpert": CHEXPERT,
    "nih": NIH,
    "vindr": VINDR,
    "padchest": PADCHEST,
    "openi": OPENI,
}

LOOSE: Mapping[str, frozenset[str]] = {
    "nih": frozenset(NIH["Lung Opacity"]),
    "vindr": frozenset(VINDR["Lung Opacity"]),
    "padchest": frozenset(PADCHEST["Lung Opacity"]),
    "openi": frozenset(OPENI["Lung Opacity"]),
}
"""Words whose finding is only about the same: each set draws the line of Lung Opacity elsewhere."""

_OF_ALL = frozenset(
    {"Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "Pneumonia", "Pneumothorax"}
)
_OF_REPORTS = frozenset({"Lung Lesion", "Fracture", "Support Devices"})
DENIED: Mapping[str, frozenset[str]] = {
    "nih": _OF_ALL | {"Lung Lesion"},
    "chestx_det": (_OF_ALL - {"Cardiomegaly", "Edema", "Pneumonia"}) | {"Lung Lesion", "Fracture"},
    "vindr": _OF_ALL | {"Lung Lesion"},
    "padchest": _OF_ALL | _OF_REPORTS | {"Enlarged Cardiomediastinum"},
    "openi": _OF_ALL | _OF_REPORTS,
}
"""Findings that a set calls by all their names: where it labels a film and has no word for one of these,
the finding is not there. Of the others (loose, or only some kinds of it) silence says nothing."""


NEAR: Mapping[str, Mapping[str, str]] = {
    "nih": {},
    "vindr": {"lung cavity": "Lung Lesion", "lung cyst": "Lung Lesion", "other lesion": "Lung Lesion"},
    "padchest": {
        **dict.fromkeys(("calcified granuloma", "cavitation", "granuloma", "lung metastasis"), "Lung Lesion"),
        **dict.fromkeys(("lepidic adenocarcinoma", "pseudonodule"), "Lung Lesion"),
        **dict.fromkeys(("heart insufficiency", "hilar congestion", "kerley lines"), "Edema"),
        **dict.fromkeys(("central vascular redistribution", "vascular redistribution"), "Edema"),
        **dict.fromkeys(("hypoexpansion", "hypoexpansion basal", "volume loss"), "Atelectasis"),
        **dict.fromkeys(("costophrenic angle blunting", "empyema"), "Pleural Effusion"),
        **dict.fromkeys(("vertebral anterior compression", "vertebral compression"), "Fracture"),
    },
    "openi": {
        **dict.fromkeys(("cysts", "granuloma", "granulomatous disease"), "Lung Lesion"),
        **dict.fromkeys(("airspace disease", "infiltrate", "infiltrates"), "Consolidation"),
        "cardiac shadow": "Cardiomegaly",
        "costophrenic angle": "Pleural Effusion",
        "deformity": "Fracture",
        "pulmonary congestion": "Edema",
        "volume loss": "Atelectasis",
    },
}
"""Words that hint at a finding and do not name it: where one stands, silence no longer denies the finding."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a data set's words say of a study."""

    labels: dict[str, float]
    """``POSITIVE`` where a word says so, ``NEGATIVE`` where the set denies it by silence."""
    notes: tuple[str, ...]
    """What is odd about the words: that no table knows them, or that they do not go together."""


def told(words: Iterable[str], *, by: str, denied: Iterable[str]) -> Told:
    """The labels that words of the table ``by`` make, and ``denied`` where they name none of it.

    ``No Finding`` is negative where anything else is found, in or outside our 14.

    >>> told(["Effusion", "Hernia"], by="nih", denied=["Edema"]).labels
    {'Edema': 0.0, 'Pleural Effusion': 1.0, 'No Finding': 0.0}
    """
    table = by_word(by)
    asked = {word.strip().lower(): word.strip() for word in words}
    found = {table[word] for word in asked if word in table}
    hinted = {NEAR[by][word] for word in asked if word in NEAR[by]}
    labels = {finding: NEGATIVE for finding in FINDINGS if finding in denied and finding not in hinted}
    labels |= {finding: POSITIVE for finding in FINDINGS if finding in found}
    notes = unknown([said for word, said in asked.items() if word not in table])
    if found - {"No Finding"}:
        labels["No Finding"] = NEGATIVE
        notes = (*notes, *(("said to be normal, with findings",) if "No Finding" in found else ()))
    return Told(labels, notes)


def unknown(words: Iterable[str]) -> tuple[str, ...]:
    """The note about words that no table knows; none where there are none."""
    names = sorted(set(words))
    return (f"{len(names)} unknown label words: {', '.join(names)}",) if names else ()


@cache
def by_word(name: str) -> Mapping[str, str]:
    """Word, in small letters -> finding or ``OTHER``, of a table.

    >>> by_word("vindr")["lung tumor"]
    'Lung Lesion'
    """
    return {word: finding for finding, words in TABLES[name].items() for word in words}
