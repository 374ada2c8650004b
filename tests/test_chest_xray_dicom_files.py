"""DICOM files: stored values and padding, codes of pixels, colours, and what is refused by name."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from driftbound.domains.chest_xray.films import read_film
from driftbound.domains.chest_xray.thumbnails import thumbnail
from driftbound.errors import CaseError
from tests.chest_xray_dicoms import VALUES, dataset, read, written

uid = pytest.importorskip("pydicom.uid")
encaps = pytest.importorskip("pydicom.encaps")

CORNERS = np.array([[200, 0, 0], [90, 0, 40]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)


# Stored values


def test_twelve_bits_in_sixteen_and_what_lies_above_them(tmp_path):
    film = dataset(VALUES, WindowCenter=1024, WindowWidth=1000)
    clean = read(tmp_path, film)
    film.PixelData = (VALUES | np.uint16(0x5000)).tobytes()
    overlaid = read(tmp_path, film)
    assert (overlaid.pixels == clean.pixels).all()
    assert overlaid.told.notes == ("bits above the 12 stored were left out",)


def test_signed_values_with_a_rescale_by_hand(tmp_path):
    """Stored -1000, -500, 0, 1000 are -2000 + 24, ... in units of 2 x + 24: LINEAR_EXACT 24/4000 from
    -1976 to 2024 gives 0, a quarter (63.75), half (127.5) and all."""
    film = dataset(np.array([[-1000, -500], [0, 1000]], dtype=np.int16), RescaleSlope=2, RescaleIntercept=24)
    film.WindowCenter, film.WindowWidth, film.VOILUTFunction = 24, 4000, "LINEAR_EXACT"
    picture = read(tmp_path, film)
    assert picture.pixels.tolist() == [[0, 64], [128, 255]]
    assert picture.told.scaled_from == (-1976, 2024)


def test_signed_twelve_bits_keep_their_sign(tmp_path):
    """Of -2048, 0 and 2047 without a window: 0, 255 x 2048/4095 = 127.5+, 255."""
    stored = np.array([[-2048, 0, 2047]], dtype=np.int16)
    film = dataset(stored)
    film.PixelData = (stored & 0x0FFF).astype("<u2").tobytes()  # as some write them, the sign not carried on
    assert read(tmp_path, film).pixels.tolist() == [[0, 128, 255]]


def test_eight_bits_without_a_window_stay_as_they_are(tmp_path):
    stored = np.array([[3, 100], [101, 200]], dtype=np.uint8)
    picture = read(tmp_path, dataset(stored, bits=8))
    assert picture.pixels.tolist() == stored.tolist()
    assert (picture.told.scale, picture.told.scaled_from) == ("stored", (0, 255))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(tmp_path, photometric):
    """Without the 4000 of the padding, 100 to 300 is the range."""
    stored = np.array([[4000, 100, 150], [200, 300, 4000]], dtype=np.uint16)
    picture = read(tmp_path, dataset(stored, photometric=photometric, PixelPaddingValue=4000))
    expected = np.rint([[0, 0, 63.75], [127.5, 255, 0]])
    if photometric == "MONOCHROME1":
        expected = np.where(stored == 4000, 0, 255 - expected)
    assert picture.pixels.tolist() == expected.tolist()
    assert picture.told.scaled_from == (100, 300)


@pytest.mark.parametrize("value", [-2000, 63536])
def test_padding_of_signed_films_however_it_is_written(tmp_path, value):
    film = dataset(np.array([[-2000, 0, 100, 200]], dtype=np.int16), bits=16)
    film.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    assert read(tmp_path, film).told.scaled_from == (0, 200)


@pytest.mark.parametrize(("stored", "value"), [(63536, 63536), (4095, 4095), (0x5000 | 4000, 4000)])
def test_padding_is_seen_above_and_below_the_unused_bits(tmp_path, stored, value):
    """12 bits are stored; some pad with more, and an overlay above the padding does not hide it."""
    film = dataset(np.array([[stored, 100, 200]], dtype=np.uint16), PixelPaddingValue=value)
    picture = read(tmp_path, film)
    assert picture.pixels.tolist() == [[0, 0, 255]]
    assert (picture.told.scaled_from, picture.told.notes) == ((100, 200), ())


def test_padding_may_be_a_range_and_may_be_everything(tmp_path):
    film = dataset(VALUES, PixelPaddingValue=4095, PixelPaddingRangeLimit=2047)
    picture = read(tmp_path, film)
    assert (picture.pixels[VALUES >= 2047] == 0).all()
    assert picture.told.scaled_from == (0, 2000)
    everything = read(tmp_path, dataset(np.full((3, 3), 7, dtype=np.uint16), PixelPaddingValue=7))
    assert (everything.pixels.max(), everything.told.notes) == (0, ("one shade only",))


# Codes


def smooth():
    return (np.add.outer(np.arange(32) * 60, np.arange(48) * 40) % 4096).astype(np.uint16)


@pytest.mark.parametrize(
    "syntax", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"]
)
def test_plain_codes_give_the_same_film(tmp_path, syntax):
    how = {"WindowCenter": 1800, "WindowWidth": 3000}
    film = dataset(smooth(), syntax=getattr(uid, syntax), **how)
    assert (read(tmp_path, film).pixels == read(tmp_path, dataset(smooth(), **how)).pixels).all()


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless"])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_codes_give_the_same_film(tmp_path, syntax, signed):
    if syntax == "JPEG2000Lossless":
        pytest.importorskip("openjpeg")
    stored = smooth().astype(np.int16) - 2048 if signed else smooth()
    film = dataset(stored, WindowCenter=100, WindowWidth=3000, PixelPaddingValue=-2048 if signed else 0)
    plain = read(tmp_path, film)
    film.compress(getattr(uid, syntax))
    coded = read(tmp_path, film)
    assert (coded.pixels == plain.pixels).all()
    assert coded.told == plain.told


def in_jpeg(pixels, **how):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, subsampling=0)
    film = dataset(pixels, bits=8, syntax=uid.JPEGBaseline8Bit, **how)
    film.PixelData = encaps.encapsulate([file.getvalue()])
    film["PixelData"].is_undefined_length = True
    return film


def test_jpeg_in_a_dicom(tmp_path):
    assert np.abs(read(tmp_path, in_jpeg(CORNERS)).pixels.astype(int) - CORNERS).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_dicom_is_never_mirrored(tmp_path, photometric):
    """Nor does an orientation that runs towards the right turn it: that is noted."""
    film = dataset(CORNERS, bits=8, photometric=photometric, PatientOrientation=["R", "F"], ViewPosition="AP")
    picture = read(tmp_path, film)
    assert (picture.pixels == (CORNERS if photometric == "MONOCHROME2" else 255 - CORNERS)).all()
    assert picture.told.view == "AP"
    assert picture.told.notes == ("rows run towards the patient's right, against custom",)


def test_what_is_unusual_is_noted(tmp_path):
    film = dataset(VALUES, BurnedInAnnotation="YES", PresentationIntentType="FOR PROCESSING")
    film.PatientOrientation, film.PixelAspectRatio = "", [2, 1]
    notes = ("text is burned in", "for processing, not for looking at", "pixels are not square")
    assert read(tmp_path, film).told.notes == notes


# Colours


def test_a_capture_in_colours_becomes_its_luminance(tmp_path):
    """0.299, 0.587 and 0.114 of 255 are 76, 150 and 29; equal thirds stay. Nothing is inverted."""
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    picture = read(tmp_path, dataset(colours, bits=8, photometric="RGB"))
    assert picture.pixels.tolist() == [[76, 150], [29, 90]]
    assert (picture.told.photometric, picture.told.notes) == ("RGB", ("colours became their luminance",))


def test_luminance_and_two_colours_are_read_as_red_green_and_blue(tmp_path):
    """Y of 77 with no colour (128, 128) is grey 77."""
    grey = np.full((2, 2, 3), [77, 128, 128], dtype=np.uint8)
    assert read(tmp_path, dataset(grey, bits=8, photometric="YBR_FULL")).pixels.tolist() == [[77, 77]] * 2
    coded = in_jpeg(np.dstack([CORNERS] * 3), photometric="YBR_FULL_422")
    assert np.abs(read(tmp_path, coded).pixels.astype(int) - CORNERS).max() <= 2


# What is refused


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        (
            {"PhotometricInterpretation": None},
            "is missing, so whether low is black is unknown. Look at the film",
        ),
        (
            {"PhotometricInterpretation": ""},
            "is missing, so whether low is black is unknown. Look at the film",
        ),
        ({"PhotometricInterpretation": "MONOCHROME"}, "PhotometricInterpretation MONOCHROME is not read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR is not read. Convert it"),
        ({"PhotometricInterpretation": "RGB"}, "RGB with 1 samples"),
        ({"PixelData": None}, "holds no image of whole numbers"),
        ({"NumberOfFrames": 2}, "holds 2 frames"),
        ({"HighBit": 15}, "HighBit 15 with 12 bits stored"),
        ({"BitsStored": 17}, "17 of 16 bits of MONOCHROME2 are not read"),
        ({"BitsAllocated": 32}, "12 of 32 bits of MONOCHROME2 are not read"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"PixelRepresentation": None, "Rows": None}, "the header lacks Rows, PixelRepresentation"),
        ({"Rows": 4}, "no readable DICOM"),
        ({"Rows": 60_000, "Columns": 60_000}, "60000 x 60000 pixels are more than"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_there_is_no_rule_for_is_refused_by_name(tmp_path, elements, said):
    with pytest.raises(
        CaseError, match=rf"^{re.escape(str(tmp_path / 'film.dcm'))}: .*{re.escape(said)}"
    ) as caught:
        read(tmp_path, dataset(VALUES, **elements))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["JPEGLSLossless", "JPEGLosslessSV1", "MPEG2MPML"])
def test_a_code_without_decoder_names_what_would_help(tmp_path, name, monkeypatch):
    film = dataset(VALUES)
    film.file_meta.TransferSyntaxUID = getattr(uid, name)
    film.PixelData = encaps.encapsulate([b"\xff\xd8 whatever"])
    film["PixelData"].is_undefined_length = True
    decoders = pytest.importorskip("pydicom.pixels.decoders.base")
    monkeypatch.setattr(decoders.Decoder, "is_available", False)
    said = r"no decoder for .*pip install 'driftbound\[dicom\]'.*python-gdcm.*Explicit VR Little Endian"
    with pytest.raises(CaseError, match=said):
        read(tmp_path, film)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", ["plain", "RLELossless", "JPEG2000Lossless", "jpeg"])
def test_a_truncated_dicom_raises_wherever_it_ends(tmp_path, code):
    if code == "JPEG2000Lossless":
        pytest.importorskip("openjpeg")
    film = in_jpeg(CORNERS) if code == "jpeg" else dataset(smooth())
    if code not in ("plain", "jpeg"):
        film.compress(getattr(uid, code))
    data = written(film)
    whole = read(tmp_path, data)
    for end in [*range(0, len(data) - 400, 97), *range(len(data) - 400, len(data))]:
        try:
            picture = read(tmp_path, data[:end])
        except CaseError:
            continue
        # Only marks behind the last pixel are missing.
        assert code != "plain"
        assert end > len(data) - 20
        assert (picture.pixels == whole.pixels).all()


@pytest.mark.filterwarnings("ignore")
def test_a_truncated_dicom_is_named(tmp_path):
    data = written(dataset(smooth()))
    for end in (140, 300, len(data) - 1):
        with pytest.raises(CaseError, match=rf"^{re.escape(str(tmp_path / 'film.dcm'))}: "):
            read(tmp_path, data[:end])


def test_a_thumbnail_of_a_dicom_tells_the_same_again(tmp_path):
    path = tmp_path / "film.dcm"
    path.write_bytes(written(dataset(VALUES, WindowCenter=[1024, 9], WindowWidth=[1000, 9])))
    for _ in range(2):
        assert thumbnail(path, tmp_path / "cache", size=8)[1] == read_film(path, size=8).told
