import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
from dipir.image.files import read_image
from dipir.image.formats.png import chunks, png_bytes
from tests.support.icc import P3_COLORANTS, P3_TO_SRGB, curve, rgb_profile

CODES = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
P3_CHRM = struct.pack(">8I", *(round(v * 1e5) for v in (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)))


def _with(path, *extra: tuple[bytes, bytes], codes: np.ndarray = CODES, **options: object):
    """A PNG with these chunks after its head."""
    stream = io.BytesIO()
    Pillow.fromarray(codes).save(stream, "PNG", **options)
    data, added = stream.getvalue(), b""
    for kind, content in extra:
        added += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(data[:33] + added + data[33:])
    return read_image(path)


def _pixels(read) -> np.ndarray:
    return read.pixels[0].permute(1, 2, 0).numpy()


P3_WANTED = linear_to_srgb_array(srgb_to_linear_array(CODES / 255) @ P3_TO_SRGB.T).clip(0, 1)


def test_gamma_of_one_is_linear_light(tmp_path):
    read = _with(tmp_path / "a.png", (b"gAMA", struct.pack(">I", 100000)))
    np.testing.assert_allclose(_pixels(read), linear_to_srgb_array(CODES / 255), atol=1e-6)
    assert read.info.notes == ("colours converted from gAMA 1 to sRGB",)


@pytest.mark.parametrize("extra", [
    [(b"gAMA", struct.pack(">I", 45455))], [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))],
    [(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", struct.pack(">I", 100000))]], ids=["usual", "sRGB first", "cICP first"])
def test_what_means_srgb_changes_nothing(tmp_path, extra):
    read = _with(tmp_path / "a.png", *extra)
    np.testing.assert_array_equal(np.rint(_pixels(read) * 255), CODES)
    assert not read.info.notes


def test_chrm_is_honoured_with_gamma(tmp_path):
    read = _with(tmp_path / "a.png", (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", P3_CHRM))
    light = (CODES / 255) ** (1 / 0.45455)
    np.testing.assert_allclose(_pixels(read), linear_to_srgb_array(light @ P3_TO_SRGB.T).clip(0, 1), atol=1e-4)


def test_cicp_display_p3_and_its_place_before_a_profile(tmp_path):
    other = rgb_profile(P3_COLORANTS, "Wide", curve(1.0))
    for options in ({}, {"icc_profile": other}):
        read = _with(tmp_path / "a.png", (b"cICP", bytes([12, 13, 0, 1])), **options)
        np.testing.assert_allclose(_pixels(read), P3_WANTED, atol=1e-4)
        assert read.info.notes[0].startswith("colours converted from cICP Display P3, sRGB")


def test_linear_cicp(tmp_path):
    read = _with(tmp_path / "a.png", (b"cICP", bytes([1, 8, 0, 1])))
    np.testing.assert_allclose(_pixels(read), linear_to_srgb_array(CODES / 255), atol=1e-6)


@pytest.mark.parametrize("transfer, name", [(16, "PQ"), (18, "HLG")])
def test_hdr_video_is_refused_by_name(tmp_path, transfer, name):
    with pytest.raises(ImageError, match=f"holds {name} video codes"):
        _with(tmp_path / "a.png", (b"cICP", bytes([9, transfer, 0, 1])))


@pytest.mark.parametrize("extra", [(b"cICP", bytes([77, 13, 0, 1])), (b"cICP", bytes([1, 13, 1, 1])),
                                   (b"gAMA", struct.pack(">I", 0))])
def test_what_is_not_known_is_said(tmp_path, extra):
    read = _with(tmp_path / "a.png", extra)
    np.testing.assert_array_equal(np.rint(_pixels(read) * 255), CODES)
    assert "ignored" in read.info.notes[0] and "read as sRGB" in read.info.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_our_own_are_tagged_and_whole(tmp_path, dtype):
    pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (5, 4, 3)).astype(dtype)
    (tmp_path / "a.png").write_bytes(png_bytes(pixels))
    assert chunks(tmp_path / "a.png")["sRGB"] == b"\x01"
    with Pillow.open(tmp_path / "a.png") as picture:  # Another decoder checks every sum.
        picture.verify()
        assert picture.info["srgb"] == 1
    np.testing.assert_array_equal(np.rint(_pixels(read_image(tmp_path / "a.png")) * np.iinfo(dtype).max), pixels)


@pytest.mark.parametrize("chunks, note", [
    ([(b"gAMA", struct.pack(">I", 45455)), (b"cHRM", bytes(32))], "cHRM ignored"),
    ([(b"cHRM", P3_CHRM)], "without gAMA"),
    ([(b"pHYs", struct.pack(">IIB", 1000, 2000, 0))], "2 times as wide as high")])
def test_what_is_ignored_changes_no_bit_and_is_said(tmp_path, chunks, note):
    read = _with(tmp_path / "a.png", *chunks)
    np.testing.assert_array_equal(np.rint(_pixels(read) * 255), CODES)
    assert len(read.info.notes) == 1 and note in read.info.notes[0]


def test_of_an_animation_the_first_frame(tmp_path):
    read = _with(tmp_path / "a.png", save_all=True, append_images=[Pillow.fromarray(CODES[::-1])])
    np.testing.assert_array_equal(np.rint(_pixels(read) * 255), CODES)
    assert read.info.notes == ("the first of 2 frames is used",)
