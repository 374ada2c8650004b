"""Films as DICOM: expected by the formulas of PS3.3 C.7.6.3 and C.11, value by value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from driftbound.domains.chest_xray.films import film_of
from driftbound.errors import CaseError
from tests.chest_xray_dicoms import VALUES, dataset, read, table, written

pixels = pytest.importorskip("pydicom.pixels")


def by_the_standard(x, function, c, w):
    """C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1 for one value, with outputs from 0 to 255."""
    if function == "SIGMOID":
        return 255 / (1 + math.exp(-4 * (x - c) / w))
    if function == "LINEAR":
        if x <= c - 0.5 - (w - 1) / 2:
            return 0
        if x > c - 0.5 + (w - 1) / 2:
            return 255
        return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
    if x <= c - w / 2:
        return 0
    if x > c + w / 2:
        return 255
    return ((x - c) / w + 0.5) * 255


def agree(grey, values, function, c, w):
    """Whether each grey is its value's exact output to the nearest whole number."""
    exact = np.array([by_the_standard(float(x), function, c, w) for x in np.ravel(values)])
    return bool((np.abs(grey.ravel() - exact) <= 0.5 + 1e-9).all())


WINDOWS = [
    ("LINEAR", 2048, 4096),
    ("LINEAR", 1024.5, 1000),
    ("LINEAR", 1024, 2),
    ("LINEAR", 1024, 1),
    ("LINEAR_EXACT", 1024, 1000),
    ("LINEAR_EXACT", 1024, 0.5),
    ("SIGMOID", 1500, 800),
    ("SIGMOID", 1024, 20),
]


# Windows


