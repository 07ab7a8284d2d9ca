"""The plate in the light of the final render: where it lies, and when glass asks for it."""
from __future__ import annotations

from dataclasses import replace

import torch

from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.insert.final import final_picture
from dipir.priors.plate_light import with_plate
from dipir.scene.assets.asset import Material
from dipir.scene.camera import Camera
from dipir.scene.light import SphericalGaussians
from dipir.scene.plate import Plate
from dipir.scene.scene import Scene
from dipir.settings import read
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of

PLAIN = (ToneCurve.identity(), ToneCurve.identity())


def test_the_plate_is_put_where_it_shows():
    """Grey where the camera looks, the light's own elsewhere and where the plate is clipped; smooth between."""
    disp = torch.full((1, 3, 48, 64), 0.5)
    disp[..., :24, :] = 1.0
    scene = Scene(Plate(disp, srgb_to_linear(disp)), Camera.looking(64, 48, 60.0, 1.5, 0.0), ())
    light = torch.full((64, 128, 3), 7.0)
    got = with_plate(light, scene)
    at = lambda *d: latlong.sample(got, torch.nn.functional.normalize(torch.tensor(d, dtype=torch.float32), dim=0))
    assert torch.allclose(at(0, -0.2, 1), torch.full((3,), float(srgb_to_linear(torch.tensor(0.5)))), atol=0.02)
    assert torch.allclose(at(0, 0.2, 1), torch.full((3,), 7.0)), "clipped pixels take no light away"
    assert torch.equal(at(0, 0, -1), torch.full((3,), 7.0)) and torch.equal(at(0, -1, 0.01), torch.full((3,), 7.0))


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
