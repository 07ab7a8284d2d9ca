"""Scene files in and out, every problem at once."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dipir.errors import ConfigError, SceneError
from dipir.event import warnings_in
from dipir.image.files import write_png
from dipir.image.formats.ocio import BUILT_IN
from dipir.scene.assets.asset import Material
from dipir.scene.photo_camera.estimate import CameraOptions
from dipir.scene.plate import PlateColours
from dipir.scene.proxy import Proxy
from dipir.scene.scene_file import (
    MaterialOverride,
    ObjectSpec,
    ProxySpec,
    SceneFile,
    build_scene,
    load_scene,
    load_scene_file,
    override_material,
    settled,
    write_scene_file,
)
from tests.support.ocio import write_config

CUBE = """o cube
{}
f 1 2 4\nf 1 4 3\nf 5 7 8\nf 5 8 6\nf 1 5 6\nf 1 6 2\nf 3 4 8\nf 3 8 7\nf 1 3 7\nf 1 7 5\nf 2 6 8\nf 2 8 4
"""
CAMERA = {"fov_deg": 60, "pitch_deg": 15, "roll_deg": 0, "height_m": 1.6}


def cube_obj(size: float = 0.5) -> str:
    corners = [(x, y, z) for x in (-0.5, 0.5) for y in (0, 1) for z in (-0.5, 0.5)]
    return CUBE.format("\n".join(f"v {size * x} {size * y} {size * z}" for x, y, z in corners))


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "cube.obj").write_text(cube_obj())
    (tmp_path / "floor.obj").write_text("v -20 0.3 -20\nv 20 0.3 -20\nv 20 0.3 20\nv -20 0.3 20\nf 1 2 3\nf 1 3 4\n")
    write_png(tmp_path / "plate.png", torch.rand(1, 3, 240, 320, generator=torch.Generator().manual_seed(0)))
    return tmp_path


def write(folder: Path, **keys) -> Path:
    data = {"plate": "plate.png", "camera": CAMERA, "objects": [{"asset": "parts/cube.obj", "at": [160, 190]}], **keys}
    path = folder / "yard.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_full_file_becomes_a_scene(folder, monkeypatch):
    objects = [{"asset": "parts/cube.obj", "at": [100, 190], "height_m": 0.4, "yaw_deg": 20},
               {"asset": "parts/cube.obj", "at": [220, 200.5], "scale": 0.5, "name": "dice",
                "material": {"*": {"metallic": 1.0, "roughness": 0.3}}}]
    path = write(folder, objects=objects, prompt="cubes in a yard", proxy={"mesh": "floor.obj"})
    monkeypatch.chdir("/")
    scene = load_scene(path)
    assert (scene.name, scene.prompt) == ("yard", "cubes in a yard") and scene.plate.size == (320, 240)
    assert (scene.camera.width, scene.camera.height) == (320, 240)
    assert np.allclose(scene.camera.angles_deg, (15, 0, 0)) and scene.camera.fov_x_deg == pytest.approx(60)
    assert [o.name for o in scene.objects] == ["cube", "dice"]
    heights = [np.ptp(o.parts[0].vertices[:, 1]) for o in scene.objects]
    assert np.allclose(heights, [0.4, 0.25], rtol=1e-4)
    assert all(o.parts[0].vertices[:, 1].min() == pytest.approx(0.3, abs=1e-5) for o in scene.objects)
    materials = [o.parts[0].material for o in scene.objects]
    assert (materials[1].metallic, materials[1].roughness) == (1.0, 0.3) and materials[0].metallic != 1.0


def test_defaults_and_empty_sections(folder):
    path = folder / "short.yaml"
    path.write_text("plate: plate.png\ncamera:\nproxy:\nobjects:\n  - {asset: parts/cube.obj, at: [160, 200]}\n")
    scene_file = load_scene_file(path)
    assert scene_file.camera == CameraOptions() and scene_file.proxy == ProxySpec() and scene_file.name == "short"
    assert build_scene(scene_file).proxy == Proxy()


def test_every_problem_of_a_file_is_reported_at_once(folder):
    path = folder / "bad.yaml"
    path.write_text("""
plat: plate.png
light: sun.exr
camera: {fov: 60, pitch_deg: steep, file: none.yaml}
proxy: {mesh: none.obj}
objects:
  - {asset: none.glb, at: [1, 2, 3], hight_m: 1}
  - {asset: parts/cube.obj, at: [1, 2], height_m: 1, scale: 2, material: {seat: {roughnes: 1}}}
  - {at: [1, 2], material: {seat: {roughness: 7}}}
