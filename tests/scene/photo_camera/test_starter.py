"""A first scene file: it loads, its object is seen, and what was guessed is said."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.errors import SceneError
from dipir.image.files import read_image, write_png
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraOptions
from dipir.scene.photo_camera.placement import PlacementOptions
from dipir.scene.photo_camera.starter import init_scene, objects_markers, redraw_grid
from dipir.scene.proxy import Proxy
from dipir.scene.scene_file import build_scene, load_proxy, load_scene, load_scene_file
from tests.support.command_line import CUBE
from tests.support.fspy_files import parameters, project


def cube(size: float) -> str:
    """A cube of ``size`` metres."""
    lines = [line.split() for line in CUBE.splitlines()]
    return "\n".join(" ".join([k, *(str(size * float(n)) for n in numbers)]) if k == "v" else " ".join([k, *numbers])
                     for k, *numbers in lines)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_png(tmp_path / "plate.png", torch.rand(1, 3, 240, 320, generator=torch.Generator().manual_seed(0)))
    return tmp_path


@pytest.mark.parametrize("size, own, kept", [(0.5, 0.5, True), (0.08, 0.08, True), (200.0, 2.0, True),
                                              (8.0, 8.0, False), (0.005, 0.005, False)])
def test_init_writes_a_scene_that_loads_and_a_grid(folder, size, own, kept):
    """200 of a file's units are taken for centimetres by the reader of assets."""
    (folder / "my cube #1.obj").write_text(cube(size))
    given = folder / "plate.png", folder / "my cube #1.obj", folder / "new.yaml", CameraOptions(pitch_deg=14.0)
    out, notes = init_scene(*given)
    scene = load_scene(out)
    assert scene.camera.angles_deg[0] == pytest.approx(14, abs=0.01) and scene.objects[0].name == "my cube #1"
    pixels = scene.camera.project(scene.objects[0].parts[0].vertices)[0]
    assert (0.02 if size == 0.08 else 0.1) < np.ptp(pixels[:, 1]) / 240 < 0.8
    assert pixels[:, 0].mean() == pytest.approx(160, abs=8)
    height = np.ptp(scene.objects[0].parts[0].vertices[:, 1])
    assert (height == pytest.approx(own, rel=1e-2)) == kept
    assert ("keeps the height" if kept else "is a guess") in notes[-1] and f"{height:.2g}" in notes[-1]
    assert ("--camera-height)" in notes[-1]) == (size == 0.08)
    grid, state, info = read_image(folder / "new.grid.png")
    assert (info.width, info.height) == (960, 720) and grid.std() > 0.1
    with pytest.raises(SceneError, match="exists already"):
        init_scene(*given)


def test_a_corrected_camera_draws_the_grid_again(folder):
    (folder / "cube.obj").write_text(cube(0.5))
    given = folder / "plate.png", folder / "cube.obj", folder / "new.yaml"
    init_scene(*given, CameraOptions(pitch_deg=14.0))
    before = (folder / "new.grid.png").read_bytes()
    out, _ = init_scene(*given, CameraOptions(pitch_deg=20.0, height_m=1.2), overwrite=True)
    assert (folder / "new.grid.png").read_bytes() != before
    assert load_scene(out).camera.angles_deg[0] == pytest.approx(20) and load_scene(out).camera.position[1] == 1.2


def test_init_without_ground_says_so(folder):
    (folder / "cube.obj").write_text(cube(0.5))
    with pytest.raises(SceneError, match="shows no ground"):
        init_scene(folder / "plate.png", folder / "cube.obj", folder / "new",
                   CameraOptions(pitch_deg=-60.0, fov_deg=50.0))
    assert not list(folder.glob("new*"))


@pytest.mark.parametrize("name, words", [("wooden_table_02_1k", "a wooden table"),
                                         ("OldChair_LOD0", "an old chair"), ("007", "an object")])
def test_the_prompt_is_made_from_the_name(folder, name, words):
    (folder / f"{name}.obj").write_text(cube(0.5))
    out, notes = init_scene(folder / "plate.png", folder / f"{name}.obj", folder / "new", CameraOptions(pitch_deg=14.0))
    assert load_scene(out).prompt == f"a photo of {words}"
    assert any(f"(a photo of {words})" in note for note in notes)


def test_what_is_given_is_written(folder):
    """And comes back from the file; the prompt of the user is not commented on."""
    (folder / "cube.obj").write_text(cube(0.5))
    placement = PlacementOptions((100.0, 190.0), scale=0.5, yaw_deg=-20.0)
    out, notes = init_scene(folder / "plate.png", folder / "cube.obj", folder / "new", CameraOptions(pitch_deg=14.0),
                            placement=placement, prompt='a "cube"')
    scene_file = load_scene_file(out)
    spec = scene_file.objects[0]
    assert (spec.at, spec.scale, spec.height_m, spec.yaw_deg) == ((100, 190), 0.5, None, -20)
    assert scene_file.prompt == 'a "cube"' and not any("rompt" in note for note in notes)


