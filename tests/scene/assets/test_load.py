"""dipir.scene.assets.load: units, axes, degenerate faces, formats without materials."""
from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from tests.support.asset_samples import BOX, BOX_FACES, embedded, gltf, ply, png, write


def test_ply_vertex_colour_unit_and_axis(tmp_path):
    path = tmp_path / "a.ply"
    path.write_text(ply((188, 0, 255)))
    asset = load_asset(path)
    assert asset.parts[0].material.base_color == pytest.approx((0.5029, 0, 1), abs=1e-3)
    # File axes x, y, z (2, 1, 4); +Z up: height 4.
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([2, 4, 1])
    (note,) = [n for n in asset.notes if "states" in n]
    assert "--unit" in note and "--up" in note and "m was assumed, the largest side is 4 m" in note and "+Z" in note
    given = load_asset(path, unit="mm", up_axis="y")
    assert np.ptp(given.bounds, axis=0) == pytest.approx([0.002, 0.001, 0.004], rel=1e-4)


@pytest.mark.parametrize("axis, size, top", [("x", 2, 0), ("y", 1, 1), ("z", 4, 2), ("-x", 2, 0), ("-y", 1, 1),
                                             ("-z", 4, 2)])


def test_up_axis_turns_without_mirroring(tmp_path, axis, size, top):
    cone = np.concatenate([BOX, BOX.mean(0, keepdims=True)])
    # A spike beyond the box in the direction that is to be up.
    cone[8, top] += (-1 if axis[0] == "-" else 1) * 50
    faces = np.concatenate([BOX_FACES, [[0, 1, 8], [1, 0, 8]]])
    (tmp_path / "a.obj").write_text("".join("v {} {} {}\n".format(*v) for v in cone)
                                    + "".join("f {} {} {}\n".format(*f) for f in faces + 1))
    part = load_asset(tmp_path / "a.obj", unit="m", up_axis=axis).parts[0]
    height = part.vertices[:, 1]
    assert height.min() == 0 and height.max() == pytest.approx(size / 2 + 50)
    assert (height > size + 1).sum() <= 2
    assert signed_volume(part.vertices, part.faces) == pytest.approx(8, rel=1e-3)


def test_stl_normals_follow_sharp_edges_and_millimetres_are_guessed(tmp_path):
    points = (BOX * 30)[BOX_FACES]
    record = b"".join(struct.pack("<12fH", 0, 0, 0, *t.reshape(-1), 0) for t in points)
    (tmp_path / "a.stl").write_bytes(b"\0" * 80 + struct.pack("<I", 12) + record)
    asset = load_asset(tmp_path / "a.stl")
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([0.06, 0.12, 0.03])
    part = asset.parts[0]
    assert len(part.vertices) == 24
    face = unit(face_cross(part.vertices, part.faces))
    assert (part.normals[part.faces] * face[:, None]).sum(-1) == pytest.approx(1, abs=1e-5)


DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[3] / "../shared/data"))


TEXTURED = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}


def refused(path, match=None, **options):
    with pytest.raises(AssetError, match=match) as error:
        load_asset(path, **options)
    assert options or path.name in str(error.value)


def test_bad_geometry(tmp_path):
    nan = BOX.copy()
    nan[3, 1] = np.nan
    refused(write(tmp_path, gltf(nan)), "NaN or infinite vertices")
    refused(write(tmp_path, gltf(BOX * 0)), "degenerate")
    refused(write(tmp_path, gltf(faces=BOX_FACES[:, [0, 0, 1]])), "degenerate")
    refused(write(tmp_path, gltf(faces=BOX_FACES + 5)))
    empty = gltf()
    empty["meshes"][0]["primitives"][0]["mode"] = 0
    refused(write(tmp_path, empty), "no faces")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    refused(tmp_path / "points.obj", "no faces")
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    refused(tmp_path / "nan.obj", "NaN")


def test_unused_vertices_do_not_count_and_degenerate_faces_go(tmp_path):
    more = np.concatenate([BOX, [[1000, 1000, np.nan]]]).astype(np.float32)
    faces = np.concatenate([BOX_FACES, [[0, 0, 1]]]).astype(np.uint32)
    asset = load_asset(write(tmp_path, gltf(more, faces)))
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([2, 1, 4]) and len(asset.parts[0].faces) == 12


def test_textures_need_uvs(tmp_path):
    color = embedded(np.random.default_rng(0).integers(0, 255, (4, 4, 3)))
    refused(write(tmp_path, gltf(uvs=False, material=TEXTURED, images=[color])), "no UVs")


