"""dipir.scene.assets.scan: colours, textures and polygons of PLY; STL."""
from __future__ import annotations

import struct

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.image.color import srgb_to_linear_array
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume
from tests.support.asset_samples import BOX, BOX_FACES, png
from tests.support.shared_cases import case

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]


def ply(vertex: str, vertices, face: str, faces, comments: str = "") -> str:
    """A text file; ``vertex`` and ``face``: properties beyond x, y, z and the indices."""
    head = f"ply\nformat ascii 1.0\n{comments}element vertex {len(vertices)}\nproperty float x\nproperty float y\n"
    head += f"property float z\n{vertex}element face {len(faces)}\nproperty list uchar int vertex_indices\n{face}"
    rows = [" ".join(map(str, row)) for row in [*vertices, *faces]]
    return head + "end_header\n" + "\n".join(rows) + "\n"


def loaded(folder, text: str | bytes, name: str = "a.ply"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_asset(folder / name, unit="m", up_axis="y")


RGB = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
QUAD = (4, 0, 1, 2, 3)


def test_colours_of_vertices(tmp_path):
    rows = [(*p, *c) for p, c in zip(SQUARE, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)], strict=True)]
    (part,) = loaded(tmp_path, ply(RGB, rows, "", [QUAD])).parts
    grey = float(srgb_to_linear_array(np.array([128 / 255]))[0])
    expected = {(-0.5, 0): (1, 0, 0), (0.5, 0): (0, 1, 0), (0.5, 1): (0, 0, 1), (-0.5, 1): (grey,) * 3}
    for vertex, color in zip(part.vertices, part.colors, strict=True):
        np.testing.assert_allclose(color, expected[tuple(vertex[:2].tolist())], atol=1e-5)
    assert part.material.base_color == (1, 1, 1)


@pytest.mark.parametrize("kind, full", [("uchar", 255), ("ushort", 65535), ("float", 1.0), ("float", 255.0)])
def test_one_colour_is_a_base_colour(tmp_path, kind, full):
    rows = [(*p, full, 0, 0) for p in SQUARE]
    (part,) = loaded(tmp_path, ply(RGB.replace("uchar", kind), rows, "", [QUAD])).parts
    assert part.colors is None and part.material.base_color == pytest.approx((1, 0, 0))


def test_colours_of_faces_do_not_run_into_each_other(tmp_path):
    faces = [(3, 0, 1, 2, 255, 0, 0), (3, 0, 2, 3, 0, 0, 255)]
    (part,) = loaded(tmp_path, ply("", SQUARE, RGB, faces)).parts
    assert len(part.vertices) == 6
    np.testing.assert_allclose(part.colors[part.faces], np.repeat([[[1, 0, 0]], [[0, 0, 1]]], 3, 1), atol=1e-6)


def test_alpha_is_said(tmp_path):
    rows = [(*p, 255, 0, 0, 128) for p in SQUARE]
    asset = loaded(tmp_path, ply(f"{RGB}property uchar alpha\n", rows, "", [QUAD]))
    assert [is_warning(n) for n in asset.notes] == [True] and "alpha" in asset.notes[0]


def test_concave_polygons(tmp_path):
    shape = [(-1, 0, 0), (1, 0, 0), (1, 2, 0), (0.5, 2, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0), (-0.5, 2, 0), (-1, 2, 0)]
    (part,) = loaded(tmp_path, ply("", shape, "", [(8, *range(8))])).parts
    cross = face_cross(part.vertices, part.faces) / 2
    assert np.linalg.norm(cross, axis=1).sum() == pytest.approx(2.5) == cross[:, 2].sum()


# --- textures --------------------------------------------------------------------------------------------------------

def textured(folder, comments: str, face: str, faces, vertex: str = "", vertices=SQUARE):
    for k, value in enumerate((60, 188)):
        (folder / f"t{k}.png").write_bytes(png(np.full((2, 2, 3), value)))
    return loaded(folder, ply(vertex, vertices, face, faces, comments))


CORNERS = "property list uchar float texcoord\n"
BOTH = "comment TextureFile t0.png\ncomment TextureFile t1.png\n"


def test_texture_coordinates_of_corners(tmp_path):
    """A seam: the shared edge has other coordinates in each face."""
    faces = [(3, 0, 1, 2, 6, 0, 0, 1, 0, 1, 1), (3, 0, 2, 3, 6, 0, 0, 0.5, 0.5, 0, 1)]
    (part,) = textured(tmp_path, "comment TextureFile t1.png\n", CORNERS, faces).parts
    assert part.material.base_color_texture[0, 0, 0] == pytest.approx(0.5029, abs=1e-3)
    np.testing.assert_allclose(part.uvs[part.faces], [[[0, 0], [1, 0], [1, 1]], [[0, 0], [0.5, 0.5], [0, 1]]])


def test_texture_coordinates_of_vertices(tmp_path):
    rows = [(*p, *p[:2]) for p in SQUARE]
    (part,) = textured(tmp_path, "comment TextureFile T1.PNG\n", "", [QUAD], "property float s\nproperty float t\n",
                       rows).parts
    np.testing.assert_allclose(part.uvs, part.vertices[:, :2] + [0.5, 0])


