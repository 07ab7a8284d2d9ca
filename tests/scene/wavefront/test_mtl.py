"""dipir.scene.wavefront.mtl: blocks, libraries, map statements and the materials made of them."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.render.path_traced import PathTracer
from dipir.scene.assets.asset import Sampling
from dipir.scene.assets.load import load_asset
from dipir.scene.wavefront import mtl
from dipir.scene.wavefront.mtl import map_statement, parse_mtl
from tests.support.asset_samples import BOX_FACES, OBJ, png
from tests.support.scenes import placed, scene_of
from tests.support.shared_cases import case

GREY = np.full((2, 2, 3), 188)
QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
TEXTURED = f"mtllib a.mtl\n{QUAD}usemtl t\nf 1/1 2/2 3/3 4/4\n"


def loaded(folder, library: str | bytes, obj: str = TEXTURED):
    """The asset of an OBJ with that library beside it, and its remarks but for unit and axis."""
    (folder / "a.mtl").write_bytes(library if isinstance(library, bytes) else library.encode())
    (folder / "a.obj").write_text(obj)
    return load_asset(folder / "a.obj", unit="m", up_axis="y")


def material(folder, library: str | bytes):
    return loaded(folder, library).parts[0].material


def test_values_of_a_material(tmp_path):
    (tmp_path / "my map.png").write_bytes(png(GREY))
    faces = [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3\n" for a, b, c in BOX_FACES]
    asset = loaded(tmp_path, "newmtl red one\nKd 1 0 0 # comment\nNs 14\nd 0.25\nKs 0 0 0\nPm 1\nPc 0.5\nPcr 0.25\n"
                   "newmtl tex\nKd 0.5 0.5 0.5\nmap_Kd -s 1 1 1 -bm 0.5 my map.png\nPr 0.01\nKe 2 0 0\n",
                   "mtllib a.mtl\n" + OBJ + "usemtl red one\n" + "".join(faces[:6]) + "usemtl tex\n"
                   + "".join(faces[6:]))
    by_name = {p.material.name: p.material for p in asset.parts}
    red, tex = by_name["red one"], by_name["tex"]
    assert red.base_color == (1, 0, 0) and red.opacity == 0.25 and red.metallic == 1 and red.specular == 0.01
    assert red.roughness == pytest.approx((2 / 16) ** 0.25)
    assert (red.clearcoat, red.clearcoat_gloss) == (0.5, 0.75)
    assert tex.base_color_texture == pytest.approx(np.full((2, 2, 3), 0.2514), abs=1e-3)
    assert tex.roughness == 0.05 and tex.emission == (2, 0, 0) and tex.sampling == ()
    assert asset.notes == ()


def test_no_material_file_is_grey_and_says_so(tmp_path):
    asset = loaded(tmp_path, "", "mtllib gone.mtl\n" + OBJ + "usemtl x\nf 1 2 3\nf 1 5 6\n")
    assert any("gone.mtl" in n and is_warning(n) for n in asset.notes)
    assert asset.parts[0].material.base_color == (0.5, 0.5, 0.5)


# --- libraries -------------------------------------------------------------------------------------------------------

RED, BLUE = "newmtl red\nKd 1 0 0\n", "newmtl blue\nKd 0 0 1\n"
BOTH = f"{QUAD}usemtl red\nf 1 2 3\nusemtl blue\nf 1 3 4\n"


def colors(asset):
    return [part.material.base_color for part in asset.parts]


@pytest.mark.parametrize("statement", ["mtllib r.mtl b.mtl", "mtllib\tr.mtl\tb.mtl", "mtllib r.mtl\nmtllib b.mtl",
                                       "mtllib R.MTL B.Mtl # both", "mtllib my lib.mtl", "mtllib r.mtl my lib.mtl",
                                       "mtllib .\\r.mtl ./b.mtl", "MTLLIB r.mtl \\\n b.mtl"])
def test_several_libraries(tmp_path, statement):
    (tmp_path / "r.mtl").write_text(RED)
    (tmp_path / "b.mtl").write_text(BLUE)
    (tmp_path / "my lib.mtl").write_text(RED + BLUE)
    asset = loaded(tmp_path, "", f"{statement}\n{BOTH}")
    assert colors(asset) == [(1, 0, 0), (0, 0, 1)] and asset.notes == ()


def test_one_of_several_libraries_is_missing(tmp_path):
    (tmp_path / "r.mtl").write_text(RED)
    asset = loaded(tmp_path, "", f"mtllib r.mtl gone.mtl\n{BOTH}")
    assert colors(asset) == [(1, 0, 0), (0.5, 0.5, 0.5)]
    assert [is_warning(n) for n in asset.notes] == [True, True]
    assert "'gone.mtl' is missing" in asset.notes[0] and "'blue' is not defined" in asset.notes[1]


@pytest.mark.parametrize("words", ["usemtl red # the left one", "usemtl\tred", "  usemtl  red  "])
def test_remarks_after_names(tmp_path, words):
    asset = loaded(tmp_path, RED.replace("red", "red   # made by hand"), f"mtllib a.mtl\n{QUAD}{words}\nf 1 2 3\n")
    assert colors(asset) == [(1, 0, 0)] and asset.notes == ()


def test_a_hash_that_is_part_of_a_name(tmp_path):
    library = "newmtl no #1\nKd 1 0 0\nnewmtl no #2\nKd 0 0 1\n"
    assert colors(loaded(tmp_path, library, f"mtllib a.mtl\n{QUAD}usemtl no #1\nf 1 2 3\nusemtl no #2\nf 1 3 4\n")) == [
        (1, 0, 0), (0, 0, 1)]


@pytest.mark.parametrize("encode", [lambda t: b"\xef\xbb\xbf" + t.encode(), lambda t: t.encode("utf-16"),
                                    lambda t: t.encode("utf-16-be"), lambda t: t.encode("utf-16-le"),
                                    lambda t: t.replace("\n", "\r\n").encode(),
                                    lambda t: t.replace("\n", "\r").encode()])
def test_encodings_of_both_files(tmp_path, encode):
    (tmp_path / "a.mtl").write_bytes(encode(RED + BLUE))
    (tmp_path / "a.obj").write_bytes(encode(f"mtllib a.mtl\n{BOTH}"))
    asset = load_asset(tmp_path / "a.obj", unit="m", up_axis="y")
    assert colors(asset) == [(1, 0, 0), (0, 0, 1)] and asset.notes == ()


# --- names of textures -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, written", [
    ("wood%20floor.png", b"wood%20floor.png"), ("wood floor.png", b"wood%20floor.png"), ("tex #1.png", b"tex #1.png"),
    ("tex.png", b"tex.png # wood"), ("gr\u00f6\u00dfe.png", "gr\u00f6\u00dfe.png".encode("cp1252")),
    ("gr\u00f6\u00dfe.png", "gro\u0308\u00dfe.png".encode()), ("Textures/Wood.PNG", b".\\textures\\wood.png"),
    ("a b.png", b"\"a b.png\"")])
def test_names_of_textures(tmp_path, name, written):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(png(GREY))
    asset = loaded(tmp_path, b"newmtl t\nmap_Kd " + written + b"\n")
    assert asset.parts[0].material.base_color_texture.shape == (2, 2, 3) and asset.notes == ()


def test_a_texture_that_lies_elsewhere_by_its_name_is_taken_from_beside_and_said(tmp_path):
    (tmp_path / "wood.png").write_bytes(png(GREY))
    for written in ("C:\\Users\\someone\\wood.png", "/srv/textures/wood.png", "gone/Wood.png"):
        asset = loaded(tmp_path, f"newmtl t\nmap_Kd {written}\n")
        (note,) = asset.notes
        assert is_warning(note) and written in note and "'wood.png' beside a.obj was taken" in note
    with pytest.raises(AssetError, match="other.png.* is missing"):
        loaded(tmp_path, "newmtl t\nmap_Kd other.png\n")


# --- options of maps -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("statement, name", [
    ("a.png", "a.png"), ("-s 1 1 1 a b.png", "a b.png"), ("-bm 0.5 a.png", "a.png"), ("-o 0.1 1.png", "1.png"),
    ("-clamp on -imfchan l x.png", "x.png"), ("-s 2 -o .5 x.png", "x.png")])
def test_the_file_of_a_map_statement(statement, name):
    assert map_statement(statement).file == name


def test_scale_and_offset_go_to_the_texture():
    """u s + o from the lower left: with v down the image (w = 1 - v), w s + 1 - s - o."""
    sampling = map_statement("-s 3 2 1 -o 0.5 0.25 0 t.png").sampling
    u, v = 0.3, 0.7
    a, _, c, _, e, f = sampling.matrix
    assert a * u + c == pytest.approx(3 * u + 0.5)
    assert 1 - (e * (1 - v) + f) == pytest.approx(2 * v + 0.25)
    assert map_statement("-s 2 t.png").sampling.matrix == (2, 0, 0, 0, 1, 0)
    assert map_statement("-clamp on t.png").sampling == Sampling("clamp")
    assert map_statement("-clamp off t.png").sampling == Sampling()


@pytest.mark.parametrize("options, moved", [
    ("-s 3 2 1 -o 0.5 0.25 0", lambda uv: uv * [3, 2] + [0.5, 0.25]), ("", lambda uv: uv),
    ("-s 2 2 1 -clamp on", lambda uv: (uv * 2).clip(0.5 / 32, 1 - 0.5 / 32))])
def test_pixels_of_a_map_with_options_are_those_of_moved_coordinates(tmp_path, options, moved):
    """The albedo of a square with options, and of one whose coordinates say the same; a smooth texture."""
    at = np.linspace(0, 1, 32)
    image = np.stack(np.broadcast_arrays(255 * at[None], 200 * (1 - at[:, None]), 90), -1)
    (tmp_path / "t.png").write_bytes(png(image))
    corners = np.stack(np.meshgrid(np.linspace(0, 1, 17), np.linspace(0, 1, 17)), -1).reshape(-1, 2)
    square = "".join(f"v {2 * u - 1} {2 * v} 0\n" for u, v in corners)
    row = np.arange(16)[:, None] * 17 + np.arange(16) + 1
    quads = np.stack([row, row + 1, row + 18, row + 17], -1).reshape(-1, 4)
    faces = "usemtl t\n" + "".join("f " + " ".join(f"{c}/{c}" for c in quad) + "\n" for quad in quads)

    def albedo(uvs, options):
        text = f"mtllib a.mtl\n{square}" + "".join("vt {} {}\n".format(*uv) for uv in uvs) + faces
        asset = loaded(tmp_path, f"newmtl t\nmap_Kd {options} t.png\n", text)
        g = PathTracer(scene_of(placed(asset, yaw_rad=0.0, height_m=1.2), size=48), gbuffer_samples=4).gbuffers
        return g.albedo[0].permute(1, 2, 0).numpy()[g.alpha[0, 0].numpy() > 0.99]

    seen, expected = albedo(corners, options), albedo(moved(corners), "")
    assert len(seen) > 300 and np.ptp(seen[:, 0]) > 0.5
    # Where the image begins again both are blends; those few may differ.
    assert (np.abs(seen - expected).max(1) > 0.04).mean() < 0.02


def test_channels_and_ranges_of_maps(tmp_path):
    (tmp_path / "t.png").write_bytes(png(np.array([[[0, 51, 102], [255, 204, 153]]])))
    made = material(tmp_path, "newmtl t\nmap_Pr -imfchan g t.png\nmap_Pm -imfchan b -mm 0.1 0.5 t.png\n")
    np.testing.assert_allclose(made.roughness_texture, [[0.2, 0.8]], atol=0.003)
    np.testing.assert_allclose(made.metallic_texture, [[0.1 + 0.2, 0.1 + 0.3]], atol=0.003)


def test_strength_of_a_normal_map(tmp_path):
    (tmp_path / "n.png").write_bytes(png(np.array([[[160, 128, 250], [96, 128, 250]]])))
    flat, steep = (material(tmp_path, f"newmtl t\nmap_Bump -bm {s} n.png\n").normal_texture[0, 0] * 2 - 1
                   for s in (0.5, 2))
    assert steep[0] / steep[2] == pytest.approx(4 * flat[0] / flat[2], rel=1e-3)


@pytest.mark.parametrize("line, said", [
    ("map_Kd -t 0.1 0.1 0.1 t.png", "-t 0.1 0.1 0.1"), ("map_Kd -blendu off t.png", "-blendu off"),
    ("map_Kd -boost 2 t.png", "-boost 2"), ("map_Ks t.png", "specular map (map_Ks"), ("disp t.png", "displacement"),
    ("map_Bump t.png", "height map")])
def test_what_is_not_honoured_is_said(tmp_path, line, said):
    (tmp_path / "t.png").write_bytes(png(GREY))
    notes = loaded(tmp_path, f"newmtl t\n{line}\n").notes
    assert [is_warning(n) for n in notes] == [True] and said.lower() in notes[0].lower()


@pytest.mark.parametrize("line", ["map_Kd -texres 512 t.png", "map_Kd -cc off t.png", "map_Kd -t 0 0 0 t.png",
                                  "map_Kd -blendu on -blendv on t.png"])
def test_what_changes_nothing_is_not_said(tmp_path, line):
    (tmp_path / "t.png").write_bytes(png(GREY))
    assert loaded(tmp_path, f"newmtl t\n{line}\n").notes == ()


# --- transparency ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("lines, opacity, said", [
    ("d 0.25", 0.25, 0), ("Tr 0.25", 0.75, 0), ("d 0.25\nTr 0.75", 0.25, 0), ("d 1.0\nTr 1.0", 1, 1),
    ("d -halo 0.5", 0.5, 0), ("Kd 1 1 1", 1, 0)])
def test_opacity(tmp_path, lines, opacity, said):
    asset = loaded(tmp_path, f"newmtl t\n{lines}\n")
    assert asset.parts[0].material.opacity == pytest.approx(opacity) and len(asset.notes) == said


def test_an_invisible_part_is_said_and_decides_no_size(tmp_path):
    """A box of 8 m that cannot be seen round one of 1 m."""
    large = "".join(f"v {8 * x} {8 * y} {8 * z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    small = "".join(f"v {x} {y + 3} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    faces = ["".join("f " + " ".join(str(v + 1 + k) for v in f) + "\n" for f in BOX_FACES) for k in (0, 8)]
    asset = loaded(tmp_path, "newmtl ghost\nTr 1.0\nnewmtl solid\n", f"mtllib a.mtl\n{large}{small}usemtl ghost\n"
                   f"{faces[0]}usemtl solid\n{faces[1]}")
    assert [part.material.name for part in asset.parts] == ["solid"]
    np.testing.assert_allclose(asset.bounds, [[-0.5, 0, -0.5], [0.5, 1, 0.5]], atol=1e-6)
    assert all(map(is_warning, asset.notes)) and "material 'ghost'" in asset.notes[0] and "d 1" in asset.notes[0]
    assert "wholly transparent (alpha 0) and was left out" in asset.notes[1]


# --- amounts ---------------------------------------------------------------------------------------------------------

def test_a_texture_is_decoded_once_and_maps_are_made_once(tmp_path, monkeypatch):
    (tmp_path / "t.png").write_bytes(png(GREY))
    blocks = [f"newmtl m{k}\nmap_Kd t.png\nNs {k}\n" for k in range(20)]
    uses = [f"usemtl m{k}\nf 1/1 2/2 3/3\n" for k in range(20)]
    decoded = []
    monkeypatch.setattr(mtl, "decode_image", lambda *a, real=mtl.decode_image: decoded.append(a) or real(*a))
    asset = loaded(tmp_path, "".join(blocks), f"mtllib a.mtl\n{QUAD}{''.join(uses)}")
    assert len(decoded) == 1 and len(asset.parts) == 20
    assert len({id(part.material.base_color_texture) for part in asset.parts}) == 1


def test_textures_together_stay_within_a_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(mtl, "BUDGET_TEXELS", 40_000)
    for k in range(4):
        (tmp_path / f"{k}.png").write_bytes(png(np.full((256, 256, 3), 60 * k)))
    asset = loaded(tmp_path, "".join(f"newmtl m{k}\nmap_Kd {k}.png\n" for k in range(4)),
                   f"mtllib a.mtl\n{QUAD}" + "".join(f"usemtl m{k}\nf 1/1 2/2 3/3\n" for k in range(4)))
    assert sum(p.material.base_color_texture[..., 0].size for p in asset.parts) <= 4 * 128**2
    assert sum("scaled from 256 x 256" in note for note in asset.notes) == 4


@pytest.mark.parametrize("limit, what", [("MOST_FILES", "2 textures"), ("MOST_MAPS", "2 maps"),
                                         ("MAX_PIXELS", "megapixels together"), ("MOST_LIBRARIES", "2 material files")])
def test_what_is_too_much_is_refused_before_it_is_decoded(tmp_path, monkeypatch, limit, what):
    monkeypatch.setattr(mtl, limit, 1)
    monkeypatch.setattr(mtl, "decode_image", lambda *a: pytest.fail("decoded"))
    for k in range(2):
        (tmp_path / f"{k}.png").write_bytes(png(GREY))
    with pytest.raises(AssetError, match=what):
        loaded(tmp_path, "".join(f"newmtl m{k}\nmap_Kd {k}.png\n" for k in range(2)),
               "mtllib a.mtl\n" * (limit == "MOST_LIBRARIES") + f"mtllib ./a.mtl\n{QUAD}"
               + "".join(f"usemtl m{k}\nf 1/1 2/2 3/3\n" for k in range(2)))


def test_the_same_values_looked_up_otherwise_are_one_map(tmp_path):
    (tmp_path / "t.png").write_bytes(png(GREY))
    asset = loaded(tmp_path, "".join(f"newmtl m{k}\nmap_Kd -s {k} 1 1 t.png\n" for k in (2, 3)),
                   f"mtllib a.mtl\n{QUAD}usemtl m2\nf 1/1 2/2 3/3\nusemtl m3\nf 1/1 2/2 3/3\n")
    a, b = (part.material for part in asset.parts)
    assert a.base_color_texture is b.base_color_texture and a.sampling != b.sampling


def test_blocks_keep_every_line_with_a_value():
    blocks = parse_mtl(b"# x\nnewmtl a b\n  Kd 1 0 0 # red\n\tmap_Kd\tx y.png\nnewmtl c\nKd\nNS 3\n")
    assert blocks == {"a b": {"kd": "1 0 0", "map_kd": "x y.png"}, "c": {"ns": "3"}}


# --- inputs from real work -------------------------------------------------------------------------------------------

def test_case_03_byte_order_marks():
    for name in ("a.obj", "b.obj"):
        found = load_asset(case(f"03_obj_mtl_bom/{name}"))
        np.testing.assert_allclose(colors(found), [(0.8, 0.02, 0.02), (0.02, 0.05, 0.8)])


def test_case_04_options_of_maps():
    (part,) = load_asset(case("04_mtl_map_options/a.obj")).parts
    assert part.material.sampled("base_color").matrix == (3, 0, 0.5, 0, 3, -2)


@pytest.mark.parametrize("name", ["percent", "hash", "cp1252", "case", "uni", "abs"])
def test_case_05_names(name):
    asset = load_asset(case(f"05_mtl_names/{name}.obj"))
    assert asset.parts[0].material.base_color_texture is not None
    assert [n for n in asset.notes if is_warning(n)] == [n for n in asset.notes if "someone" in n]
    assert (name == "abs") == any("someone" in n for n in asset.notes)


def test_case_06_two_libraries():
    np.testing.assert_allclose(colors(load_asset(case("06_obj_two_mtllibs/a.obj"))),
                               [(0.8, 0.02, 0.02), (0.02, 0.05, 0.8)])


def test_case_07_invisible():
    asset = load_asset(case("07_mtl_tr_d/a.obj"))
    assert {p.material.name: p.material.opacity for p in asset.parts} == {"a": 1, "c": 1}
    assert any("material 'b'" in n and is_warning(n) and "left out" in n for n in asset.notes)


def test_an_endless_number_is_none_of_an_option(tmp_path):
    (tmp_path / "a.png").write_bytes(png(GREY))
    with pytest.raises(AssetError, match="1e400 a.png"):
        material(tmp_path, "newmtl t\nmap_Kd -s 1e400 a.png\n")


@pytest.mark.parametrize("alpha, said", [(0, True), (127, True), (255, False)])
def test_alpha_of_a_colour_map_is_said(tmp_path, alpha, said):
    picture = np.full((2, 2, 4), 255)
    picture[0, 0, 3] = alpha
    (tmp_path / "a.png").write_bytes(png(picture))
    notes = loaded(tmp_path, "newmtl t\nmap_Kd a.png\n").notes
    assert [is_warning(n) and "map_d" in n for n in notes] == [True] * said
    assert loaded(tmp_path, "newmtl t\nmap_Kd a.png\nmap_d a.png\n").notes == ()
