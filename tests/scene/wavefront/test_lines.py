"""dipir.scene.wavefront.lines: arrays from text, the same however it is cut into blocks."""
from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.wavefront import blocks
from dipir.scene.wavefront.lines import read_lines

TEXT = b"""mtllib a.mtl
o one
v 0 0 0
v 1 0 0 0.5 0.25 1
vt 0.5
v 0 1 0 # the third
usemtl red
f 1/1 2/-1 3/1
# vn 9 9 9
vn 0 0 1
o two
usemtl blue
v 1 1 0
f -1//-1 2//1 -2//1 -4//1
usemtl red
f 1 2 4
l 1 2
"""


def test_everything_is_where_it_says():
    found = read_lines(Path("a.obj"), TEXT)
    assert found.positions.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert found.uvs.tolist() == [[0.5, 0]] and found.normals.tolist() == [[0, 0, 1]]
    assert found.corners.tolist() == [[0, 0, -1], [1, 0, -1], [2, 0, -1], [3, -1, 0], [1, -1, 0], [2, -1, 0],
                                      [0, -1, 0], [0, -1, -1], [1, -1, -1], [3, -1, -1]]
    assert found.sizes.tolist() == [3, 4, 3] and found.material.tolist() == [1, 2, 1]
    assert found.materials == ("", "red", "blue") and found.objects == ("", "one", "two")
    assert found.libraries == ("a.mtl",) and found.left_out == ("l",)
    np.testing.assert_array_equal(found.colors[1], [0.5, 0.25, 1])
    assert np.isnan(found.colors[[0, 2, 3]]).all()


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_blocks_do_not_matter(monkeypatch, size):
    whole = read_lines(Path("a.obj"), TEXT)
    monkeypatch.setattr(blocks, "_BLOCK", size)
    cut = read_lines(Path("a.obj"), TEXT)
    for item in fields(whole):
        np.testing.assert_array_equal(getattr(cut, item.name), getattr(whole, item.name), err_msg=item.name)
    with pytest.raises(AssetError, match="line 8 '.*: no such vt"):
        read_lines(Path("a.obj"), TEXT.replace(b"2/-1", b"2/-2"))


def test_many_faces_are_read_as_they_are():
    """A grid of 30,000 faces against the indices that it was written from."""
    n = 174
    at = np.arange(n * n).reshape(n, n)
    quads = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], -1).reshape(-1, 4)
    points = np.random.default_rng(0).normal(size=(n * n, 3)).round(6)
    text = "".join("v {} {} {}\n".format(*p) for p in points) + "".join("f {} {} {} {}\n".format(*q) for q in quads + 1)
    found = read_lines(Path("a.obj"), text.encode())
    np.testing.assert_array_equal(found.corners[:, 0].reshape(-1, 4), quads)
    np.testing.assert_array_equal(found.positions, points)