def test_bad_options(tmp_path):
    path = write(tmp_path, gltf())
    refused(path, "unit 'furlong'", unit="furlong")
    refused(path, "unit -1", unit=-1)
    refused(path, "up axis 'w'", up_axis="w")


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "meshes").is_dir(), reason="shared meshes absent")
@pytest.mark.parametrize("name, parts, size", [
    ("barrel/barrel.glb", 1, (2.53, 3.0, 2.53)), ("dishes/evo_bowl.gltf", 1, (0.147, 0.061, 0.147)),
    ("cutting_board/homecart_cutting_board.gltf", 1, (0.68, 0.025, 0.99)),
    ("dishes/plate_8in.gltf", 1, (0.2, 0.018, 0.2)),
    ("painted_wooden_cabinet/painted_wooden_cabinet_1k.gltf", 5, (1.19, 1.18, 0.62)),
    ("painted_wooden_cabinet_02/painted_wooden_cabinet_02_1k.gltf", 3, (1.0, 2.57, 0.72)),
    ("painted_wooden_stool/painted_wooden_stool_1k.gltf", 1, (0.385, 0.58, 0.41)),
    ("sofa_03/sofa_03_1k.gltf", 2, (2.73, 1.12, 0.93)), ("spot_cow/cow.obj", 1, (0.94, 1.69, 1.72)),
    ("tea_set_01/tea_set_01_1k.gltf", 10, (0.92, 0.165, 0.485)),
    ("wooden_bookshelf_worn/wooden_bookshelf_worn_1k.gltf", 1, (1.37, 2.06, 0.58))])


def test_real_assets(name, parts, size):
    asset = load_asset(DATA / "meshes" / name)
    assert len(asset.parts) == parts
    low, high = asset.bounds
    assert high - low == pytest.approx(size, rel=0.03)
    assert low[1] == pytest.approx(0, abs=1e-6) and low[[0, 2]] == pytest.approx(-high[[0, 2]], abs=1e-5)
    for part in asset.parts:
        m = part.material
        for slot in (m.roughness_texture, m.metallic_texture, m.opacity_texture):
            assert slot is None or (slot.ndim == 2 and slot.dtype == np.float32 and 0 <= slot.min() <= slot.max() <= 1)
        assert m.roughness_texture is None or m.roughness_texture.min() >= 0.05
        assert m.base_color_texture is None or part.uvs.shape == (len(part.vertices), 2)
        assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-3)
    textured = "dishes" not in name
    assert textured == any(p.material.base_color_texture is not None for p in asset.parts)


def test_remarks_are_bounded_and_harmless(tmp_path):
    """300 warnings from one file: a hundred are said, warnings first, none can drive a terminal or fill it."""
    names = "".join(f"newmtl m{k}\x1b[31m{'x' * 900}\nTr 1\nd 1\nNs {k}\n" for k in range(300))
    (tmp_path / "a.mtl").write_text(names)
    uses = "".join(f"usemtl m{k}\x1b[31m{'x' * 900}\nf 1 2 3\n" for k in range(300))
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\n{uses}")
    notes = load_asset(tmp_path / "a.obj").notes
    assert len(notes) == 101 and all(len(note) <= 600 and "\x1b" not in note for note in notes)
    assert all(map(is_warning, notes)) and notes[-1].endswith("more remarks were left out.")


def test_colours_and_new_normals_go_together(tmp_path):
    """A box whose corners have colours: 24 vertices, each with the colour of its corner."""
    points = "".join(f"v {x} {y} {z} {x / 2} {y} {z / 4}\n" for x, y, z in BOX)
    (tmp_path / "a.obj").write_text(points + "".join("f {} {} {}\n".format(*f) for f in BOX_FACES + 1))
    part = load_asset(tmp_path / "a.obj", unit="m", up_axis="y").parts[0]
    assert part.vertices.shape == part.normals.shape == part.colors.shape == (24, 3)
    np.testing.assert_allclose(part.colors, (part.vertices + [1, 0, 2] > [1, 0.5, 2]).astype(float), atol=1e-6)


OBJ_TEXT = (b"mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 .5\nvt 0 0\nvt 1 1\nvn 0 0 1\no x\nusemtl red\n"
            b"f 1/1/1 2/2/1 3/1/1\nusemtl blue\nf -1 -2 -3\nf 1 2 4 3\n")
MTL_TEXT = b"newmtl red\nKd 1 0 0\nd 0.5\nmap_Kd -s 2 2 1 -clamp on t.png\nnewmtl blue\nKd 0 0 1\nTr 0.5\nNs 3\n"


@settings(max_examples=200, deadline=None)
@given(st.booleans(), st.integers(0, 190), st.binary(max_size=6), st.booleans())
def test_any_damage_to_an_obj_loads_or_is_one_kind_of_error(tmp_path_factory, library, at, patch, cut):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "t.png").write_bytes(png(np.full((2, 2, 3), 100)))
    obj, mtl = OBJ_TEXT, MTL_TEXT
    damaged = mtl if library else obj
    damaged = damaged[:at] + patch + (b"" if cut else damaged[at + len(patch):])
    (folder / "a.obj").write_bytes(obj if library else damaged)
    (folder / "a.mtl").write_bytes(damaged if library else mtl)
    try:
        asset = load_asset(folder / "a.obj")
    except AssetError as error:
        assert len(str(error)) <= 2000
    else:
        assert all(np.isfinite(part.vertices).all() for part in asset.parts)


@pytest.mark.filterwarnings("error")
def test_absurd_numbers_are_refused_without_a_word_of_numpy(tmp_path):
    (tmp_path / "a.obj").write_text("v 1e308 0 0\nv -1e308 1e308 0\nv 0 1e308 -1e308\nf 1 2 3\n")
    with pytest.raises(AssetError):
        load_asset(tmp_path / "a.obj", unit="m", up_axis="y")
