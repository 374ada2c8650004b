"""Films as PNG and JPEG: grey by formula, left stays left, and what cannot be read is refused by name."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFile

from driftbound.domains.chest_xray.films import film_of, luminance, read_film
from driftbound.errors import CaseError, ConfigError

CORNERS = np.array([[200, 0, 0], [90, 0, 40]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)
"""(32, 48): no turn and no mirror image of it looks the same."""


def png(array, **how):
    return saved(Image.fromarray(array), "PNG", **how)


def saved(image, kind, **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def raw_png(array, colour, *, clear=None):
    """A PNG of 16 bits by hand, as the PNG specification says: signature, IHDR, tRNS, IDAT, IEND."""
    rows, columns = array.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, colour, 0, 0, 0))]
    if clear is not None:
        chunks.append((b"tRNS", struct.pack(">H", clear)))
    chunks += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def read(tmp_path, data, name="film", **how):
    path = tmp_path / name
    path.write_bytes(data)
    return read_film(path, **how)


# What is grey


def in_every_mode():
    opaque = np.full_like(CORNERS, 255)
    palette = Image.fromarray(CORNERS).convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "L": png(CORNERS),
        "I;16": png(CORNERS.astype(np.uint16) * 20),
        "RGB": png(np.dstack([CORNERS] * 3)),
        "LA": png(np.dstack([CORNERS, opaque])),
        "RGBA": png(np.dstack([*[CORNERS] * 3, opaque])),
        "P": saved(palette, "PNG"),
        "JPEG": saved(Image.fromarray(CORNERS), "JPEG", quality=100, subsampling=0),
        "JPEG of colours": saved(Image.fromarray(np.dstack([CORNERS] * 3)), "JPEG", quality=100),
    }


@pytest.mark.parametrize("mode", in_every_mode())
def test_a_film_comes_out_as_it_went_in_and_never_mirrored(tmp_path, mode):
    """200 is the highest of 16 bits and hence white there; all else stays. Twice as large stays so too."""
    data = in_every_mode()[mode]
    picture = read(tmp_path, data)
    expected = np.rint(CORNERS * (255 / 200)) if mode == "I;16" else CORNERS
    assert picture.pixels.dtype == np.uint8
    assert np.abs(picture.pixels - expected).max() <= (1 if "JPEG" in mode else 0)
    assert picture.told.original_size == (32, 48)
    assert not picture.told.inverted
    larger = read(tmp_path, data, size=96).pixels[16:80]
    assert np.abs(larger[8:24, 8:24].astype(int) - picture.pixels[8, 8]).max() <= 1
    assert np.abs(larger[40:56, 72:88].astype(int) - picture.pixels[24, 40]).max() <= 1


def test_one_bit_is_black_and_white(tmp_path):
    picture = read(tmp_path, saved(Image.fromarray(np.array([[True, False, False]])), "PNG"))
    assert picture.pixels.tolist() == [[255, 0, 0]]
    assert (picture.told.photometric, picture.told.bits) == ("1", 1)


def test_sixteen_bits_by_their_own_range(tmp_path):
    """From 1000 to 3000: 1000 is 0, 3000 is 255, 1400 is 255 x 0.2 = 51, 2200 is 255 x 0.6 = 153."""
    told = read(tmp_path, png(np.array([[1000, 1400], [2200, 3000]], dtype=np.uint16)))
    assert told.pixels.tolist() == [[0, 51], [153, 255]]
    assert (told.told.scale, told.told.scaled_from, told.told.bits) == ("own range", (1000, 3000), 16)


def test_sixteen_bits_by_the_bits_that_are_declared(tmp_path):
    """12 bits: 4095 is white; 819 is a fifth of it and 51, 1365 a third and 85."""
    data = png(np.array([[0, 819], [1365, 4095]], dtype=np.uint16))
    picture = read(tmp_path, data, bits=12)
    assert picture.pixels.tolist() == [[0, 51], [85, 255]]
    assert (picture.told.scale, picture.told.scaled_from, picture.told.bits) == (
        "declared bits",
        (0, 4095),
        12,
    )
    with pytest.raises(CaseError, match=r"film: holds 4095, too much for 11 bits"):
        read(tmp_path, data, bits=11)


def test_transparent_parts_are_black_and_no_part_of_a_range(tmp_path):
    """Half of 200 shows over black: 200 x 128/255 = 100.4. In 16 bits, 60000 shows nothing."""
    picture = read(tmp_path, png(np.dstack([np.full((1, 3), 200), [[255, 128, 0]]]).astype(np.uint8)))
    assert picture.pixels.tolist() == [[200, 100, 0]]
    assert picture.told.notes == ("transparent parts were laid over black",)
    deep = read(tmp_path, raw_png(np.array([[100, 60000], [200, 300]]), 0, clear=60000))
    assert deep.pixels.tolist() == [[0, 0], [128, 255]]
    assert deep.told.scaled_from == (100, 300)


def test_deep_colours_are_refused_for_pillow_reads_their_upper_half(tmp_path):
    for colour, samples in ((2, 3), (4, 2), (6, 4)):
        with pytest.raises(CaseError, match="film: 16 bits with colour or transparency"):
            read(tmp_path, raw_png(np.full((2, 2, samples), 4095), colour))


def test_luminance_keeps_grey_and_weighs_colours_by_601():
    """0.299, 0.587, 0.114 of 255 are 76.2, 149.7, 29.1."""
    thirds = np.arange(256, dtype=np.uint8)
    assert (luminance(np.stack([thirds] * 3, axis=-1)[None]) == thirds).all()
    assert luminance(np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]])).tolist() == [[76, 150, 29]]


@settings(max_examples=60)
@given(
    arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4095)),
    st.sampled_from([None, 12, 14, 16]),
    st.sampled_from([None, (0, 100), (5, 80)]),
)
def test_more_is_never_darker(tmp_path_factory, stored, bits, clip):
    told = film_of(png(stored), tmp_path_factory.getbasetemp(), bits=bits, clip=clip)
    order = np.argsort(stored, axis=None)
    assert (np.diff(told.pixels.ravel()[order].astype(int)) >= 0).all()
    equal = np.diff(stored.ravel()[order].astype(int)) == 0
    assert (np.diff(told.pixels.ravel()[order].astype(int))[equal] == 0).all()


# Clip and size


def test_clip_by_hand(tmp_path):
    """Of 0 to 99, ten lie below 10 and ten above 89: 10 is black, 89 white, 49 is 255 x 39/79 = 125.9."""
    picture = read(tmp_path, png(np.arange(100, dtype=np.uint8).reshape(10, 10)), clip=(10, 90))
    assert picture.pixels.ravel()[[0, 10, 11, 49, 88, 89, 99]].tolist() == [0, 0, 3, 126, 252, 255, 255]
    assert picture.told.clipped == (10, 90)


def test_clip_of_one_shade_does_nothing_and_says_so(tmp_path):
    picture = read(tmp_path, png(np.full((4, 4), 77, dtype=np.uint8)), clip=(1, 99))
    assert (picture.pixels == 77).all()
    assert picture.told.clipped is None
    assert picture.told.notes == ("not clipped, both percentiles are one shade", "one shade only")


def test_a_square_keeps_the_aspect_and_is_black_around_it(tmp_path):
    """60 x 40 into 31: by 31/60 it is 31 x 21 (20.67), and of 10 columns left 5 stand on each side."""
    picture = read(tmp_path, png(np.full((60, 40), 99, dtype=np.uint8)), size=31)
    assert picture.pixels.shape == (31, 31)
    assert (picture.pixels[:, 5:26] == 99).all()
    assert picture.pixels.sum() == 99 * 31 * 21
    assert picture.told.resized_to == (31, 21)
    assert picture.told.padded == (0, 0, 5, 5)
    assert picture.told.original_size == (60, 40)


def test_a_square_of_the_same_size_is_left_alone(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = read(tmp_path, png(grey), size=16)
    assert (picture.pixels == grey).all()
    assert (picture.told.resized_to, picture.told.padded) == (None, None)
    wide = read(tmp_path, png(grey[:13]), size=16)
    assert (wide.pixels[1:14] == grey[:13]).all()
    assert (wide.told.resized_to, wide.told.padded) == (None, (1, 2, 0, 0))


@pytest.mark.parametrize("size", [37, 150])
def test_a_resized_edge_stays_an_edge_without_lines_beside_it(tmp_path, size):
    edge = np.repeat(np.uint8([[60] * 32 + [180] * 32]), 64, axis=0)
    rows = read(tmp_path, png(edge), size=size).pixels.astype(int)
    assert (rows.min(), rows.max()) == (60, 180)
    assert (np.diff(rows, axis=1) >= 0).all()


# EXIF

TURNED = {1: [[1, 2, 3], [4, 5, 6]], 3: [[6, 5, 4], [3, 2, 1]], 6: [[4, 1], [5, 2], [6, 3]]}
TURNED[8] = [[3, 6], [2, 5], [1, 4]]
"""What a viewer shows: 3 upside down, 6 a quarter to the right, 8 a quarter to the left."""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("orientation", "degrees"), [(1, 0), (3, 180), (6, 270), (8, 90)])
def test_exif_turns_are_made_and_told(tmp_path, orientation, degrees, dtype):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.array(TURNED[1], dtype=dtype)
    picture = read(tmp_path, png(stored, exif=exif))
    scale = 1 if dtype == np.uint8 else 255 / 5
    expected = np.rint((np.array(TURNED[orientation]) - (dtype == np.uint16)) * scale)
    assert picture.pixels.tolist() == expected.tolist()
    assert (picture.told.turned, picture.told.original_size) == (degrees, (2, 3))


@pytest.mark.parametrize("orientation", [2, 4, 5, 7])
def test_exif_that_asks_for_a_mirror_image_is_refused(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with pytest.raises(CaseError, match=r"film: EXIF orientation \d asks for a mirror image"):
        read(tmp_path, saved(Image.fromarray(CORNERS), "JPEG", exif=exif))


def test_exif_that_means_nothing_is_noted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 9
    assert read(tmp_path, png(CORNERS, exif=exif)).told.notes == ("unknown EXIF orientation 9, not turned",)


# What cannot be read


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_film_raises_wherever_it_ends(tmp_path, kind):
    data = saved(Image.fromarray(CORNERS), kind)
    for end in range(len(data)):
        with pytest.raises(CaseError, match=r"film: (not a readable film|is neither).*\.$"):
            read(tmp_path, data[:end])


def test_a_damaged_png_never_passes_for_a_film(tmp_path):
    data = png(CORNERS)
    for at in range(len(data)):
        try:
            picture = read(tmp_path, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        except CaseError:
            continue
        assert (picture.pixels == CORNERS).all(), at


def test_a_corrupt_jpeg_raises(tmp_path):
    data = saved(Image.fromarray(CORNERS), "JPEG")
    tables = data.index(b"\xff\xc4")
    with pytest.raises(CaseError, match="film: not a readable film"):
        read(tmp_path, data[: tables + 4] + b"\xff" * 40 + data[tables + 44 :])


def test_what_is_no_film_is_refused_by_name(tmp_path):
    with pytest.raises(CaseError, match=r"gone.png: film is missing"):
        read_film(tmp_path / "gone.png")
    with pytest.raises(CaseError, match=r"film cannot be read \(Is a directory\)"):
        read_film(tmp_path)
    for data in (b"", b"GIF89a", b"\x00" * 200, saved(Image.fromarray(CORNERS), "TIFF")):
        with pytest.raises(CaseError, match=r"film: is neither PNG, JPEG nor a DICOM file"):
            read(tmp_path, data)
    with pytest.raises(CaseError, match=r"film: colours of mode CMYK are not read"):
        read(tmp_path, saved(Image.fromarray(CORNERS).convert("CMYK"), "JPEG"))
    with pytest.raises(CaseError, match=r"film: holds several pictures"):
        read(tmp_path, png(CORNERS, save_all=True, append_images=[Image.new("L", (48, 32))]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("most", [10, 1000, 32 * 48 - 1])
def test_the_limit_of_pixels_is_kept(tmp_path, monkeypatch, most):
    read(tmp_path, png(CORNERS))
    assert Image.MAX_IMAGE_PIXELS == 89_478_485, "reading must not lift Pillow's limit"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(CaseError, match=r"film: (32 x 48 pixels are more than|not a readable film)"):
        read(tmp_path, png(CORNERS))


def test_truncated_films_are_not_let_pass_by_a_switch_of_another_package(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES hides truncated films"):
        read(tmp_path, png(CORNERS))


@pytest.mark.parametrize(
    "how",
    [{"size": 0}, {"clip": (50, 50)}, {"clip": (-1, 99)}, {"clip": (1, 101)}, {"bits": 8}, {"bits": 17}],
)
def test_impossible_options_are_refused(tmp_path, how):
    with pytest.raises(ConfigError):
        read(tmp_path, png(CORNERS), **how)


def test_without_pydicom_a_dicom_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    with pytest.raises(ConfigError, match=r"pip install 'driftbound\[dicom\]'"):
        read(tmp_path, b"\0" * 128 + b"DICM")
