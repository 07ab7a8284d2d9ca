"""Profiles: by independent numbers, and by LittleCMS as a second computation."""
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
from dipir.image.files import read_image
from dipir.image.formats.display import Stated, coloured
from tests.support.icc import (
    P3_COLORANTS,
    P3_TO_SRGB,
    SRGB_COLORANTS,
    cmyk_profile,
    curve,
    grey_profile,
    rgb_profile,
)

P3 = rgb_profile(P3_COLORANTS, "Wide", curve())
ADOBE = rgb_profile(np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]),
                    "Adobe-like", curve(2.19921875))


def _codes(seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (20, 30, 3)).astype(dtype)


def _by_littlecms(codes: np.ndarray, icc: bytes, mode: str = "RGB") -> np.ndarray:
    done = ImageCms.profileToProfile(
        Pillow.fromarray(codes, mode), ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    return np.asarray(done).astype(float)


def _read(path, picture: Pillow.Image, icc: bytes | None, **options: object):
    picture.save(path, icc_profile=icc, **options)
    return read_image(path)


def _coloured(codes: np.ndarray, icc: bytes, notes: list[str]) -> np.ndarray:
    return coloured(Path("a.png"), codes, Stated(icc), None, notes).pixels


@pytest.mark.parametrize("icc", [P3, ADOBE, rgb_profile(P3_COLORANTS, "Table", curve(
    table=np.linspace(0, 1, 1024) ** 1.8))], ids=["para", "gamma", "table"])
def test_a_profile_of_matrix_and_curves_is_what_littlecms_makes_of_it(tmp_path, icc):
    codes = _codes()
    read = _read(tmp_path / "a.png", Pillow.fromarray(codes), icc)
    ours = read.pixels[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - _by_littlecms(codes, icc)).max() < 1.01
    assert any("converted from the profile" in note and "clipped" in note for note in read.info.notes)
    assert np.abs(ours - codes).max() > 10  # That it was ignored would show.


def test_16_bits_of_display_p3_stay_16_bits():
    codes = _codes(1, np.uint16)
    wanted = linear_to_srgb_array(srgb_to_linear_array(codes / 65535) @ P3_TO_SRGB.T).clip(0, 1)
    assert np.abs(_coloured(codes, P3, []) - wanted).max() < 4e-4  # The profile's own numbers have 16 bits.


def test_srgb_under_any_name_changes_no_bit(tmp_path):
    codes = _codes(2)
    for icc in (rgb_profile(SRGB_COLORANTS, "Camera", curve()), ImageCms.ImageCmsProfile(
            ImageCms.createProfile("sRGB")).tobytes()):
        read = _read(tmp_path / "a.png", Pillow.fromarray(codes), icc)
        assert not read.info.notes
        np.testing.assert_array_equal((read.pixels[0].permute(1, 2, 0) * 255).round().numpy(), codes)


def test_a_linear_profile_that_calls_itself_srgb_is_converted():
    notes: list[str] = []
    codes = _codes(3)
    done = _coloured(codes, rgb_profile(SRGB_COLORANTS, "sRGB linear", curve(1.0)), notes)
    assert np.abs(done - linear_to_srgb_array(codes / 255)).max() < 2e-3 and notes


def test_grey_with_a_gamma(tmp_path):
    codes = np.arange(256, dtype=np.uint8).reshape(8, 32)
    read = _read(tmp_path / "a.png", Pillow.fromarray(codes), grey_profile(1.8))
    wanted = linear_to_srgb_array((codes / 255) ** (round(1.8 * 256) / 256))
    assert np.abs(read.pixels[0].numpy() - wanted).max() < 1e-5


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_goes_through_its_profile(tmp_path, name):
    flat = np.zeros((16, 16, 4), np.uint8)
    flat[:8, :, 1], flat[8:, :, 3] = 255, 128
    read = _read(tmp_path / name, Pillow.fromarray(flat, "CMYK"), cmyk_profile(), **(
        {"quality": 100} if name == "a.jpg" else {}))
    found = read.pixels[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found[[2, 13], 8] - _by_littlecms(flat, cmyk_profile(), "CMYK")[[2, 13], 8]).max() < 4
    assert np.abs(found[2, 8] - (255, 0, 255)).max() > 30  # The plain formula's magenta.
    assert any("'Press'" in note for note in read.info.notes)


def test_cmyk_without_a_profile_is_said(tmp_path):
    read = _read(tmp_path / "a.jpg", Pillow.new("CMYK", (8, 8), (0, 255, 255, 0)), None)
    assert any("CMYK without" in note for note in read.info.notes)
    assert float(read.pixels[0, 0].mean()) > 0.9 and float(read.pixels[0, 1].mean()) < 0.1


@pytest.mark.parametrize("icc", [
    b"rubbish", P3[:200], cmyk_profile(), P3.replace(b"para", b"none"),
    P3.replace(struct.pack(">i", round(2.4 * 65536)), struct.pack(">i", -40 * 65536))],
    ids=["rubbish", "cut", "cmyk", "curve", "endless"])
def test_a_profile_that_cannot_be_used_is_said_and_srgb_assumed(tmp_path, icc):
    codes = _codes(4)
    read = _read(tmp_path / "a.png", Pillow.fromarray(codes), icc)
    assert [note for note in read.info.notes if "colour profile cannot be used" in note and "read as sRGB" in note]
    np.testing.assert_array_equal((read.pixels[0].permute(1, 2, 0) * 255).round().numpy(), codes)
