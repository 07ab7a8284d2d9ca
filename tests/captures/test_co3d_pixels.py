"""dipir.captures.co3d_pixels: depths of half floats, masks, points from depths."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from dipir.captures import co3d, co3d_pixels
from dipir.errors import ImageError
from dipir.scene.camera import Camera


def test_depth_holds_half_floats(tmp_path):
    """The bits, not the numbers; infinity, NaN and negative values are unknown."""
    values = np.array([[0.5, 3.14], [np.inf, np.nan], [-1, 0]], np.float32)
    co3d_pixels.write_depth(tmp_path / "d.png", values)
    stored = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16 and stored[0, 0] == 0x3800
    frame = co3d.Frame(0, tmp_path / "i.jpg", Camera.looking(2, 3, 50), depth=tmp_path / "d.png")
    assert np.allclose(co3d_pixels.read_depth(frame), [[0.5, 3.14], [0, 0], [0, 0]], atol=1e-3)
    co3d_pixels.write_mask(tmp_path / "d.png", np.ones((3, 2)))
    with pytest.raises(ImageError, match="half"):
        co3d_pixels.read_depth(frame)
    (tmp_path / "d.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        co3d_pixels.read_depth(frame)
