"""dipir.captures.point_cloud: PLY files of points."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.captures.point_cloud import read_points, write_points
from dipir.errors import SceneError


def test_points(tmp_path):
    points = np.array([[0, 1, 2], [3, 4, 5.5], [np.nan, 0, 0]])
    colours = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)
    write_points(tmp_path / "p.ply", points, colours)
    got, hues = read_points(tmp_path / "p.ply")
    assert np.allclose(got, points[:2]) and (hues == colours[:2]).all()
    (tmp_path / "p.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 5\n")
    with pytest.raises(SceneError):
        read_points(tmp_path / "p.ply")
    with pytest.raises(SceneError):
        read_points(tmp_path / "none.ply")
