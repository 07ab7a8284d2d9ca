"""What a plate says about the light that falls into it."""
from __future__ import annotations

import torch

from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.priors.light import LightPrior
from dipir.priors.nets.light_unet import LightUNet
from dipir.priors.plate_light import light_of_plate, small_plate, with_plate
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate
from dipir.scene.scene import Scene
from tests.support.scenes import sphere_scene


def test_the_plate_is_put_where_it_shows():
    """Grey where the camera looks, the light's own elsewhere and where the plate is clipped; smooth between."""
    disp = torch.full((1, 3, 48, 64), 0.5)
    disp[..., :24, :] = 1.0
    scene = Scene(Plate(disp, srgb_to_linear(disp)), Camera.looking(64, 48, 60.0, 1.5, 0.0), ())
    light = torch.full((64, 128, 3), 7.0)
    got = with_plate(light, scene)
    def at(*d):
        return latlong.sample(got, torch.nn.functional.normalize(torch.tensor(d, dtype=torch.float32), dim=0))
    assert torch.allclose(at(0, -0.2, 1), torch.full((3,), float(srgb_to_linear(torch.tensor(0.5)))), atol=0.02)
    assert torch.allclose(at(0, 0.2, 1), torch.full((3,), 7.0)), "clipped pixels take no light away"
    assert torch.equal(at(0, 0, -1), torch.full((3,), 7.0)) and torch.equal(at(0, -1, 0.01), torch.full((3,), 7.0))


def test_starts_without_weights():
    scene = sphere_scene(size=48)
    mirrored, ambient = (light_of_plate(scene, start) for start in ("mirrored", "ambient"))
    assert mirrored.guesses == ambient.guesses == () and torch.equal(mirrored.start, mirrored.mirrored)
    assert torch.equal(ambient.mirrored, mirrored.mirrored) and ambient.start.shape == (16, 32, 3)
    torch.testing.assert_close(ambient.start[3, 7], scene.plate.lin.mean((0, 2, 3)))


def test_one_look_gives_what_two_gave():
    scene, prior = sphere_scene(size=48), LightPrior(LightUNet())
    light = light_of_plate(scene, "prior", 2, prior)
    view = small_plate(scene)
    torch.testing.assert_close(light.start, prior.estimate(*view, 2))
    assert [g.to_dict() for g in light.guesses] == [g.to_dict() for g in prior.hypotheses(*view)]


def test_the_small_plate_keeps_the_aspect():
    plate, directions = small_plate(sphere_scene(size=64), longest=16)
    assert max(plate.shape[-2:]) == 16 and directions.shape == (*plate.shape[-2:], 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(plate.shape[-2:]))
