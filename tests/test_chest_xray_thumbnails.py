"""Thumbnails: made once, by content and options, whole or not at all."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from driftbound.domains.chest_xray import thumbnails
from driftbound.domains.chest_xray.films import read_film
from driftbound.domains.chest_xray.thumbnails import thumbnail
from driftbound.errors import CaseError, ConfigError, StoreError


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.png"
    Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100)).save(path)
    return path


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_thumbnail_is_what_the_reader_gives_and_tells_the_same_again(tmp_path, film):
    picture = read_film(film, size=32, clip=(1, 99), bits=14)
    for _ in range(2):
        kept, told = thumbnail(film, tmp_path / "cache", size=32, clip=(1, 99), bits=14)
        with Image.open(kept) as image:
            assert (image.mode, np.asarray(image).tolist()) == ("L", picture.pixels.tolist())
        assert told == picture.told
    assert files(tmp_path / "cache") == [kept]


def test_what_is_there_is_not_made_again(tmp_path, film, monkeypatch):
    first = thumbnail(film, tmp_path / "cache", size=16)
    monkeypatch.setattr(thumbnails, "film_of", None)
    copy = tmp_path / "other name.png"
    copy.write_bytes(film.read_bytes())
    assert thumbnail(copy, tmp_path / "cache", size=16) == first


def test_each_option_the_content_and_the_rules_have_their_own_file(tmp_path, film, monkeypatch):
    cache = tmp_path / "cache"
    names = {thumbnail(film, cache, size=16)[0], thumbnail(film, cache, size=17)[0]}
    names |= {thumbnail(film, cache, size=16, clip=clip)[0] for clip in ((1, 99), (0, 99))}
    names.add(thumbnail(film, cache, size=16, bits=13)[0])
    monkeypatch.setattr(thumbnails, "RULES", 0)
    names.add(thumbnail(film, cache, size=16)[0])
    Image.new("L", (3, 3)).save(film)
    names.add(thumbnail(film, cache, size=16)[0])
    assert len(names) == 7
    assert files(cache) == sorted(names)


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"", lambda data: b"no PNG"])
def test_a_damaged_thumbnail_is_made_again(tmp_path, film, damage):
    kept, told = thumbnail(film, tmp_path / "cache", size=16)
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert thumbnail(film, tmp_path / "cache", size=16) == (kept, told)
    assert kept.read_bytes() == whole


def test_a_foreign_png_in_its_place_is_not_taken(tmp_path, film):
    kept, told = thumbnail(film, tmp_path / "cache", size=16)
    Image.new("L", (16, 16)).save(kept)
    assert thumbnail(film, tmp_path / "cache", size=16) == (kept, told)


def test_threads_and_processes_at_once(tmp_path, film):
    """Two processes with four threads each make the same file; it is whole, and nothing else is left."""
    code = (
        "import sys; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor\n"
        "from driftbound.domains.chest_xray.thumbnails import thumbnail\n"
        "film, cache = map(Path, sys.argv[1:])\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    print(len(set(pool.map(lambda _: thumbnail(film, cache, size=64)[0], range(12)))))"
    )
    command = [sys.executable, "-c", code, str(film), str(tmp_path / "cache")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        mine = set(pool.map(lambda _: thumbnail(film, tmp_path / "cache", size=64)[0], range(12)))
    assert [process.communicate()[0].strip() for process in both] == ["1", "1"]
    assert files(tmp_path / "cache") == list(mine)
    with Image.open(mine.pop()) as image:
        assert (np.asarray(image) == read_film(film, size=64).pixels).all()


def test_errors_name_the_film_or_the_cache(tmp_path, film):
    with pytest.raises(CaseError, match=r"gone.png: film is missing"):
        thumbnail(tmp_path / "gone.png", tmp_path / "cache", size=16)
    with pytest.raises(ConfigError, match="size 0"):
        thumbnail(film, tmp_path / "cache", size=0)
    with pytest.raises(StoreError, match=r"film.png/.*cannot be written"):
        thumbnail(film, film, size=16)
    assert not (tmp_path / "cache").exists()
