from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.image.files import read_image
from dipir.image.formats.display import Stated, coloured

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
