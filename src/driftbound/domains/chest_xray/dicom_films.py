"""Films as DICOM: stored values, modality, window, inversion, each as PS3.3 C.7.6.3 and C.11 say."""

import io
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.domains.chest_xray.dicom_values import edges, is_several, modality, windowed
from driftbound.domains.chest_xray.films import (
    WHITE,
    Levels,
    Told,
    between,
    check_size,
    counts,
    levels_of,
    luminance,
    noted,
    stored_as_is,
)
from driftbound.errors import CaseError, ConfigError, boundary
from driftbound.store.manifest import one_line

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
"""Lowest value white, lowest value black."""
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
_RLE = "1.2.840.10008.1.2.5"


def levels_of_dicom(data: bytes, path: Path) -> Levels:
    """The levels of a DICOM file's one frame.

    Stored value -> modality table or rescale -> VOI table or the first window; the inversion of
    MONOCHROME1 or of an INVERSE presentation shape is told, and done once, by the caller.

    Raises ``CaseError`` naming the file and what is not read in it, ``ConfigError`` where pydicom is
    not installed.
    """
    pydicom = _pydicom()
    with boundary(CaseError, f"{path}: no readable DICOM", then="Restore the file."):
        header = pydicom.dcmread(io.BytesIO(data))
        _check(header, path)
        stored = _decoded(pydicom, header, path)
        if stored.ndim != (2 if _photometric(header) in MONOCHROME else 3):
            raise CaseError(f"{path}: holds several frames. Give each film its own file.")
        told = _told(header)
        if _photometric(header) in COLOUR:
            return Levels(pixels=luminance(stored), shades=stored_as_is(), blank=None, told=told)
        return _grey_levels(header, stored, told)


def _pydicom() -> Any:
    try:
        # Typed as Any: who works on this project need not have it.
        import_module("pydicom.pixels")
        return import_module("pydicom")
    except ImportError as error:
        raise ConfigError("DICOM films need the package pydicom: pip install 'driftbound[dicom]'") from error


def _photometric(header: Any) -> str:
    return _word(header.get("PhotometricInterpretation"))


def _word(value: Any) -> str:
    """The first word of an element that may be missing, empty, one or several; in one line."""
    several = value if is_several(value) else [value]
    return " ".join(str(several[0] or "").split()) if len(several) else ""


def _check(header: Any, path: Path) -> None:
    """Raise ``CaseError`` for a file that this reader has no rule for."""
    if "PixelData" not in header:
        raise CaseError(f"{path}: holds no image of whole numbers (PixelData). Leave it out.")
    absent = [name for name in _NEEDED if header.get(name) is None]
    if "TransferSyntaxUID" not in header.file_meta:
        absent.append("TransferSyntaxUID")
    if absent:
        raise CaseError(f"{path}: the header lacks {', '.join(absent)}. Restore the file.")
    photometric = _photometric(header)
    if not photometric:
        raise CaseError(
            f"{path}: PhotometricInterpretation (0028,0004) is missing, so whether low is black is unknown. "
            "Look at the film and write MONOCHROME1 or MONOCHROME2 there."
        )
    if photometric not in (*MONOCHROME, *COLOUR):
        raise CaseError(
            f"{path}: PhotometricInterpretation {photometric} is not read. "
            f"Convert it to one of {', '.join((*MONOCHROME, *COLOUR))}."
        )
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise CaseError(f"{path}: holds {header.NumberOfFrames} frames. Give each film its own file.")
    if int(header.SamplesPerPixel) != (1 if photometric in MONOCHROME else 3):
        raise CaseError(f"{path}: {photometric} with {header.SamplesPerPixel} samples. Correct the header.")
    allocated, bits = int(header.BitsAllocated), int(header.BitsStored)
    if not 1 < bits <= allocated <= 16 or (photometric in COLOUR and allocated != 8):
        raise CaseError(f"{path}: {bits} of {allocated} bits of {photometric} are not read. Convert it.")
    if int(header.get("HighBit", bits - 1)) != bits - 1:
        raise CaseError(f"{path}: HighBit {header.HighBit} with {bits} bits stored. Correct the header.")
    if header.get("PresentationLUTSequence"):
        raise CaseError(f"{path}: a presentation table is not read. Convert the film with it applied.")
    check_size(path, int(header.Rows), int(header.Columns))


