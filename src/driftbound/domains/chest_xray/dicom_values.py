"""Values of a DICOM on their way to shades: modality table or rescale, VOI table or window (PS3.3 C.11)."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.domains.chest_xray.films import How, Window, between

_HOW: dict[str, How] = {"LINEAR": "linear", "LINEAR_EXACT": "linear_exact", "SIGMOID": "sigmoid"}


def modality(header: Any, stored_N: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """C.11.1: values (N,) by the modality table or the rescale; and whether they are as stored.

    Raises ``ValueError`` for a table or a rescale that cannot be applied.
    """
    if header.get("ModalityLUTSequence"):
        values_N, _ = _looked_up(header, header.ModalityLUTSequence[0], stored_N, _is_signed(header))
        return values_N, False
    slope, intercept = _rescale(header)
    if slope == 0:
        raise ValueError("RescaleSlope is 0")
    return stored_N * slope + intercept, (slope, intercept) == (1, 0)


def _rescale(header: Any) -> tuple[float, float]:
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _is_signed(header: Any) -> bool:
    return bool(header.PixelRepresentation)


def windowed(
    header: Any, values_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, Window, tuple[str, ...]]:
    """C.11.2: shades (N,) by the first VOI table or else the first window, and notes.

    No shades where there is neither, or a window that is empty or too narrow. Raises ``ValueError``
    for a table that does not hold what it says and for an unknown kind of window.
    """
    if tables := header.get("VOILUTSequence"):
        signed = not header.get("ModalityLUTSequence") and (_is_signed(header) or _rescale(header)[1] < 0)
        # A table has whole numbers for keys; a rescale need not give them.
        entries_N, bits = _looked_up(header, tables[0], np.rint(values_N), signed)
        return entries_N / (2**bits - 1), Window(how="lut", offered=len(tables)), _chosen(len(tables))
    centres, widths = _numbers(header.get("WindowCenter")), _numbers(header.get("WindowWidth"))
    offered = max(len(centres), len(widths))
    if not centres or not widths:
        there = "WindowCenter" in header or "WindowWidth" in header
        return None, Window(offered=offered), ("empty window, not applied",) if there else ()
    function = " ".join(str(header.get("VOILUTFunction") or "LINEAR").upper().split())
    if function not in _HOW:
        raise ValueError(f"VOILUTFunction {function} is unknown")
    window = Window(how=_HOW[function], centre=centres[0], width=widths[0], offered=offered)
    if widths[0] < 1 if window.how == "linear" else widths[0] <= 0:
        return None, replace(window, how="none"), (f"window of width {widths[0]:g}, not applied",)
    return _through(window.how, centres[0], widths[0], values_N), window, _chosen(offered)


def _chosen(offered: int) -> tuple[str, ...]:
    return (f"the first of {offered} windows or tables",) if offered > 1 else ()


def _through(how: How, centre: float, width: float, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """C.11.2.1.2 and C.11.2.1.3 with an output of 0 to 1."""
    if how == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(4 * (values_N - centre) / width, -700, 700)))
    low, high = _ends(how, centre, width)
    return between(values_N, low, high) if high > low else (values_N > low).astype(np.float64)


def _ends(how: How, centre: float, width: float) -> tuple[float, float]:
    """LINEAR counts values, each 1 wide, from middle to middle; LINEAR_EXACT measures."""
    if how == "linear":
        centre, width = centre - 0.5, width - 1
    return centre - width / 2, centre + width / 2


def edges(window: Window) -> tuple[float, float] | None:
    """The values that a window makes black and white; ``None``: a table or a sigmoid."""
    if window.centre is None or window.width is None or window.how not in ("linear", "linear_exact"):
        return None
    return _ends(window.how, window.centre, window.width)


def _looked_up(
    header: Any, table: Any, values_N: NDArray[np.float64], signed: bool
) -> tuple[NDArray[np.float64], int]:
    """Entries (N,) of a table for whole numbers, and their bits; beyond its ends its ends.

    Our own, for pydicom 3.0.2 counts keys in the type of the entries: 12 bits through a table of 8 wrap.
    """
    n, first, bits = (int(each) for each in table.LUTDescriptor)
    n = n or 2**16
    if signed and first >= 2**15:
        first -= 2**16
    data = table.LUTData
    if isinstance(data, bytes):
        order = "<" if header.file_meta.TransferSyntaxUID.is_little_endian else ">"
        narrow = bits <= 8 and len(data) in (n, n + n % 2)
        data = np.frombuffer(data, dtype="u1" if narrow else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data)).astype(np.float64)[:n]
    if len(entries) < n or not 1 < bits <= 16 or entries.max() >= 2**bits:
        raise ValueError(f"a table of {n} entries of {bits} bits does not hold what it says")
    return entries[np.clip(values_N - first, 0, n - 1).astype(np.intp)], bits


def _numbers(value: Any) -> list[float]:
    """The numbers of an element that may be missing, empty, one or several."""
    if value is None or value == "":
        return []
    numbers = [float(each) for each in (value if is_several(value) else [value])]
    if not np.isfinite(numbers).all():
        raise ValueError(f"a window at {numbers}")
    return numbers


def is_several(value: Any) -> bool:
    """Whether an element has several values, or none in a list."""
    return not isinstance(value, str) and hasattr(value, "__len__")
