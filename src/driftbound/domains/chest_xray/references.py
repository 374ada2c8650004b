"""References: the section of each study's report that answers are compared with, and how many have none."""

from collections.abc import Sequence
from typing import Literal

from driftbound.domains.chest_xray.mimic import report_of
from driftbound.domains.chest_xray.sections import FINDINGS, IMPRESSION
from driftbound.domains.chest_xray.study import Study
from driftbound.progress import say

Section = Literal["none", "findings", "impression", "findings+impression"]


def references_of(studies: Sequence[Study], section: Section) -> dict[str, str]:
    """Study -> its reference; studies without that section are left out, and it is said how many.

    With ``findings+impression`` what there is of both, in this order. A report in a file is read now.
    """
    if section == "none":
        return {}
    wanted = {"findings": (FINDINGS,), "impression": (IMPRESSION,)}.get(section, (FINDINGS, IMPRESSION))
    found = {}
    for study in studies:
        sections = (study if study.sections else report_of(study)).sections
        text = "\n".join(sections[name].strip() for name in wanted if sections.get(name, "").strip())
        if text:
            found[study.study_id] = text
    lacking = len(studies) - len(found)
    if lacking:
        say(f"{lacking} of {len(studies)} studies have no {section} to compare with: no reference")
    return found