def test_the_grid_is_redrawn_with_the_scene_s_camera(folder):
    """The same camera makes the same picture, up to the two digits of the file; another one does not, and the scene is
    left alone."""
    (folder / "cube.obj").write_text(cube(0.5))
    out, _ = init_scene(folder / "plate.png", folder / "cube.obj", folder / "new", CameraOptions(pitch_deg=14.0))
    first, text = read_image(folder / "new.grid.png")[0], out.read_bytes()
    camera, notes = redraw_grid(load_scene_file(out), folder / "new.grid.png")
    again = read_image(folder / "new.grid.png")[0]
    assert camera.angles_deg[0] == pytest.approx(14) and notes == ()
    assert float((first - again).abs().mean()) < 0.005
    other = replace(load_scene_file(out), camera=replace(load_scene_file(out).camera, pitch_deg=20.0))
    redraw_grid(other, folder / "new.grid.png")
    assert float((read_image(folder / "new.grid.png")[0] - again).abs().mean()) > 0.02
    assert out.read_bytes() == text


def test_redrawing_marks_every_object_that_can_stand(folder):
    """The second would stand in the sky, the third is far too large: said, and the first is marked."""
    (folder / "cube.obj").write_text(cube(0.5))
    (folder / "three.yaml").write_text(
        "plate: plate.png\ncamera: {fov_deg: 50, pitch_deg: 14, roll_deg: 0, height_m: 1.6}\nobjects:\n"
        "  - {asset: cube.obj, at: [160, 180]}\n  - {asset: cube.obj, at: [160, 5]}\n"
        "  - {asset: cube.obj, at: [160, 180], height_m: 90}\n")
    _, notes = redraw_grid(load_scene_file(folder / "three.yaml"), folder / "three.grid.png")
    assert [note.split(":")[0] for note in notes] == ["cube_2 is not marked", "cube_3 is not marked"]
    assert "above the horizon" in notes[0] and "height" in notes[1]
    camera = load_scene_file(folder / "three.yaml")
    markers, _ = objects_markers(camera, Camera.looking(320, 240, 50, 1.6, 14), Proxy())
    assert [marker.label for marker in markers] == ["cube 0.5 m"]


def test_a_scene_with_a_proxy_marks_its_object_on_it(folder):
    (folder / "cube.obj").write_text(cube(0.2))
    (folder / "table.obj").write_text("v -5 0.7 0\nv 5 0.7 0\nv 5 0.7 20\nv -5 0.7 20\nf 1 2 3\nf 1 3 4\n")
    (folder / "scene.yaml").write_text(
        "plate: plate.png\ncamera: {fov_deg: 50, pitch_deg: 14, roll_deg: 0, height_m: 1.6}\n"
        "proxy: {mesh: table.obj}\nobjects: [{asset: cube.obj, at: [160, 180]}]\n")
    scene_file = load_scene_file(folder / "scene.yaml")
    markers, notes = objects_markers(scene_file, Camera.looking(320, 240, 50, 1.6, 14), load_proxy(scene_file.proxy))
    assert notes == [] and markers[0].foot[1] == pytest.approx(0.7)


def test_a_camera_from_elsewhere_is_kept(folder):
    """Of fSpy with its up axis; and one with a lens, whose grid lies on the straight picture."""
    (folder / "cube.obj").write_text(cube(0.5))
    place = np.array([0.0, 1.6, -4.0])
    fspy = parameters(320, 240, 2.1, (0, 0), up=(0.0, 1, 0), place=place, target=np.array([0, 0.4, 0]))
    project(folder / "room.fspy", fspy)
    out, _ = init_scene(folder / "plate.png", folder / "cube.obj", folder / "fspy",
                        CameraOptions(file=folder / "room.fspy", up="y"))
    scene_file = load_scene_file(out)
    assert (scene_file.camera.file, scene_file.camera.up) == (folder / "room.fspy", "y")
    assert build_scene(scene_file).camera.position == pytest.approx(place)
    for name, lens in (("bent", "lens: OPENCV, distortion: [-0.3, 0.1, 0, 0]"), ("plain", "yaw_deg: 0")):
        numbers = "width: 320, height: 240, fx: 300, height_m: 1.6, pitch_deg: 14"
        (folder / f"{name}.yaml").write_text(f"{{{numbers}, {lens}}}")
        options = CameraOptions(file=folder / f"{name}.yaml", redistort=name == "bent")
        out, notes = init_scene(folder / "plate.png", folder / "cube.obj", folder / f"with_{name}", options,
                                placement=PlacementOptions((160.0, 180.0)))
        assert any("the lens (OPENCV) was taken out" in note for note in notes) == (name == "bent")
        assert load_scene_file(out).camera == options
    bent, plain = (read_image(folder / f"with_{name}.grid.png")[0] for name in ("bent", "plain"))
    assert bent.shape == plain.shape and float((bent - plain).abs().mean()) > 0.01
