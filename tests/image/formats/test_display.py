from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.event import is_warning
from dipir.image.color import linear_to_srgb_array
from dipir.image.files import read_image
from dipir.image.formats.checks import AskedOf
from dipir.image.formats.display import Stated, coloured
from dipir.image.formats.ocio import BUILT_IN, find_space
from dipir.image.formats.png import png_bytes
from dipir.image.formats.primaries import KNOWN_CHROMATICITIES, to_bt709

CODES = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)


def test_webp_is_read_bit_for_bit_whatever_its_name(tmp_path):
    for name in ("a.webp", "upload"):
        Pillow.fromarray(CODES).save(tmp_path / name, "WEBP", lossless=True)
        pixels, state, info = read_image(tmp_path / name)
        assert state == "display" and info.bits == 8 and not info.notes
        np.testing.assert_array_equal((pixels[0].permute(1, 2, 0) * 255).round().numpy(), CODES)


def test_webp_orientation_alpha_and_frames(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(CODES).save(tmp_path / "a.webp", lossless=True, exif=exif)
    pixels, _, info = read_image(tmp_path / "a.webp")
    np.testing.assert_array_equal((pixels[0].permute(1, 2, 0) * 255).round().numpy(), np.rot90(CODES, -1))
    assert "EXIF orientation applied" in info.notes
    Pillow.fromarray(np.dstack([CODES, np.full((6, 7), 90, np.uint8)])).save(tmp_path / "b.webp", lossless=True)
    assert "alpha ignored" in read_image(tmp_path / "b.webp").info.notes
    frames = [Pillow.fromarray(CODES), Pillow.fromarray(255 - CODES)]
    frames[0].save(tmp_path / "c.webp", save_all=True, append_images=frames[1:], lossless=True)
    pixels, _, info = read_image(tmp_path / "c.webp")
    assert "the first of 2 frames is used" in info.notes
    np.testing.assert_array_equal((pixels[0].permute(1, 2, 0) * 255).round().numpy(), CODES)


def test_webp_limits_and_damage(tmp_path):
    path = tmp_path / "a.webp"
    Pillow.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(path, lossless=True)
    with pytest.raises(ImageError, match="64x64"):
        read_image(path, max_pixels=4095)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(path)


def test_codes_become_shares_of_one():
    for codes, top in ((CODES, 255), (CODES.astype(np.uint16) * 256, 65535)):
        done = coloured(Path("a.png"), codes, Stated(), None, [])
        np.testing.assert_array_equal(done.pixels, codes.astype(np.float32) / np.float32(top))
        assert done.state == "display" and done.own is None


@pytest.mark.parametrize("alpha, warned", [(255, False), (254, True)])
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_alpha_is_a_warning_where_it_is_not_opaque(tmp_path, name, alpha, warned):
    cover = np.full((6, 7), 255, np.uint8)
    cover[3, 4] = alpha
    Pillow.fromarray(np.dstack([CODES, cover])).save(tmp_path / name, lossless=True)
    notes = read_image(tmp_path / name).info.notes
    assert all(note == "alpha ignored" and is_warning(note) == warned for note in notes)
    assert len(notes) == 1 or name == "a.webp"  # An opaque one is not written there.


def test_codes_in_a_named_space(tmp_path):
    """A file that says nothing: Adobe RGB by its own definition."""
    Pillow.fromarray(CODES).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", asked=AskedOf(find_space("g22_adobergb_scene", BUILT_IN)))
    adobe = KNOWN_CHROMATICITIES["lin_adobergb_scene"]
    light = (CODES / 255) ** 2.19921875 @ to_bt709(adobe).T
    np.testing.assert_allclose(read.pixels[0].permute(1, 2, 0), linear_to_srgb_array(light).clip(0, 1), atol=2e-4)
    np.testing.assert_allclose(read.info.own.light, light, atol=2e-4)
    assert read.state == "display" and read.info.own.wide > 0.1
    (note,) = read.info.notes
    assert is_warning(note) and "lie outside of sRGB and were clipped" in note


def test_codes_in_logarithmic_and_linear_spaces(tmp_path):
    Pillow.fromarray(CODES).save(tmp_path / "a.png")
    for name in ("ARRI LogC4", "ACEScg"):
        space = find_space(name, BUILT_IN)
        read = read_image(tmp_path / "a.png", asked=AskedOf(space))
        assert read.state == "linear"
        np.testing.assert_allclose(read.pixels[0].permute(1, 2, 0), space.to_light((CODES / 255).astype(np.float32)),
                                   rtol=1e-4, atol=1e-5)


def test_video_codes_that_are_refused_are_read_in_a_named_space(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(CODES, ((b"cICP", bytes((9, 16, 0, 1))),)))
    with pytest.raises(ImageError, match="PQ"):
        read_image(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", asked=AskedOf(find_space("Rec.2100-PQ - Display", BUILT_IN)))
    assert read.state == "linear" and float(read.pixels.max()) > 20


def test_cmyk_has_no_named_space(tmp_path):
    Pillow.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="holds CMYK"):
        read_image(tmp_path / "a.jpg", asked=AskedOf(find_space("ACEScg", BUILT_IN)))
