"""The plate in the light of the final render: where it lies, and when glass asks for it."""
from __future__ import annotations

from dataclasses import replace

import torch

from dipir.image.color import srgb_to_linear
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.insert.final import final_picture
from dipir.scene.assets.asset import Material
from dipir.scene.light import SphericalGaussians
from dipir.scene.plate import Plate
from dipir.settings import read
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of

PLAIN = (ToneCurve.identity(), ToneCurve.identity())


def test_glass_shows_the_plate_and_nothing_else_asks_for_it():
    """A red plate under grey light: a glass ball is reddish through it, unless told not to be; a matte one never."""
    red = torch.tensor([0.8, 0.1, 0.1])[None, :, None, None].expand(1, 3, 24, 24)
    light = SphericalGaussians.uniform(torch.full((3,), 0.3))

    def shown(material: Material, plate: str) -> torch.Tensor:
        scene = replace(scene_of(placed(simple_asset("sphere", material))), plate=Plate(red, srgb_to_linear(red)))
        config = read.override(InsertConfig(), ["final.spp=64", "final.depth=8", "final.env_height=64",
                                                 f"final.plate={plate}"])
        passes = final_picture(scene, light, PLAIN, config, lambda event: None).passes
        return passes.object_rgb.sum((0, 2, 3)) / passes.alpha.sum()

    glass = Material(base_color=(1, 1, 1), roughness=0.05, transmission=1.0)
    auto, never = shown(glass, "auto"), shown(glass, "never")
    assert auto[0] > 1.3 * auto[2] and abs(float(never[0] / never[2]) - 1) < 0.05
    assert torch.equal(auto, shown(glass, "always"))
    matte = Material(base_color=(0.5, 0.5, 0.5))
    assert torch.equal(shown(matte, "auto"), shown(matte, "never"))
