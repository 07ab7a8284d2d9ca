"""What is written, what the page says, and explaining pictures."""
from __future__ import annotations

import json

import numpy as np
import torch
from PIL import Image

from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, layout
from dipir.layout.page import layout_html
from dipir.layout.pictures import attention_strip, enlarged, region_overlay
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
