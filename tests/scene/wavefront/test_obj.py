"""dipir.scene.wavefront.obj: parts of OBJ files; geometry compared in numbers."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.image.color import srgb_to_linear_array
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume
from dipir.scene.wavefront import obj
from tests.support.asset_samples import BOX, BOX_FACES, OBJ, png
from tests.support.shared_cases import case

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def loaded(folder, text: str | bytes, **options):
    (folder / "a.obj").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_asset(folder / "a.obj", **{"unit": "m", "up_axis": "y", **options})


def area(part) -> float:
    return float(np.linalg.norm(face_cross(part.vertices, part.faces), axis=1).sum() / 2)


def box(x0: float, x1: float, back: bool) -> str:
    """A box of height 1, its faces given by numbers that count back from where they stand."""
    text = "".join(f"v {x} {y} {z}\n" for x in (x0, x1) for y in (0, 1) for z in (0, 1))
    faces = BOX_FACES.astype(int) - 8 if back else BOX_FACES + 1
    return text + "".join("f {} {} {}\n".format(*face) for face in faces)


def test_numbers_that_count_back_do_so_from_where_the_face_stands(tmp_path):
    asset = loaded(tmp_path, "usemtl a\n" + box(0, 1, True) + "usemtl b\n" + box(2, 4, True) + "usemtl a\n"
                   + box(5, 6, True))
    first, second = asset.parts
    assert signed_volume(first.vertices, first.faces) == pytest.approx(2)
    assert signed_volume(second.vertices, second.faces) == pytest.approx(2)
    np.testing.assert_allclose(np.unique(first.vertices[:, 0]), [-3, -2, 2, 3])
    np.testing.assert_allclose(np.unique(second.vertices[:, 0]), [-1, 1])


def test_parts_are_as_their_materials_and_named_by_their_objects(tmp_path):
    asset = loaded(tmp_path, f"{TRIANGLE}v 0 0 1\no Cup\nusemtl a\nf 1 2 3\no Lid\nusemtl b\nf 1 2 4\n"
                   "usemtl a\nf 1 3 4\n")
    assert [(p.name, p.material.name, len(p.faces)) for p in asset.parts] == [("Cup", "a", 2), ("Lid", "b", 1)]
    again = loaded(tmp_path, f"{TRIANGLE}v 0 0 1\nusemtl a\nf 1 2 3\nusemtl b\nf 1 2 4\n")
    assert [p.name for p in again.parts] == ["geometry", "geometry_1"]


def test_normals_of_the_file_and_new_ones(tmp_path):
    normals = "vn 0 0.6 0.8\nvn 0 0 1\n"
    given = loaded(tmp_path, f"{TRIANGLE}{normals}f 1//1 2//1 3//2\n").parts[0]
    np.testing.assert_allclose(given.normals, [[0, 0.6, 0.8], [0, 0.6, 0.8], [0, 0, 1]], atol=1e-6)
    mixed = loaded(tmp_path, f"{TRIANGLE}v 1 1 0\n{normals}f 1//1 2//1 3//2\nf 2 4 3\n")
    np.testing.assert_allclose(mixed.parts[0].normals, [[0, 0, 1]] * 4, atol=1e-6)
    assert "some faces have no normals" in mixed.notes[0] and not is_warning(mixed.notes[0])


def test_corners_share_a_vertex_where_all_is_the_same(tmp_path):
    text = f"{TRIANGLE}v 1 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvt 1 1\nvt 0.5 0.5\nvn 0 0 1\n"
    assert len(loaded(tmp_path, f"{text}f 1/1/1 2/2/1 3/3/1\nf 2/2/1 4/4/1 3/3/1\n").parts[0].vertices) == 4
    seam = loaded(tmp_path, f"{text}f 1/1/1 2/2/1 3/3/1\nf 2/5/1 4/4/1 3/3/1\n").parts[0]
    assert len(seam.vertices) == 5
    np.testing.assert_allclose(sorted(map(tuple, seam.uvs)), [(0, 0), (0, 1), (0.5, 0.5), (1, 0), (1, 1)])


def test_faces_with_and_without_texture_coordinates(tmp_path):
    (tmp_path / "t.png").write_bytes(png(np.full((2, 2, 3), 188)))
    (tmp_path / "a.mtl").write_text("newmtl t\nmap_Kd t.png\nmap_Pr t.png\n")
    asset = loaded(tmp_path, f"mtllib a.mtl\n{TRIANGLE}v 1 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
                   "usemtl t\nf 1/1 2/2 3/3\nf 2 4 3\n")
    textured, bare = asset.parts
    assert textured.material.base_color_texture is not None and textured.uvs.shape == (3, 2)
    assert bare.material.base_color_texture is None and bare.uvs is None
    assert bare.material.base_color == pytest.approx(textured.material.base_color)
    assert len(asset.notes) == 1 and is_warning(asset.notes[0]) and "1 of 2 faces" in asset.notes[0]
    with pytest.raises(AssetError, match="no UVs"):
        loaded(tmp_path, f"mtllib a.mtl\n{TRIANGLE}usemtl t\nf 1 2 3\n")


# --- colours ---------------------------------------------------------------------------------------------------------

COLOURED = "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0.5 0.5 0.5\n"


def by_position(part) -> dict:
    return {tuple(v): c for v, c in zip(part.vertices.round(3).tolist(), part.colors.tolist(), strict=True)}


def test_colours_of_vertices_are_srgb(tmp_path):
    part = loaded(tmp_path, f"{COLOURED}f 1 2 3\n").parts[0]
    found = by_position(part)
    assert found[-0.5, 0.0, 0.0] == pytest.approx((1, 0, 0)) and found[0.5, 0.0, 0.0] == pytest.approx((0, 1, 0))
    assert found[-0.5, 1.0, 0.0] == pytest.approx((0.214,) * 3, abs=1e-3)
    assert part.material.base_color == (1, 1, 1) and part.material.base_color_texture is None


def test_colours_as_bytes_with_weights_and_for_some_vertices_only(tmp_path):
    asset = loaded(tmp_path, "v 0 0 0 255 0 0\nv 1 0 0 1.0 0 255 0\nv 0 1 0\nf 1 2 3\n")
    found = by_position(asset.parts[0])
    shown = [found[-0.5, 0.0, 0.0], found[0.5, 0.0, 0.0], found[-0.5, 1.0, 0.0]]
    np.testing.assert_allclose(shown, [[1, 0, 0], [0, 1, 0], [1, 1, 1]], atol=1e-6)
    assert "0 to 255" in asset.notes[0]


def test_colours_with_alpha(tmp_path):
    asset = loaded(tmp_path, "v 0 0 0 1 0 0 1\nv 1 0 0 0 0 1 1\nv 0 1 0 0 0 1 1\nf 1 2 3\n")
    assert by_position(asset.parts[0])[-0.5, 0.0, 0.0] == pytest.approx([1, 0, 0])


PAINTED = "#MRGB ffff0000ff0000ff\n"


def test_painted_colours_of_remarks(tmp_path):
    asset = loaded(tmp_path, TRIANGLE + PAINTED + "#MRGB ff00ff00\nf 1 2 3\n")
    found = by_position(asset.parts[0])
    shown = [found[-0.5, 0.0, 0.0], found[0.5, 0.0, 0.0], found[-0.5, 1.0, 0.0]]
    np.testing.assert_allclose(shown, [[1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)
    asset = loaded(tmp_path, TRIANGLE + PAINTED + "f 1 2 3\n")
    assert asset.parts[0].colors is None and is_warning(asset.notes[0]) and "#MRGB" in asset.notes[0]


@pytest.mark.parametrize("name", ['"red"', "RED", "Red  "])
def test_names_of_materials_in_other_letters(tmp_path, name):
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\n")
    asset = loaded(tmp_path, f"mtllib a.mtl\n{TRIANGLE}usemtl {name}\nf 1 2 3\n")
    assert asset.parts[0].material.base_color == (1, 0, 0) and "other letters" in asset.notes[0]


@pytest.mark.parametrize("face", ["f 1 2 \\ \n 3\n", "f 1 2 3 \\", "f 1\\\n 2 3\n", "f 1 2 \\\t\r\n3"])
def test_lines_that_go_on(tmp_path, face):
    assert area(loaded(tmp_path, TRIANGLE + face).parts[0]) == pytest.approx(0.5)


def test_colours_times_kd_and_over_a_texture(tmp_path):
    (tmp_path / "t.png").write_bytes(png(np.full((2, 2, 3), 255)))
    (tmp_path / "a.mtl").write_text("newmtl k\nKd 0.5 1 1\nnewmtl t\nmap_Kd t.png\n")
    half = loaded(tmp_path, f"mtllib a.mtl\n{COLOURED}usemtl k\nf 1 2 3\n").parts[0]
    assert half.material.base_color == (0.5, 1, 1) and half.colors is not None
    asset = loaded(tmp_path, f"mtllib a.mtl\n{COLOURED}vt 0 0\nusemtl t\nf 1/1 2/1 3/1\n")
    assert asset.parts[0].colors is None and is_warning(asset.notes[0]) and "averaged" in asset.notes[0]
    mean = srgb_to_linear_array(np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5]])).mean(0)
    np.testing.assert_allclose(asset.parts[0].material.base_color, mean, atol=1e-5)


# --- how it is written -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    lambda t: t.replace(" ", "\t"), lambda t: "".join(f"  \t{line}\n" for line in t.splitlines()),
    lambda t: t.replace("\n", "\r\n"), lambda t: t.replace("\n", "\r"),
    lambda t: t.replace("\n", "   # a remark 1 2\n"),
    lambda t: t.replace("f ", "f \\\n "), lambda t: "# head\n\n" + t.replace("\n", "\n\n"), lambda t: t.rstrip("\n"),
    lambda t: t.replace("f ", "fo "), lambda t: "s off\ng a b\n" + t])
def test_every_way_to_write_it(tmp_path, change):
    text = "".join("v {} {} {}\n".format(*v) for v in BOX) + "".join("f {} {} {}\n".format(*f) for f in BOX_FACES + 1)
    asset = loaded(tmp_path, change(text))
    assert signed_volume(asset.parts[0].vertices, asset.parts[0].faces) == pytest.approx(8)
    assert asset.notes == ()


def test_lines_and_points_are_said(tmp_path):
    asset = loaded(tmp_path, f"{TRIANGLE}f 1 2 3\nl 1 2\np 1\ncurv 0 1 1 2\n")
    assert is_warning(asset.notes[0]) and "l, p, curv" in asset.notes[0]


@pytest.mark.parametrize("text, what", [
    (f"{TRIANGLE}f 1 2 9\n", "line 4: a face asks for v 9, of 3"), (f"{TRIANGLE}f 1 2 -4\n", "no such v"),
    (f"{TRIANGLE}f 0 1 2\n", "no such v"), (f"{TRIANGLE}f 1/5 2/5 3/5\n", "asks for vt 5, of 0"),
    (f"{TRIANGLE}f 1 2 x\n", "whole numbers"), (f"{TRIANGLE}f 1/1/1/1 2 3\n", "whole numbers|three numbers"),
    ("v 1 2\nf 1 1 1\n", "line 1.*needs 3 numbers, got 2"), ("v 1 2 x3\n", "line 1 .*not a number"),
    (TRIANGLE, "no faces"), (f"{TRIANGLE}f 1 2\n", "no faces|no area|unusual")])
def test_damaged_files_name_their_line(tmp_path, text, what):
    with pytest.raises(AssetError, match=what):
        loaded(tmp_path, text)


def test_no_error_prints_the_whole_file(tmp_path):
    for text in ("v 1 2 " + "x" * 10**6 + "\n", f"{TRIANGLE}f " + "1 " * 10**6, "x" * 10**6, "\x1b[31m" * 10**5,
                 "v " + "1 " * 10**5 + "\x1b]\x07\nf 1 1 q\x1b[2J\n", 
                 "mtllib " + "y" * 10**5 + f".mtl\n{TRIANGLE}f 1 2 q\n"):
        with pytest.raises(AssetError) as error:
            loaded(tmp_path, text)
        assert len(str(error.value)) <= 2000 and "\x1b" not in str(error.value)


# --- amounts ---------------------------------------------------------------------------------------------------------

def test_very_many_materials_become_few_parts_that_look_the_same(tmp_path):
    """400 colours in turn: one part whose vertices carry them; a metal stays apart."""
    (tmp_path / "a.mtl").write_text("".join(f"newmtl m{k}\nKd {k / 400} 0.5 0.5\n" for k in range(400)) +
                                    "newmtl metal\nPm 1\n")
    uses = "".join(f"v {k} 0 0\nv {k + 1} 0 0\nv {k} 1 0\nusemtl m{k}\nf -3 -2 -1\n" for k in range(400))
    asset = loaded(tmp_path, f"mtllib a.mtl\n{uses}usemtl metal\nf 1 2 3\n")
    coloured, metal = asset.parts
    assert (len(coloured.faces), metal.material.metallic) == (400, 1) and "joined to 2 parts" in asset.notes[0]
    first = coloured.colors[coloured.faces]
    left = coloured.vertices[coloured.faces][..., 0].min(1)
    np.testing.assert_allclose(first[..., 0], np.repeat((np.round(left - left.min()) / 400)[:, None], 3, 1), atol=1e-5)


@pytest.mark.parametrize("limit", ["MOST", "MOST_NAMES"])
def test_too_many_materials_are_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(obj, "MANY", 3)
    monkeypatch.setattr(obj, limit, 4)
    (tmp_path / "a.mtl").write_text("".join(f"newmtl m{k}\nNs {k}\n" for k in range(5)))
    with pytest.raises(AssetError, match="5 materials are too many; at most 4"):
        loaded(tmp_path, f"mtllib a.mtl\n{TRIANGLE}" + "".join(f"usemtl m{k}\nf 1 2 3\n" for k in range(5)))


def test_materials_that_change_very_often(tmp_path):
    switches = "".join(f"usemtl m{k % 7}\nf -4 -3 -2\n" for k in range(100_000))
    asset = loaded(tmp_path, f"{TRIANGLE}v 1 1 0.1\n{switches}")
    assert sum(len(part.faces) for part in asset.parts) == 100_000 and len(asset.parts) == 7
    unlike = loaded(tmp_path, f"{TRIANGLE}v 1 1 0.1\n" + "".join(f"usemtl m{k}\nf 1 2 3\n" for k in range(20_000)))
    assert len(unlike.parts) == 1 and len(unlike.parts[0].faces) == 20_000
    assert len(unlike.notes) == 2 and "20000 materials" in unlike.notes[0] and len(unlike.notes[0]) < 300


# --- inputs from real work -------------------------------------------------------------------------------------------

def test_case_01_numbers_that_count_back():
    asset = load_asset(case("01_obj_negative_interleaved/a.obj"))
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([2, 1, 0.6])
    volumes = {p.material.name: abs(signed_volume(p.vertices, p.faces)) for p in asset.parts}
    assert area(asset.parts[1]) == pytest.approx(2 * (0.5 * 0.5 + 0.5 * 0.6 + 0.5 * 0.6))
    assert set(volumes) == {"red", "green"}


def test_case_02_a_concave_face():
    """The front of the U has an area of 2 x 2 - 1 x 1.5 = 2.5."""
    (part,) = load_asset(case("02_obj_concave_ngon/u.obj")).parts
    cross = face_cross(part.vertices, part.faces) / 2
    front = part.vertices[part.faces][..., 2].min(1) > 0.29
    assert np.linalg.norm(cross[front], axis=1).sum() == pytest.approx(2.5) == cross[front, 2].sum()
    assert signed_volume(part.vertices, part.faces) == pytest.approx(2.5 * 0.6)


def test_case_14_colours_of_vertices():
    (part,) = load_asset(case("14_vertex_colours/a.obj")).parts
    top = part.vertices[:, 1] > 0.5
    low, high = srgb_to_linear_array(np.array([0.1, 0.9]))
    np.testing.assert_allclose(part.colors[top], np.broadcast_to([high, low, low], (top.sum(), 3)), atol=1e-5)
    np.testing.assert_allclose(part.colors[~top], np.broadcast_to([low, low, high], ((~top).sum(), 3)), atol=1e-5)


@pytest.mark.parametrize("name, options, size", [
    ("zup.obj", {"up_axis": "z"}, (0.4, 1.8, 0.3)), ("zup.obj", {"up_axis": "-z"}, (0.4, 1.8, 0.3)),
    ("chair_mm.obj", {"unit": "mm"}, (0.5, 0.9, 0.5)), ("cm.obj", {"unit": "cm"}, (0.5, 0.9, 0.5)),
    ("yup.ply", {"up_axis": "y"}, (0.4, 1.8, 0.3))])
def test_case_26_units_and_axes(name, options, size):
    assert np.ptp(load_asset(case(f"26_units_axes/{name}"), **options).bounds, axis=0) == pytest.approx(size)


@pytest.mark.parametrize("name", ["tabs", "ws_cr", "ws_ftab", "ws_lead", "ws_vtab"])
def test_case_29_how_it_is_written(name):
    (part,) = load_asset(case(f"29_obj_mixed_faces/{name}.obj")).parts
    assert area(part) == pytest.approx(6) and part.material.base_color_texture is not None
    assert part.uvs.shape == (24, 2)


def test_the_names_inside_are_for_the_prompt(tmp_path):
    asset = loaded(tmp_path, "o Old_Table\n" + OBJ + "f 1 2 4\nf 1 4 3\n")
    assert [part.name for part in asset.parts] == ["Old_Table"]