def test_several_textures(tmp_path):
    faces = [(3, 0, 1, 2, 6, 0, 0, 1, 0, 1, 1, 1), (3, 0, 2, 3, 6, 0, 0, 1, 1, 0, 1, 0)]
    first, second = textured(tmp_path, BOTH, f"{CORNERS}property int texnumber\n", faces).parts
    assert first.material.base_color[0] < 0.05 and second.material.base_color[0] > 0.4
    assert first.vertices[:, 1].max() == 1 and first.vertices[:, 0].mean() < second.vertices[:, 0].mean()


def test_several_textures_without_their_faces_are_said(tmp_path):
    asset = textured(tmp_path, BOTH, CORNERS, [(3, 0, 1, 2, 6, 0, 0, 1, 0, 1, 1)])
    assert len(asset.parts) == 1 and is_warning(asset.notes[0]) and "only 't0.png' is shown" in asset.notes[0]


def test_texture_coordinates_that_do_not_fit_are_said(tmp_path):
    with pytest.raises(AssetError, match="no UVs"):
        textured(tmp_path, "comment TextureFile t1.png\n", CORNERS, [(3, 0, 1, 2, 4, 0, 0, 1, 0)])


@pytest.mark.parametrize("faces, what", [([(3, 0, 1, 9)], "do not exist"), ([(3, 0, 1, -1)], "do not exist"),
                                         ([], "no faces"), ([(2, 0, 1)], "no faces")])
def test_faces_that_are_none(tmp_path, faces, what):
    with pytest.raises(AssetError, match=what):
        loaded(tmp_path, ply("", SQUARE, "", faces))


# --- STL -------------------------------------------------------------------------------------------------------------

def binary_stl(attribute: int = 0) -> bytes:
    record = b"".join(struct.pack("<12fH", 0, 0, 0, *t.reshape(-1), attribute) for t in BOX[BOX_FACES])
    return b"\0" * 80 + struct.pack("<I", 12) + record


def ascii_stl(*names: str) -> str:
    facets = "".join("facet normal 0 0 0\nouter loop\n" + "".join("vertex {} {} {}\n".format(*v) for v in t)
                     + "endloop\nendfacet\n" for t in BOX[BOX_FACES])
    return "".join(f"solid {name}\n{facets}endsolid {name}\n" for name in names)


@pytest.mark.parametrize("data", [binary_stl(), ascii_stl("box"), ascii_stl("one", "two")])
def test_stl(tmp_path, data):
    asset = loaded(tmp_path, data, "a.stl")
    for part in asset.parts:
        assert signed_volume(part.vertices, part.faces) == pytest.approx(8) and len(part.vertices) == 24
    assert asset.notes == ()


@pytest.mark.parametrize("kind, top", [("int", 255), ("uint", 255), ("ushort", 255), ("ushort", 65535), ("float", 255),
                                       ("float", 1), ("uchar", 255)])
def test_colours_of_every_number_type(tmp_path, kind, top):
    properties = "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
    rows = [(*point, top, 0, 0) for point in SQUARE]
    asset = loaded(tmp_path, ply(properties, rows, "", [(4, 0, 1, 2, 3)]), "a.ply")
    assert asset.parts[0].material.base_color == pytest.approx((1, 0, 0))


def test_stl_whose_length_is_not_what_it_states(tmp_path):
    asset = loaded(tmp_path, binary_stl(0) + b"made by hand", "a.stl")
    assert signed_volume(asset.parts[0].vertices, asset.parts[0].faces) == pytest.approx(8)
    assert "12 bytes" in asset.notes[0] and not is_warning(asset.notes[0])
    with pytest.raises(AssetError, match="states 12 faces, and the file ends after 11"):
        loaded(tmp_path, binary_stl(0)[:-1], "a.stl")
    with pytest.raises(AssetError, match="endsolid"):
        loaded(tmp_path, b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n", "a.stl")


def test_very_many_solids_become_one_part(tmp_path):
    facet = "facet normal 0 0 1\nouter loop\nvertex {0} 0 0\nvertex {1} 0 0\nvertex {0} 1 0\nendloop\nendfacet\n"
    text = "".join(f"solid a{k}\n{facet.format(k, k + 1)}endsolid a{k}\n" for k in range(301))
    asset = loaded(tmp_path, text, "a.stl")
    assert len(asset.parts) == 1 and len(asset.parts[0].faces) == 301 and "301 solids" in asset.notes[0]


def test_colours_in_the_header_of_stl_are_said(tmp_path):
    asset = loaded(tmp_path, b"COLOR=\xff\0\0\xff".ljust(80, b"\0") + binary_stl(0)[80:], "a.stl")
    assert is_warning(asset.notes[0]) and "PLY" in asset.notes[0]


def test_colours_of_stl_are_said(tmp_path, caplog):
    asset = loaded(tmp_path, binary_stl(0x7C00), "a.stl")
    assert is_warning(asset.notes[0]) and "PLY" in asset.notes[0]
    with pytest.raises(AssetError):
        loaded(tmp_path, b"solid x\nfacet\nvertex 1 2\nendsolid", "b.stl")
    assert caplog.text == ""


# --- inputs from real work -------------------------------------------------------------------------------------------

def test_case_14_colours_of_vertices():
    (part,) = load_asset(case("14_vertex_colours/a.ply")).parts
    top = part.vertices[:, 1] > 0.5
    red, blue = srgb_to_linear_array(np.array([[240, 30, 30], [30, 40, 240]]) / 255)
    np.testing.assert_allclose(part.colors[top], np.broadcast_to(red, (top.sum(), 3)), atol=1e-5)
    np.testing.assert_allclose(part.colors[~top], np.broadcast_to(blue, ((~top).sum(), 3)), atol=1e-5)