""")
    with pytest.raises(SceneError) as caught:
        load_scene(path)
    text = str(caught.value)
    pieces = ["bad.yaml: 13 problems", "unknown key 'plat'. Did you mean 'plate'?", "missing key 'plate'",
              "camera: unknown key 'fov'. Did you mean 'fov_deg'?", "camera.pitch_deg: expected a number",
              "objects[0].at: expected a list of 2 (a number)",
              "objects[0]: unknown key 'hight_m'. Did you mean 'height_m'?",
              "objects[1].material.seat: unknown key 'roughnes'. Did you mean 'roughness'?",
              "objects[2]: missing key 'asset'", "objects[2].material.seat: roughness must lie in 0 to 1, got 7",
              f"light: no such file: {folder / 'sun.exr'}", "camera.file: no such file", "proxy.mesh: no such file",
              "objects[0].asset: no such file"]
    for piece in pieces:
        assert piece in text, piece


def test_problems_of_all_objects_are_reported_at_once(folder):
    (folder / "parts" / "broken.glb").write_bytes(b"glTF but not really")
    objects = [{"asset": "parts/broken.glb", "at": [160, 200]}, {"asset": "parts/cube.obj", "at": [160, 5]},
               {"asset": "parts/cube.obj", "at": [900, 5]},
               {"asset": "parts/cube.obj", "at": [160, 190], "material": {"lid": {"metallic": 1}}}]
    with pytest.raises(SceneError) as caught:
        load_scene(write(folder, objects=objects))
    text = str(caught.value)
    for piece in ["yard.yaml: 4 problems", "objects[0].asset: ", "broken.glb", "objects[1]: ", "above the horizon",
                  "objects[2]: ", "outside the plate", "objects[3].material: the asset has no part 'lid'"]:
        assert piece in text, piece


@pytest.mark.parametrize("text, message", [("objects: []\nplate: plate.png", "at least one object"),
                                           ("objects: 3\nplate: 4", "expected a path, got 4"),
                                           ("", "missing key 'plate'")])
def test_hardly_a_scene(folder, text, message):
    (folder / "x.yaml").write_text(text)
    with pytest.raises(SceneError, match=message):
        load_scene_file(folder / "x.yaml")


def test_both_sizes_of_an_object_are_refused(folder):
    objects = [{"asset": "parts/cube.obj", "at": [160, 190], "height_m": 1, "scale": 2}]
    with pytest.raises(SceneError, match=r"objects\[0\]: height_m and scale were both given"):
        load_scene_file(write(folder, objects=objects))


def test_a_file_that_is_no_yaml_is_named(folder):
    (folder / "x.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="x.yaml: not a valid YAML"):
        load_scene(folder / "x.yaml")


def test_write_and_read_into_another_folder(folder):
    spec = ObjectSpec(folder / "parts/cube.obj", (160.0, 190.0), 0.4, None, 10.0, "dice",
                      {"cube": MaterialOverride(base_color=(0.5, 0.2, 0.1))})
    scene_file = SceneFile(folder / "plate.png", (spec,), CameraOptions(fov_deg=50.0, pitch_deg=10.0), name="other",
                           prompt="a: tricky 'prompt' # ü", light=folder / "plate.png")
    (folder / "scenes").mkdir()
    path = folder / "scenes" / "other.yaml"
    write_scene_file(scene_file, path)
    assert "../parts/cube.obj" in path.read_text() and str(folder) not in path.read_text()
    back = load_scene_file(path)
    assert back.objects[0].asset.resolve() == spec.asset and back.plate.resolve() == scene_file.plate
    assert (back.objects[0].material, back.camera, back.prompt, back.name) == (
        spec.material, scene_file.camera, scene_file.prompt, "other")


def test_an_override_replaces_the_texture_of_its_name_only():
    grid = np.zeros((2, 2, 3), np.float32)
    material = Material(base_color_texture=grid, roughness_texture=grid[..., 0], metallic=0.3)
    change = MaterialOverride(base_color=(0.1, 0.2, 0.3), roughness=0.0, emission=(1.0, 0.0, 9.0))
    new = override_material(material, change)
    assert new.base_color == (0.1, 0.2, 0.3) and new.base_color_texture is None and new.emission == (1.0, 0.0, 9.0)
    assert new.roughness == 0.05 and new.roughness_texture is None and new.metallic == 0.3
    assert override_material(material, MaterialOverride()) == material


TWO_PARTS = """v -4 0 -4\nv 4 0 -4\nv 4 8 -4\nv -4 8 -4\nv -4 0 4\nv 4 0 4\nv 4 8 4\nv -4 8 4
v 2 1 0\nv 3 1 0\nv 3 2 0\nv 2 2 0\nv 2 1 1\nv 3 1 1\nv 3 2 1\nv 2 2 1
usemtl shell\nf 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8
usemtl core\nf 9 12 11 10\nf 13 14 15 16\nf 9 10 14 13\nf 10 11 15 14\nf 11 12 16 15\nf 12 9 13 16\n"""


def stood(folder, **material):
    """Height, foot and middle of the placed object, metres; part names; notes."""
    (folder / "two.obj").write_text(TWO_PARTS)
    objects = [{"asset": "two.obj", "at": [160, 190], "height_m": 0.4, "unit": "m", "up": "y", "material": material}]
    scene = load_scene(write(folder, objects=objects))
    (placed,) = scene.objects
    points = np.concatenate([part.vertices for part in placed.parts]).astype(float)
    low, high = points.min(0), points.max(0)
    return high[1] - low[1], low[1], (low + high)[[0, 2]] / 2, [part.name for part in placed.parts], scene.notes


def test_parts_hidden_by_the_scene_decide_neither_size_nor_foot(folder):
    """A box of 1 m beside the middle of one of 8 m and above its floor: with the large one hidden the small one is as
    high as was asked for, on the ground, under the pixel."""
    height, foot, middle, names, notes = stood(folder)
    assert len(names) == 2 and (height, foot) == (pytest.approx(0.4), pytest.approx(0, abs=1e-6))
    shell, core = names
    hidden = stood(folder, **{shell: {"opacity": 0}})
    assert hidden[3] == [core] and (hidden[0], hidden[1]) == (pytest.approx(0.4, rel=1e-4), pytest.approx(0, abs=1e-6))
    np.testing.assert_allclose(hidden[2], middle, atol=1e-5)
    said = [note for note in hidden[4] if "left out" in note]
    assert len(said) == 1 and shell in said[0] and not warnings_in(said)
    lamp = stood(folder, **{shell: {"opacity": 0, "emission": [1, 1, 1]}})
    assert len(lamp[3]) == 2, "what gives light can be seen"
    nothing = stood(folder, **{"*": {"opacity": 0}})
    assert len(nothing[3]) == 2 and [n for n in warnings_in(nothing[4]) if "nothing of it can be seen" in n]
    assert len(stood(folder, **{"*": {"opacity": 0.5}})[3]) == 2


def test_the_readme_example_lists_exactly_the_keys():
    text = (Path(__file__).parents[2] / "scenes/README.md").read_text().split("```yaml")[1].split("```")[0]
    data = yaml.safe_load(text.replace("# file:", "file:").replace("# mesh:", "mesh:").replace("# scale:", "scale:"))
    from dataclasses import fields
    assert set(data) == {f.name for f in fields(SceneFile)}
    assert set(data["objects"][0]) == {f.name for f in fields(ObjectSpec)}
    assert set(data["camera"]) == {f.name for f in fields(CameraOptions)}
    assert set(data["objects"][0]["material"]["seat"]) == {f.name for f in fields(MaterialOverride)}


def test_more_objects_than_are_read(folder):
    with pytest.raises(SceneError, match="1001 objects; at most 1000"):
        load_scene_file(write(folder, objects=[{}] * 1001))


def test_names_that_no_file_can_have(folder):
    with pytest.raises(SceneError, match="plate: no such file"):
        load_scene_file(write(folder, plate="x" * 300))


# ---- colours ---------------------------------------------------------------------------------------------------------

COLOURED = PlateColours("ACEScg", "beauty", None, "lin_rec709")


def test_colours_are_written_and_read(tmp_path, folder):
    config = write_config(tmp_path / "show")
    scene = replace(load_scene_file(write(folder)), colour=replace(COLOURED, ocio=str(config)))
    write_scene_file(scene, folder / "again.yaml")
    written = yaml.safe_load((folder / "again.yaml").read_text())["colour"]
    assert not Path(written["ocio"]).is_absolute() and written["layer"] == "beauty"
    read = load_scene_file(folder / "again.yaml").colour
    assert Path(read.ocio).samefile(config) and replace(read, ocio=None) == COLOURED
    write_scene_file(replace(scene, colour=replace(COLOURED, ocio=BUILT_IN)), folder / "again.yaml")
    assert load_scene_file(folder / "again.yaml").colour.ocio == BUILT_IN
    config.unlink()
    write_scene_file(scene, folder / "again.yaml")
    with pytest.raises(SceneError, match="colour.ocio: no such file"):
        load_scene_file(folder / "again.yaml")


def test_the_config_is_settled_where_one_is_used(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("OCIO", str(tmp_path / "show.ocio"))
    scene = load_scene_file(write(folder))
    assert settled(scene).colour.ocio is None
    textured = replace(scene, objects=(replace(scene.objects[0], texture_colourspace="ap1"),))
    for made in (replace(scene, colour=PlateColours("ap1")), textured):
        assert settled(made).colour.ocio == str(tmp_path / "show.ocio")
    assert settled(replace(scene, colour=PlateColours("ap1", ocio=BUILT_IN))).colour.ocio == BUILT_IN


def test_plate_and_textures_are_read_in_their_spaces(folder):
    scene = load_scene_file(write(folder))
    plain = build_scene(scene)
    made = build_scene(replace(scene, colour=PlateColours("Display P3 - Display", ocio=BUILT_IN)))
    assert float((made.plate.lin - plain.plate.lin).abs().max()) > 1e-3
    assert made.plate.kind.own.space.name == "Display P3 - Display"
    bad = replace(scene, objects=(replace(scene.objects[0], texture_colourspace="ACEScq"),))
    with pytest.raises(SceneError, match=r"objects\[0\].asset: colour space 'ACEScq' is not in"):
        build_scene(bad)
