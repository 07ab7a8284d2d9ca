"""dipir.scene.assets.ply: the same rows from text and both byte orders; damaged files end in errors."""
from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import AssetError
from dipir.scene.assets.ply import parse_ply

POINTS = [(0.5, 0, 0, 10), (1, 0, 0, 20), (1, 2, 0, 30), (0, 1, 0, 40), (3, 3, 3, 250)]
FACES = [((0, 1, 2), 7), ((0, 1, 2, 3), -8), ((4, 3, 2), 9)]
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def written(order: str, faces=FACES, line: str = "\n") -> bytes:
    head = line.join(["ply", f"format {order} 1.0", "comment made by hand", "element vertex 5", "property float x",
                      "property double y", "property float32 z", "property uchar red", f"element face {len(faces)}",
                      "property list uint8 int vertex_indices", "property short mark", "element extra 1",
                      "property int left", "end_header"]) + line
    if order == "ascii":
        rows = [" ".join(map(str, p)) for p in POINTS] + [f"{len(f)} {' '.join(map(str, f))} {m}" for f, m in faces]
        return (head + line.join([*rows, "5"]) + line).encode()
    mark = ORDERS[order]
    body = b"".join(struct.pack(f"{mark}fdfB", *p) for p in POINTS)
    body += b"".join(struct.pack(f"{mark}B{len(f)}ih", len(f), *f, m) for f, m in faces)
    return head.encode() + body + struct.pack(f"{mark}i", 5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("faces", [FACES, FACES[::2], FACES[1:2] * 3])
def test_rows_are_the_same_in_every_form(order, faces):
    found = parse_ply(Path("a.ply"), written(order, faces)).elements
    vertex, face = found["vertex"].values, found["face"]
    np.testing.assert_array_equal(np.stack([vertex[k] for k in ("x", "y", "z", "red")], -1), POINTS)
    assert face.lengths["vertex_indices"].tolist() == [len(f) for f, _ in faces]
    assert face.values["vertex_indices"].tolist() == [v for f, _ in faces for v in f]
    assert face.values["mark"].tolist() == [m for _, m in faces]


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_kind(line):
    for order in ("ascii", "binary_little_endian"):
        ply = parse_ply(Path("a.ply"), written(order, line=line))
        assert ply.elements["face"].values["mark"].tolist() == [7, -8, 9] and ply.comments == ("made by hand",)


@pytest.mark.parametrize("change", [
    lambda d: d[:-30], lambda d: d.replace(b"ply", b"plx", 1), lambda d: d.replace(b"end_header", b"end"),
    lambda d: d.replace(b"vertex 5", b"vertex 999999999999"), lambda d: d.replace(b"vertex 5", b"vertex -5"),
    lambda d: d.replace(b"face 3", b"face 2147483647"), lambda d: d.replace(b"uint8 int", b"uint8 quad"),
    lambda d: d.replace(b"format", b"fromat"), lambda d: d.replace(b"element vertex 5", b"element vertex five")])
@pytest.mark.parametrize("order", ORDERS)
def test_damaged_files(order, change):
    data = change(written(order))
    with pytest.raises(AssetError, match="a.ply"):
        parse_ply(Path("a.ply"), data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(ORDERS)), st.integers(0, 400), st.binary(max_size=4), st.booleans())
def test_any_damage_ends_in_one_kind_of_error(order, at, patch, cut):
    data = written(order)
    data = data[:at] + patch + (b"" if cut else data[at + len(patch):])
    try:
        parse_ply(Path("a.ply"), data)
    except AssetError:
        pass


def test_faces_before_their_vertices():
    data = (b"ply\nformat ascii 1.0\nelement face 1\nproperty list uchar int vertex_indices\nelement vertex 3\n"
            b"property float x\nend_header\n3 0 1 2\n5\n6\n7\n")
    elements = parse_ply(Path("a.ply"), data).elements
    assert elements["vertex"].values["x"].tolist() == [5, 6, 7]
    assert elements["face"].values["vertex_indices"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("count, code", [("uchar", "B"), ("ushort", "H"), ("int", "i"), ("float", "f")])
def test_lists_of_different_lengths_counted_by_any_type(order, count, code):
    lists = [(3, 4, 5), (), (7,), (8, 9, 10, 11)]
    head = (f"ply\nformat {order} 1.0\nelement face {len(lists)}\nproperty uchar before\n"
            f"property list {count} short vertex_indices\nproperty uchar after\nelement vertex 0\nend_header\n")
    if order == "ascii":
        data = "\n".join(" ".join(map(str, (6, len(row), *row, 7))) for row in lists).encode()
    else:
        mark = ORDERS[order]
        data = b"".join(struct.pack(f"{mark}B{code}{len(row)}hB", 6, len(row), *row, 7) for row in lists)
    face = parse_ply(Path("a.ply"), head.encode() + data).elements["face"]
    assert face.lengths["vertex_indices"].tolist() == [3, 0, 1, 4]
    assert face.values["vertex_indices"].tolist() == [3, 4, 5, 7, 8, 9, 10, 11]
    assert set(face.values["before"]) == {6} and set(face.values["after"]) == {7}
    with pytest.raises(AssetError, match="truncated"):
        parse_ply(Path("a.ply"), head.encode() + data[:-3])


def test_rows_of_nothing_take_no_memory():
    """400 million of them took 6 GB."""
    data = (b"ply\nformat ascii 1.0\nelement nothing 4000000000000000\nelement vertex 1\nproperty float x\n"
            b"end_header\n5\n")
    assert parse_ply(Path("a.ply"), data).elements["vertex"].values["x"].tolist() == [5]