def test_windows_by_hand(tmp_path):
    """The standard's example: 2048/4096 LINEAR maps x to x/4095, hence 1365 to 85; LINEAR_EXACT to x/4096.

    LINEAR 100/1 is a step above 99.5, and 100.5/1 one above 100. SIGMOID 1000/400 at 1000 is half, at
    1100 1/(1 + 1/e) of 255 = 186.4.
    """
    stored = np.array([[0, 99, 100, 1000], [1100, 1365, 2048, 4095]], dtype=np.uint16)

    def grey(function, centre, width):
        film = dataset(stored, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
        return read(tmp_path, film).pixels.ravel().tolist()

    assert grey("LINEAR", 2048, 4096)[5:] == [85, 128, 255]
    assert grey("LINEAR_EXACT", 2048, 4096)[6] == 128
    assert grey("LINEAR", 100, 1) == [0, 0] + [255] * 6
    assert grey("LINEAR", 100.5, 1) == [0, 0, 0] + [255] * 5
    assert grey("SIGMOID", 1000, 400)[3:5] == [128, 186]


@pytest.mark.parametrize(("function", "centre", "width"), WINDOWS)
def test_each_window_is_the_standards_formula(tmp_path, function, centre, width):
    film = dataset(VALUES, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    picture = read(tmp_path, film)
    assert agree(picture.pixels, VALUES, function, centre, width)
    window = picture.told.window
    assert (window.how, window.centre, window.width) == (function.lower(), centre, width)
    assert (picture.told.scale, picture.told.bits, picture.told.notes) == ("window", 12, ())


@pytest.mark.parametrize(("function", "centre", "width"), WINDOWS)
def test_pydicoms_own_windowing_agrees(tmp_path, function, centre, width):
    """An independent implementation, whose outputs run from 0 to 4095."""
    film = dataset(VALUES, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    theirs = pixels.apply_windowing(VALUES, film) * (255 / 4095)
    assert np.abs(read(tmp_path, film).pixels - theirs).max() <= 0.5 + 1e-9


@pytest.mark.filterwarnings("error")
def test_a_sigmoid_of_no_width_to_speak_of_is_a_step(tmp_path):
    film = dataset(VALUES, WindowCenter=1024, WindowWidth=0.001, VOILUTFunction="SIGMOID")
    assert (read(tmp_path, film).pixels == np.select([VALUES < 1024, VALUES > 1024], [0, 255], 128)).all()


def test_a_window_is_of_rescaled_values_also_downwards(tmp_path):
    """With slope -2 and 100, stored 50 is 0 and stored 0 is 100: LINEAR_EXACT 50/100 makes it white."""
    film = dataset(
        np.array([[0, 25, 50, 60]], dtype=np.uint16), RescaleSlope=-2, RescaleIntercept=100, WindowCenter=50
    )
    film.WindowWidth, film.VOILUTFunction = 100, "LINEAR_EXACT"
    assert read(tmp_path, film).pixels.tolist() == [[255, 128, 0, 0]]


@pytest.mark.parametrize("centre", [[1024, 3000], "1024\\3000"])
def test_of_several_windows_the_first_is_taken_and_told(tmp_path, centre):
    picture = read(tmp_path, dataset(VALUES, WindowCenter=centre, WindowWidth=[1000, 50]))
    assert agree(picture.pixels, VALUES, "LINEAR", 1024, 1000)
    assert picture.told.window.offered == 2
    assert picture.told.notes == ("the first of 2 windows or tables",)


@pytest.mark.parametrize(
    ("centre", "width", "note"),
    [
        ("", "", "empty window, not applied"),
        (1024, None, "empty window, not applied"),
        (1024, 0, "window of width 0, not applied"),
        (1024, -5, "window of width -5, not applied"),
        (1024, 0.5, "window of width 0.5, not applied"),
    ],
)
def test_a_window_that_cannot_be_applied_is_none_and_told(tmp_path, centre, width, note):
    """Then the film's own range, 0 to 4095, is black to white."""
    picture = read(tmp_path, dataset(VALUES, WindowCenter=centre, WindowWidth=width))
    assert (picture.pixels == np.rint(VALUES * (255 / 4095))).all()
    assert (picture.told.window.how, picture.told.notes) == ("none", (note,))
    assert (picture.told.scale, picture.told.scaled_from) == ("own range", (0, 4095))


def test_an_unknown_kind_of_window_is_an_error(tmp_path):
    with pytest.raises(CaseError, match=r"film.dcm: .*VOILUTFunction CUBIC is unknown"):
        read(tmp_path, dataset(VALUES, WindowCenter=1, WindowWidth=2, VOILUTFunction="CUBIC"))


# Tables


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("bits", [8, 12])
def test_a_voi_table_goes_before_a_window(tmp_path, words, bits):
    """4 entries from key 1000, which hold 0, a third, half and all; before 1000 it is the first's."""
    top = 2**bits - 1
    film = dataset(np.array([[0, 1000, 1001], [1002, 1003, 4095]], dtype=np.uint16), WindowCenter=9)
    film.WindowWidth = 5
    film.VOILUTSequence = [table([0, top // 3, (top + 1) // 2, top], first=1000, bits=bits, words=words)]
    picture = read(tmp_path, film)
    assert picture.pixels.tolist() == [[0, 0, 85], [128, 255, 255]]
    assert (picture.told.window.how, picture.told.scaled_from) == ("lut", None)


def test_a_table_of_8_bits_for_12_bits_does_not_wrap(tmp_path):
    film = dataset(VALUES, VOILUTSequence=[table(np.arange(4096) // 16)])
    assert (read(tmp_path, film).pixels == VALUES // 16).all()


@pytest.mark.parametrize("first", [-2, 65534])
def test_a_table_for_signed_values_starts_below_zero_however_it_is_written(tmp_path, first):
    film = dataset(np.array([[-500, -2, -1, 0, 1]], dtype=np.int16))
    film.VOILUTSequence = [table([10, 20, 30, 40], first=first)]
    assert read(tmp_path, film).pixels.tolist() == [[10, 10, 20, 30, 40]]


def test_a_modality_table_goes_before_the_window(tmp_path):
    """0, 1, 2 become 0, 500, 1000; LINEAR_EXACT 500/1000 then makes 0, 127.5 and 255."""
    film = dataset(np.array([[0, 1, 2, 9]], dtype=np.uint16), WindowCenter=500, WindowWidth=1000)
    film.ModalityLUTSequence = [table([0, 500, 1000], bits=16)]
    film.VOILUTFunction = "LINEAR_EXACT"
    assert read(tmp_path, film).pixels.tolist() == [[0, 128, 255, 255]]


def test_a_table_that_lies_is_an_error(tmp_path):
    short, high = table([1, 2, 3]), table([1, 2, 300])
    short.LUTDescriptor = [4, 0, 8]
    for item in (short, high):
        with pytest.raises(CaseError, match=r"film.dcm: .*does not hold what it says"):
            read(tmp_path, dataset(VALUES, VOILUTSequence=[item]))


# Inversion

WAYS = [{}, {"VOILUTSequence": None}, *({"at": window} for window in WINDOWS)]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("clip", [None, (0, 90), (0.5, 99.25)])
def test_monochrome1_is_exactly_the_inverse_and_only_once(tmp_path, way, clip):
    elements = {}
    if "VOILUTSequence" in WAYS[way]:
        elements["VOILUTSequence"] = [table(np.arange(4096) // 16)]
    if "at" in WAYS[way]:
        function, elements["WindowCenter"], elements["WindowWidth"] = WAYS[way]["at"]
        elements["VOILUTFunction"] = function
    stored = np.arange(0, 4096, 3, dtype=np.uint16).reshape(2, -1)

    def grey(photometric, shape, clip):
        film = dataset(stored, photometric=photometric, PresentationLUTShape=shape, **elements)
        return read(tmp_path, film, clip=clip)

    # What is cut at the bright end of an inverted film is cut at the dark end of the other.
    turned = clip and (100 - clip[1], 100 - clip[0])
    plain = 255 - grey("MONOCHROME2", None, turned).pixels
    for photometric, shape in (("MONOCHROME1", None), ("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "INVERSE")):
        picture = grey(photometric, shape, clip)
        assert picture.told.inverted
        assert (picture.pixels == plain).all()
    assert (grey("MONOCHROME2", "IDENTITY", turned).pixels == 255 - plain).all()


def test_a_shape_against_the_photometric_word_is_noted(tmp_path):
    for photometric, shape in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        told = read(tmp_path, dataset(VALUES, photometric=photometric, PresentationLUTShape=shape)).told
        assert told.inverted
        assert told.notes == (f"{photometric} with presentation shape {shape} contradict each other",)
    with pytest.raises(CaseError, match=r"film.dcm: .*PresentationLUTShape LIN OD is unknown"):
        read(tmp_path, dataset(VALUES, PresentationLUTShape="LIN OD"))


def functions():
    window = st.tuples(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]), st.integers(-3000, 5000))
    return st.none() | st.tuples(window, st.integers(1, 6000)).map(lambda given: (*given[0], given[1]))


@settings(max_examples=80)
@given(
    arrays(np.int16, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(-2048, 2047)),
    st.booleans(),
    functions(),
    st.sampled_from([1, 0.37, -2]),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    st.sampled_from([None, (2, 95)]),
)
def test_more_is_never_darker_or_never_brighter_when_inverted(
    tmp_path_factory, values, signed, window, slope, photometric, clip
):
    stored = values if signed else (values + 2048).astype(np.uint16)
    film = dataset(stored, photometric=photometric, RescaleSlope=slope, RescaleIntercept=-100)
    if window:
        film.VOILUTFunction, film.WindowCenter, film.WindowWidth = window
    grey = film_of(written(film), tmp_path_factory.getbasetemp(), clip=clip).pixels.ravel().astype(int)
    upwards = (slope > 0) == (photometric == "MONOCHROME2")
    steps = np.diff(grey[np.argsort(stored, axis=None)])
    assert (steps >= 0 if upwards else steps <= 0).all()
