"""Names of frames: patterns, folders, ranges, and what is missing."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError, ImageError
from dipir.relight.numbered import find_shot, numbered, parse_range, spans


def make(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("pattern, found", [
    ("shot.%04d.png", [1, 2, 10000]), ("shot.####.png", [1, 2, 10000]), ("shot.%d.png", [7, 10000]),
    ("shot.#.png", [7, 10000]), ("shot_##.exr", [3])])
def test_patterns(tmp_path, pattern, found):
    make(tmp_path, "shot.0001.png", "shot.0002.png", "shot.10000.png", "shot.7.png", "shot_03.exr", "shot.0001.jpg",
         "shot.0003.png.bak", "xshot.0004.png")
    files = numbered(tmp_path / pattern)
    assert files.there() == found and files.path(found[0]).is_file()
    assert find_shot(files).numbers == tuple(found)


def test_one_picture_is_no_pattern(tmp_path):
    make(tmp_path, "photo#1.png", "50%d.png")
    for name in ("photo#1.png", "50%d.png", "none.png"):
        assert numbered(tmp_path / name) is None


def test_a_folder_of_frames(tmp_path):
    make(tmp_path, "notes.txt", *(f"a_{k:03d}.png" for k in (8, 9, 10)))
    files = numbered(tmp_path)
    assert str(files) == str(tmp_path / "a_%03d.png") and files.there() == [8, 9, 10]
    make(tmp_path, "b_001.png")
    with pytest.raises(ConfigError, match="2 shots.*a_#.png.*b_#.png"):
        numbered(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="0 shots"):
        numbered(tmp_path / "none")
    bare = tmp_path / "bare"
    bare.mkdir()
    assert numbered(make(bare, "9.png", "10.png")).there() == [9, 10]


@pytest.mark.parametrize("name", ["a.%d.%d.png", "##_##.png", "shot.%04d/a.png"])
def test_places_that_are_none(tmp_path, name):
    with pytest.raises(ConfigError, match="one place"):
        numbered(tmp_path / name)


def test_missing_frames_are_named(tmp_path):
    files = numbered(make(tmp_path, *(f"s.{k:04d}.png" for k in (1, 3, 5, 11, 13))) / "s.%04d.png")
    assert find_shot(files).missing == (7, 9)
    assert find_shot(files, range(1, 6, 2)).numbers == (1, 3, 5)
    with pytest.raises(ImageError, match="frames 2, 4 are missing"):
        find_shot(files, range(1, 6))
    with pytest.raises(ImageError, match="no such frames.*Did you mean 's.0001.png'"):
        find_shot(numbered(tmp_path / "t.%04d.png"))


def test_ranges():
    assert parse_range("5") == range(5, 6) and parse_range("1001-1003") == range(1001, 1004)
    assert list(parse_range("1-10x4")) == [1, 5, 9]
    for text in ("", "5-4", "1-9x0", "a-b", "1-", "-3", "1-999999999", "1.5"):
        with pytest.raises(ConfigError, match="FIRST-LASTxSTEP"):
            parse_range(text)
    assert spans((1, 2, 3, 7, 9)) == "1-3, 7, 9" and spans(tuple(range(0, 40, 2))).endswith("14 and 12 more")
