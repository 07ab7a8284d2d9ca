"""dipir.image.exif: orientation and field of view."""
from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageOps

from dipir.image.files import read_image


def _rgb(seed: int = 0, h: int = 12, w: int = 17, high: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (h, w, 3)).astype(dtype)


def _image(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32).transpose(2, 0, 1))[None]


def _saved(path: Path, picture: Pillow.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def _exif(block: dict[int, object], orientation: int = 1) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update(block)
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "16.png"])
def test_exif_orientation(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    _saved(path, Pillow.fromarray(_rgb()), exif=_exif({}, orientation), **({"quality": 95} if suffix == "jpg" else {}))
    wanted = np.asarray(ImageOps.exif_transpose(Pillow.open(path)))
    if suffix == "16.png":
        _insert_exif_into_16_bit_png(path, orientation)
    pixels, _, info = read_image(path)
    assert (info.width, info.height) == wanted.shape[1::-1] == tuple(pixels.shape[:1:-1])
    assert ("EXIF orientation applied" in info.notes) == (orientation > 1)
    np.testing.assert_array_equal((pixels * 255).round(), _image(wanted))


def _insert_exif_into_16_bit_png(path: Path, orientation: int) -> None:
    data = cv2.imencode(".png", _rgb().astype(np.uint16)[..., ::-1] * 257)[1].tobytes()
    body = b"eXIf" + _exif({}, orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("size, block, wanted", [
    ((36, 24), {0xA405: 50}, 2 * math.degrees(math.atan(18 / 50))),
    ((24, 36), {0xA405: 50}, 2 * math.degrees(math.atan(12 / 50))),
    ((40, 30), {0xA405: 28}, 2 * math.degrees(math.atan(0.8 * math.hypot(36, 24) / 2 / 28))),
    # 4000 pixels at 400 / mm = 10 mm wide; 5 mm focal length; the file is a tenth of it.
    ((400, 300), {0x920A: 5.0, 0xA20E: 10160.0, 0xA210: 2, 0xA002: 4000, 0xA003: 3000}, 90.0),
    ((400, 300), {0x920A: 5.0, 0xA20E: 4000.0, 0xA210: 3, 0xA002: 4000, 0xA003: 3000}, 90.0),
    ((40, 30), {0x920A: 5.0}, None), ((40, 30), {0xA405: 0}, None), ((40, 30), {}, None),
    ((40, 40), {0xA405: 28, 0xA002: 4000, 0xA003: 3000}, None),  # cropped
])


def test_field_of_view(tmp_path, size, block, wanted):
    info = read_image(_saved(tmp_path / "a.jpg", Pillow.new("RGB", size), exif=_exif(block))).info
    assert info.fov_x_deg == (None if wanted is None else pytest.approx(wanted, rel=1e-6))
    assert any("cropped" in note for note in info.notes) == (size == (40, 40))


def test_field_of_view_follows_orientation(tmp_path):
    """A landscape file that is turned upright sees the short side horizontally."""
    path = _saved(tmp_path / "a.jpg", Pillow.new("RGB", (36, 24)), exif=_exif({0xA405: 50, 0xA002: 36, 0xA003: 24}, 6))
    assert read_image(path).info.fov_x_deg == pytest.approx(2 * math.degrees(math.atan(12 / 50)))
