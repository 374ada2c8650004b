"""Images on their way out: untouched where they may be, else within the endpoint's rules, and it is said."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_collect import chat, make_context, stored, vendor

from driftbound.endpoints import vendors
from driftbound.endpoints.images import data_url, fit, size_of
from driftbound.endpoints.vendors import FORMATS, ImageRules, vendor_of
from driftbound.errors import CaseError
from driftbound.stages import collect, roster


def noise(width, height, mode="L", seed=0):
    """A picture that no format makes small."""
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode)


def encoded(picture, kind="PNG", **how):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data))


def fitted(image, *, shrink=True, largest_side=None, **rules):
    return fit(image, ImageRules(**rules), shrink=shrink, largest_side=largest_side)


# ---- untouched ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_within_the_limits_the_bytes_are_the_files(kind):
    image = encoded(noise(40, 30), kind)
    for shrink in (True, False):
        sent, note = fitted(image, shrink=shrink, largest_side=40, largest_bytes=len(image))
        assert sent == image
        assert note == ""
    head, _, data = data_url(image).partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    assert base64.b64decode(data) == image


def test_sixteen_bits_within_the_limits_are_untouched():
    image = encoded(Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40))
    assert fitted(image) == (image, "")


# ---- made to fit --------------------------------------------------------------------------------


def test_too_many_pixels_are_made_fewer_and_that_is_said():
    image = encoded(noise(300, 200))
    sent, note = fitted(image, largest_side=None, formats=("PNG",))
    assert sent == image
    sent, note = fit(image, ImageRules(largest_side=150), shrink=True, largest_side=None)
    assert opened(sent).size == (150, 100)
    assert opened(sent).format == "PNG"
    assert note == f"image 300 x 200 PNG, {len(image)} bytes, sent as 150 x 100 PNG, {len(sent)} bytes"


def test_too_many_bytes_become_jpeg_and_then_fewer_pixels():
    """Clouds: JPEG takes less than PNG; where that is too much, too, the sides shrink by quarters."""
    picture = noise(75, 50).resize((300, 200), Image.Resampling.BICUBIC)
    image, jpeg = encoded(picture), len(encoded(picture, "JPEG", quality=95))
    assert jpeg < len(image) / 1.2
    sent, note = fitted(image, largest_bytes=len(image) - 1)
    assert (opened(sent).format, opened(sent).size, len(sent)) == ("JPEG", (300, 200), jpeg)
    assert "sent as 300 x 200 JPEG" in note
    sent, note = fitted(image, largest_bytes=jpeg - 1)
    assert opened(sent).size == (225, 150)
    assert len(sent) < jpeg
    assert "sent as 225 x 150" in note


def test_what_cannot_be_made_small_enough_is_told():
    with pytest.raises(CaseError, match="small enough for 100 bytes"):
        fitted(encoded(noise(300, 200)), largest_bytes=100)


@pytest.mark.parametrize(
    ("kind", "formats", "becomes"),
    [
        ("GIF", ("PNG", "JPEG"), "PNG"),
        ("WEBP", ("JPEG", "PNG"), "PNG"),
        ("GIF", ("JPEG",), "JPEG"),
        ("GIF", ("WEBP",), "WEBP"),
        ("JPEG", ("PNG",), "PNG"),
        ("JPEG", ("PNG", "WEBP"), "WEBP"),
        ("BMP", FORMATS, "PNG"),
    ],
)
def test_a_format_that_is_not_taken_is_converted(kind, formats, becomes):
    picture = Image.linear_gradient("L").resize((40, 30))
    image = encoded(picture, kind)
    sent, note = fitted(image, formats=formats)
    assert opened(sent).format == becomes
    assert opened(sent).size == (40, 30)
    assert f"sent as 40 x 30 {becomes}" in note
    assert np.abs(np.asarray(opened(sent).convert("L")).astype(int) - np.asarray(picture)).max() <= 4


@pytest.mark.parametrize("formats", [(), ("GIF",)])
def test_where_nothing_that_can_be_made_is_taken_nothing_is(formats):
    with pytest.raises(CaseError, match="takes none of PNG, JPEG, WEBP"):
        fitted(encoded(noise(8, 8)), formats=formats)


def test_lossless_pixels_survive_a_change_of_format():
    picture = noise(40, 30, "RGB")
    sent, _ = fitted(encoded(picture, "WEBP", lossless=True), formats=("PNG",))
    assert np.array_equal(np.asarray(opened(sent)), np.asarray(picture))


def test_a_turn_in_the_metadata_is_carried_out():
    """EXIF orientation 6: to be turned by a quarter clockwise before it is shown."""
    picture = Image.new("L", (120, 60), 0)
    picture.paste(255, (0, 0, 30, 60))  # bright on the left; shown, it is at the top
    exif = Image.Exif()
    exif[274] = 6
    sent, _ = fitted(encoded(picture, "JPEG", exif=exif, quality=95), largest_side=60)
    shown = np.asarray(opened(sent))
    assert opened(sent).size == (30, 60)
    assert opened(sent).getexif().get(274) is None
    assert shown[:10].mean() > 240
    assert shown[20:].mean() < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_clear_stays_clear_or_becomes_white(mode):
    """A black picture whose right half is clear."""
    picture = Image.new(mode, (80, 40), 0)
    picture.putalpha(255)
    picture.paste(Image.new(mode, (40, 40), 0), (40, 0))
    sent, _ = fitted(encoded(picture), largest_side=40)
    assert opened(sent).mode == mode
    assert np.asarray(opened(sent).getchannel("A"))[10, [4, 36]].tolist() == [255, 0]
    sent, _ = fitted(encoded(picture), formats=("JPEG",))
    grey = np.asarray(opened(sent).convert("L"))
    assert grey[:, :36].max() < 10
    assert grey[:, 44:].min() > 245


# ---- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"formats": ("JPEG",)}, "PNG is not taken"),
        ({"largest_side": 299}, "300 x 200 pixels, 299 are taken"),
        ({"largest_bytes": 20_000}, "bytes, 20000 are taken"),
    ],
)
def test_refuse_means_refuse(rules, said):
    image = encoded(noise(300, 200))
    with pytest.raises(CaseError, match=said):
        fit(image, ImageRules(**rules), shrink=False, largest_side=None)
    assert fit(image, ImageRules(**rules), shrink=True, largest_side=None)[1]


def test_the_recipes_own_wish_is_carried_out_also_where_the_endpoint_is_not_to_shrink():
    image = encoded(noise(300, 200))
    rules = ImageRules(largest_side=200, largest_bytes=20_000)
    sent, note = fit(image, rules, shrink=False, largest_side=90)
    assert opened(sent).size == (90, 60)
    assert note
    with pytest.raises(CaseError, match="300 x 200 pixels, 200 are taken"):
        fit(image, rules, shrink=False, largest_side=250)
    with pytest.raises(CaseError, match=r"180 x 120 PNG of \d+ bytes, 20000 are taken"):
        fit(image, rules, shrink=False, largest_side=180)  # 21,600 pixels of noise do not go into 20 kB


@pytest.mark.parametrize("how", [{"largest_side": 20}, {"formats": ("JPEG",)}, {"largest_bytes": 100}])
def test_sixteen_bits_are_not_changed_without_a_window(how):
    image = encoded(Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40))
    with pytest.raises(CaseError, match=r"mode I;16.*without choosing a window"):
        fit(image, ImageRules(**how), shrink=True, largest_side=None)


@pytest.mark.parametrize("cut", [0, 4, 40, 400])
def test_broken_bytes_are_told(cut):
    image = encoded(noise(40, 30))[:cut]
    with pytest.raises(CaseError, match="no readable image"):
        fitted(image, largest_side=20)


def test_a_bomb_is_told(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CaseError, match="no readable image"):
        size_of(encoded(noise(41, 31, seed=5)))


PICTURES = st.builds(
    lambda width, height, mode, kind, seed: (
        encoded(noise(width, height, mode, seed).convert("RGB" if kind == "JPEG" else mode), kind),
        (width, height),
    ),
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from(["L", "RGB", "RGBA"]),
    st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]),
    st.integers(0, 3),
)
RULES = st.builds(
    ImageRules,
    formats=st.sets(st.sampled_from(FORMATS), min_size=1).map(tuple),
    largest_bytes=st.none() | st.integers(200, 40_000),
    largest_side=st.none() | st.integers(16, 250),
)


@settings(max_examples=150, deadline=None)
@given(PICTURES, RULES, st.booleans(), st.none() | st.integers(16, 250))
def test_whatever_is_sent_keeps_the_rules_and_the_shape(picture, rules, shrink, wish):
    image, (width, height) = picture
    try:
        sent, note = fit(image, rules, shrink=shrink, largest_side=wish)
    except CaseError:
        return
    result = opened(sent)
    result.load()
    assert result.format in rules.formats
    assert rules.largest_bytes is None or len(sent) <= rules.largest_bytes
    longest = max(result.size)
    assert longest <= min(rules.largest_side or 999, wish or 999, max(width, height))
    scale = longest / max(width, height)
    assert abs(result.width - width * scale) <= 1
    assert abs(result.height - height * scale) <= 1
    assert bool(note) == (sent != image)
    if not shrink:  # nothing but the wish
        assert longest == min(wish or 999, max(width, height))


# ---- through collect ----------------------------------------------------------------------------


def with_rules(context, patch, **rules):
    """The run's teacher, with ``too_large`` and so on, at an endpoint with these rules."""
    one = dataclasses.replace(vendor_of("vllm"), images=ImageRules(**rules))
    patch.setattr(roster, "vendor_of", lambda *_: one)
    teacher = context.recipe.teachers[0]
    return teacher.model_copy(update={"vendor": "vllm"})


