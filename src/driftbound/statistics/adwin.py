"""ADWIN: the adaptive window of the optional package river, slower and calmer than the martingale."""

from dataclasses import dataclass
from importlib import import_module

import numpy as np

from driftbound.errors import MeasureError
from driftbound.statistics.intervals import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Alarms of an adaptive window. It has no p; false alarms are far rarer than ``delta`` says."""

    alarms: tuple[int, ...]
    """Calls (from 0) at which the window was cut."""
    delta: float
    n: int
    """Calls with a score."""


def adwin(scores: Array, *, delta: float = 0.002) -> Windows:
    """Run river's ADWIN (Bifet and Gavalda 2007) along a stream (T,) of scores in [0, 1]; ``nan``: no call.

    Raises ``MeasureError`` for scores outside [0, 1] and where river is not installed.
    """
    try:
        drift = import_module("river.drift")
    except ImportError as error:
        raise MeasureError(
            "ADWIN needs the package river, which is not installed: pip install 'driftbound[stream]'"
        ) from error
    given = np.asarray(scores, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(given))
    if ((given[known] < 0) | (given[known] > 1)).any():
        raise MeasureError("ADWIN takes scores in [0, 1]; rescale them by bounds known beforehand")
    detector = drift.ADWIN(delta=delta)
    alarms = []
    for call in known.tolist():
        detector.update(float(given[call]))
        if detector.drift_detected:
            alarms.append(call)
    return Windows(alarms=tuple(alarms), delta=delta, n=len(known))
