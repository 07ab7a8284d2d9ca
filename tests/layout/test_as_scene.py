"""The scene for `dipir insert`: the asset is as high as the box and stands on its edge; the file loads."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError, SceneError
from dipir.layout.as_scene import chosen_box, fit_to_box, scene_path, write_scene
from dipir.layout.regions import Region
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.proxy import place
from dipir.scene.scene_file import load_scene

BOX = (0.25, 0.25, 0.75, 1.0)
CUBE = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""


@pytest.fixture
def cube(tmp_path):
    (tmp_path / "cube.obj").write_text(CUBE)
    return tmp_path / "cube.obj"


@pytest.mark.parametrize("box", [(0.3, 0.5, 0.6, 0.9), (0.7, 0.45, 0.8, 0.6), (0.1, 0.2, 0.5, 0.8)])
def test_the_asset_is_as_high_as_the_box_and_stands_on_its_edge(cube, box):
    asset, camera = load_asset(cube), Camera.looking(320, 240, 55.0, 1.5, 15.0, 0.0)
    at, height = fit_to_box(asset, camera, box)
    placed = place(asset, camera, at, height_m=height)
    pixels, _ = camera.project(np.concatenate([p.vertices for p in placed.parts]).astype(float))
    low, high = pixels.min(0), pixels.max(0)
    assert high[1] == pytest.approx(box[3] * 240, abs=0.5)
    assert high[1] - low[1] == pytest.approx((box[3] - box[1]) * 240, abs=1)
    assert (low[0] + high[0]) / 2 == pytest.approx((box[0] + box[2]) / 2 * 320, abs=0.5)


def test_a_box_in_the_sky_is_no_place(cube):
    with pytest.raises(SceneError, match="above the horizon"):
        fit_to_box(load_asset(cube), Camera.looking(320, 240, 55.0, 1.5, 0.0, 0.0), (0.3, 0.1, 0.6, 0.4))


def test_the_scene_loads_with_the_picture_as_its_plate(tmp_path, cube):
    image = torch.rand(1, 3, 96, 128) * 0.1 + 0.4
    written = write_scene(image, "a cube on a floor", (0.3, 0.5, 0.6, 0.9), cube, tmp_path / "mine")
    assert written == tmp_path / "mine.yaml"
    scene = load_scene(written)
    assert scene.prompt == "a cube on a floor" and scene.name == "mine" and scene.plate.size == (128, 96)
    assert float((scene.plate.disp - image).abs().max()) < 0.003 and (tmp_path / "mine.grid.png").is_file()
    with pytest.raises(SceneError, match="exists already"):
        scene_path(tmp_path / "mine.yaml")


def test_which_box_is_chosen():
    regions = [Region("a cube", BOX), Region("a mug", (0.0, 0.0, 0.5, 0.5))]
    assert chosen_box(None, regions) == BOX and chosen_box("2", regions) == (0.0, 0.0, 0.5, 0.5)
    assert chosen_box("0.1,0.2,0.3,0.4", regions) == (0.1, 0.2, 0.3, 0.4)
    for wrong in ("3", "0", "cube", "0.1,0.2,0.3"):
        with pytest.raises(SceneError):
            chosen_box(wrong, regions)
    with pytest.raises(SceneError, match="there are 0 regions"):
        chosen_box(None, [])
    with pytest.raises(ConfigError, match="no folder"):
        scene_path("/nowhere/at/all.yaml")