@pytest.mark.parametrize("too_large", ["refuse", "shrink"])
def test_a_case_too_large_is_refused_by_itself_or_shrunk(tmp_path, monkeypatch, too_large):
    with vendor(lambda *_: (200, chat())) as server:
        context = make_context(tmp_path, [server.url], n=3, max_failed=0.5)
        noise(90, 60).save(context.folder.root / "images" / "c1.png")
        teacher = with_rules(context, monkeypatch, largest_side=64)
        images = teacher.images.model_copy(update={"too_large": too_large})
        teacher = teacher.model_copy(update={"images": images})
        recipe = context.recipe.model_copy(update={"teachers": (teacher,)})
        facts = collect.run(dataclasses.replace(context, recipe=recipe))
        sent = [body["messages"][0]["content"] for body in server.requests]
    rows = {case_id: row for (case_id, _), row in stored(context).items()}
    if too_large == "refuse":
        assert facts["teachers"]["t0"]["answers"] == {"failed": 1, "ok": 2}
        assert (
            rows["c1"].error == "not sent: image beyond the endpoint's limits (90 x 60 pixels, 64 are taken)"
        )
        assert sorted(parts[-1]["text"] for parts in sent) == ["Look at c0", "Look at c2"]
        assert len(context.folder.audit.read_text().splitlines()) == 2
    else:
        assert facts["teachers"]["t0"]["answers"] == {"ok": 3}
        assert rows["c1"].note.startswith("image 90 x 60 PNG")
        assert "sent as 64 x 43 PNG" in rows["c1"].note
        (picture,) = [parts[0] for parts in sent if parts[-1]["text"] == "Look at c1"]
        data = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
        assert opened(data).size == (64, 43)
        assert rows["c0"].note == ""


def test_rules_of_the_table_are_those_that_count():
    assert vendor_of("zhipu").images.largest_side == 6000
    assert set(vendors.FORMATS) == set(FORMATS)
