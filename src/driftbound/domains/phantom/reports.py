"""Reference reports of phantoms: what is true of a film, worded as nobody else here words it."""

from collections.abc import Mapping

import numpy as np

from driftbound.domains.phantom.language import CANONICAL_ORDER, Stance, Style, write

NORMAL = "No Finding"
REPORT = Style(
    sided=("{F} is demonstrated {on}.",),
    present=("{F} is demonstrated.",),
    absent=("{F} is not demonstrated.",),
    uncertain=("{F} is in question.",),
    normal="Normal chest radiograph.",
    abnormal="Abnormal chest radiograph.",
    joins=4,
    joined="There are no signs of {list}.",
)
"""No teacher's style and not the student's, so that none of them is nearer to it by its habits alone."""


def report(truth: Mapping[str, str]) -> str:
    """What is true of a film as a reference report: what is there first, then what is not.

    >>> report({"Consolidation": "left", "Edema": "absent", "Fracture": "absent", "No Finding": "absent"})
    'Abnormal chest radiograph. Consolidation is demonstrated on the left. There are no signs of edema or rib
    fracture.'
    """
    order = [name for name in CANONICAL_ORDER if name in truth]
    order.sort(key=lambda name: (name != NORMAL, truth[name] == "absent"))
    return write([Stance(name, truth[name]) for name in order], REPORT, np.random.default_rng(0))