def _decoded(pydicom: Any, header: Any, path: Path) -> NDArray[Any]:
    """Stored values as they are in the file, unused bits and all; colours as RGB."""
    syntax = header.file_meta.TransferSyntaxUID
    try:
        missing = not pydicom.pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        missing = True
    if missing:
        raise CaseError(
            f"{path}: no decoder for {_word(syntax.name)}. Run pip install 'driftbound[dicom]' (JPEG 2000), "
            "install python-gdcm (lossless JPEG, JPEG-LS), or convert it to Explicit VR Little Endian."
        )
    raw = _photometric(header) in MONOCHROME
    try:
        decoded: NDArray[Any] = pydicom.pixels.pixel_array(header, raw=raw, correct_unused_bits=False)
    except RuntimeError as error:  # what each decoder says, line by line
        raise CaseError(f"{path}: pixels cannot be decoded ({one_line(error)}). Restore the file.") from error
    return decoded


def _told(header: Any) -> Told:
    """What the header says of the film; the window comes later."""
    photometric = _photometric(header)
    shape = _word(header.get("PresentationLUTShape")).upper()
    if shape not in ("", "IDENTITY", "INVERSE"):
        raise ValueError(f"PresentationLUTShape {shape} is unknown")
    inverted = photometric == "MONOCHROME1" or (shape == "INVERSE" and photometric == "MONOCHROME2")
    notes = []
    if shape and photometric in MONOCHROME and (shape == "INVERSE") != (photometric == "MONOCHROME1"):
        notes.append(f"{photometric} with presentation shape {shape} contradict each other")
    if photometric in COLOUR:
        notes.append("colours became their luminance")
    if _word(header.get("BurnedInAnnotation")).upper() == "YES":
        notes.append("text is burned in")
    if "PROCESSING" in _word(header.get("PresentationIntentType")).upper():
        notes.append("for processing, not for looking at")
    if _word(header.get("PatientOrientation")).startswith("R"):
        notes.append("rows run towards the patient's right, against custom")
    aspect = header.get("PixelAspectRatio")
    if aspect and len({int(each) for each in aspect}) > 1:
        notes.append("pixels are not square")
    return Told(
        source="DICOM",
        photometric=photometric,
        bits=int(header.BitsStored),
        original_size=(int(header.Rows), int(header.Columns)),
        scale="stored",
        scaled_from=(0.0, float(WHITE)),
        inverted=inverted,
        view=_word(header.get("ViewPosition")),
        notes=tuple(notes),
    )


def _grey_levels(header: Any, stored_HW: NDArray[Any], told: Told) -> Levels:
    """Levels of one sample per pixel; what is done to values is done once for each value, not per pixel."""
    syntax = header.file_meta.TransferSyntaxUID
    used_HW = stored_HW
    if syntax == _RLE or not syntax.is_compressed:  # the other codes hold no bits that are not used
        used_HW = _used_bits(stored_HW, told.bits)
    blank_HW = _padding(header, stored_HW, used_HW)
    differ_HW = used_HW != stored_HW
    if (differ_HW if blank_HW is None else differ_HW & ~blank_HW).any():
        told = noted(told, f"bits above the {told.bits} stored were left out")
    pixels, stored_N = levels_of(used_HW)
    modality_N, as_stored = modality(header, stored_N)
    shades, window, notes = windowed(header, modality_N)
    told = noted(replace(told, window=window), *notes)
    if shades is not None:
        told = replace(told, scale="window", scaled_from=edges(window))
    elif as_stored and told.bits == 8 and not header.PixelRepresentation:
        shades = stored_N / WHITE
    else:
        # What occurs, not what fits: of 12 or 14 bits a film often uses a small part.
        seen_N = modality_N[counts(pixels, blank_HW, len(stored_N)) > 0]
        low, high = float(seen_N.min()), float(seen_N.max())
        shades = between(modality_N, low, high)
        told = replace(told, scale="own range", scaled_from=(low, high))
    return Levels(pixels=pixels, shades=shades, blank=blank_HW, told=told)


def _used_bits(stored_HW: NDArray[Any], bits: int) -> NDArray[Any]:
    """Without what lies above the stored bits (an overlay, old padding); a sign is kept."""
    unused = 8 * stored_HW.dtype.itemsize - bits
    return np.right_shift(np.left_shift(stored_HW, unused), unused) if unused else stored_HW


def _padding(header: Any, stored_HW: NDArray[Any], used_HW: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Pixels (H, W) outside the film, by PixelPaddingValue and its limit; ``None``: there are none."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    # Often written with the wrong sign: 63536 among signed values is -2000.
    ends = [
        np.asarray(int(end)).astype(stored_HW.dtype) for end in (value, value if limit is None else limit)
    ]
    low, high = min(ends), max(ends)
    blank_HW: NDArray[np.bool_] = (stored_HW >= low) & (stored_HW <= high)
    blank_HW |= (used_HW >= low) & (used_HW <= high)
    return blank_HW if blank_HW.any() else None
