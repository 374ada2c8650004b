"""Where a student stands among its teachers, finding by finding, and how far the teachers lie apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from driftbound.evaluation.classification import RowScore
from driftbound.statistics.intervals import plain

_SAME = 1e-9
"""Rates that differ by less are one rate."""


def ranks(student: RowScore, teachers: Mapping[str, RowScore], findings: Sequence[str]) -> dict[str, Any]:
    """Per finding the student's ``rank`` (1 is the best of ``of``, ties shared) and the teachers' ``spread``.

    By balanced accuracy; the rank is one more than the number of teachers that are better, the spread the
    best teacher less the worst. Teachers for whom it is undefined are left out; ``None`` where the
    student's is, or where no teacher is left.
    """
    found = {}
    for f, name in enumerate(findings):
        own = float(student.rates.balanced.point[f])
        rates = np.array([one.rates.balanced.point[f] for one in teachers.values()])
        rates = rates[~np.isnan(rates)]
        known = not np.isnan(own) and rates.size > 0
        found[name] = {
            "rank": int((rates > own + _SAME).sum()) + 1 if known else None,
            "of": len(rates) + 1 if known else None,
            "spread": plain(float(rates.max() - rates.min())) if rates.size else None,
        }
    return found
