"""What is written, what the page says, explaining pictures, and the scene for `dipir insert`."""
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dipir.errors import ConfigError, SceneError
from dipir.layout.as_scene import chosen_box, fit_to_box, scene_path, write_scene
from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, layout
from dipir.layout.page import layout_html
from dipir.layout.pictures import attention_strip, enlarged, region_overlay
from dipir.layout.regions import Region
from dipir.layout.result import save
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.proxy import place
from dipir.scene.scene_file import load_scene
from dipir.settings import read
from dipir.settings.yaml import load_yaml
from tests.support.toy_layout import ColourToy

BOX = (0.25, 0.25, 0.75, 1.0)
CONFIG = read.override(LayoutConfig(), ["attention=false", "width=16", "height=16", "sampler.steps=4",
                                         "guidance.colour='#ffffff'"])
CUBE = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""


def made(*regions, **more):
    regions = tuple(Region(*r) for r in regions or [("a <red> cube", BOX)])
    return layout(LayoutRequest("a <red> cube & more", regions, **more), CONFIG, prior=ColourToy(size=16))


# ---------------------------------------------------------------------------------------------------------------- files
def test_files_of_a_result(tmp_path):
    result = made()
    save(result, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "image.png", "layer_00_background.png", "layer_01_red_cube.png", "regions.png", "config.yaml", "result.json",
        "report.html"}
    pixels = np.asarray(Image.open(tmp_path / "image.png"))
    assert np.array_equal(pixels, (result.image[0].permute(1, 2, 0) * 255).round().byte().numpy())
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["regions"] == [{"caption": "a <red> cube", "box": list(BOX), "kind": "box"}]
    assert told["deltas"]["01_red_cube"] == [1.0, 1.0, 1.0] and told["prior"] == "toy" and told["layered_steps"] == 2
    again = read.merge(LayoutConfig(), load_yaml(tmp_path / "config.yaml", whole=True))
    assert again == CONFIG


def test_another_run_leaves_no_layers_of_the_last(tmp_path):
    (tmp_path / "layer_of_mine.png").write_bytes(b"mine")
    save(made(), tmp_path)
    save(layout(LayoutRequest("a cube"), CONFIG, prior=ColourToy(size=16)), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"layer_of_mine.png", "image.png", "config.yaml", "result.json",
                                                    "report.html"}


def test_layout_saves_where_it_is_told(tmp_path):
    layout(LayoutRequest("a cube"), CONFIG, prior=ColourToy(size=16), out=tmp_path / "new")
    assert (tmp_path / "new" / "image.png").is_file()


def test_the_page_escapes_texts_and_asks_for_nothing_outside():
    page = layout_html(made())
    assert "<red>" not in page and "a &lt;red&gt; cube &amp; more" in page
    assert "http:" not in page and "https:" not in page
    assert page.count("<figure>") == 4 and "class=\"compare\"" not in page
    edited = made(image=torch.rand(1, 3, 32, 32))
    assert "class=\"compare\"" in layout_html(edited)


# ------------------------------------------------------------------------------------------------------------- pictures
def test_small_pictures_are_enlarged_with_their_pixels_kept():
    image = torch.rand(1, 3, 5, 10)
    big = enlarged(image, 100)
    assert big.shape == (1, 3, 50, 100) and torch.equal(big[..., ::10, ::10], image) and enlarged(big, 9) is not image
    assert torch.equal(enlarged(big, 9), big)


def test_the_overlay_changes_only_outlines_and_labels():
    image = torch.full((1, 3, 64, 64), 0.5)
    shown = region_overlay(image, [Region("a cube", (0.25, 0.25, 0.75, 0.75))])
    changed = (shown - 128 / 255).abs().amax(1)[0] > 0.01
    assert shown.shape == (1, 3, 512, 512) and bool(changed[126:130, 300:380].any(0).all())
    for untouched in (changed[:124], changed[:, 390:], changed[200:250, 200:300]):
        assert not bool(untouched.any())


def test_attention_maps_lie_side_by_side():
    maps = [("red cube", torch.rand(1, 1, 8, 8) * 0.01), ("数", torch.zeros(1, 1, 8, 8))]
    strip = attention_strip(maps)
    assert strip.shape == (1, 3, 256 + 16, 2 * 264)
    assert float(strip[..., 16:, :256].max()) == 1 and float(strip[..., 20:, 264:520].max()) == 0


# ---------------------------------------------------------------------------------------------------------------- scene
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
