"""What is written of a layout."""
from __future__ import annotations

import json

import numpy as np
from PIL import Image

from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, layout
from dipir.layout.regions import Region
from dipir.layout.result import save
from dipir.settings import read
from dipir.settings.yaml import load_yaml
from tests.support.toy_layout import ColourToy

BOX = (0.25, 0.25, 0.75, 1.0)
CONFIG = read.override(LayoutConfig(), ["attention=false", "width=16", "height=16", "sampler.steps=4",
                                         "guidance.colour='#ffffff'"])


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
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["regions"] == [{"caption": "a <red> cube", "box": list(BOX), "kind": "box"}]
    assert record["deltas"]["01_red_cube"] == [1.0, 1.0, 1.0] and record["prior"] == "toy"
    assert record["layered_steps"] == 2
    again = read.merge(LayoutConfig(), load_yaml(tmp_path / "config.yaml", whole=True))
    assert again == CONFIG


def test_another_run_leaves_no_layers_of_the_last(tmp_path):
    (tmp_path / "layer_of_mine.png").write_bytes(b"mine")
    save(made(), tmp_path)
    save(layout(LayoutRequest("a cube"), CONFIG, prior=ColourToy(size=16)), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"layer_of_mine.png", "image.png", "config.yaml", "result.json",
                                                    "report.html"}
