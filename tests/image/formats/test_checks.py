import os
from pathlib import Path

import numpy as np
import pytest

from dipir.errors import ImageError
from dipir.event import is_warning, warn
from dipir.image.files import read_image, write_exr
from dipir.image.formats.checks import check_size, decoding, kept_wide, note_aspect, openable, writable


def test_sizes():
    check_size(Path("a"), 10, 10, 100)
    for size, text in (((10, 11), "10x11"), ((0, 5), "damaged"), ((-3, -3), "damaged")):
        with pytest.raises(ImageError, match=text):
            check_size(Path("a"), *size, 100)


@pytest.mark.parametrize("error", [OSError("bad"), ValueError("bad"), MemoryError("bad"), SyntaxError("bad")])
def test_every_error_of_a_decoder_becomes_ours(error):
    with pytest.raises(ImageError, match=r"a\.png is damaged or cut short \(bad\)"), decoding(Path("a.png")):
        raise error


@pytest.mark.parametrize("name, own", [("a.tif", True), ("a", False), ("why?.tif", False), ("a.tiff", False)])
def test_names_for_libraries(tmp_path, name, own):
    path = tmp_path / name
    path.write_bytes(b"content")
    with openable(path, ".tif") as other:
        assert Path(other).read_bytes() == b"content" and other.endswith(".tif") and (other == str(path)) == own
    assert path.read_bytes() == b"content" and (own or not Path(other).exists())


def test_a_name_that_is_no_unicode(tmp_path):
    path = tmp_path / os.fsdecode(b"W\xfcrfel.tif")
    try:
        path.write_bytes(b"content")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    with openable(path, ".tif") as other:
        other.encode()
        assert Path(other).read_bytes() == b"content"
    with writable(path) as other:
        other.encode()
        Path(other).write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_a_usual_name_is_written_in_place(tmp_path):
    with writable(tmp_path / "a.exr") as name:
        assert name == str(tmp_path / "a.exr")


def test_exr_in_a_folder_whose_name_is_no_unicode(tmp_path):
    folder = tmp_path / os.fsdecode(b"W\xfcrfel")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    light = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    write_exr(folder / "a.exr", {c: light for c in "RGB"})
    assert np.array_equal(read_image(folder / "a.exr").pixels[0, 1].numpy(), light)
    assert [f.name for f in folder.iterdir()] == ["a.exr"]


@pytest.mark.parametrize("head, what", [
    (b"\0\0\0\x20ftypavif", "AVIF"), (b"\0\0\0\x18ftypheic", "HEIC"), (b"\0\0\0\x18ftypcrx ", "CR3"),
    (b"\0\0\0\x18ftypmp42", "MP4"), (b"\xff\x0a\1\2", "JPEG XL"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"GIF89a", "GIF"), (b"BM\1\2", "BMP"), (b"8BPS\0\1", "Photoshop"), (b"FUJIFILMCCD-RAW ", "raw"),
    (b"RIFF\0\0\0\0AVI ", "video"), (b"%PDF-1.7", "PDF")])
def test_what_is_not_read_is_named(tmp_path, head, what):
    (tmp_path / "a.jpg").write_bytes(head + bytes(50))
    with pytest.raises(ImageError, match=f"is a.* {what}|{what}"):
        read_image(tmp_path / "a.jpg")


def test_errors_of_decoders_are_one_line():
    with pytest.raises(ImageError) as raised, decoding(Path("a.tif")):
        raise OSError("could not read\n  strip 3")
    assert "\n" not in str(raised.value)


def test_pixels_that_are_not_square():
    notes = []
    for ratio in (None, 1, 1.01, 0, float("nan"), 1e9, "x"):
        note_aspect(ratio, notes)
    assert notes == []
    note_aspect(0.5, notes)
    assert "0.5 times as wide as high" in notes[0]


def test_what_was_clipped_and_is_kept_is_no_warning():
    notes = [warn("colours converted from x to sRGB; 12.0% of the pixels lie outside of sRGB and were clipped"),
             warn("another")]
    kept, other = kept_wide(notes, 0.12)
    assert kept.endswith("12.0% of the pixels lie outside of sRGB: priors see them clipped, pictures keep them")
    assert not is_warning(kept) and is_warning(other) and kept_wide(notes, 0.0) == notes
