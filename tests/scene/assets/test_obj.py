"""dipir.scene.assets.obj: materials and map statements of OBJ files."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.scene.assets.load import load_asset
from dipir.scene.assets.obj import map_file
from tests.support.asset_samples import BOX_FACES, OBJ, png


def test_obj_materials_and_options(tmp_path):
    (tmp_path / "my map.png").write_bytes(png(np.full((2, 2, 3), 188)))
    (tmp_path / "a.mtl").write_text("newmtl red one\nKd 1 0 0 # comment\nNs 14\nd 0.25\nKs 0 0 0\nPm 1\n"
                                    "newmtl tex\nKd 0.5 0.5 0.5\nmap_Kd -s 1 1 1 -bm 0.5 my map.png\nPr 0.01\n"
                                    "Ke 2 0 0\n")
    faces = [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3\n" for a, b, c in BOX_FACES]
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + OBJ + "usemtl red one\n" + "".join(faces[:6])
                                    + "usemtl tex\n" + "".join(faces[6:]))
    asset = load_asset(tmp_path / "a.obj", unit="cm")
    by_name = {p.material.name: p.material for p in asset.parts}
    red, tex = by_name["red one"], by_name["tex"]
    assert red.base_color == (1, 0, 0) and red.opacity == 0.25 and red.metallic == 1 and red.specular == 0.01
    assert red.roughness == pytest.approx((2 / 16) ** 0.25)
    assert tex.base_color_texture == pytest.approx(np.full((2, 2, 3), 0.2514), abs=1e-3)
    assert tex.roughness == 0.05 and tex.emission == (2, 0, 0)
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([0.02, 0.01, 0.04])
    assert len(asset.notes) == 1 and "no up axis: +Y was assumed (--up)" in asset.notes[0]
    assert load_asset(tmp_path / "a.obj", unit="cm", up_axis="y").notes == ()


def test_obj_without_material_file_is_grey_and_says_so(tmp_path):
    (tmp_path / "a.obj").write_text("mtllib gone.mtl\n" + OBJ + "usemtl x\nf 1 2 3\nf 1 5 6\n")
    asset = load_asset(tmp_path / "a.obj")
    assert any("gone.mtl" in n for n in asset.notes) and asset.parts[0].material.base_color == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("statement, name", [
    ("a.png", "a.png"), ("-s 1 1 1 a b.png", "a b.png"), ("-bm 0.5 a.png", "a.png"), ("-o 0.1 1.png", "1.png"),
    ("-clamp on -imfchan l x.png", "x.png")])


def test_map_options(statement, name):
    assert map_file(statement) == name
