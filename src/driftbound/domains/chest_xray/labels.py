"""Labels: what a data set's raw labels mean as truth; nobody decides that silently."""

from collections.abc import Mapping
from typing import Literal

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE, UNCERTAIN
from driftbound.errors import CaseError
from driftbound.records import UNKNOWN

NO_FINDING = "No Finding"
DEVICES = "Support Devices"
UncertainAs = Literal["absent", "present", "ignore"]
BlankAs = Literal["absent", "ignore"]


def decide(
    raw: Mapping[str, float],
    *,
    uncertain_as: UncertainAs,
    blank_as: BlankAs,
    sides: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Every finding's truth: ``present`` (or its side, where ``sides`` tell), ``absent`` or ``unknown``.

    ``uncertain_as`` and ``blank_as`` say what -1 and a missing label mean: ``ignore`` makes the finding
    unknown in this study, hence not scored. Where "No Finding" is positive, a blank of any other finding but
    of Support Devices is absent: the labelers say so. A blank "No Finding" is absent where another finding
    but Support Devices is present, for that is what it means, else it is a blank as any other. A label that
    is there is never overruled, also where it contradicts "No Finding". Raises ``CaseError`` for a finding
    that is none of ``FINDINGS``, such as "Airspace Opacity", and for another value: a reader must translate.

    >>> told = decide({"Edema": -1.0, "Pneumonia": 1.0}, uncertain_as="ignore", blank_as="ignore")
    >>> [told[name] for name in ("Edema", "Pneumonia", "Fracture", "No Finding")]
    ['unknown', 'present', 'unknown', 'absent']
    """
    meaning = {
        POSITIVE: "present",
        NEGATIVE: "absent",
        UNCERTAIN: UNKNOWN if uncertain_as == "ignore" else uncertain_as,
    }
    for name, value in raw.items():
        if name not in FINDINGS or value not in meaning:
            raise CaseError(
                f"label {name} = {value}: is no finding of ours or none of 1, 0, -1. "
                "Translate it in the reader."
            )
    blank = UNKNOWN if blank_as == "ignore" else blank_as
    healthy = raw.get(NO_FINDING) == POSITIVE
    told = {}
    for name in FINDINGS:
        if name in raw:
            told[name] = meaning[raw[name]]
        else:
            told[name] = "absent" if healthy and name not in (NO_FINDING, DEVICES) else blank
    ill = any(value == "present" for name, value in told.items() if name not in (NO_FINDING, DEVICES))
    if NO_FINDING not in raw and ill:
        told[NO_FINDING] = "absent"
    for name, side in (sides or {}).items():
        if told.get(name) == "present":
            told[name] = side
    return told
