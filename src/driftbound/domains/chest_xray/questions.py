"""Questions for one finding each, to be answered yes or no: where a model's probabilities are read."""

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.language import NAMES, NO_FINDING

_ARTICLE = frozenset({"Lung Lesion", "Lung Opacity", "Pneumothorax", "Pleural Effusion", "Fracture"})
"""Findings that one speaks of in the singular with an article."""


def yes_no_question(finding: str) -> str:
    """Asks whether a finding is there. "No Finding" is asked for as a normal radiograph.

    >>> yes_no_question("Pleural Effusion")
    'Does this chest radiograph show a pleural effusion? Answer yes or no.'
    >>> yes_no_question("No Finding")
    'Is this chest radiograph normal? Answer yes or no.'
    """
    if finding not in FINDINGS:
        raise ValueError(f"{finding}: none of the findings of this field")
    if finding == NO_FINDING:
        return "Is this chest radiograph normal? Answer yes or no."
    name = NAMES[finding].lower()
    article = "a " if finding in _ARTICLE else "an " if finding == "Enlarged Cardiomediastinum" else ""
    return f"Does this chest radiograph show {article}{name}? Answer yes or no."
