"""DICOM films for tests, written with pydicom; importing this does not need it."""

import io

import numpy as np

from driftbound.domains.chest_xray.films import read_film

VALUES = np.array([[0, 1, 500, 1000], [1023, 1024, 1025, 2000], [2047, 2048, 3000, 4095]], dtype=np.uint16)


def dataset(stored, *, photometric="MONOCHROME2", bits=12, syntax=None, **elements):
    """A film with the least that a reader needs; an element that is ``None`` is left out."""
    import pydicom
    from pydicom import uid

    film = pydicom.Dataset()
    film.file_meta = pydicom.dataset.FileMetaDataset()
    film.file_meta.TransferSyntaxUID = syntax or uid.ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    film.Rows, film.Columns = stored.shape[:2]
    film.PhotometricInterpretation = photometric
    film.SamplesPerPixel = 1 if stored.ndim == 2 else stored.shape[2]
    film.BitsAllocated, film.BitsStored, film.HighBit = 8 * stored.dtype.itemsize, bits, bits - 1
    film.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    if stored.ndim == 3:
        film.PlanarConfiguration = 0
    order = ">" if film.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian else "<"
    film.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    film["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(film, name, value)
        if value is None:
            delattr(film, name)
    return film


def written(film):
    import pydicom

    file = io.BytesIO()
    pydicom.dcmwrite(file, film, enforce_file_format=True)
    return file.getvalue()


def read(tmp_path, film, **how):
    path = tmp_path / "film.dcm"
    path.write_bytes(film if isinstance(film, bytes) else written(film))
    return read_film(path, **how)


def table(values, *, first=0, bits=8, words=False):
    """An item of a LUT sequence; ``words``: as OW, else as US."""
    import pydicom

    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values), first, bits])
    if words:
        item.add_new("LUTData", "OW", np.asarray(values, dtype="<u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(each) for each in values])
    return item
