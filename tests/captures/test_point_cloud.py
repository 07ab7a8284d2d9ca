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


CLOUD = ("ply\nformat ascii 1.0\n{}element vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
         "{}end_header\n{}")
COLOURS = "".join(f"property {{0}} {name}\n" for name in ("red", "green", "blue"))


@pytest.mark.parametrize("kind, row", [("uchar", "255 0 51"), ("float", "1 0 0.2"), ("int", "255 0 51")])
def test_colours_of_every_number_type(tmp_path, kind, row):
    (tmp_path / "p.ply").write_text(CLOUD.format("", 1, COLOURS.format(kind), f"1 2 3 {row}\n"))
    points, colours = read_points(tmp_path / "p.ply")
    assert points.tolist() == [[1, 2, 3]] and colours.tolist() == [[255, 0, 51]]


@pytest.mark.parametrize("data", [
    CLOUD.format("", 400000000, "", "1 2 3 4 5 6 7\n"), CLOUD.format("", 2, "", "1 2 3\n"),
    "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n"])
def test_clouds_that_are_not_what_they_state(tmp_path, data):
    (tmp_path / "p.ply").write_text(data)
    with pytest.raises(SceneError):
        read_points(tmp_path / "p.ply")


def test_rows_of_nothing(tmp_path):
    (tmp_path / "p.ply").write_text(CLOUD.format("element nothing 400000000\n", 1, "", "1 2 3\n"))
    assert read_points(tmp_path / "p.ply")[0].tolist() == [[1, 2, 3]]
